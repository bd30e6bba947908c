"""Good pieces, and what can go wrong with them: pictures and clips in, files out. Everything is seeded."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]  # (height, width, 3), sRGB
    Frames = NDArray[np.uint8]  # (frames, height, width, 3), sRGB


# ---------------------------------------------------------------- pictures


def rich_picture(width: int, height: int, seed: int = 0) -> Picture:
    """Return waves, discs with soft edges, lines and some grain: a picture with everything a photograph has."""
    random = np.random.default_rng(seed)
    y, x = (axis / max(width, height) for axis in np.mgrid[0:height, 0:width])
    field = np.full((height, width, 3), 128, np.float32)
    for channel in range(3):
        for octave in range(1, 5):
            across, down = random.uniform(1, 40, 2)
            field[..., channel] += np.sin(2 * np.pi * (across * x + down * y) + random.uniform(0, 6)) * 40 / octave
    for _ in range(60):
        centre = (int(random.uniform(0, width)), int(random.uniform(0, height)))
        radius = int(random.uniform(0.01, 0.1) * min(width, height)) + 1
        cv2.circle(field, centre, radius, random.uniform(0, 255, 3).tolist(), -1, cv2.LINE_AA)
    field += random.normal(0, 3, field.shape)
    return np.clip(field, 0, 255).astype(np.uint8)


def encoded(picture: Picture, media_type: str = "image/png", **options: object) -> bytes:
    """Return *picture* as a file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, media_type.removeprefix("image/").upper(), **options)
    return file.getvalue()


def opened(data: bytes) -> Picture:
    """Return the pixels of a picture file."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def truncated(data: bytes, share: float = 0.6) -> bytes:
    """Return the first part of a file."""
    return data[: int(len(data) * share)]


def half_size(picture: Picture) -> Picture:
    return cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.uint8)


def cropped(picture: Picture) -> Picture:
    """Return the middle half of the height: another aspect ratio."""
    height = picture.shape[0]
    return picture[height // 4 : height - height // 4]


def blank(picture: Picture) -> Picture:
    return np.full_like(picture, picture.mean(axis=(0, 1)).astype(np.uint8))


def blurred(picture: Picture) -> Picture:
    """Return the picture as seen without glasses: a Gaussian of 1.5 % of the shorter side."""
    return cv2.GaussianBlur(picture, (0, 0), min(picture.shape[:2]) * 0.015).astype(np.uint8)


def posterised(picture: Picture, levels: int = 8) -> Picture:
    """Return the picture rounded to few levels per channel, as a bad palette or bit depth does."""
    step = 255 / (levels - 1)
    return np.rint(np.rint(picture / step) * step).astype(np.uint8)


def posterised_gradient(picture: Picture, levels: int = 12) -> Picture:
    """Return a soft ramp between the picture's darkest and lightest corner, in visible bands."""
    height, width = picture.shape[:2]
    ramp = np.linspace(20, 235, width)[None, :, None] * np.linspace(0.6, 1, height)[:, None, None]
    return posterised(np.broadcast_to(ramp, picture.shape).astype(np.uint8), levels)


def blocky(picture: Picture) -> Picture:
    """Return the picture after JPEG of quality 5."""
    return opened(encoded(picture, "image/jpeg", quality=5))
