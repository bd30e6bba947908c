"""The paths of Vertex AI, and which models answer where."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MODEL = re.compile(
    r"/v1(?:beta1)?/(?P<parent>projects/[^/]+/locations/(?P<location>[^/]+))/"
    r"(?P<resource>publishers/google/models/(?P<model>[^/:]+)|endpoints/(?P<endpoint>\d+)):(?P<verb>\w+)"
)
_INTERACTIONS = re.compile(
    r"/v1beta1/projects/[^/]+/locations/(?P<location>[^/]+)/interactions(?:/(?P<id>[^/]+)(?P<cancel>/cancel)?)?"
)
# Gone for good (docs.cloud.google.com, model versions). Imagen is gone too, but still answers here: projects and
# endpoints that kept it need something to test against.
_RETIRED = re.compile(
    r"gemini-(pro|1\.|2\.0|2\.5-(pro|flash|flash-lite)$).*|veo-(2\.0|3\.0)-.*|veo-3\.1-.*preview|gemini-omni-flash-preview"
)
_VERBS = {
    "generateContent": re.compile(r"gemini-(?!omni).*|endpoints/.*"),
    "predictLongRunning": re.compile(r"veo-.*"),
    "fetchPredictOperation": re.compile(r"veo-.*"),
    "predict": re.compile(r"(imagen|imagegeneration|imagetext).*|endpoints/.*"),
}


@dataclass(frozen=True, slots=True)
class Target:
    """A model's method: *resource* is its full name, *model* its id, or `endpoints/ID` of a tuned one."""

    resource: str
    location: str
    model: str
    verb: str

    @property
    def answers(self) -> bool:
        """Whether there is such a model with such a method at this location; Veo is in no `global`."""
        known = self.verb in _VERBS and _VERBS[self.verb].fullmatch(self.model) is not None
        return known and not is_retired(self.model) and not (self.location == "global" and "veo-" in self.model)


def is_retired(model: str) -> bool:
    """Whether the model is gone, whatever a fault plan says."""
    return _RETIRED.fullmatch(model) is not None


def target_of(path: str) -> Target | None:
    """Return the method a path names."""
    found = _MODEL.fullmatch(path)
    if found is None:
        return None
    model = found["model"] or f"endpoints/{found['endpoint']}"
    return Target(f"{found['parent']}/{found['resource']}", found["location"], model, found["verb"])


def interaction_of(path: str) -> tuple[str, str, bool] | None:
    """Return location, id (empty: all of them) and whether to cancel, when the path is one of the Interactions API."""
    found = _INTERACTIONS.fullmatch(path)
    return None if found is None else (found["location"], found["id"] or "", found["cancel"] is not None)
