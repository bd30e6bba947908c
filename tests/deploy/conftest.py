"""What the tests of this folder share."""

import pytest

from tests.deploy.recorded import RecordingStore, record


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> RecordingStore:
    """The queries and fields of everything the local system does, which takes some seconds to do."""
    return record(tmp_path_factory.mktemp("pipeline"))
