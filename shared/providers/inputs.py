"""Pictures and clips that a request refers to, in the form a vendor takes them."""

from __future__ import annotations

import base64
import mimetypes
from dataclasses import dataclass

from shared.errors import BlobNotFound, BlobTooLarge, InvalidBlobName, InvalidCall
from shared.ports import BlobStore

MAX_INLINE_BYTES = 7 * 2**20  # what Vertex AI takes within a request, for one file
LINK_S = 3600


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file given by its `gs://` URI, where the vendor can read that itself, or else by its bytes."""

    media_type: str
    uri: str | None = None
    data: bytes | None = None


def for_google(uri: str, blobs: BlobStore) -> InputFile:
    """Return the file at *uri* for a vendor that reads Cloud Storage. Raises InvalidCall when it is not there."""
    try:
        own = blobs.uri(*blobs.locate(uri))
    except InvalidBlobName:
        return InputFile(_media_type(uri), uri=uri)  # a bucket of the user's own
    if own.startswith("gs://"):
        return InputFile(_media_type(uri), uri=own)
    return InputFile(_media_type(uri), data=_bytes(uri, own, blobs, MAX_INLINE_BYTES))


def as_url(uri: str, blobs: BlobStore, *, max_inline_bytes: int) -> str:
    """Return a URL by which any vendor can read the file: its data, or a link for an hour when it is larger.

    Raises:
        InvalidCall: it is not there, or too large while no link can be made.
    """
    try:
        own = blobs.uri(*blobs.locate(uri))
    except InvalidBlobName:
        raise InvalidCall(f"input {uri} is in none of our buckets, so this vendor cannot read it") from None
    info = blobs.stat(own)
    if info is None:
        raise InvalidCall(f"input {uri} does not exist")
    if info.size_bytes > max_inline_bytes:
        link = blobs.link(own, LINK_S)
        if link is not None and link.startswith("https://"):
            return link
    data = _bytes(uri, own, blobs, max_inline_bytes)
    return f"data:{_media_type(uri)};base64,{base64.b64encode(data).decode()}"


def _bytes(uri: str, own: str, blobs: BlobStore, limit: int) -> bytes:
    try:
        return blobs.read(own, limit)
    except BlobNotFound:
        raise InvalidCall(f"input {uri} does not exist") from None
    except BlobTooLarge:
        raise InvalidCall(f"input {uri} is larger than {limit} bytes") from None


def _media_type(uri: str) -> str:
    return mimetypes.guess_type(uri)[0] or "application/octet-stream"
