"""Scenes: sheets from far to near, water that mirrors what is above it, and drifting sparks.

A layer paints itself on a canvas at a moment, so that a still is the scene at 0 s and a clip is the same scene later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from shared.providers.studio.paint import Array, Rgb, blank, cut, lay, noise, opaque, over, resized, rest_of


@dataclass(frozen=True, slots=True)
class Stage:
    """The canvas of a scene. Positions are fractions of it (u from the left, v from the top), sizes are in units.

    Attributes:
        width, height: pixels.
        unit: pixels; the shorter side.
    """

    width: int
    height: int

    @property
    def unit(self) -> float:
        """Return the length that sizes are measured in, pixels."""
        return float(min(self.width, self.height))

    def at(self, u: float, v: float) -> tuple[float, float]:
        """Return the pixel position of (u, v)."""
        return u * self.width, v * self.height


@dataclass(frozen=True, slots=True)
class Moment:
    """When and from where a scene is seen.

    Attributes:
        time_s: seconds since the start.
        pan: camera displacement in pixels for what is nearest (depth 1).
    """

    time_s: float = 0.0
    pan: float = 0.0


STILL = Moment()


@dataclass(frozen=True, slots=True)
class Sheet:
    """Something flat at one distance.

    Attributes:
        pixels: uint8 (rows, canvas width, 4), premultiplied.
        top: first row on the canvas.
        depth: 0 very far (stands still) to 1 nearest.
        drift: pixels per second it moves by itself.
    """

    pixels: Array
    depth: float
    top: int = 0
    drift: float = 0.0

    def paint(self, canvas: Array, moment: Moment) -> None:
        """Lay the sheet over *canvas*, displaced by camera and drift; its edges are continued."""
        offset = moment.pan * self.depth + moment.time_s * self.drift
        lay(canvas, self.pixels if abs(offset) < 0.01 else shifted(self.pixels, offset), self.top)


def shifted(pixels: Array, offset: float) -> Array:
    """Return *pixels* moved right by *offset* pixels, to a fraction of a pixel; the edge mirrors."""
    matrix = np.array([[1, 0, offset], [0, 1, 0]], np.float32)
    size = (pixels.shape[1], pixels.shape[0])
    return cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


@dataclass(frozen=True, slots=True)
class Water:
    """A surface below row *top* that mirrors the canvas above it.

    Attributes:
        ripples: float32 (side, side), a tile of waves, 0..1.
        across, along: float32, half the water's size: where on the tile each place lies, in perspective.
        sway: float32 (half the rows, 1), pixels a full ripple bends the mirror image, growing towards the viewer.
        tint, clear: sheet of the water's own colour, (rows, width, 4), and what it lets through.
        glitter: uint8 (rows, width), where the light catches the waves.
        light: colour of that glitter.
        pace: of the waves, places on the tile per second.
    """

    top: int
    ripples: Array
    across: Array
    along: Array
    sway: Array
    tint: Array
    clear: Array
    glitter: Array
    light: Rgb
    pace: float

    def paint(self, canvas: Array, moment: Moment) -> None:
        """Mirror, bend, tint and light the rows below *top*."""
        rows, width = self.glitter.shape
        waves = self._waves(moment.time_s)
        x, y = self._mirrored(waves)
        mirror = cv2.remap(
            canvas[: self.top],
            resized(x, width, rows, cv2.INTER_LINEAR),
            resized(y, width, rows, cv2.INTER_LINEAR),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        over(mirror, self.tint, self.clear)
        crest = cv2.convertScaleAbs(np.maximum(waves - np.float32(0.62), 0), alpha=255 * 5.5)
        lit = cv2.multiply(resized(crest, width, rows, cv2.INTER_LINEAR), self.glitter, scale=1 / 255)
        sparkle = cv2.merge([cv2.convertScaleAbs(lit, alpha=c / 255) for c in (*self.light, 0)])
        cv2.add(mirror, sparkle, dst=canvas[self.top : self.top + rows])

    def _waves(self, time_s: float) -> Array:
        """Return the waves on screen at half size, float32, 0..1."""
        move = np.float32(time_s * self.pace)
        x, y = self.across + move, self.along - move
        return cv2.remap(self.ripples, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)

    def _mirrored(self, waves: Array) -> tuple[Array, Array]:
        """Return where on the canvas each place of the water, at half size, takes its picture from."""
        bend = (waves - np.float32(0.5)) * self.sway
        rows, width = waves.shape
        x = np.arange(width, dtype=np.float32)[None, :] * 2 + bend
        y = (self.top - 1) - np.arange(rows, dtype=np.float32)[:, None] * np.float32(1.8) - bend * np.float32(0.7)
        return x, np.clip(y, 0, self.top - 1)


@dataclass(frozen=True, slots=True)
class Sparks:
    """Small soft lights or flakes in the air.

    Attributes:
        places: float32 (n, 5): x, y in pixels, radius in pixels, strength 0..1, phase in radians.
        velocity: pixels per second (x, y).
    """

    places: Array
    color: Rgb
    velocity: tuple[float, float]
    depth: float = 0.8

    def paint(self, canvas: Array, moment: Moment) -> None:
        """Add every spark where it is by now; they leave at one edge and come back at the other."""
        height, width = canvas.shape[:2]
        for x, y, radius, strength, phase in self.places.tolist():
            sway = np.sin(phase + moment.time_s * 1.7) * radius * 1.5
            at_x = (x + moment.time_s * self.velocity[0] * (0.5 + strength) + sway + moment.pan * self.depth) % width
            at_y = (y + moment.time_s * self.velocity[1] * (0.5 + strength)) % height
            twinkle = strength * (0.75 + 0.25 * np.sin(phase * 3 + moment.time_s * 2.3))
            _stamp(canvas, at_x, at_y, radius, [round(c * twinkle) for c in self.color])


def _stamp(canvas: Array, x: float, y: float, radius: float, color: list[int]) -> None:
    reach = int(radius * 2.2) + 2
    left, top = int(x) - reach, int(y) - reach
    if left < 0 or top < 0 or left + 2 * reach >= canvas.shape[1] or top + 2 * reach >= canvas.shape[0]:
        return
    axis = np.arange(2 * reach + 1, dtype=np.float32) - reach
    dx, dy = axis - (x - int(x)), axis - (y - int(y))
    falloff = np.exp(-(dx[None, :] ** 2 + dy[:, None] ** 2) / (radius * radius * 0.9 + 0.2))
    spot = cv2.merge([cv2.convertScaleAbs(falloff, alpha=float(c)) for c in [*color, 0]])
    region = canvas[top : top + 2 * reach + 1, left : left + 2 * reach + 1]
    canvas[top : top + 2 * reach + 1, left : left + 2 * reach + 1] = cv2.add(region, spot)


Layer = Sheet | Water | Sparks


class Paintable(Protocol):
    """What can be painted on a canvas at a moment."""

    def paint(self, canvas: Array, moment: Moment) -> None:
        """Change *canvas*, uint8 (height, width, 4), in place."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Layers from far to near on one stage; the first one is opaque."""

    stage: Stage
    layers: tuple[Layer, ...]

    def picture(self, moment: Moment = STILL) -> Array:
        """Return the composed canvas, uint8 (height, width, 4), opaque."""
        canvas = blank(self.stage.width, self.stage.height)
        paint_all(canvas, self.layers, moment)
        return canvas


def paint_all(canvas: Array, layers: Iterable[Paintable], moment: Moment) -> None:
    """Paint *layers* on *canvas*, far to near."""
    for layer in layers:
        layer.paint(canvas, moment)


def trimmed(pixels: Array, depth: float, drift: float = 0.0) -> Sheet:
    """Return a sheet without the empty rows above and below what is painted."""
    used = np.flatnonzero(np.bitwise_or.reduce(np.ascontiguousarray(pixels).view(np.uint32)[..., 0], axis=1))
    if used.size == 0:
        return Sheet(pixels[:1], depth)
    first, last = int(used[0]), int(used[-1]) + 1
    return Sheet(pixels[first:last].copy(), depth, first, drift)


def make_water(
    rng: np.random.Generator,
    stage: Stage,
    top: int,
    colors: tuple[Rgb, Rgb],
    light: Rgb,
    light_u: float,
    *,
    calm: float = 1.0,
    opacity: tuple[float, float] = (0.12, 0.72),
) -> Water:
    """Return water below row *top*.

    Args:
        colors: of the water far away and near.
        light_u: below which column the glitter lies.
        calm: 0 mirror .. 1 sea.
        opacity: of the water's own colour, far away and near.
    """
    rows, width = stage.height - top, stage.width
    side = 512
    ripples = noise(rng, side, side, (26, 40), 4, 0.55)
    half_w, half_h = max(2, width // 2), max(2, rows // 2)
    near = np.linspace(0, 1, half_h, dtype=np.float32)[:, None]
    distance = 1 / (0.05 + near * rows / stage.unit * 1.1)
    across = (np.linspace(-0.5, 0.5, half_w, dtype=np.float32)[None, :] * width / stage.unit) * distance * 130
    along = np.repeat(distance * 130 * 1.15, half_w, axis=1)
    t = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    sway = (0.004 + 0.11 * near) * stage.unit * (0.25 + 0.75 * calm)
    cover = opacity[0] + (opacity[1] - opacity[0]) * np.repeat(t, width, axis=1) ** 0.7
    shade = np.array(colors[0], np.float32) * (1 - t[..., None]) + np.array(colors[1], np.float32) * t[..., None]
    tint = cut(np.repeat(shade, width, axis=1), cv2.convertScaleAbs(cover, alpha=255))
    u = np.linspace(0, 1, width, dtype=np.float32)[None, :] - light_u
    path = np.exp(-((u * width / stage.unit / (0.1 + 0.42 * t)) ** 2))
    glitter = cv2.convertScaleAbs((0.95 * path + 0.10) * (1 - 0.35 * t) * (0.3 + 0.7 * calm), alpha=255)
    return Water(top, ripples, across + 256, along, sway, tint, rest_of(tint), glitter, light, 9.0 * (0.4 + 0.6 * calm))


def backdrop(field: Array, stage: Stage) -> Sheet:
    """Return the farthest sheet from a soft picture, float32 (any size, 3)."""
    return Sheet(opaque(resized(field, stage.width, stage.height)), 0.0)
