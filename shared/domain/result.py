"""The result of a finished job, as it goes to `results`, into `run --json` and to callbacks."""

from __future__ import annotations

from typing import Any

from shared.domain.job import Attempt, Job, Piece
from shared.domain.money import format_usd
from shared.domain.times import to_text

Json = dict[str, Any]


def result_of(job: Job) -> Json:
    """Return the public result; fields that do not apply are None."""
    made = shown_attempt(job)
    answer = job.answer or {}
    pieces = answer.get("pieces") or [piece_doc(p) for p in (made.pieces if made else ())]
    low, high = job.quoted
    return {
        "type": f"job.{job.state}",
        "job_id": job.job_id,
        "request_id": job.request_id,
        "kind": job.kind,
        "tenant": job.tenant,
        "user": job.user,
        "labels": job.request.get("labels") or {},
        "outputs": [{k: v for k, v in piece.items() if k != "text"} for piece in pieces],
        "text": next((piece["text"] for piece in pieces if piece.get("text") is not None), None),
        "provider": answer.get("provider") or (made.provider if made else None),
        "model": answer.get("model") or (made.model if made else None),
        "requested_model": job.requested_model,
        "fallback_used": bool(answer.get("fallback_used") or _fell_back(job, made)),
        "simulated": bool(answer.get("simulated") or (made and made.simulated)),
        "template": bool(answer.get("template") or (made and made.template)),
        "cached": job.answer is not None,
        "attempts": job.tries,
        "grade": answer.get("grade") or (made.grade if made else None),
        "cost_usd": format_usd(job.spent),
        "quoted_usd": [format_usd(low), format_usd(high)] if job.candidates else None,
        "prompt": {"original": job.original_prompt, "used": job.used_prompt or None},
        "errors": list(job.errors),
        "created_at": to_text(job.created_at),
        "finished_at": to_text(job.finished_at) if job.finished_at else None,
    }


def shown_attempt(job: Job) -> Attempt | None:
    """The attempt whose pieces the result shows: the approved one, else the best that was bought."""
    bought = [a for a in job.attempts if a.pieces]
    return job.winner or min(bought, key=lambda a: (a.grade or "Z", a.number), default=None)


def piece_doc(piece: Piece) -> Json:
    """One entry of `outputs`, and the text beside it."""
    return {
        "uri": piece.uri,
        "media_type": piece.media_type,
        "size_bytes": piece.size_bytes,
        "sha256": piece.sha256,
        "width": piece.width,
        "height": piece.height,
        "duration_s": piece.duration_s,
        "grade": piece.grade,
        "checks": piece.checks,
        "text": piece.text,
    }


def answer_of(job: Job) -> Json | None:
    """What this job can answer an identical request with; None when it has nothing approved, or only a template."""
    made = job.winner
    if job.answer is not None:
        return job.answer
    if made is None or made.template:
        return None
    return {
        "job_id": job.job_id,
        "attempt": made.number,
        "provider": made.provider,
        "model": made.model,
        "grade": made.grade,
        "simulated": made.simulated,
        "fallback_used": _fell_back(job, made),
        "pieces": [piece_doc(p) for p in made.pieces],
    }


def _fell_back(job: Job, made: Attempt | None) -> bool:
    return made is not None and bool(job.candidates) and made.model != job.candidates[0].model
