"""What the pipeline needs from the outside, as narrow protocols.

Each docstring states the strictest back end's rules; every adapter enforces them, so that a laptop refuses
what the cloud would refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol

if TYPE_CHECKING:
    from shared.domain.catalogue import Model

Json = dict[str, Any]


# ---------------------------------------------------------------- documents


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One document as it was read. *version* is opaque: compare it for equality only."""

    path: str
    version: str
    data: Json


@dataclass(frozen=True, slots=True)
class Write:
    """One change of one document inside a commit; build it with `create`, `put`, `update` or `delete`.

    Attributes:
        demand: "absent", "exists", a version the document must still have, or None for no precondition.
        increments: integer amounts added to top-level fields on the server, without reading them.
    """

    path: str
    kind: Literal["set", "update", "delete"]
    data: Json = field(default_factory=dict)
    increments: Mapping[str, int] = field(default_factory=dict)
    demand: str | None = None


ABSENT = "absent"
EXISTS = "exists"


def create(path: str, data: Json) -> Write:
    """A new document; the commit fails when there is one already."""
    return Write(path, "set", data, demand=ABSENT)


def put(path: str, data: Json, version: str | None = None) -> Write:
    """The whole document, replacing what is there (only *version* of it, when given)."""
    return Write(path, "set", data, demand=version)


def update(
    path: str,
    fields: Json | None = None,
    increments: Mapping[str, int] | None = None,
    version: str | None = None,
) -> Write:
    """Set top-level *fields* and add *increments* to an existing document; the commit fails when it is missing."""
    return Write(path, "update", fields or {}, increments or {}, demand=version or EXISTS)


def delete(path: str, version: str | None = None) -> Write:
    """Remove a document; one that is missing already is no error."""
    return Write(path, "delete", demand=version)


Comparison = Literal["==", "<", "<=", ">", ">="]


class DocumentStore(Protocol):
    """Documents by path `collection/id`, JSON objects of at most 1 MiB.

    Ids are 1–1,500 bytes without `/`, not `.`, `..` or `__x__`. Values are JSON; integers fit in 64 bits;
    an array does not directly hold an array. Nothing written inside a commit can be read inside it.
    """

    def get(self, paths: Sequence[str]) -> list[Snapshot | None]:
        """Read documents in one round trip, in the order asked; None where there is none.

        Raises:
            StoreUnavailable: no answer in time.
        """

    def commit(self, writes: Sequence[Write]) -> list[str]:
        """Apply all *writes* or none and return the new versions in their order ("" for a deletion).

        At most 500 writes, each to a different document. A write that changes nothing may leave the version as it is.

        Raises:
            StoreConflict: a precondition did not hold; nothing was written.
            DocumentTooLarge, InvalidDocument: the strictest back end would refuse it.
            StoreUnavailable: no answer in time; the commit may or may not have happened.
        """

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
        """Return at most *limit* (1–1,000) documents, ordered by *order_by* and then by id.

        Equalities on any fields, ranges on one field only, and that field is then the one ordered by; the
        combination must be declared in `shared/stores/indexes.json`. A document without the ordered field is
        not found. *after* is the last document of the page before.

        Raises:
            InvalidDocument: no declared index serves the query.
        """

    def aggregate(
        self, collection: str, where: Sequence[tuple[str, Comparison, Any]], sums: Sequence[str]
    ) -> dict[str, int]:
        """Return `{"count": n, field: sum, …}` over the documents that match, computed by the back end."""

    def close(self) -> None:
        """Give up connections and files; nothing can be asked afterwards."""


# ---------------------------------------------------------------- blobs


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """An object without its bytes. *generation* changes with every new content."""

    uri: str
    size_bytes: int
    media_type: str
    generation: str


class BlobStore(Protocol):
    """Objects in named buckets ("inbox", "outputs"), addressed by URI.

    `gs://BUCKET/NAME` with the logical bucket name is understood by every back end; the URIs that come back are
    the back end's own (`file:///…`, `gs://prefix-outputs/…`) and are understood as well. Names are 1–1,024 bytes
    of UTF-8 without line breaks, and never leave their bucket.
    """

    def uri(self, bucket: str, name: str) -> str:
        """Return the back end's own URI of an object. Raises InvalidBlobName."""

    def locate(self, uri: str) -> tuple[str, str]:
        """Return (bucket, name) of a URI of either form. Raises InvalidBlobName."""

    def create(self, uri: str, data: bytes | Iterable[bytes], media_type: str) -> BlobInfo:
        """Store a new object; readers see all of it or none. Raises BlobExists when there is one."""

    def replace(self, uri: str, data: bytes, media_type: str, generation: str | None) -> BlobInfo:
        """Store over *generation* (None: over whatever is there). Raises BlobExists when it is another by now."""

    def read(self, uri: str, max_bytes: int) -> bytes:
        """Return the bytes. Raises BlobNotFound, and BlobTooLarge before reading more than *max_bytes*."""

    def open(self, uri: str) -> AbstractContextManager[BinaryIO]:
        """Open for streaming; the file object can seek. Raises BlobNotFound."""

    def stat(self, uri: str) -> BlobInfo | None:
        """Return what is known about an object without its bytes; None where there is none."""

    def list(self, prefix_uri: str, *, limit: int, after: str | None = None) -> list[BlobInfo]:
        """Return at most *limit* objects whose URI starts with *prefix_uri*, in the order of names."""

    def link(self, uri: str, valid_s: int) -> str | None:
        """Return a URL by which whoever has it may read the object for *valid_s* seconds; None where there is none.

        A secret: it never comes into logs, documents or metrics.
        """

    def close(self) -> None:
        """Give up connections and files; nothing can be asked afterwards."""


# ---------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Message:
    """An event on its way to a topic. Meaning travels in the payload; attributes serve filters and tracing."""

    topic: str
    payload: Json
    attributes: Mapping[str, str] = field(default_factory=dict)


class EventBus(Protocol):
    """Publishes to topics; delivery is at least once, late, twice and out of order."""

    def publish(self, messages: Sequence[Message]) -> None:
        """Hand over *messages* durably. Raises StoreUnavailable: then some of them may be on their way."""

    def close(self) -> None:
        """Give up connections and files; nothing can be asked afterwards."""


# ---------------------------------------------------------------- providers


@dataclass(frozen=True, slots=True)
class Call:
    """One paid call of one attempt; an attempt for several pieces takes several, where the vendor makes one at a time.

    Attributes:
        key: `job_id-attempt`, and `job_id-attempt.part` from the second call on: the idempotency key and the name
            under which the call can be found again.
        model: the vendor's own model id.
        row: the catalogue's row of the model; its limits bound what was priced, so the call must keep to them.
        part: which call of the attempt it is, from 0.
        params: what to make, in our words (see `shared/domain/request.py`): prompt, negative_prompt,
            width, height, count, seed, duration_s, fps, audio, task, platform, response_schema, …
        output_prefix: URI under which a vendor that writes to Cloud Storage itself must put its files.
    """

    key: str
    job_id: str
    attempt: int
    kind: str
    model: str
    row: Model
    params: Json
    output_prefix: str
    timeout_s: float
    part: int = 0


@dataclass(frozen=True, slots=True)
class Asset:
    """One delivered piece. Exactly one of the others is set beside the media type.

    Attributes:
        uri: a file that the vendor wrote to our storage itself.
        chunks: reads a file that lies at the vendor, from its beginning with each call; raises `ProviderFault`s.
    """

    media_type: str
    data: bytes | None = None
    text: str | None = None
    uri: str | None = None
    chunks: Callable[[], Iterator[bytes]] | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The call delivered.

    Attributes:
        usage: billable units the vendor reports, e.g. `{"image": 1}`, `{"second": 8}`,
            `{"input_token": 120, "output_token": 900}`; empty when it reports none.
        finish: the vendor's reason to stop, in our words: "stop" or "max_tokens".
    """

    assets: tuple[Asset, ...]
    usage: Mapping[str, int]
    finish: str = "stop"


@dataclass(frozen=True, slots=True)
class Pending:
    """The vendor is still working. *handle* is all that `poll` needs, as JSON."""

    handle: Json
    poll_after_s: float
    progress: float | None = None


@dataclass(frozen=True, slots=True)
class NotAccepted:
    """The vendor is sure that it never accepted the call: making it again buys nothing twice."""


class Provider(Protocol):
    """A vendor: two phases with a JSON handle. Every method raises `ProviderFault`s and nothing else."""

    name: str

    def start(self, call: Call) -> Done | Pending:
        """Make the paid call."""

    def poll(self, handle: Json) -> Done | Pending:
        """Ask after an accepted operation; free of charge.

        A fault is the end of the operation. When the vendor cannot be asked now, the operation is still pending.
        """

    def cancel(self, handle: Json) -> None:
        """Ask the vendor to stop; it may finish and charge all the same."""

    def find(self, call: Call) -> Done | Pending | NotAccepted | None:
        """Look for an earlier call of the same key; None when this vendor cannot tell."""

    def close(self) -> None:
        """Give up connections; nothing can be asked afterwards."""


# ---------------------------------------------------------------- clock, metrics


class Clock(Protocol):
    """Time as an argument."""

    def now(self) -> datetime:
        """Return the present as aware UTC."""

    def sleep(self, seconds: float) -> None:
        """Let *seconds* pass."""


class MetricSink(Protocol):
    """Takes measurements of declared metrics (`shared/metrics.py`)."""

    def record(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Record one measurement; an undeclared name or label raises ValueError. Never waits for a back end."""

    def flush(self) -> None:
        """Hand over what was gathered since the last time. What cannot be handed over is logged, never raised."""

    def close(self) -> None:
        """Hand over the rest, and give up connections."""
