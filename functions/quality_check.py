"""Stage 4, quality check. Consumes `quality-check`; hands on to `record-cost`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from functions import _runtime
from functions._decode import Event
from functions._runtime import Reference, Step
from shared.bootstrap import Services
from shared.domain import moves, quality
from shared.domain.job import Attempt, Job, Piece
from shared.domain.quality import ImageMeasures, PieceVerdict, Undecodable, VideoMeasures
from shared.errors import BlobNotFound, BlobTooLarge
from shared.ports import Json

MAX_IMAGE_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Seen:
    """A piece, what it measures and what that means; a text has no measures of its own."""

    piece: Piece
    verdict: PieceVerdict
    measures: ImageMeasures | VideoMeasures | Undecodable | None


def handle(event: Event, services: Services) -> None:
    """Open the pieces of the attempt, measure them and grade them."""
    _runtime.advance(event, services, lambda job, ref: check(job, ref, services))


def check(job: Job, ref: Reference, services: Services) -> Step:
    """Judge one attempt's pieces; the verdict is kept on the attempt and on each piece."""
    started = services.clock.now()
    attempt = job.attempt(int(ref.extra.get("attempt", len(job.attempts))))
    measure, count = _KINDS[job.kind], int(job.params.get("count", 1))
    seen = [measure(piece, job, attempt, services) for piece in attempt.pieces]
    verdict = quality.judge_set(
        [one.verdict for one in seen],
        [one.measures.phash if isinstance(one.measures, ImageMeasures) else None for one in seen],
        [one.piece.sha256 for one in seen],
        count,
    )
    for judged in verdict.pieces:
        services.metrics.record("quality_grades", 1, {"kind": job.kind, "grade": judged.grade})
    attempt = replace(
        attempt,
        pieces=tuple(_graded(one, judged) for one, judged in zip(seen, verdict.pieces, strict=True)),
        approved=verdict.approved,
        grade=verdict.grade,
        checks=tuple(asdict(c) for c in verdict.checks),
    )
    return Step(moves.checked(job, attempt, _runtime.moment(services, "quality_check", started)))


def _see_image(piece: Piece, job: Job, _attempt: Attempt, services: Services) -> Seen:
    wanted = quality.WantedImage(job.params["width"], job.params["height"], _min_grade(job))
    try:
        measures = services.inspector.image(services.blobs.read(piece.uri, MAX_IMAGE_BYTES))
    except (BlobNotFound, BlobTooLarge) as error:
        measures = Undecodable(type(error).__name__)
    return Seen(piece, quality.judge_image(measures, wanted), measures)


def _see_video(piece: Piece, job: Job, _attempt: Attempt, services: Services) -> Seen:
    p = job.params
    wanted = quality.WantedVideo(p["width"], p["height"], p["fps"], p["duration_s"], p["audio"], _min_grade(job))
    try:
        with services.blobs.open(piece.uri) as file:
            measures = services.inspector.video(file, piece.size_bytes)
    except BlobNotFound as error:
        measures = Undecodable(type(error).__name__)
    return Seen(piece, quality.judge_video(measures, wanted), measures)


def _see_text(piece: Piece, job: Job, attempt: Attempt, services: Services) -> Seen:
    from shared.domain.safety import find_blocked_terms
    from shared.domain.text_quality import judge_text

    text, schema = piece.text or "", job.params.get("response_schema")
    verdict = judge_text(
        text,
        finish=attempt.finish,
        platform=job.params.get("platform"),
        schema_errors=None if schema is None else services.inspector.text_errors(text, schema),
        blocked_terms_found=find_blocked_terms(text, services.safety_rules),
        min_grade=_min_grade(job),
    )
    return Seen(piece, verdict, None)


def _min_grade(job: Job) -> str:
    return str(job.request.get("min_grade", quality.DEFAULT_MIN_GRADE))


def _graded(one: Seen, verdict: PieceVerdict) -> Piece:
    """The piece with what was found out about it."""
    checks: Json = {c.name: {"measured": c.measured, "wanted": c.wanted, "passed": c.passed} for c in verdict.checks}
    piece = replace(one.piece, grade=verdict.grade, checks=checks)
    match one.measures:
        case ImageMeasures(width=width, height=height):
            return replace(piece, width=width, height=height)
        case VideoMeasures(width=width, height=height, duration_s=duration_s):
            return replace(piece, width=width, height=height, duration_s=duration_s)
    return piece


_KINDS: Mapping[str, Callable[[Piece, Job, Attempt, Services], Seen]] = {
    "image": _see_image,
    "video": _see_video,
    "text": _see_text,
}


@functions_framework.http
def quality_check(request: Request) -> ResponseReturnValue:
    """Answer one delivery of `quality-check`."""
    return _runtime.serve(handle, request)
