"""Words of Gemini: what is sent, how it ends, what it counts."""

import pytest

from shared.adapters.filesystem import FilesystemBlobStore
from shared.errors import Blocked, InvalidCall
from shared.ports import Done
from shared.providers.vertex_text import thinking_level
from tests.providers.vertex_server import PNG, PROMPT, TEXT, Wire, b64, call, recording

MODEL = "gemini-3.5-flash-lite"
SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}


@pytest.fixture
def wire(tmp_path):
    with recording(FilesystemBlobStore(tmp_path)) as wire:
        yield wire


def answer(text=None, reason="STOP", **usage):
    content = {"content": {"role": "model", "parts": [{"text": text}]}} if text is not None else {}
    return {"candidates": [{**content, "finishReason": reason}], "usageMetadata": usage}


def written(wire: Wire, **params) -> Done:
    done = wire.provider.start(call(MODEL, {**TEXT, **params}))
    assert isinstance(done, Done)
    return done


def test_a_text_is_asked_for_with_everything_that_was_wished(wire):
    wire.answers(answer("words"))
    wire.blobs.create("gs://inbox/a.png", PNG, "image/png")
    wire.blobs.create("gs://inbox/talk.mp3", b"ID3 and so on", "audio/mpeg")
    inputs = ["gs://inbox/talk.mp3", "gs://inbox/a.png"]
    written(wire, system="be brief", temperature=0.2, top_p=0.9, max_tokens=256, response_schema=SCHEMA, inputs=inputs)
    assert wire.paths == [f"POST /v1/projects/p1/locations/global/publishers/google/models/{MODEL}:generateContent"]
    body = wire.body
    assert body.pop("safetySettings")
    assert body.pop("labels") == {"job": "j1-x", "attempt": "2", "part": "0"}
    assert body == {
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"inlineData": {"data": b64(b"ID3 and so on"), "mime_type": "audio/mpeg"}},
                    {"inlineData": {"data": b64(PNG), "mime_type": "image/png"}},
                    {"text": PROMPT},
                ],
            }
        ],
        "systemInstruction": {"parts": [{"text": "be brief"}], "role": "user"},
        "generationConfig": {
            "candidateCount": 1,
            "seed": 7,
            "temperature": 0.2,
            "topP": 0.9,
            "maxOutputTokens": 256,
            "responseMimeType": "application/json",
            "responseJsonSchema": SCHEMA,
            "thinkingConfig": {"thinking_level": "LOW"},
        },
    }


def test_a_plain_text_is_delivered_with_thoughts_as_output(wire):
    wire.answers(answer("words", promptTokenCount=5, candidatesTokenCount=7, thoughtsTokenCount=20))
    done = written(wire)
    assert [(a.media_type, a.text) for a in done.assets] == [("text/plain", "words")]
    assert done.usage == {"input_token": 5, "output_token": 27}
    assert done.finish == "stop"


def test_counts_that_are_missing_count_nothing(wire):
    wire.answers(answer("words", candidatesTokenCount=7))
    assert written(wire).usage == {"input_token": 0, "output_token": 7}


def test_without_any_count_nothing_is_reported(wire):
    wire.answers(answer("words"))
    assert written(wire).usage == {}


def test_structured_output_is_json_whatever_it_holds(wire):
    wire.answers(answer('{"wrong": "shape"}'))
    done = written(wire, response_schema=SCHEMA)
    assert [(a.media_type, a.text) for a in done.assets] == [("application/json", '{"wrong": "shape"}')]


def test_a_text_that_was_cut_off_says_so(wire):
    wire.answers(answer("half a sen", "MAX_TOKENS", promptTokenCount=5, candidatesTokenCount=3))
    done = written(wire)
    assert (done.assets[0].text, done.finish) == ("half a sen", "max_tokens")


def test_thoughts_that_left_no_room_are_delivered_as_nothing_and_paid_for(wire):
    wire.answers(answer(None, "MAX_TOKENS", promptTokenCount=5, thoughtsTokenCount=1024))
    done = written(wire)
    assert (done.assets[0].text, done.finish) == ("", "max_tokens")
    assert done.usage == {"input_token": 5, "output_token": 1024}


def test_thoughts_are_no_part_of_the_text(wire):
    parts = [{"text": "let me think", "thought": True}, {"text": "one "}, {"text": "two"}]
    wire.answers({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]})
    assert written(wire).assets[0].text == "one two"


def test_a_text_that_could_go_on_is_not_continued_for_more_money(wire):
    more = answer("the first part", "CONTINUATION", promptTokenCount=5, candidatesTokenCount=7)
    more["candidates"][0]["continuationToken"] = b64(b"token")
    wire.answers(more)
    done = written(wire)
    assert (done.assets[0].text, done.finish, len(wire.sent)) == ("the first part", "max_tokens", 1)


@pytest.mark.parametrize("reason", ["SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION"])
def test_a_blocked_text_is_blocked_even_when_some_of_it_is_there(wire, reason):
    wire.answers(answer("the beginning of something", reason))
    with pytest.raises(Blocked, match=reason):
        written(wire)


@pytest.mark.parametrize("reason", ["SAFETY", "OTHER", "BLOCKLIST", "MODEL_ARMOR", "JAILBREAK"])
def test_a_blocked_prompt_is_blocked(wire, reason):
    wire.answers({"promptFeedback": {"blockReason": reason}})
    with pytest.raises(Blocked, match=reason):
        written(wire)


@pytest.mark.parametrize(
    "model, task, max_tokens, level",
    [
        ("gemini-3.5-flash-lite", "fast", 1024, "MINIMAL"),
        ("gemini-3.8-flash", "fast", 1024, "LOW"),
        ("gemini-4-argon", "fast", 1024, "LOW"),
        ("gemini-3.8-flash", "general", 64, "LOW"),
        ("gemini-3.8-flash", "content", 8192, "LOW"),
        ("gemini-3.8-flash", "complex", 2048, "MEDIUM"),
        ("gemini-3.8-flash", "complex", 2047, "LOW"),
        ("gemini-3.8-flash", "reasoning", 4096, "HIGH"),
        ("gemini-3.8-flash", "reasoning", 4095, "MEDIUM"),
        ("gemini-3.8-flash", "reasoning", 1024, "LOW"),
    ],
)
def test_a_model_thinks_as_the_task_needs_and_the_answer_leaves_room(model, task, max_tokens, level):
    assert thinking_level(model, task, max_tokens).value == level


def test_a_value_the_sdk_does_not_take_is_invalid_and_never_sent(wire):
    with pytest.raises(InvalidCall, match=r"does not take temperature$"):
        written(wire, temperature="warm as toast")
    assert wire.sent == []
