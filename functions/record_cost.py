"""Stage 5, record cost. Consumes `record-cost`; ends the job, or hands a rejected piece on to `fallback`."""

from __future__ import annotations

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from functions import _runtime
from functions._decode import Event
from functions._runtime import Reference, Step
from shared.bootstrap import Services
from shared.domain import moves
from shared.domain.job import Attempt, Job, State


def handle(event: Event, services: Services) -> None:
    """Write the ledger entry, settle the hold, end the job when its piece was approved."""
    _runtime.advance(event, services, lambda job, ref: record(job, ref, services))


def record(job: Job, ref: Reference, services: Services) -> Step | None:
    """Book the attempt that was checked, or what has been in doubt for too long."""
    moment = _runtime.moment(services, "record_cost", services.clock.now())
    if ref.extra.get("settle"):
        return Step(moves.presumed(job, moment)) if moves.is_presumable(job, moment.now) else None
    attempt = job.attempt(int(ref.extra.get("attempt", len(job.attempts))))
    if attempt.approved is None or (job.state is not State.RECORDING and not job.is_finished):
        return None
    _measure(attempt, services)
    after = moves.recorded(job, attempt, moment)
    late = job.is_finished and attempt.approved and job.fingerprint is not None
    # A late piece becomes the answer to the next identical request: it has been paid for.
    writes = [services.cache.point(job.fingerprint, job.job_id, moment.now)] if late and job.fingerprint else []
    return Step(after, writes)


def _measure(attempt: Attempt, services: Services) -> None:
    labels = {"provider": attempt.provider, "model": attempt.model}
    services.metrics.record("spend", attempt.cost_micro_usd, labels)
    for unit, amount in attempt.usage.items():
        if unit.endswith("_token"):
            services.metrics.record("tokens", amount, {**labels, "unit": unit})
    if attempt.ended_at is not None:
        services.metrics.record("attempt_duration", (attempt.ended_at - attempt.started_at).total_seconds(), labels)


@functions_framework.http
def record_cost(request: Request) -> ResponseReturnValue:
    """Answer one delivery of `record-cost`."""
    return _runtime.serve(handle, request)
