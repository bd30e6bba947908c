"""A request to every vendor and kind, what each call is billed, and which bytes the vendor gives out.

Prices are those of the vendors' price pages, written down once more: costs are reckoned from them by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from shared.ports import Json
from shared.simulators import vendor_media

OWN_ROWS = """
[[model]]  # a project that still has it
id = "imagen-4.0-generate-001"
retires_on = 2027-06-30
location = "us-central1"
sizes = ["1K"]
max_count = 4
pieces_per_call = 4
price = [{ unit = "image", amount = "0.04", from = 2026-01-01, source = "https://example.com", checked = 2026-11-20 }]

[[model]]  # what the account pays for a picture
id = "stable-diffusion-xl"
price = [{ unit = "image", amount = "0.002", from = 2026-01-01, source = "https://example.com", checked = 2026-11-20 }]
"""
SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["title", "n"],
}
TEXT: Json = {"kind": "text"}
IMAGE: Json = {"kind": "image", "size": "1K"}
CLIP: Json = {"kind": "video", "duration_s": 4, "audio": False}
FIRST, LAST = "gs://inbox/first.png", "gs://inbox/last.png"
FPS = 24
THOUGHTS_OF_A_CLIP = 120

Rates = Mapping[str, Fraction]  # micro-USD per unit
Served = Callable[[Json, int], bytes]  # file n of a call, as the vendor gives it out


def per_million(**usd: str) -> Rates:
    """Prices in USD of a million tokens."""
    return {unit: Fraction(amount) for unit, amount in usd.items()}


def per_unit(**usd: str) -> Rates:
    """Prices in USD of one second, picture or credit."""
    return {unit: Fraction(amount) * 1_000_000 for unit, amount in usd.items()}


def by_hand(billed: Mapping[str, float], rates: Rates) -> int:
    """What one call costs, micro-USD; a begun one counts."""
    return math.ceil(sum(Fraction(n) * rates[unit] for unit, n in billed.items()))


def picture(mark: str, media_type: str = "image/png", size: tuple[int, int] = (1024, 1024)) -> Served:
    return lambda call, n: vendor_media.image(*size, media_type, mark.format(id=call["id"], n=n))


def film(mark: str, duration_s: int = 4, *, fps: int = FPS, audio: bool = False) -> Served:
    form = (1280, 720, fps, duration_s)
    return lambda call, n: vendor_media.video(*form, mark.format(id=call["id"], n=n), audio=audio)


@dataclass(frozen=True)
class Case:
    """One request, and what has to come of it.

    Attributes:
        units: what each call is billed, where the price page fixes it; the other units are what the vendor says.
        calls, pieces: how many calls, and how many pieces each of them makes.
        served: the vendor's own bytes; None for texts.
    """

    name: str
    request: Json
    rates: Rates
    units: Mapping[str, int] = field(default_factory=dict)
    calls: int = 1
    pieces: int = 1
    served: Served | None = None
    size: tuple[int, int] = (1024, 1024)


FLASH = per_million(input_token="0.75", output_token="3.75")
LITE = per_million(input_token="0.30", output_token="2.50")
BANANA_2 = per_million(input_token="0.50", output_token="3.00", image_token="60")
BANANA_2_LITE = per_million(input_token="0.25", output_token="1.50", image_token="30")
OMNI = per_million(input_token="1.50", output_token="9.00", video_token="17.50")
GPT_OSS = per_million(input_token="0.35", output_token="0.75")
CREDIT = per_unit(credit="0.01")

CASES = [
    Case("gemini text", {**TEXT, "model": "gemini-3.8-flash"}, FLASH),
    Case("gemini text by schema", {**TEXT, "model": "gemini-3.5-flash-lite", "response_schema": SCHEMA}, LITE),
    Case("gemini text of pictures", {**TEXT, "model": "gemini-3.5-flash-lite", "inputs": [FIRST, LAST]}, LITE),
    Case(
        "gemini picture",
        {**IMAGE, "size": "512", "model": "gemini-3.1-flash-image"},
        BANANA_2,
        {"image_token": 747},
        served=picture("{id}", size=(512, 512)),
        size=(512, 512),
    ),
    Case(
        "gemini picture after a picture",
        {**IMAGE, "size": "512", "model": "gemini-3.1-flash-image", "reference_images": [FIRST]},
        BANANA_2,
        {"image_token": 747},
        served=picture("{id}", size=(512, 512)),
        size=(512, 512),
    ),
    Case(
        "three gemini pictures",
        {**IMAGE, "model": "gemini-3.1-flash-lite-image", "count": 3},
        BANANA_2_LITE,
        {"image_token": 1120},
        calls=3,
        served=picture("{id}"),
    ),
    Case(
        "imagen, revived by a row of the user's own",
        {**IMAGE, "model": "imagen-4.0-generate-001", "count": 2},
        per_unit(image="0.04"),
        {"image": 2},
        pieces=2,
        served=picture("{id} {n}"),
    ),
    Case(
        "veo from words",
        {**CLIP, "model": "veo-3.1-fast-generate-001"},
        per_unit(second="0.10"),
        {"second": 4},
        served=film("{id} {n}"),
    ),
    Case(
        "veo from a picture with sound",
        {**CLIP, "model": "veo-3.1-generate-001", "audio": True, "image": FIRST},
        per_unit(second="0.40"),
        {"second": 4},
        served=film("{id} {n}", audio=True),
    ),
    Case(
        "veo between two pictures",
        {**CLIP, "model": "veo-3.1-fast-generate-001", "image": FIRST, "last_frame": LAST},
        per_unit(second="0.10"),
        {"second": 4},
        served=film("{id} {n}"),
    ),
    Case(
        "omni 1.1",
        {**CLIP, "model": "gemini-omni-1.1-flash-preview", "audio": True},
        OMNI,
        {"video_token": 4 * 5792, "output_token": THOUGHTS_OF_A_CLIP},
        served=film("{id}", audio=True),
    ),
    Case("gen4.5", {**CLIP, "model": "gen4.5"}, CREDIT, {"credit": 4 * 12}, served=film("{id}")),
    Case(
        "gen4_turbo from a picture",
        {**CLIP, "model": "gen4_turbo", "image": FIRST},
        CREDIT,
        {"credit": 4 * 5},
        served=film("{id}"),
    ),
    Case(
        "veo at Runway with sound",
        {**CLIP, "model": "runway-veo3.1_fast", "audio": True},
        CREDIT,
        {"credit": 4 * 15},
        served=film("{id}", audio=True),
    ),
    Case(
        "gen4_image",
        {**IMAGE, "model": "gen4_image"},
        CREDIT,
        {"credit": 8},
        served=picture("{id}"),
    ),
    Case(
        "three flux pictures in one call",
        {**IMAGE, "model": "flux-schnell", "count": 3},
        per_unit(image="0.003"),
        {"image": 3},
        pieces=3,
        served=picture("{id}-{n}", "image/jpeg"),
    ),
    Case(
        "two flux pro pictures in two calls",
        {**IMAGE, "model": "flux-1.1-pro", "count": 2},
        per_unit(image="0.04"),
        {"image": 1},
        calls=2,
        served=picture("{id}-{n}", "image/jpeg"),
    ),
    Case(
        "wan from a picture",
        {**CLIP, "model": "wan-2.1-i2v-720p", "image": FIRST, "duration_s": 5, "fps": 16},
        per_unit(second="0.25"),
        {"second": 5},
        served=film("{id}-{n}", 5, fps=16),
    ),
    Case(
        "llama text at Replicate",
        {**TEXT, "model": "meta-llama-3-70b-instruct"},
        per_million(input_token="0.65", output_token="2.75"),
    ),
    Case("text at Hugging Face", {**TEXT, "model": "gpt-oss-120b"}, GPT_OSS),
    Case(
        "picture at Hugging Face",
        {**IMAGE, "model": "stable-diffusion-xl"},
        per_unit(image="0.002"),
        {"image": 1},
        served=picture("{id}"),
    ),
]
