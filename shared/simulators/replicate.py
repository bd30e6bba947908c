"""Replicate's HTTP API: predictions by model or version, their list, cancellation, and completion webhooks.

Sources: replicate.com/docs (http reference, lifecycle, deadlines, webhooks), replicate 1.0.7, and answers of the live
API recorded in public. Choices where nothing is published: every prediction waits `START_S` and then runs for a whole
number of seconds; the list leaves out `logs` and `webhook`, as the documented example does. `Prefer: wait` is answered
at once, as if that time were over. A webhook may go to plain HTTP on this machine, which the real API refuses.

Faults: blocked_prompt, blocked_output and filtered fail with the words of the safety filter, late_failure with those
of an interrupted run (its option `status` may be "aborted" or "canceled" instead), refusal and partial change texts.
Questions can be made to fail as the operations "get", "list" and "cancel".
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

from shared.domain.times import from_text
from shared.simulators.http_server import Answer, Request, Response, json_response
from shared.simulators.replicate_models import COMMUNITY, SVD, check_input, maker, pieces_of, product_of
from shared.simulators.replicate_predictions import (
    EVENTS,
    KEPT_S,
    Prediction,
    billed_of,
    delivered,
    state_of,
    status_of,
)
from shared.simulators.replicate_webhooks import LATE_S, Webhooks
from shared.simulators.vendor_core import VendorCore
from shared.simulators.vendor_faults import canonical
from shared.simulators.vendor_http import Refused, check

START_S = 1
RUNS_S: Mapping[str, int] = {"text": 1, "image": 3, "video": 8}
PAGE = 100

_MODEL_CALL = re.compile(r"/v1/models/([\w.-]+/[\w.-]+)/predictions")
_PREDICTION = re.compile(r"/v1/predictions/(\w+)(/cancel)?")
_VERSION = re.compile(r"(?:([\w.-]+/[\w.-]+):)?([0-9a-f]{64})")
_DEADLINE = re.compile(r"(\d+)(s|m|h)?")
_UNIT_S = {None: 1, "s": 1, "m": 60, "h": 3600}
_NO_VERSION = "The specified version does not exist (or perhaps you don't have permission to use it?)"
_ERRORS: Mapping[int, tuple[str, str]] = {
    401: ("Unauthenticated", "You did not pass a valid authentication token"),
    402: ("Insufficient credit", "You have insufficient credit to run this model."),
    404: ("Not found", "The requested resource could not be found."),
    500: ("Internal server error", "An internal error occurred."),
    503: ("Service unavailable", "The service is temporarily unavailable."),
    504: ("Gateway timeout", "The request timed out."),
}


class ReplicateApi:
    """Answers for Replicate's paths; see the module."""

    name = "replicate"

    def __init__(self, core: VendorCore) -> None:
        self._core = core
        self.webhooks = Webhooks(core)
        core.waits.append(self.webhooks.wait)
        self._predictions: dict[str, Prediction] = {}
        self._lock = threading.Lock()

    def owns(self, path: str) -> bool:
        """Whether it is a path of Replicate."""
        return path.startswith(("/v1/predictions", "/v1/models/", "/v1/webhooks/"))

    def respond(self, request: Request) -> Answer:
        """Answer. Raises Refused and NotAnObject."""
        self._core.authorize(self.name, request)
        line = f"{request.method} {request.path}"
        if line == "POST /v1/predictions" or (request.method == "POST" and _MODEL_CALL.fullmatch(request.path)):
            return self._create(request)
        if line == "GET /v1/predictions":
            return self._core.sent(self._core.asked(self.name, "list"), self._page(request.query))
        if line == "GET /v1/webhooks/default/secret":
            return json_response({"key": self.webhooks.secrets[0]})
        match = _PREDICTION.fullmatch(request.path)
        prediction = self._predictions.get(match[1]) if match else None
        if match is None or prediction is None or request.method != ("POST" if match[2] else "GET"):
            raise Refused(404, "")
        fault = self._core.asked(self.name, "cancel" if match[2] else "get", prediction.call.model)
        if match[2]:
            self._cancel(prediction)
        return self._core.sent(fault, json_response(self._told(prediction)))

    def error(self, refused: Refused) -> Response:
        """Return the refusal as Replicate writes it: title, detail, status, and the fields that are wrong."""
        if refused.status == 429:
            wait_s = refused.headers.get("Retry-After", "30")
            told = f"Request was throttled. Your rate limit resets in ~{wait_s}s."
            return json_response({"title": "Too many requests", "detail": told, "status": 429}, 429, refused.headers)
        status = 422 if refused.status == 400 else refused.status
        title, detail = _ERRORS.get(status, ("Input validation failed", refused.message))
        body: dict[str, Any] = {"title": title, "detail": detail, "status": status}
        if refused.code == "version":
            body["title"] = "Invalid version or not permitted"
        elif status == 422:
            place, _, words = refused.message.rpartition(": ")
            body["detail"] = f"- {place or refused.field or 'body'}: {words}\n"
            kind = refused.code or "invalid"
            body["invalid_fields"] = [{"type": kind, "field": refused.field, "description": words}]
        return json_response(body, status, refused.headers)

    # ------------------------------------------------------------ create

    def _create(self, request: Request) -> Answer:
        body = request.json()
        model, version = _target(request.path, body)
        deadline_s = _deadline_s(request)
        check_input(model, body["input"])
        product = product_of(model, body["input"])
        known_as = model if version == "hidden" else version
        fault = self._core.admit(
            self.name, "predictions", known_as, request.path + canonical(body), without=frozenset()
        )
        call = self._core.accept(
            self.name,
            "predictions",
            known_as,
            str(body["input"].get("prompt", "")),
            fault=fault,
            labels={"webhook": body["webhook"]} if "webhook" in body else {},
        )
        product = delivered(product, call)
        prediction = Prediction(
            call,
            model,
            version,
            body["input"],
            product,
            starts_at=call.accepted_at + timedelta(seconds=START_S),
            ends_at=call.accepted_at + timedelta(seconds=START_S + RUNS_S[product.kind]),
            webhook=body.get("webhook", ""),
            events=tuple(body.get("webhook_events_filter") or EVENTS),
        )
        self._schedule(prediction, deadline_s)
        return self._core.answer(call, json_response(self._told(prediction), 201))

    def _schedule(self, prediction: Prediction, deadline_s: int | None) -> None:
        call, status = prediction.call, status_of(prediction.call)
        if deadline_s is not None:
            prediction.deadline = call.accepted_at + timedelta(seconds=deadline_s)
            if prediction.deadline < prediction.ends_at:
                prediction.ends_at, status = prediction.deadline, "canceled"
        prediction.billed = billed_of(prediction, status, prediction.ends_at)
        call.billed = prediction.billed
        call.end_at(prediction.ends_at, state_of(call, status))
        with self._lock:
            self._predictions[prediction.id] = prediction
        runs_s = (prediction.ends_at - call.accepted_at).total_seconds()
        prediction.ready = self._core.later(runs_s, lambda: self._finish(prediction, status))
        self._announce(prediction, runs_s)

    def _announce(self, prediction: Prediction, ends_in_s: float) -> None:
        """Plan the webhooks of the beginning and the end, as far as they are wanted and not lost."""
        call = prediction.call
        if not prediction.webhook or call.has("webhook_lost"):
            return
        late_s = 0.0
        if call.fault is not None and call.has("webhook_late"):
            late_s = float(call.fault.options.get("webhook_late_s", LATE_S))
        if "start" in prediction.events:
            self.webhooks.plan(START_S + late_s, lambda: self._notify(prediction, "start"))
        prediction.completion = self.webhooks.plan(ends_in_s + late_s, lambda: self._complete(prediction))

    def _complete(self, prediction: Prediction) -> None:
        if prediction.ready is not None:
            prediction.ready.happened()
        for event in ("output", "logs", "completed"):
            if event in prediction.events and (event == "completed" or prediction.status == "succeeded"):
                self._notify(prediction, event)

    def _notify(self, prediction: Prediction, event: str) -> None:
        told = self._told(prediction)
        if event in {"output", "logs"}:
            told = {**told, "status": "processing", "completed_at": None, "metrics": {}}
        self.webhooks.send(prediction.webhook, f"msg_{prediction.id}_{event}", told, prediction.call)

    # ------------------------------------------------------------ end

    def _finish(self, prediction: Prediction, status: str) -> None:
        output = self._output(prediction) if status == "succeeded" else None
        prediction.end(status, prediction.ends_at, output)

    def _cancel(self, prediction: Prediction) -> None:
        """End it now; only models billed by time are charged for what ran."""
        if prediction.ready is None or not prediction.ready.cancel():
            return
        now = self._core.clock.now()
        prediction.billed = billed_of(prediction, "canceled", now)
        prediction.end("canceled", now)
        prediction.call.end("failed", prediction.billed)
        if prediction.completion is not None and prediction.completion.cancel():
            prediction.completion = self.webhooks.plan(0.0, lambda: self._complete(prediction))

    def _output(self, prediction: Prediction) -> Any:
        call, product = prediction.call, prediction.product
        if product.kind == "text":
            return pieces_of(product.text)
        urls = [
            self._core.media.publish(
                maker(product, f"{call.id}-{n}", is_spoiled=call.has("corrupt")),
                f"replicate-{prediction.id}-{n}",
                product.media_type,
                expires_after_s=KEPT_S,
            )
            for n in range(product.count)
        ]
        return urls if product.is_list else urls[0]

    # ------------------------------------------------------------ what is told

    def _page(self, query: Mapping[str, str]) -> Response:
        """The newest first; `cursor` is where a page begins, as the links say."""
        with self._lock:
            found = list(self._predictions.values())[::-1]
        for name, keeps in (("created_after", datetime.__ge__), ("created_before", datetime.__lt__)):
            if name in query:
                found = [each for each in found if keeps(each.call.accepted_at, _moment(query[name]))]
        cursor = query.get("cursor", "0")
        if not cursor.isdecimal():
            raise Refused(400, "Invalid cursor", field="cursor")
        start = int(cursor)
        more = {name: value for name, value in query.items() if name != "cursor"}
        before = self._link(more, max(0, start - PAGE)) if start else None
        after = self._link(more, start + PAGE) if start + PAGE < len(found) else None
        results = [self._told(each, is_listed=True) for each in found[start : start + PAGE]]
        return json_response({"previous": before, "next": after, "results": results})

    def _link(self, query: Mapping[str, str], cursor: int) -> str:
        return f"{self._core.media.url}/v1/predictions?{urlencode({**query, 'cursor': cursor})}"

    def _told(self, prediction: Prediction, *, is_listed: bool = False) -> dict[str, Any]:
        if prediction.ready is not None:
            prediction.ready.happened()
        return prediction.told(self._core.clock.now(), self._core.media.url, is_listed=is_listed)


def _target(path: str, body: Mapping[str, Any]) -> tuple[str, str]:
    """Return model and version of a create ("hidden" for one that is called by name). Raises Refused."""
    shape: dict[str, Any] = {"input": dict, "webhook?": _webhook, "webhook_events_filter?": [frozenset(EVENTS)]}
    shape["stream?"] = bool
    match = _MODEL_CALL.fullmatch(path)
    if match is not None:
        check(body, shape, status=422)
        if match[1] in COMMUNITY:
            raise Refused(404, "")
        return match[1], "hidden"
    check(body, {**shape, "version": str}, status=422)
    found = _VERSION.fullmatch(body["version"])
    if found is None:
        raise Refused(422, _NO_VERSION, code="version")
    return found[1] or (SVD if "input_image" in body["input"] else "simulated/any"), found[2]


def _webhook(value: Any) -> str | None:
    if not isinstance(value, str):
        return "must be a string"
    url = urlsplit(value)
    is_here = url.scheme == "http" and url.hostname in {"127.0.0.1", "localhost", "::1"}
    return None if (url.scheme == "https" and url.hostname) or is_here else "must be a valid HTTPS URL"


def _deadline_s(request: Request) -> int | None:
    """Return the seconds of a `Cancel-After` header: "90s", "5m", "1h" or plain seconds, at least 5."""
    text = request.headers.get("Cancel-After")
    if text is None:
        return None
    match = _DEADLINE.fullmatch(text)
    seconds = int(match[1]) * _UNIT_S[match[2]] if match else 0
    if not 5 <= seconds <= 86_400:
        raise Refused(422, "must be a duration from 5s to 24h", field="Cancel-After")
    return seconds


def _moment(text: str) -> datetime:
    try:
        return from_text(text)
    except ValueError:
        raise Refused(400, "must be a date and time in ISO 8601", field="created_after") from None
