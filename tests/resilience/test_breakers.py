import logging
from datetime import timedelta
from functools import partial

import pytest

from shared.clock import ManualClock
from shared.domain.breaker import Breaker, BreakerPolicy, BreakerState
from shared.resilience.breakers import Admission, Breakers
from tests.resilience.conftest import FaultyStore, Together, Workers

COOLDOWN_S = BreakerPolicy().cooldown_s
PROBE_S = BreakerPolicy().probe_s
RECHECK_S = BreakerPolicy().recheck_s
ADMITTED = Admission(allowed=True)
PROBE = Admission(allowed=True, is_probe=True)


def trip(breakers: Breakers, model: str = "m") -> None:
    for _ in range(3):
        breakers.failed(model)


def test_a_model_without_a_document_is_admitted(store: FaultyStore, clock: ManualClock) -> None:
    breakers = Breakers(store, clock)
    assert breakers.admit("m") == ADMITTED
    assert breakers.all(10) == []


def test_undisturbed_jobs_cost_one_read_per_model_and_cache_period_and_no_write(
    store: FaultyStore, clock: ManualClock
) -> None:
    breakers = Breakers(store, clock, cache_s=5.0)
    for _ in range(100):
        breakers.health(["m", "n"])
        assert breakers.admit("m").allowed
        breakers.succeeded("m")
        clock.advance(0.1)
    tally = store.counts.tally()
    assert (tally.read, tally.written) == (4, 0)


def test_the_health_of_many_models_is_one_round_trip(store: FaultyStore, clock: ManualClock) -> None:
    health = Breakers(store, clock).health([f"m{n}" for n in range(20)])
    assert health["m7"] == Breaker("m7")
    assert (len(health), store.tries) == (20, 1)


def test_an_open_breaker_admits_nobody_before_its_time(store: FaultyStore, clock: ManualClock) -> None:
    breakers, start = Breakers(store, clock), clock.now()
    trip(breakers)
    for _ in range(300):
        assert breakers.admit("m") == Admission(allowed=False, retry_at=start + timedelta(seconds=COOLDOWN_S))
        clock.advance(COOLDOWN_S / 300 - 0.001)
    clock.advance(0.3)
    assert breakers.admit("m") == PROBE


def test_the_breaker_of_one_model_says_nothing_about_another(store: FaultyStore, clock: ManualClock) -> None:
    breakers = Breakers(store, clock)
    trip(breakers, "m")
    assert breakers.admit("n") == ADMITTED


def test_failures_seen_by_different_instances_add_up(store: FaultyStore, clock: ManualClock) -> None:
    for _ in range(3):
        Breakers(store, clock).failed("m")
    assert not Breakers(store, clock).admit("m").allowed


def test_no_failure_is_lost_when_many_instances_report_at_once(
    store: FaultyStore, clock: ManualClock, together: Together
) -> None:
    instances = [Breakers(store, clock, policy=BreakerPolicy(threshold=100)) for _ in range(8)]
    together([partial(b.failed, "m") for b in instances])
    assert Breakers(store, clock).health(["m"])["m"].failures == 8


def test_other_instances_learn_of_an_open_breaker_within_the_cache_period(
    store: FaultyStore, clock: ManualClock
) -> None:
    mine, other = Breakers(store, clock), Breakers(store, clock, cache_s=5.0)
    assert other.admit("m").allowed
    trip(mine)
    clock.advance(5.0)
    assert not other.admit("m").allowed


def test_a_success_in_any_instance_starts_the_count_anew(store: FaultyStore, clock: ManualClock) -> None:
    mine, other = Breakers(store, clock), Breakers(store, clock)
    mine.failed("m")
    mine.failed("m")
    other.succeeded("m")
    mine.failed("m")
    assert mine.admit("m") == ADMITTED
    assert mine.health(["m"])["m"].failures == 1


def test_of_fifty_callers_in_five_instances_exactly_one_is_the_probe(
    store: FaultyStore, clock: ManualClock, together: Together
) -> None:
    instances = [Breakers(store, clock, random=lambda: 0.0) for _ in range(5)]
    trip(instances[0])
    clock.advance(COOLDOWN_S)
    admissions = together([partial(b.admit, "m") for b in instances for _ in range(10)])
    assert [a for a in admissions if a.allowed] == [PROBE]
    assert all(a.retry_at is not None for a in admissions if not a.allowed)


def test_a_claim_that_comes_second_is_refused(store: FaultyStore, clock: ManualClock) -> None:
    mine, other = Breakers(store, clock), Breakers(store, clock)
    trip(mine)
    clock.advance(COOLDOWN_S)
    others: list[Admission] = []
    store.meanwhile = lambda: others.append(other.admit("m"))
    assert not mine.admit("m").allowed
    assert others == [PROBE]


WORKER = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from shared.adapters.sqlite import SqliteDocumentStore
from shared.clock import ManualClock
from shared.resilience.breakers import Breakers
clock = ManualClock()
start = clock.now()
breakers = Breakers(SqliteDocumentStore(sys.argv[1]), clock, cache_s=0.0, random=lambda: 0.0)
with ThreadPoolExecutor(13) as pool:
    for line in sys.stdin:
        verb, at_s = line.split()
        clock.move_to(start + timedelta(seconds=float(at_s)))
        if verb == "admit":
            print(json.dumps([a.is_probe for a in pool.map(breakers.admit, ["m"] * 13) if a.allowed]), flush=True)
        else:
            getattr(breakers, verb)("m")
            print("null", flush=True)
"""


def test_four_processes_send_one_probe_per_opening_and_none_before_its_time(workers: Workers) -> None:
    ask = workers(WORKER, 4)

    def admitted(at_s: float) -> list[bool]:
        return [is_probe for answer in ask(f"admit {at_s}") for is_probe in answer]

    assert admitted(0) == [False] * 52
    ask("failed 1", 3)  # one failure each in three processes
    assert admitted(30.9) == []
    assert admitted(31) == [True]
    assert admitted(32) == []
    ask("failed 40", 1)
    assert admitted(99.9) == []
    assert admitted(100) == [True]
    ask("succeeded 101", 1)
    assert admitted(101) == [False] * 52


def test_the_claim_of_a_dead_prober_lapses(store: FaultyStore, clock: ManualClock) -> None:
    mine, other = Breakers(store, clock), Breakers(store, clock)
    trip(mine)
    clock.advance(COOLDOWN_S)
    assert mine.admit("m") == PROBE
    clock.advance(PROBE_S - 1)
    assert not other.admit("m").allowed
    clock.advance(1)
    assert other.admit("m") == PROBE


def test_a_successful_probe_lets_everybody_in_again(store: FaultyStore, clock: ManualClock) -> None:
    mine, other = Breakers(store, clock), Breakers(store, clock)
    trip(mine)
    clock.advance(COOLDOWN_S)
    mine.admit("m")
    mine.succeeded("m")
    assert [mine.admit("m"), other.admit("m")] == [ADMITTED, ADMITTED]


def test_an_outage_of_ten_minutes_costs_few_calls_however_many_jobs_there_are(
    store: FaultyStore, clock: ManualClock
) -> None:
    breakers, start, calls = Breakers(store, clock), clock.now(), []
    while clock.now() < start + timedelta(minutes=10):
        if breakers.admit("m").allowed:
            calls.append((clock.now() - start).total_seconds())
            breakers.failed("m")
        clock.advance(0.5)  # 1,200 jobs
    assert calls == [0.0, 0.5, 1.0, 31.0, 91.0, 211.0, 451.0]


def test_failures_reported_while_it_is_open_are_not_written(store: FaultyStore, clock: ManualClock) -> None:
    breakers = Breakers(store, clock)
    trip(breakers)
    before = store.counts.tally().written
    for _ in range(100):
        breakers.failed("m")
    assert store.counts.tally().written == before


def test_a_cool_down_holds_all_instances_back_and_counts_no_failure(store: FaultyStore, clock: ManualClock) -> None:
    mine, other, until = Breakers(store, clock), Breakers(store, clock), clock.now() + timedelta(seconds=20)
    mine.cool_down("m", until)
    assert [b.admit("m") for b in (mine, other)] == [Admission(allowed=False, retry_at=until)] * 2
    clock.move_to(until)
    assert [b.admit("m") for b in (mine, other)] == [ADMITTED] * 2
    assert mine.health(["m"])["m"].failures == 0


def test_a_cool_down_of_a_century_lasts_a_day(store: FaultyStore, clock: ManualClock) -> None:
    breakers, now = Breakers(store, clock), clock.now()
    breakers.cool_down("m", now + timedelta(days=36_525))
    assert breakers.admit("m").retry_at == now + timedelta(days=1)


def test_a_model_that_is_gone_is_out_until_its_recheck_succeeds(store: FaultyStore, clock: ManualClock) -> None:
    breakers = Breakers(store, clock)
    breakers.disable("m", "404 " + "x" * 1000)
    health = breakers.health(["m"])["m"]
    assert health.disabled
    assert len(health.reason or "") == 200
    clock.advance(RECHECK_S - 1)
    assert not breakers.admit("m").allowed
    clock.advance(1)
    assert breakers.admit("m") == PROBE
    breakers.succeeded("m")
    assert breakers.admit("m") == ADMITTED


def test_a_model_that_was_switched_off_stays_out_until_it_is_enabled(store: FaultyStore, clock: ManualClock) -> None:
    breakers = Breakers(store, clock)
    breakers.disable("m", "not for us", recheck=False)
    clock.advance(10 * RECHECK_S)
    assert not breakers.admit("m").allowed
    breakers.enable("m")
    assert breakers.admit("m") == ADMITTED


def test_operators_see_every_breaker_that_ever_noted_anything(store: FaultyStore, clock: ManualClock) -> None:
    breakers = Breakers(store, clock)
    trip(breakers, "a")
    breakers.failed("b")
    assert {b.model: b.state for b in breakers.all(10)} == {"a": BreakerState.OPEN, "b": BreakerState.CLOSED}
    assert len(breakers.all(1)) == 1


def test_while_the_store_is_down_an_unknown_model_may_be_called(
    store: FaultyStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    store.is_down = True
    breakers = Breakers(store, clock)
    with caplog.at_level(logging.WARNING, "atelier"):
        assert breakers.admit("m") == ADMITTED
        assert breakers.failed("m") is None
    assert [r.message for r in caplog.records] == ["breaker.store_unavailable", "breaker.not_recorded"]


def test_while_the_store_is_down_what_was_last_known_holds(store: FaultyStore, clock: ManualClock) -> None:
    breakers = Breakers(store, clock)
    trip(breakers)
    store.is_down = True
    clock.advance(COOLDOWN_S - 1)
    assert not breakers.admit("m").allowed
    clock.advance(1)
    assert breakers.admit("m") == ADMITTED


def test_a_store_that_is_down_is_asked_once_per_cache_period(store: FaultyStore, clock: ManualClock) -> None:
    store.is_down = True
    breakers = Breakers(store, clock, cache_s=5.0)
    for _ in range(100):
        breakers.admit("m")
        breakers.succeeded("m")
        clock.advance(0.1)
    assert store.tries == 2


def test_a_prober_who_never_gets_its_claim_through_is_refused(store: FaultyStore, clock: ManualClock) -> None:
    breakers = Breakers(store, clock)
    trip(breakers)
    clock.advance(COOLDOWN_S)
    store.is_contended = True
    admission = breakers.admit("m")
    assert not admission.allowed
    assert admission.retry_at is not None
    assert admission.retry_at > clock.now()
