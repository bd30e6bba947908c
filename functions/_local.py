"""The local system: the same handlers on the durable local bus, wired by `infra/functions.json`."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from functions import _runtime
from functions._decode import Event
from functions._runtime import Handle
from shared.adapters import wiring
from shared.adapters.local_bus import Delivery, LocalBus
from shared.adapters.local_process import owner_is_alive
from shared.bootstrap import Services
from shared.domain.job import AttemptState, Job, State
from shared.errors import Retryable, SettingsError, StoreConflict
from shared.log import log
from shared.ports import Json, Message
from shared.stores.jobs import Loaded

LEASE_BATCH = 8
IDLE_WAIT_S = 0.5
SLOW_S = 0.05


class LocalSystem:
    """Runs the functions in threads of this process, and ticks."""

    def __init__(self, services: Services, on_result: Callable[[Json], None] | None = None) -> None:
        """*on_result* is told every result that is published; what it raises is a nack."""
        if not isinstance(services.bus, LocalBus):
            raise SettingsError("the local system needs the local bus; leave ATELIER_BUS_URL empty")
        self.services = services
        self.bus = services.bus
        self._handles: dict[str, Handle] = {}
        self._on_result = on_result
        self._subscriptions = [name for name, row in wiring.functions().items() if "topic" in row["trigger"]]
        self._subscriptions.append(wiring.RESULTS)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._next_tick = self._took_over_at = services.clock.now()
        self._tick_lock = threading.Lock()

    def recover(self) -> None:
        """Take over from processes of this machine that died: their messages and their paid calls at once."""
        self._took_over_at = self.services.clock.now()
        self.bus.recover()
        for loaded in self.services.jobs.every_in_state(State.GENERATING):
            self._free_lease(loaded)
        for loaded in self.services.jobs.every_in_state(State.WAITING):
            self._poll_soon(loaded)

    def start(self) -> None:
        """Start the workers."""
        for n in range(self.services.settings.workers):
            thread = threading.Thread(target=self._work, name=f"worker-{n}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Let each worker finish the event it has, then return."""
        self._stop.set()
        self.bus.wake()
        for thread in self._threads:
            thread.join()

    def drain(self, until: Callable[[], bool]) -> None:
        """Work in this thread until *until* says so, moving the clock on to whatever is due next.

        For a clock that is moved by hand: nothing waits, and a run is repeatable.
        """
        while not until():
            if not self._one_round():
                self.services.clock.sleep(self._pause_s())

    def _work(self) -> None:
        batch = 1
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                if not self._one_round(batch):
                    self.bus.wait(min(IDLE_WAIT_S, self._pause_s()))
            except Retryable as error:
                log.warning("worker.paused", extra={"reason": str(error)})
                self._stop.wait(IDLE_WAIT_S)
            # Quick events are taken in batches; behind a slow one nothing else should have to wait.
            batch = 1 if time.monotonic() - started > SLOW_S else min(LEASE_BATCH, batch * 2)

    def _one_round(self, batch: int = 1) -> bool:
        """Handle what is due now; False when there was nothing."""
        self._tick()
        deliveries = self.bus.lease(self._subscriptions, batch)
        self.bus.ack([d for d in deliveries if self._handle(d)])
        return bool(deliveries)

    def _tick(self) -> None:
        """Publish a tick when it is time."""
        with self._tick_lock:
            now = self.services.clock.now()
            if now < self._next_tick:
                return
            self._next_tick = now + timedelta(seconds=self.services.settings.tick_s)
        self.bus.publish([Message("ticks", {"at": now.isoformat()})])

    def _pause_s(self) -> float:
        """Seconds until something is due: a message or the next tick."""
        now = self.services.clock.now()
        times: list[datetime] = [self._next_tick]
        if (due := self.bus.next_due()) is not None:
            times.append(due)
        return max(0.001, (min(times) - now).total_seconds())

    def _handle(self, delivery: Delivery) -> bool:
        """Run the function of a delivery; True is an ack. Whatever it raises is a nack."""
        try:
            if delivery.subscription == wiring.RESULTS:
                if self._on_result is not None:
                    self._on_result(delivery.payload)
                return True
            _runtime.deliver(self._function(delivery.subscription), self._event(delivery), self.services)
        except Retryable as error:
            self.bus.nack(delivery, error.retry_after_s, error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - a bug was logged already; the bus gives the event up in the end
            self.bus.nack(delivery, error=type(error).__name__)
        else:
            return True
        return False

    def _event(self, delivery: Delivery) -> Event:
        """The event of a delivery; one from before the takeover may have been handled by a process that then died."""
        attempt = delivery.attempt + (delivery.published_at < self._took_over_at)
        return Event(delivery.payload, delivery.message_id, delivery.attributes, attempt=attempt)

    def _function(self, name: str) -> Handle:
        if name not in self._handles:
            self._handles[name] = importlib.import_module(f"functions.{name}").handle
        return self._handles[name]

    def _free_lease(self, loaded: Loaded) -> None:
        attempt = loaded.job.open_attempt
        if attempt is None or attempt.state is not AttemptState.CALLING or owner_is_alive(attempt.lease_owner):
            return
        now = self.services.clock.now()
        freed = replace(loaded.job.with_attempt(replace(attempt, lease_until=now)), due_at=now)
        self._commit_unless_moved(loaded, freed)

    def _poll_soon(self, loaded: Loaded) -> None:
        """Let the next tick ask after an operation: the event of the last one may have died before it was published."""
        self._commit_unless_moved(loaded, replace(loaded.job, due_at=self.services.clock.now()))

    def _commit_unless_moved(self, loaded: Loaded, after: Job) -> None:
        """Commit; a job that a live process moves meanwhile needs nothing from this one."""
        try:
            self.services.jobs.commit(loaded, after)
        except StoreConflict:
            log.info("job.kept", extra={"job_id": loaded.job.job_id})


def submit(messages: Sequence[Message], services: Services, batch: int = 200) -> None:
    """Publish requests in bounded batches."""
    for start in range(0, len(messages), batch):
        services.bus.publish(messages[start : start + batch])
