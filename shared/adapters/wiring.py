"""The wiring table `infra/functions.json`, and the subscriptions it asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import SettingsError

TABLE = Path(__file__).parents[2] / "infra" / "functions.json"
DEAD_LETTER = "dead-letter"
RESULTS = "results"  # public: upstream systems subscribe to it; locally the command line does


@dataclass(frozen=True, slots=True)
class Subscription:
    """A consumer's own copy of a topic.

    Attributes:
        ack_deadline_s: how long a delivery may take before it counts as failed.
        max_deliveries: after so many the message goes to *dead_letter_topic*; without one it is tried for ever.
        min_backoff_s, max_backoff_s: bounds of the wait after a nack, which doubles with every delivery.
    """

    name: str
    topic: str
    ack_deadline_s: float
    max_deliveries: int
    min_backoff_s: float
    max_backoff_s: float
    dead_letter_topic: str | None = None


def functions() -> Mapping[str, Mapping[str, Any]]:
    """Return the table: function name → row. Raises SettingsError when it is missing or not JSON."""
    try:
        rows: Mapping[str, Mapping[str, Any]] = json.loads(TABLE.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"the wiring table {TABLE} cannot be read: {error}") from None
    return rows


def subscriptions() -> dict[str, list[Subscription]]:
    """Return the subscriptions of every topic: one per function, and one on `results` for the command line."""
    topics: dict[str, list[Subscription]] = {
        RESULTS: [Subscription(RESULTS, RESULTS, 60.0, 5, 1.0, 60.0, None)],
    }
    for name, row in functions().items():
        topic = row["trigger"].get("topic")
        if topic is None:
            continue
        dead_letter = None if topic == DEAD_LETTER else DEAD_LETTER
        topics.setdefault(topic, []).append(
            Subscription(
                name,
                topic,
                float(row["ack_deadline_s"]),
                int(row["max_delivery_attempts"]),
                float(row["min_backoff_s"]),
                float(row["max_backoff_s"]),
                dead_letter,
            )
        )
    return topics
