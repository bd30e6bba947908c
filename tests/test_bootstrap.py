"""Services are built from settings: every back end once, on first use, and clients only where they are named."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from functions import _runtime, on_tick
from functions._decode import Event
from shared import bootstrap
from shared.adapters.cloud_monitoring import CloudMonitoringMetrics
from shared.clock import ManualClock
from shared.errors import SettingsError
from shared.settings import Settings
from tests.monitoring import monitoring_server

CLOUD = {
    "ATELIER_STATE_URL": "firestore://my-project",
    "ATELIER_BUS_URL": "pubsub://my-project",
    "ATELIER_BLOBS_URL": "gs://my-project",
    "FIRESTORE_EMULATOR_HOST": "127.0.0.1:1",
    "PUBSUB_EMULATOR_HOST": "127.0.0.1:1",
    "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1",
}
STAGES = ("validate", "generate", "fallback", "quality_check", "record_cost")


def test_a_back_end_is_built_once_however_many_threads_ask_for_it_first(tmp_path: Path):
    services = bootstrap.build(Settings(home=str(tmp_path)))
    barrier = threading.Barrier(16)

    def ask(_: int) -> int:
        barrier.wait()
        return id(services.bus)

    with ThreadPoolExecutor(16) as threads:
        assert len(set(threads.map(ask, range(16)))) == 1
    services.close()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_on_the_cloud_loads_neither_the_platform_sdk_nor_monitoring_nor_sqlite(stage: str):
    program = (
        f"import functions.{stage}, json, sys\n"
        "from shared.bootstrap import services\n"
        "s = services()\n"
        "s.documents, s.blobs, s.bus, s.metrics\n"
        "unwanted = ('google.cloud.aiplatform', 'vertexai', 'google.genai', 'google.cloud.monitoring_v3', 'sqlite3')\n"
        "print(json.dumps([name for name in unwanted if name in sys.modules]))\n"
    )
    root = Path(__file__).parents[1]
    environment = {"PATH": "", "PYTHONPATH": str(root), **CLOUD}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=root, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_the_settings_choose_cloud_monitoring_and_a_tick_writes_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clock = ManualClock()
    with monitoring_server(clock) as server:
        construct = CloudMonitoringMetrics.__init__

        def here(self: CloudMonitoringMetrics, project: str, its_clock: ManualClock) -> None:
            construct(self, project, its_clock, endpoint=server.endpoint)

        monkeypatch.setattr(CloudMonitoringMetrics, "__init__", here)
        services = bootstrap.build(Settings(home=str(tmp_path), metrics_url="monitoring://my-project"), clock)
        _runtime.deliver(on_tick.handle, Event({}, "1"), services)
        written = {json.dumps(key) for key in map(str, server.accepted)}
        services.close()
    for name in ("jobs_due", "budget_used", "stage_duration"):
        assert any(f"atelier/{name}" in key for key in written), name
    assert server.refusals == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"providers": ("bogus",)}, "ATELIER_PROVIDERS names 'bogus', which is not known; it may name: huggingface,"),
        ({"webhook_url": "https://example.com"}, "ATELIER_WEBHOOK_URL needs ATELIER_REPLICATE_WEBHOOK_SECRETS"),
    ],
)
def test_settings_that_cannot_work_are_told_at_the_start(tmp_path: Path, settings: dict[str, Any], said: str):
    with pytest.raises(SettingsError, match=said):
        bootstrap.build(Settings(home=str(tmp_path), **settings))
