"""Speed of the quality check beside the plain pipeline that defines its figures; JSON on stdout.

Run as `python -m tests.bench.bench_quality`. Both see the same files in turn, so that a busy machine slows both; the
best of several rounds counts.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from PIL import Image

from shared.adapters.inspector import Inspector
from shared.domain.quality import ImageMeasures
from tests.corruptions import clip, encoded, encoded_clip, rich_picture

SIDES = {"1MP": 1024, "4MP": 2048}
FORMATS: dict[str, dict[str, Any]] = {"png": {}, "jpeg": {"quality": 90}}
CLIP = (1280, 720, 24, 5.0)  # width, height, frames per second, seconds


def plain(data: bytes) -> tuple[float, float, float]:
    """Return (sharpness, brightness, contrast) the obvious way."""
    rgb = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(gray, cv2.CV_64F).var()), float(gray.mean()), float(gray.std())


def run(rounds: int = 15) -> dict[str, Any]:
    """Return megapixels per second of ours and of the plain pipeline, and seconds of video checked per second."""
    inspector = Inspector()
    images = {
        f"{form}_{size}": _compare(inspector, encoded(rich_picture(side, side), f"image/{form}", **options), rounds)
        for size, side in SIDES.items()
        for form, options in FORMATS.items()
    }
    return {"image_megapixels_per_s": images, "video_720p_s_per_s": _video(inspector, max(1, rounds // 5))}


def _compare(inspector: Inspector, data: bytes, rounds: int) -> dict[str, float]:
    ours, theirs = inspector.image(data), plain(data)
    if not isinstance(ours, ImageMeasures) or not _equal((ours.sharpness, ours.brightness, ours.contrast), theirs):
        raise AssertionError(f"the figures differ: {ours}, {theirs}")
    times = [(_timed(lambda: inspector.image(data)), _timed(lambda: plain(data))) for _ in range(rounds)]
    ours_s, plain_s = (min(column) for column in zip(*times, strict=True))
    pixels = ours.width * ours.height / 1e6
    return {
        "ours": round(pixels / ours_s, 1),
        "plain": round(pixels / plain_s, 1),
        "times_as_fast": round(plain_s / ours_s, 2),
    }


def _equal(ours: tuple[float, ...], theirs: tuple[float, ...]) -> bool:
    return all(math.isclose(one, other, rel_tol=1e-6) for one, other in zip(ours, theirs, strict=True))


def _video(inspector: Inspector, rounds: int) -> float:
    width, height, fps, duration_s = CLIP
    data = encoded_clip(clip(width, height, fps, duration_s), fps)
    best_s = min(_timed(lambda: inspector.video(io.BytesIO(data), len(data))) for _ in range(rounds))
    return round(duration_s / best_s, 1)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
