"""Waiting for what another process or thread does: looking again and again, for a bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def until(happened: Callable[[], T], within_s: float, look_every_s: float = 0.05, *, what: str = "") -> T:
    """Return what *happened* says once that is true; fail, and tell *what* was awaited, when it is not in time."""
    end = time.monotonic() + within_s
    while not (found := happened()):
        if time.monotonic() >= end:
            pytest.fail(f"not within {within_s} s: {what or 'what was awaited'}")
        time.sleep(look_every_s)
    return found
