"""Request files given on the command line: found, read, and turned into the messages that submit them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from shared.domain.identity import conflict_job_id, content_hash
from shared.domain.intake import Envelope
from shared.domain.manifest import is_manifest, read_manifest
from shared.domain.request import parse_request
from shared.errors import FieldError, InvalidRequest, SettingsError
from shared.ports import Message


@dataclass(frozen=True)
class Entry:
    """One request in a file, or what is wrong with its line."""

    file: str
    line: int
    envelope: Envelope | None
    error: FieldError | None = None

    @property
    def job_id(self) -> str:
        """The job that this request makes."""
        return self._known.job_id

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """What the job's `request_hash` is when it was made from this very request: as accepted, or as refused."""
        try:
            request = parse_request(self._known.payload, known_models=lambda _: True, schema_problem=lambda _: None)
        except InvalidRequest:
            return (self._known.digest,)
        return (content_hash(request), self._known.digest)

    @property
    def conflict_ids(self) -> list[str]:
        """The job that refuses this request when its id stands for other content."""
        envelope = self._known
        name = envelope.name("request_id") or envelope.identity
        return [conflict_job_id(envelope.tenant, name, digest) for digest in self.digests]

    @property
    def message(self) -> Message:
        """What submits the request."""
        return Message("requests", {"request": self._known.payload, "source": self._known.source})

    @property
    def _known(self) -> Envelope:
        if self.envelope is None:
            raise ValueError("a line that cannot be read is no request")
        return self.envelope


def read_entries(paths: Sequence[str], max_bytes: int) -> list[Entry]:
    """Return every request in files and folders, in the order of the names.

    Raises:
        SettingsError: a path that does not exist, or nothing that is a request file.
    """
    files = [file for path in paths for file in _files(Path(path))]
    if not files:
        raise SettingsError(f"no .json, .jsonl or .csv file in {', '.join(paths)}")
    return [entry for file in files for entry in _read(file, max_bytes)]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file() and is_manifest(p.name))
    if not path.is_file():
        raise SettingsError(f"{path} does not exist")
    return [path]


def _read(file: Path, max_bytes: int) -> Iterator[Entry]:
    try:
        if file.stat().st_size > max_bytes:
            raise InvalidRequest([FieldError("", "too_large", f"the file is over {max_bytes} bytes")])
        for line in read_manifest(file.name, file.read_bytes()):
            envelope = None if line.error else _envelope(file, line.number, line.request)
            yield Entry(file.name, line.number, envelope, line.error)
    except OSError as error:
        yield Entry(file.name, 0, None, FieldError("", "unreadable", str(error.strerror)))
    except InvalidRequest as error:
        yield Entry(file.name, 0, None, error.errors[0])


def _envelope(file: Path, number: int, request: object) -> Envelope:
    """Identify a request without `request_id` by file name, line and content, so that a second run buys nothing."""
    digest = hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()[:16]
    source = {"file": file.name, "line": number, "content": digest}
    return Envelope(request, json.dumps(source, sort_keys=True), source)
