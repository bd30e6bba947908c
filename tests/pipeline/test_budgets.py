"""No budget is ever exceeded: not by a hundred requests at once, not in any snapshot in between."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.domain.budget import Scope, day_of
from shared.domain.intake import Envelope
from shared.domain.job import Job, State
from shared.ports import Json
from tests.pipeline.harness import IMAGE, TEXT, Pipeline, assert_history

PRICE = 5_000  # of one draft picture, micro-USD
REQUESTS = 100
DRAFT = {**IMAGE, "model": "offline-image-draft", "fallback": False, "cache": "off", "user": "u"}
REQUEST = [{**DRAFT, "request_id": f"r{n}"} for n in range(REQUESTS)]


@contextmanager
def watched(pipeline: Pipeline) -> Iterator[list[str]]:
    """Look at all budget documents again and again; the list gets every violation."""
    found: list[str] = []
    stop = threading.Event()
    looks = 0

    def look() -> None:
        nonlocal looks
        while not stop.is_set():
            for snapshot in pipeline.services.documents.query("budgets", limit=100):
                d = snapshot.data
                if d["held"] + d["spent"] + d["suspense"] > d["limit"]:
                    found.append(f"{d['scope']}: {d}")
            looks += 1

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()
    assert looks > 0


def validate_at_once(pipeline: Pipeline, requests: list[Json]) -> list[Job]:
    """Have twenty threads admit requests; nothing is generated, so what is held stays held."""
    with ThreadPoolExecutor(20) as threads:
        list(threads.map(lambda n: pipeline.deliver("validate", requests[n], f"m{n}"), range(len(requests))))
    return pipeline.jobs([Envelope(r, "").job_id for r in requests])


def used(pipeline: Pipeline, scope: Scope) -> int:
    today = day_of(pipeline.clock.now())
    return dict(pipeline.services.budgets.on_day(today))[scope].used


@pytest.mark.parametrize(
    "settings, scope",
    [
        ({"user_daily_budget_usd": 10 * PRICE}, Scope("user", "default/u")),
        ({"tenant_daily_budget_usd": 10 * PRICE, "budget_shards": 8}, Scope("tenant", "default")),
        ({"daily_budget_usd": 10 * PRICE, "budget_shards": 3}, Scope("all")),
    ],
    ids=["user", "tenant in 8 shards", "everything in 3 shards"],
)
def test_ten_of_a_hundred_parallel_requests_fit_a_budget_of_ten(tmp_path: Path, settings: Json, scope: Scope):
    pipeline = Pipeline(tmp_path, **settings)
    with watched(pipeline) as violations:
        jobs = validate_at_once(pipeline, REQUEST)
    assert violations == []
    assert Counter(job.state for job in jobs) == {State.GENERATING: 10, State.REFUSED: 90}
    assert {job.errors[0]["code"] for job in jobs if job.is_finished} == {"budget_exceeded"}
    assert used(pipeline, scope) == 10 * PRICE
    assert sum(job.hold for job in jobs) == 10 * PRICE
    assert pipeline.calls() == []
    pipeline.assert_sound()


def test_what_the_admitted_bought_is_spent_and_not_a_cent_is_held(tmp_path: Path):
    pipeline = Pipeline(tmp_path, user_daily_budget_usd=2 * PRICE)
    with watched(pipeline) as violations:
        jobs = validate_at_once(pipeline, REQUEST[:20])
        pipeline.drain(lambda: pipeline.finished([job.job_id for job in jobs]))
    assert violations == []
    assert len(pipeline.calls()) == 2
    assert used(pipeline, Scope("user", "default/u")) == 2 * PRICE
    assert pipeline.audit().held == 0
    for job in pipeline.jobs([job.job_id for job in jobs]):
        assert_history(job)
    pipeline.assert_sound()


def test_the_first_request_of_a_user_is_refused_when_it_does_not_fit(tmp_path: Path):
    pipeline = Pipeline(tmp_path, user_daily_budget_usd=PRICE - 1)
    (job,) = pipeline.run(REQUEST[0])
    assert (job.state, job.errors[0]["code"], job.hold) == (State.REFUSED, "budget_exceeded", 0)
    assert pipeline.calls() == []


def test_the_first_request_of_a_user_may_use_the_whole_budget(tmp_path: Path):
    pipeline = Pipeline(tmp_path, user_daily_budget_usd=PRICE)
    (job,) = validate_at_once(pipeline, REQUEST[:1])
    assert (job.state, job.hold) == (State.GENERATING, PRICE)


def test_users_do_not_share_a_budget(tmp_path: Path):
    pipeline = Pipeline(tmp_path, user_daily_budget_usd=PRICE)
    jobs = validate_at_once(pipeline, [{**REQUEST[n], "user": f"u{n}"} for n in range(4)])
    assert {job.state for job in jobs} == {State.GENERATING}


def test_past_the_soft_limit_only_the_cheaper_half_is_tried(tmp_path: Path):
    pipeline = Pipeline(tmp_path, user_daily_budget_usd=10 * PRICE)
    validate_at_once(pipeline, REQUEST[:6])
    (before,) = validate_at_once(pipeline, [{**IMAGE, "user": "u", "request_id": "before"}])
    pipeline.end(before.job_id)
    validate_at_once(pipeline, [{**DRAFT, "request_id": "seventh"}])
    (after,) = validate_at_once(pipeline, [{**IMAGE, "user": "u", "request_id": "after", "seed": 2}])
    assert "soft_limit" not in {p["code"] for p in before.passed_over}
    assert {p["model"] for p in after.passed_over if p["code"] == "soft_limit"} == {"offline-image-fine"}


@pytest.mark.parametrize("request_", [TEXT, IMAGE], ids=["text", "image"])
def test_a_request_whose_own_cap_is_too_small_is_refused(tmp_path: Path, request_: Json):
    pipeline = Pipeline(tmp_path)
    free = {"fallback": False} if request_["kind"] == "text" else {}
    (job,) = pipeline.run({**request_, **free, "request_id": "r", "max_cost_usd": "0.000001"})
    assert (job.state, job.errors[0]["code"]) == (State.REFUSED, "max_cost_exceeded")
    assert job.errors[0]["field"] == "max_cost_usd"
    pipeline.settle()
    assert [r["type"] for r in pipeline.results] == ["job.refused"]
    assert pipeline.calls() == []


def test_no_candidate_is_dearer_than_the_requests_own_cap(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    (job,) = pipeline.run({**IMAGE, "request_id": "r", "max_cost_usd": "0.02", "prefer": "quality"})
    assert job.winner is not None
    assert job.winner.model == "offline-image-standard"
    assert job.spent <= 20_000


@pytest.mark.parametrize("shards", [1, 8])
def test_the_days_use_is_known_however_many_budgets_there_are(tmp_path: Path, shards: int):
    pipeline = Pipeline(tmp_path, budget_shards=shards, daily_budget_usd=100 * PRICE)
    assert pipeline.services.budgets.today(Scope("all"), pipeline.clock.now()).used == 0
    validate_at_once(pipeline, [{**r, "user": f"u{n}"} for n, r in enumerate(REQUEST[:30])])
    found = pipeline.services.budgets.today(Scope("all"), pipeline.clock.now())
    assert (found.held, found.limit) == (30 * PRICE, 100 * PRICE)
