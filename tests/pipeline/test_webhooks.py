"""Webhooks of Replicate through the real function, stores, bus and stages; the vendor is a small server."""

import base64
import hashlib
import hmac
import io
import json
import logging
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from functions import _runtime
from functions.on_webhook import COLLECTION, MAX_BODY_BYTES, Hint, handle, message_for
from shared import log as logs
from shared.clock import ManualClock
from shared.domain.job import Attempt, AttemptState, Job
from shared.domain.times import to_text
from shared.errors import LeaseHeld, StoreUnavailable
from shared.ports import Json
from tests.functions.serving import Served
from tests.http_server import Handler, serving
from tests.pipeline.harness import Pipeline

SECRET = "whsec_" + base64.b64encode(b"a secret of the tests").decode()
FOREIGN = "whsec_" + base64.b64encode(b"somebody else's secret").decode()
PROMPT = "A paper boat on a quiet pond"
PICTURES = {"kind": "image", "prompt": PROMPT, "size": "1K", "model": "flux-schnell", "fallback": False}
HOOK = "https://example.com/on_webhook"


class Vendor:
    """Replicate as far as it is needed: it accepts, lists and shows predictions."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.predictions: list[Json] = []
        self.loses_answers = False
        self.is_listed = True

    def respond(self, handler: Handler) -> tuple[int, Any]:
        path = urlsplit(handler.path).path
        if handler.command == "POST":
            return self._created(json.loads(handler.body()))
        if path == "/v1/predictions":
            return 200, {"next": None, "results": self.predictions if self.is_listed else []}
        return 200, next(p for p in self.predictions if path.endswith(f"/{p['id']}"))

    def _created(self, body: Json) -> tuple[int, Any]:
        made = {
            "id": f"p{len(self.predictions) + 1}",
            "model": "black-forest-labs/flux-schnell",
            "input": body["input"],
            "status": "starting",
            "created_at": to_text(self.clock.now()),
        }
        self.predictions.append(made)
        return (504, {}) if self.loses_answers else (201, made)

    def finish(self, number: int = 0, **fields: Any) -> None:
        self.predictions[number] |= {"status": "failed", "error": "CUDA out of memory"} | fields


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
def pipeline(tmp_path: Path, vendor: Vendor) -> Iterator[Pipeline]:
    class Replicate(Handler):
        def respond(self) -> None:
            status, body = vendor.respond(self)
            self.answer(status, json.dumps(body).encode())

    with serving(Replicate) as url:
        running = Pipeline(
            tmp_path,
            clock=vendor.clock,
            providers=("replicate",),
            replicate_api_token="r8_made_up",
            replicate_base_url=url,
            replicate_webhook_secrets=(SECRET,),
            webhook_url=HOOK,
        )
        yield running
        running.services.provider("replicate").close()


def begun(pipeline: Pipeline, request_id: str = "r") -> Job:
    """A job whose only call has just been made."""
    (job_id,) = pipeline.submit({**PICTURES, "request_id": request_id})
    pipeline.step("validate")
    pipeline.step("generate")
    return pipeline.job(job_id)


def told(**fields: Any) -> bytes:
    return json.dumps({"id": "p1", "status": "succeeded", "output": ["https://evil.example/x.png"], **fields}).encode()


def query(job: Job | str, attempt: Any = 1, part: Any = 0) -> str:
    job_id = job if isinstance(job, str) else job.job_id
    return urlencode({"job": job_id, "attempt": attempt, "part": part})


def signed(body: bytes, at_s: float, webhook_id: str = "msg_1", secret: str = SECRET) -> dict[str, str]:
    content = f"{webhook_id}.{int(at_s)}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return {"webhook-id": webhook_id, "webhook-timestamp": str(int(at_s)), "webhook-signature": f"v1,{signature}"}


def sent(pipeline: Pipeline, job: Job | str, body: bytes | None = None, **more: Any) -> tuple[int, str]:
    """Deliver one webhook; return status and text of the answer."""
    body = told() if body is None else body
    at_s = pipeline.clock.now().timestamp() + more.pop("offset_s", 0)
    headers = more.pop("headers", None) or signed(
        body, at_s, more.pop("webhook_id", "msg_1"), more.pop("secret", SECRET)
    )
    asked = more.pop("query", None)
    return delivered(pipeline, body, headers, query(job) if asked is None else asked, **more)


def delivered(pipeline: Pipeline, body: bytes, headers: dict[str, str], asked: str, **more: Any) -> tuple[int, str]:
    fields = {"method": "POST", "query_string": asked, "input_stream": io.BytesIO(body), "headers": headers} | more
    builder = EnvironBuilder(content_length=len(body), **fields)
    with closing(builder):
        answer = handle(Request(builder.get_environ()), pipeline.services)
    assert isinstance(answer, tuple)
    return answer[1], str(answer[0])


def taken(pipeline: Pipeline) -> list[Json]:
    """What is on its way to `generate`, which is taken."""
    found = pipeline.system.bus.lease(["generate"], 100)
    pipeline.system.bus.ack(found)
    return [delivery.payload for delivery in found]


def only(job: Job) -> Attempt:
    [attempt] = job.attempts
    return attempt


# ---------------------------------------------------------------- what a hint leads to


def test_the_end_of_a_running_operation_has_it_polled_at_once(pipeline, vendor):
    job = begun(pipeline)
    assert (only(job).state, only(job).handle["id"]) == (AttemptState.RUNNING, "p1")
    vendor.finish()
    assert sent(pipeline, job) == (200, "")
    pipeline.step("generate")
    after = only(pipeline.job(job.job_id))
    assert (after.state, after.error["code"]) == (AttemptState.FAILED, "unavailable")


def test_the_poll_event_is_the_one_that_the_tick_sends(pipeline):
    job = begun(pipeline)
    sent(pipeline, job)
    hinted = taken(pipeline)
    pipeline.clock.advance(10)
    pipeline.tick()
    assert hinted == taken(pipeline) == [{"job_id": job.job_id, "seq": job.seq, "trace": job.trace}]


def test_nothing_of_a_webhook_is_believed_or_stored(pipeline, vendor):
    job = begun(pipeline)
    sent(pipeline, job, told(status="failed", error="NSFW", metrics={"predict_time": 9}, note="remember me"))
    pipeline.step("generate")
    after = pipeline.job(job.job_id)
    assert only(after).state is AttemptState.RUNNING
    file = (pipeline.home / "state.db").read_bytes() + (pipeline.home / "bus.db").read_bytes()
    assert not [word for word in (b"remember me", b"evil.example", b"NSFW") if word in file]


def test_a_call_in_doubt_is_looked_for_again_adopted_and_never_made_twice(pipeline, vendor):
    vendor.loses_answers, vendor.is_listed = True, False
    job = begun(pipeline)
    assert (only(job).state, only(job).suspense_micro_usd) == (AttemptState.UNKNOWN, 3000)
    pipeline.settle()
    job = pipeline.job(job.job_id)
    vendor.is_listed = True
    assert sent(pipeline, job) == (200, "")
    found = taken(pipeline)
    assert found == [{"job_id": job.job_id, "seq": job.seq, "trace": job.trace, "attempt": 1, "seek": True}]
    pipeline.deliver("generate", found[0])
    adopted = only(pipeline.job(job.job_id))
    assert (adopted.state, adopted.handle["id"]) == (AttemptState.RUNNING, "p1")
    assert len(vendor.predictions) == 1


# ---------------------------------------------------------------- hints that nobody needs


def test_a_repeated_webhook_is_answered_and_does_nothing(pipeline):
    job = begun(pipeline)
    assert sent(pipeline, job) == (200, "")
    assert len(taken(pipeline)) == 1
    assert [sent(pipeline, job) for _ in range(3)] == [(200, "")] * 3
    pipeline.clock.advance(60)
    assert sent(pipeline, job) == (200, "")  # sent again by the vendor: the same id, signed anew
    assert taken(pipeline) == []


def test_what_was_seen_is_known_by_its_hash_and_expires(pipeline):
    sent(pipeline, begun(pipeline))
    path = f"{COLLECTION}/{hashlib.sha256(b'msg_1').hexdigest()}"
    [seen] = pipeline.services.documents.get([path])
    now = pipeline.clock.now()
    assert seen.data == {"at": to_text(now), "expire_at": to_text(now.replace(day=now.day + 1))}


def test_a_webhook_for_a_finished_job_changes_nothing(pipeline, vendor):
    job = begun(pipeline)
    vendor.finish(error="NSFW content detected")
    sent(pipeline, job)
    pipeline.settle()
    ended = pipeline.job(job.job_id)
    assert ended.is_finished
    assert [sent(pipeline, job, webhook_id=f"msg_{n}") for n in range(2, 5)] == [(200, "")] * 3
    assert taken(pipeline) == []
    assert pipeline.job(job.job_id) == ended


def test_a_late_operation_of_a_finished_job_is_polled(pipeline, vendor):
    job = begun(pipeline)
    pipeline.end(job.job_id)
    assert pipeline.job(job.job_id).is_finished
    pipeline.settle()
    vendor.finish()
    sent(pipeline, job)
    pipeline.step("generate")
    assert only(pipeline.job(job.job_id)).state is AttemptState.FAILED
    assert pipeline.job(job.job_id).suspense == 0


def test_a_body_that_names_another_or_no_prediction_leads_to_nothing(pipeline):
    job = begun(pipeline)
    bodies = [told(id="p2"), told(id=None), told(id=7), b"[]", b"", b"{", b"null", b"\xff\xfe", b"[" * 100_000]
    for number, body in enumerate(bodies):
        assert sent(pipeline, job, body, webhook_id=f"msg_{number}") == (200, ""), body[:20]
    assert taken(pipeline) == []


def test_an_address_that_names_no_call_of_ours_leads_to_nothing(pipeline):
    job = begun(pipeline)
    ours = f"job={job.job_id}"
    calls = ["", "&attempt=1", "&attempt=2&part=0", "&attempt=0&part=0", "&attempt=1&part=1", "&attempt=-1&part=0"]
    calls += ["&attempt=one&part=0", f"&attempt={'9' * 5000}&part=0", "&attempt=1&part="]
    jobs = ["0" * 32, "a/b", "..", "__x__", "x" * 2000, "é", ""]
    for number, asked in enumerate(["", *(query(name) for name in jobs), *(ours + call for call in calls)]):
        assert sent(pipeline, job, query=asked, webhook_id=f"msg_{number}") == (200, ""), asked[:80]
    assert taken(pipeline) == []


def test_only_an_attempt_of_this_vendor_is_asked_after(pipeline):
    job = begun(pipeline)
    hint = Hint(job.job_id, 1, 0, "p1")
    elsewhere = job.with_attempt(replace(only(job), provider="runway"))
    assert message_for(job, hint) is not None
    assert message_for(elsewhere, hint) is None


def test_a_call_is_looked_for_again_only_while_its_money_is_in_doubt(pipeline):
    job = begun(pipeline)
    hint = Hint(job.job_id, 1, 0, "p1")
    for state in set(AttemptState) - {AttemptState.CALLING}:
        doubtful = replace(only(job), state=state, suspense_micro_usd=3000)
        settled = replace(doubtful, suspense_micro_usd=0)
        found, none = (message_for(job.with_attempt(attempt), hint) for attempt in (doubtful, settled))
        assert bool(found and found.payload.get("seek")) is (state is AttemptState.UNKNOWN)
        assert (found is not None) is (state in {AttemptState.UNKNOWN, AttemptState.RUNNING})
        assert (none is not None) is (state is AttemptState.RUNNING)


def test_a_webhook_that_comes_while_its_call_is_being_made_has_to_come_again(pipeline):
    job = begun(pipeline)
    calling = replace(only(job), state=AttemptState.CALLING)
    with pytest.raises(LeaseHeld):
        message_for(job.with_attempt(calling), Hint(job.job_id, 1, 0, "p1"))


def test_a_single_call_set_apart_is_meant_by_the_number_of_the_attempt_it_is_of(pipeline):
    job = begun(pipeline)
    apart = replace(only(job), number=2, part=1, doubt_of=1, state=AttemptState.UNKNOWN, suspense_micro_usd=3000)
    job = replace(job, attempts=(replace(only(job), calls=3, part=2), apart))
    message = message_for(job, Hint(job.job_id, 1, 1, "p9"))
    assert message is not None
    assert message.payload["attempt"] == 2
    assert message_for(job, Hint(job.job_id, 1, 2, "p1")) == _runtime.baton_message(job, "generate")
    assert message_for(job, Hint(job.job_id, 2, 1, "p9")) is None


# ---------------------------------------------------------------- what is refused


def test_what_is_not_proven_is_refused_and_leaves_no_trace(pipeline):
    job = begun(pipeline)
    unreadable = {"webhook-id": "msg_1", "webhook-timestamp": "x", "webhook-signature": "v1,AAAA"}
    ways = [{"secret": FOREIGN}, {"offset_s": -301}, {"offset_s": 301}, {"headers": {"webhook-id": "msg_1"}}]
    for how in [*ways, {"headers": unreadable}]:
        status, text = sent(pipeline, job, **how)
        assert status == 401, how
        assert len(json.loads(text)["error"]) > 15
    assert taken(pipeline) == []
    seen = f"{COLLECTION}/{hashlib.sha256(b'msg_1').hexdigest()}"
    assert pipeline.services.documents.get([seen]) == [None]
    assert sent(pipeline, job) == (200, "")
    assert len(taken(pipeline)) == 1


def test_a_body_that_was_parsed_and_written_again_is_refused(pipeline):
    job = begun(pipeline)
    body = told()
    headers = signed(body, pipeline.clock.now().timestamp())
    again = json.dumps(json.loads(body), separators=(",", ":")).encode()
    assert sent(pipeline, job, again, headers=headers)[0] == 401
    assert sent(pipeline, job, body, headers=headers)[0] == 200


def test_only_posts_are_answered(pipeline):
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        assert delivered(pipeline, b"", {}, "", method=method)[0] == 405


def test_a_body_beyond_the_bound_is_refused_however_well_it_is_signed(pipeline):
    job = begun(pipeline)
    assert sent(pipeline, job, told().ljust(MAX_BODY_BYTES + 1))[0] == 413
    assert taken(pipeline) == []
    assert sent(pipeline, job, told().ljust(MAX_BODY_BYTES))[0] == 200
    assert len(taken(pipeline)) == 1


def test_without_secrets_no_webhook_is_taken_and_the_answer_says_why(tmp_path):
    pipeline = Pipeline(tmp_path)
    status, text = sent(pipeline, "0" * 32)
    assert (status, "ATELIER_REPLICATE_WEBHOOK_SECRETS" in text) == (404, True)


def test_a_secret_that_is_none_is_told_to_the_log_only(tmp_path):
    pipeline = Pipeline(tmp_path, replicate_webhook_secrets=("whsec_",))
    status, text = sent(pipeline, "0" * 32)
    assert (status, "whsec_" in text) == (500, False)


# ---------------------------------------------------------------- faults, logs, and the deployed form


def test_a_hint_that_could_not_be_passed_on_is_taken_when_it_comes_again(pipeline, monkeypatch):
    job = begun(pipeline)

    def fail(_messages: Any) -> None:
        raise StoreUnavailable("the bus does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(pipeline.services.bus, "publish", fail)
        assert sent(pipeline, job)[0] == 503
    assert sent(pipeline, job) == (200, "")
    assert len(taken(pipeline)) == 1


def test_no_line_of_the_log_shows_a_prompt_a_secret_or_a_header(pipeline):
    stream, log = io.StringIO(), logging.getLogger("atelier")
    handlers, level = log.handlers[:], log.level
    job = begun(pipeline)
    logs.configure("DEBUG", stream)
    try:
        sent(pipeline, job, told(input={"prompt": PROMPT}))
        sent(pipeline, job)
        sent(pipeline, job, secret=FOREIGN)
        sent(pipeline, "0" * 32, webhook_id="msg_2")
        sent(pipeline, job, webhook_id="msg_3", query="")
        sent(pipeline, job, b"[" * 100_000, webhook_id="msg_4")
    finally:
        log.handlers[:] = handlers
        log.setLevel(level)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    names = {line["message"] for line in lines}
    assert names >= {"webhook.passed_on", "webhook.repeated", "webhook.refused", "webhook.unneeded", "webhook.ignored"}
    at_s = pipeline.clock.now().timestamp()
    signature = signed(told(), at_s)["webhook-signature"]
    for secret in (PROMPT, SECRET, SECRET.removeprefix("whsec_"), signature, "msg_1", "evil.example"):
        assert secret not in stream.getvalue()


def test_the_deployed_function_answers_over_http(tmp_path):
    body, headers = told(), {"content-type": "application/json"}
    address = "/?" + query("0" * 32)
    with closing(Served("on_webhook", tmp_path, ATELIER_REPLICATE_WEBHOOK_SECRETS=f"{FOREIGN},{SECRET}")) as served:
        served.ready()
        good = headers | signed(body, time.time())
        assert [served.send(body, good, path=address).status for _ in range(2)] == [200, 200]
        assert served.send(body, headers | signed(body, time.time() - 400), path=address).status == 401
        assert served.send(body + b" ", good, path=address).status == 401
        assert served.send(b"x" * (MAX_BODY_BYTES + 1), good, path=address).status == 413
        assert served.send(b"", {}, method="GET").status == 405
        lines = [json.loads(line) for line in served.out.read_text().splitlines()]
        assert served.err.read_text() == ""
    said = [line["message"] for line in lines if line["message"].startswith("webhook.")]
    assert said == ["webhook.unneeded", "webhook.unneeded", "webhook.refused", "webhook.refused"]


def test_the_address_in_a_prediction_is_understood(pipeline, vendor):
    """What the adapter writes into the webhook's address is what the function reads from it."""
    job = begun(pipeline)
    provider = pipeline.services.provider("replicate")
    call = type("Call", (), {"job_id": job.job_id, "attempt": 1, "part": 0})
    address = urlsplit(provider._webhook(call))
    assert dict(parse_qsl(address.query)) == dict(parse_qsl(query(job)))
    assert sent(pipeline, job, query=address.query) == (200, "")
    assert len(taken(pipeline)) == 1
