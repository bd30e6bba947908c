"""Where breakers are kept: one document per model, shared by all instances.

A breaker guards against waste, not against harm, so it fails open: while the store does not answer, what was last
known of a model is used, and a model of which nothing is known may be called. Reports of outcomes are then lost.
Each time a warning is logged.
"""

from __future__ import annotations

import hashlib
import logging
import random as _random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.domain.breaker import Breaker, BreakerPolicy, BreakerState, from_doc, to_doc
from shared.errors import StoreConflict, StoreUnavailable
from shared.ports import Clock, DocumentStore, create, put
from shared.resilience.retry import retrying

COLLECTION = "breakers"
MAX_REASON = 200  # characters; a vendor's text can be long
ASK_AGAIN = timedelta(seconds=1)

Step = Callable[[Breaker, datetime], Breaker]

log = logging.getLogger("atelier")


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a call may be made; a refused one not before *retry_at*. *is_probe*: its outcome decides for all."""

    allowed: bool
    is_probe: bool = False
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """A breaker as this instance read or wrote it at *at*."""

    breaker: Breaker
    at: datetime


class Breakers:
    """Reads breakers through a cache of a few seconds and changes them by guarded commits; safe in threads.

    For at most `cache_s` after another instance opened a breaker, this one may still let calls through.
    """

    def __init__(
        self,
        documents: DocumentStore,
        clock: Clock,
        *,
        policy: BreakerPolicy | None = None,
        cache_s: float = 5.0,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._policy = policy or BreakerPolicy()
        self._fresh = timedelta(seconds=cache_s)
        self._random = random
        self._known: dict[str, _Known] = {}
        self._guard = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}

    def health(self, models: Sequence[str]) -> Mapping[str, Breaker]:
        """Return the breaker of each model, at most `cache_s` old, with at most one read for all of them.

        Ask a breaker `is_callable(now)`: an open one whose time is over waits for a probe.
        """
        now = self._clock.now()
        known = {model: self._known.get(model) for model in models}
        stale = [m for m, k in known.items() if k is None or not timedelta(0) <= now - k.at < self._fresh]
        if stale:
            self._refresh(stale, now)
        return {model: self._last_known(model) for model in known}

    def admit(self, model: str) -> Admission:
        """Return whether *model* may be called now; in half-open exactly one caller is let through, as the probe.

        A closed breaker costs no more than the cached read of `health`.
        """
        breaker, now = self.health([model])[model], self._clock.now()
        if not breaker.is_callable(now):
            return Admission(False, retry_at=breaker.not_before)
        if not breaker.needs_probe(now):
            return Admission(True)
        return self._admit_probe(model)

    def succeeded(self, model: str) -> Breaker | None:
        """Note that a call went well; a clean breaker costs no more than the cached read of `health`."""
        breaker = self.health([model])[model]
        return breaker if breaker.is_clean else self._record(model, lambda b, now: b.succeeded(now))

    def failed(self, model: str, retry_after_s: float | None = None) -> Breaker | None:
        """Note a fault that counts against health; see `ProviderFault.counts_against_health`."""
        return self._record(model, lambda b, now: b.failed(now, self._policy, retry_after_s))

    def cool_down(self, model: str, until: datetime) -> Breaker | None:
        """Let nobody call before *until*, at most `max_wait_s` ahead: a 429 with Retry-After, which is no fault.

        It travels with the health read, so all instances keep to it within `cache_s`, at no further cost.
        """
        latest = timedelta(seconds=self._policy.max_wait_s)
        return self._record(model, lambda b, now: b.cooled(min(until, now + latest)))

    def disable(self, model: str, reason: str, *, recheck: bool = True) -> Breaker | None:
        """Take a model out until `enable`; with *recheck* one probe after `recheck_s` may bring it back as well."""
        text = reason[:MAX_REASON]
        if recheck:
            return self._record(model, lambda b, now: b.gone(now, self._policy, text))
        return self._record(model, lambda b, now: b.switched_off(now, text))

    def enable(self, model: str) -> Breaker | None:
        """Close the breaker of a model, whatever opened it."""
        return self._record(model, lambda b, now: b.enabled(now))

    def all(self, limit: int) -> list[Breaker]:
        """Return at most *limit* breakers that ever noted anything, as stored now. Raises StoreUnavailable."""
        return [from_doc(found.data) for found in self._documents.query(COLLECTION, limit=limit)]

    def _refresh(self, models: Sequence[str], now: datetime) -> None:
        before = {model: self._known.get(model) for model in models}
        try:
            found = self._documents.get([_path(model) for model in models])
            read = [Breaker(m) if s is None else from_doc(s.data) for m, s in zip(models, found, strict=True)]
        except StoreUnavailable:
            log.warning("breaker.store_unavailable", extra={"models": list(models)})
            read = [self._last_known(model) for model in models]
        with self._guard:
            for model, breaker in zip(models, read, strict=True):
                if self._known.get(model) is before[model]:  # else a thread of ours has just learnt something newer
                    self._known[model] = _Known(breaker, now)

    def _last_known(self, model: str) -> Breaker:
        known = self._known.get(model)
        return known.breaker if known else Breaker(model)

    def _admit_probe(self, model: str) -> Admission:
        def claim(breaker: Breaker, now: datetime) -> Breaker:
            return breaker.claimed(now, self._policy) if breaker.needs_probe(now) else breaker

        try:
            before, after = self._change(model, claim)
        except StoreConflict:
            return Admission(False, retry_at=self._clock.now() + ASK_AGAIN)
        except StoreUnavailable:
            log.warning("breaker.store_unavailable", extra={"models": [model]})
            return Admission(True)
        if before != after:
            return Admission(True, is_probe=True)
        if after.state is BreakerState.CLOSED and after.is_callable(self._clock.now()):
            return Admission(True)
        return Admission(False, retry_at=after.not_before)

    def _record(self, model: str, step: Step) -> Breaker | None:
        """Apply *step*; None (and a warning) when the store could not take it, since a report must not fail a job."""
        try:
            return self._change(model, step)[1]
        except (StoreConflict, StoreUnavailable) as error:
            log.warning("breaker.not_recorded", extra={"models": [model], "error": type(error).__name__})
            return None

    def _change(self, model: str, step: Step) -> tuple[Breaker, Breaker]:
        """Apply *step* to the breaker as stored now; return it before and after. Nothing new is not written.

        Raises:
            StoreConflict: others kept changing it.
            StoreUnavailable: no answer; the change may have been made.
        """

        def attempt() -> tuple[Breaker, Breaker]:
            path, now = _path(model), self._clock.now()
            (found,) = self._documents.get([path])
            before = Breaker(model) if found is None else from_doc(found.data)
            after = step(before, now)
            if after != before:
                doc = to_doc(after)
                self._documents.commit([put(path, doc, version=found.version) if found else create(path, doc)])
            with self._guard:
                self._known[model] = _Known(after, now)
            return before, after

        # The lock only spares this instance's threads collisions; what counts is the version in the commit.
        with self._turns.setdefault(model, threading.Lock()):
            return retrying(attempt, clock=self._clock, random=self._random)


def _path(model: str) -> str:
    return f"{COLLECTION}/{hashlib.sha256(model.encode()).hexdigest()[:32]}"
