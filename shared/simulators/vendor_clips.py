"""Clips of the simulated vendors: one rendered second that repeats, as encoded, under a sound of the full length.

A clip of the studio takes as long to render as to watch; the vendors' record and files must be cheap by the thousand.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from shared.providers.studio.video import render_video

_PROMPT = "a quiet lake between mountains at sunrise"
_INDEX_BYTES, _INDEX_BYTES_PER_FRAME = 16_384, 160
_SMALL = 64  # pixels of the clip that is rendered for its sound alone


def clip(width: int, height: int, fps: int, duration_s: float, *, audio: bool) -> bytes:
    """Return an MP4 of exactly round(duration_s * fps) frames. Raises ValueError as `render_video` does."""
    second = _rendered(width, height, fps, min(1.0, duration_s), audio=False)
    sound = _rendered(_SMALL, _SMALL, fps, duration_s, audio=True) if audio else None
    target, frames = io.BytesIO(), round(duration_s * fps)
    options = {"moov_size": str(_INDEX_BYTES + _INDEX_BYTES_PER_FRAME * frames)}  # players can start at once
    with (
        av.open(target, "w", format="mp4", container_options=options) as out,
        av.open(io.BytesIO(second), "r") as pictures,
        av.open(io.BytesIO(sound or second), "r") as heard,
    ):
        _mux(out, pictures, heard if audio else None, frames)
    return target.getvalue()


@lru_cache(maxsize=8)
def _rendered(width: int, height: int, fps: int, duration_s: float, *, audio: bool) -> bytes:
    return render_video(_PROMPT, width=width, height=height, fps=fps, duration_s=duration_s, seed=0, audio=audio)


def _mux(out: OutputContainer, pictures: InputContainer, heard: InputContainer | None, frames: int) -> None:
    shown = out.add_stream_from_template(pictures.streams.video[0])
    sound = None if heard is None else out.add_stream_from_template(heard.streams.audio[0])
    for packet in _repeated(pictures, frames):
        packet.stream = shown
        out.mux(packet)
    if heard is not None and sound is not None:
        for packet in _packets(heard, heard.streams.audio[0]):
            packet.stream = sound
            out.mux(packet)


def _repeated(pictures: InputContainer, frames: int) -> Iterator[Packet[Any]]:
    """Return *frames* packets, one a frame, going round and round; the first frame is a key frame."""
    step, count = 0, 0
    while count < frames:
        pictures.seek(0)
        for packet in _packets(pictures, pictures.streams.video[0]):
            if count == frames:
                return
            step = packet.duration or step
            packet.pts = packet.dts = count * step
            count += 1
            yield packet


def _packets(container: InputContainer, stream: Stream) -> Iterator[Packet[Any]]:
    """Return the packets of *stream*, without the empty one at its end."""
    return (packet for packet in container.demux(stream) if packet.size)
