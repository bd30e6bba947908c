"""From an accepted or refused request to the first value of its job."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.domain.dimensions import image_pixels, video_pixels
from shared.domain.identity import job_id, job_id_from_transport
from shared.domain.job import Baton, Job, State, entry
from shared.domain.request import ImageRequest, Request, TextRequest, VideoRequest
from shared.errors import FieldError

Json = dict[str, Any]

MAX_SEED = 2**31 - 1
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Envelope:
    """A request as it arrived, with what identifies it when it has no `request_id`.

    Attributes:
        payload: the request's JSON value; anything at all.
        identity: the transport's own identity: message id, or file and line.
        source: where it came from, for people.
    """

    payload: Any
    identity: str
    source: Json | None = None

    def name(self, field: str) -> str | None:
        """The field's text as sent, if it is a usable name; also for a request that is refused."""
        value = self.payload.get(field) if isinstance(self.payload, dict) else None
        if not isinstance(value, str):
            return None
        name = unicodedata.normalize("NFC", value.strip())
        return name if 0 < len(name) <= _LONGEST_NAME and name.isprintable() else None

    @property
    def tenant(self) -> str:
        """Whose request it is."""
        return self.name("tenant") or "default"

    @property
    def digest(self) -> str:
        """Hash of the payload as sent, to tell a repeated refusal from another request of the same id."""
        return hashlib.sha256(json.dumps(self.payload, sort_keys=True, default=str).encode()).hexdigest()

    @property
    def job_id(self) -> str:
        """The job that this request makes, however often it is delivered."""
        named = self.name("request_id")
        return job_id(self.tenant, named) if named else job_id_from_transport(self.tenant, self.identity)


def envelope_of(payload: object, message_id: str) -> Envelope:
    """What was published: a request as it is, or one of ours with the file and line it came from."""
    if isinstance(payload, dict) and payload.keys() == {"request", "source"} and isinstance(payload["source"], dict):
        source = payload["source"]
        return Envelope(payload["request"], json.dumps(source, sort_keys=True), source)
    return Envelope(payload, message_id, {"message_id": message_id})


def params_of(request: Request, seed: int) -> Json:
    """Return what to make, without the prompt, in the words of `ports.Call.params`; *seed* when none was asked."""
    common: Json = {"style": request.style}
    match request:
        case ImageRequest():
            width, height = image_pixels(request.aspect_ratio, request.size)
            own: Json = {
                "width": width,
                "height": height,
                "aspect_ratio": request.aspect_ratio,
                "size": request.size,
                "count": request.count,
                "seed": seed if request.seed is None else request.seed,
                "guidance_scale": request.guidance_scale,
                "reference_images": list(request.reference_images),
                "person_generation": request.person_generation,
            }
        case VideoRequest():
            width, height = video_pixels(request.aspect_ratio, request.resolution)
            own = {
                "width": width,
                "height": height,
                "aspect_ratio": request.aspect_ratio,
                "resolution": request.resolution,
                "duration_s": request.duration_s,
                "fps": request.fps,
                "audio": request.audio,
                "image": request.image,
                "last_frame": request.last_frame,
                "seed": seed if request.seed is None else request.seed,
            }
        case TextRequest():
            own = {
                "task": request.task,
                "system": request.system,
                "temperature": request.temperature,
                "top_p": request.top_p,
                "max_tokens": request.max_tokens,
                "response_schema": request.response_schema,
                "inputs": list(request.inputs),
                "platform": request.platform,
                "seed": seed,
            }
        case _:
            raise TypeError(f"no parameters for {type(request).__name__}")
    return {k: v for k, v in {**common, **own}.items() if v is not None}


def new_job(
    envelope: Envelope, request: Request, doc: Json, content_hash: str, now: datetime, trace: str | None
) -> Job:
    """Return the job of an accepted request, before its first step."""
    return Job(
        job_id=envelope.job_id,
        kind=request.kind,
        tenant=request.tenant,
        user=request.user,
        request_id=request.request_id,
        state=State.GENERATING,
        seq=0,
        created_at=now,
        updated_at=now,
        deadline_at=now + timedelta(seconds=request.deadline_s),
        request_hash=content_hash,
        request=doc,
        max_cost=request.max_cost_micro_usd,
        requested_model=request.model,
        source=envelope.source,
        trace=trace,
    )


def rejected_job(
    envelope: Envelope,
    job_id: str,
    digest: str,
    state: State,
    errors: Sequence[FieldError],
    now: datetime,
    trace: str | None,
) -> Job:
    """Return the whole, finished job of a request that never got further: refused, or given up."""
    kind = envelope.name("kind") or "unknown"
    return Job(
        job_id=job_id,
        kind=kind if kind in ("image", "video", "text", "talking_photo", "campaign") else "unknown",
        tenant=envelope.tenant,
        user=envelope.name("user"),
        request_id=envelope.name("request_id"),
        state=state,
        seq=1,
        created_at=now,
        updated_at=now,
        finished_at=now,
        request_hash=digest,
        request={},
        requested_model=envelope.name("model"),
        source=envelope.source,
        trace=trace,
        baton=Baton("results", {"job_id": job_id, "seq": 1}),
        errors=tuple({"field": e.field, "code": e.code, "message": e.message} for e in errors),
        timeline=(entry("validate", now, state, ", ".join(e.code for e in errors)),),
    )
