"""Ending a job from outside at every point, what comes in afterwards, and repeating a job that is over."""

from pathlib import Path

import pytest

from functions import _runtime
from shared.domain.job import AttemptState, Job, State
from shared.domain.replay import NotReplayable, Resubmission, replayed
from shared.domain.result import result_of
from shared.ports import Message
from tests.pipeline.harness import IMAGE, TEXT, VIDEO, Pipeline, assert_history

NOTE = {**TEXT, "request_id": "r"}
CLIP = {**VIDEO, "request_id": "r", "audio": False, "prefer": "speed"}


def carried_to(pipeline: Pipeline, request: dict[str, object], state: State) -> Job:
    """A job that has just reached *state*."""
    (job_id,) = pipeline.submit(request)

    def is_there() -> bool:
        loaded = pipeline.services.jobs.get(job_id)
        return loaded is not None and loaded.job.state is state

    pipeline.drain(is_there)
    return pipeline.job(job_id)


@pytest.mark.parametrize("state", [State.GENERATING, State.CHECKING, State.RECORDING])
def test_a_cancelled_job_stays_cancelled_and_what_it_bought_is_booked(tmp_path: Path, state: State):
    pipeline = Pipeline(tmp_path)
    before = carried_to(pipeline, NOTE, state)
    pipeline.end(before.job_id)
    pipeline.settle()
    job = pipeline.job(before.job_id)
    assert_history(job)
    assert job.state is State.CANCELLED
    assert [r["type"] for r in pipeline.results] == ["job.cancelled"]
    assert len(pipeline.calls()) == len(job.attempts) == (0 if state is State.GENERATING else 1)
    assert all(a.booked for a in job.attempts)
    pipeline.assert_sound()


def test_a_clip_that_comes_after_its_job_was_cancelled_is_kept_booked_and_given_to_the_next(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    waiting = carried_to(pipeline, CLIP, State.WAITING)
    pipeline.end(waiting.job_id)
    cancelled = pipeline.job(waiting.job_id)
    assert (cancelled.state, cancelled.hold) == (State.CANCELLED, 0)
    assert cancelled.suspense == waiting.attempts[0].price_micro_usd
    pipeline.drain(lambda: pipeline.job(waiting.job_id).suspense == 0)
    job = pipeline.job(waiting.job_id)
    assert job.state is State.CANCELLED
    assert job.attempts[0].state is AttemptState.DELIVERED
    assert job.attempts[0].booked
    (again,) = pipeline.run({**CLIP, "request_id": "again"})
    assert result_of(again)["cached"] is True
    assert len(pipeline.calls()) == 1
    pipeline.assert_sound()


def test_a_cancelled_follower_does_not_disturb_the_others(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    requests = [{**TEXT, "request_id": f"r{n}"} for n in range(3)]
    for n, request in enumerate(requests):
        pipeline.deliver("validate", request, f"m{n}")
    follower = next(j for j in pipeline.jobs([pipeline.submit(r)[0] for r in requests]) if j.follows)
    pipeline.end(follower.job_id)
    jobs = pipeline.run(*requests)
    assert sorted(job.state for job in jobs) == [State.CANCELLED, State.SUCCEEDED, State.SUCCEEDED]
    assert len(pipeline.calls()) == 1
    pipeline.assert_sound()


def test_a_job_that_waits_for_capacity_can_be_cancelled(tmp_path: Path):
    pipeline = Pipeline(tmp_path, offline_faults={"unavailable": 1})
    parked = carried_to(pipeline, {**NOTE, "fallback": False}, State.PARKED)
    pipeline.end(parked.job_id)
    for _ in range(3):
        pipeline.clock.sleep(60)
        pipeline.tick()
        pipeline.settle()
    job = pipeline.job(parked.job_id)
    assert_history(job)
    assert (job.state, len(job.attempts)) == (State.CANCELLED, 1)
    pipeline.assert_sound()


def test_cancelling_what_has_ended_changes_nothing(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    (job,) = pipeline.run(NOTE)
    pipeline.end(job.job_id)
    pipeline.settle()
    assert pipeline.job(job.job_id) == job
    assert len(pipeline.results) == 1


# ---------------------------------------------------------------- replay


def replay(pipeline: Pipeline, job: Job, stage: str) -> str:
    """Repeat a job as the command line does and return the id of the new one."""
    step = replayed(job, stage, _runtime.moment(pipeline.services, "replay"))
    if isinstance(step, Resubmission):
        pipeline.services.bus.publish([Message("requests", step.payload)])
    else:
        _runtime.commit(None, _runtime.Step(step), pipeline.services)
    return step.job_id


def test_a_job_that_succeeded_is_not_made_again(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    (job,) = pipeline.run(NOTE)
    with pytest.raises(NotReplayable, match="never repeated"):
        replay(pipeline, job, "generate")


def test_a_refused_job_that_could_not_be_read_is_not_made_again(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    (job,) = pipeline.run({"kind": "text", "request_id": "r"})
    with pytest.raises(NotReplayable, match="could not be read"):
        replay(pipeline, job, "validate")


def test_a_cancelled_job_is_repeated_as_a_new_one_however_often_it_is_asked_for(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    first = carried_to(pipeline, NOTE, State.GENERATING)
    pipeline.end(first.job_id)
    first = pipeline.job(first.job_id)
    new_ids = {replay(pipeline, first, "generate") for _ in range(3)}
    assert len(new_ids) == 1
    (new_id,) = new_ids
    pipeline.drain(lambda: pipeline.services.jobs.get(new_id) is not None and pipeline.finished([new_id]))
    pipeline.settle()
    assert pipeline.job(new_id).state is State.SUCCEEDED
    assert pipeline.job(first.job_id) == first
    assert len(pipeline.calls()) == 1
    pipeline.assert_sound()


def test_pieces_are_judged_again_without_buying_them_again(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    (job,) = pipeline.run({**IMAGE, "request_id": "r", "prefer": "speed"})
    new_id = replay(pipeline, job, "quality_check")
    pipeline.drain(lambda: pipeline.finished([new_id]))
    again = pipeline.job(new_id)
    assert_history(again)
    assert (again.state, again.spent) == (State.SUCCEEDED, 0)
    assert again.attempts[0].pieces[0].sha256 == job.attempts[0].pieces[0].sha256
    assert len(pipeline.calls()) == 1
    pipeline.assert_sound()


def test_a_piece_that_is_rejected_again_ends_the_replay_as_failed(tmp_path: Path):
    pipeline = Pipeline(tmp_path, offline_faults={"corrupt_output": 1})
    (job,) = pipeline.run({**NOTE, "fallback": False})
    new_id = replay(pipeline, job, "quality_check")
    pipeline.drain(lambda: pipeline.finished([new_id]), rounds=500)
    again = pipeline.job(new_id)
    assert_history(again)
    assert (again.state, again.errors[-1]["code"]) == (State.FAILED, "quality_rejected")
    assert len(pipeline.calls()) == 1
    pipeline.assert_sound()
