"""The end of an answer as a whole. httpx itself bounds only the time between two pieces of it."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic

import httpx

UNTIL = "until"  # the extension of a request that names its end, in seconds of `time.monotonic`


def bound(response: httpx.Response) -> None:
    """Have the body come by the time that its request names, however slowly; for the event hooks of a client.

    Reading it then raises `httpx.ReadTimeout`.
    """
    extensions = response.request.extensions
    if isinstance(response.stream, httpx.SyncByteStream):
        response.stream = _Bounded(response.stream, extensions[UNTIL])
        bounds = extensions["timeout"]
        bounds["read"] = min(bounds["read"], max(0.001, extensions[UNTIL] - monotonic()))


class _Bounded(httpx.SyncByteStream):
    def __init__(self, body: httpx.SyncByteStream, until: float) -> None:
        self._body = body
        self._until = until

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._body:
            if monotonic() > self._until:
                raise httpx.ReadTimeout("the answer took too long")
            yield chunk

    def close(self) -> None:
        self._body.close()
