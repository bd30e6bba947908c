"""Whatever is published as a request is accepted or refused by field; nothing else ever happens."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.domain.intake import envelope_of
from shared.domain.job import FINISHED, State
from shared.domain.request_parsing import ALL_FIELDS
from shared.ports import Json
from tests.pipeline.harness import TEXT, Pipeline, assert_history

SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40)
ANYTHING = st.recursive(SCALAR, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=8), v, max_size=3))
WORDS = ("text", "image", "campaign", "A quiet harbour at dawn", "1:1", "512", "fast", "A", "off", "high", "0.01")
ODD = ("", "\ud800", "\x00", 0, -1, True, False, ["offline-text-lite"], {"team": "sea"})
LIKELY = st.sampled_from([*WORDS, *ODD, "offline-text-lite", 1, 2, 24])
FIELD = st.sampled_from(sorted(ALL_FIELDS)) | st.text(max_size=10)
REQUEST = st.fixed_dictionaries(
    {"kind": st.sampled_from(["text", "image", "video"]), "prompt": st.just("A quiet harbour at dawn") | st.text()}
)
PAYLOAD = (
    ANYTHING
    | st.dictionaries(FIELD, LIKELY | ANYTHING, max_size=6)
    | st.builds(lambda request, more: {**more, **request}, REQUEST, st.dictionaries(FIELD, LIKELY, max_size=4))
)
count = iter(range(10**9))


@pytest.fixture(scope="module")
def pipeline() -> Iterator[Pipeline]:
    with tempfile.TemporaryDirectory() as home:
        yield Pipeline(Path(home))


@settings(max_examples=250, derandomize=True, suppress_health_check=list(HealthCheck))
@given(payload=PAYLOAD)
def test_every_payload_becomes_a_job_that_is_admitted_or_refused_by_field(pipeline: Pipeline, payload: Any):
    message_id = f"message-{next(count)}"
    pipeline.deliver("validate", payload, message_id)
    job = pipeline.job(envelope_of(payload, message_id).job_id)
    if job.state in (State.GENERATING, State.PARKED):
        pipeline.end(job.job_id)
        job = pipeline.job(job.job_id)
    elif job.state is not State.SUCCEEDED:
        assert job.state in (State.REFUSED, State.CANCELLED)
        assert job.errors
        assert all(e["code"] and e["message"] and isinstance(e["field"], str) for e in job.errors)
    assert_history(job)
    json.dumps(payload)


@pytest.mark.parametrize(
    "payload, field, code",
    [
        ({**TEXT, "max_cost_us": "1"}, "max_cost_us", "unknown_field"),
        ({"kind": "text"}, "prompt", "required"),
        ({**TEXT, "job_id": "x"}, "job_id", "unknown_field"),
        ({"prompt": "A quiet harbour", "job_id": "x"}, "kind", "required"),
        ([], "", "invalid_type"),
        (None, "", "invalid_type"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, payload: Any, field: str, code: str):
    pipeline = Pipeline(tmp_path)
    pipeline.deliver("validate", payload, "m1")
    pipeline.settle()
    (result,) = pipeline.results
    assert result["type"] == "job.refused"
    assert (field, code) in {(e["field"], e["code"]) for e in result["errors"]}


def test_a_request_without_a_name_is_one_job_for_each_message(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    for message_id in ("m1", "m2", "m1"):
        pipeline.deliver("validate", {**TEXT, "cache": "off"}, message_id)
    assert pipeline.audit().jobs == 2


def test_a_name_that_is_taken_by_other_content_is_refused_and_the_first_job_stays(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    (first,) = pipeline.run({**TEXT, "request_id": "r"})
    other = {**TEXT, "request_id": "r", "prompt": "Something else about the harbour"}
    pipeline.submit(other, copies=3)
    pipeline.settle()
    assert pipeline.job(first.job_id) == first
    assert [r["type"] for r in pipeline.results] == ["job.succeeded", "job.refused"]
    refusal = pipeline.results[1]
    assert refusal["job_id"] != first.job_id
    assert refusal["request_id"] == "r"
    assert [e["code"] for e in refusal["errors"]] == ["idempotency_conflict"]
    assert len(pipeline.calls()) == 1


def test_a_conflict_while_the_first_job_runs_leaves_it_running(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    pipeline.deliver("validate", {**TEXT, "request_id": "r"}, "m1")
    pipeline.deliver("validate", {**TEXT, "request_id": "r", "task": "complex"}, "m2")
    (job,) = pipeline.run({**TEXT, "request_id": "r"})
    pipeline.settle()
    assert job.state is State.SUCCEEDED
    assert sorted(r["type"] for r in pipeline.results) == ["job.refused", "job.succeeded"]


@pytest.mark.parametrize(
    "request_",
    [{"kind": "text", "request_id": "r"}, {**TEXT, "request_id": "r", "prompt": "x" * 2_000_000}],
    ids=["no prompt", "far too long"],
)
def test_a_refused_request_sent_again_has_one_result(tmp_path: Path, request_: Json):
    pipeline = Pipeline(tmp_path)
    pipeline.submit(request_, copies=2)
    pipeline.settle()
    pipeline.submit(request_)
    pipeline.settle()
    assert [r["type"] for r in pipeline.results] == ["job.refused"]


def test_a_refused_request_may_be_corrected_under_a_new_name_only(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    pipeline.submit({"kind": "text", "request_id": "r"})
    pipeline.settle()
    pipeline.submit({**TEXT, "request_id": "r"})
    pipeline.settle()
    assert [r["errors"][0]["code"] for r in pipeline.results] == ["required", "idempotency_conflict"]


def test_a_request_that_validate_cannot_handle_ends_as_failed(tmp_path: Path):
    pipeline = Pipeline(tmp_path, budget_shards=1)
    request = {**TEXT, "request_id": "r"}
    payload = {"request": request, "source": {"object": "a.jsonl", "line": 1}}
    attributes = {"CloudPubSubDeadLetterSourceSubscription": "validate"}
    pipeline.deliver("on_dead_letter", payload, attributes=attributes)
    (job,) = pipeline.jobs([envelope_of(payload, "m").job_id])
    assert (job.state, job.request_id) == (State.FAILED, "r")
    assert job.state in FINISHED


@pytest.mark.parametrize("subscription", ["on_tick", "atelier-on-upload"])
def test_a_lost_tick_or_upload_makes_no_job(tmp_path: Path, subscription: str):
    pipeline = Pipeline(tmp_path)
    attributes = {"CloudPubSubDeadLetterSourceSubscription": subscription}
    pipeline.deliver("on_dead_letter", {"at": "now"}, attributes=attributes)
    assert pipeline.audit().jobs == 0


def test_the_model_is_told_the_rules_of_the_platform_that_its_text_is_checked_by(tmp_path: Path):
    pipeline, seen = Pipeline(tmp_path), []
    provider = pipeline.services.provider("offline")
    real = provider.start
    provider.start = lambda call: (seen.append(call.params["system"]), real(call))[1]  # type: ignore[method-assign]
    pipeline.run({**TEXT, "platform": "bluesky", "system": "Be kind.", "request_id": "r"})
    assert seen == ["Be kind.\n\nWrite one post for Bluesky, of at most 300 characters. Use at most 3 hashtags."]
