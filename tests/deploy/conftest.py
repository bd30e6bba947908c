"""What the tests of this folder share."""

import pytest

from tests.deploy.recorded import record
from tests.deploy.recorders import Seen
from tests.deploy.tree import ROOT, Tree


@pytest.fixture(scope="session")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What everything the local system does asks of its surroundings, which takes some seconds to do."""
    return record(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="session")
def tree() -> Tree:
    """This checkout."""
    return Tree(ROOT)
