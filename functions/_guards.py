"""Whether `generate` may call a model now: the guards that all instances share, and what a job does meanwhile."""

from __future__ import annotations

from datetime import datetime

from functions._runtime import Step
from shared.bootstrap import Services
from shared.domain import moves
from shared.domain.job import Candidate, Job
from shared.domain.moves import Moment


def not_now(job: Job, candidate: Candidate, moment: Moment, services: Services) -> Step | None:
    """Return what becomes of a job whose candidate may not be called now; None when it may be.

    At our own rate limit it waits; from an open breaker, or a pause that the vendor asked for, it goes on to the next
    candidate. The breaker comes first, so that jobs which do not call use up no share of the limit.
    """
    from shared.domain.limiter import Denied

    breaker = services.breakers.health([candidate.model])[candidate.model]
    if not breaker.is_callable(moment.now):
        return Step(_not_admitted(job, breaker.not_before, moment))
    capacity = services.limiters.acquire(candidate.model, int(job.params.get("max_tokens", 0)))
    if isinstance(capacity, Denied):
        if capacity.reason == "cooling":
            return Step(_not_admitted(job, capacity.retry_at, moment))
        if job.deadline_at is not None and capacity.retry_at >= job.deadline_at:
            return Step(_not_admitted(job, capacity.retry_at, moment, "no_capacity"))
        return _no_capacity(job, candidate, capacity.retry_at, moment, services)
    admission = services.breakers.admit(candidate.model)
    return None if admission.allowed else Step(_not_admitted(job, admission.retry_at, moment))


def _no_capacity(job: Job, candidate: Candidate, until: datetime, moment: Moment, services: Services) -> Step:
    """Park the job in the model's queue; the tick releases it by rank."""
    labels = {"provider": candidate.provider, "model": candidate.model, "reason": "no_capacity"}
    services.metrics.record("parked", 1, labels)
    note = f"no capacity for {candidate.model}"
    return Step(moves.parked(job, moment, until, model=candidate.model, note=note))


def _not_admitted(job: Job, retry_at: datetime | None, moment: Moment, why: str = "breaker_open") -> Job:
    """The model is not to be called now: fall back, or with pieces in hand wait as for any call that failed."""
    begun = job.begun_attempt
    if begun is None:
        return moves.passed_on(job, moment, why)
    return moves.missed(job, begun, moment, retry_at or moment.now, why)
