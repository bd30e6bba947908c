"""Jobs per second through all five stages, and the latency of one: the durable local system as `run` uses it.

Real threads, the machine's clock, the log at INFO in a file, user, tenant and daily budgets, cache and ledger on; every
text is one of its own, so the cache answers none.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from functions._local import LocalSystem, submit
from shared import bootstrap
from shared.ports import Json, Message
from shared.settings import Settings
from tests.bench.logs import log_to_file, quiet_log

WORKERS = (1, 2, 4, 8)
STORED = (0, 100, 1_000, 10_000)
WARM_UP = 20
ROUND, ROUNDS = 200, 3
FILL = 1_000  # jobs that are on their way at once while the store is filled
SINGLE_JOBS = 200
PATIENCE_S = 180.0


@dataclass(frozen=True, slots=True)
class Speed:
    """Jobs per second of the clock, and of the processor's time: the second hardly depends on who else is busy."""

    per_s: float
    per_cpu_s: float


class Bench:
    """A local system in a folder, warmed up, and a count of the jobs it has carried."""

    def __init__(self, home: Path, workers: int) -> None:
        self.stored = 0
        self._services = bootstrap.build(Settings(home=str(home), workers=workers))
        self.carry(WARM_UP)

    def carry(self, jobs: int) -> Speed:
        """Carry *jobs* from publishing to their results."""
        left, done = itertools.count(jobs - 1, -1), threading.Event()
        system = LocalSystem(self._services, lambda result: _count(result, left, done))
        messages = [Message("requests", self._request(n)) for n in range(self.stored, self.stored + jobs)]
        self.stored += jobs
        started, started_cpu = time.perf_counter(), time.process_time()
        system.start()
        submit(messages, self._services)
        assert done.wait(PATIENCE_S), "the jobs did not end"
        speed = Speed(jobs / (time.perf_counter() - started), jobs / (time.process_time() - started_cpu))
        system.stop()
        return speed

    def one_by_one(self, jobs: int) -> list[float]:
        """Carry *jobs*, each alone; return the milliseconds from publishing to the result of each."""
        done = threading.Event()
        system = LocalSystem(self._services, lambda _result: done.set())
        system.start()
        times = []
        for n in range(self.stored, self.stored + jobs):
            done.clear()
            started = time.perf_counter()
            self._services.bus.publish([Message("requests", self._request(n))])
            assert done.wait(PATIENCE_S), "the job did not end"
            times.append((time.perf_counter() - started) * 1000)
        self.stored += jobs
        system.stop()
        return times

    def _request(self, number: int) -> Json:
        prompt = f"A short note about tide number {number} at the old harbour"
        return {
            "kind": "text",
            "prompt": prompt,
            "task": "fast",
            "request_id": f"job-{number}",
            "user": f"user-{number % 50}",
        }


def run() -> dict[str, Any]:
    """Return jobs per second by workers and by jobs already stored, and the latency of a single job."""
    by_workers = {workers: _fresh(workers, log=True) for workers in WORKERS}
    best = max(WORKERS, key=lambda workers: by_workers[workers].per_s)
    with tempfile.TemporaryDirectory() as home, log_to_file(Path(home) / "log.jsonl"):
        bench = Bench(Path(home), best)
        by_stored = {str(stored): _doc(_with_stored(bench, stored)) for stored in STORED}
        latency = sorted(bench.one_by_one(SINGLE_JOBS))
    return {
        "workers": best,
        "by_workers": {str(workers): _doc(speed) for workers, speed in by_workers.items()},
        "by_jobs_stored": by_stored,
        "without_log": _doc(_fresh(best, log=False)),
        "latency_ms_of_a_single_job": {
            "p50": round(statistics.median(latency), 1),
            "p99": round(latency[int(len(latency) * 0.99) - 1], 1),
            "jobs_stored": bench.stored,
        },
    }


def _fresh(workers: int, *, log: bool) -> Speed:
    """The best round in a home of its own."""
    with tempfile.TemporaryDirectory() as home:
        logging: AbstractContextManager[None] = log_to_file(Path(home) / "log.jsonl") if log else quiet_log()
        with logging:
            return _best(Bench(Path(home), workers))


def _with_stored(bench: Bench, stored: int) -> Speed:
    """The best round when at least *stored* jobs are there already, made by the pipeline itself."""
    while bench.stored < stored:
        bench.carry(min(FILL, stored - bench.stored))
    return _best(bench)


def _best(bench: Bench) -> Speed:
    rounds = [bench.carry(ROUND) for _ in range(ROUNDS)]
    return Speed(max(r.per_s for r in rounds), max(r.per_cpu_s for r in rounds))


def _doc(speed: Speed) -> dict[str, float]:
    return {"jobs_per_s": round(speed.per_s, 1), "jobs_per_cpu_s": round(speed.per_cpu_s, 1)}


def _count(result: Json, left: itertools.count[int], done: threading.Event) -> None:
    assert result["type"] == "job.succeeded", result
    if next(left) == 0:
        done.set()
