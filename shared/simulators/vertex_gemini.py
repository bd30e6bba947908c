"""`generateContent` of the Vertex AI simulator: texts and pictures of the Gemini models, with honest token counts.

Billed is what `usageMetadata` reports. A blocked prompt or output is HTTP 200 and bills the prompt's tokens.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.domain.dimensions import image_pixels
from shared.domain.times import to_text
from shared.errors import InvalidCall
from shared.providers.studio.text import CHARS_PER_TOKEN, count_tokens, render_text
from shared.simulators.http_server import Answer, json_response
from shared.simulators.vendor_calls import VendorCall
from shared.simulators.vendor_core import VendorCore
from shared.simulators.vendor_faults import WEBHOOK
from shared.simulators.vendor_http import Refused, check
from shared.simulators.vendor_media import image, spoiled
from shared.simulators.vendor_text import platform_named
from shared.simulators.vertex_blocks import (
    IMAGE_REASON,
    OUTPUT_MESSAGE,
    PROMPT_MESSAGE,
    PROMPT_REASON,
    REFUSAL,
    TEXT_REASON,
)
from shared.simulators.vertex_fields import GENERATE, camel
from shared.simulators.vertex_path import Target

NATURAL_TOKENS = 1024  # a model that is not limited writes no more than this
THOUGHTS = {"MINIMAL": 0, "LOW": 40, "MEDIUM": 120, "HIGH": 400}
SIZE_TOKENS: Mapping[str, Mapping[str, int]] = {  # tokens of one picture: footnotes of the price page
    "gemini-3.1-flash-image": {"512": 747, "1K": 1120, "2K": 1680, "4K": 2520},
    "gemini-2.5-flash-image": {"1K": 1290},
    "gemini-3-pro-image": {"1K": 1120, "2K": 1120, "4K": 2000},
}
_OTHERWISE = {"512": 747, "1K": 1120, "2K": 1680, "4K": 2520}
_INPUT_TOKENS = {"gemini-3-pro-image": 560}
_INPUT_TOKENS_OTHERWISE = 1120
_NOT_FOR_TEXT = WEBHOOK | {"late_failure"}
_NOT_FOR_IMAGES = _NOT_FOR_TEXT | {"partial"}


@dataclass(frozen=True, slots=True)
class _Order:
    """One request, as far as it matters."""

    model: str
    prompt: str
    system: str
    config: Mapping[str, Any]
    files: int
    labels: Mapping[str, str]

    @property
    def prompt_tokens(self) -> dict[str, int]:
        each = _INPUT_TOKENS.get(self.model, _INPUT_TOKENS_OTHERWISE)
        tokens = {"TEXT": count_tokens(self.prompt + self.system)}
        return tokens | ({"IMAGE": self.files * each} if self.files else {})

    @property
    def dice(self) -> int:
        return zlib.crc32(f"{self.model} {self.config.get('seed')} {self.prompt}".encode())

    @property
    def thoughts(self) -> int:
        asked = self.config.get("thinkingConfig", {})
        tokens = THOUGHTS[asked.get("thinkingLevel", "LOW" if "lite" in self.model else "MEDIUM")]
        budget = asked.get("thinkingBudget", -1)
        return tokens + self.dice % 16 * bool(tokens) if budget < 0 else min(budget, tokens)

    @property
    def longest(self) -> int:
        return int(self.config.get("maxOutputTokens", 65_536))


class Gemini:
    """Answers `generateContent`."""

    def __init__(self, core: VendorCore) -> None:
        self._core = core

    def generate(self, target: Target, body: dict[str, Any], key: str) -> Answer:
        """Answer one request. Raises Refused."""
        body = camel(body)
        check(body, GENERATE)
        order = _order(target.model, body)
        is_picture = _is_picture(order)
        without = _NOT_FOR_IMAGES if is_picture else _NOT_FOR_TEXT
        text = "" if is_picture else _text(order)  # also says what is wrong with a schema, before anything is accepted
        fault = self._core.admit("vertex", "generateContent", order.model, key, without=without)
        call = self._core.accept(
            "vertex", "generateContent", order.model, order.prompt, fault=fault, labels=order.labels
        )
        answer = _blocked(order, call, is_picture) or (
            _picture(order, call) if is_picture else _words(order, call, text)
        )
        answer |= {"modelVersion": order.model, "responseId": call.id, "createTime": to_text(self._core.clock.now())}
        return self._core.answer(call, json_response(answer))


def _order(model: str, body: Mapping[str, Any]) -> _Order:
    parts = [part for content in body["contents"] for part in content["parts"] if content.get("role") != "model"]
    if not parts:
        raise Refused(400, "contents is not specified", code="INVALID_ARGUMENT")
    words = "\n".join(part["text"] for part in parts if "text" in part)
    system = "\n".join(part.get("text", "") for part in body.get("systemInstruction", {}).get("parts", []))
    files = sum("text" not in part for part in parts)
    return _Order(model, words, system, body.get("generationConfig", {}), files, body.get("labels", {}))


def _is_picture(order: _Order) -> bool:
    """Whether a picture is asked for. Raises Refused when the model makes none."""
    makes_pictures = "image" in order.model or "banana" in order.model
    asked = order.config.get("responseModalities")
    is_picture = makes_pictures if asked is None else "IMAGE" in asked
    if is_picture and not makes_pictures:
        raise Refused(400, "The model does not support the requested response modalities: image")
    if order.config.get("candidateCount", 1) > 1:
        raise Refused(400, "Multiple candidates is not enabled for this model")
    size = order.config.get("imageConfig", {}).get("imageSize", "1K")
    if is_picture and size not in _size_tokens(order.model):
        raise Refused(400, f"image_size {size} is not supported by this model")
    return is_picture


def _size_tokens(model: str) -> Mapping[str, int]:
    return SIZE_TOKENS.get(model, _OTHERWISE)


def _text(order: _Order) -> str:
    """Return what the model writes when nothing stops it. Raises Refused when the schema cannot be met."""
    schema = order.config.get("responseJsonSchema") or _json_schema(order.config.get("responseSchema"))
    wants_json = order.config.get("responseMimeType") == "application/json"
    if schema is not None and not wants_json:
        raise Refused(400, "a response schema needs the response MIME type application/json")
    if schema is None and wants_json:
        schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    try:
        return render_text(
            order.prompt,
            task="general",
            platform=platform_named(order.system),
            schema=schema,
            max_tokens=NATURAL_TOKENS * (8 if schema else 1),
            seed=order.dice,
            system=order.system,
        )[0]
    except InvalidCall as error:
        raise Refused(400, f"Invalid response schema: {error}") from None


def _json_schema(schema: Any) -> Any:
    """Return Google's own form of a schema, with types in capitals, as JSON Schema."""
    if isinstance(schema, list):
        return [_json_schema(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: each for name, each in schema.items() if name not in ("property_ordering", "propertyOrdering")}
    return {
        name: each.lower() if name == "type" and isinstance(each, str) else _json_schema(each)
        for name, each in kept.items()
    }


def _blocked(order: _Order, call: VendorCall, is_picture: bool) -> dict[str, Any] | None:
    """Return an answer in which a safety filter stepped in, if the call's fault is one."""
    if not call.has("blocked_prompt", "blocked_output", "filtered"):
        return None
    options = call.fault.options if call.fault else {}
    answer = {"usageMetadata": _usage(order, {})}
    call.end("blocked", _billed(answer["usageMetadata"]))
    if call.has("blocked_prompt"):
        reason = options.get("reason", PROMPT_REASON)
        return answer | {"promptFeedback": {"blockReason": reason, "blockReasonMessage": PROMPT_MESSAGE}}
    usual = "IMAGE_PROHIBITED_CONTENT" if call.has("filtered") else IMAGE_REASON
    reason = options.get("reason", usual if is_picture else TEXT_REASON)
    return answer | {"candidates": [{"finishReason": reason, "finishMessage": OUTPUT_MESSAGE}]}


def _picture(order: _Order, call: VendorCall) -> dict[str, Any]:
    asked = order.config.get("imageConfig", {})
    size = asked.get("imageSize", "1K")
    tokens = _size_tokens(order.model)[size]
    if call.has("refusal"):
        return _answer(order, call, [{"text": REFUSAL}], {"TEXT": count_tokens(REFUSAL)}, "STOP")
    if order.thoughts + tokens > order.longest:
        return _answer(order, call, [], {}, "MAX_TOKENS", thoughts=order.longest)
    width, height = image_pixels(asked.get("aspectRatio", "1:1"), size)
    media_type = asked.get("imageOutputOptions", {}).get("mimeType", "image/png")
    data = image(width, height, media_type, call.id)
    parts = [*_draft(order, call), _inline(spoiled(data) if call.has("corrupt") else data, media_type)]
    return _answer(order, call, parts, {"IMAGE": tokens}, "STOP")


def _draft(order: _Order, call: VendorCall) -> list[dict[str, Any]]:
    """Return a draft as a thought, as thinking models sometimes send one."""
    if order.thoughts == 0 or order.dice % 4:
        return []
    return [{**_inline(image(512, 512, "image/png", f"{call.id} draft"), "image/png"), "thought": True}]


def _inline(data: bytes, media_type: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": media_type, "data": base64.b64encode(data).decode()}}


def _words(order: _Order, call: VendorCall, text: str) -> dict[str, Any]:
    if call.has("refusal"):
        text = REFUSAL
    if call.has("corrupt"):
        text = text[: len(text) // 2] if "responseMimeType" in order.config else ""
    if order.thoughts >= order.longest:
        return _answer(order, call, [], {}, "MAX_TOKENS", thoughts=order.longest)
    room = order.longest - order.thoughts
    if call.has("partial"):
        room = min(room, max(1, count_tokens(text) // 2))
    finish = "STOP" if count_tokens(text) <= room else "MAX_TOKENS"
    text = text[: room * CHARS_PER_TOKEN]
    thought = {"text": "I weigh what was asked.", "thought": True}
    wants_thoughts = order.thoughts and order.config.get("thinkingConfig", {}).get("includeThoughts")
    parts = ([thought] if wants_thoughts else []) + [{"text": text}]
    return _answer(order, call, parts, {"TEXT": count_tokens(text) if text else 0}, finish)


def _answer(
    order: _Order,
    call: VendorCall,
    parts: list[dict[str, Any]],
    tokens: Mapping[str, int],
    finish: str,
    *,
    thoughts: int | None = None,
) -> dict[str, Any]:
    usage = _usage(order, tokens, order.thoughts if thoughts is None else thoughts)
    call.end("delivered", _billed(usage))
    content: dict[str, Any] = {"role": "model"} | ({"parts": parts} if parts else {})
    return {"candidates": [{"content": content, "finishReason": finish}], "usageMetadata": usage}


def _usage(order: _Order, tokens: Mapping[str, int], thoughts: int = 0) -> dict[str, Any]:
    given, made = sum(order.prompt_tokens.values()), sum(tokens.values())
    usage: dict[str, Any] = {"promptTokenCount": given, "promptTokensDetails": _details(order.prompt_tokens)}
    if tokens:
        usage |= {"candidatesTokenCount": made, "candidatesTokensDetails": _details(tokens)}
    if thoughts:
        usage["thoughtsTokenCount"] = thoughts
    return usage | {"totalTokenCount": given + made + thoughts, "trafficType": "ON_DEMAND"}


def _details(tokens: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"modality": modality, "tokenCount": count} for modality, count in tokens.items()]


def _billed(usage: Mapping[str, Any]) -> dict[str, float]:
    """Return the units of the record: pictures by their own tokens, words and thoughts as output."""
    details = {each["modality"]: each["tokenCount"] for each in usage.get("candidatesTokensDetails", [])}
    billed = {
        "input_token": usage["promptTokenCount"],
        "output_token": details.get("TEXT", 0) + usage.get("thoughtsTokenCount", 0),
        "image_token": details.get("IMAGE", 0),
    }
    return {unit: count for unit, count in billed.items() if count}
