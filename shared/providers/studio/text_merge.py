"""A JSON schema without references and combinations: the plain alternatives it amounts to.

Only a guide for building candidates; whether one conforms is decided by the schema itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from shared.providers.studio.text_conform import key_of, resolve, types_of

_MOST_ALTERNATIVES = 60
_MOST_WORK = 2_000  # schemas looked at for one flattening
_DEEPEST = 60
_TIGHTER = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), min),
}
_COMBINING = ("$ref", "allOf", "anyOf", "oneOf", "if", "then", "else")


def flatten(schema: Any, root: Any, *, shortest: bool = False) -> Iterator[dict[str, Any]]:
    """Yield plain schemas, the fullest first (null first if *shortest*), of values of *schema*; at most 60."""
    return islice(_Flattening(root, shortest=shortest).alternatives(schema, 0), _MOST_ALTERNATIVES)


class _Flattening:
    """One run over a schema, with a bound on the work that references in a circle can make."""

    def __init__(self, root: Any, *, shortest: bool) -> None:
        self._root, self._shortest, self._work = root, shortest, _MOST_WORK

    def alternatives(self, schema: Any, depth: int) -> Iterator[dict[str, Any]]:
        self._work -= 1
        if schema is False or depth > _DEEPEST or self._work < 0:
            return
        if schema is True:
            yield {}
            return
        plain = {key: value for key, value in schema.items() if key not in _COMBINING}
        options: list[list[Any]] = [[resolve(schema["$ref"], self._root)]] if "$ref" in schema else []
        options += [[sub] for sub in schema.get("allOf", ())]
        options += [schema[word] for word in ("anyOf", "oneOf") if word in schema]
        if "if" in schema:
            options.append([{"allOf": [schema["if"], schema.get("then", True)]}, schema.get("else", True)])
        yield from self._combine(plain, options, depth)

    def _combine(self, plain: dict[str, Any], options: list[list[Any]], depth: int) -> Iterator[dict[str, Any]]:
        """Yield *plain* merged with one alternative of every option."""
        if not options:
            yield plain
            return
        for sub in sorted(options[0], key=_is_null, reverse=self._shortest):
            for flat in self.alternatives(sub, depth + 1):
                try:
                    merged = merge(plain, flat)
                except _NothingInCommonError:
                    continue
                yield from self._combine(merged, options[1:], depth)


class _NothingInCommonError(Exception):
    """No value satisfies both schemas."""


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and types_of(schema) == ["null"]


def merge(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return a schema as strict as both.

    Raises:
        _NothingInCommonError: they name different types.
    """
    merged = dict(one)
    for key, value in other.items():
        merged[key] = _both(key, merged[key], value) if key in merged else value
    return merged


def _both(key: str, one: Any, other: Any) -> Any:
    if key in _TIGHTER:
        return _TIGHTER[key](one, other)
    if key == "type":
        return _common_types(types_of({"type": one}), types_of({"type": other}))
    if key == "enum":
        known = set(map(key_of, other))
        return [value for value in one if key_of(value) in known]
    if key == "required":
        return list(dict.fromkeys([*one, *other]))
    if key in {"properties", "patternProperties"}:
        both = {name: {"allOf": [one[name], other[name]]} for name in one if name in other}
        return {**one, **other, **both}
    if key in {"items", "additionalProperties"} and one != other:
        return {"allOf": [one, other]}
    return one


def _common_types(one: list[str], other: list[str]) -> list[str]:
    """Return the types both allow; a whole number is a number."""
    common = [kind for kind in one if kind in other]
    if "integer" not in common and {"integer", "number"} <= {*one, *other}:
        common.append("integer")
    if not common:
        raise _NothingInCommonError
    return common
