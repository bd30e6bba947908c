"""Round bodies, shaded as if lit by a large lamp from the upper left."""

from __future__ import annotations

import numpy as np

from shared.providers.studio.paint import (
    Array,
    Point,
    Rgb,
    cut,
    ellipse_points,
    fill,
    lay,
    shade,
    stroke,
    to_bytes,
)


def round_light(t: Array, gloss: float) -> Array:
    """Return brightness across a cylinder, t = -1 (left edge) .. 1; *gloss* 0..1 adds reflections of lamp and wall."""
    facing = np.clip(-0.52 * t + 0.80 * np.sqrt(np.clip(1 - t * t, 0, 1)), 0, 1)
    lamp = np.exp(-(((t + 0.52) / 0.09) ** 2)) * 0.75 + np.exp(-(((t - 0.80) / 0.05) ** 2)) * 0.35
    return np.asarray(0.30 + 0.78 * facing + gloss * lamp)


def turned(sheet: Array, outline: Array, color: Rgb, gloss: float = 0.3) -> None:
    """Fill *outline*, (n, 2) pixels, as the side view of a round body."""
    left, right = float(outline[:, 0].min()), float(outline[:, 0].max())
    x0, x1 = max(0, int(left) - 1), min(sheet.shape[1], int(right) + 2)
    y0, y1 = max(0, int(outline[:, 1].min()) - 1), min(sheet.shape[0], int(outline[:, 1].max()) + 2)
    if x1 <= x0 or y1 <= y0:
        return
    mask = np.zeros((y1 - y0, x1 - x0, 4), np.uint8)
    fill(mask, outline - np.array([x0, y0]), (255, 255, 255))
    t = np.clip((np.arange(x0, x1, dtype=np.float32) - left) / max(1.0, right - left) * 2 - 1, -1, 1)
    light = round_light(t, gloss)[None, :, None]
    tone = np.array(color, np.float32) * np.minimum(light, 1) + 255 * np.clip(light - 1, 0, 1) * 0.85
    patch = cut(np.repeat(tone, y1 - y0, axis=0), mask[..., 3])
    region = sheet[y0:y1, x0:x1].copy()
    lay(region, patch)
    sheet[y0:y1, x0:x1] = region


def ball(sheet: Array, center: Point, radius: float, color: Rgb, gloss: float = 0.6) -> None:
    """Draw a shaded sphere."""
    reach = int(radius) + 2
    left, top = int(center[0]) - reach, int(center[1]) - reach
    x = (np.arange(2 * reach + 1, dtype=np.float32)[None, :] + left - center[0]) / radius
    y = (np.arange(2 * reach + 1, dtype=np.float32)[:, None] + top - center[1]) / radius
    far = x * x + y * y
    z = np.sqrt(np.clip(1 - far, 0, 1))
    facing = np.clip(-0.45 * x - 0.55 * y + 0.70 * z, 0, 1)
    bounce = np.clip(0.5 * y + 0.3 * x, 0, 1) * (1 - z) * 0.5
    shine = np.exp(-((x + 0.38) ** 2 + (y + 0.45) ** 2) / 0.028) * gloss
    tone = np.array(color, np.float32) * (0.26 + 0.82 * facing + bounce)[..., None] + 255 * shine[..., None]
    patch = cut(tone, to_bytes(np.clip((1 - np.sqrt(far)) * radius + 0.5, 0, 1) * 255))
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(sheet.shape[1], left + 2 * reach + 1), min(sheet.shape[0], top + 2 * reach + 1)
    if x1 > x0 and y1 > y0:
        region = sheet[y0:y1, x0:x1].copy()
        lay(region, patch[y0 - top : y1 - top, x0 - left : x1 - left].copy())
        sheet[y0:y1, x0:x1] = region


def cylinder(sheet: Array, foot: Point, radius: float, tall: float, color: Rgb, tilt: float = 0.24) -> None:
    """Draw a standing cylinder; its upper face is seen at *tilt* (minor over major axis)."""
    x, y = foot
    t = np.linspace(0, np.pi, 40)
    lower = np.stack([x + radius * np.cos(t), y + radius * tilt * np.sin(t)], axis=-1)
    outline = np.concatenate([lower, [(x - radius, y - tall)], [(x + radius, y - tall)]])
    turned(sheet, outline, color, 0.06)
    fill(sheet, ellipse_points((x, y - tall), radius, radius * tilt), shade(color, 1.22))
    stroke(sheet, ellipse_points((x, y - tall), radius, radius * tilt), shade(color, 1.5), 1, closed=True)
