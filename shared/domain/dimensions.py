"""Pixel dimensions behind the words of a request: aspect ratios, image sizes, video resolutions.

Sources, in github.com/GoogleCloudPlatform/generative-ai: sizes and aspect ratios,
gemini/getting-started/intro_gemini_3_1_flash_image_gen.ipynb; video,
vision/getting-started/veo3_video_generation.ipynb. 1:1 video is our own addition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

IMAGE_ASPECT_RATIOS = (
    "1:1",
    "2:3",
    "3:2",
    "3:4",
    "4:3",
    "4:5",
    "5:4",
    "9:16",
    "16:9",
    "21:9",
    "1:4",
    "4:1",
    "1:8",
    "8:1",
)
IMAGE_SIZES = ("512", "1K", "2K", "4K")
VIDEO_ASPECT_RATIOS = ("16:9", "9:16", "1:1")
VIDEO_RESOLUTIONS = ("720p", "1080p", "4k")

_SQUARE_SIDES = {"512": 512, "1K": 1024, "2K": 2048, "4K": 4096}
_SHORT_SIDES = {"720p": 720, "1080p": 1080, "4k": 2160}
_BLOCK = 16  # codecs and diffusion models alike work in blocks of 16 pixels
_RATIO_TOLERANCE = 0.02


def image_pixels(aspect_ratio: str, size: str) -> tuple[int, int]:
    """Return (width, height) in pixels, both multiples of 16.

    The area is close to that of the square of this *size*; the ratio is within 2 % of the one asked.

    Raises:
        ValueError: an aspect ratio or size that is not offered; the message names those that are.
    """
    _demand("aspect ratio", aspect_ratio, IMAGE_ASPECT_RATIOS)
    _demand("size", size, IMAGE_SIZES)
    side, ratio = _SQUARE_SIDES[size], _ratio(aspect_ratio)
    ideal_height = side / math.sqrt(ratio)
    heights = range(_BLOCK, 3 * side + 1, _BLOCK)
    candidates = [(_to_block(height * ratio), height) for height in heights]
    fitting = [pair for pair in candidates if abs(pair[0] / pair[1] / ratio - 1) <= _RATIO_TOLERANCE]
    return min(fitting, key=lambda pair: abs(pair[1] - ideal_height))


def video_pixels(aspect_ratio: str, resolution: str) -> tuple[int, int]:
    """Return (width, height) in pixels; the resolution names the shorter side (720p, 1080p) or UHD's 2160 (4k).

    Raises:
        ValueError: an aspect ratio or resolution that is not offered; the message names those that are.
    """
    _demand("aspect ratio", aspect_ratio, VIDEO_ASPECT_RATIOS)
    _demand("resolution", resolution, VIDEO_RESOLUTIONS)
    short = _SHORT_SIDES[resolution]
    across, down = (int(part) for part in aspect_ratio.split(":"))
    return short * across // min(across, down), short * down // min(across, down)


def _demand(what: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{what} {value!r} is not one of {', '.join(allowed)}")


def _ratio(aspect_ratio: str) -> float:
    across, down = (int(part) for part in aspect_ratio.split(":"))
    return across / down


def _to_block(pixels: float) -> int:
    return max(_BLOCK, round(pixels / _BLOCK) * _BLOCK)
