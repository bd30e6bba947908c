"""Pictures and clips that a request refers to, in the form a vendor takes them."""

from __future__ import annotations

import base64
import mimetypes
from dataclasses import dataclass

from shared.errors import BlobNotFound, BlobTooLarge, InvalidBlobName, InvalidCall, StoreUnavailable, Unavailable
from shared.ports import BlobInfo, BlobStore

MAX_INLINE_BYTES = 7 * 2**20  # what Vertex AI takes within a request, for one file
LINK_S = 3600
BUCKETS = ("inbox", "outputs")
UNKNOWN = "application/octet-stream"
# What Python knows only where the system has a list of types, or under an old name.
_TYPES = {"flac": "audio/flac", "m4a": "audio/mp4", "opus": "audio/ogg", "wav": "audio/wav", "webp": "image/webp"}


class InputUnread(Unavailable):
    """Our own bucket did not hand over an input: nothing was sent, and nothing is known against the vendor."""

    counts_against_health = False


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file given by its `gs://` URI, where the vendor can read that itself, or else by its bytes."""

    media_type: str
    uri: str | None = None
    data: bytes | None = None


def for_google(uri: str, blobs: BlobStore) -> InputFile:
    """Return the file at *uri* for a vendor that reads Cloud Storage.

    A file in a bucket of the user's own is not looked for: the vendor may be let in where we are not.

    Raises:
        InvalidCall: it is not there, or too large to be sent along.
        InputUnread: our bucket does not answer.
    """
    try:
        bucket, name = blobs.locate(uri)
        own = blobs.uri(bucket, name)
    except InvalidBlobName:
        return InputFile(_media_type(uri, UNKNOWN), uri=uri)
    if own.startswith("gs://") and bucket not in BUCKETS:
        return InputFile(_media_type(uri, UNKNOWN), uri=own)
    media_type = _media_type(uri, _stat(uri, own, blobs).media_type)
    if own.startswith("gs://"):
        return InputFile(media_type, uri=own)
    return InputFile(media_type, data=_bytes(uri, own, blobs, MAX_INLINE_BYTES))


def as_url(uri: str, blobs: BlobStore, *, max_inline_bytes: int) -> str:
    """Return a URL by which any vendor can read the file: its data, or a link for an hour when it is larger.

    Raises:
        InvalidCall: it is not there, or too large while no link can be made.
        InputUnread: our bucket does not answer.
    """
    try:
        own = blobs.uri(*blobs.locate(uri))
    except InvalidBlobName:
        raise InvalidCall(f"input {uri} is in none of our buckets, so this vendor cannot read it") from None
    info = _stat(uri, own, blobs)
    if info.size_bytes > max_inline_bytes:
        link = blobs.link(own, LINK_S)
        if link is not None and link.startswith("https://"):
            return link
    data = _bytes(uri, own, blobs, max_inline_bytes)
    return f"data:{_media_type(uri, info.media_type)};base64,{base64.b64encode(data).decode()}"


def _stat(uri: str, own: str, blobs: BlobStore) -> BlobInfo:
    try:
        info = blobs.stat(own)
    except StoreUnavailable:
        raise InputUnread(f"input {uri} cannot be read now") from None
    if info is None:
        raise InvalidCall(f"input {uri} does not exist")
    return info


def _bytes(uri: str, own: str, blobs: BlobStore, limit: int) -> bytes:
    try:
        return blobs.read(own, limit)
    except BlobNotFound:
        raise InvalidCall(f"input {uri} does not exist") from None
    except BlobTooLarge:
        raise InvalidCall(f"input {uri} is larger than {limit} bytes") from None
    except StoreUnavailable:
        raise InputUnread(f"input {uri} cannot be read now") from None


def _media_type(uri: str, stored: str) -> str:
    """The type the object was stored with; where that says nothing, by the ending of its name."""
    if stored != UNKNOWN:
        return stored
    ending = uri.rpartition(".")[2].lower()
    return _TYPES.get(ending) or mimetypes.guess_type(uri)[0] or UNKNOWN
