"""JSON values, writes and queries as Firestore's protocol buffers, and back.

Source: cloud.google.com/firestore/docs/reference/rpc/google.firestore.v1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC
from typing import Any

from google.cloud.firestore_v1.types import common, document, query, write
from google.protobuf.timestamp_pb2 import Timestamp

from shared.adapters.query_rules import Plan
from shared.domain.times import from_text, to_text
from shared.errors import StoreConflict
from shared.ports import ABSENT, EXISTS, Json, Snapshot, Write

# The plain message classes behind the wrappers of the client library, which are several times as slow.
ValuePb = document.Value.pb()
WritePb = write.Write.pb()
PreconditionPb = common.Precondition.pb()
QueryPb = query.StructuredQuery.pb()

EXPIRY = "expire_at"  # Firestore removes a document some time after the timestamp in this field, see infra/firestore.tf

_SIMPLE_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VERSION = re.compile(r"(\d{1,11})\.(\d{9})", re.ASCII)
_OPERATORS = {
    "<": "LESS_THAN",
    "<=": "LESS_THAN_OR_EQUAL",
    ">": "GREATER_THAN",
    ">=": "GREATER_THAN_OR_EQUAL",
}


# ---------------------------------------------------------------- values


def fill(target: Any, value: Any) -> None:
    """Write a JSON value into the message *target*."""
    if isinstance(value, str):
        target.string_value = value
    elif value is None:
        target.null_value = 0
    elif isinstance(value, bool):
        target.boolean_value = value
    elif isinstance(value, int):
        target.integer_value = value
    elif isinstance(value, float):
        target.double_value = value
    elif isinstance(value, dict):
        target.map_value.SetInParent()
        fill_fields(target.map_value.fields, value)
    else:
        target.array_value.SetInParent()
        for item in value:
            fill(target.array_value.values.add(), item)


def fill_fields(fields: Any, data: Mapping[str, Any]) -> None:
    """Write a JSON object into the map *fields*."""
    for name, value in data.items():
        fill(fields[name], value)


def fill_document(fields: Any, data: Mapping[str, Any]) -> None:
    """Write a document into the map *fields*; the time it expires at is the one value that must not stay text."""
    fill_fields(fields, data)
    if isinstance(data.get(EXPIRY), str):
        with suppress(ValueError):  # not a time: then it never expires
            fields[EXPIRY].timestamp_value.FromDatetime(from_text(data[EXPIRY]))


def json_of(value: Any) -> Any:
    """Return the JSON value in a message."""
    kind = value.WhichOneof("value_type")
    if kind == "timestamp_value":
        return to_text(value.timestamp_value.ToDatetime(UTC))
    if kind == "map_value":
        return fields_of(value.map_value.fields)
    if kind == "array_value":
        return [json_of(item) for item in value.array_value.values]
    return None if kind == "null_value" else getattr(value, kind)


def fields_of(fields: Any) -> Json:
    """Return the JSON object in a map of fields."""
    return {name: json_of(value) for name, value in fields.items()}


def field_path(name: str) -> str:
    """Return a top-level field's name as a path, in which a dot would mean a level."""
    if _SIMPLE_FIELD.fullmatch(name):
        return name
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


# ---------------------------------------------------------------- versions


def version_of(time: Timestamp) -> str:
    """Return a document's version: when it was last changed, in seconds with nanoseconds."""
    return f"{time.seconds}.{time.nanos:09d}"


def _time_of(version: str) -> Timestamp:
    found = _VERSION.fullmatch(version)
    if found is None:
        raise StoreConflict(f"{version[:40]!r} is no version of this store")
    return Timestamp(seconds=int(found[1]), nanos=int(found[2]))


# ---------------------------------------------------------------- writes


def write_message(name: str, change: Write) -> Any:
    """Return the message of one write; *name* is the document's full resource name."""
    message = WritePb()
    if change.kind == "delete":
        message.delete = name
    else:
        message.update.name = name
        fill_document(message.update.fields, change.data)
    if change.kind == "update":
        message.update_mask.SetInParent()
        message.update_mask.field_paths.extend(field_path(field) for field in change.data)
        for field, amount in change.increments.items():
            transform = message.update_transforms.add(field_path=field_path(field))
            transform.increment.integer_value = amount
    if change.demand is not None:
        message.current_document.CopyFrom(_precondition(change.demand))
    return message


def _precondition(demand: str) -> Any:
    if demand in {ABSENT, EXISTS}:
        return PreconditionPb(exists=demand == EXISTS)
    return PreconditionPb(update_time=_time_of(demand))


# ---------------------------------------------------------------- queries


def query_message(
    collection: str,
    plan: Plan,
    name_of: Any,
    *,
    descending: bool = False,
    limit: int | None = None,
    after: Snapshot | None = None,
) -> Any:
    """Return the message of a planned query; *name_of* gives the resource name of a document's path."""
    message = QueryPb()
    message.from_.add(collection_id=collection)
    for field, value in plan.equalities:
        _add_equality(message, field, value)
    for comparison, value in plan.ranges:
        _add_filter(message, str(plan.order_by), _OPERATORS[comparison], value)
    fields = ([field_path(plan.order_by)] if plan.order_by else []) + ["__name__"]
    if limit is None:
        return message  # an aggregation has no order
    for field in fields:
        order = message.order_by.add(direction="DESCENDING" if descending else "ASCENDING")
        order.field.field_path = field
    message.limit.value = limit
    if after is not None:
        if plan.order_by:
            fill(message.start_at.values.add(), after.data[plan.order_by])
        message.start_at.values.add(reference_value=name_of(after.path))
    return message


def aggregation_messages(structured: Any, sums: Sequence[str]) -> list[Any]:
    """Return an aggregation that counts, and one for each sum.

    Together in one message they would leave out, from all of them, a document that lacks one of the fields.
    """
    messages = []
    for field in [None, *sums]:
        message = query.StructuredAggregationQuery.pb()(structured_query=structured)
        aggregation = message.aggregations.add(alias="total")
        if field is None:
            aggregation.count.SetInParent()
        else:
            aggregation.sum.field.field_path = field_path(field)
        messages.append(message)
    return messages


def _add_equality(message: Any, field: str, value: Any) -> None:
    if value is None:
        unary = _next_filter(message).unary_filter
        unary.op, unary.field.field_path = "IS_NULL", field_path(field)
    else:
        _add_filter(message, field, "EQUAL", value)


def _add_filter(message: Any, field: str, operator: str, value: Any) -> None:
    found = _next_filter(message).field_filter
    found.op, found.field.field_path = operator, field_path(field)
    fill(found.value, value)


def _next_filter(message: Any) -> Any:
    message.where.composite_filter.op = "AND"
    return message.where.composite_filter.filters.add()
