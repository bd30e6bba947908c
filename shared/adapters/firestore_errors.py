"""Firestore's errors in our words: what a caller can do about each, and what a person has to mend."""

from __future__ import annotations

import re

from google.api_core import exceptions

from shared.adapters.google_cloud import line
from shared.errors import (
    DocumentTooLarge,
    InvalidDocument,
    PipelineError,
    StoreConflict,
    StoreUnavailable,
    StoreUnusable,
)

_LIMIT = re.compile(r"\b1,?048,?576\b")  # of bytes of a document, in the service's words and in the emulator's
_LOST = (exceptions.Aborted, exceptions.AlreadyExists, exceptions.FailedPrecondition, exceptions.NotFound)


def translation(error: BaseException, project: str, database: str, *, commits: bool) -> PipelineError:
    """Return our error for one of a call to *database* of *project*; only a commit can lose against another."""
    text = line(getattr(error, "message", None) or str(error))
    if isinstance(error, exceptions.RetryError) and error.cause is not None:
        return translation(error.cause, project, database, commits=commits)
    mended_by = _mended_by(error, text, project, database)
    if mended_by is not None:
        return StoreUnusable(mended_by)
    if commits and isinstance(error, _LOST):
        return StoreConflict(text)
    if isinstance(error, exceptions.InvalidArgument):
        return DocumentTooLarge(text) if _LIMIT.search(text) else InvalidDocument(text)
    return StoreUnavailable(f"Firestore: {text}")


def _mended_by(error: BaseException, text: str, project: str, database: str) -> str | None:
    """What is missing and how to mend it; None when that is not what the error is about."""
    where = f"database {database!r} of project {project!r}"
    match error:
        case exceptions.NotFound() if "database" in text.lower() and "does not exist" in text:
            fix = f"gcloud firestore databases create --project={project} --database={database} --location=LOCATION"
            return f"there is no {where}: correct ATELIER_STATE_URL, or `{fix}`"
        case exceptions.NotFound() if "project" in text.lower() and "document" not in text.lower():
            return f"there is no project {project!r}, or we may not see it: correct ATELIER_STATE_URL ({text})"
        case exceptions.FailedPrecondition() if "requires an index" in text:
            return f"{where} lacks an index of shared/stores/indexes.json: terraform apply ({text})"
        case exceptions.FailedPrecondition() if "Datastore Mode" in text:
            return f"{where} is in Datastore mode; ATELIER_STATE_URL needs one in native mode"
        case exceptions.Forbidden() if "has not been used in project" in text or "SERVICE_DISABLED" in text:
            return f"Firestore is off: `gcloud services enable firestore.googleapis.com --project={project}` ({text})"
        case exceptions.Forbidden() | exceptions.Unauthorized():
            fix = "grant roles/datastore.user to this account, or correct ATELIER_STATE_URL"
            return f"no access to {where}: {fix} ({text})"
    return None
