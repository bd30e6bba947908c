"""The dispatcher on the Pub/Sub emulator, pushing to an HTTP server in this process."""

from __future__ import annotations

import base64
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from functions._emulated.dispatcher import Dispatcher
from functions._emulated.processes import free_port
from shared.adapters import pubsub_topology, wiring
from shared.adapters.chaos import Chaos
from shared.adapters.pubsub import PubSubBus
from shared.adapters.pubsub_pull import PubSubConsumer
from shared.errors import SettingsError
from shared.ports import Json, Message
from tests.emulators import needs_emulators
from tests.http_server import Handler, serving

pytestmark = needs_emulators

PATIENCE_S = 30.0
MAX_DELIVERIES = 5
QUICK = {"min_backoff_s": 0, "max_backoff_s": 0, "max_delivery_attempts": MAX_DELIVERIES}
Answer = Callable[[Json], int]


class Target:
    """A function: notes what it is sent and answers what *answer* says."""

    def __init__(self, answer: Answer) -> None:
        self.bodies: list[Json] = []
        self.headers: list[dict[str, str]] = []
        self.connections: set[Any] = set()
        self.running = self.most_running = 0
        self.answer = answer
        self.changed = threading.Condition()
        self.url = ""

    def numbers(self) -> list[int]:
        """The "n" of everything that came, in its order."""
        return [json.loads(base64.b64decode(body["message"]["data"]))["n"] for body in self.bodies]

    def wait_until(self, happened: Callable[[], bool]) -> None:
        """Return when it has happened; fail when that takes too long."""
        with self.changed:
            assert self.changed.wait_for(happened, PATIENCE_S), f"{len(self.bodies)} came"

    def take(self, body: Json, headers: dict[str, str], peer: Any) -> int:
        with self.changed:
            self.bodies.append(body)
            self.headers.append(headers)
            self.connections.add(peer)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            self.changed.notify_all()
        try:
            return self.answer(body)
        finally:
            with self.changed:
                self.running -= 1
                self.changed.notify_all()

    def handler(self) -> type[Handler]:
        target = self

        class Noting(Handler):
            protocol_version = "HTTP/1.1"

            def respond(self) -> None:
                self.answer(target.take(json.loads(self.body()), dict(self.headers), self.client_address))

        return Noting


@contextmanager
def target_answering(answer: Answer = lambda _: 204) -> Iterator[Target]:
    target = Target(answer)
    with serving(target.handler()) as target.url:
        yield target


class Cloud:
    """A project of the emulator with the declared topics, pull subscriptions and quick retries."""

    def __init__(self, project: str) -> None:
        self.project = project
        pubsub_topology.create(project)
        self.bus = PubSubBus(project)
        self.consumer = PubSubConsumer(project)

    def publish(self, *numbers: int, topic: str = "requests") -> None:
        self.bus.publish([Message(topic, {"n": n}, {"kind": "image"}) for n in numbers])

    @contextmanager
    def pushing(self, endpoints: dict[str, str], **options: Any) -> Iterator[Dispatcher]:
        dispatcher = Dispatcher(self.project, endpoints, **options)
        dispatcher.start()
        try:
            yield dispatcher
        finally:
            dispatcher.stop()

    def close(self) -> None:
        self.bus.close()
        self.consumer.close()


@pytest.fixture
def cloud_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the wiring table one with quick retries, and with what is given for single functions."""

    def make(**changes: Json) -> None:
        rows = {name: dict(row) for name, row in wiring.functions().items()}
        for name, row in rows.items():
            if "topic" in row["trigger"]:
                row.update(QUICK, **changes.get(name, {}))
        (tmp_path / "functions.json").write_text(json.dumps(rows))
        monkeypatch.setattr(wiring, "TABLE", tmp_path / "functions.json")

    return make


@pytest.fixture
def cloud(emulated_project: str, cloud_table: Callable[..., None]) -> Iterator[Cloud]:
    cloud_table()
    built = Cloud(emulated_project)
    yield built
    built.close()


def test_a_push_is_what_production_sends(cloud: Cloud) -> None:
    with target_answering() as target, cloud.pushing({"validate": target.url}):
        cloud.publish(1)
        target.wait_until(lambda: bool(target.bodies))
    body, headers = target.bodies[0], target.headers[0]
    assert body["subscription"] == f"projects/{cloud.project}/subscriptions/validate"
    assert body["deliveryAttempt"] == 1
    message = body["message"]
    assert json.loads(base64.b64decode(message["data"])) == {"n": 1}
    assert message["attributes"] == {"kind": "image"}
    assert message["messageId"] == message["message_id"]
    assert message["publishTime"] == message["publish_time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", message["publishTime"])
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"].startswith("APIs-Google")


def test_many_are_in_flight_but_never_more_than_the_instances_take(cloud: Cloud) -> None:
    limit = wiring.functions()["validate"]["concurrency"] * 2
    release = threading.Event()

    def slow(_: Json) -> int:
        release.wait(PATIENCE_S)
        return 204

    with target_answering(slow) as target, cloud.pushing({"validate": target.url}, instances=2):
        cloud.publish(*range(100))
        target.wait_until(lambda: target.running == limit)
        release.set()
        target.wait_until(lambda: len(target.bodies) >= 100 and target.running == 0)
    assert sorted(target.numbers()) == list(range(100))
    assert target.most_running == limit
    assert len(target.connections) <= limit


def test_what_is_acknowledged_does_not_come_again(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = itertools.cycle([102, 200, 201, 202, 204])
    ack_ids: list[str] = []
    acknowledge = PubSubConsumer.acknowledge

    def noting(self: PubSubConsumer, subscription: str, found: Sequence[str]) -> None:
        acknowledge(self, subscription, found)
        with target.changed:
            ack_ids.extend(found)
            target.changed.notify_all()

    monkeypatch.setattr(PubSubConsumer, "acknowledge", noting)
    with target_answering(lambda _: next(codes)) as target, cloud.pushing({"validate": target.url}):
        cloud.publish(*range(20))
        target.wait_until(lambda: len(ack_ids) == 20)
    cloud.consumer.nack("validate", ack_ids)  # would bring back what was leased and not acknowledged
    assert cloud.consumer.pull("validate", 100, 1) == []


@pytest.mark.parametrize("status", [203, 301, 400, 429, 500, 503])
def test_every_other_answer_is_a_nack_and_the_attempts_are_counted(cloud: Cloud, status: int) -> None:
    def third_time_lucky(body: Json) -> int:
        return 204 if body["deliveryAttempt"] == 3 else status

    with target_answering(third_time_lucky) as target, cloud.pushing({"validate": target.url}):
        cloud.publish(1)
        target.wait_until(lambda: len(target.bodies) == 3 and target.running == 0)
    assert [body["deliveryAttempt"] for body in target.bodies] == [1, 2, 3]
    assert len({body["message"]["messageId"] for body in target.bodies}) == 1


def test_a_poison_message_goes_to_the_dead_letter_function_with_pubsubs_attributes(cloud: Cloud) -> None:
    with (
        target_answering(lambda _: 500) as poisoned,
        target_answering() as last_resort,
        cloud.pushing({"validate": poisoned.url, "on_dead_letter": last_resort.url}),
    ):
        cloud.publish(1)
        last_resort.wait_until(lambda: bool(last_resort.bodies))
    assert [body["deliveryAttempt"] for body in poisoned.bodies] == list(range(1, MAX_DELIVERIES + 1))
    attributes = last_resort.bodies[0]["message"]["attributes"]
    assert attributes["CloudPubSubDeadLetterSourceSubscription"] == "validate"
    assert attributes["CloudPubSubDeadLetterSourceDeliveryCount"] == str(MAX_DELIVERIES)
    assert attributes["kind"] == "image"
    assert "deliveryAttempt" not in last_resort.bodies[0]


def test_a_refused_connection_is_a_nack(cloud: Cloud) -> None:
    with (
        target_answering() as last_resort,
        cloud.pushing({"validate": f"http://127.0.0.1:{free_port()}/", "on_dead_letter": last_resort.url}),
    ):
        cloud.publish(1)
        last_resort.wait_until(lambda: last_resort.numbers() == [1])


def test_the_first_nack_waits_for_the_back_off_that_the_emulator_leaves_out(
    cloud: Cloud, cloud_table: Callable[..., None]
) -> None:
    cloud_table(validate={"min_backoff_s": 0.3, "max_backoff_s": 60})
    times: list[float] = []

    def note(body: Json) -> int:
        times.append(time.monotonic())
        return 500 if body["deliveryAttempt"] == 1 else 204

    with target_answering(note) as target, cloud.pushing({"validate": target.url}):
        cloud.publish(1)
        target.wait_until(lambda: len(target.bodies) == 2)
    assert 0.3 <= times[1] - times[0] < 5


@pytest.mark.slow
def test_a_message_that_waits_longer_than_its_lease_comes_no_sooner(
    emulated_project: str, cloud_table: Callable[..., None]
) -> None:
    cloud_table(validate={"min_backoff_s": 12, "max_backoff_s": 12, "ack_deadline_s": 10})
    cloud = Cloud(emulated_project)
    times: list[float] = []

    def note(body: Json) -> int:
        times.append(time.monotonic())
        return 500 if body["deliveryAttempt"] == 1 else 204

    with target_answering(note) as target, cloud.pushing({"validate": target.url}):
        cloud.publish(1)
        target.wait_until(lambda: len(target.bodies) == 2)
    cloud.close()
    assert times[1] - times[0] >= 12


def test_chaos_delivers_twice_late_and_again_but_loses_nothing(cloud: Cloud) -> None:
    chaos = Chaos(seed=1, duplicate=0.3, delay=0.5, lose_ack=0.3, max_delay_s=0.2)
    with target_answering() as target, cloud.pushing({"validate": target.url}, chaos=chaos):
        cloud.publish(*range(100))
        target.wait_until(lambda: len(set(target.numbers())) == 100 and len(target.bodies) > 150)
    assert target.numbers() != sorted(target.numbers())
    seconds = [body for body in target.bodies if body["deliveryAttempt"] == 1]
    assert len(seconds) > 110  # copies are no redeliveries


def test_stopping_hangs_up_at_once_and_gives_back_what_was_not_answered(cloud: Cloud) -> None:
    release = threading.Event()

    def hang(_: Json) -> int:
        release.wait(PATIENCE_S)
        return 204

    threads = set(threading.enumerate())
    with target_answering(hang) as target:
        with cloud.pushing({"validate": target.url, "on_tick": target.url}, instances=4):
            cloud.publish(*range(50))
            target.wait_until(lambda: target.running == 32)
            started = time.monotonic()
        assert time.monotonic() - started < 2
        release.set()
        target.answer = lambda _: 204
        assert not [t for t in set(threading.enumerate()) - threads if t.name.startswith(("pull", "push", "schedule"))]
        with cloud.pushing({"validate": target.url}):
            target.wait_until(lambda: len(target.bodies) >= 32 + 50)
    assert set(target.numbers()[32:]) == set(range(50))


def test_an_endpoint_of_no_consumer_is_refused(cloud: Cloud) -> None:
    with pytest.raises(SettingsError, match="nobody"):
        Dispatcher(cloud.project, {"nobody": "http://127.0.0.1:1/"})


def test_an_idle_dispatcher_stops_at_once(cloud: Cloud) -> None:
    with cloud.pushing({"validate": "http://127.0.0.1:1/"}):
        started = time.monotonic()
    assert time.monotonic() - started < 2
