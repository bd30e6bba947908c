"""Where budgets are kept: one document per scope, UTC day and shard, plus standing limits per scope.

`spent + held + suspense <= limit` holds in every snapshot because money is only promised by a commit that is
guarded by the version of each document it counted on; giving money back or settling it needs no reading at all.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared.domain.budget import Budget, Scope, day_of, gather, split_limit
from shared.domain.job import Job
from shared.domain.times import to_text
from shared.ports import DocumentStore, Json, Snapshot, Write, create, put, update

COLLECTION = "budgets"
KEPT_DAYS = 400  # a suspense is settled on the day it was held, however late that is


@dataclass(frozen=True, slots=True)
class Shard:
    """One budget document as read; *version* is None while it does not exist yet."""

    path: str
    scope: Scope
    day: str
    number: int
    budget: Budget
    version: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What was read of every scope of one request: per scope its shards, the chosen one first."""

    scopes: tuple[tuple[Shard, ...], ...]
    soft_fraction: float

    @property
    def paths(self) -> tuple[str, ...]:
        """The document of each scope in which the hold is booked."""
        return tuple(shards[0].path for shards in self.scopes)

    @property
    def free(self) -> int:
        """Micro-USD that every scope read here can still hold."""
        return min(sum(shard.budget.free for shard in shards) for shards in self.scopes)

    @property
    def is_soft_limited(self) -> bool:
        """Some scope has used its soft share of the day."""
        return any(
            sum(s.budget.used for s in shards) >= self.soft_fraction * sum(s.budget.limit for s in shards)
            for shards in self.scopes
        )

    def tightest(self) -> tuple[Scope, int, int]:
        """Return (scope, limit, used) of the scope with the least left, for an error that helps."""
        shards = min(self.scopes, key=lambda of_scope: sum(s.budget.free for s in of_scope))
        return shards[0].scope, sum(s.budget.limit for s in shards), sum(s.budget.used for s in shards)

    def hold(self, amount: int, spent: int = 0, suspense: int = 0) -> list[Write]:
        """Return the guarded writes that hold *amount* and move *spent* and *suspense* in every scope.

        Raises:
            BudgetExceeded: some scope does not have that much free.
        """
        writes: list[Write] = []
        for shards in self.scopes:
            before = [shard.budget for shard in shards]
            after = gather(before, 0, amount + spent + suspense, str(shards[0].scope))
            after[0] = replace(
                after[0],
                held=before[0].held + amount,
                spent=before[0].spent + spent,
                suspense=before[0].suspense + suspense,
            )
            writes += [_write(s, b) for s, b, old in zip(shards, after, before, strict=True) if b != old]
        return writes


class Budgets:
    """Reads and books budgets; limits come from settings and, before those, from standing documents."""

    def __init__(
        self, documents: DocumentStore, limits: Mapping[str, int], *, shards: int = 1, soft_fraction: float = 0.7
    ) -> None:
        """*limits*: micro-USD per day for the scope kinds "all", "tenant" and "user"."""
        self._documents = documents
        self._limits = limits
        self._shards = shards
        self._soft_fraction = soft_fraction
        self._random = random.Random()  # noqa: S311 - spreads load, guards nothing
        self._turns: dict[str, threading.Lock] = {}

    def choose(self, scopes: Sequence[Scope], now: datetime) -> tuple[str, ...]:
        """Return the budget document of each scope that a new job shall use, a random shard of today."""
        day = day_of(now)
        return tuple(_path(s, day, self._random.randrange(self._shards_of(s))) for s in scopes)

    def turn(self, paths: Sequence[str]) -> threading.Lock:
        """A lock by which this process's own commits on one hot document queue instead of colliding.

        Only a courtesy: what keeps the cap is the version in each write.
        """
        return self._turns.setdefault(paths[0] if paths else "", threading.Lock())

    def read(self, scopes: Sequence[Scope], paths: Sequence[str], now: datetime) -> Standing:
        """Read the chosen document of each scope in one round trip."""
        return self._standing([[(s, p)] for s, p in zip(scopes, paths, strict=True)], day_of(now))

    def widen(self, standing: Standing) -> Standing:
        """Read every shard of the same scopes and day, so that what is free anywhere can be used."""
        day = standing.scopes[0][0].day
        groups: list[list[tuple[Scope, str]]] = []
        for shards in standing.scopes:
            scope, first = shards[0].scope, shards[0].path
            others = (_path(scope, day, n) for n in range(self._shards_of(scope)))
            groups.append([(scope, first), *((scope, path) for path in others if path != first)])
        return self._standing(groups, day)

    def of_job(self, job: Job) -> Standing:
        """Read the documents in which a job's hold is booked."""
        found = [s for s in self._documents.get(job.scopes) if s is not None]
        return Standing(tuple((_shard(s),) for s in found), self._soft_fraction)

    def settling(self, before: Job | None, after: Job) -> list[Write]:
        """Return the unguarded increments by which a job's money moved between two steps; empty when none did."""
        old = (before.hold, before.spent, before.suspense) if before else (0, 0, 0)
        new = (after.hold, after.spent, after.suspense)
        moves = {n: b - a for n, a, b in zip(("held", "spent", "suspense"), old, new, strict=True) if b != a}
        return [update(path, increments=moves) for path in after.scopes] if moves else []

    def set_limit(self, scope: Scope, limit: int, now: datetime) -> None:
        """Give a scope a standing limit per day, from today on."""
        standing = put(_standing_path(scope), {"scope": scope.kind, "name": scope.name, "limit": limit})
        paths = [_path(scope, day_of(now), n) for n in range(self._shards_of(scope))]
        parts = split_limit(limit, len(paths))
        today = [
            update(path, {"limit": part}, version=found.version)
            for path, part, found in zip(paths, parts, self._documents.get(paths), strict=True)
            if found
        ]
        self._documents.commit([standing, *today])

    def today(self, scope: Scope, now: datetime) -> Budget:
        """Return the day's budget of one scope, shards added up; nothing is used of one that does not exist yet."""
        day = day_of(now)
        group = [(scope, _path(scope, day, n)) for n in range(self._shards_of(scope))]
        ((shards),) = self._standing([group], day).scopes
        return _total([shard.budget for shard in shards])

    def on_day(self, day: str, limit: int = 1000) -> list[tuple[Scope, Budget]]:
        """Return the budgets that exist for a day, shards added up, dearest use first."""
        totals: dict[Scope, Budget] = {}
        for snapshot in self._documents.query(COLLECTION, [("day", "==", day)], limit=limit):
            shard = _shard(snapshot)
            totals[shard.scope] = _total([totals.get(shard.scope, Budget(0)), shard.budget])
        return sorted(totals.items(), key=lambda item: (-item[1].used, str(item[0])))

    def _shards_of(self, scope: Scope) -> int:
        return 1 if scope.kind == "user" else self._shards  # one user is never hot

    def _standing(self, groups: list[list[tuple[Scope, str]]], day: str) -> Standing:
        wanted = [pair for group in groups for pair in group]
        found = dict(zip((p for _, p in wanted), self._documents.get([p for _, p in wanted]), strict=True))
        missing = [scope for scope, path in wanted if found[path] is None]
        limits = self._limits_of(missing) if missing else {}
        scopes = []
        for group in groups:
            shards = []
            for scope, path in group:
                snapshot = found[path]
                shards.append(_shard(snapshot) if snapshot else self._new_shard(scope, path, day, limits[scope]))
            scopes.append(tuple(shards))
        return Standing(tuple(scopes), self._soft_fraction)

    def _limits_of(self, scopes: Sequence[Scope]) -> dict[Scope, int]:
        standing = self._documents.get([_standing_path(scope) for scope in scopes])
        return {
            scope: int(found.data["limit"]) if found else self._limits[scope.kind]
            for scope, found in zip(scopes, standing, strict=True)
        }

    def _new_shard(self, scope: Scope, path: str, day: str, limit: int) -> Shard:
        count = self._shards_of(scope)
        number = next(n for n in range(count) if _path(scope, day, n) == path)
        return Shard(path, scope, day, number, Budget(split_limit(limit, count)[number]), None)


def _total(budgets: Sequence[Budget]) -> Budget:
    return Budget(*(sum(getattr(b, part) for b in budgets) for part in ("limit", "held", "spent", "suspense")))


def _path(scope: Scope, day: str, shard: int) -> str:
    return f"{COLLECTION}/{_digest(scope.kind, scope.name, day, str(shard))}"


def _standing_path(scope: Scope) -> str:
    return f"{COLLECTION}/{_digest(scope.kind, scope.name)}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def _shard(snapshot: Snapshot) -> Shard:
    d = snapshot.data
    budget = Budget(d["limit"], d.get("held", 0), d.get("spent", 0), d.get("suspense", 0))
    return Shard(snapshot.path, Scope(d["scope"], d["name"]), d["day"], d["shard"], budget, snapshot.version)


def _write(shard: Shard, budget: Budget) -> Write:
    amounts: Json = {
        "limit": budget.limit,
        "held": budget.held,
        "spent": budget.spent,
        "suspense": budget.suspense,
    }
    if shard.version is not None:
        return update(shard.path, amounts, version=shard.version)
    kept_until = datetime.fromisoformat(f"{shard.day}T00:00:00+00:00") + timedelta(days=KEPT_DAYS)
    identity = {"scope": shard.scope.kind, "name": shard.scope.name, "day": shard.day, "shard": shard.number}
    return create(shard.path, {**identity, **amounts, "expire_at": to_text(kept_until)})
