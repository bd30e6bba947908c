"""What the tick owes a job whose time has come, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.domain.job import AttemptState, Job, State

Json = dict[str, Any]

IN_VAIN = 2


@dataclass(frozen=True, slots=True)
class Send:
    """Send the job an event: to *topic* with *extra* beside its id and seq; topic None: its own baton."""

    topic: str | None
    extra: Json
    why: str


@dataclass(frozen=True, slots=True)
class Release:
    """The job waits for capacity of a model: release that model's queue in its order."""

    model: str


def owed(job: Job, now: datetime) -> Send | Release | None:
    """Return what a due job needs; None when it is over and nothing is open."""
    if job.is_finished:
        return _owed_when_finished(job, now)
    if job.deadline_at is not None and job.deadline_at <= now:
        return Send("fallback", {"end": "deadline_exceeded"}, "deadline")
    if job.state is State.WAITING:
        return Send("generate", {}, "poll")
    if job.state is State.PARKED:
        return Send("requests", {}, "follower") if job.follows else Release(job.waiting_for or "")
    return Send(None, {}, "stale")


def is_stuck(job: Job, action: Send | Release | None) -> bool:
    """Whether a due job should have moved by now: it was sent two events since it last did.

    Not one that waits for a finished leader, or for capacity; and one event alone may be late, or its work long.
    """
    return isinstance(action, Send) and not job.is_finished and not job.follows and job.sent_again >= IN_VAIN


def _owed_when_finished(job: Job, now: datetime) -> Send | None:
    lapsed = [a for a in job.attempts if a.suspense_until is not None and a.suspense_until <= now]
    lost = next((a for a in lapsed if a.state is AttemptState.UNKNOWN), None)
    if lost is not None:  # a last look, as what was bought may have turned up; then its money is decided
        return Send("generate", {"seek": True, "attempt": lost.number, "settle": True}, "suspense")
    if lapsed:
        return Send("record-cost", {"settle": True}, "suspense")
    return Send("generate", {}, "late") if job.open_attempt else None
