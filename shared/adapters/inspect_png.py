"""Decodes the common kinds of PNG (8 bits, RGB, RGBA or gray, not interlaced) strip by strip.

Most of the time a PNG takes goes into inflating. Here the stream is inflated by ISA-L where that is installed, and
the rows are handed, uncompressed, to libav's vectorised row filters. Memory stays at one strip beside the result.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import av
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 6: 4}  # by colour type
_STRIP_BYTES = 1 << 18
_PIECE_BYTES = 1 << 14  # of deflate, which can grow 1,032-fold
_STORED_BYTES = 65_535  # longest stored block of deflate
_FILTERS = 5
_MAX_CHUNKS = 50_000


class PngBroken(Exception):
    """The pixel data is not what the header promises."""


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start, end) of each chunk's content up to and with IEND. Raises PngBroken when one is cut."""
    at = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if at + 12 > len(data):
            break
        size, kind = struct.unpack_from(">I4s", data, at)
        start, at = at + 8, at + 12 + size
        if at > len(data):
            break
        yield kind, start, start + size
        if kind == b"IEND":
            return
    raise PngBroken("truncated")


def strips(data: bytes, width: int, height: int, colour_type: int) -> Iterator[NDArray[Any]]:
    """Yield the picture from top to bottom as arrays (rows, width[, channels]).

    Raises:
        PngBroken: too few or too many rows, a damaged stream, an unknown filter.
    """
    row_bytes = 1 + width * CHANNELS[colour_type]
    before, done = b"", 0
    for rows in _inflated(data, row_bytes, max(1, _STRIP_BYTES // row_bytes)):
        if np.frombuffer(rows, np.uint8)[::row_bytes].max() >= _FILTERS:
            raise PngBroken("unknown row filter")
        count = len(rows) // row_bytes
        done += count
        if done > height:
            raise PngBroken("more rows than the header says")
        body = before + rows
        frames = _decoder().decode(av.Packet(_stored_png(body, width, len(body) // row_bytes, colour_type)))
        strip: NDArray[Any] = frames[0].to_ndarray()[-count:]
        before = b"\0" + strip[-1].tobytes()  # filter 0: the row as it is
        yield strip
    if done != height:
        raise PngBroken(f"{done} of {height} rows")


def _decoder() -> Any:
    decoder: Any = av.CodecContext.create("png", "r")  # of no further use after one picture
    decoder.thread_count = 1
    return decoder


def _inflated(data: bytes, row_bytes: int, rows: int) -> Iterator[bytes]:
    """Yield the filtered rows, at most *rows* at a time."""
    engine = _inflate_engine()
    size, pending = row_bytes * rows, bytearray()
    for piece in _deflated(data):
        pending += engine.decompress(piece)
        while len(pending) >= size:
            yield bytes(pending[:size])
            del pending[:size]
    if not engine.eof:
        raise PngBroken("the pixel stream does not end")
    if len(pending) % row_bytes:
        raise PngBroken("a row is cut")
    if pending:
        yield bytes(pending)


def _deflated(data: bytes) -> Iterator[memoryview]:
    view = memoryview(data)
    for kind, start, end in chunks(data):
        if kind == b"IDAT":
            for at in range(start, end, _PIECE_BYTES):
                yield view[at : min(at + _PIECE_BYTES, end)]


def _inflate_engine() -> Any:
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.decompressobj()  # slower, the same pixels
    return isal_zlib.decompressobj()


def _stored_png(rows: bytes, width: int, height: int, colour_type: int) -> bytes:
    """Return a PNG file of filtered *rows* in stored blocks; checksums are left out, the decoder asks for none."""
    view = memoryview(rows)
    body: list[bytes | memoryview] = [b"\x78\x01"]
    for at in range(0, len(rows), _STORED_BYTES):
        block = view[at : at + _STORED_BYTES]
        body += struct.pack("<BHH", 0, len(block), len(block) ^ 0xFFFF), block
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    size = sum(len(part) for part in body)
    start = SIGNATURE + _chunk_head(b"IHDR", len(header)) + header + b"\0\0\0\0" + _chunk_head(b"IDAT", size)
    return b"".join([start, *body, b"\0\0\0\0", _chunk_head(b"IEND", 0), b"\0\0\0\0"])


def _chunk_head(kind: bytes, size: int) -> bytes:
    return struct.pack(">I4s", size, kind)
