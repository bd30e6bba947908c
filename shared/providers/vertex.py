"""Vertex AI, which Google now calls Gemini Enterprise Agent Platform, through google-genai."""

from __future__ import annotations

from collections.abc import Callable

from google.genai import Client

from shared.errors import Ambiguous, InvalidCall
from shared.ports import BlobStore, Call, Clock, Done, Json, NotAccepted, Pending
from shared.providers import vertex_image, vertex_imagen, vertex_omni, vertex_text, vertex_veo
from shared.providers.http import NotAnswered, UnknownThere
from shared.providers.vertex_clients import Clients
from shared.providers.vertex_watch import is_watched, look, watching

_DEFAULT_API = "gemini"
_DEFAULT_LOCATION = "global"
_AT_ONCE: dict[tuple[str, str], Callable[[Call, Client, BlobStore], Done]] = {
    ("image", "gemini"): vertex_image.start,
    ("image", "imagen"): vertex_imagen.start,
    ("text", "gemini"): vertex_text.start,
}
_OPERATIONS: dict[str, Callable[[Call, Clients, BlobStore], Done | Pending]] = {
    "omni": vertex_omni.start,
    "veo": vertex_veo.start,
}


class VertexProvider:
    """Google's models: Gemini pictures and texts, Veo and Omni clips, and Imagen where it is still there.

    Every create is sent once: the SDK's own repeats and continuations, which are paid for, are off. No interface takes
    an idempotency key or lists what was accepted, so what can be adopted after an ambiguous call is:

    - gemini (pictures, texts): nothing. The answer is the only copy; the money goes into suspense.
    - veo: the clip, where outputs are in Cloud Storage. The operation's name is lost, but the vendor writes under the
      prefix of the attempt; that is watched for ten minutes. Otherwise nothing. The same watch takes over when the
      vendor no longer knows an operation.
    - omni: the same, by the prefix.
    - imagen: nothing.

    Never NotAccepted: an empty prefix proves nothing.
    """

    name = "vertex"

    def __init__(self, project: str, blobs: BlobStore, clock: Clock, *, base_url: str = "") -> None:
        """*base_url*: of a simulator or proxy; one of "http://" gets no real credentials."""
        self._clients = Clients(project, base_url)
        self._blobs = blobs
        self._clock = clock

    def start(self, call: Call) -> Done | Pending:
        """Make the paid call, once. Raises ProviderFaults."""
        api = call.row.api or _DEFAULT_API
        if call.kind == "video" and api in _OPERATIONS:
            return _OPERATIONS[api](call, self._clients, self._blobs)
        make = _AT_ONCE.get((call.kind, api))
        if make is None:
            raise InvalidCall(f"vertex: {api} makes no {call.kind}")
        return make(call, self._clients.at(call.row.location or _DEFAULT_LOCATION), self._blobs)

    def poll(self, handle: Json) -> Done | Pending:
        """Ask after an operation, or look for its clip. Raises ProviderFaults when it has ended without one."""
        if "watch" in handle:
            return look(handle, self._blobs, self._clock)
        ask = vertex_omni.poll if handle["api"] == "omni" else vertex_veo.poll
        try:
            return ask(handle, self._clients)
        except NotAnswered as later:
            return Pending(handle, later.retry_after_s)
        except UnknownThere:
            if not handle["prefix"]:
                raise Ambiguous("vertex no longer knows the operation that it accepted") from None
            return look(watching(handle["api"], handle["prefix"], self._clock), self._blobs, self._clock)

    def cancel(self, handle: Json) -> None:
        """Ask the vendor to stop an interaction; an operation of Veo cannot be stopped."""
        if "interaction" in handle:
            vertex_omni.cancel(handle, self._clients)

    def find(self, call: Call) -> Done | Pending | NotAccepted | None:
        """Look for the clip of an earlier call under its prefix; None for what leaves no trace."""
        api = call.row.api or _DEFAULT_API
        if api not in _OPERATIONS or not is_watched(call.output_prefix):
            return None
        return look(watching(api, call.output_prefix, self._clock), self._blobs, self._clock)

    def close(self) -> None:
        """Give up all connections."""
        self._clients.close()
