"""`run --emulators` and `up --emulators` as people start them: what they print, and that nothing of them stays."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from functions._emulated.cloud import EmulatedCloud
from functions._emulated.emulators import Emulators
from shared.settings import Settings
from tests.emulators import needs_emulators
from tests.functions.command_line import CommandLine, Started, note, picture, write_lines
from tests.waiting import until

pytestmark = needs_emulators

PATIENCE_S = 20
AS_JSON = ("--json", "--port", "0")


@pytest.fixture
def atelier(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "a home")


class Service(Started):
    """A running `up --emulators`."""

    def __init__(self, atelier: CommandLine) -> None:
        super().__init__(atelier, "up", "--emulators", *AS_JSON)
        self.told = json.loads(self.line())

    def jobs(self) -> dict[str, str]:
        """The state of each job by its `request_id`."""
        with urllib.request.urlopen(self.told["ops"] + "api/jobs", timeout=PATIENCE_S) as answer:
            return {job["request_id"]: job["state"] for job in json.load(answer)["jobs"]}

    def ports(self) -> list[int]:
        places = [*self.told["functions"].values(), *(v for k, v in self.told["environment"].items() if "HOST" in k)]
        return [int(place.rstrip("/").rsplit(":", 1)[1]) for place in places]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CommandLine, Service]]:
    atelier = CommandLine(tmp_path_factory.mktemp("shared") / "home")
    service = Service(atelier)
    yield atelier, service
    assert service.end(signal.SIGINT) == (0, "", "stopping\n")
    assert belonging(atelier.home) == {}


@pytest.fixture
def started() -> Iterator[Callable[..., Any]]:
    """Starts a command that does not outlive the test."""
    running: list[Started] = []

    def start(kind: type[Started], *arguments: Any, **settings: str) -> Started:
        running.append(kind(*arguments, **settings))
        return running[-1]

    yield start
    for command in running:
        command.kill()


def belonging(home: Path) -> dict[int, str]:
    """The processes that have *home* in their environment, with their commands: all that was started for it."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"ATELIER_HOME={home}".encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


def kill(home: Path, *words: str, only_first: bool = False) -> set[int]:
    """Kill the processes of a home that have all *words* in their command; return the ids of all of these."""
    found = sorted(pid for pid, command in belonging(home).items() if all(word in command for word in words))
    for pid in found[:1] if only_first else found:
        os.kill(pid, signal.SIGKILL)
    return set(found)


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# ---------------------------------------------------------------- run


def test_a_run_prints_json_alone_and_leaves_no_process_behind(atelier, tmp_path):
    requests = write_lines(tmp_path / "notes.jsonl", note("a"), picture("b"))
    found = atelier("run", "--emulators", "--json", requests)
    assert (found.code, found.err) == (0, "")
    assert [(job["request_id"], job["type"]) for job in found.json["jobs"]] == [
        ("a", "job.succeeded"),
        ("b", "job.succeeded"),
    ]
    assert belonging(atelier.home) == {}


def test_a_run_says_that_the_files_are_gone_and_what_the_report_keeps(atelier, tmp_path):
    requests = write_lines(tmp_path / "notes.jsonl", note("a"), "not json", picture("b"))
    found = atelier("run", "--emulators", "--parallel", requests)
    assert found.code == 1
    assert "2 of 3 succeeded" in found.out
    assert "notes.jsonl:2" in found.out
    last = found.out.splitlines()[-2:]
    assert last == [
        f"report: {atelier.home / 'report.html'}",
        "the gs:// files went with the emulators; the report keeps what it shows of them",
    ]
    assert "data:image/jpeg;base64," in (atelier.home / "report.html").read_text()
    assert belonging(atelier.home) == {}


@pytest.mark.parametrize("name", ["missing.jsonl", "empty"])
def test_bad_request_files_are_told_as_without_emulators_before_anything_is_started(atelier, tmp_path, name):
    (tmp_path / "empty").mkdir()
    found = atelier("run", "--emulators", tmp_path / name, PATH=str(tmp_path))  # where nothing can be started
    assert found == atelier("run", tmp_path / name)
    assert found.code == 2
    assert not (atelier.home / "emulated").exists()


def test_settings_that_cannot_work_end_a_run_instead_of_letting_it_wait(atelier, tmp_path):
    requests = write_lines(tmp_path / "notes.jsonl", note("a"))
    found = atelier("run", "--emulators", requests, ATELIER_PROVIDERS="bogus")
    assert found == atelier("run", requests, ATELIER_PROVIDERS="bogus")
    assert found.err.startswith("error: ATELIER_PROVIDERS names 'bogus', which is not known; it may name: huggingface")
    assert belonging(atelier.home) == {}


def test_a_run_whose_emulator_is_killed_ends_with_one_clear_line(atelier, tmp_path, started):
    faults = json.dumps({"hang": 1, "hang_s": 60.0})
    clip = {
        "kind": "video",
        "prompt": "Boats in a harbour at dawn",
        "request_id": "clip",
        "model": "offline-video-draft",
    }
    run = started(
        Started,
        atelier,
        "run",
        "--emulators",
        write_lines(tmp_path / "clip.jsonl", clip),
        ATELIER_OFFLINE_FAULTS=faults,
    )
    assert "clip: " in run.process.stderr.readline()
    kill(run.home, "java", "firestore")
    code, out, err = run.end()
    assert (code, out) == (1, "")
    assert _problems(err) == [f"error: the firestore emulator has ended; its log is {_log(atelier, 'firestore')}"]
    assert belonging(atelier.home) == {}


# ---------------------------------------------------------------- up


def test_a_second_terminal_joins_in_with_the_environment_that_is_printed(shared, tmp_path):
    atelier, service = shared
    joined = service.told["environment"]
    request = write_lines(tmp_path / "n.jsonl", note("joined"))
    (row,) = atelier("submit", request, "--json", **joined).json["submitted"]
    until(lambda: service.jobs().get("joined") == "succeeded", PATIENCE_S, what="the job is done")
    status = atelier("status", row["job_id"], "--json", **joined)
    assert (status.code, status.json["state"]) == (0, "succeeded")
    assert atelier("audit", **joined).code == 0


def test_a_manifest_in_the_inbox_bucket_becomes_jobs_and_its_bad_lines_are_told(shared):
    _, service = shared
    storage, bucket = service.told["environment"]["STORAGE_EMULATOR_HOST"], service.told["inbox"].split("/")[2]
    body = "\n".join([json.dumps(note("m-1")), "not json", json.dumps(note("m-2"))])
    url = f"{storage}/upload/storage/v1/b/{bucket}/o?uploadType=media&name=batch.jsonl"
    urllib.request.urlopen(urllib.request.Request(url, data=body.encode()), timeout=PATIENCE_S).close()
    until(
        lambda: [service.jobs().get(name) for name in ("m-1", "m-2")] == ["succeeded"] * 2,
        PATIENCE_S,
        what="both jobs are done",
    )

    def errors() -> Any:
        told = f"{storage}/storage/v1/b/{bucket}/o/batch.jsonl.errors.json?alt=media"
        try:
            with urllib.request.urlopen(told, timeout=PATIENCE_S) as answer:
                return json.load(answer)["errors"]
        except urllib.error.HTTPError as error:
            error.close()
            return None

    assert [error["line"] for error in until(errors, PATIENCE_S, what="the bad line is told beside the file")] == [2]


def test_a_function_that_is_killed_is_started_again(shared, tmp_path):
    atelier, service = shared
    killed = {name: kill(service.home, "--target", name) for name in ("quality_check", "record_cost")}
    assert all(killed.values())
    atelier("submit", write_lines(tmp_path / "n.jsonl", note("revived")), **service.told["environment"])
    until(lambda: service.jobs().get("revived") == "succeeded", PATIENCE_S, what="the job is done")
    now = belonging(service.home)
    for name, before in killed.items():
        assert {pid for pid, command in now.items() if f"--target {name} " in command} - before


def test_a_function_whose_worker_outlives_its_master_is_started_again(shared, tmp_path):
    atelier, service = shared
    assert len(kill(service.home, "--target generate ", only_first=True)) == 2
    atelier("submit", write_lines(tmp_path / "n.jsonl", note("mastered")), **service.told["environment"])
    until(lambda: service.jobs().get("mastered") == "succeeded", PATIENCE_S, what="the job is done")


def test_ctrl_c_stops_everything_and_what_is_printed_can_be_given_to_a_shell(atelier, started):
    up = started(Started, atelier, "up", "--emulators", "--port", "0")
    lines = [up.line()]
    while lines[-1] != "Ctrl-C stops\n":
        lines.append(up.process.stdout.readline())
    exports = "".join(line for line in lines if line.startswith("export "))
    shell = subprocess.run(["sh", "-euc", f'{exports}printf %s "$ATELIER_HOME"'], check=True, capture_output=True)
    assert shell.stdout.decode() == str(atelier.home / "emulated")
    assert len(belonging(atelier.home)) > 10
    began = time.monotonic()
    assert up.end(signal.SIGINT) == (0, "", "stopping\n")
    assert time.monotonic() - began < 10
    assert belonging(atelier.home) == {}


def test_sigterm_stops_everything_and_closes_every_port(atelier, started):
    up = started(Service, atelier)
    ports = up.ports()
    assert all(is_open(port) for port in ports)
    assert up.end(signal.SIGTERM) == (0, "", "stopping\n")
    assert belonging(atelier.home) == {}
    assert not any(is_open(port) for port in ports)


def test_ctrl_c_while_it_starts_stops_what_was_started(atelier, started):
    up = started(Started, atelier, "up", "--emulators", *AS_JSON)
    until(
        lambda: any("java" in command for command in belonging(atelier.home).values()),
        PATIENCE_S,
        what="the emulators are started",
    )
    code, out, err = up.end(signal.SIGINT)
    assert (code, out) == (130, "")
    assert "Traceback" not in err
    assert belonging(atelier.home) == {}


def test_nothing_is_left_when_it_is_killed_itself(atelier, started):
    up = started(Service, atelier)
    up.process.kill()
    assert up.end() == (-signal.SIGKILL, "", "")
    until(lambda: belonging(atelier.home) == {}, 8, what="all that it started has ended")
    assert not any(is_open(port) for port in up.ports())


def test_up_ends_with_one_clear_line_when_an_emulator_is_killed(atelier, started):
    up = started(Service, atelier)
    kill(up.home, "java", "firestore")
    code, out, err = up.end()
    assert (code, out) == (1, "")
    assert err == f"error: the firestore emulator has ended; its log is {_log(atelier, 'firestore')}\n"
    assert belonging(atelier.home) == {}


@pytest.mark.parametrize("command", ["up", "run"])
@pytest.mark.parametrize(("there", "lacking"), [([], "no Java"), (["java"], "no Google Cloud SDK")])
def test_without_java_or_the_sdk_one_line_says_how_to_get_it(atelier, tmp_path, command, there, lacking):
    for name in there:
        (tmp_path / name).symlink_to(shutil.which(name))
    requests = write_lines(tmp_path / "notes.jsonl", note("a"))
    arguments = [requests] if command == "run" else ["--port", "0"]
    found = atelier(command, "--emulators", *arguments, PATH=str(tmp_path))
    assert (found.code, found.out) == (2, "")
    (line,) = found.err.splitlines()
    assert line.startswith(f"error: there is {lacking}; ")
    assert "gcloud components install pubsub-emulator cloud-firestore-emulator" in line
    assert belonging(atelier.home) == {}


def test_a_port_in_use_is_one_clear_line_and_nothing_is_started(atelier):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = atelier("up", "--emulators", "--port", str(port))
    assert (found.code, found.out) == (2, "")
    assert found.err == f"error: port {port} on localhost cannot be used: Address already in use\n"
    assert not (atelier.home / "emulated").exists()


# ---------------------------------------------------------------- environment


def test_the_way_to_the_emulators_avoids_a_proxy(monkeypatch):
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    emulators = Emulators("127.0.0.1:1", "127.0.0.1:2")
    assert "no_proxy" not in emulators.environment
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    assert emulators.environment["no_proxy"] == "127.0.0.1"
    monkeypatch.setenv("NO_PROXY", "intern.example,127.0.0.1")
    assert emulators.environment["no_proxy"] == "intern.example,127.0.0.1"


def _log(atelier: CommandLine, name: str) -> Path:
    return atelier.home / "emulated" / "logs" / f"{name}.log"


def _problems(err: str) -> list[str]:
    """What a run says on stderr beside its progress."""
    return [line for line in err.splitlines() if not line.startswith("clip: ")]


def test_what_no_emulator_can_do_is_not_asked_of_it(tmp_path):
    asked = {
        "push_audience": "https://a.example",
        "push_service_account": "a@b.example",
        "metrics_url": "monitoring://p",
    }
    settings = EmulatedCloud(Settings(home=str(tmp_path), **asked))._settings
    assert (settings.push_audience, settings.metrics_url) == ("", "")
