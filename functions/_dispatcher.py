"""Pushes messages of the Pub/Sub emulator to the functions, with as many in flight as Pub/Sub itself would have.

The emulator pushes at most two at a time per subscription and leaves `deliveryAttempt` out. Here a thread per
subscription pulls, others POST what production would (cloud.google.com/pubsub/docs/push), and one gives the answers
back in batches. Attempts, dead letters and back-offs are the emulator's own business, but for the first back-off: it
delivers the second time at once, whatever the retry policy.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from queue import SimpleQueue

from functions._push import ACKS, Connection, push_body
from shared.adapters import wiring
from shared.adapters.chaos import Chaos, Dice
from shared.adapters.pubsub_pull import PubSubConsumer, Received
from shared.adapters.wiring import Subscription
from shared.errors import SettingsError, StoreUnavailable
from shared.log import log

_Work = Callable[["_Lane", Connection], None]

PULL_WAIT_S = 60.0
MAX_PULL = 100
PAUSE_S = 0.5  # after a pull that failed
FRESH_S = 1.0  # a lease younger than this is as good as new
SPARE_S = 10.0
MAX_LEASE_S = 600


@dataclass(frozen=True, slots=True)
class _Push:
    """A message on its way to a function; nobody waits for the answer to a *copy*."""

    ack_id: str
    body: bytes
    attempt: int
    pulled_at: float
    holds_slot: bool = True
    is_copy: bool = False


@dataclass(frozen=True, slots=True)
class _Answer:
    """What Pub/Sub is to be told: a new lease of so many seconds, 0 for a nack, None for an ack."""

    ack_id: str
    lease_s: int | None


class Dispatcher:
    """Delivers what is published in *project* of the emulator, from `start` to `stop`.

    *endpoints* maps names of functions, each with a pull subscription of its name, to their URLs. A function gets as
    many messages at once as *instances* of it take together. *chaos* makes deliveries late, twice and again; a copy
    that is late is overtaken by others, which is all that `reorder` can mean here.

    Raises:
        SettingsError: an endpoint is none of a function that consumes a topic.
    """

    def __init__(
        self, project: str, endpoints: Mapping[str, str], *, instances: int = 4, chaos: Chaos | None = None
    ) -> None:
        self._chaos = _Chances(chaos or Chaos(seed=0))
        self._consumer = PubSubConsumer(project)
        self._answers = _Answers(self._consumer)
        self._stopping = threading.Event()
        rows, subscriptions = wiring.functions(), _consumers()
        if unknown := endpoints.keys() - subscriptions.keys():
            self._consumer.close()
            raise SettingsError(f"no function that consumes a topic: {', '.join(sorted(unknown))}")
        self._lanes = [
            _Lane(subscriptions[name], url, int(rows[name]["concurrency"]) * instances, self._work)
            for name, url in endpoints.items()
        ]
        self._pullers = [
            threading.Thread(target=self._pull, args=(lane,), name=f"pull-{lane.name}", daemon=True)
            for lane in self._lanes
        ]

    def start(self) -> None:
        """Begin to deliver."""
        self._answers.start()
        for puller in self._pullers:
            puller.start()

    def stop(self) -> None:
        """Hang up on the functions, give back what they have not answered, and end every thread; only once."""
        self._stopping.set()
        self._consumer.interrupt()
        for lane in self._lanes:
            lane.slots.release()
        for puller in self._pullers:
            puller.join()
        self._answers.hurry()
        for lane in self._lanes:
            lane.stop()
        self._answers.stop()
        self._consumer.close()

    def _pull(self, lane: _Lane) -> None:
        failing = False
        while True:
            room = lane.take_slots()
            if self._stopping.is_set():
                return
            found: list[Received] = []
            try:
                found = self._consumer.pull(lane.name, room, PULL_WAIT_S)
                failing = False
            except StoreUnavailable as error:
                if not failing:
                    log.warning("dispatcher.paused", extra={"subscription": lane.name, "reason": str(error)})
                failing = True
                self._stopping.wait(PAUSE_S)
            except ValueError:  # gRPC's way to say that `interrupt` came first
                if not self._stopping.is_set():
                    raise
            lane.give_back_slots(room - len(found))
            for received in found:
                self._dispatch(lane, received)

    def _dispatch(self, lane: _Lane, received: Received) -> None:
        """Hand a message to the function's workers: now or, by chaos, late, and perhaps a second time."""
        now = time.monotonic()
        body = push_body(received, self._consumer.path(lane.name))
        push = _Push(received.ack_id, body, max(1, received.attempt), now)
        late_s, *copies_s = self._chaos.lateness_s()
        if late_s > 0:
            lane.slots.release()  # else the late ones would keep the others from coming
            self._answers.later(late_s, lane, replace(push, holds_slot=False))
        else:
            lane.hand_over(push)
        for copy_s in copies_s:
            self._answers.later(copy_s, lane, replace(push, holds_slot=False, is_copy=True))

    def _work(self, lane: _Lane, connection: Connection) -> None:
        while (push := lane.pushes.get()) is not None:
            self._push(lane, connection, push)
        connection.close()

    def _push(self, lane: _Lane, connection: Connection, push: _Push) -> None:
        """POST a message and pass the answer on."""
        if time.monotonic() - push.pulled_at > FRESH_S:
            self._lease(lane, push, lane.ack_deadline_s)
        is_ack = not self._stopping.is_set() and connection.post(push.body) in ACKS
        if push.holds_slot:
            lane.slots.release()
        if push.is_copy:
            return
        lost_s = self._chaos.lost_ack_s() if is_ack else None
        if is_ack and lost_s is None:
            self._answers.later(0.0, lane, _Answer(push.ack_id, None))
            return
        wait_s = self._backoff_s(lane, push) if lost_s is None else lost_s
        if time.monotonic() + wait_s + SPARE_S > push.pulled_at + lane.ack_deadline_s:
            self._lease(lane, push, wait_s + SPARE_S)
        self._answers.later(wait_s, lane, _Answer(push.ack_id, 0))

    def _backoff_s(self, lane: _Lane, push: _Push) -> float:
        least_s = lane.min_backoff_s
        return self._chaos.between_s(least_s, min(lane.max_backoff_s, 2 * least_s)) if push.attempt == 1 else 0.0

    def _lease(self, lane: _Lane, push: _Push, seconds: float) -> None:
        self._answers.later(0.0, lane, _Answer(push.ack_id, min(MAX_LEASE_S, round(seconds))))


class _Lane:
    """One subscription: the messages that were pulled, the workers that POST them, and how many it may be at once."""

    def __init__(self, subscription: Subscription, url: str, limit: int, work: _Work) -> None:
        self.name = subscription.name
        self.ack_deadline_s = subscription.ack_deadline_s
        self.min_backoff_s, self.max_backoff_s = subscription.min_backoff_s, subscription.max_backoff_s
        self.slots = threading.Semaphore(limit)
        self.pushes: SimpleQueue[_Push | None] = SimpleQueue()
        self._url, self._limit, self._do_work = url, limit, work
        self._workers: list[tuple[threading.Thread, Connection]] = []
        self._lock = threading.Lock()
        self._stopped = False

    def take_slots(self) -> int:
        """Wait for a message to be wanted; return how many are, and count them as in flight."""
        self.slots.acquire()
        room = 1
        while room < MAX_PULL and self.slots.acquire(blocking=False):
            room += 1
        return room

    def give_back_slots(self, count: int) -> None:
        """Count so many fewer as in flight."""
        if count > 0:
            self.slots.release(count)

    def hand_over(self, push: _Push) -> None:
        """Have a worker POST a message; there are only as many workers as were ever needed at once."""
        self.pushes.put(push)
        with self._lock:
            if not self._stopped and not self.pushes.empty() and len(self._workers) < self._limit:
                connection = Connection(self._url, self.ack_deadline_s)
                worker = threading.Thread(
                    target=self._do_work, args=(self, connection), name=f"push-{self.name}", daemon=True
                )
                self._workers.append((worker, connection))
                worker.start()

    def stop(self) -> None:
        """Hang up and end the workers."""
        with self._lock:
            self._stopped = True
        for _, connection in self._workers:
            connection.interrupt()
        for _ in self._workers:
            self.pushes.put(None)
        for worker, _ in self._workers:
            worker.join()


class _Answers:
    """A thread that does things when they are due: gives answers to Pub/Sub, many in one call, and messages to lanes.

    Answers that cannot be given are dropped: the leases end, and the messages come again.
    """

    def __init__(self, consumer: PubSubConsumer) -> None:
        self._consumer = consumer
        self._heap: list[tuple[float, int, _Lane, _Push | _Answer]] = []
        self._numbers = itertools.count()  # no two entries compare beyond it
        self._changed = threading.Condition()
        self._hurrying = self._closing = False
        self._thread = threading.Thread(target=self._run, name="answers", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def later(self, seconds: float, lane: _Lane, what: _Push | _Answer) -> None:
        """Do something in so many seconds."""
        with self._changed:
            heapq.heappush(self._heap, (time.monotonic() + seconds, next(self._numbers), lane, what))
            if self._heap[0][3] is what:
                self._changed.notify()

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

    def _run(self) -> None:
        while due := self._due():
            answers: dict[tuple[str, int | None], list[str]] = defaultdict(list)
            for lane, what in due:
                if isinstance(what, _Answer):
                    answers[lane.name, what.lease_s].append(what.ack_id)
                elif not self._hurrying:
                    lane.hand_over(what)
                elif not what.is_copy:
                    answers[lane.name, 0].append(what.ack_id)
            for (subscription, lease_s), ack_ids in answers.items():
                self._give(subscription, lease_s, ack_ids)

    def _due(self) -> list[tuple[_Lane, _Push | _Answer]]:
        """Wait for what is due; nothing when this is the end."""
        with self._changed:
            while not self._closing and not self._is_due():
                self._changed.wait(self._heap[0][0] - time.monotonic() if self._heap else None)
            due = []
            while self._is_due():
                _, _, lane, what = heapq.heappop(self._heap)
                due.append((lane, what))
            return due

    def _is_due(self) -> bool:
        return bool(self._heap) and (self._hurrying or self._heap[0][0] <= time.monotonic())

    def _give(self, subscription: str, lease_s: int | None, ack_ids: list[str]) -> None:
        try:
            if lease_s is None:
                self._consumer.acknowledge(subscription, ack_ids)
            else:
                self._consumer.lease(subscription, ack_ids, lease_s)
        except StoreUnavailable as error:
            log.warning("dispatcher.answers_lost", extra={"subscription": subscription, "reason": str(error)})


class _Chances:
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


def _consumers() -> dict[str, Subscription]:
    """Return the subscription of every function."""
    rows = wiring.functions()
    return {s.name: s for subscriptions in wiring.subscriptions().values() for s in subscriptions if s.name in rows}
