"""Budget holds per second on one hot scope, and the proof that its cap held, with and without shards."""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from shared.adapters.sqlite import SqliteDocumentStore
from shared.clock import SystemClock
from shared.domain.budget import Scope, day_of
from shared.errors import BudgetExceeded, StoreConflict
from shared.stores.budgets import Budgets

THREADS = 8
SHARDS = (1, 8)
SECONDS = 3.0
HOLD = 1_000  # micro-USD
FITTING = 700  # holds that fit into the cap of the proof; no multiple of the shards' number of times it is asked for
HOT = Scope("all")


class Hot:
    """One scope's budget on which every thread holds."""

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
    """Return holds per second and the proof, for each number of shards."""
    return {f"{shards}_shards": {**_speed(shards), "proof": _proof(shards)} for shards in SHARDS}


def _speed(shards: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        hot = Hot(Path(folder), shards, 10**15)
        end = time.perf_counter() + SECONDS
        started = time.perf_counter()
        done = _in_threads(lambda: itertools.takewhile(lambda _: time.perf_counter() < end, itertools.count()), hot)
        took_s = time.perf_counter() - started
        assert hot.held() == done * HOLD, "a hold was lost or counted twice"
        return {
            "threads": THREADS,
            "holds_per_s": round(done / took_s),
            "conflicts": hot.store.counts.tally().conflicts,
        }


def _proof(shards: int) -> dict[str, Any]:
    """Ask for more than the cap allows from every thread; exactly what fits must have been held."""
    with tempfile.TemporaryDirectory() as folder:
        limit = FITTING * HOLD + HOLD // 2
        hot = Hot(Path(folder), shards, limit)
        done = _in_threads(lambda: iter(range(FITTING)), hot)
        held = hot.held()
        assert held <= limit, f"{held} of {limit} held"
        assert done * HOLD == held == FITTING * HOLD, f"{done} holds made, {held} held"
        return {"limit_micro_usd": limit, "asked": THREADS * FITTING, "held": done, "cap_held": True}


def _in_threads(turns: Any, hot: Hot) -> int:
    """Hold once per turn in every thread until one is refused; return how many holds were made."""
    done = [0] * THREADS
    start = threading.Barrier(THREADS)

    def work(thread: int) -> None:
        start.wait()
        for _ in turns():
            if not hot.hold():
                return
            done[thread] += 1

    threads = [threading.Thread(target=work, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done)
