"""`BlobStore` in a folder: `ROOT/BUCKET/NAME`, so that people can look in and drop files.

A new object appears whole: it is written to `ROOT/.tmp` and then linked to its name, which fails when there is one.
Limits of a disk that Cloud Storage does not have, a part of a name over 255 bytes or both `a` and `a/b`, are refused
as InvalidBlobName.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote_to_bytes

from shared.adapters import blob_rules
from shared.adapters.local_process import owner_is_alive, process_owner
from shared.adapters.media_types import HEAD_BYTES, media_type_of
from shared.errors import BlobExists, BlobNotFound, BlobTooLarge, InvalidBlobName, SettingsError, StoreUnavailable
from shared.ports import BlobInfo

BUCKETS = ("inbox", "outputs")
MAX_PART_BYTES = 255
_SCHEME = "file://"


class FilesystemBlobStore:
    """Buckets as folders under *root*, shared by threads and processes. Raises SettingsError when it cannot be used."""

    def __init__(self, root: Path) -> None:
        self._given = str(root.absolute())
        self._root = os.path.realpath(root)
        self._temporary = Path(self._root, ".tmp")
        try:
            for folder in (*BUCKETS, ".tmp"):
                Path(self._root, folder).mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
        except OSError as exc:
            raise SettingsError(f"{root} cannot be used for the buckets: {exc.strerror}") from exc

    def uri(self, bucket: str, name: str) -> str:
        """Return the file URI of an object. Raises InvalidBlobName."""
        _check(bucket, name)
        return f"{_SCHEME}{quote(f'{self._root}/{bucket}/{name}')}"

    def locate(self, uri: str) -> tuple[str, str]:
        """Return (bucket, name) of `gs://BUCKET/NAME` or of a file URI under the root. Raises InvalidBlobName."""
        bucket, name = self._split(uri)
        _check(bucket, name)
        return bucket, name

    def create(self, uri: str, data: bytes | Iterable[bytes], media_type: str) -> BlobInfo:
        """Store a new object. Raises BlobExists, InvalidBlobName."""
        path = self._path(uri)
        with _translated(uri), self._written(data) as temporary:
            info = self._info(uri, temporary)
            try:
                _with_folder(path, lambda: os.link(temporary, path))
            except FileExistsError:
                _refuse_folder(path)
                raise BlobExists(f"{uri} exists") from None
            return info

    def replace(self, uri: str, data: bytes, media_type: str, generation: str | None) -> BlobInfo:
        """Store over *generation*, or over whatever is there. Raises BlobExists, InvalidBlobName."""
        path = self._path(uri)
        with _translated(uri), self._written(data) as temporary, self._locked():
            current = _regular(path)
            if generation is not None and (current is None or _generation(current) != generation):
                raise BlobExists(f"{uri} is not of generation {generation} by now")
            if current is not None:
                _make_newer(temporary, current)
            info = self._info(uri, temporary)
            _refuse_folder(path)
            _with_folder(path, lambda: temporary.replace(path))
            return info

    def read(self, uri: str, max_bytes: int) -> bytes:
        """Return the bytes. Raises BlobNotFound, and BlobTooLarge before reading."""
        with self.open(uri) as file, _translated(uri):
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes > max_bytes:
                raise BlobTooLarge(f"{uri} is of {size_bytes} bytes; at most {max_bytes} are wanted")
            return file.read(size_bytes)

    def open(self, uri: str) -> BinaryIO:
        """Open for streaming. Raises BlobNotFound."""
        path = self._path(uri)
        with _translated(uri):
            if _regular(path) is None:
                raise BlobNotFound(f"there is no {uri}")
            return path.open("rb")

    def stat(self, uri: str) -> BlobInfo | None:
        """Return size, generation and media type, None where there is no object.

        A disk keeps no media type, so it is told from the content or else from the name, as for a dropped file.
        """
        path = self._path(uri)
        with _translated(uri):
            return None if _regular(path) is None else self._info(uri, path)

    def list(self, prefix_uri: str, *, limit: int, after: str | None = None) -> list[BlobInfo]:
        """Return a page of objects in the order of names; *after* is the URI of the last one of the page before."""
        bucket, prefix = self._split(prefix_uri)
        blob_rules.check_prefix(prefix)
        last = "" if after is None else self.locate(after)[1]
        found = (self._listed(bucket, name) for name in self._names(bucket, prefix, last))
        with _translated(prefix_uri):
            return list(itertools.islice((info for info in found if info is not None), limit))

    def link(self, uri: str, valid_s: int) -> None:
        """Return None: a folder gives no URLs. Raises InvalidBlobName."""
        self.locate(uri)

    def close(self) -> None:
        """Do nothing: files are open only while they are used."""

    def _split(self, uri: str) -> tuple[str, str]:
        if not uri.startswith(_SCHEME):
            return blob_rules.split_gs(uri)
        try:
            path = unquote_to_bytes(uri.removeprefix(_SCHEME)).decode()
        except UnicodeDecodeError:
            raise InvalidBlobName(f"{uri[:200]!r} is not UTF-8") from None
        for root in (self._root, self._given):
            if path.startswith(f"{root}/"):
                return blob_rules.split_gs(f"{blob_rules.SCHEME}{path.removeprefix(f'{root}/')}")
        raise InvalidBlobName(f"{uri[:200]!r} is not under {self._root}")

    def _path(self, uri: str) -> Path:
        """Return where an object is. Raises InvalidBlobName when a symbolic link leads out of the bucket."""
        bucket, name = self.locate(uri)
        folder = f"{self._root}/{bucket}"
        path = os.path.realpath(f"{folder}/{name}")
        if not path.startswith(f"{folder}/"):
            raise InvalidBlobName(f"{uri} leads out of its bucket")
        return Path(path)

    def _info(self, uri: str, path: Path) -> BlobInfo:
        """Describe the file at *path* as the object at *uri*."""
        bucket, name = self.locate(uri)
        status = path.stat()
        media_type = media_type_of(name, _head(path))
        return BlobInfo(self.uri(bucket, name), status.st_size, media_type, _generation(status))

    def _listed(self, bucket: str, name: str) -> BlobInfo | None:
        """Describe an object of a listing; None when it is gone by now or not one that `read` would open."""
        try:
            return self.stat(f"{blob_rules.SCHEME}{bucket}/{name}")
        except InvalidBlobName:
            return None

    def _names(self, bucket: str, prefix: str, last: str) -> Iterator[str]:
        """Yield the names that start with *prefix* and come after *last*, in order, a folder at a time."""
        parent = prefix.rpartition("/")[0]
        folder = os.path.realpath(f"{self._root}/{bucket}/{parent}")
        if f"{folder}/".startswith(f"{self._root}/{bucket}/"):
            yield from _names_in(folder, f"{parent}/" if parent else "", prefix, last)

    @contextmanager
    def _written(self, data: bytes | Iterable[bytes]) -> Iterator[Path]:
        """Write a temporary file that is gone when the block ends, if the block has not moved it."""
        path = self._temporary / f"{process_owner()}-{secrets.token_hex(8)}"
        try:
            with path.open("xb") as file:
                file.writelines([data] if isinstance(data, bytes) else data)
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep every other thread and process from replacing; released by the system when this one dies."""
        with Path(self._root, ".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _remove_leftovers(self) -> None:
        """Remove the temporary files of processes that died while writing."""
        for path in self._temporary.iterdir():
            if not owner_is_alive(path.name.rpartition("-")[0]):
                path.unlink(missing_ok=True)


def _check(bucket: str, name: str) -> None:
    blob_rules.check_bucket(bucket)
    blob_rules.check_name(name)
    for part in name.split("/"):
        if not 1 <= len(part.encode()) <= MAX_PART_BYTES:
            raise InvalidBlobName(f"{name[:200]!r}: a part between slashes is of 1 to {MAX_PART_BYTES} bytes on a disk")


def _names_in(folder: str, above: str, prefix: str, last: str) -> Iterator[str]:
    """Yield names below *folder*, whose own name with a slash is *above*.

    A folder sorts as its name with a slash, so that `a.b` comes before `a/b`; one that *prefix* or *last* rules out
    is not opened.
    """
    for key in sorted(above + part for part in _entries(folder)):
        if not key.endswith("/"):
            if key.startswith(prefix) and key > last:
                yield key
        elif key.startswith(prefix) and (key > last or last.startswith(key)):
            yield from _names_in(f"{folder}/{key[len(above) : -1]}", key, prefix, last)


def _entries(folder: str) -> list[str]:
    """Return the names of files, and of folders with a slash. Links to folders are left out, and so are odd names."""
    try:
        with os.scandir(folder) as entries:
            return [name for name in map(_listed_as, entries) if name is not None]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _listed_as(entry: os.DirEntry[str]) -> str | None:
    try:
        entry.name.encode()
        if entry.is_dir(follow_symlinks=False):
            return f"{entry.name}/"
        return entry.name if entry.is_file() else None
    except (UnicodeEncodeError, OSError):  # not UTF-8, or a circle of links
        return None


def _with_folder(path: Path, store: Callable[[], object]) -> None:
    """Store at *path*, and once more with its folder when that is missing."""
    try:
        store()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        store()


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise InvalidBlobName(f"{path}: objects are stored below this name, and a disk cannot keep both")


def _regular(path: Path) -> os.stat_result | None:
    """Return the status of a plain file, None where there is none."""
    try:
        status = path.stat()
    except OSError as exc:
        if exc.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            return None
        raise
    return status if stat.S_ISREG(status.st_mode) else None


def _head(path: Path) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _generation(status: os.stat_result) -> str:
    """Return what changes with the content and stays when the folder is copied with its times."""
    return f"{status.st_mtime_ns}-{status.st_size}"


def _make_newer(path: Path, than: os.stat_result) -> None:
    """Give *path* a later time than *than*: two writes can fall into one tick of the file system's clock."""
    status = path.stat()
    if status.st_mtime_ns <= than.st_mtime_ns:
        os.utime(path, ns=(status.st_atime_ns, than.st_mtime_ns + 1))


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise BlobNotFound(f"there is no {uri}") from None
    except (FileExistsError, NotADirectoryError):
        raise InvalidBlobName(f"{uri}: part of this name is an object, and a disk cannot keep both") from None
    except OSError as exc:
        if exc.errno == errno.ENAMETOOLONG:
            raise InvalidBlobName(f"{uri} is too long for this disk") from None
        raise StoreUnavailable(f"{uri}: {exc.strerror}") from exc
