"""How `generate` talks to a provider: the call it makes, how it went, and what that says about the model's health."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from shared.bootstrap import Services
from shared.domain.job import Attempt, Job
from shared.errors import Ambiguous, Blocked, ModelGone, ProviderFault, RateLimited, SettingsError, Unavailable
from shared.log import log
from shared.ports import Call, Done, NotAccepted, Pending

Outcome = Done | Pending | ProviderFault

# How long a call may take; that of a video only starts an operation. With the time to store what it delivered, through
# an outage if need be, this is less than the function may run: past that it would be stopped with the piece in hand.
CALL_S = {"text": 90.0, "image": 150.0, "video": 60.0}
STORE_S = 110.0
COOL_DOWN_S = 10.0  # after a 429 that names no time


class NeverMade(Unavailable):
    """The owner died before its call, and the vendor is sure of that: nothing is known against the model."""


def call_of(job: Job, attempt: Attempt, services: Services) -> Call:
    """Return the call that *attempt* is about to make, or has made."""
    row = services.catalogue.by_name[attempt.model]
    number = attempt.doubt_of or attempt.number
    settings = services.settings
    return Call(
        key=f"{job.job_id}-{number}" + (f".{attempt.part}" if attempt.part else ""),
        job_id=job.job_id,
        attempt=number,
        kind=job.kind,
        model=row.vendor_model,
        row=row,
        params=_params(job, attempt, row.pieces_per_call),
        output_prefix=services.blobs.uri("outputs", f"jobs/{job.job_id}/{number}") + "/",
        timeout_s=min(max(1.0, min(CALL_S[job.kind], settings.lease_s - STORE_S)), settings.call_timeout_s),
        part=attempt.part,
    )


def calls_for(job: Job, pieces_per_call: int) -> int:
    """Return how many calls it takes to make all pieces of *job*."""
    return -(-int(job.params.get("count", 1)) // pieces_per_call)


def _params(job: Job, attempt: Attempt, pieces_per_call: int) -> dict[str, object]:
    params = {**job.params, "prompt": job.used_prompt, "negative_prompt": job.prompt.get("negative")}
    if "system" in job.prompt:
        params["system"] = job.prompt["system"]
    if "count" in params:
        made = attempt.part * pieces_per_call
        params["count"] = min(pieces_per_call, int(params["count"]) - made)
        # The same seed would make the same piece again; vendors take no more than 31 bits.
        params["seed"] = (int(params.get("seed", 0)) + made) % 2**31
    return params


def ask(
    attempt: Attempt, operation: str, question: Callable[[], Done | Pending], services: Services
) -> Done | Pending | ProviderFault:
    """Ask the provider, measure it, and return its answer or its fault."""
    asked_at = services.clock.now()
    outcome: Outcome
    try:
        outcome = question()
    except ProviderFault as fault:
        outcome = fault
        log.warning(
            "provider.fault",
            extra={
                "provider": attempt.provider,
                "model": attempt.model,
                "operation": operation,
                "attempt": attempt.number,
                "code": fault.code,
                "reason": str(fault),
                "retry_after_s": fault.retry_after_s,
            },
        )
    took_ms = (services.clock.now() - asked_at).total_seconds() * 1000
    labels = {"provider": attempt.provider, "model": attempt.model, "operation": operation}
    services.metrics.record("provider_requests", 1, {**labels, "outcome": name_of(outcome)})
    services.metrics.record("provider_duration", took_ms, labels)
    return outcome


def find(call: Call, attempt: Attempt, lost: Ambiguous, services: Services) -> Outcome:
    """Ask the vendor for an earlier call of the same key; what cannot be told stays ambiguous."""
    try:
        found = services.provider(attempt.provider).find(call)
    except (ProviderFault, SettingsError):  # the vendor may have been switched off since
        return lost
    if isinstance(found, NotAccepted):
        return Unavailable("the call never reached the vendor")
    return found or lost


def judge_health(model: str, outcome: Outcome, services: Services) -> None:
    """Tell breaker and limiter how a call went; a bad request says nothing, as it may not have been sent at all."""
    if isinstance(outcome, ModelGone):
        services.breakers.disable(model, str(outcome))
    elif isinstance(outcome, RateLimited):
        until = services.clock.now() + timedelta(seconds=outcome.retry_after_s or COOL_DOWN_S)
        services.limiters.cool_down(model, until)
        services.breakers.cool_down(model, until)
    elif isinstance(outcome, ProviderFault) and outcome.counts_against_health:
        services.breakers.failed(model, outcome.retry_after_s)
    elif isinstance(outcome, Done | Pending | Blocked):
        services.breakers.succeeded(model)


def name_of(outcome: Outcome) -> str:
    """Return the word for an outcome in metrics."""
    return outcome.code if isinstance(outcome, ProviderFault) else type(outcome).__name__.lower()
