"""The picture inspector against the plain pipeline that defines its figures, and against hostile files."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shared.adapters.inspector import Inspector
from shared.domain.quality import ImageMeasures, Undecodable
from tests.corruptions import encoded, rich_picture, truncated

INSPECTOR = Inspector()
ROOT = Path(__file__).parents[2]
PICTURE = rich_picture(203, 157, seed=3)  # odd sides: no block, stride or halving comes out even
PNG = encoded(PICTURE)


def plain(data: bytes) -> tuple[float, float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rgb = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(gray, cv2.CV_64F).var()), float(gray.mean()), float(gray.std())


def saved(picture: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def measured(data: bytes) -> ImageMeasures:
    found = INSPECTOR.image(data)
    assert isinstance(found, ImageMeasures), found
    return found


def reason(data: bytes) -> str:
    found = INSPECTOR.image(data)
    assert isinstance(found, Undecodable), found
    return found.reason


def _with_alpha() -> Image.Image:
    alpha = np.linspace(0, 255, PICTURE.shape[0] * PICTURE.shape[1]).reshape(PICTURE.shape[:2]).astype(np.uint8)
    return Image.fromarray(np.dstack([PICTURE, alpha]))


def _sixteen_bit_rgb() -> bytes:
    deep = PICTURE.astype(np.uint16) * 257 + 91
    return cv2.imencode(".png", deep)[1].tobytes()


def _rotated_by_exif(form: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.fromarray(PICTURE), form, exif=exif.tobytes())


def _interlaced(data: bytes) -> bytes:
    """Return a 1-pixel picture's file with the Adam7 flag set: seven passes, of which only the first has a pixel."""
    header = data[16:28] + b"\1"
    return data[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + data[33:]


def files() -> Iterator[tuple[str, bytes]]:
    rgb = Image.fromarray(PICTURE)
    yield "png", PNG
    yield "png, one filter", saved(rgb, "PNG", compress_level=1)
    yield "png, stored", saved(rgb, "PNG", compress_level=0)
    yield "png by opencv", cv2.imencode(".png", PICTURE[..., ::-1])[1].tobytes()
    yield "png with alpha", saved(_with_alpha(), "PNG")
    yield "png, gray", saved(rgb.convert("L"), "PNG")
    yield "png, gray with alpha", saved(_with_alpha().convert("LA"), "PNG")
    yield "png, palette", saved(rgb.quantize(64), "PNG")
    yield "png, palette with transparency", saved(_with_alpha().quantize(64), "PNG")
    yield "png, two colours", saved(rgb.convert("1"), "PNG")
    yield "png, 16 bit gray", saved(Image.fromarray(PICTURE[..., 0].astype(np.uint16) * 257), "PNG")
    yield "png, 16 bit", _sixteen_bit_rgb()
    yield "png, colour made transparent", saved(rgb, "PNG", transparency=(1, 2, 3))
    yield "png, gamma and profile", saved(rgb, "PNG", icc_profile=b"not a profile", dpi=(72, 72))
    yield "png, one pixel interlaced", _interlaced(saved(rgb.crop((0, 0, 1, 1)), "PNG"))
    yield "png, turned by exif", _rotated_by_exif("PNG")
    yield "png, one column", saved(rgb.crop((5, 0, 6, 157)), "PNG")
    yield "png, one row", saved(rgb.crop((0, 5, 203, 6)), "PNG")
    yield "png, wider than a strip", encoded(rich_picture(30_000, 4))
    yield "jpeg", saved(rgb, "JPEG", quality=90)
    yield "jpeg 4:4:4", saved(rgb, "JPEG", quality=95, subsampling=0)
    yield "jpeg 4:2:2", saved(rgb, "JPEG", quality=60, subsampling=1)
    yield "jpeg, progressive", saved(rgb, "JPEG", progressive=True, optimize=True)
    yield "jpeg, gray", saved(rgb.convert("L"), "JPEG")
    yield "jpeg, cmyk", saved(rgb.convert("CMYK"), "JPEG")
    yield "jpeg, rgb inside", saved(rgb, "JPEG", keep_rgb=True)
    yield "jpeg, turned by exif", _rotated_by_exif("JPEG")
    yield "jpeg, restart markers", saved(rgb, "JPEG", restart_marker_blocks=3)
    yield "jpeg, padded", saved(rgb, "JPEG") + bytes(7)
    yield "jpeg, filled before markers", b"\xff\xd8" + b"\xff" * 50 + saved(rgb, "JPEG")[2:]
    yield "webp", saved(rgb, "WEBP", quality=80)
    yield "webp, lossless", saved(rgb, "WEBP", lossless=True)
    yield "webp with alpha", saved(_with_alpha(), "WEBP")
    yield "webp with alpha, lossless", saved(_with_alpha(), "WEBP", lossless=True, exact=True)
    yield "webp, turned by exif", _rotated_by_exif("WEBP")


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in files()])
def test_the_graded_figures_are_those_of_the_plain_pipeline(data: bytes) -> None:
    found = measured(data)
    assert (found.sharpness, found.brightness, found.contrast) == pytest.approx(plain(data), rel=1e-6, abs=1e-12)
    assert (found.width, found.height) == Image.open(io.BytesIO(data)).size


@pytest.mark.parametrize(
    ("seed", "form", "options"),
    [(seed, form, options) for seed in range(4) for form, options in (("png", {}), ("jpeg", {"quality": 80}))],
)
def test_the_figures_hold_for_pictures_of_many_strips(seed: int, form: str, options: dict[str, Any]) -> None:
    data = encoded(rich_picture(700 + 41 * seed, 500 - 33 * seed, seed), f"image/{form}", **options)
    found = measured(data)
    assert (found.sharpness, found.brightness, found.contrast) == pytest.approx(plain(data), rel=1e-9)


def test_a_picture_without_the_fast_inflater_has_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    before = measured(PNG)
    monkeypatch.setitem(sys.modules, "isal", None)
    assert measured(PNG) == before


def test_importing_the_inspector_loads_no_decoder() -> None:
    program = (
        "import sys, shared.adapters.inspector; print({'av', 'cv2', 'jsonschema', 'numpy', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"


def test_the_type_is_told_by_the_bytes() -> None:
    assert [measured(encoded(PICTURE, kind)).media_type for kind in ("image/png", "image/jpeg", "image/webp")] == [
        "image/png",
        "image/jpeg",
        "image/webp",
    ]


def test_pictures_that_look_alike_have_near_hashes_and_others_do_not() -> None:
    one, again = measured(PNG).phash, measured(encoded(PICTURE, "image/jpeg", quality=70)).phash
    other = measured(encoded(rich_picture(203, 157, seed=4))).phash
    assert (one ^ again).bit_count() <= 3
    assert (one ^ other).bit_count() > 12


# ---------------------------------------------------------------- broken and hostile


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.001, 0.02, 0.3, 0.9, 0.999])
def test_a_truncated_picture_is_refused(form: str, share: float) -> None:
    assert reason(truncated(encoded(PICTURE, f"image/{form.lower()}"), share))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_bytes_after_the_picture_are_refused(form: str) -> None:
    assert reason(encoded(PICTURE, f"image/{form.lower()}") + b"<script>") == "bytes after the end of the picture"


def test_a_png_that_is_a_zip_as_well_is_refused() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", "hidden")
    chunk = b"prVt" + archive.getvalue()[:-2] + struct.pack("<H", 16)  # its comment is the rest of the picture
    stowed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data = PNG[:-12] + stowed + PNG[-12:]
    assert zipfile.is_zipfile(io.BytesIO(data))
    assert reason(data) == "also a ZIP archive"


def test_a_jpeg_that_is_a_pdf_as_well_is_refused() -> None:
    assert reason(saved(Image.fromarray(PICTURE), "JPEG", comment=b"%PDF-1.7")) == "also a PDF"


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(64), b"<svg/>", b"BM" + bytes(64)])
def test_other_types_are_refused(data: bytes) -> None:
    assert reason(data)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_an_animation_is_refused(form: str) -> None:
    first, second = Image.fromarray(PICTURE), Image.fromarray(PICTURE[::-1].copy())
    assert reason(saved(first, form, save_all=True, append_images=[second])) == "animated"


def test_a_decompression_bomb_is_refused_undecoded_and_at_once() -> None:
    bomb = saved(Image.new("1", (13_000, 13_000)), "PNG")
    assert len(bomb) < 30_000
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "over 40000000 pixels" in reason(bomb)
    assert time.perf_counter() - started < 0.1


def test_a_4k_square_passes() -> None:
    found = measured(saved(Image.new("RGB", (4096, 4096), (9, 99, 199)), "PNG", compress_level=1))
    assert (found.width, found.height, found.sharpness) == (4096, 4096, 0.0)


def test_more_bytes_than_allowed_are_refused() -> None:
    found = Inspector(max_image_bytes=len(PNG) - 1).image(PNG)
    assert isinstance(found, Undecodable)
    assert "over" in found.reason


def _with_pixels(rows: bytes, width: int = 3, height: int = 2) -> bytes:
    """Return a PNG, RGB, whose pixel stream inflates to *rows*."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (bytes(10), "1 of 2 rows"),
        (bytes(30), "more rows than the header says"),
        (bytes(25), "a row is cut"),
        (b"\x07" + bytes(19), "unknown row filter"),
        (bytes(1 << 24), "more rows than the header says"),
    ],
)
def test_a_png_whose_stream_does_not_fit_its_header_is_refused(rows: bytes, why: str) -> None:
    assert why in reason(_with_pixels(rows))


def test_files_of_nothing_but_small_parts_are_refused_at_once() -> None:
    started = time.perf_counter()
    empty_chunk = struct.pack(">I4sI", 0, b"teXt", zlib.crc32(b"teXt"))
    assert reason(PNG[:33] + empty_chunk * 4_000_000 + PNG[33:])
    assert reason(b"\xff\xd8" + b"\xff\xe1\0\x02" * 8_000_000 + saved(Image.fromarray(PICTURE), "JPEG")[2:])
    assert time.perf_counter() - started < 2


def test_a_damaged_pixel_stream_is_refused() -> None:
    at = PNG.index(b"IDAT") + 5_000
    assert reason(PNG[:at] + bytes(40) + PNG[at + 40 :])


@settings(max_examples=150, derandomize=True)
@given(
    form=st.sampled_from(["png", "jpeg", "webp"]),
    edits=st.lists(st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6),
)
def test_whatever_the_bytes_are_there_is_an_answer(form: str, edits: list[tuple[float, bytes]]) -> None:
    data = bytearray(encoded(PICTURE[:64, :64], f"image/{form}"))
    for place, patch in edits:
        at = int(place * len(data))
        data[at : at + len(patch)] = patch
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(INSPECTOR.image(bytes(data)), ImageMeasures | Undecodable)
