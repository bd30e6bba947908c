"""What a budget is: a cap on what one scope may have spent, held and in doubt on one UTC day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from shared.errors import BudgetExceeded

MOST_SHARDS = 64  # that a scope's day can be divided into; ATELIER_BUDGET_SHARDS allows no more


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose money: "all" (name empty), "tenant" (its name) or "user" (tenant and user)."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


def scopes_of(tenant: str, user: str | None) -> tuple[Scope, ...]:
    """Every scope whose budget a request of this tenant and user draws on."""
    everyone = (Scope("all"), Scope("tenant", tenant))
    return everyone if user is None else (*everyone, Scope("user", f"{tenant}/{user}"))


def day_of(when: datetime) -> str:
    """The budget day of a time: its UTC date."""
    return when.strftime("%Y-%m-%d")


@dataclass(frozen=True, slots=True)
class Budget:
    """One scope's money on one day, or one shard of it. Amounts are micro-USD.

    A scope's shards partition its limit, so as long as each keeps to its own part the sum keeps to the whole.
    """

    limit: int
    held: int = 0
    spent: int = 0
    suspense: int = 0

    @property
    def used(self) -> int:
        """What cannot be promised again."""
        return self.held + self.spent + self.suspense

    @property
    def free(self) -> int:
        """What a hold may still take; never negative."""
        return max(0, self.limit - self.used)

    @property
    def used_share(self) -> float:
        """The used share of the limit, 0 to 1; of a limit of nothing, all."""
        return self.used / self.limit if self.limit else 1.0

    def reserve(self, amount: int, scope: str = "budget") -> Budget:
        """Hold *amount*. Raises BudgetExceeded when it does not fit."""
        if self.used + amount > self.limit:
            raise BudgetExceeded(scope, self.limit, self.used, amount)
        return replace(self, held=self.held + amount)


def split_limit(limit: int, shards: int) -> list[int]:
    """Divide a limit into *shards* parts that differ by at most one micro-USD and add up to it."""
    part, rest = divmod(limit, shards)
    return [part + (1 if i < rest else 0) for i in range(shards)]


def divide(limit: int, shards: Sequence[Budget]) -> list[Budget]:
    """Give shards a new limit together: each keeps what it has used and gets its part of what is left.

    Their limits add up to *limit*, or to what they have used where that is more.
    """
    parts = split_limit(max(0, limit - sum(s.used for s in shards)), len(shards))
    return [replace(s, limit=s.used + part) for s, part in zip(shards, parts, strict=True)]


def gather(shards: Sequence[Budget], into: int, amount: int, scope: str = "budget") -> list[Budget]:
    """Hold *amount* in shard *into*, moving unused limit there from the others when its own does not reach.

    The sum of the limits stays as it was, and no shard ends with a limit below what it has used.

    Raises:
        BudgetExceeded: the shards together do not have that much free.
    """
    total = Budget(*(sum(getattr(s, part) for s in shards) for part in ("limit", "held", "spent", "suspense")))
    missing = amount - shards[into].free
    if missing > 0 and sum(s.free for s in shards) < amount:
        raise BudgetExceeded(scope, total.limit, total.used, amount)
    after = list(shards)
    for i, shard in enumerate(shards):
        take = min(shard.free, max(0, missing)) if i != into else 0
        if take:
            missing -= take
            after[i] = replace(shard, limit=shard.limit - take)
            after[into] = replace(after[into], limit=after[into].limit + take)
    after[into] = after[into].reserve(amount, scope)
    return after
