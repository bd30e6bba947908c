"""Forests: trunks or firs in depth, light falling through mist, leaves above and ferns in front."""

from __future__ import annotations

import math

import cv2
import numpy as np

from shared.providers.studio.air import air
from shared.providers.studio.brief import Brief
from shared.providers.studio.land import conifers, crest_mask
from shared.providers.studio.paint import (
    Array,
    Rgb,
    blank,
    cut,
    distance,
    fill,
    gradient,
    light,
    mix,
    noise,
    profile,
    resized,
    shade,
    smooth,
    soft_size,
    spline,
    stroke,
    tapered,
    veil,
    weighted,
)
from shared.providers.studio.scene import Layer, Scene, Sheet, Stage, backdrop, trimmed
from shared.providers.studio.sky import Sun, sky

_LEAFLET = np.array([(-1.0, 0.0), (-0.45, 0.40), (0.25, 0.36), (1.0, 0.0), (0.25, -0.36), (-0.45, -0.40)])


def forest(brief: Brief, stage: Stage) -> Scene:
    """Return trunks or firs in depth, light falling through mist, ferns in front."""
    palette = brief.palette
    sun = Sun(brief.draw("sun u", 0.2, 0.8), brief.draw("sun v", 0.22, 0.42), 0.06, palette.light)
    firs = brief.says("pine", "bear", "misty", "fog", "fir", "mountain", "winter", "snow") or brief.chance("firs", 0.3)
    layers: list[Layer] = sky(brief, stage, 0.62, sun) if firs else [_clearing(brief, stage, sun)]
    n = brief.count(5)
    for i in range(n):
        t = i / max(1, n - 1)
        ground = 0.56 + 0.36 * t**1.2
        ink = mix(mix(palette.haze, palette.sky[1], 0.4), shade(palette.land, 0.85), 0.16 + 0.84 * t**0.8)
        wood = _firs(brief, stage, i, t, ground, ink) if firs else _trunks(brief, stage, i, t, ground, ink, sun)
        layers.append(wood)
        if i == n - 2:
            layers.append(_shafts(brief, stage, sun))
        if t < 0.9:
            layers.append(_mist(brief, stage, ground, 0.5 * (1 - t), wood.depth))
    if not firs:
        layers.append(_canopy(brief, stage, sun))
    layers.append(_ferns(brief, stage))
    layers.append(air(brief, stage))
    return Scene(stage, tuple(layers))


def _clearing(brief: Brief, stage: Stage, sun: Sun) -> Sheet:
    palette = brief.palette
    width, height = soft_size(stage.width, stage.height)
    top = mix(palette.leaf, palette.sky[0], 0.45)
    field = np.repeat(
        gradient(height, [(0, top), (0.35, palette.sky[1]), (0.6, palette.sky[2]), (1, palette.leaf)]), width, axis=1
    )
    near = distance(width, height, (sun.u * width, sun.v * height)) / min(width, height)
    glow = np.clip(0.9 * np.exp(-near / 0.12) + 0.55 * np.exp(-near / 0.45), 0, 0.93)[..., None]
    field += (np.array(sun.color, np.float32) - field) * glow
    leaves = noise(brief.rng("far leaves"), width, height, (14, 14), 4, 0.7)
    field *= (
        1 - 0.35 * smooth(0.5, 0.8, leaves) * smooth(0.75, 0.1, np.linspace(0, 1, height, dtype=np.float32)[:, None])
    )[..., None]
    return backdrop(field, stage)


def _ground(brief: Brief, stage: Stage, name: str, ground: float, ink: Rgb) -> tuple[Array, Array]:
    """Return the forest floor below v = *ground* as a sheet, and its skyline in pixels."""
    rng = brief.rng(name)
    width, height = stage.width, stage.height
    crest = (ground + (profile(rng, width, 2.5, 6) - 0.5) * 0.07) * height
    w, h = soft_size(width, height, 1024)
    texture = noise(rng, w, h, (30 * w / min(w, h), 70 * h / min(w, h)), 3, 0.8)
    field = resized(weighted([0.6 + 0.7 * texture], [ink]), width, height, cv2.INTER_LINEAR)
    return cut(field, crest_mask(stage, crest)), crest


def _trunks(brief: Brief, stage: Stage, i: int, t: float, ground: float, ink: Rgb, sun: Sun) -> Sheet:
    rng = brief.rng(f"trunks {i}")
    sheet, crest = _ground(brief, stage, f"ground {i}", ground, ink)
    lit = mix(ink, sun.color, 0.30 * (1 - t) + 0.16)
    span = max(0.6, stage.width / stage.unit)
    for _ in range(brief.count((22 - 17 * t) * span) + 1):
        u = float(rng.random())
        if t > 0.6 and abs(u - sun.u) < 0.13:
            continue
        thick = stage.unit * (0.010 + 0.07 * t**1.6) * float(rng.uniform(0.6, 1.3))
        x, lean = u * stage.width, float(rng.normal(0, 0.02)) * stage.unit
        foot = float(crest[min(stage.width - 1, int(x))]) + thick * 0.6
        spine = spline([(x, foot), (x + lean, foot * 0.66), (x - lean, foot * 0.33), (x + lean, -9)], 6, closed=False)
        fill(sheet, tapered(spine, thick * 1.2, thick * 0.62), ink)
        _bark(rng, sheet, spine, thick, ink, lit if u < sun.u else shade(ink, 0.75))
        for _ in range(int(rng.integers(0, 4))):
            k = int(rng.integers(len(spine) // 4, len(spine) - 1))
            way = 1 if rng.random() < 0.5 else -1
            reach = thick * float(rng.uniform(1.5, 4.5))
            tip = spine[k] + np.array([way * reach, -reach * rng.uniform(0.2, 0.9)])
            twig = spline([spine[k], (spine[k] + tip) / 2 + (0, reach * 0.12), tip], 6, closed=False)
            fill(sheet, tapered(twig, thick * 0.28, thick * 0.04), ink)
    return Sheet(sheet, t**1.4 * 0.9 + 0.03)


def _bark(rng: np.random.Generator, sheet: Array, spine: Array, thick: float, ink: Rgb, lit: Rgb) -> None:
    """Light one edge of a trunk and score its bark."""
    side = 0.34 if sum(lit) > sum(ink) else -0.34
    fill(sheet, tapered(spine + np.array([thick * side, 0]), thick * 0.26, thick * 0.12), lit)
    if thick < 14:
        return
    n = int(thick)
    k = rng.integers(0, len(spine) - 2, n)
    at = spine[k] + np.stack(
        [rng.uniform(-0.42, 0.42, n) * thick, rng.random(n) * (spine[k + 1, 1] - spine[k, 1])], axis=-1
    )
    end = at + np.stack([rng.normal(0, 0.06, n) * thick, -thick * rng.uniform(0.3, 1.2, n)], axis=-1)
    for mark, pale in zip(np.stack([at, end], axis=1), (rng.random(n) < 0.5).tolist(), strict=True):
        stroke(sheet, mark, shade(ink, 1.12 if pale else 0.6), max(1, thick * 0.03))


def _firs(brief: Brief, stage: Stage, i: int, t: float, ground: float, ink: Rgb) -> Sheet:
    sheet, crest = _ground(brief, stage, f"ground {i}", ground, ink)
    trees = conifers(brief, stage, f"firs {i}", crest + stage.unit * 0.02, 46 - 34 * t, 0.3 + 0.55 * t, ink)
    return Sheet(cv2.max(sheet, trees), t**1.4 * 0.9 + 0.03)


def _mist(brief: Brief, stage: Stage, ground: float, strength: float, depth: float) -> Sheet:
    width, height = soft_size(stage.width, stage.height, 256)
    y = (np.arange(height, dtype=np.float32)[:, None] / height - ground) / 0.12
    drift = noise(brief.rng(f"mist {ground}"), width, height, (3, 6), 4)
    opacity = np.exp(-(y**2)) * strength * (0.4 + 0.9 * drift)
    color = mix(brief.palette.haze, brief.palette.light, 0.45)
    sheet = veil(color, opacity)
    return trimmed(resized(sheet, stage.width, stage.height), depth)


def _shafts(brief: Brief, stage: Stage, sun: Sun) -> Sheet:
    """Return beams of light fanning out from the sun."""
    width, height = soft_size(stage.width, stage.height, 320)
    side = 0.35 if sun.u < 0.5 else -0.35
    x = np.arange(width, dtype=np.float32)[None, :] - (sun.u - side) * width
    y = np.arange(height, dtype=np.float32)[:, None] + 0.45 * height
    angle = np.arctan2(x, y)
    beams = profile(brief.rng("beams"), 512, 22, 3, 0.6)
    picked = np.interp(angle, np.linspace(-1.6, 1.6, 512), smooth(0.42, 0.85, beams)).astype(np.float32)
    near = np.hypot(x - side * width, y - (sun.v + 0.6) * height) / min(width, height)
    strength = picked * np.exp(-((near / 0.55) ** 2)) * 0.6
    return Sheet(resized(light(sun.color, strength), stage.width, stage.height), 0.25)


def _canopy(brief: Brief, stage: Stage, sun: Sun) -> Sheet:
    """Return leaves hanging in from above, lit where the sun is near."""
    rng, palette = brief.rng("canopy"), brief.palette
    sheet = blank(stage.width, stage.height)
    fringe = profile(rng, 256, 4, 4)
    span = max(0.6, stage.width / stage.unit)
    n = brief.count(1300 * span)
    us, vs, turns, sizes = rng.random(n), rng.random(n), rng.uniform(0, 3.14, n), rng.uniform(0.008, 0.018, n)
    for u, v, turn, size in zip(us.tolist(), vs.tolist(), turns.tolist(), sizes.tolist(), strict=True):
        away = abs(u - sun.u)
        y = v**1.6 * (0.10 + 0.36 * float(fringe[int(u * 255)]) * min(1.0, 0.25 + away * 1.6)) * stage.height
        x = u * stage.width
        near = np.exp(-(((x - sun.u * stage.width) ** 2 + (y - sun.v * stage.height) ** 2) ** 0.5) / stage.unit / 0.3)
        ink = mix(
            mix(palette.land, palette.leaf, 0.15 + 0.6 * v), mix(palette.spice, palette.light, 0.3), float(near) * 0.75
        )
        fill(sheet, leaflet((x, y), size * stage.unit, turn), ink)
    return trimmed(sheet, 0.8)


def leaflet(center: tuple[float, float], size: float, turn: float) -> Array:
    """Return a leaf: a pointed oval of *size* pixels."""
    c, s = math.cos(turn) * size, math.sin(turn) * size
    x = _LEAFLET[:, 0] * c - _LEAFLET[:, 1] * s
    y = _LEAFLET[:, 0] * s + _LEAFLET[:, 1] * c
    return np.stack([center[0] + x, center[1] + y], axis=-1)


def _ferns(brief: Brief, stage: Stage) -> Sheet:
    rng, palette = brief.rng("ferns"), brief.palette
    sheet = blank(stage.width, stage.height)
    span = max(0.6, stage.width / stage.unit)
    for _ in range(brief.count(24 * span)):
        x, y = float(rng.uniform(-0.05, 1.05)) * stage.width, stage.height * float(rng.uniform(0.97, 1.06))
        long, lean = stage.unit * float(rng.uniform(0.12, 0.27)), float(rng.normal(0, 0.55))
        spine = spline(
            [(x, y), (x + lean * long * 0.5, y - long * 0.7), (x + lean * long * 1.2, y - long * 0.95)],
            13,
            closed=False,
        )
        ink = mix(shade(palette.land, 0.9), palette.leaf, float(rng.random()) * 0.75)
        fill(sheet, tapered(spine, stage.unit * 0.006, 1), ink)
        for k in range(3, len(spine)):
            reach = long * 0.15 * (1 - k / len(spine)) ** 0.8 + 1
            along = spine[k] - spine[k - 1]
            heading = float(np.arctan2(along[1], along[0]))
            for way in (-1, 1):
                turn = heading + way * 1.05
                at = (spine[k][0] + np.cos(turn) * reach, spine[k][1] + np.sin(turn) * reach)
                fill(sheet, leaflet(at, reach, turn), shade(ink, 1.1 if way > 0 else 0.88))
    return trimmed(sheet, 1.0)
