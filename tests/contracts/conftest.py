"""The back ends that the contract suites run on. A further one is one row of its table, with a mark."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

import grpc
import pytest

from shared.adapters.cloud_monitoring import CloudMonitoringMetrics
from shared.adapters.filesystem import FilesystemBlobStore
from shared.adapters.gcs import CloudStorageBlobStore
from shared.adapters.local_bus import Delivery, LocalBus
from shared.adapters.log_metrics import LogMetrics
from shared.adapters.pubsub import PubSubBus
from shared.adapters.pubsub_pull import PubSubConsumer, Received
from shared.adapters.pubsub_topology import Topology, create
from shared.adapters.sqlite import SqliteDocumentStore
from shared.adapters.wiring import Subscription
from shared.clock import ManualClock
from shared.errors import PipelineError
from shared.log import configure, log
from shared.metrics import METRICS
from shared.ports import BlobStore, DocumentStore, EventBus, MetricSink
from shared.simulators.cloud_storage import CloudStorage
from tests.emulators import needs_emulators
from tests.monitoring import MonitoringServer, monitoring_server

INDEXES = {
    "items": {
        "single": ["rank", "state", "name"],
        "composite": [["state", "rank"], ["state", "-rank"], ["owner", "state"], ["state", "price"], ["rank", "price"]],
    },
    "others": {},
}
MAX_DELIVERIES = 5  # the least that Pub/Sub allows


class Bench(Protocol):
    """A bus with the topics of the suite, and a consumer: "work" → left, right; "dead-letter" → morgue; "lonely"."""

    @property
    def bus(self) -> EventBus:
        """The port under test."""

    def take(self, subscription: str) -> list[Delivery]:
        """Return what is delivered next, as soon as back-offs and leases allow; nothing when nothing is left."""

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge."""

    def nack(self, delivery: Delivery) -> None:
        """Refuse a delivery."""


# ---------------------------------------------------------------- local back ends


@contextmanager
def _sqlite(_request: pytest.FixtureRequest, folder: Path) -> Iterator[DocumentStore]:
    store = SqliteDocumentStore(str(folder / "state.db"), indexes=INDEXES)
    yield store
    store.close()


@contextmanager
def _firestore(request: pytest.FixtureRequest, _folder: Path) -> Iterator[DocumentStore]:
    from shared.adapters.firestore import FirestoreDocumentStore

    store = FirestoreDocumentStore(request.getfixturevalue("emulated_project"), indexes=INDEXES)
    yield store
    store.close()


@contextmanager
def _filesystem(_request: pytest.FixtureRequest, folder: Path) -> Iterator[BlobStore]:
    yield FilesystemBlobStore(folder / "buckets")


@contextmanager
def _cloud_storage(request: pytest.FixtureRequest, _folder: Path) -> Iterator[BlobStore]:
    with CloudStorage() as server:
        server.create_bucket("test-inbox")
        server.create_bucket("test-outputs")
        request.getfixturevalue("monkeypatch").setenv("STORAGE_EMULATOR_HOST", server.url)
        store = CloudStorageBlobStore("test")
        yield store
        store.close()


class _LocalBench:
    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        consumers = {"work": ["left", "right"], "dead-letter": ["morgue"], "lonely": []}
        topics = {
            topic: [
                Subscription(name, topic, 10, MAX_DELIVERIES, 1, 60, "dead-letter" if topic == "work" else None)
                for name in names
            ]
            for topic, names in consumers.items()
        }
        self.bus = LocalBus(str(folder / "bus.db"), self.clock, subscriptions=topics)

    def take(self, subscription: str) -> list[Delivery]:
        due = self.bus.next_due([subscription])
        if due is None:
            return []
        self.clock.move_to(due + timedelta(microseconds=1))
        return self.bus.lease([subscription], 100)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self.bus.ack(deliveries)

    def nack(self, delivery: Delivery) -> None:
        self.bus.nack(delivery, error="refused")


@contextmanager
def _local_bus(_request: pytest.FixtureRequest, folder: Path) -> Iterator[Bench]:
    bench = _LocalBench(folder)
    yield bench
    bench.bus.close()


class _PubSubBench:
    EMPTY_S, AGAIN_S = 0.2, 3.0  # what is published can be pulled at once, what was refused or left not always

    def __init__(self, project: str) -> None:
        topics = {"left": "work", "right": "work", "morgue": "dead-letter"}
        subscriptions = tuple(
            Subscription(name, topic, 10, MAX_DELIVERIES, 0, 0, "dead-letter" if topic == "work" else None)
            for name, topic in topics.items()
        )
        create(project, topology=Topology(("work", "dead-letter", "lonely"), subscriptions))
        self.bus = PubSubBus(project)
        self.consumer = PubSubConsumer(project)
        self._topics = topics
        self._leased: dict[str, set[str]] = {name: set() for name in topics}
        self._owed: set[str] = set()

    def take(self, subscription: str) -> list[Delivery]:
        leased = self._leased[subscription]
        if leased:  # the shortest lease that a subscription gives is of 10 s
            self.consumer.modify_ack_deadline(subscription, sorted(leased), 1)
        wait_s = self.AGAIN_S if leased or subscription in self._owed else self.EMPTY_S
        found = self.consumer.pull(subscription, 100, wait_s)
        leased.clear()
        leased.update(received.ack_id for received in found)
        self._owed.discard(subscription)
        return [self._delivery(subscription, received) for received in found]

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._leased[delivery.subscription].discard(delivery.token)
        if deliveries:
            self.consumer.acknowledge(deliveries[0].subscription, [delivery.token for delivery in deliveries])

    def nack(self, delivery: Delivery) -> None:
        self._leased[delivery.subscription].discard(delivery.token)
        # The last refusal moves it to the dead-letter topic.
        self._owed.add(delivery.subscription if delivery.attempt < MAX_DELIVERIES else "morgue")
        self.consumer.nack(delivery.subscription, [delivery.token])

    def _delivery(self, subscription: str, received: Received) -> Delivery:
        return Delivery(
            received.message_id,
            subscription,
            self._topics[subscription],
            json.loads(received.data),
            received.attributes,
            max(1, received.attempt),
            received.published_at,
            received.ack_id,
        )


@contextmanager
def _pubsub(request: pytest.FixtureRequest, _folder: Path) -> Iterator[Bench]:
    bench = _PubSubBench(request.getfixturevalue("emulated_project"))
    yield bench
    bench.bus.close()
    bench.consumer.close()


# ---------------------------------------------------------------- metric sinks


class SinkBench(Protocol):
    """A sink, and what has reached its back end."""

    @property
    def port(self) -> MetricSink:
        """The port under test."""

    def read(self, name: str, labels: Mapping[str, str]) -> dict[str, float]:
        """Return a counter's "total", a gauge's "last" or a distribution's "count" and "mean"; nothing of nothing."""

    def break_back_end(self) -> None:
        """Let nothing reach the back end from now on."""


class _LogSink:
    def __init__(self) -> None:
        self.port = LogMetrics()
        self.stream = io.StringIO()

    def read(self, name: str, labels: Mapping[str, str]) -> dict[str, float]:
        self.port.flush()
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        values = [line["value"] for line in lines if (line.get("metric"), line.get("labels")) == (name, dict(labels))]
        kind = METRICS[name].kind
        if not values:
            return {}
        if kind == "distribution":
            return {"count": len(values), "mean": sum(values) / len(values)}
        return {"total": sum(values)} if kind == "counter" else {"last": values[-1]}

    def break_back_end(self) -> None:
        self.stream.close()


@contextmanager
def _log_sink(request: pytest.FixtureRequest, _folder: Path) -> Iterator[SinkBench]:
    request.getfixturevalue("monkeypatch").setattr("logging.raiseExceptions", False)
    bench, before = _LogSink(), (log.handlers[:], log.level, log.propagate)
    configure("INFO", bench.stream)
    yield bench
    log.handlers[:], log.level, log.propagate = before


class _CloudMonitoringSink:
    def __init__(self, server: MonitoringServer, clock: ManualClock) -> None:
        self.server, self.clock = server, clock
        self.port = CloudMonitoringMetrics("test-project", clock, endpoint=server.endpoint)

    def read(self, name: str, labels: Mapping[str, str]) -> dict[str, float]:
        self.clock.advance(60)
        self.port.flush()
        if not self.server.points(name, labels):
            return {}
        value, kind = self.server.latest(name, labels), METRICS[name].kind
        if kind == "distribution":
            return {"count": value.distribution_value.count, "mean": value.distribution_value.mean}
        return {"total": value.int64_value} if kind == "counter" else {"last": value.double_value}

    def break_back_end(self) -> None:
        self.server.failure = grpc.StatusCode.UNAVAILABLE


@contextmanager
def _cloud_monitoring(_request: pytest.FixtureRequest, _folder: Path) -> Iterator[SinkBench]:
    clock = ManualClock()
    with monitoring_server(clock) as server:
        bench = _CloudMonitoringSink(server, clock)
        yield bench
        bench.port.close()
        assert server.refusals == []


# ---------------------------------------------------------------- tables of back ends

DOCUMENT_STORES = [
    pytest.param(_sqlite, id="sqlite"),
    pytest.param(_firestore, id="firestore", marks=needs_emulators),
]
BLOB_STORES = [pytest.param(_filesystem, id="filesystem"), pytest.param(_cloud_storage, id="cloud_storage")]
BUSES = [
    pytest.param(_local_bus, id="local_bus"),
    pytest.param(_pubsub, id="pubsub", marks=needs_emulators),
]
METRIC_SINKS = [pytest.param(_log_sink, id="log"), pytest.param(_cloud_monitoring, id="cloud_monitoring")]


T_co = TypeVar("T_co", covariant=True)


class Build(Protocol[T_co]):
    """Opens an empty back end; the request leads to fixtures that only some of them need."""

    def __call__(self, request: pytest.FixtureRequest, folder: Path) -> AbstractContextManager[T_co]:
        """Return the back end for a `with` block."""


@pytest.fixture(params=DOCUMENT_STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DocumentStore]:
    """An empty document store with the indexes above."""
    build: Build[DocumentStore] = request.param
    with build(request, tmp_path) as built:
        yield built


@pytest.fixture(params=BLOB_STORES)
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    """Empty buckets "inbox" and "outputs"."""
    build: Build[BlobStore] = request.param
    with build(request, tmp_path) as built:
        yield built


@pytest.fixture(params=BUSES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A bus without messages."""
    build: Build[Bench] = request.param
    with build(request, tmp_path) as built:
        yield built


@pytest.fixture(params=METRIC_SINKS)
def sink(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SinkBench]:
    """A sink that has recorded nothing."""
    build: Build[SinkBench] = request.param
    with build(request, tmp_path) as built:
        yield built


Together = Callable[[int, Callable[[int], Any]], list[Any]]


@pytest.fixture
def together() -> Together:
    """Run a function in so many threads at the same moment; return its results, and its errors as values."""

    def run(count: int, work: Callable[[int], Any]) -> list[Any]:
        barrier = threading.Barrier(count)

        def one(number: int) -> Any:
            barrier.wait()
            try:
                return work(number)
            except PipelineError as error:
                return error

        with ThreadPoolExecutor(count) as threads:
            return list(threads.map(one, range(count)))

    return run
