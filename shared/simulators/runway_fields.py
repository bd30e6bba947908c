"""Fields of Runway's creates that are more than a type: input files, prompt images, references.

Sources: the parameter types of runwayml 5.24.0 (`types/*_create_params.py`) and docs.dev.runwayml.com/assets/inputs.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any
from urllib.parse import urlsplit

from shared.simulators.vendor_http import Check, Refused, between, check, filled

LONGEST_URL = 2048
LARGEST_DATA_URI = 5 * 1024 * 1024  # characters
IMAGE_TYPES = frozenset({"image/jpg", "image/jpeg", "image/png", "image/webp"})
VIDEO_TYPES = frozenset({"video/mp4", "video/webm", "video/quicktime", "video/x-matroska", "video/ogg", "video/3gpp"})

_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,(.*)", re.DOTALL)
_NUMERIC_HOST = re.compile(r"[\d.]+|.*:.*")
_TAG = re.compile(r"[A-Za-z]\w{2,15}", re.ASCII)


def asset(types: frozenset[str]) -> Check:
    """Return a shape: an HTTPS URL of a named host, an upload of Runway, or a data URI below 5 MiB."""

    def complaint(value: Any) -> str | None:
        if not isinstance(value, str):
            return "must be a string"
        return _data_uri_fault(value, types) if value.startswith("data:") else _url_fault(value)

    return complaint


def frames(*positions: str) -> Check:
    """Return a shape: one image, or a list of images with their positions, one of them "first"."""

    def complaint(value: Any) -> str | None:
        try:
            check(value, (IMAGE, [{"uri": IMAGE, "position": frozenset(positions)}]))
        except Refused as refused:
            return refused.message
        if isinstance(value, str):
            return None
        found = [each["position"] for each in value]
        fits = found.count("first") == 1 and len(found) == len(set(found))
        return None if fits else "exactly one image must have the position first, and no position may come twice"

    return complaint


def references(least: int) -> Check:
    """Return a shape: *least* to three reference images, each with a tag if it is named in the prompt."""
    return items({"uri": IMAGE, "tag?": _tag}, least, 3)


def items(shape: Any, least: int, most: int) -> Check:
    """Return a shape: a list of so many items."""

    def complaint(value: Any) -> str | None:
        try:
            check(value, [shape])
        except Refused as refused:
            return refused.message
        return None if least <= len(value) <= most else f"must have from {least} to {most} items"

    return complaint


def data_of(uri: str) -> bytes | None:
    """Return the bytes in a data URI; None for a URL."""
    match = _DATA_URI.fullmatch(uri)
    return base64.b64decode(match[2]) if match else None


def _data_uri_fault(value: str, types: frozenset[str]) -> str | None:
    match = _DATA_URI.fullmatch(value)
    if len(value) >= LARGEST_DATA_URI:
        return "The data URI is too large."
    if match is None:
        return "Invalid data URI."
    if match[1] not in types:
        return "Unsupported asset type."
    try:
        return None if base64.b64decode(match[2], validate=True) else "Invalid data URI."
    except binascii.Error:
        return "Invalid data URI."


def _url_fault(value: str) -> str | None:
    try:
        url = urlsplit(value)
    except ValueError:
        return "Invalid URL"
    if len(value) > LONGEST_URL:
        return "The URL is too long."
    if url.scheme == "runway":
        return None
    if url.scheme != "https":
        return "Only HTTPS URLs are allowed."
    host = url.hostname or ""
    return "URLs must be hosted on a domain." if "." not in host or _NUMERIC_HOST.fullmatch(host) else None


def _tag(value: Any) -> str | None:
    fits = isinstance(value, str) and _TAG.fullmatch(value)
    return None if fits else "must be 3 to 16 letters, digits and underscores, a letter first"


IMAGE = asset(IMAGE_TYPES)
VIDEO = asset(VIDEO_TYPES)
PROMPT = filled(1000)
SHARED = {
    "seed?": between(0, 2**32 - 1),
    "contentModeration?": {"publicFigureThreshold?": frozenset({"auto", "low"})},
}
