"""What became of a prediction at Replicate: its statuses, outputs, measurements and errors, in our words.

Sources: replicate.com/docs/topics/predictions/lifecycle for the statuses and replicate.com/docs/reference/http for the
object; `input_token_count` and `output_token_count`: github.com/replicate/replicate-go/issues/52.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx

from shared.domain.catalogue import Model, prices_on
from shared.errors import Ambiguous, Blocked, ModelGone, ProviderFault, RateLimited, Unavailable
from shared.ports import Asset, Call, Done, Json, Pending
from shared.providers.http import LONGEST_MESSAGE, message_of, repeats

Download = Callable[[str], Iterator[bytes]]

POLL_S = {"text": 1.0, "image": 1.0, "video": 5.0}
MICRO = 1_000_000

_MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "mp4": "video/mp4",
    "webm": "video/webm",
}
_USUAL = {"image": "image/png", "video": "video/mp4"}
_SAFETY = re.compile(
    r"nsfw|flagged|\be005\b|(?<!case[ -])sensitive|moderat(?:ion|ed)|safety (?:checker|filter|system)|content policy",
    re.IGNORECASE,
)
_RESETS = re.compile(r"resets in ~?(\d+) ?s")
_NO_VERSION = "version does not exist"
_ADDRESS = re.compile(r"\S+://\S+|data:\S+")


def handle_of(call: Call, prediction: Json, now: datetime) -> Json:
    """Return what `read` needs beside the prediction. Raises Ambiguous for an answer that names no prediction."""
    found = prediction.get("id")
    if not isinstance(found, str) or not found:
        raise Ambiguous("replicate accepted the call, but its answer names no prediction")
    handle: Json = {"id": found, "kind": call.kind, "billed_by": call.row.billed_by}
    if call.row.billed_by == "gpu_second":
        handle["micro_usd_per_million_s"] = _gpu_rate(call.row, now)
    if call.kind == "text":
        return handle | {"json": "response_schema" in call.params, "max_tokens": call.params.get("max_tokens")}
    return handle | {"count": int(call.params.get("count", 1))}


def read(handle: Json, prediction: Json, download: Download) -> Done | Pending:
    """Read a prediction.

    Raises:
        Blocked, Unavailable: it ended without output; with its cost, where its time is what is billed.
        Ambiguous: it succeeded, and is charged for, but shows no output.
    """
    metrics = as_object(prediction.get("metrics"))
    match prediction.get("status"):
        case "succeeded":
            assets = _assets(handle, prediction.get("output"), download)
            return Done(assets, _usage(handle, metrics), _finish(handle, metrics))
        case "failed":
            raise _failure(prediction, _cost(handle, metrics))
        case "canceled":
            raise Unavailable("replicate: the prediction was canceled", cost_micro_usd=_cost(handle, metrics))
        case "aborted":
            raise Unavailable("replicate: the prediction did not begin before its deadline")
        case _:
            return Pending(handle, POLL_S[handle["kind"]])


def judge(answer: httpx.Response) -> ProviderFault | None:
    """Return what a refused create means where its status does not tell: when a limit resets, or a version is gone."""
    words = message_of(answer)
    resets = _RESETS.search(words)
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS and resets and "retry-after" not in answer.headers:
        return RateLimited(f"replicate answered 429: the limit resets in {resets[1]} s", retry_after_s=float(resets[1]))
    if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY and _NO_VERSION in words:
        return ModelGone("replicate answered 422: the model's version does not exist")
    return None


def as_object(value: Any) -> Json:
    """Return *value* if it is a JSON object, and an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def _assets(handle: Json, output: Any, download: Download) -> tuple[Asset, ...]:
    parts = [output] if isinstance(output, str) else output
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise Ambiguous("replicate: the prediction succeeded, but its output cannot be read or was removed")
    if handle["kind"] == "text":
        return (Asset("application/json" if handle["json"] else "text/plain", text="".join(parts)),)
    if not parts:
        raise Unavailable("replicate: the prediction succeeded without any output")
    kept = parts[: handle["count"]]  # more would take the names of the next call's pieces
    return tuple(Asset(_media_type(url, handle["kind"]), chunks=partial(download, url)) for url in kept)


def _media_type(url: str, kind: str) -> str:
    return _MEDIA_TYPES.get(urlsplit(url).path.rpartition(".")[2].lower(), _USUAL[kind])


def _gpu_rate(row: Model, now: datetime) -> int:
    prices = [p.micro_usd_per_million for p in prices_on(row, now.date()) if p.unit == "gpu_second"]
    return max(prices, default=0)


def _usage(handle: Json, metrics: Json) -> dict[str, int]:
    """The units that are billed, where they are measured; pieces are priced as they are delivered."""
    reports: dict[str, Json] = {
        "gpu_second": {"gpu_second": metrics.get("predict_time")},
        "token": {unit: metrics.get(f"{unit}_count") for unit in ("input_token", "output_token")},
        "request": {"request": 1},
    }
    measured = reports.get(handle["billed_by"], {})
    numbers = {unit: math.ceil(n) for unit, n in measured.items() if isinstance(n, int | float)}
    return numbers if len(numbers) == len(measured) else {}


def _cost(handle: Json, metrics: Json) -> int:
    """What a prediction that came to nothing cost, micro-USD: its time, of a model that is billed by time."""
    seconds = _usage(handle, metrics).get("gpu_second", 0)
    return -(-seconds * int(handle.get("micro_usd_per_million_s", 0)) // MICRO)


def _finish(handle: Json, metrics: Json) -> str:
    """The vendor names no reason to stop: who wrote as much as was allowed was stopped."""
    most, wrote = handle.get("max_tokens"), metrics.get("output_token_count")
    return "max_tokens" if most is not None and isinstance(wrote, int) and wrote >= most else "stop"


def _failure(prediction: Json, cost: int) -> ProviderFault:
    """Why a prediction failed; the vendor's own words only where they can be seen to repeat nothing of the input."""
    error, given = str(prediction.get("error") or ""), as_object(prediction.get("input"))
    private = tuple(value for value in given.values() if isinstance(value, str))
    words = _ADDRESS.sub("(address)", " ".join(error.split()))[:LONGEST_MESSAGE]
    told = f": {words}" if words and private and not repeats(error, private) else ""
    if _SAFETY.search(error):
        return Blocked(f"replicate refused the content{told}", cost_micro_usd=cost)
    return Unavailable(f"replicate: the prediction failed{told}", cost_micro_usd=cost)
