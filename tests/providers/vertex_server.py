"""A server that keeps what google-genai sends, and answers what a test says; and calls to send."""

from __future__ import annotations

import base64
import json
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from shared.adapters.filesystem import BUCKETS, FilesystemBlobStore
from shared.clock import ManualClock
from shared.domain.catalogue import Catalogue, parse_catalogue
from shared.errors import InvalidBlobName
from shared.ports import Call
from shared.providers.vertex import VertexProvider
from tests.http_server import Handler, serving

Json = dict[str, Any]
PNG = b"\x89PNG\r\n\x1a\n and so on"
MP4 = b"\x00\x00\x00\x18ftypmp42 and so on"
PREFIX = "gs://outputs/jobs/j1/2/"
PROMPT = "a quiet harbour at dawn with two red boats"

IMAGE: Json = {"width": 1024, "height": 1024, "aspect_ratio": "16:9", "size": "1K", "count": 1, "seed": 7}
VIDEO: Json = {
    "width": 1280,
    "height": 720,
    "aspect_ratio": "16:9",
    "resolution": "720p",
    "duration_s": 8,
    "fps": 24,
    "audio": True,
    "seed": 7,
}
TEXT: Json = {"task": "general", "max_tokens": 1024, "seed": 7}

IMAGEN = """
[[model]]
id = "imagen-4.0-generate-001"
provider = "vertex"
api = "imagen"
kinds = ["image"]
location = "us-central1"
sizes = ["1K", "2K"]
max_count = 4
pieces_per_call = 4
"""


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass(frozen=True)
class Sent:
    method: str
    path: str
    body: Json
    headers: dict[str, str]


@dataclass(frozen=True)
class Reply:
    """One answer; *lost*: "drop" hangs up without one, "hang" keeps silent until the test ends."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    lost: str = ""


class CloudBlobs(FilesystemBlobStore):
    """Names its objects as Cloud Storage does, and knows no buckets but its own."""

    def uri(self, bucket: str, name: str) -> str:
        return f"gs://{bucket}/{name}"

    def locate(self, uri: str) -> tuple[str, str]:
        bucket, name = super().locate(uri)
        if bucket not in BUCKETS:
            raise InvalidBlobName(f"{uri} is in no bucket of ours")
        return bucket, name


class Wire:
    """What was sent, what is answered (the last answer again and again), and the provider that talks to it."""

    def __init__(self, blobs: FilesystemBlobStore) -> None:
        self.sent: list[Sent] = []
        self.replies: list[Reply] = []
        self.over = threading.Event()
        self.clock = ManualClock()
        self.blobs = blobs
        self.provider: VertexProvider

    def answers(self, body: Json | list[Any] | bytes | str = b"", status: int = 200, **headers: str) -> None:
        raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.replies.append(Reply(status, raw, headers))

    def loses(self, how: str) -> None:
        self.replies.append(Reply(lost=how))

    def reset(self) -> None:
        self.over.set()
        self.over = threading.Event()
        self.sent.clear()
        self.replies.clear()

    def next_reply(self) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    @property
    def body(self) -> Json:
        (only,) = self.sent
        return only.body

    @property
    def paths(self) -> list[str]:
        return [f"{sent.method} {sent.path}" for sent in self.sent]


@contextmanager
def recording(blobs: FilesystemBlobStore) -> Iterator[Wire]:
    wire = Wire(blobs)

    class Vertex(Handler):
        def respond(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            wire.sent.append(Sent(self.command, self.path, body, {k.lower(): v for k, v in self.headers.items()}))
            reply = wire.next_reply()
            if reply.lost == "hang":
                wire.over.wait(30)
            if reply.lost:
                self.close_connection = True
                return
            self.answer(reply.status, reply.body, Content_Type="application/json", **reply.headers)

    with serving(Vertex) as url:
        wire.provider = VertexProvider("p1", wire.blobs, wire.clock, base_url=url)
        try:
            yield wire
        finally:
            wire.over.set()
            wire.provider.close()
            wire.blobs.close()


@lru_cache(maxsize=1)
def catalogue() -> Catalogue:
    rows = Path(__file__).parents[2] / "shared" / "catalogue.toml"
    return parse_catalogue(tomllib.loads(rows.read_text("utf-8")), tomllib.loads(IMAGEN))


def call(model: str, params: Json, *, prefix: str = "file:///somewhere/jobs/j1/2/", **changes: Any) -> Call:
    row = catalogue().by_name[model]
    return Call(
        key="j1-2",
        job_id="J1.x",
        attempt=2,
        kind=next(iter(row.kinds)),
        model=row.vendor_model,
        row=replace(row, **changes.pop("row", {})),
        params={"prompt": PROMPT, **params},
        output_prefix=prefix,
        timeout_s=changes.pop("timeout_s", 5.0),
        part=changes.pop("part", 0),
    )
