"""Painting on premultiplied sheets: noise, gradients, shapes, light.

A sheet is a uint8 array (height, width, 4), sRGB premultiplied by its last channel. Drawing an opaque colour with
OpenCV's anti-aliasing keeps that form; a sheet with colour and no alpha adds light. Colours are 0..255 triples,
fields float32. Noise is drawn on grids whose size does not depend on the pixels, so that one seed gives one
composition at every size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Rgb = tuple[float, float, float]
Point = tuple[float, float]
Points = Array | Sequence[Point]

_SHIFT = 4  # fractional bits of OpenCV's sub-pixel coordinates
_FIELD_SIDE = 448  # soft fields are computed at most this large and enlarged


def rgb(code: str) -> Rgb:
    """Return the colour of e.g. "#ff8a5c"."""
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def mix(a: Rgb, b: Rgb, t: float) -> Rgb:
    """Return *a* at t = 0, *b* at t = 1."""
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t


def shade(color: Rgb, factor: float) -> Rgb:
    """Return *color* made darker (below 1) or lighter (above 1, towards white)."""
    return mix(color, (255, 255, 255), factor - 1) if factor > 1 else mix((0, 0, 0), color, factor)


def luma(color: Rgb) -> float:
    """Return the brightness, 0..255 (ITU-R BT.601)."""
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]


def smooth(low: float, high: float, x: Array) -> Array:
    """Return 0 below *low*, 1 above *high*, an S-curve between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def resized(field: Array, width: int, height: int, how: int = cv2.INTER_CUBIC) -> Array:
    """Return *field* at another size."""
    return field if field.shape[:2] == (height, width) else cv2.resize(field, (width, height), interpolation=how)


def soft_size(width: int, height: int, side: int = _FIELD_SIDE) -> tuple[int, int]:
    """Return the (width, height) at which a soft field of this size is computed."""
    k = min(1.0, side / max(width, height))
    return max(8, round(width * k)), max(8, round(height * k))


def noise(
    rng: np.random.Generator,
    width: int,
    height: int,
    cells: Point,
    octaves: int = 5,
    gain: float = 0.5,
) -> Array:
    """Return fractal value noise, float32 (height, width), about 0..1 with mean 0.5.

    Args:
        cells: bumps across and down in the coarsest octave.
    """
    total = np.zeros((height, width), np.float32)
    weight, weights = 1.0, 0.0
    for octave in range(octaves):
        across, down = max(2, round(cells[0] * 2**octave)), max(2, round(cells[1] * 2**octave))
        grid = rng.random((down + 3, across + 3), dtype=np.float32)
        total += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        weights += weight
        weight *= gain
    spread = 1.0 + 0.9 * (1 - gain)  # averaging octaves narrows the range; widen it again
    return np.asarray(np.clip((total / weights - 0.5) * 1.5 * spread**0.5 + 0.5, 0, 1))


def profile(
    rng: np.random.Generator, width: int, cells: float, octaves: int = 6, gain: float = 0.5, *, ridged: bool = False
) -> Array:
    """Return a skyline, float32 (width,), 0..1; *ridged* makes peaks instead of hills."""
    total = np.zeros(width, np.float32)
    weight, weights = 1.0, 0.0
    for octave in range(octaves):
        across = max(2, round(cells * 2**octave))
        grid = rng.random((1, across + 3), dtype=np.float32)
        how = cv2.INTER_LINEAR if ridged else cv2.INTER_CUBIC
        line = cv2.resize(grid, (width, 1), interpolation=how)[0]
        total += weight * line
        weights += weight
        weight *= gain
    return np.asarray(0.5 + 0.5 * np.tanh((total / weights - 0.5) * 3.6))


def gradient(height: int, stops: Sequence[tuple[float, Rgb]]) -> Array:
    """Return a vertical gradient, float32 (height, 1, 3), through (position 0..1, colour) *stops*."""
    at = np.linspace(0, 1, height, dtype=np.float32)
    positions = [stop[0] for stop in stops]
    channels = [np.interp(at, positions, [stop[1][c] for stop in stops]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)[:, None, :]


def distance(width: int, height: int, center: Point) -> Array:
    """Return each pixel's distance in pixels from *center* (x, y), float32 (height, width)."""
    x = np.arange(width, dtype=np.float32) - center[0]
    y = np.arange(height, dtype=np.float32) - center[1]
    return np.sqrt(x[None, :] ** 2 + y[:, None] ** 2)


def weighted(weights: Sequence[Array], colors: Sequence[Rgb]) -> Array:
    """Return the sum of *colors* times their *weights*, float32 (height, width) each, as uint8 (height, width, 3)."""
    stacked = np.stack([np.broadcast_to(w, weights[0].shape) for w in weights], axis=-1).astype(np.float32, copy=False)
    return to_bytes(stacked @ np.array(colors, np.float32))


def to_bytes(field: Array) -> Array:
    """Return *field* rounded and clipped to uint8."""
    return cv2.convertScaleAbs(np.maximum(field, 0))


# ---------------------------------------------------------------- sheets


def blank(width: int, height: int) -> Array:
    """Return an empty sheet."""
    return np.zeros((height, width, 4), np.uint8)


def opaque(field: Array) -> Array:
    """Return a full sheet from a picture, float or uint8 (height, width, 3)."""
    return cv2.cvtColor(field if field.dtype == np.uint8 else to_bytes(field), cv2.COLOR_RGB2RGBA)


def cut(field: Array, mask: Array) -> Array:
    """Return a sheet showing *field* (height, width, 3) where *mask*, uint8 (height, width), is set."""
    sheet = opaque(field)
    sheet[..., 3] = mask
    premultiplied: Array = cv2.cvtColor(sheet, cv2.COLOR_RGBA2mRGBA)
    return premultiplied


def veil(color: Rgb, opacity: Array) -> Array:
    """Return a sheet of one colour with *opacity*, float32 0..1 (height, width)."""
    strength = np.clip(opacity, 0, 1) * (opacity > 0.012)
    return cv2.merge([to_bytes(strength * channel) for channel in (*color, 255)])


def light(color: Rgb, strength: Array) -> Array:
    """Return a sheet that adds *color* times *strength*, float32 0..1 (height, width), to what is below."""
    sheet = veil(color, strength)
    sheet[..., 3] = 0
    return sheet


def lay(canvas: Array, sheet: Array, top: int = 0) -> None:
    """Put *sheet* over *canvas* (both premultiplied, equally wide), its first row at row *top*."""
    first, last = max(0, top), min(canvas.shape[0], top + sheet.shape[0])
    if last <= first:
        return
    rows, sheet = canvas[first:last], sheet[first - top : last - top]
    over(rows, sheet, rest_of(sheet) if cv2.countNonZero(cv2.extractChannel(sheet, 3)) else None)


def rest_of(sheet: Array) -> Array:
    """Return what *sheet* lets through from below, uint8, in all four channels."""
    rest = cv2.bitwise_not(cv2.extractChannel(sheet, 3))
    return cv2.merge([rest, rest, rest, rest])


def over(rows: Array, sheet: Array, rest: Array | None) -> None:
    """Put *sheet* over *rows*, in place, both of one size; *rest* is `rest_of(sheet)`, None for pure light."""
    if rest is not None:
        cv2.multiply(rows, rest, dst=rows, scale=1 / 255)
    cv2.add(rows, sheet, dst=rows)


def faded(sheet: Array, opacity: float) -> Array:
    """Return *sheet* made evenly transparent."""
    return cv2.convertScaleAbs(sheet, alpha=opacity)


def blurred(sheet: Array, sigma: float) -> Array:
    """Return *sheet* out of focus; large radii are blurred at a lower size."""
    if sigma < 0.4:
        return sheet
    k = max(1, int(sigma / 2.5))
    height, width = sheet.shape[:2]
    small = resized(sheet, max(4, width // k), max(4, height // k), cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small, (0, 0), sigma / k)
    return resized(soft, width, height, cv2.INTER_LINEAR)


# ---------------------------------------------------------------- shapes


def _ink(color: Rgb) -> tuple[float, float, float, float]:
    return (round(color[0]), round(color[1]), round(color[2]), 255)


def _fixed(points: Points) -> Array:
    return np.round(np.asarray(points, np.float64) * (1 << _SHIFT)).astype(np.int32).reshape(-1, 1, 2)


def fill(sheet: Array, points: Points, color: Rgb) -> None:
    """Fill a polygon, (n, 2) pixels; sub-pixel accurate."""
    cv2.fillPoly(sheet, [_fixed(points)], _ink(color), cv2.LINE_AA, _SHIFT)


def stroke(sheet: Array, points: Points, color: Rgb, thickness: float, *, closed: bool = False) -> None:
    """Draw a line through *points*, (n, 2) pixels; at least one pixel thick."""
    cv2.polylines(sheet, [_fixed(points)], closed, _ink(color), max(1, round(thickness)), cv2.LINE_AA, _SHIFT)


def disc(sheet: Array, center: Point, radius: float, color: Rgb) -> None:
    """Fill a circle; pixels."""
    at = (round(center[0] * 16), round(center[1] * 16))
    cv2.circle(sheet, at, max(1, round(radius * 16)), _ink(color), -1, cv2.LINE_AA, _SHIFT)


def dots(sheet: Array, centers: Iterable[tuple[float, float, float]], color: Rgb) -> None:
    """Fill circles (x, y, radius); pixels."""
    for x, y, radius in centers:
        disc(sheet, (x, y), radius, color)


def box(left: float, top: float, right: float, bottom: float) -> Array:
    """Return an upright rectangle, (4, 2)."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def ellipse_points(center: Point, rx: float, ry: float, turn: float = 0.0, n: int = 72) -> Array:
    """Return an ellipse's outline, (n, 2); *turn* in radians."""
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    x, y = rx * np.cos(t), ry * np.sin(t)
    c, s = np.cos(turn), np.sin(turn)
    return np.stack([center[0] + x * c - y * s, center[1] + x * s + y * c], axis=-1)


def spline(points: Sequence[Point] | Array, per_span: int = 12, *, closed: bool = True) -> Array:
    """Return a smooth curve through *points* (Catmull-Rom), (n, 2)."""
    p = np.asarray(points, np.float64)
    p = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([p[:1], p, p[-1:]])
    t = np.linspace(0, 1, per_span, endpoint=False)[None, :, None]
    a, b, c, d = (p[i : len(p) - 3 + i, None, :] for i in range(4))
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.asarray(curve.reshape(-1, 2))


def tapered(spine: Array, start: float, end: float) -> Array:
    """Return the outline, (2n, 2), of a stroke along *spine* (n, 2) whose width goes from *start* to *end*."""
    return ribbon(spine, np.linspace(start, end, len(spine)))


def ribbon(spine: Array, widths: Array) -> Array:
    """Return the outline, (2n, 2), of a stroke along *spine* (n, 2) of *widths* (n,)."""
    along = np.gradient(spine, axis=0)
    length = np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-6)
    across = np.stack([-along[:, 1], along[:, 0]], axis=-1) * (widths / length / 2)[:, None]
    return np.concatenate([spine + across, (spine - across)[::-1]])
