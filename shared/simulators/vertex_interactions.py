"""The Interactions API of the Vertex AI simulator: clips of the Gemini Omni models.

Billed are the tokens that `usage` reports: input, clip and thoughts of a finished one, input alone of one whose output
was blocked, nothing of a failed or cancelled one. Codes in `errors`: ai.google.dev/gemini-api/docs/api-errors.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.domain.dimensions import video_pixels
from shared.domain.times import to_text
from shared.providers.studio.text import count_tokens
from shared.simulators.http_server import Answer, Request, json_response
from shared.simulators.vendor_calls import VendorCall
from shared.simulators.vendor_core import Later, VendorCore
from shared.simulators.vendor_faults import WEBHOOK, canonical
from shared.simulators.vendor_http import Refused, check
from shared.simulators.vendor_media import StorageRefused, spoiled, video
from shared.simulators.vertex_blocks import OUTPUT_MESSAGE, PROMPT_MESSAGE, REFUSAL
from shared.simulators.vertex_fields import INTERACTION
from shared.simulators.vertex_path import interaction_of, is_retired

RENDER_S = 4.0
BLOCK_S = 1.0
FPS = 24
INPUT_FILE_TOKENS = 1120
THOUGHTS = 120
# 5,792 a second of 720p; the other resolutions by the ladder 1 : 3 : 4.5 : 9 of their prices.
TOKENS_PER_SECOND = {"360p": 1931, "720p": 5792, "1080p": 8688, "4k": 17_376}
_WITHOUT = WEBHOOK | {"partial"}


@dataclass(slots=True)
class _Interaction:
    call: VendorCall
    steps: list[dict[str, Any]]
    form: Mapping[str, Any]
    input_tokens: Mapping[str, int]
    updated_at: datetime
    status: str = "in_progress"
    ready: Later | None = None
    usage: dict[str, Any] | None = None
    errors: list[dict[str, str]] = field(default_factory=list)
    is_inline: bool = False

    @property
    def duration_s(self) -> int:
        return int(self.form.get("duration", "8s")[:-1])

    @property
    def resolution(self) -> str:
        return str(self.form.get("resolution", "720p"))

    def clip(self) -> bytes:
        aspect_ratio = self.form.get("aspect_ratio", "16:9")
        small = (640, 360) if aspect_ratio == "16:9" else (360, 640)
        size = small if self.resolution == "360p" else video_pixels(aspect_ratio, self.resolution)
        data = video(*size, FPS, self.duration_s, self.call.id, audio=True)
        return spoiled(data) if self.call.has("corrupt") else data

    def end(self, status: str, state: str, now: datetime, tokens: Mapping[str, int] | None) -> None:
        """It is over; *tokens*: what was made, by modality. None: nothing is billed."""
        self.status, self.updated_at = status, now
        if tokens is None:
            self.call.end(state, {})
            return
        thoughts = THOUGHTS if tokens else 0
        self.usage = _usage(self.input_tokens, tokens, thoughts)
        words = tokens.get("text", 0) + thoughts
        billed = {"input_token": sum(self.input_tokens.values()), "output_token": words}
        billed["video_token"] = tokens.get("video", 0)
        self.call.end(state, {unit: count for unit, count in billed.items() if count})


class Interactions:
    """Answers `/interactions`: create, get, cancel, delete."""

    def __init__(self, core: VendorCore) -> None:
        self._core = core
        self._found: dict[str, _Interaction] = {}

    def respond(self, request: Request) -> Answer:
        """Answer one request. Raises Refused and NotAnObject."""
        location, name, cancels = interaction_of(request.path) or ("", "", False)
        if not name:
            return self._create(request, location)
        fault = self._core.asked("vertex", "interactions.cancel" if cancels else "interactions.get")
        interaction = self._found.get(name)
        if interaction is None or request.method not in ({"POST"} if cancels else {"GET", "DELETE"}):
            raise Refused(404, "The interaction was not found.")
        if request.method == "DELETE":
            del self._found[name]
            return json_response({})
        if cancels:
            self._cancel(interaction)
        elif interaction.ready is not None:
            interaction.ready.happened()
        return self._core.sent(fault, json_response(_shown(interaction)))

    def _create(self, request: Request, location: str) -> Answer:
        if request.method != "POST":
            raise Refused(404, "There is no list of interactions.")
        body = request.json()
        check(body, INTERACTION)
        model, form = body["model"], _form(body)
        if location != "global" or not model.startswith("gemini-omni") or is_retired(model):
            raise Refused(404, f"Model `{model}` was not found in {location}.")
        key = f"{request.path} {canonical(body)}"
        fault = self._core.admit("vertex", "interactions.create", model, key, without=_WITHOUT)
        content = _content(body["input"])
        prompt = "\n".join(each["text"] for each in content if each["type"] == "text")
        files = sum(each["type"] != "text" for each in content)
        tokens = {"text": count_tokens(prompt)} | ({"image": files * INPUT_FILE_TOKENS} if files else {})
        call = self._core.accept(
            "vertex",
            "interactions.create",
            model,
            prompt,
            fault=fault,
            billed={"input_token": sum(tokens.values())},
            labels=body.get("labels"),
        )
        steps: list[dict[str, Any]] = [{"type": "user_input", "content": content}]
        interaction = _Interaction(call, steps, form, tokens, call.accepted_at)
        self._found[call.id] = interaction
        self._run(interaction, in_background=body.get("background", False))
        return self._core.answer(call, json_response(_shown(interaction)))

    def _run(self, interaction: _Interaction, *, in_background: bool) -> None:
        runs_s = BLOCK_S if interaction.call.has("blocked_prompt") else RENDER_S
        ready = self._core.later(runs_s if in_background else 0, lambda: self._finish(interaction))
        interaction.ready = ready
        if not in_background:
            ready.happened()

    def _cancel(self, interaction: _Interaction) -> None:
        if interaction.ready is not None and interaction.ready.cancel():
            interaction.end("cancelled", "failed", self._core.clock.now(), None)

    def _finish(self, interaction: _Interaction) -> None:
        call, now = interaction.call, self._core.clock.now()
        if call.has("blocked_prompt"):
            interaction.errors.append({"code": "prohibited_content", "message": PROMPT_MESSAGE})
            interaction.end("failed", "blocked", now, None)
        elif call.has("late_failure"):
            interaction.errors.append({"code": "api_error", "message": "An internal error has occurred."})
            interaction.end("failed", "failed", now, None)
        elif call.has("blocked_output"):
            interaction.errors.append({"code": "safety", "message": OUTPUT_MESSAGE})
            interaction.end("failed", "blocked", now, {})
        elif call.has("filtered"):
            interaction.end("completed", "blocked", now, {})
        elif call.has("refusal"):
            _add(interaction, {"type": "text", "text": REFUSAL})
            interaction.end("completed", "delivered", now, {"text": count_tokens(REFUSAL)})
        else:
            self._deliver(interaction, now)

    def _deliver(self, interaction: _Interaction, now: datetime) -> None:
        content = {"type": "video", "mime_type": "video/mp4"}
        if interaction.form.get("delivery") == "uri":
            uri = f"{interaction.form['gcs_uri'].rstrip('/')}/{interaction.call.id}.mp4"
            try:
                self._core.media.store(uri, interaction.clip(), "video/mp4")
            except StorageRefused as refused:
                told = f"Permission denied on the output ({refused})."
                interaction.errors.append({"code": "permission_denied", "message": told})
                interaction.end("failed", "failed", now, None)
                return
            content["uri"] = uri
        else:
            interaction.is_inline = True
        _add(interaction, content)
        tokens = interaction.duration_s * TOKENS_PER_SECOND[interaction.resolution]
        interaction.end("completed", "delivered", now, {"video": tokens})


def _form(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the one form of output. Raises Refused."""
    asked = body["response_format"]
    forms: list[Mapping[str, Any]] = asked if isinstance(asked, list) else [asked]
    if len(forms) != 1:
        raise Refused(400, "response_format: exactly one is supported")
    if forms[0].get("delivery") == "uri" and "gcs_uri" not in forms[0]:
        raise Refused(400, "response_format[0].gcs_uri: is required for delivery by URI")
    return forms[0]


def _content(given: Any) -> list[dict[str, Any]]:
    """Return the input's pieces, in whichever of its forms they were given."""
    if isinstance(given, str):
        return [{"type": "text", "text": given}]
    nested = [each["content"] if each["type"] == "user_input" else [each] for each in given]
    return [piece for pieces in nested for piece in pieces]


def _add(interaction: _Interaction, content: dict[str, str]) -> None:
    interaction.steps.append({"type": "model_output", "content": [content]})


def _shown(interaction: _Interaction) -> dict[str, Any]:
    call, steps = interaction.call, interaction.steps
    if interaction.is_inline:
        data = base64.b64encode(interaction.clip()).decode()
        steps = [*steps[:-1], {**steps[-1], "content": [{**steps[-1]["content"][0], "data": data}]}]
    shown: dict[str, Any] = {
        "id": call.id,
        "status": interaction.status,
        "model": call.model,
        "created": to_text(call.accepted_at),
        "updated": to_text(interaction.updated_at),
        "steps": steps,
    }
    shown |= {"usage": interaction.usage} if interaction.usage else {}
    return shown | ({"errors": interaction.errors} if interaction.errors else {})


def _usage(given: Mapping[str, int], made: Mapping[str, int], thoughts: int) -> dict[str, Any]:
    inputs, outputs = sum(given.values()), sum(made.values())
    usage: dict[str, Any] = {
        "total_input_tokens": inputs,
        "input_tokens_by_modality": _by_modality(given),
        "total_output_tokens": outputs,
        "output_tokens_by_modality": _by_modality(made),
        "total_tokens": inputs + outputs + thoughts,
    }
    return usage | ({"total_thought_tokens": thoughts} if thoughts else {})


def _by_modality(tokens: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"modality": modality, "tokens": count} for modality, count in tokens.items()]
