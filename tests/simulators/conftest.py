"""Running simulators of the vendors."""

from collections.abc import Iterator

import pytest

from shared.clock import ManualClock
from shared.simulators.vendors import Vendors


@pytest.fixture(scope="module")
def refusing() -> Iterator[Vendors]:
    """One server for all requests that are refused: none of them leaves anything behind."""
    with Vendors(clock=ManualClock()) as running:
        yield running


@pytest.fixture
def vendors(clock: ManualClock) -> Iterator[Vendors]:
    """A server of the test's own."""
    with Vendors(clock=clock) as running:
        yield running
