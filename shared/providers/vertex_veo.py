"""Clips of Veo: an operation per call, asked after by its name."""

from __future__ import annotations

from typing import Any

from google.genai.types import (
    GenerateVideosConfig,
    GenerateVideosOperation,
    GenerateVideosSource,
    GetOperationConfig,
    Video,
)

from shared.errors import Ambiguous, Blocked, InvalidCall, Unavailable
from shared.ports import Asset, BlobStore, Call, Done, Json, Pending
from shared.providers.http import ASK_S
from shared.providers.vertex_clients import Clients, within
from shared.providers.vertex_errors import VENDOR, asking, built, operation_fault, paid, support_codes
from shared.providers.vertex_inputs import asked, frame, labels
from shared.providers.vertex_watch import POLL_S, is_watched

_OPTIONAL = ("enhance_prompt", "compression_quality", "resize_mode")


def start(call: Call, clients: Clients, blobs: BlobStore) -> Pending:
    """Start an operation. Raises ProviderFaults."""
    location = call.row.location
    if location is None:
        raise InvalidCall(f"{call.row.id}: Veo needs a region, and the catalogue names no location")
    source = built(GenerateVideosSource, prompt=call.params["prompt"], image=frame(call.params.get("image"), blobs))
    config = _config(call, blobs)
    with paid(asked(call)):
        operation = clients.at(location).models.generate_videos(model=call.model, source=source, config=config)
    if not operation.name:
        raise Ambiguous(f"{VENDOR} accepted a clip without naming its operation")
    handle: Json = {
        "api": "veo",
        "operation": operation.name,
        "location": location,
        "prefix": call.output_prefix if is_watched(call.output_prefix) else "",
        "seconds": call.params["duration_s"],
    }
    return Pending(handle, POLL_S)


def poll(handle: Json, clients: Clients) -> Done | Pending:
    """Return the clip when it is done.

    Raises:
        NotAnswered, UnknownThere: as `vertex_errors.asking` says.
        ProviderFault: how the operation ended.
    """
    named = GenerateVideosOperation.model_validate({"name": handle["operation"]})
    config = GetOperationConfig(http_options=within(ASK_S))
    with asking():
        operation = clients.at(handle["location"]).operations.get(named, config=config)
    if not operation.done:
        return Pending(handle, POLL_S)
    if operation.error:
        raise operation_fault(int(operation.error.get("code", 0)), str(operation.error.get("message", "")))
    assets = tuple(_asset(video) for video in _videos(operation))
    return Done(assets, {"second": handle["seconds"] * len(assets)})


def _config(call: Call, blobs: BlobStore) -> GenerateVideosConfig:
    p = call.params
    optional: dict[str, Any] = {name: p[name] for name in _OPTIONAL if name in p}
    if is_watched(call.output_prefix):
        optional["output_gcs_uri"] = call.output_prefix
    if call.row.audio == "optional":
        optional["generate_audio"] = p["audio"]
    return built(
        GenerateVideosConfig,
        number_of_videos=1,
        duration_seconds=p["duration_s"],
        resolution=p["resolution"],
        aspect_ratio=p["aspect_ratio"],
        fps=p.get("fps"),
        seed=p.get("seed"),
        negative_prompt=p.get("negative_prompt"),
        person_generation="allow_adult",  # in lower case, unlike that of pictures
        last_frame=frame(p.get("last_frame"), blobs),
        labels=labels(call),
        http_options=within(call.timeout_s),
        **optional,
    )


def _videos(operation: GenerateVideosOperation) -> list[Video]:
    """Return what passed the filters. Raises Blocked, Unavailable."""
    response = operation.response
    made = [each.video for each in (response.generated_videos if response else None) or [] if each.video]
    usable = [video for video in made if video.uri or video.video_bytes]
    if usable:
        return usable
    if response and response.rai_media_filtered_count:
        codes = support_codes(*(response.rai_media_filtered_reasons or ()))
        raise Blocked(f"{VENDOR} made the clip and filtered it{codes}")
    raise Unavailable(f"{VENDOR}: the operation ended without a clip")


def _asset(video: Video) -> Asset:
    media_type = video.mime_type or "video/mp4"
    return Asset(media_type, uri=video.uri) if video.uri else Asset(media_type, data=video.video_bytes)
