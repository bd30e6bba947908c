"""The emulators for tests: started once per test process, used with a project of its own by each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from functions._emulators import Emulators, missing, start_emulators
from functions._processes import ProcessGroup

WHY_NOT = missing()
needs_emulators = pytest.mark.skipif(WHY_NOT is not None, reason=f"emulator tests are left out: {WHY_NOT}")


@pytest.fixture(scope="session")
def emulator_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessGroup]:
    """The processes named "firestore" and "pubsub", once `emulators` has started them."""
    processes = ProcessGroup(Path(tmp_path_factory.mktemp("emulators")))
    yield processes
    processes.stop()


@pytest.fixture(scope="session")
def emulators(emulator_processes: ProcessGroup) -> Emulators:
    """Running Firestore and Pub/Sub emulators."""
    return start_emulators(emulator_processes)


@pytest.fixture
def emulated_project(emulators: Emulators, monkeypatch: pytest.MonkeyPatch) -> str:
    """A project that nobody has used before, with the environment that leads to the emulators."""
    for name, value in emulators.environment.items():
        monkeypatch.setenv(name, value)
    return f"test-{uuid.uuid4().hex[:12]}"
