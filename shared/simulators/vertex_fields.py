"""What Vertex AI accepts in a create, field by field; keys may be in camelCase or in snake_case, or mixed.

Source: what google-genai 2.34.0 sends, and its types (`google/genai/types.py`, `_gaos/types/interactions`).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from shared.domain.dimensions import IMAGE_ASPECT_RATIOS, IMAGE_SIZES
from shared.simulators.vendor_http import between, filled

MAX_LABELS = 64
MOST_IMAGES, MOST_VIDEOS = 4, 4
LARGEST_SEED = 2**32 - 1
INT32 = 2**31 - 1

_LABEL = re.compile(r"[a-z0-9_\-]{0,63}")
_AS_THEY_ARE = frozenset({"labels", "args", "response", "responseSchema", "responseJsonSchema", "parametersJsonSchema"})


def camel(value: Any) -> Any:
    """Return *value* with all its keys in camelCase, except in what is the caller's own: labels and schemas."""
    if isinstance(value, list):
        return [camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    renamed = {_camel(name): each for name, each in value.items()}
    return {name: each if name in _AS_THEY_ARE else camel(each) for name, each in renamed.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def labels(value: Any) -> str | None:
    """Complain of labels that Google Cloud does not take (cloud.google.com/resource-manager/docs/labels-overview)."""
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        return "must be an object of strings"
    if len(value) > MAX_LABELS:
        return f"must have at most {MAX_LABELS} entries"
    fine = all(re.match("[a-z]", key) and _LABEL.fullmatch(key) and _LABEL.fullmatch(value[key]) for key in value)
    return None if fine else "must be lower-case letters, digits, dashes and underscores, at most 63 of them"


def encoded(value: Any) -> str | None:
    """Complain of what is not base64, in either alphabet."""
    try:
        base64.b64decode(value.replace("-", "+").replace("_", "/"), validate=True)
    except (AttributeError, binascii.Error, ValueError):
        return "must be base64"
    return None if value else "must not be empty"


def storage_uri(value: Any) -> str | None:
    """Complain of what is no place in Cloud Storage."""
    fine = isinstance(value, str) and re.fullmatch(r"gs://[^/]+(/.*)?", value)
    return None if fine else "must be a Cloud Storage URI (gs://BUCKET/PATH)"


def _topic(value: Any) -> str | None:
    fine = isinstance(value, str) and re.fullmatch(r"projects/[^/]+/topics/[^/]+", value)
    return None if fine else "must be projects/PROJECT/topics/TOPIC"


def _seconds(value: Any) -> str | None:
    fine = isinstance(value, str) and re.fullmatch(r"([3-9]|10)s", value)
    return None if fine else "must be from 3s to 10s"


_PARTS = (
    {"inlineData": {"data": encoded, "mimeType": filled()}, "videoMetadata?": dict, "mediaResolution?": object},
    {"fileData": {"fileUri": filled(), "mimeType": filled()}, "videoMetadata?": dict, "mediaResolution?": object},
    {"text": str, "thought?": bool, "thoughtSignature?": str},
)
CONTENT = {"parts": [_PARTS], "role?": {"user", "model"}}
_SAFETY = {"category": filled(), "threshold": filled(), "method?": str}
_PICTURE = {
    "aspectRatio?": set(IMAGE_ASPECT_RATIOS),
    "imageSize?": set(IMAGE_SIZES),
    "personGeneration?": {"ALLOW_ALL", "ALLOW_ADULT", "ALLOW_NONE"},
    "prominentPeople?": {"ALLOW_PROMINENT_PEOPLE", "BLOCK_PROMINENT_PEOPLE"},
    "imageOutputOptions?": {"mimeType?": {"image/png", "image/jpeg"}, "compressionQuality?": between(0, 100)},
}
_GENERATION = {
    "temperature?": between(0, 2, float),
    "topP?": between(0, 1, float),
    "topK?": float,
    "candidateCount?": between(1, 8),
    "maxOutputTokens?": between(1, INT32),
    "stopSequences?": [str],
    "presencePenalty?": float,
    "frequencyPenalty?": float,
    "seed?": between(-INT32 - 1, INT32),
    "responseMimeType?": {"text/plain", "application/json"},
    "responseSchema?": dict,
    "responseJsonSchema?": object,
    "responseModalities?": [{"TEXT", "IMAGE"}],
    "mediaResolution?": str,
    "thinkingConfig?": {
        "thinkingBudget?": int,
        "thinkingLevel?": {"MINIMAL", "LOW", "MEDIUM", "HIGH"},
        "includeThoughts?": bool,
    },
    "imageConfig?": _PICTURE,
}
GENERATE = {
    "contents": [CONTENT],
    "systemInstruction?": CONTENT,
    "safetySettings?": [_SAFETY],
    "labels?": labels,
    "generationConfig?": _GENERATION,
    "tools?": list,
    "toolConfig?": dict,
}

_FILE = (
    {"gcsUri": storage_uri, "mimeType": filled()},
    {"bytesBase64Encoded": encoded, "mimeType": filled()},
)
_SCENE = {
    "prompt?": filled(),
    "image?": _FILE,
    "lastFrame?": _FILE,
    "video?": _FILE,
    "referenceImages?": [{"image": _FILE, "referenceType": {"ASSET", "STYLE", "asset", "style"}}],
}
_CLIP = {
    "sampleCount?": between(1, MOST_VIDEOS),
    "storageUri?": storage_uri,
    "fps?": {24},
    "durationSeconds?": {4, 5, 6, 7, 8},
    "seed?": between(0, LARGEST_SEED),
    "aspectRatio?": {"16:9", "9:16"},
    "resolution?": {"720p", "1080p", "4k"},
    "personGeneration?": {"dont_allow", "allow_adult", "allow_all", "allowAll"},
    "pubsubTopic?": _topic,
    "negativePrompt?": str,
    "enhancePrompt?": bool,
    "generateAudio?": bool,
    "compressionQuality?": {"OPTIMIZED", "LOSSLESS"},
    "resizeMode?": {"PAD", "CROP", "pad", "crop"},
}
VEO = {"instances": [_SCENE], "parameters?": _CLIP, "labels?": labels}
FETCH = {"operationName": filled()}

_IMAGEN = {
    "sampleCount?": between(1, MOST_IMAGES),
    "storageUri?": storage_uri,
    "negativePrompt?": str,
    "aspectRatio?": {"1:1", "3:4", "4:3", "9:16", "16:9"},
    "guidanceScale?": float,
    "seed?": between(0, LARGEST_SEED),
    "safetySetting?": {"BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE"},
    "personGeneration?": {"DONT_ALLOW", "ALLOW_ADULT", "ALLOW_ALL", "dont_allow", "allow_adult", "allow_all"},
    "includeSafetyAttributes?": bool,
    "includeRaiReason?": bool,
    "language?": str,
    "outputOptions?": {"mimeType?": {"image/png", "image/jpeg"}, "compressionQuality?": between(0, 100)},
    "addWatermark?": bool,
    "sampleImageSize?": {"1K", "2K"},
    "enhancePrompt?": bool,
}
IMAGEN = {"instances": [{"prompt": filled()}], "parameters?": _IMAGEN, "labels?": labels}

_TEXT = {"type": {"text"}, "text": filled()}


def _media(kind: str) -> tuple[Mapping[str, Any], ...]:
    return (
        {"type": {kind}, "uri": filled(), "mime_type?": filled()},
        {"type": {kind}, "data": encoded, "mime_type": filled()},
    )


def input_content(value: Any) -> str | None:
    """Complain of a piece of an interaction's input that is no text, picture or clip."""
    from shared.simulators.vendor_http import Refused, check

    kind = value.get("type") if isinstance(value, dict) else None
    shapes: dict[Any, Any] = {"text": _TEXT, "image": _media("image"), "video": _media("video")}
    if kind not in shapes:
        return "must be of type text, image or video"
    try:
        check(value, shapes[kind])
    except Refused as refused:
        return refused.message
    return None


_USER_INPUT = {"type": {"user_input"}, "content": [input_content]}
_VIDEO_FORMAT = {
    "type": {"video"},
    "aspect_ratio?": {"16:9", "9:16"},
    "duration?": _seconds,
    "resolution?": {"360p", "720p", "1080p", "4k"},
    "delivery?": {"inline", "uri"},
    "gcs_uri?": storage_uri,
}
_TASKS = {"text_to_video", "image_to_video", "reference_to_video", "edit", "extend", "upscale"}
INTERACTION = {
    "model": filled(),
    "input": (filled(), [_USER_INPUT], [input_content]),
    "background?": bool,
    "store?": bool,
    "stream?": {False},
    "response_format": ([_VIDEO_FORMAT], _VIDEO_FORMAT),
    "response_modalities?": [{"video", "text"}],
    "generation_config?": {
        "seed?": int,
        "max_output_tokens?": between(1, INT32),
        "temperature?": float,
        "top_p?": float,
        "thinking_level?": {"minimal", "low", "medium", "high"},
        "video_config?": {"task?": _TASKS},
    },
    "labels?": labels,
    "system_instruction?": str,
    "safety_settings?": list,
}
