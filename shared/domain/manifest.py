"""A manifest: a file of requests as JSON, JSON Lines or CSV, read line by line; a bad line costs only itself."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from shared.domain.manifest_csv import read_rows
from shared.domain.strict_json import StrictDecoder, parse_json, skip_blanks
from shared.errors import FieldError

Json = dict[str, Any]

__all__ = ["EXTENSIONS", "MAX_LINES", "MAX_LINE_BYTES", "Line", "is_manifest", "parse_json", "read_manifest"]

EXTENSIONS = (".json", ".jsonl", ".csv")
MAX_LINE_BYTES = 262_144
MAX_LINES = 100_000

_OTHER_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One request of a manifest, not checked yet, or what is wrong with it.

    Attributes:
        number: line of the file, from 1 (where the row begins, in CSV); position in the array, in JSON; 0 when the
            error is about the whole file.
    """

    number: int
    request: Json | None = None
    error: FieldError | None = None


def is_manifest(name: str) -> bool:
    """Whether a file of this name is read as a manifest."""
    return name.lower().endswith(EXTENSIONS)


def read_manifest(name: str, data: bytes, *, max_lines: int = MAX_LINES) -> Iterator[Line]:
    """Yield the requests in a file, and an error in place of each that cannot be read.

    Args:
        name: the file's name; its ending says what it is.
        data: the file: UTF-8, with or without a byte order mark.
        max_lines: requests after so many are left unread, with one error that says so.
    """
    try:
        reader, text = _reader(name), _decoded(data)
    except _FileError as problem:
        yield _failed(problem.line, problem.code, str(problem))
        return
    count = 0
    for count, line in enumerate(reader(text), start=1):
        if count > max_lines:
            yield _failed(line.number, "too_many_lines", f"has more than {max_lines} requests; the rest was not read")
            return
        yield line
    if count == 0:
        yield _failed(0, "empty_file", "holds no requests")


class _FileError(Exception):
    """The file as a whole cannot be read."""

    def __init__(self, code: str, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.code, self.line = code, line


def _reader(name: str) -> Callable[[str], Iterator[Line]]:
    for extension, reader in _READERS.items():
        if name.lower().endswith(extension):
            return reader
    raise _FileError("unsupported_file", f"must be a file that ends in {', '.join(EXTENSIONS)}")


def _decoded(data: bytes) -> str:
    for mark, encoding in _OTHER_ENCODINGS:
        if data.startswith(mark):
            raise _FileError("wrong_encoding", f"is {encoding}; save it as UTF-8")
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        offset = error.start + (len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0)
        line = data.count(b"\n", 0, offset) + 1
        message = f"is not UTF-8 at byte {offset}, in line {line}; save it as UTF-8"
        raise _FileError("wrong_encoding", message, line) from None
    if not text.strip():
        raise _FileError("empty_file", "is empty")
    return text


def _failed(number: int, code: str, message: str, field: str = "") -> Line:
    return Line(number, error=FieldError(field, code, message))


def _from_value(number: int, value: object, length: int) -> Line:
    """Return the request in *value*, which was read from so many characters."""
    if length > MAX_LINE_BYTES:
        return _too_long(number)
    if isinstance(value, dict):
        return Line(number, value)
    return _failed(number, "invalid_type", "must be a JSON object, one request")


def _too_long(number: int) -> Line:
    return _failed(number, "too_long", f"is over {MAX_LINE_BYTES} bytes")


# ---------------------------------------------------------------- JSON


def _json_lines(text: str) -> Iterator[Line]:
    for number, line in enumerate(_physical_lines(text), start=1):
        if not line or line.isspace():
            continue
        if len(line) > MAX_LINE_BYTES or (not line.isascii() and len(line.encode()) > MAX_LINE_BYTES):
            yield _too_long(number)
            continue
        try:
            yield _from_value(number, parse_json(line), len(line))
        except ValueError as problem:
            yield _failed(number, "invalid_json", f"cannot be read: {problem}")


def _physical_lines(text: str) -> Iterator[str]:
    """Split at line feeds only: JSON text may hold every other line separator of Unicode."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end]
        start = end + 1
    yield text[start:]


def _json_file(text: str) -> Iterator[Line]:
    start = skip_blanks(text, 0)
    if text.startswith("[", start):
        yield from _json_array(text, start + 1)
        return
    try:
        yield _from_value(1, parse_json(text), len(text.strip()))
    except ValueError as problem:
        yield _failed(1, "invalid_json", f"cannot be read: {problem}")


def _json_array(text: str, start: int) -> Iterator[Line]:
    """Yield the entries one by one; behind one whose end cannot be found nothing can be read."""
    decoder, number, separator = StrictDecoder(), 0, ","
    first = skip_blanks(text, start)
    if text.startswith("]", first):
        separator, start = "]", first + 1
    while separator == ",":
        number += 1
        try:
            begin = skip_blanks(text, start)
            value, end = decoder.decode(text, begin)
        except ValueError as problem:
            yield _failed(number, "invalid_json", f"cannot be read, nor what follows: {problem}")
            return
        if decoder.problem is None:
            yield _from_value(number, value, end - begin)
        else:
            yield _failed(number, "invalid_json", f"cannot be read: {decoder.problem}")
        end = skip_blanks(text, end)
        separator, start = text[end : end + 1], end + 1
    if separator != "]" or text[start:].strip():
        yield _failed(number + 1, "invalid_json", "cannot be read: the array of requests does not end as it should")


# ---------------------------------------------------------------- CSV


def _csv_file(text: str) -> Iterator[Line]:
    for number, row in read_rows(text):
        yield Line(number, error=row) if isinstance(row, FieldError) else Line(number, row)


_READERS = {".json": _json_file, ".jsonl": _json_lines, ".csv": _csv_file}
