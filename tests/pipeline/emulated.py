"""The deployed system on the emulators for tests, and what a test does to it."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from functions._emulated.cloud import EmulatedCloud
from functions._emulated.emulators import Emulators
from shared.adapters.chaos import Chaos
from shared.adapters.pubsub_topology import Topology
from shared.domain.intake import Envelope
from shared.domain.job import Job
from shared.ports import Json, Message
from shared.settings import Settings
from tests.pipeline.harness import Observed
from tests.waiting import until

LOOK_EVERY_S = 0.1
QUICK = {"lease_s": 4, "stale_s": 4.0, "tick_s": 0.5, "offline_render_s": 0.3}  # so that a test need not wait long


class Cloud(Observed):
    """A project of its own on running emulators, with every function in a process of its own."""

    def __init__(
        self,
        home: Path,
        emulators: Emulators,
        *,
        parallel: bool = True,
        chaos: Chaos | None = None,
        topology: Topology | None = None,
        **settings: Any,
    ) -> None:
        self.emulated = EmulatedCloud(
            Settings(home=str(home), **{**QUICK, **settings}),
            project=f"test-{uuid.uuid4().hex[:12]}",
            parallel=parallel,
            chaos=chaos,
            topology=topology,
            emulators=emulators,
        )

    def __enter__(self) -> Self:
        self.emulated.__enter__()
        self.home, self.services = self.emulated.home, self.emulated.services
        return self

    def __exit__(self, *_: object) -> None:
        self.emulated.stop()

    def submit(self, *requests: Json) -> list[str]:
        """Publish requests, each with a `request_id`, as upstream would; return the ids of their jobs."""
        for start in range(0, len(requests), 200):
            self.services.bus.publish([Message("requests", r) for r in requests[start : start + 200]])
        return [Envelope(r, "").job_id for r in requests]

    def run(self, *requests: Json, within_s: float = 60.0) -> list[Job]:
        """Carry requests to their ends; return their jobs."""
        ids = self.submit(*requests)
        self.wait(lambda: self.finished(ids), within_s)
        return self.jobs(ids)

    def wait(self, happened: Callable[[], bool], within_s: float) -> None:
        """Wait until something has happened; each look costs the emulators some."""
        until(happened, within_s, LOOK_EVERY_S)

    def kill(self, name: str) -> None:
        """Kill the process of a function, and its worker, at once; another one is started for it."""
        master = self.emulated.processes.pid(name)
        for pid in [*_children(master), master]:
            os.kill(pid, signal.SIGKILL)


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """Stop a process for the length of a block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
