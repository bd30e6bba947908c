"""`report.html`: one page with the pieces of a run and what they cost. It loads nothing and runs no script."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from functions import _job_view as view
from functions._charts import cost_by_model, time_per_stage
from functions._embedding import MANY_PICTURES, MANY_SIDE, PICTURE_SIDE, Embedder, ReadPiece
from functions._pages import environment, style_source
from shared.domain.job import Job
from shared.domain.money import format_usd
from shared.domain.result import result_of
from shared.ports import Json

MAX_EMBEDDED_BYTES = 60_000_000
MAX_PROMPT_CHARS = 5_000
LONG_PROMPT = 260  # characters that are shown before "show all"
GROUPS = ("succeeded", "failed", "refused", "cancelled", view.RUNNING)
KINDS = ("image", "video", "text", "talking_photo", "campaign", "unknown")
POLICY = "default-src 'none'; img-src data:; media-src data:; style-src {style}; base-uri 'none'; form-action 'none'"


def write_report(
    path: Path,
    jobs: Sequence[Job],
    *,
    generated_at: datetime,
    title: str,
    read_piece: ReadPiece,
    max_embedded_bytes: int = MAX_EMBEDDED_BYTES,
) -> None:
    """Write the page, all of it or nothing; the same jobs and pieces give the same bytes.

    *read_piece* returns a piece's bytes; a `PipelineError` of it is told on the page. *max_embedded_bytes* are those
    of pictures and clips, before they are written as `data:` URIs, which are a third longer.
    """
    pictures = sum(p["media_type"].startswith("image/") for job in jobs for p in view.pieces(job))
    side = PICTURE_SIDE if pictures <= MANY_PICTURES else MANY_SIDE
    embedder = Embedder(read_piece, max_embedded_bytes, side)
    stream = (
        environment()
        .get_template("report.html")
        .generate(
            title=title,
            generated_at=generated_at,
            policy=POLICY.format(style=style_source()),
            totals=totals(jobs),
            charts=[cost_by_model(jobs), time_per_stage(jobs)],
            states=_counts([view.group(job.state) for job in jobs], GROUPS),
            kinds=_counts([job.kind for job in jobs], KINDS),
            cards=_cards(jobs, embedder),
        )
    )
    _write_whole(path, stream)


def totals(jobs: Sequence[Job]) -> Json:
    """Return what the run comes to; money as decimal USD, time in seconds."""
    results = [result_of(job) for job in jobs]
    ends = [job.finished_at or job.updated_at for job in jobs]
    began = min((job.created_at for job in jobs), default=None)
    return {
        "jobs": len(jobs),
        "succeeded": sum(job.state == "succeeded" for job in jobs),
        "cost_usd": format_usd(sum(job.spent for job in jobs)),
        "suspense_usd": format_usd(sum(job.suspense for job in jobs)),
        "attempts": sum(len(job.attempts) for job in jobs),
        "pieces": sum(len(r["outputs"]) for r in results),
        "fallbacks": sum(r["fallback_used"] for r in results),
        "cached": sum(r["cached"] for r in results),
        "simulated": sum(r["simulated"] for r in results),
        "took_s": (max(ends) - began).total_seconds() if began else 0.0,
    }


def _counts(found: Sequence[str], order: Sequence[str]) -> list[tuple[str, int]]:
    counts = Counter(found)
    return [(name, counts[name]) for name in order if counts[name]]


def _cards(jobs: Sequence[Job], embedder: Embedder) -> Iterator[Json]:
    """Yield one card at a time, so that the pictures of only one job are in memory."""
    present = {job.job_id for job in jobs}
    for job in jobs:
        yield _card(job, embedder, present)


def _card(job: Job, embedder: Embedder, present: set[str]) -> Json:
    answered_by = (job.answer or {}).get("job_id")
    platform = job.params.get("platform")
    result = result_of(job)
    return {
        "job": job,
        "result": result,
        "group": view.group(job.state),
        "name": job.request_id or job.job_id[:12],
        "words": {k: _shortened(v) for k, v in view.asked_words(job).items()},
        "is_long": len(view.asked_words(job)["original"] or "") > LONG_PROMPT,
        "asked": view.asked(job),
        "source": view.source(job),
        "notes": view.notes(job),
        "answered_by": answered_by,
        "answer_is_here": answered_by in present,
        "attempts": view.attempts(job),
        "pieces": [embedder.show(piece, platform) for piece in view.pieces(job)],
        "checks": view.checks(job),
        "digest": _digest(job),
        "timeline": view.folded_timeline(job),
        "took_s": view.took_s(job),
    }


def _digest(job: Job) -> list[str]:
    """What somebody finds who opens the details."""
    checks = view.checks(job)
    found = [f"{len(job.attempts)} {'attempt' if len(job.attempts) == 1 else 'attempts'}"]
    if checks:
        found.append(f"{sum(bool(c['passed']) for c in checks)} of {len(checks)} checks passed")
    return found


def _shortened(text: str | None) -> str | None:
    if text is None or len(text) <= MAX_PROMPT_CHARS:
        return text
    return f"{text[:MAX_PROMPT_CHARS]}… ({len(text) - MAX_PROMPT_CHARS:,} more characters)"


def _write_whole(path: Path, stream: Iterator[str]) -> None:
    """Write beside *path* and then put it in its place, so that nobody opens half a page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.writelines(stream)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
