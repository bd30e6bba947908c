"""What a month costs on Google Cloud besides the vendors: idle, and with a hundred thousand or a million image jobs.

Documents, messages, compute, log lines and time series are counted on the real stages; how many alert conditions there
are is read from `infra/`. Free tiers are left out, and an instance of every function is taken to be busy all the time.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from functions import _runtime, on_tick
from functions._decode import Event
from shared.adapters import wiring
from shared.adapters.sqlite import SqliteDocumentStore
from shared.bootstrap import Services
from shared.clock import ManualClock
from shared.log import JsonFormatter, log
from shared.metrics import METRICS
from tests.bench import bench_documents
from tests.bench.bench_documents import BILLED_STEP_MS, KINDS, LEAST_MESSAGE_BYTES, PRICES

MINUTES = 30 * 24 * 60
COUNTED = 20  # ticks, and jobs
BUSY = (100_000, 1_000_000)
PIECE_GIB = 1.4 / 1024  # a picture of 1K, as the example requests make them
IMAGE_GIB = 0.35  # a function's image beyond what it shares with the others; estimated
SECRETS = 2
KEPT = ("jobs", "ledger", "cache")
INDEXED = 2.0  # what is stored is that many times the documents, with their indexes; estimated
SHARDS = 8  # as deployed by default
REQUEST_LOG_BYTES = 1_000  # of the line that Cloud Run itself writes for a request; estimated
CONDITIONS_OF_SLO = 6  # two burn rates of two windows and a floor each
# cloud.google.com/stackdriver/pricing, how metric data is counted
POINT_BYTES = {"counter": 8, "gauge": 8, "distribution": 80}

# US dollars, us-central1; the pages as stored in 2025 and 2026.
MORE_PRICES = {
    "scheduler_job": 0.10,  # cloud.google.com/scheduler/pricing
    "secret_version": 0.06,  # cloud.google.com/secret-manager/pricing
    "registry_gib": 0.10,  # cloud.google.com/artifact-registry/pricing
    "alert_condition": 1.50,  # cloud.google.com/monitoring/alerts/cost-control as of 2025; the page names none by now
    "alert_series": 0.35 / 1e6,
    "log_gib": 0.50,  # cloud.google.com/stackdriver/pricing
    "metric_mib": 0.2580,
    "object_write": 0.005 / 1_000,  # cloud.google.com/storage/pricing, class A
    "object_read": 0.0004 / 1_000,  # class B
    "storage_gib": 0.020,
    "firestore_gib": 0.15,  # cloud.google.com/firestore/pricing
}


@dataclass(slots=True)
class Series:
    """A metric sink that only notes which time series there are."""

    seen: set[tuple[str, tuple[str, ...]]] = field(default_factory=set)

    def record(self, name: str, _value: float, labels: Mapping[str, str]) -> None:
        self.seen.add((name, tuple(labels.values())))

    def flush(self) -> None:
        """Write nothing."""

    def close(self) -> None:
        """Keep nothing open."""

    def mib_per_month(self) -> float:
        """What they amount to at a point a minute."""
        return sum(POINT_BYTES[METRICS[name].kind] for name, _ in self.seen) * MINUTES / 2**20


class Lines(logging.Handler):
    """Adds up the bytes of the log's lines."""

    total = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.total += len(self.format(record).encode())


def run() -> dict[str, Any]:
    """Return the US dollars of a month by service, and what was counted for them."""
    with tempfile.TemporaryDirectory() as home, _counted_log() as lines:
        clock = ManualClock()
        system = bench_documents._system(Path(home), clock, budget_shards=SHARDS)
        series = system.services._built["metrics"] = Series()
        job_log_bytes = _log_bytes_of_a_job(system, lines)
        job_bytes = _bytes_of_a_job(system.services)
        busy_mib, series.seen = series.mib_per_month(), set()
        tick = _idle_tick(system.services, clock, lines)
        idle_mib = series.mib_per_month()
    fixed = _fixed()
    per_job = bench_documents._measure("image", 0.0)["usd_per_million_jobs"]
    months = {"idle": fixed | _ticks(tick) | {"metrics": idle_mib * MORE_PRICES["metric_mib"]}}
    for jobs in BUSY:
        months[f"{jobs}_image_jobs"] = (
            months["idle"]
            | _jobs(jobs, per_job, job_log_bytes, job_bytes)
            | {"metrics": busy_mib * MORE_PRICES["metric_mib"]}
        )
    return {
        "usd": {name: _rounded(month) for name, month in months.items()},
        "idle_tick": tick,
        "log_bytes_of_a_job": round(job_log_bytes),
        "document_bytes_of_a_job": round(job_bytes),
        "metrics_mib": {"idle": round(idle_mib, 1), "busy": round(busy_mib, 1)},
        "prices": {**PRICES, **MORE_PRICES},
    }


def _log_bytes_of_a_job(system: bench_documents.Counted, lines: Lines) -> float:
    body, _ = KINDS["image"]
    for n in range(COUNTED):
        if n == 1:  # the first one also says what happens once
            lines.total = 0
        bench_documents._carry({**body, "request_id": f"m{n}", "prompt": f"{body['prompt']}, {n}"}, system)
    return lines.total / (COUNTED - 1)


def _bytes_of_a_job(services: Services) -> float:
    """What its documents have as JSON."""
    found = [s for collection in KEPT for s in services.documents.query(collection, limit=10 * COUNTED)]
    return sum(len(json.dumps(snapshot.data)) for snapshot in found) / COUNTED


def _idle_tick(services: Services, clock: ManualClock, lines: Lines) -> dict[str, float]:
    """Count what a tick does that finds nothing due."""
    documents = services.documents
    assert isinstance(documents, SqliteDocumentStore)
    before, lines.total = documents.counts.tally(), 0
    for n in range(COUNTED):
        clock.advance(60.0)
        _runtime.deliver(on_tick.handle, Event({}, f"tick-{n}"), services)
    after = documents.counts.tally()
    counted = {"documents_read": after.read - before.read, "documents_written": after.written - before.written}
    return {name: total / COUNTED for name, total in {**counted, "log_bytes": lines.total}.items()}


def conditions() -> int:
    """How many conditions the alerts have together, of objectives as well."""
    table = json.loads((wiring.TABLE.parent / "monitoring.json").read_text("utf-8"))
    return len(table["alerts"]) + CONDITIONS_OF_SLO * len(table["slos"])


def _fixed() -> dict[str, float]:
    """What is there whether or not anything happens."""
    return {
        "alert_conditions": conditions() * MORE_PRICES["alert_condition"],
        "alert_series": conditions() * MINUTES * MORE_PRICES["alert_series"],
        "scheduler": MORE_PRICES["scheduler_job"],
        "secrets": SECRETS * MORE_PRICES["secret_version"],
        "images": len(wiring.functions()) * IMAGE_GIB * MORE_PRICES["registry_gib"],
    }


def _ticks(tick: Mapping[str, float]) -> dict[str, float]:
    reads = tick["documents_read"] * PRICES["firestore_read"] + tick["documents_written"] * PRICES["firestore_write"]
    run = PRICES["run_request"] + BILLED_STEP_MS / 1000 * bench_documents._rate("on_tick")
    return {
        "ticks": MINUTES * (reads + run + 2 * LEAST_MESSAGE_BYTES * PRICES["pubsub_byte"]),
        "tick_logs": MINUTES * (tick["log_bytes"] + REQUEST_LOG_BYTES) / 2**30 * MORE_PRICES["log_gib"],
    }


def _jobs(jobs: int, per_million: Mapping[str, float], log_bytes: float, kept_bytes: float) -> dict[str, float]:
    events = per_million["run_requests"] / 1e6 / PRICES["run_request"]
    of_object = MORE_PRICES["object_write"] + 2 * MORE_PRICES["object_read"]  # stored, checked, fetched once
    return {
        "orchestration": jobs / 1e6 * per_million["total_alone"],
        "logs": jobs * (log_bytes + events * REQUEST_LOG_BYTES) / 2**30 * MORE_PRICES["log_gib"],
        "objects": jobs * of_object,
        "documents_of_the_month": jobs * kept_bytes * INDEXED / 2**30 * MORE_PRICES["firestore_gib"],
        "storage_of_the_months_pieces": jobs * PIECE_GIB * MORE_PRICES["storage_gib"],
    }


def _rounded(month: Mapping[str, float]) -> dict[str, float]:
    alerting = month["alert_conditions"] + month["alert_series"]
    totals = {"total": sum(month.values()), "of_that_alerting": alerting}
    return {name: round(usd, 2) for name, usd in {**month, **totals}.items()}


@contextmanager
def _counted_log() -> Iterator[Lines]:
    before, lines = (log.handlers[:], log.level, log.propagate), Lines()
    lines.setFormatter(JsonFormatter("my-project"))
    log.handlers[:], log.propagate = [lines], False
    log.setLevel("INFO")
    try:
        yield lines
    finally:
        log.handlers[:], log.level, log.propagate = before
