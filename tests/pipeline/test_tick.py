"""The tick: it sends lost events again, releases parked jobs in their order, and two of them do no harm."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.adapters.log_metrics import LogMetrics
from shared.domain.job import State
from shared.errors import StoreConflict
from tests.pipeline.harness import IMAGE, TEXT, VIDEO, Pipeline, assert_history

NOTE = {**TEXT, "request_id": "r"}


def lose_everything(pipeline: Pipeline) -> None:
    """Take every message off the bus, as if it had never been published."""
    bus = pipeline.system.bus
    while deliveries := bus.lease(pipeline.system._subscriptions, 100):
        bus.ack(deliveries)


@pytest.mark.parametrize("steps", [["validate"], ["validate", "generate"], ["validate", "generate", "quality_check"]])
def test_an_event_that_was_never_published_is_sent_by_the_tick(tmp_path: Path, steps: list[str]):
    pipeline = Pipeline(tmp_path, stale_s=100.0)
    (job_id,) = pipeline.submit(NOTE)
    for step in steps:
        pipeline.step(step)
    lose_everything(pipeline)
    pipeline.clock.sleep(99)
    pipeline.tick()
    assert pipeline.system.bus.backlog() == {}
    pipeline.clock.sleep(2)
    pipeline.tick()
    pipeline.settle()
    job = pipeline.job(job_id)
    assert_history(job)
    assert job.state is State.SUCCEEDED
    assert len(pipeline.calls()) == 1
    pipeline.assert_sound()


def test_a_job_whose_events_are_lost_again_and_again_ends_by_its_deadline(tmp_path: Path):
    pipeline = Pipeline(tmp_path, stale_s=100.0)
    (job_id,) = pipeline.submit({**NOTE, "deadline_s": 250})
    pipeline.step("validate")
    for _ in range(3):
        lose_everything(pipeline)
        pipeline.clock.sleep(90)
        pipeline.tick()
    pipeline.settle()
    job = pipeline.job(job_id)
    assert_history(job)
    assert (job.state, job.errors[-1]["code"]) == (State.FAILED, "deadline_exceeded")
    assert pipeline.audit().held == 0


def test_two_ticks_at_once_do_no_harm(tmp_path: Path):
    pipeline = Pipeline(tmp_path, stale_s=100.0)
    ids = pipeline.submit(*({**NOTE, "request_id": f"r{n}", "cache": "off"} for n in range(40)))
    for _ in ids:
        pipeline.step("validate")
    lose_everything(pipeline)
    pipeline.clock.sleep(101)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: pipeline.tick(), range(4)))
    assert pipeline.system.bus.backlog()["generate"]["due"] == 40
    pipeline.drain(lambda: pipeline.finished(ids))
    assert len(pipeline.calls()) == 40
    pipeline.assert_sound()


def test_a_tick_works_in_pages_and_hands_on(tmp_path: Path):
    pipeline = Pipeline(tmp_path, stale_s=100.0, tick_page=10)
    ids = pipeline.submit(*({**NOTE, "request_id": f"r{n}", "cache": "off"} for n in range(25)))
    for _ in ids:
        pipeline.step("validate")
    lose_everything(pipeline)
    pipeline.clock.sleep(101)
    pipeline.tick()
    assert pipeline.system.bus.backlog() == {
        "generate": {"due": 10, "later": 0, "leased": 0},
        "on_tick": {"due": 1, "later": 0, "leased": 0},
    }
    pipeline.drain(lambda: pipeline.finished(ids))
    pipeline.assert_sound()


LIMITED = """
[[model]]
id = "narrow"
provider = "offline"
vendor_model = "offline-text-lite"
kinds = ["text"]
max_input_tokens = 1_000_000
max_output_tokens = 65_536
quality = 0.5
latency_s = 0.1
adopt = "find"
simulated = true
rpm = 2
price = [
  { unit = "input_token", amount = "0.10", per = 1_000_000, from = 2020-01-01, source = "x", checked = 2026-11-20 },
  { unit = "output_token", amount = "0.40", per = 1_000_000, from = 2020-01-01, source = "x", checked = 2026-11-20 },
]
"""


def test_parked_jobs_are_released_by_priority_and_all_of_them_end(tmp_path: Path):
    catalogue = tmp_path / "own.toml"
    catalogue.write_text(LIMITED)
    pipeline = Pipeline(tmp_path, catalogue=str(catalogue), tick_s=5.0)
    common = {**TEXT, "model": "narrow", "fallback": False, "cache": "off", "deadline_s": 3600}
    priorities = ["normal", "normal", "low", "low", "normal", "high", "high"]
    requests = [{**common, "request_id": f"{n}", "priority": p} for n, p in enumerate(priorities)]
    ids = []
    for request in requests:
        ids += pipeline.submit(request)
        pipeline.settle()
        pipeline.clock.sleep(0.1)
    jobs = pipeline.run(*requests)
    order = [call["job_id"] for call in pipeline.calls()]
    assert [requests[ids.index(i)]["request_id"] for i in order] == ["0", "1", "5", "6", "4", "2", "3"]
    assert {job.state for job in jobs} == {State.SUCCEEDED}
    assert all(len(job.attempts) == 1 for job in jobs)
    for job in jobs:
        assert_history(job)
    pipeline.assert_sound()


def test_no_more_calls_a_minute_than_the_model_allows(tmp_path: Path):
    catalogue = tmp_path / "own.toml"
    catalogue.write_text(LIMITED)
    pipeline = Pipeline(tmp_path, catalogue=str(catalogue), tick_s=5.0)
    common = {**TEXT, "model": "narrow", "fallback": False, "cache": "off", "deadline_s": 3600}
    jobs = pipeline.run(*({**common, "request_id": f"{n}"} for n in range(8)))
    starts = sorted(job.attempts[0].started_at for job in jobs)
    assert all((c - a).total_seconds() >= 60 for a, c in zip(starts, starts[2:], strict=False))


def test_a_tick_that_is_overtaken_by_a_stage_leaves_the_job_to_it(tmp_path: Path):
    pipeline = Pipeline(tmp_path, stale_s=100.0)
    (job_id,) = pipeline.submit(NOTE)
    pipeline.step("validate")
    stale = pipeline.services.jobs.get(job_id)
    pipeline.settle()
    assert stale is not None
    with pytest.raises(StoreConflict):
        pipeline.services.jobs.commit(stale, stale.job)
    pipeline.clock.sleep(101)
    pipeline.tick()
    pipeline.settle()
    assert len(pipeline.results) == 1


# ---------------------------------------------------------------- what it measures


class Measured(LogMetrics):
    """Keeps what was measured of one name after the other: (value, labels)."""

    def __init__(self) -> None:
        self.found: dict[str, list[tuple[float, dict[str, str]]]] = {}

    def record(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        super().record(name, value, labels)
        self.found.setdefault(name, []).append((value, dict(labels)))


def measured(pipeline: Pipeline) -> Measured:
    """Replace the sink of a pipeline that has not run yet."""
    sink = pipeline.services._built["metrics"] = Measured()
    return sink


def test_a_job_that_was_sent_its_event_twice_in_vain_is_stuck(tmp_path: Path):
    pipeline = Pipeline(tmp_path, stale_s=100.0)
    sink = measured(pipeline)
    (job_id,) = pipeline.submit({**NOTE, "deadline_s": 3600})
    pipeline.step("validate")
    for looks in ([], [], [(1, {"state": "generating"})]):  # the event is sent, sent again, and has come to nothing
        lose_everything(pipeline)
        pipeline.clock.sleep(101)
        pipeline.tick()
        assert sink.found.get("jobs_stuck", []) == looks
    pipeline.settle()
    assert pipeline.job(job_id).state is State.SUCCEEDED
    pipeline.clock.sleep(101)
    pipeline.tick()
    assert len(sink.found["jobs_stuck"]) == 1


def test_a_job_that_moves_after_every_event_is_never_stuck(tmp_path: Path):
    pipeline = Pipeline(tmp_path, stale_s=100.0)
    sink = measured(pipeline)
    (job_id,) = pipeline.submit({**NOTE, "deadline_s": 3600})
    for step in ("validate", "generate", "quality_check", "record_cost"):
        for _ in range(0 if step == "validate" else 2):
            lose_everything(pipeline)
            pipeline.clock.sleep(101)
            pipeline.tick()
        pipeline.step(step)
    assert pipeline.job(job_id).state is State.SUCCEEDED
    assert "jobs_stuck" not in sink.found


def test_a_job_whose_end_at_its_deadline_comes_to_nothing_is_stuck(tmp_path: Path):
    pipeline = Pipeline(tmp_path, stale_s=100.0)
    sink = measured(pipeline)
    pipeline.submit({**NOTE, "deadline_s": 60})
    pipeline.step("validate")
    for _ in range(3):
        lose_everything(pipeline)
        pipeline.clock.sleep(101)
        pipeline.tick()
    assert sink.found["jobs_stuck"] == [(1, {"state": "generating"})]


def test_jobs_that_wait_for_capacity_another_job_or_their_vendor_are_not_stuck(tmp_path: Path):
    catalogue = tmp_path / "own.toml"
    catalogue.write_text(LIMITED)
    pipeline = Pipeline(tmp_path, catalogue=str(catalogue), tick_s=5.0, stale_s=10.0, offline_render_s=300.0)
    sink = measured(pipeline)
    common = {**TEXT, "model": "narrow", "fallback": False, "cache": "off", "deadline_s": 3600}
    queued = [{**common, "request_id": f"q{n}"} for n in range(8)]
    twins = [{**VIDEO, "request_id": f"v{n}"} for n in range(2)]
    pipeline.run(*queued, *twins)
    assert {labels["reason"] for _, labels in sink.found["parked"]} == {"no_capacity"}
    assert [labels["answer"] for _, labels in sink.found["cache_answers"]].count("follow") >= 1
    assert "jobs_stuck" not in sink.found


def test_the_tick_tells_what_the_day_has_spent_holds_and_doubts(tmp_path: Path):
    pipeline = Pipeline(tmp_path, offline_faults={"ambiguous": 1, "models": ["offline-image-draft"]})
    sink = measured(pipeline)
    pipeline.run({**NOTE, "request_id": "a"}, {**IMAGE, "request_id": "b", "model": "offline-image-draft"})
    pipeline.submit({**IMAGE, "request_id": "c", "cache": "off"})
    pipeline.step("validate")
    pipeline.clock.sleep(61)
    pipeline.tick()
    found = pipeline.audit()
    for name, amount in (("spent", found.spent), ("held", found.held), ("suspense", found.suspense)):
        value, labels = sink.found[f"budget_{name}"][-1]
        assert (value, labels) == (amount, {"scope": "all"})
        assert value > 0, name
