"""When the dispatcher does what: answers to Pub/Sub in batches, late messages at their time, and the dice of chaos."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from shared.adapters.chaos import Chaos, Dice
from shared.adapters.pubsub_pull import MAX_ACK_DEADLINE_S, PubSubConsumer
from shared.errors import StoreUnavailable
from shared.log import log


@dataclass(frozen=True, slots=True)
class Push:
    """A message on its way to a function; nobody waits for the answer to a *copy*."""

    subscription: str
    ack_id: str
    body: bytes
    attempt: int
    pulled_at: float
    holds_slot: bool = True
    is_copy: bool = False


@dataclass(frozen=True, slots=True)
class _Answer:
    """What Pub/Sub is to be told of some messages of a subscription; *seconds* belong to a new deadline."""

    subscription: str
    kind: Literal["acknowledge", "nack", "modify_ack_deadline"]
    seconds: int = 0


class Schedule:
    """A thread that does things when they are due: answers Pub/Sub, many messages in a call, and delivers late ones.

    Answers that cannot be given are dropped: the leases end, and the messages come again.
    """

    def __init__(self, consumer: PubSubConsumer, deliver: Callable[[Push], None]) -> None:
        self._consumer = consumer
        self._deliver = deliver
        self._heap: list[tuple[float, int, Push, _Answer | None]] = []  # without an answer, it is to be delivered
        self._numbers = itertools.count()  # no two entries compare beyond it
        self._changed = threading.Condition()
        self._hurrying = self._closing = False
        self._thread = threading.Thread(target=self._run, name="schedule", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def acknowledge(self, push: Push) -> None:
        """Be done with a message."""
        self._add(0.0, push, _Answer(push.subscription, "acknowledge"))

    def nack(self, push: Push, after_s: float) -> None:
        """Give a message back in so many seconds."""
        self._add(after_s, push, _Answer(push.subscription, "nack"))

    def modify_ack_deadline(self, push: Push, seconds: float) -> None:
        """Have a message leased for so many seconds from now, or as many as Pub/Sub allows."""
        deadline_s = min(MAX_ACK_DEADLINE_S, round(seconds))
        self._add(0.0, push, _Answer(push.subscription, "modify_ack_deadline", deadline_s))

    def deliver(self, push: Push, after_s: float) -> None:
        """Deliver a message in so many seconds."""
        self._add(after_s, push, None)

    def hurry(self) -> None:
        """From now on, give every answer at once, and give back the messages that were to come late."""
        with self._changed:
            self._hurrying = True
            self._changed.notify()

    def stop(self) -> None:
        """Give the last answers and end."""
        with self._changed:
            self._closing = self._hurrying = True
            self._changed.notify()
        self._thread.join()

    def _add(self, after_s: float, push: Push, answer: _Answer | None) -> None:
        with self._changed:
            number = next(self._numbers)
            heapq.heappush(self._heap, (time.monotonic() + after_s, number, push, answer))
            if self._heap[0][1] == number:
                self._changed.notify()

    def _run(self) -> None:
        while due := self._due():
            answers: dict[_Answer, list[str]] = defaultdict(list)
            for push, answer in due:
                if answer is not None:
                    answers[answer].append(push.ack_id)
                elif not self._hurrying:
                    self._deliver(push)
                elif not push.is_copy:
                    answers[_Answer(push.subscription, "nack")].append(push.ack_id)
            for answer, ack_ids in answers.items():
                self._give(answer, ack_ids)

    def _due(self) -> list[tuple[Push, _Answer | None]]:
        """Wait for what is due; nothing when this is the end."""
        with self._changed:
            while not self._closing and not self._is_due():
                self._changed.wait(self._heap[0][0] - time.monotonic() if self._heap else None)
            due = []
            while self._is_due():
                _, _, push, answer = heapq.heappop(self._heap)
                due.append((push, answer))
            return due

    def _is_due(self) -> bool:
        return bool(self._heap) and (self._hurrying or self._heap[0][0] <= time.monotonic())

    def _give(self, answer: _Answer, ack_ids: list[str]) -> None:
        try:
            if answer.kind == "acknowledge":
                self._consumer.acknowledge(answer.subscription, ack_ids)
            elif answer.kind == "nack":
                self._consumer.nack(answer.subscription, ack_ids)
            else:
                self._consumer.modify_ack_deadline(answer.subscription, ack_ids, answer.seconds)
        except StoreUnavailable as error:
            log.warning("dispatcher.answers_lost", extra={"subscription": answer.subscription, "reason": str(error)})


class Chances:
    """Dice that several threads throw."""

    def __init__(self, chaos: Chaos) -> None:
        self._dice = Dice(chaos)
        self._lock = threading.Lock()

    def lateness_s(self) -> list[float]:
        """Return by how much a message comes late, and each further copy of it."""
        with self._lock:
            return [abs(self._dice.shift_s()) for _ in range(self._dice.copies())]

    def lost_ack_s(self) -> float | None:
        """Return after what time a message comes again whose acknowledgement is lost; None when it is not."""
        with self._lock:
            return self._dice.delay_s() if self._dice.loses_ack() else None

    def between_s(self, least_s: float, most_s: float) -> float:
        """Return a wait between two bounds."""
        with self._lock:
            return self._dice.backoff_s(least_s, most_s)
