"""Limiter, breaker and cool-down hold over four processes, and no provider that is down makes anybody wait."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from functions._runtime import baton_message
from shared.domain.job import AttemptState, Job, State
from shared.ports import Json
from tests.pipeline.vendors import VendorPipeline, arrivals, assert_explained, vendor_pipeline

ROOT = Path(__file__).parents[2]
MODEL = "gpt-oss-120b"  # the vendor publishes no limit of it
MINUTE = timedelta(seconds=60)
CACHE_S = 6.0  # 5 for which an instance may not know what another has learnt, and its clock runs ahead when it retries
COOLDOWN_S = 30.0  # of a breaker's first opening
DAY_S = 86_400


class Instances:
    """Four processes, each an instance of `generate`."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.pipeline.guard_child"]
        self._running = [
            subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for _ in range(4)
        ]

    def open(self, pipeline: VendorPipeline) -> None:
        """Have all of them work in the home of *pipeline*."""
        order = {"do": "open", "environment": pipeline.services.settings.environment(), "now": _now(pipeline)}
        self._ask(dict.fromkeys(range(4), order))

    def generate(self, pipeline: VendorPipeline, shares: Sequence[Sequence[Json]]) -> list[list[float | None]]:
        """Deliver events to the first instances at the same time: to each its share."""
        order = {"do": "generate", "now": _now(pipeline)}
        return self._ask({n: {**order, "payloads": list(share)} for n, share in enumerate(shares)})

    def close(self) -> None:
        for process in self._running:
            process.communicate(timeout=20)

    def _ask(self, orders: dict[int, Json]) -> list[Any]:
        for n, order in orders.items():
            stdin = self._running[n].stdin
            assert stdin is not None
            stdin.write(json.dumps(order) + "\n")
            stdin.flush()
        return [json.loads(out.readline()) for n in orders if (out := self._running[n].stdout) is not None]


@pytest.fixture(scope="module")
def instances() -> Iterator[Instances]:
    started = Instances()
    yield started
    started.close()


@pytest.fixture
def pipeline(tmp_path: Path, instances: Instances) -> Iterator[VendorPipeline]:
    with vendor_pipeline(tmp_path, tick_s=5.0) as started:
        instances.open(started)
        yield started


def _now(pipeline: VendorPipeline) -> str:
    return pipeline.clock.now().isoformat()


def notes(count: int, **fields: Any) -> list[Json]:
    asked = {"kind": "text", "task": "fast", "cache": "off", "deadline_s": DAY_S}
    return [
        {**asked, "prompt": f"A short note about the tides, case {n}", "request_id": f"note-{n}", **fields}
        for n in range(count)
    ]


def batons(pipeline: VendorPipeline, count: int) -> list[Json]:
    """The events of *count* jobs that `generate` is to handle next."""
    ids = pipeline.submit(*notes(count, model=MODEL, fallback=False))
    for _ in ids:
        pipeline.step("validate")
    return [baton_message(job).payload for job in pipeline.jobs(ids)]


def work(pipeline: VendorPipeline, instances: Instances, ids: Sequence[str], schedule: random.Random) -> None:
    """Carry jobs to their ends: `generate` runs in the four processes, all else here."""
    others = [name for name in pipeline.system._subscriptions if name != "generate"]
    bus = pipeline.system.bus
    while not pipeline.finished(ids):
        pipeline.system._tick()
        deliveries = bus.lease(others, 16)
        bus.ack([d for d in deliveries if pipeline.system._handle(d)])
        batch = bus.lease(["generate"], 32)
        schedule.shuffle(batch)
        shares = [batch[n::4] for n in range(4)]
        outcomes = instances.generate(pipeline, [[d.payload for d in share] for share in shares])
        for delivery, wait_s in zip(chain(*shares), chain(*outcomes), strict=True):
            bus.ack([delivery]) if wait_s is None else bus.nack(delivery, wait_s)
        if not deliveries and not batch:
            pipeline.clock.sleep(pipeline.system._pause_s())


def fullest_minute(calls: Sequence[datetime]) -> int:
    """The most calls in any sliding minute, both its ends included."""
    return max(sum(start <= at <= start + MINUTE for at in calls) for start in calls)


# ---------------------------------------------------------------- rate limit


def test_four_processes_together_call_no_more_often_in_a_minute_than_the_limit(tmp_path: Path, instances: Instances):
    own = tmp_path / "own.toml"
    own.write_text(f'[[model]]\nid = "{MODEL}"\nrpm = 30\n')
    with vendor_pipeline(tmp_path / "home", catalogue=str(own), tick_s=5.0) as pipeline:
        instances.open(pipeline)
        reached = arrivals(pipeline.vendors)
        ids = pipeline.submit(*notes(75, model=MODEL, fallback=False))
        work(pipeline, instances, ids, random.Random(5))
        jobs = pipeline.jobs(ids)
        calls = pipeline.vendors.calls()
        parked = [job for job in jobs if any(line["to"] == "parked" for line in job.timeline)]
        assert {job.state for job in jobs} == {State.SUCCEEDED}
        assert all(len(job.attempts) == 1 for job in jobs)
        assert len(calls) == len(reached) == 75
        assert fullest_minute([at for _, _, at in reached]) <= 30
        assert len(parked) >= 45  # all but those of the first minute
        assert max(at for _, _, at in reached) - min(at for _, _, at in reached) < timedelta(minutes=5)
        assert_explained(calls, jobs, pipeline)
        pipeline.assert_sound()


# ---------------------------------------------------------------- circuit breaker


def test_after_three_failures_in_four_processes_nobody_calls_until_one_probe_may(
    pipeline: VendorPipeline, instances: Instances
):
    reached, events = arrivals(pipeline.vendors), iter(batons(pipeline, 80))
    pipeline.vendors.fail("unavailable", vendor="huggingface", times=1000)

    def all_at_once(each: int) -> int:
        """Deliver so many jobs to each process at the same moment; return how many creates that made."""
        before = len(reached)
        outcomes = instances.generate(pipeline, [[next(events) for _ in range(each)] for _ in range(4)])
        assert [wait_s for share in outcomes for wait_s in share if wait_s is not None] == []
        return len(reached) - before

    for n in range(3):  # one failure in each of three processes
        instances.generate(pipeline, [[]] * n + [[next(events)]] + [[]] * (3 - n))
    assert len(reached) == 3
    pipeline.clock.advance(CACHE_S)
    assert all_at_once(2) == 0
    pipeline.clock.advance(COOLDOWN_S - CACHE_S - 0.1)
    assert all_at_once(1) == 0
    pipeline.clock.advance(0.1)
    assert all_at_once(3) == 1  # the probe, which fails
    pipeline.clock.advance(COOLDOWN_S)
    assert all_at_once(1) == 0  # the second cool-down is longer than the first
    pipeline.clock.advance(COOLDOWN_S - 0.1)
    assert all_at_once(1) == 0
    pipeline.clock.advance(0.1)
    pipeline.vendors.mend()
    assert all_at_once(1) >= 1  # the probe, which goes well, and whoever came after its end
    pipeline.clock.advance(CACHE_S)
    assert all_at_once(2) == 8


def test_failures_that_come_all_at_once_stop_each_process_after_one_call_more_at_most(
    pipeline: VendorPipeline, instances: Instances
):
    reached, events = arrivals(pipeline.vendors), batons(pipeline, 40)
    pipeline.vendors.fail("unavailable", vendor="huggingface", times=1000)
    instances.generate(pipeline, [events[n::4] for n in range(4)])
    assert 3 <= len(reached) <= 3 + 3  # those of the three others were under way, or based on what was known before
    attempts = [a for job in pipeline.jobs([e["job_id"] for e in events]) for a in job.attempts]
    assert len(attempts) == len(reached)
    assert all((a.error or {})["code"] == "unavailable" and not a.accepted for a in attempts)


# ---------------------------------------------------------------- Retry-After


@pytest.mark.parametrize("known", [False, True], ids=["nobody-has-called-before", "all-have-called-just-before"])
def test_after_a_429_no_process_calls_before_the_vendors_time_is_over(
    pipeline: VendorPipeline, instances: Instances, *, known: bool
):
    reached, events = arrivals(pipeline.vendors), iter(batons(pipeline, 80))
    if known:
        instances.generate(pipeline, [[next(events)] for _ in range(4)])
    pipeline.vendors.fail("rate_limited", vendor="huggingface", retry_after_s=90)
    refused_at = pipeline.clock.now()
    instances.generate(pipeline, [[next(events)]])
    before = len(reached)
    pipeline.clock.advance(CACHE_S if known else 0)
    for pause_s in (20, 20, 20, 90 - 60 - CACHE_S - 0.1):
        instances.generate(pipeline, [[next(events), next(events)] for _ in range(4)])
        pipeline.clock.advance(pause_s)
    instances.generate(pipeline, [[next(events)] for _ in range(4)])
    assert reached[before:] == []
    pipeline.clock.move_to(refused_at + timedelta(seconds=90))
    instances.generate(pipeline, [[next(events)] for _ in range(4)])
    assert len(reached) - before == 4


# ---------------------------------------------------------------- a provider that is down

BURST = 40  # jobs that have chosen their models before any of them is called
PAUSE_S = 12.0  # from one burst to the next
CALL_S = 0.3  # after so long a call that hangs is given up
PREFER = ("balanced", "quality", "cost", "speed")


def carry(pipeline: VendorPipeline, count: int) -> list[Job]:
    """Carry text jobs for any model, in bursts, to their ends."""
    requests = [n | {"prefer": PREFER[i % 4], "deadline_s": 600} for i, n in enumerate(notes(count))]
    ids: list[str] = []
    for start in range(0, count, BURST):
        ids += pipeline.submit(*requests[start : start + BURST])
        for _ in range(BURST):
            pipeline.step("validate")
        until = pipeline.clock.now() + timedelta(seconds=PAUSE_S)
        pipeline.drain(lambda until=until: pipeline.clock.now() >= until)  # type: ignore[misc]
    pipeline.drain(lambda: pipeline.finished(ids), rounds=5_000)
    return pipeline.jobs(ids)


def wait_s(job: Job) -> float:
    """Seconds from a job's creation to the call that delivered, those that calls hung included."""
    found = next((a for a in job.attempts if a.state is AttemptState.DELIVERED and not a.template), None)
    if found is None:
        return math.inf
    hung = [a for a in job.attempts if a.number < found.number and (a.error or {}).get("code") == "ambiguous"]
    return (found.started_at - job.created_at).total_seconds() + CALL_S * len(hung)


def p95(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


@pytest.mark.parametrize(
    ("down", "fault", "options"),
    [
        ("vertex", "unavailable", {}),
        ("huggingface", "unavailable", {}),
        ("vertex", "hang", {}),
        ("vertex", "rate_limited", {"retry_after_s": 30}),
        ("huggingface", "rate_limited", {"retry_after_s": 30}),
    ],
)
def test_a_provider_that_is_down_makes_nobody_wait(tmp_path: Path, down: str, fault: str, options: Json):
    with vendor_pipeline(tmp_path, call_timeout_s=CALL_S) as pipeline:
        pipeline.vendors.fail(fault, vendor=down, times=10_000, **options)
        jobs = carry(pipeline, 200)
        assert p95([wait_s(job) for job in jobs]) < 3
        assert {job.state for job in jobs} == {State.SUCCEEDED}
        assert not any(a.template for job in jobs for a in job.attempts), "a template in place of a vendor that is up"
        pipeline.assert_sound()


def test_calls_that_an_open_breaker_prevents_use_up_no_share_of_the_limit(tmp_path: Path):
    own = tmp_path / "own.toml"
    own.write_text('[[model]]\nid = "gemini-3.8-flash"\nrpm = 5\n')
    with vendor_pipeline(tmp_path / "home", catalogue=str(own)) as pipeline:
        pipeline.vendors.fail("unavailable", vendor="vertex", times=10_000)
        ids = pipeline.submit(*notes(40, model="gemini-3.8-flash"))
        for _ in ids:
            pipeline.step("validate")
        pipeline.drain(lambda: pipeline.finished(ids), rounds=2_000)
        assert p95([wait_s(job) for job in pipeline.jobs(ids)]) < 3


def test_a_job_at_our_own_limit_waits_for_its_model_although_others_could_serve(tmp_path: Path):
    own = tmp_path / "own.toml"
    own.write_text(f'[[model]]\nid = "{MODEL}"\nrpm = 5\n')
    with vendor_pipeline(tmp_path / "home", catalogue=str(own)) as pipeline:
        ids = pipeline.submit(*notes(12, model=MODEL))
        pipeline.drain(lambda: pipeline.finished(ids), rounds=2_000)
        jobs = pipeline.jobs(ids)
        assert Counter(a.model for job in jobs for a in job.attempts) == {MODEL: 12}
        assert any(line["to"] == "parked" for job in jobs for line in job.timeline)
