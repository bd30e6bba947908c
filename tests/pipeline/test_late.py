"""Operations that fail late, never end, or end after their job; and money whose fate is unknown."""

from pathlib import Path

import pytest

from shared.domain.job import AttemptState, Job, State
from shared.domain.result import result_of
from tests.pipeline.harness import IMAGE, VIDEO, Pipeline, assert_history

CINEMA = "offline-video-cinema"
CLIP = {**VIDEO, "request_id": "r", "model": CINEMA, "audio": False}
DRAFT = {**IMAGE, "request_id": "r", "model": "offline-image-draft"}
HOUR_S = 3600


def test_after_a_late_failure_the_next_model_delivers_and_both_are_in_the_ledger(tmp_path: Path):
    pipeline = Pipeline(tmp_path, offline_faults={"late_failure": 1, "models": [CINEMA]})
    pipeline.deliver("validate", CLIP)
    (job_id,) = pipeline.submit(CLIP)
    hold = pipeline.job(job_id).hold
    (job,) = pipeline.run(CLIP)
    assert_history(job)
    assert job.state is State.SUCCEEDED
    assert [a.state for a in job.attempts] == [AttemptState.FAILED, AttemptState.DELIVERED]
    entries = pipeline.services.ledger.of_job(job_id)
    assert [(e["model"], e["cost_micro_usd"]) for e in entries] == [(CINEMA, 0), (job.attempts[1].model, 50_000)]
    assert job.spent <= hold
    pipeline.assert_sound()


def hanging(tmp_path: Path) -> tuple[Pipeline, Job]:
    """A job whose operation takes two hours, carried to its deadline of one."""
    faults = {"hang": 1, "models": [CINEMA], "hang_s": 2 * HOUR_S}
    pipeline = Pipeline(tmp_path, offline_faults=faults, tick_s=60.0, operation_timeout_s=3 * HOUR_S)
    (job,) = pipeline.run({**CLIP, "fallback": False, "deadline_s": HOUR_S})
    return pipeline, job


def test_an_operation_that_never_ends_costs_its_job_no_more_than_the_deadline(tmp_path: Path):
    pipeline, job = hanging(tmp_path)
    assert_history(job)
    assert (job.state, job.errors[-1]["code"]) == (State.FAILED, "deadline_exceeded")
    assert HOUR_S <= (job.finished_at - job.created_at).total_seconds() <= HOUR_S + 120
    assert (job.spent, job.hold, job.suspense) == (0, 0, 100_000)
    found = pipeline.audit()
    assert found.problems == []
    assert [(u["job_id"], u["micro_usd"]) for u in found.unsettled] == [(job.job_id, 100_000)]


def test_a_piece_that_comes_after_the_deadline_is_kept_booked_and_given_to_the_next_who_asks(tmp_path: Path):
    pipeline, job = hanging(tmp_path)
    pipeline.drain(lambda: pipeline.job(job.job_id).suspense == 0)
    late = pipeline.job(job.job_id)
    assert late.state is State.FAILED
    assert late.attempts[0].grade is not None
    assert late.attempts[0].approved is True
    assert (late.spent, late.hold) == (100_000, 0)
    assert pipeline.services.blobs.stat(late.attempts[0].pieces[0].uri) is not None
    assert [e["cost_micro_usd"] for e in pipeline.services.ledger.of_job(job.job_id)] == [100_000]
    assert [r["type"] for r in pipeline.results] == ["job.failed"]

    (next_job,) = pipeline.run({**CLIP, "fallback": False, "request_id": "next"})
    assert (next_job.state, next_job.spent) == (State.SUCCEEDED, 0)
    assert result_of(next_job)["cached"] is True
    assert len(pipeline.calls()) == 1
    pipeline.assert_sound()


def test_an_operation_that_takes_too_long_is_replaced_and_booked_when_it_ends_after_all(tmp_path: Path):
    faults = {"hang": 1, "models": [CINEMA], "hang_s": HOUR_S}
    pipeline = Pipeline(tmp_path, offline_faults=faults, tick_s=30.0, operation_timeout_s=300)
    (job,) = pipeline.run(CLIP)
    assert job.state is State.SUCCEEDED
    assert job.attempts[0].suspense_micro_usd == 100_000
    assert job.winner is not None
    assert job.winner.number == 2
    pipeline.drain(lambda: pipeline.job(job.job_id).suspense == 0)
    after = pipeline.job(job.job_id)
    assert [a.booked for a in after.attempts] == [True, True]
    assert after.spent == 150_000
    assert [r["type"] for r in pipeline.results] == ["job.succeeded"]
    pipeline.assert_sound()


def test_polls_do_not_make_a_job_grow(tmp_path: Path):
    pipeline, job = hanging(tmp_path)
    pipeline.drain(lambda: pipeline.job(job.job_id).suspense == 0)
    after = pipeline.job(job.job_id)
    assert after.attempts[0].polls > 50
    assert len(after.timeline) < 20


@pytest.mark.parametrize("suspense_s", [600, 86_400])
def test_money_in_doubt_is_named_by_the_audit_and_booked_as_unconfirmed_in_the_end(tmp_path: Path, suspense_s: int):
    pipeline = Pipeline(tmp_path, offline_faults={"ambiguous": 1}, suspense_s=suspense_s, tick_s=60.0)
    (job,) = pipeline.run({**DRAFT, "fallback": ["offline-image-standard"]})
    assert job.state is State.SUCCEEDED
    assert job.attempts[0].state is AttemptState.UNKNOWN
    assert (job.suspense, job.spent) == (5_000, 20_000)
    assert [u["why"] for u in pipeline.audit().unsettled] == ["suspense"]
    pipeline.assert_sound()

    pipeline.clock.sleep(suspense_s - 61)
    pipeline.tick()
    pipeline.settle()
    assert pipeline.job(job.job_id).suspense == 5_000
    pipeline.clock.sleep(61)
    pipeline.tick()
    pipeline.settle()
    after = pipeline.job(job.job_id)
    assert (after.suspense, after.spent) == (0, 25_000)
    assert pipeline.services.ledger.of_job(job.job_id)[0]["basis"] == "unconfirmed"
    assert pipeline.audit().unsettled == []
    pipeline.assert_sound()


def test_a_second_settling_event_changes_nothing(tmp_path: Path):
    pipeline = Pipeline(tmp_path, offline_faults={"ambiguous": 1}, suspense_s=600, tick_s=60.0)
    (job,) = pipeline.run({**DRAFT, "fallback": ["offline-image-standard"]})
    pipeline.clock.sleep(601)
    event = {"job_id": job.job_id, "seq": job.seq, "settle": True}
    pipeline.deliver("record_cost", event)
    once = pipeline.job(job.job_id)
    pipeline.deliver("record_cost", event, attempt=2)
    assert once.suspense == 0
    assert pipeline.job(job.job_id) == once
