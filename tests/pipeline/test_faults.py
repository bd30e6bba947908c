"""What follows each way in which a vendor call can fail."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from shared.domain.breaker import Breaker
from shared.domain.job import AttemptState, Job, State
from shared.domain.result import result_of
from shared.errors import InvalidCall, ProviderFault, Unavailable
from shared.ports import Asset, Call, Done, Json, Pending
from tests.pipeline.harness import IMAGE, TEXT, VIDEO, Pipeline, assert_history

FINE = "offline-image-fine"
PRO = "offline-text-pro"
FIRST = {**TEXT, "model": PRO, "request_id": "r"}
PICTURE = {**IMAGE, "model": FINE, "request_id": "r"}


def run(tmp_path: Path, request: Json, faults: Json, **settings: object) -> tuple[Pipeline, Job]:
    pipeline = Pipeline(tmp_path, offline_faults=faults, **settings)
    (job,) = pipeline.run(request)
    pipeline.settle()
    assert_history(job)
    assert len(pipeline.results) == 1
    pipeline.assert_sound()
    return pipeline, job


def codes(job: Job) -> list[str | None]:
    return [(a.error or {}).get("code") for a in job.attempts]


@pytest.mark.parametrize("fault", ["unavailable", "rate_limited"])
def test_a_refused_call_costs_nothing_and_the_next_model_delivers(tmp_path: Path, fault: str):
    pipeline, job = run(tmp_path, FIRST, {fault: 1, "models": [PRO]})
    assert job.state is State.SUCCEEDED
    assert codes(job) == [fault, None]
    assert [call["attempt"] for call in pipeline.calls()] == [2]
    assert job.attempts[0].booked is False
    assert result_of(job)["fallback_used"] is True


@pytest.mark.parametrize("fault", ["unavailable", "rate_limited"])
def test_without_fallback_the_same_model_is_asked_again_later_and_never_more_than_allowed(tmp_path: Path, fault: str):
    request = {**FIRST, "fallback": False}
    _, job = run(tmp_path, request, {fault: 1}, max_attempts=3)
    assert job.state is State.FAILED
    assert codes(job) == [fault] * 3
    assert job.errors[-1]["code"] == fault
    starts = [a.started_at for a in job.attempts]
    assert all((b - a).total_seconds() >= 2 for a, b in pairwise(starts))


def test_a_blocked_prompt_is_not_taken_to_another_model(tmp_path: Path):
    pipeline, job = run(tmp_path, FIRST, {"blocked": 1, "models": [PRO]})
    assert job.state is State.FAILED
    assert job.errors[-1]["code"] == "blocked"
    assert codes(job) == ["blocked"]
    assert pipeline.calls() == []


def test_a_blocked_prompt_is_taken_on_when_the_policy_says_so(tmp_path: Path):
    _, job = run(tmp_path, FIRST, {"blocked": 1, "models": [PRO]}, fallback_when_blocked=True)
    assert job.state is State.SUCCEEDED
    assert codes(job) == ["blocked", None]


def test_blocks_say_nothing_about_a_models_health(tmp_path: Path):
    pipeline = Pipeline(tmp_path, offline_faults={"blocked": 1})
    pipeline.run(*({**FIRST, "request_id": f"r{n}", "cache": "off"} for n in range(4)))
    assert pipeline.services.health("text")[PRO].available


@pytest.mark.parametrize("request_, model", [(FIRST, PRO), (PICTURE, FINE)], ids=["text", "image"])
def test_a_spoiled_piece_is_rejected_paid_for_and_replaced(tmp_path: Path, request_: Json, model: str):
    pipeline, job = run(tmp_path, request_, {"corrupt_output": 1, "models": [model]})
    assert job.state is State.SUCCEEDED
    assert [a.approved for a in job.attempts] == [False, True]
    assert [a.booked for a in job.attempts] == [True, True]
    assert job.spent == sum(entry["cost_micro_usd"] for entry in pipeline.services.ledger.of_job(job.job_id))
    assert len(pipeline.calls()) == 2


def test_a_rejected_model_is_not_paid_a_second_time(tmp_path: Path):
    pipeline, job = run(tmp_path, {**PICTURE, "fallback": False}, {"corrupt_output": 1})
    assert job.state is State.FAILED
    assert job.errors[-1]["code"] == "quality_rejected"
    assert len(pipeline.calls()) == 1
    assert job.spent == 40_000


def test_fewer_pictures_than_asked_cost_only_what_came(tmp_path: Path):
    request = {**PICTURE, "count": 2, "fallback": False, "min_grade": "D"}
    _, job = run(tmp_path, request, {"partial": 1})
    assert len(job.attempts[0].pieces) == 1
    assert job.spent == 40_000


@pytest.mark.parametrize("request_", [FIRST, PICTURE], ids=["text", "image"])
def test_an_ambiguous_call_is_found_again_and_not_repeated(tmp_path: Path, request_: Json):
    pipeline, job = run(tmp_path, request_, {"ambiguous": 1})
    assert job.state is State.SUCCEEDED
    assert len(job.attempts) == 1
    assert len(pipeline.calls()) == 1
    assert job.suspense == 0


def test_three_failures_open_the_breaker_and_the_model_is_avoided(tmp_path: Path):
    pipeline = Pipeline(tmp_path, offline_faults={"unavailable": 1, "models": [PRO]})
    prompts = [{**FIRST, "request_id": f"r{n}", "prompt": f"{TEXT['prompt']}, {n}"} for n in range(4)]
    for n, request in enumerate(prompts):
        pipeline.clock.sleep(0.1)
        (job,) = pipeline.run(request)
        assert job.state is State.SUCCEEDED
        assert codes(job)[0] == ("unavailable" if n < 3 else None)
    assert not pipeline.services.health("text")[PRO].available


def test_a_model_is_first_choice_again_when_its_breaker_lets_a_probe_through(tmp_path: Path):
    pipeline = Pipeline(tmp_path, offline_faults={"unavailable": 0})
    for _ in range(3):
        pipeline.services.breakers.failed(PRO)
    (avoided,) = pipeline.run({**FIRST, "request_id": "a"})
    pipeline.clock.sleep(40)
    (tried,) = pipeline.run({**FIRST, "request_id": "b", "prompt": "Another short note about the tides"})
    assert avoided.attempts[0].model != PRO
    assert tried.attempts[0].model == PRO
    assert pipeline.services.health("text")[PRO].available


def test_a_text_that_no_model_can_write_comes_from_a_template_and_says_so(tmp_path: Path):
    pipeline, job = run(tmp_path, {**TEXT, "request_id": "r"}, {"unavailable": 1})
    result = result_of(job)
    assert job.state is State.SUCCEEDED
    assert (result["template"], result["cost_usd"], result["provider"]) == (True, "0", "template")
    assert result["text"]
    assert pipeline.calls() == []


def test_a_template_is_no_answer_for_a_later_request(tmp_path: Path):
    pipeline, _ = run(tmp_path, {**TEXT, "request_id": "r"}, {"unavailable": 1})
    (later,) = pipeline.run({**TEXT, "request_id": "later"})
    assert later.answer is None


def test_a_picture_that_no_model_can_make_fails_with_the_reason_and_frees_the_money(tmp_path: Path):
    pipeline, job = run(tmp_path, {**IMAGE, "request_id": "r"}, {"unavailable": 1})
    assert job.state is State.FAILED
    assert job.errors[-1]["code"] == "unavailable"
    assert (job.hold, job.spent, job.suspense) == (0, 0, 0)
    assert pipeline.audit().held == 0


def test_the_best_rejected_picture_is_kept_in_the_result(tmp_path: Path):
    _, job = run(tmp_path, {**IMAGE, "request_id": "r"}, {"corrupt_output": 1})
    assert job.state is State.FAILED
    assert job.errors[-1]["code"] == "quality_rejected"
    assert result_of(job)["outputs"]


@pytest.mark.parametrize("seed", range(2))
def test_two_hundred_jobs_through_mixed_faults_all_end(tmp_path: Path, seed: int):
    faults = {"rate_limited": 0.03, "unavailable": 0.2, "ambiguous": 0.1, "corrupt_output": 0.1, "blocked": 0.05}
    pipeline = Pipeline(tmp_path, offline_faults={**faults, "seed": seed})
    texts = [{**TEXT, "request_id": f"t{n}", "prompt": f"{TEXT['prompt']}, {n}"} for n in range(190)]
    images = [{**IMAGE, "request_id": f"i{n}", "seed": n, "prefer": "speed"} for n in range(10)]
    jobs = pipeline.run(*texts, *images)
    pipeline.settle()
    for job in jobs:
        assert_history(job)
        assert all(a.state is not AttemptState.CALLING for a in job.attempts)
    assert Counter(r["job_id"] for r in pipeline.results) == dict.fromkeys((job.job_id for job in jobs), 1)
    pipeline.assert_sound()


def breaker_after(tmp_path: Path, faults: list[ProviderFault], request: Json = PICTURE) -> Breaker:
    """The breaker of the model after its provider raised *faults*, one for each of as many jobs."""
    pipeline = Pipeline(tmp_path)

    def start(call: Call) -> Done | Pending:
        raise faults.pop()

    pipeline.services.provider("offline").start = start  # type: ignore[method-assign]
    pipeline.run(*({**request, "fallback": False, "request_id": f"r{n}", "seed": n} for n in range(len(faults))))
    return pipeline.services.breakers.health([request["model"]])[request["model"]]


def test_a_lost_call_counts_against_the_model_although_it_is_found_again(tmp_path: Path):
    pipeline = Pipeline(tmp_path, offline_faults={"ambiguous": 1, "models": [FINE]})
    pipeline.run(*({**PICTURE, "fallback": False, "request_id": f"r{n}", "seed": n} for n in range(2)))
    assert pipeline.services.breakers.health([FINE])[FINE].failures == 2


def test_a_bad_request_that_may_not_have_been_sent_does_not_bring_a_failing_model_back(tmp_path: Path):
    breaker = breaker_after(tmp_path, [InvalidCall("no such picture"), Unavailable("down")])
    assert breaker.failures == 1


def test_a_piece_that_is_not_where_its_vendor_says_is_booked_and_ends_the_operation(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    provider = pipeline.services.provider("offline")
    provider.poll = lambda handle: Done((Asset("video/mp4", uri="gs://elsewhere/x.mp4"),), {"second": 1})  # type: ignore[method-assign]
    (job,) = pipeline.run({**VIDEO, "model": "offline-video-standard", "fallback": False, "request_id": "r"})
    assert (job.state, codes(job), job.spent) == (State.FAILED, ["piece_lost"], 50_000)


def test_news_of_a_call_that_was_given_up_does_not_stop_the_next_one(tmp_path: Path):
    pipeline = Pipeline(tmp_path, offline_faults={"ambiguous": 1, "models": ["offline-video-cinema"]})
    provider = pipeline.services.provider("offline")
    real, provider.find = provider.find, lambda call: None  # type: ignore[assignment, method-assign]
    request = {**VIDEO, "model": "offline-video-cinema", "fallback": ["offline-video-standard"], "request_id": "r"}
    (job_id,) = pipeline.submit(request)
    for function in ("validate", "generate", "fallback"):
        pipeline.step(function)
    provider.find = real  # type: ignore[method-assign]
    job = pipeline.job(job_id)
    assert (job.state, job.choice, job.attempts[0].state) == (State.GENERATING, 1, AttemptState.UNKNOWN)
    pipeline.deliver("generate", {"job_id": job_id, "seq": job.seq, "attempt": 1, "seek": True})
    (job,) = pipeline.run(request)
    assert (job.state, [a.model for a in job.attempts][1:]) == (State.SUCCEEDED, ["offline-video-standard"])
    pipeline.drain(lambda: pipeline.job(job_id).suspense == 0)
    pipeline.settle()
    assert [a.booked for a in pipeline.job(job_id).attempts] == [True, True]
    pipeline.assert_sound()


def test_a_job_is_not_handed_to_a_model_whose_breaker_is_open(tmp_path: Path):
    standard, draft = "offline-image-standard", "offline-image-draft"
    pipeline = Pipeline(tmp_path, offline_faults={"unavailable": 1, "models": [FINE]})
    for _ in range(3):
        pipeline.services.breakers.failed(standard, None)
    (job,) = pipeline.run({**PICTURE, "fallback": [standard, draft]})
    assert [a.model for a in job.attempts] == [FINE, draft]
    assert [line["note"] for line in job.timeline if "breaker_open" in line.get("note", "")] == []


def test_when_all_breakers_are_open_the_one_that_opens_first_is_waited_for(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    for model, wait_s in ((FINE, 120.0), ("offline-image-standard", 40.0)):
        for _ in range(3):
            pipeline.services.breakers.failed(model, wait_s)
    (job,) = pipeline.run({**PICTURE, "fallback": ["offline-image-standard"]})
    assert [a.model for a in job.attempts] == ["offline-image-standard"]
    assert sum("breaker_open" in line.get("note", "") for line in job.timeline) == 1
