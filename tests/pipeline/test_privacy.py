"""No secret, no signed URL and no word of a prompt where operators look: logs, metrics, errors, documents, commands.

The vendors fail in every way, and their errors repeat whatever they were sent. The words of a prompt may stand in its
job's own fields for it, and in what the vendors made of it.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from functions import _model_commands, _system_commands, on_webhook
from shared import log as logs
from shared.log import log
from shared.ports import Json
from shared.simulators.vendor_faults import Fault
from shared.simulators.vendor_http import Refused
from shared.simulators.vendors import WEBHOOK_SECRET, Vendors
from tests.pipeline.vendors import ALL, SECRETS, VendorPipeline, vendor_pipeline

MARKER = "violet herons burnish seventeen lanterns"
WORDS = MARKER.split()
SYSTEM = "speak as the amethyst lighthouse keeper"
SIGNATURE = "5d41402abc4b2a76b9719d911017c592"
SIGNED = f"https://storage.googleapis.com/b/o?X-Goog-Credential=someone&X-Goog-Signature={SIGNATURE}"
NEVER = (*SECRETS.values(), WEBHOOK_SECRET, WEBHOOK_SECRET.removeprefix("whsec_"), SIGNATURE, "_sim/files")
PRIVATE = (*WORDS, "amethyst")
FAULTS = dict.fromkeys(
    [
        "rate_limited",
        "rate_limited_silent",
        "error_500",
        "unavailable",
        "gateway",
        "drop",
        "blocked_prompt",
        "blocked_output",
        "refusal",
        "filtered",
        "partial",
        "corrupt",
        "late_failure",
    ],
    0.05,
)
SETTINGS = {"call_timeout_s": 5.0, "max_attempts": 3, "webhook_url": "https://example.com/on_webhook"}
TEXT = {"kind": "text", "task": "fast", "cache": "off", "system": SYSTEM, "deadline_s": 120}
IMAGE = {"kind": "image", "size": "1K", "cache": "off", "deadline_s": 300}
VIDEO = {"kind": "video", "duration_s": 4, "cache": "off", "deadline_s": 600}
ASKED: tuple[Json, ...] = (
    *({**TEXT, "model": m} for m in ("gemini-3.5-flash-lite", "meta-llama-3-70b-instruct", "gpt-oss-120b")),
    *({**IMAGE, "model": m} for m in ("gemini-2.5-flash-image", "gen4_image", "flux-schnell")),
    *({**VIDEO, "model": m} for m in ("veo-3.1-lite-generate-001", "gemini-omni-1.1-flash-preview")),
    {**VIDEO, "model": "gen4.5", "audio": False},
)


@dataclass
class Seen:
    """What operators can see after a run, by where they see it."""

    places: dict[str, str]

    def holding(self, words: tuple[str, ...]) -> list[str]:
        """Where which of these words stands, with what is around it."""
        found = []
        for place, text in self.places.items():
            at = {word: text.casefold().find(word.casefold()) for word in words}
            found += [f"{place}: {word} in {text[max(0, i - 80) : i + 80]!r}" for word, i in at.items() if i >= 0]
        return found


def echo(vendors: Vendors) -> None:
    """Have every refusal of a create repeat what was sent, the credentials, and a signed URL."""
    admit = vendors._core.admit

    def repeated(vendor: str, operation: str, model: str, key: str, **options: Any) -> Fault | None:
        try:
            return admit(vendor, operation, model, key, **options)
        except Refused as refused:
            told = [refused.message, key, f"prompt: {MARKER}", *SECRETS.values(), SIGNED, SYSTEM]
            told = [*told[1:], told[0]] if refused.status >= 500 else told
            raise Refused(refused.status, " ".join(told), code=refused.code, headers=refused.headers) from None

    vendors._core.admit = repeated  # type: ignore[method-assign]


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """The log of a deployed function: ours at its most talkative, and of all others what the framework lets through."""
    stream, before = io.StringIO(), (log.handlers[:], log.level, log.propagate)
    logs.configure("DEBUG", stream)
    others = logging.StreamHandler(stream)
    others.setLevel(logging.WARNING)
    logging.getLogger().addHandler(others)
    yield stream
    logging.getLogger().removeHandler(others)
    log.handlers[:], log.level, log.propagate = before


def run(home: Path, lines: io.StringIO, capsys: pytest.CaptureFixture[str]) -> Seen:
    """Run requests of all kinds over all vendors, and look everywhere."""
    with vendor_pipeline(home, faults={**FAULTS, "seed": 4, "slow_s": 0.0}, **SETTINGS) as pipeline:
        echo(pipeline.vendors)
        measured: list[Any] = []
        watch(pipeline, measured)
        requests = [
            {**asked, "prompt": f"At dusk the {MARKER} by the pond, case {n}", "request_id": f"r-{n}", "user": "u"}
            for n, asked in enumerate(ASKED * 2)
        ]
        pipeline.vendors.fail("retired", model="gen4_image")
        pipeline.vendors.fail("blocked_prompt", model="gemini-2.5-flash-image")
        for fault in ("unavailable", "rate_limited", "error_500"):
            for vendor in ALL:
                pipeline.vendors.fail(fault, vendor=vendor)
        ids = pipeline.submit(*requests)
        pipeline.drain(lambda: pipeline.finished(ids), rounds=5_000)
        pipeline.settle()
        webhooks(pipeline)
        codes = {(a.error or {}).get("code") for job in pipeline.jobs(ids) for a in job.attempts}
        assert codes >= {"unavailable", "rate_limited", "model_gone", "blocked", "ambiguous"}
        seen = {
            "log": lines.getvalue(),
            "metrics": json.dumps(measured),
            "settings": repr(pipeline.services.settings),
            **documents(home),
            **commands(pipeline, capsys),
        }
        return Seen(seen)


def watch(pipeline: VendorPipeline, measured: list[Any]) -> None:
    record = pipeline.services.metrics.record

    def noted(name: str, value: float, labels: Mapping[str, str]) -> None:
        measured.append((name, dict(labels)))
        record(name, value, labels)

    pipeline.services.metrics.record = noted  # type: ignore[method-assign]


def webhooks(pipeline: VendorPipeline) -> None:
    """Send a webhook that repeats a prompt, with a wrong signature."""
    body = json.dumps({"id": "p1", "status": "succeeded", "input": {"prompt": MARKER}, "output": [SIGNED]})
    headers = {"webhook-id": "w1", "webhook-timestamp": "1", "webhook-signature": f"v1,{WEBHOOK_SECRET}"}
    environ = EnvironBuilder(path="/", method="POST", data=body, headers=headers).get_environ()
    on_webhook.handle(Request(environ), pipeline.services)


def documents(home: Path) -> dict[str, str]:
    """All documents by table; of the jobs all but the fields for the prompt and what was made of it."""
    with closing(sqlite3.connect(home / "state.db")) as state:
        tables = [name for (name,) in state.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {
            name.removeprefix("doc_"): [data for (data,) in state.execute(f'SELECT data FROM "{name}"')]
            for name in tables
        }
    return {name: "".join(map(_without_prompt, rows) if name == "jobs" else rows) for name, rows in found.items()}


def _without_prompt(data: str) -> str:
    job = json.loads(data)
    for field, names in {"request": ("prompt", "system"), "params": ("prompt", "system")}.items():
        job[field] = {k: v for k, v in (job.get(field) or {}).items() if k not in names}
    job.pop("prompt", None)
    for attempt in job["attempts"]:
        for piece in attempt.get("pieces") or []:
            piece.pop("text", None)
    return json.dumps(job)


def commands(pipeline: VendorPipeline, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What the commands about the whole system print, as JSON and as text."""
    asked: dict[str, Callable[[argparse.Namespace, Any], int]] = {
        "settings": _system_commands.settings,
        "health": _system_commands.health,
        "models": _model_commands.models,
        "audit": _system_commands.audit,
    }
    printed = {}
    for name, command in asked.items():
        for as_json in (True, False):
            options = argparse.Namespace(json=as_json, check=None, enable=None, kind=None, all=True)
            command(options, pipeline.services.settings)
            printed[f"{name} {as_json}"] = capsys.readouterr().out
            assert len(printed[f"{name} {as_json}"]) > 20
    return printed


def test_no_secret_and_no_word_of_a_prompt_is_told_to_operators(
    tmp_path: Path, lines: io.StringIO, capsys: pytest.CaptureFixture[str]
):
    seen = run(tmp_path, lines, capsys)
    assert all(f'"provider": "{vendor}"' in seen.places["metrics"] for vendor in ALL)
    assert "provider.fault" in seen.places["log"]
    assert "answered 503" in seen.places["jobs"]  # the errors are there, only not in the vendor's own words
    assert "breakers" in seen.places
    assert seen.holding(NEVER) == []
    assert seen.holding(PRIVATE) == []


def test_the_search_finds_a_prompt_that_is_logged_and_a_secret_in_an_error(
    tmp_path: Path, lines: io.StringIO, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shared.providers.http._told", lambda message, _private: f": {message}")
    seen = run(tmp_path, lines, capsys)
    assert {where.partition(":")[0] for where in seen.holding(PRIVATE)} >= {"log", "jobs"}
    assert {where.partition(":")[0] for where in seen.holding(tuple(SECRETS.values()))} >= {"log", "jobs"}
    assert seen.holding((SIGNATURE,)) != []
