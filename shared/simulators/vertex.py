"""Vertex AI, simulated: generateContent, Veo operations, the Interactions API and Imagen's predict.

Anything well-formed is believed: projects, files and topics are not looked up. `pubsubTopic` is taken and ignored, for
what Vertex AI publishes there is documented nowhere. Retired models answer 404 as the real ones do.
"""

from __future__ import annotations

from shared.simulators.http_server import Answer, Request, Response, json_response
from shared.simulators.vendor_core import VendorCore
from shared.simulators.vendor_faults import canonical
from shared.simulators.vendor_http import Refused
from shared.simulators.vertex_gemini import Gemini
from shared.simulators.vertex_imagen import Imagen
from shared.simulators.vertex_interactions import Interactions
from shared.simulators.vertex_path import Target, interaction_of, target_of
from shared.simulators.vertex_video import Veo

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class VertexApi:
    """All of Vertex AI behind one `respond`."""

    name = "vertex"

    def __init__(self, core: VendorCore) -> None:
        self._core = core
        self._gemini, self._veo, self._imagen = Gemini(core), Veo(core), Imagen(core)
        self._interactions = Interactions(core)

    def owns(self, path: str) -> bool:
        """Whether the path is below a project or a publisher."""
        return path.startswith(("/v1/projects/", "/v1beta1/projects/", "/v1/publishers/", "/v1beta1/publishers/"))

    def respond(self, request: Request) -> Answer:
        """Answer one request. Raises Refused and NotAnObject."""
        self._core.authorize(self.name, request)
        if interaction_of(request.path) is not None:
            return self._interactions.respond(request)
        target = target_of(request.path)
        if target is None or request.method != "POST":
            raise Refused(404, f"The requested URL {request.path} was not found on this server.")
        if not target.answers:
            raise self._not_found(target)
        return self._called(target, request)

    def error(self, refused: Refused) -> Response:
        """Return the refusal in the form of Google's APIs."""
        status = _STATUSES.get(refused.status, "UNKNOWN")
        told = {"code": refused.status, "message": refused.message, "status": status}
        return json_response({"error": told}, refused.status, refused.headers)

    def _called(self, target: Target, request: Request) -> Answer:
        body = request.json()
        key = f"{request.path} {canonical(body)}"
        try:
            if target.verb == "generateContent":
                return self._gemini.generate(target, body, key)
            if target.verb == "predictLongRunning":
                return self._veo.start(target, body, key)
            if target.verb == "fetchPredictOperation":
                return self._veo.fetch(target, body)
            return self._imagen.predict(target, body, key)
        except Refused as refused:
            if refused.status == 404 and target.verb != "fetchPredictOperation":
                raise self._not_found(target) from None
            raise

    @staticmethod
    def _not_found(target: Target) -> Refused:
        return Refused(
            404,
            f"Publisher Model `{target.resource}` was not found or your project does not have access to it. "
            "Please ensure you are using a valid model version.",
        )
