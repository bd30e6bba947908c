"""Fixtures every test may use."""

import gc
import os

import hypothesis
import pytest

from shared.clock import ManualClock
from tests.emulators import emulated_project, emulators, pytest_runtest_setup

__all__ = ["emulated_project", "emulators", "pytest_runtest_setup"]  # fixtures and a hook

# How long one example takes is chance on a busy machine; none of these tests is about that.
hypothesis.settings.register_profile("everywhere", deadline=None)
hypothesis.settings.load_profile("everywhere")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the tests of the emulators and then the slow ones come first, in their order otherwise.

    Of processes that share the tests, one then has all of an emulator's, and none is left with a long one at the end:
    what is taken over from another is the last of its tests.
    """
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("emulators", "slow")])


def pytest_collection_finish() -> None:
    """Keep the garbage collector from walking through thousands of collected tests again and again."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own ATELIER_* variables must not decide how a test ends."""
    for name in list(os.environ):
        if name.startswith("ATELIER_"):
            monkeypatch.delenv(name)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()
