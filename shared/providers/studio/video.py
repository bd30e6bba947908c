"""Clips of the offline provider: the composed scene in motion with music, as H.264 and AAC in MP4.

The same arguments give the very same bytes. Frames are made and encoded one at a time. Safe in threads.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from shared.providers.studio.brief import read_brief
from shared.providers.studio.camera import Shot, film, plan_shot
from shared.providers.studio.image import compose
from shared.providers.studio.music import SAMPLE_RATE, soundtrack
from shared.providers.studio.paint import Array

_AAC_SAMPLES = 1024  # per AAC frame
_X264 = {"preset": "ultrafast", "crf": "23", "x264-params": "colormatrix=smpte170m:range=tv"}


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
        width, height: pixels, even, at least 64.
        style: as for pictures.

    Raises:
        ValueError: an odd or tiny side, or no frame at all.
    """
    frames = round(duration_s * fps)
    if width % 2 or height % 2 or min(width, height) < 64:
        raise ValueError(f"{width} x {height}: both sides must be even and at least 64 pixels")
    if fps < 1 or frames < 1:
        raise ValueError(f"{duration_s} s at {fps} frames per second is no clip")
    brief = read_brief(prompt, seed, style)
    shot = plan_shot(width, height, frames, fps)
    pictures = film(compose(brief, shot.stage), brief, shot)
    sound = soundtrack(brief, round(frames / fps * SAMPLE_RATE)) if audio else None
    return _encoded(pictures, sound, shot)


def _encoded(pictures: Iterator[Array], sound: Array | None, shot: Shot) -> bytes:
    """Return the MP4, its index before its data so that players can start at once."""
    target = io.BytesIO()
    packets = shot.frames + (sound.shape[1] // _AAC_SAMPLES if sound is not None else 0)
    options = {"fflags": "+bitexact", "moov_size": str(16_384 + 40 * packets)}
    with av.open(target, "w", format="mp4", container_options=options) as container:
        video = _video_stream(container, shot)
        audio = None if sound is None else _audio_stream(container)
        played = 0
        for i, picture in enumerate(pictures):
            frame = VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts = i
            container.mux(video.encode(frame))
            if audio is not None and sound is not None:
                played = _play(container, audio, sound, played, (i + 1) * SAMPLE_RATE // shot.fps)
        if audio is not None and sound is not None:
            _play(container, audio, sound, played, sound.shape[1], last=True)
            container.mux(audio.encode(None))
        container.mux(video.encode(None))
    return target.getvalue()


def _video_stream(container: OutputContainer, shot: Shot) -> VideoStream:
    stream = container.add_stream("libx264", rate=shot.fps, options=_X264)
    stream.width, stream.height, stream.pix_fmt = shot.width, shot.height, "yuv420p"
    stream.codec_context.thread_count = 1  # one thread: the same bytes everywhere, and the pipeline is parallel anyway
    stream.codec_context.time_base = Fraction(1, shot.fps)
    return stream


def _audio_stream(container: OutputContainer) -> AudioStream:
    stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
    stream.bit_rate = 128_000
    return stream


def _play(
    container: OutputContainer, stream: AudioStream, sound: Array, played: int, until: int, *, last: bool = False
) -> int:
    """Encode whole AAC frames of *sound* from sample *played* up to *until* (all of it at *last*); return how far."""
    while played < until and (last or played + _AAC_SAMPLES <= until):
        chunk = sound[:, played : played + _AAC_SAMPLES].copy()
        frame = AudioFrame.from_ndarray(chunk, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, played, Fraction(1, SAMPLE_RATE)
        container.mux(stream.encode(frame))
        played += chunk.shape[1]
    return played
