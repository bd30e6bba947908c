"""The whole local system for tests: real SQLite, real files, the real bus and the offline provider."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from functions._local import LocalSystem
from shared import bootstrap
from shared.adapters.local_bus import Chaos, LocalBus
from shared.adapters.wiring import local_subscriptions
from shared.bootstrap import Services
from shared.clock import ManualClock
from shared.domain.intake import Envelope
from shared.domain.job import Job
from shared.ports import Clock, Json, Message
from shared.settings import Settings
from shared.stores.audit import Audit, audit

logging.getLogger("atelier").setLevel(logging.CRITICAL)

TEXT = {"kind": "text", "prompt": "A short note about the tides at the old harbour", "task": "fast"}
IMAGE = {"kind": "image", "prompt": "A paper boat on a quiet pond", "size": "512"}
VIDEO = {"kind": "video", "prompt": "A paper boat drifting on a pond", "duration_s": 1, "audio": True}


class Pipeline:
    """One local system in a folder of its own, and what a test asks of it."""

    def __init__(self, home: Path, *, clock: Clock | None = None, chaos: Chaos | None = None, **settings: Any) -> None:
        self.home = home
        self.clock = clock or ManualClock()
        self.services: Services = bootstrap.build(Settings(home=str(home), **settings), self.clock)
        if chaos is not None:
            self.services.bus = LocalBus(
                str(home / "bus.db"), self.clock, subscriptions=local_subscriptions(), chaos=chaos
            )
        self.results: list[Json] = []
        self.system = LocalSystem(self.services, self.results.append)

    def submit(self, *requests: Json, copies: int = 1) -> list[str]:
        """Publish each request *copies* times as upstream would, and return the ids of their jobs."""
        messages = [Message("requests", r) for r in requests for _ in range(copies)]
        self.services.bus.publish(messages)
        return [Envelope(r, "").job_id for r in requests]

    def run(self, *requests: Json, copies: int = 1, until: Callable[[], bool] | None = None) -> list[Job]:
        """Carry requests (each with a `request_id`) to their ends in this thread; return their jobs."""
        ids = self.submit(*requests, copies=copies)
        self.system.drain(until or (lambda: self.finished(ids)))
        return self.jobs(ids)

    def settle(self) -> None:
        """Handle everything that is still on the bus, without waiting for what is due later."""
        limit = self.clock.now()
        while (due := self.services.bus.next_due()) is not None and due <= limit:
            self.system._one_round()

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
            attempt = self.job(job_id).attempt(int(number))
            assert attempt.booked or attempt.suspense_micro_usd or not self.job(job_id).is_finished, key

    def _found(self, ids: Sequence[str]) -> list[Job | None]:
        found: list[Job | None] = []
        for start in range(0, len(ids), 300):
            found += [x.job if x else None for x in self.services.jobs.get_many(list(ids[start : start + 300]))]
        return found
