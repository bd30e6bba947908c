from dataclasses import dataclass
from functools import cache
from io import BytesIO

import av
import cv2
import numpy as np
import pytest

from shared.providers.studio.video import render_video

STYLES = ("photographic", "digital-art", "cinematic", "anime", "sketch", "artistic", "minimalist")
PROMPTS = ("perfume bottle", "mountain lake at sunset", "city at night", "geometric pattern")


@dataclass
class Clip:
    """A decoded clip: grey frames, float samples, what the container says."""

    frames: np.ndarray
    sound: np.ndarray | None
    video: dict
    audio: dict | None


def decoded(data):
    with av.open(BytesIO(data)) as container:
        stream = container.streams.video[0]
        frames = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(stream)])
        video = {
            "codec": stream.codec_context.name,
            "pix_fmt": stream.codec_context.pix_fmt,
            "rate": stream.average_rate,
            "duration_s": float(stream.duration * stream.time_base),
        }
        if not container.streams.audio:
            return Clip(frames, None, video, None)
    with av.open(BytesIO(data)) as container:
        stream = container.streams.audio[0]
        sound = np.concatenate([frame.to_ndarray() for frame in container.decode(stream)], axis=1)
        audio = {"codec": stream.codec_context.name, "rate": stream.rate, "channels": stream.codec_context.channels}
        return Clip(frames, sound, video, audio)


@cache
def film(prompt, width=256, height=144, fps=24, duration_s=1, seed=1, style=None, audio=True):
    return render_video(
        prompt, width=width, height=height, fps=fps, duration_s=duration_s, seed=seed, style=style, audio=audio
    )


def sharpness(frame):
    return cv2.Laplacian(frame, cv2.CV_64F).var()


@pytest.mark.parametrize(("fps", "duration_s"), [(24, 1), (30, 1.5), (25, 1.2), (60, 0.5), (1, 3)])
def test_a_clip_has_exactly_the_frames_rate_and_duration_asked(fps, duration_s):
    clip = decoded(film("calm sea", fps=fps, duration_s=duration_s))
    assert len(clip.frames) == round(fps * duration_s)
    assert clip.video["rate"] == fps
    assert clip.video["duration_s"] == pytest.approx(duration_s, abs=0.001)


@pytest.mark.parametrize(("width", "height"), [(320, 180), (180, 320), (240, 240), (202, 98)])
def test_frames_have_the_size_asked_also_upright(width, height):
    clip = decoded(film("forest", width=width, height=height, duration_s=0.5))
    assert clip.frames.shape[1:] == (height, width)


def test_video_is_h264_in_a_pixel_format_every_player_knows_and_audio_stereo_aac():
    clip = decoded(film("calm sea"))
    assert (clip.video["codec"], clip.video["pix_fmt"]) == ("h264", "yuv420p")
    assert clip.audio == {"codec": "aac", "rate": 48000, "channels": 2}


@pytest.mark.parametrize("duration_s", [0.5, 1, 2])
def test_sound_is_as_long_as_the_picture_audible_and_not_clipped(duration_s):
    clip = decoded(film("calm sea", duration_s=duration_s))
    assert clip.sound.shape[1] / 48000 == pytest.approx(duration_s, abs=1024 / 48000)
    level_db = 20 * np.log10(np.sqrt(np.mean(clip.sound**2)))
    assert -23 < level_db < -17
    assert np.abs(clip.sound).max() < 0.98


def test_left_and_right_differ_and_seeds_sound_different():
    one, two = decoded(film("calm sea", seed=1)).sound, decoded(film("calm sea", seed=2)).sound
    assert np.abs(one[0] - one[1]).mean() > 0.005
    assert np.abs(one - two).mean() > 0.01


def test_without_audio_there_is_no_sound_track():
    assert decoded(film("calm sea", audio=False)).audio is None


@pytest.mark.parametrize("prompt", PROMPTS)
def test_every_frame_moves_and_none_is_black_blurred_or_blown_out(prompt):
    clip = decoded(film(prompt, width=384, height=216))
    motion = np.abs(np.diff(clip.frames.astype(int), axis=0)).mean(axis=(1, 2))
    assert motion.mean() > 0.8
    assert motion.min() > 0.1
    assert min(sharpness(frame) for frame in clip.frames) > 150
    brightness = clip.frames.mean(axis=(1, 2))
    assert brightness.min() > 60
    assert brightness.max() < 195


@pytest.mark.parametrize("style", STYLES)
def test_every_style_can_be_filmed_and_looks_different(style):
    clip, plain = decoded(film(PROMPTS[0], style=style)), decoded(film(PROMPTS[0]))
    assert sharpness(clip.frames[12]) > 150
    assert 60 < clip.frames[12].mean() < 195
    assert np.abs(clip.frames[12].astype(int) - plain.frames[12]).mean() > 5


def test_the_camera_never_stops_in_a_long_clip():
    clip = decoded(film("geometric pattern", width=128, height=72, fps=12, duration_s=12, audio=False))
    half_second = np.abs(clip.frames[6:].astype(int) - clip.frames[:-6]).mean(axis=(1, 2))
    assert half_second.min() > 1.5


def test_frames_over_the_working_size_are_enlarged_and_still_sharp():
    clip = decoded(film("perfume bottle", width=2240, height=1260, fps=8, duration_s=0.25, audio=False))
    assert clip.frames.shape == (2, 1260, 2240)
    assert min(sharpness(frame) for frame in clip.frames) > 100


def test_the_same_arguments_give_the_same_bytes():
    arguments = {"width": 256, "height": 144, "fps": 24, "duration_s": 0.5, "seed": 1}
    assert render_video("city at night", **arguments) == render_video("city at night", **arguments)


def test_seeds_give_different_clips():
    one, two = (decoded(film("city at night", seed=seed)).frames[0].astype(int) for seed in (1, 2))
    assert np.abs(one - two).mean() > 10


def test_the_index_comes_before_the_data_so_that_players_can_start_at_once():
    data = film("calm sea")
    assert 0 < data.find(b"moov") < data.find(b"mdat")


@pytest.mark.parametrize(("width", "height"), [(321, 180), (320, 181), (62, 180)])
def test_an_odd_or_tiny_side_is_refused(width, height):
    with pytest.raises(ValueError, match="even and at least 64"):
        film("calm sea", width=width, height=height)


@pytest.mark.parametrize(("fps", "duration_s"), [(0, 1), (24, 0), (24, 0.01)])
def test_a_clip_without_frames_is_refused(fps, duration_s):
    with pytest.raises(ValueError, match="no clip"):
        film("calm sea", fps=fps, duration_s=duration_s)
