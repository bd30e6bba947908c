import logging
import random
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from shared.clock import ManualClock
from shared.resilience.limiters import Denied, Grant, LeasePolicy, Limiters, Limits
from tests.resilience.conftest import FaultyStore, Together, Workers

MINUTE = timedelta(seconds=60)
TTL_S = LeasePolicy().ttl_s


def limited(store: FaultyStore, clock: ManualClock, limits: Limits | None) -> Limiters:
    """Limiters that do not wait after a conflict, so that time moves only where a test moves it."""
    return Limiters(store, clock, limits=lambda _: limits, random=lambda: 0.0)


def granted(limiters: Limiters, tries: int, tokens: int = 0) -> int:
    return sum(isinstance(limiters.acquire("m", tokens), Grant) for _ in range(tries))


def refusal(limiters: Limiters, tokens: int = 0) -> Denied:
    outcome = limiters.acquire("m", tokens)
    assert isinstance(outcome, Denied)
    return outcome


def fullest_minute(calls: list[datetime]) -> int:
    """The most calls in any sliding minute, both its ends included."""
    ordered = sorted(calls)
    return max(sum(start <= at <= start + MINUTE for at in ordered) for start in ordered)


def test_a_model_without_limits_costs_no_document_access(store: FaultyStore, clock: ManualClock) -> None:
    limiters = limited(store, clock, None)
    assert granted(limiters, 100) == 100
    assert limiters.acquire("m") == Grant(valid_until=None)
    assert limiters.available("m") is None
    assert store.tries == 0


def test_exactly_the_limit_is_granted_at_once(store: FaultyStore, clock: ManualClock) -> None:
    limiters = limited(store, clock, Limits(rpm=100))
    assert granted(limiters, 150) == 100
    assert refusal(limiters) == Denied(clock.now() + MINUTE + timedelta(seconds=TTL_S), "rpm")


def test_a_refused_caller_who_comes_back_when_told_is_granted(store: FaultyStore, clock: ManualClock) -> None:
    limiters = limited(store, clock, Limits(rpm=3))
    granted(limiters, 3)
    clock.move_to(refusal(limiters).retry_at)
    assert granted(limiters, 5) == 3


def test_waiting_callers_cost_no_reads(store: FaultyStore, clock: ManualClock) -> None:
    limiters = limited(store, clock, Limits(rpm=3))
    granted(limiters, 4)
    before = store.tries
    assert granted(limiters, 1000) == 0
    assert store.tries == before


def test_a_busy_instance_leases_in_blocks(store: FaultyStore, clock: ManualClock) -> None:
    limiters = limited(store, clock, Limits(rpm=600))
    assert granted(limiters, 600) == 600
    assert store.counts.tally().commits == 24  # 1, 2, 4, 8, 16 and then 30 at a time


def test_an_instance_with_little_to_do_leases_little(store: FaultyStore, clock: ManualClock) -> None:
    busy, idle = (limited(store, clock, Limits(rpm=600)) for _ in range(2))
    for _ in range(20):
        assert granted(idle, 1) == 1
        clock.advance(3 * TTL_S / 20)
    assert granted(busy, 600) >= 600 - 2 * 20


def test_leased_calls_that_are_not_made_in_time_lapse(store: FaultyStore, clock: ManualClock) -> None:
    limiters = limited(store, clock, Limits(rpm=40))
    assert granted(limiters, 2) == 2  # blocks of 1 and 2: one call is left over
    clock.advance(TTL_S)
    assert granted(limiters, 40) == 37


def test_a_grant_says_until_when_it_is_good(store: FaultyStore, clock: ManualClock) -> None:
    limiters, start = limited(store, clock, Limits(rpm=40)), clock.now()
    limiters.acquire("m")
    limiters.acquire("m")
    clock.advance(2)
    assert limiters.acquire("m") == Grant(start + timedelta(seconds=TTL_S))


def test_a_leased_call_is_never_carried_over_midnight(store: FaultyStore) -> None:
    midnight = datetime(2026, 11, 22, tzinfo=UTC)
    clock = ManualClock(midnight - timedelta(seconds=2))
    limiters = limited(store, clock, Limits(rpd=400))
    assert limiters.acquire("m") == Grant(midnight)
    limiters.acquire("m")  # of a block of two: one call is left over
    clock.move_to(midnight)
    assert limiters.acquire("m") == Grant(midnight + timedelta(seconds=TTL_S))


def test_calls_that_lapsed_at_midnight_are_not_given_back_to_the_new_day(store: FaultyStore) -> None:
    midnight = datetime(2026, 11, 22, tzinfo=UTC)
    clock = ManualClock(midnight - timedelta(seconds=2))
    mine, other = (limited(store, clock, Limits(rpd=400)) for _ in range(2))
    granted(mine, 2)  # of a block of two: one call is left over
    clock.move_to(midnight)
    assert granted(other, 500) == 400
    assert granted(mine, 1) == 0


def test_lapsed_calls_are_given_back_to_the_day(store: FaultyStore, clock: ManualClock) -> None:
    limiters = limited(store, clock, Limits(rpd=1000))
    total = 0
    for _ in range(2000):
        total += granted(limiters, 1)
        clock.advance(random.Random(total).choice([0.1, 0.1, 0.1, 4.0, 20.0]))
    assert total == 1000


def test_many_threads_of_many_instances_get_exactly_the_limit(
    store: FaultyStore, clock: ManualClock, together: Together
) -> None:
    instances = [limited(store, clock, Limits(rpm=100)) for _ in range(4)]
    actions = [partial(granted, x, 10) for x in instances for _ in range(4)]
    contended = [*together(actions), *(granted(x, 100) for x in instances)]
    assert sum(contended) == 100


def test_of_two_who_see_the_last_call_free_one_gets_it(store: FaultyStore, clock: ManualClock) -> None:
    mine, other = (limited(store, clock, Limits(rpm=2)) for _ in range(2))
    assert granted(mine, 1) == 1
    others: list[int] = []
    store.meanwhile = lambda: others.append(granted(other, 1))
    assert granted(mine, 1) == 0
    assert others == [1]


WORKER = """
import json, sys
from datetime import timedelta
from shared.adapters.sqlite import SqliteDocumentStore
from shared.clock import ManualClock
from shared.resilience.limiters import Grant, Limiters, Limits
clock = ManualClock()
start = clock.now()
limiters = Limiters(SqliteDocumentStore(sys.argv[1]), clock, limits=lambda _: Limits(rpm=50), random=lambda: 0.0)
for line in sys.stdin:
    at_s, tries = line.split()
    clock.move_to(start + timedelta(seconds=float(at_s)))
    outcomes = [limiters.acquire("m") for _ in range(int(tries))]
    now_s = (clock.now() - start).total_seconds()
    print(json.dumps([now_s for outcome in outcomes if isinstance(outcome, Grant)]), flush=True)
"""


def test_four_processes_keep_to_the_limit_in_every_sliding_minute(workers: Workers, clock: ManualClock) -> None:
    ask, schedule = workers(WORKER, 4), random.Random(7)
    at_s, calls = 0.0, []
    for _ in range(60):
        calls += [clock.now() + timedelta(seconds=s) for times in ask(f"{at_s} {schedule.randrange(6)}") for s in times]
        at_s += schedule.uniform(0, 8)
    assert fullest_minute(calls) <= 50
    assert len(calls) >= 0.75 * 50 * at_s / 60


@pytest.mark.parametrize("seed", range(8))
def test_no_sliding_minute_holds_more_than_the_limit_under_any_schedule(
    store: FaultyStore, clock: ManualClock, seed: int
) -> None:
    schedule = random.Random(seed)
    rpm, tpm = schedule.choice([1, 7, 60, 200]), 20_000
    instances = [limited(store, clock, Limits(rpm=rpm, tpm=tpm)) for _ in range(schedule.randint(1, 5))]
    calls, spent = [], []
    for _ in range(1500):
        clock.advance(schedule.choice([0.0, 0.01, 0.5, 1.0, 7.0]))
        tokens = schedule.choice([0, 10, 200, 900])
        if isinstance(schedule.choice(instances).acquire("m", tokens), Grant):
            calls.append(clock.now())
            spent.append((clock.now(), tokens))
    assert fullest_minute(calls) <= rpm
    assert max(sum(n for at, n in spent if start <= at <= start + MINUTE) for start in calls) <= tpm


def test_steady_demand_uses_most_of_the_limit(store: FaultyStore, clock: ManualClock) -> None:
    schedule, instances = random.Random(3), [limited(store, clock, Limits(rpm=60)) for _ in range(4)]
    start, total = clock.now(), 0
    while clock.now() < start + 10 * MINUTE:
        clock.advance(schedule.expovariate(100 / 60))
        total += granted(schedule.choice(instances), 1)
    assert total >= 0.85 * 10 * 60


def test_tokens_are_limited_beside_calls(store: FaultyStore, clock: ManualClock) -> None:
    limiters = limited(store, clock, Limits(rpm=100, tpm=1000))
    assert granted(limiters, 10, tokens=300) == 3
    assert refusal(limiters, 300).reason == "tpm"
    assert granted(limiters, 1, tokens=100) == 1


def test_a_call_is_good_only_as_long_as_all_that_was_leased_for_it(store: FaultyStore, clock: ManualClock) -> None:
    limiters, start = limited(store, clock, Limits(rpm=40, tpm=10_000)), clock.now()
    granted(limiters, 2, tokens=100)  # one call and 100 tokens are left over
    clock.advance(2)
    assert limiters.acquire("m", 150) == Grant(start + timedelta(seconds=TTL_S))


def test_leasing_tokens_alone_does_not_make_the_next_blocks_small(store: FaultyStore, clock: ManualClock) -> None:
    limiters = limited(store, clock, Limits(rpm=6000, tpm=10_000))
    granted(limiters, 1000)
    before = store.counts.tally().commits
    assert granted(limiters, 1, tokens=10) == 1
    assert granted(limiters, 1000) == 1000
    assert store.counts.tally().commits - before <= 5


def test_a_call_with_more_tokens_than_a_minute_has_gets_the_whole_minute(
    store: FaultyStore, clock: ManualClock
) -> None:
    limiters = limited(store, clock, Limits(tpm=1000))
    assert granted(limiters, 1, tokens=5000) == 1
    clock.move_to(refusal(limiters, 5000).retry_at)
    assert granted(limiters, 1, tokens=5000) == 1


def test_what_is_available_is_what_can_be_granted_now(store: FaultyStore, clock: ManualClock) -> None:
    limiters = limited(store, clock, Limits(rpm=10, tpm=100))
    assert limiters.available("m") == 10
    granted(limiters, 4)
    assert limiters.available("m") == 6
    granted(limiters, 1, tokens=100)
    assert limiters.available("m") == 0
    assert limited(store, clock, Limits(tpm=200)).available("m") is None


@pytest.mark.parametrize("limits", [None, Limits(rpm=100)])
def test_after_a_429_this_instance_stops_at_once(store: FaultyStore, clock: ManualClock, limits: Limits | None) -> None:
    limiters, until = limited(store, clock, limits), clock.now() + timedelta(seconds=20)
    granted(limiters, 5)
    limiters.cool_down("m", until)
    assert refusal(limiters) == Denied(until, "cooling")
    assert limiters.available("m") == 0
    limiters.cool_down("m", until - timedelta(seconds=10))
    clock.move_to(until - timedelta(microseconds=1))
    assert refusal(limiters) == Denied(until, "cooling")
    clock.move_to(until)
    assert granted(limiters, 1) == 1


def test_after_a_429_the_other_instances_stop_when_their_leased_calls_are_used_up(
    store: FaultyStore, clock: ManualClock
) -> None:
    mine, other = (limited(store, clock, Limits(rpm=100)) for _ in range(2))
    granted(other, 2)  # of its block of two it has one left
    until = clock.now() + timedelta(seconds=20)
    mine.cool_down("m", until)
    assert granted(other, 1) == 1
    assert refusal(other) == Denied(until, "cooling")
    assert other.available("m") == 0


def test_a_cool_down_of_a_century_lasts_a_day(store: FaultyStore, clock: ManualClock) -> None:
    limiters = limited(store, clock, Limits(rpm=10))
    limiters.cool_down("m", clock.now() + timedelta(days=36_525))
    assert refusal(limiters).retry_at == clock.now() + timedelta(days=1)


def test_while_the_store_is_down_calls_are_granted_and_logged(
    store: FaultyStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    store.is_down = True
    limiters = limited(store, clock, Limits(rpm=1))
    with caplog.at_level(logging.WARNING, "atelier"):
        assert granted(limiters, 50) == 50
        clock.advance(TTL_S)
        assert granted(limiters, 50) == 50
    assert [r.message for r in caplog.records] == ["limiter.store_unavailable"] * 2
    assert store.tries == 2
    store.is_down = False
    clock.advance(TTL_S)
    assert granted(limiters, 50) == 1


def test_when_too_many_ask_at_once_the_caller_is_told_to_come_back(store: FaultyStore, clock: ManualClock) -> None:
    store.is_contended = True
    limiters = limited(store, clock, Limits(rpm=100))
    told = refusal(limiters)
    assert told == Denied(clock.now() + timedelta(seconds=1), "contended")
    store.is_contended = False
    clock.move_to(told.retry_at)
    assert granted(limiters, 1) == 1
