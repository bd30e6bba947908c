"""What every page shares: one Jinja environment that escapes everything, one stylesheet, and figures for people."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import MAXYEAR, UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from shared.domain.times import from_text

TEMPLATES = Path(__file__).parent / "templates"
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return the environment of every template; a name that a page was not given is an error."""
    env = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(
        dollars=dollars, spread=spread, duration=duration, size=size, measured=measured, moment=moment, words=words
    )
    env.globals.update(css=Markup(stylesheet()))  # noqa: S704 - our own file, not from outside
    return env


@lru_cache(maxsize=1)
def stylesheet() -> str:
    """Return the one stylesheet of report and ops pages."""
    return (TEMPLATES / "style.css").read_text("utf-8")


@lru_cache(maxsize=1)
def style_source() -> str:
    """Return the Content-Security-Policy source that allows our stylesheet and no other."""
    digest = hashlib.sha256(stylesheet().encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def dollars(usd: str) -> str:
    """Return a wire amount for people, with cents at least: "0.5" is "$0.50", "1234.0672" is "$1,234.0672"."""
    whole, _, fraction = usd.partition(".")
    return f"${int(whole):,}.{fraction.ljust(2, '0')}"


def spread(usd: Sequence[str] | None) -> str:
    """Return a price range for people, one price where both ends are the same."""
    if not usd:
        return "–"
    return "–".join(dollars(end) for end in dict.fromkeys(usd))


def duration(seconds: float | None) -> str:
    """Return a time span in the two units that matter: "850 ms", "3.2 s", "2 min 5 s", "1 h 3 min"."""
    if seconds is None:
        return "–"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if round(seconds, 1) < _MINUTE_S:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit_s, unit, next_s, next_unit in (
        (_DAY_S, "d", _HOUR_S, "h"),
        (_HOUR_S, "h", _MINUTE_S, "min"),
        (_MINUTE_S, "min", 1, "s"),
    ):
        if whole >= unit_s:
            rest = whole % unit_s // next_s
            return f"{whole // unit_s} {unit}" + (f" {rest} {next_unit}" if rest else "")
    return f"{whole} s"


def size(size_bytes: int) -> str:
    """Return a file size in decimal units: "512 B", "1.2 MB"."""
    amount = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def measured(value: Any) -> str:
    """Return what a check measured, for people: "none" for nothing, a list as its items."""
    if value is None or value == []:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def moment(when: str | datetime | None) -> str:
    """Return a time of day and date in UTC; a dash for no time, and a word for one that never comes."""
    if when is None:
        return "–"
    at = from_text(when) if isinstance(when, str) else when
    if at.year == MAXYEAR:
        return "no date"
    return at.astimezone(UTC).strftime("%-d %b %Y, %H:%M:%S UTC")


def words(code: str) -> str:
    """Return a code as words: "quality_check" is "quality check"."""
    return code.replace("_", " ").replace("-", " ")
