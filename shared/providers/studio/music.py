"""Sound of an offline clip: a slow chord pad, a plucked melody and a breath of wind or waves, from one seed."""

from __future__ import annotations

import numpy as np

from shared.providers.studio.brief import Brief
from shared.providers.studio.paint import Array

SAMPLE_RATE = 48_000  # Hz
_LEVEL = 0.1  # root mean square wanted: -20 dBFS
_PEAK = 0.84
_SCALES = {"bright": (0, 2, 4, 7, 9), "calm": (0, 2, 5, 7, 9), "dark": (0, 3, 5, 7, 10)}  # semitones: pentatonics
_CHORDS = {"bright": ((0, 4, 7, 11), (9, 12, 16, 19), (5, 9, 12, 16), (7, 11, 14, 17)),
           "calm": ((0, 4, 7, 14), (5, 9, 12, 16), (2, 5, 9, 12), (7, 11, 14, 19)),
           "dark": ((0, 3, 7, 10), (8, 12, 15, 19), (3, 7, 10, 14), (10, 14, 17, 20))}  # fmt: skip


def soundtrack(brief: Brief, samples: int) -> Array:
    """Return *samples* of music, float32 (2, samples), about -20 dBFS, within ±1, fading in and out."""
    rng = brief.rng("music")
    mood = (
        "dark" if brief.palette.is_night or brief.palette.name == "storm" else ("bright", "calm")[int(rng.integers(2))]
    )
    root = 110.0 * 2 ** (int(rng.integers(0, 8)) / 12)
    beat = float(rng.uniform(0.42, 0.62))
    mix = _pad(root, beat * 4, _CHORDS[mood], samples)
    mix += 0.8 * _plucks(rng, root * 2, beat, _SCALES[mood], samples)
    mix += (0.5 if brief.subject in ("sea", "forest", "landscape") else 0.18) * _breath(rng, samples)
    return _mastered(mix, samples)


def _pad(root: float, bar_s: float, chords: tuple[tuple[int, ...], ...], samples: int) -> Array:
    """Return held chords, each swelling in over the one before it."""
    out = np.zeros((2, samples), np.float32)
    bar = max(1, round(bar_s * SAMPLE_RATE))
    long = min(samples, round(bar * 1.35))
    t = np.arange(long, dtype=np.float32) / SAMPLE_RATE
    swell = (np.minimum(t / (bar_s * 0.3), 1) * np.minimum((long / SAMPLE_RATE - t) / (bar_s * 0.35), 1)).astype(
        np.float32
    )
    for k, start in enumerate(range(0, samples, bar)):
        end = min(samples, start + long)
        for i, semitone in enumerate(chords[k % len(chords)]):
            for channel, detune in ((0, 0.9985), (1, 1.0015)):
                tone = root * 2 ** (semitone / 12) * detune
                phase = np.float32(2 * np.pi * tone) * t[: end - start]
                wave = np.sin(phase) + np.float32(0.28) * np.sin(2 * phase) + np.float32(0.1) * np.sin(3 * phase)
                out[channel, start:end] += wave * swell[: end - start] * np.float32(0.5 / (1 + 0.35 * i))
    return out


def _plucks(rng: np.random.Generator, root: float, beat_s: float, scale: tuple[int, ...], samples: int) -> Array:
    """Return a wandering melody of plucked notes with echoes."""
    out = np.zeros((2, samples), np.float32)
    t = np.arange(round(1.8 * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE
    decay = np.exp(-t * 3.2) * np.minimum(t / 0.006, 1)
    step = 4
    for start in range(0, samples, max(1, round(beat_s * SAMPLE_RATE / 2))):
        step = int(np.clip(step + rng.integers(-2, 3), 0, 2 * len(scale) - 1))
        pan, strength, plays = float(rng.uniform(0.25, 0.75)), float(rng.uniform(0.4, 1.0)), rng.random() < 0.62
        if not plays:
            continue
        tone = root * 2 ** ((scale[step % len(scale)] + 12 * (step // len(scale))) / 12)
        phase = np.float32(2 * np.pi * tone) * t
        note = (
            np.sin(phase) + 0.35 * np.sin(2 * phase) * np.exp(-t * 4) + 0.12 * np.sin(4 * phase) * np.exp(-t * 9)
        ) * decay
        for echo, gain in ((0.0, 1.0), (0.75, 0.35), (1.5, 0.14)):
            at = start + round(echo * beat_s * SAMPLE_RATE)
            end = min(samples, at + t.size)
            if at < samples:
                side = pan if echo != 0.75 else 1 - pan
                out[0, at:end] += note[: end - at] * np.float32(strength * gain * (1 - side))
                out[1, at:end] += note[: end - at] * np.float32(strength * gain * side)
    return out


def _breath(rng: np.random.Generator, samples: int) -> Array:
    """Return filtered noise that swells and ebbs."""
    hiss = rng.standard_normal((2, samples // 4 + 2), dtype=np.float32)
    kernel = np.hanning(18).astype(np.float32)
    soft = np.stack([np.convolve(channel, kernel / kernel.sum(), mode="same") for channel in hiss])
    t = np.arange(samples, dtype=np.float32)
    wave = 0.55 + 0.45 * np.sin(2 * np.pi * t / SAMPLE_RATE / float(rng.uniform(4.5, 7)) + float(rng.uniform(0, 6)))
    at = t / 4
    return np.stack([np.interp(at, np.arange(soft.shape[1]), channel) for channel in soft]).astype(np.float32) * wave


def _mastered(mix: Array, samples: int) -> Array:
    """Return *mix* faded at both ends, at the wanted level and without clipping."""
    fade = min(samples // 4, SAMPLE_RATE // 4)
    if fade:
        ramp = np.linspace(0, 1, fade, dtype=np.float32)
        mix[:, :fade] *= ramp
        mix[:, -fade:] *= ramp[::-1]
    level = float(np.sqrt(np.mean(np.square(mix, dtype=np.float32))))
    loud = mix * np.float32(_LEVEL / max(level, 1e-6))
    return np.asarray(np.tanh(loud / _PEAK) * _PEAK, np.float32)
