"""Files of the simulated vendors: real pictures and clips, rendered once per form and marked apart per call."""

from __future__ import annotations

import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.ports import Clock
from shared.simulators.http_server import Request, Response
from shared.simulators.vendor_http import Refused

FILES = "/_sim/files/"
SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "video/mp4": "mp4", "text/plain": "txt"}
VARIANTS = 4  # different pictures of one form
_PROMPT = "a quiet lake between mountains at sunrise"
_PNG_HEADER = 8 + 25  # signature and the first chunk
_STORAGE_S = 20


class StorageRefused(Exception):
    """Cloud Storage did not take a file."""


def image(width: int, height: int, media_type: str, mark: str) -> bytes:
    """Return a PNG or JPEG of exactly this size in pixels; another *mark* gives other bytes."""
    from shared.providers.studio.image import render_image

    seed = zlib.crc32(mark.encode()) % VARIANTS
    data = _IMAGES.get(
        (width, height, media_type, seed),
        lambda: render_image(_PROMPT, width=width, height=height, seed=seed, media_type=media_type, detail=0.5),
    )
    note = f"call {mark}".encode()
    if media_type == "image/jpeg":
        return data[:2] + b"\xff\xfe" + struct.pack(">H", len(note) + 2) + note + data[2:]
    chunk = b"tEXt" + b"Comment\0" + note
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:_PNG_HEADER] + chunk + data[_PNG_HEADER:]


def video(width: int, height: int, fps: int, duration_s: float, mark: str, *, audio: bool) -> bytes:
    """Return an MP4 of exactly this form; another *mark* gives other bytes, though the same pictures."""
    from shared.simulators.vendor_clips import clip

    form = (width, height, fps, duration_s)
    data = _CLIPS.get((*form, audio), lambda: clip(*form, audio=audio))
    note = f"call {mark}".encode()
    return data + struct.pack(">I", 8 + len(note)) + b"free" + note


def spoiled(data: bytes) -> bytes:
    """Return bytes that do not decode."""
    return b"\0" * 32 + data[32 : len(data) // 3]


@dataclass(frozen=True, slots=True)
class _File:
    make: Callable[[], bytes]
    media_type: str
    expires_at: datetime | None


class Media:
    """Files that a vendor gives URLs of, and files it writes to Cloud Storage."""

    def __init__(self, clock: Clock) -> None:
        self.url = ""
        self._clock = clock
        self._files: dict[str, _File] = {}
        self._lock = threading.Lock()
        self._storage: Any = None

    def publish(
        self, make: Callable[[], bytes], name: str, media_type: str, *, expires_after_s: float | None = None
    ) -> str:
        """Return a URL of a file that *make* returns each time it is read; kept as a recipe, as clips are large."""
        expires_at = None if expires_after_s is None else self._clock.now() + timedelta(seconds=expires_after_s)
        full_name = f"{name}.{SUFFIXES[media_type]}"
        self._files[full_name] = _File(make, media_type, expires_at)
        return f"{self.url}{FILES}{full_name}"

    def serve(self, request: Request) -> Response:
        """Answer a read of a file, ranges not included. Raises Refused: 404, or 403 when the URL has expired."""
        file = self._files.get(request.path.removeprefix(FILES))
        if file is None:
            raise Refused(404, "there is no such file")
        if file.expires_at is not None and self._clock.now() >= file.expires_at:
            raise Refused(403, "the URL has expired")
        return Response(200, {"Content-Type": file.media_type}, file.make())

    def store(self, uri: str, data: bytes, media_type: str) -> None:
        """Write a file to Cloud Storage, or to where STORAGE_EMULATOR_HOST says. Raises StorageRefused."""
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        bucket, _, name = uri.removeprefix("gs://").partition("/")
        try:
            blob = self._client().bucket(bucket).blob(name)
            blob.upload_from_string(data, content_type=media_type, timeout=_STORAGE_S, retry=None)
        except (GoogleAPIError, GoogleAuthError, RequestException, OSError, ValueError) as error:
            raise StorageRefused(type(error).__name__) from None

    def close(self) -> None:
        """Close the connections to Cloud Storage."""
        with self._lock:
            if self._storage is not None:
                self._storage.close()
                self._storage = None

    def _client(self) -> Any:
        with self._lock:
            if self._storage is None:
                from google.cloud.storage import Client

                self._storage = Client()
            return self._storage


class _Rendered:
    """The last few renderings; many threads that want the same one wait for whoever renders it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[Hashable, Future[bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, form: Hashable, render: Callable[[], bytes]) -> bytes:
        """Return what *render* made of *form*."""
        with self._lock:
            known = self._found.get(form)
            future = self._found.setdefault(form, Future())
            self._found.move_to_end(form)
            if len(self._found) > self._most:
                self._found.popitem(last=False)
        if known is None:
            self._render(form, render, future)
        return future.result()

    def _render(self, form: Hashable, render: Callable[[], bytes], future: Future[bytes]) -> None:
        try:
            future.set_result(render())
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it too
            future.set_exception(error)
            with self._lock:
                self._found.pop(form, None)


_IMAGES, _CLIPS = _Rendered(64), _Rendered(8)
