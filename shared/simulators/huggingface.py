"""Hugging Face as its clients see it: chat completions (router, or an endpoint's own) and HF Inference pictures.

Sources: huggingface_hub 2.4.0 (`inference/`), huggingface.co/docs/inference-providers, and error answers recorded in
public. Choices where nothing is published: unknown fields are refused, streaming is not offered, and a refused prompt
is an error while a refused answer is an empty one with `finish_reason` "content_filter". A picture that the safety
checker filters out comes as an entirely black one, as the pipelines of HF do it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.errors import InvalidCall
from shared.providers.studio.text import count_tokens, render_text
from shared.simulators.http_server import Answer, Request, Response, json_response
from shared.simulators.vendor_calls import VendorCall
from shared.simulators.vendor_core import VendorCore
from shared.simulators.vendor_faults import WEBHOOK, canonical
from shared.simulators.vendor_http import Refused, between, check, filled
from shared.simulators.vendor_media import image, spoiled
from shared.simulators.vendor_text import platform_named

LOADING_S = 20.0
MAX_TOKENS = 1024  # when the request names none
SIDE = 1024
REFUSAL = "I'm sorry, but I can't help with that."

_CHAT = re.compile(r"(?:/hf-inference/models/([\w.-]+/[\w.-]+))?/v1/chat/completions")
_PICTURE = re.compile(r"/hf-inference/models/([\w.-]+/[\w.-]+)")
_NO_CREDIT = (
    "You have exceeded your monthly included credits for Inference Providers. "
    "Subscribe to PRO to get 20x more monthly included credits."
)
_WORDS: Mapping[int, str] = {
    401: "Invalid username or password.",
    402: _NO_CREDIT,
    429: "You have reached the rate limit. Please try again later.",
    500: "Internal Server Error",
    504: "Gateway Timeout",
}
_PART = (
    {"type": frozenset({"text"}), "text": str},
    {"type": frozenset({"image_url"}), "image_url": {"url": filled(), "detail?": str}},
)
_FORMAT = (
    {"type": frozenset({"text"})},
    {"type": frozenset({"json_object"}), "value?": dict},
    {
        "type": frozenset({"json_schema"}),
        "json_schema": {"name": filled(64), "schema": dict, "strict?": bool, "description?": str},
    },
)
_CHAT_BODY = {
    "model": filled(),
    "messages": [{"role": frozenset({"system", "user", "assistant"}), "content": (str, [_PART]), "name?": str}],
    "max_tokens?": between(1, 131_072),
    "temperature?": between(0, 2, float),
    "top_p?": between(0, 1, float),
    "frequency_penalty?": between(-2, 2, float),
    "presence_penalty?": between(-2, 2, float),
    "stop?": [str],
    "seed?": int,
    "n?": between(1, 1),
    "stream?": lambda value: None if value is False else "is not offered by the simulator",
    "response_format?": _FORMAT,
}
_PICTURE_BODY = {
    "inputs": filled(),
    "parameters?": {
        "width?": between(64, 2048),
        "height?": between(64, 2048),
        "num_inference_steps?": between(1, 500),
        "guidance_scale?": float,
        "negative_prompt?": str,
        "scheduler?": str,
        "seed?": int,
    },
}


@dataclass(frozen=True, slots=True)
class _Reply:
    """What the model writes, and why it stops; None as text: there is no choice at all."""

    text: str | None
    finish: str = "stop"


class HuggingFaceApi:
    """Answers for Hugging Face's paths; see the module."""

    name = "huggingface"

    def __init__(self, core: VendorCore) -> None:
        self._core = core

    def owns(self, path: str) -> bool:
        """Whether it is a path of Hugging Face."""
        return path.startswith(("/v1/chat/", "/hf-inference/"))

    def respond(self, request: Request) -> Answer:
        """Answer. Raises Refused and NotAnObject."""
        self._core.authorize(self.name, request)
        if request.method != "POST":
            raise Refused(405, "Method Not Allowed")
        if _CHAT.fullmatch(request.path):
            return self._chat(request)
        match = _PICTURE.fullmatch(request.path)
        if match is None:
            raise Refused(404, "Not Found")
        return self._picture(request, match[1])

    def error(self, refused: Refused) -> Response:
        """Return the refusal as HF writes it: a text, or an object in the form of OpenAI where there is a code."""
        if refused.status == 503:
            body: dict[str, Any] = {"error": "The model is currently loading", "estimated_time": LOADING_S}
        elif refused.code == "content_filter":
            kind = "invalid_request_error"
            body = {"error": {"message": refused.message, "type": kind, "param": None, "code": refused.code}}
        elif refused.field:
            body = {"error": f"Input validation error: {refused.message}", "error_type": "validation"}
        else:
            body = {"error": _WORDS.get(refused.status, refused.message)}
        status = 422 if refused.field else refused.status
        return json_response(body, status, refused.headers)

    # ------------------------------------------------------------ chat

    def _chat(self, request: Request) -> Answer:
        body = request.json()
        check(body, _CHAT_BODY)
        prompt, system = _texts(body["messages"], "user"), _texts(body["messages"], "system")
        if not prompt:
            raise Refused(400, "messages: there is nothing from the user", field="messages")
        written = _written(prompt, system, body)
        fault = self._core.admit(
            self.name,
            "chat",
            body["model"],
            request.path + canonical(body),
            without=WEBHOOK | {"late_failure"},
        )
        call = self._core.accept(self.name, "chat", body["model"], prompt, fault=fault)
        if call.has("blocked_prompt"):
            call.end("blocked", {})
            raise Refused(400, "The prompt was refused by the content filter.", code="content_filter")
        reply = _reply(call, written)
        billed = {"input_token": count_tokens(prompt + system), "output_token": _tokens(written, reply)}
        call.end("blocked" if call.has("blocked_output", "filtered") else "delivered", billed)
        answer = json_response(self._completion(call, reply, billed))
        if call.has("corrupt"):
            answer = Response(200, answer.headers, bytes(answer.body)[: len(answer.body) // 2])
        return self._core.answer(call, answer)

    def _completion(self, call: VendorCall, reply: _Reply, billed: Mapping[str, int]) -> dict[str, Any]:
        message = {"role": "assistant", "content": reply.text}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish}
        sent, written = billed["input_token"], billed["output_token"]
        return {
            "id": f"chatcmpl-{call.id.replace('-', '')}",
            "object": "chat.completion",
            "created": int(call.accepted_at.timestamp()),
            "model": call.model,
            "system_fingerprint": "3.3.4-native",
            "choices": [] if reply.text is None else [choice],
            "usage": {"prompt_tokens": sent, "completion_tokens": written, "total_tokens": sent + written},
        }

    # ------------------------------------------------------------ pictures

    def _picture(self, request: Request, model: str) -> Answer:
        body = request.json()
        check(body, _PICTURE_BODY)
        fault = self._core.admit(
            self.name,
            "image",
            model,
            request.path + canonical(body),
            without=WEBHOOK | {"late_failure", "refusal", "partial"},
        )
        call = self._core.accept(self.name, "image", model, body["inputs"], fault=fault, billed={"image": 1})
        if call.has("blocked_prompt", "blocked_output"):
            call.end("blocked", {})
            raise Refused(400, "The request was refused: unsafe content detected.", code="content_filter")
        call.end("delivered")
        media_type = "image/png" if "image/png" in request.headers.get("Accept", "") else "image/jpeg"
        data = _painted(call, body.get("parameters") or {}, media_type)
        return self._core.answer(call, Response(200, {"Content-Type": media_type}, data))


def _texts(messages: list[dict[str, Any]], role: str) -> str:
    contents = [each["content"] for each in messages if each["role"] == role]
    parts = [[{"text": each}] if isinstance(each, str) else each for each in contents]
    return "\n".join(part["text"] for each in parts for part in each if "text" in part)


def _written(prompt: str, system: str, body: Mapping[str, Any]) -> str:
    """Return what the model writes when nothing goes wrong. Raises Refused: no text fits the schema."""
    form = body.get("response_format") or {}
    schema = form.get("value") if form.get("type") == "json_object" else (form.get("json_schema") or {}).get("schema")
    most = body.get("max_tokens", MAX_TOKENS)
    if form.get("type") == "json_object" and schema is None:
        return json.dumps({"text": _plain(prompt, system, max(1, most - 4), body.get("seed", 0))})
    try:
        return render_text(
            prompt,
            task="general",
            platform=platform_named(system),
            schema=schema,
            max_tokens=most,
            seed=body.get("seed", 0),
            system=system or None,
        )[0]
    except InvalidCall as error:
        raise Refused(400, f"response_format: {error}", field="response_format") from None


def _plain(prompt: str, system: str, most: int, seed: int) -> str:
    return render_text(prompt, task="general", max_tokens=most, seed=seed, system=system or None)[0]


def _reply(call: VendorCall, written: str) -> _Reply:
    if call.has("blocked_output"):
        return _Reply("", "content_filter")
    if call.has("filtered"):
        return _Reply(None)
    if call.has("refusal"):
        return _Reply(REFUSAL)
    return _Reply(written[: len(written) // 2], "length") if call.has("partial") else _Reply(written)


def _tokens(written: str, reply: _Reply) -> int:
    """Return what was written, whether or not it is shown."""
    return count_tokens(reply.text or written)


def _painted(call: VendorCall, asked: Mapping[str, Any], media_type: str) -> bytes:
    width, height = asked.get("width", SIDE), asked.get("height", SIDE)
    if call.has("filtered"):
        return _black(width, height, media_type)
    data = image(width, height, media_type, call.id)
    return spoiled(data) if call.has("corrupt") else data


def _black(width: int, height: int, media_type: str) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, media_type.partition("/")[2])
    return out.getvalue()
