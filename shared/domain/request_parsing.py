"""The field table of every kind of request, and reading a payload by it.

Section by section the table is what the documentation of a request says; a check and a CSV column follow from it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from shared.domain.dimensions import IMAGE_ASPECT_RATIOS, IMAGE_SIZES, VIDEO_ASPECT_RATIOS, VIDEO_RESOLUTIONS
from shared.domain.platforms import PLATFORMS
from shared.domain.request_fields import (
    Field,
    Lookups,
    RefusedError,
    boolean,
    choice,
    fallback,
    gs_uri,
    gs_uris,
    https_url,
    integer,
    model,
    name,
    number,
    one_of,
    text,
    usd,
)
from shared.domain.request_maps import json_schema, labels
from shared.errors import FieldError, InvalidRequest

STYLES = ("photographic", "digital-art", "cinematic", "anime", "sketch", "artistic", "minimalist")
MAX_NAME_CHARS = 200
MAX_VISUAL_PROMPT_CHARS = 1_000
MAX_TEXT_PROMPT_CHARS = 100_000
MAX_SYSTEM_CHARS = 20_000
MAX_SEED = 2**31 - 1

_ANY_KIND: Mapping[str, Field] = {
    "request_id": name(MAX_NAME_CHARS),
    "tenant": name(MAX_NAME_CHARS),
    "user": name(MAX_NAME_CHARS),
    "priority": choice(("high", "normal", "low")),
    "prefer": choice(("quality", "balanced", "cost", "speed")),
    "model": model(),
    "fallback": fallback(),
    "max_cost_usd": usd(),
    "min_grade": choice(("A", "B", "C", "D")),
    "cache": choice(("use", "refresh", "off")),
    "enhance_prompt": boolean(),
    "style": choice(STYLES),
    "negative_prompt": text(1, MAX_VISUAL_PROMPT_CHARS),
    "deadline_s": integer(10, 86_400),
    "callback_url": https_url(),
    "labels": labels(),
}
_IMAGE: Mapping[str, Field] = {
    "prompt": text(5, MAX_VISUAL_PROMPT_CHARS, lines=True),
    "count": integer(1, 8),
    "aspect_ratio": choice(IMAGE_ASPECT_RATIOS),
    "size": choice(IMAGE_SIZES),
    "seed": integer(0, MAX_SEED),
    "guidance_scale": number(0, 30),
    "reference_images": gs_uris(14),
    "person_generation": choice(("allow_all", "allow_adult", "dont_allow")),
}
_VIDEO: Mapping[str, Field] = {
    "prompt": text(5, MAX_VISUAL_PROMPT_CHARS, lines=True),
    "duration_s": integer(1, 60),
    "resolution": choice(VIDEO_RESOLUTIONS),
    "aspect_ratio": choice(VIDEO_ASPECT_RATIOS),
    "fps": one_of((16, 24, 25, 30, 60)),
    "audio": boolean(),
    "image": gs_uri(),
    "last_frame": gs_uri(),
    "seed": integer(0, MAX_SEED),
}
_TEXT: Mapping[str, Field] = {
    "prompt": text(1, MAX_TEXT_PROMPT_CHARS, lines=True),
    "task": choice(("general", "content", "reasoning", "fast", "complex")),
    "system": text(1, MAX_SYSTEM_CHARS, lines=True),
    "temperature": number(0, 2),
    "top_p": number(0, 1),
    "max_tokens": integer(1, 65_536),
    "response_schema": json_schema(),
    "inputs": gs_uris(10),
    "platform": choice(tuple(PLATFORMS)),
}

FIELDS: Mapping[str, Mapping[str, Field]] = {
    kind: {"kind": choice((kind,)), **own, **_ANY_KIND}
    for kind, own in {"image": _IMAGE, "video": _VIDEO, "text": _TEXT}.items()
}
ALL_FIELDS: Mapping[str, Field] = {name: field for table in FIELDS.values() for name, field in table.items()}
ATTRIBUTES = {"max_cost_usd": "max_cost_micro_usd"}  # by field, where the checked value has another name or unit

_REQUIRED = ("kind", "prompt")
_PLANNED_KINDS = ("talking_photo", "campaign")
_MAX_UNKNOWN_NAMED = 20
_MAX_NAME_SHOWN = 64


def read_fields(payload: object, lookups: Lookups) -> dict[str, Any]:
    """Return the checked values by attribute name; fields that are absent or null are left out.

    Raises:
        InvalidRequest: with everything that is wrong.
    """
    if not isinstance(payload, dict):
        raise InvalidRequest([FieldError("", "invalid_type", "a request must be a JSON object")])
    kind = payload.get("kind")
    kind = kind.strip() if isinstance(kind, str) else kind
    table = FIELDS.get(kind) if isinstance(kind, str) else None
    if table is None:
        _, errors = _checked(payload, _ANY_KIND, lookups)
        raise InvalidRequest([_kind_error(kind), *errors])
    values, errors = _checked(payload, table, lookups)
    errors += [FieldError(field, "required", "is missing") for field in _REQUIRED if payload.get(field) is None]
    errors += _unknown_fields([field for field in payload if field not in table], str(kind))
    if errors:
        raise InvalidRequest(errors)
    return values


def unknown_field(field: object, known: Iterable[str], what: str) -> FieldError:
    """Return the error of a name that none of the *known* fields has; *what* says whose fields those are."""
    shown = shown_name(field)
    close = difflib.get_close_matches(shown.lower(), known, n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return FieldError(shown, "unknown_field", f"is not a field of {what}{hint}")


def shown_name(field: object) -> str:
    """Return a field's name as it can be stored and shown, whatever was sent as one."""
    if not isinstance(field, str):
        return f"a {type(field).__name__}"
    short = field if len(field) <= _MAX_NAME_SHOWN else field[:_MAX_NAME_SHOWN] + "…"
    return short if short.isprintable() else short.encode("ascii", "backslashreplace").decode()


def _checked(
    payload: Mapping[Any, object], table: Mapping[str, Field], lookups: Lookups
) -> tuple[dict[str, Any], list[FieldError]]:
    values: dict[str, Any] = {}
    errors: list[FieldError] = []
    for field, value in payload.items():
        described = table.get(field)
        if described is None or value is None:
            continue
        try:
            values[ATTRIBUTES.get(field, field)] = described.check(value, lookups)
        except RefusedError as refusal:
            errors.append(FieldError(field, refusal.code, refusal.message))
    return values, errors


def _kind_error(kind: object) -> FieldError:
    listed = ", ".join(FIELDS)
    if kind is None:
        return FieldError("kind", "required", f"is missing; it must be one of {listed}")
    if not isinstance(kind, str):
        return FieldError("kind", "invalid_type", f"must be text, one of {listed}")
    if kind in _PLANNED_KINDS:
        return FieldError("kind", "unsupported_kind", f"{kind} is not made by this version yet, only {listed}")
    return FieldError("kind", "unknown_kind", f"must be one of {listed}")


def _unknown_fields(fields: list[object], kind: str) -> list[FieldError]:
    errors = [_unknown_field(field, kind) for field in fields[:_MAX_UNKNOWN_NAMED]]
    if len(fields) > _MAX_UNKNOWN_NAMED:
        more = len(fields) - _MAX_UNKNOWN_NAMED
        errors.append(FieldError("", "unknown_field", f"{more} more fields are not fields of a request"))
    return errors


def _unknown_field(field: object, kind: str) -> FieldError:
    owners = [other for other, table in FIELDS.items() if field in table]
    if not owners:
        return unknown_field(field, FIELDS[kind], f"{kind} requests")
    message = f"is not a field of {kind} requests, only of {' and '.join(owners)} requests"
    return FieldError(shown_name(field), "unknown_field", message)
