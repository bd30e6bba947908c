"""Tells posterised pictures: all levels on one evenly spaced comb of few teeth.

Rounding a picture to few levels leaves such a comb. Flat colours that a painter chose are spaced as they come, and soft
edges, grain or dither fill the gaps. Lossy compression smears the teeth; where the picture is even for some pixels in
a row, their mean is still on its tooth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[Any]  # uint8, (rows, width, 3)
    Counts = NDArray[np.float32]

_EVEN = 2  # levels between neighbours
_RUN = 4  # even steps in a row
_WAVES, _COMBS = 1024, slice(12, 136)  # points of the transform; those of combs with 85 down to 7.5 levels per tooth
_RARE = 2e-4  # levels with a smaller share are stray
_TEETH = 3  # of the comb between the darkest and the lightest level, at least
_SUSPECT = 0.5  # coherence from which a comb is held against its teeth
_ON_TEETH = 0.75  # mean share, over all teeth of a comb, of the levels around a tooth that are on it
_NEAR = 0.2  # of the distance between teeth: what counts as on it
_IN_USE = 1e-3  # share of all levels that are around a tooth that is in use, after lossy compression


def banding(rows: Rows, *, smeared: bool) -> float:
    """Return how far the levels of all channels keep to one comb, 0 to 1.

    Args:
        rows: some rows of a picture, (rows, width[, 3]).
        smeared: the file was compressed with loss.
    """
    if rows.ndim == 2:
        rows = cv2.cvtColor(rows, cv2.COLOR_GRAY2RGB)
    if rows.shape[1] <= _RUN:
        return 0.0
    counts = _smeared_counts(rows) if smeared else _counts(rows)
    spectrum = np.fft.rfft(np.sqrt(counts), _WAVES)
    coherence = np.abs(spectrum[:, _COMBS]) / np.maximum(np.abs(spectrum[:, :1]), 1)
    shared = np.where(_too_wide(counts), 0, coherence.min(axis=0))
    return _best_comb(counts, spectrum[:, _COMBS], shared, _IN_USE if smeared else 0.0)


def _smeared_counts(rows: Rows) -> Counts:
    """Return how often each level occurs, (3, 256), as the mean of five pixels of an even run."""
    steps = cv2.absdiff(rows[:, 1:], rows[:, :-1])
    even = cv2.erode(cv2.inRange(steps, (0, 0, 0), (_EVEN, _EVEN, _EVEN)), np.ones((1, _RUN), np.uint8))
    return _counts(cv2.blur(rows, (_RUN + 1, 1))[:, 1:], even)


def _counts(rows: Rows, mask: NDArray[Any] | None = None) -> Counts:
    return np.stack([cv2.calcHist([rows], [channel], mask, [256], [0, 256]).ravel() for channel in range(3)])


def _steps() -> NDArray[np.float64]:
    return _WAVES / np.arange(_COMBS.start, _COMBS.stop)


def _too_wide(counts: Counts) -> NDArray[np.bool_]:
    """Return which combs have too few teeth between the darkest and the lightest level of every channel."""
    used = counts > counts.sum(axis=1, keepdims=True) * _RARE
    spans = np.where(used.any(axis=1), 256 - used.argmax(axis=1) - used[:, ::-1].argmax(axis=1), 0)
    return _steps() * _TEETH > spans.max()


def _best_comb(counts: Counts, waves: NDArray[np.complex128], shared: NDArray[np.float64], in_use: float) -> float:
    """Return the highest coherence of a comb whose teeth are in use; that of any comb where it is low anyway."""
    for comb in np.argsort(-shared):
        if shared[comb] < _SUSPECT or _on_teeth(counts, waves[:, comb], _steps()[comb], in_use) >= _ON_TEETH:
            return float(shared[comb])
    return 0.0


def _on_teeth(counts: Counts, waves: NDArray[np.complex128], step: float, in_use: float) -> float:
    """Return how much of the levels around each tooth is on it, 0 to 1: mean of the teeth, least of the channels.

    A few colours that happen to fit leave teeth unused; one large area weighs no more than one tooth.
    """
    shares = []
    for levels, wave in zip(counts, waves, strict=True):
        places = np.arange(256) / step + np.angle(wave) / (2 * np.pi)
        teeth = np.rint(places)
        used = np.flatnonzero(levels > levels.sum() * _RARE)
        within = (teeth >= teeth[used[0]]) & (teeth <= teeth[used[-1]])
        tooth = (teeth[within] - teeth[used[0]]).astype(int)
        around = np.bincount(tooth, levels[within])
        on = np.bincount(tooth, (levels * (np.abs(places - teeth) <= _NEAR))[within])
        shares.append(float(np.mean(np.where(around > levels.sum() * in_use, on / np.maximum(around, 1), 0))))
    return min(shares)
