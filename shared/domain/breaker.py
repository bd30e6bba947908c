"""What a circuit breaker is: whether one model may be called now, and what each outcome makes of that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from shared.domain.times import from_text, to_text

Json = dict[str, Any]

FOREVER = datetime.max.replace(tzinfo=UTC)


class BreakerState(StrEnum):
    """What happens to a call."""

    CLOSED = "closed"  # it is made
    OPEN = "open"  # it is refused until `open_until`; then one probe may be claimed
    HALF_OPEN = "half_open"  # one probe is under way; all others are refused until `probe_until`


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When breakers open and for how long; times in seconds.

    Attributes:
        threshold: failures in a row that open a closed breaker.
        cooldown_s, max_cooldown_s: first opening, doubled with each further one in a row, and its cap.
        probe_s: after which a probe without an outcome counts as dead and another one may be claimed.
        recheck_s: after which a model that the vendor called gone is probed once more.
        max_wait_s: cap on what a vendor's Retry-After can impose.
    """

    threshold: int = 3
    cooldown_s: float = 30.0
    max_cooldown_s: float = 600.0
    probe_s: float = 60.0
    recheck_s: float = 86_400.0
    max_wait_s: float = 86_400.0

    def cooldown_after(self, trips: int, retry_after_s: float | None) -> timedelta:
        """Return how long opening number *trips* in a row (from 1) lasts, at least the vendor's Retry-After."""
        own = min(self.max_cooldown_s, self.cooldown_s * 2.0 ** min(trips - 1, 60))
        return max(timedelta(seconds=own), self.wait(retry_after_s))

    def wait(self, retry_after_s: float | None) -> timedelta:
        """Return a vendor's Retry-After within its bounds; none, nonsense or the past is no wait."""
        # The order of the arguments matters: max(0.0, nan) is 0.0.
        return timedelta(seconds=min(self.max_wait_s, max(0.0, retry_after_s or 0.0)))


@dataclass(frozen=True, slots=True)
class Breaker:
    """The breaker of one model. Outcomes are applied by methods that return the next breaker.

    Attributes:
        failures: failures in a row while closed.
        trips: openings in a row without a success between them.
        cool_until: the vendor asked for a pause (429 with Retry-After); no fault, but no call either.
        disabled: the model is gone or switched off; `reason` says why.
        since: when the state last changed.
    """

    model: str
    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    trips: int = 0
    open_until: datetime | None = None
    probe_until: datetime | None = None
    cool_until: datetime | None = None
    disabled: bool = False
    reason: str | None = None
    since: datetime | None = None

    @property
    def is_clean(self) -> bool:
        """Closed, and no failure to forget: a success changes nothing."""
        return self.state is BreakerState.CLOSED and self.failures == 0

    @property
    def not_before(self) -> datetime | None:
        """The time before which no further call may be made; None when there is none."""
        of_state = {BreakerState.OPEN: self.open_until, BreakerState.HALF_OPEN: self.probe_until}.get(self.state)
        return max((t for t in (of_state, self.cool_until) if t is not None), default=None)

    def is_callable(self, now: datetime) -> bool:
        """A call may be made, if need be as the probe that has to be claimed first."""
        return self.not_before is None or self.not_before <= now

    def needs_probe(self, now: datetime) -> bool:
        """It may be called now, but only by whoever claims the probe."""
        return self.state is not BreakerState.CLOSED and self.is_callable(now)

    def claimed(self, now: datetime, policy: BreakerPolicy) -> Breaker:
        """The probe is taken, until it reports or its claim lapses. Ask `needs_probe` first."""
        return replace(self, state=BreakerState.HALF_OPEN, probe_until=now + timedelta(seconds=policy.probe_s))

    def succeeded(self, now: datetime) -> Breaker:
        """A call went well: closed and clean.

        Before `open_until` it stays open: that was a call made before the failures, and says nothing of new ones.
        """
        if self.is_clean or (self.state is BreakerState.OPEN and not self.is_callable(now)):
            return self
        since = self.since if self.state is BreakerState.CLOSED else now
        return Breaker(self.model, cool_until=self.cool_until, since=since)

    def failed(self, now: datetime, policy: BreakerPolicy, retry_after_s: float | None = None) -> Breaker:
        """A call failed in a way that counts against health.

        While it is open, the failures of calls made earlier prolong it only by their Retry-After.
        """
        if self.disabled:
            return self.gone(now, policy, self.reason or "") if self.is_probing(now) else self
        if self.state is BreakerState.OPEN and self.open_until is not None and now < self.open_until:
            return replace(self, open_until=max(self.open_until, now + policy.wait(retry_after_s)))
        if self.state is BreakerState.CLOSED and self.failures + 1 < policy.threshold:
            return replace(self, failures=self.failures + 1)
        return replace(
            self,
            state=BreakerState.OPEN,
            failures=self.failures + 1,
            trips=self.trips + 1,
            open_until=now + policy.cooldown_after(self.trips + 1, retry_after_s),
            probe_until=None,
            since=now,
        )

    def is_probing(self, now: datetime) -> bool:
        """A probe is under way, or may be: only its outcome says something new."""
        return self.state is BreakerState.HALF_OPEN or self.needs_probe(now)

    def cooled(self, until: datetime) -> Breaker:
        """The vendor wants no call before *until*; an earlier wish never shortens a later one."""
        return replace(self, cool_until=max(until, self.cool_until or until))

    def gone(self, now: datetime, policy: BreakerPolicy, reason: str) -> Breaker:
        """The vendor no longer has the model: disabled until somebody enables it or a later probe succeeds.

        A model that is disabled already stays as it is, unless it was its probe that found this out again.
        """
        if self.disabled and not self.is_probing(now):
            return self
        return self._disabled(now, now + timedelta(seconds=policy.recheck_s), reason)

    def switched_off(self, now: datetime, reason: str) -> Breaker:
        """Somebody wants no call at all: disabled, without any probe, until somebody enables it."""
        return self._disabled(now, FOREVER, reason)

    def enabled(self, now: datetime) -> Breaker:
        """Closed and clean, whatever it was."""
        return Breaker(self.model, since=now)

    def _disabled(self, now: datetime, until: datetime, reason: str) -> Breaker:
        return Breaker(
            self.model, BreakerState.OPEN, trips=self.trips, open_until=until, disabled=True, reason=reason, since=now
        )


_TIMES = ("open_until", "probe_until", "cool_until", "since")


def to_doc(breaker: Breaker) -> Json:
    """Return the document of a breaker."""
    doc: Json = {
        "model": breaker.model,
        "state": breaker.state.value,
        "failures": breaker.failures,
        "trips": breaker.trips,
        "disabled": breaker.disabled,
        "reason": breaker.reason,
    }
    times: dict[str, datetime | None] = {name: getattr(breaker, name) for name in _TIMES}
    return doc | {name: None if when is None else to_text(when) for name, when in times.items()}


def from_doc(doc: Json) -> Breaker:
    """Return the breaker of a document of `to_doc`."""
    times = {name: from_text(doc[name]) if doc.get(name) else None for name in _TIMES}
    return Breaker(
        doc["model"],
        BreakerState(doc["state"]),
        failures=doc["failures"],
        trips=doc["trips"],
        disabled=doc["disabled"],
        reason=doc["reason"],
        **times,
    )
