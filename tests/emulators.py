"""The emulators for tests: started once per test process, used with a project of its own by each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from functions._emulated.emulators import Emulators, missing, running_emulators

needs_emulators = pytest.mark.emulators


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip where the emulators cannot be started: all from this one place, so that one line tells of all."""
    if item.get_closest_marker("emulators") is not None and (why_not := missing()) is not None:
        pytest.skip(f"emulator tests are left out: {why_not}")


@pytest.fixture(scope="session")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulators]:
    """Running Firestore and Pub/Sub emulators."""
    with running_emulators(Path(tmp_path_factory.mktemp("emulators"))) as running:
        yield running


def process_id(address: str) -> int:
    """The process of the emulator that answers at *address*."""
    wanted = f"--port={address.rsplit(':', 1)[1]}".encode()
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            if wanted in command.read_bytes().split(b"\0"):
                found.append(int(command.parent.name))
    [pid] = found
    return pid


@pytest.fixture
def emulated_project(emulators: Emulators, monkeypatch: pytest.MonkeyPatch) -> str:
    """A project that nobody has used before, with the environment that leads to the emulators."""
    for name, value in emulators.environment.items():
        monkeypatch.setenv(name, value)
    return f"test-{uuid.uuid4().hex[:12]}"
