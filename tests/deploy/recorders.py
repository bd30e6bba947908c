"""Stand before the local system's back ends, and remember what each function asked of them.

Which function is at work is known from what the runtime binds to the log.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from shared import bootstrap, log
from shared.adapters import query_rules, wiring
from shared.adapters.local_bus import LocalBus
from shared.adapters.log_metrics import LogMetrics
from shared.bootstrap import Services
from shared.ports import BlobStore, Comparison, DocumentStore, Message, Provider, Snapshot, Write
from shared.settings import Settings
from tests.pipeline import harness

SECRETS = {f.name for f in dataclasses.fields(Settings) if f.metadata["secret"]}
READING = {"read", "open", "stat", "list", "link"}

Where = Sequence[tuple[str, Comparison, Any]]


@dataclass(frozen=True)
class Query:
    """A query's shape: what decides which index serves it. *sums* is None unless it is an aggregation."""

    collection: str
    where: tuple[tuple[str, Comparison, Any], ...]
    order_by: str | None = None
    descending: bool = False
    sums: tuple[str, ...] | None = None

    def plan(self, declared: Mapping[str, Any]) -> query_rules.Plan:
        """Find the index that serves it. Raises InvalidDocument."""
        indexes = query_rules.parse_indexes(declared)
        if self.sums is not None:
            return query_rules.plan_aggregate(indexes, self.collection, self.where, self.sums)
        return query_rules.plan_query(
            indexes,
            self.collection,
            self.where,
            order_by=self.order_by,
            descending=self.descending,
            limit=1,
            after=None,
        )


@dataclass
class Seen:
    """What was asked, and by which function where that matters.

    Attributes:
        queries: the shapes that were asked.
        askers: which of the code asked them, such as `Jobs.due`.
        fields: (collection, top-level field) of every write.
        documents: (function, `read` or `write`).
        objects: (function, bucket, operation of the port).
        published: (function, topic).
        secrets: (function, setting) that were read.
        vendors: functions that took hold of a provider.
        measuring: functions that measured something.
        series: metric → the sets of labels it was measured with.
    """

    queries: set[Query] = field(default_factory=set)
    askers: set[str] = field(default_factory=set)
    fields: set[tuple[str, str]] = field(default_factory=set)
    documents: set[tuple[str, str]] = field(default_factory=set)
    objects: set[tuple[str, str, str]] = field(default_factory=set)
    published: set[tuple[str, str]] = field(default_factory=set)
    secrets: set[tuple[str, str]] = field(default_factory=set)
    vendors: set[str] = field(default_factory=set)
    measuring: set[str] = field(default_factory=set)
    series: dict[str, set[frozenset[tuple[str, str]]]] = field(default_factory=dict)


def at_work() -> str:
    """The function that is running now; empty when none is."""
    return str((log._bound.get() or {}).get("stage", ""))


@contextmanager
def recording() -> Iterator[Seen]:
    """Have every system that is built inside tell what it is asked."""
    seen = Seen()
    documents, blobs = bootstrap._documents, bootstrap._blobs
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "_documents", lambda settings: lambda: RecordingStore(documents(settings)(), seen))
        patch.setattr(bootstrap, "_blobs", lambda settings: lambda: RecordingBlobs(blobs(settings)(), seen))
        patch.setattr(LocalBus, "publish", _publishing(seen, LocalBus.publish))
        patch.setattr(LogMetrics, "record", _measuring(seen, LogMetrics.record))
        patch.setattr(Services, "provider", _calling(seen, Services.provider))
        patch.setattr(harness, "Settings", watched(seen))
        yield seen


class RecordingStore:
    """Passes everything on to another document store."""

    def __init__(self, documents: DocumentStore, seen: Seen) -> None:
        self._documents, self._seen = documents, seen

    def get(self, paths: Sequence[str]) -> list[Snapshot | None]:
        self._seen.documents.add((at_work(), "read"))
        return self._documents.get(paths)

    def commit(self, writes: Sequence[Write]) -> list[str]:
        self._seen.documents.add((at_work(), "write"))
        self._seen.fields |= {(write.path.partition("/")[0], name) for write in writes for name in write.data}
        return self._documents.commit(writes)

    def query(
        self,
        collection: str,
        where: Where = (),
        *,
        order_by: str | None = None,
        descending: bool = False,
        limit: int,
        after: Snapshot | None = None,
    ) -> list[Snapshot]:
        self._note(Query(collection, _shape(where), order_by, descending))
        return self._documents.query(
            collection, where, order_by=order_by, descending=descending, limit=limit, after=after
        )

    def aggregate(self, collection: str, where: Where, sums: Sequence[str]) -> dict[str, int]:
        self._note(Query(collection, _shape(where), sums=tuple(sums)))
        return self._documents.aggregate(collection, where, sums)

    def _note(self, query: Query) -> None:
        self._seen.documents.add((at_work(), "read"))
        self._seen.queries.add(query)
        self._seen.askers.add(sys._getframe(2).f_code.co_qualname)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._documents, name)


def _shape(where: Where) -> tuple[tuple[str, Comparison, Any], ...]:
    """The compared fields without their values."""
    return tuple((name, comparison, "") for name, comparison, _ in where)


class RecordingBlobs:
    """Passes everything on to another blob store."""

    def __init__(self, blobs: BlobStore, seen: Seen) -> None:
        self._blobs, self._seen = blobs, seen

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._blobs, name)
        if name not in READING | {"create", "replace"}:
            return found

        def noted(uri: str, *arguments: Any, **options: Any) -> Any:
            # A prefix may end where no name can.
            bucket, _ = self._blobs.locate(uri if name != "list" else f"{uri}x")
            self._seen.objects |= {(at_work(), bucket, name)} if at_work() else set()
            return found(uri, *arguments, **options)

        return noted


def watched(seen: Seen) -> type[Settings]:
    """Settings as each function has them, which tell who read a secret."""

    class Watched(Settings):
        def __getattribute__(self, name: str) -> Any:
            function = at_work()
            if function and name == "calls_vendors":  # as deployed, where each function has settings of its own
                return wiring.functions()[function]["calls_vendors"]
            if function and name in SECRETS:
                seen.secrets.add((function, name.upper()))
            return super().__getattribute__(name)

    return Watched


def _publishing(seen: Seen, publish: Callable[..., None]) -> Callable[..., None]:
    def noted(self: LocalBus, messages: Sequence[Message]) -> None:
        seen.published |= {(at_work(), message.topic) for message in messages if at_work()}
        publish(self, messages)

    return noted


def _measuring(seen: Seen, record: Callable[..., None]) -> Callable[..., None]:
    def noted(self: LogMetrics, name: str, value: float, labels: Mapping[str, str]) -> None:
        record(self, name, value, labels)
        seen.measuring.add(at_work())
        seen.series.setdefault(name, set()).add(frozenset(labels.items()))

    return noted


def _calling(seen: Seen, provider: Callable[..., Provider]) -> Callable[..., Provider]:
    def noted(self: Services, name: str) -> Provider:
        seen.vendors |= {at_work()} if at_work() else set()
        return provider(self, name)

    return noted
