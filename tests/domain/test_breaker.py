from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.breaker import FOREVER, Breaker, BreakerPolicy, BreakerState, from_doc, to_doc

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
POLICY = BreakerPolicy()


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def opened(retry_after_s: float | None = None) -> Breaker:
    breaker = Breaker("m")
    for _ in range(POLICY.threshold):
        breaker = breaker.failed(NOW, POLICY, retry_after_s)
    return breaker


def test_a_model_nobody_has_heard_of_may_be_called() -> None:
    assert Breaker("m").is_callable(NOW)
    assert not Breaker("m").needs_probe(NOW)


def test_the_third_failure_in_a_row_opens_it() -> None:
    twice = Breaker("m").failed(NOW, POLICY).failed(NOW, POLICY)
    assert twice.state is BreakerState.CLOSED
    assert twice.is_callable(NOW)
    assert twice.failed(NOW, POLICY).state is BreakerState.OPEN


def test_a_success_between_failures_starts_the_count_anew() -> None:
    breaker = Breaker("m").failed(NOW, POLICY).failed(NOW, POLICY).succeeded(NOW)
    assert breaker == Breaker("m")
    assert breaker.failed(NOW, POLICY).failed(NOW, POLICY).state is BreakerState.CLOSED


def test_an_open_breaker_refuses_until_its_time_and_then_wants_a_probe() -> None:
    breaker = opened()
    assert not breaker.is_callable(later(29.999))
    assert breaker.not_before == later(30)
    assert breaker.needs_probe(later(30))


def test_the_cooldown_doubles_with_every_failed_probe_up_to_its_cap() -> None:
    breaker, now, waits = opened(), NOW, []
    for _ in range(7):
        assert breaker.open_until is not None
        waits.append((breaker.open_until - now).total_seconds())
        now = breaker.open_until
        breaker = breaker.claimed(now, POLICY).failed(now, POLICY)
    assert waits == [30, 60, 120, 240, 480, 600, 600]


def test_the_vendors_retry_after_prolongs_the_cooldown_and_never_shortens_it() -> None:
    assert opened(retry_after_s=90).open_until == later(90)
    assert opened(retry_after_s=1).open_until == later(30)


@pytest.mark.parametrize(
    ("retry_after_s", "wait_s"), [(float("nan"), 30), (-5.0, 30), (float("inf"), 86_400), (1e300, 86_400)]
)
def test_a_nonsensical_retry_after_stays_within_its_bounds(retry_after_s: float, wait_s: float) -> None:
    assert opened(retry_after_s).open_until == later(wait_s)


def test_failures_of_calls_made_before_it_opened_prolong_it_only_by_their_retry_after() -> None:
    breaker = opened()
    assert breaker.failed(later(10), POLICY) == breaker
    assert breaker.failed(later(10), POLICY, 100).open_until == later(110)
    assert breaker.failed(later(10), POLICY, 100).trips == 1


def test_a_success_of_a_call_made_before_it_opened_does_not_close_it() -> None:
    assert opened().succeeded(later(10)) == opened()


def test_a_claimed_probe_keeps_all_others_out_until_the_claim_lapses() -> None:
    probing = opened().claimed(later(30), POLICY)
    assert not probing.is_callable(later(89.9))
    assert probing.not_before == later(90)
    assert probing.needs_probe(later(90))


def test_a_probe_that_succeeds_closes_it_and_forgets_its_past() -> None:
    closed = opened().claimed(later(30), POLICY).succeeded(later(31))
    assert closed.is_clean
    assert closed.trips == 0
    assert closed.since == later(31)


def test_a_cool_down_lets_nobody_through_and_is_no_failure() -> None:
    cooled = Breaker("m").cooled(later(20)).cooled(later(5))
    assert not cooled.is_callable(later(19))
    assert cooled.is_callable(later(20))
    assert not cooled.needs_probe(later(20))
    assert cooled.is_clean


def test_a_success_does_not_end_a_cool_down() -> None:
    breaker = Breaker("m").failed(NOW, POLICY).cooled(later(20)).succeeded(later(1))
    assert breaker.is_clean
    assert breaker.not_before == later(20)


def test_a_model_that_is_gone_is_probed_once_after_a_day() -> None:
    gone = Breaker("m").gone(NOW, POLICY, "404")
    assert gone.disabled
    assert not gone.is_callable(later(86_399))
    assert gone.needs_probe(later(86_400))


def test_reports_of_old_calls_change_nothing_about_a_model_that_is_gone() -> None:
    gone = Breaker("m").gone(NOW, POLICY, "404")
    assert gone.failed(later(1), POLICY, 3600) == gone
    assert gone.succeeded(later(1)) == gone
    assert gone.gone(later(1), POLICY, "404 again") == gone


def test_a_gone_model_whose_probe_fails_stays_disabled_for_another_day() -> None:
    day = later(86_400)
    probing = Breaker("m").gone(NOW, POLICY, "404").claimed(day, POLICY)
    for breaker in (probing.gone(day, POLICY, "404"), probing.failed(day, POLICY)):
        assert breaker.disabled
        assert breaker.reason == "404"
        assert breaker.not_before == day + timedelta(days=1)


def test_a_gone_model_whose_probe_succeeds_is_back() -> None:
    day = later(86_400)
    back = Breaker("m").gone(NOW, POLICY, "404").claimed(day, POLICY).succeeded(day)
    assert back.is_clean
    assert not back.disabled


def test_a_model_that_was_switched_off_is_never_probed() -> None:
    off = Breaker("m").switched_off(NOW, "too dear")
    assert not off.is_callable(FOREVER - timedelta(seconds=1))
    assert off.gone(NOW, POLICY, "404") == off


@pytest.mark.parametrize(
    "breaker", [opened(), Breaker("m").switched_off(NOW, "x"), Breaker("m").gone(NOW, POLICY, "x")]
)
def test_enabling_closes_whatever_was_open(breaker: Breaker) -> None:
    assert breaker.enabled(NOW).is_clean
    assert breaker.enabled(NOW).is_callable(NOW)


EVENTS = st.lists(
    st.tuples(
        st.floats(0, 200),
        st.sampled_from(["ok", "fail", "fail", "fail", "cool", "gone", "enable"]),
        st.one_of(st.none(), st.floats(0, 1000)),
    ),
    max_size=40,
)


@given(EVENTS)
@settings(derandomize=True, max_examples=200)
def test_any_history_leads_to_a_breaker_that_recovers_by_itself_and_survives_its_document(
    events: list[tuple[float, str, float | None]],
) -> None:
    breaker, now = Breaker("m"), NOW
    for wait_s, event, retry_after_s in events:
        now += timedelta(seconds=wait_s)
        if breaker.needs_probe(now):
            breaker = breaker.claimed(now, POLICY)
            assert not breaker.is_callable(now)
        before = breaker.not_before
        match event:
            case "ok":
                breaker = breaker.succeeded(now)
            case "fail":
                breaker = breaker.failed(now, POLICY, retry_after_s)
                # A failure never lets anybody in earlier, except that the probe's own claim ends with it.
                assert before is None or breaker.state is BreakerState.OPEN or breaker.not_before == before
            case "cool":
                breaker = breaker.cooled(now + timedelta(seconds=retry_after_s or 0))
            case "gone":
                breaker = breaker.gone(now, POLICY, "404")
            case "enable":
                breaker = breaker.enabled(now)
        assert from_doc(to_doc(breaker)) == breaker
        assert (breaker.state is BreakerState.OPEN) == (breaker.open_until is not None and not breaker.probe_until)
    assert breaker.is_callable(now + timedelta(days=1, seconds=1))
