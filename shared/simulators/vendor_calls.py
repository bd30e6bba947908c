"""The vendors' own record of what they accepted and will bill, against which a ledger can be compared."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.domain.times import to_text
from shared.simulators.vendor_faults import Fault

Units = Mapping[str, float]


@dataclass(slots=True)
class VendorCall:
    """One accepted call.

    Attributes:
        labels: what the request carried to know it again by.
        billed: units that are charged, e.g. {"second": 8}; empty: nothing.
        state: "accepted", "delivered", "failed" or "blocked".
        ends_at, outcome: when a long-running operation is over, and its state and billed units from then on.
    """

    vendor: str
    operation: str
    model: str
    prompt: str
    accepted_at: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    billed: Units = field(default_factory=dict)
    fault: Fault | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = "accepted"
    ends_at: datetime | None = None
    outcome: tuple[str, Units] | None = None

    @property
    def prompt_sha256(self) -> str:
        """The prompt's digest."""
        return hashlib.sha256(self.prompt.encode()).hexdigest()

    def has(self, *faults: str) -> bool:
        """Whether the call's fault is one of *faults*."""
        return self.fault is not None and self.fault.name in faults

    def end(self, state: str, billed: Units | None = None) -> None:
        """It is over: *state*, and what is billed (None: what was)."""
        self.state, self.ends_at, self.outcome = state, None, None
        if billed is not None:
            self.billed = dict(billed)

    def end_at(self, when: datetime, state: str, billed: Units | None = None) -> None:
        """It will be over at *when*, whether or not anyone asks by then."""
        self.ends_at, self.outcome = when, (state, self.billed if billed is None else dict(billed))

    def entry(self, now: datetime) -> dict[str, Any]:
        """Return the call as JSON, as it stands at *now*."""
        state, billed = self.state, self.billed
        if self.ends_at is not None and self.outcome is not None and now >= self.ends_at:
            state, billed = self.outcome
        return {
            "id": self.id,
            "vendor": self.vendor,
            "operation": self.operation,
            "model": self.model,
            "accepted_at": to_text(self.accepted_at),
            "labels": dict(self.labels),
            "prompt": self.prompt,
            "prompt_sha256": self.prompt_sha256,
            "billed": dict(billed),
            "state": state,
            "fault": None if self.fault is None else self.fault.name,
        }


class Calls:
    """All accepted calls, in the order of acceptance; safe in threads."""

    def __init__(self) -> None:
        self._calls: list[VendorCall] = []
        self._lock = threading.Lock()

    def add(self, call: VendorCall) -> None:
        """Write a call down."""
        with self._lock:
            self._calls.append(call)

    def entries(self, now: datetime) -> list[dict[str, Any]]:
        """Return all calls as JSON, as they stand at *now*."""
        with self._lock:
            return [call.entry(now) for call in self._calls]
