"""The clock's work. Consumes `ticks`, every minute in the cloud: moves on whatever is due, in bounded pages.

It makes no provider call itself: it sends events, so that polling scales with `generate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from functions import _runtime
from functions._decode import Event
from functions._runtime import Step
from shared.bootstrap import Services
from shared.domain import moves
from shared.domain.breaker import Breaker, BreakerState
from shared.domain.budget import Scope
from shared.domain.due import Release, Send, is_stuck, owed
from shared.domain.job import Job
from shared.domain.release import Parked, release_order
from shared.errors import StoreConflict
from shared.log import log
from shared.ports import Message
from shared.stores.jobs import Loaded, load

QUEUE_PAGE = 500
# One job of a model's queue is due at every tick, and with it the whole queue is looked at; the others only so often.
QUEUE_LOOK_S = 55.0
ROLL_UP_EVERY_S = 60.0
BREAKERS_PAGE = 200
LEVELS: Mapping[BreakerState, int] = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}
GONE = 3


def handle(_event: Event, services: Services) -> None:
    """Look at one page of due jobs; hand on to the next tick event when there are more."""
    limit = services.settings.tick_page
    page = [load(snapshot) for snapshot in services.jobs.due(services.clock.now(), limit)]
    queues: set[str] = set()
    for loaded in page:
        _tend(loaded, queues, services)
    for model in sorted(queues):
        _release(model, services)
    services.metrics.record("jobs_due", len(page), {})
    if len(page) == limit:
        services.bus.publish([Message("ticks", {"more": True})])
    elif services.due_now("roll_up", ROLL_UP_EVERY_S):
        _roll_up(services)


def _tend(loaded: Loaded, queues: set[str], services: Services) -> None:
    """Give one due job what it needs; a concurrent tick or stage that was faster has done it already."""
    now = services.clock.now()
    action = owed(loaded.job, now)
    again = None if action is None else now + timedelta(seconds=services.settings.stale_s)
    if isinstance(action, Release):
        wait_s = QUEUE_LOOK_S if action.model in queues else services.settings.tick_s
        queues.add(action.model)
        again = now + timedelta(seconds=wait_s)
    looked_at = replace(
        loaded.job,
        due_at=_within_deadline(loaded.job, now, again),
        sent_again=loaded.job.sent_again + isinstance(action, Send),
    )
    try:
        services.jobs.commit(loaded, looked_at)
    except StoreConflict:
        return
    if is_stuck(loaded.job, action):
        log.warning("job.stuck", extra={"job_id": loaded.job.job_id, "state": str(loaded.job.state)})
        services.metrics.record("jobs_stuck", 1, {"state": str(loaded.job.state)})
    if isinstance(action, Send):
        log.info("tick.sent", extra={"job_id": loaded.job.job_id, "why": action.why})
        services.bus.publish([_message(loaded.job, action)])


def _within_deadline(job: Job, now: datetime, again: datetime | None) -> datetime | None:
    """The next look at a job, at its deadline at the latest while that is still to come."""
    if again is None or job.is_finished or job.deadline_at is None or job.deadline_at <= now:
        return again
    return min(again, job.deadline_at)


def _message(job: Job, action: Send) -> Message:
    if action.topic is None and job.baton is not None:
        return _runtime.baton_message(job)
    return _runtime.baton_message(job, action.topic or "generate", action.extra)


def _release(model: str, services: Services) -> None:
    """Release as many of a model's queue as it has capacity for: by rank, fair between tenants."""
    queue = {loaded.job.job_id: loaded for loaded in services.jobs.waiting_for(model, QUEUE_PAGE)}
    now = services.clock.now()
    retried = [i for i, q in queue.items() if q.job.due_at is None or q.job.due_at <= now + timedelta(minutes=1)]
    capacity = services.limiters.available(model)
    waiting = [Parked(i, queue[i].job.tenant, queue[i].job.rank or "") for i in retried]
    order = release_order(waiting, len(waiting) if capacity is None else capacity, services.released_lately())
    for job_id in order:
        loaded = queue.pop(job_id)
        services.released(loaded.job.tenant)
        moment = _runtime.moment(services, "on_tick")
        job = moves.chosen(loaded.job, loaded.job.choice, loaded.job.hold, moment, f"capacity for {model}")
        with suppress(StoreConflict):
            _runtime.commit(loaded, Step(job), services)
    _watch([queue[i] for i in retried if i in queue], services)


def _watch(left: Sequence[Loaded], services: Services) -> None:
    """Let one of those still in a queue be due at the next tick, that it is looked at again."""
    soon = services.clock.now() + timedelta(seconds=services.settings.tick_s)
    if left and not any(q.job.due_at is None or q.job.due_at <= soon for q in left):
        with suppress(StoreConflict):
            services.jobs.commit(left[-1], replace(left[-1].job, due_at=soon))


def _roll_up(services: Services) -> None:
    """Measure what the day has used, added up by the store and never on the hot path, and the breakers."""
    budget = services.budgets.today(Scope("all"), services.clock.now())
    services.metrics.record("budget_used", budget.used_share, {"scope": "all"})
    services.metrics.record("budget_spent", budget.spent, {"scope": "all"})
    services.metrics.record("budget_held", budget.held, {"scope": "all"})
    services.metrics.record("budget_suspense", budget.suspense, {"scope": "all"})
    for breaker in services.breakers.all(BREAKERS_PAGE):
        row = services.catalogue.by_name.get(breaker.model)
        if row is not None:
            labels = {"provider": row.provider, "model": row.id}
            services.metrics.record("breaker_state", _level(breaker, services.clock.now()), labels)


def _level(breaker: Breaker, now: datetime) -> int:
    """How far a model is out of use. One whose pause is over may be probed, whether or not anybody asks for it."""
    if breaker.disabled:
        return GONE
    return LEVELS[BreakerState.HALF_OPEN if breaker.needs_probe(now) else breaker.state]


@functions_framework.http
def on_tick(request: Request) -> ResponseReturnValue:
    """Answer one delivery of `ticks`."""
    return _runtime.serve(handle, request)
