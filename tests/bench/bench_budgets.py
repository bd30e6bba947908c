"""Budget holds per second on one hot scope, and the proof that its cap held, with and without shards.

Eight threads of one instance take turns on a document; eight instances, each with its own connection, cannot: they
collide, and only the versions in their commits keep the cap.
"""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from shared.adapters.sqlite import SqliteDocumentStore
from shared.clock import SystemClock
from shared.domain.budget import Scope, day_of
from shared.errors import BudgetExceeded, StoreConflict
from shared.stores.budgets import Budgets

THREADS = 8
SHARDS = (1, 8)
INSTANCES = (1, 8)
SECONDS = 2.0
HOLD = 1_000  # micro-USD
FITTING = 700  # holds that fit into the cap of the proof, of which every thread asks for as many
HOT = Scope("all")


class Hot:
    """One instance that holds on the hot scope."""

    def __init__(self, folder: Path, shards: int, limit: int) -> None:
        self.store = SqliteDocumentStore(str(folder / "state.db"))
        self.budgets = Budgets(self.store, {"all": limit}, shards=shards)
        self._clock = SystemClock()
        self._day = self._clock.now()  # the same day, even at midnight

    def hold(self) -> bool:
        """Hold once, as `validate` does; False when the cap leaves no room."""
        while True:
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

    def held(self) -> int:
        """Micro-USD that the documents say are held."""
        return sum(budget.held for scope, budget in self.budgets.on_day(day_of(self._day)) if scope == HOT)


def run() -> dict[str, Any]:
    """Return holds per second and the proof, for each number of shards and of instances."""
    return {
        f"{shards}_shards": {
            f"{instances}_instances": {**_speed(shards, instances), "proof": _proof(shards, instances)}
            for instances in INSTANCES
        }
        for shards in SHARDS
    }


def _speed(shards: int, instances: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        hot = [Hot(Path(folder), shards, 10**15) for _ in range(instances)]
        started = time.perf_counter()
        end = started + SECONDS
        done = _in_threads(lambda: itertools.takewhile(lambda _: time.perf_counter() < end, itertools.count()), hot)
        took_s = time.perf_counter() - started
        assert hot[0].held() == done * HOLD, "a hold was lost or counted twice"
        conflicts = sum(h.store.counts.tally().conflicts for h in hot)
    return {"holds_per_s": round(done / took_s), "conflicts_per_hold": round(conflicts / done, 3)}


def _proof(shards: int, instances: int) -> dict[str, Any]:
    """Ask for eight times what the cap allows; exactly what fits must have been held."""
    limit = FITTING * HOLD + HOLD // 2
    with tempfile.TemporaryDirectory() as folder:
        hot = [Hot(Path(folder), shards, limit) for _ in range(instances)]
        done = _in_threads(lambda: range(FITTING), hot)
        held = hot[0].held()
    assert done * HOLD == held == FITTING * HOLD <= limit, f"{done} holds made, {held} of {limit} micro-USD held"
    return {"asked": THREADS * FITTING, "fitting": FITTING, "held": done}


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
