"""Rate limits shared by all instances: one document per model, from which each instance leases calls in blocks.

A limiter saves refusals and money at the vendor's, who refuses what is too much in any case, so it fails open: while
the store does not answer, calls are granted; it is asked again every `ttl_s`, and each time a warning is logged.
When too many instances ask at once it does not: the caller is told to come back in a moment.

The instances' clocks are taken to agree; an error of one clock adds to the time by which a window is stretched.
"""

from __future__ import annotations

import hashlib
import logging
import random as _random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from shared.domain.limiter import (
    Ask,
    Denied,
    Grant,
    Lease,
    LeasePolicy,
    Limits,
    Window,
    block_size,
    day_of,
    from_doc,
    next_day,
    to_doc,
)
from shared.errors import StoreConflict, StoreUnavailable
from shared.ports import Clock, DocumentStore, create, put
from shared.resilience.retry import retrying

__all__ = ["Denied", "Grant", "LeasePolicy", "Limiters", "Limits"]

COLLECTION = "limits"
ASK_AGAIN = timedelta(seconds=1)
MAX_COOL_DOWN = timedelta(days=1)  # whatever a vendor's Retry-After says

_PAST = datetime.min.replace(tzinfo=UTC)

log = logging.getLogger("atelier")


@dataclass(slots=True)
class _Purse:
    """What this instance has leased of one model and not yet used; used under its lock.

    Attributes:
        leases: live leases with what is left of them, oldest first.
        last: the latest lease as granted.
        lapsed: leases with calls that were not made in time, and are not yet reported.
        denied: a refusal that no smaller request would escape, kept so that waiting jobs cost no reads.
        blind_until: the store did not answer; until then it is not asked again.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    leases: list[Lease] = field(default_factory=list)
    last: Lease | None = None
    lapsed: list[Lease] = field(default_factory=list)
    denied: Denied | None = None
    blind_until: datetime = _PAST

    def drop_expired(self, now: datetime, valid_until: Callable[[Lease], datetime]) -> None:
        """Move the leases whose time is over to the lapsed ones."""
        self.lapsed += [lease for lease in self.leases if valid_until(lease) <= now]
        self.leases = [lease for lease in self.leases if valid_until(lease) > now]

    def take(self, tokens: int) -> Lease | None:
        """Take one call and *tokens* from the live leases; return the oldest lease used, None when it is too little."""
        calls = 1
        if sum(lease.calls for lease in self.leases) < calls or sum(lease.tokens for lease in self.leases) < tokens:
            return None
        oldest, left = None, []
        for lease in self.leases:
            spent = Lease(lease.at, min(calls, lease.calls), min(tokens, lease.tokens))
            calls, tokens = calls - spent.calls, tokens - spent.tokens
            oldest = oldest or (lease if spent.calls or spent.tokens else None)
            left.append(replace(lease, calls=lease.calls - spent.calls, tokens=lease.tokens - spent.tokens))
        self.leases = [lease for lease in left if lease.calls or lease.tokens]
        return oldest

    def ask(self, tokens: int, now: datetime, limits: Limits, policy: LeasePolicy) -> Ask:
        """Return what to lease for one more call with *tokens*, and for those that will follow at this pace."""
        missing_calls = 1 - min(1, sum(lease.calls for lease in self.leases))
        missing_tokens = max(0, tokens - sum(lease.tokens for lease in self.leases))
        unused = sum(lease.calls for lease in self.lapsed)
        size = 1
        if self.last is not None:
            used = max(0, self.last.calls - unused)
            size = block_size(self.last.calls, used, (now - self.last.at).total_seconds(), limits, policy)
        return Ask(
            missing_calls,
            missing_tokens,
            size if missing_calls else 0,
            max(missing_tokens, min(size * tokens, (limits.tpm or 0) // 20)),
            returned=sum(lease.calls for lease in self.lapsed if day_of(lease.at) == day_of(now)),
        )


class Limiters:
    """Grants calls from leased blocks; safe in threads."""

    def __init__(
        self,
        documents: DocumentStore,
        clock: Clock,
        *,
        limits: Callable[[str], Limits | None],
        policy: LeasePolicy | None = None,
        random: Callable[[], float] = _random.random,
    ) -> None:
        """*limits*: of a model id; None where there are none."""
        self._documents = documents
        self._clock = clock
        self._limits = limits
        self._policy = policy or LeasePolicy()
        self._random = random
        self._purses: dict[str, _Purse] = {}

    def acquire(self, model: str, tokens: int = 0) -> Grant | Denied:
        """Return a grant for one call of about *tokens* tokens, or when to ask again.

        A model without limits costs no document access at all; the others one read and one write per block.
        A grant that is not used before its `valid_until` lapses: ask again.
        """
        limits = self._limits(model)
        purse = self._purses.setdefault(model, _Purse())
        with purse.lock:
            now = self._clock.now()
            if purse.denied is not None and now < purse.denied.retry_at:
                return purse.denied
            if limits is None or now < purse.blind_until:
                return Grant()
            wanted = min(tokens, limits.tpm) if limits.tpm else 0
            purse.drop_expired(now, lambda lease: self._valid_until(lease, limits))
            used = purse.take(wanted)
            if used is not None:
                return Grant(self._valid_until(used, limits))
            return self._acquire_new(model, purse, wanted, limits)

    def cool_down(self, model: str, until: datetime) -> None:
        """Let nobody call before *until*, at most a day ahead: the vendor said 429.

        This instance stops at once. The others stop when their leased blocks are used up, within `ttl_s`. For a
        model without limits, of which the others read nothing here, `Breakers.cool_down` tells them.
        """
        until = min(until, self._clock.now() + MAX_COOL_DOWN)
        purse = self._purses.setdefault(model, _Purse())
        with purse.lock:
            if purse.denied is None or purse.denied.retry_at < until:
                purse.denied = Denied(until, "cooling")
        if self._limits(model) is None:
            return
        try:
            retrying(lambda: self._cool(model, until), clock=self._clock, random=self._random)
        except (StoreConflict, StoreUnavailable) as error:
            log.warning("limiter.not_recorded", extra={"model": model, "error": type(error).__name__})

    def available(self, model: str) -> int | None:
        """Return how many calls could be granted now; None when that is not limited.

        Raises:
            StoreUnavailable: no answer; whoever releases parked jobs can do nothing without the store either.
        """
        limits, now = self._limits(model), self._clock.now()
        purse = self._purses.get(model)
        if purse is not None and purse.denied is not None and now < purse.denied.retry_at:
            return 0
        if limits is None:
            return None
        window, _ = self._read(model)
        if window.free_tokens(limits, now, self._policy) == 0:
            return 0
        calls = window.free_calls(limits, now, self._policy)
        return None if calls and limits.rpm is None and limits.rpd is None else calls

    def _acquire_new(self, model: str, purse: _Purse, tokens: int, limits: Limits) -> Grant | Denied:
        try:
            leased = retrying(
                lambda: self._lease(model, purse.ask(tokens, self._clock.now(), limits, self._policy), limits),
                clock=self._clock,
                random=self._random,
            )
        except StoreConflict:
            return Denied(self._clock.now() + ASK_AGAIN, "contended")
        except StoreUnavailable:
            log.warning("limiter.store_unavailable", extra={"model": model})
            purse.blind_until = self._clock.now() + self._policy.ttl
            purse.lapsed = []  # they may have been reported: better lost than counted back twice
            return Grant()
        if isinstance(leased, Denied):
            if leased.reason != "tpm":  # a call with fewer tokens may fit
                purse.denied = leased
            return leased
        purse.lapsed = []
        purse.last = leased if leased.calls else purse.last
        purse.leases.append(leased)
        used = purse.take(tokens)
        return Grant(self._valid_until(used or leased, limits))

    def _lease(self, model: str, ask: Ask, limits: Limits) -> Lease | Denied:
        now = self._clock.now()
        window, version = self._read(model)
        leased = window.lease(limits, ask, now, self._policy)
        if isinstance(leased, Denied):
            return leased
        after, lease = leased
        self._write(after, version)
        return replace(lease, at=now)  # validity is measured by the clock that will be asked again

    def _cool(self, model: str, until: datetime) -> None:
        window, version = self._read(model)
        after = window.cooled(until)
        if after != window:
            self._write(after, version)

    def _read(self, model: str) -> tuple[Window, str | None]:
        (found,) = self._documents.get([_path(model)])
        return (Window(model), None) if found is None else (from_doc(found.data), found.version)

    def _write(self, window: Window, version: str | None) -> None:
        path, doc = _path(window.model), to_doc(window)
        self._documents.commit([put(path, doc, version=version) if version else create(path, doc)])

    def _valid_until(self, lease: Lease, limits: Limits) -> datetime:
        """When a leased call must have been made: within its time, and on the day it was counted for."""
        end = lease.at + self._policy.ttl
        return end if limits.rpd is None else min(end, next_day(lease.at))


def _path(model: str) -> str:
    return f"{COLLECTION}/{hashlib.sha256(model.encode()).hexdigest()[:32]}"
