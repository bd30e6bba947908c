"""The clip inspector on clips made here, whole, broken and hostile."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from functools import cache

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.inspector import Inspector
from shared.domain.quality import Undecodable, VideoMeasures
from shared.errors import StoreUnavailable
from tests.corruptions import blackened, clip, encoded_clip, frozen, tone, truncated

INSPECTOR = Inspector()
WIDTH, HEIGHT, FPS, SECONDS = 320, 180, 24, 2
FRAMES = clip(WIDTH, HEIGHT, FPS, SECONDS, seed=5)
SOUND = tone(SECONDS)
FAST_VP9 = {"deadline": "realtime", "cpu-used": "8"}


@cache
def mp4() -> bytes:
    return encoded_clip(FRAMES, FPS, SOUND)


@cache
def webm() -> bytes:
    return encoded_clip(
        FRAMES, FPS, SOUND, container="webm", codec="libvpx-vp9", sound_codec="libopus", options=FAST_VP9
    )


@cache
def hevc() -> bytes:
    options = {"preset": "ultrafast", "x265-params": "log-level=none"}
    return encoded_clip(FRAMES[:24, :64, :64], FPS, codec="libx265", options=options)


def inspected(data: bytes, inspector: Inspector = INSPECTOR) -> VideoMeasures | Undecodable:
    return inspector.video(io.BytesIO(data), len(data))


def measured(data: bytes) -> VideoMeasures:
    found = inspected(data)
    assert isinstance(found, VideoMeasures), found
    return found


def reason(data: bytes, inspector: Inspector = INSPECTOR) -> str:
    found = inspected(data, inspector)
    assert isinstance(found, Undecodable), found
    return found.reason


# ---------------------------------------------------------------- figures


@pytest.mark.parametrize(
    ("container", "codec", "sound_codec", "media_type", "name", "sound_name"),
    [
        ("mp4", "libx264", "aac", "video/mp4", "h264", "aac"),
        ("mov", "libx264", "aac", "video/quicktime", "h264", "aac"),
        ("mp4", "mpeg4", "libmp3lame", "video/mp4", "mpeg4", "mp3"),
        ("webm", "libvpx-vp9", "libopus", "video/webm", "vp9", "opus"),
    ],
)
def test_size_time_rate_and_codecs_are_read(
    container: str, codec: str, sound_codec: str, media_type: str, name: str, sound_name: str
) -> None:
    options = FAST_VP9 if container == "webm" else None
    data = encoded_clip(FRAMES, FPS, SOUND, container=container, codec=codec, sound_codec=sound_codec, options=options)
    found = measured(data)
    assert (found.media_type, found.codec, found.audio_codec) == (media_type, name, sound_name)
    assert (found.width, found.height, found.frames, found.damaged) == (WIDTH, HEIGHT, FPS * SECONDS, 0)
    assert found.fps == pytest.approx(FPS, rel=0.002)
    assert found.duration_s == pytest.approx(SECONDS, abs=0.05)
    assert found.audio_s == pytest.approx(SECONDS, abs=0.1)
    assert found.size_bytes == len(data)


def test_a_moving_clip_is_neither_black_nor_frozen_nor_silent() -> None:
    found = measured(mp4())
    assert found.black_s == 0
    assert found.frozen_s < 0.1
    assert found.motion > 5
    assert found.audio_db is not None
    assert -40 < found.audio_db < -10


def test_picture_figures_are_of_full_range_gray() -> None:
    gray = np.full((12, 64, 64, 3), 200, np.uint8)
    gray[:, 16:48, 16:48] = 20
    found = measured(encoded_clip(gray, 12, options={}))
    assert found.brightness == pytest.approx(gray[0].mean(), abs=2)
    assert found.contrast == pytest.approx(gray[0].std(), abs=2)


def test_a_black_stretch_is_measured() -> None:
    assert measured(encoded_clip(blackened(FRAMES, 0.5), FPS)).black_s == pytest.approx(1.0, abs=0.13)


def test_a_frozen_stretch_is_measured() -> None:
    assert measured(encoded_clip(frozen(FRAMES, 0.6), FPS)).frozen_s == pytest.approx(1.2, abs=0.3)


def test_something_small_that_moves_is_no_standstill() -> None:
    still = np.repeat(FRAMES[:1], len(FRAMES), axis=0)
    for at, frame in enumerate(still):
        frame[80:100, 2 * at : 2 * at + 20] = 255
    assert measured(encoded_clip(still, FPS)).frozen_s < 0.3


def test_a_gap_between_frames_is_a_standstill() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for at, picture in enumerate(FRAMES[:24]):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = at if at < 12 else at + 30
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert measured(file.getvalue()).frozen_s == pytest.approx(31 / FPS, abs=0.01)


def test_eight_channels_are_heard() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        video = output.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = output.add_stream("aac", rate=48_000, layout="7.1")
        for picture in FRAMES[:24]:
            output.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        output.mux(video.encode(None))
        for start in range(0, 48_000, 1_024):
            samples = np.zeros((8, 1_024), np.float32)
            samples[7] = np.sin(np.arange(1_024) / 20)
            frame = av.AudioFrame(format="fltp", layout="7.1", samples=1_024)
            for plane, channel in zip(frame.planes, samples, strict=False):  # PyAV 18 counts a ninth plane
                plane.update(channel.tobytes())
            frame.sample_rate, frame.pts = 48_000, start
            output.mux(audio.encode(frame))
        output.mux(audio.encode(None))
    assert measured(file.getvalue()).audio_db == pytest.approx(-12, abs=2)


def test_silence_and_a_missing_track_are_told_apart() -> None:
    silent, missing = measured(encoded_clip(FRAMES, FPS, SOUND * 0)), measured(encoded_clip(FRAMES, FPS))
    assert (silent.audio_codec, silent.audio_db) == ("aac", -120.0)
    assert (missing.audio_codec, missing.audio_db, missing.audio_s) == (None, None, 0.0)


# ---------------------------------------------------------------- broken and hostile


@pytest.mark.parametrize("make", [mp4, webm])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.5, 0.99, 0.9999])
def test_a_truncated_clip_is_refused(make: Callable[[], bytes], share: float) -> None:
    assert reason(truncated(make(), share))


@pytest.mark.parametrize("make", [mp4, webm])
def test_bytes_after_the_clip_are_refused(make: Callable[[], bytes]) -> None:
    assert reason(make() + b"PK\x03\x04" + bytes(60))


def test_damage_inside_is_counted() -> None:
    data = bytearray(mp4())
    middle = data.index(b"mdat") + 20_000
    data[middle : middle + 400] = bytes(400)
    found = inspected(bytes(data))
    assert isinstance(found, Undecodable) or found.damaged > 0


def test_fewer_frames_than_the_index_promises_show() -> None:
    """The last tenth of the frames is there by length, but empty."""
    data = bytearray(mp4())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[end - (end - start) // 10 : end] = bytes((end - start) // 10)
    found = inspected(bytes(data))
    assert isinstance(found, Undecodable) or found.damaged > 0 or found.frames < FPS * SECONDS


@pytest.mark.parametrize(
    "data",
    [
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n",
        b"ffconcat version 1.0\nfile '/etc/hostname'\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        b"RIFF\x24\x00\x00\x00AVI LIST",
        b"GIF89a" + bytes(100),
        b"\x1a\x45\xdf\xa3",
        struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0),
        struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + struct.pack(">I4s", 0, b"mdat"),
        struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + struct.pack(">I4s", 8, b"moov"),
        struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + struct.pack(">I4s", 4, b"free"),
        struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + struct.pack(">I4sQ", 1, b"free", 2**63),
        struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + struct.pack(">I4s", 8, b"free") * 30_000,
    ],
)
def test_playlists_and_other_containers_are_refused(data: bytes) -> None:
    assert reason(data)


def test_matroska_that_is_not_webm_is_refused() -> None:
    assert reason(encoded_clip(FRAMES[:4], FPS, container="matroska")) == "Matroska, but not WebM"


@pytest.mark.parametrize(("codec", "sound_codec"), [("mpeg2video", "aac"), ("libx264", "ac3")])
def test_other_codecs_are_refused(codec: str, sound_codec: str) -> None:
    data = encoded_clip(FRAMES[:24], FPS, SOUND[:, :48_000], codec=codec, sound_codec=sound_codec)
    assert "is none of" in reason(data)


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"max_video_bytes": 1_000}, "over 1000"),
        ({"max_video_s": 1.0}, "over 1"),
        ({"max_video_side": 256}, "over 256 on a side"),
        ({"deadline_s": 0.0}, "too long"),
    ],
)
def test_clips_over_the_limits_are_refused(limits: dict[str, float], why: str) -> None:
    assert why in reason(mp4(), Inspector(**limits))  # type: ignore[arg-type]


def _box(kind: bytes, *parts: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, parts)), kind) + b"".join(parts)


def _fragment_of(samples: int) -> bytes:
    """Return a fragment, 72 bytes, whose one run claims so many samples of a default size."""
    run = _box(b"trun", struct.pack(">II", 0, samples))
    track = _box(b"traf", _box(b"tfhd", struct.pack(">II", 0x020000, 1)), run)
    return _box(b"moof", _box(b"mfhd", struct.pack(">II", 0, 1)), track) + _box(b"mdat")


def test_an_index_that_claims_more_samples_than_memory_holds_is_refused() -> None:
    assert reason(mp4() + _fragment_of(1 << 30)) == "an index of too many samples"
    table = bytearray(mp4())
    at = table.index(b"stsz")
    table[at + 8 : at + 16] = struct.pack(">II", 1, 1 << 30)
    assert reason(bytes(table)) == "an index of too many samples"


def test_a_clip_that_hides_its_length_is_given_up_when_it_has_run_too_long() -> None:
    data = bytearray(mp4())
    for box in (b"mvhd", b"tkhd", b"mdhd"):  # durations at 16 and 20 bytes into version 0 of each
        at = data.index(box) + (24 if box == b"tkhd" else 20)
        data[at : at + 4] = struct.pack(">I", 1)
    found = inspected(bytes(data), Inspector(max_video_s=0.5))
    assert isinstance(found, Undecodable)


def test_an_error_of_the_store_is_not_blamed_on_the_clip() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 2_000:
                raise StoreUnavailable("no answer")
            return super().read(size)

    with pytest.raises(StoreUnavailable):
        INSPECTOR.video(Failing(mp4()), len(mp4()))


def test_a_clip_is_streamed() -> None:
    class Counting(io.BytesIO):
        largest = 0

        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert size >= 0
            self.largest = max(self.largest, size)
            return super().read(size)

    file = Counting(mp4())
    assert isinstance(INSPECTOR.video(file, len(mp4())), VideoMeasures)
    assert file.largest <= 1 << 16


@settings(max_examples=120, derandomize=True)
@given(
    make=st.sampled_from([mp4, webm, hevc]),
    edits=st.lists(st.tuples(st.floats(0, 0.9999), st.binary(min_size=1, max_size=12)), min_size=1, max_size=8),
    at_the_end=st.booleans(),
)
def test_whatever_the_bytes_are_there_is_an_answer(
    make: Callable[[], bytes], edits: list[tuple[float, bytes]], *, at_the_end: bool
) -> None:
    data = bytearray(make())
    for place, patch in edits:  # the index of an MP4 is in its last bytes
        at = int((0.985 + place * 0.015 if at_the_end else place) * len(data))
        data[at : at + len(patch)] = patch
    assert isinstance(inspected(bytes(data)), VideoMeasures | Undecodable)
