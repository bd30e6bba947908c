"""The one text form of a time: fixed width, UTC, so that the order of texts is the order of times."""

from __future__ import annotations

from datetime import UTC, datetime


def to_text(when: datetime) -> str:
    """Return e.g. "2026-11-21T12:00:00.000000Z" for an aware time."""
    text = when.isoformat(timespec="microseconds")
    if not text.endswith("+00:00"):
        text = when.astimezone(UTC).isoformat(timespec="microseconds")
    return text.removesuffix("+00:00") + "Z"


def from_text(text: str) -> datetime:
    """Read what `to_text` wrote. Raises ValueError."""
    return datetime.fromisoformat(text)
