"""Pushes messages of the Pub/Sub emulator to the functions, with as many in flight as Pub/Sub itself would have.

The emulator pushes at most two at a time per subscription and leaves `deliveryAttempt` out. Here a thread per
subscription pulls, others POST what production would (cloud.google.com/pubsub/docs/push), and one gives the answers
back in batches. Attempts, dead letters and back-offs are the emulator's own business, but for the first back-off: it
delivers the second time at once, whatever the retry policy.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from queue import SimpleQueue

from functions._emulated.push import ACKS, Connection, push_body
from functions._emulated.schedule import Chances, Push, Schedule
from shared.adapters import wiring
from shared.adapters.chaos import Chaos
from shared.adapters.pubsub_pull import PubSubConsumer, Received
from shared.adapters.wiring import Subscription
from shared.errors import SettingsError, StoreUnavailable
from shared.log import log

_Work = Callable[["_PushSubscription", Connection], None]

PULL_WAIT_S = 60.0
MAX_PULL = 100
PAUSE_S = 0.5  # after a pull that failed
FRESH_S = 1.0  # a lease younger than this is as good as new
SPARE_S = 10.0


class Dispatcher:
    """Delivers what is published in *project* of the emulator, from `start` to `stop`.

    *endpoints* maps names of functions, each with a pull subscription of its name, to their URLs. A function gets as
    many messages at once as *instances* of it take together. *chaos* makes deliveries late, twice and again; a copy
    that is late is overtaken by others, which is all that `reorder` can mean here.

    Raises:
        SettingsError: an endpoint is none of a function that consumes a topic.
    """

    def __init__(
        self, project: str, endpoints: Mapping[str, str], *, instances: int = 1, chaos: Chaos | None = None
    ) -> None:
        self._chaos = Chances(chaos or Chaos(seed=0))
        self._consumer = PubSubConsumer(project)
        self._schedule = Schedule(self._consumer, self._deliver)
        self._stopping = threading.Event()
        rows, declared = wiring.functions(), _consumers()
        if unknown := endpoints.keys() - declared.keys():
            self._consumer.close()
            raise SettingsError(f"no function that consumes a topic: {', '.join(sorted(unknown))}")
        self._subscriptions = {
            name: _PushSubscription(declared[name], url, int(rows[name]["concurrency"]) * instances, self._work)
            for name, url in endpoints.items()
        }
        self._pullers = [
            threading.Thread(target=self._pull, args=(subscription,), name=f"pull-{name}", daemon=True)
            for name, subscription in self._subscriptions.items()
        ]

    def start(self) -> None:
        """Begin to deliver."""
        self._schedule.start()
        for puller in self._pullers:
            puller.start()

    def stop(self) -> None:
        """Hang up on the functions, give back what they have not answered, and end every thread; only once."""
        self._stopping.set()
        self._consumer.interrupt()
        for subscription in self._subscriptions.values():
            subscription.slots.release()
        for puller in self._pullers:
            puller.join()
        self._schedule.hurry()
        for subscription in self._subscriptions.values():
            subscription.stop()
        self._schedule.stop()
        self._consumer.close()

    def _pull(self, subscription: _PushSubscription) -> None:
        failing = False
        while True:
            room = subscription.take_slots()
            if self._stopping.is_set():
                return
            found: list[Received] = []
            try:
                found = self._consumer.pull(subscription.name, room, PULL_WAIT_S)
                failing = False
            except StoreUnavailable as error:
                if not failing:
                    log.warning("dispatcher.paused", extra={"subscription": subscription.name, "reason": str(error)})
                failing = True
                self._stopping.wait(PAUSE_S)
            except ValueError:  # gRPC's way to say that `interrupt` came first
                if not self._stopping.is_set():
                    raise
            subscription.give_back_slots(room - len(found))
            for received in found:
                self._dispatch(subscription, received)

    def _dispatch(self, subscription: _PushSubscription, received: Received) -> None:
        """Hand a message to the function's workers: now or, by chaos, late, and perhaps a second time."""
        now = time.monotonic()
        body = push_body(received, self._consumer.path(subscription.name))
        push = Push(subscription.name, received.ack_id, body, max(1, received.attempt), now)
        late_s, *copies_s = self._chaos.lateness_s()
        if late_s > 0:
            subscription.slots.release()  # else the late ones would keep the others from coming
            self._schedule.deliver(replace(push, holds_slot=False), late_s)
        else:
            subscription.hand_over(push)
        for copy_s in copies_s:
            self._schedule.deliver(replace(push, holds_slot=False, is_copy=True), copy_s)

    def _deliver(self, push: Push) -> None:
        self._subscriptions[push.subscription].hand_over(push)

    def _work(self, subscription: _PushSubscription, connection: Connection) -> None:
        while (push := subscription.pushes.get()) is not None:
            self._push(subscription, connection, push)
        connection.close()

    def _push(self, subscription: _PushSubscription, connection: Connection, push: Push) -> None:
        """POST a message and pass the answer on."""
        if time.monotonic() - push.pulled_at > FRESH_S:
            self._schedule.modify_ack_deadline(push, subscription.ack_deadline_s)
        is_ack = not self._stopping.is_set() and connection.post(push.body) in ACKS
        if push.holds_slot:
            subscription.slots.release()
        if push.is_copy:
            return
        lost_s = self._chaos.lost_ack_s() if is_ack else None
        if is_ack and lost_s is None:
            self._schedule.acknowledge(push)
            return
        wait_s = self._backoff_s(subscription, push) if lost_s is None else lost_s
        if time.monotonic() + wait_s + SPARE_S > push.pulled_at + subscription.ack_deadline_s:
            self._schedule.modify_ack_deadline(push, wait_s + SPARE_S)
        self._schedule.nack(push, wait_s)

    def _backoff_s(self, subscription: _PushSubscription, push: Push) -> float:
        if push.attempt > 1:
            return 0.0
        least_s = subscription.min_backoff_s
        return self._chaos.between_s(least_s, min(subscription.max_backoff_s, 2 * least_s))


class _PushSubscription:
    """A subscription as if it were a push one: what was pulled, the workers that POST it, how many may be in flight."""

    def __init__(self, subscription: Subscription, url: str, limit: int, work: _Work) -> None:
        self.name = subscription.name
        self.ack_deadline_s = subscription.ack_deadline_s
        self.min_backoff_s, self.max_backoff_s = subscription.min_backoff_s, subscription.max_backoff_s
        self.slots = threading.Semaphore(limit)
        self.pushes: SimpleQueue[Push | None] = SimpleQueue()
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

    def hand_over(self, push: Push) -> None:
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


def _consumers() -> dict[str, Subscription]:
    """Return the subscription of every function."""
    rows = wiring.functions()
    return {s.name: s for subscriptions in wiring.subscriptions().values() for s in subscriptions if s.name in rows}
