"""Child processes that end when this one does, however it ends."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

from shared.errors import SettingsError

LOOK_EVERY_S = 0.02
ANSWER_S = 2.0
TAIL_BYTES = 2_000
PORTS = (20_000, 32_768)
_given: deque[int] = deque(maxlen=1_000)

# Reads until this process is gone, then ends its process group, which is that of the children: first kindly.
_KEEPER = "read _; trap '' TERM; kill -TERM 0; sleep {grace_s}; kill -KILL 0"


class ProcessGroup:
    """Named child processes, each with a log file in *folder*.

    *grace_s*: how long a child may take to end by itself, once it was told to.
    """

    def __init__(self, folder: Path, *, grace_s: float = 5.0) -> None:
        self._folder = folder
        self._grace_s = grace_s
        folder.mkdir(parents=True, exist_ok=True)
        self._keeper = subprocess.Popen(  # noqa: S603 - our own text
            ["/bin/sh", "-c", _KEEPER.format(grace_s=grace_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # else whoever reads our output would wait for the keeper's end
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str], *, environment: Mapping[str, str], cwd: Path) -> None:
        """Start a child, or start it again once it has ended. What it writes is added to its log.

        Raises SettingsError when there is no such command.
        """
        with self.log(name).open("ab") as log:
            try:
                self._children[name] = subprocess.Popen(  # noqa: S603 - the callers' own commands
                    command,
                    env=dict(environment),
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    process_group=self._keeper.pid,
                )
            except OSError as error:
                raise SettingsError(f"{name} cannot be started: {error}") from None

    def log(self, name: str) -> Path:
        """Return the file that a child's output is in."""
        return self._folder / f"{name}.log"

    def pid(self, name: str) -> int:
        """Return the process id of a child."""
        return self._children[name].pid

    def ended(self) -> list[str]:
        """Return the children that have ended by themselves."""
        return [name for name, child in self._children.items() if child.poll() is not None]

    def wait_until_open(self, name: str, port: int, timeout_s: float = 60.0) -> None:
        """Wait until a child answers HTTP on *port*. Raises SettingsError with the end of its log when it does not."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end and self._children[name].poll() is None:
            if _answers(port, min(ANSWER_S, max(LOOK_EVERY_S, end - time.monotonic()))):
                return
            time.sleep(LOOK_EVERY_S)
        tail = self.log(name).read_bytes()[-TAIL_BYTES:].decode("utf-8", "replace")
        raise SettingsError(f"{name} did not start on port {port}; its log ends with:\n{tail}")

    def stop(self) -> None:
        """End every child, kindly and then not, and return when all are gone; a second time does nothing."""
        if self._keeper.returncode is not None:
            return  # its group is gone, and another may have its number
        for child in self._children.values():
            child.terminate()
        end = time.monotonic() + self._grace_s
        for child in self._children.values():
            try:
                child.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                break
        os.killpg(self._keeper.pid, signal.SIGKILL)  # whoever is left, and the keeper
        for process in [*self._children.values(), self._keeper]:
            process.wait()
        if self._keeper.stdin is not None:
            self._keeper.stdin.close()


def free_port() -> int:
    """Return a port of localhost that nobody uses now, another one each time.

    It is below those that systems hand out by themselves (from 32768 on Linux, from 49152 elsewhere): one of them could
    go to any connection before a process that takes seconds to start listens on it.
    """
    while True:
        port = random.randrange(*PORTS)  # noqa: S311 - no secret
        if port in _given:
            continue
        _given.append(port)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _answers(port: int, timeout_s: float) -> bool:
    # Not urllib, which would ask a proxy that the environment names.
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)) as connection:
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
    return True
