"""A group of child processes: it ends as a whole, whatever ends it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from functions._emulated.processes import ProcessGroup, free_port
from shared.errors import SettingsError
from tests.functions.command_line import REPOSITORY
from tests.waiting import until

PATIENCE_S = 10
FOREVER = "while :; do sleep 60; done"
PARENT = """
import os, sys, time
from pathlib import Path
from functions._emulated.processes import ProcessGroup

group = ProcessGroup(Path(sys.argv[1]), grace_s=0.3)
for name, script in zip(("a", "b"), sys.argv[2:]):
    group.start(name, ["/bin/sh", "-c", script], environment=os.environ, cwd=Path.cwd())
print(group.pid("a"), flush=True)
time.sleep(60)
"""


@pytest.fixture
def group(tmp_path: Path) -> Iterator[ProcessGroup]:
    running = ProcessGroup(tmp_path / "logs", grace_s=0.3)
    yield running
    running.stop()


def start(group: ProcessGroup, name: str, script: str) -> int:
    group.start(name, ["/bin/sh", "-c", script], environment=os.environ, cwd=Path.cwd())
    return group.pid(name)


def members(group_id: int) -> list[int]:
    """The processes of a process group that still do something."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, process_group = stat.read_text().rsplit(")", 1)[1].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(process_group) == group_id and state != "Z":
            found.append(int(stat.parent.name))
    return found


def test_what_a_child_writes_is_in_its_log_and_a_second_start_adds_to_it(group: ProcessGroup):
    for text in ("first", "second"):
        start(group, "talks", f"echo {text}; echo {text} >&2")
        until(lambda: group.ended() == ["talks"], PATIENCE_S)
    assert group.log("talks").read_text() == "first\nfirst\nsecond\nsecond\n"


def test_a_child_that_has_ended_is_named_until_it_is_started_again(group: ProcessGroup):
    start(group, "stays", FOREVER)
    os.kill(start(group, "falls", FOREVER), signal.SIGKILL)
    until(lambda: group.ended() == ["falls"], PATIENCE_S)
    start(group, "falls", FOREVER)
    assert group.ended() == []


def test_stop_ends_children_and_grandchildren_and_may_be_called_again(group: ProcessGroup):
    pid = start(group, "parent", f"sh -c '{FOREVER}' & {FOREVER}")
    group_id = os.getpgid(pid)
    until(lambda: len(members(group_id)) >= 4, PATIENCE_S)
    group.stop()
    until(lambda: not members(group_id), PATIENCE_S)
    group.stop()


def test_stop_lets_a_child_tidy_up_and_ends_one_that_does_not_want_to(group: ProcessGroup, tmp_path: Path):
    tidied = tmp_path / "tidied"
    start(group, "kind", f"trap 'echo done > {tidied}; exit 0' TERM; touch {tidied}.ready; {_napping()}")
    start(group, "stubborn", f"trap '' TERM; touch {tidied}.set; {_napping()}")
    until(lambda: Path(f"{tidied}.ready").exists() and Path(f"{tidied}.set").exists(), PATIENCE_S)
    began = time.monotonic()
    group.stop()
    assert time.monotonic() - began < PATIENCE_S
    assert tidied.read_text() == "done\n"
    assert sorted(group.ended()) == ["kind", "stubborn"]


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_the_group_ends_when_this_process_is_killed_and_nobody_waits_for_its_output(tmp_path: Path, ending: int):
    stubborn = f"trap '' TERM; {_napping()}"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), FOREVER, stubborn],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    with parent:
        group_id = os.getpgid(int(parent.stdout.readline()))
        parent.send_signal(ending)
        began = time.monotonic()
        assert parent.stdout.read() == ""
        assert time.monotonic() - began < 2
    until(lambda: not members(group_id), PATIENCE_S)


def test_ctrl_c_on_the_terminal_does_not_reach_the_children(group: ProcessGroup):
    assert os.getpgid(start(group, "child", FOREVER)) != os.getpgrp()


def test_a_child_is_awaited_until_it_answers_whatever_it_answers(group: ProcessGroup, monkeypatch: pytest.MonkeyPatch):
    port = free_port()
    refused = f"http://127.0.0.1:{free_port()}"
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, refused)
    serve = "import http.server as h, sys; h.HTTPServer(('127.0.0.1', int(sys.argv[1])), h.BaseHTTPRequestHandler)"
    group.start(
        "web", [sys.executable, "-c", f"{serve}.serve_forever()", str(port)], environment=os.environ, cwd=Path.cwd()
    )
    group.wait_until_open("web", port, PATIENCE_S)
    assert '"GET / HTTP/1.1" 501' in group.log("web").read_text()


def test_a_child_that_ends_instead_of_answering_is_told_at_once_with_the_end_of_its_log(group: ProcessGroup):
    start(group, "short", "echo no such file; exit 1")
    with pytest.raises(SettingsError, match="short did not start on port 1; its log ends with:\nno such file"):
        group.wait_until_open("short", 1)


def test_a_child_that_never_answers_is_not_awaited_for_ever(group: ProcessGroup):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start(group, "silent", FOREVER)
        with pytest.raises(SettingsError, match="silent did not start"):
            group.wait_until_open("silent", silent.getsockname()[1], 0.1)


def test_a_command_that_does_not_exist_is_one_clear_error(group: ProcessGroup):
    with pytest.raises(SettingsError, match=r"java cannot be started: .*No such file"):
        group.start("java", ["/no/such/java"], environment=os.environ, cwd=Path.cwd())


def _napping() -> str:
    """A shell that notices signals at once: a trap waits for the command in front, so that is a short one."""
    return "while :; do sleep 0.05; done"


def test_a_free_port_is_none_that_the_system_gives_to_connections_and_none_twice() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert max(ports) < 32_768
