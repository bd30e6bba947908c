"""Every metric, declared before use: name, kind, unit, labels, meaning.

Labels are bounded (stage, provider, model, outcome, …), never ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One declared metric; *unit* in UCUM, as Cloud Monitoring wants it."""

    name: str
    kind: Literal["counter", "distribution", "gauge"]
    unit: str
    labels: tuple[str, ...]
    meaning: str


METRICS: Mapping[str, Metric] = {
    m.name: m
    for m in (
        Metric("jobs_finished", "counter", "1", ("kind", "state"), "Jobs that reached their end."),
        Metric("job_duration", "distribution", "s", ("kind", "state"), "From the request to the end of its job."),
        Metric("job_cost", "distribution", "1e-6{USD}", ("kind",), "What a finished job cost."),
        Metric("stage_duration", "distribution", "ms", ("stage",), "One run of one stage, without waiting."),
        Metric("stage_errors", "counter", "1", ("stage", "error"), "Runs of a stage that were nacked."),
        Metric(
            "provider_requests",
            "counter",
            "1",
            ("provider", "model", "operation", "outcome"),
            "Calls of a vendor (start, poll), by done, pending or the class of the error.",
        ),
        Metric("provider_duration", "distribution", "ms", ("provider", "model", "operation"), "One call of a vendor."),
        Metric("tokens", "counter", "1", ("provider", "model", "unit"), "Tokens booked: input, output, image, video."),
        Metric(
            "breaker_state",
            "gauge",
            "1",
            ("provider", "model"),
            "0 closed, 1 half-open (it may be probed), 2 open, 3 model gone.",
        ),
        Metric("attempts", "counter", "1", ("provider", "model", "outcome"), "Tries with a model, by how they ended."),
        Metric("attempt_duration", "distribution", "s", ("provider", "model"), "From a try's call to its outcome."),
        Metric("spend", "counter", "1e-6{USD}", ("provider", "model"), "Booked in the ledger."),
        Metric("suspense", "counter", "1e-6{USD}", ("provider", "model"), "Moved into suspense."),
        Metric(
            "fallbacks",
            "counter",
            "1",
            ("provider", "model", "kind", "reason"),
            "Jobs whose candidate did not deliver.",
        ),
        Metric(
            "cache_answers",
            "counter",
            "1",
            ("provider", "model", "kind", "answer"),
            "Cache look-ups: hit (and whose piece it is), follow or miss.",
        ),
        Metric("quality_grades", "counter", "1", ("kind", "grade"), "Checked pieces by grade."),
        Metric("parked", "counter", "1", ("provider", "model", "reason"), "Jobs parked for lack of capacity."),
        Metric("refusals", "counter", "1", ("code",), "Refused requests by the code of the first error."),
        Metric("dead_letters", "counter", "1", ("topic",), "Events given up."),
        Metric("budget_used", "gauge", "1", ("scope",), "Used share of the day's budget, 0 to 1 (scope all)."),
        Metric("budget_spent", "gauge", "1e-6{USD}", ("scope",), "What the day has cost so far (scope all)."),
        Metric("budget_held", "gauge", "1e-6{USD}", ("scope",), "What jobs under way may yet cost (scope all)."),
        Metric("budget_suspense", "gauge", "1e-6{USD}", ("scope",), "Money of the day in doubt (scope all)."),
        Metric("jobs_due", "gauge", "1", (), "Jobs the tick found due."),
        Metric(
            "jobs_stuck",
            "counter",
            "1",
            ("state",),
            "Looks of the tick, one per `ATELIER_STALE_S`, at a job that two events in a row have not moved.",
        ),
    )
}


def check(name: str, labels: Mapping[str, str]) -> Metric:
    """Return the declaration. Raises ValueError for an undeclared metric or label set."""
    metric = METRICS.get(name)
    if metric is None or set(labels) != set(metric.labels):
        declared = "is not declared" if metric is None else f"has the labels {', '.join(metric.labels) or '(none)'}"
        raise ValueError(f"metric {name!r} with labels {sorted(labels)}: {name} {declared}")
    return metric
