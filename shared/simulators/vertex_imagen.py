"""Imagen's `:predict` of the Vertex AI simulator, for projects and endpoints that kept it.

Billed are the pictures that are delivered.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from shared.domain.dimensions import image_pixels
from shared.simulators.http_server import Answer, json_response
from shared.simulators.vendor_calls import VendorCall
from shared.simulators.vendor_core import VendorCore
from shared.simulators.vendor_faults import WEBHOOK
from shared.simulators.vendor_http import Refused, check
from shared.simulators.vendor_media import SUFFIXES, StorageRefused, image, spoiled
from shared.simulators.vertex_blocks import INPUT_CODE, OUTPUT_CODE, rai_reason
from shared.simulators.vertex_fields import IMAGEN, camel
from shared.simulators.vertex_path import Target

_WITHOUT = WEBHOOK | {"late_failure"}


class Imagen:
    """Answers `predict`."""

    def __init__(self, core: VendorCore) -> None:
        self._core = core

    def predict(self, target: Target, body: dict[str, Any], key: str) -> Answer:
        """Answer one request. Raises Refused."""
        body = camel(body)
        check(body, IMAGEN)
        if len(body["instances"]) != 1:
            raise Refused(400, "instances: exactly one is supported")
        asked = body.get("parameters", {})
        count = asked.get("sampleCount", 1)
        without = _WITHOUT if count > 1 else _WITHOUT | {"partial"}
        fault = self._core.admit("vertex", "predict", target.model, key, without=without)
        call = self._core.accept(
            "vertex", "predict", target.model, body["instances"][0]["prompt"], fault=fault, labels=body.get("labels")
        )
        delivered = _delivered(call, count)
        try:
            pictures = [self._picture(call, asked, n) for n in range(delivered)]
        except StorageRefused as refused:
            call.end("failed", {})
            raise Refused(403, f"Permission denied on the output ({refused}).") from None
        call.end("delivered" if delivered else "blocked", {"image": delivered} if delivered else {})
        reasons = [{"raiFilteredReason": _reason(call)}] * (count - delivered if asked.get("includeRaiReason") else 0)
        predictions = pictures + reasons
        return self._core.answer(call, json_response({"predictions": predictions} if predictions else {}))

    def _picture(self, call: VendorCall, asked: Mapping[str, Any], n: int) -> dict[str, Any]:
        width, height = image_pixels(asked.get("aspectRatio", "1:1"), asked.get("sampleImageSize", "1K"))
        media_type = asked.get("outputOptions", {}).get("mimeType", "image/png")
        data = image(width, height, media_type, f"{call.id} {n}")
        data = spoiled(data) if call.has("corrupt") else data
        prefix = asked.get("storageUri")
        if prefix is None:
            return {"bytesBase64Encoded": base64.b64encode(data).decode(), "mimeType": media_type}
        uri = f"{prefix.rstrip('/')}/{call.id}/sample_{n}.{SUFFIXES[media_type]}"
        self._core.media.store(uri, data, media_type)
        return {"gcsUri": uri, "mimeType": media_type}


def _delivered(call: VendorCall, count: int) -> int:
    if call.has("blocked_prompt", "blocked_output", "filtered", "refusal"):
        return 0
    return count // 2 if call.has("partial") else count


def _reason(call: VendorCall) -> str:
    return rai_reason(INPUT_CODE if call.has("blocked_prompt") else OUTPUT_CODE)
