"""Firestore when it is not well, not there, or crowded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from datetime import datetime

import grpc
import pytest
from google.cloud.firestore_v1.types import CommitResponse

from functions._emulated.processes import free_port
from shared.adapters.firestore import FirestoreDocumentStore
from shared.errors import (
    DocumentTooLarge,
    InvalidDocument,
    PipelineError,
    SettingsError,
    StoreConflict,
    StoreUnavailable,
    StoreUnusable,
)
from shared.ports import create, put, update
from tests.bench.bench_budgets import HOLD, Hot
from tests.emulators import needs_emulators


class Service(grpc.GenericRpcHandler):
    """Answers every call of Firestore with the next status of a list; when none is left, finds and writes."""

    def __init__(self, *statuses: tuple[grpc.StatusCode, str]) -> None:
        self.left = list(statuses)
        self.calls = 0

    def service(self, details):
        if details.method.endswith("/Commit"):
            return grpc.unary_unary_rpc_method_handler(self._commit)
        return grpc.unary_stream_rpc_method_handler(self._read)

    def _commit(self, _request, context):
        self._fail(context)
        return CommitResponse.serialize(CommitResponse(write_results=[{"update_time": {"seconds": 7}}]))

    def _read(self, _request, context):
        self._fail(context)
        return iter(())

    def _fail(self, context):
        self.calls += 1
        if self.left:
            context.abort(*self.left.pop(0))


@contextmanager
def answering(monkeypatch, *statuses, **options) -> Iterator[tuple[FirestoreDocumentStore, Service]]:
    service = Service(*statuses)
    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[service])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{port}")
    store = FirestoreDocumentStore("my-project", **options)
    try:
        yield store, service
    finally:
        store.close()
        server.stop(None).wait()


def caught(call: Callable[[], object]) -> PipelineError:
    with pytest.raises(PipelineError) as raised:
        call()
    return raised.value


def read(store):
    return store.get(["jobs/a"])


def write(store):
    return store.commit([put("jobs/a", {})])


CODE = grpc.StatusCode


@pytest.mark.parametrize("call", [read, write])
@pytest.mark.parametrize(
    "status, text, error, told",
    [
        (CODE.PERMISSION_DENIED, "Missing or insufficient permissions.", StoreUnusable, "roles/datastore.user"),
        (CODE.UNAUTHENTICATED, "invalid credentials", StoreUnusable, "roles/datastore.user"),
        (
            CODE.NOT_FOUND,
            "The database (default) does not exist for project my-project Please visit https://console…",
            StoreUnusable,
            "gcloud firestore databases create --project=my-project --database=(default)",
        ),
        (
            CODE.FAILED_PRECONDITION,
            "The Cloud Firestore API is not available for Firestore in Datastore Mode database projects/p",
            StoreUnusable,
            "native mode",
        ),
        (CODE.NOT_FOUND, "Project 'my-project' not found or deleted.", StoreUnusable, "correct ATELIER_STATE_URL"),
        (
            CODE.PERMISSION_DENIED,
            "Cloud Firestore API has not been used in project my-project before or it is disabled.",
            StoreUnusable,
            "gcloud services enable firestore.googleapis.com --project=my-project",
        ),
        (CODE.RESOURCE_EXHAUSTED, "Quota exceeded.", StoreUnavailable, "Quota exceeded."),
        (CODE.CANCELLED, "cancelled", StoreUnavailable, "cancelled"),
        (CODE.INVALID_ARGUMENT, "no good", InvalidDocument, "no good"),
        (CODE.INVALID_ARGUMENT, "exceeds the maximum allowed size of 1,048,576 bytes.", DocumentTooLarge, "1,048,576"),
    ],
)
def test_a_refusal_is_told_in_one_line_with_what_to_do(monkeypatch, call, status, text, error, told):
    with answering(monkeypatch, (status, text)) as (store, service):
        found = caught(lambda: call(store))
    assert type(found) is error
    assert told in str(found)
    assert "\n" not in str(found)
    assert service.calls == 1


@pytest.mark.parametrize("status", [CODE.ALREADY_EXISTS, CODE.FAILED_PRECONDITION, CODE.NOT_FOUND])
def test_a_precondition_that_fails_is_a_conflict_at_once(monkeypatch, status):
    with answering(monkeypatch, (status, "no")) as (store, service):
        assert isinstance(caught(lambda: write(store)), StoreConflict)
        assert (service.calls, store.counts.tally().conflicts) == (1, 1)


@pytest.mark.parametrize("status", [CODE.FAILED_PRECONDITION, CODE.NOT_FOUND])
def test_a_read_never_loses_against_another(monkeypatch, status):
    with answering(monkeypatch, (status, "the key of this database cannot be used")) as (store, _):
        assert type(caught(lambda: read(store))) is StoreUnavailable


def test_a_read_is_tried_again_when_its_connection_was_lost(monkeypatch):
    with answering(monkeypatch, (CODE.DEADLINE_EXCEEDED, "too late")) as (store, service):
        assert read(store) == [None]
        assert service.calls == 2


def test_a_query_without_an_index_names_the_file(monkeypatch):
    text = "The query requires an index. You can create it here: https://console…"
    with answering(monkeypatch, (CODE.FAILED_PRECONDITION, text)) as (store, _):
        found = caught(lambda: store.query("jobs", [("due_at", "<=", "x")], limit=1))
    assert isinstance(found, StoreUnusable)
    assert "indexes.json: terraform apply" in str(found)


def test_an_aborted_commit_is_sent_again_and_counted(monkeypatch):
    with answering(monkeypatch, *[(CODE.ABORTED, "too much contention")] * 3) as (store, service):
        assert write(store) == ["7.000000000"]
        assert (service.calls, store.counts.tally().conflicts) == (4, 3)


def test_a_commit_that_is_aborted_for_too_long_is_a_conflict(monkeypatch):
    with answering(monkeypatch, *[(CODE.ABORTED, "busy")] * 1000, give_up_s=0.3) as (store, service):
        assert isinstance(caught(lambda: write(store)), StoreConflict)
        assert 2 < service.calls < 1000


def test_a_commit_whose_fate_is_unknown_is_never_sent_again(monkeypatch):
    with answering(monkeypatch, (CODE.UNAVAILABLE, "connection reset")) as (store, service):
        assert type(caught(lambda: write(store))) is StoreUnavailable
        assert service.calls == 1


def test_a_read_is_tried_again_while_the_service_is_unavailable(monkeypatch):
    with answering(monkeypatch, *[(CODE.UNAVAILABLE, "restarting"), (CODE.INTERNAL, "oops")]) as (store, service):
        assert read(store) == [None]
        assert service.calls == 3


@pytest.mark.parametrize("call", [read, write])
def test_a_service_that_is_down_is_told_in_time(monkeypatch, call):
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f"127.0.0.1:{free_port()}")
    store = FirestoreDocumentStore("my-project", give_up_s=0.5)
    started = time.monotonic()
    assert type(caught(lambda: call(store))) is StoreUnavailable
    assert time.monotonic() - started < 5
    store.close()


def test_without_credentials_the_settings_are_at_fault(monkeypatch, tmp_path):
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    found = caught(lambda: FirestoreDocumentStore("my-project"))
    assert isinstance(found, SettingsError)
    assert "gcloud auth application-default login" in str(found)


# ---------------------------------------------------------------- crowded


@pytest.fixture
def instances(emulated_project) -> Iterator[list[FirestoreDocumentStore]]:
    """Ten instances, each with a connection of its own."""
    stores = [FirestoreDocumentStore(emulated_project) for _ in range(10)]
    yield stores
    for store in stores:
        store.close()


def held(workers: list[Hot]) -> int:
    """Let all of them ask for a hold at once; return how many were given one."""
    with futures.ThreadPoolExecutor(len(workers)) as threads:
        return sum(threads.map(Hot.hold, workers))


@needs_emulators
@pytest.mark.parametrize("shards", [1, 8])
def test_ten_of_a_hundred_workers_fit_a_budget_of_ten_in_under_five_seconds(instances, shards):
    hot = [Hot(store, shards, 10 * HOLD) for store in instances]
    started = time.monotonic()
    assert held(hot * 10) == 10
    assert time.monotonic() - started < 5
    assert hot[0].held() == 10 * HOLD


@needs_emulators
def test_a_hundred_instances_that_all_collide_keep_the_cap(instances):
    hot = [Hot(store, 1, 10 * HOLD) for store in instances * 10]
    assert held(hot) == 10
    assert hot[0].held() == 10 * HOLD


@needs_emulators
def test_a_version_of_another_store_is_a_conflict(emulated_project):
    store = FirestoreDocumentStore(emulated_project)
    store.commit([create("jobs/a", {"n": 1})])
    for version in ("17ab-3", "0.1", "99999999999999.000000000", "x"):
        found = caught(lambda version=version: store.commit([update("jobs/a", {"n": 2}, version=version)]))
        assert isinstance(found, StoreConflict)
    store.close()


@needs_emulators
def test_databases_of_one_project_do_not_see_each_other(emulated_project):
    one, other = (FirestoreDocumentStore(emulated_project, name) for name in ("one", "other"))
    one.commit([create("jobs/a", {})])
    assert other.get(["jobs/a"]) == [None]
    one.close()
    other.close()


@needs_emulators
def test_field_names_that_look_like_paths_are_names(emulated_project):
    store = FirestoreDocumentStore(emulated_project)
    odd = {"a.b": 1, "`": 2, "\\": 3, "*": 4, "ü": 5, "a b": 6}
    store.commit([create("jobs/a", {"a": {"b": 0}})])
    store.commit([update("jobs/a", odd, {"x.y": 7})])
    (found,) = store.get(["jobs/a"])
    assert found is not None
    assert found.data == {"a": {"b": 0}, **odd, "x.y": 7}
    store.close()


@needs_emulators
@pytest.mark.parametrize("text", ["2027-12-26T00:00:00.000000Z", "2026-11-21T12:00:00.123456Z", "not a time", None])
def test_the_time_a_document_expires_at_is_kept_as_the_service_wants_it(emulated_project, text):
    from google.cloud import firestore

    store = FirestoreDocumentStore(emulated_project)
    store.commit([create("jobs/a", {"expire_at": text, "in": {"expire_at": text}, "created_at": text})])
    (found,) = store.get(["jobs/a"])
    assert found is not None
    assert found.data == {"expire_at": text, "in": {"expire_at": text}, "created_at": text}
    kept = firestore.Client(project=emulated_project).document("jobs/a").get().to_dict()
    assert isinstance(kept["expire_at"], datetime) == (text is not None and text.startswith("20"))
    assert kept["in"]["expire_at"] == kept["created_at"] == text
    store.close()
