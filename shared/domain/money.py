"""Money is an integer of micro-USD inside and a plain decimal string on the wire; never a float."""

from __future__ import annotations

import re

MICRO_PER_USD = 1_000_000
_DECIMAL = re.compile(r"(\d{1,12})(?:\.(\d{1,6}))?")


def parse_usd(text: str) -> int:
    """Return the micro-USD of a plain decimal such as "0.0672".

    Raises:
        ValueError: not digits with at most six decimals (no sign, exponent, blanks or currency mark).
    """
    match = _DECIMAL.fullmatch(text) if text.isascii() else None
    if match is None:
        raise ValueError(f"{text!r} is not a plain decimal amount with at most six decimals")
    whole, fraction = match.group(1), match.group(2) or ""
    return int(whole) * MICRO_PER_USD + int(fraction.ljust(6, "0"))


def format_usd(micro_usd: int) -> str:
    """Return the shortest plain decimal, e.g. "0.0672", "12", "0"; a negative amount keeps its sign."""
    sign = "-" if micro_usd < 0 else ""
    whole, fraction = divmod(abs(micro_usd), MICRO_PER_USD)
    return f"{sign}{whole}.{fraction:06d}".rstrip("0").rstrip(".")
