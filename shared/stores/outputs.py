"""Where delivered pieces are kept: `outputs/jobs/{job_id}/{attempt}/{n}.{ext}`, created once, never overwritten."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from shared.domain.job import Piece
from shared.errors import BlobExists
from shared.ports import Asset, BlobStore, Call, Done

EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "text/plain": "txt",
    "application/json": "json",
}
_TEXTUAL = ("text/plain", "application/json")
_CHUNK = 1 << 20
_LONGEST_TEXT = 4 << 20


def keep(call: Call, done: Done, blobs: BlobStore) -> tuple[Piece, ...]:
    """Store every asset of a delivery and return what is in the bucket now.

    An object that is already there was stored by an earlier owner of the same attempt, so it is what was bought
    and it stays.

    Raises:
        StoreUnavailable: our bucket did not take it.
        ProviderFault: the vendor did not hand it over.
    """
    first = call.part * call.row.pieces_per_call
    return tuple(_keep_one(call.output_prefix, first + n, asset, blobs) for n, asset in enumerate(done.assets))


def kept(call: Call, blobs: BlobStore) -> Done | None:
    """Return the delivery of a call that an earlier owner stored completely; None when anything is missing."""
    first, count = call.part * call.row.pieces_per_call, int(call.params.get("count", 1))
    found = [info for n in range(first, first + count) for info in blobs.list(f"{call.output_prefix}{n}.", limit=1)]
    if len(found) < count:
        return None
    return Done(tuple(_stored_asset(info.uri, info.media_type, blobs) for info in found), usage={})


def _stored_asset(uri: str, media_type: str, blobs: BlobStore) -> Asset:
    if media_type in _TEXTUAL:
        return Asset(media_type, text=blobs.read(uri, _LONGEST_TEXT).decode())
    return Asset(media_type, uri=uri)


def _keep_one(prefix: str, number: int, asset: Asset, blobs: BlobStore) -> Piece:
    if asset.uri is not None:
        return _describe(asset.uri, asset.media_type, blobs)
    uri = f"{prefix}{number}.{EXTENSIONS.get(asset.media_type, 'bin')}"
    try:
        if asset.chunks is not None:
            return _streamed(uri, asset.media_type, asset.chunks(), blobs)
        data = asset.text.encode() if asset.text is not None else asset.data or b""
        info = blobs.create(uri, data, asset.media_type)
    except BlobExists:
        return _describe(uri, asset.media_type, blobs)
    return Piece(info.uri, asset.media_type, len(data), hashlib.sha256(data).hexdigest(), text=asset.text)


def _streamed(uri: str, media_type: str, chunks: Iterator[bytes], blobs: BlobStore) -> Piece:
    """Copy a file that may be far larger than our memory, and measure it on the way."""
    digest, size = hashlib.sha256(), 0

    def measured() -> Iterator[bytes]:
        nonlocal size
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            yield chunk

    info = blobs.create(uri, measured(), media_type)
    return Piece(info.uri, media_type, size, digest.hexdigest())


def _describe(uri: str, media_type: str, blobs: BlobStore) -> Piece:
    """Describe an object that is in the bucket already, by reading it once."""
    digest, size, text = hashlib.sha256(), 0, None
    with blobs.open(uri) as file:
        for chunk in _chunks(file):
            digest.update(chunk)
            size += len(chunk)
    if media_type in _TEXTUAL:
        text = blobs.read(uri, _LONGEST_TEXT).decode()
    return Piece(uri, media_type, size, digest.hexdigest(), text=text)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
