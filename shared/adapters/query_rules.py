"""Declared indexes, and which of them serves a query, as plain functions that every adapter calls.

Firestore's emulator demands no index, so a query that production would refuse passes every other test.

Sources: firebase.google.com/docs/firestore, page `query-data/index-overview`, for what an index serves;
cloud.google.com/blog "Calculate SUM and AVG aggregations using Firestore" (2023-11-07): a summed field must be indexed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shared.adapters.document_rules import check_collection, encode, split_path
from shared.errors import InvalidDocument
from shared.ports import Comparison, Snapshot

MAX_PAGE = 1_000
INDEXES_PATH = Path(__file__).parents[1] / "stores" / "indexes.json"

_FIELD = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class CollectionIndexes:
    """Declared indexes of one collection.

    Attributes:
        single: fields that can be compared or ordered by alone, in both directions.
        composite: fields compared for equality, in any order, and then the ordered one; "-field" orders it descending.
    """

    single: frozenset[str] = frozenset()
    composite: tuple[tuple[str, ...], ...] = ()

    def fields(self) -> tuple[str, ...]:
        """Return every indexed field once, in the order of names."""
        return tuple(sorted(self.single | {part.removeprefix("-") for index in self.composite for part in index}))


Indexes = Mapping[str, CollectionIndexes]


def load_indexes(path: Path = INDEXES_PATH) -> dict[str, Any]:
    """Return the declarations of this project's collections, as they are in the file."""
    declared: dict[str, Any] = json.loads(path.read_text())
    return declared


def parse_indexes(declared: Mapping[str, Any]) -> dict[str, CollectionIndexes]:
    """Check `{"jobs": {"single": ["due_at"], "composite": [["state", "-created_at"]]}}`. Raises InvalidDocument."""
    return {collection: _parse_collection(collection, rows) for collection, rows in declared.items()}


def _parse_collection(collection: str, rows: Mapping[str, Any]) -> CollectionIndexes:
    check_collection(collection)
    composite = tuple(tuple(index) for index in rows.get("composite", ()))
    parsed = CollectionIndexes(frozenset(rows.get("single", ())), composite)
    if unknown := set(rows) - {"single", "composite"}:
        raise InvalidDocument(f"indexes of {collection!r}: unknown key {min(unknown)!r}")
    if any(len(index) < 2 for index in composite):
        raise InvalidDocument(f"indexes of {collection!r}: a composite index has two fields or more")
    for field in parsed.fields():
        if _FIELD.fullmatch(field) is None:
            raise InvalidDocument(f"indexes of {collection!r}: {field!r} cannot be indexed")
    return parsed


@dataclass(frozen=True, slots=True)
class Plan:
    """A query that a declared index serves.

    Attributes:
        equalities: (field, value) in the order asked.
        ranges: (comparison, value) of the field *order_by*.
        order_by: the ordered field, None for the order of ids.
        index: fields of the serving index, without direction marks; empty when ids alone do.
    """

    equalities: tuple[tuple[str, Any], ...]
    ranges: tuple[tuple[Comparison, Any], ...]
    order_by: str | None
    index: tuple[str, ...]


Where = Sequence[tuple[str, Comparison, Any]]


def plan_query(
    indexes: Indexes,
    collection: str,
    where: Where,
    *,
    order_by: str | None,
    descending: bool,
    limit: int,
    after: Snapshot | None,
) -> Plan:
    """Check a query of `DocumentStore.query` and find its index. Raises InvalidDocument."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidDocument(f"limit {limit} is not within 1 to {MAX_PAGE}")
    plan = _split(collection, where, order_by)
    if descending and plan.order_by is None:
        raise InvalidDocument("a descending query needs order_by")
    if after is not None:
        _check_cursor(collection, plan, after)
    return replace(plan, index=_serving_index(indexes, collection, plan, ordered=((plan.order_by, descending),)))


def plan_aggregate(indexes: Indexes, collection: str, where: Where, sums: Sequence[str]) -> Plan:
    """Check an aggregation and find its index. Every summed field must be in an index with the compared ones."""
    plan = _split(collection, where, None)
    aggregated: Sequence[str | None] = sums or [None]
    for field in aggregated:
        tail = [(name, None) for name in dict.fromkeys([plan.order_by, field])]
        plan = replace(plan, index=_serving_index(indexes, collection, plan, ordered=tail))
    return plan


def _split(collection: str, where: Where, order_by: str | None) -> Plan:
    check_collection(collection)
    equalities = tuple((field, _comparable(field, value)) for field, comparison, value in where if comparison == "==")
    ranged = [(field, comparison, value) for field, comparison, value in where if comparison != "=="]
    fields = {field for field, _, _ in ranged} | ({order_by} if order_by else set())
    if len(fields) > 1:
        raise InvalidDocument(f"ranges and order must be of one field, not of {', '.join(sorted(fields))}")
    order_by = next(iter(fields), None)
    compared = [field for field, _ in equalities]
    if len(set(compared)) != len(compared) or order_by in compared:
        raise InvalidDocument("a field is compared for equality twice, or also ranged or ordered by")
    ranges = tuple((comparison, _rangeable(field, comparison, value)) for field, comparison, value in ranged)
    return Plan(equalities, ranges, order_by, ())


def _comparable(field: str, value: Any) -> Any:
    if value is not None and not isinstance(value, str | int | float):
        raise InvalidDocument(f"{field!r} is compared with a {type(value).__name__}")
    encode(f"the value compared with {field!r}", {field: value})
    return value


def _rangeable(field: str, comparison: str, value: Any) -> Any:
    if comparison not in {"<", "<=", ">", ">="}:
        raise InvalidDocument(f"{comparison!r} is not a comparison")
    if value is None or isinstance(value, bool):
        raise InvalidDocument(f"{field!r} is ranged with {value!r}; numbers and texts have ranges")
    return _comparable(field, value)


def _check_cursor(collection: str, plan: Plan, after: Snapshot) -> None:
    if split_path(after.path)[0] != collection:
        raise InvalidDocument(f"{after.path} is no cursor in {collection!r}")
    if plan.order_by is not None and plan.order_by not in after.data:
        raise InvalidDocument(f"{after.path} is no cursor: it lacks {plan.order_by!r}")


def _serving_index(
    indexes: Indexes, collection: str, plan: Plan, ordered: Sequence[tuple[str | None, bool | None]]
) -> tuple[str, ...]:
    """Find the index of the equalities in any order and then *ordered*: (field, descending or None for either)."""
    declared = indexes.get(collection, CollectionIndexes())
    equal = {field for field, _ in plan.equalities}
    tail = [(field, descending) for field, descending in ordered if field is not None and field not in equal]
    wanted = [*sorted(equal), *(f"-{field}" if descending else field for field, descending in tail)]
    if not wanted or (len(wanted) == 1 and wanted[0].removeprefix("-") in declared.single):
        return tuple(field.removeprefix("-") for field in wanted)
    for index in declared.composite:
        if len(index) == len(wanted) and _serves(index, equal, tail):
            return tuple(part.removeprefix("-") for part in index)
    kind, row = ("single", wanted[0].removeprefix("-")) if len(wanted) == 1 else ("composite", wanted)
    raise InvalidDocument(
        f"no declared index serves this query: in shared/stores/indexes.json, "
        f'add {json.dumps(row)} to "{kind}" of "{collection}"'
    )


def _serves(index: tuple[str, ...], equal: set[str], tail: Sequence[tuple[str, bool | None]]) -> bool:
    head, rest = index[: len(equal)], index[len(equal) :]
    return {part.removeprefix("-") for part in head} == equal and all(
        part.removeprefix("-") == field and descending in {None, part.startswith("-")}
        for part, (field, descending) in zip(rest, tail, strict=True)
    )
