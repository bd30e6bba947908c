"""How many corrupted pieces of the offline provider are caught, and how many clean ones are turned away."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import pytest

from shared.adapters.inspector import Inspector
from shared.domain.quality import PieceVerdict, WantedImage, WantedVideo, judge_image, judge_video
from shared.providers.studio.image import render_image
from shared.providers.studio.video import render_video
from tests.corruptions import CLIP_CORRUPTIONS, IMAGE_CORRUPTIONS, decoded_clip, encoded, opened

INSPECTOR = Inspector()
STYLES = (None, "photographic", "digital-art", "cinematic", "anime", "sketch", "artistic", "minimalist")
PROMPTS = (
    "a lighthouse at dusk over a calm sea",
    "portrait of a red fox in the snow",
    "neon city street in the rain",
    "abstract geometric composition, blue and gold",
    "spaceship over a ringed planet at night",
    "product shot of a coffee mug",
    "a pine forest in morning fog",
    "white lilies in a vase",
)
SIDE = 512
WIDTH, HEIGHT, FPS, SECONDS = 384, 216, 24, 2
CAUGHT, FALSE_ALARMS = 0.95, 0.02


@cache
def images() -> tuple[bytes, ...]:
    """48 pictures: every style, every prompt, a seed each."""
    return tuple(
        render_image(PROMPTS[(seed + seed // 8) % 8], width=SIDE, height=SIDE, seed=seed, style=STYLES[seed % 8])
        for seed in range(48)
    )


@cache
def clips() -> tuple[bytes, ...]:
    """A clip of every style."""
    return tuple(
        render_video(prompt, width=WIDTH, height=HEIGHT, fps=FPS, duration_s=SECONDS, seed=seed, style=STYLES[seed])
        for seed, prompt in enumerate(PROMPTS)
    )


@cache
def decoded() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    return tuple(decoded_clip(data) for data in clips())


def image_verdict(data: bytes) -> PieceVerdict:
    return judge_image(INSPECTOR.image(data), WantedImage(SIDE, SIDE))


def clip_verdict(data: bytes) -> PieceVerdict:
    return judge_video(
        INSPECTOR.video(io.BytesIO(data), len(data)), WantedVideo(WIDTH, HEIGHT, FPS, SECONDS, audio=True)
    )


def rejected(verdicts: list[PieceVerdict]) -> float:
    return sum(not verdict.approved for verdict in verdicts) / len(verdicts)


def test_clean_pictures_pass() -> None:
    assert rejected([image_verdict(data) for data in images()]) <= FALSE_ALARMS


@pytest.mark.parametrize("quality", [75, 95])
def test_clean_pictures_pass_as_jpeg_too(quality: int) -> None:
    files = [encoded(opened(data), "image/jpeg", quality=quality) for data in images()]
    assert rejected([image_verdict(data) for data in files]) <= FALSE_ALARMS


@pytest.mark.parametrize("corruption", IMAGE_CORRUPTIONS)
def test_corrupted_pictures_are_caught(corruption: str) -> None:
    corrupt = IMAGE_CORRUPTIONS[corruption]
    assert rejected([image_verdict(corrupt(data, opened(data))) for data in images()[::2]]) >= CAUGHT


def test_clean_clips_pass() -> None:
    assert rejected([clip_verdict(data) for data in clips()]) <= FALSE_ALARMS


@pytest.mark.parametrize("corruption", CLIP_CORRUPTIONS)
def test_corrupted_clips_are_caught(corruption: str) -> None:
    corrupt = CLIP_CORRUPTIONS[corruption]
    files = [corrupt(data, frames, sound, FPS) for data, (frames, sound) in zip(clips(), decoded(), strict=True)]
    assert rejected([clip_verdict(data) for data in files]) >= CAUGHT
