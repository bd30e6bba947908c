"""MetricSink that adds up in memory and writes to Cloud Monitoring now and then: one call for many measurements.

What the service demands, and where it says so (the test server in `tests/monitoring.py` enforces all of it):

- at most 200 series in a call, one point of each; end times of a series at least 5 s apart; label values of at most
  1,024 characters; at most 200 buckets: "Quotas and limits", cloud.google.com/monitoring/quotas;
- a CUMULATIVE point spans more than nothing, keeps its start time and ends later than the one before; a GAUGE point is
  a moment; no end is more than 25 h past or 5 min ahead: `TimeInterval`, cloud.google.com/monitoring/api/ref_v3/rpc;
- a unit is `[PREFIX] UNIT` with a comment in braces: `MetricDescriptor.unit`, google/api/metric.proto;
- one writer per series: resource `generic_task`, whose task_id is drawn anew by every sink.

Values are cumulative from the sink's start, so a lost write loses nothing: the next one carries the newer total.
"""

from __future__ import annotations

import math
import os
import threading
import time
import uuid
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import grpc
from google.api_core.exceptions import Forbidden, GoogleAPICallError, InvalidArgument, NotFound, Unauthenticated
from google.auth.exceptions import GoogleAuthError

from shared.log import log
from shared.metrics import Metric, check
from shared.ports import Clock, Json

if TYPE_CHECKING:
    from google.cloud.monitoring_v3 import MetricServiceClient

TYPE_PREFIX = "custom.googleapis.com/atelier/"
MAX_SERIES_PER_CALL = 200
MIN_STEP_S = 5.0
MAX_LABEL_BYTES = 1_024
MAX_SERIES = 5_000  # of one process; labels are bounded by declaration, so more of them is a mistake of ours
WRITE_TIMEOUT_S = 5.0  # for all calls of one flush together

_INT64_MAX = 2**63 - 1
_SHORTEST = timedelta(milliseconds=1)
UNITS = {"1e-6{USD}": "u{USD}"}  # our unit, in the words of the service's grammar


@dataclass(frozen=True, slots=True)
class Buckets:
    """Exponential buckets: bucket i (from 1) holds values from scale × growth^(i−1) up to below scale × growth^i."""

    scale: float
    growth: float
    count: int
    bounds: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        bounds = tuple(self.scale * self.growth**i for i in range(self.count + 1))
        object.__setattr__(self, "bounds", bounds)


# By √2: a percentile read from the histogram is off by less than a fifth of its value on average.
_GROWTH = 2**0.5
BUCKETS: Mapping[str, Buckets] = {
    "ms": Buckets(1, _GROWTH, 44),  # 1 ms to 70 min
    "s": Buckets(0.125, _GROWTH, 40),  # 0.125 s to 36 h
    "1e-6{USD}": Buckets(100, _GROWTH, 48),  # 0.0001 USD to 1,678 USD
}


class _Value(Protocol):
    """What a series amounts to so far."""

    def add(self, value: float) -> None:
        """Take one measurement."""

    def typed(self) -> Json:
        """Return it as the fields of a `TypedValue`."""


class _Counter:
    __slots__ = ("_total",)

    def __init__(self) -> None:
        self._total: float = 0

    def add(self, value: float) -> None:
        self._total += value

    def typed(self) -> Json:
        return {"int64_value": min(round(self._total), _INT64_MAX)}


class _Gauge:
    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = 0.0

    def add(self, value: float) -> None:
        self._last = float(value)

    def typed(self) -> Json:
        return {"double_value": self._last}


class _Distribution:
    """Count, mean and squared deviation in one pass.

    Source: Welford's method, Knuth, The Art of Computer Programming, vol. 2, 3rd edition, page 232.
    """

    __slots__ = ("_buckets", "_count", "_counts", "_deviation", "_mean")

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        self._counts = [0] * (buckets.count + 2)
        self._count, self._mean, self._deviation = 0, 0.0, 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_right(self._buckets.bounds, value)] += 1
        self._count += 1
        off = value - self._mean
        self._mean += off / self._count
        self._deviation += off * (value - self._mean)

    def typed(self) -> Json:
        used = max((i for i, count in enumerate(self._counts) if count), default=-1) + 1
        exponential = {
            "num_finite_buckets": self._buckets.count,
            "growth_factor": self._buckets.growth,
            "scale": self._buckets.scale,
        }
        distribution = {
            "count": self._count,
            "mean": self._mean,
            "sum_of_squared_deviation": self._deviation,
            "bucket_options": {"exponential_buckets": exponential},
            "bucket_counts": self._counts[:used],  # those left out are 0
        }
        return {"distribution_value": distribution}


@dataclass(slots=True)
class _Series:
    """One time series: its value, and how much of it the service is known to have.

    Attributes:
        recorded, written: measurements taken, and of those the ones a successful write carried.
        last_end: end of the newest point that was sent, arrived or not.
    """

    metric: Metric
    labels: Mapping[str, str]
    value: _Value
    recorded: int = 0
    written: int = 0
    last_end: datetime | None = None

    def earliest_end(self, start: datetime) -> datetime:
        """When its next point may end at the earliest."""
        return start + _SHORTEST if self.last_end is None else self.last_end + timedelta(seconds=MIN_STEP_S)


@dataclass(frozen=True, slots=True)
class _Point:
    """What a series amounted to when *recorded* measurements were in it."""

    series: _Series
    recorded: int
    end: datetime
    value: Json


class CloudMonitoringMetrics:
    """Writes `custom.googleapis.com/atelier/NAME` in *project*, at most every *every_s* seconds.

    Args:
        endpoint: HOST:PORT of a server without TLS; empty for the service itself with default credentials.
    """

    def __init__(
        self,
        project: str,
        clock: Clock,
        *,
        every_s: float = 60.0,
        endpoint: str = "",
    ) -> None:
        self._project, self._clock, self._endpoint = project, clock, endpoint
        self._every_s = max(every_s, MIN_STEP_S)
        self._resource = {
            "project_id": project,
            "location": "global",
            "namespace": "atelier",
            "job": os.environ.get("K_SERVICE", "local"),
            "task_id": uuid.uuid4().hex,
        }
        self._next = clock.now()
        self._start = self._next - _SHORTEST  # so that a write in this very moment spans more than nothing
        self._failures = 0
        self._series: dict[tuple[str, ...], _Series] = {}
        self._lock = threading.Lock()  # of the series; held for microseconds
        self._turn = threading.Lock()  # of whoever is writing
        self._opened: MetricServiceClient | None = None
        self._closed = False
        self._overflowing = False

    def record(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        """Add one measurement to its series in memory. Raises ValueError when it is not declared.

        What no metric can hold (not a number, a negative amount of a counter) is logged and left out.
        """
        metric = check(name, labels)
        if not math.isfinite(value) or (metric.kind == "counter" and value < 0):
            log.warning("metrics.impossible", extra={"metric": name, "value": repr(value)})
            return
        key = (name, *(_label(labels[label]) for label in metric.labels))
        with self._lock:
            series = self._series.get(key) or self._add_series(metric, key)
            if series is not None:
                series.value.add(value)
                series.recorded += 1

    def flush(self) -> None:
        """Write what changed, when the last successful write is `every_s` ago and nobody else is writing.

        After a failure the wait is 5 s, then doubles up to `every_s`. The calls take at most 5 s together.
        """
        if not self._turn.acquire(blocking=False):
            return
        try:
            now = self._clock.now()
            if not self._closed and now >= self._next:
                self._write(now, self._points(now, latest_end=now))
        finally:
            self._turn.release()

    def close(self) -> None:
        """Write the rest, whenever the last write was, and let go of the connection.

        A series that was written less than 5 s ago gets a point that ends up to 5 s from now: the service measures
        the distance by end times and takes those of the next five minutes.
        """
        with self._turn:
            if self._closed:
                return
            self._closed = True
            now = self._clock.now()
            self._write(now, self._points(now, latest_end=now + timedelta(seconds=MIN_STEP_S)))
            if self._opened is not None:
                self._opened.transport.close()  # type: ignore[no-untyped-call]
                self._opened = None

    def _add_series(self, metric: Metric, key: tuple[str, ...]) -> _Series | None:
        """Begin a series; None when there are too many, which is said once."""
        if len(self._series) >= MAX_SERIES:
            if not self._overflowing:
                log.error("metrics.too_many_series", extra={"metric": metric.name, "series": MAX_SERIES})
            self._overflowing = True
            return None
        series = _Series(metric, dict(zip(metric.labels, key[1:], strict=True)), _new_value(metric))
        self._series[key] = series
        return series

    def _points(self, now: datetime, latest_end: datetime) -> list[_Point]:
        """Return a point for every series that changed and may be written again by *latest_end*.

        Those that have waited longest come first, so that a call that always fails does not keep the others back.
        """
        with self._lock:
            changed = [series for series in self._series.values() if series.recorded != series.written]
            changed.sort(key=lambda series: series.last_end or self._start)
            ends = [(series, max(now, series.earliest_end(self._start))) for series in changed]
            return [
                _Point(series, series.recorded, end, series.value.typed()) for series, end in ends if end <= latest_end
            ]

    def _write(self, now: datetime, points: Sequence[_Point]) -> None:
        """Send *points* and decide when the next flush is due."""
        if not points:
            return
        deadline = time.monotonic() + WRITE_TIMEOUT_S
        failed = False
        for first in range(0, len(points), MAX_SERIES_PER_CALL):
            try:
                self._send(points[first : first + MAX_SERIES_PER_CALL], deadline - time.monotonic())
            except (GoogleAPICallError, GoogleAuthError) as error:
                failed = True
                _log_failure(error, len(points) - first)
                if not isinstance(error, InvalidArgument):  # which says no to some points, not to every call
                    break
        self._failures = self._failures + 1 if failed else 0
        wait_s = min(self._every_s, MIN_STEP_S * 2 ** min(self._failures - 1, 10)) if failed else self._every_s
        self._next = now + timedelta(seconds=wait_s)

    def _send(self, points: Sequence[_Point], timeout_s: float) -> None:
        """Make one call.

        Raises:
            GoogleAPICallError, GoogleAuthError: some or all points were not written, or perhaps they were.
        """
        client = self._client()
        for point in points:  # before the call: a point may have arrived even when its answer did not
            point.series.last_end = point.end
        request = {"name": f"projects/{self._project}", "time_series": [self._time_series(point) for point in points]}
        client.create_time_series(request=request, retry=None, timeout=max(timeout_s, 0.1))
        for point in points:
            point.series.written = point.recorded

    def _time_series(self, point: _Point) -> Json:
        metric = point.series.metric
        interval = {"end_time": _timestamp(point.end)}
        if metric.kind != "gauge":
            interval["start_time"] = _timestamp(self._start)
        return {
            "metric": {"type": TYPE_PREFIX + metric.name, "labels": point.series.labels},
            "resource": {"type": "generic_task", "labels": self._resource},
            "metric_kind": "GAUGE" if metric.kind == "gauge" else "CUMULATIVE",
            "unit": UNITS.get(metric.unit, metric.unit),
            "description": metric.meaning,
            "points": [{"interval": interval, "value": point.value}],
        }

    def _client(self) -> MetricServiceClient:
        """Open the connection. Raises GoogleAuthError when there are no credentials."""
        if self._opened is None:
            # Only here, with the first write: 0.05 s that no cold start should wait for (0.19 s without Firestore's).
            # There is no lighter import: every submodule runs the package's own `__init__` with all its services.
            from google.cloud.monitoring_v3 import MetricServiceClient
            from google.cloud.monitoring_v3.services.metric_service.transports import MetricServiceGrpcTransport

            if self._endpoint:
                channel = grpc.insecure_channel(self._endpoint)
                self._opened = MetricServiceClient(transport=MetricServiceGrpcTransport(channel=channel))
            else:
                self._opened = MetricServiceClient()
        return self._opened


def _new_value(metric: Metric) -> _Value:
    if metric.kind == "distribution":
        return _Distribution(BUCKETS[metric.unit])
    return _Counter() if metric.kind == "counter" else _Gauge()


def _label(value: str) -> str:
    """Return a label's value as the service takes it: valid UTF-8 of at most 1,024 bytes."""
    if value.isascii() and len(value) <= MAX_LABEL_BYTES:
        return value
    return value.encode("utf-8", "replace")[:MAX_LABEL_BYTES].decode("utf-8", "ignore")


def _timestamp(moment: datetime) -> Json:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return {"seconds": since.days * 86_400 + since.seconds, "nanos": since.microseconds * 1_000}


def _log_failure(error: GoogleAPICallError | GoogleAuthError, series: int) -> None:
    fields = {"error": type(error).__name__, "reason": " ".join(str(error).split())[:500], "series": series}
    if isinstance(error, (Forbidden, NotFound, Unauthenticated, GoogleAuthError)):
        fields["fix"] = "enable monitoring.googleapis.com and grant this service account roles/monitoring.metricWriter"
    log.warning("metrics.not_written", extra=fields)
