"""What the README tells an upstream system to do works as it stands there, on a running `up --emulators`."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest
from google.cloud import pubsub_v1

from shared.domain.identity import job_id
from shared.domain.intake import Envelope
from tests.emulators import needs_emulators
from tests.functions.command_line import REPOSITORY, CommandLine, Started

pytestmark = needs_emulators

README = (REPOSITORY / "README.md").read_text("utf-8")
SECTION = re.search(r"^## Upstream's side\n(.*?)(?=^## )", README, re.MULTILINE | re.DOTALL)[1]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
EXAMPLE_S = 40
PUBLISHED = "publisher.publish(", "tide-note-1"
PUBLISHED_BY_GCLOUD = "gcloud pubsub topics publish", "bridge-note-1"
UPLOADED = "upload_from_string(", "morning-1"
UPLOADED_BY_GCLOUD = "gcloud storage cp", "evening-1", "evening-2"


def block(word: str) -> tuple[str, str]:
    """The language and the text of the one example that has *word* in it."""
    ((language, text),) = [found for found in BLOCKS if word in found[1]]
    return language, text


@dataclass(frozen=True)
class Upstream:
    """A folder and an environment outside of the project, with a running system to talk to."""

    folder: Path
    environment: dict[str, str]

    def command(self, word: str) -> list[str]:
        """How the example with *word* in it is started; for gcloud, after the lines that lead it here."""
        language, text = block(word)
        if language == "python":
            return [sys.executable, "-c", text]
        return ["bash", "-euo", "pipefail", "-c", block("export CLOUDSDK_")[1] + text]

    def run(self, word: str) -> str:
        """Run an example and return what it prints."""
        found = subprocess.run(
            self.command(word),
            check=False,
            capture_output=True,
            text=True,
            timeout=EXAMPLE_S,
            env=self.environment,
            cwd=self.folder,
        )
        assert found.returncode == 0, found.stderr
        return found.stdout

    def publish(self, topic: str, data: bytes) -> str:
        """Publish as a service of Google's would; return the message's id."""
        with pubsub_v1.PublisherClient() as publisher:
            path = publisher.topic_path(self.environment["GOOGLE_CLOUD_PROJECT"], topic)
            return str(publisher.publish(path, data).result(timeout=EXAMPLE_S))


class Listener:
    """The example that listens, running; one line per result."""

    def __init__(self, upstream: Upstream) -> None:
        self._process = subprocess.Popen(
            upstream.command("on_result"),
            stdout=subprocess.PIPE,
            text=True,
            env=upstream.environment,
            cwd=upstream.folder,
        )
        self._queue: SimpleQueue[str] = SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.lines: list[list[str]] = []

    def wait_for(self, job: str) -> list[str]:
        """The words it prints of a job: type, job, request, cost, pieces."""
        while not (found := [words for words in self.lines if words[1] == job]):
            try:
                self.lines.append(self._queue.get(timeout=EXAMPLE_S).split())
            except Empty:
                pytest.fail(f"no result of {job}, but {self.lines}")
        return found[0]

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._queue.put(line)


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    folder = Path(tmp_path_factory.mktemp("upstream"))
    atelier = CommandLine(folder / "home")
    running = Started(atelier, "up", "--emulators", "--json", "--port", "0")
    try:
        yield Upstream(folder, _outside(folder, json.loads(running.line())["environment"]))
    finally:
        running.end(signal.SIGINT)


@pytest.fixture(scope="module")
def listener(upstream: Upstream) -> Iterator[Listener]:
    running = Listener(upstream)
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def _led_to_the_emulators(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", upstream.environment["PUBSUB_EMULATOR_HOST"])


def _outside(folder: Path, joined: dict[str, str]) -> dict[str, str]:
    """The environment of someone who has none of our code and nobody's account."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ATELIER_", "CLOUDSDK_", "PYTHON", "GOOGLE_"))}
    google = {k: v for k, v in joined.items() if not k.startswith("ATELIER_")}
    return {**kept, **google, "CLOUDSDK_CONFIG": str(folder / "gcloud"), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}


def scheduled_message() -> str:
    """The body that the Scheduler of the example would publish."""
    words = shlex.split(block("gcloud scheduler jobs create")[1])
    assert "--topic=requests" in words
    (body,) = [word.removeprefix("--message-body=") for word in words if word.startswith("--message-body=")]
    return body


@pytest.mark.parametrize("example", [PUBLISHED, PUBLISHED_BY_GCLOUD, UPLOADED, UPLOADED_BY_GCLOUD], ids=lambda e: e[1])
def test_what_an_example_asks_for_is_made_and_its_listener_hears_of_it(upstream, listener, example):
    word, *request_ids = example
    upstream.run(word)
    for request_id in request_ids:
        kind, _, told_id, cost, piece = listener.wait_for(job_id("default", request_id))
        assert (kind, told_id) == ("job.succeeded", request_id)
        assert float(cost) > 0
        assert piece.startswith(f"gs://{upstream.environment['GOOGLE_CLOUD_PROJECT']}-outputs/jobs/")


def test_each_message_of_the_scheduler_is_a_job_with_a_piece_of_its_own(upstream, listener):
    body = scheduled_message()
    heard = []
    for _ in range(2):
        message_id = upstream.publish("requests", body.encode())
        heard.append(listener.wait_for(Envelope(json.loads(body), message_id).job_id))
    assert [words[0] for words in heard] == ["job.succeeded"] * 2
    assert all(float(words[3]) > 0 for words in heard)
    assert heard[0][4] != heard[1][4]


def test_the_listener_tells_a_result_that_comes_twice_once(upstream, listener):
    result = {"type": "job.succeeded", "request_id": "r", "cost_usd": "0", "outputs": []}
    for name in ("twice", "twice", "last"):
        upstream.publish("results", json.dumps({**result, "job_id": name}).encode())
    listener.wait_for("last")
    listener.wait_for("twice")
    assert [words[1] for words in listener.lines].count("twice") == 1


def test_the_options_of_the_scheduler_example_exist():
    """It cannot be run without an account, but gcloud says what it takes."""
    words = shlex.split(block("gcloud scheduler jobs create")[1])
    command = words[: words.index("pubsub") + 1]
    found = subprocess.run(
        [*command, "--help"], check=False, capture_output=True, text=True, timeout=EXAMPLE_S, stdin=subprocess.DEVNULL
    )
    for option in (word.split("=")[0] for word in words if word.startswith("--")):
        assert option in re.sub(r".\x08", "", found.stdout), option


def test_every_example_is_run():
    ran = ["export CLOUDSDK_", "gcloud scheduler jobs create", "on_result"]
    ran += [word for word, *_ in (PUBLISHED, PUBLISHED_BY_GCLOUD, UPLOADED, UPLOADED_BY_GCLOUD)]
    assert sorted(block(word) for word in ran) == sorted(BLOCKS)
