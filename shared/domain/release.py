"""In which order parked jobs are released when a model has capacity again."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.domain.times import to_text

SHIFT: Mapping[str, timedelta] = {
    "high": timedelta(minutes=-10),
    "normal": timedelta(0),
    "low": timedelta(minutes=10),
}


@dataclass(frozen=True, slots=True)
class Parked:
    """One job that waits for capacity; *rank* as `rank` made it."""

    job_id: str
    tenant: str
    rank: str


def rank(priority: str, created_at: datetime) -> str:
    """Return the place of a job among the parked ones of its model, as a text that sorts.

    It is the time of creation, shifted by the priority, so a job ages by itself: a low one is overtaken only by
    normal jobs created within 10 minutes after it and by high ones created within 20.

    Raises:
        KeyError: a priority other than high, normal and low.
    """
    return to_text(created_at + SHIFT[priority])


def release_order(parked: Sequence[Parked], capacity: int, served: Mapping[str, int] | None = None) -> list[str]:
    """Return the ids of the at most *capacity* jobs to release now, first one first.

    Tenants take turns, one job each (deficit round robin with jobs of equal cost), however long their backlogs
    are; inside a tenant the lowest rank goes first, and so it does among the tenants of one round. A tenant's few
    high jobs therefore overtake everybody's backlog, while one that marks everything as high gains nothing.
    Job number n of a tenant waits for at most n jobs of every other tenant with equal credit.

    Args:
        served: jobs released lately per tenant; those that got fewer catch up first. Keep it to the last minutes,
            because a tenant that had nothing to release then catches up all the same. Without it the turns begin
            anew each time, which is unfair when the capacity is less than one job per tenant.
    """
    past = served or {}
    queues: dict[str, list[Parked]] = defaultdict(list)
    for job in sorted(parked, key=lambda job: (job.rank, job.job_id)):
        queues[job.tenant].append(job)
    places = (
        (past.get(tenant, 0) + number, job.rank, job.job_id)
        for tenant, queue in queues.items()
        for number, job in enumerate(queue)
    )
    return [job_id for _, _, job_id in heapq.nsmallest(capacity, places)]
