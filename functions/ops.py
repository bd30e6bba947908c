"""The ops page: jobs, budgets, breakers and health, as HTML and as JSON. It reads and changes nothing.

Links are relative, so the page works behind any path it is served under.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlencode

import functions_framework
from flask import Request, Response
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestedRangeNotSatisfiable
from werkzeug.routing import Map, Rule
from werkzeug.wsgi import FileWrapper

from functions import _ops_pages as pages
from functions._job_view import piece_of
from functions._ops_pages import BadQuery, NoSuchJob, Query
from functions._pages import environment, style_source
from shared import bootstrap
from shared.bootstrap import Services
from shared.errors import BlobNotFound, InvalidBlobName, StoreUnavailable
from shared.log import log
from shared.ports import Json

LIVE_S = 5  # how often a page that is asked to be live loads itself anew
SHOWN_TYPES = {
    **{kind: kind for kind in ("image/png", "image/jpeg", "image/webp", "video/mp4", "video/webm")},
    "text/plain": "text/plain; charset=utf-8",
    "application/json": "application/json; charset=utf-8",
}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
PAGE_POLICY = NOTHING + "; img-src 'self' data:; media-src 'self'; style-src {style}"
# A browser draws a bare picture or clip in a document of its own; sandboxed, nothing in it can do harm.
PIECE_POLICY = "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"

Params = dict[str, Any]
Answer = Callable[[Request, Services, Params], Response]


def handle(request: Request, services: Services) -> Response:
    """Answer one request; whatever goes wrong is told with its status, in a sentence, and without a traceback."""
    try:
        response = _answer(request, services)
    except HTTPException as error:
        headers = {"Allow": "GET, HEAD"} if isinstance(error, MethodNotAllowed) else {}
        response = _problem(request, error.code or 500, _SENTENCES.get(error.code, error.name), headers)
    except BadQuery as error:
        response = _problem(request, 400, str(error))
    except (NoSuchJob, BlobNotFound, InvalidBlobName) as error:
        response = _problem(request, 404, str(error))
    except StoreUnavailable:
        response = _problem(request, 503, "the document store did not answer in time", {"Retry-After": "5"})
    except Exception:  # noqa: BLE001 - the last resort of an HTTP answer; the log has the frames
        log.exception("ops.failed", extra={"path": request.path})
        response = _problem(request, 500, "an internal error; the log says more")
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Content-Security-Policy", NOTHING)
    return response


_SENTENCES: dict[int | None, str] = {404: "there is no such page", 405: "only GET is answered here"}


def _answer(request: Request, services: Services) -> Response:
    """Find what serves the path. Raises NotFound, MethodNotAllowed."""
    answer, params = _ROUTES.bind_to_environ(request.environ).match(path_info=request.path)
    if request.method not in ("GET", "HEAD"):
        raise MethodNotAllowed(["GET", "HEAD"])
    found: Response = answer(request, services, params)
    return found


# ---------------------------------------------------------------- pages


def _jobs(request: Request, services: Services, _params: Params) -> Response:
    return _page(request, "jobs.html", "Jobs", states=pages.filters(), **pages.jobs(_query(request), services))


def _job(request: Request, services: Services, params: Params) -> Response:
    found = pages.job_page(params["job_id"], _query(request), services)
    return _page(request, "job.html", f"Job {params['job_id'][:12]}", **found)


def _budgets(request: Request, services: Services, _params: Params) -> Response:
    return _page(request, "budgets.html", "Budgets", **pages.budgets_page(_query(request), services))


def _breakers(request: Request, services: Services, _params: Params) -> Response:
    return _page(request, "breakers.html", "Breakers", **pages.breakers(services))


def _health(_request: Request, services: Services, _params: Params) -> Response:
    found = pages.health(services)
    return _json(found, 200 if found["status"] == "ok" else 503)


def _piece(request: Request, services: Services, params: Params) -> Response:
    """Stream one piece that an attempt of this very job delivered; understands ranges, as players need."""
    piece = piece_of(pages.find(params["job_id"], services), params["attempt"], params["index"])
    if piece is None:
        raise NotFound
    with ExitStack() as opened:
        file = opened.enter_context(services.blobs.open(piece.uri))
        size = file.seek(0, 2)
        file.seek(0)
        response = Response(FileWrapper(file), direct_passthrough=True)
        response.content_length = size
        _describe_piece(response, piece.media_type, piece.sha256)
        try:
            response.make_conditional(request.environ, accept_ranges=True, complete_length=size)
        except RequestedRangeNotSatisfiable:
            return _problem(request, 416, f"the piece has {size} bytes", {"Content-Range": f"bytes */{size}"})
        response.call_on_close(opened.pop_all().close)
    return response


def _describe_piece(response: Response, media_type: str, sha256: str) -> None:
    response.headers["Content-Type"] = SHOWN_TYPES.get(media_type, "application/octet-stream")
    response.headers["Content-Security-Policy"] = PIECE_POLICY
    response.headers["Cache-Control"] = "private, max-age=86400, immutable"
    if media_type not in SHOWN_TYPES:
        response.headers["Content-Disposition"] = "attachment"
    response.set_etag(sha256)


# ---------------------------------------------------------------- JSON


def _api_jobs(request: Request, services: Services, _params: Params) -> Response:
    return _json(pages.jobs(_query(request), services))


def _api_job(request: Request, services: Services, params: Params) -> Response:
    return _json(pages.job(params["job_id"], _query(request), services))


def _api_budgets(request: Request, services: Services, _params: Params) -> Response:
    return _json(pages.budgets(_query(request), services))


def _api_breakers(_request: Request, services: Services, _params: Params) -> Response:
    return _json(pages.breakers(services))


_ROUTES = Map(
    [
        Rule("/", endpoint=_jobs),
        Rule("/jobs/<job_id>", endpoint=_job),
        Rule("/pieces/<job_id>/<int:attempt>/<int:index>", endpoint=_piece),
        Rule("/budgets", endpoint=_budgets),
        Rule("/breakers", endpoint=_breakers),
        Rule("/health", endpoint=_health),
        Rule("/api/jobs", endpoint=_api_jobs),
        Rule("/api/jobs/<job_id>", endpoint=_api_job),
        Rule("/api/budgets", endpoint=_api_budgets),
        Rule("/api/breakers", endpoint=_api_breakers),
        Rule("/api/health", endpoint=_health),
    ],
    merge_slashes=False,
)


# ---------------------------------------------------------------- answers


def _query(request: Request) -> Query:
    return Query(request.args.to_dict())


def _page(request: Request, template: str, title: str, status: int = 200, **found: Any) -> Response:
    is_live = request.args.get("live") == "1"
    other = {name: text for name, text in request.args.items() if name != "live"}
    html = (
        environment()
        .get_template(template)
        .render(
            title=title,
            path=request.path,
            root="../" * (request.path.count("/") - 1) or "./",
            is_live=is_live,
            live_s=LIVE_S,
            keep_live="live=1" if is_live else "",
            toggled="?" + urlencode(other if is_live else {**other, "live": "1"}),
            **found,
        )
    )
    response = Response(html, status, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = PAGE_POLICY.format(style=style_source())
    return response


def _json(body: Json, status: int = 200) -> Response:
    text = json.dumps(body, indent=2, ensure_ascii=False)
    return Response(text.encode("utf-8", "replace"), status, content_type="application/json; charset=utf-8")


def _problem(request: Request, status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    if request.path.startswith("/api/"):
        response = _json({"error": sentence}, status)
    else:
        response = _page(request, "problem.html", str(status), status, sentence=sentence)
    response.headers.update(headers or {})
    return response


@functions_framework.http
def ops(request: Request) -> ResponseReturnValue:
    """Answer one HTTP request."""
    return handle(request, bootstrap.services())
