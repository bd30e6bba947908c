"""Where budgets are kept: one document per scope, UTC day and shard, plus standing limits per scope.

`spent + held + suspense <= limit` holds in every snapshot because money is only promised by a commit that is
guarded by the version of each document it counted on; giving money back or settling it needs no reading at all.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from shared.domain.budget import MOST_SHARDS, Budget, Scope, day_of, gather, split_limit
from shared.domain.job import Job
from shared.errors import StoreConflict
from shared.ports import DocumentStore, Write, delete, put, update
from shared.stores.budget_shards import (
    COLLECTION,
    Shard,
    Whole,
    divided,
    part_of,
    read_shard,
    setting_of,
    shard_path,
    standing_path,
    summed,
    total,
    write_shard,
)

LIMIT_TRIES = 50  # a limit is set between the commits of jobs, of which a busy day has many
CLOSING_TRY = 10  # from then on a lower limit first stops new holds, which are most of those commits


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
        totals = [total([s.budget for s in shards]) for shards in self.scopes]
        return any(t.limit and t.used >= self.soft_fraction * t.limit for t in totals)

    def tightest(self) -> tuple[Scope, int, int]:
        """Return (scope, limit, used) of the scope with the least left, for an error that helps."""
        shards = min(self.scopes, key=lambda of_scope: sum(s.budget.free for s in of_scope))
        together = total([s.budget for s in shards])
        return shards[0].scope, together.limit, together.used

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
            writes += [
                write_shard(s, b)
                for s, b, old in zip(shards, after, before, strict=True)
                if b != old or s.is_new_anchor
            ]
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
        return tuple(shard_path(s, day, self._random.randrange(self._shards_of(s))) for s in scopes)

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
            others = (shard_path(scope, day, n) for n in range(self._shards_of(scope)))
            groups.append([(scope, first), *((scope, path) for path in others if path != first)])
        return self._standing(groups, day)

    def of_job(self, job: Job) -> Standing:
        """Read the documents in which a job's hold is booked."""
        found = [s for s in self._documents.get(job.scopes) if s is not None]
        return Standing(tuple((read_shard(s),) for s in found), self._soft_fraction)

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

        Returns whether today is still open. Raises StoreConflict when other commits were always faster; a limit that
        was to be lower leaves the day closed then.
        """
        day, path, name = day_of(now), standing_path(scope), {"scope": scope.kind, "name": scope.name}
        standing = delete(path) if limit is None else put(path, {**name, "limit": limit})
        for tries in range(LIMIT_TRIES):
            made = self._made(scope, day)
            new = setting_of(made) if limit is None else limit
            is_closing = tries == CLOSING_TRY and bool(made) and new < summed(made).limit
            closing = [update(s.path, {"closed": True}) for s in made]
            try:
                self._documents.commit(closing if is_closing else [standing, *divided(made, new)])
            except StoreConflict:
                continue
            if not is_closing and (made or not self._made(scope, day)):
                return new >= sum(s.budget.used for s in made)
        raise StoreConflict(
            f"the budget of {scope} kept changing; its limit is as it was, and if it was to be lower, "
            "nothing more can be held today"
        )

    def of_scope(self, scope: Scope, now: datetime) -> Budget | None:
        """Return the day's budget of one scope as its documents tell it; None before its first hold."""
        made = self._made(scope, day_of(now))
        return summed(made) if made else None

    def today(self, scope: Scope, now: datetime) -> Budget:
        """Return the day's budget of one scope by these settings; nothing is used of a shard that is not made yet."""
        day = day_of(now)
        group = [(scope, shard_path(scope, day, n)) for n in range(self._shards_of(scope))]
        ((shards),) = self._standing([group], day).scopes
        return total([shard.budget for shard in shards])

    def on_day(self, day: str, limit: int = 1000) -> list[tuple[Scope, Budget]]:
        """Return the budgets of a day that *limit* documents tell of, whole, dearest use first."""
        found = [read_shard(s) for s in self._documents.query(COLLECTION, [("day", "==", day)], limit=limit)]
        if len(found) == limit:
            found += self._left_out(found, day)
        of_scope: dict[Scope, list[Shard]] = {}
        for shard in found:
            of_scope.setdefault(shard.scope, []).append(shard)
        totals = [(scope, summed(shards)) for scope, shards in of_scope.items()]
        return sorted(totals, key=lambda item: (-item[1].used, str(item[0])))

    def _left_out(self, found: Sequence[Shard], day: str) -> list[Shard]:
        """Read the shards that are missing of the scopes found, and those of everything."""
        counts = {shard.scope: shard.whole.shards for shard in found if shard.whole}
        counts.setdefault(Scope("all"), max(counts.values(), default=MOST_SHARDS))
        seen = {shard.path for shard in found}
        paths = [shard_path(scope, day, n) for scope, count in counts.items() for n in range(count)]
        return [read_shard(s) for s in self._documents.get([p for p in paths if p not in seen]) if s]

    def _made(self, scope: Scope, day: str) -> list[Shard]:
        """Read all shards that a scope has on a day, in one round trip and whatever their number."""
        most = 1 if scope.kind == "user" else MOST_SHARDS
        return [read_shard(s) for s in self._documents.get([shard_path(scope, day, n) for n in range(most)]) if s]

    def _shards_of(self, scope: Scope) -> int:
        return 1 if scope.kind == "user" else self._shards  # one user is never hot

    def _standing(self, groups: list[list[tuple[Scope, str]]], day: str) -> Standing:
        wanted = [pair for group in groups for pair in group]
        found = dict(zip((p for _, p in wanted), self._documents.get([p for _, p in wanted]), strict=True))
        missing = [scope for scope, path in wanted if found[path] is None]
        anchors = self._anchors(missing, day) if missing else {}
        scopes = []
        for group in groups:
            shards = []
            for scope, path in group:
                snapshot = found[path]
                shards.append(read_shard(snapshot) if snapshot else part_of(anchors[scope], path))
            anchor = anchors.get(group[0][0])
            if anchor and anchor.is_new_anchor and anchor.path not in {s.path for s in shards}:
                shards.append(anchor)
            scopes.append(tuple(shards))
        return Standing(tuple(scopes), self._soft_fraction)

    def _anchors(self, missing: Sequence[Scope], day: str) -> dict[Scope, Shard]:
        """Return the first shard of each scope: as it is, or as it would be made now, with *whole* in any case."""
        scopes = list(dict.fromkeys(missing))
        found = self._documents.get([p for s in scopes for p in (shard_path(s, day, 0), standing_path(s))])
        anchors = {}
        for scope, first, standing in zip(scopes, found[::2], found[1::2], strict=True):
            setting = self._limits[scope.kind]
            known = read_shard(first) if first else None
            whole = (known and known.whole) or Whole(self._shards_of(scope), setting, setting)
            if standing:  # an anchor that was made while this was set may not know of it
                whole = replace(whole, scope_limit=int(standing.data["limit"]))
            if first and first.data.get("closed"):
                whole = replace(whole, scope_limit=0)
            part = Budget(split_limit(whole.scope_limit, whole.shards)[0])
            new = Shard(shard_path(scope, day, 0), scope, day, 0, part, whole, None)
            anchors[scope] = replace(known or new, whole=whole)
        return anchors
