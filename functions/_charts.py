"""Bar charts as values; `templates/charts.html` draws them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from functions._job_view import BETWEEN, Span, spans
from functions._pages import dollars, duration, words
from shared.domain.budget import Budget
from shared.domain.job import Job
from shared.domain.money import format_usd

MAX_BARS = 12
_ORDER = (
    "validate",
    "generate",
    "vendor at work",
    "quality_check",
    "record_cost",
    "fallback",
    "parked",
    BETWEEN,
)


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a bar: *start* and *width* in percent of the chart, *tone* the name of its colour."""

    tone: str
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One row; *amount* is what it measures: micro-USD or seconds."""

    label: str
    amount: float
    text: str
    detail: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars that share a scale, and what they add up to, in words."""

    name: str
    title: str
    bars: tuple[Bar, ...]
    total: str

    @property
    def description(self) -> str:
        """Every value as a sentence, for those who cannot see the bars."""
        return "; ".join(f"{b.label}: {b.text}{f' ({b.detail})' if b.detail else ''}" for b in self.bars)


def cost_by_model(jobs: Iterable[Job]) -> Chart:
    """Return what each model that was tried has cost: booked, and in doubt."""
    spent: dict[str, int] = defaultdict(int)
    doubt: dict[str, int] = defaultdict(int)
    tries: dict[str, int] = defaultdict(int)
    for attempt in (a for job in jobs for a in job.attempts):
        tries[attempt.model] += 1
        spent[attempt.model] += attempt.cost_micro_usd if attempt.booked else 0
        doubt[attempt.model] += attempt.suspense_micro_usd
    models = sorted(tries, key=lambda m: (-spent[m] - doubt[m], m))
    groups = [(m, [m]) for m in models[: MAX_BARS - 1]]
    rest = models[MAX_BARS - 1 :]
    if rest:
        groups.append((rest[0] if len(rest) == 1 else f"{len(rest)} more models", rest))
    sums = [
        (name, sum(spent[m] for m in of), sum(doubt[m] for m in of), sum(tries[m] for m in of)) for name, of in groups
    ]
    scale = max((s + d for _, s, d, _ in sums), default=0)
    bars = tuple(_cost_bar(*row, scale) for row in sums)
    return Chart("cost", "Cost by model", bars, f"{_money(sum(spent.values()))} in all")


def _cost_bar(name: str, spent: int, doubt: int, tries: int, scale: int) -> Bar:
    detail = f"{tries} {'attempt' if tries == 1 else 'attempts'}" + (f", {_money(doubt)} in doubt" if doubt else "")
    return Bar(name, spent, _money(spent), detail, stacked([("spent", spent), ("doubt", doubt)], scale))


def time_per_stage(jobs: Sequence[Job]) -> Chart:
    """Return what the jobs' time was spent on, waiting included; the bars add up to the jobs' durations."""
    totals: dict[str, list[float]] = defaultdict(list)
    for job in jobs:
        own: dict[str, float] = defaultdict(float)
        for span in spans(job):
            own[span.what] += span.length_s
        for what, length_s in own.items():
            totals[what].append(length_s)
    scale = max((sum(of) for of in totals.values()), default=0.0)
    bars = tuple(_time_bar(what, totals[what], scale) for what in sorted(totals, key=_place))
    return Chart("time", "Time per stage", bars, f"{duration(sum(b.amount for b in bars))} over all jobs")


def _time_bar(what: str, lengths_s: Sequence[float], scale: float) -> Bar:
    total = sum(lengths_s)
    detail = f"median {duration(median(lengths_s))} a job" if len(lengths_s) > 1 else "one job"
    return Bar(words(what), total, duration(total), detail, stacked([(_tone(what), total)], scale))


def _place(what: str) -> tuple[int, str]:
    return (_ORDER.index(what) if what in _ORDER else len(_ORDER), what)


def _tone(what: str) -> str:
    return "wait" if what in ("vendor at work", "parked", BETWEEN) else "work"


def job_spans(job: Job) -> Chart:
    """Return one job's time as a row per stretch, each where it lies in the whole."""
    found = list(spans(job))
    end = max((s.start_s + s.length_s for s in found), default=0.0)
    rows: dict[str, list[Span]] = defaultdict(list)
    for span in found:
        rows[span.what].append(span)
    bars = []
    for what, of in rows.items():
        total = sum(s.length_s for s in of)
        parts = tuple(
            Part(_tone(what), _percent(s.start_s, end), max(0.4, _percent(s.length_s, end))) for s in of[:200]
        )
        detail = f"{total / end:.0%} of the time" + (f", {len(of)} stretches" if len(of) > 1 else "")
        bars.append(Bar(words(what), total, duration(total), detail, parts))
    return Chart("spans", "Where the time went", tuple(bars), f"{duration(end)} in all")


def budget_bar(name: str, budget: Budget) -> Bar:
    """Return how much of a budget is spent, in doubt, held and free."""
    parts = [("spent", budget.spent), ("doubt", budget.suspense), ("held", budget.held)]
    share = budget.used / budget.limit if budget.limit else 1.0
    scale = max(budget.limit, budget.used)
    return Bar(name, budget.used, f"{share:.0%}", f"{_money(budget.free)} free", stacked(parts, scale))


def stacked(amounts: Sequence[tuple[str, float]], scale: float) -> tuple[Part, ...]:
    """Return amounts one after the other, each in percent of *scale*; those that are nothing have no part."""
    parts, start = [], 0.0
    for tone, amount in amounts:
        if amount > 0:
            parts.append(Part(tone, start, _percent(amount, scale)))
            start += _percent(amount, scale)
    return tuple(parts)


def _percent(amount: float, scale: float) -> float:
    return round(100 * amount / scale, 3) if scale else 0.0


def _money(micro_usd: int) -> str:
    return dollars(format_usd(micro_usd))
