"""What one field of a request may hold: a check per sort of value, built by a function that takes its bounds.

A check returns the value as it is used inside or raises `RefusedError`. Messages say what is allowed and never repeat
what was sent: a field may hold a prompt or a secret. How a CSV cell of the field reads is part of its description.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

from shared.domain.money import parse_usd
from shared.domain.web_address import address_problem

Cell = Literal["text", "integer", "number", "boolean", "list", "fallback", "labels", "json"]

MAX_MODEL_CHARS = 200
MAX_FALLBACKS = 6
MAX_URL_CHARS = 2_048
MAX_OBJECT_NAME_BYTES = 1_024

_BLANKS = " \t\r\n"
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROL_BUT_LINES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
# Putting marks in canonical order takes the square of their number: 100,000 in a row keep a core busy for 7 s.
# 30 is the bound of the Stream-Safe Text Format, https://www.unicode.org/reports/tr15/.
_TOO_MANY_MARKS = re.compile(rb"[^\x00]{31}")
_GS_URI = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]/(.+)")


class RefusedError(Exception):
    """A value is not allowed: a stable code, and a sentence that continues "<field> …"."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True, slots=True)
class Lookups:
    """What only the outside knows: which model names exist, and what is wrong with a JSON schema (None: nothing)."""

    known_models: Callable[[str], bool]
    schema_problem: Callable[[dict[str, Any]], str | None]


Check = Callable[[object, Lookups], object]


@dataclass(frozen=True, slots=True)
class Field:
    """One field: how its JSON value is checked and how its CSV cell is read."""

    check: Check
    cell: Cell = "text"


# ---------------------------------------------------------------- text


def text(least: int, most: int, *, lines: bool = False) -> Field:
    """Describe text of *least* to *most* characters after trimming and NFC; *lines*: line breaks and tabs are fine."""

    def check(value: object, _lookups: Lookups) -> str:
        return clean_text(value, least, most, lines=lines)

    return Field(check)


def name(most: int) -> Field:
    """Describe printable text on one line, for identifiers."""

    def check(value: object, _lookups: Lookups) -> str:
        return clean_name(value, most)

    return Field(check)


def choice(allowed: Collection[str]) -> Field:
    """Describe one of a closed set of words, written exactly so."""
    words = {word: word for word in allowed}
    listed = ", ".join(words)

    def check(value: object, _lookups: Lookups) -> str:
        if not isinstance(value, str):
            raise RefusedError("invalid_type", f"must be text, one of {listed}; it is {sort_of(value)}")
        found = words.get(value) or words.get(value.strip())
        if found is None:
            raise RefusedError("not_allowed", f"must be one of {listed}")
        return found

    return Field(check)


def clean_text(value: object, least: int, most: int, *, lines: bool = False) -> str:
    """Return *value* trimmed and in NFC. Raises RefusedError."""
    if not isinstance(value, str):
        raise RefusedError("invalid_type", f"must be text, it is {sort_of(value)}")
    clean = value.strip(_BLANKS)
    if len(clean) > 4 * most:  # NFC shortens at most four to one, so this need not be normalised first
        raise RefusedError("too_long", f"must be at most {most} characters long")
    if not (clean.isascii() and clean.isprintable()):
        clean = _normalised(clean, _CONTROL_BUT_LINES if lines else _CONTROL)
    if len(clean) > most:
        raise RefusedError("too_long", f"must be at most {most} characters long, it has {len(clean)}")
    if len(clean) < least:
        raise RefusedError("too_short", f"must be at least {least} characters long, it has {len(clean)}")
    return clean


def _normalised(value: str, forbidden: re.Pattern[str]) -> str:
    value = value.replace("\r\n", "\n")
    if forbidden.search(value):
        raise RefusedError("control_characters", "must not contain control characters or half surrogate pairs")
    if _TOO_MANY_MARKS.search(bytes(map(unicodedata.combining, value))):
        raise RefusedError("not_allowed", "must not have more than 30 combining marks on one letter")
    return unicodedata.normalize("NFC", value).strip()


def clean_name(value: object, most: int) -> str:
    """Return *value* trimmed, in NFC and printable. Raises RefusedError."""
    clean = clean_text(value, 1, most)
    if not clean.isprintable():
        raise RefusedError("control_characters", "must be printable: no invisible characters, no blanks but the space")
    return clean


def sort_of(value: object) -> str:
    """How people call the JSON type of a value."""
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), f"of the type {type(value).__name__}")


# ---------------------------------------------------------------- numbers, booleans, money


def integer(least: int, most: int) -> Field:
    """Describe a whole number in [least, most]."""

    def check(value: object, _lookups: Lookups) -> int:
        if type(value) is not int:
            raise RefusedError("invalid_type", f"must be a whole number from {least} to {most}, it is {sort_of(value)}")
        if not least <= value <= most:
            raise RefusedError("not_allowed", f"must be a whole number from {least} to {most}")
        return value

    return Field(check, "integer")


def one_of(allowed: Collection[int]) -> Field:
    """Describe one of a few whole numbers."""
    listed = ", ".join(map(str, allowed))

    def check(value: object, _lookups: Lookups) -> int:
        if type(value) is not int:
            raise RefusedError("invalid_type", f"must be a number, one of {listed}; it is {sort_of(value)}")
        if value not in allowed:
            raise RefusedError("not_allowed", f"must be one of {listed}")
        return value

    return Field(check, "integer")


def number(least: float, most: float) -> Field:
    """Describe a number in [least, most]; NaN is not one."""

    def check(value: object, _lookups: Lookups) -> float:
        if type(value) is not int and type(value) is not float:
            raise RefusedError("invalid_type", f"must be a number from {least:g} to {most:g}, it is {sort_of(value)}")
        if not least <= value <= most:
            raise RefusedError("not_allowed", f"must be a number from {least:g} to {most:g}")
        return float(value) + 0.0  # so that -0.0 and 0.0 have one hash

    return Field(check, "number")


def boolean() -> Field:
    """Describe a field that is true or false."""

    def check(value: object, _lookups: Lookups) -> bool:
        if not isinstance(value, bool):
            raise RefusedError("invalid_type", f"must be true or false, it is {sort_of(value)}")
        return value

    return Field(check, "boolean")


def usd() -> Field:
    """Describe an amount of US dollars as a decimal string; micro-USD inside."""

    def check(value: object, _lookups: Lookups) -> int:
        if not isinstance(value, str):
            raise RefusedError("invalid_type", 'is an amount of US dollars: write it as a string such as "0.25"')
        try:
            return parse_usd(value.strip(_BLANKS))
        except ValueError:
            message = 'must be a plain amount of US dollars with at most six decimals, such as "0.25"'
            raise RefusedError("not_allowed", message) from None

    return Field(check)


# ---------------------------------------------------------------- models


def model() -> Field:
    """Describe a field that names a model of the catalogue, by id or alias."""
    return Field(_known_model)


def fallback() -> Field:
    """Describe a field that is true, false, or the models to try, in order."""

    def check(value: object, lookups: Lookups) -> bool | tuple[str, ...]:
        if isinstance(value, bool):
            return value
        if not isinstance(value, list):
            raise RefusedError("invalid_type", f"must be true, false or a list of models, it is {sort_of(value)}")
        if not value:
            raise RefusedError("too_short", "must name at least one model, or be true or false")
        return tuple(dict.fromkeys(_each(value, MAX_FALLBACKS, lambda item: _known_model(item, lookups))))

    return Field(check, "fallback")


def _known_model(value: object, lookups: Lookups) -> str:
    found = clean_name(value, MAX_MODEL_CHARS)
    if not lookups.known_models(found):
        raise RefusedError("unknown_model", "names no model of the catalogue")
    return found


def _each(values: list[object], most: int, check: Callable[[object], str]) -> list[str]:
    """Check every item; a refusal says which one."""
    if len(values) > most:
        raise RefusedError("too_long", f"must have at most {most} entries, it has {len(values)}")
    checked: list[str] = []
    for position, value in enumerate(values, start=1):
        try:
            checked.append(check(value))
        except RefusedError as refusal:
            raise RefusedError(refusal.code, f"entry {position} {refusal.message}") from None
    return checked


# ---------------------------------------------------------------- addresses


def gs_uri() -> Field:
    """Describe a field that is the gs:// URI of one object."""
    return Field(lambda value, _lookups: _object_uri(value))


def gs_uris(most: int) -> Field:
    """Describe a list of at most *most* gs:// URIs."""

    def check(value: object, _lookups: Lookups) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise RefusedError("invalid_type", f"must be a list of gs:// URIs, it is {sort_of(value)}")
        return tuple(_each(value, most, _object_uri))

    return Field(check, "list")


def _object_uri(value: object) -> str:
    """Return the URI as it is but for blanks around it: object names are compared byte by byte, so no NFC here."""
    if not isinstance(value, str):
        raise RefusedError("invalid_type", f"must be a gs:// URI, it is {sort_of(value)}")
    uri = value.strip(_BLANKS)
    if _CONTROL.search(uri):
        raise RefusedError("control_characters", "must not contain control characters or half surrogate pairs")
    match = _GS_URI.fullmatch(uri)
    if match is None:
        raise RefusedError("not_allowed", "must be of the form gs://bucket/name")
    if len(match.group(1).encode()) > MAX_OBJECT_NAME_BYTES:
        raise RefusedError("too_long", f"must name an object of at most {MAX_OBJECT_NAME_BYTES} bytes")
    if {".", ".."} & set(match.group(1).split("/")):
        raise RefusedError("not_allowed", 'must not have "." or ".." as a part of the object\'s name')
    return uri


def https_url() -> Field:
    """Describe a public https address; the call itself checks what the name resolves to."""

    def check(value: object, _lookups: Lookups) -> str:
        url = clean_text(value, 1, MAX_URL_CHARS)
        problem = address_problem(url)
        if problem is not None:
            raise RefusedError("not_allowed", problem)
        return url

    return Field(check)
