"""Stores and bus that fail in the worst moment: nothing bought is lost, nothing is bought in vain, no result lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.domain.job import State
from shared.errors import InvalidMessage, StoreUnavailable, StoreUnusable
from shared.ports import Json
from tests.pipeline.harness import IMAGE, TEXT, Pipeline

REQUEST = {**TEXT, "request_id": "r"}


class Failing:
    """A method that fails at some calls, before or after its work."""

    def __init__(self, owner: object, name: str, error: Exception, when: Callable[[Any], bool], *, after: bool) -> None:
        self.failures = 0
        self._call = getattr(owner, name)
        self._error, self._when, self._after = error, when, after
        setattr(owner, name, self)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if not self._when(arguments[0]):
            return self._call(*arguments, **options)
        if self._after:
            self._call(*arguments, **options)
        self.failures += 1
        raise self._error


def first(times: int) -> Callable[[Any], bool]:
    """The first so many calls."""
    left = iter(range(times))
    return lambda _: next(left, None) is not None


def step_until(pipeline: Pipeline, request: Json, stage: str) -> str:
    """Carry a request until *stage* has its event; return the job's id."""
    (job_id,) = pipeline.submit(request)
    for function in ("validate", "generate", "quality_check", "record_cost"):
        if function == stage:
            return job_id
        pipeline.step(function)
    raise AssertionError(stage)


def test_a_piece_that_cannot_be_stored_for_a_minute_is_not_lost(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    pipeline.services.demand_outputs()
    started = pipeline.clock.now()
    outage = Failing(
        pipeline.services.blobs,
        "create",
        StoreUnavailable("no answer"),
        lambda _: (pipeline.clock.now() - started).total_seconds() < 60,
        after=False,
    )
    (job,) = pipeline.run({**IMAGE, "request_id": "r"})
    assert outage.failures > 3
    assert (job.state, len(job.attempts), job.suspense) == (State.SUCCEEDED, 1, 0)
    assert len(pipeline.calls()) == 1
    pipeline.assert_sound()


def test_nothing_is_bought_while_pieces_cannot_be_stored(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    forbidden = StoreUnusable("no permission on gs://outputs: grant roles/storage.objectUser")
    Failing(pipeline.services.blobs, "create", forbidden, lambda _: True, after=False)
    job_id = step_until(pipeline, REQUEST, "generate")
    for _ in range(3):
        with pytest.raises(StoreUnusable):
            pipeline.deliver("generate", {"job_id": job_id, "seq": 1})
    assert pipeline.calls() == []
    assert pipeline.job(job_id).attempts == ()


def test_a_lease_whose_commit_was_not_answered_is_used(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    job_id = step_until(pipeline, REQUEST, "generate")
    lost = Failing(
        pipeline.services.documents,
        "commit",
        StoreUnavailable("the answer was lost"),
        lambda writes: lost.failures == 0 and any(w.path == f"jobs/{job_id}" for w in writes),
        after=True,
    )
    pipeline.deliver("generate", {"job_id": job_id, "seq": 1})
    job = pipeline.job(job_id)
    assert (lost.failures, job.state, len(pipeline.calls())) == (1, State.CHECKING, 1)


def test_a_lease_that_was_not_committed_makes_no_call(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    job_id = step_until(pipeline, REQUEST, "generate")
    Failing(pipeline.services.documents, "commit", StoreUnavailable("down"), first(1), after=False)
    with pytest.raises(StoreUnavailable):
        pipeline.deliver("generate", {"job_id": job_id, "seq": 1})
    assert pipeline.calls() == []
    pipeline.deliver("generate", {"job_id": job_id, "seq": 1}, attempt=2)
    assert len(pipeline.calls()) == 1


def test_a_result_that_was_not_published_is_published_however_the_delivery_is_counted(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    job_id = step_until(pipeline, REQUEST, "record_cost")
    event = {"job_id": job_id, "seq": pipeline.job(job_id).seq}
    Failing(pipeline.services.bus, "publish", StoreUnavailable("down"), first(1), after=False)
    with pytest.raises(StoreUnavailable):
        pipeline.deliver("record_cost", event)
    assert pipeline.job(job_id).state is State.SUCCEEDED
    another = Pipeline(tmp_path)  # an instance that knows nothing of the first try
    another.deliver("record_cost", event, attempt=1)
    another.settle()
    assert [r["type"] for r in another.results] == ["job.succeeded"]


def test_a_cancellation_that_was_not_published_is_published_by_the_next_one(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    job_id = step_until(pipeline, REQUEST, "generate")
    pipeline.system.bus.ack(pipeline.system.bus.lease(["generate"], 1))  # else its late copy would do it
    Failing(pipeline.services.bus, "publish", StoreUnavailable("down"), first(1), after=False)
    with pytest.raises(StoreUnavailable):
        pipeline.end(job_id)
    pipeline.end(job_id)
    pipeline.end(job_id)
    pipeline.settle()
    assert [r["type"] for r in pipeline.results] == ["job.cancelled"]


def test_a_dead_letter_whose_result_was_not_published_is_published_by_the_next_delivery(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    Failing(pipeline.services.bus, "publish", StoreUnavailable("down"), first(1), after=False)
    attributes = {"CloudPubSubDeadLetterSourceSubscription": "validate"}
    with pytest.raises(StoreUnavailable):
        pipeline.deliver("on_dead_letter", REQUEST, attributes=attributes)
    pipeline.deliver("on_dead_letter", REQUEST, attributes=attributes, attempt=2)
    pipeline.settle()
    assert [r["type"] for r in pipeline.results] == ["job.failed"]


def test_an_event_whose_own_message_the_bus_refuses_is_not_acknowledged(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    job_id = step_until(pipeline, REQUEST, "generate")
    Failing(pipeline.services.bus, "publish", InvalidMessage("a schema says no"), first(1), after=False)
    with pytest.raises(InvalidMessage):
        pipeline.deliver("generate", {"job_id": job_id, "seq": 1})
