"""Still pictures of the offline provider: composed from the prompt's words and a seed, without any model.

The same arguments give the very same bytes; another seed gives another picture. Safe in threads: nothing is shared.
"""

from __future__ import annotations

import cv2
import numpy as np

from shared.providers.studio.abstract import abstract
from shared.providers.studio.botany import botanical
from shared.providers.studio.brief import Brief, read_brief
from shared.providers.studio.city import city
from shared.providers.studio.finish import finished, tone_table, toned
from shared.providers.studio.forest import forest
from shared.providers.studio.hall import hall
from shared.providers.studio.lettering import frame_of, letter, on_paper
from shared.providers.studio.outdoors import landscape, sea
from shared.providers.studio.paint import Array, resized
from shared.providers.studio.portrait import portrait
from shared.providers.studio.product import product
from shared.providers.studio.scene import Scene, Stage
from shared.providers.studio.space import space
from shared.providers.studio.style import BAR_INK, bar_height, treat

_COMPOSERS = {
    "product": product,
    "portrait": portrait,
    "hall": hall,
    "city": city,
    "space": space,
    "botanical": botanical,
    "abstract": abstract,
    "forest": forest,
    "sea": sea,
    "landscape": landscape,
}
_WORK_AREA = 2048 * 2048  # larger pictures are composed at this size, enlarged, and given fine grain
_SHARPNESS = {"image/png": 1150.0, "image/jpeg": 1500.0}  # JPEG smooths a little


def compose(brief: Brief, stage: Stage) -> Scene:
    """Return the scene of *brief* on *stage*."""
    return _COMPOSERS[brief.subject](brief, stage)


def render_image(
    prompt: str,
    *,
    width: int,
    height: int,
    seed: int,
    style: str | None = None,
    media_type: str = "image/png",
    detail: float = 1.0,
) -> bytes:
    """Return a picture of *prompt* as an 8-bit sRGB file of exactly *width* x *height* pixels.

    Args:
        style: "photographic", "digital-art", "cinematic", "anime", "sketch", "artistic", "minimalist" or None.
        media_type: "image/png" or "image/jpeg".
        detail: 0.5..1, how rich the composition is; the quality gate is passed all the same.

    Raises:
        ValueError: another media type, or a side under 64 pixels.
    """
    if media_type not in _SHARPNESS:
        raise ValueError(f"media type {media_type!r} is not one of {', '.join(_SHARPNESS)}")
    if min(width, height) < 64:
        raise ValueError(f"{width} x {height}: a side needs 64 pixels")
    brief = read_brief(prompt, seed, style, detail)
    frame = frame_of(brief, width, height)
    picture = resized(_picture(brief, frame.width, frame.height), frame.width, frame.height)
    picture = toned(picture, tone_table(picture, night=brief.palette.is_night))
    bar = bar_height(style, frame.height)
    picture[:bar] = picture[frame.height - bar :] = BAR_INK
    page = on_paper(brief, picture, frame, width, height)
    letter(page, brief, frame)
    page = finished(page, brief.rng("grain"), sharpness=_SHARPNESS[media_type])
    return _encoded(page, media_type)


def _picture(brief: Brief, width: int, height: int) -> Array:
    """Return the treated composition, uint8 RGB, at most the working size."""
    k = min(1.0, (_WORK_AREA / (width * height)) ** 0.5)
    stage = Stage(max(16, round(width * k)), max(16, round(height * k)))
    canvas = compose(brief, stage).picture()
    return treat(cv2.cvtColor(canvas, cv2.COLOR_RGBA2RGB), brief)


def _encoded(picture: Array, media_type: str) -> bytes:
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    if media_type == "image/png":
        options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
        return np.asarray(cv2.imencode(".png", bgr, options)[1]).tobytes()
    options = [cv2.IMWRITE_JPEG_QUALITY, 93, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return np.asarray(cv2.imencode(".jpg", bgr, options)[1]).tobytes()
