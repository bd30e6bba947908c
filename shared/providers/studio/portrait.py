"""Portraits in double exposure: a head in profile, filled with a landscape."""

from __future__ import annotations

import math

import numpy as np

from shared.providers.studio.air import air
from shared.providers.studio.brief import Brief
from shared.providers.studio.outdoors import landscape
from shared.providers.studio.paint import (
    Array,
    Point,
    Rgb,
    blank,
    disc,
    ellipse_points,
    fill,
    gradient,
    mix,
    noise,
    soft_size,
    spline,
    stroke,
)
from shared.providers.studio.scene import Layer, Scene, Sheet, Stage, backdrop, trimmed
from shared.providers.studio.shapes import birds, placed

_FACE: list[Point] = [  # from the left shoulder over the crown and down the face, facing right; unit: the whole height
    (-0.62, -0.03), (-0.60, 0.07), (-0.47, 0.17), (-0.26, 0.235), (-0.185, 0.31), (-0.195, 0.41), (-0.255, 0.53),
    (-0.29, 0.67), (-0.255, 0.83), (-0.15, 0.95), (0.0, 1.0), (0.14, 0.975), (0.235, 0.90), (0.272, 0.81),
    (0.278, 0.745), (0.272, 0.712), (0.262, 0.685), (0.283, 0.645), (0.318, 0.59), (0.333, 0.566), (0.322, 0.549),
    (0.288, 0.540), (0.284, 0.524), (0.300, 0.503), (0.298, 0.490), (0.282, 0.482), (0.295, 0.470), (0.292, 0.453),
    (0.270, 0.440), (0.273, 0.412), (0.262, 0.378), (0.225, 0.357), (0.16, 0.353), (0.085, 0.342), (0.05, 0.30),
    (0.055, 0.235), (0.12, 0.175), (0.30, 0.115), (0.43, 0.05), (0.47, -0.03),
]  # fmt: skip

_LONG: list[Point] = [
    (0.18, 0.97), (0.0, 1.035), (-0.2, 0.99), (-0.34, 0.82), (-0.38, 0.6), (-0.42, 0.38), (-0.50, 0.16), (-0.40, 0.05),
    (-0.2, 0.12), (-0.1, 0.4), (-0.1, 0.7),
]  # fmt: skip
_QUIFF: list[Point] = [
    (0.26, 0.86), (0.28, 0.98), (0.16, 1.05), (-0.02, 1.045), (-0.2, 0.98), (-0.3, 0.8), (-0.2, 0.8), (0.1, 0.9),
]  # fmt: skip


def portrait(brief: Brief, stage: Stage) -> Scene:
    """Return a head in profile, filled with a landscape: double exposure."""
    palette = brief.palette
    mirrored = brief.chance("facing", 0.5)
    tall = min(stage.unit * 0.86, stage.height * 0.82) * brief.draw("head", 0.88, 1.02)
    foot = (stage.width * (0.5 + brief.draw("head u", -0.07, 0.07)), stage.height + stage.unit * 0.02)
    layers: list[Layer] = [_aura(brief, stage, foot, tall)]
    mask = blank(stage.width, stage.height)
    head = placed(_FACE, foot, tall, mirrored=mirrored)
    curve = np.concatenate([spline(head, 8, closed=False), head[-1:]])
    rim = blank(stage.width, stage.height)
    edge = stage.unit * 0.006 * (-1 if mirrored else 1)
    for target, dx in ((rim, edge), (mask, 0.0)):
        ink = palette.light if dx else (255, 255, 255)
        fill(target, curve + np.array([dx, -abs(dx) * 0.3]), ink)
        _hair(brief, target, foot, tall, ink, dx, mirrored=mirrored)
    inner = landscape(brief, stage).picture()
    dark = np.array(mix(palette.land, palette.sky[0], 0.3), np.float32)
    fade = _exposure(stage, foot, tall, mirrored=mirrored)
    tone = inner[..., :3] * fade[..., None] + dark * (1 - fade[..., None])
    figure = np.dstack([tone * (mask[..., 3:] / np.float32(255)), mask[..., 3:]]).astype(np.uint8)
    layers += [trimmed(rim, 0.4), trimmed(figure, 0.4)]
    flock = blank(stage.width, stage.height)
    at = (foot[0] + (-0.33 if mirrored else 0.33) * -1.25 * tall, foot[1] - tall * brief.draw("flock v", 0.78, 1.02))
    birds(flock, brief.rng("flock"), at, stage.unit * 0.09, brief.count(9), mix(palette.land, palette.haze, 0.1))
    layers += [trimmed(flock, 0.55, drift=stage.unit * 0.012), air(brief, stage)]
    return Scene(stage, tuple(layers))


def _aura(brief: Brief, stage: Stage, foot: Point, tall: float) -> Sheet:
    palette = brief.palette
    width, height = soft_size(stage.width, stage.height, 640)
    pale = mix(palette.paper, palette.sky[2], 0.5) if not palette.is_night else mix(palette.haze, palette.sky[2], 0.6)
    field = np.repeat(
        gradient(height, [(0, mix(pale, palette.sky[1], 0.45)), (0.6, pale), (1, mix(pale, palette.haze, 0.5))]),
        width,
        axis=1,
    )
    wash = noise(brief.rng("wash"), width, height, (3, 3), 5, 0.55)
    field += (np.array(mix(palette.sky[1], palette.haze, 0.4), np.float32) - field) * (
        np.clip(wash - 0.45, 0, 1) * 0.9
    )[..., None]
    sheet = backdrop(field, stage).pixels
    at = (foot[0] + stage.unit * brief.draw("aura u", -0.08, 0.08), foot[1] - tall * 0.66)
    disc(sheet, at, tall * brief.draw("aura r", 0.42, 0.54), mix(palette.accent, palette.spice, brief.draw("aura ink")))
    stroke(sheet, ellipse_points(at, tall * 0.6, tall * 0.6, n=120), palette.spice, stage.unit * 0.003, closed=True)
    return Sheet(sheet, 0.0)


def _exposure(stage: Stage, foot: Point, tall: float, *, mirrored: bool) -> Array:
    """Return how strongly the landscape shows, float32 (height, width): full in the head, less at jaw and shoulders."""
    x = (np.arange(stage.width, dtype=np.float32)[None, :] - foot[0]) / tall * (-1 if mirrored else 1)
    y = (foot[1] - np.arange(stage.height, dtype=np.float32)[:, None]) / tall
    deep = np.clip((y - 0.02) / 0.3, 0, 1) * 0.85 + 0.1
    return np.asarray(deep * (1 - 0.35 * np.clip((x - 0.12) / 0.2, 0, 1)))


def _hair(brief: Brief, sheet: Array, foot: Point, tall: float, ink: Rgb, dx: float, *, mirrored: bool) -> None:
    """Draw a bun, long hair, curls or a quiff, displaced by *dx* pixels."""

    def at(points: list[Point]) -> Array:
        return placed(points, (foot[0] + dx, foot[1] - abs(dx) * 0.3), tall, mirrored=mirrored)

    rng = brief.rng("hair")
    kind = 3 if brief.says("man", "boy", "male", "he") else int(rng.integers(0, 4))
    if kind == 0:
        fill(sheet, ellipse_points(_only(at([(-0.33, 0.93)])), tall * 0.115, tall * 0.115), ink)
    elif kind == 1:
        fill(sheet, spline(at(_LONG)), ink)
    elif kind == 2:
        for _ in range(70):
            a, r = float(rng.uniform(0.55, 2.95)), float(rng.uniform(0.25, 0.33))
            curl = at([(-0.02 + r * math.cos(a), 0.74 + r * 0.9 * math.sin(a))])
            disc(sheet, _only(curl), tall * float(rng.uniform(0.03, 0.075)), ink)
    else:
        fill(sheet, spline(at(_QUIFF)), ink)


def _only(points: Array) -> Point:
    return float(points[0, 0]), float(points[0, 1])
