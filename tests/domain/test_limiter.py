from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.limiter import (
    UNLIMITED,
    Ask,
    Denied,
    Lease,
    LeasePolicy,
    Limits,
    Window,
    block_size,
    from_doc,
    next_day,
    to_doc,
)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
POLICY = LeasePolicy(ttl_s=5.0)
TTL = timedelta(seconds=5)
COUNTS_FOR = timedelta(seconds=65)
INSTANT = timedelta(microseconds=1)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def ask(calls: int, tokens: int = 0, *, at_least: int = 1, returned: int = 0) -> Ask:
    return Ask(at_least, tokens, calls, tokens, returned)


def leased(window: Window, limits: Limits, wanted: Ask, now: datetime) -> tuple[Window, Lease]:
    outcome = window.lease(limits, wanted, now, POLICY)
    assert not isinstance(outcome, Denied), outcome
    return outcome


def denied(window: Window, limits: Limits, wanted: Ask, now: datetime) -> Denied:
    outcome = window.lease(limits, wanted, now, POLICY)
    assert isinstance(outcome, Denied)
    return outcome


def test_a_block_is_cut_to_what_is_free() -> None:
    window, first = leased(Window("m"), Limits(rpm=10), ask(7), NOW)
    _, second = leased(window, Limits(rpm=10), ask(7), later(1))
    assert (first.calls, second.calls) == (7, 3)


def test_a_full_window_says_when_its_oldest_lease_stops_counting() -> None:
    window, _ = leased(Window("m"), Limits(rpm=10), ask(4), NOW)
    window, _ = leased(window, Limits(rpm=10), ask(6), later(10))
    refusal = denied(window, Limits(rpm=10), ask(5), later(20))
    assert refusal == Denied(NOW + COUNTS_FOR, "rpm")
    denied(window, Limits(rpm=10), ask(5), refusal.retry_at - INSTANT)
    _, lease = leased(window, Limits(rpm=10), ask(5), refusal.retry_at)
    assert lease.calls == 4


def test_a_refusal_takes_nothing_away() -> None:
    window, _ = leased(Window("m"), Limits(rpm=1), ask(1), NOW)
    for second in range(60):
        denied(window, Limits(rpm=1), ask(1), later(second))
    leased(window, Limits(rpm=1), ask(1), later(65))


def test_the_days_calls_are_free_again_at_midnight() -> None:
    limits = Limits(rpd=5)
    window, lease = leased(Window("m"), limits, ask(9), NOW)
    assert lease.calls == 5
    refusal = denied(window, limits, ask(1), later(3600))
    assert refusal == Denied(datetime(2026, 11, 22, tzinfo=UTC), "rpd")
    leased(window, limits, ask(1), refusal.retry_at)


def test_calls_that_lapsed_can_be_returned_to_the_day_but_not_to_the_minute() -> None:
    window, _ = leased(Window("m"), Limits(rpm=10, rpd=10), ask(10), NOW)
    assert denied(window, Limits(rpm=10, rpd=10), ask(1, returned=4), later(6)).reason == "rpm"
    _, lease = leased(window, Limits(rpm=10, rpd=10), ask(10, returned=4), later(70))
    assert lease.calls == 4


def test_calls_returned_after_midnight_are_not_taken_off_the_new_day() -> None:
    midnight = next_day(NOW)
    window, _ = leased(Window("m"), Limits(rpd=10), ask(10), midnight - TTL)
    window, _ = leased(window, Limits(rpd=10), ask(6), midnight)
    # This instance's clock is still on the old day, the document is already on the new one.
    window, lease = leased(window, Limits(rpd=10), ask(10, returned=5), midnight - INSTANT)
    assert lease.calls == 4


def test_tokens_have_a_window_of_their_own() -> None:
    limits = Limits(tpm=1000)
    window, lease = leased(Window("m"), limits, ask(1, 800), NOW)
    assert lease.tokens == 800
    assert denied(window, limits, ask(1, 300), later(1)) == Denied(NOW + COUNTS_FOR, "tpm")
    leased(window, limits, ask(1, 200), later(1))


def test_a_refusal_waits_for_the_last_of_several_reasons() -> None:
    limits = Limits(rpm=1, tpm=100)
    window, _ = leased(Window("m"), limits, ask(1, 10), NOW)
    assert denied(window.cooled(later(40)), limits, ask(1, 10), later(1)) == Denied(later(65), "rpm")
    assert denied(window.cooled(later(90)), limits, ask(1, 10), later(1)) == Denied(later(90), "cooling")


def test_nothing_is_leased_while_the_vendor_wants_a_pause() -> None:
    cooling = Window("m").cooled(later(30)).cooled(later(10))
    assert cooling.free_calls(Limits(rpm=10), later(29), POLICY) == 0
    assert denied(cooling, Limits(rpm=10), ask(1), later(29)) == Denied(later(30), "cooling")
    assert denied(cooling, Limits(tpm=10), ask(0, 1, at_least=0), later(29)).reason == "cooling"
    leased(cooling, Limits(rpm=10), ask(1), later(30))


def test_an_instance_whose_clock_is_behind_leases_at_the_time_of_the_latest_lease() -> None:
    window, _ = leased(Window("m"), Limits(rpm=10), ask(5), later(3))
    window, lease = leased(window, Limits(rpm=10), ask(5), NOW)
    assert lease.at == later(3)
    assert denied(window, Limits(rpm=10), ask(1), later(67)).retry_at == later(68)


def test_what_is_free_without_limits_of_that_kind_is_unlimited() -> None:
    assert Window("m").free_calls(Limits(tpm=1), NOW, POLICY) == UNLIMITED
    assert Window("m").free_tokens(Limits(rpm=1), NOW, POLICY) == UNLIMITED


@pytest.mark.parametrize("limits", [{"rpm": 0}, {"rpd": -1}, {"tpm": 0}])
def test_a_limit_below_one_is_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="below 1"):
        Limits(**limits)


def test_the_document_stays_small_however_often_is_leased() -> None:
    window = Window("m")
    for i in range(7_500):
        window, _ = leased(window, Limits(rpm=1_000_000), ask(1), later(i / 100))
    assert len(window.leases) <= 67
    assert sum(lease.calls for lease in window.leases) >= 6_500


def test_leases_of_one_second_count_as_long_as_the_youngest_of_them() -> None:
    window, _ = leased(Window("m"), Limits(rpm=2), ask(1), NOW)
    window, _ = leased(window, Limits(rpm=2), ask(1), later(0.9))
    assert denied(window, Limits(rpm=2), ask(1), later(1)).retry_at == later(0.9) + COUNTS_FOR


def test_a_block_follows_the_pace_of_its_instance() -> None:
    limits = Limits(rpm=600)
    assert block_size(granted=5, used=5, elapsed_s=5.0, limits=limits, policy=POLICY) == 5
    assert block_size(granted=5, used=3, elapsed_s=6.0, limits=limits, policy=POLICY) == 2
    assert block_size(granted=8, used=8, elapsed_s=0.1, limits=limits, policy=POLICY) == 16
    assert block_size(granted=20, used=20, elapsed_s=0.0, limits=limits, policy=POLICY) == 30
    assert block_size(granted=30, used=30, elapsed_s=600.0, limits=limits, policy=POLICY) == 1


@pytest.mark.parametrize(
    ("limits", "largest"),
    [(Limits(rpm=600), 30), (Limits(rpm=10), 1), (Limits(rpm=600, rpd=1000), 5), (Limits(tpm=9), 1000)],
)
def test_the_largest_block_is_a_small_part_of_every_limit(limits: Limits, largest: int) -> None:
    assert limits.largest_block == largest


@given(
    st.integers(1, 12),
    st.integers(1, 30),
    st.integers(1, 100),
    st.lists(
        st.tuples(st.floats(0, 30), st.integers(1, 15), st.integers(0, 60), st.floats(0, 0.999)),
        min_size=1,
        max_size=60,
    ),
)
@settings(derandomize=True, max_examples=200)
def test_no_sliding_minute_and_no_day_holds_more_than_the_limits_wherever_in_their_life_leases_are_used(
    rpm: int, rpd: int, tpm: int, schedule: list[tuple[float, int, int, float]]
) -> None:
    limits, window, now = Limits(rpm, rpd, tpm), Window("m"), datetime(2026, 11, 21, 23, 58, tzinfo=UTC)
    used: list[tuple[datetime, int, int]] = []
    for wait_s, calls, tokens, part_of_life in schedule:
        now += timedelta(seconds=wait_s)
        outcome = window.lease(limits, ask(calls, min(tokens, tpm)), now, POLICY)
        if isinstance(outcome, Denied):
            assert outcome.retry_at > now
            continue
        window, lease = outcome
        assert from_doc(to_doc(window)) == window
        end = min(now + TTL, next_day(now))
        used.append((now + (end - now) * part_of_life, lease.calls, lease.tokens))
    for start, _, _ in used:
        minute = [u for u in used if start <= u[0] <= start + timedelta(seconds=60)]
        assert sum(calls for _, calls, _ in minute) <= rpm
        assert sum(tokens for _, _, tokens in minute) <= tpm
    for day in {at.date() for at, _, _ in used}:
        assert sum(calls for at, calls, _ in used if at.date() == day) <= rpd
