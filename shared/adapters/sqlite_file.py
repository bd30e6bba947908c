"""One SQLite file as its adapters use it: a write connection behind the file's lock, and readers that never wait.

SQLite has one writer per file. Inside this process writers queue on a lock, which costs microseconds, where its own
busy handler would sleep for milliseconds; between processes the busy handler is what there is.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import SettingsError, StoreUnavailable

BUSY_TIMEOUT_S = 10.0
_CACHED_STATEMENTS = 512
_CHECKPOINT_PAGES = 4_000  # 16 MB of log; each checkpoint waits for the disk
_CACHE_KIB = 32_768  # at most; ids are hashes, so each write touches another page
_OPENING_PATIENCE_S = 10.0
_OPENING_PAUSE_S = 0.002

# Primary result codes (sqlite.org/rescode.html) that no retry can mend.
_UNUSABLE = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOTADB,
}

_locks: weakref.WeakValueDictionary[Path, threading.Lock] = weakref.WeakValueDictionary()
_locks_guard = threading.Lock()


class SqliteFile:
    """Opens *path*, creating it and its folders.

    Raises:
        SettingsError: not a database, damaged, or not writable.
        StoreUnavailable: another process has held it for longer than the busy timeout, or the disk is full.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path).absolute()
        self._write_lock = _lock_of(self._path)
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        with self._translated():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Run one transaction: committed when the block ends, undone when it raises."""
        with self._write_lock, self._translated():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that sees everything committed before each of its statements."""
        with self._translated():
            try:
                reader = self._idle.pop()
            except IndexError:
                reader = self._connect()
            try:
                yield reader
            finally:
                if self._closed:
                    reader.close()
                else:
                    self._idle.append(reader)

    def close(self) -> None:
        """Close every connection; whatever comes later raises StoreUnavailable."""
        with self._write_lock:
            self._closed = True
            self._writer.close()
        while self._idle:
            self._idle.pop().close()

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreUnavailable(f"{self._path} is closed")
        connection = sqlite3.connect(
            self._path,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=_CACHED_STATEMENTS,
        )
        try:
            self._configure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _configure(self, connection: sqlite3.Connection) -> None:
        if _enter_wal(connection) != "wal":
            raise SettingsError(f"{self._path} cannot hold the state: its file system does not support WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            if getattr(exc, "sqlite_errorcode", 0) & 0xFF in _UNUSABLE:
                raise SettingsError(f"{self._path} cannot be used as the state database: {exc}") from exc
            raise StoreUnavailable(f"{self._path}: {exc}") from exc
        except OSError as exc:
            raise SettingsError(f"{self._path} cannot be used as the state database: {exc.strerror}") from exc


def _enter_wal(connection: sqlite3.Connection) -> str:
    """Return the journal mode after asking for WAL.

    While another process creates the file, or closes it as the last one, SQLite answers "locked" at once, without its
    busy handler (sqlite.org/wal.html#sometimes_queries_return_sqlite_busy_in_wal_mode).
    """
    patience_ends = time.monotonic() + _OPENING_PATIENCE_S
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode=WAL").fetchone()[0])
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > patience_ends:
                raise
        time.sleep(_OPENING_PAUSE_S)


def _lock_of(path: Path) -> threading.Lock:
    """Return the lock that all writers of one file in this process share."""
    with _locks_guard:
        return _locks.setdefault(path.resolve(), threading.Lock())
