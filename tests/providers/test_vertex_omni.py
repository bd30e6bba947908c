"""Clips of Gemini Omni through the Interactions API."""

import json

import pytest

from shared.adapters.filesystem import FilesystemBlobStore
from shared.errors import Ambiguous, Blocked, RateLimited, Unavailable
from shared.ports import Done, Pending
from shared.providers.vertex_watch import WATCH_S
from tests.providers.vertex_server import MP4, PNG, PREFIX, PROMPT, VIDEO, CloudBlobs, b64, call, recording

MODEL = "gemini-omni-1.1-flash-preview"
PLACE = "/v1beta1/projects/p1/locations/global/interactions"
HANDLE = {"api": "omni", "interaction": "int1", "location": "global", "prefix": PREFIX}
USAGE = {"total_input_tokens": 10, "total_output_tokens": 5792, "total_tokens": 5802}


@pytest.fixture
def wire(tmp_path):
    with recording(FilesystemBlobStore(tmp_path)) as wire:
        yield wire


def interaction(status, *content, **more):
    steps = [{"type": "model_output", "content": list(content)}] if content else []
    return {"id": "int1", "status": status, "model": MODEL, "steps": steps, **more}


def clip(**where):
    return {"type": "video", "mime_type": "video/mp4", **where}


def test_a_clip_is_asked_for_in_the_background_under_the_prefix_of_its_attempt(wire):
    wire.answers(interaction("in_progress"))
    started = wire.provider.start(call(MODEL, {**VIDEO, "negative_prompt": "rain"}, prefix=PREFIX))
    assert wire.paths == [f"POST {PLACE}"]
    assert wire.body == {
        "model": MODEL,
        "background": True,
        "store": True,
        "input": [
            {"type": "user_input", "content": [{"type": "text", "text": f"{PROMPT}\nDo not show: rain"}]},
        ],
        "response_format": [
            {
                "type": "video",
                "aspect_ratio": "16:9",
                "duration": "8s",
                "resolution": "720p",
                "delivery": "uri",
                "gcs_uri": PREFIX,
            }
        ],
    }
    assert wire.sent[0].headers["authorization"] == "Bearer local"
    assert started == Pending(HANDLE, 12)
    assert json.loads(json.dumps(started.handle)) == HANDLE


def test_a_clip_for_a_disk_is_handed_over_in_the_answer(wire):
    wire.answers(interaction("queued"))
    started = wire.provider.start(call(MODEL, VIDEO))
    assert wire.body["response_format"][0]["delivery"] == "inline"
    assert "gcs_uri" not in wire.body["response_format"][0]
    assert started.handle["prefix"] == ""


def test_a_first_frame_on_a_disk_goes_as_bytes(wire):
    wire.answers(interaction("queued"))
    wire.blobs.create("gs://inbox/a.png", PNG, "image/png")
    wire.provider.start(call(MODEL, {**VIDEO, "image": "gs://inbox/a.png"}))
    frame = wire.body["input"][0]["content"][1]
    assert frame == {"type": "image", "mime_type": "image/png", "data": b64(PNG)}


def test_a_first_frame_in_the_cloud_goes_as_uri(tmp_path):
    with recording(CloudBlobs(tmp_path)) as wire:
        wire.answers(interaction("queued"))
        wire.blobs.create("gs://inbox/a.png", PNG, "image/png")
        wire.provider.start(call(MODEL, {**VIDEO, "image": "gs://inbox/a.png"}))
    frame = wire.body["input"][0]["content"][1]
    assert frame == {"type": "image", "mime_type": "image/png", "uri": "gs://inbox/a.png"}


@pytest.mark.parametrize("status", ["in_progress", "queued", "requires_action", "requires_continuation", "new_word"])
def test_an_interaction_that_goes_on_is_pending(wire, status):
    wire.answers(interaction(status))
    assert wire.provider.poll(HANDLE) == Pending(HANDLE, 12)
    assert wire.paths == [f"GET {PLACE}/int1?stream=false"]


def test_a_clip_in_our_bucket_is_delivered_by_its_uri(wire):
    wire.answers(interaction("completed", clip(uri=f"{PREFIX}x.mp4"), usage=USAGE))
    done = wire.provider.poll(HANDLE)
    assert [(a.media_type, a.uri) for a in done.assets] == [("video/mp4", f"{PREFIX}x.mp4")]
    assert done.usage == {"input_token": 10, "video_token": 5792, "output_token": 0}
    assert done.finish == "stop"


def test_a_clip_in_the_answer_is_delivered_as_bytes(wire):
    wire.answers(interaction("completed", clip(data=b64(MP4))))
    done = wire.provider.poll(HANDLE)
    assert [(a.media_type, a.data) for a in done.assets] == [("video/mp4", MP4)]
    assert done.usage == {}


def test_a_clip_that_is_there_at_once_is_delivered_at_once(wire):
    wire.answers(interaction("completed", clip(data=b64(MP4))))
    assert isinstance(wire.provider.start(call(MODEL, VIDEO)), Done)


@pytest.mark.parametrize(
    "usage, units",
    [
        ({**USAGE, "total_thought_tokens": 90}, {"input_token": 10, "video_token": 5792, "output_token": 90}),
        (
            {
                **USAGE,
                "output_tokens_by_modality": [
                    {"modality": "video", "tokens": 5700},
                    {"modality": "text", "tokens": 92},
                ],
            },
            {"input_token": 10, "video_token": 5700, "output_token": 92},
        ),
        ({**USAGE, "output_tokens_by_modality": [{"modality": "text", "tokens": 5792}]}, {}),
        ({"total_output_tokens": 5792}, {"input_token": 0, "video_token": 5792, "output_token": 0}),
        ({"total_input_tokens": 10}, {}),
        ({}, {}),
    ],
)
def test_tokens_of_the_answer_are_the_clips_unless_told_apart(wire, usage, units):
    wire.answers(interaction("completed", clip(uri=f"{PREFIX}x.mp4"), usage=usage))
    assert wire.provider.poll(HANDLE).usage == units


def test_a_clip_that_stopped_early_is_delivered_as_cut_off(wire):
    wire.answers(interaction("incomplete", clip(uri=f"{PREFIX}x.mp4")))
    assert wire.provider.poll(HANDLE).finish == "max_tokens"


def test_a_refusal_in_words_is_blocked_and_its_words_are_charged(wire):
    usage = {"total_input_tokens": 10, "total_output_tokens": 30, "total_thought_tokens": 4}
    wire.answers(interaction("completed", {"type": "text", "text": "I cannot film two red boats."}, usage=usage))
    with pytest.raises(Blocked) as caught:
        wire.provider.poll(HANDLE)
    assert "boats" not in str(caught.value)
    assert caught.value.usage == {"input_token": 10, "output_token": 34}


def test_a_clip_that_was_filtered_is_blocked_and_what_it_read_is_charged(wire):
    wire.answers(interaction("completed", usage={"total_input_tokens": 10}))
    with pytest.raises(Blocked, match="withheld") as caught:
        wire.provider.poll(HANDLE)
    assert caught.value.usage == {"input_token": 10}


@pytest.mark.parametrize("status", ["failed", "cancelled", "incomplete", "budget_exceeded"])
def test_an_interaction_that_ended_otherwise_has_failed(wire, status):
    wire.answers(interaction(status))
    with pytest.raises(Unavailable, match=status):
        wire.provider.poll(HANDLE)


def test_a_failure_for_safety_is_a_block(wire):
    told = {"code": "some/uri", "message": f"{PROMPT} violates the usage guidelines. Support codes: 58061214"}
    wire.answers(interaction("failed", errors=[told], usage={"total_input_tokens": 10}))
    with pytest.raises(Blocked, match=r"is failed \(support codes 58061214\)$") as caught:
        wire.provider.poll(HANDLE)
    assert caught.value.usage == {"input_token": 10}


def test_a_failure_with_a_code_in_its_step_is_told_by_it(wire):
    step = {"type": "model_output", "error": {"code": 8, "message": "busy"}}
    wire.answers({"id": "int1", "status": "failed", "steps": [step], "usage": {"total_input_tokens": 10}})
    with pytest.raises(RateLimited) as caught:
        wire.provider.poll(HANDLE)
    assert caught.value.usage == {"input_token": 10}


def test_a_clip_that_cannot_be_decoded_is_not_lost_sight_of(wire):
    wire.answers(interaction("completed", clip(data="no base64!")))
    with pytest.raises(Ambiguous, match="cannot be read"):
        wire.provider.poll(HANDLE)


def test_an_interaction_without_an_id_is_ambiguous(wire):
    wire.answers({"status": "in_progress"})
    with pytest.raises(Ambiguous, match="without naming"):
        wire.provider.start(call(MODEL, VIDEO))


def test_an_interaction_can_be_cancelled(wire):
    wire.answers(interaction("cancelled"))
    wire.provider.cancel(HANDLE)
    assert wire.paths == [f"POST {PLACE}/int1/cancel"]


@pytest.mark.parametrize("status", [404, 500])
def test_a_cancellation_that_does_not_arrive_changes_nothing(wire, status):
    wire.answers({"error": {"message": "no"}}, status)
    wire.provider.cancel(HANDLE)
    assert len(wire.sent) == 1


def test_a_lost_call_is_found_by_its_prefix(wire):
    lost = call(MODEL, VIDEO, prefix=PREFIX)
    watched = wire.provider.find(lost)
    assert watched == Pending({"api": "omni", "watch": PREFIX, "since": "2026-11-21T12:00:00.000000Z"}, 12)
    wire.provider.cancel(watched.handle)
    stored = wire.blobs.create(f"{PREFIX}x.mp4", MP4, "video/mp4")
    assert [a.uri for a in wire.provider.poll(watched.handle).assets] == [stored.uri]
    assert wire.sent == []


def test_a_watch_ends_ambiguous(wire):
    watched = wire.provider.find(call(MODEL, VIDEO, prefix=PREFIX))
    wire.clock.advance(WATCH_S)
    with pytest.raises(Ambiguous):
        wire.provider.poll(watched.handle)
