"""Pictures of Gemini: what is sent, what counts as delivered, and what does not."""

import pytest

from shared.adapters.filesystem import FilesystemBlobStore
from shared.errors import Ambiguous, Blocked, InvalidCall
from shared.ports import Done
from tests.providers.vertex_server import IMAGE, PNG, PROMPT, CloudBlobs, Wire, b64, call, recording

MODEL = "gemini-3.1-flash-image"
PICTURE = {"inlineData": {"mimeType": "image/png", "data": b64(PNG)}}
LABELS = {"job": "j1-x", "attempt": "2", "part": "0"}
SAFETY = [
    {"category": f"HARM_CATEGORY_{harm}", "threshold": "BLOCK_MEDIUM_AND_ABOVE"}
    for harm in ("DANGEROUS_CONTENT", "HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT")
]


@pytest.fixture
def wire(tmp_path):
    with recording(FilesystemBlobStore(tmp_path)) as wire:
        yield wire


def answer(*parts, reason="STOP", usage=None):
    return {
        "candidates": [{"content": {"role": "model", "parts": list(parts)}, "finishReason": reason}],
        "usageMetadata": usage or {},
    }


def made(wire: Wire, **params) -> Done:
    done = wire.provider.start(call(MODEL, {**IMAGE, **params}))
    assert isinstance(done, Done)
    return done


def test_a_picture_is_asked_for_within_what_was_priced(wire):
    wire.answers(answer(PICTURE))
    made(wire, negative_prompt="rain, people", person_generation="dont_allow")
    assert wire.paths == [f"POST /v1/projects/p1/locations/global/publishers/google/models/{MODEL}:generateContent"]
    assert wire.body == {
        "contents": [{"role": "user", "parts": [{"text": f"{PROMPT}\nDo not show: rain, people"}]}],
        "safetySettings": SAFETY,
        "labels": LABELS,
        "generationConfig": {
            "candidateCount": 1,
            "seed": 7,
            "maxOutputTokens": 1120 + 2048,
            "responseModalities": ["TEXT", "IMAGE"],
            "imageConfig": {
                "aspectRatio": "16:9",
                "imageSize": "1K",
                "personGeneration": "ALLOW_NONE",
                "imageOutputOptions": {"mimeType": "image/png"},
            },
        },
    }


def test_each_part_of_an_attempt_has_its_own_label(wire):
    wire.answers(answer(PICTURE))
    wire.provider.start(call(MODEL, IMAGE, part=3))
    assert wire.body["labels"] == {**LABELS, "part": "3"}


def test_a_large_picture_is_asked_for_as_jpeg_and_priced_by_its_size(wire):
    wire.answers(answer(PICTURE))
    made(wire, size="4K")
    assert wire.body["generationConfig"]["imageConfig"]["imageOutputOptions"] == {"mimeType": "image/jpeg"}
    assert wire.body["generationConfig"]["maxOutputTokens"] == 2520 + 2048


def test_a_size_that_nobody_priced_is_not_asked_for(wire):
    with pytest.raises(InvalidCall, match="4K"):
        wire.provider.start(call("gemini-3-pro-image", {**IMAGE, "size": "4K"}))
    assert wire.sent == []


def test_reference_pictures_on_a_disk_go_as_bytes(wire):
    wire.answers(answer(PICTURE))
    wire.blobs.create("gs://inbox/ours.png", PNG, "image/png")
    made(wire, reference_images=["gs://inbox/ours.png"])
    assert wire.body["contents"][0]["parts"] == [
        {"text": PROMPT},
        {"inlineData": {"data": b64(PNG), "mime_type": "image/png"}},
    ]


def test_reference_pictures_in_the_cloud_go_as_uri(tmp_path):
    with recording(CloudBlobs(tmp_path)) as wire:
        wire.answers(answer(PICTURE))
        wire.blobs.create("gs://inbox/ours.png", PNG, "image/png")
        made(wire, reference_images=["gs://theirs/a.jpg", "gs://inbox/ours.png"])
    assert wire.body["contents"][0]["parts"] == [
        {"text": PROMPT},
        {"fileData": {"file_uri": "gs://theirs/a.jpg", "mime_type": "image/jpeg"}},
        {"fileData": {"file_uri": "gs://inbox/ours.png", "mime_type": "image/png"}},
    ]


def test_a_missing_reference_picture_stops_the_call_before_it_is_made(wire):
    with pytest.raises(InvalidCall, match="does not exist"):
        made(wire, reference_images=["gs://inbox/none.png"])
    assert wire.sent == []


def test_the_picture_is_delivered_with_its_tokens_apart(wire):
    usage = {
        "promptTokenCount": 12,
        "candidatesTokenCount": 1140,
        "thoughtsTokenCount": 300,
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}, {"modality": "TEXT", "tokenCount": 20}],
    }
    wire.answers(answer({"text": "Here it is."}, PICTURE, usage=usage))
    done = made(wire)
    assert [(a.media_type, a.data) for a in done.assets] == [("image/png", PNG)]
    assert done.usage == {"input_token": 12, "image_token": 1120, "output_token": 320}
    assert done.finish == "stop"


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"promptTokenCount": 12, "candidatesTokenCount": 1120},
        {"promptTokenCount": 12, "candidatesTokensDetails": [{"modality": "IMAGE"}]},
        {"promptTokenCount": 12, "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 20}]},
    ],
)
def test_without_image_tokens_in_the_report_the_picture_itself_is_priced(wire, usage):
    wire.answers(answer(PICTURE, usage=usage))
    assert made(wire).usage == {}


def test_drafts_among_the_thoughts_are_no_delivery(wire):
    draft = {"inlineData": {"mimeType": "image/png", "data": b64(b"draft")}, "thought": True}
    wire.answers(answer(draft, {"text": "thinking", "thought": True}, PICTURE))
    assert [a.data for a in made(wire).assets] == [PNG]


def test_of_several_pictures_the_last_is_the_piece(wire):
    first = {"inlineData": {"mimeType": "image/png", "data": b64(b"first")}}
    wire.answers(answer(first, {"text": "and, better:"}, PICTURE))
    assert [a.data for a in made(wire).assets] == [PNG]


def test_a_blocked_prompt_is_blocked(wire):
    reason = {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": f"{PROMPT}: support code 89371032"}
    wire.answers({"promptFeedback": reason})
    with pytest.raises(Blocked, match=r"PROHIBITED_CONTENT \(support codes 89371032\)$"):
        made(wire)
    assert len(wire.sent) == 1


@pytest.mark.parametrize(
    "reason",
    [
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "SAFETY",
        "PROHIBITED_CONTENT",
        "BLOCKLIST",
        "SPII",
        "RECITATION",
    ],
)
def test_a_blocked_picture_is_blocked(wire, reason):
    wire.answers({"candidates": [{"finishReason": reason, "finishMessage": "Unable to show. 63429089"}]})
    with pytest.raises(Blocked, match=rf"{reason} \(support codes 63429089\)"):
        made(wire)
    assert len(wire.sent) == 1


def test_a_refusal_in_words_is_blocked(wire):
    wire.answers(answer({"text": "I cannot draw two red boats in a quiet harbour."}))
    with pytest.raises(Blocked) as caught:
        made(wire)
    assert "boats" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        {"promptFeedback": {"blockReason": "SAFETY"}},
        {"candidates": [{"finishReason": "IMAGE_SAFETY"}]},
        {"candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": "No."}]}}]},
        {"candidates": [{"finishReason": "NO_IMAGE"}]},
    ],
)
def test_what_a_call_without_a_picture_read_and_wrote_is_charged(wire, body):
    wire.answers({**body, "usageMetadata": {"promptTokenCount": 12, "thoughtsTokenCount": 80}})
    with pytest.raises((Blocked, InvalidCall)) as caught:
        made(wire)
    assert caught.value.usage == {"input_token": 12, "output_token": 80}


@pytest.mark.parametrize("reason", ["NO_IMAGE", "IMAGE_OTHER", "MAX_TOKENS", "OTHER", "STOP"])
def test_no_picture_for_another_reason_is_left_to_another_model(wire, reason):
    wire.answers({"candidates": [{"finishReason": reason}]})
    with pytest.raises(InvalidCall, match=reason):
        made(wire)


def test_only_a_thought_is_no_refusal_in_words(wire):
    wire.answers(answer({"text": "How shall I draw it?", "thought": True}))
    with pytest.raises(InvalidCall):
        made(wire)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"promptFeedback": {}},
        {"candidates": [{"content": {"parts": [{"inlineData": {"data": "!"}}]}}]},
        {"candidates": 3},
        b"<html>",
        b"",
    ],
)
def test_an_answer_that_cannot_be_read_is_ambiguous(wire, body):
    wire.answers(body)
    with pytest.raises(Ambiguous):
        made(wire)
    assert len(wire.sent) == 1
