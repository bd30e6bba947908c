"""Each row of the fault table through the whole pipeline, over HTTP against the simulators."""

import json
import logging
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from functions import on_webhook
from shared.clock import ManualClock
from shared.domain.breaker import Breaker
from shared.domain.intake import Envelope
from shared.domain.job import Attempt, AttemptState, Job
from shared.log import JsonFormatter
from shared.ports import Json
from shared.simulators.vendors import Vendors
from tests.http_server import Handler, serving
from tests.pipeline.harness import assert_history
from tests.pipeline.vendor_fault_table import (
    BILLED,
    CLEAN,
    COOLING,
    DISABLED,
    FAILED,
    NONE,
    OTHER,
    OWN_ROWS,
    PAUSE_S,
    PRICE,
    SAME,
    SUBJECTS,
    TABLE,
    Row,
    Subject,
)
from tests.pipeline.vendors import CASE, SECRETS, VendorPipeline, arrivals, assert_explained

LATEST_WEBHOOK_S = 1000.0
TOKENS = {
    "vertex": "local",  # what stands for credentials where there is no TLS
    "runway": SECRETS["runway_api_secret"],
    "replicate": SECRETS["replicate_api_token"],
    "huggingface": SECRETS["huggingface_token"],
}
_numbers = count(100)  # three digits: every prompt has the same length


class Lines(logging.Handler):
    """What was logged, as fields."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.found: list[Json] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(json.loads(self.format(record)))

    def named(self, event: str) -> list[Json]:
        return [line for line in self.found if line["message"] == event]


@dataclass
class Stage:
    """The simulated vendors, shared by all rows, and what they saw and did."""

    vendors: Vendors
    guarded: Vendors  # takes no token that anybody here has
    clock: ManualClock
    webhook_url: str
    receivers: list[VendorPipeline]
    creates: list[tuple[str, str, datetime]] = field(default_factory=list)

    def creates_of(self, subject: Subject) -> list[datetime]:
        return [at for vendor, model, at in self.creates if (vendor, model) == (subject.vendor, subject.vendor_model)]

    def deliver_webhooks(self) -> None:
        """Let the latest of them come, however late."""
        self.clock.advance(LATEST_WEBHOOK_S)
        self.vendors.settle()


@dataclass
class Outcome:
    """What one request came to."""

    job: Job
    calls: list[Json]  # accepted of the model under test
    creates: list[datetime]  # of the model under test, refused ones included
    lines: Lines
    health: Breaker


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    clock, receivers = ManualClock(), []  # type: ignore[var-annotated]
    with ExitStack() as stack:
        vendors = stack.enter_context(Vendors(clock=clock, tokens=TOKENS))
        guarded = stack.enter_context(Vendors(clock=clock, tokens={"vertex": "somebody else's"}))
        url = stack.enter_context(serving(_receiver(receivers)))
        yield Stage(vendors, guarded, clock, f"{url}on_webhook", receivers, arrivals(vendors))


def _receiver(receivers: list[VendorPipeline]) -> type[Handler]:
    class Receiver(Handler):
        """`on_webhook` of whichever system is running."""

        def respond(self) -> None:
            builder = EnvironBuilder(
                method=self.command,
                query_string=urlsplit(self.path).query,
                data=self.body(),
                headers=dict(self.headers.items()),
            )
            with closing(builder):
                answer = on_webhook.handle(Request(builder.get_environ()), receivers[-1].services)
            assert isinstance(answer, tuple)
            self.answer(int(answer[1]), str(answer[0]).encode())

    return Receiver


@contextmanager
def logged() -> Iterator[Lines]:
    """Take down all lines of a block."""
    logger, lines = logging.getLogger("atelier"), Lines()
    level, logger.level, handlers = logger.level, logging.INFO, logger.handlers[:]
    logger.handlers[:] = [lines]
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.handlers[:] = handlers
        logger.setLevel(level)


@contextmanager
def running(row: Row, stage: Stage, folder: Path) -> Iterator[VendorPipeline]:
    """Start a fresh system over the shared vendors."""
    (folder / "own.toml").write_text(OWN_ROWS)
    settings = {name: stage.guarded.url if "{guarded}" in str(v) else v for name, v in row.settings.items()}
    defaults = {"catalogue": str(folder / "own.toml"), "webhook_url": stage.webhook_url}
    pipeline = VendorPipeline(folder / "home", stage.vendors, stage.clock, **(defaults | settings))
    stage.receivers.append(pipeline)
    try:
        yield pipeline
    finally:
        stage.vendors.mend()
        stage.deliver_webhooks()
        pipeline.services.close()


def carried(row: Row, stage: Stage, pipeline: VendorPipeline, **more: Any) -> Outcome:
    """Carry the row's request to its end."""
    subject, number = SUBJECTS[row.subject], next(_numbers)
    request = {
        "prompt": f"A paper boat on a quiet pond, case {number}",
        "request_id": f"r-{number}",
        "model": subject.model,
        "fallback": [subject.other],
        **subject.request,
        **row.request,
        **more,
    }
    before = len(stage.creates_of(subject))
    with logged() as lines:
        if row.pause_s:
            _pause_while_it_runs(row, request, stage, pipeline)
        (job,) = pipeline.run(request, rounds=3000)
        health = pipeline.services.breakers.health([subject.model])[subject.model]
        pipeline.settle()
        if row.pause_s:
            pipeline.drain(lambda: not _is_running(pipeline, job.job_id), rounds=3000)
            pipeline.settle()
        if row.fault and row.fault.startswith("webhook"):
            stage.deliver_webhooks()
            pipeline.settle()
    calls = [call for call in stage.vendors.calls() if CASE.findall(call["prompt"]) == [str(number)]]
    job = pipeline.job(job.job_id)
    assert_explained(calls, [job], pipeline)
    mine = [call for call in calls if call["model"] == subject.vendor_model]
    return Outcome(job, mine, stage.creates_of(subject)[before:], lines, health)


def _pause_while_it_runs(row: Row, request: Json, stage: Stage, pipeline: VendorPipeline) -> None:
    job_id = Envelope(request, "").job_id
    pipeline.submit(request)
    pipeline.drain(lambda: _is_running(pipeline, job_id), rounds=100)
    stage.clock.advance(row.pause_s)
    if row.fault and row.fault.startswith("webhook"):
        stage.vendors.settle()


def _is_running(pipeline: VendorPipeline, job_id: str) -> bool:
    return any(a.state is AttemptState.RUNNING for job in pipeline._found([job_id]) if job for a in job.attempts)


def broken(row: Row, stage: Stage) -> None:
    """Make the row's fault happen to the next call of its subject."""
    subject = SUBJECTS[row.subject]
    if row.fault is None:
        return
    if row.fault_at is None:
        stage.vendors.fail(row.fault, vendor=subject.vendor, model=subject.vendor_model, **row.options)
    else:
        stage.vendors.fail(row.fault, operation=row.fault_at, **row.options)


def health_of(breaker: Breaker) -> str:
    if breaker.disabled:
        return DISABLED
    if breaker.cool_until is not None:
        return COOLING
    return {0: CLEAN, 1: FAILED}[breaker.failures]


def code_of(attempt: Attempt) -> str | None:
    if attempt.error is not None:
        return str(attempt.error["code"])
    return None if attempt.approved else "rejected"


def next_of(job: Job, subject: Subject) -> str:
    names = {subject.model: SAME, subject.other: OTHER}
    return names[job.attempts[1].model] if len(job.attempts) > 1 else NONE


def amount(value: int, subject: Subject, calls: list[Json]) -> int:
    """Micro-USD of the table, where it names them by what they are."""
    if value == PRICE:
        return subject.price
    if value == BILLED:
        billed = calls[0]["billed"]
        return math.ceil(sum(Fraction(n) * Fraction(str(subject.rates[unit])) for unit, n in billed.items()))
    return value


# ---------------------------------------------------------------- what holds after every row


def _assert_booked_once(job: Job, pipeline: VendorPipeline) -> None:
    entries = {e["attempt"]: e["cost_micro_usd"] for e in pipeline.services.ledger.of_job(job.job_id)}
    assert entries == {a.number: a.cost_micro_usd for a in job.attempts if a.booked}
    assert (sum(entries.values()), job.hold) == (job.spent, 0)
    for attempt in job.attempts:
        assert attempt.booked or attempt.suspense_micro_usd or not attempt.accepted


def _assert_logged(row: Row, found: Outcome) -> None:
    event, code = row.line
    lines = found.lines.named(event)
    assert code in {line.get("code") or line.get("state") or "" for line in lines} or (lines and not code), row.line
    of_first = [line for line in found.lines.named("provider.fault") if line["attempt"] == 1]
    assert [line["code"] for line in of_first] == ([code] if event == "provider.fault" else [])
    own = [given for given in row.settings.values() if isinstance(given, str)]  # a token of somebody else
    everything, private = json.dumps(found.lines.found), ("paper boat", *SECRETS.values(), *own)
    assert [word for word in private if word in everything] == []


def _assert_made_no_oftener_than_allowed(row: Row, found: Outcome, stage: Stage, pipeline: VendorPipeline) -> None:
    creates, attempts = found.creates, found.job.attempts
    starts = [line for line in found.lines.named("attempt.started") if line["model"] == SUBJECTS[row.subject].model]
    if row.code in ("blocked", "rejected", "model_gone", "account_refused"):
        assert len(starts) == 1
    if row.code == "ambiguous":
        assert len(starts) == len(creates) == 1 + (row.then == SAME)
        assert attempts[0].suspense_micro_usd
    if row.code == "rate_limited" and row.fault_at is None and row.fault != "late_failure":
        wait_s = row.options.get("retry_after_s", PAUSE_S)
        again = creates[1:] or carried(row, stage, pipeline, fallback=False).creates
        assert (again[0] - creates[0]).total_seconds() >= wait_s


# ---------------------------------------------------------------- the table


def test_the_table_is_large_and_says_nothing_twice() -> None:
    assert len(TABLE) >= 60
    assert {subject for subject, n in Counter(row.subject for row in TABLE).items() if n >= 3} == set(SUBJECTS)
    assert [name for name, n in Counter(row.name for row in TABLE).items() if n > 1] == []


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_what_follows_a_fault(row: Row, stage: Stage, tmp_path: Path) -> None:
    subject = SUBJECTS[row.subject]
    with running(row, stage, tmp_path) as pipeline:
        broken(row, stage)
        found = carried(row, stage, pipeline)
        job, first = found.job, found.job.attempts[0]
        seen = {
            "state": str(job.state),
            "code": code_of(first),
            "then": next_of(job, subject),
            "booked": first.cost_micro_usd,
            "suspense": first.suspense_micro_usd,
            "health": health_of(found.health),
            "accepted": len(found.calls),
        }
        assert seen == {
            "state": row.state,
            "code": row.code,
            "then": row.then,
            "booked": amount(row.booked, subject, found.calls),
            "suspense": amount(row.suspense, subject, found.calls),
            "health": row.health,
            "accepted": row.accepted,
        }, (job.errors, [a.error for a in job.attempts], found.calls)
        assert_history(job)
        assert pipeline.audit().problems == []
        _assert_booked_once(job, pipeline)
        _assert_logged(row, found)
        _assert_made_no_oftener_than_allowed(row, found, stage, pipeline)


# ---------------------------------------------------------------- money in doubt


def test_an_operation_that_ended_in_doubt_is_asked_after_no_more_and_booked_when_its_time_is_over(
    stage: Stage, tmp_path: Path
) -> None:
    row = Row("veo", "retired", None, fault_at="fetchPredictOperation", settings={"suspense_s": 600})
    with running(row, stage, tmp_path) as pipeline:
        broken(row, stage)
        job = carried(row, stage, pipeline).job
        doubted_until = job.attempts[0].suspense_until
        assert (doubted_until, job.suspense) == (job.attempts[0].ended_at + timedelta(seconds=600), 400_000)
        with logged() as lines:
            pipeline.drain(lambda: pipeline.job(job.job_id).suspense == 0, rounds=3000)
        first = pipeline.job(job.job_id).attempts[0]
        assert (first.polls, first.basis, first.cost_micro_usd, first.booked) == (1, "unconfirmed", 400_000, True)
        assert lines.named("provider.fault") == []
        assert stage.clock.now() <= doubted_until + timedelta(seconds=120)
        assert pipeline.audit().problems == []


@pytest.mark.parametrize("model", ["replicate image", "replicate text"])
def test_a_lost_call_that_no_list_shows_is_collected_when_its_webhook_comes(
    model: str, stage: Stage, tmp_path: Path
) -> None:
    row = Row(model, "drop", None)
    with running(row, stage, tmp_path) as pipeline:
        broken(row, stage)
        stage.vendors.fail("unavailable", vendor="replicate", operation="list")
        found = carried(row, stage, pipeline)
        job, subject = found.job, SUBJECTS[model]
        assert (str(job.state), next_of(job, subject), len(found.calls)) == ("succeeded", OTHER, 1)
        assert job.attempts[0].suspense_micro_usd == subject.price
        stage.deliver_webhooks()
        pipeline.drain(lambda: pipeline.job(job.job_id).suspense == 0, rounds=3000)
        first = pipeline.job(job.job_id).attempts[0]
        assert (first.state, first.booked) == (AttemptState.DELIVERED, True)
        assert first.cost_micro_usd == amount(BILLED, subject, found.calls)
        assert pipeline.audit().problems == []
