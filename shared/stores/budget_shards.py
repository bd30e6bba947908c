"""What a budget is kept in: one document per shard of a scope's UTC day.

Each tells of what it is a part, so that whoever reads or changes a scope's limit needs no setting for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from shared.domain.budget import MOST_SHARDS, Budget, Scope, divide, split_limit
from shared.domain.times import to_text
from shared.ports import Json, Snapshot, Write, create, update

COLLECTION = "budgets"
KEPT_DAYS = 400  # a suspense is settled on the day it was held, however late that is


@dataclass(frozen=True, slots=True)
class Whole:
    """What a shard is a part of: so many shards of a limit per day, and the limit that its maker's settings say."""

    shards: int
    scope_limit: int
    setting: int


@dataclass(frozen=True, slots=True)
class Shard:
    """One budget document as read; *version* is None while it does not exist yet.

    The first of a scope's day is its anchor, made before or with any other: by it all of them are divided, whatever
    the settings of who makes one later say. *whole* is None in a document of a version that did not write it.
    """

    path: str
    scope: Scope
    day: str
    number: int
    budget: Budget
    whole: Whole | None
    version: str | None

    @property
    def is_new_anchor(self) -> bool:
        """It has to be made with whichever comes first."""
        return self.number == 0 and self.version is None


def total(budgets: Sequence[Budget]) -> Budget:
    """Add budgets up."""
    return Budget(*(sum(getattr(b, part) for b in budgets) for part in ("limit", "held", "spent", "suspense")))


def shard_path(scope: Scope, day: str, shard: int) -> str:
    """The document of one shard of a scope's day."""
    return f"{COLLECTION}/{_digest(scope.kind, scope.name, day, str(shard))}"


def standing_path(scope: Scope) -> str:
    """The document of a limit that was set by hand."""
    return f"{COLLECTION}/{_digest(scope.kind, scope.name)}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def read_shard(snapshot: Snapshot) -> Shard:
    """Return the shard that a document is."""
    d = snapshot.data
    amounts = (d.get("held", 0), d.get("spent", 0), d.get("suspense", 0))
    budget = Budget(sum(amounts) if d.get("closed") else d["limit"], *amounts)
    # A document from before these fields existed tells only of itself.
    whole = Whole(d["shards"], d["scope_limit"], d["setting"]) if "shards" in d else None
    return Shard(snapshot.path, Scope(d["scope"], d["name"]), d["day"], d["shard"], budget, whole, snapshot.version)


def summed(shards: Sequence[Shard]) -> Budget:
    """Add up the shards of a scope, and the parts of those that are not made yet."""
    made = {s.number for s in shards}
    whole = max((s.whole for s in shards if s.whole), key=lambda w: w.shards, default=None)
    parts = split_limit(whole.scope_limit, whole.shards) if whole else []
    return total([*(s.budget for s in shards), *(Budget(part) for n, part in enumerate(parts) if n not in made)])


def setting_of(made: Sequence[Shard]) -> int:
    """The limit that the functions' settings say; of documents that do not tell, what they have together."""
    told = [s.whole.setting for s in made if s.whole]
    return min(told, default=sum(s.budget.limit for s in made))


def part_of(anchor: Shard, path: str) -> Shard:
    """A shard that is not made yet, with its part of what its anchor says; nothing where that says of fewer."""
    number = next(n for n in range(MOST_SHARDS) if shard_path(anchor.scope, anchor.day, n) == path)
    parts = split_limit(anchor.whole.scope_limit, anchor.whole.shards) if anchor.whole else []
    return replace(anchor, path=path, number=number, budget=Budget((parts[number:] or [0])[0]), version=None)


def divided(made: Sequence[Shard], limit: int) -> list[Write]:
    """Return the guarded writes that divide a new limit among all shards of a scope, also those not made yet."""
    if not made:
        return []
    count = max(max(s.whole.shards if s.whole else 1, s.number + 1) for s in made)
    whole = Whole(count, limit, setting_of(made))
    of_number = {s.number: s for s in made}
    shards = [of_number.get(n) or _next_to(made[0], n) for n in range(count)]
    after = divide(limit, [s.budget for s in shards])
    parts = {**asdict(whole), "closed": limit < sum(s.budget.used for s in made)}
    return [write_shard(s, b, **parts) for s, b in zip(shards, after, strict=True)]


def _next_to(s: Shard, number: int) -> Shard:
    return replace(s, path=shard_path(s.scope, s.day, number), number=number, budget=Budget(0), version=None)


def write_shard(shard: Shard, budget: Budget, **also: int) -> Write:
    """Return the guarded write of a shard with another budget, and *also* these fields."""
    fields: Json = {**asdict(budget), **also}
    if shard.version is not None:
        return update(shard.path, fields, version=shard.version)
    kept_until = datetime.fromisoformat(f"{shard.day}T00:00:00+00:00") + timedelta(days=KEPT_DAYS)
    identity = {"scope": shard.scope.kind, "name": shard.scope.name, "day": shard.day, "shard": shard.number}
    whole = asdict(shard.whole) if shard.whole else {}
    return create(shard.path, {**identity, **whole, **fields, "expire_at": to_text(kept_until)})
