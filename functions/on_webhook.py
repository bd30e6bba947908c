"""A vendor tells that an operation ended: Replicate's webhooks, over HTTP. Publishes to `generate`.

A webhook is only ever a hint to ask the vendor. Who sends it must prove that by a signature, and all that is taken from
it is which call to ask after; nothing of its body is stored or believed. So a lost one costs time, and a late, repeated
or reordered one nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from functions import _runtime
from shared import bootstrap
from shared.bootstrap import Services
from shared.domain.job import Attempt, AttemptState, Job
from shared.domain.times import to_text
from shared.errors import LeaseHeld, Retryable, SettingsError, StoreConflict, Unauthenticated
from shared.log import bound, log
from shared.ports import Message, create

PROVIDER = "replicate"
COLLECTION = "webhooks"
KEPT = timedelta(days=1)  # far longer than a vendor tries again, and than the signature of a copy is accepted
MAX_BODY_BYTES = 2 * 2**20  # a prediction with its log; pictures are given as links where there are webhooks
_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_NUMBER = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True, slots=True)
class Hint:
    """Which call may have ended: that of an attempt's part, and what the vendor calls it."""

    job_id: str
    attempt: int
    part: int
    prediction_id: str


def handle(request: Request, services: Services) -> ResponseReturnValue:
    """Answer one delivery: 200 unless it should be refused (4xx) or sent again (503)."""
    if request.method != "POST":
        return _problem(405, "send webhooks by POST", {"Allow": "POST"})
    if not services.settings.replicate_webhook_secrets:
        return _problem(404, "no webhooks are taken: ATELIER_REPLICATE_WEBHOOK_SECRETS is not set")
    try:
        return _take(request, services)
    except Unauthenticated as error:
        log.warning("webhook.refused", extra={"reason": str(error)})
        return _problem(error.status, str(error))
    except SettingsError as error:
        log.critical("webhook.failed", extra={"reason": str(error)})
        return _problem(500, "the settings of webhooks are wrong; the log says more")
    except Retryable as error:
        log.info("webhook.nacked", extra={"reason": str(error)})
        return _problem(503, "the hint could not be taken now", {"Retry-After": "5"})
    except Exception:  # noqa: BLE001 - the last resort of an HTTP answer; the log has the frames
        log.exception("webhook.failed")
        return _problem(500, "an internal error; the log says more")


def _take(request: Request, services: Services) -> ResponseReturnValue:
    """Verify a webhook and pass its hint on, once. Raises Unauthenticated, SettingsError, Retryable."""
    body, now = request.get_data(), services.clock.now()  # the framework reads all of it in any case
    if len(body) > MAX_BODY_BYTES:
        return _problem(413, f"a webhook has at most {MAX_BODY_BYTES} bytes")
    webhook_id = services.verify_webhook(dict(request.headers), body)
    hint = _hint(request, body)
    if hint is None:
        log.warning("webhook.ignored", extra={"reason": "it names no call of ours"})
        return "", 200
    seen = f"{COLLECTION}/{hashlib.sha256(webhook_id.encode()).hexdigest()}"
    with bound(job_id=hint.job_id):
        if services.documents.get([seen]) != [None]:
            log.info("webhook.repeated")
            return "", 200
        if not _pass_on(hint, services):
            return "", 200
        try:  # only now: what could not be passed on has to be sent again
            services.documents.commit([create(seen, {"at": to_text(now), "expire_at": to_text(now + KEPT)})])
        except StoreConflict:
            log.info("webhook.repeated")
    return "", 200


def _hint(request: Request, body: bytes) -> Hint | None:
    """Read which call is meant: from our own address, and from the body only the prediction's id."""
    job_id, attempt, part = (request.args.get(name, "") for name in ("job", "attempt", "part"))
    try:
        prediction: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    found = prediction.get("id") if isinstance(prediction, dict) else None
    if not isinstance(found, str) or not _JOB_ID.fullmatch(job_id):
        return None
    if not _NUMBER.fullmatch(attempt) or not _NUMBER.fullmatch(part):
        return None
    return Hint(job_id, int(attempt), int(part), found)


def _pass_on(hint: Hint, services: Services) -> bool:
    """Have the vendor asked, and return whether something waits for that.

    Raises:
        LeaseHeld: the call is still being made, and only its outcome will tell.
        StoreUnavailable: no answer in time.
    """
    loaded = services.jobs.get(hint.job_id)
    message = None if loaded is None else message_for(loaded.job, hint)
    if message is None:
        log.info("webhook.unneeded", extra={"reason": "no such job" if loaded is None else "nothing waits for it"})
        return False
    log.info("webhook.passed_on", extra={"attempt": hint.attempt, "seek": "seek" in message.payload})
    services.bus.publish([message])
    return True


def message_for(job: Job, hint: Hint) -> Message | None:
    """Return the event by which `generate` asks the vendor; None when nothing waits for this call. Raises LeaseHeld.

    A running operation is polled as by the tick. A call in doubt is looked for again, since the vendor has it.
    """
    for attempt in job.attempts:
        call = (attempt.provider, attempt.doubt_of or attempt.number, attempt.part)
        if call != (PROVIDER, hint.attempt, hint.part):
            continue
        if attempt.state is AttemptState.CALLING:
            raise LeaseHeld(f"attempt {attempt.number} is being made")
        if _is_waited_for(job, attempt) and (attempt.handle or {}).get("id") == hint.prediction_id:
            return _runtime.baton_message(job, "generate")
        if attempt.state is AttemptState.UNKNOWN and attempt.suspense_micro_usd:
            return _runtime.baton_message(job, "generate", {"attempt": attempt.number, "seek": True})
    return None


def _is_waited_for(job: Job, attempt: Attempt) -> bool:
    waited_for = job.open_attempt
    return attempt.state is AttemptState.RUNNING and waited_for is not None and waited_for.number == attempt.number


def _problem(status: int, text: str, headers: dict[str, str] | None = None) -> ResponseReturnValue:
    return json.dumps({"error": text}), status, {"Content-Type": "application/json", **(headers or {})}


@functions_framework.http
def on_webhook(request: Request) -> ResponseReturnValue:
    """Answer one webhook."""
    return handle(request, bootstrap.services())
