"""What the ops pages show, as plain values that the JSON API sends and the templates lay out.

Operators see what happened and what it cost. A prompt, and a text made from it, appear only where one is asked
for by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime

from functions import _job_view as view
from functions._charts import budget_bar, job_spans
from shared.bootstrap import Services
from shared.domain.breaker import Breaker
from shared.domain.budget import Budget, Scope, day_of
from shared.domain.job import Job, State
from shared.domain.money import format_usd
from shared.domain.result import result_of
from shared.domain.times import from_text, to_text
from shared.errors import InvalidDocument, Permanent
from shared.ports import Json, Snapshot
from shared.stores.jobs import load

PAGE = 50
MAX_PAGE = 200
MAX_BREAKERS = 1000
WORDLESS = frozenset({"finish", "grade"})  # checks of a text whose measurement is never a part of the text


class BadQuery(Permanent):
    """A query parameter has a value that means nothing here; the message says what is accepted."""


class NoSuchJob(Permanent):
    """There is no job of that id."""


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of a request, checked when they are read."""

    values: dict[str, str]

    def limit(self) -> int:
        """Return how many jobs a page has. Raises BadQuery."""
        text = self.values.get("limit", str(PAGE))
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_PAGE):
            raise BadQuery(f"limit must be 1 to {MAX_PAGE}")
        return int(text)

    def state(self) -> State | None:
        """Return the state to filter by. Raises BadQuery."""
        text = self.values.get("state")
        if not text:
            return None
        try:
            return State(text)
        except ValueError:
            raise BadQuery(f"state must be one of {', '.join(State)}") from None

    def day(self, today: str) -> str:
        """Return the UTC day to show, *today* unless another is asked for. Raises BadQuery."""
        text = self.values.get("day") or today
        try:
            is_day = date.fromisoformat(text).isoformat() == text
        except ValueError:
            is_day = False
        if not is_day:
            raise BadQuery("day must be a date such as 2026-11-21")
        return text

    def after(self) -> Snapshot | None:
        """Return the last job of the page before. Raises BadQuery for what is no cursor of ours."""
        text = self.values.get("after")
        if not text:
            return None
        created_at, _, job_id = text.partition("~")
        try:
            is_ours = to_text(from_text(created_at)) == created_at and bool(job_id) and "/" not in job_id
        except (ValueError, OverflowError):
            is_ours = False
        if not is_ours:
            raise BadQuery("after must be the `next` of an earlier page")
        return Snapshot(f"jobs/{job_id}", "", {"created_at": created_at})

    def shows_prompt(self) -> bool:
        """Whether the words of whoever asked are asked for by name."""
        return self.values.get("show") == "prompt"


def cursor(snapshot: Snapshot) -> str:
    """Return the text by which `Query.after` finds the page behind a job."""
    return f"{snapshot.data['created_at']}~{snapshot.path.partition('/')[2]}"


# ---------------------------------------------------------------- pages


def jobs(query: Query, services: Services) -> Json:
    """Return a page of jobs, newest first; with a state, the newest of that state."""
    now, limit, state, after = services.clock.now(), query.limit(), query.state(), query.after()
    if state is not None:
        if after is not None:
            raise BadQuery("after cannot be combined with state")
        found = services.jobs.in_state(state, limit)
        return {"jobs": [view.row(loaded.job, now) for loaded in found], "state": str(state), "next": None}
    try:
        page = services.jobs.newest(limit, after)
    except InvalidDocument:
        raise BadQuery("after must be the `next` of an earlier page") from None
    rows = [view.row(load(snapshot).job, now) for snapshot in page]
    return {"jobs": rows, "state": None, "next": cursor(page[-1]) if len(page) == limit else None}


def job(job_id: str, query: Query, services: Services) -> Json:
    """Return everything about one job that its documents tell. Raises NoSuchJob."""
    found = find(job_id, services)
    result = result_of(found)
    shows = query.shows_prompt()
    hidden = {"checks"} if shows else {"checks", "text"}
    pieces = [{k: v for k, v in p.items() if k not in hidden} for p in view.pieces(found)]
    answer = found.answer or {}
    return {
        **view.row(found, services.clock.now()),
        "user": found.user,
        "labels": result["labels"],
        "trace": found.trace,
        "source": view.source(found),
        "seq": found.seq,
        "requested_model": found.requested_model,
        "asked": view.asked(found),
        "prompt": view.asked_words(found) if shows else None,
        "notes": view.notes(found),
        "errors": [{k: e.get(k) for k in ("field", "code", "message")} for e in found.errors],
        "money": _money(found, result),
        "ledger": [_entry(e) for e in services.ledger.of_job(found.job_id)],
        "pieces": pieces,
        "checks": view.checks(found) if shows else [_unquoted(c, found.kind) for c in view.checks(found)],
        "attempt_list": view.attempts(found),
        "candidates": view.candidates(found),
        "passed_over": view.passed_over(found),
        "timeline": view.timeline(found),
        "follows": found.follows,
        "waiting_for": found.waiting_for,
        "answered_by": answer.get("job_id"),
        "due_at": to_text(found.due_at) if found.due_at else None,
        "deadline_at": to_text(found.deadline_at) if found.deadline_at else None,
        "updated_at": to_text(found.updated_at),
        "took_s": view.took_s(found),
    }


def job_page(job_id: str, query: Query, services: Services) -> Json:
    """Return what the page of one job shows besides `job`. Raises NoSuchJob."""
    found = find(job_id, services)
    return {
        "job": job(job_id, query, services),
        "steps": view.folded_timeline(found),
        "spans": job_spans(found),
        "shows_prompt": query.shows_prompt(),
    }


def budgets(query: Query, services: Services) -> Json:
    """Return the budgets of a day, most used first."""
    day = query.day(day_of(services.clock.now()))
    return {"day": day, "budgets": [_budget(scope, b) for scope, b in services.budgets.on_day(day)]}


def budgets_page(query: Query, services: Services) -> Json:
    """Return what the budgets page shows: as `budgets`, each with its bar."""
    day = query.day(day_of(services.clock.now()))
    rows = [{**_budget(scope, b), "bar": budget_bar(str(scope), b)} for scope, b in services.budgets.on_day(day)]
    return {"day": day, "budgets": rows}


def breakers(services: Services) -> Json:
    """Return every breaker that was ever needed, those that stop calls first."""
    now = services.clock.now()
    rows = [_breaker(b, now) for b in services.breakers.all(MAX_BREAKERS)]
    rows.sort(key=lambda r: (r["callable"], r["state"] == "closed", -r["failures"], r["model"]))
    return {"breakers": rows}


def health(services: Services) -> Json:
    """Return whether the stores answer; `status` is "ok" only when all of them do."""
    checks: dict[str, Callable[[], object]] = {
        "documents": lambda: services.documents.get(["jobs/health"]),
        "blobs": lambda: services.blobs.stat(services.blobs.uri("outputs", "health")),
    }
    found = {name: _answers(check) for name, check in checks.items()}
    good = all(answer == "ok" for answer in found.values())
    return {"status": "ok" if good else "unreachable", "checks": found, "at": to_text(services.clock.now())}


def find(job_id: str, services: Services) -> Job:
    """Return a job. Raises NoSuchJob, also for what can be no job's id."""
    try:
        loaded = services.jobs.get(job_id)
    except InvalidDocument:
        loaded = None
    if loaded is None:
        raise NoSuchJob(f"there is no job {job_id[:64]}")
    return loaded.job


# ---------------------------------------------------------------- rows


def _unquoted(check: Json, kind: str) -> Json:
    """Leave out what was measured of a text where it may be the text's own words."""
    may_quote = kind == "text" and not isinstance(check["measured"], int | float)
    return {**check, "measured": "not shown"} if may_quote and check["name"] not in WORDLESS else check


def _money(job: Job, result: Json) -> Json:
    return {
        "spent_usd": format_usd(job.spent),
        "held_usd": format_usd(job.hold),
        "suspense_usd": format_usd(job.suspense),
        "quoted_usd": result["quoted_usd"],
        "max_cost_usd": None if job.max_cost is None else format_usd(job.max_cost),
    }


def _entry(entry: Json) -> Json:
    kept = ("attempt", "provider", "model", "outcome", "basis", "usage", "at")
    return {**{k: entry.get(k) for k in kept}, "cost_usd": format_usd(int(entry["cost_micro_usd"]))}


def _budget(scope: Scope, budget: Budget) -> Json:
    return {
        "scope": scope.kind,
        "name": scope.name,
        **{f"{name}_usd": format_usd(amount) for name, amount in asdict(budget).items()},
        "free_usd": format_usd(budget.free),
    }


def _breaker(breaker: Breaker, now: datetime) -> Json:
    not_before = breaker.not_before
    return {
        "model": breaker.model,
        "state": str(breaker.state),
        "callable": breaker.is_callable(now),
        "failures": breaker.failures,
        "trips": breaker.trips,
        "disabled": breaker.disabled,
        "reason": breaker.reason,
        "not_before": to_text(not_before) if not_before is not None and not_before > now else None,
        "since": to_text(breaker.since) if breaker.since else None,
    }


def _answers(check: Callable[[], object]) -> str:
    try:
        check()
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a store, this is where it is told
        return type(error).__name__
    return "ok"


def filters() -> Sequence[str]:
    """Every state a list can be narrowed to."""
    return [str(state) for state in State]
