"""Two thousand jobs over all vendors, of whose calls a third go wrong, by functions that are killed at random."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.clock import ManualClock
from shared.domain.intake import Envelope
from shared.domain.job import Job, State
from shared.ports import Json
from shared.simulators.vendors import Vendors
from tests.pipeline.harness import assert_history
from tests.pipeline.vendors import ALL, VendorPipeline, assert_explained

SEED = 11
FAULTS = {
    "seed": SEED,
    "rate_limited": 0.03,
    "rate_limited_silent": 0.01,
    "error_500": 0.03,
    "unavailable": 0.03,
    "hang": 0.002,
    "drop": 0.03,
    "gateway": 0.02,
    "slow": 0.01,
    "blocked_prompt": 0.01,
    "blocked_output": 0.01,
    "refusal": 0.01,
    "filtered": 0.017,
    "partial": 0.02,
    "corrupt": 0.02,
    "late_failure": 0.05,
    "hang_s": 1.5,
    "slow_s": 0.01,
}
TEXTS = ("gemini-3.5-flash-lite", "gemini-3.8-flash", "meta-llama-3-70b-instruct", "gpt-oss-120b", "llama-3.3-70b")
IMAGES = ("gemini-3.1-flash-lite-image", "gen4_image", "flux-schnell", "gemini-2.5-flash-image", "flux-1.1-pro")
VIDEOS = ("veo-3.1-fast-generate-001", "gen4.5", "veo-3.1-lite-generate-001", "runway-veo3.1_fast")
JOBS = {"text": 1800, "image": 160, "video": 40}
KILLS = 150


class Died(BaseException):
    """The process was killed here."""


class Killer:
    """Kills whoever makes a call that changes something, before or after it: some time in the next calls."""

    def __init__(self, seed: int, kills: int, every: int) -> None:
        self.left, self._random, self._every = kills, random.Random(seed), every
        self._next = self._random.randint(1, every)

    def guard(self, target: Any, method: str) -> None:
        """Put *method* of *target* within reach."""
        real: Callable[..., Any] = getattr(target, method)

        def mortal(*args: Any, **kwargs: Any) -> Any:
            if self._strikes():
                raise Died
            result = real(*args, **kwargs)
            if self._strikes():
                raise Died
            return result

        setattr(target, method, mortal)

    def _strikes(self) -> bool:
        self._next -= 1
        if self._next or not self.left:
            return False
        self.left -= 1
        self._next = self._random.randint(1, self._every)
        return True


def requests() -> list[Json]:
    kinds = [kind for kind, count in JOBS.items() for _ in range(count)]
    random.Random(SEED).shuffle(kinds)
    return [request(number, kind) for number, kind in enumerate(kinds)]


def request(number: int, kind: str) -> Json:
    own: Json = {
        "text": {"task": "fast", "max_tokens": 256, "model": TEXTS[number % len(TEXTS)]},
        "image": {"size": "1K", "count": 1 + number % 3, "model": IMAGES[number % len(IMAGES)]},
        "video": {"duration_s": 4, "audio": False, "model": VIDEOS[number % len(VIDEOS)], "min_grade": "D"},
    }[kind]
    told = f"A paper boat on a quiet pond at dusk, case {number}"
    return {"kind": kind, "prompt": told, "request_id": f"storm-{number}", "deadline_s": 7200, "cache": "off", **own}


class Storm:
    """One system after the other on the same state, each until it is killed."""

    def __init__(self, home: Path, vendors: Vendors, clock: ManualClock) -> None:
        self.home, self.vendors, self.clock = home, vendors, clock
        self.killer = Killer(SEED, KILLS, every=120)
        self.deaths = 0
        self.pipeline = self._born()

    def run(self, wanted: list[Json]) -> list[Job]:
        """Publish the requests, as often as it takes, and carry them to their ends."""
        ids = [Envelope(r, "").job_id for r in wanted]
        for start in range(0, len(wanted), 100):
            self._outlive(lambda start=start: self.pipeline.submit(*wanted[start : start + 100]))
        self._outlive(lambda: self.pipeline.drain(self.pipeline._watch(ids), rounds=10**6))
        return self.pipeline.jobs(ids)

    def settle(self, jobs: list[Job]) -> list[Job]:
        """Let money in doubt be decided, however long that takes."""
        ids = in_doubt = [job.job_id for job in jobs]
        while in_doubt := [job.job_id for job in self.pipeline.jobs(in_doubt) if job.suspense]:
            self.clock.advance(3600)
            self.pipeline.tick()
            self.pipeline.settle()
        return self.pipeline.jobs(ids)

    def _outlive(self, work: Callable[[], object]) -> None:
        while True:
            try:
                work()
            except Died:
                self.deaths += 1
                self.pipeline.services.close()
                self.pipeline = self._born()
            else:
                return

    def _born(self) -> VendorPipeline:
        pipeline = VendorPipeline(self.home, self.vendors, self.clock, call_timeout_s=1.0)
        services = pipeline.services
        for target, method in ((services.documents, "commit"), (services.bus, "publish"), (services.blobs, "create")):
            self.killer.guard(target, method)
        for name in ALL:
            self.killer.guard(services.provider(name), "start")
        return pipeline


@pytest.mark.slow
def test_every_job_ends_and_what_the_vendors_accepted_is_in_the_ledger_or_in_suspense(tmp_path: Path):
    clock, wanted = ManualClock(), requests()
    with Vendors(clock=clock, faults=FAULTS) as vendors:
        storm = Storm(tmp_path / "home", vendors, clock)
        jobs = storm.run(wanted)
        states = Counter(job.state for job in jobs)
        for job in jobs:
            assert_history(job)
        assert_explained(vendors.calls(), jobs, storm.pipeline)
        jobs, calls = storm.settle(jobs), vendors.calls()
        assert_explained(calls, jobs, storm.pipeline)
        audit = storm.pipeline.audit()
        storm.pipeline.services.close()
    assert (audit.problems, audit.suspense, audit.held) == ([], 0, 0)
    assert states[State.SUCCEEDED] + states[State.FAILED] == len(wanted)
    assert states[State.SUCCEEDED] > 0.9 * len(wanted), Counter(j.errors[-1]["code"] for j in jobs if j.errors)
    assert storm.deaths == KILLS
    assert {call["vendor"] for call in calls} == set(ALL)
