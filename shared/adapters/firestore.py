"""`DocumentStore` in Firestore: optimistic commits with preconditions, never a transaction.

A transaction holds locks: a process killed inside one blocks every other writer of its documents for a minute, and
two readers of a hot document abort each other. A commit with preconditions holds nothing and says at once who lost.

The generated client is used rather than `firestore.Client`, whose `WriteBatch.set` takes no precondition.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import google.auth
import grpc
from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import GoogleAuthError
from google.cloud.firestore_v1.services.firestore import FirestoreClient
from google.cloud.firestore_v1.services.firestore.transports import FirestoreGrpcTransport
from google.cloud.firestore_v1.types import firestore

from shared.adapters import document_rules, firestore_values, query_rules
from shared.adapters.firestore_errors import translation
from shared.adapters.google_cloud import LOGIN, line, no_credentials
from shared.errors import InvalidDocument, StoreConflict, StoreUnusable
from shared.ports import Comparison, Snapshot, Write

T = TypeVar("T")

TIMEOUT_S = 5.0  # of one call
GIVE_UP_S = 8.0  # with all its retries: a caller has to answer its own caller
CONTEND_S = 2.0  # after which whoever lost reads again, and lets others go first
# A connection that was lost while this instance was frozen shows as a deadline that passed.
_FLEETING = if_exception_type(
    exceptions.Aborted, exceptions.DeadlineExceeded, exceptions.InternalServerError, exceptions.ServiceUnavailable
)
_KEEP_ALIVE = [("grpc.keepalive_time_ms", 30_000), ("grpc.max_receive_message_length", -1)]


class FirestoreDocumentStore:
    """Documents of *database* (by default the project's first one) in *project*, shared by the threads of this process.

    `FIRESTORE_EMULATOR_HOST` leads to an emulator. *indexes* is of the form of `shared/stores/indexes.json`, which is
    the default; a query that it does not declare is refused here, because the emulator would answer it.

    Raises:
        SettingsError: this machine has no credentials.
    """

    def __init__(
        self,
        project: str,
        database: str = "",
        *,
        indexes: Mapping[str, Any] | None = None,
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        declared = query_rules.load_indexes() if indexes is None else indexes
        self._indexes = query_rules.parse_indexes(declared)
        self._indexed = {collection: rules.fields() for collection, rules in self._indexes.items()}
        self._project, self._database_id = project, database or "(default)"
        self._database = f"projects/{project}/databases/{self._database_id}"
        self._root = f"{self._database}/documents/"
        self._metadata = (("google-cloud-resource-prefix", self._database), *_emulator_metadata())
        self._transport = FirestoreGrpcTransport(channel=_channel())
        self._client = FirestoreClient(transport=self._transport)
        # Only what certainly was not applied is sent again: an aborted commit, and any read.
        aborted = Retry(
            if_exception_type(exceptions.Aborted), initial=0.02, maximum=0.5, timeout=min(CONTEND_S, give_up_s)
        )
        self._commit_again = partial(aborted, on_error=self._contended)
        self._read_again = Retry(_FLEETING, initial=0.02, maximum=1.0, timeout=give_up_s)
        self.counts = document_rules.Counts()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()  # type: ignore[no-untyped-call]

    def get(self, paths: Sequence[str]) -> list[Snapshot | None]:
        """Read documents in one round trip. See `ports.DocumentStore.get`."""
        if not paths:
            return []
        for path in paths:
            document_rules.split_path(path)
        names = list(dict.fromkeys(self._name(path) for path in paths))
        request = firestore.BatchGetDocumentsRequest(database=self._database, documents=names)
        answers = self._read(lambda: self._stream(self._client.batch_get_documents, request))
        self.counts.add(read=len(paths))
        found = {a.found.name: a.found for a in answers if a.WhichOneof("result") == "found"}
        return [self._snapshot(found[n]) if (n := self._name(path)) in found else None for path in paths]

    def commit(self, writes: Sequence[Write]) -> list[str]:
        """Apply all *writes* or none. See `ports.DocumentStore.commit`."""
        if not writes:
            return []
        self._check(writes)
        request = firestore.CommitRequest.pb()(database=self._database)
        request.writes.extend(firestore_values.write_message(self._name(w.path), w) for w in writes)
        wrapped = firestore.CommitRequest.wrap(request)
        try:
            with self._translated(commits=True):
                answer = self._commit_again(self._client.commit)(wrapped, **self._options())
        except StoreConflict:
            self.counts.add(conflicts=1)
            raise
        self.counts.add(written=len(writes), commits=1)
        results = firestore.CommitResponse.pb(answer).write_results
        return [
            "" if write.kind == "delete" else firestore_values.version_of(result.update_time)
            for write, result in zip(writes, results, strict=True)
        ]

    def query(
        self,
        collection: str,
        where: Sequence[tuple[str, Comparison, Any]] = (),
        *,
        order_by: str | None = None,
        descending: bool = False,
        limit: int,
        after: Snapshot | None = None,
    ) -> list[Snapshot]:
        """Return a page of documents in order. See `ports.DocumentStore.query`."""
        plan = query_rules.plan_query(
            self._indexes, collection, where, order_by=order_by, descending=descending, limit=limit, after=after
        )
        structured = firestore_values.query_message(
            collection, plan, self._name, descending=descending, limit=limit, after=after
        )
        request = firestore.RunQueryRequest.wrap(
            firestore.RunQueryRequest.pb()(parent=self._parent, structured_query=structured)
        )
        answers = self._read(lambda: self._stream(self._client.run_query, request))
        found = [self._snapshot(answer.document) for answer in answers if answer.HasField("document")]
        self.counts.add(read=max(1, len(found)))
        return found

    def aggregate(
        self, collection: str, where: Sequence[tuple[str, Comparison, Any]], sums: Sequence[str]
    ) -> dict[str, int]:
        """Return the count, and sums of the integers. See `ports.DocumentStore.aggregate`."""
        plan = query_rules.plan_aggregate(self._indexes, collection, where, sums)
        structured = firestore_values.query_message(collection, plan, self._name)
        messages = firestore_values.aggregation_messages(structured, sums)
        totals = [self._total(message) for message in messages]
        self.counts.add(read=len(messages) * max(1, math.ceil(totals[0] / 1_000)))
        if any(type(total) is not int for total in totals):
            raise InvalidDocument(f"{collection}: a sum is not of integers")
        return dict(zip(["count", *sums], totals, strict=True))

    # ------------------------------------------------------------ requests

    def _check(self, writes: Sequence[Write]) -> None:
        for write, (collection, _) in zip(writes, document_rules.check_writes(writes), strict=True):
            if write.kind != "delete":
                document_rules.encode(write.path, write.data)
                document_rules.check_index_values(write.data, self._indexed.get(collection, ()))

    def _total(self, aggregation: Any) -> Any:
        request = firestore.RunAggregationQueryRequest.wrap(
            firestore.RunAggregationQueryRequest.pb()(parent=self._parent, structured_aggregation_query=aggregation)
        )
        (answer,) = self._read(lambda: self._stream(self._client.run_aggregation_query, request))
        return firestore_values.json_of(answer.result.aggregate_fields["total"])

    def _stream(self, call: Callable[..., Any], request: Any) -> list[Any]:
        """Return every answer of a streaming call, as plain messages."""
        return [type(answer).pb(answer) for answer in call(request, **self._options())]

    def _read(self, call: Callable[[], T]) -> T:
        with self._translated():
            return self._read_again(call)()

    def _options(self) -> dict[str, Any]:
        """Every call has a deadline, and none a retry that the library would decide on."""
        return {"timeout": TIMEOUT_S, "retry": None, "metadata": self._metadata}

    def _contended(self, _error: Exception) -> None:
        self.counts.add(conflicts=1)

    # ------------------------------------------------------------ names

    @property
    def _parent(self) -> str:
        return self._root.removesuffix("/")

    def _name(self, path: str) -> str:
        return self._root + path

    def _snapshot(self, document: Any) -> Snapshot:
        return Snapshot(
            document.name.removeprefix(self._root),
            firestore_values.version_of(document.update_time),
            firestore_values.fields_of(document.fields),
        )

    # ------------------------------------------------------------ errors

    @contextmanager
    def _translated(self, *, commits: bool = False) -> Iterator[None]:
        """Raise the errors of the port in place of the library's."""
        try:
            yield
        except exceptions.GoogleAPIError as error:
            raise translation(error, self._project, self._database_id, commits=commits) from None
        except GoogleAuthError as error:
            raise StoreUnusable(f"Firestore does not accept our credentials: {LOGIN} ({line(error)})") from None


def _channel() -> grpc.Channel:
    host = os.environ.get("FIRESTORE_EMULATOR_HOST")
    if host:
        return grpc.insecure_channel(host, options=_KEEP_ALIVE)
    try:
        credentials, _ = google.auth.default(scopes=FirestoreGrpcTransport.AUTH_SCOPES)
    except GoogleAuthError as error:
        raise no_credentials("Firestore", error) from None
    return FirestoreGrpcTransport.create_channel(credentials=credentials, options=_KEEP_ALIVE)


def _emulator_metadata() -> tuple[tuple[str, str], ...]:
    """The emulator lets everything pass for the owner; otherwise it would ask for security rules."""
    return (("authorization", "Bearer owner"),) if os.environ.get("FIRESTORE_EMULATOR_HOST") else ()
