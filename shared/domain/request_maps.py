"""The fields of a request that are objects themselves: labels and a JSON schema.

Both are stored as they are, so they keep to what a document can hold: no keys that are empty or of the form __x__, no
list directly in a list, integers of at most 64 bits, twenty levels in all (https://firebase.google.com/docs/firestore/quotas).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from typing import Any

from shared.domain.request_fields import Field, Lookups, RefusedError, clean_name, clean_text, sort_of

MAX_LABELS, MAX_LABEL_KEY_CHARS, MAX_LABEL_VALUE_CHARS = 64, 63, 256
MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH = 65_536, 16

_RESERVED_NAME = re.compile(r"__.*__", re.DOTALL)


def labels() -> Field:
    """Describe texts by name; documents store them as fields, whose names must not be of the form __x__."""

    def check(value: object, _lookups: Lookups) -> dict[str, str]:
        if not isinstance(value, dict):
            raise RefusedError("invalid_type", f"must be an object of texts, it is {sort_of(value)}")
        if len(value) > MAX_LABELS:
            raise RefusedError("too_long", f"must have at most {MAX_LABELS} entries, it has {len(value)}")
        found = dict(_label(position, *item) for position, item in enumerate(value.items(), start=1))
        if len(found) < len(value):
            raise RefusedError("not_allowed", "has two keys that are the same once trimmed and normalised")
        return found

    return Field(check, "labels")


def _label(position: int, key: object, value: object) -> tuple[str, str]:
    try:
        clean_key = clean_name(key, MAX_LABEL_KEY_CHARS)
        clean_value = clean_text(value, 0, MAX_LABEL_VALUE_CHARS)
    except RefusedError as refusal:
        raise RefusedError(refusal.code, f"entry {position} {refusal.message}") from None
    if _RESERVED_NAME.fullmatch(clean_key):
        raise RefusedError("not_allowed", f"entry {position} must not have a key of the form __x__")
    return clean_key, clean_value


def json_schema() -> Field:
    """Describe a JSON schema that can be stored and that *schema_problem* finds sound."""

    def check(value: object, lookups: Lookups) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise RefusedError("invalid_type", f"must be an object, it is {sort_of(value)}")
        _demand_storable(value)
        own = _copied(value)
        problem = lookups.schema_problem(own)
        if problem is not None:
            raise RefusedError("not_allowed", f"is not a usable JSON schema: {problem[:300]}")
        return own

    return Field(check, "json")


def _copied(value: dict[str, Any]) -> dict[str, Any]:
    """Return a copy that nobody else can change, unless it is too large."""
    try:
        encoded = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise RefusedError("control_characters", "must not contain half surrogate pairs") from None
    if len(encoded) > MAX_SCHEMA_BYTES:
        raise RefusedError("too_long", f"must be at most {MAX_SCHEMA_BYTES} bytes of JSON, it has {len(encoded)}")
    own: dict[str, Any] = json.loads(encoded)
    return own


def _demand_storable(value: dict[str, Any]) -> None:
    """Refuse what a document cannot hold, without recursion: the nesting is not known to be sane yet."""
    level: list[object] = [value]
    seen = 0
    for _depth in range(MAX_SCHEMA_DEPTH):
        seen += len(level)
        if seen > MAX_SCHEMA_BYTES:  # every value takes at least a byte
            raise RefusedError("too_long", f"must be at most {MAX_SCHEMA_BYTES} bytes of JSON")
        level = [inner for outer in level for inner in _storable_parts(outer)]
        if not level:
            return
    raise RefusedError("not_allowed", f"must not be nested deeper than {MAX_SCHEMA_DEPTH} levels")


def _storable_parts(value: object) -> Collection[object]:
    """Return the values directly inside *value* once it can itself be stored."""
    match value:
        case dict():
            if not all(isinstance(key, str) and key and not _RESERVED_NAME.fullmatch(key) for key in value):
                raise RefusedError("not_allowed", "must not have keys that are empty or of the form __x__")
            return value.values()
        case list():
            if any(isinstance(item, list) for item in value):
                raise RefusedError("not_allowed", "must not have a list directly inside a list: it could not be stored")
            return value
        case None | bool() | str():
            return ()
        case int() if abs(value) < 2**63:
            return ()
        case float() if math.isfinite(value):
            return ()
        case _:
            raise RefusedError("not_allowed", "must hold nothing but JSON values, with integers of at most 64 bits")
