"""The provider as a whole: who is called where, with which credentials, and what leaves no trace."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import google.auth
import httpx
import pytest
from google.oauth2.credentials import Credentials

from shared.adapters.filesystem import FilesystemBlobStore
from shared.errors import InvalidCall
from shared.ports import Provider
from shared.providers.http import CONNECT_S
from shared.providers.vertex import VertexProvider
from shared.providers.vertex_clients import Clients, _begin
from tests.providers.vertex_server import IMAGE, PREFIX, TEXT, VIDEO, call, recording

WORDS = {"candidates": [{"content": {"parts": [{"text": "words"}]}, "finishReason": "STOP"}]}
OPERATION = {"name": "projects/p1/locations/us-central1/publishers/google/models/m/operations/op1"}


@pytest.fixture
def wire(tmp_path):
    with recording(FilesystemBlobStore(tmp_path)) as wire:
        yield wire


def test_it_is_a_provider_of_that_name(wire):
    provider: Provider = wire.provider
    assert provider.name == "vertex"


def test_what_no_interface_makes_is_invalid(wire):
    with pytest.raises(InvalidCall, match="veo makes no image"):
        wire.provider.start(call("gemini-3.1-flash-image", IMAGE, row={"api": "veo"}))
    with pytest.raises(InvalidCall, match="gemini makes no video"):
        wire.provider.start(call("veo-3.1-generate-001", VIDEO, row={"api": None}))
    assert wire.sent == []


@pytest.mark.parametrize(
    "model, params", [("gemini-3.1-flash-image", IMAGE), ("gemini-3.5-flash", TEXT), ("imagen-4.0-generate-001", IMAGE)]
)
def test_what_is_answered_at_once_leaves_no_trace(wire, model, params):
    assert wire.provider.find(call(model, params, prefix=PREFIX)) is None
    assert wire.sent == []


def test_each_location_has_one_client_that_is_kept():
    clients = Clients("p1", "http://127.0.0.1:9/")
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(clients.at, ["global", "us-central1"] * 8))
    assert len(found) == 2
    assert clients.at("global") in found
    clients.close()


def test_location_and_project_come_from_us_and_not_from_the_environment(wire, monkeypatch):
    for name in ("GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION", "GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, "from-outside")
    wire.answers(WORDS)
    wire.provider.start(call("gemini-3.5-flash", TEXT, row={"location": "europe-west4"}))
    wire.provider.start(call("gemini-3.5-flash", TEXT, row={"location": None}))
    assert [sent.path.split("/publishers/")[0] for sent in wire.sent] == [
        "/v1/projects/p1/locations/europe-west4",
        "/v1/projects/p1/locations/global",
    ]


def test_a_server_without_tls_gets_no_real_credentials(wire, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("application default credentials were asked for")

    monkeypatch.setattr(google.auth, "default", refuse)
    wire.answers(WORDS)
    wire.provider.start(call("gemini-3.5-flash", TEXT))
    assert wire.sent[0].headers["authorization"] == "Bearer local"
    assert "x-goog-api-key" not in wire.sent[0].headers


def test_google_itself_gets_the_default_credentials(tmp_path, monkeypatch):
    asked = []

    class Never(Credentials):
        def refresh(self, _):
            raise google.auth.exceptions.RefreshError("no network in tests")

    def default(**_):
        asked.append(1)
        return Never(token=None), "another-project"

    monkeypatch.setattr(google.auth, "default", default)
    provider = VertexProvider("p1", FilesystemBlobStore(tmp_path), None, base_url="https://proxy.invalid")
    with pytest.raises(Exception, match="no access token"):
        provider.start(call("gemini-3.5-flash", TEXT))
    assert asked
    provider.close()


@pytest.mark.parametrize(
    "model, params, timeout_s, header",
    [("gemini-3.5-flash", TEXT, 90.0, "90"), ("veo-3.1-generate-001", VIDEO, 59.2, "60")],
)
def test_a_call_has_its_own_time(wire, model, params, timeout_s, header):
    wire.answers(WORDS | OPERATION)
    wire.provider.start(call(model, params, timeout_s=timeout_s))
    assert wire.sent[0].headers["x-server-timeout"] == header


def test_one_provider_serves_many_threads(wire):
    wire.answers(WORDS)
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda _: wire.provider.start(call("gemini-3.5-flash", TEXT)).assets[0].text, range(40)))
    assert texts == ["words"] * 40
    assert len(wire.sent) == 40


def test_the_sdk_is_not_loaded_before_the_provider_is_built():
    code = "import functions.generate, sys; sys.exit('google.genai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("timeout_s, connect_s", [(150.0, CONNECT_S), (3.0, 3.0)])
def test_connecting_has_less_time_than_a_long_call(timeout_s, connect_s):
    request = httpx.Request("POST", "http://vertex/", extensions={"timeout": httpx.Timeout(timeout_s).as_dict()})
    _begin(request)
    assert request.extensions["timeout"]["connect"] == connect_s
    assert request.extensions["timeout"]["read"] == timeout_s
