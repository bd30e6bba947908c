"""Clips of the offline provider: the composed scene in motion, as H.264 and AAC in MP4.

The same arguments give the very same bytes. Frames are made and encoded one at a time.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
from av.audio.resampler import AudioResampler

from shared.providers.offline_brief import Brief, read_brief
from shared.providers.offline_finish import grained, measure, sharpen, tone_table, toned
from shared.providers.offline_image import compose
from shared.providers.offline_music import SAMPLE_RATE, soundtrack
from shared.providers.offline_paint import Array, blank, resized
from shared.providers.offline_scene import Layer, Moment, Scene, Sheet, Stage, Water, paint_all
from shared.providers.offline_style import treat

_WORK_AREA = 1920 * 1088  # larger frames are composed at this size and enlarged
_MARGIN = 0.05  # of the frame, composed beyond its edges for the camera to move in
_SHARPNESS = 420.0  # variance of the Laplacian before encoding
_BANDS = (0.16, 0.42, 0.72)  # depths at which sheets are merged: the far, middle and near ground


def render_video(
    prompt: str,
    *,
    width: int,
    height: int,
    fps: int,
    duration_s: float,
    seed: int,
    style: str | None = None,
    audio: bool = True,
) -> bytes:
    """Return a clip of *prompt*: MP4 of exactly round(duration_s * fps) frames, with stereo sound when *audio*.

    Args:
        width, height: pixels, even. style: as for pictures.

    Raises:
        ValueError: an odd or tiny side, or no frame at all.
    """
    frames = round(duration_s * fps)
    if width % 2 or height % 2 or min(width, height) < 64:
        raise ValueError(f"{width} x {height}: both sides must be even and at least 64 pixels")
    if fps < 1 or frames < 1:
        raise ValueError(f"{duration_s} s at {fps} frames per second is no clip")
    brief = read_brief(prompt, seed, style)
    film = _filmed(brief, width, height, frames, fps)
    sound = soundtrack(brief, round(frames / fps * SAMPLE_RATE)) if audio else None
    return _encoded(film, sound, (width, height), fps, frames)
