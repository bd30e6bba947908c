"""Animals seated with their back to us. Drawings on a unit grid: x to the right, y up from the ground."""

from __future__ import annotations

import numpy as np

from shared.providers.studio.paint import Array, Point, Rgb, ellipse_points, fill, ribbon, spline
from shared.providers.studio.shapes import placed

_BODY: list[Point] = [
    (-0.30, 0.0), (-0.33, 0.16), (-0.25, 0.38), (-0.16, 0.56), (0, 0.62), (0.16, 0.56), (0.25, 0.38), (0.33, 0.16),
    (0.30, 0.0), (0, -0.01),
]  # fmt: skip
_HEAD: list[Point] = [
    (-0.17, 0.70), (-0.13, 0.58), (0, 0.53), (0.13, 0.58), (0.17, 0.70), (0.11, 0.82), (0, 0.85), (-0.11, 0.82),
]  # fmt: skip
_EARS: dict[str, list[Point]] = {  # the left one
    "cat": [(-0.17, 0.72), (-0.155, 0.97), (-0.03, 0.83)],
    "fox": [(-0.18, 0.70), (-0.17, 1.0), (-0.02, 0.82)],
    "wolf": [(-0.17, 0.72), (-0.14, 0.99), (-0.03, 0.83)],
    "dog": [(-0.10, 0.83), (-0.21, 0.80), (-0.25, 0.60), (-0.16, 0.62)],
    "rabbit": [(-0.13, 0.78), (-0.16, 1.05), (-0.11, 1.16), (-0.05, 1.02), (-0.02, 0.82)],
    "owl": [(-0.16, 0.76), (-0.15, 0.92), (-0.04, 0.84)],
}
_TAILS: dict[str, list[Point]] = {
    "cat": [(0.24, 0.03), (0.44, 0.05), (0.55, 0.17), (0.52, 0.34), (0.45, 0.40)],
    "fox": [(0.22, 0.05), (0.42, 0.03), (0.60, 0.10), (0.70, 0.26)],
    "wolf": [(0.22, 0.05), (0.40, 0.02), (0.54, 0.03)],
    "dog": [(0.24, 0.05), (0.40, 0.10), (0.48, 0.26)],
}
_WIDTHS = {"owl": 1.0, "rabbit": 1.05, "cat": 0.92}
ANIMALS = tuple(_EARS)


def seated_animal(sheet: Array, kind: str, foot: Point, tall: float, color: Rgb, rim: Rgb, *, mirrored: bool) -> None:
    """Draw one of `ANIMALS` at *foot* (pixels), *tall* pixels high, its edge caught by the light."""
    edge = tall * 0.012 * (-1 if mirrored else 1)
    for ink, dx in ((rim, edge), (color, 0.0)):
        for outline in _outlines(kind, (foot[0] + dx, foot[1] - abs(dx) * 0.6), tall, mirrored=mirrored):
            fill(sheet, outline, ink)


def _outlines(kind: str, foot: Point, tall: float, *, mirrored: bool) -> list[Array]:
    def at(points: list[Point]) -> Array:
        return placed(points, foot, tall, mirrored=mirrored)

    wide, ear = _WIDTHS.get(kind, 0.84), _EARS[kind]
    pieces = [spline(at([(x * wide, y) for x, y in _BODY])), spline(at(_HEAD)), at(ear), at([(-x, y) for x, y in ear])]
    if kind in _TAILS:
        pieces += _tail(spline(at(_TAILS[kind]), closed=False), tall, bushy=kind in {"fox", "wolf"})
    return pieces


def _tail(spine: Array, tall: float, *, bushy: bool) -> list[Array]:
    if bushy:
        return [ribbon(spine, tall * (0.01 + 0.17 * np.sin(np.linspace(0.35, np.pi - 0.12, len(spine)))))]
    tip = ellipse_points((float(spine[-1, 0]), float(spine[-1, 1])), tall * 0.026, tall * 0.026, n=16)
    return [ribbon(spine, tall * np.linspace(0.075, 0.05, len(spine))), tip]
