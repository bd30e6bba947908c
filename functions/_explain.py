"""A job's story as text, from its document and its ledger entries alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.domain.job import Attempt, Job
from shared.domain.money import format_usd
from shared.ports import Json


def explanation(job: Job, entries: Sequence[Json]) -> str:
    """Return every stage, candidate, attempt and cent of a job, and its prompt before and after."""
    return "\n".join(
        [
            f"job {job.job_id}: {job.kind}, {job.state}",
            *_about(job),
            *_prompt(job),
            "",
            "candidates",
            *_candidates(job),
            "",
            "attempts",
            *(line for attempt in job.attempts for line in _attempt(attempt)),
            *(["  none; answered by job " + str(job.answer["job_id"])] if job.answer else []),
            "",
            "money",
            *_money(job, entries),
            "",
            "timeline",
            *_timeline(job),
        ]
    )


def _about(job: Job) -> Iterator[str]:
    yield f"  tenant {job.tenant}, user {job.user or '-'}, request_id {job.request_id or '-'}, created {job.created_at}"
    if job.finished_at is not None:
        yield f"  finished {job.finished_at}, after {(job.finished_at - job.created_at).total_seconds():.2f} s"
    for error in job.errors:
        yield f"  error {error['code']} {error['field']}: {error['message']}"


def _prompt(job: Job) -> Iterator[str]:
    if job.original_prompt is None:
        return
    yield f"  prompt    {job.original_prompt}"
    if job.used_prompt != job.original_prompt:
        yield f"  as sent   {job.used_prompt}"
        yield f"  added     {', '.join(job.prompt.get('added') or [])}"
    rewritten = job.prompt.get("rewritten")
    if rewritten:
        yield f"  refused   {rewritten['before']}"
        pairs = [(change["words"], change["by"]) for change in rewritten["replaced"]]
        changes = [f"{old} -> {new}" if new else f"without {old}" for old, new in pairs]
        yield f"  softened  {'; '.join(changes)}"
    if job.prompt.get("negative"):
        yield f"  negative  {job.prompt['negative']}"


def _candidates(job: Job) -> Iterator[str]:
    for n, c in enumerate(job.candidates):
        mark = ">" if n == job.choice else " "
        price = format_usd(c.price_micro_usd)
        yield f" {mark}{n + 1}. {c.model} ({c.provider}) score {c.score:.3f}, at most {price} USD"
        yield f"     {'; '.join(c.reasons)}"
    for passed in job.passed_over:
        yield f"  -  {passed['model']}: {passed['text']}"


def _attempt(attempt: Attempt) -> Iterator[str]:
    cost = f"{format_usd(attempt.cost_micro_usd)} USD by {attempt.basis}" if attempt.booked else "not booked"
    apart = f", one call of attempt {attempt.doubt_of}" if attempt.doubt_of else ""
    several = f", call {min(attempt.part + 1, attempt.calls)} of {attempt.calls}" if attempt.calls > 1 else ""
    yield f"  {attempt.number}. {attempt.model}: {attempt.state}{several}{apart}, {cost}"
    if attempt.suspense_micro_usd:
        yield f"     {format_usd(attempt.suspense_micro_usd)} USD in suspense until {attempt.suspense_until}"
    if attempt.usage:
        yield f"     used {', '.join(f'{n} {unit}' for unit, n in attempt.usage.items())}"
    if attempt.error:
        yield f"     {attempt.error['code']}: {attempt.error['message']}"
    if attempt.grade:
        yield f"     grade {attempt.grade}, {'approved' if attempt.approved else 'rejected'}"
    for piece in attempt.pieces:
        yield f"     {piece.uri} {piece.media_type} {piece.size_bytes} bytes, grade {piece.grade or '-'}"
        for name, check in piece.checks.items():
            mark = "ok  " if check["passed"] else "FAIL"
            yield f"       {mark} {name}: {check['measured']} (wanted {check['wanted']})"


def _money(job: Job, entries: Sequence[Json]) -> Iterator[str]:
    low, high = job.quoted
    yield f"  quoted {format_usd(low)} to {format_usd(high)} USD"
    yield f"  spent {format_usd(job.spent)}, held {format_usd(job.hold)}, in suspense {format_usd(job.suspense)} USD"
    for entry in entries:
        cost = format_usd(entry["cost_micro_usd"])
        yield f"  ledger {entry['job_id']}-{entry['attempt']}: {cost} USD, {entry['model']}, {entry['outcome']}"


def _timeline(job: Job) -> Iterator[str]:
    for line in job.timeline:
        took = f"{line['ms']:.0f} ms" if "ms" in line else ""
        yield f"  {line['at']}  {line['stage']:<14} {line['to']:<13} {took:>9}  {line.get('note', '')}"
