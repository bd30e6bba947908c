"""Hugging Face: text through its router or a dedicated endpoint, and pictures through its own inference.

Over httpx: the vendor's client asks the Hub about the model first, and raises errors without the status they came with.
Clips are left out: every provider that makes them behind the router (fal.ai, Novita, Together, WaveSpeed, Replicate)
is spoken to in an API of its own there.

Sources: huggingface_hub 2.4.0 (`inference/_providers/hf_inference.py`, `inference/_client.py`);
huggingface.co/docs/inference-providers: guides/structured-output, pricing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

from shared.domain.pricing import media_of
from shared.errors import Ambiguous, Blocked, InvalidCall, ModelGone, ProviderFault, RateLimited, Unavailable
from shared.ports import Asset, BlobStore, Call, Done, Json, NotAccepted, Pending
from shared.providers.http import LONGEST_WAIT_S, VendorHttp, private_texts, retry_after_s
from shared.providers.inputs import as_url

MAX_INLINE_BYTES = 7 * 2**20


class HuggingFaceProvider:
    """Hugging Face's API. Every call is answered at once; text is billed by tokens, of pictures no usage is reported.

    Adoption: nothing. There is no idempotency key and no list of earlier calls, so `find` cannot tell whether a call
    whose answer was lost was made, and its money goes to suspense.
    """

    name = "huggingface"

    def __init__(self, token: str, blobs: BlobStore, *, base_url: str) -> None:
        """*base_url*: the router or an endpoint, with or without `/v1`. *blobs*: where input pictures are read from."""
        self._blobs = blobs
        root = base_url.rstrip("/").removesuffix("/v1")
        self._http = VendorHttp(self.name, root, {"Authorization": f"Bearer {token}"})

    def start(self, call: Call) -> Done:
        """Make the call.

        Raises:
            ProviderFault: as `shared.providers.http` says; Unavailable with the time it takes while a model is loaded,
                RateLimited when a text server is overloaded, ModelGone when nobody behind the router serves the model,
                Blocked when a filter refused the prompt or held the text back.
        """
        match call.kind:
            case "text":
                return self._text(call)
            case "image":
                return self._image(call)
        raise InvalidCall(f"huggingface makes no {call.kind} here")

    def poll(self, handle: Json) -> Done | Pending:
        """Raise InvalidCall: there are no operations."""
        raise InvalidCall("huggingface has no operations to ask after")

    def cancel(self, handle: Json) -> None:
        """Nothing to stop."""

    def find(self, call: Call) -> Done | Pending | NotAccepted | None:
        """Return None: there is nothing to look in."""

    def close(self) -> None:
        """Give up the connections."""
        self._http.close()

    def _text(self, call: Call) -> Done:
        document = self._http.read(self._create("/v1/chat/completions", _chat(call, self._blobs), call))
        usage = _usage(document)
        choices: Any = document.get("choices")
        if choices == []:
            raise Blocked("huggingface: the model gave no answer", usage=usage)
        try:
            choice = choices[0]
            content, reason = choice["message"].get("content") or "", choice.get("finish_reason")
        except (AttributeError, IndexError, KeyError, TypeError):
            raise Ambiguous("huggingface answered without a choice") from None
        if reason == "content_filter":
            told = "huggingface: the model's filter held the text back"
            raise Blocked(told, usage=usage)
        if not isinstance(content, str):
            raise Ambiguous("huggingface answered with something that is no text")
        media_type = "application/json" if call.params.get("response_schema") else "text/plain"
        return Done((Asset(media_type, text=content),), usage, "max_tokens" if reason == "length" else "stop")

    def _image(self, call: Call) -> Done:
        if call.params.get("reference_images"):
            raise InvalidCall("huggingface takes no reference image here")
        path = f"/hf-inference/models/{quote(call.model)}"
        answer = self._create(path, _drawing(call.params), call, {"Accept": "image/png"})
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not media_type.startswith("image/") or not answer.content:
            raise Ambiguous(f"huggingface answered {answer.status_code} with something that is no picture")
        return Done((Asset(media_type, data=answer.content),), {})

    def _create(self, path: str, body: Json, call: Call, headers: Mapping[str, str] | None = None) -> httpx.Response:
        hidden = private_texts(call.params)
        return self._http.create(path, body, timeout_s=call.timeout_s, private=hidden, headers=headers, judge=_judge)


# ---------------------------------------------------------------- what is asked


def _chat(call: Call, blobs: BlobStore) -> Json:
    params = call.params
    system = [{"role": "system", "content": params["system"]}] if params.get("system") else []
    options = {name: params.get(name) for name in ("temperature", "top_p", "seed")}
    body: Json = {
        "model": call.model,
        "messages": [*system, {"role": "user", "content": _content(params, blobs)}],
        "max_tokens": params["max_tokens"],
        "stream": False,
    }
    schema = params.get("response_schema")
    if schema:
        # Not `strict`: several providers then refuse schemas with fields that may be missing. We check it ourselves.
        options["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    return body | {name: value for name, value in options.items() if value is not None}


def _content(params: Json, blobs: BlobStore) -> str | list[Json]:
    """The prompt, after the pictures that go with it."""
    uris = params.get("inputs") or ()
    if not uris:
        prompt: str = params["prompt"]
        return prompt
    if any(media_of(uri) != "image" for uri in uris):
        raise InvalidCall("huggingface reads no sound or clip here")
    urls = [as_url(uri, blobs, max_inline_bytes=MAX_INLINE_BYTES) for uri in uris]
    pictures: list[Json] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [*pictures, {"type": "text", "text": params["prompt"]}]


def _drawing(params: Json) -> Json:
    names = ("width", "height", "seed", "negative_prompt", "guidance_scale")
    given = {name: params.get(name) for name in names}
    return {"inputs": params["prompt"], "parameters": {name: v for name, v in given.items() if v not in (None, "")}}


# ---------------------------------------------------------------- what is answered


def _usage(document: Json) -> dict[str, int]:
    """The tokens it reports; none of them when one number is missing."""
    usage = document.get("usage")
    if not isinstance(usage, dict):
        return {}
    tokens = {"input_token": usage.get("prompt_tokens"), "output_token": usage.get("completion_tokens")}
    counted = {name: n for name, n in tokens.items() if isinstance(n, int) and not isinstance(n, bool) and n >= 0}
    return counted if len(counted) == len(tokens) else {}


def _judge(answer: httpx.Response) -> ProviderFault | None:
    """What the body of an error tells beyond its status."""
    body, status = _object(answer), answer.status_code
    match body.get("error_type"):  # Text Generation Inference
        case "overloaded":
            text = f"huggingface answered {status}: the text server is overloaded"
            return RateLimited(text, retry_after_s=retry_after_s(answer.headers))
        case "generation":
            return Unavailable(f"huggingface answered {status}: the text server failed")
    error = body.get("error")
    match error.get("code") if isinstance(error, dict) else None:
        case "model_not_found" | "model_not_supported":  # the router, with a 400
            return ModelGone(
                f"huggingface answered {status}: no provider that the account has enabled serves this model"
            )
        case "content_filter" | "content_policy_violation":  # as OpenAI's API has it, whose form the router keeps to
            return Blocked(f"huggingface answered {status}: the filter refused the prompt")
    wait_s = body.get("estimated_time")
    if status == httpx.codes.SERVICE_UNAVAILABLE and isinstance(wait_s, int | float) and math.isfinite(wait_s):
        text = "huggingface answered 503: the model is being loaded"
        return Unavailable(text, retry_after_s=min(max(0.0, wait_s), LONGEST_WAIT_S))
    return None


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        value = answer.json()
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
