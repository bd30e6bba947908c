"""Cloud Storage's errors in our words: what a caller can do about each, and what a person has to mend."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
import urllib3
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError, RefreshError
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse

from shared.adapters.google_cloud import LOGIN
from shared.errors import BlobNotFound, PipelineError, StoreUnavailable, StoreUnusable

TRANSPORT_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
)
_NO_BUCKET = "bucket does not exist"
_ACCOUNT = re.compile(r"([\w.+-]+@[\w.-]+) does not have")


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn every error of the client into one of ours; only PreconditionFailed is left for the caller to judge."""
    try:
        yield
    except exceptions.PreconditionFailed:
        raise
    except (
        exceptions.GoogleAPIError,
        GoogleAuthError,
        InvalidResponse,
        DataCorruption,
        *TRANSPORT_ERRORS,
    ) as error:
        raise _in_our_words(error, uri) from error


def _in_our_words(error: BaseException, uri: str) -> PipelineError:
    if isinstance(error, exceptions.RetryError) and error.cause is not None:
        return _in_our_words(error.cause, uri)
    if isinstance(error, DataCorruption):
        return StoreUnavailable(f"{uri} did not come through whole: its checksum does not match")
    if isinstance(error, RefreshError) and not error.retryable:
        return StoreUnusable(f"Google refuses the credentials for {uri}: {LOGIN}")
    status = _status(error)
    if status == 404 and _NO_BUCKET not in str(error):
        return BlobNotFound(f"there is no {uri}")
    if status in {401, 403, 404}:
        return StoreUnusable(_mended_by(status, str(error), uri))
    kind = f"{type(error).__name__} {status}" if status else type(error).__name__
    return StoreUnavailable(f"Cloud Storage did not serve {uri}: {kind}", retry_after_s=5.0 if status == 429 else 1.0)


def _status(error: BaseException) -> int | None:
    if isinstance(error, InvalidResponse):
        return int(error.response.status_code)
    return int(error.code) if isinstance(error, exceptions.GoogleAPICallError) and error.code else None


def _mended_by(status: int, message: str, uri: str) -> str:
    bucket = "/".join(uri.split("/")[:3])
    if status == 404:
        return f"the bucket {bucket} does not exist; create it (terraform apply) or correct ATELIER_BLOBS_URL"
    if status == 401:
        return f"{bucket} takes no anonymous calls: {LOGIN}"
    found = _ACCOUNT.search(message)
    whom = found[1] if found else "the account of this process"
    return f"no permission on {bucket}: grant roles/storage.objectUser on the bucket to {whom}"
