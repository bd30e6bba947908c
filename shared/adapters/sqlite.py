"""`DocumentStore` in one SQLite file, with the limits and index rules of the cloud's store.

Commits take the file's one writer; reads never wait for it.
"""

from __future__ import annotations

import itertools
import math
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from shared.adapters import document_rules, query_rules
from shared.adapters.sqlite_file import SqliteFile
from shared.adapters.sqlite_table import Column, Table
from shared.errors import InvalidDocument, StoreConflict
from shared.ports import ABSENT, EXISTS, Comparison, Snapshot, Write


class SqliteDocumentStore:
    """Documents in the SQLite file *path*, shared by the threads of this process and by other processes.

    *indexes* is of the form of `shared/stores/indexes.json`, which is the default.
    """

    def __init__(self, path: str, *, indexes: Mapping[str, Any] | None = None) -> None:
        declared = query_rules.load_indexes() if indexes is None else indexes
        self._indexes = query_rules.parse_indexes(declared)
        self._file = SqliteFile(path)
        self._tables: dict[str, Table] = {}
        # Versions need not be in order, only never the same twice, across processes and deletions alike.
        self._origin = secrets.token_hex(6)
        self._serial = itertools.count(1)
        self.counts = document_rules.Counts()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def get(self, paths: Sequence[str]) -> list[Snapshot | None]:
        """Read documents, all as of one moment. See `ports.DocumentStore.get`."""
        if not paths:
            return []
        wanted: dict[str, list[str]] = {}
        for path in paths:
            collection, name = document_rules.split_path(path)
            wanted.setdefault(collection, []).append(name)
        sql = " UNION ALL ".join(
            self._table(collection).select_many(len(names)) for collection, names in wanted.items()
        )
        with self._file.read() as reader:
            rows = reader.execute(sql, list(itertools.chain.from_iterable(wanted.values()))).fetchall()
        self.counts.add(read=len(paths))
        found = {path: (version, data) for path, version, data in rows}
        return [_snapshot(path, *found[path]) if path in found else None for path in paths]

    def commit(self, writes: Sequence[Write]) -> list[str]:
        """Apply all *writes* or none. See `ports.DocumentStore.commit`."""
        places = document_rules.check_writes(writes)
        changes = [self._prepare(write, *place) for write, place in zip(writes, places, strict=True)]
        try:
            with self._file.write() as connection:
                for change in changes:
                    change.apply(connection)
        except StoreConflict:
            self.counts.add(conflicts=1)
            raise
        self.counts.add(written=len(writes), commits=1)
        return [change.version for change in changes]

    def query(
        self,
        collection: str,
        where: Sequence[tuple[str, Comparison, Any]] = (),
        *,
        order_by: str | None = None,
        descending: bool = False,
        limit: int,
        after: Snapshot | None = None,
    ) -> list[Snapshot]:
        """Return a page of documents in order. See `ports.DocumentStore.query`."""
        plan = query_rules.plan_query(
            self._indexes, collection, where, order_by=order_by, descending=descending, limit=limit, after=after
        )
        table = self._table(collection)
        sql, values = table.page(plan, descending=descending, after=after)
        with self._file.read() as reader:
            rows = reader.execute(sql, [*values, limit]).fetchall()
        self.counts.add(read=max(1, len(rows)))
        return [_snapshot(*row) for row in rows]

    def aggregate(
        self, collection: str, where: Sequence[tuple[str, Comparison, Any]], sums: Sequence[str]
    ) -> dict[str, int]:
        """Return the count, and sums of the integers. See `ports.DocumentStore.aggregate`."""
        plan = query_rules.plan_aggregate(self._indexes, collection, where, sums)
        sql, values = self._table(collection).totals(plan, sums)
        with self._file.read() as reader:
            count, *totals = reader.execute(sql, values).fetchone()
        self.counts.add(read=(1 + len(sums)) * max(1, math.ceil(count / 1_000)))
        if any(type(total) is not int for total in totals):
            raise InvalidDocument(f"{collection}: a sum is not of integers")
        return {"count": count, **dict(zip(sums, totals, strict=True))}

    def _prepare(self, write: Write, collection: str, name: str) -> _Change:
        table = self._table(collection)
        if write.kind == "delete":
            return _Change(write, name, table, "", ())
        version = f"{self._origin}-{next(self._serial):x}"
        row = table.row(write.path, write.data) if write.kind == "set" else ()
        return _Change(write, name, table, version, row)

    def _table(self, collection: str) -> Table:
        """Return the collection's table, created on first use."""
        table = self._tables.get(collection)
        if table is None:
            document_rules.check_collection(collection)
            indexes = self._indexes.get(collection, query_rules.CollectionIndexes())
            with self._file.write() as connection:
                table = Table.open(connection, collection, indexes)
            self._tables[collection] = table
        return table


@dataclass(frozen=True, slots=True)
class _Change:
    """One write of a commit, checked and encoded before the write lock is taken."""

    write: Write
    name: str
    table: Table
    version: str
    row: tuple[Column, ...]

    def apply(self, connection: sqlite3.Connection) -> None:
        """Make the change. Raises StoreConflict when its demand does not hold."""
        if self.write.kind == "update":
            self._update(connection)
        elif self.write.kind == "delete":
            self._delete(connection)
        else:
            self._set(connection)

    def _set(self, connection: sqlite3.Connection) -> None:
        demand, table = self.write.demand, self.table
        if demand is None or demand == ABSENT:
            sql = table.upsert if demand is None else table.insert
            done = connection.execute(sql, (self.name, self.version, *self.row))
        elif demand == EXISTS:
            done = connection.execute(table.replace, (self.version, *self.row, self.name))
        else:
            done = connection.execute(table.replace_version, (self.version, *self.row, self.name, demand))
        self._require(holds=done.rowcount == 1)

    def _delete(self, connection: sqlite3.Connection) -> None:
        demand, table = self.write.demand, self.table
        if demand is None or demand == EXISTS:
            done = connection.execute(table.delete, (self.name,))
        else:
            done = connection.execute(table.delete_version, (self.name, demand))
        self._require(holds=demand is None or done.rowcount == 1)

    def _update(self, connection: sqlite3.Connection) -> None:
        found = connection.execute(self.table.select, (self.name,)).fetchone()
        self._require(holds=found is not None and self.write.demand in {None, EXISTS, found[0]})
        data = orjson.loads(found[1]) | self.write.data
        for field, amount in self.write.increments.items():
            data[field] = _incremented(self.write.path, field, data.get(field, 0), amount)
        row = self.table.row(self.write.path, data)
        connection.execute(self.table.replace, (self.version, *row, self.name))

    def _require(self, *, holds: bool) -> None:
        if not holds:
            raise StoreConflict(f"{self.write.path} is not as the commit demands")


def _incremented(path: str, field: str, value: Any, amount: int) -> int:
    if type(value) is not int:
        raise InvalidDocument(f"{path}: {field!r} is no integer that could be incremented")
    return value + amount


def _snapshot(path: str, version: str, data: str) -> Snapshot:
    return Snapshot(path, version, orjson.loads(data))
