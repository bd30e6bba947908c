"""A prompt that a vendor's safety filter refused may be softened once, where request and policy ask for that."""

from pathlib import Path

import pytest

from functions._explain import explanation
from shared.domain.job import Job, State
from shared.domain.prompt import rewrite
from shared.errors import Blocked
from shared.ports import Call, Done, Json, Pending
from tests.pipeline.harness import IMAGE, Pipeline, assert_history

HARSH = {
    **IMAGE,
    "prompt": "A knight with a bloody sword at dusk, in the style of a famous painter, by a river",
    "model": "offline-image-fine",
    "request_id": "r",
}


def run(tmp_path: Path, request: Json = HARSH, *, strict: bool = False, **settings: object) -> tuple[list[str], Job]:
    """The prompts that reached the vendor, who refuses what is harsh, or when strict everything; and the job."""
    pipeline = Pipeline(tmp_path, **settings)
    provider, seen = pipeline.services.provider("offline"), []
    real = provider.start

    def start(call: Call) -> Done | Pending:
        seen.append(call.params["prompt"])
        if strict or "bloody" in call.params["prompt"]:
            raise Blocked("refused")
        return real(call)

    provider.start = start  # type: ignore[method-assign]
    (job,) = pipeline.run(request)
    assert_history(job)
    pipeline.assert_sound()
    return seen, job


def test_a_refused_prompt_is_softened_and_both_texts_and_the_difference_are_kept(tmp_path: Path):
    seen, job = run(tmp_path, rewrite_when_blocked=True)
    assert job.state is State.SUCCEEDED
    assert len(seen) == 2
    told = job.prompt["rewritten"]
    assert (told["before"], told["after"]) == tuple(seen)
    assert {"words": "bloody", "by": "crimson"} in told["replaced"]
    assert {"words": "in the style of a famous painter", "by": ""} in told["replaced"]
    assert job.original_prompt == HARSH["prompt"]
    assert "bloody -> crimson" in explanation(job, [])


def test_it_is_done_at_most_once(tmp_path: Path):
    seen, job = run(tmp_path, strict=True, rewrite_when_blocked=True)
    assert (job.state, job.errors[-1]["code"], len(seen)) == (State.FAILED, "blocked", 2)


@pytest.mark.parametrize(
    ("request_", "settings"),
    [
        (HARSH, {}),
        ({**HARSH, "enhance_prompt": False}, {"rewrite_when_blocked": True}),
        ({**HARSH, "prompt": "A paper boat on a quiet pond, that nobody refuses"}, {"rewrite_when_blocked": True}),
    ],
)
def test_it_is_not_done_unless_both_ask_for_it_and_something_can_be_softened(
    tmp_path: Path, request_: Json, settings: Json
):
    seen, job = run(tmp_path, request_, strict=True, **settings)
    assert (job.state, len(seen), "rewritten" in job.prompt) == (State.FAILED, 1, False)


def test_it_is_not_done_with_money_that_is_not_there(tmp_path: Path):
    pipeline = Pipeline(tmp_path, rewrite_when_blocked=True)
    seen: list[str] = []

    def start(call: Call) -> Done | Pending:
        seen.append(call.params["prompt"])
        raise Blocked("made, refused and charged", cost_micro_usd=40_000)

    pipeline.services.provider("offline").start = start  # type: ignore[method-assign]
    (job,) = pipeline.run({**HARSH, "max_cost_usd": "0.05", "fallback": False})
    assert (job.state, job.errors[-1]["code"], job.spent, len(seen)) == (State.FAILED, "blocked", 40_000, 1)


def test_whole_words_are_replaced_whatever_their_case_and_the_longest_first():
    found = rewrite("A Dead Body, a warm wall and a GUN")
    assert found is not None
    assert found.text == "A resting figure, a warm wall and a hand-held tool"


def test_a_prompt_that_would_be_nothing_but_imitation_is_left_alone():
    assert rewrite("in the style of Somebody") is None
