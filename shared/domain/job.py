"""A job: our record of one request, its attempts, and the table of states it may move through.

Everything here is a value. A stage takes a job and returns the next one; money and ledger entries that follow
from the difference are worked out where the step is committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.errors import InvalidTransition

Json = dict[str, Any]


class State(StrEnum):
    """Where a job is."""

    GENERATING = "generating"
    WAITING = "waiting"  # the vendor's operation runs
    PARKED = "parked"  # no capacity, or follower of an identical request
    FALLING_BACK = "falling_back"
    CHECKING = "checking"
    RECORDING = "recording"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED = frozenset({State.SUCCEEDED, State.REFUSED, State.FAILED, State.CANCELLED})
_STOPPED = frozenset({State.FAILED, State.CANCELLED})

TRANSITIONS: Mapping[State | None, frozenset[State]] = {
    None: frozenset({State.GENERATING, State.PARKED, State.CHECKING, State.SUCCEEDED, State.REFUSED, State.FAILED}),
    State.GENERATING: frozenset({State.GENERATING, State.WAITING, State.PARKED, State.CHECKING, State.FALLING_BACK})
    | _STOPPED,
    State.WAITING: frozenset({State.GENERATING, State.WAITING, State.PARKED, State.CHECKING, State.FALLING_BACK})
    | _STOPPED,
    State.PARKED: frozenset({State.GENERATING, State.PARKED, State.SUCCEEDED, State.REFUSED}) | _STOPPED,
    State.FALLING_BACK: frozenset({State.GENERATING, State.PARKED}) | _STOPPED,
    State.CHECKING: frozenset({State.RECORDING}) | _STOPPED,
    State.RECORDING: frozenset({State.SUCCEEDED, State.FALLING_BACK}) | _STOPPED,
    State.SUCCEEDED: frozenset(),
    State.REFUSED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}


class AttemptState(StrEnum):
    """How far one try with one model has come."""

    CALLING = "calling"  # leased; the call is under way, or its owner died
    RUNNING = "running"  # accepted; the handle is stored
    PARTIAL = "partial"  # some of its calls have delivered, and the next is still to be made
    DELIVERED = "delivered"  # the pieces are in our bucket
    FAILED = "failed"  # ended without pieces
    UNKNOWN = "unknown"  # nobody can tell whether it was accepted


OPEN_ATTEMPT = frozenset({AttemptState.CALLING, AttemptState.RUNNING})


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model that may be tried, as selection scored it. The price is the dearest the request can cost."""

    model: str
    provider: str
    price_micro_usd: int
    score: float
    reasons: tuple[str, ...] = ()
    simulated: bool = False
    template: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """One delivered file, or text, and what the quality check found."""

    uri: str
    media_type: str
    size_bytes: int
    sha256: str
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    text: str | None = None
    grade: str | None = None
    checks: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try with one model of one provider; number 1 is the first.

    Attributes:
        price_micro_usd: the dearest this try can cost, from the quote.
        calls: how many paid calls it takes, where the vendor makes fewer pieces at a time than were asked for.
        part: which of them is being made, or is next, from 0.
        called_at: when that one was made.
        misses: how often in a row it came to nothing, with earlier ones delivered.
        doubt_of: number of the attempt that this is a single call of: the others delivered, its own fate is unknown.
        accepted: the vendor took the call, so it has a ledger entry even when it cost nothing.
        suspense_micro_usd: money whose fate is unknown; decided at `suspense_until` at the latest.
        booked: the ledger entry is written; then `cost_micro_usd` is final.
        basis: where the cost comes from: usage, delivered, quoted, vendor, unconfirmed.
    """

    number: int
    model: str
    provider: str
    price_micro_usd: int
    state: AttemptState
    started_at: datetime
    calls: int = 1
    part: int = 0
    called_at: datetime | None = None
    misses: int = 0
    doubt_of: int | None = None
    lease_owner: str = ""
    lease_until: datetime | None = None
    handle: Json | None = None
    polls: int = 0
    progress: float | None = None
    accepted: bool = False
    ended_at: datetime | None = None
    pieces: tuple[Piece, ...] = ()
    finish: str = "stop"
    usage: dict[str, int] = field(default_factory=dict)
    cost_micro_usd: int = 0
    basis: str = "usage"
    booked: bool = False
    suspense_micro_usd: int = 0
    suspense_until: datetime | None = None
    error: Json | None = None
    approved: bool | None = None
    grade: str | None = None
    checks: tuple[Json, ...] = ()
    simulated: bool = False
    template: bool = False


@dataclass(frozen=True, slots=True)
class Baton:
    """The one event that moves the job on."""

    topic: str
    payload: Json


@dataclass(frozen=True, slots=True)
class Job:
    """Our record of one request.

    Attributes:
        seq: counts the steps; an event carries the seq it moves on.
        due_at: when the tick must look at this job again, whatever happens; None: never.
        sent_again: how many events the tick has sent it since it last moved.
        hold: micro-USD reserved in every one of `scopes` (paths of budget documents).
        choice: index into `candidates` of the one to try, or being tried.
        follows: job whose result this one waits for.
        answer: the pieces of another job that answer this one, with provider, model and grade; costs nothing.
        prompt: what the optimiser made of the prompt: "used" (absent when unchanged), "negative", "added".
        source: where the request came from, for people.
        rank, waiting_for: while parked for capacity, the place in the queue of that model.
        timeline: what each step did, for people: stage, at, ms, to, note.
    """

    job_id: str
    kind: str
    tenant: str
    state: State
    seq: int
    created_at: datetime
    updated_at: datetime
    request_hash: str
    request: Json
    user: str | None = None
    request_id: str | None = None
    trace: str | None = None
    baton: Baton | None = None
    deadline_at: datetime | None = None
    finished_at: datetime | None = None
    due_at: datetime | None = None
    sent_again: int = 0
    params: Json = field(default_factory=dict)
    prompt: Json = field(default_factory=dict)
    candidates: tuple[Candidate, ...] = ()
    passed_over: tuple[Json, ...] = ()
    choice: int = 0
    requested_model: str | None = None
    attempts: tuple[Attempt, ...] = ()
    hold: int = 0
    max_cost: int | None = None
    scopes: tuple[str, ...] = ()
    fingerprint: str | None = None
    follows: str | None = None
    answer: Json | None = None
    source: Json | None = None
    rank: str | None = None
    waiting_for: str | None = None
    errors: tuple[Json, ...] = ()
    timeline: tuple[Json, ...] = ()

    @property
    def is_finished(self) -> bool:
        """No further state follows; money of a late operation may still be settled."""
        return self.state in FINISHED

    @property
    def original_prompt(self) -> str | None:
        """The prompt as it was asked for; None when the request could not be read."""
        return self.request.get("prompt")

    @property
    def used_prompt(self) -> str:
        """The prompt as vendors get it."""
        return str(self.prompt.get("used") or self.original_prompt or "")

    @property
    def open_attempt(self) -> Attempt | None:
        """The attempt that the job waits for; of a finished one, the attempt that may deliver yet.

        Where a finished job has several of those, it is the one asked after least often.
        """
        waited_for = self.attempts if self.is_finished else [a for a in self.attempts if a.number == self.last_try]
        still_open = [a for a in waited_for if a.state in OPEN_ATTEMPT and (self.is_finished or not a.suspense_until)]
        return min(still_open, key=lambda a: a.polls, default=None)

    @property
    def last_try(self) -> int:
        """Number of the newest attempt that is not a single call set apart; 0 when there is none."""
        return max((a.number for a in self.attempts if a.doubt_of is None), default=0)

    @property
    def tries(self) -> int:
        """How many attempts there were, without single calls set apart."""
        return sum(a.doubt_of is None for a in self.attempts)

    @property
    def begun_attempt(self) -> Attempt | None:
        """The attempt whose next call is still to be made."""
        newest = self.attempt(self.last_try) if self.last_try else None
        return newest if newest is not None and newest.state is AttemptState.PARTIAL else None

    @property
    def winner(self) -> Attempt | None:
        """The newest attempt that the quality check approved."""
        return next((a for a in reversed(self.attempts) if a.approved and a.doubt_of is None), None)

    @property
    def current(self) -> Attempt | None:
        """The newest attempt."""
        return self.attempt(self.last_try) if self.last_try else None

    @property
    def spent(self) -> int:
        """Micro-USD in the ledger for this job."""
        return sum(a.cost_micro_usd for a in self.attempts if a.booked)

    @property
    def suspense(self) -> int:
        """Micro-USD whose fate is unknown."""
        return sum(a.suspense_micro_usd for a in self.attempts)

    @property
    def quoted(self) -> tuple[int, int]:
        """Cheapest and dearest candidate, micro-USD."""
        prices = [c.price_micro_usd for c in self.candidates] or [0]
        return min(prices), max(prices)

    def attempt(self, number: int) -> Attempt:
        """The attempt of that number, from 1."""
        return self.attempts[number - 1]

    def attempts_with(self, attempt: Attempt) -> tuple[Attempt, ...]:
        """The attempts with *attempt* in place of the one of its number, or added as the next."""
        return (*self.attempts[: attempt.number - 1], attempt, *self.attempts[attempt.number :])

    def with_attempt(self, attempt: Attempt) -> Job:
        """The job with *attempt* in place of the one of its number, or added as the next."""
        return replace(self, attempts=self.attempts_with(attempt))


def moved(  # noqa: PLR0913 - one place knows all that changes with a step
    job: Job,
    state: State,
    now: datetime,
    *,
    stage: str,
    topic: str | None,
    due_at: datetime | None,
    extra: Json | None = None,
    note: str | None = None,
    started_at: datetime | None = None,
    **changes: Any,
) -> Job:
    """Return the job one step on: new state, seq + 1, the baton for *topic* (None: it waits), and *changes*.

    A job of seq 0 is not stored yet, so it has no present state.

    A finished job keeps its state: only late deliveries still move it.

    Raises:
        InvalidTransition: the present state does not lead to *state*.
    """
    target = job.state if job.is_finished else state
    if not job.is_finished and state not in TRANSITIONS[job.state if job.seq else None]:
        raise InvalidTransition(f"job {job.job_id}: {job.state} does not lead to {state}")
    seq = job.seq + 1
    if due_at is not None and job.deadline_at is not None and target not in FINISHED:
        due_at = min(due_at, job.deadline_at)
    return replace(
        job,
        state=target,
        seq=seq,
        updated_at=now,
        finished_at=job.finished_at or (now if target in FINISHED else None),
        due_at=due_at,
        sent_again=0,
        baton=None if topic is None else Baton(topic, {"job_id": job.job_id, "seq": seq, **(extra or {})}),
        timeline=(*job.timeline, entry(stage, now, target, note, started_at)),
        **changes,
    )


def entry(stage: str, now: datetime, to: State, note: str | None = None, started_at: datetime | None = None) -> Json:
    """One line of a job's timeline; ms is the work's own time in milliseconds."""
    line: Json = {"stage": stage, "at": now.isoformat(), "to": str(to)}
    if started_at is not None:
        line["ms"] = round((now - started_at).total_seconds() * 1000, 1)
    if note:
        line["note"] = note
    return line
