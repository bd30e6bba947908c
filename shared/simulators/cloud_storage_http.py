"""The web server under the Cloud Storage simulator: requests and answers as values, keep-alive, faults on demand."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from shared.log import log
from shared.simulators.cloud_storage_objects import Refused


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
        """Return the body as an object, empty when there is none. Raises Refused."""
        try:
            value = json.loads(self.body or b"{}")
        except ValueError:
            raise Refused(400, "Parse Error", "parseError") from None
        if not isinstance(value, dict):
            raise Refused(400, "Parse Error", "parseError")
        return value


@dataclass(frozen=True, slots=True)
class Response:
    """One answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | bytearray | memoryview = b""


@dataclass(slots=True)
class Fault:
    """What goes wrong with the next *times* requests whose `METHOD /path?query` contains *match*.

    Attributes:
        status: answer with this, in Google's form; None: do not.
        delay_s: wait before anything else.
        drop: close the connection without an answer.
        after: do the work first, and only then answer *status* or drop.
        corrupt: change a byte of the answer.
    """

    match: str = ""
    times: int = 1
    status: int | None = None
    delay_s: float = 0.0
    drop: bool = False
    after: bool = False
    corrupt: bool = False


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return *value* as a JSON answer."""
    kind = {"Content-Type": "application/json; charset=UTF-8"}
    return Response(status, {**kind, **(headers or {})}, json.dumps(value).encode())


def error_response(status: int, message: str, reason: str) -> Response:
    """Return an error in Google's form."""
    errors = [{"message": message, "domain": "global", "reason": reason}]
    return json_response({"error": {"code": status, "message": message, "errors": errors}}, status)


class Server(ThreadingHTTPServer):
    """Answers with *respond*; a thread per connection, all of which end with `stop`."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, respond: Callable[[Request], Response], faults: list[Fault]) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self._respond, self._faults = respond, faults
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="cloud-storage", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection, in the middle of an answer if need be."""
        self.shutdown()
        self.server_close()
        self._thread.join()
        with self._lock:
            for connection in self._connections:
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

    def answer(self, request: Request) -> Response | None:
        """Return the answer, None when the connection is to be dropped."""
        fault = self._next_fault(request)
        if fault is None:
            return self._answered(request)
        time.sleep(fault.delay_s)
        fails = fault.drop or fault.status is not None
        done = self._answered(request) if fault.after or not fails else None
        if fault.drop:
            return None
        if fault.status is not None:
            return error_response(fault.status, "a fault was asked for", "backendError")
        return _corrupted(done) if done is not None and fault.corrupt else done

    def _next_fault(self, request: Request) -> Fault | None:
        line = f"{request.method} {request.path}?{request.query_text}"
        with self._lock:
            fault = next((each for each in self._faults if each.times > 0 and each.match in line), None)
            if fault is not None:
                fault.times -= 1
            return fault

    def _answered(self, request: Request) -> Response:
        try:
            return self._respond(request)
        except Refused as refused:
            return error_response(refused.status, refused.message, refused.reason)
        except Exception:  # noqa: BLE001 - a bug here must not look like a network fault to the client
            log.exception("cloud_storage.failed")
            return error_response(500, "the simulator failed; its log says how", "internalError")


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
        response = self.server.answer(request)
        if response is None:
            self.close_connection = True
            return
        self._send(response)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815 - the base class asks for them

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


def _corrupted(response: Response) -> Response:
    body = bytearray(response.body)
    if body:
        body[-1] ^= 1
    return Response(response.status, response.headers, body)
