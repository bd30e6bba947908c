"""The offline provider: real files made on this machine, no account, no network; labelled simulated.

It behaves like a vendor. It keeps its own record of accepted calls, `offline_calls.jsonl`, one line each, written
when a call is accepted and before anything is delivered, so that what was bought can be compared with what we
booked. Video is a long-running operation. Faults are seeded, and drawn per call key, so a run can be repeated.

Adoption: a call is found again in the record by its key (`job_id-attempt`). Models in `FORGETFUL` keep no list
that can be asked, as some vendors do not; an ambiguous call of theirs ends in suspense.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from shared.domain.times import from_text, to_text
from shared.errors import Ambiguous, Blocked, InvalidCall, ProviderFault, RateLimited, SettingsError, Unavailable
from shared.ports import Asset, Call, Clock, Done, Json, NotAccepted, Pending

FAULTS = (
    "rate_limited",
    "unavailable",
    "blocked",
    "ambiguous",
    "late_failure",
    "hang",
    "corrupt_output",
    "partial",
)
_REFUSING: Mapping[str, Callable[[], ProviderFault]] = {
    "rate_limited": lambda: RateLimited("too many requests (simulated)", retry_after_s=2.0),
    "unavailable": lambda: Unavailable("service unavailable (simulated)"),
    "blocked": lambda: Blocked("the safety filter refused the prompt (simulated)"),
}
DRAFT = "offline-image-draft"  # paints at half the size and enlarges: quick, cheap and a little soft
DETAIL = {DRAFT: 0.5, "offline-image-standard": 0.8}  # 1.0 for the others
FORGETFUL = frozenset({DRAFT})
POLLS = 3  # a video operation is asked after at least this often
HANG_S = 86_400.0


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """How often which fault happens: rates in 0 to 1, drawn per call from *seed*.

    Attributes:
        models: vendor model ids that are affected; empty: all.
        hang_s: after this long even a hanging operation is done.
    """

    rates: Mapping[str, float]
    seed: int = 0
    models: frozenset[str] = frozenset()
    hang_s: float = HANG_S

    @classmethod
    def parse(cls, document: Mapping[str, Any] | None) -> FaultPlan:
        """Read the JSON object of `ATELIER_OFFLINE_FAULTS`. Raises SettingsError naming what is wrong."""
        fields = dict(document or {})
        seed, models, hang_s = fields.pop("seed", 0), fields.pop("models", []), fields.pop("hang_s", HANG_S)
        for name, rate in fields.items():
            if name not in FAULTS:
                raise SettingsError(f"ATELIER_OFFLINE_FAULTS: {name!r} is no fault; there are {', '.join(FAULTS)}")
            if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
                raise SettingsError(f"ATELIER_OFFLINE_FAULTS: {name} must be a rate from 0 to 1, not {rate!r}")
        if not isinstance(seed, int) or not isinstance(models, list) or not isinstance(hang_s, int | float):
            raise SettingsError("ATELIER_OFFLINE_FAULTS: seed is an integer, models a list, hang_s seconds")
        return cls(fields, seed, frozenset(map(str, models)), float(hang_s))

    def draw(self, call: Call) -> str | None:
        """Return the fault of this call, if any; the same for the same key and seed."""
        if self.models and call.model not in self.models:
            return None
        at = _unit(f"{self.seed} {call.key}")
        for name in FAULTS:
            at -= self.rates.get(name, 0.0)
            if at < 0:
                return name
        return None


class OfflineProvider:
    """Makes images, clips and texts itself."""

    name = "offline"

    def __init__(
        self, record: Path, clock: Clock, *, faults: Mapping[str, Any] | None = None, render_s: float = 1.2
    ) -> None:
        """*render_s*: how long a video operation runs, whatever the clip's length."""
        self._record = record
        self._clock = clock
        self._faults = FaultPlan.parse(faults)
        self._render_s = render_s

    def start(self, call: Call) -> Done | Pending:
        """Accept the call and record it, unless its fault is a refusal.

        Raises:
            RateLimited, Unavailable, Blocked: not accepted.
            Ambiguous: accepted, but the answer was lost.
        """
        fault = self._faults.draw(call)
        if fault is not None and fault in _REFUSING:
            refusal = _REFUSING[fault]()
            raise refusal
        entry = self._accept(call, fault)
        if fault == "ambiguous":
            raise Ambiguous("no answer in time (simulated)")
        return self._operation(entry) if call.kind == "video" else _deliver(entry)

    def poll(self, handle: Json) -> Done | Pending:
        """Return the clip when its time has come. Raises Unavailable when the operation failed late."""
        now, ready_at = self._clock.now(), from_text(handle["ready_at"])
        if now < ready_at:
            return self._operation(handle)
        if handle["fault"] == "late_failure":
            raise Unavailable("the operation failed after it was accepted (simulated)")
        return _deliver(handle)

    def cancel(self, handle: Json) -> None:
        """Nothing to stop: an accepted operation runs to its end and is charged."""

    def close(self) -> None:
        """There are no connections: it works here."""

    def find(self, call: Call) -> Done | Pending | NotAccepted | None:
        """Look the key up in the record."""
        if call.model in FORGETFUL:
            return None
        entry = next((e for e in self._entries() if e["call_id"] == call.key), None)
        if entry is None:
            return NotAccepted()
        entry = {**entry, "params": call.params}
        return self._operation(entry) if call.kind == "video" else _deliver(entry)

    def _accept(self, call: Call, fault: str | None) -> Json:
        """Write the call down, in one append so that concurrent writers cannot mix their lines."""
        now = self._clock.now()
        runs_s = self._faults.hang_s if fault == "hang" else self._render_s
        entry: Json = {
            "call_id": call.key,
            "job_id": call.job_id,
            "attempt": call.attempt,
            "kind": call.kind,
            "model": call.model,
            "fault": fault,
            "accepted_at": to_text(now),
            "ready_at": to_text(now + timedelta(seconds=runs_s)),
        }
        line = json.dumps(entry, separators=(",", ":")) + "\n"
        file = os.open(self._record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)
        return {**entry, "params": call.params}

    def _entries(self) -> list[Json]:
        if not self._record.exists():
            return []
        return [json.loads(line) for line in self._record.read_text("utf-8").splitlines()]

    def _operation(self, entry: Json) -> Pending:
        """The operation as it stands: asked after about `POLLS` times until it is done."""
        accepted_at, ready_at = from_text(entry["accepted_at"]), from_text(entry["ready_at"])
        runs_s = max(0.001, (ready_at - accepted_at).total_seconds())
        progress = (self._clock.now() - accepted_at).total_seconds() / runs_s
        return Pending(entry, min(self._render_s, runs_s) / POLLS, min(1.0, round(progress, 3)))


def _deliver(entry: Json) -> Done:
    make = {"image": _images, "video": _video, "text": _text}.get(entry["kind"])
    if make is None:
        raise InvalidCall(f"the offline provider does not make {entry['kind']}")
    return make(entry)


def _images(entry: Json) -> Done:
    p, fault = entry["params"], entry["fault"]
    count = max(1, p["count"] // 2) if fault == "partial" else p["count"]
    media_type = "image/jpeg" if p["width"] * p["height"] > 2**21 else "image/png"
    pictures = [_picture(entry["model"], p, p["seed"] + n, media_type) for n in range(count)]
    assets = tuple(Asset(media_type, data=_spoiled(data, fault)) for data in pictures)
    return Done(assets, {"image": count})


def _picture(model: str, p: Json, seed: int, media_type: str) -> bytes:
    from shared.providers.studio.image import render_image

    size, shrink = (p["width"], p["height"]), 2 if model == DRAFT else 1
    data = render_image(
        p["prompt"],
        width=size[0] // shrink,
        height=size[1] // shrink,
        seed=seed,
        style=p.get("style"),
        media_type=media_type,
        detail=DETAIL.get(model, 1.0),
    )
    return data if shrink == 1 else _enlarged(data, size, media_type)


def _enlarged(data: bytes, size: tuple[int, int], media_type: str) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as picture:
        picture.resize(size, Image.Resampling.LANCZOS).save(out, media_type.partition("/")[2], quality=90)
    return out.getvalue()


def _video(entry: Json) -> Done:
    from shared.providers.studio.video import render_video

    p, fault = entry["params"], entry["fault"]
    duration_s = max(1, p["duration_s"] // 2) if fault == "partial" else p["duration_s"]
    clip = render_video(
        p["prompt"],
        width=p["width"],
        height=p["height"],
        fps=p["fps"],
        duration_s=duration_s,
        seed=p["seed"],
        style=p.get("style"),
        audio=p["audio"],
    )
    return Done((Asset("video/mp4", data=_spoiled(clip, fault)),), {"second": duration_s})


def _text(entry: Json) -> Done:
    from shared.providers.studio.text import count_tokens, render_text

    p, fault = entry["params"], entry["fault"]
    schema = p.get("response_schema")
    text, finish = render_text(
        p["prompt"],
        task=p["task"],
        platform=p.get("platform"),
        schema=schema,
        max_tokens=p["max_tokens"],
        seed=p["seed"],
        system=p.get("system"),
    )
    if fault in ("partial", "corrupt_output"):
        text, finish = ("", "stop") if fault == "corrupt_output" else (text[: len(text) // 2], "max_tokens")
    usage = {
        "input_token": count_tokens(p["prompt"] + (p.get("system") or "")),
        "output_token": count_tokens(text),
    }
    media_type = "text/plain" if schema is None else "application/json"
    return Done((Asset(media_type, text=text),), usage, finish)


def _spoiled(data: bytes, fault: str | None) -> bytes:
    return data[: len(data) // 3] if fault == "corrupt_output" else data


def _unit(text: str) -> float:
    """Return a number in [0, 1) that depends on nothing but *text*."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
