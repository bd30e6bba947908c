"""Stage 1, validate. Consumes `requests`; creates the job and hands on to `generate`, or ends it.

A request becomes a job in one commit: the job, the hold in every budget, and the cache entry that makes it the
one to answer identical requests. A follower that was parked behind such a job comes back here when it is over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import functions_framework
from flask import Request as HttpRequest
from flask.typing import ResponseReturnValue

from functions import _runtime
from functions._decode import Event
from functions._runtime import Reference, Step
from shared.bootstrap import Services
from shared.domain import moves
from shared.domain.budget import scopes_of
from shared.domain.identity import conflict_job_id, content_hash, fingerprint
from shared.domain.intake import MAX_SEED, Envelope, envelope_of, new_job, params_of, rejected_job
from shared.domain.job import Job, State
from shared.domain.result import answer_of
from shared.errors import DocumentTooLarge, FieldError, InvalidRequest, StoreConflict
from shared.log import bound, log
from shared.ports import Write
from shared.stores.cache import CacheEntry

# What only a new request needs is imported with the first of them: a cold start pays for what it uses.
if TYPE_CHECKING:
    from shared.domain.request import Request

FOLLOW_S = 10.0  # how often the tick looks whether a follower still has somebody to wait for


def handle(event: Event, services: Services) -> None:
    """Admit a new request, or take up a parked follower again."""
    payload = event.payload
    if isinstance(payload, dict) and payload.keys() >= {"job_id", "seq"} and "kind" not in payload:
        _runtime.advance(event, services, lambda job, ref: resume(job, ref, services))
    else:
        admit(event, services)


def admit(event: Event, services: Services) -> None:
    """Make a job of a request: refused, answered from the cache, parked behind an identical one, or generating."""
    envelope = envelope_of(event.payload, event.message_id)
    with bound(job_id=envelope.job_id):
        try:
            request = _accepted(event, envelope, services)
        except InvalidRequest as refusal:
            _refuse(event, envelope, refusal.errors, services)
            return
        _create(event, envelope, request, services)


def resume(job: Job, _ref: Reference, services: Services) -> Step | None:
    """Answer a parked follower, let it wait on, or let it make the piece itself."""
    if job.state is not State.PARKED or job.fingerprint is None or job.follows is None:
        return None
    from functions._admission import admission

    entry = services.cache.get(job.fingerprint)
    answered = _answered(job, entry, services)
    if answered is not None:
        return answered
    now = services.clock.now()
    leader = replace(job, follows=None, scopes=services.budgets.choose(scopes_of(job.tenant, job.user), now))
    return admission(leader, services.request_of(job), services, now, [_claim(job, entry, services)])


# ---------------------------------------------------------------- reading the request


def _accepted(event: Event, envelope: Envelope, services: Services) -> Request:
    """Return the checked request. Raises InvalidRequest with everything that is wrong with it."""
    if event.size_bytes > services.settings.max_event_bytes:
        limit = services.settings.max_event_bytes
        raise InvalidRequest([FieldError("", "too_large", f"the request is over {limit} bytes")])
    if event.problem is not None:
        raise InvalidRequest([FieldError("", "not_json", event.problem)])
    from shared.domain.request import parse_request

    request = parse_request(
        envelope.payload,
        known_models=lambda name: services.catalogue.resolve(name, services.clock.now().date()) is not None,
        schema_problem=lambda schema: services.inspector.schema_problem(schema),  # noqa: PLW0108 - loads it when used
    )
    _check_safety(request, services)
    return request


def _check_safety(request: Request, services: Services) -> None:
    """Refuse blocked prompts, and every prompt while the check itself is broken; a negative prompt may name terms."""
    from shared.domain.safety import check_prompt

    texts = {"prompt": request.prompt, "system": getattr(request, "system", None)}
    try:
        found = [
            FieldError(field, finding.code, finding.message)
            for field, text in texts.items()
            if text
            for finding in check_prompt(text, services.safety_rules)
        ]
    except Exception as error:
        log.exception("safety.failed")
        message = "the safety check did not work; nothing is generated without it"
        raise InvalidRequest([FieldError("prompt", "safety_unavailable", message)]) from error
    if found:
        raise InvalidRequest(found)


def _refuse(event: Event, envelope: Envelope, errors: Sequence[FieldError], services: Services) -> None:
    """Finish the job as refused; what has that id already stays as it is."""
    digest = envelope.digest
    known = services.jobs.get(envelope.job_id)
    if known is None:
        _finish_refused(event, _rejected(envelope, envelope.job_id, digest, errors, services), services)
    else:
        _taken(event, envelope, known.job, digest, services)


def _finish_refused(event: Event, job: Job, services: Services) -> None:
    try:
        _runtime.commit(None, Step(job), services)
    except StoreConflict:
        known = services.jobs.get(job.job_id)
        if known is not None:
            _runtime.republish(event, 0, known.job, services)
        return
    services.metrics.record("refusals", 1, {"code": job.errors[0]["code"]})


# ---------------------------------------------------------------- making the job


def _create(event: Event, envelope: Envelope, request: Request, services: Services) -> None:
    """Commit the job's first step; on a conflict find out what was there already.

    Nothing is read that only a duplicate or a repeated request would need: the commit demands that job and cache
    entry are absent, and only when it fails are they looked at.
    """
    from shared.domain.prompt import as_sent
    from shared.domain.request import request_to_doc

    started = services.clock.now()
    digest = content_hash(request)
    draft = new_job(envelope, request, request_to_doc(request), digest, started, _trace(envelope))
    asked = None if request.model is None else services.catalogue.resolve(request.model, started.date())
    draft = _planned(draft, request, asked.model.id if asked else None)
    request = as_sent(request, draft.prompt)
    draft = replace(draft, scopes=services.budgets.choose(scopes_of(draft.tenant, draft.user), started))
    for failures in range(_runtime.COMMIT_TRIES):
        _runtime.pause(failures, services)
        try:
            with services.budgets.turn(draft.scopes):
                step = _first_step(draft, request, services, look=failures > 0)
                loaded = services.jobs.commit(None, step.job, step.writes, holding=step.holding)
        except StoreConflict:
            known = services.jobs.get(draft.job_id)
            if known is not None:
                _taken(event, envelope, known.job, digest, services)
                return
            continue
        except DocumentTooLarge:
            errors = [FieldError("", "too_large", "the request is too large to be kept; shorten its longest field")]
            _finish_refused(event, _rejected(envelope, draft.job_id, digest, errors, services), services)
            return
        _runtime.conclude(None, loaded.job, services)
        _look_again(loaded.job, services)
        return
    raise StoreConflict(f"job {draft.job_id}: the budgets kept changing")


def _planned(draft: Job, request: Request, model: str | None) -> Job:
    """The draft with its prompt, its parameters and, unless the cache is off, its fingerprint."""
    from shared.domain.prompt import optimise

    plan = optimise(request)
    key = fingerprint(request, plan.used, plan.negative, model)
    return replace(
        draft,
        prompt=plan.document(),
        params=params_of(request, int(key[:8], 16) % MAX_SEED),
        fingerprint=None if request.cache == "off" else key,
    )


def _first_step(draft: Job, request: Request, services: Services, *, look: bool) -> Step:
    """Work out a new job's first step; *look*: somebody may be answering the same request already."""
    from functions._admission import admission

    now = draft.created_at
    if draft.fingerprint is None:
        return admission(draft, request, services, now)
    if request.cache == "refresh":
        return admission(draft, request, services, now, [services.cache.point(draft.fingerprint, draft.job_id, now)])
    entry = services.cache.get(draft.fingerprint) if look else None
    answered = _answered(draft, entry, services)
    return answered or admission(draft, request, services, now, [_claim(draft, entry, services)])


def _answered(job: Job, entry: CacheEntry | None, services: Services) -> Step | None:
    """Answer from the job that the cache entry names, or wait for it; None when this job has to make the piece."""
    now = services.clock.now()
    if entry is None or entry.expire_at <= now or entry.job_id == job.job_id:
        return None
    leader = services.jobs.get(entry.job_id)
    if leader is None:
        return None
    moment = _runtime.moment(services, "validate", now)
    answer = answer_of(leader.job)
    if answer is not None:
        _measure_look_up(job, "hit", services, answer["provider"], answer["model"])
        return Step(moves.answered(job, answer, moment))
    if leader.job.is_finished:
        return None
    _measure_look_up(job, "follow", services)
    until = min(now + timedelta(seconds=FOLLOW_S), job.deadline_at or now)
    return Step(moves.following(job, leader.job.job_id, moment, until))


def _claim(job: Job, entry: CacheEntry | None, services: Services) -> Write:
    """Make this job the one that answers its fingerprint."""
    _measure_look_up(job, "miss", services)
    now = services.clock.now()
    if entry is not None:
        return services.cache.take_over(entry, job.job_id, now)
    return services.cache.claim(job.fingerprint or "", job.job_id, now)


def _measure_look_up(job: Job, answer: str, services: Services, provider: str = "", model: str = "") -> None:
    """Count a look-up in the cache; only of a hit it is known whose piece it is."""
    labels = {"provider": provider, "model": model, "kind": job.kind, "answer": answer}
    services.metrics.record("cache_answers", 1, labels)


def _look_again(job: Job, services: Services) -> None:
    """Wake this follower at once if its leader ended before the leader could see it parked."""
    if job.follows is None:
        return
    leader = services.jobs.get(job.follows)
    if leader is None or leader.job.is_finished:
        services.bus.publish([_runtime.baton_message(job, "requests")])


def _taken(event: Event, envelope: Envelope, known: Job, digest: str, services: Services) -> None:
    """The id is taken: by this very request, which is a duplicate, or by another one, which is a conflict."""
    if known.request_hash == digest:
        _runtime.republish(event, 0, known, services)
        _look_again(known, services)
        return
    message = "this request_id was used before with other content; the first one stands"
    errors = [FieldError("request_id", "idempotency_conflict", message)]
    other = conflict_job_id(envelope.tenant, envelope.name("request_id") or envelope.identity, digest)
    _finish_refused(event, _rejected(envelope, other, digest, errors, services), services)


def _rejected(envelope: Envelope, job_id: str, digest: str, errors: Sequence[FieldError], services: Services) -> Job:
    now = services.clock.now()
    return rejected_job(envelope, job_id, digest, State.REFUSED, errors, now, _trace(envelope))


def _trace(envelope: Envelope) -> str:
    return hashlib.sha256(f"trace {envelope.job_id}".encode()).hexdigest()[:32]


@functions_framework.http
def validate(request: HttpRequest) -> ResponseReturnValue:
    """Answer one delivery of `requests`."""
    return _runtime.serve(handle, request)
