"""Things that stand on a podium, shaded as if lit by a large lamp from the upper left.

Each is drawn standing on *foot* (pixels), *tall* pixels high, in two colours.
"""

from __future__ import annotations

from collections.abc import Callable

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
)
from shared.providers.studio.shading import ball, turned
from shared.providers.studio.shapes import placed

Draw = Callable[[Array, Point, float, Rgb, Rgb], None]


def _rounded(left: float, low: float, right: float, high: float, r: float) -> list[Point]:
    """Return a rounded box on the unit grid."""
    corners = [(right - r, low + r, -90), (right - r, high - r, 0), (left + r, high - r, 90), (left + r, low + r, 180)]
    turns = [(x, y, np.radians(start + np.linspace(0, 90, 8))) for x, y, start in corners]
    return [(x + r * float(np.cos(a)), y + r * float(np.sin(a))) for x, y, angles in turns for a in angles]


def flask(sheet: Array, foot: Point, tall: float, body: Rgb, trim: Rgb) -> None:
    """Draw a perfume flask: heavy glass, a metal collar, a square stopper."""
    turned(sheet, placed(_rounded(-0.33, 0, 0.33, 0.68, 0.05), foot, tall), mix(body, (255, 255, 255), 0.42), 0.9)
    turned(sheet, placed(_rounded(-0.27, 0.06, 0.27, 0.56, 0.03), foot, tall), body, 0.55)
    turned(sheet, placed(_rounded(-0.10, 0.68, 0.10, 0.75, 0.01), foot, tall), mix(trim, (255, 240, 205), 0.4), 0.9)
    turned(sheet, placed(_rounded(-0.15, 0.75, 0.15, 1.0, 0.025), foot, tall), shade(trim, 0.55), 0.8)
    _label(sheet, foot, tall, (-0.17, 0.2, 0.17, 0.42), trim)


def _label(sheet: Array, foot: Point, tall: float, box: tuple[float, float, float, float], ink: Rgb) -> None:
    left, low, right, high = box
    fill(sheet, placed([(left, low), (right, low), (right, high), (left, high)], foot, tall), (250, 246, 238))
    for k, wide in enumerate((0.72, 0.5, 0.6)):
        y, middle, half = high - (high - low) * (0.3 + 0.22 * k), (left + right) / 2, (right - left) * wide / 2
        thick = (high - low) * (0.09 if k == 0 else 0.035)
        bar = [(middle - half, y), (middle + half, y), (middle + half, y + thick), (middle - half, y + thick)]
        fill(sheet, placed(bar, foot, tall), shade(ink, 0.5))


def bottle(sheet: Array, foot: Point, tall: float, body: Rgb, trim: Rgb) -> None:
    """Draw a bottle with shoulders and a dropper."""
    side = [(0.19, 0.02), (0.205, 0.06), (0.205, 0.5), (0.19, 0.58), (0.11, 0.64), (0.08, 0.67)]
    outline = [(-x, y) for x, y in reversed(side)] + side
    turned(sheet, placed(outline, foot, tall), body, 0.85)
    turned(sheet, placed(_rounded(-0.095, 0.66, 0.095, 0.78, 0.01), foot, tall), shade(trim, 0.5), 0.7)
    turned(sheet, placed(_rounded(-0.06, 0.78, 0.06, 1.0, 0.055), foot, tall), shade(trim, 0.8), 0.4)
    _label(sheet, foot, tall, (-0.15, 0.14, 0.15, 0.44), trim)


def jar(sheet: Array, foot: Point, tall: float, body: Rgb, trim: Rgb) -> None:
    """Draw a cream jar and its lid."""
    turned(sheet, placed(_rounded(-0.42, 0, 0.42, 0.5, 0.07), foot, tall), mix(body, (255, 255, 255), 0.25), 0.8)
    turned(sheet, placed(_rounded(-0.44, 0.48, 0.44, 0.74, 0.03), foot, tall), shade(trim, 0.75), 0.6)
    _label(sheet, foot, tall, (-0.22, 0.1, 0.22, 0.38), trim)


def cup(sheet: Array, foot: Point, tall: float, body: Rgb, trim: Rgb) -> None:
    """Draw a cup on its saucer, filled."""
    x, y = foot
    fill(sheet, ellipse_points((x, y - tall * 0.02), tall * 0.68, tall * 0.13), shade(body, 0.85))
    fill(sheet, ellipse_points((x, y - tall * 0.04), tall * 0.64, tall * 0.11), shade(body, 1.25))
    handle = placed([(0.34, 0.56), (0.58, 0.56), (0.60, 0.36), (0.36, 0.22)], foot, tall)
    stroke(sheet, spline(handle, closed=False), shade(body, 0.75), tall * 0.07)
    side = [(0.2, 0.04), (0.32, 0.14), (0.40, 0.34), (0.43, 0.68)]
    turned(sheet, placed([(-a, b) for a, b in reversed(side)] + side, foot, tall), body, 0.45)
    fill(sheet, ellipse_points((x, y - tall * 0.68), tall * 0.43, tall * 0.1), shade(body, 1.3))
    fill(sheet, ellipse_points((x, y - tall * 0.67), tall * 0.39, tall * 0.08), mix(trim, (70, 38, 18), 0.8))
    swirl = np.linspace(0.4, 9, 60)
    spiral = np.stack(
        [x + np.cos(swirl) * swirl * tall * 0.03, y - tall * 0.67 + np.sin(swirl) * swirl * tall * 0.006], axis=-1
    )
    stroke(sheet, spiral, (236, 214, 184), tall * 0.012)


def carton(sheet: Array, foot: Point, tall: float, body: Rgb, trim: Rgb) -> None:
    """Draw a box seen at its corner."""
    fill(sheet, placed([(-0.4, 0.04), (0.08, -0.04), (0.08, 0.86), (-0.4, 0.90)], foot, tall), shade(body, 1.1))
    fill(sheet, placed([(0.08, -0.04), (0.4, 0.06), (0.4, 0.91), (0.08, 0.86)], foot, tall), shade(body, 0.68))
    fill(sheet, placed([(-0.4, 0.90), (0.08, 0.86), (0.4, 0.91), (-0.06, 0.95)], foot, tall), shade(body, 1.45))
    fill(sheet, placed([(-0.4, 0.30), (0.08, 0.24), (0.08, 0.42), (-0.4, 0.47)], foot, tall), trim)
    fill(sheet, placed([(0.08, 0.24), (0.4, 0.33), (0.4, 0.5), (0.08, 0.42)], foot, tall), shade(trim, 0.68))
    disc(sheet, (foot[0] - tall * 0.16, foot[1] - tall * 0.66), tall * 0.08, (250, 246, 238))


def phone(sheet: Array, foot: Point, tall: float, body: Rgb, trim: Rgb) -> None:
    """Draw a phone standing upright with a picture on its screen."""
    turned(sheet, placed(_rounded(-0.265, 0, 0.265, 1.0, 0.07), foot, tall), (52, 55, 62), 0.7)
    screen = placed(_rounded(-0.245, 0.02, 0.245, 0.98, 0.055), foot, tall)
    fill(sheet, screen, mix(body, (255, 255, 255), 0.15))
    for k, (low, ink) in enumerate(((0.42, mix(body, trim, 0.45)), (0.30, trim), (0.17, shade(trim, 0.6)))):
        hill = [
            (-0.243, 0.09),
            (-0.243, low),
            (-0.1, low + 0.1 - 0.03 * k),
            (0.06, low - 0.02),
            (0.243, low + 0.08),
            (0.243, 0.09),
        ]
        top = spline(placed(hill[1:5], foot, tall), closed=False)
        base = placed([hill[4], hill[5], hill[0]], foot, tall)
        fill(sheet, np.concatenate([top, base]), ink)
    disc(sheet, (foot[0] + tall * 0.09, foot[1] - tall * 0.7), tall * 0.06, (255, 250, 235))
    fill(sheet, placed(_rounded(-0.06, 0.925, 0.06, 0.955, 0.014), foot, tall), (20, 22, 26))


def watch(sheet: Array, foot: Point, tall: float, body: Rgb, trim: Rgb) -> None:
    """Draw a wrist watch on its strap."""
    turned(
        sheet,
        placed(
            [
                (-0.13, 0.0),
                (0.13, 0.0),
                (0.19, 0.32),
                (0.19, 0.68),
                (0.13, 1.0),
                (-0.13, 1.0),
                (-0.19, 0.68),
                (-0.19, 0.32),
            ],
            foot,
            tall,
        ),
        shade(body, 0.55),
        0.3,
    )
    x, y = foot[0], foot[1] - tall * 0.5
    ball(sheet, (x, y), tall * 0.29, mix(trim, (235, 225, 200), 0.5), 0.3)
    disc(sheet, (x, y), tall * 0.245, (247, 244, 236))
    for k in range(12):
        a = k * np.pi / 6
        tick = np.array(
            [(x + np.sin(a) * tall * r, y - np.cos(a) * tall * r) for r in ((0.19 if k % 3 else 0.175), 0.22)]
        )
        stroke(sheet, tick, (40, 40, 44), tall * (0.008 if k % 3 else 0.016))
    for a, long, thick in ((-0.95, 0.12, 0.018), (1.02, 0.18, 0.012), (2.7, 0.19, 0.005)):
        stroke(
            sheet,
            np.array([(x, y), (x + np.sin(a) * tall * long, y - np.cos(a) * tall * long)]),
            shade(trim, 0.45),
            tall * thick,
        )
    disc(sheet, (x, y), tall * 0.016, shade(trim, 0.45))


def candle(sheet: Array, foot: Point, tall: float, body: Rgb, trim: Rgb) -> None:
    """Draw a burning candle in a glass."""
    turned(sheet, placed(_rounded(-0.28, 0, 0.28, 0.62, 0.05), foot, tall), body, 0.75)
    fill(
        sheet,
        ellipse_points((foot[0], foot[1] - tall * 0.61), tall * 0.27, tall * 0.05),
        mix(body, (255, 236, 196), 0.75),
    )
    stroke(sheet, placed([(0, 0.61), (0.005, 0.72)], foot, tall), (50, 40, 36), tall * 0.018)
    fill(sheet, spline(placed([(0, 0.68), (0.05, 0.78), (0.0, 0.98), (-0.05, 0.78)], foot, tall)), (255, 190, 80))
    fill(sheet, spline(placed([(0, 0.69), (0.025, 0.76), (0.0, 0.87), (-0.025, 0.76)], foot, tall)), (255, 246, 214))
    _label(sheet, foot, tall, (-0.16, 0.14, 0.16, 0.42), trim)


def headphones(sheet: Array, foot: Point, tall: float, body: Rgb, trim: Rgb) -> None:
    """Draw over-ear headphones."""
    t = np.linspace(np.pi * 1.02, -np.pi * 0.02, 50)
    for thick, ink in ((0.09, shade(body, 0.7)), (0.05, shade(body, 1.15))):
        arc = np.stack([foot[0] + np.cos(t) * tall * 0.38, foot[1] - tall * (0.5 + 0.46 * np.sin(t))], axis=-1)
        stroke(sheet, arc, ink, tall * thick)
    for side in (-1, 1):
        pad = placed(_rounded(-0.11, 0.06, 0.11, 0.56, 0.1), (foot[0] + side * tall * 0.33, foot[1]), tall)
        turned(sheet, pad, shade(trim, 0.5), 0.2)
        shell = placed(_rounded(-0.09, 0.08, 0.09, 0.54, 0.08), (foot[0] + side * tall * 0.42, foot[1]), tall)
        turned(sheet, shell, body, 0.8)


_SOLE: list[Point] = [
    (-0.66, 0.02), (-0.2, 0.0), (0.3, 0.0), (0.64, 0.04), (0.72, 0.12), (0.66, 0.18), (0.2, 0.15),
    (-0.3, 0.16), (-0.68, 0.20), (-0.72, 0.1),
]  # fmt: skip
_UPPER: list[Point] = [
    (-0.66, 0.18), (-0.66, 0.42), (-0.6, 0.62), (-0.44, 0.66), (-0.30, 0.56), (-0.12, 0.60), (0.12, 0.44),
    (0.40, 0.33), (0.62, 0.26), (0.68, 0.16), (0.2, 0.14), (-0.3, 0.15),
]  # fmt: skip


def shoe(sheet: Array, foot: Point, tall: float, body: Rgb, trim: Rgb) -> None:
    """Draw a running shoe from the side."""
    scale = tall * 0.95
    fill(sheet, spline(placed(_UPPER, foot, scale)), body)
    fill(sheet, spline(placed([(-0.64, 0.2), (-0.62, 0.5), (-0.5, 0.5), (-0.42, 0.2)], foot, scale)), shade(body, 0.72))
    fill(sheet, spline(placed([(0.3, 0.18), (0.42, 0.30), (0.62, 0.25), (0.66, 0.17)], foot, scale)), shade(body, 1.25))
    swoosh = placed([(-0.42, 0.24), (-0.1, 0.22), (0.22, 0.38), (-0.08, 0.30), (-0.36, 0.34)], foot, scale)
    fill(sheet, spline(swoosh), trim)
    fill(sheet, spline(placed(_SOLE, foot, scale)), (246, 243, 238))
    stroke(
        sheet,
        spline(placed([(-0.68, 0.12), (-0.2, 0.08), (0.3, 0.08), (0.7, 0.12)], foot, scale), closed=False),
        shade(trim, 0.8),
        scale * 0.02,
    )
    for k in range(5):
        x = -0.1 + k * 0.075
        stroke(
            sheet,
            placed([(x, 0.56 - k * 0.05), (x + 0.1, 0.62 - k * 0.055)], foot, scale),
            (250, 248, 244),
            scale * 0.022,
        )


def bag(sheet: Array, foot: Point, tall: float, body: Rgb, trim: Rgb) -> None:
    """Draw a handbag."""
    t = np.linspace(0, np.pi, 40)
    handle = np.stack([foot[0] + np.cos(t) * tall * 0.24, foot[1] - tall * (0.58 + 0.40 * np.sin(t))], axis=-1)
    stroke(sheet, handle, shade(body, 0.6), tall * 0.045)
    turned(
        sheet,
        placed([(-0.5, 0.03), (-0.46, 0.0), (0.46, 0.0), (0.5, 0.03), (0.4, 0.62), (-0.4, 0.62)], foot, tall),
        body,
        0.25,
    )
    flap = placed(
        [(-0.41, 0.62), (-0.42, 0.42), (-0.2, 0.30), (0, 0.27), (0.2, 0.30), (0.42, 0.42), (0.41, 0.62)], foot, tall
    )
    fill(sheet, spline(flap, closed=False), shade(body, 0.8))
    disc(sheet, (foot[0], foot[1] - tall * 0.3), tall * 0.045, mix(trim, (250, 225, 160), 0.6))


OBJECTS: dict[str, tuple[Draw, float]] = {
    "perfume": (flask, 1.0),
    "bottle": (bottle, 1.15),
    "jar": (jar, 0.8),
    "cup": (cup, 0.75),
    "box": (carton, 0.95),
    "phone": (phone, 1.15),
    "watch": (watch, 1.1),
    "candle": (candle, 0.9),
    "headphone": (headphones, 0.95),
    "shoe": (shoe, 0.8),
    "bag": (bag, 0.95),
}
OBJECT_WORDS = {
    "perfume": "perfume fragrance cologne whisky",
    "bottle": "bottle serum soap wine juice oil olive smoothie shampoo lipstick drink",
    "jar": "jar cream cosmetic skincare honey",
    "cup": "cup mug coffee tea chocolate cake bread food",
    "box": "box packaging product device speaker gadget",
    "phone": "phone smartphone app laptop",
    "watch": "watch jewelry jewellery ring",
    "candle": "candle lamp",
    "headphone": "headphone",
    "shoe": "shoe sneaker",
    "bag": "bag leather",
}
