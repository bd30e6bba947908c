"""An attempt that takes several paid calls: each is its own step, and what was delivered is kept whatever follows."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from shared.clock import ManualClock
from shared.domain.intake import Envelope
from shared.domain.job import AttemptState, Job, State
from shared.domain.result import result_of
from shared.errors import RateLimited, Unavailable
from shared.ports import Call, Done, Json, Pending
from shared.providers.offline import FaultPlan
from shared.resilience.limiters import Denied, Grant
from tests.pipeline.harness import IMAGE, Pipeline, assert_history

FINE, STANDARD, DRAFT = "offline-image-fine", "offline-image-standard", "offline-image-draft"
ONE_AT_A_TIME = "".join(f'[[model]]\nid = "{m}"\npieces_per_call = 1\n' for m in (FINE, STANDARD, DRAFT))
FOUR = {**IMAGE, "model": FINE, "count": 4, "request_id": "four", "fallback": False}
PRICE = 40_000  # micro-USD for one picture of the fine model


def pipeline(tmp_path: Path, **settings: object) -> Pipeline:
    (tmp_path / "own.toml").write_text(ONE_AT_A_TIME)
    return Pipeline(tmp_path / "home", catalogue=str(tmp_path / "own.toml"), **settings)


def faults_at(wanted: Sequence[str | None], rates: dict[str, float], request: Json = FOUR) -> Json:
    """Rates and a seed by which the calls of the first attempt meet exactly the *wanted* faults."""
    job_id = Envelope(request, "").job_id
    keys = [f"{job_id}-1" + (f".{n}" if n else "") for n in range(len(wanted))]
    for seed in count():
        plan = FaultPlan.parse({**rates, "seed": seed})
        drawn = [plan.draw(Call(key, "", 1, "image", FINE, None, {}, "", 1.0)) for key in keys]  # type: ignore[arg-type]
        if drawn == list(wanted):
            return {**rates, "seed": seed}
    raise AssertionError


def run(tmp_path: Path, request: Json = FOUR, **settings: object) -> tuple[Pipeline, Job]:
    system = pipeline(tmp_path, **settings)
    (job,) = system.run(request)
    system.settle()
    assert_history(job)
    system.assert_sound()
    return system, job


def test_four_pictures_are_four_calls_of_one_attempt_and_each_is_another_picture(tmp_path: Path):
    system, job = run(tmp_path)
    (attempt,) = job.attempts
    assert job.state is State.SUCCEEDED
    assert [call["call_id"] for call in system.calls()] == [f"{job.job_id}-1{part}" for part in ("", ".1", ".2", ".3")]
    assert (attempt.cost_micro_usd, attempt.usage) == (4 * PRICE, {"image": 4})
    assert [piece.uri.rpartition("/")[2] for piece in attempt.pieces] == ["0.png", "1.png", "2.png", "3.png"]
    assert len({piece.sha256 for piece in attempt.pieces}) == 4
    assert result_of(job)["attempts"] == 1


def test_the_seeds_of_later_pictures_stay_within_what_vendors_take(tmp_path: Path):
    system, seeds = pipeline(tmp_path), []
    provider = system.services.provider("offline")
    real = provider.start
    provider.start = lambda call: (seeds.append(call.params["seed"]), real(call))[1]  # type: ignore[method-assign]
    system.run({**FOUR, "count": 3, "seed": 2**31 - 1})
    assert seeds == [2**31 - 1, 0, 1]


@pytest.mark.parametrize("part", range(4))
def test_whoever_dies_during_a_call_loses_and_repeats_none_of_the_others(tmp_path: Path, part: int):
    system = pipeline(tmp_path, clock=ManualClock())
    real = system.services.provider("offline").start
    killed = []

    def start(call: Call) -> Done | Pending:
        done = real(call)
        if call.part == part and not killed:
            killed.append(call.key)
            raise KeyboardInterrupt
        return done

    system.services.provider("offline").start = start  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        system.run(FOUR)
    (job,) = system.run(FOUR)
    system.settle()
    assert (job.state, len(job.attempts[0].pieces), job.spent) == (State.SUCCEEDED, 4, 4 * PRICE)
    assert len(system.calls()) == 4
    system.assert_sound()


def test_a_call_that_is_blocked_leaves_the_pieces_of_the_others(tmp_path: Path):
    faults = faults_at([None, None, "blocked"], {"blocked": 0.4})
    system, job = run(tmp_path, offline_faults=faults)
    (attempt,) = job.attempts
    assert (job.state, len(attempt.pieces), job.spent) == (State.SUCCEEDED, 2, 2 * PRICE)
    assert attempt.error is not None
    assert attempt.error["code"] == "blocked"
    assert [c["name"] for c in attempt.checks if not c["passed"]] == ["count"]
    assert len(system.calls()) == 2


def test_a_call_that_finds_no_capacity_is_made_again_later(tmp_path: Path):
    system = pipeline(tmp_path, clock=ManualClock())
    provider, refusals = system.services.provider("offline"), [RateLimited("busy"), Unavailable("down")]
    real = provider.start

    def start(call: Call) -> Done | Pending:
        if call.part == 2 and refusals:
            raise refusals.pop()
        return real(call)

    provider.start = start  # type: ignore[method-assign]
    (job,) = system.run(FOUR)
    assert (job.state, len(job.attempts), job.spent) == (State.SUCCEEDED, 1, 4 * PRICE)
    assert [line["to"] for line in job.timeline].count("parked") == 2
    assert len(system.calls()) == 4


def test_after_some_misses_in_a_row_the_job_is_content_with_what_was_delivered(tmp_path: Path):
    system = pipeline(tmp_path, clock=ManualClock())
    provider = system.services.provider("offline")
    real = provider.start

    def start(call: Call) -> Done | Pending:
        if call.part == 1:
            raise Unavailable("down")
        return real(call)

    provider.start = start  # type: ignore[method-assign]
    (job,) = system.run(FOUR)
    assert (job.state, len(job.attempts[0].pieces), job.spent) == (State.SUCCEEDED, 1, PRICE)
    assert len(system.calls()) == 1


def test_calls_that_fail_and_are_charged_are_not_repeated_beyond_the_price(tmp_path: Path):
    system = pipeline(tmp_path, clock=ManualClock())
    provider = system.services.provider("offline")
    real = provider.start

    def start(call: Call) -> Done | Pending:
        if call.part:
            raise Unavailable("failed at its end", cost_micro_usd=PRICE)
        return real(call)

    provider.start = start  # type: ignore[method-assign]
    (job,) = system.run({**FOUR, "max_cost_usd": "0.16"})
    assert (job.state, len(job.attempts[0].pieces)) == (State.SUCCEEDED, 1)
    assert job.spent <= 4 * PRICE
    system.assert_sound()


def test_pieces_in_hand_do_not_wait_for_capacity_beyond_the_deadline(tmp_path: Path):
    system = pipeline(tmp_path, clock=ManualClock())
    real, granted = system.services.limiters.acquire, iter([True])

    def acquire(model: str, tokens: int = 0) -> Grant | Denied:
        if next(granted, False):
            return real(model, tokens)
        return Denied(system.clock.now() + timedelta(days=1), "rpd")

    system.services.limiters.acquire = acquire  # type: ignore[method-assign]
    (job,) = system.run(FOUR)
    assert (job.state, len(job.attempts[0].pieces), job.spent) == (State.SUCCEEDED, 1, PRICE)


def test_a_job_whose_model_has_no_capacity_before_its_deadline_goes_on_to_the_next(tmp_path: Path):
    system = pipeline(tmp_path, clock=ManualClock())
    real = system.services.limiters.acquire

    def acquire(model: str, tokens: int = 0) -> Grant | Denied:
        return Denied(system.clock.now() + timedelta(days=1), "rpd") if model == FINE else real(model, tokens)

    system.services.limiters.acquire = acquire  # type: ignore[method-assign]
    (job,) = system.run({**FOUR, "fallback": [STANDARD]})
    assert [(a.model, a.state) for a in job.attempts] == [(STANDARD, AttemptState.DELIVERED)]


def test_a_call_whose_answer_is_lost_is_set_apart_with_its_share_in_suspense(tmp_path: Path):
    request = {**FOUR, "model": DRAFT}
    system = pipeline(tmp_path, offline_faults={**faults_at([None, "ambiguous"], {"ambiguous": 0.5}, request)})
    (job,) = system.run(request)
    first, doubt = job.attempts
    assert (first.state, len(first.pieces), first.cost_micro_usd) == (AttemptState.DELIVERED, 1, 5_000)
    assert (doubt.state, doubt.doubt_of, doubt.part) == (AttemptState.UNKNOWN, 1, 1)
    assert (doubt.suspense_micro_usd, job.spent, job.hold) == (5_000, 5_000, 0)
    assert (result_of(job)["attempts"], result_of(job)["grade"]) == (1, first.grade)
    system.assert_sound()
    system.clock.sleep(90_000)
    system.tick()
    system.settle()
    assert (system.job(job.job_id).spent, system.job(job.job_id).suspense) == (10_000, 0)
    system.assert_sound()


def test_a_job_that_is_cancelled_between_two_calls_pays_for_what_it_got(tmp_path: Path):
    system = pipeline(tmp_path, clock=ManualClock())
    (job_id,) = system.submit(FOUR)
    system.drain(lambda: bool((found := system.services.jobs.get(job_id)) and found.job.begun_attempt))
    system.end(job_id)
    system.settle()
    job = system.job(job_id)
    assert (job.state, job.spent, job.hold, job.suspense) == (State.CANCELLED, PRICE, 0, 0)
    assert len(system.calls()) == 1
    system.assert_sound()


def test_a_hint_finds_a_call_that_was_in_doubt(tmp_path: Path):
    system = pipeline(tmp_path, offline_faults={"ambiguous": 1, "models": [FINE]}, clock=ManualClock())
    provider = system.services.provider("offline")
    real, provider.find = provider.find, lambda call: None  # type: ignore[assignment, method-assign]
    (job,) = system.run({**IMAGE, "model": FINE, "request_id": "r", "fallback": False}, rounds=50_000)
    number = job.attempts[0].number
    assert job.attempts[0].suspense_micro_usd == PRICE
    provider.find = real  # type: ignore[method-assign]
    # Also when the job has moved on since the hint was sent.
    system.deliver("generate", {"job_id": job.job_id, "seq": job.seq - 1, "attempt": number, "seek": True})
    system.settle()
    found = system.job(job.job_id).attempt(number)
    assert (found.booked, found.suspense_micro_usd, len(found.pieces)) == (True, 0, 1)
    system.assert_sound()


@pytest.mark.parametrize("turns_up", [True, False])
def test_before_money_in_doubt_is_booked_as_spent_the_call_is_looked_for_once_more(tmp_path: Path, turns_up: bool):
    system = pipeline(tmp_path, offline_faults={"ambiguous": 1, "models": [FINE]}, max_attempts=1)
    provider = system.services.provider("offline")
    real, provider.find = provider.find, lambda call: None  # type: ignore[assignment, method-assign]
    (job,) = system.run({**IMAGE, "model": FINE, "request_id": "r", "fallback": False})
    assert (job.state, job.suspense) == (State.FAILED, PRICE)
    if turns_up:
        provider.find = real  # type: ignore[method-assign]
    system.clock.sleep(90_000)
    system.tick()
    system.settle()
    (attempt,) = system.job(job.job_id).attempts
    assert (attempt.booked, attempt.cost_micro_usd, len(attempt.pieces)) == (True, PRICE, int(turns_up))
    assert attempt.basis == ("usage" if turns_up else "unconfirmed")
    system.assert_sound()
