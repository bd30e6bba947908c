"""`simulate` as people start it: a process that serves all vendors and says how to call them."""

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions._simulate import _faults
from shared.errors import SettingsError
from shared.settings import Settings
from tests.functions.command_line import CommandLine, Started

TEXT = "/v1/projects/p1/locations/global/publishers/google/models/gemini-3.5-flash:generateContent"
ASKED = {"contents": [{"role": "user", "parts": [{"text": "a red kite"}]}]}


@pytest.fixture
def atelier(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "home")


@pytest.fixture
def running(atelier: CommandLine) -> Iterator[tuple[Started, dict[str, Any]]]:
    faults = '{"rate_limited": 1, "models": ["gemini-3.1-flash-lite"]}'
    started = Started(atelier, "simulate", "--json", "--port", "0", "--faults", faults)
    yield started, json.loads(started.line())
    if started.process.poll() is None:
        started.end(signal.SIGTERM)


def test_it_serves_the_vendors_with_faults_until_it_is_told_to_stop(running: tuple[Started, dict[str, Any]]):
    started, said = running
    with httpx.Client(base_url=said["url"], headers={"Authorization": "Bearer any"}, verify=False) as web:
        assert web.post(TEXT, json=ASKED).status_code == 200
        assert web.post(TEXT.replace("3.5-flash", "3.1-flash-lite"), json=ASKED).status_code == 429
        calls = web.get(said["calls"]).json()["calls"]
    assert [call["prompt"] for call in calls] == ["a red kite"]
    settings = Settings.from_environment(said["environment"])
    assert settings.providers == ("vertex", "runway", "replicate", "huggingface")
    addresses = (settings.vertex_base_url, settings.runway_base_url, settings.replicate_base_url)
    assert {*addresses, settings.huggingface_base_url} == {said["url"]}
    assert said["sdk_environment"]["RUNWAYML_BASE_URL"] == said["url"]
    assert started.end(signal.SIGINT) == (0, "", "stopping\n")


def test_it_says_in_words_how_to_call_it(atelier: CommandLine):
    started = Started(atelier, "simulate", "--port", "0")
    assert started.line().startswith("vendors   http://127.0.0.1:")
    said = list(iter(started.process.stdout.readline, "Ctrl-C stops\n"))
    assert started.end(signal.SIGTERM)[0] == 0
    exports = [line for line in said if line.startswith("export ")]
    assert any(line.startswith("export ATELIER_VERTEX_BASE_URL=http://127.0.0.1:") for line in exports)
    assert any(line.startswith("export REPLICATE_BASE_URL=http://127.0.0.1:") for line in exports)


def test_a_taken_port_is_told(atelier: CommandLine):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = atelier("simulate", "--port", port)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"error: port {port} on localhost cannot be used: Address already in use\n"


def test_a_wrong_fault_is_told(atelier: CommandLine):
    ended = atelier("simulate", "--port", "0", "--faults", '{"explode": 1}')
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: faults: there is no 'explode'; there are rate_limited,")


def test_faults_are_given_as_json_or_in_a_file(tmp_path: Path):
    plan = tmp_path / "faults.json"
    plan.write_text('{"drop": 0.1}')
    assert _faults(str(plan)) == _faults('{"drop": 0.1}') == {"drop": 0.1}
    assert _faults(None) is None


@pytest.mark.parametrize(
    ("spec", "told"), [("{", "not JSON"), ("none.json", "No such file"), ("[]", "neither a JSON object nor a file")]
)
def test_faults_that_cannot_be_read_are_told(spec: str, told: str):
    with pytest.raises(SettingsError, match=told):
        _faults(spec)


def test_a_file_that_is_no_object_is_told(tmp_path: Path):
    plan = tmp_path / "faults.json"
    plan.write_text("[1]")
    with pytest.raises(SettingsError, match="not a JSON object"):
        _faults(str(plan))
