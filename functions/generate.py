"""Stage 2, generate. Consumes `generate`; hands on to `quality-check` or `fallback`, or leaves the job waiting.

The only stage that spends money. A lease is committed before the call and the outcome after it; whoever finds a
lapsed lease first looks for what the dead owner may have bought, and never buys a second time.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from functions import _runtime
from functions._decode import Event
from functions._runtime import Step
from shared.bootstrap import Services
from shared.domain import moves
from shared.domain.job import Attempt, AttemptState, Candidate, Job, Piece, State
from shared.domain.moves import Moment
from shared.domain.release import rank
from shared.errors import (
    Ambiguous,
    LeaseHeld,
    ModelGone,
    PriceUnknown,
    ProviderFault,
    RateLimited,
    StoreUnavailable,
    Unavailable,
)
from shared.log import bound, log
from shared.ports import Call, Done, NotAccepted, Pending
from shared.resilience.retry import backoff_delay_s
from shared.stores.jobs import Loaded
from shared.stores.outputs import keep, kept

Outcome = Done | Pending | ProviderFault


class NeverMade(Unavailable):
    """The owner died before its call, and the vendor is sure of that: nothing is known against the model."""


LEASE_GRACE_S = 30.0  # the tick leaves a leased job alone until then
# How long a call may take; that of a video only starts an operation. With the time to store what it delivered, through
# an outage if need be, this is less than the function may run: past that it would be stopped with the piece in hand.
CALL_S = {"text": 90.0, "image": 150.0, "video": 60.0}
STORE_S = 110.0
COMMIT_S = 10.0  # of that, the end in which nothing is tried again
COOL_DOWN_S = 10.0  # after a 429 that names no time


def handle(event: Event, services: Services) -> None:
    """Call the provider for the chosen candidate, ask after a running operation, or adopt a dead owner's call."""
    found = _runtime.load(event, services)
    if found is None:
        return
    loaded, _ = found
    job = loaded.job
    with bound(job_id=job.job_id, trace=job.trace):
        attempt = job.open_attempt
        if attempt is not None:
            _continue(loaded, attempt, services)
        elif job.state is State.GENERATING:
            _begin(loaded, services)


def _begin(loaded: Loaded, services: Services) -> None:
    """Start a new attempt with the chosen candidate, if its provider may be called now."""
    from shared.domain.limiter import Denied

    job = loaded.job
    candidate = job.candidates[job.choice]
    # What is not there should be missed before there is a lease, and before anything is bought.
    provider = services.provider(candidate.provider)
    services.demand_outputs()
    moment = _moment(services)
    capacity = services.limiters.acquire(candidate.model, _tokens(job))
    if isinstance(capacity, Denied):
        _runtime.commit(loaded, _no_capacity(job, candidate.model, capacity.retry_at, moment, services), services)
        return
    admission = services.breakers.admit(candidate.model)
    if not admission.allowed:
        _runtime.commit(loaded, Step(moves.passed_on(job, moment, "breaker_open")), services)
        return
    lease_until = moment.now + timedelta(seconds=min(services.settings.lease_s, CALL_S[job.kind] + STORE_S))
    attempt = _attempt(job, candidate, services.owner, moment.now, lease_until)
    leased = _lease(loaded, attempt, lease_until + timedelta(seconds=LEASE_GRACE_S), services)
    log.info("attempt.started", extra={"attempt": attempt.number, "model": attempt.model})
    call = _call(leased.job, attempt, services)
    if services.clock.now() >= lease_until:  # stopped since the commit for so long that another may own it by now
        raise LeaseHeld(f"the lease of attempt {attempt.number} lapsed before its call")
    outcome = _outcome(lambda: provider.start(call))
    if isinstance(outcome, Ambiguous):
        outcome = _find(call, attempt, outcome, services)
    _judge_health(attempt.model, outcome, services)
    _conclude(leased, attempt, outcome, moment, services)


def _lease(loaded: Loaded, attempt: Attempt, due_at: datetime, services: Services) -> Loaded:
    """Commit the lease. When the answer is lost it may be there: then nobody else would ever make the call."""
    try:
        return services.jobs.commit(loaded, moves.leased(loaded.job, attempt, due_at))
    except StoreUnavailable:
        found = services.jobs.get(loaded.job.job_id)
        mine = found.job.open_attempt if found else None
        if found is None or mine is None or (mine.lease_owner, mine.started_at) != (services.owner, attempt.started_at):
            raise
        return found


def _attempt(job: Job, candidate: Candidate, owner: str, now: datetime, lease_until: datetime) -> Attempt:
    return Attempt(
        number=len(job.attempts) + 1,
        model=candidate.model,
        provider=candidate.provider,
        price_micro_usd=candidate.price_micro_usd,
        state=AttemptState.CALLING,
        started_at=now,
        lease_owner=owner,
        lease_until=lease_until,
        simulated=candidate.simulated,
        template=candidate.template,
    )


def _continue(loaded: Loaded, attempt: Attempt, services: Services) -> None:
    """Carry on with an attempt whose call was made: by a live owner, a dead one, or as a running operation."""
    moment = _moment(services)
    if attempt.state is AttemptState.RUNNING:
        _poll(loaded, attempt, moment, services)
        return
    if attempt.lease_until is not None and attempt.lease_until > moment.now:
        left_s = (attempt.lease_until - moment.now).total_seconds()
        raise LeaseHeld(f"attempt {attempt.number} is being made", retry_after_s=left_s)
    log.warning("attempt.orphaned", extra={"attempt": attempt.number, "model": attempt.model})
    call = _call(loaded.job, attempt, services)
    lost = Ambiguous("the process that made the call died before its outcome was stored")
    outcome = _find(call, attempt, lost, services)
    if not isinstance(outcome, Done | Pending):
        outcome = kept(call, int(loaded.job.params.get("count", 1)), services.blobs) or outcome
    if isinstance(outcome, Unavailable):
        outcome = NeverMade(str(outcome))
    _conclude(loaded, attempt, outcome, moment, services)


def _poll(loaded: Loaded, attempt: Attempt, moment: Moment, services: Services) -> None:
    provider = services.provider(attempt.provider)
    handle = attempt.handle or {}
    outcome = _outcome(lambda: provider.poll(handle))
    running_s = (moment.now - attempt.started_at).total_seconds()
    if isinstance(outcome, Pending) and running_s > services.settings.operation_timeout_s:
        provider.cancel(handle)
        if not attempt.suspense_micro_usd:
            outcome = Ambiguous("the operation did not end in time; it is still asked after")
    if not isinstance(outcome, Pending):
        _judge_health(attempt.model, outcome, services)
    _conclude(loaded, replace(attempt, polls=attempt.polls + 1), outcome, moment, services)


def _outcome(ask: Callable[[], Done | Pending]) -> Outcome:
    try:
        return ask()
    except ProviderFault as fault:
        return fault


def _find(call: Call, attempt: Attempt, lost: Ambiguous, services: Services) -> Outcome:
    """Ask the vendor for an earlier call of the same key; what cannot be told stays ambiguous."""
    try:
        found = services.provider(attempt.provider).find(call)
    except ProviderFault:
        return lost
    if isinstance(found, NotAccepted):
        return Unavailable("the call never reached the vendor")
    return found or lost


def _conclude(loaded: Loaded, attempt: Attempt, outcome: Outcome, moment: Moment, services: Services) -> None:
    """Store what was delivered and commit the outcome, again on the fresh job if another writer came first."""
    if isinstance(outcome, Done):
        attempt = _with_pieces(loaded.job, attempt, outcome, services)
    if not (isinstance(outcome, Pending) and attempt.polls):
        labels = {"provider": attempt.provider, "model": attempt.model, "outcome": _name(outcome)}
        services.metrics.record("attempts", 1, labels)
    if isinstance(outcome, Ambiguous):
        vendor = {"provider": attempt.provider, "model": attempt.model}
        services.metrics.record("suspense", attempt.price_micro_usd, vendor)

    def decide(job: Job) -> Step | None:
        stored = job.attempt(attempt.number)
        if stored.booked or stored.state is AttemptState.DELIVERED:
            return None  # another owner has settled this attempt
        if stored.state is AttemptState.FAILED and not isinstance(outcome, Done | Pending):
            return None  # likewise; but what the vendor accepted after all has to be paid for
        mine = replace(attempt, suspense_micro_usd=stored.suspense_micro_usd, suspense_until=stored.suspense_until)
        return Step(_after(job, mine, outcome, replace(moment, now=services.clock.now())))

    _runtime.amend(loaded, services, decide)


def _with_pieces(job: Job, attempt: Attempt, done: Done, services: Services) -> Attempt:
    """The attempt with its pieces in our bucket, and what they cost."""
    units = dict(done.usage) or _delivered_units(job, done)
    cost, basis = _cost(job, attempt, units, services), "usage" if done.usage else "delivered"
    if cost is None:
        cost, basis = attempt.price_micro_usd, "quoted"
    pieces = _stored(job, attempt, done, services)
    return replace(attempt, pieces=pieces, usage=units, finish=done.finish, cost_micro_usd=cost, basis=basis)


def _stored(job: Job, attempt: Attempt, done: Done, services: Services) -> tuple[Piece, ...]:
    """Store the pieces, again and again while the lease lasts: until then they are nowhere else.

    What an operation delivered can be fetched again.
    """
    call = _call(job, attempt, services)
    last = services.clock.now() if attempt.lease_until is None else attempt.lease_until - timedelta(seconds=COMMIT_S)
    for failures in itertools.count(1):
        try:
            return keep(call, done, services.blobs)
        except StoreUnavailable as error:
            if services.clock.now() >= last:
                raise
            log.warning("pieces.not_stored", extra={"attempt": attempt.number, "reason": str(error)})
            services.clock.sleep(backoff_delay_s(failures, random.random(), cap_s=10.0))  # noqa: S311 - no secret
    raise AssertionError


def _cost(job: Job, attempt: Attempt, units: dict[str, int], services: Services) -> int | None:
    """What the units cost on the day of the call; None when one of them has no price."""
    from shared.domain.pricing import cost_of

    model = services.catalogue.by_name[attempt.model]
    try:
        return cost_of(model, units, services.request_of(job), attempt.started_at.date())
    except PriceUnknown:
        log.error("price.unknown", extra={"model": attempt.model, "units": sorted(units)})
        return None


def _delivered_units(job: Job, done: Done) -> dict[str, int]:
    """What the pieces themselves show was made, where the vendor reports no usage."""
    match job.kind:
        case "image":
            return {"image": len(done.assets)}
        case "video":
            return {"second": int(job.params["duration_s"])}
    texts = [job.used_prompt, *(asset.text or "" for asset in done.assets)]
    return {"input_token": -(-len(texts[0]) // 4), "output_token": sum(-(-len(t) // 4) for t in texts[1:])}


def _after(job: Job, attempt: Attempt, outcome: Outcome, moment: Moment) -> Job:
    match outcome:
        case Done():
            return moves.delivered(job, attempt, moment)
        case Pending():
            attempt = replace(attempt, handle=outcome.handle, progress=outcome.progress)
            return moves.running(job, attempt, moment, outcome.poll_after_s)
        case NeverMade():
            return moves.failed(job, replace(attempt, error=_error(outcome)), moment, moves.NEVER_MADE)
        case Ambiguous():
            return moves.doubted(job, replace(attempt, error=_error(outcome)), moment)
    cost = outcome.cost_micro_usd
    return moves.failed(job, replace(attempt, error=_error(outcome), cost_micro_usd=cost, basis="vendor"), moment)


def _error(fault: ProviderFault) -> dict[str, object]:
    return {"code": fault.code, "message": str(fault), "retry_after_s": fault.retry_after_s}


def _name(outcome: Outcome) -> str:
    return outcome.code if isinstance(outcome, ProviderFault) else type(outcome).__name__.lower()


def _judge_health(model: str, outcome: Outcome, services: Services) -> None:
    """Tell breaker and limiter how the call went; blocks and bad requests say nothing about health."""
    if isinstance(outcome, ModelGone):
        services.breakers.disable(model, str(outcome))
    elif isinstance(outcome, RateLimited):
        until = services.clock.now() + timedelta(seconds=outcome.retry_after_s or COOL_DOWN_S)
        services.limiters.cool_down(model, until)
        services.breakers.cool_down(model, until)
    elif isinstance(outcome, ProviderFault) and outcome.counts_against_health:
        services.breakers.failed(model, outcome.retry_after_s)
    else:
        services.breakers.succeeded(model)


def _no_capacity(job: Job, model: str, until: datetime, moment: Moment, services: Services) -> Step:
    """Park the job in the model's queue; the tick releases it by rank."""
    services.metrics.record("parked", 1, {"model": model, "reason": "no_capacity"})
    place = rank(job.request.get("priority", "normal"), job.created_at)
    return Step(moves.parked(job, moment, until, model=model, rank=place, note=f"no capacity for {model}"))


def _call(job: Job, attempt: Attempt, services: Services) -> Call:
    model = services.catalogue.by_name[attempt.model]
    params = {**job.params, "prompt": job.used_prompt, "negative_prompt": job.prompt.get("negative")}
    return Call(
        key=f"{job.job_id}-{attempt.number}",
        job_id=job.job_id,
        attempt=attempt.number,
        kind=job.kind,
        model=model.vendor_model,
        row=model,
        params=params,
        output_prefix=services.blobs.uri("outputs", f"jobs/{job.job_id}/{attempt.number}") + "/",
        timeout_s=max(
            1.0, min(CALL_S[job.kind], services.settings.call_timeout_s, services.settings.lease_s - STORE_S)
        ),
    )


def _tokens(job: Job) -> int:
    return int(job.params.get("max_tokens", 0))


def _moment(services: Services) -> Moment:
    return _runtime.moment(services, "generate", services.clock.now())


@functions_framework.http
def generate(request: Request) -> ResponseReturnValue:
    """Answer one delivery of `generate`."""
    return _runtime.serve(handle, request)
