"""Stage 2, generate. Consumes `generate`; hands on to `quality-check` or `fallback`, or leaves the job waiting.

The only stage that spends money. A lease is committed before each paid call and its outcome after it; whoever finds a
lapsed lease first looks for what the dead owner may have bought, and never buys a second time. An attempt for several
pieces may take several calls: each is a step of its own, and what the earlier ones delivered is kept whatever follows.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from functions import _runtime
from functions._decode import Event
from functions._delivery import priced, with_charge, with_pieces
from functions._guards import not_now
from functions._runtime import Reference, Step
from functions._vendor import (
    CALL_S,
    STORE_S,
    NeverMade,
    Outcome,
    ask,
    call_of,
    calls_for,
    find,
    judge_health,
    name_of,
)
from shared.bootstrap import Services
from shared.domain import moves
from shared.domain.fallback import TRANSIENT
from shared.domain.job import Attempt, AttemptState, Candidate, Job, State
from shared.domain.moves import Moment
from shared.errors import (
    Ambiguous,
    BlobNotFound,
    InvalidBlobName,
    LeaseHeld,
    ProviderFault,
    StoreUnavailable,
    Unavailable,
)
from shared.log import bound, log
from shared.ports import Done, Pending
from shared.resilience.retry import backoff_delay_s
from shared.stores.jobs import Loaded
from shared.stores.outputs import kept

LEASE_GRACE_S = 30.0  # the tick leaves a leased job alone until then
FETCH_AGAIN_S = 15.0  # when the vendor does not hand over a finished file
MISS_BASE_S = 5.0  # before a call is made again that failed while others of its attempt delivered


class PieceLost(ProviderFault):
    """The vendor made the piece and charges for it, but it cannot be fetched any more."""

    code = "piece_lost"


def handle(event: Event, services: Services) -> None:
    """Call the provider for the chosen candidate, ask after a running operation, or adopt a dead owner's call."""
    if isinstance(event.payload, dict) and event.payload.get("seek"):
        _seek(_runtime.reference(event), services)
        return
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


# ---------------------------------------------------------------- making a call


def _begin(loaded: Loaded, services: Services) -> None:
    """Make the next call of the attempt that has begun, or the first of a new one, if its provider may be called."""
    job = loaded.job
    candidate, begun = job.candidates[job.choice], job.begun_attempt
    # What is not there should be missed before there is a lease, and before anything is bought.
    provider = services.provider(candidate.provider)
    services.demand_outputs()
    moment = _moment(services)
    waiting = not_now(job, candidate, moment, services)
    if waiting is not None:
        _runtime.commit(loaded, waiting, services)
        return
    lease_until = moment.now + timedelta(seconds=min(services.settings.lease_s, CALL_S[job.kind] + STORE_S))
    attempt = _leased(begun or _attempt(job, candidate, moment.now, services), services.owner, moment.now, lease_until)
    leased = _lease(loaded, attempt, lease_until + timedelta(seconds=LEASE_GRACE_S), services)
    log.info("attempt.started", extra={"attempt": attempt.number, "model": attempt.model, "part": attempt.part})
    call = call_of(leased.job, attempt, services)
    if services.clock.now() >= lease_until:  # stopped since the commit for so long that another may own it by now
        raise LeaseHeld(f"the lease of attempt {attempt.number} lapsed before its call")
    outcome = ask(attempt, "start", lambda: provider.start(call), services)
    judge_health(attempt.model, outcome, services)  # that a lost call is found again does not mend what lost it
    if isinstance(outcome, Ambiguous):
        outcome = find(call, attempt, outcome, services)
    _conclude(leased, attempt, outcome, moment, services)


def _lease(loaded: Loaded, attempt: Attempt, due_at: datetime, services: Services) -> Loaded:
    """Commit the lease. When the answer is lost it may be there: then nobody else would ever make the call."""
    try:
        return services.jobs.commit(loaded, moves.leased(loaded.job, attempt, due_at))
    except StoreUnavailable:
        found = services.jobs.get(loaded.job.job_id)
        mine = found.job.open_attempt if found else None
        if found is None or mine is None or (mine.lease_owner, mine.called_at) != (services.owner, attempt.called_at):
            raise
        return found


def _attempt(job: Job, candidate: Candidate, now: datetime, services: Services) -> Attempt:
    return Attempt(
        number=len(job.attempts) + 1,
        model=candidate.model,
        provider=candidate.provider,
        price_micro_usd=candidate.price_micro_usd,
        state=AttemptState.CALLING,
        started_at=now,
        calls=calls_for(job, services.catalogue.by_name[candidate.model].pieces_per_call),
        simulated=candidate.simulated,
        template=candidate.template,
    )


def _leased(attempt: Attempt, owner: str, now: datetime, until: datetime) -> Attempt:
    return replace(attempt, state=AttemptState.CALLING, called_at=now, lease_owner=owner, lease_until=until, polls=0)


# ---------------------------------------------------------------- what became of a call


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
    call = call_of(loaded.job, attempt, services)
    lost = Ambiguous("the process that made the call died before its outcome was stored")
    outcome = find(call, attempt, lost, services)
    if not isinstance(outcome, Done | Pending):
        outcome = kept(call, services.blobs) or outcome
    if isinstance(outcome, Unavailable):
        outcome = NeverMade(str(outcome))
    _conclude(loaded, attempt, outcome, moment, services)


def _seek(ref: Reference, services: Services) -> None:
    """Look again for a call in doubt, whatever the job does meanwhile.

    Somebody hinted that the vendor has it; or it is the last look, and what is not found is settled.
    """
    loaded = services.jobs.get(ref.job_id)
    if loaded is None:
        return
    attempt = next((a for a in loaded.job.attempts if a.number == ref.extra.get("attempt")), None)
    if attempt is None or attempt.state is not AttemptState.UNKNOWN or not attempt.suspense_micro_usd:
        return
    with bound(job_id=ref.job_id, trace=loaded.job.trace):
        call = call_of(loaded.job, attempt, services)
        outcome = find(call, attempt, Ambiguous("still not found"), services)
        if isinstance(outcome, Done | Pending):
            _conclude(loaded, attempt, outcome, _moment(services), services)
        elif ref.extra.get("settle"):
            services.bus.publish([_runtime.baton_message(loaded.job, "record-cost", {"settle": True})])


def _poll(loaded: Loaded, attempt: Attempt, moment: Moment, services: Services) -> None:
    provider = services.provider(attempt.provider)
    handle = attempt.handle or {}
    outcome = ask(attempt, "poll", lambda: provider.poll(handle), services)
    attempt = replace(attempt, polls=attempt.polls + 1)
    if isinstance(outcome, Ambiguous):  # it is over, and only its price is not known: asking again tells nothing new
        attempt = replace(attempt, state=AttemptState.UNKNOWN, ended_at=moment.now)
    if not isinstance(outcome, Pending):
        judge_health(attempt.model, outcome, services)
    _conclude(loaded, attempt, outcome, moment, services)


def _overdue(attempt: Attempt, pending: Pending, moment: Moment, services: Services) -> Outcome:
    """The operation goes on, or counts as lost when it has run for too long."""
    running_s = (moment.now - (attempt.called_at or attempt.started_at)).total_seconds()
    if not attempt.polls or running_s <= services.settings.operation_timeout_s or attempt.suspense_micro_usd:
        return pending
    provider = services.provider(attempt.provider)
    provider.cancel(pending.handle)
    lost = Ambiguous("the operation did not end in time; it is still asked after")
    judge_health(attempt.model, lost, services)
    return lost


def _conclude(loaded: Loaded, attempt: Attempt, outcome: Outcome, moment: Moment, services: Services) -> None:
    """Store what was delivered and commit the outcome, again on the fresh job if another writer came first."""
    if isinstance(outcome, Done):
        attempt, outcome = _fetched(loaded.job, attempt, outcome, services)
    if isinstance(outcome, Pending):
        outcome = _overdue(attempt, outcome, moment, services)
    if isinstance(outcome, ProviderFault):
        attempt = with_charge(loaded.job, attempt, outcome, services)
    _measure(attempt, outcome, services)

    def decide(job: Job) -> Step | None:
        stored = job.attempt(attempt.number)
        if stored.booked or stored.state is AttemptState.DELIVERED or stored.part != attempt.part:
            return None  # another owner has settled this call
        if stored.state in (AttemptState.FAILED, AttemptState.PARTIAL) and not isinstance(outcome, Done | Pending):
            return None  # likewise; but what the vendor accepted after all has to be paid for
        mine = replace(attempt, suspense_micro_usd=stored.suspense_micro_usd, suspense_until=stored.suspense_until)
        return Step(_after(job, mine, outcome, replace(moment, now=services.clock.now())))

    _runtime.amend(loaded, services, decide)


def _fetched(job: Job, attempt: Attempt, done: Done, services: Services) -> tuple[Attempt, Outcome]:
    """The attempt with its pieces in our bucket; a finished file that is not handed over now is fetched later."""
    try:
        return with_pieces(job, attempt, done, services), done
    except ProviderFault as fault:
        log.warning("pieces.not_fetched", extra={"attempt": attempt.number, "reason": str(fault)})
        if attempt.handle is not None and isinstance(fault, Unavailable):
            return attempt, Pending(attempt.handle, FETCH_AGAIN_S)
        return attempt, _lost(job, attempt, done, str(fault), services)
    except (BlobNotFound, InvalidBlobName):
        log.exception("pieces.not_there", extra={"attempt": attempt.number})
        return attempt, _lost(job, attempt, done, "the vendor's file is not where it says", services)


def _lost(job: Job, attempt: Attempt, done: Done, reason: str, services: Services) -> PieceLost:
    cost, _, _ = priced(job, attempt, done, services)
    return PieceLost(reason, cost_micro_usd=cost)


def _measure(attempt: Attempt, outcome: Outcome, services: Services) -> None:
    vendor = {"provider": attempt.provider, "model": attempt.model}
    if not (isinstance(outcome, Pending) and attempt.polls):
        services.metrics.record("attempts", 1, {**vendor, "outcome": name_of(outcome)})
    if isinstance(outcome, Ambiguous):
        services.metrics.record("suspense", moves.share_of(attempt), vendor)


def _after(job: Job, attempt: Attempt, outcome: Outcome, moment: Moment) -> Job:
    match outcome:
        case Done():
            more = attempt.part + 1 < attempt.calls
            return moves.continued(job, attempt, moment) if more else moves.delivered(job, attempt, moment)
        case Pending():
            attempt = replace(attempt, handle=outcome.handle, progress=outcome.progress)
            return moves.running(job, attempt, moment, outcome.poll_after_s)
    attempt = replace(attempt, error=_error(outcome))
    if attempt.pieces:
        return _after_some(job, attempt, outcome, moment)
    if isinstance(outcome, NeverMade):
        return moves.failed(job, attempt, moment, moves.NEVER_MADE)
    if isinstance(outcome, Ambiguous):
        return moves.doubted(job, attempt, moment)
    return moves.failed(job, attempt, moment)


def _after_some(job: Job, attempt: Attempt, fault: ProviderFault, moment: Moment) -> Job:
    """A call failed while earlier ones of its attempt delivered: make it again, or be content with those."""
    if isinstance(fault, Ambiguous):
        return moves.set_apart(job, attempt, moment)
    wait_s = max(backoff_delay_s(attempt.misses + 1, 1.0, base_s=MISS_BASE_S), fault.retry_after_s or 0.0)
    needed = attempt.price_micro_usd // attempt.calls * (attempt.calls - attempt.part)
    is_paid_for = needed <= attempt.price_micro_usd - attempt.cost_micro_usd  # failed calls may have been charged, too
    if fault.code not in TRANSIENT or job.is_finished or not is_paid_for:
        return moves.delivered(job, attempt, moment)
    return moves.missed(job, attempt, moment, moment.now + timedelta(seconds=wait_s), fault.code)


def _error(fault: ProviderFault) -> dict[str, object]:
    return {"code": fault.code, "message": str(fault), "retry_after_s": fault.retry_after_s}


def _moment(services: Services) -> Moment:
    return _runtime.moment(services, "generate", services.clock.now())


@functions_framework.http
def generate(request: Request) -> ResponseReturnValue:
    """Answer one delivery of `generate`."""
    return _runtime.serve(handle, request)
