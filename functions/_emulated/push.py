"""One push as Pub/Sub itself would make it: the body, and the connection over which a function gets it.

Source: cloud.google.com/pubsub/docs/push. The emulator's own pushes lack `deliveryAttempt`, and to it 202 is a nack.
"""

from __future__ import annotations

import base64
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from socket import SHUT_RDWR
from urllib.parse import urlsplit

import orjson

from shared.adapters.pubsub_pull import Received

ACKS = frozenset({102, 200, 201, 202, 204})
HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google)",
}
CONNECT_S = 1.0
IDLE_S = 1.0  # Functions Framework's server closes a connection that was idle for 2 s


def push_body(received: Received, subscription: str) -> bytes:
    """Return a push request; the names in both spellings and the order of the fields are Pub/Sub's."""
    published = f"{received.published_at:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
    message = {
        "attributes": dict(received.attributes),
        "data": base64.b64encode(received.data).decode(),
        "messageId": received.message_id,
        "message_id": received.message_id,
        "publishTime": published,
        "publish_time": published,
    }
    if not received.data:
        del message["data"]
    counted = {"deliveryAttempt": received.attempt} if received.attempt else {}
    return orjson.dumps({**counted, "message": message, "subscription": subscription})


class Connection:
    """A connection to *url*, kept open from message to message; one thread posts. An answer may take *timeout_s*."""

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        self._http = HTTPConnection(parts.hostname or "", parts.port, timeout=CONNECT_S)
        self._path = parts.path or "/"
        self._timeout_s = timeout_s
        self._used_at = 0.0
        self._interrupted = False

    def post(self, body: bytes) -> int:
        """Return the status of the answer, 0 when there is none in time."""
        try:
            self._open()
            self._http.request("POST", self._path, body, HEADERS)
            with self._http.getresponse() as response:
                response.read()
                status = response.status
        except (OSError, HTTPException):
            self._http.close()
            return 0
        self._used_at = time.monotonic()
        if status < 200:  # the final answer is still to come, and Pub/Sub does not wait for it
            self._http.close()
        return status

    def interrupt(self) -> None:
        """End, from another thread, a `post` that waits, and every later one."""
        self._interrupted = True
        if (sock := self._http.sock) is not None:
            with suppress(OSError):
                sock.shutdown(SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _open(self) -> None:
        if time.monotonic() - self._used_at > IDLE_S:
            self._http.close()
        if not self._is_open():
            self._http.connect()
            self._http.sock.settimeout(self._timeout_s)
        if self._interrupted:
            raise ConnectionAbortedError

    def _is_open(self) -> bool:
        return self._http.sock is not None
