"""Measures a picture file; the graded figures are those of this plain pipeline, to the last bits.

    rgb = np.asarray(Image.open(file).convert("RGB"))
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    cv2.Laplacian(gray, cv2.CV_64F).var(), gray.mean(), gray.std()

Files whose pixels a faster decoder gives identically take that way; Pillow decodes the rest.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from shared.adapters import inspect_pixels as pixels
from shared.adapters import inspect_png
from shared.adapters.inspect_banding import banding
from shared.adapters.inspect_header import Header, NotAPicture, read_header
from shared.domain.quality import ImageMeasures, Undecodable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[Any]  # uint8

_LONGEST_SIDE = 1 << 15  # beyond it neither a screen nor every decoder goes along
_POOL = ThreadPoolExecutor(max_workers=2, thread_name_prefix="inspect")
_PIL_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is refused before it is decoded."""

    max_pixels: int = 40_000_000
    max_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Decoded:
    """Gray pixels, (height, width), and a sample of rows with their colours, (rows, width[, 3])."""

    gray: Pixels
    rows: Pixels


def measure_image(data: bytes, limits: ImageLimits) -> ImageMeasures | Undecodable:
    """Return the figures of a PNG, JPEG or WebP file. Never raises, whatever the bytes are."""
    if len(data) > limits.max_bytes:
        return Undecodable(f"{len(data)} bytes, over {limits.max_bytes}")
    try:
        header = read_header(data)
        _demand_size(header, limits)
        picture = _DECODERS[header.decoder](data, header)
    except NotAPicture as error:
        return Undecodable(str(error))
    except Exception as error:  # noqa: BLE001 - the error types of four decoders are no closed set
        return Undecodable(f"does not decode: {type(error).__name__}: {error}"[:200])
    if picture.gray.shape != (header.height, header.width):
        return Undecodable("the pixels are not those of the header")
    return _measured(header, len(data), picture)


def _demand_size(header: Header, limits: ImageLimits) -> None:
    width, height = header.width, header.height
    if not width or not height:
        raise NotAPicture("no size")
    if width * height > limits.max_pixels or max(width, height) > _LONGEST_SIDE:
        raise NotAPicture(f"{width}x{height}, over {limits.max_pixels} pixels or {_LONGEST_SIDE} on a side")


def _measured(header: Header, size_bytes: int, picture: Decoded) -> ImageMeasures:
    gray = picture.gray
    smeared = header.media_type != "image/png"
    others = _POOL.submit(_artefacts, picture, smeared=smeared)  # while this thread works on the graded figures
    laplacian = cv2.Laplacian(gray, cv2.CV_16S)
    sharpness, (brightness, contrast) = pixels.sharpness(laplacian), pixels.level(gray)
    seen, artefacts = others.result()
    return ImageMeasures(
        width=header.width,
        height=header.height,
        media_type=header.media_type,
        size_bytes=size_bytes,
        sharpness=sharpness,
        brightness=brightness,
        contrast=contrast,
        edge=pixels.edge(laplacian if seen is gray else cv2.Laplacian(seen, cv2.CV_16S)),
        **artefacts,
    )


def _artefacts(picture: Decoded, *, smeared: bool) -> tuple[Pixels, dict[str, Any]]:
    """Return the picture as it is seen on a screen, and the figures that tell artefacts."""
    return pixels.viewed(picture.gray), {
        "phash": pixels.difference_hash(picture.gray),
        "flat_share": pixels.flat_share(picture.gray),
        "banding": banding(picture.rows, smeared=smeared),
        "blockiness": pixels.blockiness(picture.gray),
    }


# ---------------------------------------------------------------- decoders


def _by_strips(data: bytes, header: Header) -> Decoded:
    gray = np.empty((header.height, header.width), np.uint8)
    step, top, rows = pixels.row_step(header.height, header.width), 0, []
    for strip in inspect_png.strips(data, header.width, header.height, header.colour_type):
        bottom = top + len(strip)
        gray[top:bottom] = strip if strip.ndim == 2 else cv2.cvtColor(strip, _TO_GRAY[strip.shape[2]])
        rows.append(strip[-top % step :: step, :, :3].copy() if strip.ndim == 3 else strip[-top % step :: step].copy())
        top = bottom
    return Decoded(gray, np.concatenate(rows))


def _by_opencv(data: bytes, _: Header) -> Decoded:
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None:
        raise NotAPicture("does not decode")
    return Decoded(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), _sample(bgr))


def _by_pillow(data: bytes, header: Header) -> Decoded:
    with Image.open(io.BytesIO(data), formats=(_PIL_FORMATS[header.media_type],)) as picture:
        if getattr(picture, "n_frames", 1) != 1:
            raise NotAPicture("more than one picture")
        if picture.size != (header.width, header.height):
            raise NotAPicture("the decoder sees another size than the header says")
        if isinstance(picture.info.get("transparency"), bytes):
            del picture.info["transparency"]  # dropped anyway, and with it a warning
        rgb = np.asarray(picture.convert("RGB"))
    return Decoded(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), _sample(rgb))


def _sample(picture: Pixels) -> Pixels:
    return picture[:: pixels.row_step(*picture.shape[:2])].copy()  # so that the picture itself can go


_TO_GRAY = {3: cv2.COLOR_RGB2GRAY, 4: cv2.COLOR_RGBA2GRAY}
_DECODERS = {"strips": _by_strips, "opencv": _by_opencv, "pillow": _by_pillow}
