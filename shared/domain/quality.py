"""Whether a delivered picture or clip may be handed over, and how good it is.

Measuring is done elsewhere; here are the rules. Every check says what it measured, what it wanted and whether it
passed. A fatal check that fails rejects the piece, any other is a warning that is kept with the verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shared.domain.quality_measures import ImageMeasures, Undecodable, VideoMeasures

__all__ = [
    "Check",
    "ImageMeasures",
    "PieceVerdict",
    "Undecodable",
    "Verdict",
    "VideoMeasures",
    "WantedImage",
    "WantedVideo",
    "image_grade",
    "judge_image",
    "judge_set",
    "judge_video",
]

DEFAULT_MIN_GRADE = "C"

SIZE_TOLERANCE = 0.04  # vendors round the same aspect ratio to different sizes, up to 3.6 % apart
VIDEO_SIZE_TOLERANCE = 0.02
FPS_TOLERANCE = 0.02  # tells 24 from 25, and takes 23.976 and 29.97 for 24 and 30
DURATION_TOLERANCE = 0.04
DURATION_SLACK_S = 0.3  # encoders pad to whole frames and audio packets

BLANK_CONTRAST = 4.0  # gray levels; noise on an even ground stays below
BLANK_FLAT_SHARE = 0.995
BLUR_EDGE = 0.3  # steepest edges over contrast; a sharp edge as high as the contrast has 1
BANDING = 0.9
BANDING_LOSSY = 0.62  # compression takes from good and bad pictures alike
BLOCKINESS = 0.1
BLACK_S = 0.5
FROZEN_S = 0.6
SILENCE_DB = -60.0  # RMS below full scale
AUDIO_GAP = 0.1
WHOLE_SHARE = 0.98  # of the frames the file announces
DUPLICATE_BITS = 3  # of 64


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. *measured* is JSON, *wanted* is for people."""

    name: str
    measured: Any
    wanted: str
    passed: bool
    fatal: bool


@dataclass(frozen=True, slots=True)
class PieceVerdict:
    """What the checks say about one piece. *approved*: no fatal check failed."""

    grade: str
    approved: bool
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checks say about all pieces of one attempt.

    Attributes:
        approved: at least one piece is usable.
        grade: the worst of the usable pieces; D when there is none.
        checks: about the set; those about one piece are in *pieces*.
    """

    approved: bool
    grade: str
    pieces: tuple[PieceVerdict, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class WantedImage:
    """What was asked for."""

    width: int
    height: int
    min_grade: str = DEFAULT_MIN_GRADE


@dataclass(frozen=True, slots=True)
class WantedVideo:
    """What was asked for."""

    width: int
    height: int
    fps: float
    duration_s: float
    audio: bool
    min_grade: str = DEFAULT_MIN_GRADE


# ---------------------------------------------------------------- grade


def image_grade(sharpness: float, brightness: float, contrast: float) -> tuple[str, int]:
    """Return (grade, score of 0 to 7) of a picture's three figures on 8-bit sRGB gray."""
    score = 3 if sharpness > 1000 else 2 if sharpness > 500 else 1 if sharpness > 100 else 0
    score += 2 if 100 <= brightness <= 200 else 1 if 50 <= brightness <= 250 else 0
    score += 2 if contrast > 50 else 1 if contrast > 25 else 0
    return ("A" if score >= 6 else "B" if score >= 4 else "C" if score >= 2 else "D"), score


def _graded(measures: ImageMeasures | VideoMeasures, min_grade: str, checks: list[Check]) -> PieceVerdict:
    grade, score = image_grade(measures.sharpness, measures.brightness, measures.contrast)
    checks += [
        Check("sharpness", round(measures.sharpness, 2), "> 100", measures.sharpness > 100, fatal=False),
        Check("brightness", round(measures.brightness, 2), "50 to 250", 50 <= measures.brightness <= 250, fatal=False),
        Check("contrast", round(measures.contrast, 2), "> 25", measures.contrast > 25, fatal=False),
        Check("grade", f"{grade} ({score} of 7)", f"{min_grade} or better", grade <= min_grade, fatal=True),
    ]
    return PieceVerdict(grade, _none_fatal(checks), tuple(checks))


def _none_fatal(checks: Sequence[Check]) -> bool:
    return all(check.passed or not check.fatal for check in checks)


def _unopened(piece: Undecodable) -> PieceVerdict:
    return PieceVerdict("D", approved=False, checks=(Check("decodes", piece.reason, "a whole file", False, True),))


def _decoded(media_type: str) -> Check:
    return Check("decodes", media_type, "a whole file", passed=True, fatal=True)


# ---------------------------------------------------------------- image


def judge_image(piece: ImageMeasures | Undecodable, wanted: WantedImage) -> PieceVerdict:
    """Return the verdict on one picture."""
    if isinstance(piece, Undecodable):
        return _unopened(piece)
    checks = [
        _decoded(piece.media_type),
        *_shape(piece, wanted, SIZE_TOLERANCE),
        Check("blank", round(piece.contrast, 2), f"contrast >= {BLANK_CONTRAST}", not _is_blank(piece), fatal=True),
        _blur(piece),
        _at_most("banding", piece.banding, BANDING if piece.media_type == "image/png" else BANDING_LOSSY),
        _at_most("blockiness", piece.blockiness, BLOCKINESS),
    ]
    return _graded(piece, wanted.min_grade, checks)


def _shape(
    piece: ImageMeasures | VideoMeasures, wanted: WantedImage | WantedVideo, tolerance: float
) -> tuple[Check, Check]:
    """Size and aspect ratio as asked."""
    wider, higher = piece.width / wanted.width, piece.height / wanted.height
    sized = abs(wider - 1) <= tolerance and abs(higher - 1) <= tolerance
    in_shape = abs(wider / higher - 1) <= tolerance
    percent = f"within {tolerance:.0%}"
    return (
        Check("size", f"{piece.width}x{piece.height}", f"{wanted.width}x{wanted.height} {percent}", sized, fatal=True),
        Check(
            "aspect",
            round(piece.width / piece.height, 3),
            f"{wanted.width / wanted.height:.3f} {percent}",
            in_shape,
            fatal=True,
        ),
    )


def _is_blank(piece: ImageMeasures) -> bool:
    return piece.contrast < BLANK_CONTRAST or piece.flat_share > BLANK_FLAT_SHARE


def _blur(piece: ImageMeasures | VideoMeasures) -> Check:
    relative = piece.edge / max(piece.contrast, 1.0)
    return Check("blur", round(relative, 3), f"edges >= {BLUR_EDGE} of contrast", relative >= BLUR_EDGE, fatal=True)


def _at_most(name: str, measured: float, limit: float) -> Check:
    return Check(name, round(measured, 3), f"<= {limit}", measured <= limit, fatal=True)


# ---------------------------------------------------------------- video


def judge_video(piece: VideoMeasures | Undecodable, wanted: WantedVideo) -> PieceVerdict:
    """Return the verdict on one clip."""
    if isinstance(piece, Undecodable):
        return _unopened(piece)
    checks = [
        _decoded(f"{piece.media_type} {piece.codec}"),
        *_shape(piece, wanted, VIDEO_SIZE_TOLERANCE),
        *_timing(piece, wanted),
        _whole(piece),
        _at_most("damaged", piece.damaged, 0),
        _at_most("black_s", piece.black_s, BLACK_S),
        _at_most("frozen_s", piece.frozen_s, FROZEN_S),
        Check("motion", round(piece.motion, 3), "> 0", piece.motion > 0, fatal=False),
        _blur(piece),
        *_sound(piece, wanted),
    ]
    return _graded(piece, wanted.min_grade, checks)


def _timing(piece: VideoMeasures, wanted: WantedVideo) -> tuple[Check, Check]:
    slack_s = max(DURATION_SLACK_S, wanted.duration_s * DURATION_TOLERANCE)
    in_time = abs(piece.duration_s - wanted.duration_s) <= slack_s
    in_rate = abs(piece.fps / wanted.fps - 1) <= FPS_TOLERANCE
    return (
        Check("duration", round(piece.duration_s, 3), f"{wanted.duration_s} s within {slack_s:.2f} s", in_time, True),
        Check("fps", round(piece.fps, 3), f"{wanted.fps} within {FPS_TOLERANCE:.0%}", in_rate, fatal=True),
    )


def _whole(piece: VideoMeasures) -> Check:
    """As many frames, and as long, as the file itself says."""
    shares = [1.0]
    if piece.announced_frames:
        shares.append(piece.frames / piece.announced_frames)
    if piece.announced_s:
        shares.append((piece.duration_s + DURATION_SLACK_S) / piece.announced_s)
    share = min(shares)
    return Check("whole", round(share, 3), f">= {WHOLE_SHARE} of what the file says", share >= WHOLE_SHARE, fatal=True)


def _sound(piece: VideoMeasures, wanted: WantedVideo) -> list[Check]:
    """A track that can be heard and lasts; one that nobody asked for is only a warning."""
    if not wanted.audio:
        return [Check("audio", piece.audio_codec, "no sound track", piece.audio_codec is None, fatal=False)]
    audible = piece.audio_db is not None and piece.audio_db > SILENCE_DB
    lasting = piece.audio_s >= piece.duration_s * (1 - AUDIO_GAP)
    return [
        Check("audio", piece.audio_codec, "a sound track", piece.audio_codec is not None, fatal=True),
        Check("silence", piece.audio_db, f"> {SILENCE_DB} dB", audible, fatal=True),
        Check("audio_s", round(piece.audio_s, 3), f"as long as the clip, less {AUDIO_GAP:.0%}", lasting, fatal=False),
    ]


# ---------------------------------------------------------------- set


def judge_set(
    pieces: Sequence[PieceVerdict], phashes: Sequence[int | None], digests: Sequence[str], asked_count: int
) -> Verdict:
    """Return the verdict on what one attempt delivered.

    Args:
        pieces, phashes, digests: by piece, in order: verdict, perceptual hash if there is one, digest of the bytes.
        asked_count: how many pieces were wanted. Fewer are a warning as long as one is usable.
    """
    judged = [
        _repeated(piece) if digest in digests[:position] else piece
        for position, (piece, digest) in enumerate(zip(pieces, digests, strict=True))
    ]
    usable = [piece for piece in judged if piece.approved]
    seen = [phash for piece, phash in zip(judged, phashes, strict=True) if piece.approved and phash is not None]
    checks = (
        Check("count", len(usable), f"{asked_count} usable", len(usable) >= asked_count, fatal=not usable),
        _near_duplicates(seen),
    )
    grade = max((piece.grade for piece in usable), default="D")
    return Verdict(bool(usable), grade, tuple(judged), checks)


def _repeated(piece: PieceVerdict) -> PieceVerdict:
    check = Check("duplicate", "the same bytes as an earlier piece", "a piece of its own", passed=False, fatal=True)
    return PieceVerdict(piece.grade, approved=False, checks=(*piece.checks, check))


def _near_duplicates(phashes: Sequence[int]) -> Check:
    distances = [(one ^ other).bit_count() for position, one in enumerate(phashes) for other in phashes[position + 1 :]]
    nearest = min(distances, default=None)
    differ = nearest is None or nearest > DUPLICATE_BITS
    return Check("near_duplicates", nearest, f"hashes > {DUPLICATE_BITS} bits apart", differ, fatal=False)
