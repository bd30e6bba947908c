"""The ledger: what each attempt cost, one entry each, created once and never changed."""

from __future__ import annotations

from shared.domain.budget import day_of
from shared.domain.job import Attempt, Job
from shared.domain.times import to_text
from shared.ports import DocumentStore, Json, Snapshot, Write, create

COLLECTION = "ledger"


class Ledger:
    """Reads ledger entries and makes the writes for new ones."""

    def __init__(self, documents: DocumentStore) -> None:
        self._documents = documents

    def booking(self, before: Job | None, after: Job) -> list[Write]:
        """Return the creation of an entry for every attempt that was booked between two steps."""
        booked = {a.number for a in before.attempts if a.booked} if before else set()
        return [_entry(after, a) for a in after.attempts if a.booked and a.number not in booked]

    def of_job(self, job_id: str) -> list[Json]:
        """Return a job's entries in the order of its attempts."""
        found = self._documents.query(COLLECTION, [("job_id", "==", job_id)], limit=100)
        return sorted((s.data for s in found), key=lambda entry: int(entry["attempt"]))

    def page(self, after: Snapshot | None, limit: int = 500) -> list[Snapshot]:
        """Return entries in the order of their times."""
        return self._documents.query(COLLECTION, order_by="at", limit=limit, after=after)


def _entry(job: Job, attempt: Attempt) -> Write:
    at = attempt.ended_at or job.updated_at
    entry: Json = {
        "job_id": job.job_id,
        "attempt": attempt.number,
        "tenant": job.tenant,
        "user": job.user,
        "kind": job.kind,
        "provider": attempt.provider,
        "model": attempt.model,
        "outcome": _outcome(attempt),
        "cost_micro_usd": attempt.cost_micro_usd,
        "usage": dict(attempt.usage),
        "basis": attempt.basis,
        "simulated": attempt.simulated,
        "at": to_text(at),
        "day": day_of(at),
    }
    return create(f"{COLLECTION}/{job.job_id}-{attempt.number}", entry)


def _outcome(attempt: Attempt) -> str:
    if attempt.approved is not None:
        return "approved" if attempt.approved else "rejected"
    return str(attempt.state)
