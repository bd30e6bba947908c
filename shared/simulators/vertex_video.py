"""Veo of the Vertex AI simulator: operations, and clips in Cloud Storage or within the answer.

Billed are the seconds of clips that are delivered; a filtered or failed one costs nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.domain.dimensions import video_pixels
from shared.simulators.http_server import Answer, json_response
from shared.simulators.vendor_calls import VendorCall
from shared.simulators.vendor_core import Later, VendorCore
from shared.simulators.vendor_faults import WEBHOOK
from shared.simulators.vendor_http import Refused, check
from shared.simulators.vendor_media import StorageRefused, spoiled, video
from shared.simulators.vertex_blocks import INPUT_CODE, OUTPUT_CODE, PROMPT_MESSAGE, rai_reason
from shared.simulators.vertex_fields import FETCH, VEO, camel
from shared.simulators.vertex_path import Target

RENDER_S = 4.0  # a real one takes one to three minutes
BLOCK_S = 1.0
FPS = 24
INVALID_ARGUMENT, PERMISSION_DENIED, INTERNAL = 3, 7, 13
MESSAGES = {
    4: "Deadline expired before operation could complete.",
    8: "Resource exhausted, please try again later.",
    INTERNAL: "Video generation failed due to an internal error.",
    14: "The service is currently unavailable.",
}
_RESPONSE = "type.googleapis.com/cloud.ai.large_models.vision.GenerateVideoResponse"


@dataclass(slots=True)
class _Operation:
    """One operation; *result* is set once it is done."""

    name: str
    call: VendorCall
    asked: Mapping[str, Any]
    ready: Later | None = None
    result: dict[str, Any] = field(default_factory=dict)

    def clip(self, n: int) -> bytes:
        """Return the clip as it is delivered."""
        form = video_pixels(self.asked.get("aspectRatio", "16:9"), self.asked.get("resolution", "720p"))
        sound = self.asked.get("generateAudio", True)
        data = video(*form, FPS, _duration_s(self.asked), f"{self.call.id} {n}", audio=sound)
        return spoiled(data) if self.call.has("corrupt") else data


class Veo:
    """Answers `predictLongRunning` and `fetchPredictOperation`."""

    def __init__(self, core: VendorCore) -> None:
        self._core = core
        self._operations: dict[str, _Operation] = {}

    def start(self, target: Target, body: dict[str, Any], key: str) -> Answer:
        """Start an operation. Raises Refused."""
        body = camel(body)
        check(body, VEO)
        scene, asked = _one(body), body.get("parameters", {})
        _check_form(target.model, asked)
        without = WEBHOOK if _count(asked) > 1 else WEBHOOK | {"partial"}
        fault = self._core.admit("vertex", "predictLongRunning", target.model, key, without=without)
        call = self._core.accept(
            "vertex",
            "predictLongRunning",
            target.model,
            scene.get("prompt", ""),
            fault=fault,
            billed=_billed(asked, _count(asked)),
            labels=body.get("labels"),
        )
        operation = _Operation(f"{target.resource}/operations/{call.id}", call, asked)
        runs_s = BLOCK_S if call.has("blocked_prompt") else RENDER_S
        operation.ready = self._core.later(runs_s, lambda: self._finish(operation))
        self._operations[operation.name] = operation
        return self._core.answer(call, json_response({"name": operation.name}))

    def fetch(self, target: Target, body: dict[str, Any]) -> Answer:
        """Answer how an operation stands. Raises Refused."""
        body = camel(body)
        check(body, FETCH)
        fault = self._core.asked("vertex", "fetchPredictOperation", target.model)
        name = body["operationName"]
        if not name.startswith(f"{target.resource}/operations/"):
            raise Refused(400, "The operation name does not belong to this model.")
        operation = self._operations.get(name)
        if operation is None:
            raise Refused(404, "The operation was not found.")
        is_done = operation.ready is not None and operation.ready.happened()
        told = {"name": name} | (_told(operation) if is_done else {})
        return self._core.sent(fault, json_response(told))

    def _finish(self, operation: _Operation) -> None:
        call = operation.call
        if call.has("blocked_prompt"):
            call.end("blocked", {})
            operation.result = _error(INVALID_ARGUMENT, f"{PROMPT_MESSAGE} Support codes: {INPUT_CODE}")
        elif call.has("late_failure"):
            call.end("failed", {})
            code = int(call.fault.options.get("code", INTERNAL)) if call.fault else INTERNAL
            operation.result = _error(code, MESSAGES.get(code, "The operation failed."))
        else:
            self._deliver(operation)

    def _deliver(self, operation: _Operation) -> None:
        call, wanted = operation.call, _count(operation.asked)
        count = wanted
        if call.has("blocked_output", "filtered", "refusal"):
            count = 0
        elif call.has("partial"):
            count //= 2
        try:
            videos = [self._delivered(operation, n) for n in range(count)]
        except StorageRefused as refused:
            call.end("failed", {})
            told = f"Permission denied on the output of the operation ({refused})."
            operation.result = _error(PERMISSION_DENIED, told)
            return
        call.end("delivered" if count else "blocked", _billed(operation.asked, count))
        response: dict[str, Any] = {"@type": _RESPONSE, "raiMediaFilteredCount": wanted - count}
        if count < wanted:
            response["raiMediaFilteredReasons"] = [rai_reason(OUTPUT_CODE)] * (wanted - count)
        operation.result = {"response": response | ({"videos": videos} if videos else {})}

    def _delivered(self, operation: _Operation, n: int) -> dict[str, Any]:
        """Return where clip *n* is, once it is there; inline ones are filled in by `_told`."""
        prefix = operation.asked.get("storageUri")
        if prefix is None:
            return {"mimeType": "video/mp4"}
        folder = str(int(operation.call.accepted_at.timestamp() * 1e6)) + operation.call.id[:4]
        uri = f"{prefix.rstrip('/')}/{folder}/sample_{n}.mp4"
        self._core.media.store(uri, operation.clip(n), "video/mp4")
        return {"gcsUri": uri, "mimeType": "video/mp4"}


def _count(asked: Mapping[str, Any]) -> int:
    return int(asked.get("sampleCount", 1))


def _duration_s(asked: Mapping[str, Any]) -> int:
    return int(asked.get("durationSeconds", 8))


def _billed(asked: Mapping[str, Any], clips: int) -> dict[str, float]:
    return {"second": clips * _duration_s(asked)} if clips else {}


def _one(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the one instance. Raises Refused when there are more, or nothing to make a clip of."""
    if len(body["instances"]) != 1:
        raise Refused(400, "instances: exactly one is supported")
    scene: Mapping[str, Any] = body["instances"][0]
    if not scene.keys() & {"prompt", "image", "video"}:
        raise Refused(400, "instances[0]: a prompt, an image or a video is required")
    if "lastFrame" in scene and "image" not in scene:
        raise Refused(400, "instances[0].lastFrame: needs an image to start from")
    return scene


def _check_form(model: str, asked: Mapping[str, Any]) -> None:
    """Raise Refused unless the model makes clips of this length and size."""
    allowed = (4, 6, 8)
    if _duration_s(asked) not in allowed:
        told = ", ".join(map(str, allowed))
        raise Refused(400, f"parameters.durationSeconds: unsupported output video duration, supported are {told}")
    if "lite" in model and asked.get("resolution") == "4k":
        raise Refused(400, "parameters.resolution: 4k is not supported by this model")


def _told(operation: _Operation) -> dict[str, Any]:
    """Return the end of an operation; clips without a place of their own come with it."""
    response = operation.result.get("response")
    if response is None or "storageUri" in operation.asked or "videos" not in response:
        return {"done": True, **operation.result}
    videos = [
        {**each, "bytesBase64Encoded": base64.b64encode(operation.clip(n)).decode()}
        for n, each in enumerate(response["videos"])
    ]
    return {"done": True, "response": {**response, "videos": videos}}


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}
