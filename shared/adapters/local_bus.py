"""`EventBus` and its consumer side in a SQLite file: durable, at least once, a copy for every subscription."""

from __future__ import annotations

import itertools
import secrets
import sqlite3
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson

from shared.adapters import bus_table, message_rules
from shared.adapters.chaos import Chaos, Dice
from shared.adapters.local_process import owner_is_alive, process_owner
from shared.adapters.sqlite_file import SqliteFile
from shared.adapters.wiring import Subscription
from shared.errors import InvalidMessage, SettingsError
from shared.ports import Clock, Json, Message

NO_ANSWER = "no acknowledgement in time"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LEAST_STEP_S = 0.1  # so that a subscription without a minimum back-off still backs off


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its *attempt*-th delivery (from 1), to be acknowledged with its *token*."""

    message_id: str
    subscription: str
    topic: str
    payload: Json
    attributes: Mapping[str, str]
    attempt: int
    published_at: datetime
    token: str


class LocalBus:
    """Topics and subscriptions in the SQLite file *path*, shared by threads and processes.

    *subscriptions* names every topic; one with no subscription keeps nothing.

    Raises:
        SettingsError: a dead-letter topic is not among the topics, or a subscription is declared twice.
    """

    def __init__(
        self,
        path: str,
        clock: Clock,
        *,
        subscriptions: Mapping[str, Sequence[Subscription]],
        chaos: Chaos | None = None,
    ) -> None:
        self._clock = clock
        self._topics = {topic: tuple(consumers) for topic, consumers in subscriptions.items()}
        self._subscriptions = _by_name(self._topics)
        self._dice = Dice(chaos or Chaos(seed=0))  # thrown inside transactions only, so by one thread at a time
        self._owner = process_owner()
        self._turn = itertools.count()
        self._woken = threading.Condition()
        self._signals = 0
        self._seen = threading.local()
        self._file = SqliteFile(path)
        with self._file.write() as connection:
            bus_table.create(connection)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def publish(self, messages: Sequence[Message]) -> None:
        """Hand over *messages*, all or none. Raises InvalidMessage for an unknown topic or what the cloud refuses."""
        for message in messages:
            if message.topic not in self._topics:
                raise InvalidMessage(f"there is no topic {message.topic!r}")
        payloads = [message_rules.encode(message) for message in messages]
        with self._file.write() as connection:
            now = self._now()
            for message, payload in zip(messages, payloads, strict=True):
                self._fan_out(connection, message, payload, now)
        self._signal(len(messages))

    def lease(self, subscription_names: Sequence[str], limit: int) -> list[Delivery]:
        """Return at most *limit* deliveries, taking turns between subscriptions, in each the longest due first.

        A delivery that is not acknowledged within its subscription's deadline comes again. Raises SettingsError for
        an unknown subscription.
        """
        self._seen.signals = self._signals
        subscriptions = [self._subscription(name) for name in self._rotated(subscription_names)]
        token = secrets.token_hex(8)
        with self._file.write() as connection:
            now = self._now()
            found = bus_table.due(connection, [subscription.name for subscription in subscriptions], now, limit)
            due = [[(row, consumer) for row in rows] for rows, consumer in zip(found, subscriptions, strict=True)]
            rows = [self._lease_one(connection, *chosen, token, now) for chosen in _in_turns(due)[:limit]]
        return [_delivery(row, token) for row in rows if row is not None]

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Be done with *deliveries*; one whose lease is no longer its own is left as it is."""
        if not deliveries:
            return
        leases = [_lease_of(delivery) for delivery in deliveries]
        with self._file.write() as connection:
            bus_table.delete(connection, [lease for lease in leases if not self._lose(connection, *lease)])

    def nack(self, delivery: Delivery, delay_s: float | None = None, *, error: str = "") -> None:
        """Have a message delivered again, after *delay_s* or a back-off, or move it to the dead-letter topic.

        *error* is kept for the dead letter. Nothing happens when the lease is no longer the delivery's own.
        """
        with self._file.write() as connection:
            row = bus_table.find(connection, *_lease_of(delivery))
            if row is None:
                return
            subscription = self._subscription(row.subscription)
            if subscription.dead_letter_topic is not None and row.attempt >= subscription.max_deliveries:
                self._bury(connection, row, _lease_of(delivery)[1], row.attempt, error)
            else:
                wait_s = self._backoff_s(subscription, row.attempt) if delay_s is None else max(0.0, delay_s)
                bus_table.give_back(connection, row.id, self._now() + _microseconds(wait_s), error)
        self._signal(1)

    def recover(self) -> int:
        """Free at once what dead processes of this machine hold, and return how many messages these were.

        Such a delivery does not count: it was the process that failed, not the message.
        """
        with self._file.write() as connection:
            dead = [owner for owner in bus_table.owners(connection) if not owner_is_alive(owner)]
            freed = sum(bus_table.free(connection, owner, self._now()) for owner in dead)
        self._signal(freed)
        return freed

    def next_due(self, subscription_names: Sequence[str] | None = None) -> datetime | None:
        """Return when the next delivery is possible, a time past when one is now; None when there is nothing.

        Looks at all subscriptions, or at those named: one that nobody consumes is always due.
        """
        names = tuple(self._subscriptions) if subscription_names is None else subscription_names
        with self._file.read() as connection:
            time = bus_table.first_due(connection, names)
        return None if time is None else _EPOCH + time * _MICROSECOND

    def backlog(self) -> dict[str, dict[str, int]]:
        """Return how many messages are "due", are due "later" and are "leased", for each subscription with any."""
        with self._file.read() as connection:
            return bus_table.backlog(connection, self._now())

    def wait(self, timeout_s: float) -> bool:
        """Wait for something to happen on the bus since this thread's last `lease`; False after *timeout_s*.

        Only what this process does wakes it; another's messages are found when the time is up.
        """
        seen = getattr(self._seen, "signals", self._signals)
        with self._woken:
            return self._woken.wait_for(lambda: self._signals != seen, timeout_s)

    def wake(self) -> None:
        """End every `wait`."""
        with self._woken:
            self._signals += 1
            self._woken.notify_all()

    def _signal(self, count: int) -> None:
        if count:
            with self._woken:
                self._signals += 1
                self._woken.notify(count)

    def _now(self) -> int:
        return (self._clock.now() - _EPOCH) // _MICROSECOND

    def _subscription(self, name: str) -> Subscription:
        if name not in self._subscriptions:
            raise SettingsError(f"there is no subscription {name!r}")
        return self._subscriptions[name]

    def _rotated(self, names: Sequence[str]) -> list[str]:
        """Begin with another subscription each time, so that none is last for ever."""
        start = next(self._turn) % max(1, len(names))
        return [*names[start:], *names[:start]]

    def _fan_out(self, connection: sqlite3.Connection, message: Message, payload: str, now: int) -> None:
        attributes = message_rules.compact(dict(message.attributes))
        content = (uuid.uuid4().hex, message.topic, now, attributes, payload)
        for subscription in self._topics[message.topic]:
            for _ in range(self._dice.copies()):
                bus_table.insert(connection, subscription.name, now + _microseconds(self._dice.shift_s()), content)

    def _lease_one(
        self, connection: sqlite3.Connection, row_id: int, subscription: Subscription, token: str, now: int
    ) -> bus_table.Row | None:
        """Lease a row; None when it has had its deliveries and went to the dead-letter topic instead."""
        until = now + _microseconds(subscription.ack_deadline_s)
        row = bus_table.lease(connection, row_id, until, token, self._owner)
        if subscription.dead_letter_topic is None or row.attempt <= subscription.max_deliveries:
            return row
        self._bury(connection, row, token, row.attempt - 1, row.error or NO_ANSWER)
        return None

    def _bury(
        self, connection: sqlite3.Connection, row: bus_table.Row, token: str, deliveries: int, error: str
    ) -> None:
        """Move a message to the dead-letter topic of its subscription, with the attributes that Pub/Sub adds.

        Source: cloud.google.com/pubsub/docs/handling-failures#track-delivery-attempts. `error` is our own.
        """
        topic = self._subscription(row.subscription).dead_letter_topic
        attributes = {
            **orjson.loads(row.attributes),
            "CloudPubSubDeadLetterSourceSubscription": row.subscription,
            "CloudPubSubDeadLetterSourceDeliveryCount": str(deliveries),
            "error": error[:200],
        }
        message = Message(str(topic), orjson.loads(row.payload), attributes)
        self._fan_out(connection, message, row.payload, self._now())
        bus_table.delete(connection, [(row.id, token)])

    def _lose(self, connection: sqlite3.Connection, row_id: int, token: str) -> bool:
        """Lose an acknowledgement, if the dice say so: the lease ends soon and the message comes again."""
        if not self._dice.loses_ack() or bus_table.find(connection, row_id, token) is None:
            return False
        bus_table.give_back(connection, row_id, self._now() + _microseconds(self._dice.delay_s()), NO_ANSWER)
        return True

    def _backoff_s(self, subscription: Subscription, attempt: int) -> float:
        """Return a wait drawn evenly from the least to what doubling with every delivery has reached."""
        least = subscription.min_backoff_s
        reached = max(least, _LEAST_STEP_S) * 2 ** min(attempt, 30)
        return self._dice.backoff_s(least, min(subscription.max_backoff_s, reached))


def _by_name(topics: Mapping[str, Sequence[Subscription]]) -> dict[str, Subscription]:
    """Index the subscriptions and check that they fit together. Raises SettingsError."""
    found: dict[str, Subscription] = {}
    for topic, consumers in topics.items():
        for subscription in consumers:
            if subscription.name in found or subscription.topic != topic:
                raise SettingsError(f"the subscription {subscription.name!r} is declared twice or under another topic")
            if subscription.dead_letter_topic is not None and subscription.dead_letter_topic not in topics:
                raise SettingsError(f"there is no dead-letter topic {subscription.dead_letter_topic!r}")
            found[subscription.name] = subscription
    return found


def _in_turns(due: Sequence[Sequence[tuple[int, Subscription]]]) -> list[tuple[int, Subscription]]:
    """Take the first of each, then the second of each, and so on."""
    rounds = itertools.chain.from_iterable(itertools.zip_longest(*due))
    return [chosen for chosen in rounds if chosen is not None]


def _delivery(row: bus_table.Row, token: str) -> Delivery:
    return Delivery(
        message_id=row.message_id,
        subscription=row.subscription,
        topic=row.topic,
        payload=orjson.loads(row.payload),
        attributes=orjson.loads(row.attributes),
        attempt=row.attempt,
        published_at=_EPOCH + row.published_at * _MICROSECOND,
        token=f"{row.id}:{token}",
    )


def _lease_of(delivery: Delivery) -> tuple[int, str]:
    row, _, token = delivery.token.partition(":")
    return int(row), token


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)
