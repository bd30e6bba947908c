"""Runway as its SDK sees it (X-Runway-Version 2024-11-06): creates that answer with a task, and the tasks.

Sources: runwayml 5.24.0, docs.dev.runwayml.com (errors, task failures, inputs, pricing), and answers of the live API
recorded in public. Choices where nothing is published: an input the filter refuses costs nothing, a refused output
costs what it would have; a cancelled task is still told as CANCELLED, with what stays charged, a deleted one is gone.
There is no list of tasks at Runway, and so none here; an account without credits is answered 400, as there.

Faults: blocked_prompt and blocked_output end the task with SAFETY.INPUT.TEXT and SAFETY.OUTPUT.*, filtered with
INTERNAL.BAD_OUTPUT.CODE01, late_failure with INTERNAL.
Questions after tasks, and their deletion, can be made to fail as the operation "tasks".
"""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from shared.simulators.http_server import Answer, Request, Response, json_response
from shared.simulators.runway_models import CALLS, Order, order_of
from shared.simulators.vendor_calls import VendorCall
from shared.simulators.vendor_core import Later, VendorCore
from shared.simulators.vendor_faults import WEBHOOK, canonical
from shared.simulators.vendor_http import Refused, check
from shared.simulators.vendor_media import image, spoiled, video

VERSION = "2024-11-06"
DOCUMENTATION = "https://docs.dev.runwayml.com/api"
PENDING_S = 1.0
THROTTLED_S = 4.0  # more, for every fourth kind of request
IMAGE_S = 3.0
CLIP_S = 6.0
URL_S = 24 * 3600.0
FPS = 24

_TASK = re.compile(r"/v1/tasks/([\w-]+)")
_IMPOSSIBLE = WEBHOOK | {"refusal", "partial"}  # one piece per task, and no webhooks
_PATH_PART = re.compile(r"[^.\[\]]+")
_WORDS: Mapping[int, str] = {
    401: "The provided API key is not valid.",
    402: "You do not have enough credits to run this task.",
    404: "Not found.",
    429: "Too many requests. Please try again later.",
    500: "Internal server error.",
    503: "The service is shedding load. Please try again later.",
    504: "The service is overloaded. Please try again later.",
}
_FAILURES: Mapping[str, tuple[str, str]] = {
    "blocked_prompt": ("SAFETY.INPUT.TEXT", "The prompt was refused by our content moderation system."),
    "blocked_output": ("SAFETY.OUTPUT", "The output was refused by our content moderation system."),
    "filtered": ("INTERNAL.BAD_OUTPUT.CODE01", "The output was not good enough. Please change the input."),
    "late_failure": ("INTERNAL", "An unexpected error occurred."),
}


@dataclass(slots=True)
class Task:
    """One accepted create."""

    call: VendorCall
    order: Order
    runs_from: datetime
    ready: Later
    is_throttled: bool
    is_cancelled: bool = False
    is_deleted: bool = False


class RunwayApi:
    """Answers for Runway's paths; see the module."""

    name = "runway"

    def __init__(self, core: VendorCore) -> None:
        self._core = core
        self._tasks: dict[str, Task] = {}
        self._lock = threading.Lock()

    def owns(self, path: str) -> bool:
        """Whether it is a path of Runway."""
        return path.removeprefix("/v1/") in CALLS or path.startswith("/v1/tasks")

    def respond(self, request: Request) -> Answer:
        """Answer. Raises Refused and NotAnObject."""
        self._core.authorize(self.name, request)
        if request.headers.get("X-Runway-Version") != VERSION:
            raise Refused(400, f"The X-Runway-Version header must be {VERSION}.")
        operation = request.path.removeprefix("/v1/")
        if operation in CALLS:
            if request.method != "POST":
                raise Refused(405, "Method not allowed.")
            return self._create(operation, request)
        task = self._task(request.path)
        if request.method not in {"GET", "DELETE"}:
            raise Refused(405, "Method not allowed.")
        fault = self._core.asked(self.name, "tasks", task.order.model)
        told = self._delete(task) if request.method == "DELETE" else json_response(self._told(task))
        return self._core.sent(fault, told)

    def error(self, refused: Refused) -> Response:
        """Return the refusal as Runway writes it: `error`, and the `issues` of a body that is not valid."""
        body: dict[str, Any] = {"error": _WORDS.get(refused.status, refused.message)}
        if refused.field:
            path = [int(each) if each.isdecimal() else each for each in _PATH_PART.findall(refused.field)]
            issue = {"code": refused.code or "custom", "path": path, "message": refused.message}
            body = {"error": "Validation of body failed", "issues": [issue]}
        status = 400 if refused.status == 402 else refused.status  # no 402 at Runway
        return json_response({**body, "docUrl": DOCUMENTATION}, status, refused.headers)

    def _create(self, operation: str, request: Request) -> Answer:
        body = request.json()
        shapes = CALLS[operation]
        if body.get("model") not in shapes:
            raise Refused(400, "Invalid input", code="invalid_union", field="model")
        model: str = body["model"]
        check(body, {**shapes[model], "model": str})
        order = order_of(operation, body)
        key = request.path + canonical(body)
        fault = self._core.admit(self.name, operation, model, key, without=_IMPOSSIBLE)
        billed = {"credit": order.credits}
        call = self._core.accept(self.name, operation, model, order.prompt, fault=fault, billed=billed)
        self._start(call, order, is_throttled=zlib.crc32(key.encode()) % 4 == 0)
        return self._core.answer(call, json_response({"id": call.id, "estimatedCost": {"credits": order.credits}}))

    def _start(self, call: VendorCall, order: Order, *, is_throttled: bool) -> None:
        waits_s = PENDING_S + (THROTTLED_S if is_throttled else 0.0)
        runs_from = call.accepted_at + timedelta(seconds=waits_s)
        ready = self._core.later(waits_s + (CLIP_S if order.seconds else IMAGE_S), lambda: None)
        with self._lock:
            self._tasks[call.id] = Task(call, order, runs_from, ready, is_throttled)
        if call.has("blocked_prompt", "blocked_output"):
            call.end_at(ready.at, "blocked", {"credit": order.credits} if call.has("blocked_output") else {})
        elif call.has("filtered", "late_failure"):
            call.end_at(ready.at, "failed", {})
        else:
            call.end_at(ready.at, "delivered")

    def _task(self, path: str) -> Task:
        match = _TASK.fullmatch(path)
        task = self._tasks.get(match[1]) if match else None
        if task is None or task.is_deleted:
            raise Refused(404, "Not found.")
        return task

    def _delete(self, task: Task) -> Response:
        """Cancel a task; what runs already stays charged, as the SDK's own documentation says."""
        if not task.ready.cancel():
            task.is_deleted = True
        else:
            task.is_cancelled = True
            task.call.end("failed", {} if self._core.clock.now() < task.runs_from else None)
        return Response(204)

    def _told(self, task: Task) -> dict[str, Any]:
        accepted_at = task.call.accepted_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {"id": task.call.id, "createdAt": accepted_at}
        if task.is_cancelled:
            return {**head, "status": "CANCELLED", "cost": {"credits": task.call.billed.get("credit", 0)}}
        if not task.ready.happened():
            return {**head, **self._unfinished(task), "estimatedCost": {"credits": task.order.credits}}
        failure = _failure(task)
        if failure is not None:
            charged = task.order.credits if task.call.has("blocked_output") else 0
            return {**head, "status": "FAILED", **failure, "cost": {"credits": charged}}
        return {**head, "status": "SUCCEEDED", "output": [self._url(task)], "cost": {"credits": task.order.credits}}

    def _unfinished(self, task: Task) -> dict[str, Any]:
        now = self._core.clock.now()
        if now < task.runs_from:
            return {"status": "THROTTLED" if task.is_throttled else "PENDING"}
        share = (now - task.runs_from) / (task.ready.at - task.runs_from)
        return {"status": "RUNNING", "progress": round(min(share, 0.99), 2)}

    def _url(self, task: Task) -> str:
        """Return a fresh URL: each time a task is asked after, its URLs begin to expire anew."""
        order = task.order
        media_type = "video/mp4" if order.seconds else "image/png"
        name = f"runway-{task.call.id}"
        return self._core.media.publish(partial(_made, task), name, media_type, expires_after_s=URL_S)


def _failure(task: Task) -> dict[str, str] | None:
    fault = task.call.fault
    if fault is None or fault.name not in _FAILURES:
        return None
    code, words = _FAILURES[fault.name]
    if fault.name == "blocked_output":
        code = f"{code}.{'VIDEO' if task.order.seconds else 'IMAGE'}"
    return {"failure": words, "failureCode": code}


def _made(task: Task) -> bytes:
    order, mark = task.order, task.call.id
    if order.seconds:
        data = video(order.width, order.height, FPS, order.seconds, mark, audio=order.audio)
    else:
        data = image(order.width, order.height, "image/png", mark)
    return spoiled(data) if task.call.has("corrupt") else data
