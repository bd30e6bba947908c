"""Halls: a lecture or a concert, the stage in light and the audience in front."""

from __future__ import annotations

import math

import numpy as np

from shared.providers.studio.air import air
from shared.providers.studio.brief import Brief
from shared.providers.studio.paint import (
    Array,
    Rgb,
    blank,
    box,
    disc,
    ellipse_points,
    fill,
    light,
    mix,
    noise,
    opaque,
    resized,
    shade,
    soft_size,
    spline,
    stroke,
    tapered,
)
from shared.providers.studio.scene import Layer, Scene, Sheet, Stage, trimmed
from shared.providers.studio.shapes import placed


def hall(brief: Brief, stage: Stage) -> Scene:
    """Return a stage with a bright screen and a speaker, or a band in beams of light, and the audience in front."""
    concert = brief.says("concert", "festival", "band", "rock", "live", "dj", "musician")
    layers: list[Layer] = [_walls(brief, stage), _halo(brief, stage) if concert else _screen(brief, stage)]
    layers += [_beams(brief, stage, 9 if concert else 5, 0.6 if concert else 0.34), _platform(brief, stage)]
    layers.append(_band(brief, stage) if concert else _lectern(brief, stage))
    rows = brief.count(5)
    layers += [_audience(brief, stage, i, i / max(1, rows - 1), cheering=concert) for i in range(rows)]
    layers.append(air(brief, stage))
    return Scene(stage, tuple(layers))


def _walls(brief: Brief, stage: Stage) -> Sheet:
    palette = brief.palette
    width, height = soft_size(stage.width, stage.height)
    dark, warm = mix(palette.sky[0], palette.land, 0.55), mix(palette.sky[1], palette.sky[0], 0.35)
    x = np.abs(np.arange(width, dtype=np.float32)[None, :] / width - 0.5)
    y = np.abs(np.arange(height, dtype=np.float32)[:, None] / height - 0.42)
    near = np.exp(-((x / 0.42) ** 2) - (y / 0.42) ** 2)[..., None]
    field = np.array(dark, np.float32) + (np.array(warm, np.float32) - np.array(dark, np.float32)) * near
    field *= 0.92 + 0.16 * noise(brief.rng("plaster"), width, height, (40, 40), 3)[..., None]
    sheet = opaque(resized(field, stage.width, stage.height))
    pitch, ink = stage.unit * 0.05, shade(dark, 0.78)
    for x in np.arange(0, stage.width, pitch).tolist():
        near_middle = math.exp(-(((x / stage.width - 0.5) / 0.3) ** 2))
        fill(sheet, box(x, 0, x + pitch * 0.3, stage.height * 0.72), mix(ink, warm, near_middle * 0.5))
    return Sheet(sheet, 0.0)


def _screen_box(brief: Brief, stage: Stage) -> tuple[float, float, float, float]:
    """Return left, top, width and height of the screen, pixels."""
    wide = min(stage.width * 0.74, stage.height * 0.95, stage.unit * 1.15) * brief.draw("screen size", 0.78, 1.06)
    tall = min(wide * 0.56, stage.height * 0.46)
    free = stage.width - wide
    return free * brief.draw("screen u", 0.25, 0.75), stage.height * 0.40 - tall * 0.66, wide, tall


def _halo(brief: Brief, stage: Stage) -> Sheet:
    """Return rings of light behind a band."""
    sheet, palette = blank(stage.width, stage.height), brief.palette
    at = (stage.width * brief.draw("halo u", 0.27, 0.73), stage.height * 0.36)
    radius = min(stage.unit * 0.34, stage.height * 0.32) * brief.draw("halo size", 0.75, 1.0)
    for k, ink in enumerate((palette.accent, palette.spice, palette.light)):
        ring = radius * (1 - 0.2 * k)
        stroke(sheet, ellipse_points(at, ring, ring, n=120), ink, radius * 0.06, closed=True)
    disc(sheet, at, radius * 0.42, mix(palette.light, palette.spice, 0.25))
    for k in range(36):
        turn, reach = k * np.pi / 18, np.array([1.08, 1.2 + 0.12 * (k % 3)]) * radius
        stroke(
            sheet, np.stack([np.cos(turn) * reach, np.sin(turn) * reach], axis=-1) + at, palette.spice, radius * 0.014
        )
    return trimmed(sheet, 0.05)


def _band(brief: Brief, stage: Stage) -> Sheet:
    """Return three players in silhouette."""
    sheet, palette = blank(stage.width, stage.height), brief.palette
    ink, y = shade(palette.land, 0.55), stage.height * 0.665
    middle = stage.width * brief.draw("halo u", 0.27, 0.73)
    tall = min(stage.unit * 0.26, stage.height * 0.25)
    for k, size in ((-1, 0.9), (1, 0.92), (0, 1.05)):
        foot = (middle + k * stage.unit * 0.24, y)
        speaker(sheet, foot, tall * size, ink, mirrored=k > 0 or brief.chance("singer side", 0.5))
        if k:
            neck = placed([(-0.2, 0.46), (-0.14, 0.4), (0.36, 0.66), (0.35, 0.69)], foot, tall * size, mirrored=k > 0)
            fill(sheet, neck, mix(ink, palette.accent, 0.55))
            body = placed([(-0.1, 0.46)], foot, tall * size, mirrored=k > 0)[0]
            disc(sheet, (float(body[0]), float(body[1])), tall * 0.09, mix(ink, palette.accent, 0.7))
        else:
            stand = placed([(0.17, 0.0), (0.17, 0.72), (0.1, 0.84)], foot, tall)
            stroke(sheet, stand, mix(ink, palette.light, 0.3), tall * 0.018)
    return trimmed(sheet, 0.14)


def _lectern(brief: Brief, stage: Stage) -> Sheet:
    """Return the speaker beside the screen."""
    sheet, palette = blank(stage.width, stage.height), brief.palette
    x, _, wide, tall = _screen_box(brief, stage)
    ink = shade(palette.land, 0.7)
    side = 1 if x + wide / 2 < stage.width / 2 else -1
    foot = (x + wide / 2 + side * wide * 0.56, stage.height * 0.66 + tall * 0.02)
    speaker(sheet, foot, tall * 0.62, ink, mirrored=side > 0)
    at = (foot[0] - side * tall * 0.17, foot[1])
    desk = [(-0.1, 0.0), (0.1, 0.0), (0.14, 0.34), (0.16, 0.38), (-0.16, 0.43), (-0.14, 0.38)]
    fill(sheet, placed(desk, at, tall * 0.72), mix(ink, palette.accent, 0.45))
    return trimmed(sheet, 0.14)


def _screen(brief: Brief, stage: Stage) -> Sheet:
    """Return the glowing screen with a slide on it: text, and a chart, orbits or waves."""
    rng, palette = brief.rng("screen"), brief.palette
    sheet = blank(stage.width, stage.height)
    x, y, wide, tall = _screen_box(brief, stage)
    dark = brief.chance("dark page", 0.4)
    page = mix(palette.sky[0], palette.land, 0.3) if dark else mix(palette.light, palette.sky[2], 0.45)
    text = mix(palette.light, palette.sky[2], 0.3) if dark else mix(palette.sky[0], palette.land, 0.4)
    frame = stage.unit * 0.008
    fill(sheet, box(x - frame, y - frame, x + wide + frame, y + tall + frame), shade(palette.land, 0.6))
    fill(sheet, box(x, y, x + wide, y + tall), page)
    left = x + wide * 0.06
    fill(sheet, box(left, y + tall * 0.1, x + wide * 0.40, y + tall * 0.14), text)
    for k in range(4):
        top, long = y + tall * (0.26 + 0.08 * k), wide * float(rng.uniform(0.16, 0.3))
        fill(sheet, box(left, top, left + long, top + tall * 0.022), mix(text, page, 0.45))
    fill(sheet, box(left, y + tall * 0.68, x + wide * 0.22, y + tall * 0.86), palette.spice)
    figure = (_chart, _orbits, _waves)[int(rng.integers(0, 3))]
    figure(rng, sheet, (x, y, wide, tall), (palette.accent, text, mix(palette.leaf, text, 0.3), palette.spice))
    return trimmed(sheet, 0.06)


Box = tuple[float, float, float, float]
Inks = tuple[Rgb, Rgb, Rgb, Rgb]


def _chart(rng: np.random.Generator, sheet: Array, screen: Box, inks: Inks) -> None:
    x, y, wide, tall = screen
    low = y + tall * 0.86
    for k in range(7):
        left = x + wide * (0.46 + 0.07 * k)
        fill(sheet, box(left, low - tall * float(rng.uniform(0.12, 0.66)), left + wide * 0.045, low), inks[k % 4])


def _orbits(rng: np.random.Generator, sheet: Array, screen: Box, inks: Inks) -> None:
    x, y, wide, tall = screen
    middle, turn = (x + wide * 0.68, y + tall * 0.52), float(rng.uniform(0, 0.8))
    for k in range(4):
        orbit = ellipse_points(middle, tall * 0.36, tall * (0.1 + 0.03 * k), turn=k * 0.8 + turn)
        stroke(sheet, orbit, inks[k], tall * 0.01, closed=True)
        disc(sheet, (float(orbit[k * 15, 0]), float(orbit[k * 15, 1])), tall * 0.025, inks[(k + 1) % 4])
    disc(sheet, middle, tall * 0.06, inks[0])


def _waves(rng: np.random.Generator, sheet: Array, screen: Box, inks: Inks) -> None:
    x, y, wide, tall = screen
    t = np.linspace(0, 1, 60)
    for k in range(3):
        wave = np.sin(t * 6.28 * (1.2 + k * 0.7) + rng.uniform(0, 6)) * np.exp(-(((t - 0.5) / 0.3) ** 2))
        line = np.stack([x + wide * (0.45 + 0.5 * t), y + tall * (0.52 - 0.3 * wave)], axis=-1)
        stroke(sheet, line, inks[k], tall * 0.014)


def _beams(brief: Brief, stage: Stage, n: int, strength: float) -> Sheet:
    """Return spotlights from above and the glow of the screen."""
    rng, palette = brief.rng("spots"), brief.palette
    width, height = soft_size(stage.width, stage.height, 360)
    x = np.arange(width, dtype=np.float32)[None, :] / width
    y = np.arange(height, dtype=np.float32)[:, None] / height
    total = np.zeros((height, width), np.float32)
    for k in range(n):
        source, lean = (k + 0.5) / n, float(rng.normal(0, 0.28))
        off = x - source - lean * y
        spread = 0.012 + (0.4 / n) * y
        total += np.exp(-((off / spread) ** 2)) * np.exp(-y / 0.5) * strength
    glow = np.exp(-(((x - 0.5) / 0.5) ** 2) - ((y - 0.4) / 0.36) ** 2) * 0.16
    return Sheet(
        resized(
            light(mix(palette.light, palette.spice, 0.25), np.clip(total + glow, 0, 0.8)), stage.width, stage.height
        ),
        0.1,
    )


def _platform(brief: Brief, stage: Stage) -> Sheet:
    palette = brief.palette
    sheet = blank(stage.width, stage.height)
    y = stage.height * 0.66
    wide, tall = min(stage.width * 0.74, stage.unit * 1.15), stage.height * 0.4
    wood, ink = mix(palette.land, palette.spice, 0.35), shade(palette.land, 0.7)
    back, front, middle = wide * 0.66, wide * 0.84, stage.width / 2
    top = np.array([(-back, -0.05 * tall), (back, -0.05 * tall), (front, 0.08 * tall), (-front, 0.08 * tall)])
    fill(sheet, top + np.array([middle, y]), mix(wood, palette.light, 0.25))
    edge = np.array([(-front, 0.08 * tall), (front, 0.08 * tall), (front, stage.height), (-front, stage.height)])
    fill(sheet, edge + np.array([middle, y]), mix(ink, wood, 0.5))
    return trimmed(sheet, 0.14)


def speaker(sheet: Array, foot: tuple[float, float], tall: float, ink: Rgb, *, mirrored: bool) -> None:
    """Draw someone speaking with one arm raised."""

    def at(points: list[tuple[float, float]]) -> Array:
        return placed(points, foot, tall, mirrored=mirrored)

    fill(sheet, ellipse_points((foot[0], foot[1] - tall * 0.91), tall * 0.06, tall * 0.08, n=32), ink)
    body = [
        (-0.03, 0.85),
        (-0.13, 0.80),
        (-0.15, 0.6),
        (-0.13, 0.46),
        (-0.1, 0.0),
        (-0.02, 0.0),
        (0.0, 0.42),
        (0.02, 0.0),
        (0.1, 0.0),
        (0.12, 0.46),
        (0.13, 0.66),
    ]
    fill(sheet, at([*body, (0.13, 0.80), (0.03, 0.85)]), ink)
    arm = spline(at([(0.1, 0.78), (0.22, 0.68), (0.27, 0.72), (0.34, 0.86)]), closed=False)
    stroke(sheet, arm, ink, tall * 0.055)


def _audience(brief: Brief, stage: Stage, i: int, t: float, *, cheering: bool) -> Sheet:
    """Return one row of heads and shoulders, rimmed by the stage light; nearer rows are larger and darker."""
    rng, palette = brief.rng(f"row {i}"), brief.palette
    sheet = blank(stage.width, stage.height)
    size = stage.unit * (0.026 + 0.066 * t**1.3)
    y = stage.height * (0.74 + 0.24 * t**1.15)
    ink = mix(mix(palette.land, palette.sky[0], 0.5), shade(palette.land, 0.55), 0.2 + 0.8 * t)
    rim = mix(ink, mix(palette.light, palette.spice, 0.3), 0.75 - 0.2 * t)
    x = float(rng.uniform(-1.5, 0)) * size
    while x < stage.width + size:
        at = (x, y + float(rng.normal(0, 0.16)) * size)
        away = (stage.width / 2 - x) / stage.width
        hair = int(rng.integers(0, 4))
        arms = _arms(rng, at, size) if cheering and rng.random() < 0.45 else []
        for color, dx, dy in ((rim, away * size * 0.24, -size * 0.07), (ink, 0.0, 0.0)):
            for arm in arms:
                fill(sheet, arm + np.array([dx, dy]), color)
            _head(sheet, (at[0] + dx, at[1] + dy), size, color, hair)
        x += size * float(rng.uniform(2.5, 3.4))
    return trimmed(sheet, 0.25 + 0.75 * t)


def _arms(rng: np.random.Generator, at: tuple[float, float], size: float) -> list[Array]:
    """Return one or two raised arms."""
    arms = []
    for side in (-1, 1)[: int(rng.integers(1, 3))]:
        hand = (at[0] + side * size * float(rng.uniform(0.9, 1.7)), at[1] - size * float(rng.uniform(2.6, 3.8)))
        elbow = (at[0] + side * size * 1.5, at[1] - size * 0.9)
        spine = spline([(at[0] + side * size * 1.2, at[1] + size), elbow, hand], 8, closed=False)
        arms += [tapered(spine, size * 0.5, size * 0.3), ellipse_points(hand, size * 0.22, size * 0.3, n=20)]
    return arms


def _head(sheet: Array, at: tuple[float, float], size: float, ink: Rgb, hair: int) -> None:
    x, y = at
    fill(sheet, ellipse_points((x, y - size * 0.9), size * 0.62, size * 0.8, n=40), ink)
    if hair == 1:
        disc(sheet, (x, y - size * 1.75), size * 0.28, ink)
    elif hair == 2:
        fill(sheet, ellipse_points((x, y - size * 0.7), size * 0.78, size * 0.92, n=40), ink)
    right = np.array([(0.3, 0.0), (0.9, 0.22), (1.42, 0.8), (1.5, 3.0)])
    body = np.concatenate([(right * (-1, 1))[::-1], right]) * size + np.array(at)
    fill(sheet, spline(body, 6, closed=False), ink)
