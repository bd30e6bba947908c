"""Finding a clip whose operation is not known: by the prefix under which the vendor was told to write it."""

from __future__ import annotations

from datetime import timedelta

from shared.domain.times import from_text, to_text
from shared.errors import Ambiguous, StoreUnavailable
from shared.ports import Asset, BlobStore, Clock, Done, Json, Pending
from shared.providers.http import ASK_AGAIN_S

POLL_S = 12.0  # the vendor's own examples ask every 10 to 20 seconds
WATCH_S = 600.0  # several times as long as the slowest model takes
_MOST_FILES = 50


def is_watched(prefix: str) -> bool:
    """Whether the vendor writes under *prefix*; elsewhere it hands the bytes over."""
    return prefix.startswith("gs://")


def watching(api: str, prefix: str, clock: Clock) -> Json:
    """Return the handle of a call of which only the prefix is known; the watch begins now."""
    return {"api": api, "watch": prefix, "since": to_text(clock.now())}


def look(handle: Json, blobs: BlobStore, clock: Clock) -> Done | Pending:
    """Return the finished clip when it is there; its names are `TIMESTAMP/sample_0.mp4` and the like.

    Raises:
        Ambiguous: nothing came in all the time that was given.
    """
    try:
        found = blobs.list(handle["watch"], limit=_MOST_FILES)
    except StoreUnavailable:
        return Pending(handle, ASK_AGAIN_S)
    clip = next((info for info in found if info.uri.endswith(".mp4") and info.size_bytes), None)
    if clip is not None:
        return Done((Asset("video/mp4", uri=clip.uri),), usage={})
    if clock.now() - from_text(handle["since"]) >= timedelta(seconds=WATCH_S):
        raise Ambiguous("vertex wrote no clip under the prefix of the call, and nothing else can be asked")
    return Pending(handle, POLL_S)
