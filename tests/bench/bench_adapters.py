"""Measures the local adapters; prints one JSON object of operations per second.

Run as `python -m tests.bench.bench_adapters [SECONDS]`: each figure takes about SECONDS (default 1).
"""

from __future__ import annotations

import itertools
import json
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared.adapters.filesystem import FilesystemBlobStore
from shared.adapters.local_bus import LocalBus
from shared.adapters.sqlite import SqliteDocumentStore
from shared.adapters.wiring import Subscription
from shared.clock import SystemClock
from shared.ports import Message, create, put

INDEXES = {"jobs": {"single": ["due_at"], "composite": [["state", "created_at"], ["state", "due_at"]]}}
THREADS = 8
SUBSCRIPTIONS = 8
STORED = 4_000


def document(number: int) -> dict[str, Any]:
    """Return a job of about 3 KB."""
    attempts = [
        {"number": n, "provider": "offline", "model": "offline-image", "cost_micro_usd": 40_000, "reason": "r" * 60}
        for n in range(15)
    ]
    return {
        "state": "generating",
        "created_at": f"2026-11-21T12:00:00.{number % 1_000_000:06d}Z",
        "due_at": f"2026-11-21T12:05:00.{number % 1_000_000:06d}Z",
        "request": {"kind": "image", "prompt": "p" * 900},
        "attempts": attempts,
    }


def per_second(work: Callable[[], int], seconds: float, threads: int = 1) -> int:
    """Return how many operations a second *work* does, which returns how many one call did."""
    end = time.perf_counter() + seconds
    done = [0] * threads

    def run(thread: int) -> None:
        while time.perf_counter() < end:
            done[thread] += work()

    started = time.perf_counter()
    workers = [threading.Thread(target=run, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return round(sum(done) / (time.perf_counter() - started))


def measure_documents(folder: Path, seconds: float) -> dict[str, int]:
    """Measure commits, gets and queries."""
    store = SqliteDocumentStore(str(folder / "state.db"), indexes=INDEXES)
    serial = itertools.count()
    for _ in range(STORED // 400):
        store.commit([create(f"jobs/{n:032x}", document(n)) for n in itertools.islice(serial, 400)])

    def commit_new() -> int:
        number = next(serial)
        return len(store.commit([create(f"jobs/{number:032x}", document(number))]))

    def commit_over() -> int:
        number = next(serial) % STORED
        return len(store.commit([put(f"jobs/{number:032x}", document(number))]))

    def commit_three() -> int:
        first = next(serial) * 3
        store.commit([put(f"jobs/{(first + n) % STORED:032x}", document(first + n)) for n in range(3)])
        return 1

    def get() -> int:
        return len(store.get([f"jobs/{next(serial) % STORED:032x}"]))

    def query() -> int:
        return len(store.query("jobs", [("state", "==", "generating")], order_by="due_at", limit=20)) and 1

    figures = {
        "document_bytes": len(json.dumps(document(0), separators=(",", ":"))),
        "commits_new": per_second(commit_new, seconds),
        "commits_over": per_second(commit_over, seconds),
        "commits_of_three": per_second(commit_three, seconds),
        "commits_over_8_threads": per_second(commit_over, seconds, THREADS),
        "gets": per_second(get, seconds),
        "gets_8_threads": per_second(get, seconds, THREADS),
        "read_and_commit_8_threads": per_second(lambda: get() and commit_over(), seconds, THREADS),
        "queries_of_20": per_second(query, seconds),
    }
    store.close()
    return figures


def measure_bus(folder: Path, seconds: float) -> dict[str, int]:
    """Measure publish, lease and acknowledge together."""
    names = [f"s{n}" for n in range(SUBSCRIPTIONS)]
    topics = {f"t{n}": [Subscription(f"s{n}", f"t{n}", 60, 5, 1, 60)] for n in range(SUBSCRIPTIONS)}
    bus = LocalBus(str(folder / "bus.db"), SystemClock(), subscriptions=topics)
    serial = itertools.count()

    def messages(count: int) -> int:
        payloads = [{"job_id": f"{next(serial):032x}", "seq": 3, "at": "2026-11-21T12:00:00Z"} for _ in range(count)]
        bus.publish([Message(f"t{n % SUBSCRIPTIONS}", payload) for n, payload in enumerate(payloads)])
        deliveries = bus.lease(names, count)
        bus.ack(deliveries)
        return len(deliveries)

    figures = {
        "messages_one_by_one": per_second(lambda: messages(1), seconds),
        "messages_by_16": per_second(lambda: messages(16), seconds),
        "messages_by_16_8_threads": per_second(lambda: messages(16), seconds, THREADS),
        "idle_leases": per_second(lambda: 1 + len(bus.lease(names, 16)), seconds),
    }
    bus.close()
    return figures


def measure_blobs(folder: Path, seconds: float) -> dict[str, int]:
    """Measure small objects."""
    store = FilesystemBlobStore(folder / "buckets")
    serial = itertools.count()

    def create_one() -> int:
        store.create(f"gs://outputs/jobs/{next(serial) % 256:02x}/{next(serial)}.bin", b"x" * 2_000, "image/png")
        return 1

    uri = store.create("gs://outputs/read.bin", b"x" * 2_000, "image/png").uri
    return {
        "creates_of_2_kb": per_second(create_one, seconds),
        "reads_of_2_kb": per_second(lambda: len(store.read(uri, 4_000)) and 1, seconds),
        "stats": per_second(lambda: store.stat(uri) is not None, seconds),
    }


def run(seconds: float = 0.5) -> dict[str, dict[str, int]]:
    """Return operations per second of each adapter, each measured for *seconds*."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return {
            "documents": measure_documents(folder, seconds),
            "bus": measure_bus(folder, seconds),
            "blobs": measure_blobs(folder, seconds),
        }
