"""Cities: a skyline in haze over a river or a wet street."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from shared.providers.studio.air import air
from shared.providers.studio.brief import Brief
from shared.providers.studio.paint import (
    Array,
    Point,
    Rgb,
    blank,
    box,
    ellipse_points,
    fill,
    mix,
    resized,
    shade,
    soft_size,
    stroke,
    veil,
)
from shared.providers.studio.palette import Palette
from shared.providers.studio.scene import Layer, Scene, Sheet, Stage, make_water, trimmed
from shared.providers.studio.shapes import placed
from shared.providers.studio.sky import place_sun, sky


def city(brief: Brief, stage: Stage) -> Scene:
    """Return a skyline in haze, its windows lit, mirrored in a river or a wet street."""
    palette = brief.palette
    horizon = brief.draw("horizon", 0.62, 0.72)
    sun = place_sun(brief, horizon)
    layers: list[Layer] = sky(brief, stage, horizon, sun, cloudy=0.85)
    n = brief.count(4)
    for i in range(n):
        t = i / max(1, n - 1)
        layers.append(_blocks(brief, stage, i, t, horizon, sun.u))
        if t < 1:
            layers.append(_smog(brief, stage, horizon, 0.5 * (1 - t) + 0.1, 0.05 + 0.28 * t))
    if brief.says("bridge") or brief.chance("bridge", 0.25):
        layers.append(_bridge(brief, stage, horizon))
    colors = (mix(palette.sky[2], palette.haze, 0.5), mix(palette.land, palette.sky[0], 0.4))
    calm = 0.15 if brief.says("rain", "rainy", "street", "neon") else 0.4
    row, rng = round(horizon * stage.height), brief.rng("river")
    layers.append(make_water(rng, stage, row, colors, palette.spice, sun.u, calm=calm, opacity=(0.08, 0.62)))
    layers.append(_quay(brief, stage))
    layers.append(air(brief, stage))
    return Scene(stage, tuple(layers))


@dataclass(frozen=True, slots=True)
class Tower:
    """One building: its place in pixels, its wall, and how near it stands (0 far .. 1 near)."""

    left: float
    foot: float
    wide: float
    tall: float
    wall: Rgb
    near: float

    @property
    def top(self) -> float:
        """Return the row of its roof's foot."""
        return self.foot - self.tall


def _blocks(brief: Brief, stage: Stage, i: int, t: float, horizon: float, sun_u: float) -> Sheet:
    """Return one row of towers; the nearer the darker, the fewer and the better lit."""
    rng, palette = brief.rng(f"blocks {i}"), brief.palette
    sheet = blank(stage.width, stage.height)
    wall = mix(mix(palette.haze, palette.sky[2], 0.3), mix(palette.land, palette.sky[0], 0.22), 0.2 + 0.8 * t)
    foot, centre = horizon * stage.height + 1, brief.draw("centre", 0.25, 0.75)
    x = -0.05 * stage.unit
    while x < stage.width * 1.03:
        wide = stage.unit * float(rng.uniform(0.035, 0.085)) * (0.8 + 0.6 * t)
        downtown = math.exp(-((((x / stage.width) - centre) / 0.28) ** 2))
        tall = stage.unit * (0.05 + float(rng.random()) ** 1.7 * (0.16 + 0.36 * downtown)) * (1.15 - 0.45 * t)
        tower = Tower(x, foot, wide, tall, shade(wall, float(rng.uniform(0.88, 1.06))), t)
        _build(rng, sheet, tower, palette, sun_u * stage.width)
        x += wide * float(rng.uniform(0.9, 1.25 + 0.5 * t))
    return trimmed(sheet, 0.05 + 0.28 * t)


def _build(rng: np.random.Generator, sheet: Array, tower: Tower, palette: Palette, sun_x: float) -> None:
    """Draw walls, the side in the light, roof and windows."""
    right = tower.left + tower.wide
    fill(sheet, box(tower.left, tower.top, right, tower.foot), tower.wall)
    bright = mix(tower.wall, palette.light, 0.2 if palette.is_night else 0.30)
    edge = tower.wide * float(rng.uniform(0.16, 0.4))
    left = right - edge if sun_x > tower.left else tower.left
    fill(sheet, box(left, tower.top, left + edge, tower.foot), bright)
    _roof(rng, sheet, tower)
    _windows(rng, sheet, tower, palette)


def _roof(rng: np.random.Generator, sheet: Array, tower: Tower) -> None:
    x, wide, top = tower.left, tower.wide, tower.top + 1
    middle = x + wide / 2
    kind = int(rng.integers(0, 6))
    if kind == 0:
        fill(sheet, [(x, top), (middle, top - wide * 0.9), (x + wide, top)], tower.wall)
    elif kind == 1:
        fill(sheet, [(x, top), (x, top - wide * 0.5), (x + wide, top)], tower.wall)
    elif kind in (2, 3):
        for k in range(3):
            half, step = wide * (0.37 - 0.13 * k), wide * 0.22
            fill(sheet, box(middle - half, top - step * (k + 1), middle + half, top - step * k), tower.wall)
        if kind == 3:
            stroke(sheet, [(middle, top - wide * 0.66), (middle, top - wide * 1.76)], tower.wall, wide * 0.05)
    elif kind == 4:
        fill(sheet, ellipse_points((middle, top), wide * 0.36, wide * 0.3), tower.wall)


def _windows(rng: np.random.Generator, sheet: Array, tower: Tower, palette: Palette) -> None:
    """Set panes in a tower, some of them lit; nearer ones shine more."""
    columns = max(2, round(float(rng.uniform(4, 8))))
    rows = max(2, round(tower.tall / tower.wide * columns * float(rng.uniform(0.8, 1.3))))
    panes = _panes(rng, rows, columns, tower, palette)
    left, top = round(tower.left + tower.wide * 0.1), round(tower.top + tower.wide * 0.12)
    right, low = round(tower.left + tower.wide * 0.9), round(tower.foot - 1)
    x = np.arange(max(0, left), min(sheet.shape[1], right))
    y = np.arange(max(0, top), min(sheet.shape[0], low))
    if not (x.size and y.size):
        return
    grid_x, grid_y = (x - left) * columns / max(1, right - left), (y - top) * rows / max(1, low - top)
    glass = ((grid_y % 1) > 0.36)[:, None] & ((grid_x % 1) > 0.34)[None, :]
    colors = panes[
        np.minimum(grid_y.astype(int), rows - 1)[:, None], np.minimum(grid_x.astype(int), columns - 1)[None, :]
    ]
    sheet[y[0] : y[-1] + 1, x[0] : x[-1] + 1, :3][glass] = colors[glass]


def _panes(rng: np.random.Generator, rows: int, columns: int, tower: Tower, palette: Palette) -> Array:
    """Return the colour of every pane, uint8 (rows, columns, 3): dark, warm, or in one of two tints."""
    lit = rng.random((rows, columns)) < (0.62 if palette.is_night else 0.34) * (0.5 + 0.5 * tower.near)
    lit |= rng.random((rows, 1)) < 0.12
    inks = [
        palette.light,
        mix(palette.spice, palette.light, 0.45),
        palette.accent if palette.is_night else palette.spice,
    ]
    glow = np.array(inks, np.float32)[rng.choice(3, (rows, columns), p=[0.56, 0.34, 0.10])]
    dark = np.array(shade(tower.wall, 0.72), np.float32)
    strength = (0.35 + 0.6 * tower.near) * (1.0 if palette.is_night else 0.75)
    return np.clip(np.where(lit[..., None], dark + (glow - dark) * strength, dark), 0, 255).astype(np.uint8)


def _smog(brief: Brief, stage: Stage, horizon: float, strength: float, depth: float) -> Sheet:
    width, height = soft_size(stage.width, stage.height, 256)
    y = (horizon - np.arange(height, dtype=np.float32)[:, None] / height) / 0.22
    opacity = np.clip(np.exp(-np.maximum(y, 0)) * strength, 0, 1) + np.zeros((height, width), np.float32)
    color = mix(brief.palette.haze, brief.palette.sky[2], 0.4)
    return trimmed(resized(veil(color, opacity), stage.width, stage.height), depth)


def _bridge(brief: Brief, stage: Stage, horizon: float) -> Sheet:
    """Return a suspension bridge across the whole width."""
    sheet, palette = blank(stage.width, stage.height), brief.palette
    ink = mix(palette.land, palette.accent, 0.4)
    deck, foot = (horizon - 0.03) * stage.height, horizon * stage.height + 1
    span, tall = stage.unit * 0.85, stage.unit * 0.26
    first = brief.draw("pylon", -0.2, 0.3) * stage.unit
    pylons = np.arange(first - span, stage.width + 2 * span, span).tolist()
    t = np.linspace(0, 1, 33)
    for x in pylons:
        cable = np.stack([x + span * t, deck - tall + tall * 0.92 * (1 - (2 * t - 1) ** 2)], axis=-1)
        stroke(sheet, cable, ink, stage.unit * 0.004)
        for at, y in cable[1:-1].tolist():
            stroke(sheet, [(at, y), (at, deck)], ink, stage.unit * 0.0014)
        half, top = stage.unit * 0.011, deck - tall * 1.04
        fill(sheet, [(x - half, foot), (x - half * 0.7, top), (x + half * 0.7, top), (x + half, foot)], ink)
    thick = stage.unit * 0.006
    fill(sheet, box(-9, deck - thick, stage.width + 9, deck + thick), shade(ink, 0.8))
    return trimmed(sheet, 0.34)


def _quay(brief: Brief, stage: Stage) -> Sheet:
    """Return a railing and lamps in front."""
    sheet, palette = blank(stage.width, stage.height), brief.palette
    ink = shade(palette.land, 0.85)
    top, unit = 0.90 * stage.height, stage.unit
    low = stage.height - unit * 0.02
    fill(sheet, box(-9, low, stage.width + 9, stage.height + 9), ink)
    for y, thick in ((top, 0.008), (top + unit * 0.03, 0.004)):
        stroke(sheet, [(-9, y), (stage.width + 9, y)], ink, unit * thick)
    for x in np.arange(-0.02 * unit, stage.width + unit * 0.02, unit * 0.035).tolist():
        stroke(sheet, [(x, top), (x, low)], ink, unit * 0.003)
    start = brief.draw("lamp", 0.05, 0.5) * unit
    for x in np.arange(start, stage.width, unit * 0.62).tolist():
        _lamp(sheet, (x, low), unit * 0.42, ink, palette.light)
    return trimmed(sheet, 0.95)


def _lamp(sheet: Array, foot: Point, tall: float, ink: Rgb, glow: Rgb) -> None:
    post = [(-0.03, 0), (0.03, 0), (0.012, 0.16), (0.010, 0.86), (-0.010, 0.86), (-0.012, 0.16)]
    fill(sheet, placed(post, foot, tall), ink)
    fill(sheet, placed([(-0.05, 0.86), (0.05, 0.86), (0.065, 0.97), (-0.065, 0.97)], foot, tall), glow)
    fill(sheet, placed([(-0.075, 0.97), (0.075, 0.97), (0.02, 1.03), (-0.02, 1.03)], foot, tall), ink)
