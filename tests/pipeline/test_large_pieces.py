"""A clip may be far larger than the memory of the function that copies it into our bucket."""

from __future__ import annotations

import sys

import pytest

from tests.bench.copying import copied

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process reset its peak of memory")


def test_a_clip_is_copied_to_files_without_ever_being_in_memory_as_a_whole():
    assert copied(64, cloud=False)["above_idle_mib"] < 32


def test_a_clip_is_copied_to_cloud_storage_without_ever_being_in_memory_as_a_whole():
    # An upload goes up in pieces of 8 MiB, of which the client holds several copies, however large the clip is.
    assert copied(128, cloud=True)["above_idle_mib"] < 64
