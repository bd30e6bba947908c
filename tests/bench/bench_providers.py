"""What we add to a provider call, and what memory `generate` needs to copy a large clip.

The overhead is that of a text job on the durable local system, with budgets, cache, ledger and log, against a Gemini
that answers at once from a process of its own; beside it the same request by google-genai alone, with a client that is
kept. They take turns, call by call, so that a busy moment falls on both and neither finds its caches warmer. Calls in a
row, which find them warm, tell what our adapter adds to the SDK.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from google.genai import Client
from google.genai.types import GenerateContentConfig, HttpOptions
from google.oauth2.credentials import Credentials

from functions import _admission
from functions._local import LocalSystem
from shared import bootstrap
from shared.adapters.local_bus import Delivery
from shared.domain.request import Request, parse_request
from shared.ports import Call, Done, Json, Message, Pending
from shared.settings import Settings
from tests.bench.copying import copied
from tests.bench.logs import log_to_file
from tests.bench.vendor import vendors

WARM_UP = 30
JOBS = 800
ROUND, ROUNDS = 40, 10
CLIP_MIB = 200
VENDORS = ("vertex", "runway", "replicate", "huggingface")  # all are selected from


class Ours(LocalSystem):
    """The local system, timing its `generate` and the provider's own part of that; of every job, milliseconds."""

    def __init__(self, home: Path, url: str) -> None:
        settings = Settings(
            home=str(home),
            providers=VENDORS,
            vertex_project="p1",
            vertex_base_url=url,
            runway_api_secret="key",
            replicate_api_token="key",
            huggingface_token="key",
        )
        super().__init__(bootstrap.build(settings), self._take)
        self.stage: list[float] = []
        self.call: list[float] = []
        self.selection: list[float] = []
        self._ended = self._asked = 0
        self._provider: Any = self.services.provider("vertex")
        self._call = self._provider.start
        self._provider.start = self._timed_call  # type: ignore[method-assign]
        self._last: Call | None = None

    def sent(self) -> Json:
        """Carry a job, and return what the adapter gave to google-genai: `model`, `contents` and `config`."""
        models = self._provider._clients.at("global").models
        with patch.object(models, "generate_content", wraps=models.generate_content) as spy:
            self.carry()
        return dict(spy.call_args.kwargs)

    def carry(self) -> None:
        """Carry a job to its end."""
        request = self._request()
        parsed = parse_request(request, known_models=lambda _: True, schema_problem=lambda _: None)
        self.selection.append(_milliseconds(lambda: self._select(parsed)))
        self.services.bus.publish([Message("requests", request)])
        self.drain(lambda: self._ended == self._asked)
        assert len(self.stage) == len(self.call) == len(self.selection), "a job was delivered or called twice"

    def call_again(self) -> None:
        """Make the last call once more: the adapter alone."""
        assert self._last is not None
        self._call(self._last)

    def forget(self) -> None:
        """Leave out what was measured so far."""
        for times in (self.stage, self.call, self.selection):
            times.clear()

    def _request(self) -> Json:
        self._asked += 1
        return {
            "kind": "text",
            "prompt": f"A short note about tide number {self._asked} at the old harbour",
            "task": "fast",
            "request_id": f"job-{self._asked}",
            "user": f"user-{self._asked % 50}",
        }

    def _select(self, request: Request) -> None:
        assert _admission.choose(request, self.services, soft_limited=False).candidates

    def _handle(self, delivery: Delivery) -> bool:
        if delivery.subscription != "generate":
            return super()._handle(delivery)
        started = time.perf_counter()
        done = super()._handle(delivery)
        self.stage.append((time.perf_counter() - started) * 1000)
        return done

    def _timed_call(self, call: Call) -> Done | Pending:
        self._last, started = call, time.perf_counter()
        try:
            found: Done | Pending = self._call(call)
        finally:
            self.call.append((time.perf_counter() - started) * 1000)
        return found

    def _take(self, result: Json) -> None:
        assert result["type"] == "job.succeeded", result
        self._ended += 1


def run() -> dict[str, Any]:
    """Return milliseconds per call, ours and bare, and the memory and time of copying a clip."""
    return {
        "milliseconds": _overhead(),
        "copy_to_files": copied(CLIP_MIB, cloud=False),
        "copy_to_cloud_storage": copied(CLIP_MIB, cloud=True),
    }


def _overhead() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, vendors() as urls, log_to_file(Path(folder) / "log.jsonl"):
        ours = Ours(Path(folder) / "home", urls["vendor"])
        sent = ours.sent()
        with _client(urls["vendor"]) as client:
            ask = _bare(client, sent)
            _in_turn(ours, ask, WARM_UP)
            ours.forget()
            bare = _in_turn(ours, ask, JOBS)
            rows = [(_in_a_row(ours.call_again), _in_a_row(ask)) for _ in range(ROUNDS)]
        ours.services.close()
    call_row, bare_row = ([each for row in part for each in row] for part in zip(*rows, strict=True))
    around = [stage - call for stage, call in zip(ours.stage, ours.call, strict=True)]
    beside = [one + other for one, other in zip(around, ours.selection, strict=True)]
    whole = [stage + choice for stage, choice in zip(ours.stage, ours.selection, strict=True)]
    return {
        "model": sent["model"],
        "calls": len(bare),
        "bare_call": _percentiles(bare),
        "call_by_our_adapter": _percentiles(ours.call),
        "selection": _percentiles(ours.selection),
        "guard_lease_classification_commit": _percentiles(around),
        "selection_and_stage_with_call": _percentiles(whole),
        "overhead_beside_the_call": _percentiles(beside),
        "bare_call_in_a_row": _percentiles(bare_row),
        "call_by_our_adapter_in_a_row": _percentiles(call_row),
    }


def _in_turn(ours: Ours, ask: Callable[[], None], jobs: int) -> list[float]:
    """Carry jobs, and return the milliseconds of the bare call after each."""
    times = []
    for _ in range(jobs):
        ours.carry()
        times.append(_milliseconds(ask))
    return times


def _in_a_row(work: Callable[[], object]) -> list[float]:
    return [_milliseconds(work) for _ in range(ROUND)]


def _client(url: str) -> Client:
    return Client(
        enterprise=True,
        project="p1",
        location="global",
        credentials=Credentials(token="local"),  # type: ignore[no-untyped-call]
        http_options=HttpOptions(base_url=url, api_version="v1"),
    )


def _bare(client: Client, sent: Mapping[str, Any]) -> Callable[[], None]:
    """The same request, with its configuration built anew each time, as by our adapter."""
    config: GenerateContentConfig = sent["config"]
    fields = {name: getattr(config, name) for name in config.model_fields_set}

    def ask() -> None:
        answer = client.models.generate_content(
            model=sent["model"], contents=sent["contents"], config=GenerateContentConfig(**fields)
        )
        assert answer.text

    return ask


def _milliseconds(work: Callable[[], object]) -> float:
    """Return how long *work* takes."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def _percentiles(times: Sequence[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        "p50": round(statistics.median(ordered), 2),
        "p99": round(ordered[int(len(ordered) * 0.99) - 1], 2),
    }
