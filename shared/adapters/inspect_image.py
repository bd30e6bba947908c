"""Measures a picture file. The graded figures are those of this plain pipeline, to the last bits:

    rgb = np.asarray(Image.open(file).convert("RGB"))
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    cv2.Laplacian(gray, cv2.CV_64F).var(), gray.mean(), gray.std()

Files whose pixels a faster decoder gives identically take that way; Pillow decodes the rest.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from shared.adapters import inspect_pixels as pixels
from shared.adapters import inspect_png
from shared.adapters.inspect_header import Header, NotAPicture, read_header
from shared.domain.quality import ImageMeasures, Undecodable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Decoded = tuple[NDArray[np.uint8], NDArray[np.float32]]  # gray; level counts of the colour channels

_LONGEST_SIDE = 1 << 15  # beyond it neither a screen nor every decoder goes along
_PIL_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is refused before it is decoded."""

    max_pixels: int = 40_000_000
    max_bytes: int = 64 << 20


def measure_image(data: bytes, limits: ImageLimits) -> ImageMeasures | Undecodable:
    """Return the figures of a PNG, JPEG or WebP file. Never raises, whatever the bytes are."""
    if len(data) > limits.max_bytes:
        return Undecodable(f"{len(data)} bytes, over {limits.max_bytes}")
    try:
        header = read_header(data)
        _demand_size(header, limits)
        gray, counts = _DECODERS[header.decoder](data, header)
    except NotAPicture as error:
        return Undecodable(str(error))
    except Exception as error:  # noqa: BLE001 - the error types of four decoders are no closed set
        return Undecodable(f"does not decode: {type(error).__name__}: {error}"[:200])
    if gray.shape != (header.height, header.width):
        return Undecodable("the pixels are not those of the header")
    return _measured(header, len(data), gray, counts)


def _demand_size(header: Header, limits: ImageLimits) -> None:
    width, height = header.width, header.height
    if not width or not height:
        raise NotAPicture("no size")
    if width * height > limits.max_pixels or max(width, height) > _LONGEST_SIDE:
        raise NotAPicture(f"{width}x{height}, over {limits.max_pixels} pixels or {_LONGEST_SIDE} on a side")


def _measured(header: Header, size_bytes: int, gray: NDArray[np.uint8], counts: NDArray[np.float32]) -> ImageMeasures:
    laplacian = cv2.Laplacian(gray, cv2.CV_16S)
    levels = pixels.halvings(gray)
    seen = pixels.viewed(levels)
    brightness, contrast = pixels.level(gray)
    return ImageMeasures(
        width=header.width,
        height=header.height,
        media_type=header.media_type,
        size_bytes=size_bytes,
        sharpness=pixels.sharpness(laplacian),
        brightness=brightness,
        contrast=contrast,
        phash=pixels.difference_hash(levels[-1]),
        edge=pixels.edge(laplacian if seen is gray else cv2.Laplacian(seen, cv2.CV_16S)),
        flat_share=pixels.flat_share(gray),
        banding=pixels.banding(counts),
        blockiness=pixels.blockiness(gray),
    )


# ---------------------------------------------------------------- decoders


def _by_strips(data: bytes, header: Header) -> Decoded:
    gray = np.empty((header.height, header.width), np.uint8)
    counts, top = np.zeros((3, 256), np.float32), 0
    step = pixels.row_step(header.height, header.width)
    for strip in inspect_png.strips(data, header.width, header.height, header.colour_type):
        rows = slice(top, top := top + len(strip))
        gray[rows] = strip if strip.ndim == 2 else cv2.cvtColor(strip, _TO_GRAY[strip.shape[2]])
        counts += pixels.level_counts(strip[-rows.start % step :: step])
    return gray, counts


def _by_opencv(data: bytes, _: Header) -> Decoded:
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None:
        raise NotAPicture("does not decode")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), _counts(bgr)  # type: ignore[return-value,arg-type]


def _by_pillow(data: bytes, header: Header) -> Decoded:
    with Image.open(io.BytesIO(data), formats=(_PIL_FORMATS[header.media_type],)) as picture:
        if getattr(picture, "n_frames", 1) != 1:
            raise NotAPicture("more than one picture")
        if picture.size != (header.width, header.height):
            raise NotAPicture("the decoder sees another size than the header says")
        if isinstance(picture.info.get("transparency"), bytes):
            del picture.info["transparency"]  # dropped anyway, and with it a warning
        rgb = np.asarray(picture.convert("RGB"))
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), _counts(rgb)  # type: ignore[return-value]


def _counts(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pixels.level_counts(picture[:: pixels.row_step(*picture.shape[:2])])


_TO_GRAY = {3: cv2.COLOR_RGB2GRAY, 4: cv2.COLOR_RGBA2GRAY}
_DECODERS = {"strips": _by_strips, "opencv": _by_opencv, "pillow": _by_pillow}
