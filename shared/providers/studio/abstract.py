"""Abstract compositions: cut paper, tiles, ridgelines, spheres and rings."""

from __future__ import annotations

import numpy as np

from shared.providers.studio.brief import Brief
from shared.providers.studio.paint import (
    Array,
    Point,
    Rgb,
    blank,
    blurred,
    box,
    cut,
    disc,
    ellipse_points,
    faded,
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
    stroke,
    to_bytes,
)
from shared.providers.studio.scene import Layer, Scene, Sheet, Stage, backdrop, trimmed
from shared.providers.studio.shading import ball


def abstract(brief: Brief, stage: Stage) -> Scene:
    """Return one of four ways to compose with nothing but form and colour."""
    if brief.says("geometric", "bauhaus", "pattern", "shape", "tile", "cubism"):
        return tiles(brief, stage)
    if brief.says("sound", "music", "data", "algorithm", "wave", "signal", "audio", "ai", "network"):
        return ridgelines(brief, stage) if brief.chance("ridgelines", 0.7) else spheres(brief, stage)
    ways = (papercut, tiles, ridgelines, spheres)
    return ways[int(brief.draw("way") * len(ways))](brief, stage)


def _ramp(brief: Brief, n: int) -> list[Rgb]:
    """Return *n* colours from far to near."""
    palette = brief.palette
    stops = [
        palette.sky[2],
        palette.spice,
        palette.accent,
        mix(palette.accent, palette.sky[0], 0.5),
        palette.sky[0],
        palette.land,
    ]
    if brief.chance("ramp", 0.4):
        stops = [
            palette.paper,
            palette.haze,
            palette.sky[1],
            palette.leaf,
            mix(palette.leaf, palette.land, 0.5),
            palette.land,
        ]
    at = np.linspace(0, len(stops) - 1.001, n)
    return [mix(stops[int(a)], stops[int(a) + 1], float(a % 1)) for a in at]


def papercut(brief: Brief, stage: Stage) -> Scene:
    """Return sheets of coloured paper, each cut along a contour and casting a shadow on the one behind."""
    rng = brief.rng("papercut")
    n = brief.count(8)
    inks = _ramp(brief, n)
    side = 420
    w, h = soft_size(stage.width, stage.height, side)
    hills = noise(rng, w, h, (1.6 * max(1.0, w / h), 1.6 * max(1.0, h / w)), 3, 0.42)
    x = np.arange(w, dtype=np.float32)[None, :] / w - brief.draw("hole u", 0.32, 0.68)
    y = np.arange(h, dtype=np.float32)[:, None] / h - brief.draw("hole v", 0.34, 0.66)
    bowl = np.hypot(x * max(1.0, w / h), y * max(1.0, h / w))
    field = resized(hills * 0.62 + bowl * 0.8, stage.width, stage.height)
    levels = np.quantile(field[::8, ::8], np.linspace(0.1, 0.9, n - 1))
    texture = noise(rng, stage.width, stage.height, (70, 90), 3, 0.8)[..., None]
    base = np.broadcast_to(np.array(inks[0], np.float32), (stage.height, stage.width, 3))
    layers: list[Layer] = [
        Sheet(cut(base * (0.93 + 0.14 * texture), np.full((stage.height, stage.width), 255, np.uint8)), 0.0)
    ]
    sun = blank(stage.width, stage.height)
    disc(
        sun,
        stage.at(brief.draw("hole u", 0.32, 0.68), brief.draw("hole v", 0.34, 0.66)),
        stage.unit * 0.075,
        brief.palette.light,
    )
    layers.append(trimmed(sun, 0.02))
    slope = np.hypot(*np.gradient(field)).mean() + 1e-6
    for i, (ink, level) in enumerate(zip(inks[1:], levels, strict=True)):
        mask = to_bytes(np.clip((field - level) / slope + 0.5, 0, 1) * 255)
        layers.append(_drop_shadow(mask, stage, 0.1 * i))
        lit = np.array(ink, np.float32) * (0.90 + 0.2 * texture)
        edge = np.clip(1 - np.abs(field - level - slope * 1.6) / (slope * 1.6), 0, 1)[..., None] * 0.35
        layers.append(Sheet(cut(lit + (255 - lit) * edge, mask), 0.12 * (i + 1)))
    return Scene(stage, tuple(layers))


def _drop_shadow(mask: Array, stage: Stage, depth: float) -> Sheet:
    ink = np.zeros((*mask.shape, 4), np.uint8)
    ink[..., 3] = mask
    soft = faded(blurred(ink, stage.unit * 0.012), 0.55)
    shift = round(stage.unit * 0.012)
    moved = np.zeros_like(soft)
    moved[shift:, shift:] = soft[:-shift, :-shift]
    return Sheet(moved, depth)


def tiles(brief: Brief, stage: Stage) -> Scene:
    """Return a grid of discs, arcs, triangles and stripes."""
    rng, palette = brief.rng("tiles"), brief.palette
    across = int(rng.integers(3, 6))
    size = stage.unit / across
    columns, rows = int(np.ceil(stage.width / size)), int(np.ceil(stage.height / size))
    inks = [palette.paper, palette.accent, palette.spice, palette.land, palette.leaf, palette.sky[1], palette.sky[0]]
    ground, shapes = blank(stage.width, stage.height), blank(stage.width, stage.height)
    for row in range(rows):
        for column in range(columns):
            first, second, third = (
                inks[int(k)]
                for k in rng.choice(len(inks), 3, replace=False, p=[0.28, 0.16, 0.14, 0.14, 0.1, 0.1, 0.08])
            )
            x, y = column * size, row * size
            fill(ground, box(x, y, x + size, y + size), first)
            _tile(rng, shapes, (x, y), size, second, third)
    ground[..., 3] = 255
    texture = noise(rng, stage.width, stage.height, (70, 90), 3, 0.8)
    paper = light((255, 255, 255), np.clip(texture - 0.5, 0, 1) * 0.12)
    return Scene(stage, (Sheet(ground, 0.0), Sheet(shapes, 0.25), Sheet(paper, 0.25)))


def _tile(rng: np.random.Generator, sheet: Array, at: Point, size: float, ink: Rgb, other: Rgb) -> None:
    """Draw one motif in the square of *size* pixels whose upper left corner is *at*."""
    motif = (_quarter, _rainbow, _target, _wedge, _stripes, _spots, _halves, _hourglass)[int(rng.integers(0, 8))]
    motif(sheet, np.array(at), size, int(rng.integers(0, 4)), (ink, other))


Inks = tuple[Rgb, Rgb]


def _quarter(sheet: Array, at: Array, size: float, corner: int, inks: Inks) -> None:
    _arcs(sheet, at, size, corner, ((1.0, inks[0]),))


def _rainbow(sheet: Array, at: Array, size: float, corner: int, inks: Inks) -> None:
    _arcs(sheet, at, size, corner, ((1.0, inks[0]), (0.66, inks[1]), (0.33, inks[0])))


def _arcs(sheet: Array, at: Array, size: float, corner: int, rings: tuple[tuple[float, Rgb], ...]) -> None:
    center = (float(at[0]) + size * (corner % 2), float(at[1]) + size * (corner // 2))
    for radius, ink in rings:
        fill(sheet, np.clip(ellipse_points(center, size * radius, size * radius, n=120), at, at + size), ink)


def _target(sheet: Array, at: Array, size: float, corner: int, inks: Inks) -> None:
    center = (float(at[0]) + size / 2, float(at[1]) + size / 2)
    disc(sheet, center, size * 0.42, inks[0])
    disc(sheet, center, size * (0.12 + 0.04 * corner), inks[1])


def _wedge(sheet: Array, at: Array, size: float, corner: int, inks: Inks) -> None:
    tips = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    fill(sheet, at + size * np.delete(tips, corner, axis=0), inks[0])


def _stripes(sheet: Array, at: Array, size: float, corner: int, inks: Inks) -> None:
    for k in range(5):
        low = (k + 0.25) / 5
        bar = box(0, low, 1, low + 0.1)
        fill(sheet, at + size * (bar if corner % 2 else bar[:, ::-1]), inks[0])


def _spots(sheet: Array, at: Array, size: float, corner: int, inks: Inks) -> None:
    n = 3 + corner % 2
    for k in range(n * n):
        center = at + size * (np.array([k % n, k // n]) + 0.5) / n
        disc(sheet, (float(center[0]), float(center[1])), size * 0.24 / n, inks[0])


def _halves(sheet: Array, at: Array, size: float, corner: int, inks: Inks) -> None:
    circle = ellipse_points((float(at[0]) + size / 2, float(at[1]) + size / 2), size / 2, size / 2, n=120)
    middle = at + size * (np.array([0.5, 1.0]) if corner % 2 else np.array([1.0, 0.5]))
    fill(sheet, np.clip(circle, at, middle), inks[0])
    fill(sheet, np.clip(circle, at + size - (middle - at), at + size), inks[1])


def _hourglass(sheet: Array, at: Array, size: float, corner: int, inks: Inks) -> None:
    tips = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)])
    for turn in range(4):
        wedge = np.stack([tips[turn], tips[turn + 1], np.array([0.5, 0.5])])
        fill(sheet, at + size * wedge, inks[(turn + corner) % 2])


def ridgelines(brief: Brief, stage: Stage) -> Scene:
    """Return a signal drawn line behind line before a large disc."""
    rng, palette = brief.rng("lines"), brief.palette
    ground = mix(palette.land, palette.sky[0], 0.35)
    width, height = soft_size(stage.width, stage.height)
    field = np.repeat(
        gradient(height, [(0, shade(ground, 0.8)), (0.5, mix(ground, palette.sky[1], 0.55)), (1, ground)]),
        width,
        axis=1,
    )
    layers: list[Layer] = [backdrop(field, stage)]
    halo = blank(stage.width, stage.height)
    centre = stage.at(brief.draw("disc u", 0.3, 0.7), brief.draw("disc v", 0.25, 0.36))
    disc(halo, centre, stage.unit * brief.draw("disc r", 0.17, 0.24), mix(palette.accent, palette.light, 0.2))
    layers.append(trimmed(halo, 0.05))
    n = brief.count(34)
    wide = 500
    bulge = np.exp(-(((np.linspace(0, 1, wide) - centre[0] / stage.width) / brief.draw("bulge", 0.14, 0.28)) ** 2))
    for group in range(4):
        sheet = blank(stage.width, stage.height)
        for i in range(group * n // 4, (group + 1) * n // 4):
            t = i / (n - 1)
            swing = profile(rng, wide, 9, 5, 0.55) ** 2 * (0.12 + bulge) * stage.unit * 0.30 * (0.55 + 0.6 * t)
            y = stage.height * (0.30 + 0.72 * t**1.12) - swing
            x = np.linspace(-4, stage.width + 4, wide)
            line = np.stack([x, y], axis=-1)
            low = np.array([(stage.width + 4, y.max() + stage.unit * 0.5), (-4, y.max() + stage.unit * 0.5)])
            fill(sheet, np.concatenate([line, low]), mix(ground, palette.sky[1], 0.4 * (1 - t)))
            tint = mix(mix(palette.light, palette.spice, t), palette.accent, max(0.0, 2 * t - 1.2))
            stroke(sheet, line, tint, stage.unit * (0.0022 + 0.0022 * t))
        layers.append(trimmed(sheet, 0.12 + 0.22 * group))
    return Scene(stage, tuple(layers))


def spheres(brief: Brief, stage: Stage) -> Scene:
    """Return shaded spheres, rings and bars in balance."""
    rng, palette = brief.rng("spheres"), brief.palette
    width, height = soft_size(stage.width, stage.height, 640)
    first, last = (palette.sky[1], palette.paper) if brief.chance("pale", 0.5) else (palette.sky[0], palette.sky[1])
    field = np.repeat(gradient(height, [(0, first), (1, last)]), width, axis=1)
    field *= (0.86 + 0.28 * smooth(0.2, 0.8, noise(rng, width, height, (2, 2), 5)))[..., None]
    layers: list[Layer] = [backdrop(field, stage)]
    inks = (palette.accent, palette.spice, palette.leaf, palette.light, palette.land)
    for i, full in enumerate((4, 6, 9)):
        sheet, soft = blank(stage.width, stage.height), blank(stage.width, stage.height)
        for k in range(brief.count(full)):
            at = stage.at(float(rng.uniform(0.08, 0.92)), float(rng.uniform(0.1, 0.9)))
            radius = stage.unit * float(rng.uniform(0.5, 1.0)) * (0.26, 0.14, 0.055)[i]
            ink = inks[(k * 2 + i) % 5]
            fill(soft, ellipse_points((at[0] + radius * 0.22, at[1] + radius * 0.3), radius, radius), (0, 0, 0))
            if (k + i) % 3 == 1:
                for grow in range(4):
                    ring = ellipse_points(at, radius * (1 - 0.2 * grow), radius * (1 - 0.2 * grow), n=120)
                    stroke(sheet, ring, shade(ink, 1 - 0.12 * grow), radius * 0.07, closed=True)
            else:
                ball(sheet, at, radius, ink)
        _bars(rng, sheet, stage, inks[i + 1])
        layers += [Sheet(faded(blurred(soft, stage.unit * 0.016), 0.34), 0.2 * i), trimmed(sheet, 0.2 + 0.3 * i)]
    return Scene(stage, tuple(layers))


def _bars(rng: np.random.Generator, sheet: Array, stage: Stage, ink: Rgb) -> None:
    at, turn = stage.at(float(rng.uniform(0.15, 0.85)), float(rng.uniform(0.15, 0.85))), float(rng.uniform(0, np.pi))
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    long = stage.unit * float(rng.uniform(0.2, 0.42))
    for k in range(int(rng.integers(2, 6))):
        start = np.array(at) + across * k * stage.unit * 0.022
        stroke(sheet, np.stack([start - along * long / 2, start + along * long / 2]), ink, stage.unit * 0.006)
