from collections.abc import Callable
from datetime import datetime

import pytest

from shared.clock import ManualClock
from shared.errors import StoreConflict, StoreUnavailable
from shared.resilience.retry import backoff_delay_s, retrying

START = ManualClock().now()


def failing(times: int, error: Exception) -> Callable[[], int]:
    """Fail *times* times, then return how often it was called."""
    calls = 0

    def operation() -> int:
        nonlocal calls
        calls += 1
        if calls <= times:
            raise error
        return calls

    return operation


def waited_s(clock: ManualClock, since: datetime = START) -> float:
    return (clock.now() - since).total_seconds()


def test_the_bound_of_the_wait_doubles_up_to_its_cap() -> None:
    assert [backoff_delay_s(n, 1.0, base_s=1, cap_s=10) for n in range(1, 7)] == [1, 2, 4, 8, 10, 10]


def test_the_wait_is_anywhere_between_nothing_and_its_bound() -> None:
    assert backoff_delay_s(3, 0.0) == 0.0
    assert backoff_delay_s(3, 0.25) == 1.0


def test_a_wait_after_very_many_failures_is_still_the_cap() -> None:
    assert backoff_delay_s(100_000, 1.0, cap_s=60) == 60


def test_attempts_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="attempt 0"):
        backoff_delay_s(0, 0.5)
    with pytest.raises(ValueError, match="0 attempts"):
        retrying(failing(0, StoreConflict()), clock=ManualClock(), random=lambda: 0.5, attempts=0)


def test_a_success_at_once_neither_waits_nor_repeats() -> None:
    clock = ManualClock()
    assert retrying(failing(0, StoreConflict()), clock=clock, random=lambda: 1.0) == 1
    assert waited_s(clock) == 0


def test_conflicts_are_retried_with_growing_waits() -> None:
    clock = ManualClock()
    assert retrying(failing(3, StoreConflict()), clock=clock, random=lambda: 0.5, base_s=1.0, cap_s=60.0) == 4
    assert waited_s(clock) == 0.5 + 1.0 + 2.0


def test_the_last_conflict_is_raised_without_another_wait() -> None:
    clock, conflict = ManualClock(), StoreConflict("the fourth")
    with pytest.raises(StoreConflict, match="the fourth"):
        retrying(failing(9, conflict), clock=clock, random=lambda: 1.0, attempts=4, base_s=1.0, cap_s=60.0)
    assert waited_s(clock) == 1 + 2 + 4


def test_other_errors_are_raised_at_once_unless_asked_for() -> None:
    clock = ManualClock()
    with pytest.raises(StoreUnavailable):
        retrying(failing(1, StoreUnavailable("down")), clock=clock, random=lambda: 1.0)
    assert waited_s(clock) == 0
    down = failing(1, StoreUnavailable("down"))
    assert retrying(down, clock=clock, random=lambda: 1.0, on=(StoreUnavailable,)) == 2
