from __future__ import annotations

import base64
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.filesystem import FilesystemBlobStore
from shared.domain.catalogue import Model, parse_catalogue
from shared.domain.dimensions import image_pixels, video_pixels
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
from shared.ports import Call, Done, Pending
from shared.providers.http import CHUNK
from shared.providers.runway import MAX_INLINE_BYTES, TAKES, RunwayProvider
from tests.providers.recorded_vendor import Reply, Vendor, recorded

FILE = Path(__file__).parents[2] / "shared" / "catalogue.toml"
SHIPPED = parse_catalogue(tomllib.loads(FILE.read_text("utf-8")))
PROMPT = "a lighthouse painted by three clumsy otters"
SECRET = "key_" + "0123456789abcdef" * 4
TASK = "17f20503-6c24-4c16-946b-35dbbce2af2f"
HANDLE = {"task": TASK, "kind": "video"}
CREATED = Reply(200, {"id": TASK, "estimatedCost": {"credits": 25}})
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
DATA_URI = "data:image/png;base64," + base64.b64encode(PNG).decode()


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with recorded() as server:
        server.answers(CREATED)
        yield server


@pytest.fixture
def blobs(tmp_path: Path) -> FilesystemBlobStore:
    store = FilesystemBlobStore(tmp_path)
    store.create("gs://inbox/a.png", PNG, "image/png")
    return store


@pytest.fixture
def runway(vendor: Vendor, blobs: FilesystemBlobStore) -> Iterator[RunwayProvider]:
    provider = RunwayProvider(SECRET, blobs, base_url=vendor.url)
    yield provider
    provider.close()


def row(model: str) -> Model:
    return next(each for each in SHIPPED.by_name.values() if each.provider == "runway" and each.vendor_model == model)


def call(model: str, kind: str, **params: Any) -> Call:
    return Call(
        key="job-1",
        job_id="job",
        attempt=1,
        kind=kind,
        model=model,
        row=row(model),
        params={"prompt": PROMPT, "seed": 7, "style": None, **params},
        output_prefix="file:///outputs/jobs/job/1/",
        timeout_s=5.0,
    )


def image(model: str = "gen4_image", aspect: str = "16:9", **params: Any) -> Call:
    width, height = image_pixels(aspect, "1K")
    return call(model, "image", width=width, height=height, aspect_ratio=aspect, size="1K", count=1, **params)


def clip(model: str = "gen4.5", resolution: str = "720p", aspect: str = "16:9", **params: Any) -> Call:
    width, height = video_pixels(aspect, resolution)
    given = {"resolution": resolution, "duration_s": 8, "fps": 24, "audio": False, **params}
    return call(model, "video", width=width, height=height, aspect_ratio=aspect, **given)


# ---------------------------------------------------------------- what is asked


def test_a_task_is_created_with_the_headers_of_the_api(runway: RunwayProvider, vendor: Vendor) -> None:
    assert runway.start(clip()) == Pending({"task": TASK, "kind": "video"}, 5.0)
    headers = vendor.last.headers
    assert (headers["authorization"], headers["x-runway-version"]) == (f"Bearer {SECRET}", "2024-11-06")
    assert headers["content-type"] == "application/json"


def test_an_image_is_asked_for(runway: RunwayProvider, vendor: Vendor) -> None:
    runway.start(image())
    assert (vendor.last.method, vendor.last.path) == ("POST", "/v1/text_to_image")
    assert vendor.last.body == {"model": "gen4_image", "promptText": PROMPT, "ratio": "1360:768", "seed": 7}


def test_reference_pictures_go_along_by_their_data(runway: RunwayProvider, vendor: Vendor) -> None:
    runway.start(image("gen4_image_turbo", "1:1", reference_images=["gs://inbox/a.png", "gs://inbox/a.png"]))
    assert vendor.last.body["referenceImages"] == [{"uri": DATA_URI}, {"uri": DATA_URI}]


def test_a_clip_is_asked_for_from_words_alone(runway: RunwayProvider, vendor: Vendor) -> None:
    runway.start(clip(negative_prompt="no rain"))
    assert (vendor.last.method, vendor.last.path) == ("POST", "/v1/text_to_video")
    expected = {"model": "gen4.5", "promptText": PROMPT, "ratio": "1280:720", "seed": 7, "duration": 8}
    assert vendor.last.body == expected


def test_a_clip_that_begins_with_a_picture(runway: RunwayProvider, vendor: Vendor) -> None:
    runway.start(clip("gen4_turbo", aspect="9:16", image="gs://inbox/a.png"))
    assert vendor.last.path == "/v1/image_to_video"
    assert vendor.last.body == {
        "model": "gen4_turbo",
        "promptText": PROMPT,
        "ratio": "720:1280",
        "seed": 7,
        "duration": 8,
        "promptImage": DATA_URI,
    }


def test_a_clip_between_two_pictures(runway: RunwayProvider, vendor: Vendor) -> None:
    runway.start(clip("veo3.1", image="gs://inbox/a.png", last_frame="gs://inbox/a.png"))
    frames = [{"uri": DATA_URI, "position": "first"}, {"uri": DATA_URI, "position": "last"}]
    assert vendor.last.body["promptImage"] == frames


def test_a_last_frame_alone_is_refused_before_anything_is_sent(runway: RunwayProvider, vendor: Vendor) -> None:
    with pytest.raises(InvalidCall):
        runway.start(clip("veo3.1", last_frame="gs://inbox/a.png"))
    assert vendor.sent == []


@pytest.mark.parametrize("audio", [True, False])
def test_veo_takes_sound_and_what_should_not_be_seen(runway: RunwayProvider, vendor: Vendor, audio: bool) -> None:
    runway.start(clip("veo3.1_fast", "1080p", audio=audio, negative_prompt="no rain"))
    assert vendor.last.body == {
        "model": "veo3.1_fast",
        "promptText": PROMPT,
        "ratio": "1920:1080",
        "seed": 7,
        "audio": audio,
        "negativePrompt": "no rain",
        "duration": 8,
    }


def test_omni_takes_neither_seed_nor_sound(runway: RunwayProvider, vendor: Vendor) -> None:
    runway.start(clip("gemini_omni_flash", audio=True))
    assert vendor.last.body == {
        "model": "gemini_omni_flash",
        "promptText": PROMPT,
        "ratio": "1280:720",
        "duration": 8,
    }


@pytest.mark.parametrize(
    ("wanted", "ratio"),
    [
        (image(aspect="1:1"), "1024:1024"),
        (image(aspect="4:3"), "1168:880"),
        (clip(aspect="9:16"), "720:1280"),
        (clip("veo3.1", "1080p", "9:16"), "1080:1920"),
        (clip("gemini_omni_flash_1.1", "4k"), "3840:2160"),
    ],
)
def test_the_ratio_is_the_pixels_asked_for(runway: RunwayProvider, vendor: Vendor, wanted: Call, ratio: str) -> None:
    runway.start(wanted)
    assert vendor.last.body["ratio"] == ratio


@pytest.mark.parametrize("wanted", [image(aspect="9:16"), clip(resolution="1080p"), clip("veo3.1", "4k")])
def test_pixels_that_the_model_does_not_make_are_refused_before_anything_is_paid(
    runway: RunwayProvider, vendor: Vendor, wanted: Call
) -> None:
    with pytest.raises(InvalidCall, match="makes no"):
        runway.start(wanted)
    assert vendor.sent == []


def test_what_the_catalogue_offers_is_made_in_the_pixels_asked_for() -> None:
    rows = [each for each in SHIPPED.models if each.provider == "runway" and each.vendor_model in TAKES]
    assert {each.vendor_model for each in rows} == set(TAKES)
    for each in rows:
        kinds = {("image", size) for size in each.sizes} | {("video", name) for name in each.resolutions}
        for kind, size in kinds:
            for aspect in each.aspect_ratios:
                width, height = image_pixels(aspect, size) if kind == "image" else video_pixels(aspect, size)
                assert f"{width}:{height}" in TAKES[each.vendor_model].ratios


def test_a_model_of_the_users_own_row_is_sent_what_all_take(runway: RunwayProvider, vendor: Vendor) -> None:
    own = parse_catalogue({"model": [{"id": "seedance2", "provider": "runway", "kinds": ["video"]}]})
    wanted = replace(clip(), model="seedance2", row=own.by_name["seedance2"])
    runway.start(wanted)
    assert vendor.last.body == {"model": "seedance2", "promptText": PROMPT, "ratio": "1280:720", "duration": 8}


def test_a_prompt_is_measured_in_utf_16(runway: RunwayProvider, vendor: Vendor) -> None:
    runway.start(clip(prompt="🦦" * 500))
    with pytest.raises(InvalidCall, match="1001 UTF-16 units"):
        runway.start(clip(prompt="🦦" * 500 + "!"))
    assert len(vendor.sent) == 1


def test_texts_are_not_made_here(runway: RunwayProvider, vendor: Vendor) -> None:
    with pytest.raises(InvalidCall, match="no text"):
        runway.start(call("gen4.5", "text"))
    assert vendor.sent == []


def test_the_largest_picture_still_fits_into_a_data_uri(
    runway: RunwayProvider, vendor: Vendor, blobs: FilesystemBlobStore
) -> None:
    blobs.create("gs://inbox/most.jpeg", b"\xff\xd8\xff" + bytes(MAX_INLINE_BYTES - 3), "image/jpeg")
    runway.start(clip(image="gs://inbox/most.jpeg"))
    assert 5 * 2**20 - 100 < len(vendor.last.body["promptImage"]) < 5 * 2**20


def test_a_picture_too_large_is_refused(runway: RunwayProvider, vendor: Vendor, blobs: FilesystemBlobStore) -> None:
    blobs.create("gs://inbox/more.jpeg", b"\xff\xd8\xff" + bytes(MAX_INLINE_BYTES - 2), "image/jpeg")
    with pytest.raises(InvalidCall, match="larger than"):
        runway.start(clip(image="gs://inbox/more.jpeg"))
    assert vendor.sent == []


# ---------------------------------------------------------------- how a create fails


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (Reply(400, {"error": "Validation of body failed"}), InvalidCall),
        (Reply(400, {"error": "You do not have enough credits to run this task."}), AccountRefused),
        (Reply(401, {"error": "bad key"}), AccountRefused),
        (Reply(404), ModelGone),
        (Reply(429, {"error": "You have reached your daily limit"}), RateLimited),
        (Reply(500), Unavailable),
        (Reply(502), Ambiguous),
        (Reply(503), Unavailable),
        (Reply(504), Ambiguous),
        (Reply(then="drop"), Ambiguous),
        (Reply(then="hang"), Ambiguous),
        (Reply(200, b"<html>"), Ambiguous),
        (Reply(200, {}), Ambiguous),
        (Reply(200, {"id": ""}), Ambiguous),
        (Reply(200, {"id": 4}), Ambiguous),
    ],
)
def test_a_create_that_fails_is_sent_once(
    runway: RunwayProvider, vendor: Vendor, reply: Reply, fault: type[ProviderFault]
) -> None:
    vendor.answers(reply)
    with pytest.raises(ProviderFault) as raised:
        runway.start(replace(clip(), timeout_s=0.3))
    assert type(raised.value) is fault
    assert len(vendor.sent) == 1


def test_the_wait_of_a_full_day_is_passed_on(runway: RunwayProvider, vendor: Vendor) -> None:
    vendor.answers(Reply(429, {}, {"Retry-After": "3600"}))
    with pytest.raises(RateLimited) as raised:
        runway.start(clip())
    assert raised.value.retry_after_s == 3600


@pytest.mark.parametrize("echo", [PROMPT, "no rain on the sea", SECRET, DATA_URI])
def test_neither_prompt_nor_key_nor_picture_comes_back_in_a_message(
    runway: RunwayProvider, vendor: Vendor, echo: str
) -> None:
    vendor.answers(Reply(400, {"error": f"refused: {echo}"}))
    with pytest.raises(InvalidCall) as raised:
        runway.start(clip("veo3.1", image="gs://inbox/a.png", negative_prompt="no rain on the sea"))
    assert echo not in str(raised.value)


# ---------------------------------------------------------------- asking after a task


@pytest.mark.parametrize("status", ["PENDING", "THROTTLED", "RUNNING", "DREAMING", None])
def test_a_task_that_has_not_ended_is_asked_after_again(
    runway: RunwayProvider, vendor: Vendor, status: str | None
) -> None:
    vendor.answers(Reply(200, {"id": TASK, "status": status}))
    assert runway.poll(HANDLE) == Pending(HANDLE, 5.0)
    assert (vendor.last.method, vendor.last.path) == ("GET", f"/v1/tasks/{TASK}")


@pytest.mark.parametrize(("progress", "expected"), [(0.4, 0.4), (1, 1.0), (7, 1.0), ("half", None), (True, None)])
def test_progress_is_told(runway: RunwayProvider, vendor: Vendor, progress: Any, expected: float | None) -> None:
    vendor.answers(Reply(200, {"id": TASK, "status": "RUNNING", "progress": progress}))
    assert runway.poll(HANDLE) == Pending(HANDLE, 5.0, expected)


@pytest.mark.parametrize(
    ("reply", "wait_s"),
    [
        (Reply(429, {}, {"Retry-After": "40"}), 40.0),
        (Reply(429, {}, {"Retry-After": "1"}), 5.0),
        (Reply(500), 10.0),
        (Reply(503), 10.0),
        (Reply(then="drop"), 10.0),
        (Reply(200, b"<html>"), 10.0),
        (Reply(301), 60.0),
        (Reply(400), 60.0),
        (Reply(401), 60.0),
        (Reply(402), 60.0),
        (Reply(403), 60.0),
        (Reply(405), 60.0),
        (Reply(422), 60.0),
    ],
)
def test_a_task_that_cannot_be_asked_after_now_is_still_running(
    runway: RunwayProvider, vendor: Vendor, reply: Reply, wait_s: float
) -> None:
    vendor.answers(reply)
    assert runway.poll(HANDLE) == Pending(HANDLE, wait_s)


@pytest.mark.parametrize("status", [404, 410])
def test_a_task_that_is_not_known_any_more_may_have_been_charged(
    runway: RunwayProvider, vendor: Vendor, status: int
) -> None:
    vendor.answers(Reply(status))
    with pytest.raises(Ambiguous):
        runway.poll(HANDLE)


def test_a_finished_clip_is_streamed_without_our_key_and_its_credits_are_reported(
    runway: RunwayProvider, vendor: Vendor
) -> None:
    url, data = f"{vendor.url}/files/clip.mp4?_jwt=hidden", bytes(CHUNK * 2 + 5)
    done = {"id": TASK, "status": "SUCCEEDED", "output": [url], "cost": {"credits": 96}}
    vendor.answers(Reply(200, done), Reply(200, data))
    outcome = runway.poll(HANDLE)
    assert isinstance(outcome, Done)
    assert (outcome.usage, outcome.finish) == ({"credit": 96}, "stop")
    (asset,) = outcome.assets
    assert asset.media_type == "video/mp4"
    assert asset.chunks is not None
    for _ in range(2):  # from its beginning each time
        chunks = list(asset.chunks())
        assert b"".join(chunks) == data
        assert max(map(len, chunks)) <= CHUNK
    assert "authorization" not in vendor.last.headers
    assert "x-runway-version" not in vendor.last.headers


def test_a_file_that_expired_is_had_again_by_asking_after_the_task(runway: RunwayProvider, vendor: Vendor) -> None:
    old, fresh = ({"status": "SUCCEEDED", "output": [f"{vendor.url}/{name}.mp4"]} for name in ("old", "fresh"))
    vendor.answers(Reply(200, old), Reply(403), Reply(200, fresh), Reply(200, b"clip"))
    first = runway.poll(HANDLE)
    assert isinstance(first, Done)
    assert first.assets[0].chunks is not None
    with pytest.raises(InvalidCall, match="not there any more"):
        list(first.assets[0].chunks())
    second = runway.poll(HANDLE)
    assert isinstance(second, Done)
    assert second.assets[0].chunks is not None
    assert b"".join(second.assets[0].chunks()) == b"clip"
    assert vendor.last.path == "/fresh.mp4"


@pytest.mark.parametrize(
    ("kind", "name", "media_type"),
    [
        ("image", "a.png?x=1.mp4", "image/png"),
        ("image", "a.JPG", "image/jpeg"),
        ("image", "a.webp", "image/webp"),
        ("image", "a", "image/png"),
        ("video", "a.mp4", "video/mp4"),
        ("video", "a.webm", "video/webm"),
        ("video", "a", "video/mp4"),
    ],
)
def test_the_type_of_a_file_is_that_of_its_ending_or_the_usual_one(
    runway: RunwayProvider, vendor: Vendor, kind: str, name: str, media_type: str
) -> None:
    vendor.answers(Reply(200, {"status": "SUCCEEDED", "output": [f"https://files.example/{name}"]}))
    outcome = runway.poll({"task": TASK, "kind": kind})
    assert isinstance(outcome, Done)
    assert outcome.assets[0].media_type == media_type


@pytest.mark.parametrize(
    ("cost", "usage"),
    [
        ({"credits": 0}, {"credit": 0}),
        ({"credits": 12.0}, {"credit": 12}),
        ({"credits": 12.2}, {"credit": 13}),
        ({"credits": "12"}, {}),
        ({"credits": -1}, {}),
        ({"credits": True}, {}),
        ({}, {}),
        (None, {}),
    ],
)
def test_only_credits_that_are_numbers_are_reported(
    runway: RunwayProvider, vendor: Vendor, cost: Any, usage: dict[str, int]
) -> None:
    vendor.answers(Reply(200, {"status": "SUCCEEDED", "output": ["https://files.example/a.mp4"], "cost": cost}))
    outcome = runway.poll(HANDLE)
    assert isinstance(outcome, Done)
    assert outcome.usage == usage


@pytest.mark.parametrize("output", [[], None, "https://files.example/a.mp4", [None, ""]])
def test_a_success_with_nothing_to_show_is_a_failure_that_costs(
    runway: RunwayProvider, vendor: Vendor, output: Any
) -> None:
    vendor.answers(Reply(200, {"status": "SUCCEEDED", "output": output, "cost": {"credits": 25}}))
    with pytest.raises(Unavailable) as raised:
        runway.poll(HANDLE)
    assert raised.value.cost_micro_usd == 250_000


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("SAFETY.INPUT.TEXT", Blocked),
        ("SAFETY.INPUT.IMAGE", Blocked),
        ("SAFETY.OUTPUT.VIDEO", Blocked),
        ("INPUT_PREPROCESSING.SAFETY.TEXT", Blocked),
        ("ASSET.INVALID", InvalidCall),
        ("INTERNAL", Unavailable),
        ("INTERNAL.BAD_OUTPUT.CODE01", Unavailable),
        ("INPUT_PREPROCESSING.INTERNAL", Unavailable),
        ("THIRD_PARTY.UNAVAILABLE", Unavailable),
        ("SOMETHING.NEW", Unavailable),
        ("UNSAFETY.INPUT", Unavailable),
        (None, Unavailable),
        (17, Unavailable),
    ],
)
def test_a_failure_code_decides_what_is_done_next_and_credits_what_it_cost(
    runway: RunwayProvider, vendor: Vendor, code: Any, fault: type[ProviderFault]
) -> None:
    failed = {"status": "FAILED", "failure": f"it said {PROMPT}", "failureCode": code, "cost": {"credits": 3}}
    vendor.answers(Reply(200, failed))
    with pytest.raises(ProviderFault) as raised:
        runway.poll(HANDLE)
    assert type(raised.value) is fault
    assert raised.value.cost_micro_usd == 30_000
    assert PROMPT not in str(raised.value)
    assert (code if isinstance(code, str) else "no code") in str(raised.value)


def test_a_code_that_is_none_is_not_repeated(runway: RunwayProvider, vendor: Vendor) -> None:
    vendor.answers(Reply(200, {"status": "FAILED", "failureCode": f"SAFETY. {PROMPT}"}))
    with pytest.raises(Unavailable) as raised:
        runway.poll(HANDLE)
    assert (str(raised.value), raised.value.cost_micro_usd) == ("runway: the task failed (no code)", 0)


def test_a_cancelled_task_has_ended(runway: RunwayProvider, vendor: Vendor) -> None:
    vendor.answers(Reply(200, {"status": "CANCELLED", "cost": {"credits": 40}}))
    with pytest.raises(Unavailable, match="cancelled") as raised:
        runway.poll(HANDLE)
    assert raised.value.cost_micro_usd == 400_000


# ---------------------------------------------------------------- stopping and adopting


@pytest.mark.parametrize("reply", [Reply(204, b""), Reply(404), Reply(401), Reply(400), Reply(500), Reply(then="drop")])
def test_a_task_is_cancelled_quietly(runway: RunwayProvider, vendor: Vendor, reply: Reply) -> None:
    vendor.answers(Reply(200, {"status": "THROTTLED"}), reply)
    runway.cancel(HANDLE)
    path = f"/v1/tasks/{TASK}"
    assert [(sent.method, sent.path) for sent in vendor.sent] == [("GET", path), ("DELETE", path)]


@pytest.mark.parametrize("status", ["RUNNING", "SUCCEEDED", "FAILED"])
def test_a_task_that_is_paid_for_is_not_thrown_away(runway: RunwayProvider, vendor: Vendor, status: str) -> None:
    vendor.answers(Reply(200, {"status": status}))
    runway.cancel(HANDLE)
    assert [sent.method for sent in vendor.sent] == ["GET"]


def test_an_earlier_call_cannot_be_found(runway: RunwayProvider, vendor: Vendor) -> None:
    assert runway.find(clip()) is None
    assert vendor.sent == []


def test_no_row_of_the_catalogue_promises_that_a_call_can_be_found() -> None:
    assert {each.adopt for each in SHIPPED.models if each.provider == "runway"} == {"none"}
