"""The ops page and its JSON API, over the real local stores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from flask import Request, Response
from werkzeug.test import EnvironBuilder

from functions.ops import handle
from shared.adapters.log_metrics import LogMetrics
from shared.bootstrap import Services
from shared.domain.budget import Scope
from shared.domain.job import Job, State
from shared.domain.times import to_text
from shared.errors import StoreUnavailable
from shared.ports import Snapshot, create
from shared.settings import Settings
from shared.stores.records import to_doc
from tests.functions import samples
from tests.functions.samples import START, Gallery

ROOT = Path(__file__).parents[2]
EVIL = "<script>alert(1)</script>"
SECRET = "the unpublished launch of Heron"
QUOTED = {"ends_whole": SECRET, "schema": [SECRET], "length": 12}
PAGES = ("/", "/budgets", "/breakers", "/health", "/api/jobs", "/api/budgets", "/api/breakers", "/api/health")


class StillClock:
    """A minute after the samples began."""

    def now(self) -> Any:
        return START + timedelta(minutes=1)

    def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nothing here waits, not for {seconds} s")


class Linked(HTMLParser):
    """Addresses that a page loads or leads to, and whether it has scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.scripts = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script" or any(name.startswith("on") for name, _ in attrs)
        self.found += [value or "" for name, value in attrs if name in ("href", "src")]


class Site:
    """Sends requests to the function and keeps jobs for it."""

    def __init__(self, services: Services) -> None:
        self.services = services

    def send(self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Response:
        path, _, query = path.partition("?")
        builder = EnvironBuilder(path=path, query_string=query, method=method, headers=list((headers or {}).items()))
        return handle(Request(builder.get_environ()), self.services)

    def text(self, path: str) -> str:
        response = self.send(path)
        assert response.status_code == 200, (path, response.get_data(as_text=True))
        return response.get_data(as_text=True)

    def json(self, path: str) -> Any:
        return json.loads(self.text(path))

    def keep(self, job: Job, gallery: Gallery) -> Job:
        """Store a job as the pipeline would, with its files in the outputs bucket."""
        attempts = []
        for attempt in job.attempts:
            pieces = []
            for n, piece in enumerate(attempt.pieces):
                uri = self.services.blobs.uri("outputs", f"jobs/{job.job_id}/{attempt.number}/{n}.bin")
                self.services.blobs.create(uri, gallery.read(piece.uri), piece.media_type)
                pieces.append(replace(piece, uri=uri))
            attempts.append(replace(attempt, pieces=tuple(pieces)))
        job = replace(job, attempts=tuple(attempts))
        entries = self.services.ledger.booking(None, job)
        self.services.documents.commit([create(f"jobs/{job.job_id}", to_doc(job)), *entries])
        return job


def with_silent_documents(services):
    """The same services over a store that does not answer."""
    parts = (lambda: services.blobs, lambda: services.bus, LogMetrics)
    return Services(services.settings, services.clock, Silent(), *parts)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    from shared.adapters.filesystem import FilesystemBlobStore
    from shared.adapters.local_bus import LocalBus
    from shared.adapters.sqlite import SqliteDocumentStore

    clock = StillClock()
    bus = LocalBus(str(tmp_path / "bus.db"), clock, subscriptions={})
    documents = SqliteDocumentStore(str(tmp_path / "state.db"))
    blobs = FilesystemBlobStore(tmp_path / "buckets")
    return Site(Services(Settings(home=str(tmp_path)), clock, documents, lambda: blobs, lambda: bus, LogMetrics))


@pytest.fixture
def gallery() -> Gallery:
    return Gallery()


@pytest.fixture
def valley(site: Site, gallery: Gallery) -> Job:
    passed = ({"model": "veo-3", "code": "provider_off", "text": "provider vertex is not switched on"},)
    made = samples.image_job(gallery, "valley-1", count=2, prompt=SECRET)
    return site.keep(replace(made, passed_over=passed), gallery)


# ---------------------------------------------------------------- lists


def test_the_list_shows_what_each_job_is_and_cost(site: Site, gallery: Gallery, valley: Job) -> None:
    site.keep(samples.refused_job(), gallery)
    found = {row["request_id"]: row for row in site.json("/api/jobs")["jobs"]}
    assert found["valley-1"] == {
        "job_id": valley.job_id,
        "request_id": "valley-1",
        "kind": "image",
        "tenant": "studio",
        "state": "succeeded",
        "model": "offline-image-fine",
        "grade": "A",
        "cost_usd": "0.08",
        "attempts": 1,
        "fallback_used": False,
        "simulated": True,
        "template": False,
        "cached": False,
        "error_codes": [],
        "created_at": to_text(valley.created_at),
        "finished_at": to_text(valley.finished_at or START),
        "age_s": (StillClock().now() - valley.created_at).total_seconds(),
    }
    assert found["typo-1"]["error_codes"] == ["unknown_field", "too_short"]
    html = site.text("/")
    for shown in ("valley-1", "typo-1", "offline-image-fine", "$0.08", "unknown_field"):
        assert shown in html


def test_pages_of_the_list_follow_each_other_newest_first(site: Site, gallery: Gallery) -> None:
    kept = [site.keep(samples.cancelled_job(f"n-{n}"), gallery) for n in range(7)]
    newest = sorted(kept, key=lambda job: (job.created_at, job.job_id), reverse=True)
    seen, path = [], "/api/jobs?limit=3"
    for _ in range(3):
        page = site.json(path)
        seen += [row["job_id"] for row in page["jobs"]]
        path = f"/api/jobs?limit=3&after={page['next']}"
    assert seen == [job.job_id for job in newest]
    assert page["next"] is None
    assert site.json("/api/jobs?limit=7")["next"] is not None
    assert "Older jobs" in site.text("/?limit=3")


def test_the_list_can_be_narrowed_to_a_state(site: Site, gallery: Gallery, valley: Job) -> None:
    site.keep(samples.failed_job(), gallery)
    assert [row["request_id"] for row in site.json("/api/jobs?state=failed")["jobs"]] == ["storm-1"]
    html = site.text("/?state=failed")
    assert "storm-1" in html
    assert valley.job_id not in html
    assert "No job is parked." in site.text("/?state=parked")


@pytest.mark.parametrize(
    "query",
    [
        "after=nonsense",
        "after=2026-11-21T12:00:00Z~abc",
        "after=2026-11-21T12:00:00.000000Z~",
        "after=2026-11-21T12:00:00.000000Z~..",
        "after=2026-11-21T12:00:00.000000Z~a/b",
        "state=done",
        "state=failed&after=2026-11-21T12:00:00.000000Z~abc",
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=%C2%B2",
    ],
)
def test_a_query_that_means_nothing_is_answered_400(site: Site, query: str) -> None:
    for path in ("/", "/api/jobs"):
        response = site.send(f"{path}?{query}")
        assert response.status_code == 400
        assert "must be" in response.get_data(as_text=True) or "combined" in response.get_data(as_text=True)


# ---------------------------------------------------------------- prompts


def test_no_list_and_no_json_for_operators_holds_a_prompt(site: Site, gallery: Gallery, valley: Job) -> None:
    text = samples.text_job(gallery, "memo", f"About {SECRET}.")
    quoting = {name: {"measured": what, "wanted": "x", "passed": True} for name, what in QUOTED.items()}
    piece = replace(text.attempts[0].pieces[0], checks=quoting)
    text = replace(text, attempts=(replace(text.attempts[0], pieces=(piece,)),))
    site.keep(replace(text, prompt={"original": SECRET}, params={**text.params, "system": SECRET}), gallery)
    paths = [*PAGES, *(f"{p}/jobs/{i}" for p in ("", "/api") for i in (valley.job_id, text.job_id))]
    for path in paths:
        assert SECRET not in site.text(path), path


def test_the_job_page_shows_the_prompt_when_asked_by_name(site: Site, gallery: Gallery, valley: Job) -> None:
    assert SECRET in site.text(f"/jobs/{valley.job_id}?show=prompt")
    assert site.json(f"/api/jobs/{valley.job_id}?show=prompt")["prompt"]["original"] == SECRET
    assert site.json(f"/api/jobs/{valley.job_id}")["prompt"] is None
    memo = site.keep(samples.text_job(gallery, "memo", f"About {SECRET}."), gallery)
    assert f"About {SECRET}." in site.text(f"/jobs/{memo.job_id}?show=prompt")


def test_what_comes_from_outside_is_inert(site: Site, gallery: Gallery) -> None:
    made = samples.failed_job()
    errors = ({"field": EVIL, "code": EVIL, "message": EVIL},)
    evil = replace(made, request_id=EVIL, tenant=EVIL, errors=errors, prompt={"original": EVIL}, user=EVIL)
    site.keep(evil, gallery)
    for path in ("/", f"/jobs/{evil.job_id}?show=prompt"):
        html = site.text(path)
        assert Linked(html).scripts == 0
        assert "&lt;script&gt;" in html


# ---------------------------------------------------------------- one job


def test_one_job_tells_candidates_money_ledger_and_time(site: Site, valley: Job) -> None:
    found = site.json(f"/api/jobs/{valley.job_id}")
    assert [(c["model"], c["score"], c["chosen"]) for c in found["candidates"]] == [
        ("offline-image-fine", 0.81, True),
        ("offline-image-standard", 0.74, False),
    ]
    assert found["candidates"][0]["reasons"] == ["quality 0.90", "up to 0.04 USD"]
    assert found["passed_over"] == [
        {"model": "veo-3", "code": "provider_off", "text": "provider vertex is not switched on"}
    ]
    assert found["money"]["spent_usd"] == "0.08"
    assert [(e["attempt"], e["cost_usd"], e["outcome"]) for e in found["ledger"]] == [(1, "0.08", "approved")]
    assert [line["stage"] for line in found["timeline"]] == ["validate", "generate", "quality_check", "record_cost"]
    html = site.text(f"/jobs/{valley.job_id}")
    for shown in (
        "provider vertex is not switched on",
        "0.810",
        "up to 0.04 USD",
        "approved",
        "quality check",
        "$0.08",
    ):
        assert shown in html


def test_a_failed_job_shows_its_errors_and_money_in_doubt(site: Site, gallery: Gallery) -> None:
    failed = site.keep(samples.failed_job(), gallery)
    assert site.json(f"/api/jobs/{failed.job_id}")["money"]["suspense_usd"] == "0.02"
    html = site.text(f"/jobs/{failed.job_id}")
    for shown in ("no candidate is left after 2 attempts", "service unavailable", "no answer in time", "$0.02"):
        assert shown in html


def test_a_running_job_shows_its_hold_and_progress_but_not_its_handle(site: Site, gallery: Gallery) -> None:
    running = site.keep(samples.waiting_job(), gallery)
    html = site.text(f"/jobs/{running.job_id}")
    assert "$0.60" in html
    assert "40 % done" in html
    assert "operations/1" not in html + site.text(f"/api/jobs/{running.job_id}")


@pytest.mark.parametrize("job_id", ["unknown", "__name__", "..", "%00", "a" * 2000])
def test_a_job_that_does_not_exist_is_404(site: Site, job_id: str) -> None:
    for path in (f"/jobs/{job_id}", f"/api/jobs/{job_id}", f"/pieces/{job_id}/1/0"):
        assert site.send(path).status_code == 404


def test_every_page_of_every_sort_of_job_renders(site: Site) -> None:
    gallery = samples.exhibition()
    for job in gallery.jobs:
        site.keep(job, gallery)
        for path in (f"/jobs/{job.job_id}", f"/jobs/{job.job_id}?show=prompt&live=1", f"/api/jobs/{job.job_id}"):
            site.text(path)
    assert len(site.json("/api/jobs")["jobs"]) == len(gallery.jobs)


# ---------------------------------------------------------------- pieces


def test_a_piece_is_served_as_what_it_is_and_sandboxed(site: Site, valley: Job) -> None:
    response = site.send(f"/pieces/{valley.job_id}/1/1")
    assert response.status_code == 200
    assert b"".join(response.iter_encoded()) == samples.picture(1 + len("valley-1"))
    assert response.headers["Content-Type"] == "image/png"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    response.close()


def test_the_page_of_a_job_shows_its_pieces_by_addresses_that_work(site: Site, valley: Job) -> None:
    addresses = [a for a in Linked(site.text(f"/jobs/{valley.job_id}")).found if a.startswith("../pieces/")]
    assert len(set(addresses)) == 2
    for address in addresses:
        response = site.send(address.removeprefix(".."))
        assert response.status_code == 200
        response.close()


def test_a_cached_job_shows_the_pieces_of_the_job_that_made_them(site: Site, gallery: Gallery, valley: Job) -> None:
    cached = site.keep(samples.cached_job(valley), gallery)
    assert f"../pieces/{valley.job_id}/1/0" in site.text(f"/jobs/{cached.job_id}")
    assert site.send(f"/pieces/{cached.job_id}/1/0").status_code == 404


@pytest.mark.parametrize("place", ["0/0", "2/0", "1/2", "-1/0", "1/-1", "1/x", "1", "1/0/0"])
def test_only_pieces_of_the_job_are_served(site: Site, valley: Job, place: str) -> None:
    assert site.send(f"/pieces/{valley.job_id}/{place}").status_code == 404


def test_a_piece_whose_file_is_gone_is_404(site: Site, valley: Job, tmp_path: Path) -> None:
    (tmp_path / "buckets" / "outputs" / "jobs" / valley.job_id / "1" / "0.bin").unlink()
    assert site.send(f"/pieces/{valley.job_id}/1/0").status_code == 404


def test_a_player_can_ask_for_a_range(site: Site, gallery: Gallery) -> None:
    made = samples.video_job(gallery)
    clip = gallery.read(made.attempts[0].pieces[0].uri)
    video = site.keep(made, gallery)
    response = site.send(f"/pieces/{video.job_id}/1/0", headers={"Range": "bytes=100-299"})
    assert response.status_code == 206
    assert response.headers["Content-Range"] == f"bytes 100-299/{len(clip)}"
    assert b"".join(response.iter_encoded()) == clip[100:300]
    response.close()
    beyond = site.send(f"/pieces/{video.job_id}/1/0", headers={"Range": f"bytes={len(clip)}-"})
    assert beyond.status_code == 416


def test_a_type_we_do_not_show_is_downloaded(site: Site, gallery: Gallery) -> None:
    made = samples.image_job(gallery)
    piece = replace(made.attempts[0].pieces[0], media_type="text/html")
    kept = site.keep(replace(made, attempts=(replace(made.attempts[0], pieces=(piece,)),)), gallery)
    response = site.send(f"/pieces/{kept.job_id}/1/0")
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Content-Disposition"] == "attachment"
    response.close()


# ---------------------------------------------------------------- figures


def test_budgets_show_what_is_spent_held_and_free(site: Site) -> None:
    budgets, now = site.services.budgets, site.services.clock.now()
    scopes = [Scope("all"), Scope("tenant", "studio")]
    standing = budgets.read(scopes, budgets.choose(scopes, now), now)
    site.services.documents.commit(standing.hold(30_000_000, spent=45_000_000, suspense=9_000_000))
    rows = site.json("/api/budgets")["budgets"]
    assert [(r["scope"], r["name"]) for r in rows] == [("all", ""), ("tenant", "studio")]
    assert rows[1]["spent_usd"] == "45"
    assert rows[1]["held_usd"] == "30"
    assert rows[1]["suspense_usd"] == "9"
    assert rows[1]["free_usd"] == "416"
    html = site.text("/budgets")
    assert "tenant:studio: 17% used, $416.00 free" in html
    assert site.json("/api/budgets?day=2026-11-20")["budgets"] == []
    assert "No budget was used on 2026-11-20" in site.text("/budgets?day=2026-11-20")
    assert site.send("/budgets?day=20261120").status_code == 400


def test_breakers_show_who_may_not_be_called_until_when(site: Site) -> None:
    for _ in range(3):
        site.services.breakers.failed("veo-3.1")
    site.services.breakers.failed("flaky-1")
    site.services.breakers.disable("old-1", EVIL)
    rows = {r["model"]: r for r in site.json("/api/breakers")["breakers"]}
    assert list(rows)[-1] == "flaky-1"
    assert (rows["veo-3.1"]["state"], rows["veo-3.1"]["callable"]) == ("open", False)
    assert rows["veo-3.1"]["not_before"] == "2026-11-21T12:01:30.000000Z"
    assert (rows["flaky-1"]["state"], rows["flaky-1"]["callable"]) == ("closed", True)
    assert rows["old-1"]["disabled"] is True
    html = site.text("/breakers")
    assert "disabled" in html
    assert Linked(html).scripts == 0


class Silent:
    """A store that does not answer."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def refuse(*_args: Any, **_options: Any) -> Any:
            raise StoreUnavailable(f"{name}: no answer")

        return refuse


def test_health_is_ok_while_the_stores_answer_and_503_when_one_does_not(site: Site) -> None:
    assert site.json("/health") == {
        "status": "ok",
        "checks": {"documents": "ok", "blobs": "ok"},
        "at": "2026-11-21T12:01:00.000000Z",
    }
    services = site.services
    broken = Services(
        services.settings, services.clock, Silent(), lambda: services.blobs, lambda: services.bus, LogMetrics
    )
    for path in ("/health", "/api/health"):
        response = Site(broken).send(path)
        assert response.status_code == 503
        assert json.loads(response.get_data())["checks"] == {"documents": "StoreUnavailable", "blobs": "ok"}


def test_a_store_that_does_not_answer_is_503_and_a_bug_is_500_without_its_text(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = site.services
    broken = Services(
        services.settings, services.clock, Silent(), lambda: services.blobs, lambda: services.bus, LogMetrics
    )
    response = Site(broken).send("/api/jobs")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")

    def bug(_limit: int, _after: Snapshot | None = None) -> list[Snapshot]:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(services.jobs, "newest", bug)
    for path in ("/", "/api/jobs"):
        response = site.send(path)
        assert response.status_code == 500
        text = response.get_data(as_text=True)
        assert "internal error" in text
        assert SECRET not in text
        assert "Traceback" not in text


# ---------------------------------------------------------------- the web


@pytest.mark.parametrize(
    "path", ["/nothing", "/jobs", "/jobs/", "/api", "/api/nothing", "/jobs//a", "/jobs/a/b", "/pieces/.."]
)
def test_an_unknown_path_is_404(site: Site, path: str) -> None:
    response = site.send(path)
    assert response.status_code == 404
    if path.startswith("/api/"):
        assert json.loads(response.get_data()) == {"error": "there is no such page"}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_reading_is_allowed(site: Site, method: str, valley: Job) -> None:
    for path in (*PAGES, f"/jobs/{valley.job_id}", f"/pieces/{valley.job_id}/1/0"):
        response = site.send(path, method)
        assert response.status_code == 405
        assert response.headers["Allow"] == "GET, HEAD"


def test_every_answer_has_the_security_headers(site: Site, valley: Job) -> None:
    for path in (*PAGES, f"/jobs/{valley.job_id}", "/nothing", "/?limit=0"):
        headers = site.send(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; frame-ancestors 'none'")
        assert "script-src" not in headers["Content-Security-Policy"]


def test_pages_load_only_from_where_they_came(site: Site, valley: Job) -> None:
    for path in ("/", "/budgets", "/breakers", f"/jobs/{valley.job_id}", "/nothing"):
        linked = Linked(site.send(path).get_data(as_text=True))
        assert not [a for a in linked.found if "://" in a.removeprefix("data:image/svg+xml,%3Csvg xmlns='http://")]
        assert not [a for a in linked.found if a.startswith("/")]
        assert linked.scripts == 0


def test_a_live_page_loads_itself_anew_and_keeps_its_filter(site: Site) -> None:
    assert 'http-equiv="refresh"' not in site.text("/?state=failed")
    live = site.text("/?state=failed&live=1")
    assert '<meta http-equiv="refresh" content="5">' in live
    assert "?state=failed" in Linked(live).found
    assert "?state=failed&live=1" in Linked(site.text("/?state=failed")).found


def test_the_framework_serves_the_function(tmp_path: Path) -> None:
    code = (
        "import functions_framework as f; app = f.create_app('ops', 'functions/ops.py').test_client();"
        "print(app.get('/health').json['status'], app.get('/budgets').status_code, app.post('/').status_code)"
    )
    environment = {**os.environ, "PYTHONPATH": ".", "ATELIER_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["ok", "200", "405"], done.stderr


def test_a_job_in_each_state_can_be_filtered_for(site: Site) -> None:
    found = Linked(site.text("/")).found
    assert {f"./?state={state}" for state in State} <= set(found)
