"""`BlobStore` in Cloud Storage: conditional writes that a lost answer cannot fool, pinned reads, bounded waits.

The logical buckets "inbox" and "outputs" are the real buckets `PREFIX-inbox` and `PREFIX-outputs`. What was uploaded
compressed (`Content-Encoding: gzip`) is read as it is stored.
"""

from __future__ import annotations

import io
import itertools
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import google.auth.iam
import google.auth.transport.requests
from google.api_core import exceptions
from google.auth.credentials import Credentials, Scoped, Signing
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.cloud.storage import Client
from google.cloud.storage.retry import DEFAULT_RETRY
from google.oauth2 import service_account
from requests.adapters import HTTPAdapter

from shared.adapters import blob_rules, gcs_errors
from shared.adapters.google_cloud import line, no_credentials
from shared.errors import (
    BlobExists,
    BlobNotFound,
    BlobTooLarge,
    InvalidBlobName,
    SettingsError,
    StoreUnavailable,
    StoreUnusable,
)
from shared.log import log
from shared.ports import BlobInfo

BUCKETS = ("inbox", "outputs")
WAIT_S = 8.0  # for one answer, and for all tries of one request: a caller has to answer its own caller
SLOWEST_BYTES_PER_S = 256 * 1024  # a transfer gets longer by as much as this speed needs
ONE_REQUEST_BYTES = 8 << 20  # more goes up in pieces of this size
READ_AHEAD_BYTES = 4 << 20
READ_TRIES = 5  # while others replace the object between the look at its size and its bytes
POOL_SIZE = 32  # connections kept open
_CLOUD_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
LONGEST_IAM_LINK_S = 43_200  # IAM may retire the key it signed with after this long

_MARK = "atelier-upload"  # custom metadata by which an upload knows its object again
_RETRY = DEFAULT_RETRY.with_delay(initial=0.2, maximum=2.0, multiplier=2.0)
_LARGEST_PAGE = 1_000
_FIELDS = "items(name,size,contentType,generation),nextPageToken"


class CloudStorageBlobStore:
    """The buckets `PREFIX-inbox` and `PREFIX-outputs`, shared by the threads of this process.

    `STORAGE_EMULATOR_HOST` leads to an emulator. A *client* that is handed in is not closed by `close`.

    Raises:
        SettingsError: *prefix* cannot begin the name of a bucket, or this machine has no credentials.
    """

    def __init__(self, prefix: str, client: Client | None = None) -> None:
        self._real = {bucket: f"{prefix}-{bucket}" for bucket in BUCKETS}
        self._logical = {real: bucket for bucket, real in self._real.items()}
        for real in self._logical:
            _check_bucket(real)
        self._owns_client = client is None
        self._client = client or _new_client()

    def close(self) -> None:
        """Close all connections."""
        if self._owns_client:
            self._client.close()

    def uri(self, bucket: str, name: str) -> str:
        """Return the `gs://` URI of an object in its real bucket. Raises InvalidBlobName."""
        blob_rules.check_bucket(bucket)
        blob_rules.check_name(name)
        return f"{blob_rules.SCHEME}{self._real.get(bucket, bucket)}/{name}"

    def locate(self, uri: str) -> tuple[str, str]:
        """Return (logical bucket, name); any other bucket is called what it is called. Raises InvalidBlobName."""
        bucket, name = blob_rules.split_gs(uri)
        blob_rules.check_name(name)
        return self._logical.get(bucket, bucket), name

    def create(self, uri: str, data: bytes | Iterable[bytes], media_type: str) -> BlobInfo:
        """Store a new object. Raises BlobExists, InvalidBlobName, StoreUnavailable."""
        return self._upload(uri, data, media_type, 0)

    def replace(self, uri: str, data: bytes, media_type: str, generation: str | None) -> BlobInfo:
        """Store over *generation*, or over whatever is there. Raises BlobExists, InvalidBlobName, StoreUnavailable."""
        expected = None if generation is None else _parsed_generation(generation)
        if expected == 0:
            self.locate(uri)
            raise BlobExists(f"{uri} is not of generation {generation} by now")
        return self._upload(uri, data, media_type, expected)

    def read(self, uri: str, max_bytes: int) -> bytes:
        """Return the bytes. Raises BlobNotFound, StoreUnavailable, and BlobTooLarge before any byte is sent."""
        for _ in range(READ_TRIES):
            found = _found(self._blob(uri))
            if found.size > max_bytes:
                raise BlobTooLarge(f"{uri} is of {found.size} bytes; at most {max_bytes} are wanted")
            with suppress(BlobNotFound):  # that generation: it was replaced since
                return _PinnedFile(found).readall()
        raise StoreUnavailable(f"{uri} is replaced faster than it can be read")

    def open(self, uri: str) -> io.BufferedReader:
        """Open the present generation for streaming. Raises BlobNotFound, StoreUnavailable.

        So does reading, with BlobNotFound also when the object was replaced since.
        """
        return io.BufferedReader(_PinnedFile(_found(self._blob(uri))), READ_AHEAD_BYTES)

    def stat(self, uri: str) -> BlobInfo | None:
        """Return size, generation and media type, None where there is no object. Raises StoreUnavailable."""
        blob = self._blob(uri)
        try:
            return _info(_found(blob))
        except BlobNotFound:
            return None

    def list(self, prefix_uri: str, *, limit: int, after: str | None = None) -> list[BlobInfo]:
        """Return a page of objects in the order of names; *after* is the URI of the last one of the page before.

        Objects whose names no other back end could keep are left out.
        """
        bucket, prefix = blob_rules.split_gs(prefix_uri)
        blob_rules.check_prefix(prefix)
        last = None if after is None else self.locate(after)[1]
        real = self._real.get(bucket, bucket)
        with gcs_errors.translated(f"{blob_rules.SCHEME}{real}/{prefix}"):
            blobs = self._client.list_blobs(
                real,
                prefix=prefix,
                start_offset=last,
                page_size=min(limit + 1, _LARGEST_PAGE),
                fields=_FIELDS,
                timeout=WAIT_S,
                retry=_retry(),
            )
            wanted = (blob for blob in blobs if blob.name != last and _is_ours(blob.name))
            return [_info(blob) for blob in itertools.islice(wanted, limit)]

    def link(self, uri: str, valid_s: int) -> str | None:
        """Return a signed URL for at most seven days (twelve hours when IAM signs); None when we cannot sign."""
        blob = self._blob(uri)
        credentials = self._client._credentials  # noqa: SLF001 - no public way to them
        try:
            signing, longest_s = _signing(credentials)
            if signing is None:
                return None
            valid = timedelta(seconds=max(1, min(valid_s, longest_s)))
            return str(blob.generate_signed_url(version="v4", expiration=valid, method="GET", credentials=signing))
        except (GoogleAuthError, *gcs_errors.TRANSPORT_ERRORS) as error:
            log.warning("blobs.link_unsigned", extra={"error": type(error).__name__})
            return None

    def _upload(self, uri: str, data: bytes | Iterable[bytes], media_type: str, generation: int | None) -> BlobInfo:
        """Store over *generation* (0: none may be there; None: over whatever is there)."""
        mark = secrets.token_hex(16)
        blob = self._blob(uri)
        blob.metadata = {_MARK: mark}
        blob.chunk_size = ONE_REQUEST_BYTES
        try:
            with gcs_errors.translated(_uri_of(blob)):
                _send(blob, data, content_type=media_type, if_generation_match=generation)
        except (exceptions.PreconditionFailed, StoreUnusable) as refused:
            # Where an object is in the way, who may create but not delete may be told of that and not of the object.
            if isinstance(refused, StoreUnusable) and (generation != 0 or self.stat(uri) is None):
                raise
            # The client asks again when an answer is lost, and is then refused because of the object it has made.
            blob = self._blob(uri)
            if not _bears(blob, mark):
                raise BlobExists(f"{uri} exists, or is not of the generation expected by now") from None
        return _info(blob)

    def _blob(self, uri: str) -> Any:
        bucket, name = self.locate(uri)
        return self._client.bucket(self._real.get(bucket, bucket)).blob(name)


class _PinnedFile(io.RawIOBase):
    """One generation of an object as an unbuffered file; the checksum is verified when it is read in one go."""

    def __init__(self, blob: Any) -> None:
        self._blob, self._position = blob, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; no request is made."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._blob.size}[whence]
        if start + offset < 0:
            raise ValueError(f"negative position {start + offset}")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill *buffer* as far as the object reaches. Raises BlobNotFound, StoreUnavailable."""
        data = self._fetched(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """Return the rest. Raises BlobNotFound, StoreUnavailable."""
        return self._fetched(self._blob.size)

    def _fetched(self, count: int) -> bytes:
        start, end = self._position, min(self._position + count, self._blob.size)
        if start >= end:
            return b""
        span = {} if (start, end) == (0, self._blob.size) else {"start": start, "end": end - 1}
        with gcs_errors.translated(_uri_of(self._blob)):
            data: bytes = self._blob.download_as_bytes(
                **span, raw_download=True, checksum="crc32c", timeout=WAIT_S, retry=_retry()
            )
        self._position += len(data)
        return data


class _Chunks(io.RawIOBase):
    """Chunks as a file that is read once, from beginning to end."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks, self._rest, self._position = iter(chunks), bytearray(), 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Return exactly *size* bytes, less only at the end."""
        while size < 0 or len(self._rest) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._rest += chunk
        taken = bytes(self._rest if size < 0 else self._rest[:size])
        del self._rest[: len(taken)]
        self._position += len(taken)
        return taken

    def tell(self) -> int:
        return self._position


def _uri_of(blob: Any) -> str:
    return f"{blob_rules.SCHEME}{blob.bucket.name}/{blob.name}"


def _info(blob: Any) -> BlobInfo:
    media_type = blob.content_type or "application/octet-stream"
    return BlobInfo(_uri_of(blob), blob.size, media_type, str(blob.generation))


def _found(blob: Any) -> Any:
    """Return *blob* with its metadata, which pin it to its present generation. Raises BlobNotFound."""
    with gcs_errors.translated(_uri_of(blob)):
        blob.reload(timeout=WAIT_S, retry=_retry())
    return blob


def _bears(blob: Any, mark: str) -> bool:
    """Whether the stored object came from the upload of *mark*."""
    try:
        return bool((_found(blob).metadata or {}).get(_MARK) == mark)
    except BlobNotFound:
        return False


def _send(blob: Any, data: bytes | Iterable[bytes], **options: Any) -> None:
    """Upload in one request, or in several when the data is large or of unknown size; the service checks the sum.

    Data whose iterator fails is never completed, so there is no object. Without a precondition the upload is
    repeated all the same: it says to store over whatever is there.
    """
    size = len(data) if isinstance(data, bytes) else None
    file = io.BytesIO(data) if isinstance(data, bytes) else _Chunks(data)
    longest = min(size or 0, ONE_REQUEST_BYTES) if size is not None else ONE_REQUEST_BYTES
    wait_s = WAIT_S + longest / SLOWEST_BYTES_PER_S
    try:
        blob.upload_from_file(file, size=size, checksum="crc32c", timeout=wait_s, retry=_retry(), **options)
    except ValueError as error:  # how the client tells that the service kept fewer bytes than it was sent
        raise StoreUnavailable(f"Cloud Storage did not take all of {_uri_of(blob)}: {line(error)}") from None


def _retry() -> Any:
    """Begins tries until `WAIT_S` have passed; a slow transfer that breaks off later is the caller's to repeat."""
    return _RETRY.with_timeout(WAIT_S)


def _new_client() -> Client:
    # Else each bucket's own metadata is fetched by a thread of the client, for traces that are not made here: a request
    # that needs storage.buckets.get, and is tried again for two minutes after the function has answered.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    try:
        client = Client()
    except (DefaultCredentialsError, OSError) as error:
        raise no_credentials("Cloud Storage", error) from None
    except GoogleAuthError as error:  # such as a metadata server that does not answer
        raise StoreUnavailable(f"Cloud Storage cannot be reached: {line(error)}") from None
    session = client._http  # noqa: SLF001 - the client has no public way to a larger pool
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_connections=POOL_SIZE, pool_maxsize=POOL_SIZE))
    return client


def _signing(credentials: Credentials) -> tuple[Signing | None, int]:
    """Return what can sign, None when nothing can, and for how many seconds at most its signature holds."""
    if isinstance(credentials, service_account.Credentials):
        return credentials, blob_rules.LONGEST_LINK_S
    if isinstance(credentials, Signing):  # it asks IAM to sign, too
        return credentials, LONGEST_IAM_LINK_S
    request = partial(google.auth.transport.requests.Request(), timeout=WAIT_S)
    if getattr(credentials, "service_account_email", None) == "default":
        credentials.refresh(request)  # type: ignore[no-untyped-call]  # the metadata server tells the name
    account = getattr(credentials, "service_account_email", None)
    if not account:
        return None, 0
    if isinstance(credentials, Scoped):  # IAM wants a wider scope than the client's own, which is for storage alone
        credentials = credentials.with_scopes([_CLOUD_SCOPE])  # type: ignore[no-untyped-call]
    signer = google.auth.iam.Signer(request, credentials, account)  # type: ignore[no-untyped-call]
    signing = service_account.Credentials(signer, account, token_uri="")  # type: ignore[no-untyped-call]
    return signing, LONGEST_IAM_LINK_S


def _check_bucket(name: str) -> None:
    try:
        blob_rules.check_bucket(name)
    except InvalidBlobName as error:
        raise SettingsError(f"{error}; correct ATELIER_BLOBS_URL") from None


def _is_ours(name: str) -> bool:
    try:
        blob_rules.check_name(name)
    except InvalidBlobName:
        return False
    return True


def _parsed_generation(text: str) -> int:
    """Return the number of a generation, 0 for what cannot be one."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0
