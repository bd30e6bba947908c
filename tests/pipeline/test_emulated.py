"""What holds on a laptop holds on Google Cloud's emulators, with every function in a process of its own.

Every message is delivered twice at once in the first system; the second has the emulator's own push.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from functions import _runtime
from functions._emulated.emulators import Emulators
from shared.adapters import pubsub_topology
from shared.adapters.chaos import Chaos
from shared.clock import SystemClock
from shared.domain.budget import day_of
from shared.domain.intake import Envelope
from shared.domain.job import AttemptState, Job, State
from shared.domain.moves import POLLED
from shared.ports import Json, Message
from tests.emulators import needs_emulators, process_id
from tests.http_server import Handler, serving
from tests.pipeline.emulated import QUICK, Cloud, paused
from tests.pipeline.harness import IMAGE, TEXT, VIDEO, Observed, Pipeline, assert_history

pytestmark = needs_emulators

CINEMA = "offline-video-cinema"
PRICE = 5_000  # of one draft picture, micro-USD
MANY = 200
KILL_EVERY_S = (1.0, 2.5)
STAGES = ("validate", "generate", "fallback", "quality_check", "record_cost", "on_tick")
CLIP = {**VIDEO, "model": CINEMA, "audio": False}


@pytest.fixture(scope="module")
def doubled(emulators: Emulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A system that gets every message twice at the same moment, and whose dearest video model fails late."""
    faults = {"late_failure": 1, "models": [CINEMA]}
    home = Path(tmp_path_factory.mktemp("doubled"))
    chaos = Chaos(seed=1, duplicate=1.0)
    with Cloud(home, emulators, chaos=chaos, offline_faults=faults, user_daily_budget_usd=10 * PRICE) as cloud:
        yield cloud


def named(name: str, count: int, base: Json = TEXT) -> list[Json]:
    """Requests that differ in id and prompt."""
    return [{**base, "request_id": f"{name}-{n}", "prompt": f"{base['prompt']}, {name} {n}"} for n in range(count)]


def mixed(name: str) -> list[Json]:
    """Two hundred requests of all kinds."""
    pictures = named(f"{name}-image", 20, {**IMAGE, "model": "offline-image-draft"})
    clips = named(f"{name}-video", 4, {**VIDEO, "model": "offline-video-draft"})
    return [*clips, *pictures, *named(f"{name}-text", MANY - 24)]


def check(cloud: Cloud, jobs: list[Job]) -> Counter[State]:
    for job in jobs:
        assert_history(job)
    cloud.assert_sound()
    return Counter(job.state for job in jobs)


def test_two_hundred_jobs_end_once_though_functions_are_killed_all_the_time(doubled: Cloud):
    draw = random.Random(5)
    ids = doubled.submit(*mixed("killed"))
    kills = 0
    end = time.monotonic() + 150
    while not doubled.finished(ids):
        assert time.monotonic() < end
        time.sleep(draw.uniform(*KILL_EVERY_S))
        doubled.kill(draw.choice(STAGES))
        kills += 1
    assert kills >= 5
    assert check(doubled, doubled.jobs(ids)) == {State.SUCCEEDED: MANY}


def test_jobs_go_on_when_firestore_was_silent_for_five_seconds(doubled: Cloud, emulators: Emulators):
    ids = doubled.submit(*named("silent", 40))
    with paused(process_id(emulators.firestore)):
        time.sleep(5)
    doubled.wait(lambda: doubled.finished(ids), 60)
    assert check(doubled, doubled.jobs(ids)) == {State.SUCCEEDED: 40}


def test_fifty_identical_requests_are_paid_for_once(doubled: Cloud):
    before = len(doubled.calls())
    jobs = doubled.run(*[{**TEXT, "prompt": "A note that fifty people want", "request_id": f"s{n}"} for n in range(50)])
    assert check(doubled, jobs) == {State.SUCCEEDED: 50}
    assert len(doubled.calls()) - before == 1
    assert sorted(job.spent for job in jobs)[:49] == [0] * 49


def test_ten_of_a_hundred_requests_fit_a_budget_of_ten(doubled: Cloud):
    draft = {**IMAGE, "model": "offline-image-draft", "fallback": False, "cache": "off", "user": "u"}
    jobs = doubled.run(*named("ten", 100, draft))
    assert check(doubled, jobs) == {State.SUCCEEDED: 10, State.REFUSED: 90}
    assert {job.errors[0]["code"] for job in jobs if job.state is State.REFUSED} == {"budget_exceeded"}
    assert sum(job.spent for job in jobs) == 10 * PRICE


def test_after_a_late_failure_the_next_model_delivers_and_both_are_in_the_ledger(doubled: Cloud):
    (job,) = doubled.run({**CLIP, "request_id": "late"})
    assert check(doubled, [job]) == {State.SUCCEEDED: 1}
    assert [a.state for a in job.attempts] == [AttemptState.FAILED, AttemptState.DELIVERED]
    entries = doubled.services.ledger.of_job(job.job_id)
    assert [(e["model"], e["cost_micro_usd"]) for e in entries] == [(CINEMA, 0), (job.attempts[1].model, 50_000)]


# ---------------------------------------------------------------- the emulator's own push


@pytest.fixture(scope="module")
def plain(emulators: Emulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A system with the emulator's own push, few and quick deliveries, and a video model that hangs."""
    declared = pubsub_topology.declared()
    quick = [replace(s, min_backoff_s=0.1, max_backoff_s=0.5, max_deliveries=5) for s in declared.subscriptions]
    topology = replace(declared, subscriptions=tuple(quick))
    faults = {"hang": 1, "hang_s": 20.0, "models": [CINEMA]}
    home = Path(tmp_path_factory.mktemp("plain"))
    with Cloud(home, emulators, parallel=False, topology=topology, offline_faults=faults) as cloud:
        yield cloud


def test_a_poison_message_is_given_up_its_job_fails_and_the_others_do_not_wait(plain: Cloud):
    (stuck,) = plain.submit({**CLIP, "fallback": False, "request_id": "stuck"})
    plain.wait(lambda: _state(plain, stuck) is State.WAITING, 20)
    plain.services.bus.publish([Message("quality-check", {"job_id": stuck, "seq": 99})])
    started = time.monotonic()
    others = plain.run(*named("others", 20))
    took_s = time.monotonic() - started
    assert {job.state for job in others} == {State.SUCCEEDED}
    plain.wait(lambda: plain.finished([stuck]), 60)
    job = plain.job(stuck)
    assert (job.state, job.errors[0]["code"]) == (State.FAILED, "dead_letter")
    assert "given up after 5 deliveries at quality_check" in job.errors[0]["message"]
    assert took_s < 20
    check(plain, [job, *others])


def test_a_job_ends_at_its_deadline_and_what_comes_later_is_kept_and_booked(plain: Cloud):
    (job,) = plain.run({**CLIP, "fallback": False, "deadline_s": 10, "seed": 2, "request_id": "overdue"})
    assert (job.state, job.errors[-1]["code"]) == (State.FAILED, "deadline_exceeded")
    assert job.finished_at is not None
    assert 10 <= (job.finished_at - job.created_at).total_seconds() < 15

    def is_settled() -> bool:
        """Ask after the operation, as the tick does every minute."""
        plain.services.bus.publish([_runtime.baton_message(plain.job(job.job_id), "generate")])
        return plain.job(job.job_id).spent > 0

    plain.wait(is_settled, 60)
    late = plain.job(job.job_id)
    assert (late.state, late.suspense, late.spent) == (State.FAILED, 0, 100_000)
    assert plain.services.blobs.stat(late.attempts[0].pieces[0].uri) is not None
    plain.assert_sound()


def test_jobs_wait_while_a_function_answers_500_and_then_go_on(plain: Cloud):
    with refusing() as (url, refused):
        consumers = plain.emulated._consumers()
        pubsub_topology.create(plain.emulated._project, consumers | {"quality_check": url})
        ids = plain.submit(*named("refused", 20))
        plain.wait(lambda: len(refused) >= 10, 30)
        assert not any(plain.finished([job_id]) for job_id in ids)
        pubsub_topology.create(plain.emulated._project, consumers)
        plain.wait(lambda: plain.finished(ids), 60)
    assert check(plain, plain.jobs(ids)) == {State.SUCCEEDED: 20}


def _state(cloud: Cloud, job_id: str) -> State | None:
    loaded = cloud.services.jobs.get(job_id)
    return loaded.job.state if loaded else None


@contextmanager
def refusing() -> Iterator[tuple[str, list[str]]]:
    """The URL of something that answers 500, and the list of what it refused."""
    refused: list[str] = []

    class Refusing(Handler):
        def respond(self) -> None:
            self.body()
            refused.append(self.path)
            self.answer(500)

    with serving(Refusing) as url:
        yield url, refused


# ---------------------------------------------------------------- the same as on a laptop

ALIKE = [
    {**TEXT, "request_id": "alike-text", "user": "u"},
    {**TEXT, "request_id": "alike-again"},
    {**TEXT, "request_id": "alike-post", "platform": "linkedin", "prompt": "Invite the neighbours to repair a bridge"},
    {**IMAGE, "request_id": "alike-pair", "count": 2, "seed": 3},
    {**IMAGE, "request_id": "alike-fallback", "model": "offline-image-draft", "min_grade": "A", "seed": 5},
    {**VIDEO, "request_id": "alike-clip", "model": "offline-video-draft"},
    {**IMAGE, "request_id": "alike-typo", "max_cost": "1"},
    {**IMAGE, "request_id": "alike-cap", "max_cost_usd": "0.000001"},
]
OF_THE_RUN = {"lease_owner", "due_at", "polls", "progress", "ms", "message_id"}  # and every time and place
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[^ ]*")
_PLACE = re.compile(r"(file://\S*/outputs|gs://\S*-outputs)/")


def told(value: Any) -> Any:
    """A document without what no two runs share: times, places, processes."""
    if isinstance(value, dict):
        return {k: told(v) for k, v in value.items() if k not in OF_THE_RUN}
    if isinstance(value, list):
        return [told(v) for v in value]
    return _PLACE.sub("PLACE/", _TIME.sub("TIME", value)) if isinstance(value, str) else value


def unpolled(job: Json) -> Json:
    """A job's document as it were had its operations been ready when first asked: how often one asks is chance."""
    polls = sum(attempt.get("polls", 0) for attempt in job.get("attempts", ()))
    baton = job.get("baton")
    if baton:
        baton = {**baton, "payload": {**baton["payload"], "seq": baton["payload"]["seq"] - polls}}
    timeline = [line for line in job["timeline"] if not line.get("note", "").startswith(POLLED)]
    return {**job, "seq": job["seq"] - polls, "baton": baton, "timeline": timeline}


def books(system: Observed) -> dict[str, Any]:
    """Every job, ledger entry and budget of the requests above."""
    services = system.services
    ids = [Envelope(request, "").job_id for request in ALIKE]
    jobs = services.documents.get([f"jobs/{job_id}" for job_id in ids])
    ledger = [entry for job_id in ids for entry in services.ledger.of_job(job_id)]
    user = [(scope, budget) for scope, budget in services.budgets.on_day(day_of(services.clock.now())) if scope.name]
    return {
        "jobs": {job.path: told(unpolled(job.data)) for job in jobs if job},
        "ledger": told(ledger),
        "user": [budget for scope, budget in user if scope.kind == "user"],
    }


def test_the_same_requests_make_the_same_documents_as_on_a_laptop(plain: Cloud, tmp_path: Path):
    local = Pipeline(tmp_path, clock=SystemClock(), **QUICK)
    for request in ALIKE:
        local.run(request)
        plain.run(request)
    here, there = books(local), books(plain)
    assert len(here["jobs"]) == len(ALIKE)
    for path, document in here["jobs"].items():
        assert there["jobs"][path] == document, path
    assert there == here


@pytest.mark.parametrize("request_", [TEXT, IMAGE, VIDEO], ids=["text", "image", "video"])
def test_a_job_costs_as_many_documents_as_on_a_laptop(emulated_project: str, tmp_path: Path, request_: Json):
    tallies = []
    for name, settings in {"here": {}, "there": {"state_url": f"firestore://{emulated_project}"}}.items():
        pipeline = Pipeline(tmp_path / name, **settings)
        pipeline.run({**request_, "request_id": "the first one makes the budgets"})
        pipeline.services.documents.counts.reset()
        pipeline.run({**request_, "request_id": "r", "prompt": "Another prompt"})
        tallies.append(pipeline.services.documents.counts.tally())
        pipeline.services.close()
    assert tallies[0] == tallies[1]
    assert tallies[0].written >= 10
