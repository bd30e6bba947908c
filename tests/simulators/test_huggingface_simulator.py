"""What the Hugging Face simulator promises to clients of its router, of endpoints, and of HF Inference."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from PIL import Image

from shared.simulators.vendor_http import Refused
from shared.simulators.vendors import Vendors

CHAT = "/v1/chat/completions"
PICTURE = "/hf-inference/models/black-forest-labs/FLUX.1-schnell"
ASKED = {"model": "tgi", "messages": [{"role": "user", "content": "Write about the sea"}], "max_tokens": 200}
PAINT = {"inputs": "a cat", "parameters": {"width": 320, "height": 256}}
SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2}},
    "required": ["title", "tags"],
    "additionalProperties": False,
}


@pytest.fixture
def web(vendors: Vendors) -> Iterator[httpx.Client]:
    headers = {"Authorization": "Bearer hf_token"}
    with httpx.Client(base_url=vendors.url, headers=headers, timeout=20) as client:
        yield client


def said(web: httpx.Client, **change: Any) -> dict[str, Any]:
    answer = web.post(CHAT, json={**ASKED, **change})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_completion_has_the_form_of_openai_and_is_billed_by_its_usage(vendors, web, clock):
    told = said(web)
    assert (told["object"], told["model"], told["created"]) == ("chat.completion", "tgi", int(clock.now().timestamp()))
    (choice,) = told["choices"]
    assert (choice["index"], choice["finish_reason"], choice["message"]["role"]) == (0, "stop", "assistant")
    text = choice["message"]["content"]
    assert "sea" in text
    sent, written = told["usage"]["prompt_tokens"], told["usage"]["completion_tokens"]
    assert told["usage"]["total_tokens"] == sent + written
    assert written == -(-len(text) // 4) <= 200
    (entry,) = vendors.calls()
    assert (entry["vendor"], entry["operation"], entry["model"]) == ("huggingface", "chat", "tgi")
    assert (entry["billed"], entry["state"]) == ({"input_token": sent, "output_token": written}, "delivered")
    assert entry["prompt"] == "Write about the sea"


def test_the_same_seed_gives_the_same_text_and_another_one_another(web):
    texts = [said(web, seed=seed)["choices"][0]["message"]["content"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    "form",
    [
        {"type": "json_schema", "json_schema": {"name": "post", "schema": SCHEMA, "strict": True}},
        {"type": "json_object", "value": SCHEMA},
    ],
)
def test_a_schema_is_obeyed_in_both_of_its_forms(web, form):
    text = said(web, response_format=form)["choices"][0]["message"]["content"]
    jsonschema.validate(json.loads(text), SCHEMA)


def test_json_without_a_schema_is_an_object(web):
    text = said(web, response_format={"type": "json_object"})["choices"][0]["message"]["content"]
    assert isinstance(json.loads(text), dict)


def test_content_may_come_in_parts_and_system_texts_are_billed(vendors, web):
    parts = [
        {"type": "text", "text": "Describe it"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    said(web, messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": parts}])
    (entry,) = vendors.calls()
    assert entry["prompt"] == "Describe it"
    assert entry["billed"]["input_token"] == 5


@pytest.mark.parametrize(
    "change",
    [
        {"model": ""},
        {"messages": "hello"},
        {"messages": []},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "robot", "content": "a"}]},
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        {"max_tokens": 0},
        {"max_tokens": "200"},
        {"temperature": 3},
        {"stream": True},
        {"n": 2},
        {"maxTokens": 5},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "json_object", "value": {"type": "string", "minLength": 9, "maxLength": 3}}},
    ],
)
def test_a_malformed_request_is_refused_as_text_generation_inference_does_it(refusing, change):
    answer = httpx.post(refusing.url + CHAT, json={**ASKED, **change}, headers={"Authorization": "Bearer hf_token"})
    assert (answer.status_code, answer.json()["error_type"]) == (422, "validation")
    assert answer.json()["error"].startswith("Input validation error: ")
    assert refusing.calls() == []


def test_the_token_the_method_and_the_path_are_demanded(vendors, web):
    answer = httpx.post(f"{vendors.url}{CHAT}", json=ASKED)
    assert (answer.status_code, answer.json()) == (401, {"error": "Invalid username or password."})
    assert web.get(CHAT).status_code == 405
    assert web.post("/v1/chat/completion", json=ASKED).status_code == 404
    assert web.post("/hf-inference/models/nobody", json=PAINT).status_code == 404


def test_the_address_of_a_single_model_takes_chats_too(web):
    assert web.post("/hf-inference/models/meta-llama/Llama-3/v1/chat/completions", json=ASKED).status_code == 200


@pytest.mark.parametrize("accept, form", [("*/*", "JPEG"), ("image/png", "PNG")])
def test_a_picture_comes_as_bytes_of_the_asked_size(vendors, web, accept, form):
    answer = web.post(PICTURE, json=PAINT, headers={"Accept": accept})
    assert answer.headers["Content-Type"] == f"image/{form.lower()}"
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert (picture.format, picture.size) == (form, (320, 256))
        assert picture.convert("L").getextrema()[1] > 0
    (entry,) = vendors.calls()
    assert (entry["billed"], entry["model"]) == ({"image": 1}, "black-forest-labs/FLUX.1-schnell")


@pytest.mark.parametrize(
    "body", [{"parameters": {}}, {"inputs": 1}, {"inputs": "a", "parameters": {"width": 4096}}, {"inputs": "a", "x": 1}]
)
def test_a_malformed_picture_request_is_refused(refusing, body):
    assert (
        httpx.post(refusing.url + PICTURE, json=body, headers={"Authorization": "Bearer hf_token"}).status_code == 422
    )
    assert refusing.calls() == []


@pytest.mark.parametrize("path, body", [(CHAT, ASKED), (PICTURE, PAINT)])
@pytest.mark.parametrize(
    "fault, status",
    [("rate_limited", 429), ("rate_limited_silent", 429), ("error_500", 500), ("unavailable", 503), ("retired", 404)],
)
def test_a_refused_request_is_not_accepted(vendors, web, path, body, fault, status):
    vendors.fail(fault, vendor="huggingface")
    answer = web.post(path, json=body)
    assert answer.status_code == status
    assert isinstance(answer.json()["error"], str)
    assert ("Retry-After" in answer.headers) == (fault == "rate_limited")
    assert ("estimated_time" in answer.json()) == (fault == "unavailable")
    assert vendors.calls() == []


def test_an_account_without_credits_is_answered_402(vendors):
    api = next(each for each in vendors._apis if each.name == "huggingface")
    answer = api.error(Refused(402, "no credit"))
    assert answer.status == 402
    assert json.loads(answer.body)["error"].startswith("You have exceeded your monthly included credits")


def test_a_refused_prompt_is_an_error_and_costs_nothing(vendors, web):
    for path, body in ((CHAT, ASKED), (PICTURE, PAINT)):
        vendors.fail("blocked_prompt", vendor="huggingface")
        answer = web.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_filter")
    assert [(each["state"], each["billed"]) for each in vendors.calls()] == [("blocked", {})] * 2


@pytest.mark.parametrize("fault", ["blocked_output", "filtered"])
def test_a_refused_answer_is_empty_and_its_tokens_are_billed(vendors, web, fault):
    vendors.fail(fault, vendor="huggingface")
    told = said(web)
    found = [(each["finish_reason"], each["message"]["content"]) for each in told["choices"]]
    assert found == ([("content_filter", "")] if fault == "blocked_output" else [])
    (entry,) = vendors.calls()
    assert entry["state"] == "blocked"
    assert entry["billed"]["output_token"] == told["usage"]["completion_tokens"] > 1


def test_a_refusal_in_words_and_half_a_text_are_billed_as_written(vendors, web):
    vendors.fail("refusal", vendor="huggingface")
    assert said(web)["choices"][0]["message"]["content"].startswith("I'm sorry")
    vendors.fail("partial", vendor="huggingface")
    half, whole = said(web), said(web)
    assert half["choices"][0]["finish_reason"] == "length"
    assert half["usage"]["completion_tokens"] < whole["usage"]["completion_tokens"]
    assert [each["billed"]["output_token"] for each in vendors.calls()][1:] == [
        half["usage"]["completion_tokens"],
        whole["usage"]["completion_tokens"],
    ]


def test_a_corrupt_answer_cannot_be_read_but_was_accepted(vendors, web):
    vendors.fail("corrupt", vendor="huggingface", times=2)
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        web.post(CHAT, json=ASKED).json()
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(web.post(PICTURE, json=PAINT).content))
    assert [each["state"] for each in vendors.calls()] == ["delivered"] * 2


def test_a_filtered_picture_is_black_and_billed(vendors, web):
    vendors.fail("filtered", vendor="huggingface")
    with Image.open(io.BytesIO(web.post(PICTURE, json=PAINT).content)) as picture:
        assert picture.convert("L").getextrema() == (0, 0)
    assert vendors.calls()[0]["billed"] == {"image": 1}


def test_an_answer_that_is_lost_was_accepted_and_is_billed(vendors, web):
    vendors.fail("gateway", vendor="huggingface")
    assert web.post(CHAT, json=ASKED).status_code == 504
    vendors.fail("drop", vendor="huggingface")
    with pytest.raises(httpx.RemoteProtocolError):
        web.post(PICTURE, json=PAINT)
    billed = [each["billed"] for each in vendors.calls()]
    assert billed[0]["output_token"] > 1
    assert billed[1] == {"image": 1}


def test_faults_that_cannot_happen_here_wait_for_one_to_whom_they_can(vendors, web):
    vendors.fail("late_failure")
    assert said(web)["choices"]
    assert vendors.calls()[0]["fault"] is None


def test_a_slow_answer_is_a_good_one(vendors, web):
    vendors.fail("slow", vendor="huggingface", slow_s=0.05)
    assert said(web)["choices"]
    assert vendors.calls()[0]["fault"] == "slow"
