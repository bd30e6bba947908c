from __future__ import annotations

import base64
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.filesystem import FilesystemBlobStore
from shared.domain.catalogue import parse_catalogue
from shared.domain.pricing import cost_of
from shared.domain.request import TextRequest
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
from shared.ports import Asset, Call
from shared.providers.http import LONGEST_WAIT_S
from shared.providers.huggingface import HuggingFaceProvider
from tests.providers.recorded_vendor import Reply, Vendor, recorded

FILE = Path(__file__).parents[2] / "shared" / "catalogue.toml"
SHIPPED = parse_catalogue(tomllib.loads(FILE.read_text("utf-8")))
PROMPT = "a lighthouse painted by three clumsy otters"
SYSTEM = "You write for sailors only"
SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
TOKEN = "hf_" + "abcdefghij" * 4
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
CHAT_PATH, IMAGE_PATH = "/v1/chat/completions", "/hf-inference/models/stabilityai/stable-diffusion-xl-base-1.0"


def said(content: Any = "Ahoy.", reason: Any = "stop", **changes: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 21, "completion_tokens": 4, "total_tokens": 25}
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": reason}
    return {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage, **changes}


PICTURE = Reply(200, PNG, {"Content-Type": "image/jpeg"})


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with recorded() as server:
        server.answers(Reply(200, said()))
        yield server


@pytest.fixture
def blobs(tmp_path: Path) -> FilesystemBlobStore:
    store = FilesystemBlobStore(tmp_path)
    store.create("gs://inbox/a.png", PNG, "image/png")
    return store


@pytest.fixture
def face(vendor: Vendor, blobs: FilesystemBlobStore) -> Iterator[HuggingFaceProvider]:
    provider = HuggingFaceProvider(TOKEN, blobs, base_url=vendor.url)
    yield provider
    provider.close()


def call(name: str, kind: str, **params: Any) -> Call:
    row = SHIPPED.by_name[name]
    return Call(
        key="job-1",
        job_id="job",
        attempt=1,
        kind=kind,
        model=row.vendor_model,
        row=row,
        params={"prompt": PROMPT, "negative_prompt": None, "seed": 7, **params},
        output_prefix="file:///outputs/jobs/job/1/",
        timeout_s=5.0,
    )


def text(**params: Any) -> Call:
    return call("gpt-oss-120b", "text", **{"task": "copywriting", "max_tokens": 256, **params})


def image(**params: Any) -> Call:
    return call("stable-diffusion-xl", "image", **{"width": 1360, "height": 768, "count": 1, **params})


# ---------------------------------------------------------------- text


def test_a_text_is_asked_for(face: HuggingFaceProvider, vendor: Vendor) -> None:
    face.start(text())
    assert (vendor.last.method, vendor.last.path) == ("POST", CHAT_PATH)
    assert vendor.last.headers["authorization"] == f"Bearer {TOKEN}"
    assert vendor.last.body == {
        "model": "openai/gpt-oss-120b:cerebras",
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": 256,
        "stream": False,
        "seed": 7,
    }


def test_a_text_is_asked_for_with_all_that_may_be_said(face: HuggingFaceProvider, vendor: Vendor) -> None:
    face.start(text(system=SYSTEM, temperature=0.0, top_p=0.9, response_schema=SCHEMA))
    assert vendor.last.body == {
        "model": "openai/gpt-oss-120b:cerebras",
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}],
        "max_tokens": 256,
        "stream": False,
        "temperature": 0.0,
        "top_p": 0.9,
        "seed": 7,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
    }


def test_pictures_go_before_the_prompt(face: HuggingFaceProvider, vendor: Vendor) -> None:
    face.start(text(inputs=["gs://inbox/a.png"]))
    url = "data:image/png;base64," + base64.b64encode(PNG).decode()
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": PROMPT}]
    assert vendor.last.body["messages"] == [{"role": "user", "content": content}]


def test_clips_are_not_read(face: HuggingFaceProvider, vendor: Vendor) -> None:
    with pytest.raises(InvalidCall):
        face.start(text(inputs=["gs://inbox/a.mp4"]))
    assert vendor.sent == []


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_the_address_may_end_in_the_version_or_not(vendor: Vendor, blobs: FilesystemBlobStore, ending: str) -> None:
    provider = HuggingFaceProvider(TOKEN, blobs, base_url=vendor.url + ending)
    vendor.answers(Reply(200, said()), PICTURE)
    provider.start(text())
    provider.start(image())
    provider.close()
    assert [sent.path for sent in vendor.sent] == [CHAT_PATH, IMAGE_PATH]


def test_a_text_comes_with_its_tokens(face: HuggingFaceProvider, vendor: Vendor) -> None:
    done = face.start(text())
    assert done.assets == (Asset("text/plain", text="Ahoy."),)
    assert (done.usage, done.finish) == ({"input_token": 21, "output_token": 4}, "stop")


def test_what_a_text_costs_is_booked_to_the_micro_dollar(face: HuggingFaceProvider, vendor: Vendor) -> None:
    vendor.answers(Reply(200, said(usage={"prompt_tokens": 1000, "completion_tokens": 2001})))
    done = face.start(text())
    request = TextRequest(kind="text", tenant="t", user="u", prompt=PROMPT, deadline_s=60)
    assert cost_of(SHIPPED.by_name["gpt-oss-120b"], done.usage, request, date(2026, 11, 21)) == 350 + 1501


def test_an_answer_by_a_schema_is_json(face: HuggingFaceProvider, vendor: Vendor) -> None:
    vendor.answers(Reply(200, said('{"title": "Ahoy"}')))
    assert face.start(text(response_schema=SCHEMA)).assets == (Asset("application/json", text='{"title": "Ahoy"}'),)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("length", "max_tokens"), ("stop", "stop"), ("eos_token", "stop"), (None, "stop"), (["odd"], "stop")],
)
def test_the_reason_to_stop_is_told_in_our_words(
    face: HuggingFaceProvider, vendor: Vendor, reason: Any, finish: str
) -> None:
    vendor.answers(Reply(200, said("Ah", reason)))
    assert face.start(text()).finish == finish


def test_a_text_that_was_all_thought_is_empty(face: HuggingFaceProvider, vendor: Vendor) -> None:
    vendor.answers(Reply(200, said(None, "length")))
    done = face.start(text())
    assert (done.assets, done.finish) == ((Asset("text/plain", text=""),), "max_tokens")


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": 3},
        {"prompt_tokens": "3", "completion_tokens": 4},
        {"prompt_tokens": -3, "completion_tokens": 4},
        {"prompt_tokens": True, "completion_tokens": 4},
    ],
)
def test_half_a_usage_is_none(face: HuggingFaceProvider, vendor: Vendor, usage: Any) -> None:
    vendor.answers(Reply(200, said(usage=usage)))
    assert face.start(text()).usage == {}


@pytest.mark.parametrize("answer", [said("", "content_filter"), said(choices=[])])
def test_a_text_that_was_held_back_is_blocked_and_its_tokens_are_paid(
    face: HuggingFaceProvider, vendor: Vendor, answer: dict[str, Any]
) -> None:
    vendor.answers(Reply(200, answer))
    with pytest.raises(Blocked) as raised:
        face.start(text())
    assert raised.value.usage == {"input_token": 21, "output_token": 4}
    assert len(vendor.sent) == 1


# ---------------------------------------------------------------- pictures


def test_a_picture_is_asked_for(face: HuggingFaceProvider, vendor: Vendor) -> None:
    vendor.answers(PICTURE)
    done = face.start(image(negative_prompt="fog", guidance_scale=6.5, style="noir"))
    assert done.assets == (Asset("image/jpeg", data=PNG),)
    assert done.usage == {}
    assert (vendor.last.method, vendor.last.path) == ("POST", IMAGE_PATH)
    assert vendor.last.headers["accept"] == "image/png"
    assert vendor.last.headers["authorization"] == f"Bearer {TOKEN}"
    parameters = {"width": 1360, "height": 768, "seed": 7, "negative_prompt": "fog", "guidance_scale": 6.5}
    assert vendor.last.body == {"inputs": PROMPT, "parameters": parameters}


def test_what_was_not_asked_is_not_sent(face: HuggingFaceProvider, vendor: Vendor) -> None:
    vendor.answers(PICTURE)
    face.start(image(negative_prompt=""))
    assert vendor.last.body["parameters"] == {"width": 1360, "height": 768, "seed": 7}


def test_reference_pictures_are_refused_before_anything_is_sent(face: HuggingFaceProvider, vendor: Vendor) -> None:
    with pytest.raises(InvalidCall):
        face.start(image(reference_images=["gs://inbox/a.png"]))
    assert vendor.sent == []


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, {"error": "oh"}, {"Content-Type": "application/json"}),
        Reply(200, PNG, {"Content-Type": "text/html"}),
        Reply(200, PNG),
        Reply(200, b"", {"Content-Type": "image/png"}),
    ],
)
def test_a_success_that_is_no_picture_is_ambiguous(face: HuggingFaceProvider, vendor: Vendor, reply: Reply) -> None:
    vendor.answers(reply)
    with pytest.raises(Ambiguous):
        face.start(image())
    assert len(vendor.sent) == 1


def test_clips_are_not_made_here(face: HuggingFaceProvider, vendor: Vendor) -> None:
    with pytest.raises(InvalidCall, match="no video"):
        face.start(call("stable-diffusion-xl", "video"))
    assert vendor.sent == []


# ---------------------------------------------------------------- failures

REFUSED = {"error": {"message": "refused", "type": "invalid_request_error", "code": "content_filter"}}
UNSERVED = {"error": {"message": "The requested model is not supported", "code": "model_not_supported"}}


@pytest.mark.parametrize("make", [text, image])
@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (Reply(400, {"error": {"message": "bad", "code": "bad_value"}}), InvalidCall),
        (Reply(400, UNSERVED), ModelGone),
        (Reply(400, REFUSED), Blocked),
        (Reply(401, {"error": "Invalid credentials"}), AccountRefused),
        (Reply(402, {"error": "You have exceeded your monthly included credits"}), AccountRefused),
        (Reply(403), AccountRefused),
        (Reply(404), ModelGone),
        (Reply(422, {"error": "too long", "error_type": "validation"}), InvalidCall),
        (Reply(424, {"error": "failed", "error_type": "generation"}), Unavailable),
        (Reply(429), RateLimited),
        (Reply(429, {"error": "Model is overloaded", "error_type": "overloaded"}), RateLimited),
        (Reply(503, {"error": "Model is overloaded", "error_type": "overloaded"}), RateLimited),
        (Reply(500), Unavailable),
        (Reply(502), Ambiguous),
        (Reply(503), Unavailable),
        (Reply(504), Ambiguous),
        (Reply(then="drop"), Ambiguous),
        (Reply(then="hang"), Ambiguous),
        (Reply(200, b"<html>"), Ambiguous),
    ],
)
def test_a_call_that_fails_is_sent_once(
    face: HuggingFaceProvider, vendor: Vendor, make: Any, reply: Reply, fault: type[ProviderFault]
) -> None:
    vendor.answers(reply)
    with pytest.raises(ProviderFault) as raised:
        face.start(replace(make(), timeout_s=0.2))
    assert type(raised.value) is fault
    assert len(vendor.sent) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": [None]},
        {"choices": [{"finish_reason": "stop"}]},
        {"choices": [{"message": "Ahoy"}]},
        {"choices": "Ahoy"},
        {"choices": [{"message": {"content": ["Ahoy"]}}]},
        {"error": "oh"},
    ],
)
def test_a_success_without_a_text_is_ambiguous(face: HuggingFaceProvider, vendor: Vendor, body: Any) -> None:
    vendor.answers(Reply(200, body))
    with pytest.raises(Ambiguous):
        face.start(text())


@pytest.mark.parametrize(
    ("estimated", "wait_s"), [(20.5, 20.5), (-1, 0.0), (1e12, LONGEST_WAIT_S), ("soon", None), (None, None)]
)
def test_a_model_that_is_being_loaded_is_waited_for(
    face: HuggingFaceProvider, vendor: Vendor, estimated: Any, wait_s: float | None
) -> None:
    vendor.answers(Reply(503, {"error": "Model x is currently loading", "estimated_time": estimated}))
    with pytest.raises(Unavailable) as raised:
        face.start(image())
    assert raised.value.retry_after_s == wait_s


@pytest.mark.parametrize("status", [429, 503])
def test_an_overloaded_server_says_how_long(face: HuggingFaceProvider, vendor: Vendor, status: int) -> None:
    vendor.answers(Reply(status, {"error": "full", "error_type": "overloaded"}, {"Retry-After": "9"}))
    with pytest.raises(RateLimited) as raised:
        face.start(text())
    assert raised.value.retry_after_s == 9


@pytest.mark.parametrize("echo", [PROMPT, SYSTEM, "no fog at all", TOKEN, '{"type": "object", "properties"'])
def test_no_text_of_ours_and_no_token_comes_back_in_a_message(
    face: HuggingFaceProvider, vendor: Vendor, echo: str
) -> None:
    vendor.answers(Reply(400, {"error": {"message": f"refused: {echo}"}}))
    with pytest.raises(InvalidCall) as raised:
        face.start(text(system=SYSTEM, response_schema=SCHEMA, negative_prompt="no fog at all"))
    assert str(raised.value) == "huggingface answered 400"


# ---------------------------------------------------------------- operations and adoption


def test_there_are_no_operations(face: HuggingFaceProvider, vendor: Vendor) -> None:
    with pytest.raises(InvalidCall):
        face.poll({})
    face.cancel({})
    assert vendor.sent == []


def test_an_earlier_call_cannot_be_found(face: HuggingFaceProvider, vendor: Vendor) -> None:
    assert face.find(text()) is None
    assert vendor.sent == []
    assert {each.adopt for each in SHIPPED.models if each.provider == "huggingface"} == {"none"}
