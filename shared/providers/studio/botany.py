"""Plants drawn leaf by leaf, and compositions made of them."""

from __future__ import annotations

import numpy as np

from shared.providers.studio.air import air
from shared.providers.studio.brief import Brief
from shared.providers.studio.paint import (
    Array,
    Point,
    Rgb,
    blank,
    blurred,
    disc,
    distance,
    ellipse_points,
    fill,
    gradient,
    mix,
    noise,
    shade,
    soft_size,
    spline,
    stroke,
    tapered,
)
from shared.providers.studio.palette import Palette
from shared.providers.studio.scene import Layer, Scene, Sheet, Stage, backdrop, trimmed


def leaf(sheet: Array, base: Point, heading: float, long: float, wide: float, dark: Rgb, bright: Rgb) -> None:
    """Draw a leaf with a lit half, a shaded half, a midrib and side veins; *heading* in radians."""
    t = np.linspace(0, 1, 22)
    half = np.sin(np.pi * t**0.8) ** 0.9 * wide / 2
    bend = 0.12 * long * t**2
    c, s = np.cos(heading), np.sin(heading)
    rib = np.stack([base[0] + t * long * c - bend * s, base[1] + t * long * s + bend * c], axis=-1)
    normal = np.array([-s, c])
    fill(sheet, np.concatenate([rib, (rib + normal * half[:, None])[::-1]]), dark)
    fill(sheet, np.concatenate([rib, (rib - normal * half[:, None])[::-1]]), bright)
    vein = mix(bright, (255, 255, 255), 0.28)
    if long > 26:
        for k in range(4, 19, 3):
            tip = rib[min(21, k + 3)]
            for side in (-1, 1):
                stroke(
                    sheet,
                    np.stack([rib[k], tip + normal * side * half[min(21, k + 3)] * 0.86]),
                    mix(vein, dark, 0.45),
                    1,
                )
    stroke(sheet, rib, vein, max(1, wide * 0.03))


def frond(
    sheet: Array, start: Point, heading: float, long: float, inks: tuple[Rgb, Rgb], rng: np.random.Generator
) -> None:
    """Draw a palm frond: a curved stalk with narrow leaflets on both sides."""
    bend = float(rng.normal(0.35, 0.12)) * (1 if np.cos(heading) > 0 else -1)
    t = np.linspace(0, 1, 30)
    turn = heading + bend * t * 1.4
    step = long / 30
    spine = np.array(start) + np.cumsum(np.stack([np.cos(turn), np.sin(turn)], axis=-1) * step, axis=0)
    fill(sheet, tapered(spine, long * 0.016, long * 0.004), inks[0])
    for k in range(3, 30):
        reach = long * 0.34 * np.sin(np.pi * (0.12 + 0.86 * k / 30)) ** 0.8 + long * 0.03
        for side in (-1, 1):
            angle = float(turn[k]) + side * (1.0 - 0.5 * k / 30)
            _blade(sheet, spine[k], angle, float(reach), long * 0.026, inks[side < 0])


def _blade(sheet: Array, base: Array, angle: float, long: float, wide: float, ink: Rgb) -> None:
    c, s = np.cos(angle), np.sin(angle)
    shape = np.array([(0, 0), (0.3, 0.5), (0.65, 0.38), (1, 0), (0.65, -0.38), (0.3, -0.5)]) * (long, wide)
    fill(
        sheet,
        np.stack([base[0] + shape[:, 0] * c - shape[:, 1] * s, base[1] + shape[:, 0] * s + shape[:, 1] * c], axis=-1),
        ink,
    )


def daisy(sheet: Array, at: Point, radius: float, petal: Rgb, heart: Rgb, rng: np.random.Generator) -> None:
    """Draw an open flower of one or two rings of petals."""
    n = int(rng.integers(9, 15))
    for ring, size in ((0, 1.0), (1, 0.72)):
        for k in range(n):
            angle = (k + 0.5 * ring) * 2 * np.pi / n + float(rng.normal(0, 0.05))
            tone = shade(petal, (0.8 if ring == 0 else 1.05) + float(rng.normal(0, 0.05)))
            leaf(sheet, at, angle, radius * size, radius * 0.46 * size, shade(tone, 0.88), tone)
    disc(sheet, at, radius * 0.24, shade(heart, 0.8))
    for _ in range(26):
        a, r = float(rng.uniform(0, 6.28)), radius * 0.22 * float(rng.random()) ** 0.5
        disc(
            sheet,
            (at[0] + np.cos(a) * r, at[1] + np.sin(a) * r),
            radius * 0.028,
            shade(heart, float(rng.uniform(0.7, 1.35))),
        )


def rose(sheet: Array, at: Point, radius: float, petal: Rgb, heart: Rgb, rng: np.random.Generator) -> None:
    """Draw a full rose or peony: whorls of overlapping petals."""
    for ring in range(6):
        size = 1 - ring * 0.155
        n = 8 - ring
        for k in range(n):
            angle = k * 2 * np.pi / n + ring * 0.7 + float(rng.normal(0, 0.1))
            off = radius * size * 0.46
            center = (at[0] + np.cos(angle) * off, at[1] + np.sin(angle) * off)
            tone = mix(shade(petal, 0.62 + 0.11 * ring), heart, 0.06 * ring)
            outline = ellipse_points(center, radius * size * 0.40, radius * size * 0.52, turn=angle, n=28)
            fill(sheet, outline + np.array([radius * 0.015, radius * 0.03]), shade(tone, 0.72))
            fill(sheet, outline, shade(tone, 1.0 + float(rng.normal(0, 0.05))))
    swirl = np.linspace(0, 11, 70)
    coil = np.stack(
        [at[0] + np.cos(swirl) * swirl * radius * 0.016, at[1] + np.sin(swirl) * swirl * radius * 0.016], axis=-1
    )
    stroke(sheet, coil, shade(petal, 0.6), max(1, radius * 0.03))


def tulip(sheet: Array, at: Point, radius: float, petal: Rgb, heart: Rgb, rng: np.random.Generator) -> None:
    """Draw a tulip from the side."""
    del heart
    lean = float(rng.normal(0, 0.1))
    for dx, tone, wide in (
        (-0.42, 0.78, 0.62),
        (0.42, 0.84, 0.62),
        (-0.2, 0.95, 0.6),
        (0.22, 1.02, 0.6),
        (0.0, 1.15, 0.66),
    ):
        leaf(
            sheet,
            (at[0], at[1] + radius * 0.75),
            -np.pi / 2 + dx * 0.6 + lean,
            radius * 1.55,
            radius * wide,
            shade(petal, tone * 0.85),
            shade(petal, tone),
        )


def lavender(sheet: Array, at: Point, radius: float, petal: Rgb, heart: Rgb, rng: np.random.Generator) -> None:
    """Draw a spike of small blossoms."""
    for k in range(44):
        t = k / 44
        x = at[0] + float(rng.normal(0, 0.2)) * radius * (1 - 0.6 * t)
        disc(
            sheet,
            (x, at[1] + radius * (1.1 - 2.3 * t)),
            radius * float(rng.uniform(0.06, 0.14)),
            mix(shade(petal, float(rng.uniform(0.7, 1.2))), heart, 0.15),
        )


_FLOWERS = (daisy, rose, tulip, lavender)


def botanical(brief: Brief, stage: Stage) -> Scene:
    """Return stems with leaves and flowers rising before a disc, in three distances."""
    palette = brief.palette
    layers: list[Layer] = [_ground(brief, stage)]
    at = stage.at(brief.draw("disc u", 0.36, 0.64), brief.draw("disc v", 0.36, 0.5))
    halo = blank(stage.width, stage.height)
    disc(halo, at, stage.unit * brief.draw("disc r", 0.26, 0.36), mix(palette.spice, palette.light, 0.25))
    layers.append(trimmed(halo, 0.05))
    foot = (stage.width * brief.draw("foot u", 0.38, 0.62), stage.height * 1.13)
    for i, (tone, soft, n) in enumerate(((0.55, 0.006, 7), (0.2, 0.0, 8), (0.0, 0.0, 7))):
        sheet = blank(stage.width, stage.height)
        _stems(brief, stage, sheet, i, tone, brief.count(n), foot)
        layers.append(trimmed(blurred(sheet, stage.unit * soft * 0.5), 0.15 + 0.35 * i))
    layers.append(air(brief, stage))
    return Scene(stage, tuple(layers))


def _ground(brief: Brief, stage: Stage) -> Sheet:
    palette = brief.palette
    width, height = soft_size(stage.width, stage.height, 640)
    deep = brief.chance("deep ground", 0.4) or palette.is_night
    base = mix(palette.land, palette.leaf, 0.3) if deep else mix(palette.paper, palette.haze, 0.25)
    edge = shade(base, 0.7) if deep else mix(base, palette.haze, 0.7)
    field = np.repeat(gradient(height, [(0, base), (0.55, mix(base, palette.haze, 0.2)), (1, edge)]), width, axis=1)
    wash = noise(brief.rng("wash"), width, height, (4, 4), 6, 0.6)
    field *= (0.94 + 0.12 * wash)[..., None]
    near = distance(width, height, (width * 0.5, height * 0.42)) / max(width, height)
    field *= (1.06 - 0.3 * near)[..., None]
    return backdrop(field, stage)


def _stems(brief: Brief, stage: Stage, sheet: Array, i: int, haze: float, n: int, foot: Point) -> None:
    rng, palette = brief.rng(f"stems {i}"), brief.palette
    blossom = _FLOWERS[int(brief.draw("flower") * 4)]
    for word, kind in (("rose", rose), ("peony", rose), ("tulip", tulip), ("lavender", lavender), ("daisy", daisy)):
        if brief.says(word):
            blossom = kind
    inks = (palette.accent, palette.spice, mix(palette.accent, palette.light, 0.55))
    for k in range(n):
        spread = (k + 0.5) / n - 0.5 + float(rng.normal(0, 0.05))
        high = stage.height * (0.1 + float(rng.uniform(0.42, 0.82)) * (1 - 0.5 * abs(spread)))
        reach = spread * min(stage.width * 0.95, stage.unit * 1.5)
        start = (foot[0] + reach * 0.25, foot[1])
        tip = (foot[0] + reach + float(rng.normal(0, 0.03)) * stage.unit, foot[1] - high)
        bow = (start[0] + reach * 0.05, foot[1] - high * 0.55)
        spine = spline([start, bow, tip], 12, closed=False)
        green = mix(mix(_green(palette), palette.land, float(rng.uniform(0.0, 0.5))), palette.haze, haze)
        fill(sheet, tapered(spine, stage.unit * 0.010, stage.unit * 0.004), shade(green, 0.75))
        _leaves(rng, sheet, spine, stage.unit, green)
        if rng.random() < 0.72 and i > 0:
            petal = mix(inks[int(rng.integers(0, 3))], palette.haze, haze)
            blossom(
                sheet,
                tip,
                stage.unit * float(rng.uniform(0.06, 0.115)),
                petal,
                mix(palette.spice, palette.land, 0.25),
                rng,
            )


def _green(palette: Palette) -> Rgb:
    return palette.leaf if palette.is_night else mix(palette.leaf, (72, 122, 70), 0.55)


def _leaves(rng: np.random.Generator, sheet: Array, spine: Array, unit: float, green: Rgb) -> None:
    wide = float(rng.uniform(0.28, 0.6))
    for k in range(4, len(spine) - 1, 2):
        along = spine[k] - spine[k - 1]
        heading = float(np.arctan2(along[1], along[0]))
        long = unit * float(rng.uniform(0.07, 0.15)) * (1.15 - 0.6 * k / len(spine))
        for side in (-1, 1):
            if rng.random() < 0.8:
                tone = shade(green, float(rng.uniform(0.85, 1.2)))
                leaf(
                    sheet,
                    (float(spine[k][0]), float(spine[k][1])),
                    heading + side * float(rng.uniform(0.6, 1.05)),
                    long,
                    long * wide,
                    shade(tone, 0.78),
                    tone,
                )
