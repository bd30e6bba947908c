"""Outdoor compositions: landscape and sea."""

from __future__ import annotations

import numpy as np

from shared.providers.studio.air import air
from shared.providers.studio.animals import ANIMALS, seated_animal
from shared.providers.studio.brief import Brief
from shared.providers.studio.land import Range, Surface, conifers, grass, lone_tree, ridge, tufts
from shared.providers.studio.paint import (
    Array,
    blank,
    cut,
    fill,
    mix,
    noise,
    profile,
    shade,
    smooth,
    spline,
    to_bytes,
)
from shared.providers.studio.scene import Layer, Scene, Sheet, Stage, make_water, trimmed
from shared.providers.studio.shapes import (
    balloon,
    birds,
    cabin,
    lighthouse,
    sailboat,
    standing_person,
)
from shared.providers.studio.sky import Sun, place_sun, sky

_CRAGGY = ("mountain", "alpine", "peak", "volcano", "winter", "canyon", "cliff", "glacier", "hiking")
_GENTLE = ("desert", "dune", "field", "meadow", "vineyard", "farm", "sand", "savanna", "countryside", "hill")


def landscape(brief: Brief, stage: Stage) -> Scene:
    """Return ranges of hills or mountains behind each other, perhaps a lake, and a foreground with a subject."""
    horizon = brief.draw("horizon", 0.48, 0.66)
    sun = place_sun(brief, horizon)
    gentle = brief.says(*_GENTLE)
    craggy = not gentle and (brief.says(*_CRAGGY) or brief.chance("craggy", 0.5))
    lake = brief.says("lake") or (not gentle and brief.chance("lake", 0.4))
    layers: list[Layer] = sky(brief, stage, horizon, sun)
    layers += _in_the_air(brief, stage, horizon, sun, balloons=0.12)
    layers += _ranges(brief, stage, horizon, sun, craggy=craggy, lake=lake)
    if lake:
        layers.append(_lake(brief, stage, horizon + 0.035, sun))
    layers += _foreground(brief, stage, sun)
    layers.append(air(brief, stage))
    return Scene(stage, tuple(layers))


def _ranges(brief: Brief, stage: Stage, horizon: float, sun: Sun, *, craggy: bool, lake: bool) -> list[Layer]:
    palette, layers = brief.palette, list[Layer]()
    n = brief.count(4)
    soil = _soil(brief)
    snow = 0.85 if palette.name == "winter" or brief.says("snow", "snowy") else 0.0
    for i in range(n):
        t = i / max(1, n - 1)
        peaks = craggy and t < 0.7
        rise = brief.draw(f"rise {i}", 0.22, 0.44) if peaks else brief.draw(f"rise {i}", 0.08, 0.2)
        land = Range(
            name=f"ridge {i}",
            base=horizon + 0.02 + t * (0.02 if lake else 0.16),
            rise=rise * (1 - 0.55 * t),
            far=0.94 - 0.86 * t,
            sun_u=sun.u,
            surface="crags" if peaks else soil,
            cells=1.6 + 2.2 * t,
            snow=snow or (0.45 if peaks and t < 0.4 else 0),
            hidden=horizon + (0.06 if lake else 0.16 * (i + 1) / max(1, n - 1) + 0.06 if i < n - 1 else 1.0),
        )
        sheet, crest = ridge(brief, stage, land)
        if t > 0.6 and soil == "hills" and not (lake or snow):
            tufts(brief, stage, f"tufts {i}", sheet, crest, 220, mix(palette.leaf, palette.land, 0.42))
        layers.append(sheet)
        if t > 0.45 and soil == "hills":
            ink = mix(palette.land, palette.haze, (1 - t) * 0.5)
            trees = conifers(brief, stage, f"trees {i}", crest, 80, 0.05 + 0.03 * t, ink)
            layers.append(trimmed(trees, sheet.depth))
    return layers


def _soil(brief: Brief) -> Surface:
    return "dunes" if brief.palette.name == "desert" or brief.says("dune", "sand") else "hills"


def _lake(brief: Brief, stage: Stage, top: float, sun: Sun) -> Layer:
    palette = brief.palette
    deep = mix(palette.land, palette.sky[0], 0.45)
    row = round(top * stage.height)
    colors = (palette.sky[2], deep)
    return make_water(brief.rng("lake"), stage, row, colors, sun.color, sun.u, calm=0.35, opacity=(0.05, 0.5))


def _foreground(brief: Brief, stage: Stage, sun: Sun) -> list[Layer]:
    palette = brief.palette
    base, soil = brief.draw("front", 0.9, 0.97), _soil(brief)
    land = Range(name="front", base=base + 0.05, rise=0.16, far=0.03, sun_u=sun.u, surface=soil, cells=1.1)
    front, crest = ridge(brief, stage, land)
    if soil == "hills" and palette.name != "winter":
        tufts(brief, stage, "front tufts", front, crest, 80, mix(palette.leaf, palette.land, 0.62))
    layers: list[Layer] = [front, trimmed(_hero(brief, stage, sun, crest), 0.6)]
    if brief.chance("grass", 0.75):
        blades = grass(brief, stage, "grass", brief.draw("grass tall", 0.07, 0.15), 380, palette.spice)
        layers.append(trimmed(blades, 1.0))
    return layers


def _hero(brief: Brief, stage: Stage, sun: Sun, crest: Array) -> Array:
    """Return what stands in front on the side away from the sun: what the prompt names, else what the seed draws."""
    palette, sheet = brief.palette, blank(stage.width, stage.height)
    side = (0.26 if sun.u > 0.5 else 0.74) + brief.draw("hero u", -0.1, 0.1)
    ground = float(crest[int(side * stage.width)]) + stage.unit * 0.012
    foot = (side * stage.width, min(ground, 0.96 * stage.height))
    animal = next((word for word in ANIMALS if brief.says(word)), "")
    if animal:
        coat = mix((196, 92, 38), palette.land, 0.25) if animal == "fox" else mix(palette.land, palette.leaf, 0.06)
        seated_animal(sheet, animal, foot, stage.unit * 0.3, coat, palette.light, mirrored=sun.u < 0.5)
    elif brief.says("cabin", "farm", "house", "home", "rustic") or brief.chance("cabin", 0.18):
        wall, roof = mix(palette.land, palette.leaf, 0.5), shade(palette.land, 0.8)
        cabin(sheet, foot, stage.unit * 0.13, wall, roof, palette.spice)
    elif brief.says("person", "hiking", "hiker", "camping", "travel", "traveler") or brief.chance("person", 0.2):
        standing_person(sheet, foot, stage.unit * 0.15, palette.land)
    elif brief.chance("tree", 0.75):
        leaf = mix(palette.land, palette.accent if brief.chance("leaf hue", 0.6) else palette.leaf, 0.5)
        bare = palette.name in {"winter", "storm"}
        return lone_tree(brief, stage, foot, brief.draw("tree tall", 0.4, 0.62), palette.land, None if bare else leaf)
    return sheet


def _in_the_air(brief: Brief, stage: Stage, horizon: float, sun: Sun, *, balloons: float) -> list[Layer]:
    sheet = blank(stage.width, stage.height)
    rng, palette = brief.rng("in the air"), brief.palette
    if brief.says("balloon") or brief.chance("balloons", balloons):
        for size in (0.075, 0.045, 0.03, 0.02):
            at = stage.at(float(rng.uniform(0.08, 0.92)), horizon * float(rng.uniform(0.2, 0.75)))
            balloon(sheet, at, stage.unit * size, (palette.accent, palette.spice))
    elif not palette.is_night and brief.chance("birds", 0.6):
        at = stage.at(1 - sun.u + float(rng.uniform(-0.1, 0.1)), horizon * float(rng.uniform(0.3, 0.6)))
        birds(sheet, rng, at, stage.unit * 0.1, int(rng.integers(5, 12)), mix(palette.land, palette.sky[1], 0.25))
    return [trimmed(sheet, 0.08, drift=-stage.unit * 0.012)]


def sea(brief: Brief, stage: Stage) -> Scene:
    """Return open water under a wide sky, with far land, a boat or a lighthouse, and a shore."""
    palette = brief.palette
    horizon = brief.draw("horizon", 0.42, 0.6)
    sun = place_sun(brief, horizon)
    layers: list[Layer] = sky(brief, stage, horizon, sun)
    layers += _in_the_air(brief, stage, horizon, sun, balloons=0)
    top = round(horizon * stage.height)
    for i in range(int(brief.rng("islands").integers(1, 4))):
        layers.append(_island(brief, stage, f"island {i}", horizon, sun, i))
    layers.append(_on_the_water(brief, stage, horizon, sun))
    deep = mix(palette.sky[0], palette.land, 0.5)
    calm = brief.draw("calm", 0.55, 1.0)
    layers.append(make_water(brief.rng("sea"), stage, top, (palette.sky[2], deep), sun.color, sun.u, calm=calm))
    layers += _shore(brief, stage, sun)
    layers.append(air(brief, stage))
    return Scene(stage, tuple(layers))


def _island(brief: Brief, stage: Stage, name: str, horizon: float, sun: Sun, i: int) -> Sheet:
    """Return land on the horizon that ends in the water on one side or both; the greater *i* the nearer."""
    middle, half = brief.draw(name + " where"), brief.draw(name + " half", 0.14, 0.42)
    u = np.linspace(0, 1, stage.width, dtype=np.float32)
    land = Range(
        name=name,
        base=horizon,
        rise=brief.draw(name, 0.05, 0.22 - 0.05 * i),
        far=0.9 - 0.3 * i,
        sun_u=sun.u,
        surface="crags",
        hidden=horizon + 0.01,
        outline=np.clip(1 - ((u - middle) / half) ** 2, 0, 1) ** 0.7,
    )
    return ridge(brief, stage, land)[0]


def _on_the_water(brief: Brief, stage: Stage, horizon: float, sun: Sun) -> Sheet:
    palette = brief.palette
    sheet = blank(stage.width, stage.height)
    rng = brief.rng("boat")
    foot = stage.at(1 - sun.u + float(rng.uniform(-0.08, 0.08)), horizon)
    if brief.says("lighthouse") or brief.chance("lighthouse", 0.2):
        rock = [(-0.9, -0.02), (-0.55, 0.1), (-0.3, 0.2), (0.1, 0.24), (0.4, 0.17), (0.75, 0.06), (1.1, -0.02)]
        tall = stage.unit * 0.34
        points = np.array([(foot[0] + x * tall, foot[1] - y * tall * 0.7) for x, y in rock])
        fill(sheet, np.concatenate([spline(points, closed=False), points[-1:]]), mix(palette.land, palette.haze, 0.15))
        lighthouse(sheet, (foot[0], foot[1] - tall * 0.14), tall, palette.paper, palette.accent, palette.light)
    else:
        hull, sail = mix(palette.land, palette.accent, 0.25), mix(palette.paper, palette.light, 0.5)
        for i in range(int(rng.integers(1, 4))):
            tall = stage.unit * (0.25 if i == 0 else float(rng.uniform(0.05, 0.12)))
            x = foot[0] if i == 0 else float(rng.uniform(0.1, 0.9)) * stage.width
            sailboat(sheet, (x, foot[1] + 1), tall, hull, sail, mirrored=bool(rng.random() < 0.5))
    return trimmed(sheet, 0.2)


def _shore(brief: Brief, stage: Stage, sun: Sun) -> list[Layer]:
    """Return a beach with foam, or nothing but open water with reeds in front."""
    palette = brief.palette
    if brief.says("beach", "surf", "island", "coast", "lagoon", "tropical") or brief.chance("beach", 0.45):
        return [_beach(brief, stage)]
    if brief.chance("reeds", 0.5):
        return [trimmed(grass(brief, stage, "reeds", 0.2, 190, palette.leaf), 1.0)]
    base = 1 + 0.07 * stage.unit / stage.height
    rocks = Range(name="rocks", base=base, rise=0.22, far=0.02, sun_u=sun.u, surface="crags", cells=1.6)
    return [ridge(brief, stage, rocks)[0]]


def _beach(brief: Brief, stage: Stage) -> Sheet:
    rng, palette = brief.rng("beach"), brief.palette
    width, height = stage.width, stage.height
    lean = brief.draw("beach lean", -0.09, 0.09)
    u = np.linspace(-0.5, 0.5, width, dtype=np.float32)
    edge = (0.86 + lean * u * 2 + (profile(rng, width, 3, 3) - 0.5) * 0.06) * height
    y = np.arange(height, dtype=np.float32)[:, None] - edge[None, :]
    deep = y / stage.unit
    grain = noise(rng, width, height, (40 * width / stage.unit, 90 * height / stage.unit), 3, 0.8)
    sand = mix(mix((232, 206, 164), palette.light, 0.3), palette.land, 0.55 if palette.is_night else 0.1)
    wet = mix(sand, palette.land, 0.42)
    dry = smooth(0.015, 0.075, deep + (grain - 0.5) * 0.012)[..., None]
    color = np.array(wet, np.float32) * (1 - dry) + np.array(sand, np.float32) * dry
    color *= (0.88 + 0.2 * grain)[..., None]
    lace = noise(rng, width, height, (26 * width / stage.unit, 60 * height / stage.unit), 3, 0.6)
    foam = np.exp(-((deep / 0.008) ** 2)) + 0.75 * np.exp(-(((deep + 0.022) / 0.018) ** 2)) * smooth(0.45, 0.62, lace)
    foam = np.clip(foam, 0, 1)[..., None]
    color += (250 - color) * foam
    opacity = np.maximum(smooth(-0.004, 0.006, deep), foam[..., 0])
    return trimmed(cut(color, to_bytes(opacity * 255)), 0.75)
