"""Files of requests: every line becomes a request or an error that names it, and never takes the others along."""

from __future__ import annotations

import codecs
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.manifest import Line, is_manifest, parse_json, read_manifest
from shared.domain.request import parse_request
from shared.errors import InvalidRequest

DEEP = "[" * 100_000 + "]" * 100_000


def read(name: str, text: str | bytes, **limits: int) -> list[Line]:
    return list(read_manifest(name, text.encode() if isinstance(text, str) else text, **limits))


def requests(lines: list[Line]) -> dict[int, Any]:
    return {line.number: line.request for line in lines if line.error is None}


def errors(lines: list[Line]) -> list[tuple[int, str, str]]:
    return [(line.number, line.error.field, line.error.code) for line in lines if line.error is not None]


def message(lines: list[Line]) -> str:
    return next(line.error.message for line in lines if line.error is not None)


# ---------------------------------------------------------------- any file


@pytest.mark.parametrize("name", ["a.json", "b.jsonl", "c.csv", "folder/D.JSON"])
def test_three_endings_are_manifests(name: str) -> None:
    assert is_manifest(name)


@pytest.mark.parametrize("name", ["a.txt", "json", "a.json.errors", "a.csv.gz", ""])
def test_other_endings_are_refused_with_those_that_are_read(name: str) -> None:
    assert not is_manifest(name)
    lines = read(name, "{}")
    assert errors(lines) == [(0, "", "unsupported_file")]
    assert ".json, .jsonl, .csv" in message(lines)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv"])
@pytest.mark.parametrize("text", ["", "\ufeff", " \r\n\n"])
def test_an_empty_file_is_an_error(name: str, text: str) -> None:
    assert errors(read(name, text)) == [(0, "", "empty_file")]


@pytest.mark.parametrize(("name", "text"), [("a.json", "[]"), ("a.csv", "kind,prompt\r\n"), ("a.csv", ",,\n")])
def test_a_file_without_requests_is_an_error(name: str, text: str) -> None:
    assert errors(read(name, text)) == [(0, "", "empty_file")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_another_encoding_is_named(encoding: str) -> None:
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    lines = read("a.csv", mark + "kind,prompt\n".encode(encoding))
    assert errors(lines) == [(0, "", "wrong_encoding")]
    assert encoding[:6].upper() in message(lines)


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_bytes_that_are_not_utf8_are_told_with_offset_and_line(mark: bytes) -> None:
    data = mark + b'{"kind": 1}\n{"kind": "caf\xe9"}\n'
    lines = read("a.jsonl", data)
    assert errors(lines) == [(2, "", "wrong_encoding")]
    assert f"byte {data.index(0xE9)}, in line 2" in message(lines)


def test_a_file_is_read_up_to_its_limit() -> None:
    lines = read("a.jsonl", '{"a": 1}\n' * 5, max_lines=3)
    assert len(requests(lines)) == 3
    assert errors(lines) == [(4, "", "too_many_lines")]


def test_ten_thousand_lines_come_one_by_one() -> None:
    data = b'{"kind": "text", "prompt": "hi"}\n' * 10_000 + b"broken"
    lines = read_manifest("a.jsonl", data)
    assert next(lines) == Line(1, {"kind": "text", "prompt": "hi"})
    assert sum(line.error is None for line in lines) == 9_999


# ---------------------------------------------------------------- JSON


def test_a_json_file_is_one_request_or_an_array_of_them() -> None:
    assert requests(read("a.json", '\ufeff{"kind": "text"}\n')) == {1: {"kind": "text"}}
    assert requests(read("a.json", ' [ {"a": 1} , {"b": [1, {}]} ] \n')) == {1: {"a": 1}, 2: {"b": [1, {}]}}


def test_a_bad_entry_of_an_array_costs_only_itself() -> None:
    lines = read("a.json", '[{"a": NaN}, {"b": 1, "b": 2}, 7, {"c": 3}, {"d": 1e999}]')
    assert requests(lines) == {4: {"c": 3}}
    assert errors(lines) == [
        (1, "", "invalid_json"),
        (2, "", "invalid_json"),
        (3, "", "invalid_type"),
        (5, "", "invalid_json"),
    ]


@pytest.mark.parametrize(
    "text", ['[{"a": 1}, {"b": 1', '[{"a": 1}, ', '[{"a": 1} {"b": 2}]', '[{"a": 1}] x', '[{"a": 1},]']
)
def test_what_comes_before_a_break_in_an_array_is_read(text: str) -> None:
    lines = read("a.json", text)
    assert requests(lines) == {1: {"a": 1}}
    assert errors(lines) == [(2, "", "invalid_json")]


def test_an_entry_nested_too_deeply_is_an_error_of_that_entry() -> None:
    lines = read("a.json", f'[{{"a": 1}}, {DEEP}, {{"b": 2}}]')
    assert requests(lines) == {1: {"a": 1}}
    assert errors(lines) == [(2, "", "invalid_json")]
    assert "too deeply" in message(lines)


def test_a_line_is_a_request_and_blank_lines_are_nothing() -> None:
    lines = read("a.jsonl", '{"a": 1}\r\n\n  \t\n{"b": "\u2028\x85"}\n{"c": 3}')
    assert requests(lines) == {1: {"a": 1}, 4: {"b": "\u2028\x85"}, 5: {"c": 3}}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{", "invalid_json"),
        ("[]", "invalid_type"),
        ("3", "invalid_type"),
        ('{"a": 1} {"b": 2}', "invalid_json"),
        ('{"a": NaN}', "invalid_json"),
        ('{"a": -Infinity}', "invalid_json"),
        ('{"a": 1, "a": 1}', "invalid_json"),
        ('{"a": ' + "9" * 5000 + "}", "invalid_json"),
        (DEEP, "invalid_json"),
        ('{"a": "' + "x" * 262_144 + '"}', "too_long"),
        ('{"a": "' + "\u00e9" * 131_072 + '"}', "too_long"),
    ],
)
def test_a_bad_line_costs_only_itself(line: str, code: str) -> None:
    lines = read("a.jsonl", f'{{"first": 1}}\n{line}\n{{"last": 3}}\n')
    assert requests(lines) == {1: {"first": 1}, 3: {"last": 3}}
    assert errors(lines) == [(2, "", code)]


def test_strict_json_reads_what_is_json() -> None:
    value = {"a": [1, -0.5, 1e3, True, None, "\u00e9\U0001f600"], "b": {"c": 2**63 - 1, "d": -(2**63)}}
    assert parse_json(json.dumps(value)) == value
    assert parse_json(b"\xef\xbb\xbf " + json.dumps(value, ensure_ascii=False).encode() + b"\n") == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("{'a': 1}", "not JSON"),
        ('{"a": 1,}', "not JSON"),
        ("1 2", "more text"),
        ("[NaN]", "NaN"),
        ("Infinity", "Infinity"),
        ("1e400", "too large"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' is there twice"),
        (str(2**63), "64 bits"),
        ("-" + "9" * 5000, "64 bits"),
        (DEEP, "too deeply"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b'"\xed\xa0\x80"', "not UTF-8 at byte 1"),
    ],
)
def test_strict_json_refuses_with_the_reason(text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse_json(text)
    assert type(caught.value) is ValueError


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(json_values)
def test_strict_json_reads_every_value_back(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8")) == value


@given(st.text() | st.binary())
def test_strict_json_raises_nothing_but_value_errors(text: str | bytes) -> None:
    try:
        parse_json(text)
    except ValueError as error:
        assert str(error)  # noqa: PT017


# ---------------------------------------------------------------- CSV

HEADER = "kind,prompt,request_id,count,guidance_scale,enhance_prompt,reference_images,labels,fallback,size\r\n"


def test_cells_read_as_their_fields_say() -> None:
    row = 'image,"a fox, red\r\nand ""quick""",7,2,7.5,FALSE,gs://inbox/a | gs://inbox/b,a=1;b=x=y,model-a|model-b,512\r\n'
    lines = read("a.csv", codecs.BOM_UTF8 + (HEADER + row + "text,hi there,8,,,,,,,\r\n").encode())
    assert requests(lines) == {
        2: {
            "kind": "image",
            "prompt": 'a fox, red\r\nand "quick"',
            "request_id": "7",
            "count": 2,
            "guidance_scale": 7.5,
            "enhance_prompt": False,
            "reference_images": ["gs://inbox/a", "gs://inbox/b"],
            "labels": {"a": "1", "b": "x=y"},
            "fallback": ["model-a", "model-b"],
            "size": "512",
        },
        4: {"kind": "text", "prompt": "hi there", "request_id": "8"},
    }
    assert errors(lines) == []


def test_objects_may_be_written_as_json() -> None:
    lines = read("a.csv", 'labels,response_schema,fallback\n"{""a"": ""1""}","{""type"": ""object""}",true\n')
    assert requests(lines) == {2: {"labels": {"a": "1"}, "response_schema": {"type": "object"}, "fallback": True}}


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_the_delimiters_of_other_spreadsheets_are_seen(delimiter: str) -> None:
    text = delimiter.join(["kind", "prompt"]) + "\n" + delimiter.join(["text", "one, two"]) + "\n"
    assert requests(read("a.csv", text)) == {2: {"kind": "text", "prompt": "one, two"}}


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("count", "two"),
        ("count", "2.0"),
        ("count", "1_000"),
        ("count", "\u0662"),
        ("seed", "9" * 5000),
        ("guidance_scale", "7,5"),
        ("guidance_scale", "nan"),
        ("guidance_scale", "1e5"),
        ("enhance_prompt", "maybe"),
        ("labels", "a"),
        ("labels", "a=1;a=2"),
        ("labels", '{"a": NaN}'),
        ("response_schema", "{"),
        ("response_schema", DEEP),
    ],
)
def test_a_cell_that_does_not_read_is_an_error_of_its_row_and_column(column: str, cell: str) -> None:
    quoted = '"' + cell.replace('"', '""') + '"'
    lines = read("a.csv", f"prompt,{column}\nfirst,\nsecond,{quoted}\nthird,\n")
    code = "invalid_csv" if len(cell) > 131_072 else "invalid_type"
    assert errors(lines) == [(3, column if code == "invalid_type" else "", code)]
    assert requests(lines) == {2: {"prompt": "first"}, 4: {"prompt": "third"}}


def test_a_wrong_column_refuses_the_file_so_that_a_typo_spends_nothing() -> None:
    lines = read("a.csv", "kind,prompt,max_cst_usd,zzz\ntext,hi,0.01,\ntext,ho,0.01,\n")
    assert requests(lines) == {}
    assert errors(lines) == [(1, "max_cst_usd", "unknown_field"), (1, "zzz", "unknown_field")]
    assert "did you mean 'max_cost_usd'?" in message(lines)


def test_a_column_that_is_there_twice_refuses_the_file() -> None:
    assert errors(read("a.csv", "kind,prompt,prompt\ntext,hi,ho\n")) == [(1, "prompt", "not_allowed")]


def test_short_and_long_rows_are_errors_of_their_own() -> None:
    lines = read("a.csv", "kind,prompt\ntext\ntext,hi\n\ntext,hi,ho\n")
    assert errors(lines) == [(2, "", "wrong_columns"), (5, "", "wrong_columns")]
    assert requests(lines) == {3: {"kind": "text", "prompt": "hi"}}


def test_an_empty_column_at_the_end_is_no_harm_until_it_holds_something() -> None:
    lines = read("a.csv", "kind,prompt,\ntext,hi,\ntext,hi,note\n")
    assert requests(lines) == {2: {"kind": "text", "prompt": "hi"}}
    assert errors(lines) == [(3, "", "unknown_field")]


def test_quotes_that_do_not_match_are_errors_of_their_row() -> None:
    lines = read("a.csv", 'kind,prompt\ntext,"a "big" fox"\ntext,hi\ntext,"never closed\ntext,ho\n')
    assert requests(lines) == {3: {"kind": "text", "prompt": "hi"}}
    assert errors(lines) == [(2, "", "invalid_csv"), (4, "", "invalid_csv")]


def test_a_row_that_reads_becomes_a_request_that_parses() -> None:
    text = "kind,prompt,max_cost_usd,temperature,inputs\ntext,Say hi,0.05,0.7,gs://inbox/a\n"
    (line,) = read("a.csv", text)
    request = parse_request(line.request, known_models=lambda _: True, schema_problem=lambda _: None)
    assert request.max_cost_micro_usd == 50_000


# ---------------------------------------------------------------- anything


@given(
    st.sampled_from(["a.json", "a.jsonl", "a.csv"]),
    st.binary() | st.text(st.sampled_from('[]{}",:;|=\n\r\t 0ab\u00e9'), max_size=60).map(str.encode),
)
def test_any_file_gives_lines_with_either_a_request_or_an_error(name: str, data: bytes) -> None:
    lines = read(name, data)
    assert lines
    assert all((line.request is None) != (line.error is None) for line in lines)
    numbers = [line.number for line in lines if line.request is not None]
    assert all(before < after for before, after in itertools.pairwise(numbers))
    for line in lines:
        if line.request is not None:
            with pytest.raises(InvalidRequest):  # nothing of this alphabet is a whole request
                parse_request(line.request, known_models=lambda _: True, schema_problem=lambda _: None)
