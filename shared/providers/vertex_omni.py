"""Clips of Gemini Omni, through the Interactions API in the background."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from shared.errors import Ambiguous, Blocked, ProviderFault, Unavailable
from shared.ports import Asset, BlobStore, Call, Done, Json, Pending
from shared.providers.http import ASK_S, NotAnswered, UnknownThere
from shared.providers.inputs import for_google
from shared.providers.vertex_clients import Clients
from shared.providers.vertex_errors import VENDOR, asking, is_safety, operation_fault, paid, support_codes
from shared.providers.vertex_inputs import asked, worded
from shared.providers.vertex_watch import POLL_S, is_watched

if TYPE_CHECKING:
    from google.genai.interactions import Interaction, Usage, VideoContent

_LOCATION = "global"
# Of the others, all but "completed" go on, or wait for something that is never asked for here: they time out.
_FAILED = frozenset({"failed", "cancelled", "incomplete", "budget_exceeded"})


def start(call: Call, clients: Clients, blobs: BlobStore) -> Done | Pending:
    """Start an interaction. Raises ProviderFaults."""
    location = call.row.location or _LOCATION
    api = clients.interactions(location)
    content = [{"type": "text", "text": worded(call)}, *_first_frame(call, blobs)]
    with paid(asked(call)):
        made = api.create(
            model=call.model,
            input=content,
            background=True,
            store=True,
            response_format=[_response_format(call)],
            timeout=call.timeout_s,
        )
        # The SDK checks nothing of this answer.
        if not isinstance(made.id, str) or not made.id:
            raise Ambiguous(f"{VENDOR} accepted a clip without naming its interaction")
        prefix = call.output_prefix if is_watched(call.output_prefix) else ""
        return _read(made, {"api": "omni", "interaction": made.id, "location": location, "prefix": prefix})


def poll(handle: Json, clients: Clients) -> Done | Pending:
    """Return the clip when it is done.

    Raises:
        NotAnswered, UnknownThere: as `vertex_errors.asking` says.
        ProviderFault: how the interaction ended.
    """
    api = clients.interactions(handle["location"])
    with asking():
        return _read(api.get(id=handle["interaction"], timeout=ASK_S), handle)


def cancel(handle: Json, clients: Clients) -> None:
    """Ask for an end, as far as that can be asked now."""
    api = clients.interactions(handle["location"])
    with suppress(NotAnswered, UnknownThere), asking():
        api.cancel(id=handle["interaction"], timeout=ASK_S)


def _first_frame(call: Call, blobs: BlobStore) -> list[Json]:
    uri = call.params.get("image")
    if uri is None:
        return []
    file = for_google(uri, blobs)
    given = {"uri": file.uri} if file.data is None else {"data": base64.b64encode(file.data).decode()}
    return [{"type": "image", "mime_type": file.media_type, **given}]


def _response_format(call: Call) -> Json:
    p, prefix = call.params, call.output_prefix
    delivery = {"delivery": "uri", "gcs_uri": prefix} if is_watched(prefix) else {"delivery": "inline"}
    shape = {"aspect_ratio": p["aspect_ratio"], "duration": f"{p['duration_s']}s", "resolution": p["resolution"]}
    return {"type": "video", **shape, **delivery}


def _read(found: Interaction, handle: Json) -> Done | Pending:
    """Return what an interaction has come to. Raises ProviderFaults."""
    if found.status not in {"completed", *_FAILED}:
        return Pending(handle, POLL_S)
    clip = found.output_video
    if clip and (clip.uri or clip.data):
        return Done((_asset(clip),), usage_of(found.usage), "stop" if found.status == "completed" else "max_tokens")
    if found.status in _FAILED:
        raise _failure(found)
    # Its own failures have a status; completed without a clip means that it refused, or that the clip was filtered.
    how = "answered in words that it does not make this clip" if found.output_text else "withheld the finished clip"
    raise Blocked(f"{VENDOR} {how}", usage=_spent(found.usage))


def _asset(clip: VideoContent) -> Asset:
    media_type = clip.mime_type or "video/mp4"
    if clip.uri:
        return Asset(media_type, uri=clip.uri)
    try:
        return Asset(media_type, data=base64.b64decode(clip.data or "", validate=True))
    except binascii.Error:
        raise Ambiguous(f"{VENDOR} delivered a clip that cannot be read") from None


def _failure(found: Interaction) -> ProviderFault:
    """Return what the errors that an interaction recorded mean; the prompt is not known here, so none is quoted."""
    spent = _spent(found.usage)
    for step in found.steps or ():
        error = getattr(step, "error", None)
        if error is not None and error.code:
            return operation_fault(error.code, error.message or "", spent)
    messages = [error.message or "" for error in found.errors or ()]
    text = f"{VENDOR}: the interaction is {found.status}{support_codes(*messages)}"
    is_block = any(is_safety(message) for message in messages)
    return Blocked(text, usage=spent) if is_block else Unavailable(text, usage=spent)


def usage_of(usage: Usage | None) -> Mapping[str, int]:
    """Return the tokens: those of the answer are the clip's, unless the report tells them apart, and thoughts are text.

    Nothing when none are reported for the clip, so that it is priced by its seconds.
    """
    units = _tokens(usage, usage.total_output_tokens or 0 if usage else 0)
    return units if units["video_token"] else {}


def _spent(usage: Usage | None) -> dict[str, int]:
    """Return the tokens of an interaction that delivered nothing: what it read is charged all the same."""
    return {unit: count for unit, count in _tokens(usage, 0).items() if count}


def _tokens(usage: Usage | None, clip: int) -> dict[str, int]:
    """Return all tokens. *clip*: how many are the clip's where the report does not say."""
    if usage is None:
        return {"input_token": 0, "video_token": 0, "output_token": 0}
    written = usage.total_output_tokens or 0
    by_modality = {each.modality: each.tokens or 0 for each in usage.output_tokens_by_modality or ()}
    if by_modality:
        clip = min(written, by_modality.get("video", 0))
    others = written - clip + (usage.total_thought_tokens or 0)
    return {"input_token": usage.total_input_tokens or 0, "video_token": clip, "output_token": others}
