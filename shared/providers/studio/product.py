"""Product pictures: an object on a podium before an arch or a disc."""

from __future__ import annotations

import numpy as np

from shared.providers.studio.air import air
from shared.providers.studio.botany import frond
from shared.providers.studio.brief import Brief
from shared.providers.studio.objects import OBJECT_WORDS, OBJECTS
from shared.providers.studio.paint import (
    Array,
    Point,
    Rgb,
    blank,
    blurred,
    box,
    disc,
    distance,
    ellipse_points,
    faded,
    fill,
    gradient,
    light,
    luma,
    mix,
    noise,
    resized,
    shade,
    soft_size,
)
from shared.providers.studio.scene import Layer, Scene, Sheet, Stage, backdrop, trimmed
from shared.providers.studio.shading import ball, cylinder


def product(brief: Brief, stage: Stage) -> Scene:
    """Return an object on a podium before an arch or a disc, with shadows of leaves on the wall."""
    palette = brief.palette
    floor = brief.draw("floor", 0.70, 0.77)
    wall, ground = _room_colors(brief)
    layers: list[Layer] = [_room(brief, stage, wall, ground, floor)]
    x = stage.width * brief.draw("podium u", 0.40, 0.60)
    y = stage.height * (floor + 0.10)
    layers.append(_arch(brief, stage, x, floor, wall))
    layers.append(_leaf_shadows(brief, stage, wall))
    plinth = stage.unit * brief.draw("plinth", 0.07, 0.16)
    radius = stage.unit * brief.draw("podium r", 0.20, 0.26)
    stone = mix(wall, palette.light, 0.35)
    layers.append(_cast(stage, (x, y), radius, plinth + stage.unit * 0.25, shade(palette.land, 0.8)))
    sheet = blank(stage.width, stage.height)
    _side_podiums(brief, sheet, stage, (x, y), radius, stone)
    cylinder(sheet, (x, y), radius, plinth, stone)
    name = _object_name(brief)
    draw, size = OBJECTS[name]
    body, trim = (palette.accent, palette.leaf) if brief.chance("colours", 0.6) else (palette.leaf, palette.accent)
    if abs(luma(body) - luma(wall)) < 26:
        body = shade(body, 0.6) if luma(wall) > 110 else shade(body, 1.5)
    tall = stage.unit * 0.36 * size * brief.draw("object size", 0.92, 1.12)
    foot = (x, y - plinth + radius * 0.03)
    fill(sheet, ellipse_points((x + tall * 0.06, foot[1]), tall * 0.36, tall * 0.06), shade(stone, 0.62))
    draw(sheet, foot, tall, body, trim)
    layers.append(trimmed(sheet, 0.35))
    layers.append(_sprig(brief, stage))
    layers.append(_lamp_light(brief, stage))
    layers.append(air(brief, stage))
    return Scene(stage, tuple(layers))


def _object_name(brief: Brief) -> str:
    for word in brief.words:
        for name, words in OBJECT_WORDS.items():
            if word in words.split() and not (
                name == "box" and brief.says("bottle", "cup", "jar", "shoe", "watch", "phone")
            ):
                return name
    names = ("perfume", "bottle", "jar", "cup", "candle", "bag")
    return names[int(brief.draw("object") * len(names))]


def _room_colors(brief: Brief) -> tuple[Rgb, Rgb]:
    palette = brief.palette
    walls = (
        palette.sky[1],
        mix(palette.haze, palette.sky[1], 0.5),
        mix(palette.spice, palette.haze, 0.45),
        palette.leaf,
    )
    wall = walls[int(brief.draw("wall") * len(walls))]
    return wall, mix(wall, palette.sky[2], 0.4)


def _room(brief: Brief, stage: Stage, wall: Rgb, ground: Rgb, floor: float) -> Sheet:
    width, height = soft_size(stage.width, stage.height, 640)
    low = shade(ground, 0.80)
    field = np.repeat(
        gradient(
            height,
            [
                (0, shade(wall, 0.74)),
                (floor - 0.002, shade(wall, 1.06)),
                (floor + 0.006, shade(ground, 1.12)),
                (1, low),
            ],
        ),
        width,
        axis=1,
    )
    near = distance(width, height, (width * brief.draw("lamp u", 0.15, 0.4), height * 0.22)) / min(width, height)
    field *= (0.66 + 0.62 * np.exp(-((near / 0.62) ** 2)))[..., None]
    plaster = noise(brief.rng("plaster"), width, height, (30, 30), 4, 0.7)
    field *= (0.97 + 0.06 * plaster)[..., None]
    return backdrop(field, stage)


def _arch(brief: Brief, stage: Stage, x: float, floor: float, wall: Rgb) -> Sheet:
    """Return an arch, a disc or steps behind the podium."""
    palette = brief.palette
    sheet = blank(stage.width, stage.height)
    foot = floor * stage.height
    wide = stage.unit * brief.draw("arch wide", 0.24, 0.32)
    x += stage.unit * brief.draw("arch shift", -0.18, 0.18)
    ink = mix(palette.accent, wall, 0.35) if brief.chance("arch ink", 0.5) else mix(palette.light, wall, 0.35)
    kind = int(brief.draw("arch kind") * 3)
    if kind == 0:
        high = foot - stage.unit * brief.draw("arch high", 0.30, 0.42)
        t = np.linspace(np.pi, 0, 60)
        top = np.stack([x + np.cos(t) * wide, high - np.sin(t) * wide], axis=-1)
        outline = np.concatenate([[(x - wide, foot)], top, [(x + wide, foot)]])
        fill(sheet, outline, shade(ink, 0.82))
        fill(sheet, (outline - (x, foot)) * (0.93, 0.97) + (x + wide * 0.05, foot), ink)
    elif kind == 1:
        at = (x, foot - wide * 1.25)
        disc(sheet, at, wide * 1.15, shade(ink, 0.85))
        disc(sheet, (at[0] - wide * 0.03, at[1] - wide * 0.03), wide * 1.13, ink)
    else:
        for k in range(3):
            half, rise = wide * (1.5 - 0.4 * k), stage.unit * 0.13 * (k + 1)
            fill(sheet, box(x - half, foot - rise, x + half, foot), shade(ink, 0.8 + 0.16 * k))
    return trimmed(sheet, 0.08)


def _leaf_shadows(brief: Brief, stage: Stage, wall: Rgb) -> Sheet:
    rng, ink = brief.rng("leaf shadows"), shade(wall, 0.3)
    sheet = blank(stage.width, stage.height)
    corner = 1 if brief.chance("shadow side", 0.5) else 0
    for _ in range(3):
        start = (stage.width * (corner + float(rng.normal(0, 0.06))), stage.height * float(rng.uniform(-0.1, 0.25)))
        heading = (0.35 if corner == 0 else np.pi - 0.35) + float(rng.normal(0.2, 0.3)) * (1 if corner == 0 else -1)
        frond(sheet, start, heading, stage.unit * float(rng.uniform(0.5, 0.85)), (ink, ink), rng)
    return Sheet(faded(blurred(sheet, stage.unit * 0.007), 0.34), 0.1)


def _cast(stage: Stage, foot: Point, radius: float, tall: float, ink: Rgb) -> Sheet:
    """Return the soft shadow that falls to the right."""
    sheet = blank(stage.width, stage.height)
    x, y = foot
    fill(sheet, ellipse_points((x + radius * 0.16, y + radius * 0.07), radius * 1.16, radius * 0.30), ink)
    near, far = x - radius * 0.3, x + tall * 1.15
    slant = [(near, y + radius * 0.24), (far, y - tall * 0.16), (far + tall * 0.1, y - tall * 0.02)]
    fill(sheet, [*slant, (x + radius * 0.5, y + radius * 0.3)], ink)
    return trimmed(faded(blurred(sheet, stage.unit * 0.014), 0.5), 0.2)


def _side_podiums(brief: Brief, sheet: Array, stage: Stage, foot: Point, radius: float, stone: Rgb) -> None:
    rng, palette = brief.rng("side podiums"), brief.palette
    for side in (-1, 1):
        size = radius * float(rng.uniform(0.42, 0.62))
        at = (
            foot[0] + side * (radius + size * float(rng.uniform(0.75, 1.15))),
            foot[1] - radius * float(rng.uniform(0.1, 0.24)),
        )
        tall = stage.unit * float(rng.uniform(0.03, 0.17))
        fill(
            sheet, ellipse_points((at[0] + size * 0.2, at[1] + size * 0.06), size * 1.15, size * 0.3), shade(stone, 0.6)
        )
        cylinder(sheet, at, size, tall, mix(stone, palette.spice, 0.35 if side > 0 else 0.12))
        if rng.random() < 0.75:
            r = size * float(rng.uniform(0.3, 0.55))
            fill(
                sheet, ellipse_points((at[0] + r * 0.2, at[1] - tall + r * 0.05), r * 0.9, r * 0.22), shade(stone, 0.6)
            )
            ball(sheet, (at[0], at[1] - tall - r * 0.92), r, palette.spice if side < 0 else palette.accent)


def _sprig(brief: Brief, stage: Stage) -> Sheet:
    """Return a frond in front, out of focus."""
    rng, palette = brief.rng("sprig"), brief.palette
    sheet = blank(stage.width, stage.height)
    side = 1 if brief.chance("sprig side", 0.5) else 0
    for k in range(2):
        start = (stage.width * side, stage.height * (0.99 - 0.08 * k))
        heading = (-0.75 if side == 0 else -np.pi + 0.75) + float(rng.normal(0, 0.16))
        inks = (mix(palette.leaf, palette.land, 0.35), palette.leaf)
        frond(sheet, start, heading, stage.unit * float(rng.uniform(0.26, 0.36)), inks, rng)
    return trimmed(blurred(sheet, stage.unit * 0.0022), 0.9)


def _lamp_light(brief: Brief, stage: Stage) -> Sheet:
    """Return a slanting window of light."""
    width, height = soft_size(stage.width, stage.height, 300)
    x = np.arange(width, dtype=np.float32)[None, :] / width
    y = np.arange(height, dtype=np.float32)[:, None] / height
    along = x * 0.8 - y * 0.55 + brief.draw("window", -0.1, 0.2)
    bars = 1 / (1 + np.exp(-(np.sin(along * 14) - 0.25) * 9))
    strength = bars * np.exp(-(((x - 0.35) / 0.5) ** 2) - ((y - 0.35) / 0.5) ** 2) * 0.13
    return Sheet(resized(light(brief.palette.light, strength), stage.width, stage.height), 0.0)
