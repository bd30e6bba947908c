"""Whether a value conforms to a JSON schema: the keywords that structured output uses, without a library.

Drafts 4 to 2020-12 and the OpenAPI spelling of types ("STRING"). `format` is an annotation and not looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from shared.errors import InvalidCall

Schema = dict[str, Any] | bool
_DEEPEST = 60

_TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda v: v is None,
    "boolean": lambda v: isinstance(v, bool),
    "string": lambda v: isinstance(v, str),
    "array": lambda v: isinstance(v, list),
    "object": lambda v: isinstance(v, dict),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "integer": lambda v: not isinstance(v, bool) and (isinstance(v, int) or (isinstance(v, float) and v.is_integer())),
}


def types_of(schema: dict[str, Any]) -> list[str]:
    """Return the allowed types in lower case; empty when the schema names none."""
    types = schema.get("type", [])
    return [str(t).lower() for t in (types if isinstance(types, list) else [types])]


def resolve(ref: str, root: Schema) -> Schema:
    """Return the schema a local reference ("#/$defs/item") points to.

    Raises:
        InvalidCall: the reference leaves the document or points to nothing.
    """
    if ref != "#" and not ref.startswith("#/"):
        raise InvalidCall(f"schema reference {ref!r} is not local")
    found: Any = root
    for part in ref[2:].split("/") if ref != "#" else []:
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(key)] if isinstance(found, list) else found[key]
        except (KeyError, IndexError, ValueError, TypeError):
            raise InvalidCall(f"schema reference {ref!r} points to nothing") from None
    if not isinstance(found, dict | bool):
        raise InvalidCall(f"schema reference {ref!r} is no schema")
    return found


@lru_cache(256)
def compiled(pattern: str) -> re.Pattern[str]:
    """Return a schema's pattern as an expression.

    Raises:
        InvalidCall: it is none.
    """
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as exc:
        raise InvalidCall(f"schema pattern {pattern!r} cannot be read: {exc}") from exc


def key_of(value: Any) -> str:
    """Return a text that two values share exactly when they are equal as JSON."""
    return json.dumps(value, sort_keys=True)


def conforms(value: Any, schema: Any, root: Schema, depth: int = 0) -> bool:
    """Return whether *value* satisfies *schema*, whose references point into *root*.

    Raises:
        InvalidCall: the schema nests or refers to itself too deeply, or cannot be read.
    """
    if isinstance(schema, bool):
        return schema
    if depth > _DEEPEST or not isinstance(schema, dict):
        raise InvalidCall("schema is nested too deeply" if isinstance(schema, dict) else f"{schema!r} is no schema")

    def holds(part: Any, sub: Any) -> bool:
        return conforms(part, sub, root, depth + 1)

    if not _general(value, schema, root, holds):
        return False
    if isinstance(value, str):
        return _string(value, schema)
    if isinstance(value, dict):
        return all(_object(value, schema, holds))
    if isinstance(value, list):
        return all(_array(value, schema, holds))
    return value is None or isinstance(value, bool) or _number(value, schema)


Holds = Callable[[Any, Any], bool]


def _general(value: Any, schema: dict[str, Any], root: Schema, holds: Holds) -> bool:
    types = types_of(schema)
    if types and not any(_TYPES.get(name, lambda _: False)(value) for name in types):
        return value is None and schema.get("nullable") is True
    if "const" in schema and key_of(value) != key_of(schema["const"]):
        return False
    if "enum" in schema and key_of(value) not in map(key_of, schema["enum"]):
        return False
    if "$ref" in schema and not holds(value, resolve(schema["$ref"], root)):
        return False
    if "not" in schema and holds(value, schema["not"]):
        return False
    branch = "then" if "if" in schema and holds(value, schema["if"]) else "else"
    if "if" in schema and not holds(value, schema.get(branch, True)):
        return False
    return (
        all(holds(value, sub) for sub in schema.get("allOf", ()))
        and ("anyOf" not in schema or any(holds(value, sub) for sub in schema["anyOf"]))
        and ("oneOf" not in schema or sum(holds(value, sub) for sub in schema["oneOf"]) == 1)
    )


def _string(value: str, schema: dict[str, Any]) -> bool:
    return schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)) and (
        "pattern" not in schema or compiled(schema["pattern"]).search(value) is not None
    )


def _number(value: float, schema: dict[str, Any]) -> bool:
    low, low_open, high, high_open = limits(schema)
    if (low is not None and (value < low or (low_open and value == low))) or (
        high is not None and (value > high or (high_open and value == high))
    ):
        return False
    step = schema.get("multipleOf")
    return step is None or float(value / step).is_integer()


def limits(schema: dict[str, Any]) -> tuple[float | None, bool, float | None, bool]:
    """Return (lowest, whether it is excluded, highest, whether it is excluded), in draft 4 or later spelling."""
    ends: list[tuple[float | None, bool]] = []
    for plain, exclusive, tighter in (("minimum", "exclusiveMinimum", max), ("maximum", "exclusiveMaximum", min)):
        bound, strict = schema.get(plain), schema.get(exclusive)
        if isinstance(strict, bool) or strict is None:
            ends.append((bound, bool(strict)))
        elif bound is None or tighter(bound, strict) == strict:
            ends.append((strict, True))
        else:
            ends.append((bound, False))
    (low, low_open), (high, high_open) = ends
    return low, low_open, high, high_open


def _array(value: list[Any], schema: dict[str, Any], holds: Holds) -> Iterator[bool]:
    yield schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
    yield not schema.get("uniqueItems") or len(set(map(key_of, value))) == len(value)
    first, rest = item_schemas(schema)
    yield all(holds(item, sub) for item, sub in zip(value, first, strict=False))
    yield all(holds(item, rest) for item in value[len(first) :])
    if "contains" in schema:
        count = sum(holds(item, schema["contains"]) for item in value)
        yield schema.get("minContains", 1) <= count <= schema.get("maxContains", count)


def item_schemas(schema: dict[str, Any]) -> tuple[list[Any], Any]:
    """Return (schemas of the first items, schema of the others), in draft 4 or 2020-12 spelling."""
    items = schema.get("items", True)
    if isinstance(items, list):
        return items, schema.get("additionalItems", True)
    return schema.get("prefixItems", []), items


def _object(value: dict[str, Any], schema: dict[str, Any], holds: Holds) -> Iterator[bool]:
    yield schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value))
    yield all(name in value for name in required_by(schema, value))
    yield all(holds(name, schema["propertyNames"]) for name in value) if "propertyNames" in schema else True
    for name, member in value.items():
        yield all(holds(member, sub) for sub in member_schemas(schema, name))
    for name, sub in schema.get("dependentSchemas", {}).items():
        yield name not in value or holds(value, sub)


def required_by(schema: dict[str, Any], value: dict[str, Any]) -> list[str]:
    """Return the names an object must have, given those it has."""
    required = list(schema.get("required", ()))
    for keyword in ("dependentRequired", "dependencies"):
        for name, names in schema.get(keyword, {}).items():
            if name in value and isinstance(names, list):
                required += names
    return required


def member_schemas(schema: dict[str, Any], name: str) -> list[Any]:
    """Return every schema that the member *name* of an object has to satisfy."""
    known = [schema["properties"][name]] if name in schema.get("properties", {}) else []
    known += [sub for pattern, sub in schema.get("patternProperties", {}).items() if compiled(pattern).search(name)]
    return known or [schema.get("additionalProperties", True)]
