"""What the Runway simulator promises to any client of Runway's API."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import av
import httpx
import pytest
from PIL import Image

from shared.clock import ManualClock
from shared.simulators.vendor_http import Refused
from shared.simulators.vendor_media import image, video
from shared.simulators.vendors import Vendors

HEADERS = {"Authorization": "Bearer key_1", "X-Runway-Version": "2024-11-06"}
PICTURE = "https://example.com/first.png"
TURBO = {"model": "gen4_turbo", "promptImage": PICTURE, "ratio": "1280:720", "duration": 2, "promptText": "a cat"}
STILL = {"model": "gen4_image", "promptText": "a cat", "ratio": "1280:720"}
VEO = {"model": "veo3.1_fast", "promptText": "a cat", "ratio": "1280:720", "duration": 4}
OMNI = {"model": "gemini_omni_flash", "promptText": "a cat", "duration": 3}


@pytest.fixture
def web(vendors: Vendors) -> Iterator[httpx.Client]:
    with client_of(vendors) as client:
        yield client


def client_of(vendors: Vendors) -> httpx.Client:
    return httpx.Client(base_url=vendors.url, headers=HEADERS, timeout=20)


def create(web: httpx.Client, call: str = "image_to_video", body: Any = TURBO) -> str:
    answer = web.post(f"/v1/{call}", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def ended(web: httpx.Client, clock: ManualClock, task: str) -> dict[str, Any]:
    clock.advance(60)
    return dict(web.get(f"/v1/tasks/{task}").json())


def issue_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 400
    told = answer.json()
    assert told["error"] == "Validation of body failed"
    assert told["docUrl"] == "https://docs.dev.runwayml.com/api"
    return dict(told["issues"][0])


def download(url: str) -> httpx.Response:
    return httpx.get(url, timeout=60)  # the first one of a form is rendered now


def data_uri(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def test_a_task_goes_from_pending_over_running_to_a_clip_of_the_asked_form(vendors, web, clock):
    answer = web.post("/v1/image_to_video", json={**TURBO, "ratio": "832:1104"})
    assert answer.json()["estimatedCost"] == {"credits": 10}
    path = f"/v1/tasks/{answer.json()['id']}"
    waiting = web.get(path).json()
    assert waiting["status"] in {"PENDING", "THROTTLED"}
    assert waiting["createdAt"] == "2026-11-21T12:00:00.000Z"
    assert waiting["estimatedCost"] == {"credits": 10}
    clock.advance(6)
    running = web.get(path).json()
    assert running["status"] == "RUNNING"
    assert 0 < running["progress"] < 1
    clock.advance(6)
    done = web.get(path).json()
    assert done["status"] == "SUCCEEDED"
    assert done["cost"] == {"credits": 10}
    assert "estimatedCost" not in done
    with av.open(io.BytesIO(download(done["output"][0]).content)) as clip:
        stream = clip.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (832, 1104, 24)
        assert clip.duration == 2 * 1_000_000
        assert not clip.streams.audio


def test_one_kind_of_request_in_four_is_throttled_and_always_the_same(vendors, web, clock):
    def found() -> list[str]:
        ids = [create(web, "text_to_image", {**STILL, "seed": n}) for n in range(24)]
        return [web.get(f"/v1/tasks/{task}").json()["status"] for task in ids]

    first = found()
    assert set(first) == {"PENDING", "THROTTLED"}
    assert found() == first


def test_a_picture_has_the_size_that_was_asked_for(vendors, web, clock):
    done = ended(web, clock, create(web, "text_to_image", {**STILL, "ratio": "1168:880"}))
    with Image.open(io.BytesIO(download(done["output"][0]).content)) as picture:
        assert (picture.format, picture.size) == ("PNG", (1168, 880))


@pytest.mark.parametrize(
    "call, body, price",
    [
        ("image_to_video", {**TURBO, "duration": 10}, 50),
        ("text_to_video", {"model": "gen4.5", "promptText": "a", "ratio": "720:1280", "duration": 5}, 60),
        ("image_to_video", {**TURBO, "model": "gen4.5", "ratio": "960:960", "duration": 2}, 24),
        ("text_to_video", {**VEO, "audio": True}, 60),
        ("text_to_video", {**VEO, "audio": False}, 40),
        ("text_to_video", {**VEO, "model": "veo3.1", "audio": True, "ratio": "1920:1080"}, 160),
        ("text_to_video", {**VEO, "model": "veo3.1", "audio": False, "duration": 8}, 160),
        ("text_to_video", OMNI, 30),
        ("text_to_image", STILL, 5),
        ("text_to_image", {**STILL, "ratio": "1920:1080"}, 8),
        ("text_to_image", {**STILL, "model": "gen4_image_turbo", "referenceImages": [{"uri": PICTURE}]}, 2),
        ("video_to_video", {"model": "aleph2", "videoUri": "https://example.com/a.mp4"}, 140),
        (
            "video_to_video",
            {"model": "aleph2", "videoUri": data_uri(video(320, 180, 24, 1, "in", audio=False), "video/mp4")},
            56,
        ),
        (
            "character_performance",
            {
                "model": "act_two",
                "character": {"type": "image", "uri": PICTURE},
                "reference": {"type": "video", "uri": "https://example.com/a.mp4"},
            },
            25,
        ),
    ],
)
def test_every_model_costs_its_credits(vendors, web, clock, call, body, price):
    answer = web.post(f"/v1/{call}", json=body)
    assert answer.json()["estimatedCost"] == {"credits": price}
    clock.advance(60)
    (entry,) = vendors.calls()
    assert (entry["vendor"], entry["operation"], entry["model"]) == ("runway", call, body["model"])
    assert (entry["billed"], entry["state"]) == ({"credit": price}, "delivered")


def test_a_clip_with_sound_has_an_audio_track(vendors, web, clock):
    done = ended(web, clock, create(web, "text_to_video", OMNI))
    with av.open(io.BytesIO(download(done["output"][0]).content)) as clip:
        assert len(clip.streams.audio) == 1


@pytest.mark.parametrize(
    "call, change, path",
    [
        ("image_to_video", {"model": "gen3a_turbo"}, ["model"]),
        ("text_to_video", {}, ["model"]),  # gen4_turbo needs an image
        ("image_to_video", {"ratio": "16:9"}, ["ratio"]),
        ("image_to_video", {"ratio": None}, ["ratio"]),
        ("image_to_video", {"duration": 11}, ["duration"]),
        ("image_to_video", {"duration": 5.0}, ["duration"]),
        ("image_to_video", {"duration": True}, ["duration"]),
        ("image_to_video", {"promptText": ""}, ["promptText"]),
        ("image_to_video", {"promptText": "😀" * 501}, ["promptText"]),
        ("image_to_video", {"seed": -1}, ["seed"]),
        ("image_to_video", {"prompt_text": "a cat"}, ["prompt_text"]),
        ("image_to_video", {"promptImage": "http://example.com/a.png"}, ["promptImage"]),
        ("image_to_video", {"promptImage": "https://10.0.0.1/a.png"}, ["promptImage"]),
        ("image_to_video", {"promptImage": "data:image/gif;base64,AAAA"}, ["promptImage"]),
        ("image_to_video", {"promptImage": "data:image/png;base64,AAA"}, ["promptImage"]),
        ("image_to_video", {"promptImage": f"data:image/png;base64,{'A' * 5_242_880}"}, ["promptImage"]),
        ("image_to_video", {"promptImage": [{"uri": PICTURE, "position": "last"}]}, ["promptImage"]),
        ("image_to_video", {"contentModeration": {"publicFigureThreshold": "high"}}, None),
    ],
)
def test_a_malformed_create_is_refused_and_says_where(refusing, call, change, path):
    issue = issue_of(httpx.post(refusing.url + f"/v1/{call}", json={**TURBO, **change}, headers=HEADERS))
    assert issue["path"] == (path or ["contentModeration", "publicFigureThreshold"])
    assert issue["message"]
    assert refusing.calls() == []


def test_a_last_frame_alone_or_a_position_twice_is_refused(web):
    first, last = ({"uri": PICTURE, "position": each} for each in ("first", "last"))
    for frames in ([last], [first, first], [first, last, last], []):
        assert issue_of(web.post("/v1/image_to_video", json={**VEO, "promptImage": frames}))["path"] == ["promptImage"]


def test_a_missing_field_is_named(vendors, web):
    issue = issue_of(web.post("/v1/image_to_video", json={"model": "gen4_turbo", "ratio": "1280:720"}))
    assert issue["path"] == ["promptImage"]


def test_what_the_sdk_types_allow_is_accepted(vendors, web):
    two = [{"uri": PICTURE, "position": "first"}, {"uri": PICTURE, "position": "last"}]
    create(web, body={**VEO, "promptImage": two, "negativePrompt": "dogs", "seed": 1, "audio": False})
    create(web, body={**TURBO, "promptImage": data_uri(image(64, 64, "image/png", "x"), "image/png")})
    create(web, body={**TURBO, "promptImage": "runway://upload", "promptText": "😀" * 500})
    create(web, body={**TURBO, "contentModeration": {"publicFigureThreshold": "low"}, "seed": 2**32 - 1})
    assert len(vendors.calls()) == 4


def test_the_key_and_the_version_are_demanded(vendors, web):
    for missing, status in (("Authorization", 401), ("X-Runway-Version", 400)):
        headers = {name: value for name, value in HEADERS.items() if name != missing}
        answer = httpx.post(f"{vendors.url}/v1/text_to_image", json=STILL, headers=headers)
        assert (answer.status_code, list(answer.json())) == (status, ["error", "docUrl"])
    assert web.post("/v1/text_to_image", json=STILL, headers={"X-Runway-Version": "2020-01-01"}).status_code == 400
    assert vendors.calls() == []


def test_what_is_not_there_is_answered_404_and_a_wrong_method_405(vendors, web):
    assert web.get("/v1/tasks/unknown").status_code == 404
    assert web.get("/v1/tasks").status_code == 404  # Runway has no list of tasks
    assert web.get("/v1/text_to_image").status_code == 405
    assert web.post("/v1/text_to_image", content=b"[]").status_code == 400


def test_an_output_url_expires_after_a_day_and_asking_again_gives_a_fresh_one(vendors, web, clock):
    task = create(web, "text_to_image", STILL)
    url = ended(web, clock, task)["output"][0]
    clock.advance(24 * 3600 - 1)
    assert download(url).status_code == 200
    clock.advance(1)
    assert download(url).status_code == 403
    assert download(web.get(f"/v1/tasks/{task}").json()["output"][0]).status_code == 200


@pytest.mark.parametrize("after_s, charged", [(0, 0), (6, 10)])
def test_a_cancelled_task_is_charged_once_it_runs(vendors, web, clock, after_s, charged):
    task = create(web)
    clock.advance(after_s)
    assert web.delete(f"/v1/tasks/{task}").status_code == 204
    told = ended(web, clock, task)
    assert (told["status"], told["cost"]) == ("CANCELLED", {"credits": charged})
    assert "output" not in told
    (entry,) = vendors.calls()
    assert (entry["state"], entry["billed"].get("credit", 0)) == ("failed", charged)


def test_a_deleted_task_is_gone_and_stays_charged(vendors, web, clock):
    task = create(web, "text_to_image", STILL)
    ended(web, clock, task)
    assert web.delete(f"/v1/tasks/{task}").status_code == 204
    assert web.get(f"/v1/tasks/{task}").status_code == 404
    assert vendors.calls()[0]["billed"] == {"credit": 5}


@pytest.mark.parametrize(
    "fault, code, price, state",
    [
        ("blocked_prompt", "SAFETY.INPUT.TEXT", 0, "blocked"),
        ("blocked_output", "SAFETY.OUTPUT.VIDEO", 10, "blocked"),
        ("filtered", "INTERNAL.BAD_OUTPUT.CODE01", 0, "failed"),
        ("late_failure", "INTERNAL", 0, "failed"),
    ],
)
def test_a_task_that_fails_says_why_and_what_it_cost(vendors, web, clock, fault, code, price, state):
    vendors.fail(fault, vendor="runway")
    told = ended(web, clock, create(web))
    assert (told["status"], told["failureCode"], told["cost"]) == ("FAILED", code, {"credits": price})
    assert told["failure"]
    assert "output" not in told
    (entry,) = vendors.calls()
    assert (entry["state"], entry["billed"].get("credit", 0), entry["fault"]) == (state, price, fault)


@pytest.mark.parametrize(
    "fault, status", [("rate_limited", 429), ("rate_limited_silent", 429), ("error_500", 500), ("unavailable", 503)]
)
def test_a_refused_create_is_not_accepted(vendors, web, fault, status):
    vendors.fail(fault, vendor="runway")
    answer = web.post("/v1/image_to_video", json=TURBO)
    assert (answer.status_code, list(answer.json())) == (status, ["error", "docUrl"])
    assert ("Retry-After" in answer.headers) == (fault == "rate_limited")
    assert vendors.calls() == []


def test_an_account_without_credits_is_told_so_in_a_400(vendors):
    api = next(each for each in vendors._apis if each.name == "runway")
    answer = api.error(Refused(402, "no credit"))
    assert answer.status == 400
    assert json.loads(answer.body)["error"] == "You do not have enough credits to run this task."


def test_a_create_whose_answer_is_lost_was_accepted_and_is_billed(vendors, web, clock):
    vendors.fail("gateway", vendor="runway")
    assert web.post("/v1/image_to_video", json=TURBO).status_code == 504
    vendors.fail("drop", vendor="runway")
    with pytest.raises(httpx.RemoteProtocolError):
        web.post("/v1/image_to_video", json=TURBO)
    vendors.fail("hang", vendor="runway")
    with pytest.raises(httpx.ReadTimeout):
        web.post("/v1/image_to_video", json=TURBO, timeout=0.3)
    clock.advance(60)
    assert [each["billed"] for each in vendors.calls()] == [{"credit": 10}] * 3


def test_a_corrupt_file_is_served_but_does_not_decode(vendors, web, clock):
    vendors.fail("corrupt", vendor="runway")
    done = ended(web, clock, create(web, "text_to_image", STILL))
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(download(done["output"][0]).content))


def test_a_poll_fails_only_when_that_is_asked_for(vendors, web):
    task = create(web)
    vendors.fail("unavailable", vendor="runway", operation="tasks")
    assert web.get(f"/v1/tasks/{task}").status_code == 503
    assert web.get(f"/v1/tasks/{task}").status_code == 200


def test_a_retired_model_is_gone(clock):
    with Vendors(clock=clock, faults={"retired_models": ["gen4_turbo"]}) as vendors, client_of(vendors) as web:
        assert web.post("/v1/image_to_video", json=TURBO).status_code == 404
        assert web.post("/v1/text_to_image", json=STILL).status_code == 200


def test_a_quota_refuses_what_is_above_it_until_the_next_minute(clock):
    with Vendors(clock=clock, faults={"rpm": 2}) as vendors, client_of(vendors) as web:
        assert [web.post("/v1/text_to_image", json=STILL).status_code for _ in range(3)] == [200, 200, 429]
        clock.advance(60)
        assert web.post("/v1/text_to_image", json=STILL).status_code == 200


def test_the_same_seed_gives_the_same_faults():
    def found(seed: int) -> list[int]:
        faults = {"seed": seed, "unavailable": 0.2, "error_500": 0.2}
        with Vendors(clock=ManualClock(), faults=faults) as vendors, client_of(vendors) as web:
            bodies = [{**STILL, "seed": n} for n in range(20)]
            return [web.post("/v1/text_to_image", json=body).status_code for body in bodies]

    assert found(1) == found(1)
    assert found(1) != found(2)
    assert set(found(1)) == {200, 500, 503}
