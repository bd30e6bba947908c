"""Fixtures every test may use."""

import os

import hypothesis
import pytest

from shared.clock import ManualClock
from tests.emulators import emulated_project, emulators, pytest_runtest_setup

__all__ = ["emulated_project", "emulators", "pytest_runtest_setup"]  # fixtures and a hook

# How long one example takes is chance on a busy machine; none of these tests is about that.
hypothesis.settings.register_profile("everywhere", deadline=None)
hypothesis.settings.load_profile("everywhere")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own ATELIER_* variables must not decide how a test ends."""
    for name in list(os.environ):
        if name.startswith("ATELIER_"):
            monkeypatch.delenv(name)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
