"""What to do after a candidate did not deliver: try another, try again later, or end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from shared.domain.job import Job

# Nothing was wrong with the request: the same model may answer a little later.
TRANSIENT = frozenset({"unavailable", "rate_limited", "ambiguous", "breaker_open", "no_capacity"})
RETRY_BASE_S = 2.0
RETRY_CAP_S = 60.0


@dataclass(frozen=True, slots=True)
class Try:
    """Go on with candidate number *choice*; it needs *price* micro-USD held."""

    choice: int
    price: int


@dataclass(frozen=True, slots=True)
class TryLater:
    """Nothing else is left, but candidate *choice* may answer from *at* on."""

    choice: int
    at: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the job; *code* and *message* say why."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Policy:
    """Bounds of the chain."""

    max_attempts: int
    when_blocked: bool


def next_move(
    job: Job,
    reason: str,
    policy: Policy,
    now: datetime,
    money_left: int,
    closed_until: Mapping[str, datetime] = MappingProxyType({}),
) -> Try | TryLater | GiveUp:
    """Return what follows the failure *reason* of the candidate chosen now.

    Args:
        reason: code of a provider fault, or "rejected", "breaker_open", "no_capacity".
        money_left: micro-USD that may still be spent on this job; nothing dearer is tried.
        closed_until: the models that are not to be called now, and until when.
    """
    if reason == "blocked" and not policy.when_blocked:
        return GiveUp("blocked", "the vendor's safety filter refused, and the policy is not to ask another")
    template = next((i for i, c in enumerate(job.candidates) if c.template and i > job.choice), None)
    if job.tries < policy.max_attempts:
        for choice in range(job.choice + 1, len(job.candidates)):
            candidate = job.candidates[choice]
            if candidate.template or candidate.model in closed_until or not _may_deliver(job, candidate.model):
                continue
            if candidate.price_micro_usd <= money_left:
                return Try(choice, candidate.price_micro_usd)
        again = _again(job, reason, now, money_left, closed_until)
        if again is not None:
            return again
    if template is not None:
        return Try(template, 0)
    return GiveUp(_public_code(reason), f"no further candidate after {job.tries} attempts")


def _again(
    job: Job, reason: str, now: datetime, money_left: int, closed_until: Mapping[str, datetime]
) -> TryLater | None:
    """The candidate that may be called first, of those whose failures were all transient; within the deadline."""
    moves = []
    for choice, candidate in enumerate(job.candidates):
        is_transient = choice != job.choice or reason in TRANSIENT
        affordable = candidate.price_micro_usd <= money_left and not candidate.template
        if affordable and is_transient and _may_deliver(job, candidate.model):
            wait_s = max(_wait_s(job), _asked_wait_s(job, candidate.model))
            at = max(now + timedelta(seconds=wait_s), closed_until.get(candidate.model, now))
            moves.append(TryLater(choice, at))
    soonest = min(moves, key=lambda move: (move.at, move.choice), default=None)
    in_time = soonest is not None and (job.deadline_at is None or soonest.at < job.deadline_at)
    return soonest if in_time else None


def _may_deliver(job: Job, model: str) -> bool:
    """Whether all failures of *model* so far were transient; one that was rejected would be again."""
    return all((a.error or {}).get("code", "rejected") in TRANSIENT for a in job.attempts if a.model == model)


def _wait_s(job: Job) -> float:
    tries = sum(1 for line in job.timeline if line.get("to") == "falling_back")
    return float(min(RETRY_CAP_S, RETRY_BASE_S * 2 ** max(0, tries - 1)))


def _asked_wait_s(job: Job, model: str) -> float:
    """The vendor's own Retry-After of that model's last failure, in seconds; 0 when it gave none."""
    last = next((a for a in reversed(job.attempts) if a.model == model), None)
    error: Mapping[str, object] = (last.error if last else None) or {}
    wait = error.get("retry_after_s")
    return float(wait) if isinstance(wait, int | float) else 0.0


def _public_code(reason: str) -> str:
    return "quality_rejected" if reason == "rejected" else reason
