"""What the Cloud Storage simulator keeps: buckets, objects, generations, checksums. Knows nothing of HTTP.

Objects live in memory and are gone with the process.

Source: cloud.google.com/storage/docs/json_api/v1/objects and /storage/docs/request-preconditions.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

import google_crc32c

Metadata = dict[str, Any]

GIVEN = (
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "customTime",
    "eventBasedHold",
    "metadata",
    "storageClass",
    "temporaryHold",
)
MAX_NAME_BYTES = 1_024
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_NOT_HELD = "At least one of the pre-conditions you specified did not hold."


class Refused(Exception):
    """An answer other than success, in Google's words."""

    def __init__(self, status: int, message: str, reason: str) -> None:
        super().__init__(message)
        self.status, self.message, self.reason = status, message, reason


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One generation of an object. A change of its metadata is a new value with the same data."""

    metadata: Metadata
    data: bytes


@dataclass(slots=True)
class _Bucket:
    metadata: Metadata
    objects: dict[str, StoredObject] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Conditions:
    """The preconditions of one request; None where it sets none."""

    generation: int | None = None
    generation_not: int | None = None
    metageneration: int | None = None
    metageneration_not: int | None = None

    @classmethod
    def of(cls, values: Mapping[str, str], prefix: str = "if") -> Conditions:
        """Read `ifGenerationMatch` and its kin; *prefix* is "ifSource" for the source of a copy."""
        names = ("GenerationMatch", "GenerationNotMatch", "MetagenerationMatch", "MetagenerationNotMatch")
        return cls(*(parsed_integer(values, prefix + name) for name in names))

    def check(self, current: StoredObject | None, *, reading: bool = False) -> None:
        """Raise Refused, 412 or (of a read that found nothing new) 304, unless all hold."""
        generation, metageneration = (
            (int(current.metadata["generation"]), int(current.metadata["metageneration"])) if current else (0, 0)
        )
        if self.generation not in {None, generation} or self.metageneration not in {None, metageneration}:
            raise Refused(412, _NOT_HELD, "conditionNotMet")
        if self.generation_not == generation or self.metageneration_not == metageneration:
            raise Refused(304 if reading else 412, _NOT_HELD, "conditionNotMet")


@dataclass(frozen=True, slots=True)
class Query:
    """What to list. *after* is the last name, or common prefix, of the page before."""

    prefix: str = ""
    delimiter: str = ""
    start: str = ""
    end: str = ""
    after: str = ""
    limit: int = 1_000


@dataclass(slots=True)
class Page:
    """A page of a listing; *last* is set when more follows."""

    items: list[Metadata] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    last: str | None = None


class Objects:
    """All buckets of the simulator. Threads may share it. *url* is where they are served: metadata leads there."""

    def __init__(self) -> None:
        self.url = ""  # clients download from the link that an object's metadata name
        self._lock = threading.RLock()
        self._buckets: dict[str, _Bucket] = {}
        self._generations = itertools.count(time.time_ns() // 1_000)

    def create_bucket(self, given: Metadata) -> Metadata:
        """Make an empty bucket. Raises Refused when there is one, or when it cannot have this name."""
        name = str(given.get("name", ""))
        if _BUCKET.fullmatch(name) is None:
            raise Refused(400, f"Invalid bucket name: '{name}'", "invalid")
        at = _now()
        metadata = {"location": "US", "storageClass": "STANDARD", **given, "kind": "storage#bucket", "id": name}
        metadata |= {"projectNumber": "1", "metageneration": "1", "timeCreated": at, "updated": at, "etag": "CAE="}
        with self._lock:
            if name in self._buckets:
                message = "Your previous request to create the named bucket succeeded and you already own it."
                raise Refused(409, message, "conflict")
            self._buckets[name] = _Bucket(metadata)
        return metadata

    def bucket(self, name: str) -> Metadata:
        """Return a bucket's metadata. Raises Refused."""
        return self._bucket(name).metadata

    def buckets(self, prefix: str = "") -> list[Metadata]:
        """Return the metadata of all buckets in the order of names."""
        with self._lock:
            return [bucket.metadata for name, bucket in sorted(self._buckets.items()) if name.startswith(prefix)]

    def check(self, bucket: str, name: str, conditions: Conditions) -> None:
        """Raise Refused when a write under *conditions* would be refused now."""
        with self._lock:
            conditions.check(self._bucket(bucket).objects.get(_checked_name(name)))

    def put(self, bucket: str, name: str, data: bytes, given: Metadata, conditions: Conditions) -> StoredObject:
        """Store a new generation; *given* may hold checksums to verify. Raises Refused."""
        hashes = _checked_hashes(data, given)  # outside the lock: they take a second for a large object
        with self._lock:
            objects = self._bucket(bucket).objects
            conditions.check(objects.get(_checked_name(name)))
            kept = {key: given[key] for key in GIVEN if given.get(key) is not None}
            generation = str(next(self._generations))
            metadata = _described(self.url, bucket, name, generation) | kept | hashes | {"size": str(len(data))}
            objects[name] = StoredObject(metadata, data)
            return objects[name]

    def get(
        self, bucket: str, name: str, conditions: Conditions | None = None, generation: int | None = None
    ) -> StoredObject:
        """Return an object, only if it is of *generation* when that is given. Raises Refused."""
        with self._lock:
            found = self._bucket(bucket).objects.get(name)
        if found is None or generation not in {None, int(found.metadata["generation"])}:
            raise Refused(404, f"No such object: {bucket}/{name}", "notFound")
        (conditions or Conditions()).check(found, reading=True)
        return found

    def patch(self, bucket: str, name: str, changes: Metadata, conditions: Conditions, *, whole: bool) -> Metadata:
        """Change metadata; None removes a key. *whole*: what *changes* leaves out is removed. Raises Refused."""
        with self._lock:
            old = self.get(bucket, name)
            conditions.check(old)
            new = {key: value for key, value in old.metadata.items() if not whole or key not in GIVEN}
            new |= {key: _merged(new.get(key), value) for key, value in changes.items() if key in GIVEN}
            new |= {"metageneration": str(int(new["metageneration"]) + 1), "updated": _now()}
            new = {key: value for key, value in new.items() if value is not None}
            self._bucket(bucket).objects[name] = StoredObject(new, old.data)
            return new

    def delete(self, bucket: str, name: str, conditions: Conditions, generation: int | None = None) -> None:
        """Remove an object. Raises Refused."""
        with self._lock:
            conditions.check(self.get(bucket, name, generation=generation))
            del self._bucket(bucket).objects[name]

    def list(self, bucket: str, query: Query) -> Page:
        """Return a page of objects and common prefixes, in the order of names. Raises Refused."""
        with self._lock:
            objects = sorted(self._bucket(bucket).objects.items())
        page = Page()
        entries = _entries(objects, query)
        for entry, metadata in itertools.islice(entries, query.limit):
            page.last = entry
            if metadata is None:
                page.prefixes.append(entry)
            else:
                page.items.append(metadata)
        if next(entries, None) is None:
            page.last = None
        return page

    def _bucket(self, name: str) -> _Bucket:
        with self._lock:
            if name not in self._buckets:
                raise Refused(404, "The specified bucket does not exist.", "notFound")
            return self._buckets[name]


def parsed_integer(values: Mapping[str, str], name: str) -> int | None:
    """Return a number of a query, None when it is not there. Raises Refused."""
    try:
        return int(values[name]) if name in values else None
    except ValueError:
        raise Refused(400, f"Invalid value for {name}: {values[name]!r}", "invalid") from None


def _entries(objects: list[tuple[str, StoredObject]], query: Query) -> Iterator[tuple[str, Metadata | None]]:
    """Yield names with metadata, and each common prefix once without."""
    last = query.after
    for name, stored in objects:
        if not name.startswith(query.prefix) or name < query.start or (query.end and name >= query.end):
            continue
        head, delimiter, _ = name[len(query.prefix) :].partition(query.delimiter or "\0")
        entry = query.prefix + head + delimiter
        if entry > last:
            last = entry
            yield entry, None if delimiter else stored.metadata


def _checked_name(name: str) -> str:
    size_bytes = len(name.encode())
    if not 1 <= size_bytes <= MAX_NAME_BYTES or "\r" in name or "\n" in name or name in {".", ".."}:
        raise Refused(400, f"Invalid object name: {name[:100]!r}", "invalid")
    return name


def _checked_hashes(data: bytes, given: Metadata) -> dict[str, str]:
    digests: dict[Literal["crc32c", "md5Hash"], bytes] = {
        "crc32c": google_crc32c.value(data).to_bytes(4, "big"),
        "md5Hash": hashlib.md5(data, usedforsecurity=False).digest(),
    }
    hashes = {str(name): base64.b64encode(digest).decode() for name, digest in digests.items()}
    for name, computed in hashes.items():
        if given.get(name) not in {None, computed}:
            message = f'Provided {name} hash "{given[name]}" doesn\'t match calculated {name} hash "{computed}".'
            raise Refused(400, message, "invalid")
    return hashes


def _described(url: str, bucket: str, name: str, generation: str) -> Metadata:
    at, path = _now(), f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
    return {
        "kind": "storage#object",
        "id": f"{bucket}/{name}/{generation}",
        "selfLink": f"{url}{path}",
        "mediaLink": f"{url}/download{path}?generation={generation}&alt=media",
        "bucket": bucket,
        "name": name,
        "generation": generation,
        "metageneration": "1",
        "contentType": "application/octet-stream",
        "storageClass": "STANDARD",
        "etag": base64.b64encode(generation.encode()).decode(),
        "timeCreated": at,
        "updated": at,
    }


def _merged(old: Any, new: Any) -> Any:
    """A map of custom metadata is merged key by key, anything else replaced."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return {key: value for key, value in (old | new).items() if value is not None}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
