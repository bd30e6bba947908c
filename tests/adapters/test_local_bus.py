"""What the local bus does beyond the contract: time, leases, crashes, fairness, and faults on purpose."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.chaos import Chaos
from shared.adapters.local_bus import NO_ANSWER, Delivery, LocalBus
from shared.adapters.wiring import Subscription
from shared.clock import ManualClock
from shared.errors import InvalidMessage, SettingsError, StoreUnavailable
from shared.ports import Message

ROOT = Path(__file__).parents[2]
WORK = Subscription("work", "jobs", 30, 3, 2, 16, "dead")
MORGUE = Subscription("morgue", "dead", 30, 3, 2, 16)
TOPICS = {"jobs": [WORK], "dead": [MORGUE]}

Build = Callable[..., LocalBus]


@pytest.fixture
def build(tmp_path: Path, clock: ManualClock) -> Iterator[Build]:
    """Build buses on one file and one clock."""
    opened = []

    def make(topics: Mapping[str, Sequence[Subscription]] = TOPICS, chaos: Chaos | None = None) -> LocalBus:
        opened.append(LocalBus(str(tmp_path / "bus.db"), clock, subscriptions=topics, chaos=chaos))
        return opened[-1]

    yield make
    for bus in opened:
        bus.close()


@pytest.fixture
def bus(build: Build) -> LocalBus:
    return build()


def publish(bus: LocalBus, *numbers: int, topic: str = "jobs") -> None:
    bus.publish([Message(topic, {"n": n}) for n in numbers])


def lease(bus: LocalBus, limit: int = 100, *names: str) -> list[Delivery]:
    return bus.lease(names or ["work"], limit)


def numbers(deliveries: Sequence[Delivery]) -> list[int]:
    return [delivery.payload["n"] for delivery in deliveries]


# ---------------------------------------------------------------- order and fairness


def test_what_has_been_due_longest_comes_first(bus: LocalBus, clock: ManualClock) -> None:
    publish(bus, 1, 2)
    (early, _) = lease(bus)
    bus.nack(early, 5)
    clock.advance(1)
    publish(bus, 3, 4)
    clock.advance(10)
    publish(bus, 5)
    assert numbers(lease(bus)) == [3, 4, 1, 5]


def test_a_limit_bounds_what_is_leased(bus: LocalBus) -> None:
    publish(bus, *range(10))
    assert [numbers(lease(bus, 4)) for _ in range(4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], []]


def three_topics() -> dict[str, list[Subscription]]:
    return {topic: [Subscription(f"s{topic}", topic, 30, 3, 1, 10)] for topic in "abc"}


def test_a_flood_on_one_subscription_leaves_every_batch_room_for_the_others(build: Build) -> None:
    bus = build(three_topics())
    publish(bus, *range(100), topic="a")
    publish(bus, 1_000, 1_001, topic="b")
    publish(bus, 2_000, topic="c")
    taken = Counter(delivery.topic for delivery in lease(bus, 6, "sa", "sb", "sc"))
    assert taken == {"a": 3, "b": 2, "c": 1}


def test_even_one_by_one_every_subscription_has_its_turn(build: Build) -> None:
    bus = build(three_topics())
    for topic in "abc":
        publish(bus, *range(100), topic=topic)
    taken = Counter(lease(bus, 1, "sa", "sb", "sc")[0].topic for _ in range(30))
    assert taken == {"a": 10, "b": 10, "c": 10}


def test_only_the_subscriptions_asked_for_are_leased(build: Build) -> None:
    bus = build(three_topics())
    publish(bus, 1, topic="a")
    assert lease(bus, 10, "sb", "sc") == []
    assert numbers(lease(bus, 10, "sa")) == [1]
    assert bus.lease([], 10) == []


# ---------------------------------------------------------------- time


def test_a_delivery_says_when_its_message_was_published(bus: LocalBus, clock: ManualClock) -> None:
    published = clock.now()
    publish(bus, 1)
    clock.advance(3_600.000001)
    assert lease(bus)[0].published_at == published


def test_a_lease_holds_until_its_deadline(bus: LocalBus, clock: ManualClock) -> None:
    publish(bus, 1)
    lease(bus)
    clock.advance(29.999)
    assert lease(bus) == []
    clock.advance(0.001)
    assert [delivery.attempt for delivery in lease(bus)] == [2]


def test_an_acknowledgement_after_the_deadline_counts_while_nobody_else_has_the_message(
    bus: LocalBus, clock: ManualClock
) -> None:
    publish(bus, 1)
    late = lease(bus)
    clock.advance(31)
    bus.ack(late)
    assert bus.next_due() is None


def test_outdated_tokens_do_nothing(bus: LocalBus, clock: ManualClock) -> None:
    publish(bus, 1)
    (first,) = lease(bus)
    clock.advance(30)
    (second,) = lease(bus)
    bus.ack([first])
    bus.nack(first, 0)
    assert bus.backlog() == {"work": {"due": 0, "later": 0, "leased": 1}}
    bus.nack(second, 0)
    bus.ack([second, first])
    bus.nack(second, 1_000)
    (third,) = lease(bus)
    assert third.attempt == 3
    bus.ack([third])
    publish(bus, 2)
    lease(bus)
    bus.ack([first, second, third])
    assert bus.backlog() == {"work": {"due": 0, "later": 0, "leased": 1}}


def test_a_refusal_waits_as_long_as_told(bus: LocalBus, clock: ManualClock) -> None:
    publish(bus, 1)
    bus.nack(lease(bus)[0], 7.5)
    assert bus.next_due() == clock.now() + timedelta(seconds=7.5)
    clock.advance(7.4)
    assert lease(bus) == []
    clock.advance(0.1)
    bus.nack(lease(bus)[0], 0)
    assert numbers(lease(bus)) == [1]


def test_the_wait_after_a_refusal_doubles_within_its_bounds_and_is_spread(build: Build, clock: ManualClock) -> None:
    bus = build({"jobs": [replace(WORK, dead_letter_topic=None)]})
    waits: dict[int, list[float]] = {attempt: [] for attempt in range(1, 6)}
    for n in range(60):
        publish(bus, n)
        for found in waits.values():
            bus.nack(lease(bus)[0])
            due = bus.next_due()
            assert due is not None
            found.append((due - clock.now()).total_seconds())
            clock.move_to(due)
        bus.ack(lease(bus))
    for attempt, bound in {1: 4, 2: 8, 3: 16, 4: 16, 5: 16}.items():
        assert 2 <= min(waits[attempt]) < 2 + (bound - 2) * 0.2
        assert bound - (bound - 2) * 0.2 < max(waits[attempt]) <= bound


def test_a_subscription_without_a_least_wait_still_backs_off(build: Build, clock: ManualClock) -> None:
    bus = build({"jobs": [replace(WORK, dead_letter_topic=None, min_backoff_s=0)]})
    publish(bus, 1)
    for _ in range(1_100):
        bus.nack(lease(bus)[0])
        due = bus.next_due()
        assert due is not None
        assert clock.now() <= due <= clock.now() + timedelta(seconds=16)
        clock.move_to(due)
    assert clock.now() > ManualClock().now() + timedelta(seconds=1_000)


def test_the_same_seed_spreads_refusals_alike(tmp_path: Path, clock: ManualClock) -> None:
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        bus = LocalBus(str(tmp_path / name), clock, subscriptions=TOPICS, chaos=Chaos(seed))
        publish(bus, 1)
        bus.nack(lease(bus)[0])
        found.append(bus.next_due())
        bus.close()
    assert found[0] == found[1] != found[2]


def test_next_due_is_the_earliest_of_the_subscriptions_asked_for(build: Build, clock: ManualClock) -> None:
    bus = build(three_topics())
    assert bus.next_due() is None
    publish(bus, 1, topic="a")
    publish(bus, 1, topic="b")
    assert bus.next_due() == clock.now()
    lease(bus, 10, "sa")
    bus.nack(lease(bus, 10, "sb")[0], 5)
    assert bus.next_due() == bus.next_due(["sb"]) == clock.now() + timedelta(seconds=5)
    assert bus.next_due(["sa"]) == clock.now() + timedelta(seconds=30)
    assert bus.next_due(["sc"]) is None


def test_the_backlog_tells_due_later_and_leased_apart(bus: LocalBus) -> None:
    assert bus.backlog() == {}
    publish(bus, *range(6))
    for delivery in lease(bus, 3)[:2]:
        bus.nack(delivery, 60)
    assert bus.backlog() == {"work": {"due": 3, "later": 2, "leased": 1}}


# ---------------------------------------------------------------- dead letters


def test_a_dead_letter_tells_what_failed_where_and_why(bus: LocalBus, clock: ManualClock) -> None:
    payload = {"n": 2**63 - 1, "text": "東京"}
    bus.publish([Message("jobs", payload, {"kind": "image"})])
    errors = ["first", "second", "last"]
    for error in errors:
        (delivery,) = lease(bus)
        bus.nack(delivery, 0, error=error)
    assert lease(bus) == []
    (letter,) = lease(bus, 10, "morgue")
    assert letter.payload == payload
    assert (letter.topic, letter.attempt, letter.published_at) == ("dead", 1, clock.now())
    assert letter.attributes == {
        "kind": "image",
        "CloudPubSubDeadLetterSourceSubscription": "work",
        "CloudPubSubDeadLetterSourceDeliveryCount": "3",
        "error": "last",
    }
    assert letter.message_id != delivery.message_id


def test_a_message_that_is_never_answered_ends_as_a_dead_letter_too(bus: LocalBus, clock: ManualClock) -> None:
    publish(bus, 1, 2)
    for _ in range(3):
        assert len(lease(bus)) == 2
        clock.advance(30)
    assert lease(bus) == []
    letters = lease(bus, 10, "morgue")
    told = [(x.attributes["CloudPubSubDeadLetterSourceDeliveryCount"], x.attributes["error"]) for x in letters]
    assert told == [("3", NO_ANSWER)] * 2


def test_without_a_dead_letter_topic_a_message_is_tried_for_ever(bus: LocalBus) -> None:
    publish(bus, 1, topic="dead")
    for attempt in range(1, 20):
        (delivery,) = lease(bus, 10, "morgue")
        assert delivery.attempt == attempt
        bus.nack(delivery, 0)


def test_the_largest_message_still_fits_into_its_dead_letter(bus: LocalBus) -> None:
    text = "x" * (10_000_000 - len('{"n":""}'))
    bus.publish([Message("jobs", {"n": text})])
    for _ in range(3):
        bus.nack(lease(bus)[0], 0, error="e" * 100)
    assert lease(bus, 1, "morgue")[0].payload["n"] == text


# ---------------------------------------------------------------- wiring


@pytest.mark.parametrize(
    "topics",
    [
        {"jobs": [WORK]},
        {"jobs": [WORK, WORK], "dead": []},
        {"jobs": [], "dead": [WORK]},
    ],
)
def test_subscriptions_that_do_not_fit_together_are_refused(build: Build, topics: Any) -> None:
    with pytest.raises(SettingsError):
        build(topics)


def test_an_unknown_subscription_or_topic_is_named(bus: LocalBus) -> None:
    with pytest.raises(SettingsError, match="wrok"):
        bus.lease(["wrok"], 1)
    with pytest.raises(InvalidMessage, match="jbos"):
        publish(bus, 1, topic="jbos")


def test_a_closed_bus_is_unavailable(build: Build) -> None:
    bus = build()
    bus.close()
    with pytest.raises(StoreUnavailable):
        publish(bus, 1)


# ---------------------------------------------------------------- waiting


def test_waiting_ends_at_once_when_something_was_published_since_the_last_lease(bus: LocalBus) -> None:
    lease(bus)
    publish(bus, 1)
    assert bus.wait(60)
    assert numbers(lease(bus)) == [1]
    assert not bus.wait(0)


@pytest.mark.parametrize("what", ["publish", "nack", "wake"])
def test_a_waiting_thread_is_woken(bus: LocalBus, what: str) -> None:
    publish(bus, 1)
    (held,) = lease(bus)
    waiting = threading.Event()
    woken: list[bool] = []

    def wait() -> None:
        bus.lease([], 1)
        waiting.set()
        woken.append(bus.wait(60))

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait()
    if what == "publish":
        publish(bus, 2)
    elif what == "wake":
        bus.wake()
    else:
        bus.nack(held, 0)
    thread.join(30)
    assert woken == [True]


def test_two_workers_share_the_work_without_taking_anything_twice(bus: LocalBus) -> None:
    publish(bus, *range(400))
    taken: list[int] = []

    def work() -> None:
        while deliveries := lease(bus, 7):
            taken.extend(numbers(deliveries))
            bus.ack(deliveries)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(400))
    assert bus.backlog() == {}


# ---------------------------------------------------------------- crashes

TOPICS_CODE = """
import os, signal, sys
from shared.adapters.local_bus import LocalBus, Subscription
from shared.clock import ManualClock
from shared.ports import Message
topics = {"jobs": [Subscription("work", "jobs", 30, 3, 2, 16, "dead")], "dead": []}
bus = LocalBus(sys.argv[1], ManualClock(), subscriptions=topics)
bus.publish([Message("jobs", {"n": n}) for n in range(4)])
bus.ack(bus.lease(["work"], 1))
print(len(bus.lease(["work"], 2)), flush=True)
"""
KILLED = TOPICS_CODE + "os.kill(os.getpid(), signal.SIGKILL)\n"
STAYS = TOPICS_CODE + "sys.stdin.readline()\n"


def start(code: str, path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, str(path)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_what_a_killed_process_published_and_held_is_delivered_at_once_after_recovery(
    tmp_path: Path, build: Build
) -> None:
    assert start(KILLED, tmp_path / "bus.db").communicate()[0] == "2\n"
    bus = build()
    assert numbers(lease(bus)) == [3]
    assert bus.recover() == 2
    recovered = lease(bus)
    assert numbers(recovered) == [1, 2]
    assert [delivery.attempt for delivery in recovered] == [1, 1]


def test_being_killed_again_and_again_makes_no_dead_letter(tmp_path: Path, build: Build) -> None:
    bus = build()
    for round_number in range(1, 6):
        start(KILLED, tmp_path / "bus.db").communicate()
        assert bus.recover() == 2
        assert bus.backlog() == {"work": {"due": 3 * round_number, "later": 0, "leased": 0}}


def test_recovery_leaves_alone_what_living_processes_hold(tmp_path: Path, build: Build) -> None:
    bus = build()
    other = start(STAYS, tmp_path / "bus.db")
    assert other.stdout is not None
    assert other.stdout.readline() == "2\n"
    assert numbers(lease(bus)) == [3]
    assert bus.recover() == 0
    assert lease(bus) == []
    other.communicate("go\n")
    assert bus.recover() == 2


def test_messages_outlive_the_bus_that_took_them(build: Build) -> None:
    first = build()
    publish(first, 1, 2)
    first.close()
    assert numbers(lease(build())) == [1, 2]


# ---------------------------------------------------------------- faults on purpose


def test_without_chaos_nothing_is_duplicated_delayed_or_lost(bus: LocalBus) -> None:
    publish(bus, *range(100))
    deliveries = lease(bus)
    assert numbers(deliveries) == list(range(100))
    bus.ack(deliveries)
    assert bus.next_due() is None


def test_chaos_duplicates(build: Build) -> None:
    bus = build(chaos=Chaos(1, duplicate=0.5))
    publish(bus, *range(100))
    deliveries = lease(bus, 500)
    assert set(numbers(deliveries)) == set(range(100))
    assert 130 < len(deliveries) < 170
    assert len({delivery.message_id for delivery in deliveries}) == 100


def test_chaos_delays(build: Build, clock: ManualClock) -> None:
    bus = build(chaos=Chaos(1, delay=0.5, max_delay_s=10))
    publish(bus, *range(100))
    assert 30 < len(lease(bus)) < 70
    clock.advance(10)
    assert 30 < len(lease(bus)) < 70
    assert lease(bus) == []


def test_chaos_reorders(build: Build) -> None:
    bus = build(chaos=Chaos(1, reorder=0.5))
    publish(bus, *range(100))
    taken = numbers(lease(bus))
    assert taken != sorted(taken) == list(range(100))


def test_chaos_loses_acknowledgements(build: Build, clock: ManualClock) -> None:
    bus = build(chaos=Chaos(1, lose_ack=0.5, max_delay_s=10))
    publish(bus, *range(100))
    bus.ack(lease(bus))
    assert 30 < bus.backlog()["work"]["later"] < 70
    clock.advance(10)
    again = lease(bus)
    assert {delivery.attempt for delivery in again} == {2}
    bus.ack(again)
    assert bus.backlog()["work"]["later"] < len(again)


def test_the_same_seed_makes_the_same_chaos(tmp_path: Path) -> None:
    runs = []
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        clock = ManualClock()
        chaos = Chaos(seed, duplicate=0.2, delay=0.3, reorder=0.3, lose_ack=0.2)
        bus = LocalBus(str(tmp_path / name), clock, subscriptions=TOPICS, chaos=chaos)
        publish(bus, *range(30))
        taken: list[int] = []
        while (due := bus.next_due(["work"])) is not None:
            clock.move_to(due)
            deliveries = lease(bus, 3)
            taken += numbers(deliveries)
            bus.ack(deliveries)
        runs.append(json.dumps(taken))
        bus.close()
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("seed", range(5))
def test_whatever_chaos_does_every_message_is_delivered(build: Build, clock: ManualClock, seed: int) -> None:
    patient = {"jobs": [replace(WORK, max_deliveries=50)], "dead": [MORGUE]}
    bus = build(patient, chaos=Chaos(seed, duplicate=0.3, delay=0.3, reorder=0.3, lose_ack=0.3, max_delay_s=20))
    publish(bus, *range(50))
    seen: set[int] = set()
    while (due := bus.next_due()) is not None:
        clock.move_to(due)
        for delivery in lease(bus, 8):
            if (delivery.payload["n"] + delivery.attempt) % 3 == 0:
                bus.nack(delivery)
            else:
                seen.add(delivery.payload["n"])
                bus.ack([delivery])
    assert seen == set(range(50))
