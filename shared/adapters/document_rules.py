"""The strictest back end's limits on documents and commits, as plain functions that every adapter calls.

Without them a laptop would accept what the cloud refuses, and an emulator what production refuses: Firestore's
emulator takes 501 writes in one batch.

Sources: firebase.google.com/docs/firestore, pages `quotas` (the limits) and `storage-size` (the size of a document).
"""

from __future__ import annotations

import functools
import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from shared.errors import DocumentTooLarge, InvalidDocument
from shared.ports import ABSENT, Json, Write

MAX_WRITES = 500
MAX_DOCUMENT_BYTES = 1_048_576
MAX_TEXT_BYTES = 1_048_487
MAX_INDEXED_TEXT_BYTES = 1_500
MAX_NAME_BYTES = 1_500
MAX_DEPTH = 20
INT_MIN, INT_MAX = -(2**63), 2**63 - 1

# A document is at most 12 times its JSON text ("{}," is 3 bytes there and 33 here); below this no need to look.
_SURELY_SMALL_BYTES = MAX_DOCUMENT_BYTES // 12 - MAX_NAME_BYTES
_COLLECTION = re.compile(r"[a-z][a-z0-9_]{0,62}")
_RESERVED = re.compile(r"__.*__", re.DOTALL)


# ---------------------------------------------------------------- paths and values


def split_path(path: str) -> tuple[str, str]:
    """Return (collection, id) of `collection/id`. Raises InvalidDocument."""
    collection, _, name = path.partition("/")
    check_collection(collection)
    _check_name(name, "a document id")
    if "/" in name or name in {".", ".."}:
        raise InvalidDocument(f"{path[:100]!r} is not a document path: the id has a slash or is a dot name")
    return collection, name


def check_collection(collection: str) -> None:
    """Raise InvalidDocument unless it is lower-case letters, digits and underscores (our rule, not the back end's)."""
    if _COLLECTION.fullmatch(collection) is None:
        raise InvalidDocument(f"{collection[:100]!r} is not a collection name")


def encode(path: str, data: Json) -> str:
    """Return *data* as compact JSON text once every limit on a whole document holds.

    Raises:
        InvalidDocument: a value that is not JSON, an integer beyond 64 bits, NaN or infinity, an array directly in
            an array, more than 20 levels, text that is not UTF-8, or a reserved, empty or too long field name.
        DocumentTooLarge: over 1 MiB as the strictest back end counts it.
    """
    _check_fields(data, 0)
    try:
        text = orjson.dumps(data)
    except orjson.JSONEncodeError as exc:
        raise InvalidDocument(f"{path}: {exc}") from None
    if len(text) > _SURELY_SMALL_BYTES and document_size_bytes(path, data) > MAX_DOCUMENT_BYTES:
        raise DocumentTooLarge(f"{path} is over {MAX_DOCUMENT_BYTES} bytes")
    return text.decode()


def document_size_bytes(path: str, data: Json) -> int:
    """Return the size that counts against the 1 MiB. Raises DocumentTooLarge for one text over its own limit."""
    return 16 + sum(_text_size(part) for part in path.split("/")) + _size(data)


def check_index_values(data: Json, fields: Sequence[str]) -> None:
    """Raise InvalidDocument when an indexed text is over 1,500 bytes, beyond which an index would cut it off."""
    for field in fields:
        value = data.get(field)
        if isinstance(value, str) and _text_size(value) > MAX_INDEXED_TEXT_BYTES + 1:
            raise InvalidDocument(f"{field!r} is indexed and over {MAX_INDEXED_TEXT_BYTES} bytes")


@functools.lru_cache(maxsize=4096)
def _check_field_name(name: str) -> None:
    """Documents share their field names, so nearly every call is answered from the cache."""
    _check_name(name, "a field name")


def _check_name(name: str, what: str) -> None:
    try:
        size_bytes = len(name) if name.isascii() else len(name.encode())
    except UnicodeEncodeError:
        raise InvalidDocument(f"{what} is not UTF-8") from None
    if not 1 <= size_bytes <= MAX_NAME_BYTES:
        raise InvalidDocument(f"{what} is of {size_bytes} bytes; 1 to {MAX_NAME_BYTES} are allowed")
    if name.startswith("__") and _RESERVED.fullmatch(name):
        raise InvalidDocument(f"{what} of the form __x__ is reserved: {name[:100]!r}")


def _check_fields(fields: Mapping[Any, Any], depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise InvalidDocument(f"nested deeper than {MAX_DEPTH} levels")
    for name, value in fields.items():
        if not isinstance(name, str):
            raise InvalidDocument(f"a field name is a {type(name).__name__}, not text")
        _check_field_name(name)
        check = _CHECKS.get(type(value), _check_other)
        if check is not None:
            check(value, name, depth + 1)


def _check_int(value: int, name: str, _depth: int) -> None:
    if not INT_MIN <= value <= INT_MAX:
        raise InvalidDocument(f"{name!r} does not fit in 64 bits")


def _check_float(value: float, name: str, _depth: int) -> None:
    if not math.isfinite(value):
        raise InvalidDocument(f"{name!r} is {value}, which is not JSON")


def _check_array(values: Sequence[Any], name: str, depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise InvalidDocument(f"{name!r} is nested deeper than {MAX_DEPTH} levels")
    for value in values:
        if isinstance(value, list | tuple):
            raise InvalidDocument(f"{name!r} is an array that directly holds an array")
        check = _CHECKS.get(type(value), _check_other)
        if check is not None:
            check(value, name, depth + 1)


def _check_other(value: object, name: str, depth: int) -> None:
    """Let subclasses pass as what they are, such as a StrEnum; everything else is not JSON."""
    for kind in (str, bool, int, float, dict, list, tuple):
        if isinstance(value, kind):
            check = _CHECKS[kind]
            if check is not None:
                check(value, name, depth)
            return
    raise InvalidDocument(f"{name!r} is a {type(value).__name__}, which is not JSON")


# Types without limits of their own have no check: this runs for every value of every commit.
_CHECKS: dict[type, Callable[[Any, str, int], None] | None] = {
    str: None,
    bool: None,
    type(None): None,
    float: _check_float,
    int: _check_int,
    dict: lambda value, _name, depth: _check_fields(value, depth),
    list: _check_array,
    tuple: _check_array,
}


def _text_size(text: str) -> int:
    return (len(text) if text.isascii() else len(text.encode())) + 1


def _size(value: Any) -> int:
    if isinstance(value, str):
        size = _text_size(value)
        if size - 1 > MAX_TEXT_BYTES:
            raise DocumentTooLarge(f"a text is over {MAX_TEXT_BYTES} bytes")
        return size
    if isinstance(value, dict):
        return 32 + sum(_text_size(name) + _size(child) for name, child in value.items())
    if isinstance(value, list | tuple):
        return sum(_size(child) for child in value)
    return 1 if value is None or isinstance(value, bool) else 8


# ---------------------------------------------------------------- commits


def check_writes(writes: Sequence[Write]) -> list[tuple[str, str]]:
    """Return (collection, id) of each write of one commit. Raises InvalidDocument.

    At most 500 writes, each to a different document; increments only in an update, of fields it does not set.
    """
    if len(writes) > MAX_WRITES:
        raise InvalidDocument(f"{len(writes)} writes in one commit; {MAX_WRITES} are allowed")
    places = [split_path(write.path) for write in writes]
    if len(set(places)) != len(places):
        raise InvalidDocument("a commit writes the same document twice")
    for write in writes:
        _check_write(write)
    return places


def _check_write(write: Write) -> None:
    if not isinstance(write.data, dict):
        raise InvalidDocument(f"{write.path} is a {type(write.data).__name__}, not an object")
    if write.kind != "set" and write.demand == ABSENT:
        raise InvalidDocument(f"{write.path}: only a new document can be demanded absent")
    if not write.increments:
        return
    if write.kind != "update":
        raise InvalidDocument(f"{write.path}: increments belong to an update")
    for field, amount in write.increments.items():
        if type(amount) is not int or not INT_MIN <= amount <= INT_MAX:
            raise InvalidDocument(f"{write.path}: the increment of {field!r} is not a 64-bit integer")
        if field in write.data:
            raise InvalidDocument(f"{write.path}: {field!r} is both set and incremented")


# ---------------------------------------------------------------- what it would cost


@dataclass(frozen=True, slots=True)
class Tally:
    """Documents read and written, commits that succeeded, commits refused by a precondition."""

    read: int = 0
    written: int = 0
    commits: int = 0
    conflicts: int = 0


class Counts:
    """Counts what the strictest back end would bill; safe in threads.

    A missing document counts as one read, a query as its results but at least one, an aggregation as one read per
    1,000 index entries begun, for the count and for each sum.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tally = Tally()

    def add(self, *, read: int = 0, written: int = 0, commits: int = 0, conflicts: int = 0) -> None:
        """Add to the tally."""
        with self._lock:
            old = self._tally
            self._tally = Tally(
                old.read + read, old.written + written, old.commits + commits, old.conflicts + conflicts
            )

    def tally(self) -> Tally:
        """Return the counts since the start or the last reset."""
        return self._tally

    def reset(self) -> Tally:
        """Start again from zero and return what was counted until now."""
        with self._lock:
            old, self._tally = self._tally, Tally()
        return old
