"""A server of Cloud Monitoring's CreateTimeSeries that refuses what the service refuses and keeps what it accepts.

The rules are those quoted in `shared/adapters/cloud_monitoring.py`. As the service does, it writes the good points of a
call with bad ones and answers INVALID_ARGUMENT; too many series, or one of them twice, spoil the whole call.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import grpc
from google.cloud.monitoring_v3 import CreateTimeSeriesRequest, Point, TimeSeries, TypedValue

from shared.ports import Clock

GAUGE, CUMULATIVE = 1, 3  # google.api.MetricDescriptor.MetricKind
RESOURCE_LABELS = {"generic_task": {"project_id", "location", "namespace", "job", "task_id"}}
METRIC_TYPE = re.compile(r"custom\.googleapis\.com(/[A-Za-z0-9_]+)+")
LABEL_KEY = re.compile(r"[a-z][a-z0-9_]{0,99}")
_COMPONENT = r"(([kMGTPEZYmunpfazy]|[KMGTPE]i)?(bit|By|s|min|h|d|1|\{[!-z|~]+\})|%)(\{[!-z|~]+\})?"
UNIT = re.compile(rf"{_COMPONENT}(\.{_COMPONENT})*(/{_COMPONENT})*")

Key = tuple[str, frozenset[tuple[str, str]], frozenset[tuple[str, str]]]


class MonitoringServer:
    """What was accepted, and how the next calls are answered.

    Attributes:
        accepted: the points of each series, oldest first.
        calls: the number of series in each call that arrived; *last_call* names the metrics of the newest.
        refusals: why points were refused.
        failure: answer every call so, without writing anything.
        lose_answers: write, and answer UNAVAILABLE all the same.
        bad_metrics: metric names whose points are refused.
        held: calls wait while it is cleared; *arrived* is set by each that comes.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.endpoint = ""
        self.accepted: dict[Key, list[Point]] = {}
        self.calls: list[int] = []
        self.last_call: list[str] = []
        self.refusals: list[str] = []
        self.failure: grpc.StatusCode | None = None
        self.lose_answers = False
        self.bad_metrics: set[str] = set()
        self.held = threading.Event()
        self.held.set()
        self.arrived = threading.Event()
        self._kinds: dict[str, tuple[int, str, str]] = {}
        self._lock = threading.Lock()

    def points(self, name: str, labels: Mapping[str, str] | None = None) -> list[Point]:
        """The accepted points of the one series of a metric with these labels; none where there is no such series."""
        found = [
            points
            for (kind, metric_labels, _), points in self.accepted.items()
            if kind.endswith(f"/{name}") and (labels is None or dict(metric_labels) == dict(labels))
        ]
        assert len(found) <= 1, "more than one series"
        return found[0] if found else []

    def latest(self, name: str, labels: Mapping[str, str] | None = None) -> TypedValue:
        """The newest value of a series."""
        return self.points(name, labels)[-1].value

    def resources(self) -> list[dict[str, str]]:
        """The labels of every monitored resource that was written."""
        return [dict(labels) for labels in {resource for _, _, resource in self.accepted}]

    def answer(self, request: CreateTimeSeriesRequest, context: grpc.ServicerContext) -> None:
        """Serve one call."""
        self.arrived.set()
        self.held.wait(10)
        with self._lock:
            self.calls.append(len(request.time_series))
            self.last_call = [series.metric.type.rpartition("/")[2] for series in request.time_series]
            if self.failure is not None:
                context.abort(self.failure, "as told by the test")
            problems = _call_problems(request) or [p for p in map(self._write, request.time_series) if p]
            self.refusals += problems
        if problems:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "; ".join(problems[:20]))
        if self.lose_answers:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")

    def _write(self, series: TimeSeries) -> str | None:
        problem = _identity_problem(series) or self._point_problem(series)
        if problem is None:
            value_type = TypedValue.pb(series.points[0].value).WhichOneof("value")
            self._kinds[series.metric.type] = (int(series.metric_kind), value_type, series.unit)
            self.accepted.setdefault(_key(series), []).append(series.points[0])
        return problem and f"{series.metric.type}: {problem}"

    def _point_problem(self, series: TimeSeries) -> str | None:
        if len(series.points) != 1:
            return f"{len(series.points)} points"
        if series.metric.type.rpartition("/")[2] in self.bad_metrics:
            return "as told by the test"
        point, kind = series.points[0], int(series.metric_kind)
        value_type = TypedValue.pb(point.value).WhichOneof("value")
        if self._kinds.get(series.metric.type, (kind, value_type, series.unit)) != (kind, value_type, series.unit):
            return f"the descriptor says {self._kinds[series.metric.type]}"
        before = self.accepted.get(_key(series), [None])[-1]
        return _interval_problem(point, kind, before) or self._age_problem(point) or _value_problem(point, kind)

    def _age_problem(self, point: Point) -> str | None:
        age = self.clock.now() - point.interval.end_time
        if not timedelta(minutes=-5) <= age <= timedelta(hours=25):
            return f"the end is {age} old"
        return None


def _call_problems(request: CreateTimeSeriesRequest) -> list[str]:
    if not re.fullmatch(r"projects/[a-z0-9-]+", request.name):
        return [f"name {request.name!r}"]
    if not 1 <= len(request.time_series) <= 200:
        return [f"{len(request.time_series)} series in one call"]
    if len({_key(series) for series in request.time_series}) != len(request.time_series):
        return ["duplicate TimeSeries: only one point can be written per TimeSeries per request"]
    return []


def _identity_problem(series: TimeSeries) -> str | None:
    labels = dict(series.metric.labels)
    if not METRIC_TYPE.fullmatch(series.metric.type):
        return "not a custom metric type"
    if len(labels) > 30 or not all(LABEL_KEY.fullmatch(key) for key in labels):
        return f"metric labels {sorted(labels)}"
    if any(len(value) > 1_024 for value in (*labels.values(), *series.resource.labels.values())):
        return "a label value of more than 1,024 characters"
    if set(series.resource.labels) != RESOURCE_LABELS.get(series.resource.type):
        return f"resource {series.resource.type} with labels {sorted(series.resource.labels)}"
    if not UNIT.fullmatch(series.unit):
        return f"unit {series.unit!r}"
    if int(series.metric_kind) not in (GAUGE, CUMULATIVE):
        return f"metric kind {series.metric_kind}"
    return None


def _interval_problem(point: Point, kind: int, before: Point | None) -> str | None:
    end = point.interval.end_time
    start = point.interval.start_time or end
    if kind == GAUGE and start != end:
        return "a gauge is a moment"
    if kind == CUMULATIVE and start >= end:
        return "a cumulative point must span more than nothing"
    if before is None:
        return None
    if end <= before.interval.end_time:
        return "points must be written in order"
    if end - before.interval.end_time < timedelta(seconds=5):
        return "points were written more frequently than the maximum sampling period"
    if kind == CUMULATIVE and start != before.interval.start_time and start <= before.interval.end_time:
        return "a new start must be later than the last end"
    return None


def _value_problem(point: Point, kind: int) -> str | None:
    value_type = TypedValue.pb(point.value).WhichOneof("value")
    if value_type not in {"bool_value", "int64_value", "double_value", "distribution_value"}:
        return f"value type {value_type}"
    if kind == CUMULATIVE and value_type == "bool_value":
        return "a boolean cannot be cumulative"
    return _distribution_problem(point.value.distribution_value) if value_type == "distribution_value" else None


def _distribution_problem(distribution: Any) -> str | None:
    options = distribution.bucket_options.exponential_buckets
    if not (0 < options.num_finite_buckets <= 200 and options.growth_factor > 1 and options.scale > 0):
        return "bucket options"
    if len(distribution.bucket_counts) > options.num_finite_buckets + 2:
        return "more bucket counts than buckets"
    if sum(distribution.bucket_counts) != distribution.count:
        return "the bucket counts do not add up to the count"
    if distribution.count == 0 and (distribution.mean or distribution.sum_of_squared_deviation):
        return "a mean of nothing"
    return None


def _key(series: TimeSeries) -> Key:
    resource = {"type": series.resource.type, **series.resource.labels}
    return series.metric.type, frozenset(series.metric.labels.items()), frozenset(resource.items())


@contextmanager
def monitoring_server(clock: Clock) -> Iterator[MonitoringServer]:
    """Run a server on a free port of this machine."""
    state = MonitoringServer(clock)
    handler = grpc.unary_unary_rpc_method_handler(
        state.answer,
        request_deserializer=CreateTimeSeriesRequest.deserialize,
        response_serializer=lambda _: b"",
    )
    service = grpc.method_handlers_generic_handler("google.monitoring.v3.MetricService", {"CreateTimeSeries": handler})
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads, handlers=[service])
        state.endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield state
        finally:
            state.held.set()
            server.stop(None).wait(10)
