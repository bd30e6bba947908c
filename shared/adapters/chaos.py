"""What the local bus does wrong on purpose, so that a laptop meets what the cloud does now and then."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chaos:
    """What may go wrong: probabilities from 0 to 1, drawn from *seed*.

    Attributes:
        duplicate: a subscription gets a second copy.
        delay: a copy comes late by up to *max_delay_s*.
        reorder: a copy overtakes those published up to *max_delay_s* before it.
        lose_ack: an acknowledgement has no effect, and the message comes again within *max_delay_s*.
    """

    seed: int
    duplicate: float = 0.0
    delay: float = 0.0
    reorder: float = 0.0
    lose_ack: float = 0.0
    max_delay_s: float = 1.0


class Dice:
    """Draws what happens. Not safe in threads: the same draws must come in the same order."""

    def __init__(self, chaos: Chaos) -> None:
        self._chaos = chaos
        self._random = random.Random(chaos.seed)  # noqa: S311 - repeatable, not secret

    def copies(self) -> int:
        """Return how many copies a subscription gets of a message."""
        return 1 + self._happens(self._chaos.duplicate)

    def shift_s(self) -> float:
        """Return by how much a copy comes late or, below zero, early enough to overtake others."""
        late_s = self.delay_s() if self._happens(self._chaos.delay) else 0.0
        return late_s - (self.delay_s() if self._happens(self._chaos.reorder) else 0.0)

    def loses_ack(self) -> bool:
        """Whether an acknowledgement is lost."""
        return self._happens(self._chaos.lose_ack)

    def delay_s(self) -> float:
        """Return a delay of at most the longest allowed."""
        return self._random.uniform(0.0, self._chaos.max_delay_s)

    def backoff_s(self, least_s: float, most_s: float) -> float:
        """Return a wait between two bounds, drawn evenly."""
        return self._random.uniform(least_s, max(least_s, most_s))

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self._random.random() < probability
