"""What a rate limit is, and how calls are leased in blocks so that no sliding minute holds too many.

An instance leases a block of calls at one moment and must make them within `ttl_s`; the block counts for a minute
and `ttl_s`. All calls of any 60 seconds therefore come from blocks leased within 60 s + ttl_s, and those never add
up to more than the limit. Calls that are not made lapse.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from shared.domain.times import from_text, to_text

Json = dict[str, Any]

MINUTE = timedelta(seconds=60)
UNLIMITED = 1 << 31  # more than any block, day or minute holds


@dataclass(frozen=True, slots=True)
class Limits:
    """What one model may be asked for, over all instances; None: no limit of that kind.

    Attributes:
        rpm, rpd: calls in any 60 seconds, and in one UTC day.
        tpm: tokens in any 60 seconds; one call that asks for more than all of them gets all of them.

    Raises:
        ValueError: a limit below 1.
    """

    rpm: int | None = None
    rpd: int | None = None
    tpm: int | None = None

    def __post_init__(self) -> None:
        if any(limit is not None and limit < 1 for limit in (self.rpm, self.rpd, self.tpm)):
            raise ValueError(f"{self} has a limit below 1")

    @property
    def largest_block(self) -> int:
        """Calls to lease at once at most: a twentieth of a minute's, and half a percent of a day's."""
        return max(1, min((self.rpm or UNLIMITED) // 20, (self.rpd or UNLIMITED) // 200, 1000))


@dataclass(frozen=True, slots=True)
class LeasePolicy:
    """How long leased calls are good for, in seconds; the price of a longer time is ttl_s / (60 + ttl_s) of the rpm."""

    ttl_s: float = 5.0

    @property
    def ttl(self) -> timedelta:
        """The time within which a leased call must be made."""
        return timedelta(seconds=self.ttl_s)


@dataclass(frozen=True, slots=True)
class Grant:
    """One call may be made, before *valid_until* (None: at any time)."""

    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """No call may be made before *retry_at*; *reason* is rpm, rpd, tpm, cooling or contended."""

    retry_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Lease:
    """Calls and tokens leased together, at *at*."""

    at: datetime
    calls: int
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """What an instance wants to lease: at least *calls* and *tokens*, and up to the larger amounts if there are any.

    *returned* calls of today were leased before and have lapsed: they count for the minute, but not for the day.
    """

    calls: int
    tokens: int
    up_to_calls: int
    up_to_tokens: int
    returned: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """What has been leased of one model: its document. *leases* are in order of time.

    Attributes:
        day, day_calls: calls leased on that UTC day, less those returned.
        cool_until: the vendor wants no call before then.
    """

    model: str
    leases: tuple[Lease, ...] = ()
    day: str = ""
    day_calls: int = 0
    cool_until: datetime | None = None

    def free_calls(self, limits: Limits, now: datetime, policy: LeasePolicy) -> int:
        """Return how many calls can be leased now; `UNLIMITED` when calls have no limit."""
        if self.is_cooling(now):
            return 0
        today = self.day_calls if self.day == day_of(now) else 0
        minute = sum(lease.calls for lease in self._counting(now, policy))
        return max(0, min((limits.rpm or UNLIMITED) - minute, (limits.rpd or UNLIMITED) - today))

    def free_tokens(self, limits: Limits, now: datetime, policy: LeasePolicy) -> int:
        """Return how many tokens can be leased now; `UNLIMITED` when they have no limit."""
        return max(0, (limits.tpm or UNLIMITED) - sum(lease.tokens for lease in self._counting(now, policy)))

    def lease(self, limits: Limits, ask: Ask, now: datetime, policy: LeasePolicy) -> tuple[Window, Lease] | Denied:
        """Return the window with a lease added, and the lease; or why not, and the earliest time to ask again."""
        at = max(now, self.leases[-1].at) if self.leases else now  # our clock may be behind another instance's
        window = self._as_of(at, policy, ask.returned if day_of(at) == day_of(now) else 0)
        calls, tokens = window.free_calls(limits, at, policy), window.free_tokens(limits, at, policy)
        if calls < ask.calls or tokens < ask.tokens or window.is_cooling(at):
            return window.refusal(limits, ask, at, policy)
        lease = Lease(at, min(calls, ask.up_to_calls), min(tokens, ask.up_to_tokens))
        leases = _added(window.leases, lease)
        return replace(window, leases=leases, day_calls=window.day_calls + lease.calls), lease

    def cooled(self, until: datetime) -> Window:
        """No call before *until*; an earlier wish never shortens a later one."""
        return replace(self, cool_until=max(until, self.cool_until or until))

    def is_cooling(self, now: datetime) -> bool:
        """The vendor's pause is not over."""
        return self.cool_until is not None and now < self.cool_until

    def refusal(self, limits: Limits, ask: Ask, now: datetime, policy: LeasePolicy) -> Denied:
        """Return which of the reasons against *ask* lasts longest; ask only when there is one."""
        reasons = []
        if self.cool_until is not None and self.is_cooling(now):
            reasons.append(Denied(self.cool_until, "cooling"))
        if self.day_calls + ask.calls > (limits.rpd or UNLIMITED):
            reasons.append(Denied(next_day(now), "rpd"))
        # The oldest leases stop counting one after the other; the first time at which enough has is the answer.
        calls = (limits.rpm or UNLIMITED) - sum(lease.calls for lease in self.leases) - ask.calls
        tokens = (limits.tpm or UNLIMITED) - sum(lease.tokens for lease in self.leases) - ask.tokens
        for lease in self.leases:
            if calls >= 0 and tokens >= 0:
                break
            reasons.append(Denied(lease.at + MINUTE + policy.ttl, "rpm" if calls < 0 else "tpm"))
            calls, tokens = calls + lease.calls, tokens + lease.tokens
        return max(reasons, key=lambda denied: denied.retry_at)

    def _counting(self, now: datetime, policy: LeasePolicy) -> tuple[Lease, ...]:
        return tuple(lease for lease in self.leases if lease.at + MINUTE + policy.ttl > now)

    def _as_of(self, now: datetime, policy: LeasePolicy, returned: int) -> Window:
        """Without what no longer counts, and with the calls that were returned for the day."""
        today = day_of(now)
        calls = max(0, self.day_calls - returned) if self.day == today else 0
        return replace(self, leases=self._counting(now, policy), day=today, day_calls=calls)


def block_size(granted: int, used: int, elapsed_s: float, limits: Limits, policy: LeasePolicy) -> int:
    """Return how many calls an instance leases next: what it needs within the life of a block at its present pace.

    Args:
        granted, used: calls of its last block, and how many of them it made.
        elapsed_s: seconds since it leased that block.

    The size at most doubles from one block to the next, so an instance that stops wastes no more than it used.
    """
    pace = used * policy.ttl_s / elapsed_s if elapsed_s > 0 else limits.largest_block
    return max(1, min(int(pace), 2 * granted, limits.largest_block))


def day_of(when: datetime) -> str:
    """The UTC day whose calls a time belongs to."""
    return to_text(when)[:10]


def next_day(when: datetime) -> datetime:
    """The next UTC midnight after an aware UTC time."""
    return when.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def _added(leases: tuple[Lease, ...], lease: Lease) -> tuple[Lease, ...]:
    """Leases of one second become one, as old as the youngest of them: a document holds about 66 at most."""
    if leases and to_text(leases[-1].at)[:19] == to_text(lease.at)[:19]:
        last = leases[-1]
        return (*leases[:-1], Lease(lease.at, last.calls + lease.calls, last.tokens + lease.tokens))
    return (*leases, lease)


def to_doc(window: Window) -> Json:
    """Return the document of a window."""
    return {
        "model": window.model,
        "leases": [{"at": to_text(lease.at), "calls": lease.calls, "tokens": lease.tokens} for lease in window.leases],
        "day": window.day,
        "day_calls": window.day_calls,
        "cool_until": to_text(window.cool_until) if window.cool_until else None,
    }


def from_doc(doc: Json) -> Window:
    """Return the window of a document of `to_doc`."""
    cool_until = doc.get("cool_until")
    return Window(
        doc["model"],
        tuple(Lease(from_text(lease["at"]), lease["calls"], lease["tokens"]) for lease in doc["leases"]),
        doc["day"],
        doc["day_calls"],
        from_text(cool_until) if cool_until else None,
    )
