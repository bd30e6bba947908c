"""A vendor of single tests: it answers what it is told and keeps what it was sent."""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.http_server import Handler, serving


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: a JSON value or bytes; *then* is what happens instead of a whole answer.

    "drop" hangs up without a word, "cut" in the middle of the body, "hang" never answers, "drip" sends single bytes.
    """

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    then: str = ""

    def data(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True, slots=True)
class Sent:
    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


class Vendor:
    """Gives its replies in order, the last one again and again."""

    def __init__(self) -> None:
        self.url = ""
        self.sent: list[Sent] = []
        self.replies: deque[Reply] = deque([Reply()])
        self.over = threading.Event()

    def answers(self, *replies: Reply) -> None:
        self.replies = deque(replies)

    def next_reply(self) -> Reply:
        return self.replies.popleft() if len(self.replies) > 1 else self.replies[0]

    @property
    def last(self) -> Sent:
        return self.sent[-1]


class Recording(Handler):
    vendor: Vendor

    def respond(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.vendor.sent.append(Sent(self.command, self.path, headers, json.loads(raw) if raw else None))
        reply = self.vendor.next_reply()
        if reply.then == "hang":
            self.vendor.over.wait(30)
        if reply.then in ("hang", "drop"):
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self._write(reply)

    def do_DELETE(self) -> None:  # noqa: N802 - the name is given
        self.respond()

    def _write(self, reply: Reply) -> None:
        data = reply.data()
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if reply.then == "drip":
            self._drip(data)
        else:
            self.wfile.write(data[: len(data) // 2] if reply.then == "cut" else data)

    def _drip(self, data: bytes) -> None:
        for n in range(len(data)):
            if self.vendor.over.wait(0.02):
                return
            self.wfile.write(data[n : n + 1])


@contextmanager
def recorded() -> Iterator[Vendor]:
    vendor = Vendor()
    with serving(type("Bound", (Recording,), {"vendor": vendor})) as url:
        vendor.url = url.rstrip("/")
        try:
            yield vendor
        finally:
            vendor.over.set()
