"""The proof that every cent is explained: ledger = jobs = budgets, and what is not settled yet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from shared.domain.job import Job
from shared.ports import DocumentStore, Json, Snapshot
from shared.stores.jobs import Jobs, load
from shared.stores.ledger import Ledger

PAGE = 500


@dataclass(slots=True)
class Audit:
    """What an audit found. Amounts are micro-USD; `problems` is empty when everything adds up.

    Attributes:
        unsettled: attempts whose money is in suspense, and jobs that are overdue, for people to look at; they are
            no contradiction.
    """

    jobs: int = 0
    finished: int = 0
    entries: int = 0
    ledger: int = 0
    spent: int = 0
    held: int = 0
    suspense: int = 0
    problems: list[str] = field(default_factory=list)
    unsettled: list[Json] = field(default_factory=list)


def audit(documents: DocumentStore, jobs: Jobs, ledger: Ledger, now: datetime) -> Audit:
    """Compare every job with the ledger and with the budgets, in pages."""
    found = Audit()
    entries = _read_ledger(ledger, found)
    by_scope: dict[str, Counter[str]] = {}
    cursor: Snapshot | None = None
    while page := jobs.newest(PAGE, cursor):
        for snapshot in page:
            _check_job(load(snapshot).job, entries, by_scope, found, now)
        cursor = page[-1]
    found.problems += [f"ledger entry {name} belongs to no booked attempt" for name in entries]
    if found.ledger != found.spent:
        found.problems.append(f"the ledger adds up to {found.ledger}, the jobs to {found.spent} micro-USD")
    _check_budgets(documents, by_scope, found)
    return found


def _read_ledger(ledger: Ledger, found: Audit) -> dict[str, int]:
    entries: dict[str, int] = {}
    cursor: Snapshot | None = None
    while page := ledger.page(cursor, PAGE):
        for snapshot in page:
            entries[f"{snapshot.data['job_id']}-{snapshot.data['attempt']}"] = snapshot.data["cost_micro_usd"]
        cursor = page[-1]
    found.entries, found.ledger = len(entries), sum(entries.values())
    return entries


def _check_job(
    job: Job, entries: dict[str, int], by_scope: dict[str, Counter[str]], found: Audit, now: datetime
) -> None:
    found.jobs += 1
    found.finished += job.is_finished
    found.spent += job.spent
    found.held += job.hold
    found.suspense += job.suspense
    for attempt in job.attempts:
        name = f"{job.job_id}-{attempt.number}"
        booked = entries.pop(name, None)
        if attempt.booked != (booked is not None) or (attempt.booked and booked != attempt.cost_micro_usd):
            found.problems.append(f"attempt {name} says {attempt.cost_micro_usd}, its ledger entry {booked}")
        if attempt.suspense_micro_usd:
            found.unsettled.append(_suspense(job, attempt.number))
    if job.is_finished and job.hold:
        found.problems.append(f"job {job.job_id} is {job.state} and still holds {job.hold} micro-USD")
    if not job.is_finished and job.deadline_at is not None and job.deadline_at < now:
        found.unsettled.append({"job_id": job.job_id, "why": "overdue", "state": str(job.state)})
    for path in job.scopes:
        by_scope.setdefault(path, Counter()).update(held=job.hold, spent=job.spent, suspense=job.suspense)


def _suspense(job: Job, number: int) -> Json:
    attempt = job.attempt(number)
    return {
        "job_id": job.job_id,
        "attempt": number,
        "why": "suspense",
        "model": attempt.model,
        "micro_usd": attempt.suspense_micro_usd,
        "until": attempt.suspense_until.isoformat() if attempt.suspense_until else None,
    }


def _check_budgets(documents: DocumentStore, by_scope: dict[str, Counter[str]], found: Audit) -> None:
    paths = sorted(by_scope)
    for start in range(0, len(paths), PAGE):
        some = paths[start : start + PAGE]
        for path, snapshot in zip(some, documents.get(some), strict=True):
            _check_budget(snapshot, by_scope[path], found)


def _check_budget(snapshot: Snapshot | None, wanted: Counter[str], found: Audit) -> None:
    data = snapshot.data if snapshot else {}
    for part in ("held", "spent", "suspense"):
        if data.get(part, 0) != wanted[part]:
            scope = f"{data.get('scope', '?')}:{data.get('name', '')} on {data.get('day', '?')}"
            found.problems.append(f"budget {scope}: {part} is {data.get(part, 0)}, the jobs say {wanted[part]}")
    used = data.get("held", 0) + data.get("spent", 0) + data.get("suspense", 0)
    if snapshot is not None and used > data["limit"]:
        found.problems.append(f"budget {data['scope']}:{data['name']} on {data['day']}: {used} of {data['limit']} used")
