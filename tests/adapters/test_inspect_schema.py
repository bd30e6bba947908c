"""JSON held against schemas that somebody else wrote: honest ones judge, hostile ones get an error, in time."""

from __future__ import annotations

import time
from typing import Any

import pytest

from shared.adapters.inspector import Inspector

INSPECTOR = Inspector()
ARTICLE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "slug": {"type": "string", "pattern": "^[a-z0-9]+(?:-[a-z0-9]+)*$"},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "uniqueItems": True},
    },
    "required": ["slug"],
    "additionalProperties": False,
    "$defs": {"tag": {"type": "string", "minLength": 2, "pattern": "^#"}},
}


def _nested(kind: str, depth: int) -> Any:
    document: Any = {}
    for _ in range(depth):
        document = {"not": document} if kind == "schema" else [document]
    return document


def _doubling(depth: int) -> dict[str, Any]:
    """Return a schema of *depth* references that each lead to the next twice."""
    links = {f"a{at}": {"allOf": [{"$ref": f"#/$defs/a{at + 1}"}] * 2} for at in range(depth)}
    return {"$defs": {**links, f"a{depth}": {}}, "$ref": "#/$defs/a0"}


def test_a_text_of_the_schema_has_no_errors() -> None:
    assert INSPECTOR.text_errors('{"slug": "a-good-day", "tags": ["#x", "#y"]}', ARTICLE) == []


def test_every_error_says_where_it_is() -> None:
    found = INSPECTOR.text_errors('{"slug": "a--b", "tags": ["#x", 3, "#x"], "more": 1}', ARTICLE)
    assert {error.split(":")[0] for error in found} == {"$", "$.slug", "$.tags", "$.tags[1]"}


@pytest.mark.parametrize("text", ["", "{", '{"slug": NaN}', "[" * 100_000, "```json\n{}\n```"])
def test_a_text_that_is_no_json_says_so(text: str) -> None:
    (found,) = INSPECTOR.text_errors(text, ARTICLE)
    assert found.startswith("not JSON")


def test_a_sound_schema_has_no_problem() -> None:
    assert INSPECTOR.schema_problem(ARTICLE) is None


@pytest.mark.parametrize(
    "schema",
    [
        [],
        {"type": 7},
        {"type": "colour"},
        {"pattern": "("},
        {"properties": {"a": {"pattern": "[z-a]"}}},
        {"$ref": "https://127.0.0.1/elsewhere.json"},
        {"patternProperties": {"^(a+)+$": {}}},
        {"enum": [{"a": 1}] * 6_000},
        _nested("schema", 3_000),
    ],
)
def test_what_is_no_schema_of_ours_has_a_problem(schema: Any) -> None:
    assert INSPECTOR.schema_problem(schema)


@pytest.mark.parametrize(
    ("instance", "schema"),
    [
        (1, {"$ref": "#"}),
        (1, {"$ref": "https://127.0.0.1/elsewhere.json"}),
        (1, {"$ref": "#/$defs/nowhere"}),
        (1, {"type": 7}),
        (1, []),
        (1, _nested("schema", 3_000)),
        (1, _doubling(40)),
        (_nested("instance", 3_000), {"items": {"$ref": "#"}}),
        ([{"a": at} for at in range(20_000)], {"uniqueItems": True}),
        ({"a" * 40 + "!": 1}, {"patternProperties": {"^(a+)+$": {}}}),
        ({"a" * 1_000: 1}, {"additionalProperties": False}),
    ],
)
def test_a_hostile_schema_or_instance_gives_an_error_in_time(instance: Any, schema: Any) -> None:
    started = time.perf_counter()
    (found,) = INSPECTOR.schema_errors(instance, schema)
    assert found.startswith("schema: ")
    assert time.perf_counter() - started < 20


def test_a_pattern_that_backtracks_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.adapters.inspect_schema._PATTERN_S", 0.3)
    (found,) = INSPECTOR.schema_errors("a" * 60 + "!", {"pattern": "^(a+)+$"})
    assert found.endswith("takes too long")


def test_a_pattern_with_repeats_inside_repeats_still_judges() -> None:
    assert INSPECTOR.schema_errors("a-b-c", ARTICLE["properties"]["slug"]) == []
    assert INSPECTOR.schema_errors("a--b", ARTICLE["properties"]["slug"]) != []
