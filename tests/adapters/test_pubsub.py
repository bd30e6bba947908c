"""What is particular to Pub/Sub: requests and their limits, errors that say what to do, and the declared topology."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.pubsub_v1 import PublisherClient, PublishRequest, PublishResponse, SubscriberClient, Subscription

from functions._emulated.processes import free_port
from shared.adapters import pubsub_topology, wiring
from shared.adapters.pubsub import MAX_REQUEST_BYTES, PubSubBus
from shared.adapters.pubsub_pull import PubSubConsumer
from shared.errors import InvalidMessage, SettingsError, StoreUnavailable, StoreUnusable
from shared.ports import Message
from tests.emulators import needs_emulators

PROJECT = "test-project"
Publish = Callable[[PublishRequest, grpc.ServicerContext], PublishResponse]


@contextmanager
def service(publish: Publish, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Pub/Sub that only publishes, in a way of its own."""
    handler = grpc.unary_unary_rpc_method_handler(publish, PublishRequest.deserialize, PublishResponse.serialize)
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", {"Publish": handler})]
    )
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    server.start()
    try:
        yield
    finally:
        server.stop(None).wait()


def refusing(code: grpc.StatusCode, text: str, calls: list[float] | None = None) -> Publish:
    def publish(_: PublishRequest, context: grpc.ServicerContext) -> PublishResponse:
        if calls is not None:
            calls.append(time.monotonic())
        context.abort(code, text)
        raise AssertionError

    return publish


# ---------------------------------------------------------------- requests


def test_one_request_per_topic_in_the_callers_order(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[PublishRequest] = []

    def publish(request: PublishRequest, _: grpc.ServicerContext) -> PublishResponse:
        requests.append(request)
        return PublishResponse()

    messages = [Message(topic, {"n": n}, {"n": str(n)}) for n in range(3) for topic in ("first", "second")]
    with service(publish, monkeypatch), closing(PubSubBus(PROJECT)) as bus:
        bus.publish(messages)
    assert [request.topic for request in requests] == [f"projects/{PROJECT}/topics/{t}" for t in ("first", "second")]
    for request in requests:
        assert [(m.data, dict(m.attributes)) for m in request.messages] == [
            (b'{"n":%d}' % n, {"n": str(n)}) for n in range(3)
        ]


def test_requests_stay_within_the_services_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    sizes: list[int] = []

    def publish(request: PublishRequest, _: grpc.ServicerContext) -> PublishResponse:
        counts.append(len(request.messages))
        sizes.append(PublishRequest.pb(request).ByteSize())
        return PublishResponse()

    large = [Message("large", {"text": "x" * 1_000_000}) for _ in range(20)]
    with service(publish, monkeypatch), closing(PubSubBus(PROJECT)) as bus:
        bus.publish([Message("small", {"n": n}) for n in range(2_500)])
        bus.publish([*large, Message("large", {"text": "x" * 9_900_000}), *large])
    assert counts[:3] == [1_000, 1_000, 500]
    assert sum(counts[3:]) == 41
    assert sorted(sizes)[-2] <= MAX_REQUEST_BYTES + 100 < max(sizes) <= 10_000_000  # the largest goes alone


def test_nothing_is_sent_when_one_message_is_over_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []
    with (
        service(refusing(grpc.StatusCode.INTERNAL, "", calls), monkeypatch),
        closing(PubSubBus(PROJECT)) as bus,
        pytest.raises(InvalidMessage),
    ):
        bus.publish([Message("first", {}), Message("second", {"text": "x" * 10_000_000})])
    assert calls == []


@needs_emulators
def test_all_of_2500_messages_arrive(emulated_project: str) -> None:
    pubsub_topology.create(emulated_project)
    with closing(PubSubBus(emulated_project)) as bus, closing(PubSubConsumer(emulated_project)) as consumer:
        bus.publish([Message("results", {}, {"n": str(n)}) for n in range(2_500)])
        found: set[str] = set()
        while received := consumer.pull("results", 1_000, 1):
            found |= {message.attributes["n"] for message in received}
            consumer.acknowledge("results", [message.ack_id for message in received])
    assert found == {str(n) for n in range(2_500)}


@needs_emulators
def test_a_message_of_nearly_10_mb_arrives(emulated_project: str) -> None:
    pubsub_topology.create(emulated_project)
    with closing(PubSubBus(emulated_project)) as bus, closing(PubSubConsumer(emulated_project)) as consumer:
        bus.publish([Message("results", {"text": "x" * 9_900_000})])
        [received] = consumer.pull("results", 1, 10)
    assert len(received.data) == 9_900_000 + len('{"text":""}')


@needs_emulators
def test_many_threads_share_one_client(emulated_project: str) -> None:
    pubsub_topology.create(emulated_project)
    with (
        closing(PubSubBus(emulated_project)) as bus,
        closing(PubSubConsumer(emulated_project)) as consumer,
        ThreadPoolExecutor(16) as threads,
    ):
        list(threads.map(lambda n: bus.publish([Message("results", {}, {"n": str(n)})]), range(300)))
        found: set[str] = set()
        while received := consumer.pull("results", 1_000, 0.5):
            found |= {message.attributes["n"] for message in received}
    assert found == {str(n) for n in range(300)}


# ---------------------------------------------------------------- errors


def test_a_service_that_is_down_is_unavailable_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{free_port()}")
    started = time.monotonic()
    with closing(PubSubBus(PROJECT, timeout_s=0.5)) as bus, pytest.raises(StoreUnavailable, match="first") as caught:
        bus.publish([Message("first", {}), Message("second", {})])
    assert not isinstance(caught.value, StoreUnusable)
    assert time.monotonic() - started < 2


def test_a_service_that_never_answers_is_unavailable_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(_: PublishRequest, __: grpc.ServicerContext) -> PublishResponse:
        release.wait(20)
        return PublishResponse()

    started = time.monotonic()
    with service(hang, monkeypatch), closing(PubSubBus(PROJECT, timeout_s=0.6)) as bus:
        with pytest.raises(StoreUnavailable):
            bus.publish([Message("first", {})])
        assert time.monotonic() - started < 2
        release.set()


def test_a_passing_failure_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []

    def publish(_: PublishRequest, context: grpc.ServicerContext) -> PublishResponse:
        calls.append(time.monotonic())
        if len(calls) < 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return PublishResponse()

    with service(publish, monkeypatch), closing(PubSubBus(PROJECT)) as bus:
        bus.publish([Message("first", {})])
    assert len(calls) == 3


@pytest.mark.parametrize(
    "code, text, line",
    [
        (grpc.StatusCode.PERMISSION_DENIED, "User not authorized to perform this action.", "roles/pubsub.publisher"),
        (
            grpc.StatusCode.PERMISSION_DENIED,
            "Cloud Pub/Sub API has not been used in project 1 before or it is disabled.",
            "gcloud services enable pubsub.googleapis.com",
        ),
        (grpc.StatusCode.NOT_FOUND, "Resource not found (resource=first).", "gcloud pubsub topics create first"),
        (grpc.StatusCode.NOT_FOUND, "Requested project not found or user has no access.", "there is no project"),
        (grpc.StatusCode.UNAUTHENTICATED, "invalid credentials", "gcloud auth application-default login"),
    ],
)
def test_what_must_be_mended_is_said_in_one_line_and_not_tried_again(
    code: grpc.StatusCode, text: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[float] = []
    with (
        service(refusing(code, text, calls), monkeypatch),
        closing(PubSubBus(PROJECT)) as bus,
        pytest.raises(StoreUnusable) as caught,
    ):
        bus.publish([Message("first", {})])
    assert line in str(caught.value)
    assert PROJECT in str(caught.value) or code is grpc.StatusCode.UNAUTHENTICATED
    assert "\n" not in str(caught.value)
    assert len(calls) == 1


@needs_emulators
def test_a_missing_topic_is_unusable_with_the_command_that_creates_it(emulated_project: str) -> None:
    with closing(PubSubBus(emulated_project)) as bus, pytest.raises(StoreUnusable) as caught:
        bus.publish([Message("nowhere", {})])
    assert f"gcloud pubsub topics create nowhere --project={emulated_project}" in str(caught.value)


def test_missing_credentials_are_a_setting_to_mend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(SettingsError, match="gcloud auth application-default login"):
        PubSubBus(PROJECT)


@pytest.mark.parametrize("project", ["", "my_project", "Project", "x", "project/database", "-project"])
def test_what_is_no_project_id_is_refused_at_once(project: str) -> None:
    with pytest.raises(SettingsError, match="no project id"):
        PubSubBus(project)


# ---------------------------------------------------------------- topology


def read_back(project: str) -> tuple[set[str], dict[str, Subscription]]:
    """The topics and subscriptions that the emulator has."""
    prefix = f"projects/{project}"
    with PublisherClient() as publisher, SubscriberClient() as subscriber:
        topics = {row.name.rpartition("/")[2] for row in publisher.list_topics(project=prefix, timeout=10)}
        found = {r.name.rpartition("/")[2]: r for r in subscriber.list_subscriptions(project=prefix, timeout=10)}
    return topics, found


def test_the_declared_topology_is_the_wiring_tables() -> None:
    rows = {name: row for name, row in wiring.functions().items() if "topic" in row["trigger"]}
    topology = pubsub_topology.declared()
    assert set(topology.topics) == {row["trigger"]["topic"] for row in rows.values()} | {"results", "dead-letter"}
    assert {s.name: s.topic for s in topology.subscriptions} == {
        **{name: row["trigger"]["topic"] for name, row in rows.items()},
        "results": "results",
    }


@needs_emulators
def test_the_emulator_has_what_the_wiring_table_says(emulated_project: str) -> None:
    endpoints = {"validate": "http://127.0.0.1:1/"}
    pubsub_topology.create(emulated_project, endpoints)
    topics, subscriptions = read_back(emulated_project)
    assert topics == set(pubsub_topology.declared().topics)
    assert set(subscriptions) == {s.name for s in pubsub_topology.declared().subscriptions}
    for name, row in wiring.functions().items():
        if "topic" not in row["trigger"]:
            continue
        made, topic = subscriptions[name], row["trigger"]["topic"]
        assert made.topic == f"projects/{emulated_project}/topics/{topic}"
        assert made.ack_deadline_seconds == row["ack_deadline_s"]
        assert made.retry_policy.minimum_backoff.total_seconds() == row["min_backoff_s"]
        assert made.retry_policy.maximum_backoff.total_seconds() == row["max_backoff_s"]
        assert made.push_config.push_endpoint == endpoints.get(name, "")
        assert made.expiration_policy.ttl.total_seconds() == 0
        if topic == "dead-letter":
            assert "dead_letter_policy" not in made
        else:
            assert made.dead_letter_policy.dead_letter_topic == f"projects/{emulated_project}/topics/dead-letter"
            assert made.dead_letter_policy.max_delivery_attempts == row["max_delivery_attempts"]


@needs_emulators
def test_creating_it_again_changes_nothing_but_the_endpoints(emulated_project: str) -> None:
    pubsub_topology.create(emulated_project, {"validate": "http://127.0.0.1:1/"})
    _, before = read_back(emulated_project)
    pubsub_topology.create(emulated_project, {"generate": "http://127.0.0.1:2/"})
    _, after = read_back(emulated_project)
    assert after["validate"].push_config.push_endpoint == ""
    assert after["generate"].push_config.push_endpoint == "http://127.0.0.1:2/"
    unchanged = set(before) - {"validate", "generate"}
    assert {name: after[name] for name in unchanged} == {name: before[name] for name in unchanged}


def test_topics_of_google_cloud_itself_are_left_to_terraform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    with pytest.raises(SettingsError, match="PUBSUB_EMULATOR_HOST"):
        pubsub_topology.create(PROJECT)


# ---------------------------------------------------------------- consumer


@needs_emulators
def test_an_interrupted_pull_ends_at_once(emulated_project: str) -> None:
    pubsub_topology.create(emulated_project)
    results: list[Any] = []
    consumer = PubSubConsumer(emulated_project)
    with closing(consumer):
        thread = threading.Thread(target=lambda: results.append(consumer.pull("results", 1, 60)))
        thread.start()
        thread.join(0.2)
        consumer.interrupt()
        thread.join(5)
    assert results == [[]]


@needs_emulators
def test_an_unknown_subscription_is_an_error(emulated_project: str) -> None:
    with closing(PubSubConsumer(emulated_project)) as consumer:
        with pytest.raises(StoreUnavailable, match="nowhere"):
            consumer.pull("nowhere", 1, 1)
        with pytest.raises(StoreUnavailable):
            consumer.acknowledge("nowhere", ["x"])
