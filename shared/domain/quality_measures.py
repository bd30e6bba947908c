"""What an inspector finds out about a picture or a clip. The rules over it are in `quality`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A piece that could not be opened, or that we refuse to open."""

    reason: str


@dataclass(frozen=True, slots=True)
class ImageMeasures:
    """Figures of one picture, on 8-bit sRGB gray.

    Attributes:
        sharpness: variance of the Laplacian.
        brightness, contrast: mean and standard deviation, 0 to 255.
        phash: 64-bit difference hash.
        edge: 99.9th percentile of the Laplacian's size at screen size, 0 to 255.
        flat_share: share of pixels within five neighbouring levels, in the channel where it is least, 0 to 1.
        banding: how far all levels keep to one evenly spaced comb, 0 to 1.
        blockiness: excess share of isolated steps on an 8-pixel grid, 0 to 1.
    """

    width: int
    height: int
    media_type: str
    size_bytes: int
    sharpness: float
    brightness: float
    contrast: float
    phash: int
    edge: float
    flat_share: float
    banding: float
    blockiness: float


@dataclass(frozen=True, slots=True)
class VideoMeasures:
    """Figures of one clip; picture figures are of luma stretched to 0 to 255, medians over sampled frames.

    Attributes:
        duration_s: from the first frame shown to the end of the last.
        frames, announced_frames: decoded, and promised by the file (None: it does not say).
        announced_s: duration by the file's own header (None: it does not say).
        damaged: packets or frames that did not decode cleanly.
        black_s, frozen_s: longest black stretch, longest stretch without any change, in seconds.
        motion: mean change between samples a quarter of a second apart, in gray levels.
        audio_codec: None when there is no sound track.
        audio_db: RMS of the whole track below full scale, -inf never (at least -120); None without track.
        audio_s: length of the sound track.
    """

    width: int
    height: int
    media_type: str
    size_bytes: int
    codec: str
    fps: float
    duration_s: float
    frames: int
    announced_frames: int | None
    announced_s: float | None
    damaged: int
    black_s: float
    frozen_s: float
    sharpness: float
    brightness: float
    contrast: float
    edge: float
    motion: float
    audio_codec: str | None
    audio_db: float | None
    audio_s: float
