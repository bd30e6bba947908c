"""An event that was given up. Consumes `dead-letter`; its job is marked failed with the reason and the count."""

from __future__ import annotations

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from functions import _runtime
from functions._decode import Event
from functions._runtime import Reference, Step
from shared.bootstrap import Services
from shared.domain import moves
from shared.domain.intake import envelope_of, rejected_job
from shared.domain.job import Job, State
from shared.errors import FieldError, StoreConflict
from shared.log import log

# Pub/Sub adds these to a message it forwards to a dead-letter topic.
COUNT = "CloudPubSubDeadLetterSourceDeliveryCount"
CODE = "dead_letter"
UNKNOWN = "?"
SUBSCRIPTION = "CloudPubSubDeadLetterSourceSubscription"


def handle(event: Event, services: Services) -> None:
    """End the job whose event nobody could handle."""
    count = event.attributes.get(COUNT, UNKNOWN)
    source = event.attributes.get(SUBSCRIPTION, UNKNOWN)
    log.error("event.dead", extra={"deliveries": count, "subscription": source})
    services.metrics.record("dead_letters", 1, {"topic": source})
    message = f"given up after {count} deliveries at {source}{_why(event)}"
    if isinstance(event.payload, dict) and "job_id" in event.payload:
        ref = _runtime.reference(event)
        loaded = services.jobs.get(ref.job_id)
        _runtime.amend(loaded, services, lambda job: _failed(event, ref, job, message, services))
    elif source == UNKNOWN or source.endswith("validate"):  # a tick or an upload that was given up is no job's
        _fail_request(event, message, services)


def _why(event: Event) -> str:
    error = event.attributes.get("error")
    return f": {error}" if error else ""


def _failed(event: Event, ref: Reference, job: Job, message: str, services: Services) -> Step | None:
    if job.is_finished or ref.seq < job.seq:  # the job has moved on without this copy
        _runtime.republish(event, ref.seq, job, services)
        return None
    error = {"field": "", "code": CODE, "message": message}
    return Step(moves.ended(job, State.FAILED, _runtime.moment(services, "on_dead_letter"), [error], note=message))


def _fail_request(event: Event, message: str, services: Services) -> None:
    """A request that never became a job still ends as one, so that its sender hears of it."""
    envelope = envelope_of(event.payload, event.message_id)
    errors = [FieldError("", CODE, message)]
    now = services.clock.now()
    job = rejected_job(envelope, envelope.job_id, envelope.digest, State.FAILED, errors, now, None)
    try:
        _runtime.commit(None, Step(job), services)
    except StoreConflict:  # it did become a job, which ends by itself, or this one on an earlier delivery
        known = services.jobs.get(job.job_id)
        if known is not None:
            _runtime.republish(event, 0, known.job, services)


@functions_framework.http
def on_dead_letter(request: Request) -> ResponseReturnValue:
    """Answer one delivery of `dead-letter`."""
    return _runtime.serve(handle, request)
