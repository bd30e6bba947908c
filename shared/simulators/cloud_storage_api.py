"""What the Cloud Storage simulator answers: the JSON API, and GET and PUT of the XML API for signed URLs.

Left out: access control, versions of objects, encryption keys, retention, compose, batches.

Source: cloud.google.com/storage/docs/json_api/v1.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeAlias
from urllib.parse import unquote

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from shared.simulators.cloud_storage_http import Request, Response, json_response
from shared.simulators.cloud_storage_objects import (
    Conditions,
    Objects,
    Query,
    Refused,
    StoredObject,
    parsed_integer,
)
from shared.simulators.cloud_storage_signed import check_signed
from shared.simulators.cloud_storage_uploads import Stored, Uploads

Answer: TypeAlias = Callable[..., Response]

_LARGEST_PAGE = 1_000
_BYTES = re.compile(r"bytes=(\d*)-(\d*)")


class Api:
    """Finds the answer to a request. *keys* verify signed URLs, by the account that signs."""

    def __init__(self, objects: Objects, stored: Stored, keys: Mapping[str, RSAPublicKey]) -> None:
        self._objects, self._keys = objects, keys
        self._uploads = Uploads(objects, stored)
        api = r"(?:/download)?/storage/v1"
        routes: list[tuple[str, str, Answer]] = [
            (r"POST|PUT|DELETE", r"(?:/resumable)?/upload/storage/v1/b/([^/]+)/o", self._uploads.answer),
            (r"GET", rf"{api}/b", self._list_buckets),
            (r"POST", rf"{api}/b", self._create_bucket),
            (r"GET", rf"{api}/b/([^/]+)", self._get_bucket),
            (r"GET", rf"{api}/b/([^/]+)/storageLayout", self._storage_layout),
            (r"GET", rf"{api}/b/([^/]+)/o", self._list),
            (r"GET", rf"{api}/b/([^/]+)/o/([^/]+)", self._get),
            (r"PATCH|PUT", rf"{api}/b/([^/]+)/o/([^/]+)", self._patch),
            (r"DELETE", rf"{api}/b/([^/]+)/o/([^/]+)", self._delete),
            (r"POST", rf"{api}/b/([^/]+)/o/([^/]+)/(rewrite|copy)To/b/([^/]+)/o/([^/]+)", self._copy),
            (r"GET|HEAD", r"/(?!storage/v1|upload/|download/)([^/]+)/(.+)", self._signed_get),
            (r"PUT", r"/(?!storage/v1|upload/|download/)([^/]+)/(.+)", self._signed_put),
        ]
        self._routes = [(re.compile(methods), re.compile(path), answer) for methods, path, answer in routes]

    def respond(self, request: Request) -> Response:
        """Return the answer to *request*. Raises Refused."""
        for methods, path, answer in self._routes:
            match = path.fullmatch(request.path)
            if match is not None and methods.fullmatch(request.method):
                return answer(request, *map(unquote, match.groups()))
        raise Refused(404, f"{request.method} {request.path} is not simulated.", "notFound")

    # ------------------------------------------------------------ buckets

    def _list_buckets(self, request: Request) -> Response:
        return json_response(
            {"kind": "storage#buckets", "items": self._objects.buckets(request.query.get("prefix", ""))}
        )

    def _create_bucket(self, request: Request) -> Response:
        return json_response(self._objects.create_bucket(request.json()))

    def _get_bucket(self, _: Request, bucket: str) -> Response:
        return json_response(self._objects.bucket(bucket))

    def _storage_layout(self, _: Request, bucket: str) -> Response:
        location = self._objects.bucket(bucket)["location"]
        return json_response({"kind": "storage#storageLayout", "bucket": bucket, "location": location})

    # ------------------------------------------------------------ objects

    def _list(self, request: Request, bucket: str) -> Response:
        query = request.query
        page = self._objects.list(
            bucket,
            Query(
                prefix=query.get("prefix", ""),
                delimiter=query.get("delimiter", ""),
                start=query.get("startOffset", ""),
                end=query.get("endOffset", ""),
                after=_name_of(query.get("pageToken", "")),
                limit=max(1, min(parsed_integer(query, "maxResults") or _LARGEST_PAGE, _LARGEST_PAGE)),
            ),
        )
        following = {"nextPageToken": _token_of(page.last)} if page.last is not None else {}
        return json_response({"kind": "storage#objects", "items": page.items, "prefixes": page.prefixes} | following)

    def _get(self, request: Request, bucket: str, name: str) -> Response:
        query = request.query
        stored = self._objects.get(bucket, name, Conditions.of(query), parsed_integer(query, "generation"))
        return _media(request, stored) if query.get("alt") == "media" else json_response(stored.metadata)

    def _patch(self, request: Request, bucket: str, name: str) -> Response:
        conditions, whole = Conditions.of(request.query), request.method == "PUT"
        return json_response(self._objects.patch(bucket, name, request.json(), conditions, whole=whole))

    def _delete(self, request: Request, bucket: str, name: str) -> Response:
        query = request.query
        self._objects.delete(bucket, name, Conditions.of(query), parsed_integer(query, "generation"))
        return Response(204)

    def _copy(self, request: Request, bucket: str, name: str, kind: str, to_bucket: str, to_name: str) -> Response:
        query = request.query
        generation = parsed_integer(query, "sourceGeneration")
        source = self._objects.get(bucket, name, Conditions.of(query, "ifSource"), generation)
        given = source.metadata | request.json()
        new = self._uploads.put(to_bucket, to_name, source.data, given, Conditions.of(query))
        if kind == "copy":
            return json_response(new)
        size = {"objectSize": new["size"], "totalBytesRewritten": new["size"]}
        return json_response({"kind": "storage#rewriteResponse", "done": True, "resource": new} | size)

    # ------------------------------------------------------------ signed URLs

    def _signed_get(self, request: Request, bucket: str, name: str) -> Response:
        check_signed(request, self._keys, datetime.now(UTC))
        return _media(request, self._objects.get(bucket, name))

    def _signed_put(self, request: Request, bucket: str, name: str) -> Response:
        check_signed(request, self._keys, datetime.now(UTC))
        wanted = request.headers.get("x-goog-if-generation-match")
        conditions = Conditions.of({} if wanted is None else {"ifGenerationMatch": wanted})
        given = {"contentType": request.headers.get("Content-Type")}
        new = self._uploads.put(bucket, name, request.body, given, conditions)
        return Response(200, {"x-goog-generation": new["generation"], "ETag": new["etag"]})


def _media(request: Request, stored: StoredObject) -> Response:
    """Return the content, or the one range of it that the request asks for."""
    metadata, size = stored.metadata, len(stored.data)
    headers = {
        "Content-Type": metadata["contentType"],
        "ETag": metadata["etag"],
        "x-goog-generation": metadata["generation"],
        "x-goog-metageneration": metadata["metageneration"],
        "x-goog-hash": f"crc32c={metadata['crc32c']},md5={metadata['md5Hash']}",
        "x-goog-stored-content-length": str(size),
        "Accept-Ranges": "bytes",
    }
    match = _BYTES.fullmatch(request.headers.get("Range", ""))
    if match is None or not any(match.groups()):
        return Response(200, headers, stored.data)
    first, end = _span(match[1], match[2], size)
    headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
    return Response(206, headers, memoryview(stored.data)[first:end])


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    """Return start and end of `bytes=first-last`, `bytes=first-` or `bytes=-count`. Raises Refused."""
    start = int(first) if first else max(0, size - int(last))
    if start >= size:
        raise Refused(416, "The requested range cannot be satisfied.", "requestedRangeNotSatisfiable")
    return start, min(int(last) + 1, size) if first and last else size


def _token_of(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _name_of(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token).decode()
    except ValueError:
        raise Refused(400, "Invalid value for pageToken", "invalid") from None
