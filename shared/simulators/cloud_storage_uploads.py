"""Uploads of the Cloud Storage simulator: in one request, as multipart, or resumable in as many as it takes.

Source: cloud.google.com/storage/docs/uploads-downloads and /storage/docs/resumable-uploads.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message

from shared.simulators.cloud_storage_http import Request, Response, json_response
from shared.simulators.cloud_storage_objects import Conditions, Metadata, Objects, Refused, StoredObject

Stored = Callable[[StoredObject], None]

_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_BOUNDARY = re.compile(r"boundary=(?:\"([^\"]+)\"|'([^']+)'|([^;\s]+))")


@dataclass(slots=True)
class _Session:
    """A resumable upload under way, or its answer once it is done."""

    bucket: str
    name: str
    given: Metadata
    conditions: Conditions
    data: bytearray = field(default_factory=bytearray)
    done: Metadata | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Uploads:
    """Answers `POST /upload/storage/v1/b/BUCKET/o` and what follows it; *stored* hears of every new object."""

    def __init__(self, objects: Objects, stored: Stored) -> None:
        self._objects, self._stored = objects, stored
        self._sessions: dict[str, _Session] = {}

    def answer(self, request: Request, bucket: str) -> Response:
        """Take an upload, or a part of one. Raises Refused."""
        query = request.query
        if "upload_id" in query:
            return self._resume(request, query["upload_id"])
        self._objects.bucket(bucket)
        kind = query.get("uploadType", "media")
        if kind == "resumable":
            return self._begin(request, bucket)
        if kind == "multipart":
            given, data = _parts(request)
        else:
            given, data = {"contentType": request.headers.get("Content-Type")}, request.body
        name = str(given.get("name") or query.get("name", ""))
        return json_response(self.put(bucket, name, data, given, Conditions.of(query)))

    def put(self, bucket: str, name: str, data: bytes, given: Metadata, conditions: Conditions) -> Metadata:
        """Store an object and tell of it. Raises Refused."""
        new = self._objects.put(bucket, name, data, given, conditions)
        self._stored(new)
        return new.metadata

    def _begin(self, request: Request, bucket: str) -> Response:
        query, given = request.query, request.json()
        given.setdefault("contentType", request.headers.get("X-Upload-Content-Type"))
        name = str(given.get("name") or query.get("name", ""))
        conditions = Conditions.of(query)
        self._objects.check(bucket, name, conditions)
        identifier = secrets.token_urlsafe(24)
        self._sessions[identifier] = _Session(bucket, name, given, conditions)
        host = request.headers.get("Host", "")
        location = f"http://{host}{request.path}?uploadType=resumable&upload_id={identifier}"
        return Response(200, {"Location": location, "X-GUploader-UploadID": identifier})

    def _resume(self, request: Request, identifier: str) -> Response:
        session = self._sessions.get(identifier)
        if session is None:
            raise Refused(410, "The upload session is gone; start a new one.", "gone")
        if request.method == "DELETE":
            del self._sessions[identifier]
            return Response(499)
        with session.lock:
            if session.done is None:
                self._take(session, request)
            if session.done is not None:
                return json_response(session.done)
            received = {"Range": f"bytes=0-{len(session.data) - 1}"} if session.data else {}
            return Response(308, received)

    def _take(self, session: _Session, request: Request) -> None:
        """Add the body to what has come, and store the object when it is complete."""
        content_range = request.headers.get("Content-Range")
        start, total = _parsed_range(content_range) if content_range else (0, len(request.body))
        if start is not None:
            if start > len(session.data):
                raise Refused(400, "The bytes do not follow those that have come.", "invalid")
            missing = memoryview(request.body)[len(session.data) - start :]  # a repeated request overlaps
            session.data += missing
        if total is not None and len(session.data) == total:
            given = session.given | _given_hashes(request.headers)
            session.done = self.put(session.bucket, session.name, bytes(session.data), given, session.conditions)
            session.data = bytearray()


def _parsed_range(text: str) -> tuple[int | None, int | None]:
    """Return where the body starts (None: a question for the status) and how long the whole is, if that is known."""
    match = _RANGE.fullmatch(text)
    if match is None:
        raise Refused(400, f"Failed to parse Content-Range header: {text!r}", "invalid")
    start, total = match.groups()
    return None if start is None else int(start), None if total == "*" else int(total)


def _given_hashes(headers: Message) -> Metadata:
    """Return the checksums of an `x-goog-hash: crc32c=…,md5=…` header under their names in metadata."""
    pairs = (part.strip().split("=", 1) for part in str(headers.get("x-goog-hash") or "").split(","))
    names = {"crc32c": "crc32c", "md5": "md5Hash"}
    return {names[pair[0]]: pair[1] for pair in pairs if pair[0] in names}


def _parts(request: Request) -> tuple[Metadata, bytes]:
    """Return metadata and content of a multipart body."""
    found = _BOUNDARY.search(request.headers.get("Content-Type", ""))
    if found is None:
        raise Refused(400, "Missing boundary of a multipart upload", "badRequest")
    mark = b"--" + next(filter(None, found.groups())).encode()
    end = request.body.rfind(b"\n" + mark + b"--")
    first = request.body.find(mark)
    second = request.body.find(b"\n" + mark, first + len(mark))
    if not -1 < first < second < end:
        raise Refused(400, "Malformed multipart body.", "badRequest")
    _, metadata = _head_and_body(request.body[first + len(mark) : second])
    end -= request.body[end - 1 : end] == b"\r"
    headers, data = _head_and_body(request.body[second + 1 + len(mark) : end])
    given = Request("", "", "", request.headers, metadata).json()
    kind = re.search(rb"content-type: *([^\r\n]+)", headers, re.IGNORECASE)
    given.setdefault("contentType", kind[1].decode("latin-1") if kind else None)
    return given, data


def _head_and_body(part: bytes) -> tuple[bytes, bytes]:
    """Split a part at its first empty line; clients write line ends of either kind."""
    match = re.search(rb"\r?\n\r?\n", part)
    if match is None:
        raise Refused(400, "Malformed multipart body.", "badRequest")
    return part[: match.start()], part[match.end() :]
