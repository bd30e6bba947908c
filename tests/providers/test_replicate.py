"""Replicate's adapter over HTTP, against a server that records what it is sent and answers what a test tells it."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest

from shared.adapters.filesystem import FilesystemBlobStore
from shared.clock import ManualClock
from shared.domain.catalogue import Model, parse_catalogue
from shared.domain.times import to_text
from shared.errors import (
    AccountRefused,
    Ambiguous,
    Blocked,
    InvalidCall,
    ModelGone,
    ProviderFault,
    RateLimited,
    Unavailable,
)
from shared.ports import Call, Done, Json, Pending
from shared.providers.http import ASK_AGAIN_S
from shared.providers.replicate import DEADLINE_S, FIND_S, MOST_BYTES, ReplicateProvider
from tests.http_server import Handler, serving
from tests.providers.vertex_server import catalogue

PROMPT = "A paper boat on a quiet pond at dawn"
TOKEN = "r8_not_a_real_token"
HOOK = "https://example.com/on_webhook"
VERSION = "3f0457e4619daac51203dedb472816fd4af51f3149fa7a9e0b5ffcf1b8172438"
DAY = date(2026, 1, 1)
SECOND_PRICE = {"unit": "gpu_second", "amount": "0.0014", "from": DAY, "source": "a page", "checked": DAY}

ROWS: dict[str, Json] = {
    "flux": {
        "vendor_model": "black-forest-labs/flux-schnell",
        "kinds": ["image"],
        "inputs": {"prompt": "prompt", "aspect_ratio": "aspect_ratio", "count": "num_outputs", "seed": "seed"},
    },
    "wan": {
        "vendor_model": "wavespeedai/wan-2.1-i2v-720p",
        "kinds": ["video"],
        "inputs": {"prompt": "prompt", "image": "image", "seed": "seed"},
    },
    "svd": {
        "vendor_model": f"stability-ai/stable-video-diffusion:{VERSION}",
        "kinds": ["video"],
        "inputs": {"image": "input_image", "seed": "seed"},
        "billed_by": "gpu_second",
        "max_gpu_seconds": 240,
    },
    "llama": {
        "vendor_model": "meta/meta-llama-3-70b-instruct",
        "kinds": ["text"],
        "inputs": {"prompt": "prompt", "system": "system_prompt", "max_tokens": "max_tokens"},
    },
    "hourly": {"vendor_model": "a/b", "kinds": ["image"], "inputs": {"prompt": "prompt"}, "billed_by": "request"},
}
PARAMS: dict[str, Json] = {
    "image": {"prompt": PROMPT, "aspect_ratio": "16:9", "count": 2, "seed": 7, "style": "photo", "width": 1360},
    "video": {"prompt": PROMPT, "duration_s": 5, "seed": 7, "image": "gs://inbox/boat.png"},
    "text": {"prompt": PROMPT, "system": "Answer briefly.", "max_tokens": 100, "task": "fast"},
}


def row(name: str, **fields: Any) -> Model:
    document = {"id": name, "provider": "replicate", **ROWS[name], **fields}
    [model] = parse_catalogue({"model": [document]}).models
    return model


def call(name: str, *, part: int = 0, **params: Any) -> Call:
    model = row(name)
    [kind] = model.kinds
    return Call(
        key="job1-2",
        job_id="job1",
        attempt=2,
        kind=kind,
        model=model.vendor_model,
        row=model,
        params={**PARAMS[kind], **params},
        output_prefix="gs://outputs/jobs/job1/2/",
        timeout_s=5.0,
        part=part,
    )


@dataclass
class Vendor:
    """What the server was sent, and what it answers: `(status, body, headers)` for each request in turn."""

    seen: list[Json] = field(default_factory=list)
    answers: list[tuple[int, Any, dict[str, str]]] = field(default_factory=list)
    judge: Callable[[Json], tuple[int, Any]] | None = None
    url: str = ""

    def will(self, status: int, body: Any, **headers: str) -> None:
        self.answers.append((status, body, headers))

    def answer(self, request: Json) -> tuple[int, bytes, dict[str, str]]:
        self.seen.append(request)
        status, body, headers = (*self.judge(request), {}) if self.judge else self.answers.pop(0)
        return status, body if isinstance(body, bytes) else json.dumps(body).encode(), headers


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    told = Vendor()

    class Replicate(Handler):
        def respond(self) -> None:
            body = self.body() if self.headers["Content-Length"] else b""
            url = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer, more = told.answer(
                {
                    "line": f"{self.command} {url.path}",
                    "query": dict(parse_qsl(url.query)),
                    "headers": headers,
                    "body": json.loads(body) if body else None,
                }
            )
            self.answer(status, answer, **more)

    with serving(Replicate) as url:
        told.url = url
        yield told


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def blobs(tmp_path: Path) -> FilesystemBlobStore:
    store = FilesystemBlobStore(tmp_path)
    store.create("gs://inbox/boat.png", b"a small picture", "image/png")
    return store


@pytest.fixture
def replicate(vendor: Vendor, blobs: FilesystemBlobStore, clock: ManualClock) -> Iterator[ReplicateProvider]:
    provider = ReplicateProvider(TOKEN, blobs, clock, base_url=vendor.url)
    yield provider
    provider.close()


@pytest.fixture
def hooked(vendor: Vendor, blobs: FilesystemBlobStore, clock: ManualClock) -> Iterator[ReplicateProvider]:
    """One that is to be told by webhook."""
    provider = ReplicateProvider(TOKEN, blobs, clock, base_url=vendor.url, webhook_url=HOOK)
    yield provider
    provider.close()


def prediction(status: str = "starting", **fields: Any) -> Json:
    return {"id": "p1", "status": status, "input": {"prompt": PROMPT}, "output": None, "error": None, **fields}


def polled(replicate: ReplicateProvider, vendor: Vendor, handle: Json, status: str, **fields: Any) -> Done | Pending:
    vendor.will(200, prediction(status, **fields))
    return replicate.poll(handle)


def started(replicate: ReplicateProvider, vendor: Vendor, name: str = "flux", **params: Any) -> Json:
    vendor.will(201, prediction())
    outcome = replicate.start(call(name, **params))
    assert isinstance(outcome, Pending)
    return outcome.handle


# ---------------------------------------------------------------- what is sent


def test_an_official_model_is_called_by_its_name_with_the_inputs_of_its_row_only(replicate, vendor):
    started(replicate, vendor)
    [request] = vendor.seen
    assert request["line"] == "POST /v1/models/black-forest-labs/flux-schnell/predictions"
    assert request["body"] == {"input": {"prompt": PROMPT, "aspect_ratio": "16:9", "num_outputs": 2, "seed": 7}}
    assert request["headers"]["authorization"] == f"Bearer {TOKEN}"
    assert request["headers"]["cancel-after"] == f"{DEADLINE_S}s"


def test_a_version_is_called_by_its_hash_and_stopped_when_the_priced_gpu_time_is_over(replicate, vendor):
    started(replicate, vendor, "svd")
    [request] = vendor.seen
    picture = base64.b64encode(b"a small picture").decode()
    assert request["line"] == "POST /v1/predictions"
    assert request["body"] == {
        "version": VERSION,
        "input": {"input_image": f"data:image/png;base64,{picture}", "seed": 7},
    }
    assert request["headers"]["cancel-after"] == "240s"


def test_a_text_has_its_own_names(replicate, vendor):
    started(replicate, vendor, "llama")
    wanted = {"prompt": PROMPT, "system_prompt": "Answer briefly.", "max_tokens": 100}
    assert vendor.seen[0]["body"] == {"input": wanted}


def test_the_webhook_names_job_attempt_and_part_and_asks_for_the_end_only(hooked, vendor):
    vendor.will(201, prediction())
    hooked.start(call("flux", part=3))
    body = vendor.seen[0]["body"]
    assert body["webhook"] == f"{HOOK}?job=job1&attempt=2&part=3"
    assert body["webhook_events_filter"] == ["completed"]


def test_a_large_picture_is_sent_as_data_where_no_link_can_be_made_up_to_a_bound(replicate, vendor, blobs):
    blobs.create("gs://inbox/large.png", b"x" * 300_000, "image/png")
    started(replicate, vendor, "wan", image="gs://inbox/large.png")
    assert len(vendor.seen[0]["body"]["input"]["image"]) > 400_000
    blobs.create("gs://inbox/huge.png", b"x" * (MOST_BYTES + 1), "image/png")
    with pytest.raises(InvalidCall, match="larger than"):
        replicate.start(call("wan", image="gs://inbox/huge.png"))
    with pytest.raises(InvalidCall, match="does not exist"):
        replicate.start(call("wan", image="gs://inbox/none.png"))
    assert len(vendor.seen) == 1


class Linking:
    """Buckets whose objects have links."""

    def __init__(self, blobs: FilesystemBlobStore) -> None:
        self._blobs = blobs

    def link(self, uri: str, valid_s: int) -> str:
        return f"https://storage.example.com/large.png?signature={valid_s}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)


def test_a_large_picture_is_sent_as_a_link_where_one_can_be_made(vendor, blobs, clock):
    blobs.create("gs://inbox/large.png", b"x" * 300_000, "image/png")
    provider = ReplicateProvider(TOKEN, Linking(blobs), clock, base_url=vendor.url)
    started(provider, vendor, "wan", image="gs://inbox/large.png")
    started(provider, vendor, "wan")
    provider.close()
    large, small = (request["body"]["input"]["image"] for request in vendor.seen)
    assert large.startswith("https://storage.example.com/large.png?signature=")
    assert small.startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("name", "params", "inputs"),
    [("llama", {"response_schema": {"type": "object"}}, None), ("llama", {}, {"prompt": "prompt"})],
)
def test_what_the_model_could_not_keep_to_is_refused_before_it_is_paid_for(replicate, vendor, name, params, inputs):
    wanted = call(name, **params)
    if inputs is not None:
        wanted = replace(wanted, row=row(name, inputs=inputs))
    with pytest.raises(InvalidCall):
        replicate.start(wanted)
    assert vendor.seen == []


# ---------------------------------------------------------------- how a create can fail


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (400, {"detail": "bad"}, InvalidCall),
        (401, {"title": "Unauthenticated", "detail": "You did not pass a valid token"}, AccountRefused),
        (402, {"title": "Insufficient credit", "detail": "You have insufficient credit"}, AccountRefused),
        (404, {"detail": "The requested resource could not be found.", "status": 404}, ModelGone),
        (422, {"detail": "- input.seed: Invalid type", "status": 422}, InvalidCall),
        (
            422,
            {
                "title": "Invalid version or not permitted",
                "detail": "The specified version does not exist (or perhaps you don't have permission to use it?)",
            },
            ModelGone,
        ),
        (429, {"detail": "Request was throttled. Your rate limit resets in ~30s."}, RateLimited),
        (500, {"detail": "An internal error occurred"}, Unavailable),
        (502, b"<html>bad gateway</html>", Ambiguous),
        (503, b"", Unavailable),
        (504, b"", Ambiguous),
        (201, b"<html>", Ambiguous),
        (201, [], Ambiguous),
        (201, {"status": "starting"}, Ambiguous),
    ],
)
def test_a_create_that_fails_is_sent_once_and_says_what_it_means_for_the_money(replicate, vendor, status, body, fault):
    vendor.will(status, body)
    with pytest.raises(ProviderFault) as raised:
        replicate.start(call("flux"))
    assert type(raised.value) is fault
    assert len(vendor.seen) == 1


@pytest.mark.parametrize(
    ("headers", "detail", "wait_s"),
    [
        ({}, "Request was throttled. Your rate limit resets in ~30s.", 30.0),
        ({"Retry_After": "12"}, "Request was throttled. Your rate limit resets in ~30s.", 12.0),
        ({}, "Request was throttled.", None),
    ],
)
def test_a_throttled_call_waits_until_the_limit_resets(replicate, vendor, headers, detail, wait_s):
    vendor.will(429, {"detail": detail, "status": 429}, **headers)
    with pytest.raises(RateLimited) as raised:
        replicate.start(call("flux"))
    assert raised.value.retry_after_s == wait_s


def test_an_error_shows_neither_the_prompt_nor_an_address_nor_the_token(replicate, vendor):
    for detail in (
        f"- input.prompt: {PROMPT} is not allowed",
        f"bad token {TOKEN}",
        "no file https://x.example/?sig=5",
    ):
        vendor.will(422, {"detail": detail})
        with pytest.raises(InvalidCall) as raised:
            replicate.start(call("flux"))
        told = str(raised.value)
        assert "quiet pond" not in told
        assert "sig=5" not in told
        assert TOKEN not in told


# ---------------------------------------------------------------- statuses


@pytest.mark.parametrize("status", ["starting", "processing", "queued", None])
def test_what_is_not_over_is_asked_after_again(replicate, vendor, status):
    handle = started(replicate, vendor)
    outcome = polled(replicate, vendor, handle, status)
    assert outcome == Pending(handle, 1.0)
    assert vendor.seen[-1]["line"] == "GET /v1/predictions/p1"
    assert json.loads(json.dumps(handle)) == handle


def test_pictures_are_read_from_the_vendor_as_often_as_they_are_asked_for(replicate, vendor):
    handle = started(replicate, vendor)
    outputs = [f"{vendor.url}out/0.webp", f"{vendor.url}out/1.jpg?x=1.png", f"{vendor.url}out/too-many.png"]
    done = polled(replicate, vendor, handle, "succeeded", output=outputs, metrics={"predict_time": 1.5})
    assert isinstance(done, Done)
    assert [asset.media_type for asset in done.assets] == ["image/webp", "image/jpeg"]
    assert (done.usage, done.finish) == ({}, "stop")
    for _ in range(2):
        vendor.will(200, b"webp bytes")
        assert b"".join(done.assets[0].chunks()) == b"webp bytes"
    assert vendor.seen[-1]["line"] == "GET /out/0.webp"
    assert "authorization" not in vendor.seen[-1]["headers"]


def test_a_finished_file_that_is_gone_or_not_to_be_had_now_is_told_apart(replicate, vendor):
    handle = started(replicate, vendor)
    done = polled(replicate, vendor, handle, "succeeded", output=f"{vendor.url}out/0.png")
    for status, fault in ((404, InvalidCall), (403, InvalidCall), (503, Unavailable)):
        vendor.will(status, b"")
        with pytest.raises(fault):
            list(done.assets[0].chunks())


def test_a_clip_of_no_known_ending_is_an_mp4_and_is_priced_by_what_was_delivered(replicate, vendor):
    handle = started(replicate, vendor, "wan")
    done = polled(replicate, vendor, handle, "succeeded", output=f"{vendor.url}out", metrics={"predict_time": 40.2})
    assert [asset.media_type for asset in done.assets] == ["video/mp4"]
    assert done.usage == {}


def test_a_prediction_that_is_over_at_once_is_done_at_once(replicate, vendor):
    vendor.will(201, prediction("succeeded", output=["https://x.example/0.png"]))
    assert isinstance(replicate.start(call("flux")), Done)


def test_gpu_time_is_reported_in_whole_seconds_only_where_it_is_what_is_billed(replicate, vendor):
    handle = started(replicate, vendor, "svd")
    done = polled(replicate, vendor, handle, "succeeded", output="https://x/o.mp4", metrics={"predict_time": 61.02})
    assert done.usage == {"gpu_second": 62}
    for metrics in ({}, None, [], {"predict_time": "long"}):
        done = polled(replicate, vendor, handle, "succeeded", output="https://x/o.mp4", metrics=metrics)
        assert done.usage == {}


def test_a_model_billed_by_the_request_reports_one(replicate, vendor):
    handle = started(replicate, vendor, "hourly")
    assert polled(replicate, vendor, handle, "succeeded", output="https://x/o.png").usage == {"request": 1}


def test_a_text_comes_in_pieces_and_its_tokens_are_counted(replicate, vendor):
    handle = started(replicate, vendor, "llama")
    tokens = {"predict_time": 1.0, "input_token_count": 26, "output_token_count": 84}
    done = polled(replicate, vendor, handle, "succeeded", output=["The ", "tide ", "turns."], metrics=tokens)
    assert [(a.media_type, a.text) for a in done.assets] == [("text/plain", "The tide turns.")]
    assert (done.usage, done.finish) == ({"input_token": 26, "output_token": 84}, "stop")
    tokens |= {"output_token_count": 100}
    assert polled(replicate, vendor, handle, "succeeded", output="The", metrics=tokens).finish == "max_tokens"
    del tokens["input_token_count"]
    assert polled(replicate, vendor, handle, "succeeded", output="The", metrics=tokens).usage == {}


@pytest.mark.parametrize("output", [None, 3, {"url": "x"}, [None], [["x"]]])
def test_an_output_that_was_paid_for_and_cannot_be_read_is_in_doubt(replicate, vendor, output):
    handle = started(replicate, vendor)
    with pytest.raises(Ambiguous):
        polled(replicate, vendor, handle, "succeeded", output=output, data_removed=output is None)


def test_a_success_without_a_single_file_is_a_failure(replicate, vendor):
    handle = started(replicate, vendor)
    with pytest.raises(Unavailable):
        polled(replicate, vendor, handle, "succeeded", output=[])


@pytest.mark.parametrize(
    "error",
    [
        "The input or output was flagged as sensitive. Please try again with different inputs. (E005) (uIJ6l3ruRD)",
        "NSFW content detected. Try running it again, or try a different prompt.",
        "Prompt flagged",
        "Rejected by content moderation",
    ],
)
def test_what_the_safety_filter_refused_is_blocked(replicate, vendor, error):
    handle = started(replicate, vendor)
    with pytest.raises(Blocked):
        polled(replicate, vendor, handle, "failed", error=error)


@pytest.mark.parametrize(
    "error",
    [
        "CUDA out of memory",
        "Prediction interrupted; please retry (code: PA)",
        "safety_tolerance must be at most 6",
        "keys are case-sensitive",
        None,
        {"code": 5},
    ],
)
def test_any_other_failure_says_that_the_model_is_unavailable(replicate, vendor, error):
    handle = started(replicate, vendor)
    with pytest.raises(Unavailable):
        polled(replicate, vendor, handle, "failed", error=error)


def test_a_failure_in_the_vendors_words_repeats_nothing_of_the_input(replicate, vendor):
    handle = started(replicate, vendor)
    given = {"prompt": PROMPT, "image": "https://storage.example.com/boat.png?signature=secret"}
    told = []
    for error, shown_input in (
        ("CUDA out of memory", given),
        ("cannot read https://storage.example.com/boat.png?signature=secret", given),
        ("cannot write https://upload.example.com/out?signature=theirs", given),
        (f"cannot draw {PROMPT}", given),
        (f"cannot draw {PROMPT}", {}),
    ):
        with pytest.raises(Unavailable) as raised:
            polled(replicate, vendor, handle, "failed", error=error, input=shown_input)
        told.append(str(raised.value))
    assert told[0].endswith(": CUDA out of memory")
    assert [text for text in told if "signature" in text or "quiet pond" in text] == []


@pytest.mark.parametrize(
    ("status", "seconds", "cost"),
    [("failed", 61.02, 62 * 1400), ("canceled", 240, 240 * 1400), ("canceled", None, 0), ("aborted", 3.0, 0)],
)
def test_a_prediction_that_came_to_nothing_costs_its_gpu_time_unless_it_never_began(
    replicate, vendor, monkeypatch, status, seconds, cost
):
    monkeypatch.setitem(ROWS["svd"], "price", [SECOND_PRICE])
    handle = started(replicate, vendor, "svd")
    with pytest.raises(Unavailable) as raised:
        polled(replicate, vendor, handle, status, error="it broke", metrics={"predict_time": seconds})
    assert raised.value.cost_micro_usd == cost


@pytest.mark.parametrize("status", ["canceled", "aborted", "failed"])
def test_a_piece_that_was_not_made_costs_nothing(replicate, vendor, status):
    handle = started(replicate, vendor)
    with pytest.raises(Unavailable) as raised:
        polled(replicate, vendor, handle, status, metrics={"predict_time": 12.0})
    assert raised.value.cost_micro_usd == 0


@pytest.mark.parametrize("status", [401, 403, 422, 429, 500, 503])
def test_a_vendor_that_cannot_be_asked_now_leaves_the_prediction_pending(replicate, vendor, status):
    handle = started(replicate, vendor)
    vendor.will(status, {"detail": "not now"})
    assert replicate.poll(handle) == Pending(handle, ASK_AGAIN_S)
    vendor.will(429, b"", Retry_After="17")
    assert replicate.poll(handle) == Pending(handle, 17.0)
    vendor.will(200, b"<html>")
    assert replicate.poll(handle) == Pending(handle, ASK_AGAIN_S)


def test_a_prediction_that_the_vendor_forgot_is_in_doubt(replicate, vendor):
    handle = started(replicate, vendor)
    vendor.will(404, {"detail": "Not found"})
    with pytest.raises(Ambiguous):
        replicate.poll(handle)


@pytest.mark.parametrize("status", [200, 404, 500, 401])
def test_cancelling_asks_once_and_never_fails(replicate, vendor, status):
    handle = started(replicate, vendor)
    vendor.will(status, {})
    replicate.cancel(handle)
    assert [request["line"] for request in vendor.seen[1:]] == ["POST /v1/predictions/p1/cancel"]


# ---------------------------------------------------------------- finding a lost call


def listed(vendor: Vendor, items: list[Json], per_page: int = 100) -> None:
    """Have the server list *items*, newest first, in pages whose links lead to another host."""

    def judge(request: Json) -> tuple[int, Any]:
        if request["line"].startswith("GET /v1/predictions/p"):
            return 200, next(item for item in items if request["line"].endswith(f"/{item['id']}"))
        assert request["line"] == "GET /v1/predictions"
        start = int(request["query"].get("cursor", 0))
        more = urlencode({**request["query"], "cursor": start + per_page})
        is_last = start + per_page >= len(items)
        page = [{k: v for k, v in item.items() if k != "webhook"} for item in items[start : start + per_page]]
        return 200, {
            "results": page,
            "previous": None,
            "next": None if is_last else f"https://elsewhere.example/v1/predictions?{more}",
        }

    vendor.judge = judge


def entry(clock: ManualClock, number: int = 1, ago_s: float = 20.0, **fields: Any) -> Json:
    given = {"prompt": PROMPT, "aspect_ratio": "16:9", "num_outputs": 2, "seed": 7}
    return {
        "id": f"p{number}",
        "model": "black-forest-labs/flux-schnell",
        "version": "hidden",
        "input": given,
        "status": "processing",
        "created_at": to_text(clock.now() - timedelta(seconds=ago_s)),
        **fields,
    }


def others(clock: ManualClock, count: int, ago_s: float = 10.0) -> list[Json]:
    return [entry(clock, 1000 + n, ago_s, input={"prompt": PROMPT, "seed": n + 100}) for n in range(count)]


def test_a_lost_call_is_found_by_model_and_input_and_then_polled(replicate, vendor, clock):
    listed(vendor, [*others(clock, 3), entry(clock), entry(clock, 2, model="black-forest-labs/flux-dev")])
    found = replicate.find(call("flux"))
    assert isinstance(found, Pending)
    assert vendor.seen[0]["query"]["created_after"] == to_text(clock.now() - timedelta(hours=1))
    vendor.judge = None
    outputs = ["https://x.example/0.png", "https://x.example/1.png"]
    done = polled(replicate, vendor, found.handle, "succeeded", output=outputs)
    assert vendor.seen[-1]["line"] == "GET /v1/predictions/p1"
    assert len(done.assets) == 2


def test_the_list_is_followed_through_its_pages_at_our_own_address(replicate, vendor, clock):
    listed(vendor, [*others(clock, 250), entry(clock)])
    assert isinstance(replicate.find(call("flux")), Pending)
    assert [request["query"].get("cursor") for request in vendor.seen] == [None, "100", "200"]
    assert {parse_qs(urlencode(r["query"]))["created_after"][0] for r in vendor.seen} == {
        to_text(clock.now() - timedelta(hours=1))
    }


def test_looking_ends_at_the_window_even_when_the_list_does_not(replicate, vendor, clock):
    listed(vendor, [*others(clock, 3), *others(clock, 500, ago_s=4000.0), entry(clock, ago_s=4001.0)])
    assert replicate.find(call("flux")) is None
    assert len(vendor.seen) == 1


def test_looking_ends_after_a_number_of_pages(replicate, vendor, clock):
    listed(vendor, [*others(clock, 60), entry(clock)], per_page=2)
    assert replicate.find(call("flux")) is None
    assert len(vendor.seen) == 20


def test_a_list_without_the_call_proves_nothing(replicate, vendor, clock):
    listed(vendor, others(clock, 3))
    assert replicate.find(call("flux")) is None


def test_two_calls_that_are_alike_cannot_be_told_apart(replicate, vendor, clock):
    listed(vendor, [entry(clock), entry(clock, 2)])
    assert replicate.find(call("flux")) is None


def test_the_address_of_the_webhook_tells_alike_calls_apart(hooked, vendor, clock):
    address = f"{HOOK}?job=job1&attempt=2&part="
    alike = [entry(clock, 1, webhook=address + "0"), entry(clock, 2, webhook=address + "1")]
    listed(vendor, [*others(clock, 5), *alike])
    assert hooked.find(call("flux", part=1)).handle["id"] == "p2"
    assert [request["line"] for request in vendor.seen[1:]] == ["GET /v1/predictions/p1", "GET /v1/predictions/p2"]
    assert hooked.find(call("flux", part=2)) is None


def test_a_single_like_call_of_another_attempt_is_not_adopted(hooked, vendor, clock):
    listed(vendor, [entry(clock, 1, webhook=f"{HOOK}?job=job1&attempt=1&part=0")])
    assert hooked.find(call("flux")) is None


def test_a_prediction_that_shows_no_webhook_is_adopted_when_it_is_the_only_one_alike(hooked, vendor, clock):
    listed(vendor, [entry(clock, 1)])
    assert hooked.find(call("flux")).handle["id"] == "p1"


def test_too_many_like_calls_are_not_looked_at_one_by_one(hooked, vendor, clock):
    listed(vendor, [entry(clock, n, webhook=f"{HOOK}?job=job1&attempt=2&part={n}") for n in range(11)])
    assert hooked.find(call("flux")) is None
    assert len(vendor.seen) == 1


def test_a_versioned_call_is_found_by_its_version_without_comparing_the_link_of_its_picture(replicate, vendor, clock):
    ours = entry(clock, 5, version=VERSION, model="stability-ai/stable-video-diffusion")
    ours["input"] = {"input_image": "https://storage.example.com/another-link", "seed": 7}
    listed(vendor, [entry(clock, 6, version="another", input=ours["input"]), ours])
    assert replicate.find(call("svd")).handle["id"] == "p5"


def test_a_list_that_makes_no_sense_finds_nothing(hooked, vendor, clock):
    nameless = entry(clock)
    del nameless["id"]
    for results in ([None, 3, "x", {}], [entry(clock, input=[], created_at=5)], [nameless], 5, None):
        vendor.will(200, {"results": results, "next": None})
        assert hooked.find(call("flux")) is None


@pytest.mark.parametrize("status", [404, 429, 500])
def test_a_list_that_cannot_be_read_now_finds_nothing(replicate, vendor, status):
    vendor.will(status, {"detail": "not now"})
    assert replicate.find(call("flux")) is None


def test_looking_ends_in_time_however_slowly_the_list_comes(replicate, vendor, clock, monkeypatch):
    listed(vendor, [*others(clock, 18), entry(clock)], per_page=1)
    seconds = count(0.0, FIND_S / 30)
    for module in ("replicate", "http", "deadline"):
        monkeypatch.setattr(f"shared.providers.{module}.monotonic", lambda: next(seconds))
    assert replicate.find(call("flux")) is None
    assert 3 <= len(vendor.seen) <= 15
    monkeypatch.undo()
    assert replicate.find(call("flux")) is not None


TEXT_ROWS = [each for each in catalogue().models if each.provider == "replicate" and "text" in each.kinds]


@pytest.mark.parametrize("model", TEXT_ROWS, ids=lambda each: each.id)
def test_a_text_model_of_the_catalogue_is_not_paid_for_a_structure_that_it_cannot_keep_to(replicate, vendor, model):
    wanted = replace(call("llama", response_schema={"type": "object"}), model=model.vendor_model, row=model)
    with pytest.raises(InvalidCall, match="takes no response schema"):
        replicate.start(wanted)
    assert vendor.seen == []
