"""One run of one function: decode, bind the log, load the job, handle, commit, publish, ack or nack.

A stage module has `handle(event, services)`; everything that all of them need around it is here, once.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from flask import Request
from flask.typing import ResponseReturnValue

from functions._decode import Event, decode_http
from shared import bootstrap
from shared.bootstrap import Services
from shared.domain.job import Job
from shared.domain.moves import Moment
from shared.domain.result import result_of
from shared.errors import EventAhead, InvalidEvent, Retryable, StoreConflict, StoreUnusable, Unauthenticated
from shared.log import bound, log
from shared.ports import Json, Message, Write
from shared.resilience.retry import backoff_delay_s
from shared.stores.jobs import Loaded

Handle = Callable[[Event, Services], None]

COMMIT_TRIES = 20
FOLLOWERS_PAGE = 500


@dataclass(frozen=True, slots=True)
class Step:
    """What a stage decided: the job's next value and the other documents that change with it.

    Attributes:
        holding: guarded budget writes, when the step promises more money than before.
    """

    job: Job
    writes: Sequence[Write] = ()
    holding: Sequence[Write] | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """What a baton says: which job, at which step, and what else the sender added."""

    job_id: str
    seq: int
    extra: Json


def serve(handle: Handle, request: Request) -> ResponseReturnValue:
    """Answer one HTTP delivery: 204 is an ack; 400 a body that is no event; 503 and 500 are nacks."""
    if request.method != "POST":
        return _problem(405, "send events by POST", {"Allow": "POST"})
    try:
        services = bootstrap.services()  # first of all: until they are built, the log has no form and no level
    except Exception as error:  # noqa: BLE001 - most likely a setting; the text helps whoever deployed it
        log.critical("services.failed: %s: %s", type(error).__name__, error)
        return _problem(500, f"the services could not be built: {type(error).__name__}")
    try:
        services.verify_push(request.headers.get("Authorization"))
        event = decode_http(dict(request.headers), request.get_data())
    except Unauthenticated as error:
        log.warning("event.unauthenticated", extra={"reason": str(error)})
        return _problem(error.status, str(error))
    except InvalidEvent as error:
        log.error("event.unreadable", extra={"reason": str(error)})
        return _problem(400, str(error))
    except Retryable as error:
        return _nack(error)
    try:
        deliver(handle, event, services)
    except Retryable as error:
        return _nack(error)
    except Exception as error:  # noqa: BLE001 - the one place where a bug becomes a nack
        return _problem(500, f"internal error: {type(error).__name__}")
    return "", 204


def deliver(handle: Handle, event: Event, services: Services) -> None:
    """Run one function for one event; returning is the ack, also of an event that nobody could ever handle.

    Raises:
        Retryable: nack, and when to come back.
        Exception: a bug, logged with its frames; nack, in the end the dead-letter topic.
    """
    stage = handle.__module__.rpartition(".")[2]
    started = services.clock.now()
    with bound(stage=stage, event_id=event.message_id):
        try:
            handle(event, services)
        except InvalidEvent as error:
            log.error("event.rejected", extra={"reason": str(error)})
        except Retryable as error:
            services.metrics.record("stage_errors", 1, {"stage": stage, "error": type(error).__name__})
            level = logging.ERROR if isinstance(error, StoreUnusable) else logging.INFO
            log.log(level, "event.nacked", extra={"reason": str(error), "retry_after_s": error.retry_after_s})
            raise
        except Exception as error:
            services.metrics.record("stage_errors", 1, {"stage": stage, "error": type(error).__name__})
            log.exception("event.failed")
            raise
        finally:
            took_ms = (services.clock.now() - started).total_seconds() * 1000
            services.metrics.record("stage_duration", took_ms, {"stage": stage})
            services.metrics.flush()


def reference(event: Event) -> Reference:
    """Read a baton. Raises InvalidEvent."""
    payload = event.payload if isinstance(event.payload, dict) else {}
    job_id, seq = payload.get("job_id"), payload.get("seq")
    if not (isinstance(job_id, str) and job_id and "/" not in job_id):
        raise InvalidEvent(event.problem or 'the event carries no "job_id"')
    if not isinstance(seq, int) or isinstance(seq, bool):
        raise InvalidEvent('the event carries no integer "seq"')
    return Reference(job_id, seq, {k: v for k, v in payload.items() if k not in ("job_id", "seq", "trace")})


def load(event: Event, services: Services) -> tuple[Loaded, Reference] | None:
    """Return the job that this event moves on; None when the event is a duplicate or a late copy.

    Raises:
        EventAhead: the event came before its own cause was visible.
    """
    ref = reference(event)
    loaded = services.jobs.get(ref.job_id)
    if loaded is None or ref.seq > loaded.job.seq:
        raise EventAhead(f"job {ref.job_id} is not at step {ref.seq} yet")
    if ref.seq < loaded.job.seq:
        republish(event, ref.seq, loaded.job, services)
        return None
    return loaded, ref


def republish(event: Event, seq: int, job: Job, services: Services) -> None:
    """Publish the job's baton again if *event* caused it and the first run may have died before publishing.

    Older copies need nothing: that the job has moved on proves their batons were published. A transport's count of
    deliveries is not to be relied on; a baton that is missed by that the tick sends again, but not a result.
    """
    if seq == job.seq - 1 and (event.attempt != 1 or job.is_finished):
        announce_once(job, services)


def announce_once(job: Job, services: Services) -> None:
    """Publish the job's baton, unless this instance has done so."""
    if not services.announced.has(job.job_id, job.seq):
        announce(job, services)


def advance(event: Event, services: Services, decide: Callable[[Job, Reference], Step | None]) -> None:
    """Carry a job one step: load it, let *decide* work out the step, commit, publish.

    *decide* is run again on the fresh job when another writer came first; None means nothing is to be done.
    """
    for failures in range(COMMIT_TRIES):
        pause(failures, services)
        found = load(event, services)
        if found is None:
            return
        loaded, ref = found
        with bound(job_id=ref.job_id, trace=loaded.job.trace):
            step = decide(loaded.job, ref)
            if step is None:
                return
            try:
                commit(loaded, step, services)
            except StoreConflict:
                continue
        return
    raise StoreConflict(f"job {reference(event).job_id} kept changing")


def pause(failures: int, services: Services) -> None:
    """Wait before a further try at a commit, at random, so that those who collided do not do so again."""
    if failures:
        services.clock.sleep(backoff_delay_s(failures, random.random(), base_s=0.02, cap_s=1.0))  # noqa: S311 - no secret


def commit(before: Loaded | None, step: Step, services: Services) -> Loaded:
    """Commit a step and publish its baton. Raises StoreConflict when somebody else moved first."""
    after = services.jobs.commit(before, step.job, step.writes, holding=step.holding)
    conclude(before.job if before else None, step.job, services)
    return after


def conclude(before: Job | None, after: Job, services: Services) -> None:
    """Do what follows a committed step: publish the baton, log and measure. A step that kept its seq has none."""
    if before is not None and before.seq == after.seq:
        return
    log.info("job.moved", extra={"job_id": after.job_id, "state": str(after.state), "seq": after.seq})
    announce(after, services)
    if after.is_finished and not (before and before.is_finished):
        _measure_end(after, services)


def amend(loaded: Loaded | None, services: Services, decide: Callable[[Job], Step | None]) -> None:
    """Commit what *decide* makes of a job at whatever step it is, again on the fresh job after a conflict."""
    for failures in range(COMMIT_TRIES):
        pause(failures, services)
        if loaded is None:
            return
        step = decide(loaded.job)
        if step is None:
            return
        try:
            commit(loaded, step, services)
        except StoreConflict:
            loaded = services.jobs.get(loaded.job.job_id)
        else:
            return
    raise StoreConflict("the job kept changing")


def announce(job: Job, services: Services) -> None:
    """Publish the job's baton; for a finished job the result, and a wake-up for those who waited for it."""
    if job.baton is None:
        return
    services.bus.publish(_announcement(job, services))
    services.announced.add(job.job_id, job.seq)  # only now: what could not be published has to be published again


def _announcement(job: Job, services: Services) -> list[Message]:
    if job.baton is None or job.baton.topic != "results":
        return [baton_message(job)]
    attributes = {"type": f"job.{job.state}", "job_id": job.job_id, "kind": job.kind, "tenant": job.tenant}
    return [Message("results", result_of(job), attributes), *_wake_ups(job, services)]


def baton_message(job: Job, topic: str | None = None, extra: Json | None = None) -> Message:
    """The message that moves the job on from where it stands; by default its own baton."""
    baton = job.baton
    attributes = {"kind": job.kind, "tenant": job.tenant, "trace": job.trace or ""}
    if topic is None and baton is not None:
        return Message(baton.topic, {**baton.payload, "trace": job.trace}, attributes)
    payload = {"job_id": job.job_id, "seq": job.seq, "trace": job.trace, **(extra or {})}
    return Message(topic or "", payload, attributes)


def moment(services: Services, stage: str, started_at: datetime | None = None) -> Moment:
    """Now, with the waits that a step needs."""
    settings = services.settings
    return Moment(services.clock.now(), stage, settings.stale_s, settings.suspense_s, started_at)


def _wake_ups(job: Job, services: Services) -> list[Message]:
    """A finished leader of identical requests wakes its followers; those beyond a page the tick finds."""
    if job.fingerprint is None or job.follows is not None or job.answer is not None:
        return []
    followers = services.jobs.followers(job.job_id, FOLLOWERS_PAGE)
    return [baton_message(follower.job, "requests") for follower in followers]


def _measure_end(job: Job, services: Services) -> None:
    labels = {"kind": job.kind, "state": str(job.state)}
    took_s = (job.updated_at - job.created_at).total_seconds()
    services.metrics.record("jobs_finished", 1, labels)
    services.metrics.record("job_duration", took_s, labels)
    services.metrics.record("job_cost", job.spent, {"kind": job.kind})


def _nack(error: Retryable) -> ResponseReturnValue:
    return _problem(503, str(error), {"Retry-After": str(max(1, round(error.retry_after_s)))})


def _problem(status: int, text: str, headers: dict[str, str] | None = None) -> ResponseReturnValue:
    return json.dumps({"error": text}), status, {"Content-Type": "application/json", **(headers or {})}
