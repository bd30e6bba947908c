"""Rules on the names of objects, as plain functions that every blob adapter calls.

Source: cloud.google.com/storage/docs/objects#naming (names) and /buckets#naming (buckets).
"""

from __future__ import annotations

import re

from shared.errors import InvalidBlobName

MAX_NAME_BYTES = 1_024
LONGEST_LINK_S = 604_800  # seven days, the most that Cloud Storage signs for
SCHEME = "gs://"

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")


def split_gs(uri: str) -> tuple[str, str]:
    """Return (bucket, name) of `gs://BUCKET/NAME`; the name is not checked. Raises InvalidBlobName."""
    bucket, slash, name = uri.removeprefix(SCHEME).partition("/")
    if not uri.startswith(SCHEME) or not slash:
        raise InvalidBlobName(f"{uri[:200]!r} is not of the form gs://BUCKET/NAME")
    check_bucket(bucket)
    return bucket, name


def check_bucket(bucket: str) -> None:
    """Raise InvalidBlobName unless *bucket* can be the name of a bucket."""
    if _BUCKET.fullmatch(bucket) is None or ".." in bucket:
        raise InvalidBlobName(f"{bucket[:200]!r} is not the name of a bucket")


def check_name(name: str) -> None:
    """Raise InvalidBlobName unless *name* is 1 to 1,024 bytes of UTF-8 that stay inside a bucket wherever it is kept.

    Stricter than Cloud Storage, where `a/../b` is an object like any other: a name must mean the same on a disk.
    """
    check_prefix(f"{name}/")
    if not name or name.startswith("/"):
        raise InvalidBlobName(f"{name[:200]!r}: an object's name is not empty and starts with no slash")


def check_prefix(prefix: str) -> None:
    """Raise InvalidBlobName unless *prefix* can be the beginning of a name; an empty one can."""
    try:
        size_bytes = len(prefix.removesuffix("/").encode())
    except UnicodeEncodeError:
        raise InvalidBlobName(f"{prefix[:200]!r} is not UTF-8") from None
    if size_bytes > MAX_NAME_BYTES:
        raise InvalidBlobName(f"an object's name is of {size_bytes} bytes; {MAX_NAME_BYTES} are allowed")
    if any(mark in prefix for mark in "\r\n\0"):
        raise InvalidBlobName(f"{prefix[:200]!r} has a line break or a NUL")
    if not {".", ".."}.isdisjoint(prefix.split("/")[:-1]):
        raise InvalidBlobName(f"{prefix[:200]!r} has a dot segment")
