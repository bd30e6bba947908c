"""Skies: graded light, a sun or moon with its glow, clouds in perspective, stars."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from shared.providers.studio.brief import Brief
from shared.providers.studio.paint import (
    Array,
    Rgb,
    disc,
    distance,
    gradient,
    lay,
    light,
    mix,
    noise,
    opaque,
    resized,
    smooth,
    soft_size,
    to_bytes,
)
from shared.providers.studio.scene import Layer, Sheet, Stage, trimmed


@dataclass(frozen=True, slots=True)
class Sun:
    """The light in the sky: position as fractions of the stage, radius in units."""

    u: float
    v: float
    radius: float
    color: Rgb


def place_sun(brief: Brief, horizon: float, *, low: bool = True) -> Sun:
    """Return where the sun or moon stands for this seed."""
    u = 0.5 + (1 if brief.chance("sun side", 0.5) else -1) * brief.draw("sun u", 0.06, 0.34)
    height = brief.draw("sun v", 0.07, 0.42 if low else 0.75)
    if brief.palette.is_night:
        height = brief.draw("sun v", 0.4, 0.75)
    return Sun(u, horizon * (1 - height), brief.draw("sun r", 0.035, 0.075), brief.palette.light)


def sky(brief: Brief, stage: Stage, horizon: float, sun: Sun, *, cloudy: float = 1.0) -> list[Layer]:
    """Return the sky's layers, far to near: graded light with clouds, stars at night, the disc."""
    width, height = soft_size(stage.width, stage.height, 640)
    field = _graded(brief, width, height, horizon, sun)
    clouds = _clouds(brief, width, height, horizon, sun, cloudy * brief.draw("cloud cover", 0.35, 1.0))
    base = opaque(resized(field, stage.width, stage.height))
    if brief.palette.is_night:
        _stars(brief, base, stage, horizon)
    _disc(brief, base, stage, sun)
    lay(base, _bloom(stage, sun))
    return [Sheet(base, 0.0), trimmed(_enlarged(clouds, stage), 0.04, drift=stage.unit * 0.006)]


def _graded(brief: Brief, width: int, height: int, horizon: float, sun: Sun) -> Array:
    top, middle, low = brief.palette.sky
    field = gradient(height, [(0, top), (horizon * 0.55, middle), (horizon * 0.97, low), (1, low)])
    field = np.repeat(field, width, axis=1)
    unit = min(width, height)
    near = distance(width, height, (sun.u * width, sun.v * height)) / unit
    x = (np.arange(width, dtype=np.float32) / width - sun.u) * width / unit
    y = (np.arange(height, dtype=np.float32) / height - horizon) * height / unit
    belt = np.exp(-((y / 0.20) ** 2))[:, None] * np.exp(-((x / 0.75) ** 2))[None, :]
    strength = 0.34 if brief.palette.is_night else 0.62
    warm = np.clip(strength * (0.55 * np.exp(-near / 0.10) + 0.6 * np.exp(-near / 0.42)) + 0.22 * belt, 0, 0.82)
    field += (np.array(mix(sun.color, low, 0.3), np.float32) - field) * warm[..., None]
    away = np.clip(np.abs(x) / max(1.0, width / unit) - 0.1, 0, 1)[None, :, None]
    return np.asarray(field * (1 - 0.28 * away))


def _clouds(brief: Brief, width: int, height: int, horizon: float, sun: Sun, cover: float) -> Array:
    """Return a sheet of a cloud deck seen in perspective, lit from the sun's side."""
    rng = brief.rng("clouds")
    side = 512
    deck = noise(rng, side, side, (7, 7), brief.count(6), 0.52)
    bend = noise(rng, side, side, (5, 5), 3)
    rows = max(4, round(height * horizon))
    v = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    far = 1 / (0.16 + 1.05 * (1 - v))
    u = (np.arange(width, dtype=np.float32)[None, :] / width - 0.5) * width / min(width, height)
    x, y = u * far * 120 + 256, far * 150 + np.zeros_like(u)
    x = x + (cv2.remap(bend, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101) - 0.5) * 60
    sampled = cv2.remap(deck, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    toward = 9.0 if sun.u > 0.5 else -9.0
    behind = cv2.remap(deck, x + toward, y + 7, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    edge = 0.74 - 0.30 * cover
    body = smooth(edge, edge + 0.24, sampled) * smooth(-0.02, 0.3, 1.04 - v) * 0.94
    lit = np.clip(0.5 + (sampled - behind) * 3.4 - smooth(edge + 0.1, 1.0, sampled) * 0.35, 0, 1)
    palette = brief.palette
    shadow = np.array(mix(mix(palette.sky[0], palette.sky[1], 0.55), palette.haze, 0.35), np.float32)
    bright = np.array(mix(palette.light, palette.sky[2], 0.25), np.float32)
    near_sun = np.exp(-distance(width, rows, (sun.u * width, sun.v * height)) / min(width, height) / 0.4)
    glow = np.clip(lit + near_sun * 0.35, 0, 1)[..., None]
    color = shadow + (bright - shadow) * glow
    if palette.is_night:
        body = body * 0.62
    sheet = np.zeros((height, width, 4), np.uint8)
    sheet[:rows] = np.dstack([to_bytes(color * body[..., None]), to_bytes(body * 255)])
    return sheet


def _enlarged(sheet: Array, stage: Stage) -> Array:
    return resized(sheet, stage.width, stage.height, cv2.INTER_LINEAR)


def _stars(brief: Brief, canvas: Array, stage: Stage, horizon: float) -> None:
    rng = brief.rng("stars")
    n = brief.count(420)
    u, v, size = rng.random(n), rng.random(n) ** 1.3 * horizon * 0.9, rng.random(n) ** 6
    for x, y, s in zip(u * stage.width, v * stage.height, size, strict=True):
        bright = 120 + 135 * float(s) ** 0.4
        disc(canvas, (float(x), float(y)), stage.unit * (0.0007 + 0.0026 * float(s)), (bright, bright, bright))


def _disc(brief: Brief, canvas: Array, stage: Stage, sun: Sun) -> None:
    """Draw the sun, or a moon with seas."""
    x, y = stage.at(sun.u, sun.v)
    radius = sun.radius * stage.unit
    disc(canvas, (x, y), radius, mix(sun.color, (255, 255, 255), 0.45))
    if brief.palette.is_night:
        _moon_seas(brief, canvas, (x, y), radius)


def _moon_seas(brief: Brief, canvas: Array, center: tuple[float, float], radius: float) -> None:
    rng = brief.rng("moon")
    for _ in range(9):
        angle, size = rng.uniform(0, 6.28), radius * rng.uniform(0.07, 0.24)
        far = rng.uniform(0, 0.9) * (radius - size)
        spot = (center[0] + far * np.cos(angle), center[1] + far * np.sin(angle))
        disc(canvas, spot, size, mix(brief.palette.light, brief.palette.haze, float(rng.uniform(0.1, 0.3))))


def _bloom(stage: Stage, sun: Sun) -> Array:
    width, height = soft_size(stage.width, stage.height, 256)
    near = distance(width, height, (sun.u * width, sun.v * height)) / min(width, height)
    strength = 0.42 * np.exp(-near / (sun.radius * 1.1)) + 0.07 * np.exp(-near / 0.3)
    return _enlarged(light(sun.color, strength), stage)
