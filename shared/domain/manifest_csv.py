"""A manifest as CSV: the header names fields of a request, and the field says how its cells read.

Lists are separated by `|`, labels are `key=value;key=value` or JSON, an empty cell is an absent field.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

from shared.domain.request_fields import Cell
from shared.domain.request_parsing import ALL_FIELDS, shown_name, unknown_field
from shared.domain.strict_json import parse_json
from shared.errors import FieldError

Json = dict[str, Any]

_INTEGER = re.compile(r"-?[0-9]{1,19}")
_NUMBER = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]{1,19})?")
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read_rows(text: str) -> Iterator[tuple[int, Json | FieldError]]:
    """Yield the line where each row begins, and its request or what is wrong with it; blank rows are skipped.

    A wrong header is told of in place of all rows: a typo in max_cost_usd must not spend money, row after row.
    """
    rows = _rows(text)
    header_number, header = next(rows, (1, []))
    if isinstance(header, FieldError):
        yield header_number, header
        return
    columns = [name.strip() for name in header]
    wrong = list(_wrong_columns(columns))
    if wrong:
        yield from ((header_number, error) for error in wrong)
        return
    for number, row in rows:
        yield number, row if isinstance(row, FieldError) else _request(columns, row)


def _rows(text: str) -> Iterator[tuple[int, list[str] | FieldError]]:
    header = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = next((mark for mark in (",", ";", "\t") if mark in header), ",")  # spreadsheets write all three
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, FieldError("", "invalid_csv", f"cannot be read as CSV: {error}")
            continue
        if any(cell.strip() for cell in row):
            yield number, row


def _wrong_columns(columns: list[str]) -> Iterator[FieldError]:
    for position, name in enumerate(columns):
        if name and name in columns[:position]:
            yield FieldError(shown_name(name), "not_allowed", "heads two columns; no row of this file was read")
        elif name and name not in ALL_FIELDS:
            error = unknown_field(name, ALL_FIELDS, "requests")
            yield FieldError(error.field, error.code, f"{error.message}; no row of this file was read")


def _request(columns: list[str], row: list[str]) -> Json | FieldError:
    if len(row) != len(columns):
        return FieldError("", "wrong_columns", f"has {len(row)} cells, the header has {len(columns)}")
    request: Json = {}
    for name, cell in zip(columns, map(str.strip, row), strict=True):
        if not cell:
            continue
        if not name:
            return FieldError("", "unknown_field", "has a value in a column without a name")
        try:
            request[name] = _value(ALL_FIELDS[name].cell, cell)
        except ValueError as problem:
            return FieldError(name, "invalid_type", str(problem))
    return request


def _value(sort: Cell, cell: str) -> Any:
    """Return the JSON value a cell stands for. Raises ValueError with what it must be."""
    match sort:
        case "integer":
            return int(_matching(_INTEGER, cell, "must be a whole number"))
        case "number":
            return float(_matching(_NUMBER, cell, "must be a number such as 0.7"))
        case "boolean":
            return _boolean(cell)
        case "list":
            return _split(cell, "|")
        case "fallback":
            return _boolean(cell) if cell.lower() in _BOOLEANS else _split(cell, "|")
        case "labels" if not cell.startswith("{"):
            return _pairs(cell)
        case "labels" | "json":
            return parse_json(cell)
        case _:
            return cell


def _matching(pattern: re.Pattern[str], cell: str, message: str) -> str:
    if pattern.fullmatch(cell) is None:
        raise ValueError(message)
    return cell


def _boolean(cell: str) -> bool:
    if cell.lower() not in _BOOLEANS:
        raise ValueError("must be true or false")
    return _BOOLEANS[cell.lower()]


def _split(cell: str, separator: str) -> list[str]:
    return [part.strip() for part in cell.split(separator) if part.strip()]


def _pairs(cell: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in _split(cell, ";")]
    found = {key.strip(): value.strip() for key, equals, value in pairs if equals}
    if len(found) < len(pairs):
        raise ValueError("must be JSON or of the form key=value;key=value, each key once")
    return found
