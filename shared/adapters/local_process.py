"""Names a process of this machine, so that what a dead one held can be taken over at once.

A process id alone is used again by the system; with the time the process started it is not.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

_UNKNOWN_START = "0"


@functools.cache
def process_owner() -> str:
    """Return this process as "pid:starttime", e.g. "4711:8352011"; read once, as that may take a millisecond."""
    pid = os.getpid()
    return f"{pid}:{_start_time(pid) or _UNKNOWN_START}"


os.register_at_fork(after_in_child=process_owner.cache_clear)


def owner_is_alive(owner: str) -> bool:
    """Whether the process that `process_owner` named still runs; False for a text it never wrote.

    Where the system does not tell start times, a reused process id counts as alive: its leases then end by time.
    """
    pid_text, _, start = owner.partition(":")
    if not (pid_text.isascii() and pid_text.isdigit()) or int(pid_text) == 0 or not start:
        return False
    if start == _UNKNOWN_START or not Path("/proc/self/stat").exists():
        return _answers(int(pid_text))
    return _start_time(int(pid_text)) == start


def _start_time(pid: int) -> str | None:
    """Return the start in clock ticks since boot (proc(5), field 22), None for a process that is no more."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # The command's name, field 2, is in brackets and may hold blanks and brackets itself.
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else rest[18]


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
