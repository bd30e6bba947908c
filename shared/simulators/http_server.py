"""The web server under the simulators: requests and answers as values, keep-alive, delays and dropped connections."""

from __future__ import annotations

import json
import selectors
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


class NotAnObject(Exception):
    """The body of a request is no JSON object."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; *path* and *query_text* are still percent-encoded."""

    method: str
    path: str
    query_text: str
    headers: Message
    body: bytes

    @property
    def query(self) -> dict[str, str]:
        """The decoded query; of a repeated name the last value."""
        return dict(parse_qsl(self.query_text, keep_blank_values=True))

    def json(self) -> dict[str, Any]:
        """Return the body as an object, empty when there is none. Raises NotAnObject."""
        try:
            value = json.loads(self.body or b"{}")
        except ValueError:
            raise NotAnObject from None
        if not isinstance(value, dict):
            raise NotAnObject
        return value


@dataclass(frozen=True, slots=True)
class Response:
    """One answer, sent after *delay_s* unless the client is gone by then."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | bytearray | memoryview = b""
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer: the connection is closed after *delay_s*, or when the client gives up before."""

    delay_s: float = 0.0


Answer = Response | Silence


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return *value* as a JSON answer."""
    kind = {"Content-Type": "application/json; charset=UTF-8"}
    return Response(status, {**kind, **(headers or {})}, json.dumps(value).encode())


class Server(ThreadingHTTPServer):
    """Answers with *respond*, on this machine only; a thread per connection, all of which end with `stop`."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, respond: Callable[[Request], Answer], name: str) -> None:
        """Listen. *respond* must not raise. Raises OSError when the port is taken."""
        super().__init__(("127.0.0.1", port), _Handler)
        self.respond = respond
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection, in the middle of an answer if need be."""
        self.shutdown()
        self.server_close()
        self._thread.join()
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):  # the client has just reset it
                    connection.shutdown(socket.SHUT_RDWR)

    def hold(self, connection: socket.socket) -> None:
        """Remember an open connection."""
        with self._lock:
            self._connections.add(connection)

    def shutdown_request(self, request: Any) -> None:
        """Forget and close a connection."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a connection that broke: the client did, or `stop`."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.hold(self.connection)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _handle(self) -> None:
        target = urlsplit(self.path)
        request = Request(self.command, target.path, target.query, self.headers, self._body())
        answer = self.server.respond(request)
        gone = answer.delay_s > 0 and self._left_within(answer.delay_s)
        if gone or isinstance(answer, Silence):
            self.close_connection = True
            return
        self._send(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815 - the base class asks for them

    def _left_within(self, seconds: float) -> bool:
        """Wait, and return whether the client went away: it has nothing to send while it waits for an answer."""
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.connection, selectors.EVENT_READ)
            return bool(waiting.select(seconds))

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, response: Response) -> None:
        bodiless = response.status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if not bodiless:
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD" and not bodiless:
            self.wfile.write(response.body)
