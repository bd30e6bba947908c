"""Clips of Veo: the operation, where its clip is, and how it is found again."""

import json

import pytest

from shared.adapters.filesystem import FilesystemBlobStore
from shared.errors import Ambiguous, Blocked, InvalidCall, RateLimited, StoreUnavailable, Unavailable
from shared.ports import Done, Pending
from shared.providers.vertex_watch import WATCH_S
from tests.providers.vertex_server import MP4, PNG, PREFIX, PROMPT, VIDEO, CloudBlobs, b64, call, recording

MODEL = "veo-3.1-generate-001"
PLACE = f"projects/p1/locations/us-central1/publishers/google/models/{MODEL}"
NAME = f"{PLACE}/operations/op1"
HANDLE = {"api": "veo", "operation": NAME, "location": "us-central1", "prefix": PREFIX, "seconds": 8}


@pytest.fixture
def wire(tmp_path):
    with recording(FilesystemBlobStore(tmp_path)) as wire:
        yield wire


def ended(**response):
    return {"name": NAME, "done": True, "response": response}


def test_a_clip_is_asked_for_under_the_prefix_of_its_attempt(wire):
    wire.answers({"name": NAME})
    started = wire.provider.start(call(MODEL, {**VIDEO, "negative_prompt": "rain"}, prefix=PREFIX))
    assert wire.paths == [f"POST /v1/{PLACE}:predictLongRunning"]
    assert wire.body == {
        "instances": [{"prompt": PROMPT}],
        "parameters": {
            "sampleCount": 1,
            "storageUri": PREFIX,
            "fps": 24,
            "durationSeconds": 8,
            "seed": 7,
            "aspectRatio": "16:9",
            "resolution": "720p",
            "personGeneration": "allow_adult",
            "negativePrompt": "rain",
            "generateAudio": True,
        },
        "labels": {"job": "j1-x", "attempt": "2", "part": "0"},
    }
    assert started == Pending(HANDLE, 12)
    assert json.loads(json.dumps(started.handle)) == HANDLE


def test_a_clip_for_a_disk_is_handed_over_in_the_answer(wire):
    wire.answers({"name": NAME})
    started = wire.provider.start(call(MODEL, VIDEO))
    assert "storageUri" not in wire.body["parameters"]
    assert started.handle["prefix"] == ""


def test_silence_and_everything_optional_is_sent_when_it_is_asked_for(wire):
    wire.answers({"name": NAME})
    wished = {"audio": False, "enhance_prompt": True, "compression_quality": "OPTIMIZED", "resize_mode": "PAD"}
    wire.provider.start(call(MODEL, {**VIDEO, **wished}))
    sent = wire.body["parameters"]
    assert sent["generateAudio"] is False
    assert (sent["enhancePrompt"], sent["compressionQuality"], sent["resizeMode"]) == (True, "OPTIMIZED", "PAD")


def test_audio_is_not_mentioned_to_a_model_that_has_no_choice(wire):
    wire.answers({"name": NAME})
    wire.provider.start(call(MODEL, VIDEO, row={"audio": "none"}))
    assert "generateAudio" not in wire.body["parameters"]


def test_first_and_last_frame_on_a_disk_go_as_bytes(wire):
    wire.answers({"name": NAME})
    wire.blobs.create("gs://inbox/a.png", PNG, "image/png")
    wire.provider.start(call(MODEL, {**VIDEO, "image": "gs://inbox/a.png", "last_frame": "gs://inbox/a.png"}))
    frame = {"bytesBase64Encoded": b64(PNG), "mimeType": "image/png"}
    assert wire.body["instances"] == [{"prompt": PROMPT, "image": frame, "lastFrame": frame}]


def test_first_and_last_frame_in_the_cloud_go_as_uri(tmp_path):
    with recording(CloudBlobs(tmp_path)) as wire:
        wire.answers({"name": NAME})
        wire.blobs.create("gs://inbox/a.png", PNG, "image/png")
        wire.provider.start(call(MODEL, {**VIDEO, "image": "gs://inbox/a.png", "last_frame": "gs://theirs/z.jpg"}))
    assert wire.body["instances"] == [
        {
            "prompt": PROMPT,
            "image": {"gcsUri": "gs://inbox/a.png", "mimeType": "image/png"},
            "lastFrame": {"gcsUri": "gs://theirs/z.jpg", "mimeType": "image/jpeg"},
        }
    ]


def test_a_row_without_a_region_is_not_called(wire):
    with pytest.raises(InvalidCall, match="region"):
        wire.provider.start(call(MODEL, VIDEO, row={"location": None}))
    assert wire.sent == []


def test_an_operation_without_a_name_is_ambiguous(wire):
    wire.answers({"metadata": {}})
    with pytest.raises(Ambiguous, match="without naming"):
        wire.provider.start(call(MODEL, VIDEO))


def test_a_running_operation_is_asked_after_by_its_name(wire):
    wire.answers({"name": NAME})
    assert wire.provider.poll(HANDLE) == Pending(HANDLE, 12)
    assert wire.paths == [f"POST /v1/{PLACE}:fetchPredictOperation"]
    assert wire.body == {"operationName": NAME}


def test_a_clip_in_our_bucket_is_delivered_by_its_uri(wire):
    uri = f"{PREFIX}1700/sample_0.mp4"
    wire.answers(ended(raiMediaFilteredCount=0, videos=[{"gcsUri": uri, "mimeType": "video/mp4"}]))
    done = wire.provider.poll(HANDLE)
    assert [(a.media_type, a.uri, a.data) for a in done.assets] == [("video/mp4", uri, None)]
    assert done.usage == {"second": 8}


def test_a_clip_in_the_answer_is_delivered_as_bytes(wire):
    wire.answers(ended(videos=[{"bytesBase64Encoded": b64(MP4)}]))
    done = wire.provider.poll({**HANDLE, "prefix": ""})
    assert [(a.media_type, a.uri, a.data) for a in done.assets] == [("video/mp4", None, MP4)]


def test_when_all_is_filtered_the_call_is_blocked_although_nothing_failed(wire):
    reason = f"{PROMPT}: violates usage guidelines. Support codes: 58061214"
    wire.answers(ended(raiMediaFilteredCount=1, raiMediaFilteredReasons=[reason]))
    with pytest.raises(Blocked, match=r"filtered it \(support codes 58061214\)$"):
        wire.provider.poll(HANDLE)


def test_what_passed_the_filters_is_delivered_and_paid_for(wire):
    wire.answers(ended(raiMediaFilteredCount=1, videos=[{"gcsUri": f"{PREFIX}sample_0.mp4"}]))
    done = wire.provider.poll(HANDLE)
    assert (len(done.assets), done.usage) == (1, {"second": 8})


@pytest.mark.parametrize("response", [{}, {"videos": []}, {"videos": [{"mimeType": "video/mp4"}]}])
def test_an_operation_that_made_nothing_has_failed(wire, response):
    wire.answers(ended(**response))
    with pytest.raises(Unavailable, match="without a clip"):
        wire.provider.poll(HANDLE)


@pytest.mark.parametrize(
    "error, fault",
    [
        ({"code": 3, "message": "Support codes: 58061214"}, Blocked),
        ({"code": 3, "message": "duration"}, InvalidCall),
        ({"code": 8, "message": "busy"}, RateLimited),
        ({"code": 13, "message": "internal"}, Unavailable),
        ({"message": "no code"}, Unavailable),
    ],
)
def test_a_late_failure_is_told_by_its_code(wire, error, fault):
    wire.answers({"name": NAME, "done": True, "error": error})
    with pytest.raises(fault):
        wire.provider.poll(HANDLE)


def test_nothing_can_be_cancelled(wire):
    wire.provider.cancel(HANDLE)
    assert wire.sent == []


# ---------------------------------------------------------------- adoption


def lost(**changes):
    return call(MODEL, VIDEO, prefix=PREFIX, **changes)


def test_a_clip_that_is_there_already_is_adopted_at_once(wire):
    stored = wire.blobs.create(f"{PREFIX}1700/sample_0.mp4", MP4, "video/mp4")
    found = wire.provider.find(lost())
    assert isinstance(found, Done)
    assert [(a.media_type, a.uri) for a in found.assets] == [("video/mp4", stored.uri)]
    assert found.usage == {}
    assert wire.sent == []


def test_a_lost_call_is_watched_until_its_clip_comes(wire):
    watched = wire.provider.find(lost())
    assert watched == Pending({"api": "veo", "watch": PREFIX, "since": "2026-11-21T12:00:00.000000Z"}, 12)
    wire.clock.advance(WATCH_S - 1)
    handle = json.loads(json.dumps(watched.handle))
    assert wire.provider.poll(handle) == watched
    stored = wire.blobs.create(f"{PREFIX}sample_0.mp4", MP4, "video/mp4")
    wire.clock.advance(2)
    found = wire.provider.poll(handle)
    assert isinstance(found, Done)
    assert [a.uri for a in found.assets] == [stored.uri]


def test_a_watch_ends_ambiguous(wire):
    watched = wire.provider.find(lost())
    wire.clock.advance(WATCH_S)
    with pytest.raises(Ambiguous, match="no clip under the prefix"):
        wire.provider.poll(watched.handle)


def test_a_clip_that_comes_after_the_watch_has_ended_is_still_found(wire):
    watched = wire.provider.find(lost())
    wire.clock.advance(WATCH_S)
    with pytest.raises(Ambiguous):
        wire.provider.poll(watched.handle)
    wire.clock.advance(WATCH_S)
    stored = wire.blobs.create(f"{PREFIX}1700/sample_0.mp4", MP4, "video/mp4")
    for found in (wire.provider.find(lost()), wire.provider.poll(watched.handle)):
        assert isinstance(found, Done)
        assert [a.uri for a in found.assets] == [stored.uri]
    assert wire.sent == []


def test_only_a_finished_clip_of_this_attempt_is_adopted(wire):
    wire.blobs.create(f"{PREFIX}notes.txt", b"no clip", "text/plain")
    wire.blobs.create(f"{PREFIX}empty.mp4", b"", "video/mp4")
    wire.blobs.create("gs://outputs/jobs/j1/21/sample_0.mp4", MP4, "video/mp4")
    wire.blobs.create("gs://outputs/jobs/j1/1/sample_0.mp4", MP4, "video/mp4")
    assert isinstance(wire.provider.find(lost()), Pending)


def test_a_clip_that_was_made_twice_is_one_piece(wire):
    for folder in ("1700", "1800"):
        wire.blobs.create(f"{PREFIX}{folder}/sample_0.mp4", MP4, "video/mp4")
    assert len(wire.provider.find(lost()).assets) == 1


def test_a_bucket_that_does_not_answer_proves_nothing(wire, monkeypatch):
    watched = wire.provider.find(lost())
    wire.clock.advance(WATCH_S)

    def unavailable(*_, **__):
        raise StoreUnavailable("no answer")

    monkeypatch.setattr(wire.blobs, "list", unavailable)
    assert wire.provider.poll(watched.handle) == Pending(watched.handle, 10)
    assert isinstance(wire.provider.find(lost()), Pending)


def test_a_call_whose_clip_is_not_written_to_cloud_storage_leaves_no_trace(wire):
    assert wire.provider.find(call(MODEL, VIDEO)) is None


def test_a_forgotten_operation_whose_clip_is_there_is_done(wire):
    wire.answers({"error": {"code": 404, "message": "gone"}}, 404)
    stored = wire.blobs.create(f"{PREFIX}sample_0.mp4", MP4, "video/mp4")
    assert [a.uri for a in wire.provider.poll(HANDLE).assets] == [stored.uri]
