"""The one reading of JSON we trust: `json.loads` takes NaN, 1e400, duplicate keys, and nesting that ends in a crash."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

Json = dict[str, Any]

_INT64_CHARS = 19
_MAX_NAME_SHOWN = 64
_WHITESPACE = re.compile(r"[ \t\r\n]*")


class StrictDecoder:
    """A JSON decoder that notes what we do not accept and reads on, so that the end of the value is found."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_int=self._int,
            parse_float=self._float,
            parse_constant=self._constant,
        )

    def decode(self, text: str, start: int) -> tuple[Any, int]:
        """Return the value at *start* and where it ends; sets `problem`. Raises ValueError when there is no end."""
        self.problem = None
        try:
            return self._decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            message = f"not JSON: {error.msg}, line {error.lineno} column {error.colno}"
        except RecursionError:
            message = "JSON that is nested too deeply"
        raise ValueError(message)

    def _object(self, pairs: list[tuple[str, Any]]) -> Json:
        found = dict(pairs)
        if len(found) < len(pairs):
            name, _count = Counter(key for key, _ in pairs).most_common(1)[0]
            self.problem = f"the key {_shown(name)} is there twice"
        return found

    def _int(self, digits: str) -> int:
        if len(digits) <= _INT64_CHARS + 1:
            value = int(digits)
            if -(2**63) <= value < 2**63:
                return value
        self.problem = "an integer does not fit in 64 bits"
        return 0

    def _float(self, digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            self.problem = "a number is too large"
        return value

    def _constant(self, name: str) -> None:
        self.problem = f"{name} is not JSON"


def parse_json(text: str | bytes) -> Any:
    """Return the JSON value in *text*, a byte order mark and blanks around it aside.

    Raises:
        ValueError: not UTF-8, not JSON, NaN or Infinity, a key twice in one object, a number that is no double or
            no 64-bit integer, or nested too deeply. The message never repeats values.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"not UTF-8 at byte {error.start}") from None
    decoder = StrictDecoder()
    text = text.removeprefix("\ufeff")
    value, end = decoder.decode(text, skip_blanks(text, 0))
    if decoder.problem is not None:
        raise ValueError(decoder.problem)
    if skip_blanks(text, end) != len(text):
        raise ValueError(f"not JSON: more text after the value, at character {end}")
    return value


def skip_blanks(text: str, start: int) -> int:
    """Return where JSON's white space from *start* on ends."""
    match = _WHITESPACE.match(text, start)
    return match.end() if match else start


def _shown(name: str) -> str:
    return ascii(name[:_MAX_NAME_SHOWN])
