"""What an upstream system may ask for: one flat JSON object, checked field by field.

The dataclasses are the checked form. `parse_request` is the only way in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from shared.domain.money import format_usd
from shared.domain.request_fields import Lookups
from shared.domain.request_parsing import ATTRIBUTES, read_fields

Json = dict[str, Any]

DEFAULT_DEADLINE_S = {"image": 600, "video": 3600, "text": 300}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Fields of every kind. Absent optional fields are None; defaults are filled in by `parse_request`."""

    kind: str  # image | video | text
    prompt: str  # trimmed, NFC
    request_id: str | None = None
    tenant: str = "default"
    user: str | None = None
    priority: str = "normal"  # high | normal | low
    prefer: str = "balanced"  # quality | balanced | cost | speed
    model: str | None = None  # id or alias, as asked
    fallback: bool | tuple[str, ...] = True
    max_cost_micro_usd: int | None = None
    min_grade: str = "C"  # A | B | C | D
    cache: str = "use"  # use | refresh | off
    enhance_prompt: bool = True
    style: str | None = None
    negative_prompt: str | None = None
    deadline_s: int
    callback_url: str | None = None
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest(Request):
    """Still pictures."""

    count: int = 1
    aspect_ratio: str = "1:1"
    size: str = "1K"  # 512 | 1K | 2K | 4K
    seed: int | None = None
    guidance_scale: float | None = None
    reference_images: tuple[str, ...] = ()  # gs:// URIs
    person_generation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRequest(Request):
    """A clip."""

    duration_s: int = 6
    resolution: str = "720p"  # 720p | 1080p | 4k
    aspect_ratio: str = "16:9"
    fps: int = 24
    audio: bool = True
    image: str | None = None  # gs:// first frame
    last_frame: str | None = None  # gs://
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRequest(Request):
    """Words."""

    task: str = "general"  # general | content | reasoning | fast | complex
    system: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int = 1024
    response_schema: Json | None = None
    inputs: tuple[str, ...] = ()  # gs:// images, audio, video
    platform: str | None = None


_CLASSES: Mapping[str, type[ImageRequest | VideoRequest | TextRequest]] = {
    "image": ImageRequest,
    "video": VideoRequest,
    "text": TextRequest,
}
_FIELD_NAMES = {attribute: name for name, attribute in ATTRIBUTES.items()}


def parse_request(
    payload: object, *, known_models: Callable[[str], bool], schema_problem: Callable[[Json], str | None]
) -> ImageRequest | VideoRequest | TextRequest:
    """Return the checked request in *payload*, a JSON value of any kind.

    A field that is null counts as absent. Texts are trimmed and in NFC.

    Args:
        payload: what was sent, decoded.
        known_models: whether a name is an id or alias in the catalogue.
        schema_problem: what is wrong with a JSON schema, None when nothing is.

    Raises:
        InvalidRequest: with every problem found, not only the first. The codes: required, unknown_field,
            invalid_type, not_allowed, too_short, too_long, control_characters, unknown_model, unknown_kind,
            unsupported_kind.
    """
    values = read_fields(payload, Lookups(known_models, schema_problem))
    kind: str = values["kind"]
    values.setdefault("deadline_s", DEFAULT_DEADLINE_S[kind])
    return _CLASSES[kind](**values)


def request_to_doc(request: Request) -> Json:
    """Return the JSON that `parse_request` reads as an equal request: only fields that are not at their default."""
    doc: Json = {"kind": request.kind}
    for attribute, name, default in _FORMS[type(request)]:
        value = getattr(request, attribute)
        if value != default:
            doc[name] = list(value) if isinstance(value, tuple) else value
    if request.max_cost_micro_usd is not None:
        doc["max_cost_usd"] = format_usd(request.max_cost_micro_usd)
    if request.deadline_s == DEFAULT_DEADLINE_S[request.kind]:
        del doc["deadline_s"]
    return doc


def _form(request_class: type[Request]) -> list[tuple[str, str, object]]:
    """Attribute, field name and default of everything but the kind."""
    return [
        (f.name, _FIELD_NAMES.get(f.name, f.name), {} if f.default_factory is not MISSING else f.default)
        for f in fields(request_class)
        if f.name != "kind"
    ]


_FORMS: Mapping[type[Request], list[tuple[str, str, object]]] = {
    request_class: _form(request_class) for request_class in _CLASSES.values()
}
