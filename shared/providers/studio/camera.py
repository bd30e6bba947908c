"""Filming an offline scene: few finished layers, a camera that pans and moves in, frames in YUV 4:2:0."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from shared.providers.studio.brief import Brief
from shared.providers.studio.finish import grained, measure, sharpen, tone_table, toned
from shared.providers.studio.paint import Array, blank, faded, lay, over, rest_of
from shared.providers.studio.scene import Layer, Moment, Scene, Sheet, Sparks, Stage, Water, paint_all
from shared.providers.studio.style import bar_height, treat

_WORK_AREA = 1920 * 1088  # larger frames are composed at this size and enlarged
_MARGIN = 0.045  # of the frame, composed beyond each edge for the camera to move in
_SHARPNESS = 640.0  # variance of the Laplacian of the finished layers
_FRAME_SHARPNESS = 480.0  # of a frame before encoding, luma in limited range
_BANDS = (0.16, 0.42, 0.72)  # depths that part the far, middle, near and nearest ground
_ORBIT = math.pi / 5  # radians per second: the camera's path closes after 10 s and never rests
_FAR_EVERY = 2  # frames: what is far moves by fractions of a pixel
_DRAWN = frozenset({"sketch", "artistic", "anime", "minimalist"})  # strokes lie still: nothing drifts over them
_BLACK, _GREY = 16, 128  # of luma and chroma in limited-range YUV


@dataclass(frozen=True, slots=True)
class Slide:
    """A finished sheet that is moved sideways every frame, with mirrored sides to move in from.

    Attributes:
        pixels: uint8 (rows, canvas width + 2 * pad, 4), premultiplied.
        rest: what it lets through, of the same shape; None for pure light.
        is_ground: opaque, as large as the canvas and at rest: it covers all that was there.
    """

    pixels: Array
    rest: Array | None
    pad: int
    top: int
    depth: float
    drift: float
    is_ground: bool

    def paint(self, canvas: Array, moment: Moment) -> None:
        """Lay the slide over *canvas*, displaced by camera and drift, to a fraction of a pixel."""
        if self.is_ground:
            np.copyto(canvas, self.pixels)
            return
        rows = canvas[self.top : self.top + self.pixels.shape[0]]
        offset = moment.pan * self.depth + moment.time_s * self.drift
        over(rows, self._moved(self.pixels, offset), None if self.rest is None else self._moved(self.rest, offset))

    def _moved(self, pixels: Array, offset: float) -> Array:
        width = pixels.shape[1] - 2 * self.pad
        whole = math.floor(offset)
        left = min(max(self.pad - whole, 1), 2 * self.pad) if self.pad else 0
        here = pixels[:, left : left + width]
        if not self.pad:
            return here
        return cv2.addWeighted(here, 1 - (offset - whole), pixels[:, left - 1 : left - 1 + width], offset - whole, 0)


Finished = Slide | Water | Sparks


@dataclass(frozen=True, slots=True)
class Shot:
    """Geometry of a clip, pixels: the frame asked for, the frame composed, and the stage around it."""

    width: int
    height: int
    work_width: int
    work_height: int
    frames: int
    fps: int

    @property
    def stage(self) -> Stage:
        """Return the canvas with room for the camera."""
        return Stage(_even(self.work_width * (1 + 2 * _MARGIN)), _even(self.work_height * (1 + 2 * _MARGIN)))


def plan_shot(width: int, height: int, frames: int, fps: int) -> Shot:
    """Return the shot for frames of *width* x *height*."""
    k = min(1.0, (_WORK_AREA / (width * height)) ** 0.5)
    return Shot(width, height, _even(width * k), _even(height * k), frames, fps)


def film(scene: Scene, brief: Brief, shot: Shot) -> Iterator[Array]:
    """Yield the frames, uint8 (height * 3 / 2, width): planes Y, U, V of BT.601, limited range."""
    far, near = _parted(finished_layers(scene, brief, shot))
    side = 1 if brief.chance("camera side", 0.5) else -1
    crisp = 0.0
    canvas, distance = blank(scene.stage.width, scene.stage.height), blank(scene.stage.width, scene.stage.height)
    for i in range(shot.frames):
        turn = i / shot.fps * _ORBIT
        travel, near_by = math.sin(turn - math.pi / 4) * side, 0.5 - 0.5 * math.cos(turn)
        moment = Moment(i / shot.fps, travel * shot.work_width * _MARGIN * 0.85)
        if i % _FAR_EVERY == 0:
            paint_all(distance, far, moment)
        np.copyto(canvas, distance)
        paint_all(canvas, near, moment)
        seen = cv2.cvtColor(_through_camera(canvas, shot, travel, near_by), cv2.COLOR_RGBA2YUV_I420)
        luma = seen[: shot.work_height]
        crisp = _crispness(luma) if i == 0 else crisp
        if crisp:
            luma[:] = _crisped(luma, crisp)
        yield _barred(_enlarged(seen, shot, brief, i), brief, shot)


def _parted(layers: list[Finished]) -> tuple[list[Finished], list[Finished]]:
    """Return the layers of the far distance, and all from the first nearer one on."""
    n = next((i for i, layer in enumerate(layers) if not isinstance(layer, Slide) or _band(layer.depth)), len(layers))
    return layers[:n], layers[n:]


def _through_camera(canvas: Array, shot: Shot, travel: float, near_by: float) -> Array:
    """Return what the camera sees: a window that pans (*travel*, -1..1) and shrinks as it moves in (0..1)."""
    zoom = 1 + 2 * _MARGIN * (0.68 - 0.66 * near_by)
    wide, high = shot.work_width * zoom, shot.work_height * zoom
    left = (canvas.shape[1] - wide) * (0.5 - 0.45 * travel)
    top = (canvas.shape[0] - high) * 0.5
    matrix = np.array([[wide / shot.work_width, 0, left], [0, high / shot.work_height, top]], np.float32)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (shot.work_width, shot.work_height)
    return cv2.warpAffine(canvas, matrix, size, flags=how, borderMode=cv2.BORDER_REFLECT_101)


def _crispness(luma: Array) -> float:
    """Return how strong an unsharp mask gives back the sharpness that moving by fractions of a pixel took."""
    strengths = (0.0, 0.3, 0.6, 0.9)
    return next((k for k in strengths if _sharpness(_crisped(luma, k)) > _FRAME_SHARPNESS), strengths[-1])


def _crisped(luma: Array, strength: float) -> Array:
    return cv2.addWeighted(luma, 1 + strength, cv2.GaussianBlur(luma, (3, 3), 0), -strength, 0)


def _sharpness(luma: Array) -> float:
    return float(cv2.meanStdDev(cv2.Laplacian(luma, cv2.CV_16S))[1][0, 0]) ** 2


def _enlarged(yuv: Array, shot: Shot, brief: Brief, i: int) -> Array:
    """Return the frame at the size asked for, under fine grain where it had to be enlarged."""
    if shot.width == shot.work_width:
        return yuv
    w, h = shot.work_width, shot.work_height
    luma, chroma = yuv[:h], yuv[h:].reshape(2, h // 2, w // 2)
    grown = np.empty((shot.height * 3 // 2, shot.width), np.uint8)
    tile = brief.rng("film grain").normal(0, 3.8, (512, 512)).astype(np.int8)
    bright = cv2.resize(luma, (shot.width, shot.height), interpolation=cv2.INTER_LINEAR)
    drift = np.roll(tile, (i // 3, i // 3 * 5), axis=(0, 1))
    grain = np.tile(drift, (-(-shot.height // 512), -(-shot.width // 512)))[: shot.height, : shot.width]
    cv2.add(bright, grain, dst=grown[: shot.height], dtype=cv2.CV_8U)
    size = (shot.width // 2, shot.height // 2)
    planes = [cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR).reshape(-1) for plane in chroma]
    grown[shot.height :] = np.concatenate(planes).reshape(-1, shot.width)
    return grown


def _barred(yuv: Array, brief: Brief, shot: Shot) -> Array:
    bar = bar_height(brief.style, shot.height)
    if bar:
        yuv[:bar] = yuv[shot.height - bar : shot.height] = _BLACK
        for plane in yuv[shot.height :].reshape(2, shot.height // 2, shot.width // 2):
            plane[: bar // 2] = plane[shot.height // 2 - bar // 2 :] = _GREY
    return yuv


def _even(length: float) -> int:
    return max(2, round(length / 2) * 2)


# ---------------------------------------------------------------- layers, finished


def finished_layers(scene: Scene, brief: Brief, shot: Shot) -> list[Finished]:
    """Return the scene as few layers, each already in style, toned and sharp, so that a frame only moves them."""
    table = _table(scene, brief)
    size = (scene.stage.width, scene.stage.height)
    below = blank(*size)
    layers: list[Finished] = []
    for group in _grouped(scene.layers, drawn=brief.style in _DRAWN):
        first = group[0]
        if isinstance(first, Sheet):
            merged = blank(*size)
            paint_all(merged, group, Moment())
            lay(below, merged)
            layers.append(_finished(Sheet(merged, first.depth, 0, first.drift), below, brief, table, shot))
        else:
            first.paint(below, Moment())
            layers.append(_tinted(first, brief, table))
    return layers


def _grouped(layers: tuple[Layer, ...], *, drawn: bool) -> Iterator[list[Layer]]:
    """Yield layers that can be merged: sheets of one band of depth that move alike."""
    group: list[Layer] = []
    for layer in layers:
        still = replace(layer, drift=0.0) if drawn and isinstance(layer, Sheet) else layer
        if group and not _alike(group[0], still):
            yield group
            group = []
        group.append(still)
    yield group


def _alike(first: Layer, second: Layer) -> bool:
    if not (isinstance(first, Sheet) and isinstance(second, Sheet)):
        return False
    return first.drift == second.drift and _band(first.depth) == _band(second.depth)


def _band(depth: float) -> int:
    return sum(depth >= limit for limit in _BANDS)


def _table(scene: Scene, brief: Brief) -> Array:
    still = cv2.cvtColor(scene.picture(), cv2.COLOR_RGBA2RGB)
    return tone_table(treat(still, brief), night=brief.palette.is_night)


def _finished(sheet: Sheet, below: Array, brief: Brief, table: Array, shot: Shot) -> Slide:
    """Return *sheet* in style; *below* is the picture up to and with it, so that edges meet what is behind them."""
    alpha = cv2.extractChannel(sheet.pixels, 3)
    if cv2.countNonZero(alpha) == 0:
        return _slide(sheet, shot)
    own = cv2.cvtColor(cv2.cvtColor(sheet.pixels, cv2.COLOR_mRGBA2RGBA), cv2.COLOR_RGBA2RGB)
    picture = cv2.cvtColor(below, cv2.COLOR_RGBA2RGB)
    cv2.copyTo(own, cv2.threshold(alpha, 40, 255, cv2.THRESH_BINARY)[1], picture)
    picture = _crisp(toned(treat(picture, brief), table), brief)
    painted = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)
    painted[..., 3] = alpha
    pixels = cv2.cvtColor(painted, cv2.COLOR_RGBA2mRGBA)
    used = np.flatnonzero(np.bitwise_or.reduce(pixels.view(np.uint32)[..., 0], axis=1))
    first, last = int(used[0]), int(used[-1]) + 1
    return _slide(Sheet(pixels[first:last], sheet.depth, first, sheet.drift), shot)


def _crisp(picture: Array, brief: Brief) -> Array:
    present, _, _ = measure(picture)
    if present > _SHARPNESS * 2:
        return picture
    picture = sharpen(picture, 0.5)
    missing = max(0.0, _SHARPNESS - measure(picture)[0])
    return grained(picture, brief.rng("grain"), max(1.2, (missing / 20) ** 0.5))


def _slide(sheet: Sheet, shot: Shot) -> Slide:
    """Return *sheet* with mirrored sides, as wide as this shot will move it."""
    travel = shot.work_width * _MARGIN * sheet.depth + abs(sheet.drift) * shot.frames / shot.fps
    pad = min(int(travel) + 2 if travel else 0, sheet.pixels.shape[1] - 1)
    wide = cv2.copyMakeBorder(sheet.pixels, 0, 0, pad, pad, cv2.BORDER_REFLECT_101)
    alpha = cv2.extractChannel(wide, 3)
    is_ground = pad == 0 and sheet.depth == 0 and cv2.countNonZero(cv2.bitwise_not(alpha)) == 0
    rest = None if is_ground or cv2.countNonZero(alpha) == 0 else rest_of(wide)
    return Slide(wide, rest, pad, sheet.top, sheet.depth, sheet.drift, is_ground)


def _tinted(layer: Water | Sparks, brief: Brief, table: Array) -> Water | Sparks:
    """Return water and sparks with their colours on the same curve as the sheets."""
    if isinstance(layer, Sparks):
        return layer
    own = cv2.cvtColor(layer.tint, cv2.COLOR_mRGBA2RGBA)
    own[..., :3] = cv2.LUT(np.ascontiguousarray(own[..., :3]), table)
    tint = faded(cv2.cvtColor(own, cv2.COLOR_RGBA2mRGBA), 0.45 if brief.style == "sketch" else 1.0)
    return replace(layer, tint=tint, clear=rest_of(tint))
