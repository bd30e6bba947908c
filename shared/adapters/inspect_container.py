"""Says by its bytes what a clip's container is, and whether the file is whole, before a demuxer sees it."""

from __future__ import annotations

import struct
from typing import BinaryIO

_BOXES = frozenset(b"ftyp moov mdat moof mfra sidx ssix styp emsg free skip wide uuid meta udta prft pdin bloc".split())
_MAX_BOXES = 20_000
_MAX_INDEX_BYTES = 64 << 20  # the demuxer keeps the index in memory
_MAX_SAMPLES = 1_000_000  # and makes an entry of each sample, of which a few bytes can claim four thousand million
_COUNTS = {b"moov": ((b"stsz", 12), (b"stz2", 12)), b"moof": ((b"trun", 8),)}  # where a count is, from the box's name
_EBML, _SEGMENT, _DOC_TYPE = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x42\x82"
_MAX_EBML_HEADER = 1 << 10


class NotAClip(Exception):
    """The bytes are not one whole MP4, MOV or WebM file; the text says why."""


def read_container(file: BinaryIO, size_bytes: int) -> tuple[str, str]:
    """Return (media type, libav's name of the demuxer) and leave *file* at its start. Raises NotAClip."""
    file.seek(0)
    head = file.read(_MAX_EBML_HEADER)
    if head[4:8] == b"ftyp" and len(head) >= 12:
        _walk_boxes(file, size_bytes)
        found = "video/quicktime" if head[8:12] == b"qt  " else "video/mp4", "mov"
    elif head.startswith(_EBML):
        _demand_webm(head, size_bytes)
        found = "video/webm", "matroska"
    else:
        raise NotAClip("neither MP4 nor MOV nor WebM" if head else "empty")
    file.seek(0)
    return found


def _walk_boxes(file: BinaryIO, size_bytes: int) -> None:
    """Follow the top-level boxes from the first byte to the last (ISO/IEC 14496-12, 4.2)."""
    at, kinds = 0, set()
    for _ in range(_MAX_BOXES):
        kind, size = _box(file, at, size_bytes)
        if kind in _COUNTS:
            _demand_countable(file, at, size, _COUNTS[kind])
        kinds.add(kind)
        at += size
        if at > size_bytes:
            raise NotAClip(f"truncated: {size_bytes} of {at} bytes")
        if at == size_bytes:
            break
    if at != size_bytes or b"moov" not in kinds:
        raise NotAClip("no index" if at == size_bytes else "too many boxes")


def _demand_countable(file: BinaryIO, at: int, size: int, counts: tuple[tuple[bytes, int], ...]) -> None:
    """Refuse an index that is too large for the memory or claims to be."""
    if size > _MAX_INDEX_BYTES:
        raise NotAClip(f"an index of {size} bytes")
    file.seek(at)
    index = file.read(size)
    for name, offset in counts:
        found = index.find(name)
        while found >= 0:
            if int.from_bytes(index[found + offset : found + offset + 4], "big") > _MAX_SAMPLES:
                raise NotAClip("an index of too many samples")
            found = index.find(name, found + 4)
    if b"cmov" in index:
        raise NotAClip("a compressed index")


def _box(file: BinaryIO, at: int, size_bytes: int) -> tuple[bytes, int]:
    file.seek(at)
    head = file.read(16)
    if len(head) < 8:
        raise NotAClip("truncated")
    size, kind = struct.unpack_from(">I4s", head)
    if kind not in _BOXES:
        raise NotAClip("bytes that belong to no box")
    if size == 0:
        size = size_bytes - at  # to the end of the file
    elif size == 1 and len(head) == 16:
        size = struct.unpack_from(">Q", head, 8)[0]
    if size < 8:
        raise NotAClip("broken box")
    return kind, size


def _demand_webm(head: bytes, size_bytes: int) -> None:
    """Check the EBML header's document type and the length of the one segment (RFC 8794, 9559)."""
    length, start = _variable_size(head, 4)
    end = start + length if length is not None else 0
    at = head.find(_DOC_TYPE, start, end)
    if at < 0 or not head[at + 3 : at + 8].startswith(b"webm") or head[end : end + 4] != _SEGMENT:
        raise NotAClip("Matroska, but not WebM")
    length, start = _variable_size(head, end + 4)
    if length is not None and start + length != size_bytes:
        longer = start + length < size_bytes
        raise NotAClip("bytes after the end" if longer else f"truncated: {size_bytes} of {start + length} bytes")


def _variable_size(head: bytes, at: int) -> tuple[int | None, int]:
    """Return (EBML's variable-length integer, or None for "unknown"; where it ends)."""
    first = head[at] if at < len(head) else 0
    width = 9 - first.bit_length()
    if width > 8 or at + width > len(head):
        raise NotAClip("broken EBML header")
    value = int.from_bytes(head[at : at + width], "big") & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), at + width
