"""Measures a clip: every frame is decoded, about eight a second are looked at, and the whole sound track is heard.

The file is streamed. libav is told the demuxer and the codecs it may use, and can open nothing else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import av
import av.error
import numpy as np

from shared.adapters.inspect_container import NotAClip, read_container
from shared.adapters.inspect_frames import Watcher
from shared.domain.quality import Undecodable, VideoMeasures

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

VIDEO_CODECS = frozenset({"h264", "hevc", "vp9", "av1", "mpeg4"})
AUDIO_CODECS = frozenset({"aac", "opus", "mp3"})
_DECODERS = "h264,hevc,vp9,libvpx-vp9,av1,libdav1d,mpeg4,aac,opus,libopus,mp3,mp3float"
_QUIETEST_DB = -120.0
_MAX_CHANNELS = 8
_SAMPLE_TYPES = {"flt": "f4", "dbl": "f8", "s16": "i2", "s32": "i4"}  # by libav's name of the packed form
_FULL_SCALE = {"f4": np.float64(1), "f8": np.float64(1), "i2": np.float64(1 << 15), "i4": np.float64(1 << 31)}


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """What is refused, before or while it is decoded."""

    max_bytes: int = 2 << 30
    max_side: int = 4096
    max_duration_s: float = 600.0
    max_frames: int = 40_000
    max_packets: int = 400_000
    deadline_s: float = 240.0


def measure_video(file: BinaryIO, size_bytes: int, limits: VideoLimits) -> VideoMeasures | Undecodable:
    """Return the figures of an MP4, MOV or WebM clip.

    *file* can seek. Only errors of reading it are raised; whatever is in it makes an answer.
    """
    if size_bytes > limits.max_bytes:
        return Undecodable(f"{size_bytes} bytes, over {limits.max_bytes}")
    source = _Source(file, time.monotonic() + limits.deadline_s)
    try:
        media_type, demuxer = read_container(cast("BinaryIO", source), size_bytes)
        with _open(source, demuxer) as container:
            return _Inspection(container, limits, source).measures(media_type, size_bytes)
    except NotAClip as error:
        return Undecodable(str(error))
    except Exception as error:  # the errors of libav and its binding are no closed set
        if source.failure is not None:
            raise source.failure from error
        return Undecodable(f"does not decode: {type(error).__name__}: {error}"[:200])


class _Source:
    """The file. Keeps the error of its own reading apart from what decoders say, and ends at a deadline."""

    def __init__(self, file: BinaryIO, deadline: float) -> None:
        self._file = file
        self._deadline = deadline
        self.failure: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        self.demand_time()
        try:
            return self._file.read(size)
        except Exception as error:
            self.failure = error
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def demand_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise NotAClip("takes too long to decode")


def _open(source: _Source, demuxer: str) -> InputContainer:
    options = {"codec_whitelist": _DECODERS, "protocol_whitelist": "none", "probesize": str(1 << 22)}
    return av.open(source, "r", format=demuxer, options=options, io_open=_open_nothing, metadata_errors="replace")


def _open_nothing(url: str, flags: int, options: dict[str, str]) -> Any:  # noqa: ARG001 - libav's signature
    raise NotAClip("refers to another file")


class _Inspection:
    """Decodes one opened clip once, from the first packet to the last."""

    def __init__(self, container: InputContainer, limits: VideoLimits, source: _Source) -> None:
        self._container, self._limits, self._source = container, limits, source
        self._video, self._audio = _tracks(container)
        self._demand_limits()
        self._watcher = Watcher()
        self._frames = self._damaged = 0
        self._first_s, self._last_s, self._end_s = math.inf, -math.inf, -math.inf
        self._samples, self._squares, self._heard_s = 0, 0.0, 0.0

    def measures(self, media_type: str, size_bytes: int) -> VideoMeasures:
        for frame in self._decoded():
            if isinstance(frame, av.VideoFrame):
                self._see(frame)
            else:
                self._hear(frame)
        if not self._frames:
            raise NotAClip("no frame decodes")
        span_s = self._last_s - self._first_s
        return VideoMeasures(
            width=self._video.codec_context.width,
            height=self._video.codec_context.height,
            media_type=media_type,
            size_bytes=size_bytes,
            codec=self._video.codec_context.codec.canonical_name,
            fps=(self._frames - 1) / span_s if span_s > 0 else 0.0,
            duration_s=self._end_s - self._first_s,
            frames=self._frames,
            announced_frames=self._video.frames or None,
            announced_s=_announced_s(self._container, self._video),
            damaged=self._damaged,
            audio_codec=self._audio.codec_context.codec.canonical_name if self._audio else None,
            audio_db=self._loudness_db() if self._audio else None,
            audio_s=self._heard_s,
            **self._watcher.figures(),
        )

    def _demand_limits(self) -> None:
        context, limits = self._video.codec_context, self._limits
        width, height = context.width, context.height
        if not (0 < width <= limits.max_side and 0 < height <= limits.max_side):
            raise NotAClip(f"{width}x{height}, over {limits.max_side} on a side")
        announced_s = _announced_s(self._container, self._video) or 0.0
        if announced_s > limits.max_duration_s:
            raise NotAClip(f"{announced_s:.0f} s, over {limits.max_duration_s:.0f}")
        context.options = {"max_pixels": str(limits.max_side**2)}
        context.thread_count = 1  # libav 62 can wait for its own frame threads for ever when an HEVC stream is damaged

    def _decoded(self) -> Iterator[av.VideoFrame | av.AudioFrame]:
        """Yield the frames of both tracks; damage is counted, not raised."""
        tracks = [track for track in (self._video, self._audio) if track is not None]
        for count, packet in enumerate(self._container.demux(tracks)):
            self._source.demand_time()
            if count > self._limits.max_packets:
                raise NotAClip(f"over {self._limits.max_packets} packets")
            self._damaged += packet.is_corrupt
            try:
                yield from cast("list[av.VideoFrame | av.AudioFrame]", packet.decode())
            except av.error.FFmpegError:
                self._damaged += 1

    def _see(self, frame: av.VideoFrame) -> None:
        context, limits = self._video.codec_context, self._limits
        if (frame.width, frame.height) != (context.width, context.height):
            raise NotAClip("frames of different sizes")
        self._frames += 1
        self._damaged += frame.is_corrupt
        at_s = frame.time if frame.pts is not None else max(self._end_s, 0.0)
        self._first_s, self._last_s = min(self._first_s, at_s), max(self._last_s, at_s)
        self._end_s = max(self._end_s, at_s + self._shown_s(frame))
        if self._frames > limits.max_frames or self._end_s - self._first_s > limits.max_duration_s + 1:
            raise NotAClip(f"over {limits.max_frames} frames or {limits.max_duration_s:.0f} s")
        self._watcher.see(frame, at_s)

    def _shown_s(self, frame: av.VideoFrame) -> float:
        if frame.duration and frame.time_base:
            return float(frame.duration * frame.time_base)
        return 1 / float(self._video.average_rate) if self._video.average_rate else 0.0

    def _hear(self, frame: av.AudioFrame) -> None:
        values = _sound_of(frame)
        self._squares += float(np.nan_to_num(values @ values, nan=0.0, posinf=0.0))
        self._samples += values.size
        self._heard_s += frame.samples / frame.sample_rate

    def _loudness_db(self) -> float:
        power = self._squares / self._samples if self._samples else 0.0
        return max(_QUIETEST_DB, 10 * math.log10(power)) if power > 0 else _QUIETEST_DB


def _sound_of(frame: av.AudioFrame) -> NDArray[np.float64]:
    """Return all samples of all channels, -1 to 1.

    `AudioFrame.to_ndarray` of PyAV 18 counts a ninth plane after eight and reads memory that is not there.
    """
    channels = frame.layout.nb_channels
    sample_type = _SAMPLE_TYPES.get(frame.format.packed.name)
    if channels > _MAX_CHANNELS or sample_type is None:
        raise NotAClip(f"{channels} channels of {frame.format.name} sound")
    planes, count = (channels, frame.samples) if frame.format.is_planar else (1, frame.samples * channels)
    parts = [np.frombuffer(memoryview(plane), sample_type, count) for plane in frame.planes[:planes]]
    return np.concatenate(parts) / _FULL_SCALE[sample_type]


def _tracks(container: InputContainer) -> tuple[VideoStream, AudioStream | None]:
    """Return the first video and the first audio track. Raises NotAClip when their codecs are none of ours."""
    video = next(iter(container.streams.video), None)
    audio = next(iter(container.streams.audio), None)
    for track, allowed in ((video, VIDEO_CODECS), (audio, AUDIO_CODECS)):
        if track is not None and _codec(track) not in allowed:
            raise NotAClip(f"codec {_codec(track)} is none of {', '.join(sorted(allowed))}")
    if video is None:
        raise NotAClip("no video track")
    return video, audio


def _codec(track: VideoStream | AudioStream) -> str:
    return track.codec_context.codec.canonical_name if track.codec_context else "unknown"


def _announced_s(container: InputContainer, video: VideoStream) -> float | None:
    if video.duration is not None and video.time_base is not None:
        return float(video.duration * video.time_base)
    return container.duration / av.time_base if container.duration else None
