"""What the Cloud Monitoring sink does beyond the contract: the service's rules, time, failures, the end."""

from __future__ import annotations

import json
import logging
import random
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import grpc
import pytest

from shared.adapters.cloud_monitoring import BUCKETS, CloudMonitoringMetrics
from shared.clock import ManualClock
from shared.metrics import METRICS
from tests.monitoring import CUMULATIVE, GAUGE, MonitoringServer, monitoring_server

ROOT = Path(__file__).parents[2]
VENDOR = {"provider": "offline", "model": "offline-image"}
STAGE = {"stage": "generate"}

Build = Callable[..., CloudMonitoringMetrics]


@pytest.fixture
def server(clock: ManualClock) -> Iterator[MonitoringServer]:
    with monitoring_server(clock) as server:
        yield server


@pytest.fixture
def build(server: MonitoringServer, clock: ManualClock) -> Iterator[Build]:
    """Build sinks that write to the server."""
    opened = []

    def make(**arguments: object) -> CloudMonitoringMetrics:
        opened.append(CloudMonitoringMetrics("test-project", clock, **{"endpoint": server.endpoint, **arguments}))
        return opened[-1]

    yield make
    for sink in opened:
        sink.close()


@pytest.fixture
def sink(build: Build) -> CloudMonitoringMetrics:
    return build()


def fill(sink: CloudMonitoringMetrics, series: int) -> None:
    for n in range(series):
        sink.record("stage_errors", 1, {"stage": "generate", "error": f"Error{n}"})


def totals(server: MonitoringServer) -> list[int]:
    return [point.value.int64_value for point in server.points("spend", VENDOR)]


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever other tests have done to our logger, its lines reach these."""
    caplog.set_level(logging.INFO, "atelier")
    monkeypatch.setattr(logging.getLogger("atelier"), "propagate", True)


def problems(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.message == "metrics.not_written"]


# ---------------------------------------------------------------- what is written


@pytest.mark.parametrize("name", METRICS)
def test_every_declared_metric_is_written_as_the_service_demands(
    sink: CloudMonitoringMetrics, server: MonitoringServer, clock: ManualClock, name: str
) -> None:
    start = clock.now()
    labels = dict.fromkeys(METRICS[name].labels, "x")
    for _ in range(3):
        sink.record(name, 3, labels)
        clock.advance(60)
        sink.flush()
    assert server.refusals == []
    points = server.points(name, labels)
    assert [point.interval.end_time for point in points] == [start + timedelta(minutes=n) for n in (1, 2, 3)]
    if METRICS[name].kind != "gauge":
        assert {point.interval.start_time for point in points} == {start - timedelta(milliseconds=1)}


def test_units_and_kinds_are_those_of_the_declaration(sink: CloudMonitoringMetrics, server: MonitoringServer) -> None:
    for name, metric in METRICS.items():
        sink.record(name, 1, dict.fromkeys(metric.labels, "x"))
    sink.flush()
    written = {kind.rpartition("/")[2]: shape for kind, shape in server._kinds.items()}
    assert set(written) == set(METRICS)
    assert written["spend"] == (CUMULATIVE, "int64_value", "u{USD}")
    assert written["job_cost"] == (CUMULATIVE, "distribution_value", "u{USD}")
    assert written["stage_duration"] == (CUMULATIVE, "distribution_value", "ms")
    assert written["budget_used"] == (GAUGE, "double_value", "1")


def test_the_resource_is_this_process_in_its_service(
    build: Build, server: MonitoringServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K_SERVICE", "generate")
    sink = build()
    sink.record("jobs_due", 1, {})
    sink.flush()
    (resource,) = server.resources()
    assert len(resource.pop("task_id")) == 32
    assert resource == {
        "type": "generic_task",
        "project_id": "test-project",
        "location": "global",
        "namespace": "atelier",
        "job": "generate",
    }


def test_instances_never_write_one_anothers_series(build: Build, server: MonitoringServer) -> None:
    for sink in [build() for _ in range(5)]:
        sink.record("spend", 1, VENDOR)
        sink.flush()
    assert [len(points) for points in server.accepted.values()] == [1] * 5
    assert server.refusals == []


def test_many_series_are_written_two_hundred_a_call(sink: CloudMonitoringMetrics, server: MonitoringServer) -> None:
    fill(sink, 450)
    sink.flush()
    assert server.calls == [200, 200, 50]
    assert len(server.accepted) == 450


def test_only_what_changed_is_written(
    sink: CloudMonitoringMetrics, server: MonitoringServer, clock: ManualClock
) -> None:
    fill(sink, 10)
    sink.flush()
    clock.advance(60)
    sink.flush()
    sink.record("stage_errors", 1, {"stage": "generate", "error": "Error3"})
    sink.flush()
    assert server.calls == [10, 1]


def test_a_first_flush_in_the_moment_of_the_start_spans_more_than_nothing(
    sink: CloudMonitoringMetrics, server: MonitoringServer
) -> None:
    sink.record("spend", 1, VENDOR)
    sink.flush()
    assert totals(server) == [1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), -1])
def test_what_no_counter_can_hold_is_logged_and_left_out(
    sink: CloudMonitoringMetrics, server: MonitoringServer, caplog: pytest.LogCaptureFixture, value: float
) -> None:
    sink.record("spend", 5, VENDOR)
    sink.record("spend", value, VENDOR)
    sink.flush()
    assert totals(server) == [5]
    assert [record.message for record in caplog.records] == ["metrics.impossible"]


def test_a_counter_stops_at_what_64_bits_hold(sink: CloudMonitoringMetrics, server: MonitoringServer) -> None:
    for _ in range(3):
        sink.record("spend", 2**62, VENDOR)
    sink.flush()
    assert totals(server) == [2**63 - 1]


@pytest.mark.parametrize("value", ["x" * 5_000, "東" * 1_000, "\ud800", "a\ud800é" * 900])
def test_a_label_that_the_service_would_refuse_is_mended(
    sink: CloudMonitoringMetrics, server: MonitoringServer, value: str
) -> None:
    sink.record("dead_letters", 1, {"topic": value})
    sink.flush()
    assert (server.refusals, len(server.accepted)) == ([], 1)


def test_series_without_end_are_cut_off(
    sink: CloudMonitoringMetrics,
    server: MonitoringServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.adapters.cloud_monitoring.MAX_SERIES", 20)
    fill(sink, 25)
    fill(sink, 20)
    sink.flush()
    assert len(server.accepted) == 20
    assert [record.message for record in caplog.records] == ["metrics.too_many_series"]


# ---------------------------------------------------------------- distributions


@pytest.mark.parametrize("unit", BUCKETS)
def test_a_value_lies_within_its_bucket(sink: CloudMonitoringMetrics, server: MonitoringServer, unit: str) -> None:
    name = next(m.name for m in METRICS.values() if (m.kind, m.unit) == ("distribution", unit))
    labels = dict.fromkeys(METRICS[name].labels, "x")
    buckets = BUCKETS[unit]
    values = [-1, 0, *buckets.bounds, *(bound * 0.999 for bound in buckets.bounds), 1e18]
    for value in values:
        sink.record(name, value, labels)
    sink.flush()
    edges = [-float("inf"), *buckets.bounds, float("inf")]
    counts = [sum(low <= value < high for value in values) for low, high in pairwise(edges)]
    assert list(server.latest(name, labels).distribution_value.bucket_counts) == counts


def test_every_distribution_has_buckets_of_its_unit() -> None:
    assert {m.unit for m in METRICS.values() if m.kind == "distribution"} == set(BUCKETS)
    assert all(buckets.count + 2 <= 200 for buckets in BUCKETS.values())


def test_mean_and_deviation_are_those_of_the_values(sink: CloudMonitoringMetrics, server: MonitoringServer) -> None:
    draw = random.Random(7)
    values = [1e9 + draw.uniform(0, 1) for _ in range(1_000)]  # a sum of squares would lose all digits here
    for value in values:
        sink.record("job_cost", value, {"kind": "image"})
    sink.flush()
    found = server.latest("job_cost", {"kind": "image"}).distribution_value
    assert found.count == 1_000
    assert found.mean == pytest.approx(statistics.fmean(values), rel=1e-15)
    assert found.sum_of_squared_deviation == pytest.approx(statistics.pvariance(values) * 1_000, rel=1e-6)


# ---------------------------------------------------------------- when it writes


def test_a_flush_soon_after_a_write_keeps_its_points_for_the_next(
    sink: CloudMonitoringMetrics, server: MonitoringServer, clock: ManualClock
) -> None:
    for wait_s in (0, 1, 58.9, 0.1):
        clock.advance(wait_s)
        sink.record("spend", 1, VENDOR)
        sink.flush()
    assert totals(server) == [1, 4]


def test_a_series_is_never_written_more_often_than_every_five_seconds(
    build: Build, server: MonitoringServer, clock: ManualClock
) -> None:
    sink = build(every_s=0.5)
    for _ in range(200):
        sink.record("spend", 1, VENDOR)
        sink.flush()
        clock.advance(0.5)
    sink.close()
    assert server.refusals == []
    assert len(totals(server)) == 21
    assert totals(server)[-1] == 200


def test_the_rest_is_written_at_the_end_however_soon(
    sink: CloudMonitoringMetrics, server: MonitoringServer, clock: ManualClock
) -> None:
    sink.record("spend", 1, VENDOR)
    sink.flush()
    clock.advance(0.2)
    sink.record("spend", 2, VENDOR)
    sink.record("jobs_due", 7, {})
    sink.close()
    assert (totals(server), server.latest("jobs_due").double_value) == ([1, 3], 7)
    assert server.refusals == []


def test_after_the_end_nothing_is_written_and_nothing_raises(
    sink: CloudMonitoringMetrics, server: MonitoringServer, clock: ManualClock
) -> None:
    sink.close()
    sink.record("spend", 1, VENDOR)
    clock.advance(600)
    sink.flush()
    sink.close()
    assert server.calls == []


def test_a_clock_that_steps_back_delays_and_loses_nothing(server: MonitoringServer, clock: ManualClock) -> None:
    server.clock = fast = ManualClock(clock.now() + timedelta(minutes=10))
    sink = CloudMonitoringMetrics("test-project", fast, endpoint=server.endpoint)
    sink.record("spend", 1, VENDOR)
    sink.flush()
    server.clock = sink._clock = clock
    for _ in range(20):
        clock.advance(60)
        sink.record("spend", 1, VENDOR)
        sink.flush()
    sink.close()
    assert (server.refusals, totals(server)[-1]) == ([], 21)


def test_nothing_is_written_into_a_future_that_the_service_refuses(
    server: MonitoringServer, clock: ManualClock
) -> None:
    server.clock = fast = ManualClock(clock.now() + timedelta(minutes=10))
    sink = CloudMonitoringMetrics("test-project", fast, endpoint=server.endpoint)
    sink.record("spend", 1, VENDOR)
    sink.flush()
    server.clock = sink._clock = clock
    sink.record("spend", 1, VENDOR)
    sink.close()
    assert (server.calls, server.refusals) == ([1], [])


def test_what_is_recorded_while_a_write_is_on_its_way_comes_with_the_next(
    sink: CloudMonitoringMetrics, server: MonitoringServer, clock: ManualClock
) -> None:
    sink.record("spend", 1, VENDOR)
    server.held.clear()
    flushing = threading.Thread(target=sink.flush)
    flushing.start()
    assert server.arrived.wait(10)
    sink.record("spend", 2, VENDOR)
    sink.flush()  # which leaves the turn to the other
    assert flushing.is_alive()
    server.held.set()
    flushing.join()
    clock.advance(60)
    sink.flush()
    assert totals(server) == [1, 3]


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("status", "fixable"),
    [
        (grpc.StatusCode.UNAVAILABLE, False),
        (grpc.StatusCode.DEADLINE_EXCEEDED, False),
        (grpc.StatusCode.INTERNAL, False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, False),
        (grpc.StatusCode.PERMISSION_DENIED, True),
        (grpc.StatusCode.UNAUTHENTICATED, True),
        (grpc.StatusCode.NOT_FOUND, True),
    ],
)
def test_a_failure_is_one_line_and_the_next_flush_carries_it_all(
    sink: CloudMonitoringMetrics,
    server: MonitoringServer,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    status: grpc.StatusCode,
    fixable: bool,
) -> None:
    fill(sink, 450)
    sink.record("spend", 1, VENDOR)
    server.failure = status
    sink.flush()
    assert len(server.calls) == 1
    (line,) = problems(caplog)
    assert vars(line)["series"] == 451
    assert ("roles/monitoring.metricWriter" in vars(line).get("fix", "")) == fixable
    server.failure = None
    sink.record("spend", 2, VENDOR)
    clock.advance(5)
    sink.flush()
    assert totals(server) == [3]
    assert len(server.accepted) == 451
    assert server.refusals == []


def test_a_write_whose_answer_is_lost_is_no_trouble_for_the_next(
    sink: CloudMonitoringMetrics, server: MonitoringServer, clock: ManualClock
) -> None:
    server.lose_answers = True
    for n in range(4):
        sink.record("spend", 10**n, VENDOR)
        sink.flush()
        clock.advance(60)
    server.lose_answers = False
    sink.flush()
    assert totals(server) == [1, 11, 111, 1_111, 1_111]
    assert server.refusals == []


def test_a_partial_refusal_is_logged_and_the_others_are_written(
    sink: CloudMonitoringMetrics, server: MonitoringServer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    fill(sink, 250)
    sink.record("jobs_due", 1, {})
    server.bad_metrics = {"stage_errors"}
    sink.flush()
    assert server.latest("jobs_due").double_value == 1
    assert server.calls == [200, 51]
    assert len(problems(caplog)) == 2
    assert all("\n" not in vars(line)["reason"] and len(vars(line)["reason"]) <= 500 for line in problems(caplog))
    server.bad_metrics = set()
    clock.advance(5)
    sink.flush()
    assert len(server.accepted) == 251


def test_series_that_were_not_tried_come_first_the_next_time(
    sink: CloudMonitoringMetrics, server: MonitoringServer, clock: ManualClock
) -> None:
    fill(sink, 200)
    server.failure = grpc.StatusCode.INTERNAL
    sink.flush()
    sink.record("spend", 1, VENDOR)
    clock.advance(5)
    sink.flush()
    assert server.calls == [200, 200]
    assert server.last_call[0] == "spend"


def test_a_back_end_that_is_down_is_asked_less_and_less_up_to_once_a_minute(
    sink: CloudMonitoringMetrics, server: MonitoringServer, clock: ManualClock
) -> None:
    server.failure = grpc.StatusCode.UNAVAILABLE
    asked = []
    for second in range(300):
        sink.record("spend", 1, VENDOR)
        before = len(server.calls)
        sink.flush()
        if len(server.calls) > before:
            asked.append(second)
        clock.advance(1)
    assert asked == [0, 5, 15, 35, 75, 135, 195, 255]


def test_a_server_that_never_answers_is_given_up_and_does_not_hold_up_recording(
    sink: CloudMonitoringMetrics,
    server: MonitoringServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.adapters.cloud_monitoring.WRITE_TIMEOUT_S", 0.5)
    server.held.clear()
    fill(sink, 1_000)
    flushing = threading.Thread(target=sink.flush)
    flushing.start()
    while flushing.is_alive():
        sink.record("spend", 1, VENDOR)
        sink.flush()
    assert [vars(line)["error"] for line in problems(caplog)] == ["DeadlineExceeded"]


def test_nobody_listening_is_logged(clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    sink = CloudMonitoringMetrics("test-project", clock, endpoint="127.0.0.1:9")
    sink.record("spend", 1, VENDOR)
    sink.flush()
    sink.close()
    assert [vars(line)["error"] for line in problems(caplog)] == ["ServiceUnavailable"] * 2


def test_missing_credentials_are_logged(
    clock: ManualClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    sink = CloudMonitoringMetrics("test-project", clock)
    sink.record("spend", 1, VENDOR)
    sink.flush()
    sink.close()
    assert [vars(line)["error"] for line in problems(caplog)] == ["DefaultCredentialsError"] * 2
    assert "fix" in vars(problems(caplog)[0])


# ---------------------------------------------------------------- cost


def test_the_sdk_is_loaded_with_the_first_write_only() -> None:
    script = """
import json, sys
from shared.adapters.cloud_monitoring import CloudMonitoringMetrics
from shared.clock import SystemClock
sink = CloudMonitoringMetrics("test-project", SystemClock(), endpoint="127.0.0.1:9")
sink.record("jobs_due", 1, {})
before = "google.cloud.monitoring_v3" in sys.modules
sink.flush()
print(json.dumps([before, "google.cloud.monitoring_v3" in sys.modules]))
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True, timeout=60)
    assert json.loads(ran.stdout) == [False, True]
