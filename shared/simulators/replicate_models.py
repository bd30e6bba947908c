"""Models of Replicate that are simulated: what their input must be, what they make, and what is billed for it.

Known models are checked by their published input schema; fields that a schema does not name are ignored, as there.
Any other model is taken as well: what it makes is guessed from its input, and it is billed by time.

Sources: the models' pages at replicate.com; billing units from replicate.com/pricing, checked 2026-11-20.
Simplified: pictures are PNG or JPEG, clips are as many whole seconds long as their frames come nearest to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from shared.providers.studio.text import count_tokens, render_text
from shared.simulators.vendor_http import Refused, between, check, filled
from shared.simulators.vendor_media import image, spoiled, video
from shared.simulators.vendor_text import platform_named

Input = Mapping[str, Any]

WORDS_PER_PIECE = 3
_SIZES: Mapping[str, tuple[int, int]] = {
    "1:1": (1024, 1024),
    "16:9": (1344, 768),
    "9:16": (768, 1344),
    "4:3": (1152, 896),
    "3:4": (896, 1152),
    "3:2": (1216, 832),
    "2:3": (832, 1216),
    "4:5": (896, 1088),
    "5:4": (1088, 896),
    "21:9": (1536, 640),
    "9:21": (640, 1536),
}
_FORMATS = {"png": "image/png", "jpg": "image/jpeg"}


@dataclass(frozen=True, slots=True)
class Product:
    """What a prediction makes.

    Attributes:
        count, is_list: how many files, and whether the output is a list even of one.
        text: in place of files.
        billed: units; with "gpu_second" the time is what is billed, and is not known here.
    """

    kind: str
    width: int = 0
    height: int = 0
    fps: int = 0
    seconds: int = 0
    count: int = 1
    is_list: bool = False
    media_type: str = "video/mp4"
    text: str = ""
    billed: Mapping[str, int] = field(default_factory=dict)


def _uri(value: Any) -> str | None:
    fits = isinstance(value, str) and value.startswith(("https://", "http://", "data:"))
    return None if fits else "Does not match format 'uri'"


_WAN = {
    "image?": _uri,
    "prompt?": filled(),
    "negative_prompt?": str,
    "aspect_ratio?": frozenset({"16:9", "9:16"}),
    "num_frames?": between(81, 100),
    "frames_per_second?": between(5, 24),
    "fast_mode?": frozenset({"Off", "Balanced", "Fast"}),
    "sample_steps?": between(1, 40),
    "sample_guide_scale?": between(0, 10, float),
    "sample_shift?": between(1, 10, float),
    "seed?": int,
}
_SVD = {
    "input_image?": _uri,
    "video_length?": frozenset({"14_frames_with_svd", "25_frames_with_svd_xt"}),
    "frames_per_second?": between(5, 30),
    "motion_bucket_id?": between(1, 255),
    "cond_aug?": float,
    "decoding_t?": int,
    "seed?": int,
}
_FLUX = {
    "prompt?": filled(),
    "aspect_ratio?": frozenset(_SIZES),
    "num_outputs?": between(1, 4),
    "output_format?": frozenset(_FORMATS),
    "seed?": int,
}
_LLAMA = {
    "prompt?": filled(),
    "system_prompt?": str,
    "max_tokens?": between(1, 8192),
    "temperature?": between(0, 5, float),
    "top_p?": between(0, 1, float),
    "seed?": int,
}
SVD = "stability-ai/stable-video-diffusion"
COMMUNITY = frozenset({SVD})  # run by version only
_SCHEMAS: Mapping[str, tuple[dict[str, Any], tuple[str, ...]]] = {  # the fields, and those that are required
    "wavespeedai/wan-2.1-i2v-720p": (_WAN, ("image", "prompt")),
    "wavespeedai/wan-2.1-i2v-480p": (_WAN, ("image", "prompt")),
    SVD: (_SVD, ("input_image",)),
    "black-forest-labs/flux-schnell": (_FLUX, ("prompt",)),
    "black-forest-labs/flux-1.1-pro": (_FLUX, ("prompt",)),
    "meta/meta-llama-3-70b-instruct": (_LLAMA, ("prompt",)),
}


def check_input(model: str, given: Input) -> None:
    """Raise Refused (422) unless *given* fits the model's schema."""
    schema, required = _SCHEMAS.get(model, ({}, ()))
    for name in required:
        if name not in given:
            raise Refused(422, f"{name} is required", code="required", field="input")
    known = {name: value for name, value in given.items() if f"{name}?" in schema}
    check(known, schema, "input", status=422)


def product_of(model: str, given: Input) -> Product:
    """Return what a model makes of its input."""
    if model.startswith("wavespeedai/wan-"):
        return _wan(model, given)
    if model == SVD:
        return _svd(given)
    if model.startswith("black-forest-labs/"):
        return _pictures(given, is_list=model.endswith("schnell"))
    if model in _SCHEMAS or {"max_tokens", "max_new_tokens", "system_prompt"} & set(given):
        return _words(given, by_token=model in _SCHEMAS)
    if {"num_frames", "video_length", "duration", "input_image"} & set(given):
        return _clip(1280, 720, 24, _whole(given.get("duration"), 5), {"gpu_second": 0})
    return Product("image", 1024, 1024, media_type="image/png", is_list=True, billed={"gpu_second": 0})


def made(product: Product, mark: str, *, is_spoiled: bool) -> bytes:
    """Return one file of a product; another *mark* gives other bytes."""
    if product.kind == "video":
        data = video(product.width, product.height, product.fps, product.seconds, mark, audio=False)
    else:
        data = image(product.width, product.height, product.media_type, mark)
    return spoiled(data) if is_spoiled else data


def maker(product: Product, mark: str, *, is_spoiled: bool) -> partial[bytes]:
    """Return `made` with its arguments, to be called when the file is read."""
    return partial(made, product, mark, is_spoiled=is_spoiled)


def pieces_of(text: str) -> list[str]:
    """Return a text in the pieces in which a language model hands it out."""
    words = text.split(" ")
    runs = [" ".join(words[n : n + WORDS_PER_PIECE]) for n in range(0, len(words), WORDS_PER_PIECE)]
    return [runs[0], *(f" {run}" for run in runs[1:])]


def _wan(model: str, given: Input) -> Product:
    width, height = (1280, 720) if model.endswith("720p") else (832, 480)
    if given.get("aspect_ratio") == "9:16":
        width, height = height, width
    fps = given.get("frames_per_second", 16)
    seconds = max(1, round(given.get("num_frames", 81) / fps))
    return _clip(width, height, fps, seconds, {"second": seconds})


def _svd(given: Input) -> Product:
    frames = 25 if given.get("video_length", "").startswith("25") else 14
    fps = given.get("frames_per_second", 6)
    return _clip(1024, 576, fps, max(1, round(frames / fps)), {"gpu_second": 0})


def _clip(width: int, height: int, fps: int, seconds: int, billed: Mapping[str, int]) -> Product:
    return Product("video", width, height, fps, seconds, billed=billed)


def _pictures(given: Input, *, is_list: bool) -> Product:
    width, height = _SIZES[given.get("aspect_ratio", "1:1")]
    count = given.get("num_outputs", 1) if is_list else 1
    media_type = _FORMATS[given.get("output_format", "jpg")]
    billed = {"image": count}
    return Product("image", width, height, count=count, is_list=is_list, media_type=media_type, billed=billed)


def _words(given: Input, *, by_token: bool) -> Product:
    prompt, system = str(given.get("prompt", "")), given.get("system_prompt") or ""
    most = _whole(given.get("max_tokens", given.get("max_new_tokens")), 512)
    seed, platform = _whole(given.get("seed"), 0), platform_named(system)
    text, _ = render_text(prompt, task="general", platform=platform, max_tokens=most, seed=seed)
    tokens = {"input_token": count_tokens(prompt + system), "output_token": count_tokens(text)}
    return Product("text", text=text, is_list=True, billed=tokens if by_token else {"gpu_second": 0})


def _whole(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise
