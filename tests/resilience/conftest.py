"""One SQLite file shared by threads, by processes, and by a connection that can be cut."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from shared.adapters.sqlite import SqliteDocumentStore
from shared.errors import StoreConflict, StoreUnavailable
from shared.ports import Snapshot, Write

ROOT = Path(__file__).parents[2]

T = TypeVar("T")


class FaultyStore(SqliteDocumentStore):
    """The SQLite store behind a connection that can be cut, or whose commits always come too late.

    *meanwhile* is what another instance does between the reading of the next commit's author and that commit.
    """

    is_down = False
    is_contended = False
    meanwhile: Callable[[], object] | None = None
    tries = 0

    def get(self, paths: Sequence[str]) -> list[Snapshot | None]:
        self._pass()
        return super().get(paths)

    def commit(self, writes: Sequence[Write]) -> list[str]:
        self._pass()
        if self.meanwhile is not None:
            act, self.meanwhile = self.meanwhile, None
            act()
        if self.is_contended:
            raise StoreConflict
        return super().commit(writes)

    def _pass(self) -> None:
        self.tries += 1
        if self.is_down:
            raise StoreUnavailable("the connection is cut")


class Together(Protocol):
    """Runs actions in one thread each, started at the same moment."""

    def __call__(self, actions: Sequence[Callable[[], T]]) -> list[T]: ...


class Workers(Protocol):
    """Starts processes and returns what sends one line to the first *count* of them and reads their JSON answers."""

    def __call__(self, script: str, processes: int) -> Callable[..., list[Any]]: ...


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(state: Path) -> Iterator[FaultyStore]:
    opened = FaultyStore(str(state))
    yield opened
    opened.close()


@pytest.fixture
def together() -> Together:
    def run_all(actions: Sequence[Callable[[], T]]) -> list[T]:
        gate = threading.Barrier(len(actions))

        def run(action: Callable[[], T]) -> T:
            gate.wait(10)
            return action()

        with ThreadPoolExecutor(len(actions)) as pool:
            return list(pool.map(run, actions))

    return run_all


@pytest.fixture
def workers(state: Path) -> Iterator[Workers]:
    with ExitStack() as stack:

        def start(script: str, processes: int) -> Callable[..., list[Any]]:
            command = [sys.executable, "-c", script, str(state)]
            running = [
                stack.enter_context(
                    subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                )
                for _ in range(processes)
            ]

            def ask(line: str, count: int = processes) -> list[Any]:
                for worker in running[:count]:
                    assert worker.stdin is not None
                    worker.stdin.write(line + "\n")
                    worker.stdin.flush()
                return [json.loads(worker.stdout.readline()) for worker in running[:count] if worker.stdout]

            return ask

        yield start
