"""A file in the inbox becomes requests. Consumes `uploads`; publishes to `requests`.

What cannot become a request goes to `<name>.errors.json` beside the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from functions import _runtime
from functions._decode import Event, StoredObject, stored_object
from shared.bootstrap import Services
from shared.errors import BlobNotFound, BlobTooLarge, FieldError, InvalidBlobName, InvalidEvent
from shared.log import log
from shared.ports import Json, Message

if TYPE_CHECKING:
    from shared.domain.manifest import Line

ERRORS_SUFFIX = ".errors.json"
BATCH = 200


def handle(event: Event, services: Services) -> None:
    """Read the manifest that was uploaded and publish one request per line."""
    from shared.domain.manifest import is_manifest, read_manifest

    found = stored_object(event)
    if found is None or found.name.endswith(ERRORS_SUFFIX) or not is_manifest(found.name):
        log.info("upload.ignored", extra={"reason": "not a manifest"})
        return
    uri = f"gs://{services.inbox(found.bucket)}/{found.name}"
    try:
        data = services.blobs.read(uri, services.settings.max_manifest_bytes)
    except InvalidBlobName as error:
        raise InvalidEvent(str(error)) from None
    except BlobNotFound:
        log.warning("upload.gone")
        return
    except BlobTooLarge:
        limit = services.settings.max_manifest_bytes
        _write_errors(uri, [_whole_file("too_large", f"the file is over {limit} bytes; split it")], services)
        return
    stored = services.blobs.stat(uri)
    if stored is None or found.generation not in {"0", stored.generation}:  # it has an event of its own
        log.warning("upload.superseded")
        return
    errors: list[Json] = []
    for batch in _batches(_messages(found, read_manifest(found.name, data), errors)):
        services.bus.publish(batch)
    if errors or services.blobs.stat(uri + ERRORS_SUFFIX) is not None:  # what an earlier upload was told is over
        _write_errors(uri, errors, services)


def _messages(found: StoredObject, lines: Iterable[Line], errors: list[Json]) -> Iterator[Message]:
    """One message per good line; what is wrong with the others is added to *errors*."""
    for line in lines:
        if line.error is not None:
            errors.append({"line": line.number, **_doc(line.error)})
            continue
        source = {
            "bucket": found.bucket,
            "object": found.name,
            "generation": found.generation,
            "line": line.number,
        }
        yield Message("requests", {"request": line.request, "source": source})


def _batches(messages: Iterator[Message]) -> Iterator[list[Message]]:
    while batch := list(islice(messages, BATCH)):
        yield batch


def _write_errors(uri: str, errors: list[Json], services: Services) -> None:
    log.warning("upload.errors", extra={"count": len(errors)})
    body = json.dumps({"errors": errors}, indent=2, ensure_ascii=False).encode()
    services.blobs.replace(uri + ERRORS_SUFFIX, body, "application/json", None)


def _whole_file(code: str, message: str) -> Json:
    return {"line": 0, **_doc(FieldError("", code, message))}


def _doc(error: FieldError) -> Json:
    return {"field": error.field, "code": error.code, "message": error.message}


@functions_framework.http
def on_upload(request: Request) -> ResponseReturnValue:
    """Answer one delivery of `uploads`."""
    return _runtime.serve(handle, request)
