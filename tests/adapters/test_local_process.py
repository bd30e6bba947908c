from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.adapters.local_process import owner_is_alive, process_owner

ROOT = Path(__file__).parents[2]
TELL_AND_STAY = """
import sys
from shared.adapters.local_process import process_owner
print(process_owner(), flush=True)
sys.stdin.readline()
"""
FORK = """
import os
from shared.adapters.local_process import owner_is_alive, process_owner
before = process_owner()
child = os.fork()
if child == 0:
    os._exit(not (process_owner().startswith(f"{os.getpid()}:") and owner_is_alive(process_owner())))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert process_owner() == before
"""


def test_this_process_is_alive_under_a_name_that_stays() -> None:
    assert owner_is_alive(process_owner())
    assert process_owner() == process_owner()
    assert process_owner().startswith(f"{os.getpid()}:")


def test_a_fork_has_a_name_of_its_own() -> None:
    subprocess.run([sys.executable, "-c", FORK], cwd=ROOT, check=True)


def test_another_process_is_alive_until_it_is_killed_even_before_anyone_waits_for_it() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", TELL_AND_STAY], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    owner = process.stdout.readline().strip()
    assert owner_is_alive(owner)
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, but still in the process table
    assert not owner_is_alive(owner)
    process.communicate()
    assert not owner_is_alive(owner)


def test_a_process_id_used_again_is_not_the_old_process() -> None:
    pid, _, start = process_owner().partition(":")
    assert not owner_is_alive(f"{pid}:{int(start) - 1}")


def test_without_start_times_a_process_id_that_answers_counts_as_alive() -> None:
    assert owner_is_alive(f"{os.getpid()}:0")
    assert not owner_is_alive(f"{2**22 + 1}:0")


@pytest.mark.parametrize("owner", ["", ":", "x", "x:1", "-1:5", "0:0", "1", "1:", "²:1", f"{10**30}:0", f"{10**30}:1"])
def test_a_text_that_names_no_process_is_not_alive(owner: str) -> None:
    assert not owner_is_alive(owner)
