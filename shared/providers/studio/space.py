"""Compositions in space: a nebula, stars, a planet with its ring and moons, an alien ridge in front."""

from __future__ import annotations

import cv2
import numpy as np

from shared.providers.studio.air import air
from shared.providers.studio.brief import Brief
from shared.providers.studio.land import Range, ridge
from shared.providers.studio.paint import (
    Array,
    Rgb,
    blank,
    cut,
    disc,
    distance,
    fill,
    light,
    mix,
    noise,
    opaque,
    resized,
    shade,
    smooth,
    soft_size,
    to_bytes,
)
from shared.providers.studio.scene import Layer, Scene, Sheet, Stage, trimmed
from shared.providers.studio.shapes import standing_person


def space(brief: Brief, stage: Stage) -> Scene:
    """Return a planet over a nebula, seen from a ridge with one small figure."""
    palette = brief.palette
    side = 1 if brief.chance("planet side", 0.5) else -1
    u = 0.5 + side * brief.draw("planet u", 0.04, 0.26)
    v = brief.draw("planet v", 0.3, 0.46)
    radius = brief.draw("planet r", 0.15, 0.29) * stage.unit
    sun_u = 0.5 - side * 0.5
    layers: list[Layer] = [_nebula(brief, stage, u, v), _stars(brief, stage)]
    layers += _planet(brief, stage, stage.at(u, v), radius, -side)
    layers.append(_moons(brief, stage, stage.at(u, v), radius))
    for i, far in enumerate((0.55, 0.28, 0.02)):
        base, rise = 0.84 + 0.08 * i, brief.draw(f"rise {i}", 0.08, 0.2)
        land = Range(name=f"ridge {i}", base=base, rise=rise, far=far, sun_u=sun_u, surface="crags", cells=2.2)
        sheet, crest = ridge(brief, stage, land)
        layers.append(sheet)
    figure = blank(stage.width, stage.height)
    x = (0.5 - side * brief.draw("figure u", 0.1, 0.3)) * stage.width
    foot = (x, min(float(crest[int(x)]) + 2, stage.height * 0.97))
    standing_person(figure, foot, stage.unit * 0.085, shade(palette.land, 0.8))
    layers += [trimmed(figure, 0.6), air(brief, stage)]
    return Scene(stage, tuple(layers))


def _nebula(brief: Brief, stage: Stage, u: float, v: float) -> Sheet:
    palette, rng = brief.palette, brief.rng("nebula")
    width, height = soft_size(stage.width, stage.height, 560)
    across, down = max(1.0, width / height), max(1.0, height / width)
    size = min(width, height)
    warp_x, warp_y = (noise(rng, width, height, (2 * across, 2 * down), 4, 0.45) - 0.5 for _ in range(2))
    x = np.arange(width, dtype=np.float32)[None, :] + warp_x * size * 0.34
    y = np.arange(height, dtype=np.float32)[:, None] + warp_y * size * 0.34
    gas = [
        cv2.remap(
            noise(rng, width, height, (2.2 * across, 2.2 * down), brief.count(6), 0.56),
            x,
            y,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        for _ in range(3)
    ]
    night = np.array(mix(palette.sky[0], (6, 8, 26), 0.6), np.float32)
    field = np.broadcast_to(night, (height, width, 3)).copy()
    slope = brief.draw("nebula slope", -0.7, 0.7)
    off = (np.arange(height, dtype=np.float32)[:, None] / height - v) - slope * (
        np.arange(width, dtype=np.float32)[None, :] / width - u
    )
    belt = np.exp(-((off / 0.34) ** 2))
    for cloud, color, gain in zip(gas, (palette.sky[1], palette.spice, palette.accent), (1.0, 0.6, 0.42), strict=True):
        density = smooth(0.42, 0.98, cloud) * (0.12 + 1.05 * belt) * gain
        field += np.array(color, np.float32) * density[..., None]
    core = smooth(0.5, 0.85, gas[0] * 0.5 + gas[1] * 0.5) * belt**2
    field += np.array(palette.light, np.float32) * core[..., None] * 0.55
    field *= (1 - 0.7 * smooth(0.58, 0.85, gas[2]) * (1 - 0.6 * core))[..., None]
    return Sheet(opaque(resized(np.clip(field, 0, 255), stage.width, stage.height)), 0.0)


def _stars(brief: Brief, stage: Stage) -> Sheet:
    rng, palette = brief.rng("stars"), brief.palette
    sheet = blank(stage.width, stage.height)
    n = brief.count(620 * max(1.0, max(stage.width, stage.height) / stage.unit / 1.5))
    us, vs, sizes = rng.random(n), rng.random(n), rng.random(n) ** 9
    tints = (palette.light, (255, 255, 255), palette.spice, palette.sky[2])
    for i, (u, v, size) in enumerate(zip(us.tolist(), vs.tolist(), sizes.tolist(), strict=True)):
        at = (u * stage.width, v * stage.height)
        ink = mix(tints[i % 4], (255, 255, 255), 0.5)
        disc(sheet, at, stage.unit * (0.0006 + 0.0030 * size), shade(ink, 0.55 + 0.45 * size**0.2))
        if size > 0.55:
            _glint(sheet, at, stage.unit * 0.018 * size, ink)
    return trimmed(sheet, 0.02)


def _glint(sheet: Array, at: tuple[float, float], reach: float, ink: Rgb) -> None:
    thin = max(0.6, reach * 0.045)
    fill(sheet, np.array(at) + np.array([(-reach, 0), (0, -thin), (reach, 0), (0, thin)]), ink)
    fill(sheet, np.array(at) + np.array([(0, -reach), (thin, 0), (0, reach), (-thin, 0)]), ink)


def _planet(brief: Brief, stage: Stage, center: tuple[float, float], radius: float, sun_side: int) -> list[Layer]:
    """Return atmosphere, far half of the ring, globe and near half of the ring."""
    globe = _globe(brief, stage, center, radius, sun_side)
    palette = brief.palette
    width, height = soft_size(stage.width, stage.height, 320)
    k = width / stage.width
    rim = (center[0] * k + sun_side * radius * k * 0.12, (center[1] - radius * 0.06) * k)
    glow = 0.6 * np.exp(-np.maximum(distance(width, height, rim) / (radius * k) - 0.95, 0) / 0.16)
    layers: list[Layer] = [
        Sheet(resized(light(mix(palette.light, palette.sky[2], 0.6), glow), stage.width, stage.height), 0.05)
    ]
    if not brief.chance("ring", 0.6):
        return [*layers, globe]
    tilt, turn = brief.draw("ring tilt", 0.14, 0.3), brief.draw("ring turn", -0.5, 0.5)
    ring = _ring(brief, stage, center, radius, tilt, turn)
    y = np.arange(stage.height, dtype=np.float32)[:, None] - center[1]
    x = np.arange(stage.width, dtype=np.float32)[None, :] - center[0]
    front = (y * np.cos(turn) - x * np.sin(turn)) > 0
    far, near = ring.copy(), ring
    far[front] = 0
    near[~front] = 0
    return [*layers, trimmed(far, 0.05), globe, trimmed(near, 0.05)]


def _globe(brief: Brief, stage: Stage, center: tuple[float, float], radius: float, sun_side: int) -> Sheet:
    palette, rng = brief.palette, brief.rng("globe")
    top, left, reach = int(center[1] - radius) - 2, int(center[0] - radius) - 2, int(2 * radius) + 5
    x = (np.arange(reach, dtype=np.float32)[None, :] + left - center[0]) / radius
    y = (np.arange(reach, dtype=np.float32)[:, None] + top - center[1]) / radius
    inside = x * x + y * y
    z = np.sqrt(np.clip(1 - inside, 0, 1))
    banded = brief.chance("banded", 0.55)
    grain = noise(rng, 512, 512, (2, 16) if banded else (5, 5), 6, 0.55)
    swirl = noise(rng, 512, 512, (6, 6), 4)
    longitude = (np.arctan2(x, z + 1e-4) / 3.1416 + 0.5) * 500 + 0 * y
    latitude = (np.arcsin(np.clip(y, -1, 1)) / 3.1416 + 0.5) * 500 + 0 * x
    latitude += (cv2.remap(swirl, longitude, latitude, cv2.INTER_LINEAR) - 0.5) * (26 if banded else 60)
    skin = cv2.remap(grain, longitude, latitude, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)[..., None]
    low, high, pale = (
        np.array(c, np.float32) for c in (mix(palette.leaf, palette.land, 0.2), palette.accent, palette.light)
    )
    color = low + (high - low) * smooth(0.3, 0.65, skin) + (pale - high) * smooth(0.62, 0.9, skin) * 0.75
    lit = np.clip(sun_side * x * 0.78 - y * 0.28 + z * 0.5, -0.2, 1)
    color *= (0.05 + 1.12 * np.clip(lit, 0, 1) ** 0.85)[..., None]
    rim = np.clip(1 - z, 0, 1) ** 3 * np.clip(lit + 0.25, 0, 1)
    color += np.array(mix(palette.light, palette.sky[2], 0.5), np.float32) * rim[..., None] * 0.9
    mask = to_bytes(np.clip((1 - np.sqrt(inside)) * radius + 0.5, 0, 1) * 255)
    ball = cut(np.clip(color, 0, 255), mask)
    sheet = blank(stage.width, stage.height)
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(stage.width, left + reach), min(stage.height, top + reach)
    sheet[y0:y1, x0:x1] = ball[y0 - top : y1 - top, x0 - left : x1 - left]
    return trimmed(sheet, 0.05)


def _ring(brief: Brief, stage: Stage, center: tuple[float, float], radius: float, tilt: float, turn: float) -> Array:
    x = np.arange(stage.width, dtype=np.float32)[None, :] - center[0]
    y = np.arange(stage.height, dtype=np.float32)[:, None] - center[1]
    c, s = float(np.cos(turn)), float(np.sin(turn))
    far = np.sqrt((x * c + y * s) ** 2 + ((y * c - x * s) / tilt) ** 2) / radius
    grooves = cv2.resize(brief.rng("ring").random((1, 46), dtype=np.float32), (1024, 1), interpolation=cv2.INTER_CUBIC)[
        0
    ]
    at = np.clip((far - 1.35) / 0.85, 0, 1)
    band = grooves[(at * 1023).astype(np.int32)] * smooth(0.0, 0.03, at) * smooth(1.0, 0.96, at)
    opacity = np.clip(band * 1.05, 0, 0.92)
    color = mix(brief.palette.light, brief.palette.spice, 0.35)
    return np.dstack([to_bytes(opacity * channel) for channel in (*color, 255)])


def _moons(brief: Brief, stage: Stage, center: tuple[float, float], radius: float) -> Sheet:
    rng, palette = brief.rng("moons"), brief.palette
    sheet = blank(stage.width, stage.height)
    for _ in range(int(rng.integers(1, 4))):
        angle, far = float(rng.uniform(0, 6.28)), radius * float(rng.uniform(1.5, 2.3))
        at = (center[0] + np.cos(angle) * far, center[1] + np.sin(angle) * far * 0.6)
        size = stage.unit * float(rng.uniform(0.008, 0.03))
        disc(sheet, at, size, mix(palette.light, palette.haze, 0.35))
        disc(sheet, (at[0] + size * 0.32, at[1] + size * 0.16), size * 0.86, mix(palette.sky[0], palette.haze, 0.45))
    return trimmed(sheet, 0.06)
