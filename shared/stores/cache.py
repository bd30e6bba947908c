"""The result cache: for each fingerprint, the job that makes or made the answer.

The entry points at the job instead of copying its result, so a finished job needs no second write here, and a
request that arrives while the first is still being made finds whom to wait for: single flight.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.domain.times import from_text, to_text
from shared.ports import DocumentStore, Json, Write, create, put

COLLECTION = "cache"


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """Who answers a fingerprint. It is expired when its time is over, whether or not the store has removed it."""

    fingerprint: str
    job_id: str
    expire_at: datetime
    version: str


class Cache:
    """Reads entries and makes the writes that claim them."""

    def __init__(self, documents: DocumentStore, keep_s: float) -> None:
        self._documents = documents
        self._keep = timedelta(seconds=keep_s)

    def get(self, fingerprint: str) -> CacheEntry | None:
        """Return the entry, expired or not."""
        (found,) = self._documents.get([_path(fingerprint)])
        if found is None:
            return None
        return CacheEntry(fingerprint, found.data["job_id"], from_text(found.data["expire_at"]), found.version)

    def claim(self, fingerprint: str, job_id: str, now: datetime) -> Write:
        """Make *job_id* the one that answers; the commit fails when there is an entry."""
        return create(_path(fingerprint), self._doc(job_id, now))

    def take_over(self, entry: CacheEntry, job_id: str, now: datetime) -> Write:
        """Make *job_id* the one that answers, in place of the entry as it was read."""
        return put(_path(entry.fingerprint), self._doc(job_id, now), version=entry.version)

    def point(self, fingerprint: str, job_id: str, now: datetime) -> Write:
        """Make *job_id* the one that answers, whoever did before."""
        return put(_path(fingerprint), self._doc(job_id, now))

    def _doc(self, job_id: str, now: datetime) -> Json:
        return {"job_id": job_id, "created_at": to_text(now), "expire_at": to_text(now + self._keep)}


def _path(fingerprint: str) -> str:
    return f"{COLLECTION}/{fingerprint}"
