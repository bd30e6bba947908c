"""A job in plain values, as report and ops pages show it and the JSON API sends it.

Nothing here holds a prompt or a text that was made from it, except `asked_words`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from functions._pages import dollars
from shared.domain.job import FINISHED, Attempt, Job, Piece, State
from shared.domain.money import format_usd
from shared.domain.result import piece_doc, result_of, shown_attempt
from shared.domain.times import from_text, to_text
from shared.ports import Json

RUNNING = "running"
_WAITS = {State.WAITING: "vendor at work", State.PARKED: "parked"}
BETWEEN = "between stages"


def group(state: State) -> str:
    """The states that mean the same to somebody who waits for a result: a final one, or "running"."""
    return str(state) if state in FINISHED else RUNNING


# ---------------------------------------------------------------- the whole job


def row(job: Job, now: datetime) -> Json:
    """Return a job's line in a list of jobs: what it is and how far, in words that hold no prompt."""
    result = result_of(job)
    current = job.current
    candidate = job.candidates[job.choice].model if job.choice < len(job.candidates) else None
    return {
        "job_id": job.job_id,
        "request_id": job.request_id,
        "kind": job.kind,
        "tenant": job.tenant,
        "state": str(job.state),
        "model": result["model"] or (current.model if current else candidate),
        "grade": result["grade"],
        "cost_usd": result["cost_usd"],
        "attempts": result["attempts"],
        "fallback_used": result["fallback_used"],
        "simulated": result["simulated"],
        "template": result["template"],
        "cached": result["cached"],
        "error_codes": [str(e.get("code", "error")) for e in job.errors],
        "created_at": result["created_at"],
        "finished_at": result["finished_at"],
        "age_s": max(0.0, round((now - job.created_at).total_seconds(), 3)),
    }


def asked(job: Job) -> list[str]:
    """Return what was asked for besides the prompt, e.g. ["4 pictures", "1024 × 1024", "cinematic"]."""
    p = job.params
    found: list[str | None] = []
    if job.kind == "image":
        count = int(p.get("count", 1))
        found.append(f"{count} pictures" if count > 1 else None)
    if job.kind == "video" and "duration_s" in p:
        found += [f"{p['duration_s']} s", f"{p.get('fps')} fps" if "fps" in p else None]
        found.append("with sound" if p.get("audio") else "silent")
    if "width" in p and "height" in p:
        found.append(f"{p['width']} × {p['height']}")
    if job.kind == "text":
        found += [p.get("task"), f"for {p['platform']}" if p.get("platform") else None]
        found.append("as JSON of a given shape" if p.get("response_schema") else None)
    found.append(p.get("style"))
    found.append(f"prefers {job.request['prefer']}" if job.request.get("prefer", "balanced") != "balanced" else None)
    return [str(item) for item in found if item]


def asked_words(job: Job) -> Json:
    """Return the words of whoever asked: the one part that pages for operators leave out unless told otherwise."""
    original = job.prompt.get("original") or job.request.get("prompt")
    used = job.prompt.get("used")
    return {
        "original": original,
        "used": used if used != original else None,
        "negative": job.prompt.get("negative"),
        "system": job.params.get("system"),
    }


def source(job: Job) -> str | None:
    """Where the request came from: the file and its line, else whatever identified it."""
    known = job.source or {}
    place = known.get("file") or known.get("object")
    if place is not None:
        return f"{place}, line {known['line']}" if known.get("line") else str(place)
    return f"message {known['message_id']}" if known.get("message_id") else None


def notes(job: Job) -> list[Json]:
    """Return what is out of the ordinary about a job's result, as a word and the sentence behind it."""
    result = result_of(job)
    found = [
        ("fallback", _fallback_sentence(job), result["fallback_used"]),
        ("alias", f"asked for as {job.requested_model}", _is_alias(job)),
        ("simulated", "made by the offline provider; its price is made up", result["simulated"]),
        ("template", "written from a template, because no model could", result["template"]),
        ("from the cache", "answered by an identical request, at no cost", result["cached"]),
        ("best effort", "no piece was approved; this is the best one that was bought", _is_unapproved(job)),
        ("money in doubt", f"{dollars(format_usd(job.suspense))} may or may not have been charged", bool(job.suspense)),
    ]
    return [{"word": word, "sentence": sentence} for word, sentence, applies in found if applies]


def _fallback_sentence(job: Job) -> str:
    if job.candidates and job.attempts:
        return f"first choice was {job.candidates[0].model}"
    return "not made by the first choice"


def _is_alias(job: Job) -> bool:
    """The name that was asked for is no model's own: selection always names a model that exists, tried or not."""
    ids = {c.model for c in job.candidates} | {p.get("model") for p in job.passed_over}
    return job.requested_model is not None and bool(job.candidates) and job.requested_model not in ids


def _is_unapproved(job: Job) -> bool:
    return job.is_finished and job.state is not State.SUCCEEDED and shown_attempt(job) is not None


# ---------------------------------------------------------------- its parts


def attempts(job: Job) -> list[Json]:
    """Return every try, oldest first."""
    return [_attempt(a) for a in job.attempts]


def _attempt(a: Attempt) -> Json:
    took_s = (a.ended_at - a.started_at).total_seconds() if a.ended_at else None
    error = a.error or {}
    return {
        "number": a.number,
        "model": a.model,
        "provider": a.provider,
        "state": str(a.state),
        "started_at": to_text(a.started_at),
        "took_s": took_s,
        "polls": a.polls,
        "progress": a.progress,
        "price_usd": format_usd(a.price_micro_usd),
        "cost_usd": format_usd(a.cost_micro_usd) if a.booked else None,
        "basis": a.basis if a.booked else None,
        "suspense_usd": format_usd(a.suspense_micro_usd) if a.suspense_micro_usd else None,
        "suspense_until": to_text(a.suspense_until) if a.suspense_until else None,
        "usage": dict(a.usage),
        "finish": a.finish,
        "approved": a.approved,
        "grade": a.grade,
        "simulated": a.simulated,
        "template": a.template,
        "pieces": len(a.pieces),
        "error": {"code": error.get("code"), "message": error.get("message")} if error else None,
    }


def candidates(job: Job) -> list[Json]:
    """Return the models that might be tried, best first, with why; the one chosen last is marked."""
    return [
        {
            "model": c.model,
            "provider": c.provider,
            "price_usd": format_usd(c.price_micro_usd),
            "score": c.score,
            "reasons": list(c.reasons),
            "chosen": n == job.choice,
        }
        for n, c in enumerate(job.candidates)
    ]


def passed_over(job: Job) -> list[Json]:
    """Return the models that were not to be tried, with why."""
    return [{"model": p.get("model"), "code": p.get("code"), "text": p.get("text")} for p in job.passed_over]


def pieces(job: Job) -> list[Json]:
    """Return the pieces of the result with their texts, and the attempt they are kept under, maybe another job's."""
    if job.answer is not None:
        origin, number = job.answer["job_id"], int(job.answer["attempt"])
        docs = job.answer.get("pieces") or []
    else:
        made = shown_attempt(job)
        origin, number = job.job_id, made.number if made else 0
        docs = [piece_doc(p) for p in made.pieces] if made else []
    return [{**doc, "job_id": origin, "attempt": number, "index": n} for n, doc in enumerate(docs)]


def checks(job: Job) -> list[Json]:
    """Return what the quality check measured: of each piece, then of the set as a whole."""
    shown = pieces(job)
    made = shown_attempt(job)
    found = [
        {"of": f"piece {piece['index'] + 1}" if len(shown) > 1 else "the piece", "name": name, **check}
        for piece in shown
        for name, check in (piece.get("checks") or {}).items()
    ]
    return found + [{"of": "all pieces", **check} for check in (made.checks if made else ())]


def piece_of(job: Job, number: int, index: int) -> Piece | None:
    """Return a piece that one of the job's own attempts delivered; None where there is none."""
    if not 1 <= number <= len(job.attempts) or not 0 <= index < len(job.attempts[number - 1].pieces):
        return None
    return job.attempts[number - 1].pieces[index]


# ---------------------------------------------------------------- time


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a job's time, in seconds since it was created.

    Attributes:
        what: a stage that worked, or what the job waited for.
        is_work: a stage worked.
    """

    what: str
    is_work: bool
    start_s: float
    length_s: float


def spans(job: Job) -> Iterator[Span]:
    """Yield what each moment of a job was spent on, until it was finished; the lengths add up to its duration."""
    before, state = 0.0, None
    for line in job.timeline:
        at = max(before, (from_text(line["at"]) - job.created_at).total_seconds())
        work = min(at - before, float(line.get("ms", 0.0)) / 1000)
        if at - work > before:
            yield Span(_WAITS.get(state, BETWEEN) if state else BETWEEN, False, before, at - work - before)
        if work > 0:
            yield Span(str(line["stage"]), True, at - work, work)
        before, state = at, State(line["to"])
        if state in FINISHED:
            return


def timeline(job: Job) -> list[Json]:
    """Return what each step did, with the seconds since the job was created."""
    return [
        {
            "stage": line["stage"],
            "at": line["at"],
            "since_s": round(max(0.0, (from_text(line["at"]) - job.created_at).total_seconds()), 3),
            "work_s": line["ms"] / 1000 if "ms" in line else None,
            "to": line["to"],
            "note": line.get("note"),
            "times": 1,
        }
        for line in job.timeline
    ]


def folded_timeline(job: Job) -> list[Json]:
    """Return the timeline with runs of steps that left the job waiting folded into the last of each run."""
    folded: list[Json] = []
    for line in timeline(job):
        is_poll = line["to"] == State.WAITING and folded and folded[-1]["to"] == State.WAITING
        if is_poll and folded[-1]["stage"] == line["stage"] and folded[-1]["times"] > 1:
            line["times"] = folded.pop()["times"] + 1
        elif is_poll and folded[-1]["stage"] == line["stage"]:
            line["times"] = 2
            folded.pop()
        folded.append(line)
    return folded


def took_s(job: Job) -> float | None:
    """Seconds from the request to its end; None while there is none."""
    return None if job.finished_at is None else max(0.0, (job.finished_at - job.created_at).total_seconds())
