"""What the code asks of its document store, recorded while the local system does everything it ever does."""

from __future__ import annotations

import base64
import hmac
import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from functions import on_webhook, ops
from functions._request_files import read_entries
from functions._runtime import baton_message
from shared import bootstrap
from shared.adapters import query_rules
from shared.domain.job import State
from shared.ports import Comparison, DocumentStore, Snapshot, Write
from tests.pipeline.harness import TEXT, Pipeline

ROOT = Path(__file__).parents[2]
NARROW = "offline-text-lite"
PAGES = ("/", "/?limit=1", "/?state=succeeded", "/budgets", "/breakers", "/health", "/api/jobs", "/api/budgets")
COMPOSITE = {  # the declared indexes: collection, fields
    (collection, tuple(fields))
    for collection, rows in query_rules.load_indexes().items()
    for fields in rows.get("composite", ())
}

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


class RecordingStore:
    """Passes everything on to another store, and remembers what it saw.

    Attributes:
        queries: the shapes that were asked.
        askers: which functions asked, such as `Jobs.due`.
        fields: (collection, top-level field) of every write.
    """

    def __init__(self, documents: DocumentStore) -> None:
        self._documents = documents
        self.queries: set[Query] = set()
        self.askers: set[str] = set()
        self.fields: set[tuple[str, str]] = set()

    def get(self, paths: Sequence[str]) -> list[Snapshot | None]:
        return self._documents.get(paths)

    def commit(self, writes: Sequence[Write]) -> list[str]:
        self.fields |= {(write.path.partition("/")[0], name) for write in writes for name in write.data}
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
        self.queries.add(query)
        self.askers.add(sys._getframe(2).f_code.co_qualname)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._documents, name)


def _shape(where: Where) -> tuple[tuple[str, Comparison, Any], ...]:
    """The compared fields without their values."""
    return tuple((name, comparison, "") for name, comparison, _ in where)


def record(home: Path) -> RecordingStore:
    """Carry the example requests to their ends, park and release some, recover, audit, and look at every page."""
    with pytest.MonkeyPatch.context() as patch:
        build = bootstrap._documents
        patch.setattr(bootstrap, "_documents", lambda settings: lambda: RecordingStore(build(settings)()))
        stores = [_examples(home / "examples"), _parked(home / "parked")]
    first, *others = stores
    for other in others:
        first.queries |= other.queries
        first.askers |= other.askers
        first.fields |= other.fields
    return first


def _examples(home: Path) -> RecordingStore:
    pipeline = Pipeline(home, replicate_webhook_secrets=(f"whsec_{base64.b64encode(b'secret').decode()}",))
    entries = [e for e in read_entries([str(ROOT / "functions" / "examples")], 2**20) if e.error is None]
    pipeline.services.bus.publish([e.message for e in entries])
    pipeline.drain(lambda: pipeline.finished([e.job_id for e in entries]))
    pipeline.settle()
    _send_webhook(entries[0].job_id, pipeline)
    return _looked_at(pipeline)


def _send_webhook(job_id: str, pipeline: Pipeline) -> None:
    """Send a good one, as if its job waited for it: only then is it noted."""
    body, now = b'{"id": "p1"}', str(int(pipeline.clock.now().timestamp()))
    digest = base64.b64encode(hmac.digest(b"secret", b"w1.%s.%s" % (now.encode(), body), "sha256")).decode()
    headers = {"webhook-id": "w1", "webhook-timestamp": now, "webhook-signature": f"v1,{digest}"}
    sent = EnvironBuilder("/", method="POST", query_string={"job": job_id, "attempt": 1, "part": 0}, headers=headers)
    sent.input_stream = io.BytesIO(body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_webhook, "message_for", lambda job, hint: baton_message(job, "generate"))
        assert on_webhook.handle(Request(sent.get_environ()), pipeline.services) == ("", 200)
    pipeline.settle()


def _parked(home: Path) -> RecordingStore:
    """More requests at once than their model may be called for in a minute."""
    home.mkdir(parents=True)
    catalogue = home / "own.toml"
    catalogue.write_text(f'[[model]]\nid = "{NARROW}"\nrpm = 1\n')
    pipeline = Pipeline(home, catalogue=str(catalogue), tick_s=5.0)
    asked = {**TEXT, "model": NARROW, "fallback": False, "cache": "off", "deadline_s": 3600}
    pipeline.run(*({**asked, "request_id": f"{n}"} for n in range(3)))
    return _looked_at(pipeline)


def _looked_at(pipeline: Pipeline) -> RecordingStore:
    pipeline.tick()
    pipeline.system.recover()
    pipeline.assert_sound()
    for path in _pages(pipeline):
        response = ops.handle(Request(EnvironBuilder(path).get_environ()), pipeline.services)
        assert response.status_code == 200, path
        response.close()
    documents = pipeline.services.documents
    assert isinstance(documents, RecordingStore)
    return documents


def _pages(pipeline: Pipeline) -> Iterator[str]:
    yield from PAGES
    (loaded,) = pipeline.services.jobs.in_state(State.SUCCEEDED, 1)
    yield f"/jobs/{loaded.job.job_id}"
