"""What the functions ask of everything around them and what they measure, while the local system does all it can."""

from __future__ import annotations

import base64
import hmac
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from functions import _runtime, on_webhook, ops
from functions._runtime import baton_message
from shared import bootstrap
from shared.adapters import wiring
from shared.domain.job import State
from shared.errors import StoreUnavailable, StoreUnusable
from shared.log import bound
from shared.ports import Json
from tests.deploy.recorders import Seen, recording, watched
from tests.pipeline.harness import IMAGE, TEXT, VIDEO, Pipeline
from tests.pipeline.test_outages import Failing
from tests.pipeline.vendors import ALL, SECRETS, vendor_pipeline

DRAFT, NARROW = "offline-image-draft", "offline-text-lite"
READER = "gemini-3.5-flash-lite"
REQUESTS: Mapping[str, Json] = {
    "text": TEXT,
    "picture": IMAGE,
    "clip": {**VIDEO, "model": "offline-video-standard"},
    "rejected": {**IMAGE, "model": DRAFT, "min_grade": "A"},
    "refused": {**TEXT, "max_cost": "0.05"},
}
HASTY: Json = {"cache": "off", "fallback": False}
FAULTS: Mapping[str, Json] = {  # of a vendor's answer, and whom they hit
    "unavailable": {**TEXT, "model": READER},
    "rate_limited": {**TEXT, "model": "gpt-oss-120b"},
    "retired": {**IMAGE, "size": "1K", "model": "gemini-3.1-flash-lite-image"},
    "credits": {**IMAGE, "size": "1K", "model": "flux-schnell"},
}
HOOK = {"webhook_url": "https://example.com/", "replicate_webhook_secrets": ("whsec_c2VjcmV0",)}
PAGES = ("/", "/?limit=1", "/?state=succeeded", "/budgets", "/breakers", "/health", "/api/jobs", "/api/budgets")


def record(home: Path) -> Seen:
    """Carry requests of every kind to every end, fail, recover, audit, look at every page; build every process."""
    with recording() as seen:
        _carried(home / "carried")
        _doubtful(home / "doubtful")
        _parked(home / "parked")
        _lost(home / "lost")
        _at_vendors(home / "vendors")
        _built(home / "built", seen)
    return seen


def _carried(home: Path) -> None:
    """Two of every kind at once and a third, a rejected piece, a refusal, a crash, an upload, a webhook."""
    pipeline = Pipeline(home, replicate_webhook_secrets=(f"whsec_{base64.b64encode(b'secret').decode()}",))
    asked = [{**request, "request_id": f"{name} {n}"} for n in range(3) for name, request in REQUESTS.items()]
    first, *_ = pipeline.run(*asked[: 2 * len(REQUESTS)])
    pipeline.run(*asked[2 * len(REQUESTS) :])
    _crashed(pipeline)
    _send_webhook(first.job_id, pipeline)
    _upload(pipeline)
    pipeline.settle()
    _looked_at(pipeline)


def _crashed(pipeline: Pipeline) -> None:
    """Generate dies with the piece stored and its outcome not: whoever comes next takes the piece."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_runtime, "amend", _die_once(patch, _runtime.amend))
        pipeline.run({**TEXT, "cache": "off", "request_id": "crashed"})


def _die_once(patch: pytest.MonkeyPatch, amend: Callable[..., None]) -> Callable[..., None]:
    def die(*_: object) -> None:
        patch.setattr(_runtime, "amend", amend)
        raise StoreUnavailable("as told by the test")

    return die


def _send_webhook(job_id: str, pipeline: Pipeline) -> None:
    """Send a good one, as if its job waited for it: only then is it noted."""
    body, now = b'{"id": "p1"}', str(int(pipeline.clock.now().timestamp()))
    digest = base64.b64encode(hmac.digest(b"secret", b"w1.%s.%s" % (now.encode(), body), "sha256")).decode()
    headers = {"webhook-id": "w1", "webhook-timestamp": now, "webhook-signature": f"v1,{digest}"}
    sent = EnvironBuilder("/", method="POST", query_string={"job": job_id, "attempt": 1, "part": 0}, headers=headers)
    sent.input_stream = io.BytesIO(body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_webhook, "message_for", lambda job, hint: baton_message(job, "generate"))
        with bound(stage="on_webhook"):
            assert on_webhook.handle(Request(sent.get_environ()), pipeline.services) == ("", 200)
    pipeline.settle()


def _upload(pipeline: Pipeline) -> None:
    """Put a manifest with a good and a bad line into the inbox."""
    blobs, lines = pipeline.services.blobs, [json.dumps(TEXT), "{not json"]
    info = blobs.create(blobs.uri("inbox", "plan.jsonl"), "\n".join(lines).encode(), "application/json")
    told = {"bucket": "inbox", "name": "plan.jsonl", "generation": info.generation, "size": "1"}
    pipeline.deliver("on_upload", told)


def _doubtful(home: Path) -> None:
    """A call whose fate is unknown."""
    pipeline = Pipeline(home, offline_faults={"ambiguous": 1, "models": [DRAFT]})
    pipeline.run({**IMAGE, **HASTY, "request_id": "a", "model": DRAFT})


def _parked(home: Path) -> None:
    """More requests at once than their model may be called for in a minute."""
    home.mkdir(parents=True)
    catalogue = home / "own.toml"
    catalogue.write_text(f'[[model]]\nid = "{NARROW}"\nrpm = 1\n')
    pipeline = Pipeline(home, catalogue=str(catalogue), tick_s=5.0)
    asked = {**TEXT, **HASTY, "model": NARROW, "deadline_s": 3600}
    pipeline.run(*({**asked, "request_id": f"{n}"} for n in range(3)))
    _looked_at(pipeline)


def _lost(home: Path) -> None:
    """An event that is lost again and again, one that is given up, and a store that does not answer."""
    pipeline = Pipeline(home, stale_s=10.0)
    pipeline.submit({**TEXT, "request_id": "lost"})
    for _ in range(4):
        _lose_everything(pipeline)
        pipeline.clock.sleep(11)
        pipeline.tick()
    given_up = {"CloudPubSubDeadLetterSourceSubscription": "validate"}
    pipeline.deliver("on_dead_letter", {**TEXT, "request_id": "dead"}, attributes=given_up)
    for error in (StoreUnavailable("no answer"), StoreUnusable("no role")):
        Failing(pipeline.services.documents, "commit", error, lambda _: True, after=False)
        with suppress(StoreUnavailable):
            pipeline.deliver("validate", {**TEXT, "request_id": "unlucky"})


def _lose_everything(pipeline: Pipeline) -> None:
    if "validate" in pipeline.system.bus.backlog():
        pipeline.step("validate")
    while deliveries := pipeline.system.bus.lease(pipeline.system._subscriptions, 100):
        pipeline.system.bus.ack(deliveries)


def _at_vendors(home: Path) -> None:
    """A vendor is shown a picture from the inbox; then one job per fault of a vendor's answer."""
    with vendor_pipeline(home) as pipeline:
        shown = pipeline.put("shown.png", b"not looked at", "image/png")
        pipeline.run({**TEXT, "model": READER, "inputs": [shown], "request_id": "shown"})
        for fault, request in FAULTS.items():
            pipeline.vendors.fail(fault)
            pipeline.run({**request, **HASTY, "request_id": fault})
        pipeline.tick()


def _built(home: Path, seen: Seen) -> None:
    """Build the services of each function as its own process does, with all vendors switched on."""
    own = watched(seen)
    for name in wiring.functions():
        given: Json = {**SECRETS, **HOOK, "vertex_project": "p1"} if name in seen.vendors else {"calls_vendors": False}
        with bound(stage=name):
            services = bootstrap.build(own(home=str(home), providers=ALL, **given))
            for vendor in ALL if name in seen.vendors else ():
                services.provider(vendor)
        services.close()


def _looked_at(pipeline: Pipeline) -> None:
    pipeline.tick()
    pipeline.system.recover()
    pipeline.assert_sound()
    for path in _pages(pipeline):
        with bound(stage="ops"):
            response = ops.handle(Request(EnvironBuilder(path).get_environ()), pipeline.services)
        assert response.status_code == 200, path
        response.close()


def _pages(pipeline: Pipeline) -> Iterator[str]:
    yield from PAGES
    made, *_ = (x.job for x in pipeline.services.jobs.in_state(State.SUCCEEDED, 9) if x.job.attempts)
    yield f"/jobs/{made.job_id}"
    yield f"/pieces/{made.job_id}/{made.attempts[-1].number}/0"
