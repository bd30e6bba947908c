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
from pathlib import Path
from typing import Any

from functions._local import LocalSystem, submit
from shared import bootstrap
from shared.ports import Json, Message
from shared.settings import Settings
from tests.bench.logs import log_to_file, quiet_log

WORKERS = (1, 2, 4, 8)
STORED = (0, 100, 1_000, 10_000)
ROUND, ROUNDS = 200, 3
SINGLE_JOBS = 200
PATIENCE_S = 180.0


class Bench:
    """A local system in a folder, and a count of the jobs it has carried."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.stored = 0

    def carry(self, jobs: int, workers: int) -> float:
        """Carry *jobs* from publishing to their results; return how many that is per second."""
        services = bootstrap.build(Settings(home=str(self.home), workers=workers))
        left, done = itertools.count(jobs - 1, -1), threading.Event()
        system = LocalSystem(services, lambda result: _count(result, left, done))
        messages = [Message("requests", self._request(n)) for n in range(self.stored, self.stored + jobs)]
        self.stored += jobs
        started = time.perf_counter()
        system.start()
        submit(messages, services)
        assert done.wait(PATIENCE_S), "the jobs did not end"
        took_s = time.perf_counter() - started
        system.stop()
        return jobs / took_s

    def one_by_one(self, jobs: int, workers: int) -> list[float]:
        """Carry *jobs*, each alone; return the milliseconds from publishing to the result of each."""
        services = bootstrap.build(Settings(home=str(self.home), workers=workers))
        done = threading.Event()
        system = LocalSystem(services, lambda _result: done.set())
        system.start()
        times = []
        for n in range(self.stored, self.stored + jobs):
            done.clear()
            started = time.perf_counter()
            services.bus.publish([Message("requests", self._request(n))])
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
    by_workers = {str(workers): _fresh(workers, log=True) for workers in WORKERS}
    best = max(WORKERS, key=lambda workers: by_workers[str(workers)])
    with tempfile.TemporaryDirectory() as home, log_to_file(Path(home) / "log.jsonl"):
        bench = Bench(Path(home))
        by_stored = {str(stored): _with_stored(bench, stored, best) for stored in STORED}
        latency = sorted(bench.one_by_one(SINGLE_JOBS, best))
    return {
        "workers": best,
        "jobs_per_s_by_workers": by_workers,
        "jobs_per_s_by_jobs_stored": by_stored,
        "jobs_per_s_without_log": _fresh(best, log=False),
        "latency_ms_of_a_single_job": {
            "p50": round(statistics.median(latency), 1),
            "p99": round(latency[int(len(latency) * 0.99) - 1], 1),
            "jobs_stored": bench.stored,
        },
    }


def _fresh(workers: int, *, log: bool) -> float:
    """The best round in a home of its own."""
    with tempfile.TemporaryDirectory() as home:
        logging: AbstractContextManager[None] = log_to_file(Path(home) / "log.jsonl") if log else quiet_log()
        with logging:
            return _rounds(Bench(Path(home)), workers)


def _with_stored(bench: Bench, stored: int, workers: int) -> float:
    """The best round when at least *stored* jobs are there already, made by the pipeline itself."""
    if bench.stored < stored:
        bench.carry(stored - bench.stored, workers)
    return _rounds(bench, workers)


def _rounds(bench: Bench, workers: int) -> float:
    return round(max(bench.carry(ROUND, workers) for _ in range(ROUNDS)), 1)


def _count(result: Json, left: itertools.count[int], done: threading.Event) -> None:
    assert result["type"] == "job.succeeded", result
    if next(left) == 0:
        done.set()
