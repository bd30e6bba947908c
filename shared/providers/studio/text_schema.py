"""Instances of a JSON schema, filled with words about the topic.

Candidates are built from a simplified view of the schema and tested against the schema itself; the first that
conforms is the instance. So an odd schema costs a refusal, never a wrong instance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from shared.errors import InvalidCall
from shared.providers.studio.text_conform import (
    compiled,
    conforms,
    item_schemas,
    key_of,
    limits,
    member_schemas,
    required_by,
    types_of,
)
from shared.providers.studio.text_hints import formatted, number_for, sized
from shared.providers.studio.text_merge import flatten
from shared.providers.studio.text_pattern import drawn, is_nested, read_pattern
from shared.providers.studio.text_writer import Fits, Writer

_ROOMY_DEPTH = 5  # deeper than this only what is required is filled in
_DEEPEST = 30
_MOST_WORK = 5_000  # schemas looked at for one instance
_MOST_ITEMS = 2_000
_MOST_CHARS = 100_000
_USUAL_ITEMS = 3
_SOON_REFUSED = 14  # characters


def build_instance(schema: Any, writer: Writer, fits: Fits, *, lean: bool = False) -> Any:
    """Return a JSON value that conforms to *schema*.

    Args:
        schema: a JSON schema, true or false.
        writer: whose words fill it.
        fits: whether a text is short enough for its platform; texts end earlier where the schema lets them.
        lean: only what the schema requires, in as few words as it allows.

    Raises:
        InvalidCall: no such value was found, or the schema cannot be read.
    """
    try:
        return _Builder(schema, writer, fits, lean=lean).build(schema, "", "", 0)
    except (TypeError, AttributeError, ValueError, KeyError, ArithmeticError, RecursionError) as exc:
        raise InvalidCall(f"the response schema cannot be read: {exc}") from exc


class _Builder:
    def __init__(self, root: Any, writer: Writer, fits: Fits, *, lean: bool) -> None:
        self._root, self._writer, self._fits, self._lean = root, writer, fits, lean
        self._work = 0

    def build(self, schema: Any, name: str, path: str, depth: int) -> Any:
        """Return a value for *schema*, which stands at *path* under the property *name*."""
        self._work += 1
        if depth > _DEEPEST or self._work > _MOST_WORK:
            raise InvalidCall(f"response schema at {path or '/'}: nested too deeply or too involved")
        reason = "nothing can satisfy it"
        for flat in flatten(schema, self._root, shortest=self._lean or depth > _ROOMY_DEPTH):
            candidates = self._candidates(flat, name, path, depth)
            while True:
                try:
                    value = next(candidates)
                except StopIteration:
                    break
                except InvalidCall as exc:
                    reason = str(exc)
                    break
                if conforms(value, schema, self._root):
                    return value
        raise InvalidCall(
            reason if reason.startswith("response schema") else f"response schema at {path or '/'}: {reason}"
        )

    def _candidates(self, flat: dict[str, Any], name: str, path: str, depth: int) -> Iterator[Any]:
        if "const" in flat:
            yield flat["const"]
            return
        if "enum" in flat:
            first = self._writer.dice.below(len(flat["enum"])) if flat["enum"] else 0
            yield from flat["enum"][first:] + flat["enum"][:first]
            return
        for kind in _kinds(flat):
            if kind == "object":
                yield from self._objects(flat, path, depth)
            elif kind == "array":
                yield from self._arrays(flat, name, path, depth)
            elif kind == "string":
                yield from self._strings(flat, name)
            elif kind in {"integer", "number"}:
                yield from self._numbers(flat, name, whole=kind == "integer")
            elif kind == "boolean":
                yield from (True, False)
            elif kind == "null":
                yield None

    # ------------------------------------------------------------ objects, arrays

    def _objects(self, flat: dict[str, Any], path: str, depth: int) -> Iterator[dict[str, Any]]:
        roomy = not self._lean and depth < _ROOMY_DEPTH
        for full in (True, False) if roomy else (False,):
            yield self._object(flat, path, depth, full=full)
        yield {}

    def _object(self, flat: dict[str, Any], path: str, depth: int, *, full: bool) -> dict[str, Any]:
        most = flat.get("maxProperties", math.inf)
        value: dict[str, Any] = {}
        for name in required_by(flat, value):
            value[name] = self._member(flat, name, path, depth)
        for name in [n for n in flat.get("properties", {}) if n not in value] if full else []:
            if len(value) >= most:
                break
            try:
                value[name] = self._member(flat, name, path, depth)
            except InvalidCall:
                continue  # an optional property nothing can fill: {"old_field": false}
        for name in required_by(flat, value):
            if name not in value:
                value[name] = self._member(flat, name, path, depth)
        for name in islice(self._further_names(flat, value), max(0, flat.get("minProperties", 0) - len(value))):
            value[name] = self._member(flat, name, path, depth)
        return value

    def _member(self, flat: dict[str, Any], name: str, path: str, depth: int) -> Any:
        schemas = member_schemas(flat, name)
        schema = schemas[0] if len(schemas) == 1 else {"allOf": schemas}
        return self.build(schema, name, f"{path}/{name}", depth + 1)

    def _further_names(self, flat: dict[str, Any], value: dict[str, Any]) -> Iterator[str]:
        """Yield names that *value* does not have: declared ones, then invented ones in the asked form."""
        yield from (name for name in flat.get("properties", {}) if name not in value)
        patterns = [*flat.get("patternProperties", {}), flat.get("propertyNames", {}).get("pattern", "")]
        seen = set(value)
        for number in range(1, _MOST_ITEMS):
            names = iter([f"extra_{number}"])
            if patterns[0]:
                names = self._matching(patterns[0], f"extra{number}", 0, _MOST_CHARS)
            name = next((name for name in names if name not in seen), None)
            if name is not None:
                seen.add(name)
                yield name

    def _arrays(self, flat: dict[str, Any], name: str, path: str, depth: int) -> Iterator[list[Any]]:
        least, most = flat.get("minItems", 0), flat.get("maxItems", _MOST_ITEMS)
        if least > _MOST_ITEMS:
            raise InvalidCall(f"response schema at {path or '/'}: {least} items are more than {_MOST_ITEMS}")
        first, _ = item_schemas(flat)
        usual = max(_USUAL_ITEMS, len(first)) if not self._lean and depth < _ROOMY_DEPTH else 0
        for count in dict.fromkeys((min(max(usual, least), most), max(least, min(len(first), most)), least)):
            try:
                yield self._array(flat, count, name, path, depth)
            except InvalidCall:
                if count == least:
                    raise

    def _array(self, flat: dict[str, Any], count: int, name: str, path: str, depth: int) -> list[Any]:
        first, rest = item_schemas(flat)
        wanted = flat.get("minContains", 1) if "contains" in flat else 0
        items: list[Any] = []
        seen: set[str] = set()
        while len(items) < max(count, wanted + len(first) if wanted else 0):
            at = len(items)
            schema = first[at] if at < len(first) else rest
            if len(first) <= at < len(first) + wanted:
                schema = {"allOf": [schema, flat["contains"]]}
            items.append(self._item(schema, name, f"{path}/{at}", depth, seen if flat.get("uniqueItems") else None))
        return items

    def _item(self, schema: Any, name: str, path: str, depth: int, seen: set[str] | None) -> Any:
        """Return one item, and one that is not in *seen* when items have to differ."""
        if seen is None:
            return self.build(schema, name, path, depth + 1)
        for _ in range(60):
            item = self.build(schema, name, path, depth + 1)
            if isinstance(item, int) and not isinstance(item, bool) and key_of(item) in seen:
                item = self._next_free(item, schema, seen)
            if key_of(item) not in seen:
                seen.add(key_of(item))
                return item
        raise InvalidCall(f"response schema at {path}: no further item that differs from the others")

    def _next_free(self, item: int, schema: Any, seen: set[str]) -> int:
        """Return a whole number near *item* that conforms and is not in *seen*, else *item*."""
        near = (item + sign * step for step in range(1, _MOST_ITEMS) for sign in (1, -1))
        return next((n for n in near if key_of(n) not in seen and conforms(n, schema, self._root)), item)

    # ------------------------------------------------------------ strings, numbers

    def _strings(self, flat: dict[str, Any], name: str) -> Iterator[str]:
        least, most = flat.get("minLength", 0), flat.get("maxLength", _MOST_CHARS)
        if least > _MOST_CHARS:
            raise InvalidCall(f"a text of {least} characters is longer than {_MOST_CHARS}")
        formed = formatted(flat.get("format", ""), self._writer)
        if formed is not None:
            yield formed
        natural = sized("" if self._lean else name, least, most, self._writer, self._fits)
        if "pattern" in flat:
            yield from self._matching(flat["pattern"], natural, least, most)
        elif formed is None:
            yield natural

    def _matching(self, pattern: str, natural: str, least: int, most: int) -> Iterator[str]:
        """Yield texts of *least* to *most* characters that match: natural ones first, then drawn ones."""
        node, expression = read_pattern(pattern), compiled(pattern)
        slug = self._writer.topic.slug
        texts = drawn(node, self._writer.dice, least)
        if is_nested(node):  # such an expression may take ages to refuse a text, unless it is a short one
            texts = chain([slug[:_SOON_REFUSED].strip("-")], texts)
        else:
            names = (natural, slug, slug.replace("-", "_"), slug.replace("-", ""), self._writer.topic.subject.upper())
            texts = chain(names, (form for text in texts for form in (text, text + natural, natural + text)))
        for text in texts:
            if least <= len(text) <= most and expression.search(text):
                yield text
        raise InvalidCall(f"no text of {least} to {most} characters was found for the pattern {pattern!r}")

    def _numbers(self, flat: dict[str, Any], name: str, *, whole: bool) -> Iterator[float]:
        low, low_open, high, high_open = limits(flat)
        wish = number_for(name, self._writer)
        if low is not None and (wish < low or (low_open and wish == low)):
            wish = low if high is None else (low + high) / 2 if not whole else low
        if high is not None and (wish > high or (high_open and wish == high)):
            wish = high if low is None else (low + high) / 2 if not whole else high
        step = flat.get("multipleOf", 1 if whole else None)
        if step is None:
            yield int(wish) if float(wish).is_integer() and name == "" else wish
            yield from (wish + d for d in (0.5, -0.5, 1, -1, 0.001, -0.001))
            return
        nearest = round(wish / step)
        for offset in range(400):
            for count in (nearest + offset, nearest - offset):
                value = count * step
                yield round(value) if whole or float(value).is_integer() else value


def _kinds(flat: dict[str, Any]) -> list[str]:
    """Return the types to try: the named ones with null last, else what the keywords speak of."""
    named = types_of(flat)
    if named:
        return sorted(named, key=lambda kind: kind == "null")
    for kind, keywords in _KEYWORDS.items():
        if any(keyword in flat for keyword in keywords):
            return [kind, "string", "null"]
    return ["string", "integer", "object", "array", "boolean", "null"]


_KEYWORDS = {
    "object": ("properties", "required", "patternProperties", "additionalProperties", "minProperties", "propertyNames"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "contains", "uniqueItems"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
