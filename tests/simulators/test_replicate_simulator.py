"""What the Replicate simulator promises to any client of Replicate's API, and to receivers of its webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
from collections.abc import Iterator
from typing import Any

import av
import httpx
import pytest
from PIL import Image

from shared.simulators.replicate import ReplicateApi
from shared.simulators.vendor_http import Refused
from shared.simulators.vendors import WEBHOOK_SECRET, Vendors
from tests.http_server import Handler, serving

HEADERS = {"Authorization": "Bearer r8_token"}
WAN = "/v1/models/wavespeedai/wan-2.1-i2v-480p/predictions"
FLUX = "/v1/models/black-forest-labs/flux-schnell/predictions"
PRO = "/v1/models/black-forest-labs/flux-1.1-pro/predictions"
LLAMA = "/v1/models/meta/meta-llama-3-70b-instruct/predictions"
CLIP = {"image": "https://example.com/a.png", "prompt": "a cat"}
VERSION = "a" * 64
FRAMES = {"input_image": "https://example.com/a.png", "video_length": "14_frames_with_svd"}

received: list[tuple[dict[str, str], bytes]] = []
statuses: list[int] = []


class Receiver(Handler):
    def respond(self) -> None:
        received.append(({name.lower(): value for name, value in self.headers.items()}, self.body()))
        self.answer(statuses.pop(0) if statuses else 200)


@pytest.fixture
def web(vendors: Vendors) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=vendors.url, headers=HEADERS, timeout=20) as client:
        yield client


@pytest.fixture
def hook() -> Iterator[str]:
    received.clear()
    statuses.clear()
    with serving(Receiver) as url:
        yield f"{url}hook?job=1"


def create(web: httpx.Client, path: str, given: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = web.post(path, json={"input": given, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def read(web: httpx.Client, prediction: dict[str, Any]) -> dict[str, Any]:
    return dict(web.get(f"/v1/predictions/{prediction['id']}").json())


def download(url: str) -> httpx.Response:
    return httpx.get(url, timeout=60)  # the first one of a form is rendered now


def api_of(vendors: Vendors) -> ReplicateApi:
    return next(each for each in vendors._apis if isinstance(each, ReplicateApi))


def fits(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Check a signature as a receiver does it, written down once more on purpose."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}" in headers["webhook-signature"].split(" ")


# ---------------------------------------------------------------- predictions


def test_a_prediction_starts_runs_and_succeeds_with_a_clip(vendors, web, clock):
    made = create(web, WAN, {**CLIP, "aspect_ratio": "9:16"})
    assert (made["status"], made["version"], made["output"], made["started_at"]) == ("starting", "hidden", None, None)
    assert made["model"] == "wavespeedai/wan-2.1-i2v-480p"
    clock.advance(2)
    assert read(web, made)["status"] == "processing"
    clock.advance(20)
    done = read(web, made)
    assert (done["status"], done["error"], done["metrics"]["predict_time"]) == ("succeeded", None, 8)
    assert done["completed_at"] == "2026-11-21T12:00:09.000Z"
    with av.open(io.BytesIO(download(done["output"]).content)) as clip:
        stream = clip.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (480, 832, 16)
        assert clip.duration == 5 * 1_000_000
    assert [(each["billed"], each["state"]) for each in vendors.calls()] == [({"second": 5}, "delivered")]


def test_a_model_with_several_pictures_gives_a_list_and_one_with_one_a_url(vendors, web, clock):
    two = create(web, FLUX, {"prompt": "a", "num_outputs": 2, "output_format": "png", "aspect_ratio": "16:9"})
    one = create(web, PRO, {"prompt": "a"})
    clock.advance(20)
    urls, single = read(web, two)["output"], read(web, one)["output"]
    assert len(urls) == 2
    assert single.endswith(".jpg")
    with Image.open(io.BytesIO(download(urls[0]).content)) as picture:
        assert (picture.format, picture.size) == ("PNG", (1344, 768))
    assert download(urls[0]).content != download(urls[1]).content
    assert read(web, two)["metrics"]["image_count"] == 2
    assert [each["billed"] for each in vendors.calls()] == [{"image": 2}, {"image": 1}]


def test_a_language_model_gives_its_text_in_pieces_and_counts_tokens(vendors, web, clock):
    made = create(web, LLAMA, {"prompt": "Write about the sea", "max_tokens": 100})
    clock.advance(20)
    done = read(web, made)
    assert len(done["output"]) > 1
    assert "  " not in "".join(done["output"])
    counts = {
        "input_token": done["metrics"]["input_token_count"],
        "output_token": done["metrics"]["output_token_count"],
    }
    assert vendors.calls()[0]["billed"] == counts
    assert counts["output_token"] == -(-len("".join(done["output"])) // 4)


def test_a_version_runs_by_its_hash_and_is_billed_by_time(vendors, web, clock):
    made = create(web, "/v1/predictions", FRAMES, version=VERSION)
    assert (made["model"], made["version"]) == ("stability-ai/stable-video-diffusion", VERSION)
    create(web, "/v1/predictions", FRAMES, version=f"stability-ai/stable-video-diffusion:{VERSION}")
    clock.advance(20)
    assert read(web, made)["metrics"] == {"predict_time": 8}
    assert [each["billed"] for each in vendors.calls()] == [{"gpu_second": 8}] * 2
    assert [each["model"] for each in vendors.calls()] == [VERSION] * 2


@pytest.mark.parametrize(
    "path, body, field",
    [
        (WAN, {"input": {"prompt": "a"}}, "input"),
        (WAN, {"input": {**CLIP, "image": "a.png"}}, "input.image"),
        (WAN, {"input": {**CLIP, "num_frames": 10}}, "input.num_frames"),
        (FLUX, {"input": {"prompt": "a", "num_outputs": "2"}}, "input.num_outputs"),
        (FLUX, {"input": {"prompt": "a", "aspect_ratio": "2:1"}}, "input.aspect_ratio"),
        (FLUX, {"input": "a"}, "input"),
        (FLUX, {"prompt": "a"}, "prompt"),
        (FLUX, {"input": {"prompt": "a"}, "version": VERSION}, "version"),
        (FLUX, {"input": {"prompt": "a"}, "webhook": "http://example.com/hook"}, "webhook"),
        (FLUX, {"input": {"prompt": "a"}, "webhook_events_filter": ["done"]}, "webhook_events_filter[0]"),
        ("/v1/predictions", {"input": FRAMES}, "version"),
        ("/v1/predictions", {"input": FRAMES, "version": VERSION, "model": "a/b"}, "model"),
    ],
)
def test_a_malformed_create_is_refused_with_its_fields(refusing, path, body, field):
    answer = httpx.post(refusing.url + path, json=body, headers=HEADERS)
    assert answer.status_code == 422
    told = answer.json()
    assert (told["title"], told["status"]) == ("Input validation failed", 422)
    assert told["detail"].startswith("- ")
    assert [each["field"] for each in told["invalid_fields"]] == [field]
    assert refusing.calls() == []


def test_an_input_that_the_schema_does_not_name_is_ignored_as_there(web):
    create(web, FLUX, {"prompt": "a", "unheard_of": 1})


def test_a_version_that_is_none_and_a_community_model_by_name_are_refused(vendors, web):
    answer = web.post("/v1/predictions", json={"input": FRAMES, "version": "latest"})
    assert (answer.status_code, answer.json()["title"]) == (422, "Invalid version or not permitted")
    assert "version does not exist" in answer.json()["detail"]
    named = web.post("/v1/models/stability-ai/stable-video-diffusion/predictions", json={"input": FRAMES})
    assert (named.status_code, named.json()["status"]) == (404, 404)


def test_the_token_is_demanded(vendors):
    answer = httpx.post(f"{vendors.url}{FLUX}", json={"input": {"prompt": "a"}})
    assert (answer.status_code, answer.json()["title"]) == (401, "Unauthenticated")
    assert set(answer.json()) == {"title", "detail", "status"}


def test_the_list_is_newest_first_in_pages_of_a_hundred(web, clock):
    made = []
    for n in range(205):
        made.append(create(web, LLAMA, {"prompt": "a", "seed": n})["id"])
        clock.advance(1)
    pages, url = [], "/v1/predictions"
    while url:
        pages.append(web.get(url).json())
        url = pages[-1]["next"]
    assert [len(page["results"]) for page in pages] == [100, 100, 5]
    listed = [each for page in pages for each in page["results"]]
    assert [each["id"] for each in listed] == made[::-1]
    assert web.get(pages[1]["previous"]).json()["results"] == pages[0]["results"]
    assert listed[0]["input"] == {"prompt": "a", "seed": 204}
    assert not {"logs", "webhook"} & set(listed[0])
    since = {"created_after": "2026-11-21T12:03:00.000000Z"}
    assert len(web.get("/v1/predictions", params=since).json()["results"]) == 25


def test_a_cancelled_prediction_ends_at_once_and_only_time_is_billed(vendors, web, clock):
    timed = create(web, "/v1/predictions", FRAMES, version=VERSION)
    counted = create(web, WAN, CLIP)
    clock.advance(3)
    for each in (timed, counted):
        assert web.post(f"/v1/predictions/{each['id']}/cancel").json()["status"] == "canceled"
    clock.advance(20)
    assert read(web, timed)["metrics"]["predict_time"] == 2
    assert read(web, timed)["output"] is None
    assert [each["billed"] for each in vendors.calls()] == [{"gpu_second": 2}, {}]
    assert web.post(f"/v1/predictions/{timed['id']}/cancel").json()["completed_at"] == "2026-11-21T12:00:03.000Z"


def test_what_was_cancelled_before_it_began_never_started(vendors, web, clock):
    made = create(web, "/v1/predictions", FRAMES, version=VERSION)
    web.post(f"/v1/predictions/{made['id']}/cancel")
    clock.advance(20)
    told = read(web, made)
    assert (told["status"], told["started_at"], told["metrics"]) == ("canceled", None, {"predict_time": 0})
    assert vendors.calls()[0]["billed"] == {"gpu_second": 0}


@pytest.mark.parametrize(
    "given, suffix",
    [
        ({"prompt": "a", "max_new_tokens": 50}, None),
        ({"prompt": "a", "duration": 1}, ".mp4"),
        ({"prompt": "a"}, ".png"),
    ],
)
def test_any_other_model_makes_what_its_input_suggests_and_is_billed_by_time(vendors, web, clock, given, suffix):
    made = create(web, "/v1/models/somebody/something-new/predictions", given)
    clock.advance(20)
    output = read(web, made)["output"]
    assert (suffix is None) == (isinstance(output, list) and not output[0].startswith("http"))
    assert suffix is None or (output if isinstance(output, str) else output[0]).endswith(suffix)
    assert list(vendors.calls()[0]["billed"]) == ["gpu_second"]


def test_a_deadline_cancels_what_still_runs(vendors, web, clock):
    answer = web.post("/v1/predictions", json={"input": FRAMES, "version": VERSION}, headers={"Cancel-After": "5s"})
    clock.advance(60)
    told = read(web, answer.json())
    assert (told["status"], told["metrics"]["predict_time"]) == ("canceled", 4)
    assert vendors.calls()[0]["billed"] == {"gpu_second": 4}
    bad = web.post("/v1/predictions", json={"input": FRAMES, "version": VERSION}, headers={"Cancel-After": "soon"})
    assert bad.status_code == 422


def test_input_output_and_files_are_gone_an_hour_after_the_end(web, clock):
    made = create(web, PRO, {"prompt": "a"})
    clock.advance(4)
    url = read(web, made)["output"]
    clock.advance(3599)
    assert download(url).status_code == 200
    clock.advance(1)
    told = read(web, made)
    assert (told["input"], told["output"], told["data_removed"], told["status"]) == ({}, None, True, "succeeded")
    assert download(url).status_code == 403


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("fault", ["blocked_prompt", "blocked_output", "filtered"])
def test_the_safety_filter_fails_a_prediction_and_nothing_is_billed(vendors, web, clock, fault):
    vendors.fail(fault, vendor="replicate")
    made = create(web, FLUX, {"prompt": "a"})
    clock.advance(20)
    told = read(web, made)
    assert (told["status"], told["output"]) == ("failed", None)
    assert "(E005)" in told["error"]
    assert [(each["state"], each["billed"]) for each in vendors.calls()] == [("blocked", {})]


@pytest.mark.parametrize("status, billed", [("failed", 8), ("canceled", 8), ("aborted", 0)])
def test_a_late_failure_takes_any_of_the_vendors_forms(vendors, web, clock, status, billed):
    vendors.fail("late_failure", vendor="replicate", status=status)
    made = create(web, "/v1/predictions", FRAMES, version=VERSION)
    clock.advance(20)
    told = read(web, made)
    assert told["status"] == status
    assert (told["error"] is not None) == (status == "failed")
    assert told["metrics"].get("predict_time", 0) == billed
    assert [(each["state"], each["billed"].get("gpu_second", 0)) for each in vendors.calls()] == [("failed", billed)]


def test_half_the_pictures_are_half_the_bill(vendors, web, clock):
    vendors.fail("partial", vendor="replicate")
    made = create(web, FLUX, {"prompt": "a", "num_outputs": 4})
    clock.advance(20)
    assert len(read(web, made)["output"]) == 2
    assert vendors.calls()[0]["billed"] == {"image": 2}


def test_a_refusing_language_model_says_so_in_words(vendors, web, clock):
    vendors.fail("refusal", vendor="replicate")
    made = create(web, LLAMA, {"prompt": "a"})
    clock.advance(20)
    told = read(web, made)
    assert "".join(told["output"]) == "I can't help with that."
    assert vendors.calls()[0]["billed"]["output_token"] == told["metrics"]["output_token_count"] == 6


def test_a_corrupt_picture_does_not_decode(vendors, web, clock):
    vendors.fail("corrupt", vendor="replicate")
    made = create(web, PRO, {"prompt": "a"})
    clock.advance(20)
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(download(read(web, made)["output"]).content))


@pytest.mark.parametrize(
    "fault, status, title",
    [
        ("rate_limited", 429, "Too many requests"),
        ("rate_limited_silent", 429, "Too many requests"),
        ("error_500", 500, "Internal server error"),
        ("unavailable", 503, "Service unavailable"),
        ("retired", 404, "Not found"),
    ],
)
def test_a_refused_create_is_not_accepted(vendors, web, fault, status, title):
    vendors.fail(fault, vendor="replicate")
    answer = web.post(FLUX, json={"input": {"prompt": "a"}})
    assert (answer.status_code, answer.json()["status"], answer.json()["title"]) == (status, status, title)
    assert vendors.calls() == []
    assert web.get("/v1/predictions").json()["results"] == []


def test_an_account_without_credit_is_answered_402(vendors):
    answer = api_of(vendors).error(Refused(402, "no credit"))
    assert answer.status == 402
    told = json.loads(answer.body)
    assert (told["title"], told["status"]) == ("Insufficient credit", 402)


def test_a_throttled_create_says_when_the_limit_resets(vendors, web):
    vendors.fail("rate_limited", vendor="replicate", retry_after_s=7)
    told = web.post(FLUX, json={"input": {"prompt": "a"}})
    assert told.json()["detail"] == "Request was throttled. Your rate limit resets in ~7s."
    assert told.headers["Retry-After"] == "7"
    vendors.fail("rate_limited_silent", vendor="replicate")
    told = web.post(FLUX, json={"input": {"prompt": "a"}})
    assert told.json()["detail"] == "Request was throttled. Your rate limit resets in ~30s."
    assert "Retry-After" not in told.headers


def test_a_create_whose_answer_is_lost_is_in_the_list(vendors, web, clock):
    vendors.fail("drop", vendor="replicate")
    with pytest.raises(httpx.RemoteProtocolError):
        web.post(PRO, json={"input": {"prompt": "a lost cat"}})
    (found,) = web.get("/v1/predictions").json()["results"]
    assert found["input"]["prompt"] == "a lost cat"
    clock.advance(20)
    assert vendors.calls()[0]["billed"] == {"image": 1}
    vendors.fail("unavailable", vendor="replicate", operation="list")
    assert web.get("/v1/predictions").status_code == 503


# ---------------------------------------------------------------- webhooks


def test_the_webhook_of_the_end_is_signed_over_its_raw_bytes(vendors, web, clock, hook):
    made = create(web, PRO, {"prompt": "a"}, webhook=hook, webhook_events_filter=["completed"])
    vendors.settle()
    assert received == []
    clock.advance(4)
    vendors.settle()
    ((headers, body),) = received
    assert json.loads(body) == read(web, made)
    assert json.loads(body)["status"] == "succeeded"
    assert headers["webhook-timestamp"] == str(int(clock.now().timestamp()))
    assert web.get("/v1/webhooks/default/secret").json() == {"key": WEBHOOK_SECRET}
    assert fits(WEBHOOK_SECRET, headers, body)
    assert not fits(WEBHOOK_SECRET, headers, json.dumps(json.loads(body), indent=1).encode())


def test_without_a_filter_every_event_is_sent(vendors, web, clock, hook):
    create(web, LLAMA, {"prompt": "a"}, webhook=hook)
    clock.advance(1)
    vendors.settle()
    assert [json.loads(body)["status"] for _, body in received] == ["processing"]
    clock.advance(1)
    vendors.settle()
    told = sorted((headers["webhook-id"].rpartition("_")[2], json.loads(body)["status"]) for headers, body in received)
    expected = [("completed", "succeeded"), ("logs", "processing"), ("output", "processing"), ("start", "processing")]
    assert told == expected


def test_a_failed_or_cancelled_prediction_completes_too(vendors, web, clock, hook):
    vendors.fail("late_failure", vendor="replicate")
    create(web, PRO, {"prompt": "a"}, webhook=hook, webhook_events_filter=["completed"])
    cancelled = create(web, PRO, {"prompt": "b"}, webhook=hook, webhook_events_filter=["completed"])
    web.post(f"/v1/predictions/{cancelled['id']}/cancel")
    vendors.settle()
    clock.advance(20)
    vendors.settle()
    assert [json.loads(body)["status"] for _, body in received] == ["canceled", "failed"]


def test_a_duplicate_has_the_same_id_and_body(vendors, web, clock, hook):
    vendors.fail("webhook_duplicate", vendor="replicate")
    create(web, PRO, {"prompt": "a"}, webhook=hook, webhook_events_filter=["completed"])
    clock.advance(20)
    vendors.settle()
    assert len(received) == 2
    assert received[0][0]["webhook-id"] == received[1][0]["webhook-id"]
    assert received[0][1] == received[1][1]


def test_a_late_webhook_comes_later_and_is_signed_then(vendors, web, clock, hook):
    vendors.fail("webhook_late", vendor="replicate", webhook_late_s=100)
    made = create(web, PRO, {"prompt": "a"}, webhook=hook, webhook_events_filter=["completed"])
    clock.advance(50)
    vendors.settle()
    assert read(web, made)["status"] == "succeeded"
    assert received == []
    clock.advance(60)
    vendors.settle()
    ((headers, body),) = received
    assert fits(WEBHOOK_SECRET, headers, body)


def test_a_forged_webhook_fits_no_secret_of_ours(vendors, web, clock, hook):
    vendors.fail("webhook_forged", vendor="replicate")
    create(web, PRO, {"prompt": "a"}, webhook=hook, webhook_events_filter=["completed"])
    clock.advance(20)
    vendors.settle()
    ((headers, body),) = received
    assert headers["webhook-signature"].startswith("v1,")
    assert not fits(WEBHOOK_SECRET, headers, body)


def test_a_lost_webhook_never_comes_and_the_prediction_ends_all_the_same(vendors, web, clock, hook):
    vendors.fail("webhook_lost", vendor="replicate")
    made = create(web, PRO, {"prompt": "a"}, webhook=hook)
    clock.advance(3600)
    vendors.settle()
    assert (received, read(web, made)["status"]) == ([], "succeeded")
    assert vendors.calls()[0]["state"] == "delivered"


def test_while_secrets_change_both_sign(vendors, web, clock, hook):
    newer = "whsec_" + base64.b64encode(b"a newer secret").decode()
    api_of(vendors).webhooks.rotate(newer)
    create(web, PRO, {"prompt": "a"}, webhook=hook, webhook_events_filter=["completed"])
    clock.advance(20)
    vendors.settle()
    ((headers, body),) = received
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert fits(newer, headers, body)
    assert fits(WEBHOOK_SECRET, headers, body)
    assert web.get("/v1/webhooks/default/secret").json() == {"key": newer}


def test_an_end_that_is_not_taken_is_sent_again(vendors, web, clock, hook):
    statuses.extend([500, 503])
    create(web, PRO, {"prompt": "a"}, webhook=hook, webhook_events_filter=["completed"])
    for _ in range(4):
        clock.advance(30)
        vendors.settle()
    assert len(received) == 3
    assert len({headers["webhook-id"] for headers, _ in received}) == 1
    assert [each.status for each in api_of(vendors).webhooks.deliveries] == [500, 503, 200]


def test_a_receiver_that_is_away_does_no_harm(vendors, web, clock):
    made = create(web, PRO, {"prompt": "a"}, webhook="http://127.0.0.1:9/hook", webhook_events_filter=["completed"])
    clock.advance(20)
    vendors.settle()
    assert read(web, made)["status"] == "succeeded"
    assert [each.status for each in api_of(vendors).webhooks.deliveries] == [None]
