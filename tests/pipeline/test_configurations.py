"""Vertex AI alone, each other vendor alone, none at all: what works, what is refused and how, who is never called."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from functions import _model_commands, _system_commands
from functions._runtime import baton_message
from shared.domain.job import Job, State
from shared.domain.result import result_of
from shared.ports import Json
from tests.pipeline.vendors import ALL, SECRETS, VendorPipeline, assert_explained, vendor_pipeline

ROOT = Path(__file__).parents[2]
REQUESTS: dict[str, Json] = {
    "text": {"kind": "text", "prompt": "A note about tides, case 1", "task": "fast"},
    "image": {"kind": "image", "prompt": "A paper boat on a pond, case 2", "size": "1K"},
    "video": {"kind": "video", "prompt": "A paper boat on a pond, case 3", "duration_s": 4, "audio": False},
}
SERVED = {
    "vertex": {"text", "image", "video"},
    "runway": {"image", "video"},
    "replicate": {"text", "image"},
    "huggingface": {"text"},
}
NEEDED = {
    "vertex": ("vertex_project", "ATELIER_VERTEX_PROJECT"),
    "runway": ("runway_api_secret", "ATELIER_RUNWAY_API_SECRET"),
    "replicate": ("replicate_api_token", "ATELIER_REPLICATE_API_TOKEN"),
    "huggingface": ("huggingface_token", "ATELIER_HUGGINGFACE_TOKEN"),
}
NO_CREDENTIALS = {field: "" for field, _ in NEEDED.values()}
SDKS = ("google.genai", "httpx", "google.cloud.aiplatform", "vertexai")
MODULES = "import json, sys; print(json.dumps(sorted(sys.modules)))"
GENERATE = """
import os, sys, json, logging
logging.getLogger("atelier").setLevel(logging.CRITICAL)
from functions import _runtime, generate
from functions._decode import Event
from shared import bootstrap
from shared.clock import ManualClock
from shared.settings import Settings
services = bootstrap.build(Settings.from_environment(os.environ), ManualClock())
_runtime.deliver(generate.handle, Event(json.loads(sys.argv[1]), "m"), services)
services.close()
"""


def alone(vendor: str) -> Json:
    """Settings by which *vendor* is on and has its credentials, and nobody else has theirs."""
    field, _ = NEEDED[vendor]
    return {**NO_CREDENTIALS, "providers": (vendor,), field: {"vertex_project": "p1", **SECRETS}[field]}


def request(kind: str, **fields: Any) -> Json:
    return {**REQUESTS[kind], "request_id": f"r-{REQUESTS[kind]['prompt'][-1]}", **fields}


def carry(pipeline: VendorPipeline, *requests: Json) -> list[Job]:
    return pipeline.run(*requests, rounds=3_000)


def printed(command: Any, pipeline: VendorPipeline, capsys: pytest.CaptureFixture[str], **options: Any) -> Any:
    """What a command prints with `--json`."""
    given = {"check": None, "enable": None, "kind": None, "all": False, "paths": [], **options}
    command(argparse.Namespace(json=True, **given), pipeline.services.settings)
    return json.loads(capsys.readouterr().out)


def modules_after(script: str, *arguments: str, **environment: str) -> set[str]:
    """The modules that a fresh process has imported after a script."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ATELIER_")}
    command = [sys.executable, "-c", script + "\n" + MODULES, *arguments]
    ran = subprocess.run(command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return set(json.loads(ran.stdout.splitlines()[-1]))


# ---------------------------------------------------------------- one vendor alone


@pytest.mark.parametrize("vendor", ALL)
def test_a_vendor_alone_serves_its_kinds_and_the_others_are_refused_with_a_reason(tmp_path: Path, vendor: str):
    with vendor_pipeline(tmp_path, **alone(vendor)) as pipeline:
        jobs = {kind: carry(pipeline, request(kind, fallback=kind in SERVED[vendor]))[0] for kind in REQUESTS}
        calls = pipeline.vendors.calls()
        for kind, job in jobs.items():
            if kind in SERVED[vendor]:
                assert (job.state, result_of(job)["provider"]) == (State.SUCCEEDED, vendor), (kind, job.errors)
                continue
            assert (job.state, job.attempts, job.spent) == (State.REFUSED, (), 0)
            (error,) = job.errors
            assert error["code"] in {"no_model", "price_unknown"}
            assert error["message"].startswith("no model that is switched on can do this") or vendor == "huggingface"
        assert {call["vendor"] for call in calls} == {vendor}
        assert {c.provider for job in jobs.values() for c in job.candidates} <= {vendor, "template"}
        assert_explained(calls, list(jobs.values()), pipeline)
        pipeline.assert_sound()


@pytest.mark.parametrize("vendor", ALL)
def test_a_vendor_alone_imports_no_other_vendors_sdk(tmp_path: Path, vendor: str):
    with vendor_pipeline(tmp_path, **alone(vendor)) as pipeline:
        (job_id,) = pipeline.submit(request(min(SERVED[vendor])))
        pipeline.step("validate")
        baton = json.dumps(baton_message(pipeline.job(job_id)).payload)
        found = modules_after(GENERATE, baton, **pipeline.services.settings.environment())
        assert pipeline.job(job_id).attempts[0].accepted
        assert [call["vendor"] for call in pipeline.vendors.calls()] == [vendor]
    assert {v for v in ALL if f"shared.providers.{v}" in found} == {vendor}
    assert ("google.genai" in found) is (vendor == "vertex")
    assert not {"google.cloud.aiplatform", "vertexai", "huggingface_hub", "replicate", "runwayml"} & found


@pytest.mark.parametrize("vendor", ALL)
def test_settings_and_models_say_what_a_vendor_alone_cannot_do(
    tmp_path: Path, vendor: str, capsys: pytest.CaptureFixture[str]
):
    with vendor_pipeline(tmp_path, **alone(vendor)) as pipeline:
        told = printed(_system_commands.settings, pipeline, capsys)
        models = printed(_model_commands.models, pipeline, capsys)["models"]
    (row,) = [row for row in told if row["name"] == "ATELIER_PROVIDERS"]
    by_name = {each["provider"]: each for each in row["providers"]}
    assert {name for name, each in by_name.items() if each["on"]} == {vendor}
    assert (by_name[vendor]["missing"], by_name[vendor]["cannot_be_called"]) == (None, [])
    for other in set(ALL) - {vendor}:
        assert by_name[other]["missing"] == NEEDED[other][1]
        assert by_name[other]["cannot_be_called"] != []
    assert {m["provider"] for m in models if m["state"] == "on"} == {vendor, "template"}


# ---------------------------------------------------------------- switched on, but without credentials


def test_without_any_credentials_everything_says_which_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    asked = {  # in the order of ALL
        "gemini-3.5-flash-lite": request("text"),
        "gen4.5": request("video"),
        "flux-schnell": request("image"),
        "gpt-oss-120b": request("text", request_id="r-4"),
    }
    requests = [{**each, "model": model, "fallback": False} for model, each in asked.items()]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(each) + "\n" for each in requests))
    with vendor_pipeline(tmp_path / "home", **NO_CREDENTIALS) as pipeline:
        jobs = carry(pipeline, *requests)
        told = printed(_system_commands.settings, pipeline, capsys)
        models = printed(_model_commands.models, pipeline, capsys)["models"]
        quotes = printed(_system_commands.quote, pipeline, capsys, paths=[tmp_path / "asked.jsonl"])["quotes"]
        assert pipeline.vendors.calls() == []
    by_name = next(row for row in told if row["name"] == "ATELIER_PROVIDERS")["providers"]
    for (model, _), job, quoted, vendor in zip(asked.items(), jobs, quotes, ALL, strict=True):
        name = NEEDED[vendor][1]
        assert (job.state, job.errors[0]["code"], job.attempts) == (State.REFUSED, "no_model", ()), model
        assert name in job.errors[0]["message"]
        assert name in quoted["error"]
        assert [each["missing"] for each in by_name if each["provider"] == vendor] == [name]
        assert next(m["state"] for m in models if m["id"] == model) == "no credentials"


def test_a_vendor_without_credentials_is_passed_over_for_one_that_has_them(tmp_path: Path):
    settings = {**NO_CREDENTIALS, "providers": ALL, "huggingface_token": SECRETS["huggingface_token"]}
    with vendor_pipeline(tmp_path, **settings) as pipeline:
        (job,) = carry(pipeline, request("text", model="gemini-3.5-flash-lite"))
        assert (job.state, result_of(job)["provider"]) == (State.SUCCEEDED, "huggingface")
        assert any("ATELIER_VERTEX_PROJECT" in each["text"] for each in job.passed_over)
        assert {call["vendor"] for call in pipeline.vendors.calls()} == {"huggingface"}


# ---------------------------------------------------------------- no vendor


def test_without_any_vendor_text_is_a_labelled_template_and_the_rest_is_refused(tmp_path: Path):
    with vendor_pipeline(tmp_path, **{**NO_CREDENTIALS, "providers": ()}) as pipeline:
        text, image, video = carry(pipeline, *map(request, REQUESTS))
        assert text.state is State.SUCCEEDED
        assert (result_of(text)["provider"], result_of(text)["cost_usd"]) == ("template", "0")
        assert text.attempts[0].template
        for job in (image, video):
            assert (job.state, job.spent) == (State.REFUSED, 0)
            assert job.errors[0]["code"] == "no_model"
            assert "none is on" in job.errors[0]["message"]
        assert pipeline.vendors.calls() == []


def test_an_empty_list_of_providers_in_the_environment_is_none_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    from shared.settings import Settings

    settings = Settings.from_environment({"ATELIER_PROVIDERS": "", "ATELIER_HOME": str(tmp_path)})
    assert settings.providers == ()
    _system_commands.settings(argparse.Namespace(json=True), settings)
    row = next(r for r in json.loads(capsys.readouterr().out) if r["name"] == "ATELIER_PROVIDERS")
    assert not any(each["on"] for each in row["providers"])


# ---------------------------------------------------------------- what a stage imports


@pytest.mark.parametrize("stage", ["validate", "fallback", "quality_check", "record_cost", "generate"])
def test_no_stage_imports_a_vendors_sdk(stage: str):
    found = modules_after(f"import functions.{stage}")
    assert f"functions.{stage}" in found
    assert not set(SDKS) & found
