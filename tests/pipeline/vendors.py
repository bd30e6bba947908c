"""The local system with the real providers, each called over HTTP at the vendors' simulators, on one virtual clock."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from shared.clock import ManualClock
from shared.domain.catalogue import Catalogue, Model
from shared.domain.job import Attempt, AttemptState, Job
from shared.domain.pricing import cost_of
from shared.ports import Json
from shared.simulators.vendor_faults import Fault
from shared.simulators.vendors import WEBHOOK_SECRET, Vendors
from tests.pipeline.harness import Pipeline

ALL = ("vertex", "runway", "replicate", "huggingface")
# What must never be found in a log line, a document for operators, a metric or an error.
SECRETS = {
    "runway_api_secret": "key_runway_3f1d77",
    "replicate_api_token": "r8_replicate_91bc2e",
    "huggingface_token": "hf_token_5a0c44",
}
CASE = re.compile(r"\bcase (\d+)\b")


class VendorPipeline(Pipeline):
    """A local system whose providers call *vendors*."""

    def __init__(self, home: Path, vendors: Vendors, clock: ManualClock, **settings: Any) -> None:
        self.vendors = vendors
        defaults: Json = {
            "providers": ALL,
            "vertex_project": "p1",
            **{f"{name}_base_url": vendors.url for name in ALL},
            **SECRETS,
            "replicate_webhook_secrets": (WEBHOOK_SECRET,),
            "call_timeout_s": 20.0,
        }
        super().__init__(home, clock=clock, **(defaults | settings))

    def put(self, name: str, data: bytes, media_type: str) -> str:
        """Put a file into the inbox and return its URI for a request."""
        self.services.blobs.create(self.services.blobs.uri("inbox", name), data, media_type)
        return f"gs://inbox/{name}"


@contextmanager
def vendor_pipeline(
    home: Path, *, faults: Mapping[str, Any] | None = None, **settings: Any
) -> Iterator[VendorPipeline]:
    """Start the simulators and a system that calls them."""
    clock = ManualClock()
    with Vendors(clock=clock, faults=faults) as vendors:
        pipeline = VendorPipeline(home, vendors, clock, **settings)
        try:
            yield pipeline
        finally:
            pipeline.services.close()


def arrivals(vendors: Vendors) -> list[tuple[str, str, datetime]]:
    """Return a list that grows by vendor, model and time with every create from now on, refused ones included."""
    found: list[tuple[str, str, datetime]] = []
    admit = vendors._core.admit

    def noted(vendor: str, operation: str, model: str, key: str, **options: Any) -> Fault | None:
        found.append((vendor, model, vendors._core.clock.now()))
        return admit(vendor, operation, model, key, **options)

    vendors._core.admit = noted  # type: ignore[method-assign]
    return found


def assert_explained(calls: Sequence[Json], jobs: Sequence[Job], pipeline: Pipeline) -> None:
    """What the vendors say that they bill is what ledger and suspense say, job by job and model by model.

    Each prompt names its job as `case N`, and the request's id ends in that number.
    """
    services = pipeline.services
    accepted: dict[tuple[str, str], list[Json]] = defaultdict(list)
    by_case = {(job.request_id or "").rpartition("-")[2]: job for job in jobs}
    for call in calls:
        found = CASE.search(call["prompt"])
        assert found is not None, call
        accepted[by_case[found.group(1)].job_id, _row(call, services.catalogue).id].append(call)
    for job in jobs:
        for model in {a.model for a in job.attempts} | {m for job_id, m in accepted if job_id == job.job_id}:
            attempts = [a for a in job.attempts if a.model == model]
            _compare(job, model, attempts, accepted.get((job.job_id, model), []), pipeline)
    keys = Counter(tuple(sorted(c["labels"].items())) for c in calls if c["vendor"] == "vertex" and c["labels"])
    assert [key for key, n in keys.items() if n > 1] == [], "a call was made twice"


def _compare(job: Job, model: str, attempts: Sequence[Attempt], calls: Sequence[Json], pipeline: Pipeline) -> None:
    row = pipeline.services.catalogue.by_name[model]
    request = pipeline.services.request_of(job)
    billed = [
        cost_of(row, {u: round(n) for u, n in c["billed"].items()}, request, job.created_at.date()) for c in calls
    ]
    known = sum(a.cost_micro_usd for a in attempts if a.booked and a.basis != "unconfirmed")
    doubt = sum(a.suspense_micro_usd or a.cost_micro_usd for a in attempts if _in_doubt(a))
    told = f"{job.job_id} {model}: billed {billed}, booked {known}, in doubt {doubt}, {calls} {attempts}"
    assert sum(billed) <= known + doubt, told
    if not doubt and not any(_is_reckoned(a, row) for a in attempts):
        assert sum(billed) == known, told
    assert sum(1 for cost in billed if cost) <= sum(map(_calls_of, attempts)), told


def _in_doubt(attempt: Attempt) -> bool:
    return bool(attempt.suspense_micro_usd) or attempt.basis == "unconfirmed"


def _is_reckoned(attempt: Attempt, row: Model) -> bool:
    """Whether the report on its usage was lost with the process that had it, so that the most it can be is booked."""
    return attempt.basis == "quoted" or (attempt.basis == "delivered" and row.billed_by == "token")


def _calls_of(attempt: Attempt) -> int:
    """How many paid calls an attempt accounts for."""
    made = attempt.part + (attempt.state is not AttemptState.PARTIAL)
    return made if attempt.doubt_of is None else 1


def _row(call: Json, catalogue: Catalogue) -> Model:
    for row in catalogue.models:
        if row.provider == call["vendor"] and call["model"] in (row.vendor_model, row.vendor_model.partition(":")[2]):
            return row
    raise AssertionError(f"no row for {call}")
