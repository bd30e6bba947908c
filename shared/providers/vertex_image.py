"""Pictures of Gemini image models: one call makes one."""

from __future__ import annotations

from collections.abc import Mapping

from google.genai import Client
from google.genai.types import Blob, GenerateContentResponse, ImageConfig, Part

from shared.errors import Blocked, InvalidCall
from shared.ports import Asset, BlobStore, Call, Done
from shared.providers.vertex_content import Ending, ending, send, spent, tokens
from shared.providers.vertex_errors import VENDOR, built
from shared.providers.vertex_inputs import part, worded

_PEOPLE = {"allow_all": "ALLOW_ALL", "allow_adult": "ALLOW_ADULT", "dont_allow": "ALLOW_NONE"}
_LOSSLESS = frozenset({"512", "1K"})  # a larger picture comes as JPEG: it travels inside the answer


def start(call: Call, client: Client, blobs: BlobStore) -> Done:
    """Make a picture. Raises ProviderFaults."""
    references = call.params.get("reference_images", ())
    parts = [Part.from_text(text=worded(call)), *(part(uri, blobs) for uri in references)]
    response = send(
        call,
        client,
        parts,
        response_modalities=["TEXT", "IMAGE"],
        max_output_tokens=_most_tokens(call),
        image_config=_image_config(call),
    )
    picture = _picture(ending(response), response)
    return Done((Asset(picture.mime_type or "image/png", data=picture.data),), _usage(response))


def _image_config(call: Call) -> ImageConfig:
    size = call.params["size"]
    return built(
        ImageConfig,
        aspect_ratio=call.params["aspect_ratio"],
        image_size=size,
        person_generation=_PEOPLE.get(call.params.get("person_generation", "")),
        output_mime_type="image/png" if size in _LOSSLESS else "image/jpeg",
    )


def _most_tokens(call: Call) -> int:
    """Return what the call was priced for. Raises InvalidCall for a size of which that is not known."""
    size = call.params["size"]
    if size not in call.row.image_tokens:
        raise InvalidCall(f"{call.row.id}: how many tokens a picture of size {size} counts is not known")
    return call.row.image_tokens[size] + call.row.side_tokens


def _picture(end: Ending, response: GenerateContentResponse) -> Blob:
    """Return the picture; of several the last, which is the finished one.

    Without one, words mean a refusal. NO_IMAGE, IMAGE_OTHER, MAX_TOKENS and the like say nothing of safety: this model
    made nothing of this prompt, at no fault of its health, and another one may.
    """
    pictures = [p.inline_data for p in end.parts if p.inline_data and p.inline_data.data]
    if pictures:
        return pictures[-1]
    if end.reason == "STOP" and end.text:
        raise Blocked(f"{VENDOR} answered in words that it does not make this picture", usage=spent(response))
    raise InvalidCall(f"{VENDOR} ended without a picture: {end.reason or 'no reason given'}", usage=spent(response))


def _usage(response: GenerateContentResponse) -> Mapping[str, int]:
    """Return the tokens; nothing when none are reported for the picture, so that it is priced by its size."""
    read, image, others = tokens(response.usage_metadata, "IMAGE")
    return {"input_token": read, "image_token": image, "output_token": others} if image else {}
