"""Good pieces, and what can go wrong with them: pictures and clips in, files out. Everything is seeded."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Picture = NDArray[Any]  # uint8, (height, width, 3), sRGB
    Frames = NDArray[Any]  # uint8, (frames, height, width, 3), sRGB
    Sound = NDArray[Any]  # float32, (1, samples)


# ---------------------------------------------------------------- pictures


def rich_picture(width: int, height: int, seed: int = 0) -> Picture:
    """Return waves, discs with soft edges, lines and some grain: a picture with everything a photograph has."""
    random = np.random.default_rng(seed)
    y, x = (axis / max(width, height) for axis in np.mgrid[0:height, 0:width])
    field = np.full((height, width, 3), 128, np.float32)
    for channel in range(3):
        for octave in range(1, 5):
            across, down = random.uniform(1, 40, 2)
            field[..., channel] += np.sin(2 * np.pi * (across * x + down * y) + random.uniform(0, 6)) * 40 / octave
    for _ in range(60):
        centre = (int(random.uniform(0, width)), int(random.uniform(0, height)))
        radius = int(random.uniform(0.01, 0.1) * min(width, height)) + 1
        cv2.circle(field, centre, radius, random.uniform(0, 255, 3).tolist(), -1, cv2.LINE_AA)
    field += random.normal(0, 3, field.shape)
    return np.clip(field, 0, 255).astype(np.uint8)


def encoded(picture: Picture, media_type: str = "image/png", **options: object) -> bytes:
    """Return *picture* as a file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, media_type.removeprefix("image/").upper(), **options)
    return file.getvalue()


def opened(data: bytes) -> Picture:
    """Return the pixels of a picture file."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def truncated(data: bytes, share: float = 0.6) -> bytes:
    """Return the first part of a file."""
    return data[: int(len(data) * share)]


def half_size(picture: Picture) -> Picture:
    return cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.uint8)


def cropped(picture: Picture) -> Picture:
    """Return the middle half of the height: another aspect ratio."""
    height = picture.shape[0]
    return picture[height // 4 : height - height // 4]


def blank(picture: Picture) -> Picture:
    return np.full_like(picture, picture.mean(axis=(0, 1)).astype(np.uint8))


def blurred(picture: Picture) -> Picture:
    """Return the picture as seen without glasses: a Gaussian of 1.5 % of the shorter side."""
    return cv2.GaussianBlur(picture, (0, 0), min(picture.shape[:2]) * 0.015).astype(np.uint8)


def posterised(picture: Picture, levels: int = 8) -> Picture:
    """Return the picture rounded to few levels per channel, as a bad palette or bit depth does."""
    step = 255 / (levels - 1)
    return np.rint(np.rint(picture / step) * step).astype(np.uint8)


def posterised_gradient(picture: Picture, levels: int = 12) -> Picture:
    """Return a ramp from the picture's dark to its light colours, down and across, in visible bands."""
    height, width = picture.shape[:2]
    dark, light = np.percentile(picture, (2, 98), axis=(0, 1))
    ramp = (np.linspace(0, 1, width)[None, :] + np.linspace(0, 1, height)[:, None]) / 2
    return posterised((dark + (light - dark) * ramp[..., None]).astype(np.uint8), levels)


def blocky(picture: Picture) -> Picture:
    """Return the picture after JPEG of quality 5."""
    return opened(encoded(picture, "image/jpeg", quality=5))


# ---------------------------------------------------------------- clips


def clip(width: int, height: int, fps: int, duration_s: float, seed: int = 0) -> Frames:
    """Return a picture over which one looks slowly: every frame differs from the one before."""
    count = round(fps * duration_s)
    wide = rich_picture(width + 4 * count, height, seed)
    return np.stack([wide[:, 4 * at : 4 * at + width] for at in range(count)])


def tone(duration_s: float, volume: float = 0.2) -> Sound:
    """Return a chord, (1, samples) at 48 kHz."""
    at_s = np.arange(round(duration_s * 48_000)) / 48_000
    chord = np.sum([np.sin(2 * np.pi * hertz * at_s) for hertz in (220, 277, 330)], axis=0) / 3
    return np.asarray(volume * chord, np.float32)[None]


def encoded_clip(
    frames: Frames,
    fps: float,
    sound: Sound | None = None,
    *,
    container: str = "mp4",
    codec: str = "libx264",
    sound_codec: str = "aac",
    options: dict[str, str] | None = None,
) -> bytes:
    """Return *frames*, and *sound* if there is any, as a file."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        video: Any = output.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.options = {"preset": "ultrafast", "crf": "20"} if codec == "libx264" else options or {}
        audio: Any = output.add_stream(sound_codec, rate=48_000, layout="mono") if sound is not None else None
        for frame in frames:
            output.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        output.mux(video.encode(None))
        if sound is not None:
            _encode_sound(output, audio, sound)
    return file.getvalue()


def _encode_sound(output: Any, stream: Any, sound: Sound) -> None:
    for start in range(0, sound.shape[1], 960):
        samples = np.ascontiguousarray(sound[:, start : start + 960])
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def decoded_clip(data: bytes) -> tuple[Frames, Sound]:
    """Return the frames of a clip file, and its sound as (1, samples) at 48 kHz."""
    with av.open(io.BytesIO(data), "r") as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=48_000)
    with av.open(io.BytesIO(data), "r") as container:
        sound = [part.to_ndarray() for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return frames, np.concatenate(sound, axis=1)


def blackened(frames: Frames, share: float = 0.4) -> Frames:
    """Return the clip with a black stretch in its middle."""
    return _in_the_middle(frames, np.zeros_like(frames[0]), share)


def frozen(frames: Frames, share: float = 0.5) -> Frames:
    """Return the clip with a stretch in its middle that stands still."""
    return _in_the_middle(frames, frames[_middle(frames, share).start], share)


def _in_the_middle(frames: Frames, picture: Picture, share: float) -> Frames:
    changed = frames.copy()
    changed[_middle(frames, share)] = picture
    return changed


def _middle(frames: Frames, share: float) -> slice:
    start = round(len(frames) * (1 - share) / 2)
    return slice(start, start + round(len(frames) * share))


IMAGE_CORRUPTIONS: dict[str, Callable[[bytes, Picture], bytes]] = {
    "truncated": lambda data, _: truncated(data),
    "truncated at the end": lambda data, _: truncated(data, 0.98),
    "half the size": lambda _, picture: encoded(half_size(picture), compress_level=1),
    "another aspect": lambda _, picture: encoded(cropped(picture), compress_level=1),
    "blank": lambda _, picture: encoded(blank(picture), compress_level=1),
    "blurred": lambda _, picture: encoded(blurred(picture), compress_level=1),
    "posterised": lambda _, picture: encoded(posterised(picture), compress_level=1),
    "posterised, 16 levels": lambda _, picture: encoded(posterised(picture, 16), compress_level=1),
    "posterised gradient": lambda _, picture: encoded(posterised_gradient(picture), compress_level=1),
    "posterised gradient, jpeg": lambda _, picture: encoded(posterised_gradient(picture), "image/jpeg", quality=90),
    "blocky": lambda _, picture: encoded(blocky(picture), compress_level=1),
    "blocky, jpeg": lambda _, picture: encoded(picture, "image/jpeg", quality=5),
}

CLIP_CORRUPTIONS: dict[str, Callable[[bytes, Frames, Sound, int], bytes]] = {
    "truncated": lambda data, *_: truncated(data),
    "half the size": lambda _, frames, sound, fps: encoded_clip(frames[:, ::2, ::2], fps, sound),
    "another aspect": lambda _, frames, sound, fps: encoded_clip(frames[:, : frames.shape[1] // 4 * 2], fps, sound),
    "too short": lambda _, frames, sound, fps: encoded_clip(frames[: len(frames) * 3 // 4], fps, sound),
    "half the frame rate": lambda _, frames, sound, fps: encoded_clip(frames[::2], fps / 2, sound),
    "25 frames for 24": lambda _, frames, sound, fps: encoded_clip(frames, fps * 25 / 24, sound),
    "black stretch": lambda _, frames, sound, fps: encoded_clip(blackened(frames), fps, sound),
    "frozen stretch": lambda _, frames, sound, fps: encoded_clip(frozen(frames), fps, sound),
    "frozen throughout": lambda _, frames, sound, fps: encoded_clip(frozen(frames, 1.0), fps, sound),
    "silent": lambda _, frames, sound, fps: encoded_clip(frames, fps, sound * 0),
    "no sound track": lambda _, frames, __, fps: encoded_clip(frames, fps),
}
