"""Cities: a skyline in haze over a river or a wet street."""

from __future__ import annotations

import numpy as np

from shared.providers.offline_air import air
from shared.providers.offline_brief import Brief
from shared.providers.offline_paint import (
    Array,
    Rgb,
    blank,
    ellipse_points,
    fill,
    mix,
    resized,
    shade,
    soft_size,
    stroke,
    veil,
)
from shared.providers.offline_scene import Layer, Scene, Sheet, Stage, make_water, trimmed
from shared.providers.offline_shapes import placed
from shared.providers.offline_sky import place_sun, sky


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
    street = mix(palette.land, palette.sky[0], 0.4)
    row = round(horizon * stage.height)
    wet = 0.15 if brief.says("rain", "rainy", "street", "neon") else 0.4
    layers.append(
        make_water(
            brief.rng("river"),
            stage,
            row,
            (mix(palette.sky[2], palette.haze, 0.5), street),
            palette.spice,
            sun.u,
            calm=wet,
            opacity=(0.08, 0.62),
        )
    )
    layers.append(_quay(brief, stage))
    layers.append(air(brief, stage))
    return Scene(stage, tuple(layers))


def _blocks(brief: Brief, stage: Stage, i: int, t: float, horizon: float, sun_u: float) -> Sheet:
    """Return one row of towers; the nearer the darker, the fewer and the better lit."""
    rng, palette = brief.rng(f"blocks {i}"), brief.palette
    sheet = blank(stage.width, stage.height)
    wall = mix(mix(palette.haze, palette.sky[2], 0.3), mix(palette.land, palette.sky[0], 0.22), 0.2 + 0.8 * t)
    foot = horizon * stage.height + 1
    centre = brief.draw("centre", 0.25, 0.75)
    x = -0.05 * stage.unit
    while x < stage.width * 1.03:
        wide = stage.unit * float(rng.uniform(0.035, 0.085)) * (0.8 + 0.6 * t)
        towering = np.exp(-((((x / stage.width) - centre) / 0.28) ** 2))
        tall = stage.unit * (0.05 + float(rng.random()) ** 1.7 * (0.16 + 0.36 * towering)) * (1.15 - 0.45 * t)
        _tower(
            rng,
            sheet,
            (x, foot, wide, tall),
            shade(wall, float(rng.uniform(0.88, 1.06))),
            brief,
            t,
            sun_u * stage.width,
        )
        x += wide * float(rng.uniform(0.9, 1.25 + 0.5 * t))
    return trimmed(sheet, 0.05 + 0.28 * t)


def _tower(
    rng: np.random.Generator,
    sheet: Array,
    box: tuple[float, float, float, float],
    wall: Rgb,
    brief: Brief,
    t: float,
    sun_x: float,
) -> None:
    x, foot, wide, tall = box
    palette = brief.palette
    top = foot - tall
    fill(sheet, np.array([(x, foot), (x, top), (x + wide, top), (x + wide, foot)]), wall)
    bright = mix(wall, palette.light, 0.2 if brief.palette.is_night else 0.30)
    edge = wide * float(rng.uniform(0.16, 0.4))
    if sun_x > x:
        fill(
            sheet,
            np.array([(x + wide - edge, foot), (x + wide - edge, top), (x + wide, top), (x + wide, foot)]),
            bright,
        )
    else:
        fill(sheet, np.array([(x, foot), (x, top), (x + edge, top), (x + edge, foot)]), bright)
    _roof(rng, sheet, x, top, wide, wall)
    _windows(rng, sheet, (x, top, wide, tall), brief, t, wall)


def _roof(rng: np.random.Generator, sheet: Array, x: float, top: float, wide: float, wall: Rgb) -> None:
    kind = int(rng.integers(0, 6))
    if kind == 0:
        fill(sheet, np.array([(x, top + 1), (x + wide / 2, top - wide * 0.9), (x + wide, top + 1)]), wall)
    elif kind == 1:
        fill(sheet, np.array([(x, top + 1), (x, top - wide * 0.5), (x + wide, top + 1)]), wall)
    elif kind in (2, 3):
        y = top + 1
        for k in range(1, 4):
            half, rise = wide * (0.5 - 0.13 * k), wide * 0.22
            fill(
                sheet,
                np.array(
                    [
                        (x + wide / 2 - half, y),
                        (x + wide / 2 - half, y - rise),
                        (x + wide / 2 + half, y - rise),
                        (x + wide / 2 + half, y),
                    ]
                ),
                wall,
            )
            y -= rise
        if kind == 3:
            stroke(sheet, np.array([(x + wide / 2, y), (x + wide / 2, y - wide * 1.1)]), wall, wide * 0.05)
    elif kind == 4:
        fill(sheet, ellipse_points((x + wide / 2, top), wide * 0.36, wide * 0.3), wall)


def _windows(
    rng: np.random.Generator, sheet: Array, box: tuple[float, float, float, float], brief: Brief, t: float, wall: Rgb
) -> None:
    """Light some of a tower's windows; nearer towers have larger ones."""
    x, top, wide, tall = box
    palette = brief.palette
    cols = max(2, round(float(rng.uniform(4, 8))))
    rows = max(2, round(tall / wide * cols * float(rng.uniform(0.8, 1.3))))
    x0, y0, x1, y1 = round(x + wide * 0.1), round(top + wide * 0.12), round(x + wide * 0.9), round(top + tall - 1)
    x0c, y0c, x1c, y1c = max(0, x0), max(0, y0), min(sheet.shape[1], x1), min(sheet.shape[0], y1)
    lit = rng.random((rows, cols)) < (0.62 if palette.is_night else 0.34) * (0.5 + 0.5 * t)
    bands = rng.random((rows, 1)) < 0.12
    which = rng.random((rows, cols))
    if x1c <= x0c or y1c <= y0c:
        return
    inks = np.array(
        [palette.light, mix(palette.spice, palette.light, 0.45), palette.accent if palette.is_night else palette.spice],
        np.float32,
    )
    pane = np.where((which < 0.55)[..., None], inks[0], np.where((which < 0.88)[..., None], inks[1], inks[2]))
    dark = np.array(shade(wall, 0.72), np.float32)
    strength = (0.35 + 0.6 * t) * (1.0 if palette.is_night else 0.75)
    pane = np.where(((lit | bands) & (which < 0.97))[..., None], dark + (pane - dark) * strength, dark)
    grid_y = (np.arange(y0c, y1c) - y0) * rows / max(1, y1 - y0)
    grid_x = (np.arange(x0c, x1c) - x0) * cols / max(1, x1 - x0)
    glass = ((grid_y % 1) > 0.36)[:, None] & ((grid_x % 1) > 0.34)[None, :]
    colors = pane[np.minimum(grid_y.astype(int), rows - 1)[:, None], np.minimum(grid_x.astype(int), cols - 1)[None, :]]
    region = sheet[y0c:y1c, x0c:x1c, :3]
    region[glass] = np.clip(colors[glass], 0, 255).astype(np.uint8)


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
    towers = np.arange(first - span, stage.width + 2 * span, span)
    for left, right in zip(towers, towers[1:], strict=False):
        t = np.linspace(0, 1, 33)
        cable = np.stack([left + span * t, deck - tall + tall * 0.92 * (1 - (2 * t - 1) ** 2)], axis=-1)
        stroke(sheet, cable, ink, stage.unit * 0.004)
        for x, y in cable[1:-1].tolist():
            stroke(sheet, np.array([(x, y), (x, deck)]), ink, stage.unit * 0.0014)
        half = stage.unit * 0.011
        fill(
            sheet,
            np.array(
                [
                    (right - half, foot),
                    (right - half * 0.7, deck - tall * 1.04),
                    (right + half * 0.7, deck - tall * 1.04),
                    (right + half, foot),
                ]
            ),
            ink,
        )
    thick = stage.unit * 0.012
    fill(
        sheet,
        np.array(
            [
                (-9, deck - thick / 2),
                (stage.width + 9, deck - thick / 2),
                (stage.width + 9, deck + thick / 2),
                (-9, deck + thick / 2),
            ]
        ),
        shade(ink, 0.8),
    )
    return trimmed(sheet, 0.34)


def _quay(brief: Brief, stage: Stage) -> Sheet:
    """Return a railing and lamps in front."""
    sheet, palette = blank(stage.width, stage.height), brief.palette
    ink = shade(palette.land, 0.85)
    top, unit = 0.90 * stage.height, stage.unit
    low = stage.height - unit * 0.02
    fill(
        sheet,
        np.array([(-9, low), (stage.width + 9, low), (stage.width + 9, stage.height + 9), (-9, stage.height + 9)]),
        ink,
    )
    for y, thick in ((top, 0.008), (top + unit * 0.03, 0.004)):
        stroke(sheet, np.array([(-9.0, y), (stage.width + 9.0, y)]), ink, unit * thick)
    for x in np.arange(-0.02 * unit, stage.width + unit * 0.02, unit * 0.035).tolist():
        stroke(sheet, np.array([(x, top), (x, low)]), ink, unit * 0.003)
    start = brief.draw("lamp", 0.05, 0.5) * unit
    for x in np.arange(start, stage.width, unit * 0.62).tolist():
        _lamp(sheet, (x, low), unit * 0.42, ink, palette.light)
    return trimmed(sheet, 0.95)


def _lamp(sheet: Array, foot: tuple[float, float], tall: float, ink: Rgb, glow: Rgb) -> None:
    fill(
        sheet,
        placed([(-0.03, 0), (0.03, 0), (0.012, 0.16), (0.010, 0.86), (-0.010, 0.86), (-0.012, 0.16)], foot, tall),
        ink,
    )
    fill(sheet, placed([(-0.05, 0.86), (0.05, 0.86), (0.065, 0.97), (-0.065, 0.97)], foot, tall), glow)
    fill(sheet, placed([(-0.075, 0.97), (0.075, 0.97), (0.02, 1.03), (-0.02, 1.03)], foot, tall), ink)
