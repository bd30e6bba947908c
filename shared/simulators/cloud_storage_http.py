"""Answers of the Cloud Storage simulator: Google's form of errors, and faults on demand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from shared.log import log
from shared.simulators import http_server
from shared.simulators.cloud_storage_objects import Refused
from shared.simulators.http_server import Answer, NotAnObject, Request, Response, Silence, json_response

__all__ = ["Fault", "Request", "Response", "Server", "error_response", "json_response"]


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


def error_response(status: int, message: str, reason: str) -> Response:
    """Return an error in Google's form."""
    errors = [{"message": message, "domain": "global", "reason": reason}]
    return json_response({"error": {"code": status, "message": message, "errors": errors}}, status)


class Server(http_server.Server):
    """Answers with *respond*, unless one of *faults* is due."""

    def __init__(self, port: int, respond: Callable[[Request], Response], faults: list[Fault]) -> None:
        self._work, self._faults = respond, faults
        self._fault_lock = threading.Lock()
        super().__init__(port, self.answer, "cloud-storage")

    def answer(self, request: Request) -> Answer:
        """Return the answer, or how it fails."""
        fault = self._next_fault(request)
        if fault is None:
            return self._answered(request)
        time.sleep(fault.delay_s)
        fails = fault.drop or fault.status is not None
        done = self._answered(request) if fault.after or not fails else None
        if fault.drop:
            return Silence()
        if fault.status is not None or done is None:
            return error_response(fault.status or 500, "a fault was asked for", "backendError")
        return _corrupted(done) if fault.corrupt else done

    def _next_fault(self, request: Request) -> Fault | None:
        line = f"{request.method} {request.path}?{request.query_text}"
        with self._fault_lock:
            fault = next((each for each in self._faults if each.times > 0 and each.match in line), None)
            if fault is not None:
                fault.times -= 1
            return fault

    def _answered(self, request: Request) -> Response:
        try:
            return self._work(request)
        except NotAnObject:
            return error_response(400, "Parse Error", "parseError")
        except Refused as refused:
            return error_response(refused.status, refused.message, refused.reason)
        except Exception:  # noqa: BLE001 - a bug here must not look like a network fault to the client
            log.exception("cloud_storage.failed")
            return error_response(500, "the simulator failed; its log says how", "internalError")


def _corrupted(response: Response) -> Response:
    body = bytearray(response.body)
    if body:
        body[-1] ^= 1
    return Response(response.status, response.headers, body)
