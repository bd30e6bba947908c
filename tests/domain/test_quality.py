"""The rules of the quality check, on figures written by hand."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.quality import (
    Check,
    ImageMeasures,
    PieceVerdict,
    Undecodable,
    VideoMeasures,
    WantedImage,
    WantedVideo,
    image_grade,
    judge_image,
    judge_set,
    judge_video,
)

IMAGE = ImageMeasures(
    width=1024,
    height=768,
    media_type="image/png",
    size_bytes=1_000_000,
    sharpness=1200.0,
    brightness=120.0,
    contrast=55.0,
    phash=0x0F0F,
    edge=200.0,
    flat_share=0.1,
    banding=0.1,
    blockiness=0.01,
)
VIDEO = VideoMeasures(
    width=1280,
    height=720,
    media_type="video/mp4",
    size_bytes=5_000_000,
    codec="h264",
    fps=24.0,
    duration_s=8.0,
    frames=192,
    announced_frames=192,
    announced_s=8.0,
    damaged=0,
    black_s=0.0,
    frozen_s=0.0,
    sharpness=300.0,
    brightness=120.0,
    contrast=55.0,
    edge=150.0,
    motion=4.0,
    audio_codec="aac",
    audio_db=-20.0,
    audio_s=8.0,
)
WANTED_IMAGE = WantedImage(1024, 768)
WANTED_VIDEO = WantedVideo(1280, 720, 24, 8.0, audio=True)


def failed(verdict: PieceVerdict, *, fatal: bool | None = None) -> set[str]:
    return {c.name for c in verdict.checks if not c.passed and fatal in {None, c.fatal}}


# ---------------------------------------------------------------- grade


@pytest.mark.parametrize(
    ("sharpness", "brightness", "contrast", "grade", "score"),
    [
        (1000.1, 100, 50.1, "A", 7),
        (1000, 200, 50.1, "A", 6),
        (500, 100, 50.1, "B", 5),
        (500.1, 99.9, 50, "B", 4),
        (100.1, 250, 25.1, "C", 3),
        (100, 50, 25.1, "C", 2),
        (100, 200.1, 25, "D", 1),
        (0, 49.9, 25, "D", 0),
        (5000, 250.1, 0, "C", 3),
    ],
)
def test_the_score_counts_sharpness_brightness_and_contrast(
    sharpness: float, brightness: float, contrast: float, grade: str, score: int
) -> None:
    assert image_grade(sharpness, brightness, contrast) == (grade, score)


@given(st.floats(0, 1e5), st.floats(0, 255), st.floats(0, 128), st.floats(0, 1e5))
def test_a_sharper_picture_is_never_graded_worse(one: float, brightness: float, contrast: float, other: float) -> None:
    soft, sharp = sorted((one, other))
    assert image_grade(sharp, brightness, contrast)[0] <= image_grade(soft, brightness, contrast)[0]


# ---------------------------------------------------------------- image


def test_a_good_picture_passes_every_check() -> None:
    verdict = judge_image(IMAGE, WANTED_IMAGE)
    assert (verdict.approved, verdict.grade, failed(verdict)) == (True, "A", set())


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"width": 512, "height": 384}, "size"),
        ({"width": 1065}, "size"),
        ({"width": 1003, "height": 790}, "aspect"),
        ({"contrast": 3.9}, "blank"),
        ({"flat_share": 0.999}, "blank"),
        ({"edge": 16.0}, "blur"),
        ({"banding": 0.95}, "banding"),
        ({"banding": 0.7, "media_type": "image/jpeg"}, "banding"),
        ({"blockiness": 0.2}, "blockiness"),
    ],
)
def test_a_fault_rejects_the_picture(change: dict[str, float | str], check: str) -> None:
    verdict = judge_image(replace(IMAGE, **change), WANTED_IMAGE)  # type: ignore[arg-type]
    assert not verdict.approved
    assert check in failed(verdict, fatal=True)


def test_a_vendors_rounding_of_the_size_passes() -> None:
    assert judge_image(replace(IMAGE, width=1056, height=784), WANTED_IMAGE).approved


def test_a_grade_below_the_one_asked_rejects() -> None:
    soft = replace(IMAGE, sharpness=50.0)
    assert judge_image(soft, WANTED_IMAGE).grade == "B"
    assert judge_image(soft, replace(WANTED_IMAGE, min_grade="B")).approved
    strict = judge_image(soft, replace(WANTED_IMAGE, min_grade="A"))
    assert failed(strict, fatal=True) == {"grade"}
    assert not strict.approved


def test_a_soft_dark_picture_is_only_warned_about_where_a_d_will_do() -> None:
    verdict = judge_image(replace(IMAGE, sharpness=50.0, brightness=30.0), WantedImage(1024, 768, min_grade="D"))
    assert verdict.approved
    assert failed(verdict, fatal=False) == {"sharpness", "brightness"}


@pytest.mark.parametrize("judged", [judge_image(IMAGE, WANTED_IMAGE), judge_video(VIDEO, WANTED_VIDEO)])
def test_every_check_can_be_stored_as_json(judged: PieceVerdict) -> None:
    checks = json.loads(json.dumps([asdict(check) for check in judged.checks], allow_nan=False))
    assert all(set(check) == {"name", "measured", "wanted", "passed", "fatal"} for check in checks)
    assert len({check["name"] for check in checks}) == len(checks)


@pytest.mark.parametrize(
    "verdict",
    [
        judge_image(Undecodable("truncated"), WANTED_IMAGE),
        judge_video(Undecodable("truncated"), replace(WANTED_VIDEO, min_grade="D")),
    ],
)
def test_a_piece_that_does_not_open_is_rejected_with_the_reason(verdict: PieceVerdict) -> None:
    assert (verdict.approved, verdict.grade) == (False, "D")
    assert [(c.name, c.measured, c.passed) for c in verdict.checks] == [("decodes", "truncated", False)]


# ---------------------------------------------------------------- video


def test_a_good_clip_passes_every_check() -> None:
    verdict = judge_video(VIDEO, WANTED_VIDEO)
    assert (verdict.approved, verdict.grade, failed(verdict)) == (True, "B", set())


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"width": 1920, "height": 1080}, "size"),
        ({"height": 540}, "aspect"),
        ({"duration_s": 6.0}, "duration"),
        ({"duration_s": 9.0}, "duration"),
        ({"fps": 25.0}, "fps"),
        ({"fps": 0.0}, "fps"),
        ({"frames": 150}, "whole"),
        ({"announced_s": 12.0}, "whole"),
        ({"damaged": 1}, "damaged"),
        ({"black_s": 1.0}, "black_s"),
        ({"frozen_s": 1.0}, "frozen_s"),
        ({"edge": 10.0}, "blur"),
        ({"audio_codec": None, "audio_db": None, "audio_s": 0.0}, "audio"),
        ({"audio_db": -80.0}, "silence"),
        ({"sharpness": 20.0, "brightness": 20.0, "contrast": 20.0}, "grade"),
    ],
)
def test_a_fault_rejects_the_clip(change: dict[str, float | None], check: str) -> None:
    verdict = judge_video(replace(VIDEO, **change), WANTED_VIDEO)  # type: ignore[arg-type]
    assert not verdict.approved
    assert check in failed(verdict, fatal=True)


@pytest.mark.parametrize(
    "change",
    [
        {"fps": 23.976},
        {"duration_s": 8.04, "audio_s": 8.02},
        {"announced_frames": None, "announced_s": None},
        {"black_s": 0.25, "frozen_s": 0.5},
    ],
)
def test_what_encoders_do_passes(change: dict[str, float | None]) -> None:
    assert judge_video(replace(VIDEO, **change), WANTED_VIDEO).approved  # type: ignore[arg-type]


def test_sound_nobody_asked_for_and_sound_that_ends_early_are_warnings() -> None:
    unasked = judge_video(VIDEO, replace(WANTED_VIDEO, audio=False))
    early = judge_video(replace(VIDEO, audio_s=5.0), WANTED_VIDEO)
    assert (unasked.approved, failed(unasked)) == (True, {"audio"})
    assert (early.approved, failed(early)) == (True, {"audio_s"})


# ---------------------------------------------------------------- set

GOOD, FAIR = PieceVerdict("A", approved=True, checks=()), PieceVerdict("C", approved=True, checks=())
BAD = PieceVerdict("D", approved=False, checks=())
FAR = (0, 0xFFFF, 0xFFFF_0000, 0xFFFF_0000_0000)


def test_a_full_set_is_approved_with_its_worst_grade() -> None:
    verdict = judge_set([GOOD, FAIR], FAR[:2], ["x", "y"], 2)
    assert (verdict.approved, verdict.grade) == (True, "C")
    assert all(check.passed for check in verdict.checks)


def test_fewer_usable_pieces_than_asked_are_a_warning() -> None:
    verdict = judge_set([GOOD, BAD], [0, None], ["x", "y"], 4)
    assert (verdict.approved, verdict.grade) == (True, "A")
    (count,) = (check for check in verdict.checks if check.name == "count")
    assert (count.measured, count.passed, count.fatal) == (1, False, False)


@pytest.mark.parametrize("pieces", [[], [BAD]])
def test_a_set_without_a_usable_piece_is_rejected(pieces: list[PieceVerdict]) -> None:
    verdict = judge_set(pieces, [None] * len(pieces), ["x"] * len(pieces), 1)
    assert (verdict.approved, verdict.grade) == (False, "D")
    assert any(check.fatal and not check.passed for check in verdict.checks)


def test_pictures_that_look_alike_are_a_warning() -> None:
    verdict = judge_set([GOOD] * 3, [0, 0xFFFF, 0xFFFE], ["x", "y", "z"], 3)
    assert verdict.approved
    assert Check("near_duplicates", 1, "hashes > 3 bits apart", passed=False, fatal=False) in verdict.checks


def test_the_second_of_two_identical_files_is_rejected() -> None:
    verdict = judge_set([GOOD, GOOD, GOOD], FAR[:1] + FAR[:2], ["x", "x", "y"], 3)
    assert [piece.approved for piece in verdict.pieces] == [True, False, True]
    assert failed(verdict.pieces[1], fatal=True) == {"duplicate"}
    assert verdict.approved
