"""The back ends that the contract suites run on. A further one is one row of its table, with a mark."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from shared.adapters.filesystem import FilesystemBlobStore
from shared.adapters.local_bus import Delivery, LocalBus, Subscription
from shared.adapters.sqlite import SqliteDocumentStore
from shared.clock import ManualClock
from shared.errors import PipelineError
from shared.ports import BlobStore, DocumentStore, EventBus

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
def _filesystem(_request: pytest.FixtureRequest, folder: Path) -> Iterator[BlobStore]:
    yield FilesystemBlobStore(folder / "buckets")


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


# ---------------------------------------------------------------- tables of back ends

DOCUMENT_STORES = [pytest.param(_sqlite, id="sqlite")]
BLOB_STORES = [pytest.param(_filesystem, id="filesystem")]
BUSES = [pytest.param(_local_bus, id="local_bus")]


T = TypeVar("T", covariant=True)


class Build(Protocol[T]):
    """Opens an empty back end; the request leads to fixtures that only some of them need."""

    def __call__(self, request: pytest.FixtureRequest, folder: Path) -> AbstractContextManager[T]:
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
