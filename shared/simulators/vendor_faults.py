"""What goes wrong at the simulated vendors: seeded rates per create, single faults on demand, a quota per minute."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.errors import SettingsError

FAULTS: Mapping[str, str] = {
    "rate_limited": "429 with Retry-After",
    "rate_limited_silent": "429 without",
    "error_500": "500, nothing accepted",
    "unavailable": "503, nothing accepted",
    "retired": "404 for the model",
    "credits": "the account has no credit left: 402, at Runway 400",
    "hang": "accepted, then no answer until the client gives up or hang_s is over",
    "drop": "accepted, then the connection is closed without an answer",
    "gateway": "accepted, answered 504",
    "slow": "accepted and answered slow_s later",
    "blocked_prompt": "the safety filter refuses the prompt",
    "blocked_output": "the safety filter refuses what was made",
    "refusal": "the model answers with words in place of the piece",
    "filtered": "every piece is filtered out",
    "partial": "fewer pieces than asked for, or half a text",
    "corrupt": "bytes that do not decode",
    "late_failure": "an accepted operation fails at its end",
    "webhook_duplicate": "the webhook comes twice",
    "webhook_late": "the webhook comes late",
    "webhook_forged": "the webhook's signature is wrong",
    "webhook_lost": "no webhook comes",
}
REFUSING = frozenset({"rate_limited", "rate_limited_silent", "error_500", "unavailable", "retired", "credits"})
TRANSPORT = frozenset({"hang", "drop", "gateway", "slow"})
WEBHOOK = frozenset({"webhook_duplicate", "webhook_late", "webhook_forged", "webhook_lost"})
VENDORS = ("vertex", "runway", "replicate", "huggingface")
RETRY_AFTER_S = 2.0
_OPTIONS: Mapping[str, Any] = {
    "seed": 0,
    "models": [],
    "vendors": [],
    "retired_models": [],
    "hang_s": 3600.0,
    "slow_s": 2.0,
    "rpm": None,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one create. *options* are of the single fault that was asked for, e.g. `retry_after_s`."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """How often which fault happens: rates in 0 to 1, drawn per create from *seed*.

    Attributes:
        models, vendors: only these are affected, also by *rpm*; empty: all.
        retired_models: vendor model ids that always answer 404.
        hang_s, slow_s: how long a hanging call is held, and how late a slow answer comes; real seconds.
        rpm: creates per minute and model; above it 429 until the next minute. None: no quota.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    models: frozenset[str] = frozenset()
    vendors: frozenset[str] = frozenset()
    retired_models: frozenset[str] = frozenset()
    hang_s: float = 3600.0
    slow_s: float = 2.0
    rpm: int | None = None

    @classmethod
    def parse(cls, document: Mapping[str, Any] | None) -> FaultPlan:
        """Read a plan as JSON gives it. Raises SettingsError naming what is wrong and what is allowed."""
        fields = dict(document or {})
        options = {name: fields.pop(name, default) for name, default in _OPTIONS.items()}
        for name, rate in fields.items():
            if name not in FAULTS:
                known = ", ".join([*FAULTS, *_OPTIONS])
                raise SettingsError(f"faults: there is no {name!r}; there are {known}")
            if not _number(rate) or not 0 <= rate <= 1:
                raise SettingsError(f"faults: {name} must be a rate from 0 to 1, not {rate!r}")
        if sum(fields.values()) > 1 + 1e-9:
            raise SettingsError("faults: the rates of all faults together must not be above 1")
        _check_options(options)
        for name in ("models", "vendors", "retired_models"):
            options[name] = frozenset(options[name])
        return cls(fields, **options)

    def concerns(self, vendor: str, model: str) -> bool:
        """Whether the plan is about this model."""
        return (not self.models or model in self.models) and (not self.vendors or vendor in self.vendors)

    def draw(self, key: str, without: frozenset[str] = frozenset()) -> str | None:
        """Return the fault of the create called *key*, if any; one in *without* counts as none."""
        at = _unit(f"{self.seed} {key}")
        for name in FAULTS:
            at -= self.rates.get(name, 0.0)
            if at < 0:
                return None if name in without else name
        return None

    def document(self) -> dict[str, Any]:
        """Return the plan as JSON gives it."""
        options = {name: getattr(self, name) for name in _OPTIONS}
        shown = {name: sorted(v) if isinstance(v, frozenset) else v for name, v in options.items()}
        return {**self.rates, **shown}


@dataclass(slots=True)
class _Single:
    fault: Fault
    vendor: str | None
    model: str | None
    operation: str | None
    times: int


class Faults:
    """Draws the fault of each create, from the single faults first and the plan after; safe in threads."""

    def __init__(self, plan: FaultPlan) -> None:
        self.plan = plan
        self._singles: list[_Single] = []
        self._seen: Counter[str] = Counter()
        self._minutes: Counter[tuple[str, str, datetime]] = Counter()
        self._lock = threading.Lock()

    def add(
        self, name: str, vendor: str | None, model: str | None, operation: str | None, times: int, options: Any
    ) -> None:
        """Make the next *times* calls that fit fail. Raises ValueError when there is no such fault."""
        if name not in FAULTS:
            raise ValueError(f"there is no fault {name!r}; there are {', '.join(FAULTS)}")
        with self._lock:
            self._singles.append(_Single(Fault(name, dict(options)), vendor, model, operation, times))

    def clear(self) -> None:
        """Take back all single faults."""
        with self._lock:
            self._singles.clear()

    def within_quota(self, vendor: str, model: str, now: datetime) -> bool:
        """Count one create; False when the model's minute is full."""
        if self.plan.rpm is None or not self.plan.concerns(vendor, model):
            return True
        minute = (vendor, model, now.replace(second=0, microsecond=0))
        with self._lock:
            if self._minutes[minute] >= self.plan.rpm:
                return False
            self._minutes[minute] += 1
            return True

    def draw(self, vendor: str, operation: str, model: str, key: str, without: frozenset[str]) -> Fault | None:
        """Return the fault of one create; *key* is what it asks for, and the same again is another draw."""
        single = self.single(vendor, operation, model, without=without)
        with self._lock:
            digest = hashlib.sha256(f"{vendor} {key}".encode()).hexdigest()
            seen = self._seen[digest]
            self._seen[digest] += 1
        if single is not None:
            return single
        name = self.plan.draw(f"{digest} {seen}", without) if self.plan.concerns(vendor, model) else None
        return None if name is None else Fault(name)

    def single(
        self,
        vendor: str,
        operation: str,
        model: str,
        *,
        named_only: bool = False,
        without: frozenset[str] = frozenset(),
    ) -> Fault | None:
        """Return and count down the first single fault that fits; *named_only*: that names this operation."""
        with self._lock:
            for each in self._singles:
                fits = each.vendor in (None, vendor) and each.model in (None, model)
                fits = fits and (each.operation == operation or (each.operation is None and not named_only))
                if fits and each.times > 0 and each.fault.name not in without:
                    each.times -= 1
                    return each.fault
        return None


def canonical(body: Mapping[str, Any]) -> str:
    """Return one text for the same body, in whatever order its fields were sent."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def _check_options(options: Mapping[str, Any]) -> None:
    if isinstance(options["seed"], bool) or not isinstance(options["seed"], int):
        raise SettingsError(f"faults: seed must be an integer, not {options['seed']!r}")
    for name in ("models", "vendors", "retired_models"):
        if not isinstance(options[name], list) or not all(isinstance(each, str) for each in options[name]):
            raise SettingsError(f"faults: {name} must be a list of names, not {options[name]!r}")
    unknown = sorted(set(options["vendors"]) - set(VENDORS))
    if unknown:
        raise SettingsError(f"faults: there is no vendor {unknown[0]!r}; there are {', '.join(VENDORS)}")
    for name in ("hang_s", "slow_s"):
        if not _number(options[name]) or not 0 <= options[name] <= 86_400:
            raise SettingsError(f"faults: {name} must be seconds from 0 to 86400, not {options[name]!r}")
    rpm = options["rpm"]
    if rpm is not None and (isinstance(rpm, bool) or not isinstance(rpm, int) or rpm < 1):
        raise SettingsError(f"faults: rpm must be a whole number of calls, at least 1, not {rpm!r}")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unit(text: str) -> float:
    """Return a number in [0, 1) that depends on nothing but *text*."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
