"""Budget holds per second on one hot scope, and the proof that its cap held, with and without shards.

Eight threads of one instance take turns on a document; eight instances, each with its own connection, cannot: they
collide, and only the versions in their commits keep the cap. On SQLite, and on the Firestore emulator where there is
one.
"""

from __future__ import annotations

import itertools
import os
import random
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from functions._emulated.emulators import missing, running_emulators
from shared.adapters.sqlite import SqliteDocumentStore
from shared.clock import SystemClock
from shared.domain.budget import Scope, day_of
from shared.errors import BudgetExceeded, StoreConflict
from shared.ports import DocumentStore
from shared.resilience.retry import backoff_delay_s
from shared.stores.budgets import Budgets

THREADS = 8
SHARDS = (1, 8)
INSTANCES = (1, 8)
SECONDS = 2.0
HOLD = 1_000  # micro-USD
FITTING = {"sqlite": 700, "firestore": 125}  # holds that fit into the cap of the proof; every thread asks for as many
HOT = Scope("all")


Open = Callable[[], DocumentStore]  # a further connection to the same documents


class Hot:
    """One instance that holds on the hot scope."""

    def __init__(self, store: Any, shards: int, limit: int) -> None:
        self.store = store
        self.budgets = Budgets(store, {"all": limit}, shards=shards)
        self._day = SystemClock().now()  # the same day, even at midnight

    def hold(self) -> bool:
        """Hold once, as `validate` does; False when the cap leaves no room."""
        for failures in itertools.count():
            if failures:
                time.sleep(backoff_delay_s(failures, random.random(), base_s=0.02, cap_s=1.0))
            paths = self.budgets.choose([HOT], self._day)
            try:
                with self.budgets.turn(paths):
                    standing = self.budgets.read([HOT], paths, self._day)
                    if standing.free < HOLD:
                        standing = self.budgets.widen(standing)
                    self.store.commit(standing.hold(HOLD))
            except StoreConflict:
                continue
            except BudgetExceeded:
                return False
            return True
        raise AssertionError

    def held(self) -> int:
        """Micro-USD that the documents say are held."""
        return sum(budget.held for scope, budget in self.budgets.on_day(day_of(self._day)) if scope == HOT)


def run() -> dict[str, Any]:
    """Return holds per second and the proof, for each back end and number of shards and of instances."""
    figures = {"sqlite": _figures("sqlite", _sqlite)}
    if missing() is None:
        with (
            tempfile.TemporaryDirectory() as folder,
            running_emulators(Path(folder)) as emulators,
            patch.dict(os.environ, emulators.environment),
        ):
            figures["firestore"] = _figures("firestore", _firestore)
    return figures


@contextmanager
def _sqlite() -> Iterator[Open]:
    with tempfile.TemporaryDirectory() as folder:
        yield lambda: SqliteDocumentStore(str(Path(folder) / "state.db"))


@contextmanager
def _firestore() -> Iterator[Open]:
    from shared.adapters.firestore import FirestoreDocumentStore

    project = f"bench-{uuid.uuid4().hex[:12]}"
    yield lambda: FirestoreDocumentStore(project)


def _figures(name: str, fresh: Callable[[], AbstractContextManager[Open]]) -> dict[str, Any]:
    return {
        f"{shards}_shards": {
            f"{instances}_instances": {
                **_speed(fresh, shards, instances),
                "proof": _proof(fresh, shards, instances, FITTING[name]),
            }
            for instances in INSTANCES
        }
        for shards in SHARDS
    }


def _speed(fresh: Callable[[], AbstractContextManager[Open]], shards: int, instances: int) -> dict[str, Any]:
    with fresh() as connect, _closing([Hot(connect(), shards, 10**15) for _ in range(instances)]) as hot:
        started = time.perf_counter()
        end = started + SECONDS
        done = _in_threads(lambda: itertools.takewhile(lambda _: time.perf_counter() < end, itertools.count()), hot)
        took_s = time.perf_counter() - started
        assert hot[0].held() == done * HOLD, "a hold was lost or counted twice"
        conflicts = sum(h.store.counts.tally().conflicts for h in hot)
    return {"holds_per_s": round(done / took_s), "conflicts_per_hold": round(conflicts / done, 3)}


def _proof(
    fresh: Callable[[], AbstractContextManager[Open]], shards: int, instances: int, fitting: int
) -> dict[str, Any]:
    """Ask for eight times what the cap allows; exactly what fits must have been held."""
    limit = fitting * HOLD + HOLD // 2
    with fresh() as connect, _closing([Hot(connect(), shards, limit) for _ in range(instances)]) as hot:
        done = _in_threads(lambda: range(fitting), hot)
        held = hot[0].held()
    assert done * HOLD == held == fitting * HOLD <= limit, f"{done} holds made, {held} of {limit} micro-USD held"
    return {"asked": THREADS * fitting, "fitting": fitting, "held": done}


@contextmanager
def _closing(hot: list[Hot]) -> Iterator[list[Hot]]:
    try:
        yield hot
    finally:
        for one in hot:
            one.store.close()


def _in_threads(turns: Callable[[], Iterable[int]], hot: Sequence[Hot]) -> int:
    """Hold once per turn in every thread until one is refused; return how many holds were made."""
    done = [0] * THREADS
    start = threading.Barrier(THREADS)

    def work(thread: int) -> None:
        start.wait()
        for _ in turns():
            if not hot[thread % len(hot)].hold():
                return
            done[thread] += 1

    threads = [threading.Thread(target=work, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done)
