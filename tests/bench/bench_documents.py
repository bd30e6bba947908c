"""Documents, messages and compute per job, counted on the real stages, and what a million jobs then cost.

The jobs are undisturbed: user, tenant and daily budgets, cache and ledger are on, and the day's budget documents exist.
`busy`: jobs follow each other, so that what an instance keeps for seconds (health, capacity) is still fresh.
`one_a_minute`: it never is.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from functions._local import LocalSystem
from functions.on_tick import ROLL_UP_EVERY_S
from shared import bootstrap
from shared.adapters import message_rules, wiring
from shared.adapters.local_bus import Delivery, LocalBus
from shared.adapters.sqlite import SqliteDocumentStore
from shared.bootstrap import Services
from shared.clock import ManualClock
from shared.ports import Call, Clock, Done, Json, Message, NotAccepted, Pending, Provider
from shared.settings import Settings
from tests.bench.logs import quiet_log

KINDS: dict[str, tuple[Json, int]] = {
    "text": ({"kind": "text", "prompt": "A short note about the tides", "task": "fast"}, 40),
    "image": ({"kind": "image", "prompt": "A paper boat on a quiet pond", "size": "512"}, 8),
    "video": ({"kind": "video", "prompt": "A paper boat drifting", "duration_s": 1, "resolution": "720p"}, 4),
}
WARM_UP = 2
PAUSES_S = {"busy": 0.0, "one_a_minute": 60.0}

# US dollars, region us-central1, as of September and October 2026.
PRICES = {
    "firestore_read": 0.03 / 100_000,  # cloud.google.com/firestore/pricing, a single region
    "firestore_write": 0.09 / 100_000,
    "pubsub_byte": 40 / 2**40,  # cloud.google.com/pubsub/pricing: per TiB published, and again delivered
    "run_request": 0.40 / 1_000_000,  # cloud.google.com/run/pricing, request-based billing, tier 1
    "run_vcpu_s": 0.000024,
    "run_gib_s": 0.0000025,
}
LEAST_MESSAGE_BYTES = 1_000
MESSAGE_OVERHEAD_BYTES = 20 + 16  # its time stamp and id
BILLED_STEP_MS = 100
VCPU = 1  # more than one request at a time needs a whole one


@dataclass(slots=True)
class Tally:
    """What one function did over a number of jobs. *ms* leaves out the time spent in the vendor's adapter."""

    events: int = 0
    read: int = 0
    written: int = 0
    published: int = 0
    message_bytes: int = 0
    ms: list[float] = field(default_factory=list)


class TimedProvider:
    """A vendor's adapter that adds up the seconds spent in it: making the piece is no orchestration."""

    def __init__(self, provider: Provider) -> None:
        self.name = provider.name
        self.spent_s = 0.0
        self._provider = provider

    def start(self, call: Call) -> Done | Pending:
        with self._timed():
            return self._provider.start(call)

    def poll(self, handle: Json) -> Done | Pending:
        with self._timed():
            return self._provider.poll(handle)

    def cancel(self, handle: Json) -> None:
        self._provider.cancel(handle)

    def find(self, call: Call) -> Done | Pending | NotAccepted | None:
        return self._provider.find(call)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.spent_s += time.perf_counter() - started


class CountedBus(LocalBus):
    """The local bus, counting what is published and what Pub/Sub would bill for it once."""

    published = 0
    billed_bytes = 0

    def publish(self, messages: Sequence[Message]) -> None:
        for message in messages:
            attributes = sum(len(k) + len(v) for k, v in message.attributes.items())
            size = len(message_rules.encode(message).encode()) + attributes + MESSAGE_OVERHEAD_BYTES
            self.billed_bytes += max(LEAST_MESSAGE_BYTES, size)
        self.published += len(messages)
        super().publish(messages)


class Counted(LocalSystem):
    """The local system, counting documents, messages and milliseconds per function."""

    def __init__(self, services: Services, bus: CountedBus, provider: TimedProvider) -> None:
        self.results: list[Json] = []
        super().__init__(services, self.results.append)
        assert isinstance(services.documents, SqliteDocumentStore)
        self._documents, self._counted, self._provider = services.documents, bus, provider
        self.tallies: dict[str, Tally] = {}

    def _handle(self, delivery: Delivery) -> bool:
        before, published, size = self._documents.counts.tally(), self._counted.published, self._counted.billed_bytes
        vendor_s, started = self._provider.spent_s, time.perf_counter()
        done = super()._handle(delivery)
        took_s = time.perf_counter() - started - (self._provider.spent_s - vendor_s)
        after, name = self._documents.counts.tally(), delivery.subscription
        written, sent = after.written - before.written, self._counted.published - published
        if name == wiring.RESULTS or (name == "on_tick" and not written + sent):
            return done  # the result's reader is no part of us, and an idle tick belongs to no job
        tally = self.tallies.setdefault(name, Tally())
        tally.events += 1
        tally.read += after.read - before.read
        tally.written += written
        tally.published += sent
        tally.message_bytes += self._counted.billed_bytes - size
        tally.ms.append(took_s * 1000)
        return done


def run() -> dict[str, Any]:
    """Return the figures per job and kind, busy and one a minute."""
    with quiet_log():
        figures = {name: {kind: _measure(kind, pause_s) for kind in KINDS} for name, pause_s in PAUSES_S.items()}
    rate = VCPU * PRICES["run_vcpu_s"] + wiring.functions()["generate"]["memory_mib"] / 1024 * PRICES["run_gib_s"]
    return {
        **figures,
        "usd_per_million_jobs_and_second_that_a_vendor_keeps_us_waiting": {
            "one_call_at_a_time": round(1e6 * rate, 2),
            "all_places_taken": round(1e6 * rate / wiring.functions()["generate"]["concurrency"], 2),
        },
        "prices": PRICES,
        "notes": "prices as of 2026-09/10, us-central1, free tiers left out; documents counted by the store as "
        "Firestore bills them; compute: measured with local stores, each event rounded up to 100 ms of 1 vCPU and its "
        "memory (alone) or not rounded (shared, instances always busy); offline models have no rate limits, one with "
        "limits adds one read and one write per leased block of calls",
    }


def _measure(kind: str, pause_s: float) -> dict[str, Any]:
    body, count = KINDS[kind]
    with tempfile.TemporaryDirectory() as home:
        clock = ManualClock()
        system = _system(Path(home), clock)
        for n in range(WARM_UP):
            _carry({**body, "request_id": f"warm-{n}", "prompt": f"{body['prompt']}, {n}"}, system)
        system.tallies.clear()
        for n in range(count):
            clock.advance(pause_s)
            system.services.due_now("roll_up", ROLL_UP_EVERY_S)  # the tick's own reading is no job's
            _carry({**body, "request_id": f"job-{n}", "prompt": f"{body['prompt']}, number {n}"}, system)
    return _per_job(system.tallies, count)


def _system(home: Path, clock: Clock, *, budget_shards: int = 1) -> Counted:
    bus = CountedBus(str(home / "bus.db"), clock, subscriptions=wiring.subscriptions())
    services = bootstrap.build(Settings(home=str(home), budget_shards=budget_shards), clock, bus=bus)
    provider = TimedProvider(services.provider("offline"))
    services._providers["offline"] = provider
    return Counted(services, bus, provider)


def _carry(request: Json, system: Counted) -> None:
    """Carry one request, of a user and a tenant, to its end."""
    known = len(system.results)
    system.bus.publish([Message("requests", {**request, "user": "u1", "tenant": "t1"})])
    system.drain(lambda: len(system.results) > known)
    assert system.results[-1]["type"] == "job.succeeded", system.results[-1]


def _per_job(tallies: dict[str, Tally], jobs: int) -> dict[str, Any]:
    def each(of: Callable[[Tally], float]) -> float:
        return round(sum(of(t) for t in tallies.values()) / jobs, 3)

    stages = {
        name: {
            "documents_read": round(t.read / jobs, 3),
            "documents_written": round(t.written / jobs, 3),
            "messages_published": round(t.published / jobs, 3),
            "events": round(t.events / jobs, 3),
            "ms_per_event": round(sum(t.ms) / len(t.ms), 2),
        }
        for name, t in tallies.items()
    }
    return {
        "jobs": jobs,
        "documents_read": each(lambda t: t.read),
        "documents_written": each(lambda t: t.written),
        "messages_published": each(lambda t: t.published),
        "stages": stages,
        "usd_per_million_jobs": _dollars(tallies, jobs),
    }


def _dollars(tallies: dict[str, Tally], jobs: int) -> dict[str, float]:
    own = {name: t for name, t in tallies.items() if name != "on_tick"}  # a tick looks after many jobs at once
    sent = sum(t.message_bytes for t in tallies.values()) + jobs * LEAST_MESSAGE_BYTES  # and the request itself
    alone = sum(math.ceil(ms / BILLED_STEP_MS) * BILLED_STEP_MS * _rate(n) for n, t in own.items() for ms in t.ms)
    shared = sum(sum(t.ms) * _rate(name) for name, t in tallies.items())
    parts = {
        "firestore": sum(
            t.read * PRICES["firestore_read"] + t.written * PRICES["firestore_write"] for t in tallies.values()
        ),
        "pubsub": 2 * sent * PRICES["pubsub_byte"],
        "run_requests": sum(t.events for t in own.values()) * PRICES["run_request"],
        "run_compute_alone": alone / 1000,
        "run_compute_shared": shared / 1000,
    }
    found = {name: round(part / jobs * 1e6, 2) for name, part in parts.items()}
    fixed = found["firestore"] + found["pubsub"] + found["run_requests"]
    return {
        **found,
        "total_alone": round(fixed + found["run_compute_alone"], 2),
        "total_shared": round(fixed + found["run_compute_shared"], 2),
    }


def _rate(name: str) -> float:
    """US dollars per second of a function's instance."""
    gib = float(wiring.functions()[name]["memory_mib"]) / 1024
    return VCPU * PRICES["run_vcpu_s"] + gib * PRICES["run_gib_s"]
