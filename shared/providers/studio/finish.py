"""The last steps of every offline picture: tone, sharpness and grain within the bounds of the quality gate.

Bounds: variance of the Laplacian over 1000, standard deviation of brightness over 50, mean brightness 60..195, all
on 8-bit grey (ITU-R BT.601).
"""

from __future__ import annotations

import cv2
import numpy as np

from shared.providers.studio.paint import Array

_STRIP = 512  # rows worked on at a time
_LAPLACE_GAIN = 20.0  # variance of the Laplacian of white noise of variance 1: the sum of the kernel's squares
_SPREAD = (57.0, 74.0)  # standard deviation wanted


def measure(picture: Array) -> tuple[float, float, float]:
    """Return (variance of the Laplacian, mean, standard deviation) of *picture*, uint8 (height, width, 3)."""
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    mean, deviation = cv2.meanStdDev(gray)
    _, edges = cv2.meanStdDev(cv2.Laplacian(gray, cv2.CV_16S))
    return float(edges[0, 0]) ** 2, float(mean[0, 0]), float(deviation[0, 0])


def tone_table(picture: Array, *, night: bool) -> Array:
    """Return the curve, uint8 (256,), that brings brightness and contrast into bounds and else changes little."""
    step = max(1, round((picture.shape[0] * picture.shape[1] / 20000) ** 0.5))
    sample = np.ascontiguousarray(picture[::step, ::step])
    low, high = (92.0, 150.0) if night else (112.0, 164.0)
    table = np.arange(256, dtype=np.float32)
    for _ in range(6):
        gray = cv2.cvtColor(toned(sample, _levels(table)), cv2.COLOR_RGB2GRAY)
        mean, spread = float(gray.mean()), float(gray.std())
        if low <= mean <= high and _SPREAD[0] <= spread <= _SPREAD[1]:
            break
        table = _bent(
            table, mean, min(max(mean, low), high), min(max(spread, _SPREAD[0]), _SPREAD[1]) / max(spread, 4.0)
        )
    return _levels(table)


def toned(picture: Array, table: Array) -> Array:
    """Return *picture* after the curve *table*, half per channel and half on brightness alone, so colours stay calm."""
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    change = table.astype(np.int16) - np.arange(256, dtype=np.int16)
    out = np.empty_like(picture)
    for top in range(0, picture.shape[0], _STRIP):
        rows = picture[top : top + _STRIP]
        shift = change[gray[top : top + _STRIP]]
        moved = cv2.add(rows, cv2.merge([shift, shift, shift]), dtype=cv2.CV_8U)
        out[top : top + _STRIP] = cv2.addWeighted(cv2.LUT(rows, table), 0.5, moved, 0.5, 0)
    return out


def _levels(table: Array) -> Array:
    return np.clip(np.rint(table), 0, 255).astype(np.uint8)


def _bent(table: Array, mean: float, target: float, stretch: float) -> Array:
    """Return *table* with a gamma that moves *mean* to *target* and a contrast of *stretch* about it."""
    base = min(max(mean, 8.0), 247.0) / 255
    gamma = np.log(target / 255) / np.log(base)
    moved = (np.clip(table, 0, 255) / 255) ** gamma * 255
    wide = target + (moved - target) * stretch
    knee = 238.0
    wide = np.where(wide > knee, knee + (255 - knee) * np.tanh((wide - knee) / (255 - knee)), wide)
    return np.asarray(np.where(wide < 14, 14 * np.exp((wide - 14) / 14), wide), np.float32)


def sharpen(picture: Array, amount: float) -> Array:
    """Return *picture* with crisper edges (unsharp mask of about one pixel)."""
    if amount <= 0:
        return picture
    out = np.empty_like(picture)
    for top in range(0, picture.shape[0], _STRIP):
        first, last = max(0, top - 4), min(picture.shape[0], top + _STRIP + 4)
        rows = picture[first:last]
        crisp = cv2.addWeighted(rows, 1 + amount, cv2.GaussianBlur(rows, (0, 0), 1.0), -amount, 0)
        out[top : top + _STRIP] = crisp[top - first : top - first + _STRIP]
    return out


def grained(picture: Array, rng: np.random.Generator, sigma: float) -> Array:
    """Return *picture* under film grain of standard deviation *sigma*; it also hides the steps of gradients."""
    side = 1024
    height, width = picture.shape[:2]
    tile = (rng.standard_normal((side, side), dtype=np.float32) * sigma).round().astype(np.int16)
    row = np.tile(tile, (1, -(-width // side)))[:, :width]
    out = np.empty_like(picture)
    for k, top in enumerate(range(0, height, side)):
        rows = picture[top : top + side]
        layer = np.roll(row, 389 * k, axis=1)[: rows.shape[0]]
        out[top : top + side] = cv2.add(rows, cv2.merge([layer, layer, layer]), dtype=cv2.CV_8U)
    return out


def finished(picture: Array, rng: np.random.Generator, *, sharpness: float) -> Array:
    """Return *picture* sharp to at least *sharpness* (variance of the Laplacian): crisper edges first, then grain."""
    present, _, _ = measure(picture)
    out = sharpen(picture, 0.0 if present > sharpness * 1.4 else 0.35 if present > sharpness else 0.7)
    for _ in range(3):
        present, _, _ = measure(out)
        missing = max(0.0, sharpness * 1.08 - present)
        if missing == 0 and out is not picture:
            break
        out = grained(out, rng, max(1.6, (missing / _LAPLACE_GAIN) ** 0.5 * 1.04))
    return out
