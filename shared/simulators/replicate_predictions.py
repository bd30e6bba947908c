"""One prediction of the simulated Replicate: how it ends, what it is billed, and what the API tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from shared.providers.studio.text import count_tokens
from shared.simulators.replicate_models import Product
from shared.simulators.vendor_calls import VendorCall
from shared.simulators.vendor_core import Later

KEPT_S = 3600.0  # input, output and files are removed an hour after the end
EVENTS = ("start", "output", "logs", "completed")
REFUSAL = "I can't help with that."

_SAFETY = "The input or output was flagged as sensitive. Please try again with different inputs. (E005)"
_INTERRUPTED = "Prediction interrupted; please retry (code: PA)"
_BLOCKS = ("blocked_prompt", "blocked_output", "filtered")
_COUNTED = ("image", "input_token", "output_token")


@dataclass(slots=True)
class Prediction:
    """One prediction; *status* is its end, empty before."""

    call: VendorCall
    model: str
    version: str
    given: Mapping[str, Any]
    product: Product
    starts_at: datetime
    ends_at: datetime
    webhook: str = ""
    events: tuple[str, ...] = EVENTS
    deadline: datetime | None = None
    ready: Later | None = None
    completion: Later | None = None
    status: str = ""
    ended_at: datetime | None = None
    output: Any = None
    billed: Mapping[str, float] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The vendor's name of it."""
        return self.call.id.replace("-", "")[:26]

    def ran_s(self, until: datetime) -> float:
        """Return for how long it ran."""
        return max(0.0, (until - self.starts_at).total_seconds())

    def end(self, status: str, ended_at: datetime, output: Any = None) -> None:
        """It is over."""
        self.output, self.ended_at, self.status = output, ended_at, status

    def told(self, now: datetime, base_url: str, *, is_listed: bool = False) -> dict[str, Any]:
        """Return it as JSON, as it stands at *now*; the list shows less."""
        is_removed = self.ended_at is not None and now >= self.ended_at + timedelta(seconds=KEPT_S)
        has_started = (self.ended_at or now) >= self.starts_at and self.status != "aborted"
        path = f"{base_url}/v1/predictions/{self.id}"
        told: dict[str, Any] = {
            "id": self.id,
            "model": self.model,
            "version": self.version,
            "input": {} if is_removed else dict(self.given),
            "output": None if is_removed else self.output,
            "error": self._error(),
            "data_removed": is_removed,
            "source": "api",
            "status": self.status or ("processing" if has_started else "starting"),
            "created_at": _stamp(self.call.accepted_at),
            "started_at": _stamp(self.starts_at) if has_started else None,
            "completed_at": None if self.ended_at is None else _stamp(self.ended_at),
            "metrics": self._metrics(),
            "urls": {"get": path, "cancel": f"{path}/cancel"},
        }
        return told if is_listed else {**told, **self._details(is_removed=is_removed)}

    def _error(self) -> str | None:
        if self.status != "failed":
            return None
        return _SAFETY if self.call.has(*_BLOCKS) else _INTERRUPTED

    def _metrics(self) -> dict[str, float]:
        if self.ended_at is None or self.status == "aborted":
            return {}
        counts = {f"{unit}_count": n for unit, n in self.billed.items() if unit in _COUNTED}
        return {"predict_time": self.ran_s(self.ended_at), **counts}

    def _details(self, *, is_removed: bool) -> dict[str, Any]:
        told: dict[str, Any] = {"logs": "" if is_removed or not self.status else "Using seed: 0\n"}
        if self.webhook:
            told |= {"webhook": self.webhook, "webhook_events_filter": list(self.events)}
        if self.deadline is not None:
            told["deadline"] = _stamp(self.deadline)
        return told


def delivered(product: Product, call: VendorCall) -> Product:
    """Return what of *product* is made and billed under the call's fault."""
    if product.kind == "text" and call.has("refusal", "partial", "corrupt"):
        text = REFUSAL if call.has("refusal") else product.text[: len(product.text) // 2]
        is_counted = "output_token" in product.billed
        billed = {**product.billed, "output_token": count_tokens(text)} if is_counted else product.billed
        return replace(product, text=text, billed=billed)
    if product.count > 1 and call.has("partial"):
        count = product.count // 2
        return replace(product, count=count, billed={"image": count} if "image" in product.billed else product.billed)
    return product


def status_of(call: VendorCall) -> str:
    """Return how a call ends when nobody and no deadline cuts it short."""
    if call.has(*_BLOCKS):
        return "failed"
    if call.fault is not None and call.has("late_failure"):
        return str(call.fault.options.get("status", "failed"))
    return "succeeded"


def state_of(call: VendorCall, status: str) -> str:
    """Return the state in the record of calls."""
    if status == "succeeded":
        return "delivered"
    return "blocked" if call.has(*_BLOCKS) else "failed"


def billed_of(prediction: Prediction, status: str, ended_at: datetime) -> dict[str, float]:
    """Return what an end is billed: its time where the model is billed by it, else what was made."""
    billed = prediction.product.billed
    if "gpu_second" in billed and status != "aborted":
        return {"gpu_second": prediction.ran_s(ended_at)}
    return dict(billed) if status == "succeeded" else {}


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
