"""Jobs in every state a page has to show, built by hand, with small real pictures and clips."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import av
import numpy as np
from PIL import Image

from shared.domain.job import Attempt, AttemptState, Candidate, Job, Piece, State
from shared.domain.result import answer_of
from shared.errors import BlobNotFound

START = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
FINE = Candidate("offline-image-fine", "offline", 40_000, 0.81, ("quality 0.90", "up to 0.04 USD"), simulated=True)
PLAIN = Candidate("offline-image-standard", "offline", 20_000, 0.74, ("quality 0.75",), simulated=True)
CINEMA = Candidate("offline-video-cinema", "offline", 600_000, 0.7, ("quality 0.90",), simulated=True)
WRITER = Candidate("gemini-2.5-flash", "vertex", 2_600, 0.66, ("asked for as gemini-flash",))
TEMPLATE = Candidate("template-text", "template", 0, 0.1, ("last resort",), template=True)


@dataclass
class Gallery:
    """Jobs and the files of their pieces."""

    jobs: list[Job] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def read(self, uri: str) -> bytes:
        """Return a file's bytes. Raises BlobNotFound."""
        if uri not in self.files:
            raise BlobNotFound(f"there is no {uri}")
        return self.files[uri]

    def keep(
        self, job_id: str, attempt: int, data: Sequence[bytes], media_type: str, **known: Any
    ) -> tuple[Piece, ...]:
        """Store files as pieces of an attempt, all with the same known facts."""
        pieces = []
        for n, one in enumerate(data):
            uri = f"file:///home/buckets/outputs/jobs/{job_id}/{attempt}/{n}.{media_type.partition('/')[2]}"
            self.files[uri] = one
            pieces.append(Piece(uri, media_type, len(one), hashlib.sha256(one).hexdigest(), **known))
        return tuple(pieces)


# ---------------------------------------------------------------- files


@lru_cache(maxsize=64)
def picture(seed: int, width: int = 96, height: int = 96, form: str = "PNG") -> bytes:
    """Return hills under a sky, in colours that depend on the seed."""
    buffer = io.BytesIO()
    Image.fromarray(_hills(seed, width, height, 0.0)).save(buffer, form)
    return buffer.getvalue()


@lru_cache(maxsize=8)
def clip(seed: int, width: int = 96, height: int = 64, frames: int = 24) -> bytes:
    """Return an H.264 clip of hills passing by."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for n in range(frames):
            image = av.VideoFrame.from_ndarray(_hills(seed, width, height, n / 24), format="rgb24")
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    return buffer.getvalue()


def _hills(seed: int, width: int, height: int, moment: float) -> np.ndarray[Any, np.dtype[np.uint8]]:
    draw = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    top, low = draw.integers(90, 255, 3), draw.integers(120, 255, 3)
    canvas = top * (1 - y[..., None]) + low * y[..., None]
    sun_x, sun_y = draw.uniform(0.2, 0.8), draw.uniform(0.15, 0.35)
    canvas[(x - sun_x) ** 2 * (width / height) ** 2 + (y - sun_y) ** 2 < 0.008] = (255, 244, 214)
    for layer in range(4):
        phase, waves = draw.uniform(0, 6), draw.uniform(3, 9)
        ridge = 0.45 + 0.13 * layer - 0.08 * np.sin(waves * x + phase + moment * (layer + 1))
        shade = 0.75 - 0.17 * layer
        canvas[y > ridge - 0.03 * np.sin(31 * x + phase)] = low * shade * (0.7, 0.85, 1.0)
    return np.clip(canvas, 0, 255).astype(np.uint8)


# ---------------------------------------------------------------- jobs


def job(name: str, kind: str = "image", state: State = State.SUCCEEDED, **fields: Any) -> Job:
    """Return a job named *name*; what is not given fits its kind."""
    n = int(hashlib.sha256(name.encode()).hexdigest()[:4], 16) % 40
    created = START + timedelta(seconds=n)
    params: dict[str, dict[str, Any]] = {
        "image": {"width": 1024, "height": 1024, "count": 1, "seed": n},
        "video": {"width": 1280, "height": 720, "duration_s": 6, "fps": 24, "audio": True, "seed": n},
        "text": {"task": "content", "max_tokens": 1024, "seed": n},
    }
    prompt = fields.pop("prompt", f"a quiet valley in the morning, {name}")
    known = {
        "job_id": hashlib.sha256(name.encode()).hexdigest()[:32],
        "kind": kind,
        "tenant": "studio",
        "user": "mara",
        "state": state,
        "seq": 5,
        "created_at": created,
        "updated_at": created + timedelta(seconds=4),
        "finished_at": created + timedelta(seconds=4),
        "request_hash": "0" * 64,
        "request": {"kind": kind, "prompt": prompt, "labels": {}},
        "request_id": name,
        "prompt": {"original": prompt, "used": f"{prompt}, sharp focus", "negative": "blurry", "added": []},
        "params": params.get(kind, {}),
        "source": {"file": "requests.jsonl", "line": n + 1},
        "timeline": steps(created, [("validate", 40, State.GENERATING, 0.05)]),
    }
    return Job(**{**known, **fields})


def steps(created: datetime, rows: Sequence[tuple[str, float, State, float]]) -> tuple[dict[str, Any], ...]:
    """Return a timeline of (stage, ms of work, state, seconds since *created*)."""
    return tuple(
        {
            "stage": stage,
            "at": (created + timedelta(seconds=s)).isoformat(),
            "to": str(to),
            "ms": ms,
            "note": f"{stage} done",
        }
        for stage, ms, to, s in rows
    )


def carried(made: Job, generate_s: float = 1.4) -> Job:
    """Return the job with the timeline of one that went straight through."""
    rows = [
        ("validate", 40.0, State.GENERATING, 0.05),
        ("generate", generate_s * 1000, State.CHECKING, 0.1 + generate_s),
        ("quality_check", 220.0, State.RECORDING, 0.4 + generate_s),
        ("record_cost", 12.0, State.SUCCEEDED, 0.5 + generate_s),
    ]
    end = made.created_at + timedelta(seconds=0.5 + generate_s)
    return replace(made, timeline=steps(made.created_at, rows), finished_at=end, updated_at=end)


def attempt(number: int, of: Candidate, pieces: tuple[Piece, ...] = (), **fields: Any) -> Attempt:
    """Return an attempt that was delivered, approved and booked at its price, unless *fields* say otherwise."""
    known = {
        "state": AttemptState.DELIVERED,
        "started_at": START,
        "ended_at": START + timedelta(seconds=1.4),
        "accepted": True,
        "usage": {"image": len(pieces)} if pieces else {},
        "cost_micro_usd": of.price_micro_usd,
        "booked": True,
        "approved": True,
        "grade": "A",
        "simulated": of.simulated,
        "template": of.template,
    }
    return Attempt(number, of.model, of.provider, of.price_micro_usd, pieces=pieces, **{**known, **fields})


def refused_attempt(number: int, of: Candidate, code: str, message: str) -> Attempt:
    """Return an attempt that the vendor did not accept."""
    return attempt(
        number,
        of,
        state=AttemptState.FAILED,
        accepted=False,
        cost_micro_usd=0,
        booked=False,
        approved=None,
        grade=None,
        error={"code": code, "message": message, "retry_after_s": None},
    )


CHECKS = {
    "sharpness": {"measured": 1184.2, "wanted": "> 1000: 3, > 500: 2, > 100: 1", "passed": True},
    "size": {"measured": "1024 × 1024", "wanted": "1024 × 1024", "passed": True},
    "banding": {"measured": 0.71, "wanted": "<= 0.6", "passed": False},
}


def image_job(gallery: Gallery, name: str = "valley-1", count: int = 1, side: int = 96, **fields: Any) -> Job:
    """Return a succeeded job of *count* pictures of 0.04 USD each; its files are in the gallery."""
    made = job(name, **fields)
    files = [picture(n + len(name), side, side) for n in range(count)]
    pieces = gallery.keep(made.job_id, 1, files, "image/png", width=side, height=side, grade="A", checks=CHECKS)
    spec = {**made.params, "count": count}
    candidate = replace(FINE, price_micro_usd=40_000 * count)
    return carried(replace(made, params=spec, candidates=(candidate, PLAIN), attempts=(attempt(1, candidate, pieces),)))


def video_job(gallery: Gallery, name: str = "coast-1", **size: int) -> Job:
    """Return a succeeded clip of 0.60 USD whose operation was polled."""
    made = job(name, "video")
    known: dict[str, Any] = {"width": 1280, "height": 720, "duration_s": 6.0, "grade": "B"}
    pieces = gallery.keep(made.job_id, 1, [clip(3, **size)], "video/mp4", **known)
    rows = [
        ("validate", 40.0, State.GENERATING, 0.05),
        ("generate", 30.0, State.WAITING, 0.1),
        ("generate", 5.0, State.WAITING, 2.1),
        ("generate", 5.0, State.WAITING, 4.1),
        ("generate", 60.0, State.CHECKING, 6.2),
        ("quality_check", 700.0, State.RECORDING, 7.0),
        ("record_cost", 10.0, State.SUCCEEDED, 7.1),
    ]
    end = made.created_at + timedelta(seconds=7.1)
    done = attempt(1, CINEMA, pieces, grade="B", polls=3, usage={"second": 6})
    timeline = steps(made.created_at, rows)
    return replace(made, candidates=(CINEMA,), attempts=(done,), timeline=timeline, finished_at=end, updated_at=end)


def text_job(
    gallery: Gallery, name: str, text: str, platform: str | None = None, media_type: str = "text/plain"
) -> Job:
    """Return a succeeded text of 0.0026 USD."""
    made = job(name, "text")
    pieces = gallery.keep(made.job_id, 1, [text.encode()], media_type, text=text, grade="A")
    params = {**made.params, **({"platform": platform} if platform else {})}
    done = attempt(1, WRITER, pieces, usage={"input_token": 40, "output_token": 210})
    made = replace(made, params=params, candidates=(WRITER, TEMPLATE), attempts=(done,), requested_model="gemini-flash")
    return carried(made, 0.8)


THREAD = "Morning light changes what a room is for.\n\nWe moved one desk to the window. #light\n\nNobody moved it back."
SHAPED = json.dumps({"headline": "Morning light", "tags": ["light", "rooms"], "words": 120})


def fallback_job(gallery: Gallery, name: str = "harbour-1") -> Job:
    """Return a job whose first choice was rate-limited, whose second delivered for 0.02 USD."""
    made = image_job(gallery, name)
    second = replace(attempt(2, PLAIN, made.attempts[0].pieces, grade="C"), started_at=START + timedelta(seconds=2))
    first = refused_attempt(1, FINE, "rate_limited", "too many requests")
    rows = [
        ("validate", 40.0, State.GENERATING, 0.05),
        ("generate", 80.0, State.FALLING_BACK, 0.2),
        ("fallback", 6.0, State.GENERATING, 0.3),
        ("generate", 1100.0, State.CHECKING, 1.5),
        ("quality_check", 200.0, State.RECORDING, 1.8),
        ("record_cost", 12.0, State.SUCCEEDED, 1.9),
    ]
    end = made.created_at + timedelta(seconds=1.9)
    timeline = steps(made.created_at, rows)
    return replace(made, attempts=(first, second), choice=1, timeline=timeline, finished_at=end, updated_at=end)


def cached_job(of: Job, name: str = "valley-again") -> Job:
    """Return a job that the pieces of *of* answered."""
    made = job(name, of.kind, prompt=of.prompt["original"], params=of.params)
    end = made.created_at + timedelta(seconds=0.06)
    timeline = steps(made.created_at, [("validate", 60.0, State.SUCCEEDED, 0.06)])
    return replace(made, answer=answer_of(of), timeline=timeline, finished_at=end, updated_at=end)


def refused_job(name: str = "typo-1") -> Job:
    """Return a request with two things wrong with it."""
    errors = (
        {"field": "max_cost", "code": "unknown_field", "message": "is not a field; did you mean max_cost_usd?"},
        {"field": "prompt", "code": "too_short", "message": "must have 5 to 1,000 characters"},
    )
    made = job(name, state=State.REFUSED, errors=errors, request={}, prompt={}, params={})
    timeline = steps(made.created_at, [("validate", 3.0, State.REFUSED, 0.003)])
    return replace(made, timeline=timeline, finished_at=made.created_at, prompt={})


def failed_job(name: str = "storm-1") -> Job:
    """Return a job that two models failed, with 0.02 USD in doubt."""
    unknown = attempt(
        2,
        PLAIN,
        state=AttemptState.UNKNOWN,
        booked=False,
        cost_micro_usd=0,
        approved=None,
        grade=None,
        suspense_micro_usd=20_000,
        suspense_until=START + timedelta(days=1),
        error={"code": "ambiguous", "message": "no answer in time", "retry_after_s": None},
    )
    first = refused_attempt(1, FINE, "unavailable", "service unavailable")
    errors = ({"field": "", "code": "exhausted", "message": "no candidate is left after 2 attempts"},)
    rows = [
        ("validate", 40.0, State.GENERATING, 0.05),
        ("generate", 900.0, State.FALLING_BACK, 1.0),
        ("fallback", 5.0, State.GENERATING, 1.1),
        ("generate", 3000.0, State.FALLING_BACK, 4.2),
        ("fallback", 5.0, State.FAILED, 4.3),
    ]
    made = job(name, state=State.FAILED, candidates=(FINE, PLAIN), choice=1, attempts=(first, unknown), errors=errors)
    end = made.created_at + timedelta(seconds=4.3)
    return replace(made, timeline=steps(made.created_at, rows), finished_at=end, updated_at=end)


def rejected_job(gallery: Gallery, name: str = "fog-1") -> Job:
    """Return a failed job that bought a piece the quality check rejected."""
    made = image_job(gallery, name)
    bought = replace(made.attempts[0], approved=False, grade="D")
    errors = ({"field": "", "code": "quality", "message": "no piece reached grade C"},)
    return replace(made, state=State.FAILED, attempts=(bought,), errors=errors)


def waiting_job(name: str = "tide-1") -> Job:
    """Return a clip whose operation runs, with its price held."""
    running = attempt(
        1,
        CINEMA,
        state=AttemptState.RUNNING,
        ended_at=None,
        booked=False,
        cost_micro_usd=0,
        approved=None,
        grade=None,
        polls=2,
        progress=0.4,
        handle={"name": "operations/1"},
    )
    made = job(name, "video", State.WAITING, candidates=(CINEMA,), attempts=(running,), hold=600_000, finished_at=None)
    rows = [("validate", 40.0, State.GENERATING, 0.05), ("generate", 30.0, State.WAITING, 0.1)]
    return replace(made, timeline=steps(made.created_at, rows), updated_at=made.created_at + timedelta(seconds=0.1))


def template_job(gallery: Gallery, name: str = "memo-1") -> Job:
    """Return a text that no model wrote."""
    made = text_job(gallery, name, "Hello,\n\nhere is what we know so far.\n\nKind regards", "email")
    done = replace(attempt(2, TEMPLATE, made.attempts[0].pieces, usage={}), number=2)
    first = refused_attempt(1, WRITER, "unavailable", "service unavailable")
    return replace(made, attempts=(first, done), choice=1, requested_model=None)


def cancelled_job(name: str = "dune-1") -> Job:
    """Return a job that was cancelled before anything was bought."""
    errors = ({"field": "", "code": "cancelled", "message": "cancelled on request"},)
    return job(name, state=State.CANCELLED, candidates=(FINE,), errors=errors)


def exhibition(side: int = 96) -> Gallery:
    """Return a gallery with one job of every sort."""
    gallery = Gallery()
    valley = image_job(gallery, "valley-1", side=side)
    gallery.jobs = [
        valley,
        image_job(gallery, "four-seasons", count=4, side=side),
        video_job(gallery),
        text_job(gallery, "thread-1", THREAD, "x"),
        text_job(gallery, "shape-1", SHAPED, media_type="application/json"),
        fallback_job(gallery),
        cached_job(valley),
        refused_job(),
        failed_job(),
        rejected_job(gallery),
        waiting_job(),
        template_job(gallery),
        cancelled_job(),
    ]
    return gallery
