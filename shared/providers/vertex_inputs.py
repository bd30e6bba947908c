"""What all calls of Vertex AI are made of: texts, input files, labels, safety settings."""

from __future__ import annotations

import re

from google.genai.types import HarmBlockThreshold, HarmCategory, Image, Part, SafetySetting

from shared.ports import BlobStore, Call
from shared.providers.http import private_texts
from shared.providers.inputs import for_google
from shared.providers.vertex_errors import Asked, built

MAX_LABEL_CHARS = 63
_FILES = ("image", "last_frame", "reference_images", "inputs")
_NO_LABEL = re.compile(r"[^a-z0-9_-]")
_HARMS = (
    HarmCategory.HARM_CATEGORY_DANGEROUS_CONTENT,
    HarmCategory.HARM_CATEGORY_HARASSMENT,
    HarmCategory.HARM_CATEGORY_HATE_SPEECH,
    HarmCategory.HARM_CATEGORY_SEXUALLY_EXPLICIT,
)


def worded(call: Call) -> str:
    """Return the prompt for a model that has no field for what to leave out."""
    negative = call.params.get("negative_prompt")
    return f"{call.params['prompt']}\nDo not show: {negative}" if negative else str(call.params["prompt"])


def asked(call: Call) -> Asked:
    """Return what an error of the call may be about, and what its message must not repeat."""
    return Asked(private_texts(call.params), call.model, any(call.params.get(name) for name in _FILES))


def labels(call: Call) -> dict[str, str]:
    """Return the labels by which a line of Google's bill finds its call.

    Values: lower case, digits, - and _, at most 63 characters (cloud.google.com/resource-manager/docs/labels-overview).
    """
    names = {"job": call.job_id, "attempt": str(call.attempt), "part": str(call.part)}
    return {key: _NO_LABEL.sub("-", value.lower())[:MAX_LABEL_CHARS] for key, value in names.items()}


def safety_settings() -> list[SafetySetting]:
    """Return the settings of every call; the newer models filter nothing by themselves."""
    return [SafetySetting(category=harm, threshold=HarmBlockThreshold.BLOCK_MEDIUM_AND_ABOVE) for harm in _HARMS]


def part(uri: str, blobs: BlobStore) -> Part:
    """Return an input file of a prompt. Raises InvalidCall when it is not there."""
    file = for_google(uri, blobs)
    if file.data is None:
        return Part.from_uri(file_uri=file.uri or uri, mime_type=file.media_type)
    return Part.from_bytes(data=file.data, mime_type=file.media_type)


def frame(uri: str | None, blobs: BlobStore) -> Image | None:
    """Return a frame that a clip begins or ends with. Raises InvalidCall when it is not there."""
    if uri is None:
        return None
    file = for_google(uri, blobs)
    return built(Image, gcs_uri=file.uri, image_bytes=file.data, mime_type=file.media_type)
