"""Land: ridges in haze, mountains with lit and shaded faces, conifers, grass, a lone tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from shared.providers.studio.brief import Brief
from shared.providers.studio.paint import (
    Array,
    Rgb,
    blank,
    cut,
    disc,
    fill,
    mix,
    noise,
    profile,
    resized,
    shade,
    smooth,
    tapered,
    to_bytes,
    weighted,
)
from shared.providers.studio.palette import Palette
from shared.providers.studio.scene import Sheet, Stage

_RISE = np.array([0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0])  # up one side of a blade of grass and down the other
_BLADE = np.array([-1, -0.8, -0.55, -0.3, 0, 0.3, 0.55, 0.8, 1])

Surface = Literal["crags", "dunes", "hills"]


def crest_mask(stage: Stage, crest: Array) -> Array:
    """Return what lies below a skyline, uint8 (height, width); *crest* float32 (width,) in pixels from the top."""
    y = np.arange(stage.height, dtype=np.float32)[:, None]
    return to_bytes(np.minimum((y - crest[None, :] + 0.5) * 255, 255))


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """One range of hills or mountains.

    Attributes:
        name: of its random streams.
        base: v of its foot. rise: height in units. cells: bumps per unit.
        far: 1 at the horizon .. 0 in front: how much haze covers it.
        sun_u: where the light comes from.
        surface: "crags" have peaks and faces, "dunes" smooth crests and faces, "hills" grass.
        snow: 0..1, how far down snow lies.
        hidden: v below which something nearer covers it.
        outline: float32 (width,), 0..1: scales the height; where it is 0 the land lies below its foot.
    """

    name: str
    base: float
    rise: float
    far: float
    sun_u: float
    surface: Surface
    cells: float = 3.0
    snow: float = 0.0
    hidden: float = 1.0
    outline: Array | None = None


def ridge(brief: Brief, stage: Stage, land: Range) -> tuple[Sheet, Array]:
    """Return *land* as a sheet, and its skyline in pixels from the top, float32 (width,)."""
    rng = brief.rng(land.name)
    crest = _skyline(brief, stage, land, rng)
    field, first = _surface(brief, stage, land, rng, crest)
    mask = crest_mask(stage, crest)[first : first + field.shape[0]]
    return Sheet(cut(field, mask), (1 - land.far) ** 1.4 * 0.6, first), crest


def _skyline(brief: Brief, stage: Stage, land: Range, rng: np.random.Generator) -> Array:
    span = max(1.0, stage.width / stage.unit)
    octaves, gain = {"crags": (brief.count(8), 0.5), "dunes": (3, 0.3), "hills": (brief.count(8), 0.36)}[land.surface]
    line = profile(rng, stage.width, land.cells * span, octaves, gain, ridged=land.surface == "crags")
    swell = profile(rng, stage.width, 1.3 * span, 2)
    height = (line * (0.45 + 0.75 * swell)) * land.rise * stage.unit
    if land.outline is not None:
        height = height * land.outline - (land.outline <= 0.002) * 4
    return np.asarray(land.base * stage.height - height)


def _surface(brief: Brief, stage: Stage, land: Range, rng: np.random.Generator, crest: Array) -> tuple[Array, int]:
    """Return what *land* looks like below its *crest*, uint8 (rows, width, 3), and the first of those rows."""
    first = min(max(0, int(crest.min()) - 2), stage.height - 1)
    rows, width = max(1, min(stage.height, round(land.hidden * stage.height)) - first), stage.width
    k = max(1.0, width / 1024)
    w, h, unit = round(width / k), max(1, round(rows / k)), stage.unit / k
    small = resized(crest[None, :].astype(np.float32), w, 1, cv2.INTER_LINEAR)[0] / k - first / k
    below = np.maximum(np.arange(h, dtype=np.float32)[:, None] - small[None, :], 0) / np.float32(unit)
    cells = {"crags": (9, 9, 0.62), "dunes": (5, 60, 0.5), "hills": (16, 46, 0.66)}[land.surface]
    rough = noise(rng, w, h, (cells[0] * w / unit, cells[1] * h / unit), 5, cells[2])
    if land.surface == "hills":
        lit = (smooth(0.25, 0.85, rough) * 0.45 + 0.55 * np.exp(below * np.float32(-25))) * 0.5
    else:
        lit = _faces(small, below, rough, unit, land.sun_u, 1.0 if land.surface == "crags" else 0.25) * 0.75
    return resized(_painted(brief.palette, land, below, rough, lit), width, rows, cv2.INTER_LINEAR), first


def _painted(palette: Palette, land: Range, below: Array, rough: Array, lit: Array) -> Array:
    """Return ground, light, snow and mist in their colours, uint8 (rows, width, 3).

    Args:
        below: depth under the crest, units. rough: texture, 0..1. lit: light, 0..1; all float32 (rows, width).
    """
    far, grassy = land.far, land.surface == "hills"
    body = mix(mix(palette.land, palette.leaf, 0.6 if grassy else 0.4), palette.haze, far**0.8 * 0.92)
    glow = mix(body, mix(palette.light, palette.haze, far * 0.6), 0.2 if grassy else 0.42 - 0.2 * far)
    white = mix(mix((250, 252, 255), palette.light, 0.25), palette.haze, far * 0.5)
    reach = np.float32(1 / (land.rise * 1.15 + 0.02))
    mist = np.clip(below * reach, 0, 1) ** np.float32(1.3) * (0.25 + 0.5 * far)
    line = land.snow * land.rise * 0.75 * (0.4 + 1.1 * rough)
    cap = smooth(-0.03, 0.03, line - below) * 0.92 if land.snow > 0 else np.zeros_like(below)
    bare = (1 - mist) * (1 - cap)
    weights = [bare * (1 - lit) * (0.84 + 0.28 * rough), bare * lit, (1 - mist) * cap * (0.62 + 0.5 * lit), mist]
    return weighted(weights, [body, glow, white, mix(palette.haze, palette.sky[2], 0.35)])


def _faces(crest: Array, below: Array, rough: Array, unit: float, sun_u: float, spread: float) -> Array:
    """Return how lit each point is: spurs run down from the peaks, bright on the sun's side."""
    w = crest.size
    soft = cv2.GaussianBlur(crest[None, :], (0, 0), max(0.6, unit * 0.008))[0]
    slope = np.gradient(soft) * (1.0 if sun_u > 0.5 else -1.0)
    wander = (rough - 0.5) * spread
    x = np.arange(w, dtype=np.float32)[None, :] + wander * below * unit
    zeros = np.zeros_like(x)
    facing = cv2.remap(slope[None, :].astype(np.float32), x, zeros, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return smooth(-0.2, 0.45, facing + (rough - 0.5) * 0.9 * spread)


def tufts(brief: Brief, stage: Stage, name: str, ground: Sheet, crest: Array, n: float, color: Rgb) -> None:
    """Strew *n* tufts of grass over a near hill, in place, larger towards the viewer; *crest* is its skyline."""
    rng = brief.rng(name)
    height = ground.pixels.shape[0]
    for _ in range(brief.count(n * max(1.0, stage.width / stage.unit))):
        x = float(rng.random()) * stage.width
        top = float(crest[min(stage.width - 1, int(x))]) - ground.top
        t = float(rng.random())
        y = top + (height - top) * t + stage.unit * 0.01
        size = stage.unit * (0.004 + 0.013 * t) * float(rng.uniform(0.6, 1.4))
        ink = shade(color, float(rng.uniform(0.84, 1.1)))
        for lean in (-0.7, -0.25, 0.2, 0.65):
            outline = np.stack([x + lean * size * _RISE**2 + _BLADE * size * 0.09, y - size * _RISE], axis=-1)
            fill(ground.pixels, outline, ink)


def conifers(brief: Brief, stage: Stage, name: str, crest: Array, n: float, size: float, color: Rgb) -> Array:
    """Return a sheet of *n* conifers along a skyline, *size* units high, darker towards the viewer."""
    rng = brief.rng(name)
    sheet = blank(stage.width, stage.height)
    thick = profile(rng, 256, 5, 3)
    span = max(1.0, stage.width / stage.unit)
    for _ in range(brief.count(n * span)):
        u = float(rng.random())
        grows = 0.35 + 0.65 * float(thick[int(u * 255)])
        tall = size * stage.unit * float(rng.uniform(0.45, 1.0)) * grows
        x = u * stage.width
        foot = float(crest[min(stage.width - 1, int(x))]) + tall * 0.12
        fill(sheet, _conifer(rng, x, foot, tall), shade(color, float(rng.uniform(0.8, 1.08))))
    return sheet


def _conifer(rng: np.random.Generator, x: float, foot: float, tall: float) -> Array:
    tiers = 9
    t = np.linspace(0, 1, tiers * 2 + 1)
    reach = t * 0.21 * tall * (0.85 + 0.3 * rng.random(tiers * 2 + 1))
    reach[1::2] *= 1.25
    reach[2::2] *= 0.55
    y = foot - tall * (1 - t) + np.where(np.arange(t.size) % 2 == 1, tall * 0.015, -tall * 0.012)
    y[0] = foot - tall
    left = np.stack([x - reach, y], axis=-1)
    right = np.stack([x + reach * rng.uniform(0.85, 1.15, t.size), y + tall * 0.008], axis=-1)[::-1]
    return np.concatenate([left, right])


def grass(brief: Brief, stage: Stage, name: str, tall: float, n: float, tip: Rgb) -> Array:
    """Return a sheet of *n* dark blades growing from the lower edge, up to *tall* units, some in the colour *tip*."""
    color = shade(brief.palette.land, 0.9)
    rng = brief.rng(name)
    sheet = blank(stage.width, stage.height)
    clumps = profile(rng, 256, 4, 4)
    for _ in range(brief.count(n * max(1.0, stage.width / stage.unit))):
        u = float(rng.uniform(-0.02, 1.02))
        high = (
            tall
            * stage.unit
            * float(rng.uniform(0.35, 1))
            * (0.4 + 0.8 * float(clumps[int(min(max(u, 0), 0.99) * 255)]))
        )
        lean = float(rng.normal(0, 0.28)) * high
        x, y = u * stage.width, stage.height + stage.unit * 0.02
        half = _BLADE * stage.unit * float(rng.uniform(0.0017, 0.0037))
        outline = np.stack([x + lean * _RISE**2 + half, y - high * _RISE], axis=-1)
        fill(sheet, outline, mix(color, tip, float(rng.random()) ** 3 * 0.8))
    return sheet


def lone_tree(brief: Brief, stage: Stage, foot: tuple[float, float], tall: float, bark: Rgb, leaf: Rgb | None) -> Array:
    """Return a sheet of one branching tree; *foot* in pixels, *tall* in units; bare without *leaf*."""
    rng = brief.rng("lone tree")
    sheet = blank(stage.width, stage.height)
    tips: list[tuple[float, float]] = []
    _branch(rng, sheet, foot, -np.pi / 2 + rng.normal(0, 0.06), tall * stage.unit * 0.26, 8, bark, tips)
    if leaf is not None:
        _crown(rng, sheet, np.repeat(np.array(tips), brief.count(9), axis=0), stage.unit * tall, (bark, leaf))
    return sheet


def _crown(rng: np.random.Generator, sheet: Array, tips: Array, tall: float, inks: tuple[Rgb, Rgb]) -> None:
    """Scatter leaves round the *tips* of the branches, the upper ones in the light."""
    at = tips + rng.normal(0, 0.032, tips.shape) * tall
    order = np.argsort(-at[:, 1])
    low, high = at[:, 1].max(), at[:, 1].min()
    for i in order.tolist():
        x, y = at[i].tolist()
        t = 0.25 + 0.95 * (low - y) / (low - high + 1) + rng.normal(0, 0.16)
        disc(sheet, (x, y), tall * float(rng.uniform(0.004, 0.013)), mix(inks[0], inks[1], float(np.clip(t, 0, 1.25))))


def _branch(
    rng: np.random.Generator,
    sheet: Array,
    start: tuple[float, float],
    heading: float,
    length: float,
    depth: int,
    color: Rgb,
    tips: list[tuple[float, float]],
) -> None:
    bend = heading + rng.normal(0, 0.18)
    middle = (start[0] + np.cos(heading) * length * 0.5, start[1] + np.sin(heading) * length * 0.5)
    end = (middle[0] + np.cos(bend) * length * 0.5, middle[1] + np.sin(bend) * length * 0.5)
    thick = length * 0.028 * depth
    fill(sheet, tapered(np.array([start, middle, end]), thick, thick * 0.72), color)
    if depth == 1:
        tips.append(end)
        return
    for side in (-1, 1):
        turn = side * rng.uniform(0.2, 0.62) + (-np.pi / 2 - bend) * 0.08
        _branch(rng, sheet, end, bend + turn, length * rng.uniform(0.66, 0.86), depth - 1, color, tips)
