"""Styles: what is done to a composed picture to make it a photograph, a drawing, an oil painting, a print.

A treatment takes and returns uint8 (height, width, 3), sRGB. Sizes are in units (the shorter side), so a style looks
alike at every size.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from shared.providers.studio.brief import Brief
from shared.providers.studio.paint import Array, distance, mix, noise, resized, smooth, to_bytes

BAR_INK = (9, 10, 12)

Treatment = Callable[[Array, Brief], Array]


def treat(picture: Array, brief: Brief) -> Array:
    """Return *picture* in the brief's style."""
    return TREATMENTS.get(brief.style or "", natural)(picture, brief)


def natural(picture: Array, brief: Brief) -> Array:
    """Return the picture with a soft bloom and a light vignette."""
    del brief
    return vignetted(bloom(picture, 0.22), 0.22)


def photographic(picture: Array, brief: Brief) -> Array:
    """Return the picture as a fast lens draws it: one plane in focus, soft lights, muted colours."""
    height, width = picture.shape[:2]
    unit = min(height, width)
    muted = saturated(picture, 0.78)
    far = distance(width // 4, height // 4, (width * brief.draw("focus u", 0.4, 0.6) / 4, height * 0.64 / 4)) * 4
    blend = to_bytes(smooth(0.30, 0.85, far / max(width, height) * 1.35) * 255)
    out = _blend(muted, _blur(muted, unit * 0.0075), resized(blend, width, height, cv2.INTER_LINEAR))
    out = bloom(clarity(out, 0.45), 0.34)
    level = np.arange(256, dtype=np.float32)
    film = 12 + level * 0.93 + 9 * np.sin((level / 255 - 0.5) * 2 * np.pi)  # lifted blacks, soft shoulder
    table = np.stack([to_bytes(film + shift).reshape(-1) for shift in (5, 2, -4)], axis=-1)[None, ...]
    return vignetted(cv2.LUT(out, table), 0.42)


def cinematic(picture: Array, brief: Brief) -> Array:
    """Return the picture graded teal and amber, with streaks round its lights."""
    del brief
    height, width = picture.shape[:2]
    out = saturated(clarity(picture, 0.4), 0.66)
    small = resized(out, max(8, width // 4), max(8, height // 4), cv2.INTER_AREA)
    bright = _above(small, 212)
    streak = cv2.blur(cv2.blur(bright, (max(3, width // 12), 1)), (max(3, width // 24), 3))
    tint = to_bytes(streak.astype(np.float32) * np.array([0.9, 1.5, 2.4], np.float32))
    out = cv2.add(out, resized(tint, width, height, cv2.INTER_LINEAR))
    level = np.arange(256, dtype=np.float32) / 255
    curve = (level + 0.07 * np.sin((level - 0.5) * 2 * np.pi)) * 255
    cool, warm = (1 - level) ** 1.3, level**1.2
    graded = [curve - 34 * cool + 30 * warm, curve + 8 * cool + 6 * warm, curve + 30 * cool - 44 * warm]
    table = np.stack([to_bytes(g).reshape(-1) for g in graded], axis=-1)[None, ...]
    return vignetted(bloom(cv2.LUT(out, table), 0.3), 0.5)


def bar_height(style: str | None, height: int) -> int:
    """Return how many rows a black bar above and below the picture takes, even; 0 in most styles."""
    return 2 * round(height * 0.0375) if style == "cinematic" else 0


def digital_art(picture: Array, brief: Brief) -> Array:
    """Return the picture with clean surfaces, shadows and lights tinted against each other, and glowing edges."""
    unit = min(picture.shape[:2])
    vivid = saturated(cv2.medianBlur(picture, 5 if unit > 400 else 3), 1.5)
    gray = cv2.cvtColor(vivid, cv2.COLOR_RGB2GRAY)
    level = np.arange(256, dtype=np.float32)[:, None] / 255
    deep = np.array(mix(brief.palette.sky[0], (58, 20, 120), 0.6), np.float32)
    high = np.array(mix(brief.palette.spice, (255, 214, 150), 0.5), np.float32)
    middle = np.array(mix(brief.palette.accent, (230, 70, 160), 0.4), np.float32)
    ramp = deep * 0.6 * (1 - level) ** 2 + middle * 2 * level * (1 - level) + high * level**2
    tinted = cv2.LUT(cv2.merge([gray, gray, gray]), to_bytes(ramp).reshape(1, 256, 3))
    out = cv2.addWeighted(vivid, 0.66, tinted, 0.46, 0)
    out = cv2.addWeighted(out, 1.5, _blur(out, unit * 0.01), -0.5, 0)
    rim = cv2.subtract(out, _blur(out, unit * 0.004)).max(axis=2, keepdims=True).astype(np.float32)
    glow = np.array(mix(brief.palette.accent, brief.palette.light, 0.4), np.float32) / 255
    return vignetted(bloom(cv2.add(out, to_bytes(rim * glow * 1.1)), 0.42), 0.25)


def anime(picture: Array, brief: Brief) -> Array:
    """Return the picture as a painted cel: flat bands of light, ink outlines, screen tone in the shadows."""
    del brief
    unit = min(picture.shape[:2])
    flat = cv2.medianBlur(picture, 5 if unit > 900 else 3)
    tone = cv2.cvtColor(saturated(flat, 1.35), cv2.COLOR_RGB2LAB)
    level = np.arange(256, dtype=np.float32) / 255
    steps = 7.0
    banded = (np.floor(level * steps) + smooth(0.42, 0.58, level * steps % 1)) / steps
    lift = np.clip(banded**0.86 * 255 + 6, 0, 255).astype(np.uint8)
    tone[..., 0] = cv2.LUT(np.ascontiguousarray(tone[..., 0]), lift)
    out = cv2.cvtColor(tone, cv2.COLOR_LAB2RGB)
    dots = screen_tone(picture.shape[1], picture.shape[0], max(4.0, unit * 0.0065))
    dark = smooth(105, 45, cv2.cvtColor(out, cv2.COLOR_RGB2GRAY).astype(np.float32))
    shadow = to_bytes(dark * dots * 85)
    out = cv2.subtract(out, cv2.merge([shadow, shadow, shadow]))
    return _inked(out, outlines(flat, unit * 0.0016, 16.0), (28, 24, 48), 0.92)


def sketch(picture: Array, brief: Brief) -> Array:
    """Return a pencil drawing: outlines and crossed hatching on paper, with a thin wash of the colours."""
    height, width = picture.shape[:2]
    unit = min(height, width)
    gray = cv2.cvtColor(_blur(picture, unit * 0.002), cv2.COLOR_RGB2GRAY)
    dark = 1 - (0.6 * cv2.equalizeHist(gray).astype(np.float32) + 0.4 * gray.astype(np.float32)) / 255
    grains = (width * min(1.0, 900 / unit) / 2.0, height * min(1.0, 900 / unit) / 2.0)
    tooth = noise(brief.rng("tooth"), width, height, grains, 1)
    wobble = noise(brief.rng("hand"), width, height, (6, 6), 2)
    lead = np.zeros((height, width), np.float32)
    period = max(4.0, unit * 0.0085)
    for turn, start in ((0.72, 0.36), (-0.66, 0.58), (0.10, 0.76)):
        cover = np.clip((dark - start) / 0.4, 0, 1)
        lead = np.maximum(lead, _hatch(width, height, turn, period, wobble, cover) * (0.5 + 0.35 * cover))
    lead *= 0.8 + 0.4 * tooth
    lead = np.maximum(lead, outlines(picture, unit * 0.0016, 10.0) * (0.8 + 0.3 * tooth))
    paper = np.array(mix(brief.palette.paper, (248, 245, 236), 0.6), np.float32)
    wash = _blur(saturated(picture, 1.3), unit * 0.008).astype(np.float32) / 255
    sheet = paper * (0.60 + 0.42 * wash) - (1 - tooth[..., None]) * 7
    graphite = np.array([38, 38, 48], np.float32)
    return to_bytes(sheet + (graphite - sheet) * np.clip(lead, 0, 0.95)[..., None])


def artistic(picture: Array, brief: Brief) -> Array:
    """Return an oil painting: strokes from broad to fine that follow the forms, in relief on canvas."""
    height, width = picture.shape[:2]
    unit = min(height, width)
    rng = brief.rng("strokes")
    rich = saturated(picture, 1.25)
    canvas = np.dstack([_blur(rich, unit * 0.02), np.full((height, width), 128, np.uint8)])
    flow = _flow(picture, brief, unit)
    for size, coverage in ((0.034, 1.0), (0.016, 0.8), (0.0085, 0.6)):
        reference = _blur(rich, unit * size * 0.35)
        _strokes(rng, canvas, reference, flow, max(2.0, unit * size), coverage * brief.detail)
    relief = cv2.GaussianBlur(canvas[..., 3], (0, 0), max(0.6, unit * 0.0009)).astype(np.int16)
    light = np.zeros((height, width), np.float32)
    light[1:, 1:] = relief[1:, 1:] - relief[:-1, :-1]
    weave = screen_tone(width, height, max(3.0, unit * 0.0042)) - 0.5
    out = canvas[..., :3].astype(np.float32) + np.clip(light * 0.62, -46, 46)[..., None] + weave[..., None] * 9
    return vignetted(to_bytes(out), 0.2)


def minimalist(picture: Array, brief: Brief) -> Array:
    """Return a print of few flat colours, shaded by stippling."""
    height, width = picture.shape[:2]
    unit = min(height, width)
    k = max(1.0, unit / 520)
    small = resized(saturated(picture, 1.25), max(16, round(width / k)), max(16, round(height / k)), cv2.INTER_AREA)
    calm = cv2.medianBlur(cv2.medianBlur(small, 7), 5)
    which = _nearest_ink(resized(calm, width, height, cv2.INTER_CUBIC), _inks(calm, 7))
    flat = cv2.GaussianBlur(cv2.medianBlur(which, 5), (0, 0), 0.7)
    soft = _blur(picture, unit * 0.012).astype(np.int16)
    lighter = (soft - flat.astype(np.int16)).mean(axis=2) / 255
    grain = brief.rng("stipple").random((height, width), dtype=np.float32)
    speck = (grain < np.abs(lighter) * 1.9 + 0.015) * np.where(lighter > 0, 30, -38)
    return to_bytes(flat.astype(np.float32) + speck[..., None])


TREATMENTS: dict[str, Treatment] = {
    "photographic": photographic,
    "cinematic": cinematic,
    "digital-art": digital_art,
    "anime": anime,
    "sketch": sketch,
    "artistic": artistic,
    "minimalist": minimalist,
}


# ---------------------------------------------------------------- what treatments are made of


def _blur(picture: Array, sigma: float) -> Array:
    """Return *picture* blurred; wide radii at a lower size."""
    if sigma < 0.4:
        return picture
    k = max(1, int(sigma / 2))
    height, width = picture.shape[:2]
    small = resized(picture, max(4, width // k), max(4, height // k), cv2.INTER_AREA)
    return resized(cv2.GaussianBlur(small, (0, 0), sigma / k), width, height, cv2.INTER_LINEAR)


def _above(picture: Array, level: int) -> Array:
    """Return by how much each channel exceeds *level*."""
    return cv2.subtract(picture, np.full_like(picture, level))


def _blend(first: Array, second: Array, mask: Array) -> Array:
    """Return *first* where *mask*, uint8, is 0, *second* where it is 255."""
    over = cv2.merge([mask, mask, mask])
    return cv2.add(cv2.multiply(first, cv2.bitwise_not(over), scale=1 / 255), cv2.multiply(second, over, scale=1 / 255))


def bloom(picture: Array, strength: float) -> Array:
    """Return *picture* with its lights spilling over."""
    unit = min(picture.shape[:2])
    bright = _above(picture, 150)
    return cv2.add(picture, cv2.convertScaleAbs(_blur(bright, unit * 0.03), alpha=strength * 1.6))


def clarity(picture: Array, amount: float) -> Array:
    """Return *picture* with stronger local contrast."""
    return cv2.addWeighted(picture, 1 + amount, _blur(picture, min(picture.shape[:2]) * 0.025), -amount, 0)


def saturated(picture: Array, amount: float) -> Array:
    """Return *picture* with its colours *amount* times as strong."""
    gray = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(picture, amount, gray, 1 - amount, 0)


def vignetted(picture: Array, strength: float) -> Array:
    """Return *picture* darker towards its corners."""
    height, width = picture.shape[:2]
    x = np.linspace(-1, 1, 96, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, 96, dtype=np.float32)[:, None]
    fall = 1 - strength * smooth(0.55, 1.5, np.sqrt(x * x + y * y))
    mask = resized(to_bytes(fall * 255), width, height, cv2.INTER_LINEAR)
    return cv2.multiply(picture, cv2.merge([mask, mask, mask]), scale=1 / 255)


def outlines(picture: Array, sigma: float, gain: float) -> Array:
    """Return the dark side of every edge, float32 (height, width), 0..1 (difference of Gaussians)."""
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    sigma = max(0.7, sigma)
    wide = cv2.GaussianBlur(gray, (0, 0), sigma * 1.9)
    return np.clip((wide - cv2.GaussianBlur(gray, (0, 0), sigma) - 2.2) * gain / 100, 0, 1)


def screen_tone(width: int, height: int, period: float) -> Array:
    """Return a field of dots at 45 degrees, float32 (height, width), 0..1; *period* in pixels."""
    x = np.arange(width, dtype=np.float32) * np.float32(2 * np.pi / period / 1.4142)
    y = np.arange(height, dtype=np.float32) * np.float32(2 * np.pi / period / 1.4142)
    product = np.sin(x)[None, :] * np.sin(y)[:, None]
    return np.asarray(smooth(-0.12, 0.3, product))


def _inked(picture: Array, line: Array, color: tuple[int, int, int], strength: float) -> Array:
    ink = np.broadcast_to(np.array(color, np.uint8), picture.shape)
    return _blend(picture, np.ascontiguousarray(ink), to_bytes(line * 255 * strength))


def _hatch(width: int, height: int, turn: float, period: float, wobble: Array, cover: Array) -> Array:
    """Return pencil lines at angle *turn*, as thick as *cover* (0..1) asks for, float32 0..1."""
    x = np.arange(width, dtype=np.float32)[None, :] * np.float32(np.sin(turn) / period)
    y = np.arange(height, dtype=np.float32)[:, None] * np.float32(np.cos(turn) / period)
    phase = x + y + wobble * 2.2
    wave = np.abs(phase - np.floor(phase) - 0.5) * 2
    return np.asarray(smooth(-0.06, 0.22, cover * 0.8 - wave)) * (cover > 0)


def _flow(picture: Array, brief: Brief, unit: int) -> Array:
    """Return the direction of strokes, radians, float32 (height, width): along the forms."""
    height, width = picture.shape[:2]
    k = max(1, round(unit / 300))
    small = cv2.cvtColor(resized(picture, width // k, height // k, cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    gray = cv2.GaussianBlur(small.astype(np.float32), (0, 0), 3)
    gx, gy = cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1)
    wander = (noise(brief.rng("flow"), width // k, height // k, (3, 3), 3) - 0.5) * 2.4
    xx = cv2.GaussianBlur(gx * gx - gy * gy, (0, 0), 4) + 3.0 * np.cos(2 * (wander + 1.5708))
    xy = cv2.GaussianBlur(2 * gx * gy, (0, 0), 4) + 3.0 * np.sin(2 * (wander + 1.5708))
    return resized(0.5 * np.arctan2(xy, xx) + np.float32(np.pi / 2), width, height, cv2.INTER_NEAREST)


def _strokes(
    rng: np.random.Generator, canvas: Array, reference: Array, flow: Array, size: float, coverage: float
) -> None:
    """Paint strokes of *size* pixels where *canvas* still differs from *reference*."""
    height, width = flow.shape
    n = int(coverage * 2.2 * width * height / size**2)
    x, y = rng.integers(0, width, n), rng.integers(0, height, n)
    color, now = reference[y, x].astype(np.int16), canvas[y, x, :3].astype(np.int16)
    wrong = np.abs(color - now).sum(axis=1) > (26 if size > min(width, height) * 0.02 else 40)
    wrong |= size > min(width, height) * 0.03
    x, y, color = x[wrong], y[wrong], color[wrong] + rng.normal(0, 7, (int(wrong.sum()), 1)).astype(np.int16)
    angle = flow[y, x] + rng.normal(0, 0.16, x.size)
    long = size * rng.uniform(0.7, 1.6, x.size)
    dx, dy = np.cos(angle) * long, np.sin(angle) * long
    ends = np.stack([x - dx, y - dy, x + dx, y + dy], axis=-1).round().astype(np.int32).tolist()
    inks = np.concatenate([np.clip(color, 0, 255), rng.integers(70, 190, (x.size, 1))], axis=1).tolist()
    thick = max(1, round(size * 0.62))
    for (x0, y0, x1, y1), ink in zip(ends, inks, strict=True):
        cv2.line(canvas, (x0, y0), (x1, y1), ink, thick, cv2.LINE_AA)


def _inks(picture: Array, n: int) -> Array:
    """Return the *n* colours that stand for *picture* best, float32 (n, 3), by k-means from luminance quantiles."""
    pixels = resized(picture, 72, 72, cv2.INTER_AREA).reshape(-1, 3).astype(np.float32)
    order = np.argsort(pixels @ np.array([0.299, 0.587, 0.114], np.float32), kind="stable")
    inks: Array = pixels[order[np.linspace(0, len(order) - 1, n).astype(int)]]
    for _ in range(8):
        nearest = ((pixels[:, None, :] - inks[None, :, :]) ** 2).sum(axis=2).argmin(axis=1)
        inks = np.stack([pixels[nearest == k].mean(axis=0) if (nearest == k).any() else inks[k] for k in range(n)])
    return np.asarray(inks)


def _nearest_ink(picture: Array, inks: Array) -> Array:
    """Return *picture* in those colours only, by a table of 32 levels per channel."""
    level = np.arange(32, dtype=np.float32) * 8 + 4
    cube = np.stack(np.meshgrid(level, level, level, indexing="ij"), axis=-1).reshape(-1, 3)
    table = ((cube[:, None, :] - inks[None, :, :]) ** 2).sum(axis=2).argmin(axis=1).astype(np.uint8)
    index = picture.astype(np.uint16) >> 3
    which = table[(index[..., 0] << 10) | (index[..., 1] << 5) | index[..., 2]]
    return np.asarray(np.clip(inks, 0, 255).astype(np.uint8)[which])
