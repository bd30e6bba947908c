"""The models of Runway that are simulated: their fields per call, what they cost in credits, and what they make.

Sources: fields from the parameter types of runwayml 5.24.0; credits from docs.dev.runwayml.com/guides/pricing, checked
2026-11-20. Not published, and chosen here: which sizes of gen4_image count as 720p (those whose shorter side is 720),
how long a clip is when no duration is sent (`DEFAULT_S`), and that unknown fields are refused.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.simulators.runway_fields import IMAGE, PROMPT, SHARED, VIDEO, data_of, frames, items, references
from shared.simulators.vendor_http import between, filled

Shape = dict[str, Any]

DEFAULT_S: Mapping[str, int] = {"gen4_turbo": 10, "veo3.1": 8, "veo3.1_fast": 8, "gemini_omni_flash": 8}
ASSUMED_S = 5  # of an input clip that is not sent along and so cannot be measured
CREDITS_PER_SECOND: Mapping[str, tuple[int, int]] = {  # without sound, with sound
    "gen4_turbo": (5, 5),
    "gen4.5": (12, 12),
    "gemini_omni_flash": (10, 10),
    "veo3.1": (20, 40),
    "veo3.1_fast": (10, 15),
    "aleph2": (28, 28),
    "act_two": (5, 5),
}
LEAST_CREDITS: Mapping[str, int] = {"aleph2": 56}
SILENT = frozenset({"gen4_turbo", "gen4.5", "aleph2", "act_two"})

_TWO = frozenset({"1280:720", "720:1280"})
_SIX = _TWO | {"1104:832", "832:1104", "960:960", "1584:672"}
_VEO = _TWO | {"1080:1920", "1920:1080"}
_IMAGE_SIZES = _VEO | {"1024:1024", "1080:1080", "1168:880", "1360:768", "1440:1080", "1080:1440", "1808:768"}
_IMAGE_SIZES |= {"2112:912", "720:720", "960:720", "720:960", "1680:720"}
_ASPECT_RATIOS = frozenset({"16:9", "4:3", "3:2", "1:1", "2:3", "3:4", "9:16", "21:9"})

_PICTURE: Shape = {"promptText": PROMPT, "ratio": _IMAGE_SIZES, **SHARED}
_MP4: Shape = {"outputFormat?": frozenset({"mp4"})}  # the others cost more and are not rendered here
_GEN4_5: Shape = {"promptText": PROMPT, "duration": between(2, 10), **SHARED, **_MP4}
_VEO_OPTIONS: Shape = {
    "ratio": _VEO,
    "audio?": bool,
    "duration?": frozenset({4, 6, 8}),
    "negativePrompt?": filled(),
    "seed?": SHARED["seed?"],
}
_OMNI: Shape = {"duration?": between(3, 10), "ratio?": _TWO}
_WINDOW = {"start_seconds": between(0, 3600), "end_seconds": between(0, 3600)}
_KEYFRAME = (
    {"seconds": between(0, 3600, float), "uri": IMAGE, "range?": _WINDOW},
    {"at": between(0, 1, float), "uri": IMAGE, "range?": _WINDOW},
)
_PERFORMANCE = {"type": frozenset({"video"}), "uri": VIDEO}
_CHARACTER = ({"type": frozenset({"image"}), "uri": IMAGE}, _PERFORMANCE)

CALLS: Mapping[str, Mapping[str, Shape]] = {
    "text_to_image": {
        "gen4_image": {**_PICTURE, "referenceImages?": references(0)},
        "gen4_image_turbo": {**_PICTURE, "referenceImages": references(1)},
    },
    "text_to_video": {
        "gen4.5": {**_GEN4_5, "ratio": _TWO},
        "veo3.1": {**_VEO_OPTIONS, "promptText": PROMPT},
        "veo3.1_fast": {**_VEO_OPTIONS, "promptText": PROMPT},
        "gemini_omni_flash": {**_OMNI, "promptText": filled()},
    },
    "image_to_video": {
        "gen4.5": {**_GEN4_5, "ratio": _SIX, "promptImage": frames("first")},
        "gen4_turbo": {
            "promptImage": frames("first"),
            "ratio": _SIX,
            "promptText?": PROMPT,
            "duration?": between(2, 10),
            **SHARED,
        },
        "veo3.1": {**_VEO_OPTIONS, "promptImage": frames("first", "last"), "promptText?": PROMPT},
        "veo3.1_fast": {**_VEO_OPTIONS, "promptImage": frames("first", "last"), "promptText?": PROMPT},
        "gemini_omni_flash": {**_OMNI, "promptImage": frames("first"), "promptText?": filled()},
    },
    "video_to_video": {
        "aleph2": {
            "videoUri": VIDEO,
            "promptText?": filled(),
            "keyframes?": items(_KEYFRAME, 0, 5),
            "ratio?": str,
            "targetAspectRatio?": _ASPECT_RATIOS,
            **SHARED,
            **_MP4,
        }
    },
    "character_performance": {
        "act_two": {
            "character": _CHARACTER,
            "reference": _PERFORMANCE,
            "bodyControl?": bool,
            "expressionIntensity?": between(1, 5),
            "ratio?": _SIX,
            **SHARED,
        }
    },
}


@dataclass(frozen=True, slots=True)
class Order:
    """What an accepted create asks for, and its price in credits; *seconds* is 0 for an image."""

    model: str
    prompt: str
    width: int
    height: int
    seconds: int
    audio: bool
    credits: int


def order_of(call: str, body: Mapping[str, Any]) -> Order:
    """Return what a create with a well-formed *body* asks for."""
    model = body["model"]
    width, height = _size(body.get("ratio", ""))
    seconds = 0 if call == "text_to_image" else _seconds(model, body)
    audio = seconds > 0 and model not in SILENT and body.get("audio", True)
    return Order(
        model=model,
        prompt=body.get("promptText", ""),
        width=width,
        height=height,
        seconds=seconds,
        audio=audio,
        credits=_credits(model, min(width, height), seconds, with_audio=audio),
    )


def _size(ratio: str) -> tuple[int, int]:
    width, _, height = ratio.partition(":")
    return (int(width), int(height)) if width.isdecimal() and height.isdecimal() else (1280, 720)


def _seconds(model: str, body: Mapping[str, Any]) -> int:
    if model == "aleph2":
        return _measured_s(body["videoUri"])
    if model == "act_two":
        return _measured_s(body["reference"]["uri"])
    return int(body.get("duration") or DEFAULT_S[model])


def _credits(model: str, shorter_side: int, seconds: int, *, with_audio: bool) -> int:
    if model == "gen4_image_turbo":
        return 2
    if model == "gen4_image":
        return 5 if shorter_side <= 720 else 8
    return max(LEAST_CREDITS.get(model, 0), seconds * CREDITS_PER_SECOND[model][with_audio])


def _measured_s(uri: str) -> int:
    """Return the length of a clip in whole seconds, begun ones counted."""
    import av

    data = data_of(uri)
    if data is None:
        return ASSUMED_S
    try:
        with av.open(io.BytesIO(data), "r") as clip:
            return max(1, -(-(clip.duration or 0) // int(av.time_base)))
    except av.error.FFmpegError:
        return ASSUMED_S
