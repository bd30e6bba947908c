"""The whole local system for tests: real SQLite, real files, the real bus and the offline provider."""

from __future__ import annotations

import importlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from functions import _runtime
from functions._decode import Event
from functions._local import LocalSystem
from shared import bootstrap
from shared.adapters import wiring
from shared.adapters.chaos import Chaos
from shared.adapters.local_bus import LocalBus
from shared.bootstrap import Services
from shared.clock import ManualClock
from shared.domain.intake import Envelope
from shared.domain.job import FINISHED, TRANSITIONS, Job, State
from shared.ports import Clock, Json, Message
from shared.settings import Settings
from shared.stores.audit import Audit, audit

logging.getLogger("atelier").setLevel(logging.CRITICAL)

TEXT = {"kind": "text", "prompt": "A short note about the tides at the old harbour", "task": "fast"}
IMAGE = {"kind": "image", "prompt": "A paper boat on a quiet pond", "size": "512"}
VIDEO = {"kind": "video", "prompt": "A paper boat drifting on a pond", "duration_s": 1, "audio": True}


class Observed:
    """A system seen from outside: its documents, and what its vendor accepted."""

    home: Path
    services: Services

    def finished(self, ids: Sequence[str]) -> bool:
        """Whether every job has ended."""
        return all(job is not None and job.is_finished for job in self._found(ids))

    def jobs(self, ids: Sequence[str]) -> list[Job]:
        """The jobs of these ids; each must exist."""
        found = [job for job in self._found(ids) if job is not None]
        assert len(found) == len(ids)
        return found

    def job(self, job_id: str) -> Job:
        """One job."""
        return self.jobs([job_id])[0]

    def calls(self) -> list[Json]:
        """What the offline provider says it has accepted."""
        record = self.home / "offline_calls.jsonl"
        return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []

    def audit(self) -> Audit:
        """The proof that ledger, jobs and budgets agree."""
        s = self.services
        return audit(s.documents, s.jobs, s.ledger, s.clock.now())

    def assert_sound(self) -> None:
        """Nothing was bought twice, every accepted call is booked or in suspense, and the money adds up."""
        found = self.audit()
        assert found.problems == []
        accepted = Counter(call["call_id"] for call in self.calls())
        assert [key for key, n in accepted.items() if n > 1] == []
        for key in accepted:
            job_id, _, number = key.rpartition("-")
            job, (number, _, part) = self.job(job_id), number.partition(".")
            attempt = job.attempt(int(number))
            apart = [a for a in job.attempts if a.doubt_of == int(number) and a.part == int(part or 0)]
            assert all(a.booked or a.suspense_micro_usd for a in (attempt, *apart)) or not job.is_finished, key

    def _found(self, ids: Sequence[str]) -> list[Job | None]:
        found: list[Job | None] = []
        for start in range(0, len(ids), 300):
            found += [x.job if x else None for x in self.services.jobs.get_many(list(ids[start : start + 300]))]
        return found


class Pipeline(Observed):
    """One local system in a folder of its own, and what a test asks of it."""

    def __init__(self, home: Path, *, clock: Clock | None = None, chaos: Chaos | None = None, **settings: Any) -> None:
        self.home = home
        self.clock = clock or ManualClock()
        home.mkdir(parents=True, exist_ok=True)
        bus = LocalBus(str(home / "bus.db"), self.clock, subscriptions=wiring.subscriptions(), chaos=chaos)
        self.services = bootstrap.build(Settings(home=str(home), **settings), self.clock, bus=bus)
        self.results: list[Json] = []
        self.system = LocalSystem(self.services, self.results.append)

    def submit(self, *requests: Json, copies: int = 1) -> list[str]:
        """Publish each request *copies* times as upstream would, and return the ids of their jobs."""
        messages = [Message("requests", r) for r in requests for _ in range(copies)]
        self.services.bus.publish(messages)
        return [Envelope(r, "").job_id for r in requests]

    def run(
        self, *requests: Json, copies: int = 1, until: Callable[[], bool] | None = None, rounds: int = 50_000
    ) -> list[Job]:
        """Carry requests (each with a `request_id`) to their ends in this thread; return their jobs."""
        ids = self.submit(*requests, copies=copies)
        self.drain(until or self._watch(ids), rounds)
        return self.jobs(ids)

    def drain(self, until: Callable[[], bool], rounds: int = 50_000) -> None:
        """Work until *until* says so; after *rounds* looks a bug keeps it from ever being so."""
        left = iter(range(rounds))

        def is_done() -> bool:
            if until():
                return True
            assert next(left, None) is not None, f"not done after {rounds} rounds"
            return False

        self.system.drain(is_done)

    def step(self, function: str) -> None:
        """Have a function handle the next delivery."""
        (delivery,) = self.system.bus.lease([function.replace("-", "_")], 1)
        self.system.bus.ack([d for d in [delivery] if self.system._handle(d)])

    def deliver(
        self,
        function: str,
        payload: Any,
        message_id: str = "m",
        attempt: int = 1,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Run one function for one event, as a push would."""
        event = Event(payload, message_id, attributes or {}, attempt=attempt)
        _runtime.deliver(importlib.import_module(f"functions.{function}").handle, event, self.services)

    def end(self, job_id: str, code: str = "cancelled") -> None:
        """End a job from outside, as `cancel` does."""
        self.deliver("fallback", {"job_id": job_id, "seq": 0, "end": code})

    def tick(self) -> None:
        """Do one tick, without waiting for its time."""
        self.deliver("on_tick", {})

    def settle(self) -> None:
        """Handle everything that is still on the bus, without waiting for what is due later."""
        limit = self.clock.now()
        while (due := self.system.bus.next_due()) is not None and due <= limit:
            self.system._one_round()

    def _watch(self, ids: Sequence[str]) -> Callable[[], bool]:
        """A look at the jobs that have not ended yet, a few at a time."""
        left = list(ids)

        def is_done() -> bool:
            while left and self.finished(left[-1:]):
                left.pop()
            return not left

        return is_done


def assert_history(job: Job) -> None:
    """Every step of a job was allowed, and it ended once."""
    states = [State(line["to"]) for line in job.timeline]
    before: State | None = None
    for state in states:
        assert state == before or state in TRANSITIONS[before], f"{before} to {state}"
        before = state
    assert before is job.state
    assert job.state in FINISHED
    assert job.hold == 0
    assert job.finished_at is not None
