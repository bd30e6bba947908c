"""Where budgets are kept: one document per scope, UTC day and shard, plus standing limits per scope.

`spent + held + suspense <= limit` holds in every snapshot because money is only promised by a commit that is
guarded by the version of each document it counted on; giving money back or settling it needs no reading at all.

Each document tells of what it is a part, so that whoever reads or changes a scope's limit needs no setting for it.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from shared.domain.budget import MOST_SHARDS, Budget, Scope, day_of, divide, gather, split_limit
from shared.domain.job import Job
from shared.domain.times import to_text
from shared.errors import StoreConflict
from shared.ports import DocumentStore, Json, Snapshot, Write, create, delete, put, update

COLLECTION = "budgets"
KEPT_DAYS = 400  # a suspense is settled on the day it was held, however late that is
LIMIT_TRIES = 50  # a limit is set between the commits of jobs, of which a busy day has many


@dataclass(frozen=True, slots=True)
class Whole:
    """What a shard is a part of: so many shards of a limit per day, and the limit that its maker's settings say."""

    shards: int
    scope_limit: int
    setting: int


@dataclass(frozen=True, slots=True)
class Shard:
    """One budget document as read; *version* is None while it does not exist yet."""

    path: str
    scope: Scope
    day: str
    number: int
    budget: Budget
    whole: Whole
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

    def set_limit(self, scope: Scope, limit: int | None, now: datetime) -> bool:
        """Give a scope a standing limit per day from now on; None: its setting's again.

        Today's documents are changed together with it. They say how many shards there are, and those that are
        missing are made, so that no function makes one by an older limit. Where more is used already, that stays
        allowed and the day is closed: what jobs give back cannot be held again. One gap is left: a function that
        reads the older limit for the first hold of a scope's day and commits that after this has looked.

        Returns whether today is still open. Raises StoreConflict when other commits were always faster.
        """
        day, path, name = day_of(now), _standing_path(scope), {"scope": scope.kind, "name": scope.name}
        standing = delete(path) if limit is None else put(path, {**name, "limit": limit})
        for _ in range(LIMIT_TRIES):
            made = self._made(scope, day)
            new = min((s.whole.setting for s in made), default=0) if limit is None else limit
            try:
                self._documents.commit([standing, *_divided(made, new)])
            except StoreConflict:
                continue
            if made or not self._made(scope, day):
                return new >= sum(s.budget.used for s in made)
        raise StoreConflict(f"the budget of {scope} kept changing; its limit of today is as it was")

    def of_scope(self, scope: Scope, now: datetime) -> Budget | None:
        """Return the day's budget of one scope as its documents tell it; None before its first hold."""
        made = self._made(scope, day_of(now))
        return _summed(made) if made else None

    def today(self, scope: Scope, now: datetime) -> Budget:
        """Return the day's budget of one scope by these settings; nothing is used of a shard that is not made yet."""
        day = day_of(now)
        group = [(scope, _path(scope, day, n)) for n in range(self._shards_of(scope))]
        ((shards),) = self._standing([group], day).scopes
        return _total([shard.budget for shard in shards])

    def on_day(self, day: str, limit: int = 1000) -> list[tuple[Scope, Budget]]:
        """Return the budgets of a day that *limit* documents tell of, whole, dearest use first."""
        found = [_shard(s) for s in self._documents.query(COLLECTION, [("day", "==", day)], limit=limit)]
        if len(found) == limit:
            found += self._left_out(found, day)
        of_scope: dict[Scope, list[Shard]] = {}
        for shard in found:
            of_scope.setdefault(shard.scope, []).append(shard)
        totals = [(scope, _summed(shards)) for scope, shards in of_scope.items()]
        return sorted(totals, key=lambda item: (-item[1].used, str(item[0])))

    def _left_out(self, found: Sequence[Shard], day: str) -> list[Shard]:
        """Read the shards that are missing of the scopes found, and those of everything."""
        counts = {shard.scope: shard.whole.shards for shard in found}
        counts.setdefault(Scope("all"), max(counts.values()))
        seen = {shard.path for shard in found}
        paths = [_path(scope, day, n) for scope, count in counts.items() for n in range(count)]
        return [_shard(s) for s in self._documents.get([p for p in paths if p not in seen]) if s]

    def _made(self, scope: Scope, day: str) -> list[Shard]:
        """Read all shards that a scope has on a day, in one round trip and whatever their number."""
        most = 1 if scope.kind == "user" else MOST_SHARDS
        return [_shard(s) for s in self._documents.get([_path(scope, day, n) for n in range(most)]) if s]

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
        whole = Whole(count, limit, self._limits[scope.kind])
        return Shard(path, scope, day, number, Budget(split_limit(limit, count)[number]), whole, None)


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
    amounts = (d.get("held", 0), d.get("spent", 0), d.get("suspense", 0))
    budget = Budget(sum(amounts) if d.get("closed") else d["limit"], *amounts)
    # A document from before these fields existed tells only of itself.
    setting = d["setting"] if "setting" in d else d["limit"]
    whole = Whole(d.get("shards", d["shard"] + 1), d.get("scope_limit", 0), setting)
    return Shard(snapshot.path, Scope(d["scope"], d["name"]), d["day"], d["shard"], budget, whole, snapshot.version)


def _summed(shards: Sequence[Shard]) -> Budget:
    """Add up the shards of a scope, and the parts of those that are not made yet."""
    whole = max((s.whole for s in shards), key=lambda w: w.shards)
    made = {s.number for s in shards}
    parts = enumerate(split_limit(whole.scope_limit, whole.shards))
    return _total([*(s.budget for s in shards), *(Budget(part) for n, part in parts if n not in made)])


def _divided(made: Sequence[Shard], limit: int) -> list[Write]:
    """Return the guarded writes that divide a new limit among all shards of a scope, also those not made yet."""
    if not made:
        return []
    count = max(max(s.whole.shards, s.number + 1) for s in made)
    whole = Whole(count, limit, min(s.whole.setting for s in made))
    of_number = {s.number: s for s in made}
    shards = [of_number.get(n) or _next_to(made[0], n) for n in range(count)]
    after = divide(limit, [s.budget for s in shards])
    parts = {**asdict(whole), "closed": limit < sum(s.budget.used for s in made)}
    return [_write(s, b, **parts) for s, b in zip(shards, after, strict=True)]


def _next_to(s: Shard, number: int) -> Shard:
    return replace(s, path=_path(s.scope, s.day, number), number=number, budget=Budget(0), version=None)


def _write(shard: Shard, budget: Budget, **also: int) -> Write:
    fields: Json = {**asdict(budget), **also}
    if shard.version is not None:
        return update(shard.path, fields, version=shard.version)
    kept_until = datetime.fromisoformat(f"{shard.day}T00:00:00+00:00") + timedelta(days=KEPT_DAYS)
    identity = {"scope": shard.scope.kind, "name": shard.scope.name, "day": shard.day, "shard": shard.number}
    return create(shard.path, {**identity, **asdict(shard.whole), **fields, "expire_at": to_text(kept_until)})
