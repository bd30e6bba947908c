"""Figures drawn by hand: boats, birds, houses, animals, people; each stands on its foot, *tall* pixels high."""

from __future__ import annotations

import numpy as np

from shared.providers.studio.paint import (
    Array,
    Point,
    Rgb,
    disc,
    ellipse_points,
    fill,
    mix,
    shade,
    spline,
    stroke,
    tapered,
)

_COAT: list[Point] = [  # its left half
    (-0.035, 0.87), (-0.125, 0.82), (-0.155, 0.62), (-0.15, 0.42), (-0.115, 0.43), (-0.125, 0.33),
]  # fmt: skip


def placed(points: list[Point], foot: Point, tall: float, *, mirrored: bool = False) -> Array:
    """Return a drawing on a unit grid (x to the right, y up from the foot) in pixels."""
    p = np.array(points, np.float64)
    side = -1.0 if mirrored else 1.0
    return np.stack([foot[0] + p[:, 0] * tall * side, foot[1] - p[:, 1] * tall], axis=-1)


def sailboat(sheet: Array, foot: Point, tall: float, hull: Rgb, sail: Rgb, *, mirrored: bool) -> None:
    """Draw a sloop with main and jib."""

    def at(points: list[Point]) -> Array:
        return placed(points, foot, tall, mirrored=mirrored)

    fill(sheet, at([(-0.30, 0.10), (0.34, 0.12), (0.24, -0.005), (-0.22, -0.005)]), hull)
    stroke(sheet, at([(0.0, 0.1), (0.0, 1.0)]), hull, tall * 0.012)
    main = np.concatenate(
        [spline(at([(-0.02, 0.97), (-0.16, 0.6), (-0.29, 0.17)]), closed=False), at([(-0.29, 0.17), (-0.02, 0.15)])]
    )
    jib = np.concatenate(
        [spline(at([(0.02, 0.90), (0.17, 0.5), (0.32, 0.16)]), closed=False), at([(0.32, 0.16), (0.04, 0.17)])]
    )
    fill(sheet, main, sail)
    fill(sheet, jib, shade(sail, 0.86))
    for y in (0.34, 0.52, 0.7):
        stroke(sheet, at([(-0.02, y), (-0.27 + (y - 0.17) * 0.32, y + 0.01)]), shade(sail, 0.8), 1)


def lighthouse(sheet: Array, foot: Point, tall: float, wall: Rgb, band: Rgb, lamp: Rgb) -> None:
    """Draw a banded tower with a lit lantern."""
    for i in range(6):
        low, high = i / 6 * 0.78, (i + 1) / 6 * 0.78
        half = [0.115 - 0.055 * y / 0.78 for y in (low, high)]
        body = band if i % 2 else wall
        fill(sheet, placed([(-half[0], low), (half[0], low), (half[1], high), (-half[1], high)], foot, tall), body)
        fill(
            sheet,
            placed([(half[0] * 0.25, low), (half[0], low), (half[1], high), (half[1] * 0.25, high)], foot, tall),
            shade(body, 0.72),
        )
    fill(sheet, placed([(-0.09, 0.78), (0.09, 0.78), (0.09, 0.80), (-0.09, 0.80)], foot, tall), shade(band, 0.5))
    fill(sheet, placed([(-0.045, 0.80), (0.045, 0.80), (0.045, 0.89), (-0.045, 0.89)], foot, tall), lamp)
    for x in (-0.045, -0.01, 0.025, 0.045):
        stroke(sheet, placed([(x, 0.80), (x, 0.89)], foot, tall), shade(band, 0.4), tall * 0.008)
    fill(
        sheet,
        placed([(-0.06, 0.89), (0.06, 0.89), (0.02, 0.96), (0, 1.0), (-0.02, 0.96)], foot, tall),
        shade(band, 0.55),
    )


def birds(sheet: Array, rng: np.random.Generator, center: Point, spread: float, n: int, color: Rgb) -> None:
    """Draw *n* gulls or swallows in a loose flock; *spread* in pixels."""
    for _ in range(n):
        x, y = center[0] + rng.normal(0, spread), center[1] + rng.normal(0, spread * 0.35)
        size, lift = spread * rng.uniform(0.06, 0.14), rng.uniform(0.25, 0.6)
        left = spline([(x - size, y - size * lift * 0.5), (x - size * 0.5, y - size * lift), (x, y)], 6, closed=False)
        right = spline([(x, y), (x + size * 0.5, y - size * lift), (x + size, y - size * lift * 0.4)], 6, closed=False)
        fill(sheet, tapered(np.concatenate([left, right]), size * 0.05, size * 0.16), color)
        disc(sheet, (x, y), size * 0.07, color)


def cabin(sheet: Array, foot: Point, tall: float, wall: Rgb, roof: Rgb, glow: Rgb) -> None:
    """Draw a gabled hut with a lit window and a chimney."""
    fill(sheet, placed([(0.34, 0.7), (0.45, 0.7), (0.45, 1.02), (0.34, 1.02)], foot, tall), shade(roof, 0.8))
    fill(sheet, placed([(-0.55, 0), (0.55, 0), (0.55, 0.48), (-0.55, 0.48)], foot, tall), wall)
    fill(sheet, placed([(0.12, 0), (0.55, 0), (0.55, 0.48), (0.12, 0.48)], foot, tall), shade(wall, 0.75))
    fill(sheet, placed([(-0.7, 0.44), (-0.28, 0.98), (0.3, 0.98), (0.7, 0.44)], foot, tall), roof)
    fill(sheet, placed([(-0.08, 0), (0.06, 0), (0.06, 0.3), (-0.08, 0.3)], foot, tall), shade(wall, 0.45))
    for x in (-0.42, 0.22):
        fill(sheet, placed([(x, 0.16), (x + 0.2, 0.16), (x + 0.2, 0.36), (x, 0.36)], foot, tall), glow)
        stroke(sheet, placed([(x + 0.1, 0.16), (x + 0.1, 0.36)], foot, tall), shade(wall, 0.5), tall * 0.015)
        stroke(sheet, placed([(x, 0.26), (x + 0.2, 0.26)], foot, tall), shade(wall, 0.5), tall * 0.015)


def standing_person(sheet: Array, foot: Point, tall: float, color: Rgb, *, mirrored: bool = False) -> None:
    """Draw a person in a coat, seen from behind."""

    def at(points: list[Point]) -> Array:
        return placed(points, foot, tall, mirrored=mirrored)

    fill(sheet, ellipse_points((foot[0], foot[1] - tall * 0.925), tall * 0.056, tall * 0.072, n=32), color)
    right = [(-x, y) for x, y in reversed(_COAT)]
    fill(sheet, at([*_COAT, *right]), color)
    fill(sheet, at([(-0.105, 0.35), (-0.095, 0.0), (-0.025, 0.0), (-0.012, 0.34)]), color)
    fill(sheet, at([(0.012, 0.34), (0.04, 0.0), (0.11, 0.0), (0.105, 0.35)]), color)


def balloon(sheet: Array, center: Point, radius: float, colors: tuple[Rgb, Rgb]) -> None:
    """Draw a hot-air balloon with gores and a basket; *radius* in pixels."""
    x, y = center
    for i in range(9):
        a, b = -1 + 2 * i / 9, -1 + 2 * (i + 1) / 9
        t = np.linspace(0, 1, 16)
        wide = np.sin(np.pi * (0.08 + 0.86 * t)) ** 0.75 * (1 - 0.28 * t**3)
        left = np.stack([x + np.sin(a * 1.5) * wide * radius, y - radius + t * 2.25 * radius], axis=-1)
        right = np.stack([x + np.sin(b * 1.5) * wide * radius, y - radius + t * 2.25 * radius], axis=-1)
        light = 1.12 - 0.5 * abs(i - 3) / 6
        fill(sheet, np.concatenate([left, right[::-1]]), shade(colors[i % 2], light))
    low = y + radius * 1.25
    for dx in (-0.16, 0.16):
        stroke(
            sheet,
            np.array([(x + dx * radius, low), (x + dx * 0.8 * radius, low + radius * 0.3)]),
            shade(colors[0], 0.35),
            1,
        )
    basket = np.array([(-0.15, 0.28), (0.15, 0.28), (0.12, 0.5), (-0.12, 0.5)]) * radius + np.array([x, low])
    fill(sheet, basket, mix(shade(colors[1], 0.4), (70, 45, 30), 0.6))
