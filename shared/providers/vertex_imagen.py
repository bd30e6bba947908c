"""Pictures of Imagen, for projects and endpoints that still have it; Google's own answer 404 since 2026-06-30."""

from __future__ import annotations

import inspect
from typing import Any

from google.genai import Client
from google.genai.types import GenerateImagesConfig, GenerateImagesResponse, PersonGeneration, SafetyFilterLevel

from shared.errors import Blocked
from shared.ports import Asset, BlobStore, Call, Done
from shared.providers.vertex_clients import within
from shared.providers.vertex_errors import VENDOR, built, paid, support_codes
from shared.providers.vertex_inputs import asked, labels

_PEOPLE = {
    "allow_all": PersonGeneration.ALLOW_ALL,
    "allow_adult": PersonGeneration.ALLOW_ADULT,
    "dont_allow": PersonGeneration.DONT_ALLOW,
}


def start(call: Call, client: Client, _blobs: BlobStore) -> Done:
    """Make the pictures of the call; some of them may be filtered. Raises ProviderFaults."""
    config = _config(call)
    # The method warns once that it is deprecated; a filter on warnings would hold for all threads of the process.
    generate_images = inspect.unwrap(type(client.models).generate_images)
    with paid(asked(call)):
        response: GenerateImagesResponse = generate_images(
            client.models, model=call.model, prompt=call.params["prompt"], config=config
        )
    assets = _assets(response)
    return Done(assets, {"image": len(assets)})


def _config(call: Call) -> GenerateImagesConfig:
    p = call.params
    optional: dict[str, Any] = {name: p[name] for name in ("guidance_scale", "enhance_prompt") if name in p}
    if call.row.sizes:  # Imagen 3 takes no size
        optional["image_size"] = p["size"]
    return built(
        GenerateImagesConfig,
        number_of_images=p["count"],
        aspect_ratio=p["aspect_ratio"],
        seed=p["seed"],
        add_watermark=False,  # with it, a seed is refused
        negative_prompt=p.get("negative_prompt"),
        person_generation=_PEOPLE.get(p.get("person_generation", "")),
        safety_filter_level=SafetyFilterLevel.BLOCK_MEDIUM_AND_ABOVE,
        include_rai_reason=True,
        output_mime_type="image/png",
        labels=labels(call),
        http_options=within(call.timeout_s),
        **optional,
    )


def _assets(response: GenerateImagesResponse) -> tuple[Asset, ...]:
    """Return what was delivered; a filtered picture is an empty image. Raises Blocked when all were filtered."""
    entries = response.generated_images or []
    images = [entry.image for entry in entries if entry.image and entry.image.image_bytes]
    if not images:
        codes = support_codes(*(entry.rai_filtered_reason for entry in entries))
        raise Blocked(f"{VENDOR} filtered all pictures{codes}")
    return tuple(Asset(image.mime_type or "image/png", data=image.image_bytes) for image in images)
