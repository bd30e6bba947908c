"""Every deployed function in a Functions Framework process of its own, as `infra/functions.json` starts it."""

import json
import logging
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.adapters import wiring
from shared.domain.intake import Envelope
from shared.domain.job import State
from shared.ports import Json
from shared.stores.audit import audit
from tests.functions.serving import JSON_TYPE, ROOT, Cloud, Served, ce_headers, forwarded, push

ROWS = wiring.functions()
EVENT_FUNCTIONS = [name for name, row in ROWS.items() if "topic" in row["trigger"]]
STAGES = ["validate", "generate", "fallback", "quality_check", "record_cost"]
MANIFEST = b'{"kind": "text", "prompt": "A line about the harbour", "request_id": "%s"}\n{"kind": \n'
MUST_STAY_UNLOADED = {"numpy", "cv2", "PIL", "av", "jsonschema", "google.cloud", "google.genai", "sqlite3", "jinja2"}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    logging.getLogger("atelier").setLevel(logging.CRITICAL)
    running = Cloud(tmp_path_factory.mktemp("cloud"))
    yield running
    running.stop()


@pytest.fixture
def cloud(system: Cloud) -> Cloud:
    """The running system with nothing on its way."""
    system.take()
    return system


def text(name: str) -> Json:
    """A request for a text of its own."""
    return {"kind": "text", "prompt": f"A short note about {name}", "task": "fast", "request_id": name}


def topics(cloud: Cloud) -> list[str]:
    """The topics of what is on its way, which is taken."""
    return sorted(delivery.topic for delivery in cloud.take())


# ---------------------------------------------------------------- each function does its work


def structured(event_id: str, data: Json) -> tuple[Json, dict[str, str]]:
    headers = ce_headers(event_id)
    names = {"id": event_id, "specversion": "1.0", "type": headers["ce-type"], "source": headers["ce-source"]}
    return {**names, "datacontenttype": "application/json", "data": data}, {
        "content-type": "application/cloudevents+json"
    }


ENVELOPES = {
    "push": lambda event_id, data: (data, JSON_TYPE),
    "binary": lambda event_id, data: (data, ce_headers(event_id)),
    "structured": structured,
}


@pytest.mark.parametrize("envelope", list(ENVELOPES))
def test_validate_makes_a_job_of_a_request_in_every_envelope(cloud: Cloud, envelope: str) -> None:
    request = text(f"envelope-{envelope}")
    body, headers = ENVELOPES[envelope]("11", push(request, message_id="11"))
    [served] = cloud.served("validate")
    assert served.send(body, headers).status == 204
    assert cloud.job(Envelope(request, "").job_id).state is State.GENERATING
    assert topics(cloud) == ["generate"]


def test_validate_accepts_a_request_of_attributes_alone(cloud: Cloud) -> None:
    request = text("attributes-alone")
    [served] = cloud.served("validate")
    assert served.send(push(message_id="12", attributes=request)).status == 204
    assert cloud.job(Envelope(request, "").job_id).original_prompt == request["prompt"]


@pytest.mark.parametrize(
    "stage, state, topic",
    [
        ("generate", State.CHECKING, "quality-check"),
        ("quality_check", State.RECORDING, "record-cost"),
        ("record_cost", State.SUCCEEDED, "results"),
    ],
)
@pytest.mark.parametrize("by_attributes", [False, True])
def test_a_stage_moves_a_job_on(cloud: Cloud, stage: str, state: State, topic: str, by_attributes: bool) -> None:
    delivery = cloud.carry(text(f"moved-{stage}-{by_attributes}"), stage)
    body = forwarded(delivery)
    if by_attributes:
        attributes = {k: str(v) for k, v in delivery.payload.items() if k in ("job_id", "seq")}
        body = push(message_id="13", attributes=attributes)
    [served] = cloud.served(stage)
    assert served.send(body).status == 204
    job = cloud.job(delivery.payload["job_id"])
    assert (job.state, job.seq) == (state, delivery.payload["seq"] + 1)
    assert topics(cloud) == [topic]


def test_fallback_chooses_the_next_candidate_after_a_failed_attempt(cloud: Cloud) -> None:
    request = {**text("fallen"), "fallback": True}
    delivery = cloud.carry(request, "fallback", offline_faults={"unavailable": 1.0})
    failed = cloud.job(delivery.payload["job_id"])
    [served] = cloud.served("fallback")
    assert served.send(forwarded(delivery)).status == 204
    job = cloud.job(failed.job_id)
    assert (job.state, job.seq) == (State.GENERATING, failed.seq + 1)
    assert job.choice != failed.choice
    assert topics(cloud) == ["generate"]


@pytest.mark.parametrize("form", ["notification", "cloud-event"])
def test_on_upload_publishes_the_lines_of_a_manifest_and_writes_what_is_wrong_beside_it(
    cloud: Cloud, form: str
) -> None:
    name = f"{form}.jsonl"
    stored = cloud.services.blobs.create(f"gs://inbox/{name}", MANIFEST % form.encode(), "application/json")
    found = {"bucket": "atelier-inbox", "name": name, "generation": stored.generation, "size": "90"}
    attributes = {
        "eventType": "OBJECT_FINALIZE",
        "bucketId": "atelier-inbox",
        "objectId": name,
        "objectGeneration": stored.generation,
    }
    notification = push(found, message_id="14", attributes=attributes), JSON_TYPE
    event = found, ce_headers("14", "google.cloud.storage.object.v1.finalized")
    [served] = cloud.served("on_upload")
    assert served.send(*(notification if form == "notification" else event)).status == 204
    [published] = cloud.take()
    assert published.payload["request"]["request_id"] == form
    errors = json.loads(cloud.services.blobs.read(f"gs://inbox/{name}.errors.json", 10_000))["errors"]
    assert [error["line"] for error in errors] == [2]


def test_on_tick_sends_the_lost_event_of_a_job_again(cloud: Cloud) -> None:
    lost = cloud.carry(text("lost"), "generate")
    loaded = cloud.services.jobs.get(lost.payload["job_id"])
    assert loaded is not None
    past = cloud.services.clock.now() - timedelta(seconds=1)
    cloud.services.jobs.commit(loaded, replace(loaded.job, due_at=past))
    [served] = cloud.served("on_tick")
    assert served.send(push(message_id="15", attributes={"tick": "1"})).status == 204
    assert [(d.topic, d.payload) for d in cloud.take()] == [("generate", lost.payload)]


def test_on_dead_letter_fails_the_job_of_an_event_that_pubsub_gave_up(cloud: Cloud) -> None:
    delivery = cloud.carry(text("given-up"), "quality_check")
    source = {
        "CloudPubSubDeadLetterSourceDeliveryCount": "10",
        "CloudPubSubDeadLetterSourceSubscription": "quality-check",
        "CloudPubSubDeadLetterSourceSubscriptionProject": "p",
        "CloudPubSubDeadLetterSourceTopicPublishTime": "2026-11-21T12:00:00Z",
    }
    [served] = cloud.served("on_dead_letter")
    assert served.send(push(delivery.payload, message_id="16", attributes=source)).status == 204
    job = cloud.job(delivery.payload["job_id"])
    assert job.state is State.FAILED
    assert [(e["code"], e["message"]) for e in job.errors] == [
        ("dead_letter", "given up after 10 deliveries at quality-check")
    ]
    assert topics(cloud) == ["results"]


def test_ops_shows_the_job_and_says_that_it_is_well(cloud: Cloud) -> None:
    request = text("shown-on-the-page")
    cloud.carry(request, "generate")
    [served] = cloud.served("ops")
    page, health = served.send(b"", {}, method="GET"), served.send(b"", {}, method="GET", path="/health")
    assert page.status == 200
    assert Envelope(request, "").job_id[:12].encode() in page.body
    assert (health.status, json.loads(health.body)["status"]) == (200, "ok")


# ---------------------------------------------------------------- what is not an event


MALFORMED: dict[str, tuple[Any, dict[str, str]]] = {
    "empty": (b"", JSON_TYPE),
    "empty without a type": (b"", {}),
    "not JSON": (b"a=1&b=2", JSON_TYPE),
    "a list": ([push("x", message_id="1")], JSON_TYPE),
    "a message that is no object": ({"message": 3}, JSON_TYPE),
    "data that is no text": ({"message": {"data": {"kind": "text"}}}, JSON_TYPE),
    "the payload alone": ({"kind": "text", "prompt": "A line about the sea"}, JSON_TYPE),
    "a CloudEvent without an id": (
        push({}, message_id="1"),
        {k: v for k, v in ce_headers("1").items() if k != "ce-id"},
    ),
    "a CloudEvent that is not JSON": (b"{", ce_headers("1")),
    "a structured CloudEvent of nothing": ({}, {"content-type": "application/cloudevents+json"}),
}


@pytest.mark.parametrize("name", EVENT_FUNCTIONS)
def test_what_is_no_event_is_answered_400_with_a_reason(cloud: Cloud, name: str) -> None:
    [served] = cloud.served(name)
    for what, (body, headers) in MALFORMED.items():
        answer = served.send(body, headers)
        assert answer.status == 400, what
        assert answer.headers["Content-Type"] == "application/json", what
        assert len(json.loads(answer.body)["error"]) > 15, what
    assert served.err.read_text() == ""
    assert cloud.take() == []


@pytest.mark.parametrize("name", EVENT_FUNCTIONS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_an_event_function_answers_other_methods_405(cloud: Cloud, name: str, method: str) -> None:
    [served] = cloud.served(name)
    answer = served.send(b"", {}, method=method)
    assert (answer.status, answer.headers.get("Allow")) == (405, "POST")
    assert "POST" in json.loads(answer.body)["error"]


@pytest.mark.parametrize("name", STAGES)
def test_an_event_ahead_of_its_job_is_nacked_with_a_time_to_come_back(cloud: Cloud, name: str) -> None:
    delivery = cloud.carry(text(f"ahead-{name}"), "generate")
    [served] = cloud.served(name)
    for payload in ({**delivery.payload, "seq": 99}, {"job_id": "0" * 32, "seq": 1}):
        answer = served.send(push(payload, message_id="17"))
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert cloud.job(delivery.payload["job_id"]).seq == delivery.payload["seq"]
    assert cloud.take() == []


@pytest.mark.parametrize("name", [name for name in STAGES if name != "validate"])
def test_an_event_that_names_no_job_is_acknowledged_so_that_it_blocks_nobody(cloud: Cloud, name: str) -> None:
    [served] = cloud.served(name)
    for body in (push({"seq": 1}, message_id="18"), push({"job_id": "a/b", "seq": 1}, message_id="19")):
        assert served.send(body).status == 204
    assert cloud.take() == []


def test_a_message_that_is_not_json_ends_as_a_refused_job(cloud: Cloud) -> None:
    body = {"message": {"data": "bm90IEpTT04=", "messageId": "not-json-1"}}
    [served] = cloud.served("validate")
    assert served.send(body).status == 204
    [result] = cloud.take()
    assert (result.topic, result.payload["type"], result.payload["errors"][0]["code"]) == (
        "results",
        "job.refused",
        "not_json",
    )


@pytest.mark.parametrize("name", EVENT_FUNCTIONS)
def test_every_line_a_function_writes_is_a_json_log_entry(cloud: Cloud, name: str) -> None:
    [served] = cloud.served(name)
    served.send(b"[]")
    served.send(push({"job_id": "a/b", "seq": 1}, message_id="20"))
    lines = [json.loads(line) for line in served.out.read_text().splitlines()]
    assert {"event.unreadable"} <= {line["message"] for line in lines}
    assert all(line["severity"] for line in lines)


def test_a_setting_that_is_not_one_is_a_nack_and_the_log_names_it(tmp_path: Path) -> None:
    with closing(Served("validate", tmp_path, ATELIER_DAYLY_BUDGET_USD="5")) as served:
        served.ready()
        answer = served.send(push(text("no-settings"), message_id="21"))
        assert (answer.status, "SettingsError" in json.loads(answer.body)["error"]) == (500, True)
        log = served.err.read_text()
    assert "ATELIER_DAYLY_BUDGET_USD is not a setting; did you mean ATELIER_DAILY_BUDGET_USD?" in log
    assert "Traceback" not in log


# ---------------------------------------------------------------- all of them together


def test_jobs_succeed_through_processes_that_share_only_the_stores(cloud: Cloud) -> None:
    functions = dict(zip([*STAGES, "on_tick"], cloud.served(*STAGES, "on_tick"), strict=True))
    requests = [
        text("together"),
        {"kind": "image", "prompt": "A paper boat on a quiet pond", "size": "512", "request_id": "together-image"},
        {"kind": "video", "prompt": "A paper boat drifting", "duration_s": 1, "request_id": "together-video"},
    ]
    job_ids = [cloud.submit(request) for request in requests]
    waiting = deque(cloud.take())
    results: list[Json] = []
    until = cloud.services.clock.now() + timedelta(seconds=60)
    while len(results) < len(requests):
        assert cloud.services.clock.now() < until, [cloud.job(job_id).state for job_id in job_ids]
        if waiting and waiting[0].subscription == wiring.RESULTS:
            results.append(waiting.popleft().payload)
            continue
        name = waiting[0].subscription if waiting else "on_tick"
        body = forwarded(waiting.popleft()) if waiting else push({"at": "now"}, message_id="tick")
        assert functions[name].send(body).status == 204
        assert functions[name].send({**body, "deliveryAttempt": 2}).status == 204  # a redelivery changes nothing
        published = cloud.take()
        assert {d.topic for d in published} <= set(ROWS[name]["publishes"])
        waiting.extend(published)
    assert sorted(r["job_id"] for r in results) == sorted(job_ids)
    assert [cloud.job(job_id).state for job_id in job_ids] == [State.SUCCEEDED] * len(requests)
    calls = [json.loads(line) for line in (cloud.home / "offline_calls.jsonl").read_text().splitlines()]
    bought = [call["call_id"] for call in calls if call["call_id"].rpartition("-")[0] in job_ids]
    assert sorted(bought) == sorted(f"{job_id}-1" for job_id in job_ids)
    s = cloud.services
    assert audit(s.documents, s.jobs, s.ledger, s.clock.now()).problems == []


# ---------------------------------------------------------------- what an import costs


def test_importing_an_event_function_loads_no_decoder_no_vendor_sdk_and_no_database() -> None:
    program = (
        "import functions_framework, importlib, json, sys\n"
        "bare, loaded = set(sys.modules), {}\n"
        f"for name in {EVENT_FUNCTIONS!r}:\n"
        "    importlib.import_module(f'functions.{name}')\n"
        f"    loaded[name] = sorted(({MUST_STAY_UNLOADED!r} & set(sys.modules)) - bare)\n"
        "print(json.dumps(loaded))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {name: [] for name in EVENT_FUNCTIONS}


def test_what_was_measured_is_handed_over_when_the_process_is_told_to_end(tmp_path: Path) -> None:
    """Without credentials each try to hand over leaves a line, so that the last one can be counted."""
    none = str(tmp_path / "none.json")
    served = Served(
        "on_tick", tmp_path, ATELIER_METRICS_URL="monitoring://my-project", GOOGLE_APPLICATION_CREDENTIALS=none
    )
    with closing(served):
        served.ready()
        assert served.send(push({}, message_id="1")).status == 204
        before = served.out.read_text().count("metrics.not_written")
    assert served.out.read_text().count("metrics.not_written") == before + 1
