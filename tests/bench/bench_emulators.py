"""Text jobs per second on the emulators, beside the floor: the same calls, made bare, on the same emulators.

Both have a process per function, the same parallel pushes, and are fed and watched in the same way. The floor makes as
many calls of each kind with as many documents, stage by stage; it stores no pieces and decides nothing.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from functions._emulated.cloud import EmulatedCloud
from functions._emulated.dispatcher import Dispatcher
from functions._emulated.emulators import Emulators, missing, running_emulators
from functions._emulated.processes import ProcessGroup, free_port
from functions._local import LocalSystem
from shared import bootstrap
from shared.adapters import pubsub_topology, wiring
from shared.adapters.local_bus import Delivery
from shared.adapters.pubsub import PubSubBus
from shared.adapters.pubsub_pull import PubSubConsumer
from shared.clock import ManualClock
from shared.ports import EventBus, Json, Message, Snapshot, Write
from shared.settings import Settings
from tests.bench.logs import quiet_log

ROOT = Path(__file__).parents[2]
STAGES = ("validate", "generate", "quality_check", "record_cost")
WARM_UP, ROUND, ROUNDS = 60, 200, 3
PATIENCE_S = 120.0

Plan = dict[str, list[Any]]


def run() -> dict[str, Any]:
    """Return jobs per second of ours and of the floor, and their ratio; why not, without emulators."""
    if (why := missing()) is not None:
        return {"left_out": why}
    plans = _plans()
    with tempfile.TemporaryDirectory() as folder, quiet_log(), ExitStack() as stack:
        emulators = stack.enter_context(running_emulators(Path(folder) / "emulators"))
        stack.enter_context(patch.dict(os.environ, emulators.environment))
        ours = stack.enter_context(_ours(Path(folder), emulators))
        bare = stack.enter_context(_bare(Path(folder), emulators, plans))
        for feed in (ours, bare):
            feed.carry(WARM_UP)
        rounds = [(ours.carry(ROUND), bare.carry(ROUND)) for _ in range(ROUNDS)]  # in turn: the machine is shared
    speeds = [statistics.median(speed) for speed in zip(*rounds, strict=True)]
    return {
        "jobs_per_s": round(speeds[0], 1),
        "bare_per_s": round(speeds[1], 1),
        "times_bare": round(speeds[1] / speeds[0], 2),
        "rounds": [[round(speed, 1) for speed in pair] for pair in rounds],
        "calls_per_job": plans,
    }


# ---------------------------------------------------------------- what a job calls


class _Recorded:
    """The local store and bus, noting per function how many documents or which topics each call was about."""

    def __init__(self, services: bootstrap.Services) -> None:
        self.plans: dict[str, Plan] = {}
        self._services = services
        self.plan: Plan = {}
        store, bus = services.documents, services.bus
        get, commit, publish = store.get, store.commit, bus.publish

        def noted_get(paths: Sequence[str]) -> list[Snapshot | None]:
            self.plan.setdefault("reads", []).append(len(paths))
            return get(paths)

        def noted_commit(writes: Sequence[Write]) -> list[str]:
            self.plan.setdefault("commits", []).append(len(writes))
            return commit(writes)

        def noted_publish(messages: Sequence[Message]) -> None:
            self.plan.setdefault("publishes", []).extend(m.topic for m in messages)
            publish(messages)

        store.get, store.commit, bus.publish = noted_get, noted_commit, noted_publish  # type: ignore[method-assign]


class _Watched(LocalSystem):
    """The local system, keeping what each function's last run called."""

    def __init__(self, services: bootstrap.Services) -> None:
        super().__init__(services, self._take)
        self.recorded = _Recorded(services)
        self.results = 0

    def _take(self, _result: Json) -> None:
        self.results += 1

    def _handle(self, delivery: Delivery) -> bool:
        self.recorded.plan = {"reads": [], "commits": [], "publishes": []}
        done = super()._handle(delivery)
        self.recorded.plans[delivery.subscription] = self.recorded.plan
        return done


def _plans() -> dict[str, Plan]:
    """What each stage calls for an undisturbed text job."""
    with tempfile.TemporaryDirectory() as home, quiet_log():
        system = _Watched(bootstrap.build(Settings(home=home), ManualClock()))
        for n in range(3):  # the first one also makes the day's budgets
            system.services.bus.publish([Message("requests", _request(n))])
            system.drain(lambda n=n: system.results > n)
        return {name: system.recorded.plans[name] for name in STAGES}


def _request(number: int) -> Json:
    prompt = f"A short note about tide number {number} at the old harbour"
    asked = {"kind": "text", "prompt": prompt, "task": "fast", "request_id": f"job-{number}"}
    return {**asked, "user": f"user-{number % 50}"}


# ---------------------------------------------------------------- feeding and watching


class _Feed:
    """Publishes to `requests` and waits for as many on `results`."""

    def __init__(self, project: str, bus: EventBus, payload: Callable[[int], Json]) -> None:
        self._bus = bus
        self._payload = payload
        self._consumer = PubSubConsumer(project)
        self._next = 0

    def close(self) -> None:
        self._consumer.close()

    def carry(self, jobs: int) -> float:
        """Return jobs per second from publishing to the last result."""
        numbers = range(self._next, self._next + jobs)
        self._next += jobs
        left = jobs
        started = time.perf_counter()
        self._bus.publish([Message("requests", self._payload(n)) for n in numbers])
        while left > 0:
            assert time.perf_counter() - started < PATIENCE_S, f"{left} jobs did not end"
            received = self._consumer.pull("results", 500, 1.0)
            if received:
                self._consumer.acknowledge("results", [r.ack_id for r in received])
            left -= len(received)
        return jobs / (time.perf_counter() - started)


@contextmanager
def _ours(folder: Path, emulators: Emulators) -> Iterator[_Feed]:
    settings = Settings(home=str(folder / "ours"), log_level="ERROR")
    project = f"ours-{uuid.uuid4().hex[:8]}"
    with EmulatedCloud(settings, project=project, parallel=True, emulators=emulators) as cloud:
        feed = _Feed(project, cloud.services.bus, _request)
        yield feed
        feed.close()


@contextmanager
def _bare(folder: Path, emulators: Emulators, plans: dict[str, Plan]) -> Iterator[_Feed]:
    project = f"bare-{uuid.uuid4().hex[:8]}"
    pubsub_topology.create(project)
    processes = ProcessGroup(folder / "bare")
    ports = {name: free_port() for name in STAGES}
    for name, port in ports.items():
        threads = str(wiring.functions()[name]["concurrency"])
        own = {"K_SERVICE": name, "GOOGLE_CLOUD_PROJECT": project, "THREADS": threads, **emulators.environment}
        source = ["--target", "bare", "--source", "tests/bench/bare.py", "--host", "127.0.0.1", "--port", str(port)]
        environment = {**os.environ, **own, "BARE_PLAN": json.dumps(plans[name])}
        processes.start(name, [sys.executable, "-m", "functions_framework", *source], environment=environment, cwd=ROOT)
    for name, port in ports.items():
        processes.wait_until_open(name, port)
    dispatcher = Dispatcher(project, {name: f"http://127.0.0.1:{port}/" for name, port in ports.items()})
    dispatcher.start()
    bus = PubSubBus(project)
    feed = _Feed(project, bus, lambda number: {"number": number})
    try:
        yield feed
    finally:
        feed.close()
        bus.close()
        dispatcher.stop()
        processes.stop()
