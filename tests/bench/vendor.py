"""Vendors that answer at once: Gemini with the same words each time, Runway with a finished clip of any size.

`python -m tests.bench.vendor` serves them, and a Cloud Storage of their own, until its standard input ends. A prompt
for Runway says how large the clip is: `9 MiB of a boat`.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from shared.simulators.cloud_storage import CloudStorage

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
BUCKETS = "bench"  # the prefix of their names
WORDS = (
    "The tide at the old harbour turns twice a day. At dawn the boats lie on the sand; by noon they float again, "
    "and the ferrymen call across the water to whoever wants to reach the island before the evening."
)
# The shape that Vertex AI sends; figures made up.
GEMINI = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": WORDS}]}, "finishReason": "STOP"}],
    "usageMetadata": {
        "promptTokenCount": 12,
        "candidatesTokenCount": 44,
        "thoughtsTokenCount": 20,
        "totalTokenCount": 76,
        "trafficType": "ON_DEMAND",
    },
    "modelVersion": "gemini-3.5-flash-lite",
    "responseId": "r1",
    "createTime": "2026-11-20T00:00:00Z",
}
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@contextmanager
def vendors() -> Iterator[dict[str, str]]:
    """Serve in a process of its own for a block; the URLs of `vendor` and `storage`."""
    command = [sys.executable, "-m", "tests.bench.vendor"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.stdin.close()
    assert process.returncode == 0


def sha256_of_clip(mib: int) -> str:
    """Return the digest of the clip of that size."""
    digest = hashlib.sha256()
    for chunk in _clip(mib):
        digest.update(chunk)
    return digest.hexdigest()


def _clip(mib: int) -> Iterator[bytes]:
    """No two chunks are the same, so that a lost or repeated one shows."""
    noise = random.Random(4).randbytes(MIB - 8)
    for n in range(mib):
        yield n.to_bytes(8) + noise


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


class _Handler(socketserver.StreamRequestHandler):
    """As little of HTTP as its clients need, so that an answer costs next to nothing."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        while line := self.rfile.readline():
            method, target, _ = line.decode().split()
            self._answer(method, target, _body(self.rfile))

    def _answer(self, method: str, target: str, body: bytes) -> None:
        if method == "GET" and target.startswith("/files/"):
            self._send_clip(int(re.findall(r"\d+", target)[0]))
        elif target.startswith("/v1/projects/"):
            self._send(GEMINI)
        elif method == "POST":
            self._send({"id": json.loads(body)["promptText"].split()[0]})
        else:
            host, port = self.connection.getsockname()
            size = target.rpartition("/")[2]
            url = f"http://{host}:{port}/files/{size}.mp4"
            self._send({"id": size, "status": "SUCCEEDED", "output": [url], "cost": {"credits": 48}})

    def _send(self, value: Any) -> None:
        data = json.dumps(value).encode()
        self.wfile.write(_head("application/json", len(data)) + data)

    def _send_clip(self, mib: int) -> None:
        self.wfile.write(_head("video/mp4", mib * MIB))
        for chunk in _clip(mib):
            self.wfile.write(chunk)


def _body(file: BufferedIOBase) -> bytes:
    """Read the rest of a request."""
    size = 0
    while (line := file.readline()).strip():
        if found := _LENGTH.match(line):
            size = int(found[1])
    return file.read(size)


def _head(media_type: str, size: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {size}\r\n\r\n".encode()


def serve() -> None:
    """Serve until standard input ends; the first line of output says where."""
    with CloudStorage() as storage, _Server(("127.0.0.1", 0), _Handler) as server:
        for bucket in ("inbox", "outputs"):
            storage.create_bucket(f"{BUCKETS}-{bucket}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        vendor = f"http://127.0.0.1:{server.server_address[1]}"
        print(json.dumps({"vendor": vendor, "storage": storage.url}), flush=True)
        sys.stdin.read()
        server.shutdown()


if __name__ == "__main__":
    serve()
