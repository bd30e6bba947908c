"""The SQL of one collection in SQLite: id, version, one column per indexed field, and the document as JSON text.

A column's values sort as the strictest back end sorts them: null, false, true, numbers, texts, everything else
(firebase.google.com/docs/firestore/manage-data/data-types); SQL NULL means that the document lacks the field.
"""

# ruff: noqa: S608 - only collection and field names that their rules let pass come into the SQL; values are bound.

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from shared.adapters import document_rules, query_rules
from shared.errors import InvalidDocument
from shared.ports import Json, Snapshot

Column = int | float | str | bytes | None

_PREFIX = "f_"
_FILL_PAGE = 500

# SQLite sorts numbers before texts before blobs; the huge negatives stand for null, false and true before all numbers.
_NULL, _FALSE, _TRUE, _NUMBERS = -math.inf, -1.7e308, -1.6e308, -1.5e308


class Table:
    """SQL of one collection."""

    @classmethod
    def open(cls, connection: sqlite3.Connection, collection: str, indexes: query_rules.CollectionIndexes) -> Table:
        """Create the collection's table, and columns and indexes declared since; documents in it are indexed anew.

        Columns that another version of the declarations has added are kept up as well.
        """
        name, declared = _table(collection), indexes.fields()
        columns = ", ".join(
            ["id TEXT PRIMARY KEY", "version TEXT NOT NULL", *map(_column, declared), "data TEXT NOT NULL"]
        )
        connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")
        info = connection.execute(f"PRAGMA table_info({name})").fetchall()
        present = [row[1].removeprefix(_PREFIX) for row in info if row[1].startswith(_PREFIX)]
        added = [field for field in declared if field not in present]
        for field in added:
            connection.execute(f"ALTER TABLE {name} ADD COLUMN {_column(field)}")
        table = cls(collection, [*present, *added])
        if added:
            table._fill(connection)
        for index in _index_fields(indexes):
            keys = ", ".join([*map(_column, index), "id"])
            connection.execute(f"CREATE INDEX IF NOT EXISTS {table._index(index)} ON {name} ({keys})")
        return table

    def __init__(self, collection: str, fields: Sequence[str]) -> None:
        self._collection = collection
        self._fields = fields
        self._columns = [_column(field) for field in fields]
        self._name = _table(collection)
        columns = ["id", "version", *self._columns, "data"]
        marks = ", ".join("?" * len(columns))
        assigned = ", ".join(f"{column} = ?" for column in columns[1:])
        excluded = ", ".join(f"{column} = excluded.{column}" for column in columns[1:])
        self.select = f"SELECT version, data FROM {self._name} WHERE id = ?"
        self.insert = f"INSERT INTO {self._name} ({', '.join(columns)}) VALUES ({marks}) ON CONFLICT (id) DO NOTHING"
        self.upsert = self.insert.replace("DO NOTHING", f"DO UPDATE SET {excluded}")
        self.replace = f"UPDATE {self._name} SET {assigned} WHERE id = ?"
        self.replace_version = f"{self.replace} AND version = ?"
        self.delete = f"DELETE FROM {self._name} WHERE id = ?"
        self.delete_version = f"{self.delete} AND version = ?"

    def row(self, path: str, data: Json) -> tuple[Column, ...]:
        """Return the values of the index columns and the document's text. Raises InvalidDocument, DocumentTooLarge."""
        text = document_rules.encode(path, data)
        document_rules.check_index_values(data, self._fields)
        return (*self._keys(data), text)

    def select_many(self, count: int) -> str:
        """Select path, version and data of *count* ids."""
        return f"SELECT {self._path()}, version, data FROM {self._name} WHERE id IN ({', '.join('?' * count)})"

    def page(self, plan: query_rules.Plan, *, descending: bool, after: Snapshot | None) -> tuple[str, list[Column]]:
        """Return the SQL of a query, still wanting its limit, and its values."""
        conditions, values = _conditions(plan)
        keys = [*([_column(plan.order_by)] if plan.order_by else []), "id"]
        if after is not None:
            conditions.append(f"({', '.join(keys)}) {'<' if descending else '>'} ({', '.join('?' * len(keys))})")
            values += [_sort_key(after.data[plan.order_by])] if plan.order_by else []
            values.append(after.path.partition("/")[2])
        order = ", ".join(f"{key} DESC" if descending else key for key in keys)
        return (
            f"SELECT {self._path()}, version, data {self._from(plan, conditions)} ORDER BY {order} LIMIT ?",
            values,
        )

    def totals(self, plan: query_rules.Plan, sums: Sequence[str]) -> tuple[str, list[Column]]:
        """Return the SQL of an aggregation and its values."""
        conditions, values = _conditions(plan)
        columns = [f"COALESCE(SUM(CASE WHEN {_is_number(field)} THEN {_column(field)} END), 0)" for field in sums]
        return f"SELECT {', '.join(['COUNT(*)', *columns])} {self._from(plan, conditions)}", values

    def _fill(self, connection: sqlite3.Connection) -> None:
        """Extract the index columns of every document anew."""
        assigned = ", ".join(f"{column} = ?" for column in self._columns)
        page = f"SELECT id, data FROM {self._name} WHERE id > ? ORDER BY id LIMIT {_FILL_PAGE}"
        rows = connection.execute(page, ("",)).fetchall()
        while rows:
            changes = [(*self._keys(orjson.loads(text)), name) for name, text in rows]
            connection.executemany(f"UPDATE {self._name} SET {assigned} WHERE id = ?", changes)
            rows = connection.execute(page, (rows[-1][0],)).fetchall()

    def _keys(self, data: Json) -> tuple[Column, ...]:
        return tuple(_sort_key(data[field]) if field in data else None for field in self._fields)

    def _index(self, fields: Sequence[str]) -> str:
        return f'"doc_{self._collection}:{",".join(fields)}"'

    def _path(self) -> str:
        return f"'{self._collection}/' || id"

    def _from(self, plan: query_rules.Plan, conditions: Sequence[str]) -> str:
        """Name the index, so that a query is never slower than declared."""
        indexed = f" INDEXED BY {self._index(plan.index)}" if plan.index else ""
        return f"FROM {self._name}{indexed} WHERE {' AND '.join(conditions) or 'TRUE'}"


def _conditions(plan: query_rules.Plan) -> tuple[list[str], list[Column]]:
    conditions = [f"{_column(field)} = ?" for field, _ in plan.equalities]
    values = [_sort_key(value) for _, value in plan.equalities]
    if plan.order_by is None:
        return conditions, values
    for comparison, value in plan.ranges:
        conditions += [f"{_column(plan.order_by)} {comparison} ?", _same_type(plan.order_by, value)]
        values.append(_sort_key(value))
    if not plan.ranges:
        conditions.append(f"{_column(plan.order_by)} >= ?")
        values.append(_NULL)
    return conditions, values


def _table(collection: str) -> str:
    return f'"doc_{collection}"'


def _column(field: str) -> str:
    return f'"{_PREFIX}{field}"'


def _index_fields(indexes: query_rules.CollectionIndexes) -> Iterator[tuple[str, ...]]:
    """Yield the fields of each index; one serves both directions here, so both spellings of one are the same."""
    yield from ((field,) for field in sorted(indexes.single))
    yield from (tuple(part.removeprefix("-") for part in index) for index in indexes.composite)


def _is_number(field: str) -> str:
    return f"({_column(field)} >= {_NUMBERS} AND {_column(field)} < '')"


def _same_type(field: str, value: Any) -> str:
    """Return the condition of being of the type of *value*: no text is more than a number."""
    return f"({_column(field)} >= '' AND {_column(field)} < x'')" if isinstance(value, str) else _is_number(field)


def _sort_key(value: Any) -> Column:
    """Return *value* as the column holds it."""
    if isinstance(value, str):
        return str(value)
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    if isinstance(value, int | float):
        if value < _NUMBERS:
            raise InvalidDocument(f"an indexed number is below {_NUMBERS}")
        return value
    return json.dumps(value).encode()
