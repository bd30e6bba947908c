"""Every step a job can take, as functions from a job to the next one.

The stages decide which step it is; what it does to state, attempt and money is written here once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from shared.domain.job import OPEN_ATTEMPT, TRANSITIONS, Attempt, AttemptState, Job, State, entry, moved
from shared.domain.release import rank

Json = dict[str, Any]

NEVER_MADE = "never_made"  # reason of a fallback: the call was not made, so the same candidate is as good as before
POLLED = "operation runs, poll"  # how the note of every poll but the last begins
MAX_MISSES = 3  # so often in a row is a call made again that fails while others of its attempt delivered
POLL_LATE_S = 60.0  # how often a finished job's operation is still asked after


@dataclass(frozen=True, slots=True)
class Moment:
    """When a step happens and which stage takes it.

    Attributes:
        stale_s: seconds after which the tick sends the baton again.
        suspense_s: seconds after which money in doubt is decided.
    """

    now: datetime
    stage: str
    stale_s: float
    suspense_s: float
    started_at: datetime | None = None

    @property
    def stale_at(self) -> datetime:
        """When the tick looks at a job that should move by itself."""
        return self.now + timedelta(seconds=self.stale_s)


def leased(job: Job, attempt: Attempt, due_at: datetime) -> Job:
    """The job with a paid call about to be made. Its seq stays: the same event must be able to come back."""
    return replace(job.with_attempt(attempt), updated_at=attempt.started_at, due_at=due_at, sent_again=0)


def running(job: Job, attempt: Attempt, moment: Moment, poll_after_s: float) -> Job:
    """The vendor accepted, or still works: wait and ask again."""
    note = f"{POLLED} {attempt.polls}" if attempt.polls else "operation accepted"
    if job.timeline and str(job.timeline[-1].get("note", "")).startswith(POLLED):
        # The last poll stands for all: an operation may be asked after for days.
        job = replace(job, timeline=job.timeline[:-1])
    attempt = replace(attempt, state=AttemptState.RUNNING, accepted=True)
    given_up = attempt.suspense_until is not None and not job.is_finished  # and the next one has been chosen
    if given_up or _is_late(job, attempt, State.WAITING):
        return _noted(job.with_attempt(attempt), moment, f"attempt {attempt.number} was accepted late; asked after")
    job = job.with_attempt(attempt)
    return _moved(
        job,
        State.WAITING,
        moment,
        topic=None,
        due_at=_afterwards(job, moment) if job.is_finished else moment.now + timedelta(seconds=poll_after_s),
        note=note,
    )


def delivered(job: Job, attempt: Attempt, moment: Moment) -> Job:
    """The pieces of *attempt* are in our bucket: have them checked.

    An attempt that the job no longer waits for is booked at once, and the job stays where it is.
    """
    attempt = replace(attempt, state=AttemptState.DELIVERED, accepted=True, ended_at=moment.now)
    if _is_late(job, attempt, State.CHECKING):
        return _noted(_booked(job, attempt), moment, f"attempt {attempt.number} delivered late; kept and booked")
    return _moved(
        job,
        State.CHECKING,
        moment,
        attempts=job.attempts_with(attempt),
        topic="quality-check",
        due_at=moment.stale_at,
        extra={"attempt": attempt.number},
        note=f"{attempt.model} delivered {len(attempt.pieces)}",
    )


def continued(job: Job, attempt: Attempt, moment: Moment) -> Job:
    """A call of *attempt* delivered: make its next one. A job that no longer waits for it takes what there is."""
    attempt = replace(
        attempt, state=AttemptState.PARTIAL, accepted=True, part=attempt.part + 1, misses=0, handle=None, progress=None
    )
    if job.is_finished or _is_late(job, attempt, State.GENERATING):
        return delivered(job, attempt, moment)
    return _moved(
        job,
        State.GENERATING,
        moment,
        attempts=job.attempts_with(attempt),
        topic="generate",
        due_at=moment.stale_at,
        note=f"{attempt.model} delivered call {attempt.part} of {attempt.calls}",
    )


def missed(job: Job, attempt: Attempt, moment: Moment, until: datetime, reason: str) -> Job:
    """A call of *attempt* came to nothing while earlier ones delivered: make it again, from *until* on.

    After some misses in a row, or when that would be past the deadline, the job takes what there is.
    """
    in_time = job.deadline_at is None or until < job.deadline_at
    if attempt.misses >= MAX_MISSES or not in_time:
        return delivered(job, attempt, moment)
    attempt = replace(attempt, state=AttemptState.PARTIAL, misses=attempt.misses + 1, handle=None, progress=None)
    note = f"call {attempt.part + 1} of {attempt.calls} again later: {reason}"
    return parked(job.with_attempt(attempt), moment, until, model=attempt.model, note=note)


def set_apart(job: Job, attempt: Attempt, moment: Moment) -> Job:
    """Nobody can tell what became of one call of *attempt* while earlier ones delivered.

    Those go on to be checked; the doubtful one becomes an attempt of its own, with its share of the price in suspense.
    """
    asked_after = attempt.state is AttemptState.RUNNING
    doubtful = replace(
        attempt,
        number=len(job.attempts) + 1,
        doubt_of=attempt.number,
        state=AttemptState.RUNNING if asked_after else AttemptState.UNKNOWN,
        price_micro_usd=share_of(attempt),
        calls=1,
        pieces=(),
        usage={},
        cost_micro_usd=0,
        ended_at=None if asked_after else moment.now,
    )
    job = job.with_attempt(attempt)
    job = _suspended(job.with_attempt(doubtful), doubtful, moment)
    return delivered(job, replace(attempt, handle=None, error=None), moment)


def share_of(attempt: Attempt) -> int:
    """The most that one call of *attempt* can cost, micro-USD."""
    return -(-attempt.price_micro_usd // attempt.calls)


def failed(job: Job, attempt: Attempt, moment: Moment, reason: str | None = None) -> Job:
    """*attempt* ended without pieces, and its cost is known: book it if it was accepted, and fall back.

    *reason* is told to the fallback in place of the error's code.
    """
    attempt = replace(attempt, state=AttemptState.FAILED, ended_at=moment.now)
    if attempt.accepted or attempt.cost_micro_usd > 0:
        job = _booked(job, attempt)
    else:
        job = job.with_attempt(replace(attempt, suspense_micro_usd=0, suspense_until=None))
    return _fallen_back(job, attempt, moment, reason or (attempt.error or {}).get("code", "failed"))


def doubted(job: Job, attempt: Attempt, moment: Moment) -> Job:
    """Nobody can tell whether *attempt* was or will be delivered: its price goes into suspense; fall back."""
    if attempt.state is AttemptState.CALLING:
        attempt = replace(attempt, state=AttemptState.UNKNOWN, ended_at=moment.now)
    job = _suspended(job, attempt, moment)
    return _fallen_back(job, attempt, moment, (attempt.error or {}).get("code", "ambiguous"))


def passed_on(job: Job, moment: Moment, reason: str) -> Job:
    """The chosen candidate is not to be called now: fall back without an attempt."""
    return _moved(
        job,
        State.FALLING_BACK,
        moment,
        topic="fallback",
        due_at=moment.stale_at,
        extra={"reason": reason},
        note=reason,
    )


def parked(job: Job, moment: Moment, until: datetime, *, model: str, note: str) -> Job:
    """No capacity for *model*: wait in its queue without a baton, until the tick releases the job by its rank."""
    place = rank(job.request.get("priority", "normal"), job.created_at)
    return _moved(job, State.PARKED, moment, topic=None, due_at=until, note=note, waiting_for=model, rank=place)


def following(job: Job, leader: str, moment: Moment, until: datetime) -> Job:
    """An identical request is being made by *leader*: wait for its result, holding no money."""
    note = f"waits for job {leader}"
    return _moved(job, State.PARKED, moment, topic=None, due_at=until, note=note, follows=leader)


def chosen(job: Job, choice: int, hold: int, moment: Moment, note: str) -> Job:
    """Try candidate *choice* next, with *hold* micro-USD reserved."""
    return _moved(
        job,
        State.GENERATING,
        moment,
        topic="generate",
        due_at=moment.stale_at,
        note=note,
        choice=choice,
        hold=hold,
        waiting_for=None,
        rank=None,
        follows=None,
    )


def checked(job: Job, attempt: Attempt, moment: Moment) -> Job:
    """The verdict on *attempt* is there: have it booked."""
    return _moved(
        job,
        State.RECORDING,
        moment,
        attempts=job.attempts_with(attempt),
        topic="record-cost",
        due_at=moment.stale_at,
        extra={"attempt": attempt.number},
        note=f"grade {attempt.grade}, {'approved' if attempt.approved else 'rejected'}",
    )


def recorded(job: Job, attempt: Attempt, moment: Moment) -> Job:
    """Book *attempt*; approved it ends the job, rejected the job falls back. A finished job is only settled."""
    job = _booked(job, attempt)
    if job.is_finished:
        return _moved(job, job.state, moment, topic=None, due_at=_afterwards(job, moment))
    if not attempt.approved:
        return _fallen_back(job, attempt, moment, "rejected")
    return _moved(job, State.SUCCEEDED, moment, topic="results", due_at=_afterwards(job, moment), hold=0)


def answered(job: Job, answer: Json, moment: Moment) -> Job:
    """Another job's pieces answer this one, free of charge."""
    note = f"answered by job {answer['job_id']}"
    return _moved(
        job, State.SUCCEEDED, moment, topic="results", due_at=None, note=note, answer=answer, follows=None, hold=0
    )


def ended(job: Job, state: State, moment: Moment, errors: Sequence[Json], note: str | None = None) -> Job:
    """End the job without success: book what was delivered, put what may still come into suspense, free the rest."""
    for attempt in job.attempts:
        if attempt.state in OPEN_ATTEMPT and not attempt.suspense_micro_usd:
            job = _suspended(job, attempt, moment)
        elif attempt.state in (AttemptState.DELIVERED, AttemptState.PARTIAL) and not attempt.booked:
            job = _booked(job, replace(attempt, state=AttemptState.DELIVERED))
    return _moved(
        job,
        state,
        moment,
        topic="results",
        due_at=_afterwards(job, moment),
        note=note or ", ".join(str(e["code"]) for e in errors),
        hold=0,
        errors=(*job.errors, *errors),
        waiting_for=None,
        rank=None,
    )


def is_presumable(job: Job, now: datetime) -> bool:
    """Whether money has been in doubt for too long."""
    return any(_is_lapsed(a, now) for a in job.attempts)


def _is_lapsed(attempt: Attempt, now: datetime) -> bool:
    return attempt.suspense_micro_usd > 0 and attempt.suspense_until is not None and attempt.suspense_until <= now


def presumed(job: Job, moment: Moment) -> Job:
    """Book as spent whatever has been in doubt for too long; the ledger says `unconfirmed`."""
    for attempt in job.attempts:
        if _is_lapsed(attempt, moment.now):
            unknown = replace(
                attempt,
                state=AttemptState.UNKNOWN,
                cost_micro_usd=attempt.suspense_micro_usd,
                basis="unconfirmed",
                ended_at=moment.now,
            )
            job = _booked(job, unknown)
    return replace(_noted(job, moment, "money in doubt booked as spent"), due_at=_afterwards(job, moment))


def _moved(
    job: Job,
    state: State,
    moment: Moment,
    *,
    topic: str | None,
    due_at: datetime | None,
    extra: Json | None = None,
    note: str | None = None,
    **changes: Any,
) -> Job:
    return moved(
        job,
        state,
        moment.now,
        stage=moment.stage,
        topic=topic,
        due_at=due_at,
        extra=extra,
        note=note,
        started_at=moment.started_at,
        **changes,
    )


def _is_late(job: Job, attempt: Attempt, wanted: State) -> bool:
    """Whether an unfinished job has given *attempt* up, so that its news no longer leads to *wanted*."""
    return not job.is_finished and (attempt.number != job.last_try or wanted not in TRANSITIONS[job.state])


def _booked(job: Job, attempt: Attempt) -> Job:
    """Settle *attempt*: its cost is spent, and what was held or in suspense for it is given back."""
    held = 0 if attempt.suspense_micro_usd else attempt.cost_micro_usd
    settled = replace(attempt, booked=True, suspense_micro_usd=0, suspense_until=None)
    return replace(job, hold=max(0, job.hold - held), attempts=job.attempts_with(settled))


def _suspended(job: Job, attempt: Attempt, moment: Moment) -> Job:
    price = attempt.cost_micro_usd + share_of(attempt)
    until = attempt.suspense_until or moment.now + timedelta(seconds=moment.suspense_s)
    doubtful = replace(attempt, suspense_micro_usd=price, suspense_until=until)
    return replace(job, hold=max(0, job.hold - price), attempts=job.attempts_with(doubtful))


def _fallen_back(job: Job, attempt: Attempt, moment: Moment, reason: str) -> Job:
    """Fall back after *attempt*; a job that is finished, or already tries another, stays where it is."""
    if job.is_finished:
        return _moved(job, job.state, moment, topic=None, due_at=_afterwards(job, moment))
    if attempt.number != job.last_try:
        return _noted(job, moment, f"attempt {attempt.number}: {reason}")
    return _moved(
        job,
        State.FALLING_BACK,
        moment,
        topic="fallback",
        due_at=moment.stale_at,
        extra={"reason": reason},
        note=f"{attempt.model}: {reason}",
    )


def _noted(job: Job, moment: Moment, note: str) -> Job:
    line = entry(moment.stage, moment.now, job.state, note, moment.started_at)
    return replace(job, timeline=(*job.timeline, line), updated_at=moment.now)


def _afterwards(job: Job, moment: Moment) -> datetime | None:
    """When a finished job still needs the tick: while an operation may deliver, and until money in doubt is decided."""
    times = [a.suspense_until for a in job.attempts if a.suspense_micro_usd and a.suspense_until]
    if any(a.state in OPEN_ATTEMPT for a in job.attempts):
        times.append(moment.now + timedelta(seconds=POLL_LATE_S))
    return min(times, default=None)
