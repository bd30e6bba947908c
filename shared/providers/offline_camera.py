"""Filming an offline scene: few finished layers, a camera that pans and moves in, frames in YUV 4:2:0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from shared.providers.offline_brief import Brief
from shared.providers.offline_finish import grained, measure, sharpen, tone_table, toned
from shared.providers.offline_paint import Array, Rgb, blank, lay, resized
from shared.providers.offline_scene import Layer, Moment, Scene, Sheet, Sparks, Stage, Water, paint_all
from shared.providers.offline_style import bar_height, treat

_WORK_AREA = 1920 * 1088  # larger frames are composed at this size and enlarged
_MARGIN = 0.035  # of the frame, composed beyond each edge for the camera to move in
_SHARPNESS = 520.0  # variance of the Laplacian of the finished layers
_BANDS = (0.16, 0.42, 0.72)  # depths that part the far, middle, near and nearest ground
_FAR_EVERY = 2  # frames: what is far moves by fractions of a pixel
_DRAWN = frozenset({"sketch", "artistic", "anime", "minimalist"})  # strokes lie still: nothing drifts over them
_BLACK, _GREY = 16, 128  # of luma and chroma in limited-range YUV


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
    far, near = _parted(finished_layers(scene, brief))
    side = 1 if brief.chance("camera side", 0.5) else -1
    canvas, distance = blank(scene.stage.width, scene.stage.height), blank(scene.stage.width, scene.stage.height)
    for i in range(shot.frames):
        t = i / max(1, shot.frames - 1)
        travel = (2 * t - 1) * min(1.0, 0.35 + 0.13 * shot.frames / shot.fps) * side
        moment = Moment(i / shot.fps, travel * shot.work_width * _MARGIN * 0.85)
        if i % _FAR_EVERY == 0:
            paint_all(distance, far, moment)
        np.copyto(canvas, distance)
        paint_all(canvas, near, moment)
        seen = _through_camera(canvas, shot, travel, t)
        yield _barred(_enlarged(cv2.cvtColor(seen, cv2.COLOR_RGBA2YUV_I420), shot, brief, i), brief, shot)


def _parted(layers: list[Layer]) -> tuple[list[Layer], list[Layer]]:
    """Return the layers of the far distance, and all from the first nearer one on."""
    n = next((i for i, layer in enumerate(layers) if not isinstance(layer, Sheet) or _band(layer)), len(layers))
    return layers[:n], layers[n:]


def _through_camera(canvas: Array, shot: Shot, travel: float, t: float) -> Array:
    """Return what the camera sees: a window that shrinks as it moves in and shifts as it pans."""
    zoom = 1 + 2 * _MARGIN * (0.72 - 0.66 * t)
    wide, high = shot.work_width * zoom, shot.work_height * zoom
    left = (canvas.shape[1] - wide) * (0.5 - 0.35 * travel)
    top = (canvas.shape[0] - high) * 0.5
    matrix = np.array([[wide / shot.work_width, 0, left], [0, high / shot.work_height, top]], np.float32)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (shot.work_width, shot.work_height)
    return cv2.warpAffine(canvas, matrix, size, flags=how, borderMode=cv2.BORDER_REFLECT_101)


def _enlarged(yuv: Array, shot: Shot, brief: Brief, i: int) -> Array:
    """Return the frame at the size asked for, under fine grain where it had to be enlarged."""
    if shot.width == shot.work_width:
        return yuv
    w, h = shot.work_width, shot.work_height
    luma, chroma = yuv[:h], yuv[h:].reshape(2, h // 2, w // 2)
    grown = np.empty((shot.height * 3 // 2, shot.width), np.uint8)
    tile = brief.rng("film grain").normal(0, 5.2, (512, 512)).astype(np.int8)
    bright = cv2.resize(luma, (shot.width, shot.height), interpolation=cv2.INTER_LINEAR)
    drift = np.roll(tile, (i // 2, i), axis=(0, 1))
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


def finished_layers(scene: Scene, brief: Brief) -> list[Layer]:
    """Return the scene as few layers, each already in style, toned and sharp, so that a frame only moves them."""
    table = _table(scene, brief)
    size = (scene.stage.width, scene.stage.height)
    below = blank(*size)
    layers: list[Layer] = []
    for group in _grouped(scene.layers, drawn=brief.style in _DRAWN):
        first = group[0]
        if isinstance(first, Sheet):
            merged = blank(*size)
            paint_all(merged, group, Moment())
            lay(below, merged)
            layers.append(_finished(Sheet(merged, first.depth, 0, first.drift), below, brief, table))
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
    return first.drift == second.drift and _band(first) == _band(second)


def _band(sheet: Sheet) -> int:
    return sum(sheet.depth >= limit for limit in _BANDS)


def _table(scene: Scene, brief: Brief) -> Array:
    still = cv2.cvtColor(scene.picture(), cv2.COLOR_RGBA2RGB)
    return tone_table(treat(still, brief), night=brief.palette.is_night)


def _finished(sheet: Sheet, below: Array, brief: Brief, table: Array) -> Sheet:
    """Return *sheet* in style; *below* is the picture up to and with it, so that edges meet what is behind them."""
    alpha = cv2.extractChannel(sheet.pixels, 3)
    if cv2.countNonZero(alpha) == 0:
        return sheet
    own = cv2.cvtColor(cv2.cvtColor(sheet.pixels, cv2.COLOR_mRGBA2RGBA), cv2.COLOR_RGBA2RGB)
    picture = cv2.cvtColor(below, cv2.COLOR_RGBA2RGB)
    cv2.copyTo(own, cv2.threshold(alpha, 40, 255, cv2.THRESH_BINARY)[1], picture)
    picture = _crisp(toned(treat(picture, brief), table), brief)
    painted = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)
    painted[..., 3] = alpha
    pixels = cv2.cvtColor(painted, cv2.COLOR_RGBA2mRGBA)
    used = np.flatnonzero(np.bitwise_or.reduce(pixels.view(np.uint32)[..., 0], axis=1))
    first, last = int(used[0]), int(used[-1]) + 1
    is_ground = sheet.depth == 0 and bool(alpha.min() == 255)
    return Sheet(pixels[first:last].copy(), sheet.depth, first, sheet.drift, is_ground)


def _crisp(picture: Array, brief: Brief) -> Array:
    present, _, _ = measure(picture)
    if present > _SHARPNESS * 2:
        return picture
    picture = sharpen(picture, 0.5)
    missing = max(0.0, _SHARPNESS - measure(picture)[0])
    return grained(picture, brief.rng("grain"), max(1.2, (missing / 20) ** 0.5))


def _tinted(layer: Layer, brief: Brief, table: Array) -> Layer:
    """Return water and sparks with their colours on the same curve as the sheets."""
    if isinstance(layer, Sparks):
        return layer
    if isinstance(layer, Water):
        own = cv2.cvtColor(layer.tint, cv2.COLOR_mRGBA2RGBA)
        own[..., :3] = cv2.LUT(np.ascontiguousarray(own[..., :3]), table)
        tint = cv2.cvtColor(own, cv2.COLOR_RGBA2mRGBA)
        pale = 0.45 if brief.style == "sketch" else 1.0
        return replace(layer, tint=cv2.convertScaleAbs(tint, alpha=pale))
    return layer


def _toned_color(color: Rgb, table: Array) -> Rgb:
    return float(table[round(color[0])]), float(table[round(color[1])]), float(table[round(color[2])])
