"""Figures of one gray picture (uint8, (height, width)): the graded three, and those that tell artefacts.

The graded figures are exact sums of integers. The others look at a reduced picture or at a sample of its rows, so
that their cost hardly grows with the picture.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Gray = NDArray[Any]  # uint8, (height, width)
    Laplacian = NDArray[Any]  # int16, (height, width)

_SAMPLED_PIXELS = 1 << 14
_VIEWED_SIDE = 1536  # larger pictures are seen reduced: softness of single pixels is not visible
_GRID = 8  # side of the blocks of JPEG and of its descendants
_ISOLATED = 6  # gray levels a step must have more than its neighbours on both sides


def level(gray: Gray) -> tuple[float, float]:
    """Return (mean, standard deviation), exact to the last bits."""
    total, squares = int(cv2.sumElems(gray)[0]), round(cv2.norm(gray, cv2.NORM_L2SQR))
    return total / gray.size, _deviation(total, squares, gray.size)


def sharpness(laplacian: Laplacian) -> float:
    """Return the variance of a Laplacian (`cv2.Laplacian`, CV_16S: it holds -1,020 to 1,020 exactly)."""
    total, squares = int(cv2.sumElems(laplacian)[0]), round(cv2.norm(laplacian, cv2.NORM_L2SQR))
    return _deviation(total, squares, laplacian.size) ** 2


def _deviation(total: int, squares: int, count: int) -> float:
    return math.sqrt(squares * count - total * total) / count


def viewed(gray: Gray) -> Gray:
    """Return *gray*, halved until it fits a screen."""
    while max(gray.shape) > _VIEWED_SIDE and min(gray.shape) > 1:
        height, width = (side // 2 for side in gray.shape)
        gray = cv2.resize(gray[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    return gray


def edge(laplacian: Laplacian) -> float:
    """Return the 99.9th percentile of the Laplacian's size, 0 to 255: how steep the steepest edges are."""
    sample = cv2.convertScaleAbs(laplacian[:: row_step(*laplacian.shape)])
    counts = cv2.calcHist([sample], [0], None, [256], [0, 256]).ravel().cumsum()
    return float(np.searchsorted(counts, 0.999 * counts[-1]))


def row_step(height: int, width: int) -> int:
    """Return the odd distance of rows at which about 16,384 pixels are sampled."""
    return max(1, height * width // _SAMPLED_PIXELS) | 1


def flat_share(gray: Gray) -> float:
    """Return the share of pixels within five neighbouring levels, where most of them are."""
    counts = cv2.calcHist([gray[:: row_step(*gray.shape)]], [0], None, [256], [0, 256]).ravel()
    return float(np.convolve(counts, np.ones(5)).max() / counts.sum())


def difference_hash(gray: Gray) -> int:
    """Return the 64-bit dHash: whether each of 8 x 8 cells, seen at 64 points, is darker than its right neighbour."""
    points = cv2.resize(gray, (72, 64), interpolation=cv2.INTER_LINEAR)
    cells = cv2.resize(points, (9, 8), interpolation=cv2.INTER_AREA)
    return int.from_bytes(np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes(), "big")


def blockiness(gray: Gray) -> float:
    """Return the excess share of isolated steps on an 8-pixel grid, in the direction that shows less of it.

    0 is none; a picture of flat blocks nears 1. Both directions must agree, so hatching alone is no grid.
    """
    if min(gray.shape) < 4 * _GRID:
        return 0.0
    across = gray[:: row_step(*gray.shape)]
    down = np.ascontiguousarray(gray[:, :: row_step(*gray.T.shape)].T)
    return min(_grid_excess(across), _grid_excess(down))


def _grid_excess(lines: Gray) -> float:
    steps = cv2.absdiff(lines[:, 1:], lines[:, :-1])
    beside = cv2.convertScaleAbs(cv2.max(steps[:, :-2], steps[:, 2:]), alpha=1, beta=_ISOLATED)
    isolated = cv2.compare(steps[:, 1:-1], beside, cv2.CMP_GT)
    columns = cv2.reduce(isolated, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel() / 255
    whole = columns[: columns.size // _GRID * _GRID].reshape(-1, _GRID).mean(axis=0)
    return float(whole.max() - (whole.sum() - whole.max()) / (_GRID - 1))
