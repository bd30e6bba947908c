"""Trying a commit again after somebody else changed the document."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from shared.errors import StoreConflict
from shared.ports import Clock

T = TypeVar("T")

_HIGHEST_POWER = 60  # far beyond any cap; keeps 2**n inside a float


def backoff_delay_s(attempt: int, u: float, base_s: float = 1.0, cap_s: float = 60.0) -> float:
    """Return the wait before retry number *attempt*, with full jitter.

    Args:
        attempt: failures so far, from 1.
        u: uniform draw in [0, 1); an argument so that tests choose it.
        base_s, cap_s: seconds; the bound is min(cap_s, base_s * 2**(attempt - 1)).

    Raises:
        ValueError: attempt < 1.

    Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    if attempt < 1:
        raise ValueError(f"attempt {attempt} is not at least 1")
    return u * min(cap_s, base_s * 2.0 ** min(attempt - 1, _HIGHEST_POWER))


def retrying(
    operation: Callable[[], T],
    *,
    clock: Clock,
    random: Callable[[], float],
    attempts: int = 8,
    base_s: float = 0.01,
    cap_s: float = 1.0,
    on: tuple[type[Exception], ...] = (StoreConflict,),
) -> T:
    """Return what *operation* returns, calling it again after an error of *on*, at most *attempts* times in all.

    The operation must read what it decides on afresh each time. `StoreUnavailable` is not retried unless asked:
    its commit may have happened.

    Args:
        random: uniform draws in [0, 1).
        base_s, cap_s: seconds, see `backoff_delay_s`.

    Raises:
        ValueError: attempts < 1.
        Exception: the last error of *on*, or at once any other error.
    """
    if attempts < 1:
        raise ValueError(f"{attempts} attempts are not at least 1")
    for failures in range(1, attempts):
        try:
            return operation()
        except on:
            clock.sleep(backoff_delay_s(failures, random(), base_s, cap_s))
    return operation()
