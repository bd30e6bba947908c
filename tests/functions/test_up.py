"""`up` as people start it: a process that serves, watches its inbox, and ends when it is told to."""

import json
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functions.command_line import CommandLine, Started, note, write_lines
from tests.waiting import until

PATIENCE_S = 20


class Service(Started):
    """A running `up`."""

    def __init__(self, atelier: CommandLine) -> None:
        super().__init__(atelier, "up", "--json", "--port", "0")
        self.said = json.loads(self.line())
        self.ops = self.said["ops"]
        self.inbox = Path(self.said["inbox"])

    def get(self, path: str, host: str | None = None) -> tuple[int, str]:
        request = urllib.request.Request(self.ops + path, headers={"Host": host} if host else {})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def jobs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.get("api/jobs")[1])["jobs"]
        return found

    def interrupt(self) -> tuple[int, str, str]:
        return self.end(signal.SIGINT)

    def children(self) -> list[str]:
        """Process ids of what this process has started."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        return [pid for task in tasks.iterdir() for pid in (task / "children").read_text().split()]


@pytest.fixture
def atelier(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "home")


@pytest.fixture
def service(atelier: CommandLine) -> Iterator[Service]:
    running = Service(atelier)
    yield running
    if running.process.poll() is None:
        running.kill()


def drop(service: Service, name: str, *lines: Any) -> Path:
    """Put a file into the inbox as a file manager does: under its name from the start."""
    service.inbox.mkdir(parents=True, exist_ok=True)
    return write_lines(service.inbox / name, *lines)


def test_a_file_dropped_into_the_inbox_becomes_jobs_and_ctrl_c_ends_cleanly(atelier, service):
    drop(service, "batch.jsonl", note("a"), "not json", note("b"))
    until(
        lambda: sorted(j["state"] for j in service.jobs()) == ["succeeded", "succeeded"],
        PATIENCE_S,
        what="both jobs done",
    )
    errors = until(
        lambda: list(service.inbox.glob("*.errors.json")), PATIENCE_S, what="the bad line is told beside the file"
    )
    assert json.loads(errors[0].read_text())["errors"][0]["line"] == 2
    assert service.children() == []
    code, out, err = service.interrupt()
    assert (code, out) == (0, "")
    assert err.endswith("stopping\n")
    assert "Traceback" not in err
    with pytest.raises(ProcessLookupError):
        os.kill(service.process.pid, 0)
    assert atelier("audit").code == 0


def test_what_is_submitted_from_another_process_is_carried_out(atelier, service, tmp_path):
    job = atelier("submit", write_lines(tmp_path / "n.jsonl", note("a")), "--json").json["submitted"][0]["job_id"]
    until(
        lambda: [j["job_id"] for j in service.jobs() if j["state"] == "succeeded"] == [job],
        PATIENCE_S,
        what="the job is done",
    )
    status, page = service.get(f"jobs/{job}")
    assert status == 200
    assert job in page


def test_the_ops_page_says_that_it_is_well_and_listens_on_this_machine_alone(service):
    status, page = service.get("")
    assert (status, "<html" in page) == (200, True)
    assert json.loads(service.get("health")[1])["status"] == "ok"
    assert service.ops.startswith("http://127.0.0.1:")
    assert service.get("", host="elsewhere.example")[0] == 421


def test_a_file_that_was_seen_makes_no_second_job_after_a_restart(atelier, service):
    unnamed = {k: v for k, v in note("unnamed").items() if k != "request_id"}
    drop(service, "one.json", unnamed)
    until(lambda: [j["state"] for j in service.jobs()] == ["succeeded"], PATIENCE_S, what="the job is done")
    assert service.interrupt()[0] == 0
    again = Service(atelier)
    try:
        drop(again, "two.json", note("second"))
        until(
            lambda: [j for j in again.jobs() if j["request_id"] == "second" and j["state"] == "succeeded"],
            PATIENCE_S,
            what="seen",
        )
        assert len(again.jobs()) == 2
    finally:
        assert again.interrupt()[0] == 0


def test_a_port_in_use_is_one_clear_line(atelier):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = atelier("up", "--port", str(port))
    assert (found.code, found.out) == (2, "")
    assert found.err == f"error: port {port} on localhost cannot be used: Address already in use\n"
