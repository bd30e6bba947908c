"""Where jobs are kept. A step is one atomic commit: the job, its money in every budget, its ledger entries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.domain.job import Job, State
from shared.domain.times import to_text
from shared.ports import Comparison, DocumentStore, Snapshot, Write, create, put
from shared.stores.budgets import Budgets
from shared.stores.ledger import Ledger
from shared.stores.records import from_doc, to_doc

COLLECTION = "jobs"
PAGE = 500


@dataclass(frozen=True, slots=True)
class Loaded:
    """A job as it was read."""

    job: Job
    version: str


class Jobs:
    """Reads jobs and commits their steps."""

    def __init__(self, documents: DocumentStore, budgets: Budgets, ledger: Ledger) -> None:
        self._documents = documents
        self._budgets = budgets
        self._ledger = ledger

    def get(self, job_id: str) -> Loaded | None:
        """Return a job, None when there is none."""
        return self.get_many([job_id])[0]

    def get_many(self, job_ids: Sequence[str]) -> list[Loaded | None]:
        """Return jobs in the order asked, in one round trip."""
        return [None if s is None else load(s) for s in self._documents.get([_path(i) for i in job_ids])]

    def commit(
        self,
        before: Loaded | None,
        after: Job,
        writes: Sequence[Write] = (),
        *,
        holding: Sequence[Write] | None = None,
    ) -> Loaded:
        """Commit the step from *before* (None: the job is new) to *after*, all of it or nothing.

        Args:
            writes: other documents of this step.
            holding: the guarded budget writes when the step promises more money; otherwise what the step gave
                back or settled is worked out from the difference of the two jobs.

        Raises:
            StoreConflict: somebody else moved the job, or a document of *writes* or *holding* changed.
        """
        old = before.job if before else None
        money = self._budgets.settling(old, after) if holding is None else list(holding)
        doc = to_doc(after)
        job = put(_path(after.job_id), doc, version=before.version) if before else create(_path(after.job_id), doc)
        every = [job, *money, *self._ledger.booking(old, after), *writes]
        if money and holding is None:
            with self._budgets.turn(after.scopes):
                versions = self._documents.commit(every)
        else:
            versions = self._documents.commit(every)
        return Loaded(after, versions[0])

    def due(self, now: datetime, limit: int, after: Snapshot | None = None) -> list[Snapshot]:
        """Return a page of the jobs that the tick must look at, longest due first; read them with `load`."""
        return self._documents.query(
            COLLECTION, [("due_at", "<=", to_text(now))], order_by="due_at", limit=limit, after=after
        )

    def followers(self, job_id: str, limit: int) -> list[Loaded]:
        """Return jobs parked until *job_id* has its result."""
        return self._jobs([("follows", "==", job_id), ("state", "==", State.PARKED.value)], limit)

    def waiting_for(self, model: str, limit: int) -> list[Loaded]:
        """Return jobs parked for capacity of a model, in the order of their ranks."""
        where: list[tuple[str, Comparison, str]] = [("waiting_for", "==", model)]
        return [load(s) for s in self._documents.query(COLLECTION, where, order_by="rank", limit=limit)]

    def in_state(self, state: State, limit: int) -> list[Loaded]:
        """Return some jobs of a state, newest first."""
        where: list[tuple[str, Comparison, str]] = [("state", "==", state.value)]
        found = self._documents.query(COLLECTION, where, order_by="created_at", descending=True, limit=limit)
        return [load(s) for s in found]

    def every_in_state(self, state: State) -> Iterator[Loaded]:
        """Yield all jobs of a state, newest first, a page at a time."""
        where: list[tuple[str, Comparison, str]] = [("state", "==", state.value)]
        last: Snapshot | None = None
        while page := self._documents.query(
            COLLECTION, where, order_by="created_at", descending=True, limit=PAGE, after=last
        ):
            yield from map(load, page)
            last = page[-1]

    def newest(self, limit: int, after: Snapshot | None = None) -> list[Snapshot]:
        """Return a page of jobs, newest first; read them with `load`."""
        return self._documents.query(COLLECTION, order_by="created_at", descending=True, limit=limit, after=after)

    def _jobs(self, where: Sequence[tuple[str, Comparison, str]], limit: int) -> list[Loaded]:
        return [load(s) for s in self._documents.query(COLLECTION, where, limit=limit)]


def _path(job_id: str) -> str:
    return f"{COLLECTION}/{job_id}"


def load(snapshot: Snapshot) -> Loaded:
    """Return the job of a snapshot."""
    return Loaded(from_doc(Job, snapshot.data), snapshot.version)
