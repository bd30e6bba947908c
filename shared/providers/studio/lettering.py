"""Words on offline pictures: a small caption, a poster's title, an album's title; and the paper they stand on."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shared.providers.studio.brief import Brief
from shared.providers.studio.paint import Array, Rgb, luma, mix, noise, to_bytes

_CAPITALS = 1.32  # font size over height of capitals


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the picture sits on the page, pixels."""

    left: int
    top: int
    width: int
    height: int


def frame_of(brief: Brief, width: int, height: int) -> Frame:
    """Return the place of the picture: the whole page, or an inset on paper for posters and prints."""
    unit = min(width, height)
    if brief.layout == "poster":
        side, foot = round(unit * 0.06), round(max(unit * 0.17, height * 0.13))
        return Frame(side, side, width - 2 * side, height - side - foot)
    if brief.style == "minimalist":
        side, foot = round(unit * 0.07), round(unit * 0.11)
        return Frame(side, side, width - 2 * side, height - side - foot)
    return Frame(0, 0, width, height)


def on_paper(brief: Brief, picture: Array, frame: Frame, width: int, height: int) -> Array:
    """Return *picture* mounted on a page of textured paper; itself when it fills the page."""
    if (frame.width, frame.height) == (width, height):
        return picture
    fibre = noise(brief.rng("fibre"), min(width, 1024), min(height, 1024), (90, 90), 3, 0.7)
    paper = np.array(mix(brief.palette.paper, (250, 248, 243), 0.3), np.float32)
    texture = to_bytes(paper * (0.965 + 0.05 * fibre[..., None]))
    page: Array = cv2.resize(texture, (width, height), interpolation=cv2.INTER_CUBIC)
    page[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width] = picture
    return page


def letter(page: Array, brief: Brief, frame: Frame) -> None:
    """Write the title on *page*, in place, after the brief's layout."""
    height, width = page.shape[:2]
    unit = min(width, height)
    number = f"NO. {brief.seed % 1000:03d}"
    if brief.layout == "poster":
        _poster(page, brief, frame, number)
    elif brief.layout == "album" and brief.title:
        margin = unit * 0.07
        size = _write(page, brief.title, margin, margin, unit * 0.085, 0.1, width - 2 * margin)
        _write(page, number, margin, margin + size * 1.5, unit * 0.02, 0.35, width)
        _rule(page, margin, margin + size * 1.28, unit * 0.12, unit * 0.004)
    else:
        margin = unit * 0.045
        base = height - margin if frame.height == height else height - unit * 0.058
        left = margin if frame.height == height else float(frame.left)
        size = unit * 0.0185
        _write(page, number, width - left - _length(number, size, 0.3), base - size, size, 0.3, width)
        if brief.title:
            room = width - 2 * left - _length(number, size, 0.3) - unit * 0.06
            _write(page, brief.title, left, base - size, size, 0.3, room)
        if frame.height == height:
            _rule(page, left, base - size * 2.1, unit * 0.05, max(1.0, unit * 0.002))


def _poster(page: Array, brief: Brief, frame: Frame, number: str) -> None:
    height, width = page.shape[:2]
    unit = min(width, height)
    room = height - frame.top - frame.height
    low = frame.top + frame.height
    title = brief.title or "UNTITLED"
    top = low + room * 0.2
    size = _write(page, title, float(frame.left), top, min(room * 0.36, unit * 0.1), 0.08, float(frame.width))
    _write(page, brief.palette.name.upper(), float(frame.left), top + size + room * 0.14, room * 0.095, 0.35, width)
    small = room * 0.095
    _write(
        page,
        number,
        frame.left + frame.width - _length(number, small, 0.35),
        top + size + room * 0.14,
        small,
        0.35,
        width,
    )


def _glyphs(text: str, size: float, spacing: float) -> tuple[list[tuple[str, float]], float, ImageFont.FreeTypeFont]:
    """Return letters with their offsets, the length of the line, and the font."""
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType; captions need a scalable font")
    at, letters = 0.0, list[tuple[str, float]]()
    for character in text:
        letters.append((character, at))
        at += font.getlength(character) + spacing * size
    return letters, at - spacing * size, font


def _length(text: str, size: float, spacing: float) -> float:
    return _glyphs(text, max(6.0, size * _CAPITALS), spacing)[1]


def _write(page: Array, text: str, left: float, top: float, size: float, spacing: float, room: float) -> float:
    """Write a line of capitals, smaller if *room* pixels ask for it, and return its size.

    Args:
        left, top: of the capitals, pixels. size: their height, about. spacing: between letters, in sizes.
    """
    size = max(6.0, size * _CAPITALS)
    letters, long, font = _glyphs(text, size, spacing)
    if long > room:
        size = max(6.0, size * room / long)
        letters, long, font = _glyphs(text, size, spacing)
    height, width = int(size * 1.5) + 2, int(long + size) + 2
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    for character, at in letters:
        draw.text((at + 1, 0), character, font=font, fill=255)
    ascent = draw.textbbox((0, 0), "H", font=font)[1]
    _print(page, np.asarray(image), round(left), round(top - ascent))
    return size / _CAPITALS


def _rule(page: Array, left: float, top: float, long: float, thick: float) -> None:
    mask = np.full((max(1, round(thick)), max(1, round(long))), 255, np.uint8)
    _print(page, mask, round(left), round(top))


def _print(page: Array, mask: Array, left: int, top: int) -> None:
    """Print *mask* in dark or light ink, whichever the ground there asks for."""
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(page.shape[1], left + mask.shape[1]), min(page.shape[0], top + mask.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    ground = page[y0:y1, x0:x1]
    ink = _ink_on(ground)
    cover = mask[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.float32)[..., None] / 255 * 0.94
    ground[:] = to_bytes(ground + (np.array(ink, np.float32) - ground) * cover)


def _ink_on(ground: Array) -> Rgb:
    mean = ground.reshape(-1, 3).mean(axis=0)
    color = (float(mean[0]), float(mean[1]), float(mean[2]))
    return mix(color, (18, 18, 24), 0.88) if luma(color) > 132 else mix(color, (255, 252, 244), 0.94)
