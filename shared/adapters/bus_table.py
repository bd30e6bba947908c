"""The rows of the local bus: one per message and subscription, in a table of the bus's SQLite file.

*due_at* says when a row may be delivered: at once, after a back-off, or when its lease ends, so nobody has to notice
an expired lease. A lease is known by its row and token; the token goes when the lease is given back, so an outdated
one fits nothing. Times are integer microseconds since 1970, UTC.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS bus_messages (
        id INTEGER PRIMARY KEY,
        subscription TEXT NOT NULL,
        due_at INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        token TEXT,
        owner TEXT,
        error TEXT,
        message_id TEXT NOT NULL,
        topic TEXT NOT NULL,
        published_at INTEGER NOT NULL,
        attributes TEXT NOT NULL,
        payload TEXT NOT NULL
    )
    """,
    "CREATE INDEX IF NOT EXISTS bus_messages_due ON bus_messages (subscription, due_at, id)",
)
_INSERT = """
INSERT INTO bus_messages (subscription, due_at, attempt, message_id, topic, published_at, attributes, payload)
VALUES (?, ?, 0, ?, ?, ?, ?, ?)
"""
_DUE = """
SELECT * FROM (SELECT ?, id FROM bus_messages WHERE subscription = ? AND due_at <= ? ORDER BY due_at, id LIMIT ?)
"""
_LEASE = """
UPDATE bus_messages SET attempt = attempt + 1, due_at = ?, token = ?, owner = ? WHERE id = ?
RETURNING id, subscription, attempt, error, message_id, topic, published_at, attributes, payload
"""
_FIND = """
SELECT id, subscription, attempt, error, message_id, topic, published_at, attributes, payload
FROM bus_messages WHERE id = ? AND token = ?
"""
_GIVE_BACK = "UPDATE bus_messages SET due_at = ?, error = ?, token = NULL, owner = NULL WHERE id = ?"
_FREE = "UPDATE bus_messages SET due_at = ?, attempt = attempt - 1, token = NULL, owner = NULL WHERE owner = ?"
_BACKLOG = """
SELECT subscription, SUM(owner IS NULL AND due_at <= :now), SUM(owner IS NULL AND due_at > :now), SUM(owner NOT NULL)
FROM bus_messages GROUP BY subscription
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A copy of a message. *attempt* counts the deliveries begun; *error* came with the last nack."""

    id: int
    subscription: str
    attempt: int
    error: str | None
    message_id: str
    topic: str
    published_at: int
    attributes: str
    payload: str


def create(connection: sqlite3.Connection) -> None:
    """Create the table where it is missing."""
    for statement in _SCHEMA:
        connection.execute(statement)


def insert(
    connection: sqlite3.Connection, subscription: str, due_at: int, content: tuple[str, str, int, str, str]
) -> None:
    """Add a copy of (message id, topic, time of publishing, attributes, payload)."""
    connection.execute(_INSERT, (subscription, due_at, *content))


def due(connection: sqlite3.Connection, subscriptions: Sequence[str], now: int, limit: int) -> list[list[int]]:
    """Return for each subscription the ids of at most *limit* rows that may be delivered, the longest due first."""
    values = [value for n, name in enumerate(subscriptions) for value in (n, name, now, limit)]
    found: list[list[int]] = [[] for _ in subscriptions]
    for position, row in connection.execute(" UNION ALL ".join([_DUE] * len(subscriptions)), values):
        found[position].append(row)
    return found


def lease(connection: sqlite3.Connection, row: int, until: int, token: str, owner: str) -> Row:
    """Lease a row and count the delivery."""
    return Row(*connection.execute(_LEASE, (until, token, owner, row)).fetchall()[0])


def find(connection: sqlite3.Connection, row: int, token: str) -> Row | None:
    """Return a row that is leased under *token*."""
    found = connection.execute(_FIND, (row, token)).fetchone()
    return None if found is None else Row(*found)


def give_back(connection: sqlite3.Connection, row: int, due_at: int, error: str | None) -> None:
    """End a lease; the row is delivered again."""
    connection.execute(_GIVE_BACK, (due_at, error, row))


def delete(connection: sqlite3.Connection, leases: Iterable[tuple[int, str]]) -> None:
    """Delete the rows that are leased under their tokens."""
    connection.executemany("DELETE FROM bus_messages WHERE id = ? AND token = ?", leases)


def owners(connection: sqlite3.Connection) -> list[str]:
    """Return everyone who holds a lease."""
    return [row for (row,) in connection.execute("SELECT DISTINCT owner FROM bus_messages WHERE owner NOT NULL")]


def free(connection: sqlite3.Connection, owner: str, due_at: int) -> int:
    """End every lease of *owner* as if it had not been, and return how many there were."""
    return connection.execute(_FREE, (due_at, owner)).rowcount


def first_due(connection: sqlite3.Connection, subscriptions: Sequence[str]) -> int | None:
    """Return when the first row may be delivered."""
    sql = "SELECT MIN(due_at) FROM bus_messages WHERE subscription = ?"
    times = [connection.execute(sql, (name,)).fetchone()[0] for name in subscriptions]
    return min((time for time in times if time is not None), default=None)


def backlog(connection: sqlite3.Connection, now: int) -> dict[str, dict[str, int]]:
    """Return for each subscription with rows how many are "due", are due "later", and are "leased"."""
    rows = connection.execute(_BACKLOG, {"now": now})
    return {name: {"due": due, "later": later, "leased": leased} for name, due, later, leased in rows}
