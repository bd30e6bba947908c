"""Looks at the frames of a clip, about eight a second: black, frozen, how sharp, how much it moves."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from shared.adapters import inspect_pixels as pixels

if TYPE_CHECKING:
    import av
    from numpy.typing import NDArray

    Gray = NDArray[Any]  # uint8, (height, width)

_LOOK_S = 0.125
_MEASURE_EVERY = 4  # looks; sharpness needs no more
_ROWS = 4  # every fourth row is compared
# Encoders go on refining a picture that stands still: by up to 1.8 gray levels in the mean here, but hardly a pixel by
# more than 10, where even the slowest of our moving clips changes 0.6 % of them.
_CHANGE_MEAN = 1.5
_CHANGE_LEVEL, _CHANGE_SHARE = 10, 6e-4
_BLACK_LEVEL, _BLACK_SHARE = 24, 0.01  # black as long as no larger share is brighter
_LUMA_FIRST = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "gray"})
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_ROUNDING_S = 1e-3


class Watcher:
    """Sees frame after frame and keeps figures; times are seconds on the clip's own clock."""

    def __init__(self) -> None:
        self.black_s = 0.0
        self.frozen_s = 0.0
        self._figures: list[tuple[float, float, float, float]] = []  # brightness, contrast, sharpness, edge
        self._motion: list[float] = []
        self._looks = 0
        self._last_frame_s = math.inf
        self._next_look_s = -math.inf
        self._black_since_s = math.inf
        self._anchor: Gray | None = None  # first look of the present stillness
        self._anchor_s = 0.0
        self._last: Gray | None = None

    def see(self, frame: av.VideoFrame, at_s: float) -> None:
        """Look at *frame*, shown from *at_s* on, if it is time to."""
        self.frozen_s = max(self.frozen_s, at_s - self._last_frame_s)
        self._last_frame_s = at_s
        if at_s < self._next_look_s:
            return
        self._next_look_s = at_s + _LOOK_S - _ROUNDING_S
        gray = full_range_luma(frame)
        rows = np.ascontiguousarray(gray[::_ROWS])
        if self._looks % _MEASURE_EVERY == 0:
            self._measure(gray)
        self._looks += 1
        self._see_black(rows, at_s)
        self._see_still(rows, at_s)

    def figures(self) -> dict[str, float]:
        """Return brightness, contrast, sharpness and edge as medians, motion as mean, and the two stretches."""
        names = ("brightness", "contrast", "sharpness", "edge")
        medians = {name: median(column) for name, column in zip(names, zip(*self._figures, strict=True), strict=True)}
        motion = float(np.mean(self._motion)) if self._motion else 0.0
        return {**medians, "motion": motion, "black_s": self.black_s, "frozen_s": self.frozen_s}

    def _measure(self, gray: Gray) -> None:
        laplacian = cv2.Laplacian(gray, cv2.CV_16S)
        seen = pixels.viewed(gray)
        edge = pixels.edge(laplacian if seen is gray else cv2.Laplacian(seen, cv2.CV_16S))
        self._figures.append((*pixels.level(gray), pixels.sharpness(laplacian), edge))

    def _see_black(self, rows: Gray, at_s: float) -> None:
        bright = cv2.countNonZero(cv2.inRange(rows, (_BLACK_LEVEL,), (255,)))
        if bright > rows.size * _BLACK_SHARE:
            self._black_since_s = math.inf
            return
        self._black_since_s = min(self._black_since_s, at_s)
        self.black_s = max(self.black_s, at_s + _LOOK_S - self._black_since_s)

    def _see_still(self, rows: Gray, at_s: float) -> None:
        if self._last is not None:
            self._motion.append(cv2.norm(rows, self._last, cv2.NORM_L1) / rows.size)
        self._last = rows
        if self._anchor is None or _differ(rows, self._anchor):
            self._anchor, self._anchor_s = rows, at_s
        self.frozen_s = max(self.frozen_s, at_s - self._anchor_s)


def _differ(one: Gray, other: Gray) -> bool:
    difference = cv2.absdiff(one, other)
    if cv2.sumElems(difference)[0] > _CHANGE_MEAN * one.size:
        return True
    return cv2.countNonZero(cv2.inRange(difference, (_CHANGE_LEVEL,), (255,))) > _CHANGE_SHARE * one.size


def full_range_luma(frame: av.VideoFrame) -> Gray:
    """Return the luma of *frame*, (height, width), 0 for black to 255 for white."""
    if frame.format.name not in _LUMA_FIRST:
        return frame.to_ndarray(format="gray")
    plane = frame.planes[0]
    luma = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
    if frame.color_range == _FULL_RANGE or "yuvj" in frame.format.name:
        return luma
    return cv2.LUT(luma, _stretched())


def _stretched() -> Gray:
    """Return the table from studio range, 16 to 235, to full range (ITU-R BT.709)."""
    return np.clip((np.arange(256) - 16) * (255 / 219) + 0.5, 0, 255).astype(np.uint8)
