"""Outdoor compositions: landscape, sea, forest."""

from __future__ import annotations

import math

import cv2
import numpy as np

from shared.providers.offline_brief import Brief
from shared.providers.offline_land import Surface, conifers, crest_mask, grass, lone_tree, ridge, tufts
from shared.providers.offline_paint import (
    Array,
    Rgb,
    blank,
    blurred,
    cut,
    disc,
    distance,
    fill,
    gradient,
    light,
    mix,
    noise,
    profile,
    resized,
    shade,
    smooth,
    soft_size,
    spline,
    stroke,
    tapered,
    to_bytes,
    veil,
    weighted,
)
from shared.providers.offline_scene import Layer, Scene, Sheet, Sparks, Stage, backdrop, make_water, trimmed
from shared.providers.offline_shapes import (
    balloon,
    birds,
    cabin,
    lighthouse,
    sailboat,
    seated_animal,
    standing_person,
)
from shared.providers.offline_sky import Sun, place_sun, sky

_CRAGGY = ("mountain", "alpine", "peak", "volcano", "winter", "canyon", "cliff", "glacier", "hiking")
_GENTLE = ("desert", "dune", "field", "meadow", "vineyard", "farm", "sand", "savanna", "countryside", "hill")
_LEAFLET = np.array([(-1.0, 0.0), (-0.45, 0.40), (0.25, 0.36), (1.0, 0.0), (0.25, -0.36), (-0.45, -0.40)])
_ANIMALS = ("cat", "dog", "fox", "wolf", "rabbit", "owl")


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
        sheet, crest = ridge(
            brief,
            stage,
            f"ridge {i}",
            base=horizon + 0.02 + t * (0.02 if lake else 0.16),
            rise=rise * (1 - 0.55 * t),
            far=0.94 - 0.86 * t,
            sun_u=sun.u,
            surface="crags" if peaks else soil,
            cells=1.6 + 2.2 * t,
            snow=snow or (0.45 if peaks and t < 0.4 else 0),
            hidden=horizon + (0.06 if lake else 0.16 * (i + 1) / max(1, n - 1) + 0.06 if i < n - 1 else 1.0),
        )
        if t > 0.6 and soil == "hills" and not lake:
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
    front, crest = ridge(
        brief, stage, "front", base=base + 0.05, rise=0.16, far=0.03, sun_u=sun.u, surface=soil, cells=1.1
    )
    if soil == "hills":
        tufts(brief, stage, "front tufts", front, crest, 80, mix(palette.leaf, palette.land, 0.62))
    layers: list[Layer] = [front]
    hero = blank(stage.width, stage.height)
    side = (0.26 if sun.u > 0.5 else 0.74) + brief.draw("hero u", -0.1, 0.1)
    foot_y = float(crest[int(side * stage.width)]) + stage.unit * 0.012
    foot = (side * stage.width, min(foot_y, 0.96 * stage.height))
    animal = next((word for word in _ANIMALS if brief.says(word)), "")
    leafy = mix(palette.land, palette.accent if brief.chance("leaf hue", 0.6) else palette.leaf, 0.5)
    if animal:
        coat = mix((196, 92, 38), palette.land, 0.25) if animal == "fox" else mix(palette.land, palette.leaf, 0.06)
        seated_animal(hero, animal, foot, stage.unit * 0.3, coat, palette.light, mirrored=sun.u < 0.5)
    elif brief.says("cabin", "farm", "house", "home", "rustic") or brief.chance("cabin", 0.18):
        cabin(hero, foot, stage.unit * 0.13, mix(palette.land, palette.leaf, 0.5), shade(palette.land, 0.8), palette.spice)
    elif brief.says("person", "hiking", "hiker", "camping", "travel", "traveler") or brief.chance("person", 0.2):
        standing_person(hero, foot, stage.unit * 0.15, palette.land)
    elif brief.chance("tree", 0.75):
        bare = palette.name in ("winter", "storm")
        hero = lone_tree(brief, stage, foot, brief.draw("tree tall", 0.4, 0.62), palette.land, None if bare else leafy)
    layers.append(trimmed(hero, 0.6))
    if brief.chance("grass", 0.75):
        tall = brief.draw("grass tall", 0.07, 0.15)
        layers.append(trimmed(grass(brief, stage, "grass", tall=tall, n=380, color=shade(palette.land, 0.9), tip=palette.spice), 1.0))
    return layers


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
    for i in range(brief.rng("islands").integers(1, 4)):
        far = 0.9 - 0.3 * i
        rise = brief.draw(f"island {i}", 0.05, 0.22 - 0.05 * i)
        name = f"island {i}"
        outline = _islet(brief, stage, name)
        land, _ = ridge(
            brief, stage, name, base=horizon, rise=rise, far=far, sun_u=sun.u, surface="crags", cells=3, envelope=outline, hidden=horizon + 0.01
        )
        layers.append(land)
    layers.append(_on_the_water(brief, stage, horizon, sun))
    deep = mix(palette.sky[0], palette.land, 0.5)
    calm = brief.draw("calm", 0.55, 1.0)
    layers.append(make_water(brief.rng("sea"), stage, top, (palette.sky[2], deep), sun.color, sun.u, calm=calm))
    layers += _shore(brief, stage, sun)
    layers.append(air(brief, stage))
    return Scene(stage, tuple(layers))


def _islet(brief: Brief, stage: Stage, name: str) -> Array:
    """Return the outline of land that ends in the water on one side or both, float32 (width,), 0..1."""
    middle, half = brief.draw(name + " where"), brief.draw(name + " half", 0.14, 0.42)
    u = np.linspace(0, 1, stage.width, dtype=np.float32)
    return np.asarray(np.clip(1 - ((u - middle) / half) ** 2, 0, 1) ** 0.7)


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
        return [trimmed(grass(brief, stage, "reeds", tall=0.2, n=190, color=shade(palette.land, 0.9), tip=palette.leaf), 1.0)]
    base = 1 + 0.07 * stage.unit / stage.height
    rocks, _ = ridge(brief, stage, "rocks", base=base, rise=0.22, far=0.02, sun_u=sun.u, surface="crags", cells=1.6)
    return [rocks]


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


def forest(brief: Brief, stage: Stage) -> Scene:
    """Return trunks or firs in depth, light falling through mist, ferns in front."""
    palette = brief.palette
    sun = Sun(brief.draw("sun u", 0.2, 0.8), brief.draw("sun v", 0.22, 0.42), 0.06, palette.light)
    firs = brief.says("pine", "bear", "misty", "fog", "fir", "mountain", "winter", "snow") or brief.chance("firs", 0.3)
    layers: list[Layer] = sky(brief, stage, 0.62, sun) if firs else [_clearing(brief, stage, sun)]
    n = brief.count(5)
    for i in range(n):
        t = i / max(1, n - 1)
        ground = 0.56 + 0.36 * t**1.2
        ink = mix(mix(palette.haze, palette.sky[1], 0.4), shade(palette.land, 0.85), 0.16 + 0.84 * t**0.8)
        wood = _firs(brief, stage, i, t, ground, ink) if firs else _trunks(brief, stage, i, t, ground, ink, sun)
        layers.append(wood)
        if i == n - 2:
            layers.append(_shafts(brief, stage, sun))
        if t < 0.9:
            layers.append(_mist(brief, stage, ground, 0.5 * (1 - t), wood.depth))
    if not firs:
        layers.append(_canopy(brief, stage, sun))
    layers.append(_ferns(brief, stage))
    layers.append(air(brief, stage))
    return Scene(stage, tuple(layers))


def _clearing(brief: Brief, stage: Stage, sun: Sun) -> Sheet:
    palette = brief.palette
    width, height = soft_size(stage.width, stage.height)
    top = mix(palette.leaf, palette.sky[0], 0.45)
    field = np.repeat(gradient(height, [(0, top), (0.35, palette.sky[1]), (0.6, palette.sky[2]), (1, palette.leaf)]), width, axis=1)
    near = distance(width, height, (sun.u * width, sun.v * height)) / min(width, height)
    glow = np.clip(0.9 * np.exp(-near / 0.12) + 0.55 * np.exp(-near / 0.45), 0, 0.93)[..., None]
    field += (np.array(sun.color, np.float32) - field) * glow
    leaves = noise(brief.rng("far leaves"), width, height, (14, 14), 4, 0.7)
    field *= (1 - 0.35 * smooth(0.5, 0.8, leaves) * smooth(0.75, 0.1, np.linspace(0, 1, height, dtype=np.float32)[:, None]))[..., None]
    return backdrop(field, stage)


def _ground(brief: Brief, stage: Stage, name: str, ground: float, ink: Rgb) -> tuple[Array, Array]:
    """Return the forest floor below v = *ground* as a sheet, and its skyline in pixels."""
    rng = brief.rng(name)
    width, height = stage.width, stage.height
    crest = (ground + (profile(rng, width, 2.5, 6) - 0.5) * 0.07) * height
    w, h = soft_size(width, height, 1024)
    texture = noise(rng, w, h, (30 * w / min(w, h), 70 * h / min(w, h)), 3, 0.8)
    field = resized(weighted([0.6 + 0.7 * texture], [ink]), width, height, cv2.INTER_LINEAR)
    return cut(field, crest_mask(stage, crest)), crest


def _trunks(brief: Brief, stage: Stage, i: int, t: float, ground: float, ink: Rgb, sun: Sun) -> Sheet:
    rng = brief.rng(f"trunks {i}")
    sheet, crest = _ground(brief, stage, f"ground {i}", ground, ink)
    lit = mix(ink, sun.color, 0.30 * (1 - t) + 0.16)
    span = max(0.6, stage.width / stage.unit)
    for _ in range(brief.count((22 - 17 * t) * span) + 1):
        u = float(rng.random())
        if t > 0.6 and abs(u - sun.u) < 0.13:
            continue
        thick = stage.unit * (0.010 + 0.07 * t**1.6) * float(rng.uniform(0.6, 1.3))
        x, lean = u * stage.width, float(rng.normal(0, 0.02)) * stage.unit
        foot = float(crest[min(stage.width - 1, int(x))]) + thick * 0.6
        spine = spline([(x, foot), (x + lean, foot * 0.66), (x - lean, foot * 0.33), (x + lean, -9)], 6, closed=False)
        fill(sheet, tapered(spine, thick * 1.2, thick * 0.62), ink)
        _bark(rng, sheet, spine, thick, ink, lit if u < sun.u else shade(ink, 0.75))
        for _ in range(int(rng.integers(0, 4))):
            k = int(rng.integers(len(spine) // 4, len(spine) - 1))
            way = 1 if rng.random() < 0.5 else -1
            reach = thick * float(rng.uniform(1.5, 4.5))
            tip = spine[k] + np.array([way * reach, -reach * rng.uniform(0.2, 0.9)])
            twig = spline([spine[k], (spine[k] + tip) / 2 + (0, reach * 0.12), tip], 6, closed=False)
            fill(sheet, tapered(twig, thick * 0.28, thick * 0.04), ink)
    return Sheet(sheet, t**1.4 * 0.9 + 0.03)


def _bark(rng: np.random.Generator, sheet: Array, spine: Array, thick: float, ink: Rgb, lit: Rgb) -> None:
    """Light one edge of a trunk and score its bark."""
    side = 0.34 if sum(lit) > sum(ink) else -0.34
    fill(sheet, tapered(spine + np.array([thick * side, 0]), thick * 0.26, thick * 0.12), lit)
    if thick < 14:
        return
    n = int(thick)
    k = rng.integers(0, len(spine) - 2, n)
    at = spine[k] + np.stack([rng.uniform(-0.42, 0.42, n) * thick, rng.random(n) * (spine[k + 1, 1] - spine[k, 1])], axis=-1)
    end = at + np.stack([rng.normal(0, 0.06, n) * thick, -thick * rng.uniform(0.3, 1.2, n)], axis=-1)
    for mark, pale in zip(np.stack([at, end], axis=1), (rng.random(n) < 0.5).tolist(), strict=True):
        stroke(sheet, mark, shade(ink, 1.12 if pale else 0.6), max(1, thick * 0.03))


def _firs(brief: Brief, stage: Stage, i: int, t: float, ground: float, ink: Rgb) -> Sheet:
    sheet, crest = _ground(brief, stage, f"ground {i}", ground, ink)
    trees = conifers(brief, stage, f"firs {i}", crest + stage.unit * 0.02, 46 - 34 * t, 0.3 + 0.55 * t, ink)
    return Sheet(cv2.max(sheet, trees), t**1.4 * 0.9 + 0.03)


def _mist(brief: Brief, stage: Stage, ground: float, strength: float, depth: float) -> Sheet:
    width, height = soft_size(stage.width, stage.height, 256)
    y = (np.arange(height, dtype=np.float32)[:, None] / height - ground) / 0.12
    drift = noise(brief.rng(f"mist {ground}"), width, height, (3, 6), 4)
    opacity = np.exp(-(y**2)) * strength * (0.4 + 0.9 * drift)
    color = mix(brief.palette.haze, brief.palette.light, 0.45)
    sheet = veil(color, opacity)
    return trimmed(resized(sheet, stage.width, stage.height), depth)


def _shafts(brief: Brief, stage: Stage, sun: Sun) -> Sheet:
    """Return beams of light fanning out from the sun."""
    width, height = soft_size(stage.width, stage.height, 320)
    side = 0.35 if sun.u < 0.5 else -0.35
    x = np.arange(width, dtype=np.float32)[None, :] - (sun.u - side) * width
    y = np.arange(height, dtype=np.float32)[:, None] + 0.45 * height
    angle = np.arctan2(x, y)
    beams = profile(brief.rng("beams"), 512, 22, 3, 0.6)
    picked = np.interp(angle, np.linspace(-1.6, 1.6, 512), smooth(0.42, 0.85, beams)).astype(np.float32)
    near = np.hypot(x - side * width, y - (sun.v + 0.6) * height) / min(width, height)
    strength = picked * np.exp(-((near / 0.55) ** 2)) * 0.6
    return Sheet(resized(light(sun.color, strength), stage.width, stage.height), 0.25)


def _canopy(brief: Brief, stage: Stage, sun: Sun) -> Sheet:
    """Return leaves hanging in from above, lit where the sun is near."""
    rng, palette = brief.rng("canopy"), brief.palette
    sheet = blank(stage.width, stage.height)
    fringe = profile(rng, 256, 4, 4)
    span = max(0.6, stage.width / stage.unit)
    n = brief.count(1300 * span)
    us, vs, turns, sizes = rng.random(n), rng.random(n), rng.uniform(0, 3.14, n), rng.uniform(0.008, 0.018, n)
    for u, v, turn, size in zip(us.tolist(), vs.tolist(), turns.tolist(), sizes.tolist(), strict=True):
        away = abs(u - sun.u)
        y = v**1.6 * (0.10 + 0.36 * float(fringe[int(u * 255)]) * min(1.0, 0.25 + away * 1.6)) * stage.height
        x = u * stage.width
        near = np.exp(-(((x - sun.u * stage.width) ** 2 + (y - sun.v * stage.height) ** 2) ** 0.5) / stage.unit / 0.3)
        ink = mix(mix(palette.land, palette.leaf, 0.15 + 0.6 * v), mix(palette.spice, palette.light, 0.3), float(near) * 0.75)
        fill(sheet, leaflet((x, y), size * stage.unit, turn), ink)
    return trimmed(sheet, 0.8)


def leaflet(center: tuple[float, float], size: float, turn: float) -> Array:
    """Return a leaf: a pointed oval of *size* pixels."""
    c, s = math.cos(turn) * size, math.sin(turn) * size
    x = _LEAFLET[:, 0] * c - _LEAFLET[:, 1] * s
    y = _LEAFLET[:, 0] * s + _LEAFLET[:, 1] * c
    return np.stack([center[0] + x, center[1] + y], axis=-1)


def _ferns(brief: Brief, stage: Stage) -> Sheet:
    rng, palette = brief.rng("ferns"), brief.palette
    sheet = blank(stage.width, stage.height)
    span = max(0.6, stage.width / stage.unit)
    for _ in range(brief.count(24 * span)):
        x, y = float(rng.uniform(-0.05, 1.05)) * stage.width, stage.height * float(rng.uniform(0.97, 1.06))
        long, lean = stage.unit * float(rng.uniform(0.12, 0.27)), float(rng.normal(0, 0.55))
        spine = spline([(x, y), (x + lean * long * 0.5, y - long * 0.7), (x + lean * long * 1.2, y - long * 0.95)], 13, closed=False)
        ink = mix(shade(palette.land, 0.9), palette.leaf, float(rng.random()) * 0.75)
        fill(sheet, tapered(spine, stage.unit * 0.006, 1), ink)
        for k in range(3, len(spine)):
            reach = long * 0.15 * (1 - k / len(spine)) ** 0.8 + 1
            along = spine[k] - spine[k - 1]
            heading = float(np.arctan2(along[1], along[0]))
            for way in (-1, 1):
                turn = heading + way * 1.05
                at = (spine[k][0] + np.cos(turn) * reach, spine[k][1] + np.sin(turn) * reach)
                fill(sheet, leaflet(at, reach, turn), shade(ink, 1.1 if way > 0 else 0.88))
    return trimmed(sheet, 1.0)


def air(brief: Brief, stage: Stage) -> Sparks:
    """Return what floats in the air: motes, fireflies, snow."""
    rng = brief.rng("air")
    snowing = brief.palette.name == "winter"
    n = brief.count(110 if snowing else 44)
    size = stage.unit * (0.0015 + 0.0042 * rng.random(n) ** 3)
    strength = 0.25 + 0.6 * rng.random(n)
    places = np.stack([rng.random(n) * stage.width, rng.random(n) * stage.height, size, strength, rng.random(n) * 6.28], axis=-1)
    fall = 0.06 if snowing else -0.012
    return Sparks(places, brief.palette.light, (stage.unit * 0.012, stage.unit * fall))
