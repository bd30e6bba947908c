"""What every bus does, whatever is behind it. Delivery is at least once, so nothing here counts deliveries exactly."""

from __future__ import annotations

import pytest

from shared.errors import InvalidMessage, PipelineError
from shared.ports import Json, Message

from .conftest import MAX_DELIVERIES, Bench, Together

PAYLOAD: Json = {
    "text": 'Zürich 東京 🎨 \u0000 " \\ \n',
    "largest": 2**63 - 1,
    "smallest": -(2**63),
    "exact": 9_007_199_254_740_993,
    "fraction": 0.1,
    "nested": {"array": [None, True, [1, [2]], {}]},
    "": "empty name",
}


def numbers(bench: Bench, subscription: str) -> set[int]:
    """Take and acknowledge until nothing comes; return the "n" of every payload."""
    found = set()
    while deliveries := bench.take(subscription):
        found |= {delivery.payload["n"] for delivery in deliveries}
        bench.ack(deliveries)
    return found


def test_every_subscription_gets_every_message(bench: Bench) -> None:
    bench.bus.publish([Message("work", {"n": n}) for n in range(100)])
    bench.bus.publish([Message("work", {"n": 100})])
    assert numbers(bench, "left") == set(range(101))
    assert numbers(bench, "right") == set(range(101))


def test_a_message_arrives_as_it_was_published(bench: Bench) -> None:
    attributes = {"kind": "image", "name": "東京", "empty": "", "x" * 256: "y" * 1_024}
    bench.bus.publish([Message("work", PAYLOAD, attributes)])
    for subscription in ("left", "right"):
        delivery = bench.take(subscription)[0]
        assert delivery.payload == PAYLOAD
        assert [type(value) for value in delivery.payload.values()] == [type(value) for value in PAYLOAD.values()]
        assert {key: delivery.attributes[key] for key in attributes} == attributes
        assert (delivery.topic, delivery.subscription, delivery.attempt) == ("work", subscription, 1)


def test_messages_have_ids_of_their_own_and_keep_them_across_subscriptions(bench: Bench) -> None:
    bench.bus.publish([Message("work", {"n": 1})] * 10)
    ids = [{delivery.message_id for delivery in bench.take(name)} for name in ("left", "right")]
    assert len(ids[0]) == 10
    assert ids[0] == ids[1]


def test_what_is_acknowledged_by_one_subscription_still_reaches_the_other(bench: Bench) -> None:
    bench.bus.publish([Message("work", {"n": 1})])
    assert numbers(bench, "left") == {1}
    assert numbers(bench, "left") == set()
    assert numbers(bench, "right") == {1}


def test_a_refused_message_comes_again(bench: Bench) -> None:
    bench.bus.publish([Message("work", PAYLOAD, {"kind": "image"})])
    first = bench.take("left")[0]
    bench.nack(first)
    again = bench.take("left")[0]
    assert (again.message_id, again.payload, again.attributes["kind"]) == (first.message_id, PAYLOAD, "image")
    assert again.attempt == 2
    bench.ack([again])
    assert bench.take("left") == []


def test_a_message_never_acknowledged_comes_again(bench: Bench) -> None:
    bench.bus.publish([Message("work", {"n": 1})])
    first = bench.take("left")[0]
    again = bench.take("left")[0]
    assert again.message_id == first.message_id
    assert again.attempt == 2


def test_a_refused_message_does_not_hold_up_the_others(bench: Bench) -> None:
    bench.bus.publish([Message("work", {"n": n}) for n in range(10)])
    seen = set()
    while deliveries := bench.take("left"):
        for delivery in deliveries:
            seen.add(delivery.payload["n"])
            if delivery.payload["n"] == 0:
                bench.nack(delivery)
            else:
                bench.ack([delivery])
    assert seen == set(range(10))


def test_a_message_goes_to_the_dead_letter_topic_after_its_deliveries(bench: Bench) -> None:
    bench.bus.publish([Message("work", {"n": 1})])
    attempts = []
    while deliveries := bench.take("left"):
        for delivery in deliveries:
            attempts.append(delivery.attempt)
            bench.nack(delivery)
    assert attempts == list(range(1, MAX_DELIVERIES + 1))
    assert len(bench.take("morgue")) == 1
    assert numbers(bench, "right") == {1}


def test_a_topic_without_a_subscription_keeps_nothing(bench: Bench) -> None:
    bench.bus.publish([Message("lonely", {"n": 1})])
    assert bench.take("left") == []


def test_publishing_nothing_is_no_error(bench: Bench) -> None:
    bench.bus.publish([])
    assert bench.take("left") == []


def test_publishing_from_many_threads_loses_nothing(bench: Bench, together: Together) -> None:
    def publish_ten(thread: int) -> None:
        for n in range(10):
            bench.bus.publish([Message("work", {"n": thread * 100 + n})])

    together(8, publish_ten)
    assert numbers(bench, "left") == {thread * 100 + n for thread in range(8) for n in range(10)}


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(Message("work", {"n": float("nan")}), id="NaN"),
        pytest.param(Message("work", {"n": b"bytes"}), id="bytes"),
        pytest.param(Message("work", {"n": "\ud800"}), id="half a surrogate pair"),
        pytest.param(Message("work", {"n": "x" * 10_000_000}), id="over 10 MB"),
        pytest.param(Message("work", {}, {"": "x"}), id="empty key"),
        pytest.param(Message("work", {}, {"x" * 257: "x"}), id="long key"),
        pytest.param(Message("work", {}, {"x": "x" * 1_025}), id="long value"),
        pytest.param(Message("work", {}, {"x": "é" * 513}), id="value of too many bytes"),
        pytest.param(Message("work", {}, {"x": "\ud800"}), id="value not UTF-8"),
        pytest.param(Message("work", {}, {"googclient_x": "x"}), id="reserved key"),
        pytest.param(Message("work", {}, {str(n): "x" for n in range(101)}), id="101 attributes"),
    ],
)
def test_an_impossible_message_is_refused_and_so_is_its_list(bench: Bench, message: Message) -> None:
    with pytest.raises(InvalidMessage):
        bench.bus.publish([Message("work", {"n": 1}), message])
    assert bench.take("left") == []


def test_an_unknown_topic_is_an_error(bench: Bench) -> None:
    with pytest.raises(PipelineError, match="nowhere"):
        bench.bus.publish([Message("nowhere", {})])
