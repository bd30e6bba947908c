"""What an upstream system may ask for, and how every refusal names its field."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.request import (
    DEFAULT_DEADLINE_S,
    ImageRequest,
    Request,
    TextRequest,
    VideoRequest,
    parse_request,
    request_to_doc,
)
from shared.domain.request_parsing import ALL_FIELDS, FIELDS
from shared.domain.web_address import address_problem
from shared.errors import FieldError, InvalidRequest

IMAGE = {"kind": "image", "prompt": "a red fox in the snow"}
VIDEO = {"kind": "video", "prompt": "a red fox runs"}
TEXT = {"kind": "text", "prompt": "Say hi"}


def parse(payload: object) -> Request:
    return parse_request(
        payload,
        known_models=lambda name: name in {"model-a", "model-b"},
        schema_problem=lambda schema: "no type" if "type" not in schema else None,
    )


def refusals(payload: object) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as caught:
        parse(payload)
    return [(error.field, error.code) for error in caught.value.errors]


def message_of(payload: object) -> str:
    with pytest.raises(InvalidRequest) as caught:
        parse(payload)
    return caught.value.errors[0].message


# ---------------------------------------------------------------- accepted


def test_only_kind_and_prompt_are_needed() -> None:
    assert parse(IMAGE) == ImageRequest(kind="image", prompt="a red fox in the snow", deadline_s=600)
    assert parse(VIDEO) == VideoRequest(kind="video", prompt="a red fox runs", deadline_s=3600)
    assert parse(TEXT) == TextRequest(kind="text", prompt="Say hi", deadline_s=300)


def test_every_field_of_an_image_arrives_checked() -> None:
    request = parse(
        IMAGE
        | {
            "request_id": " r-1 ",
            "tenant": "acme",
            "user": "u1",
            "priority": "high",
            "prefer": "cost",
            "model": "model-a",
            "fallback": ["model-b", "model-a", "model-b"],
            "max_cost_usd": "0.25",
            "min_grade": "B",
            "cache": "off",
            "enhance_prompt": False,
            "style": "anime",
            "negative_prompt": "blurry",
            "deadline_s": 60,
            "callback_url": "https://hooks.shop.com/done?token=1",
            "labels": {"campaign": "spring", "empty": ""},
            "count": 8,
            "aspect_ratio": "21:9",
            "size": "4K",
            "seed": 2**31 - 1,
            "guidance_scale": 7,
            "reference_images": ["gs://inbox/a.png"],
            "person_generation": "allow_adult",
        }
    )
    assert request == ImageRequest(
        kind="image",
        prompt="a red fox in the snow",
        request_id="r-1",
        tenant="acme",
        user="u1",
        priority="high",
        prefer="cost",
        model="model-a",
        fallback=("model-b", "model-a"),
        max_cost_micro_usd=250_000,
        min_grade="B",
        cache="off",
        enhance_prompt=False,
        style="anime",
        negative_prompt="blurry",
        deadline_s=60,
        callback_url="https://hooks.shop.com/done?token=1",
        labels={"campaign": "spring", "empty": ""},
        count=8,
        aspect_ratio="21:9",
        size="4K",
        seed=2**31 - 1,
        guidance_scale=7.0,
        reference_images=("gs://inbox/a.png",),
        person_generation="allow_adult",
    )


def test_null_counts_as_absent() -> None:
    assert parse(IMAGE | {"seed": None, "tenant": None, "labels": None}) == parse(IMAGE)


def test_a_prompt_is_trimmed_and_composed() -> None:
    decomposed = unicodedata.normalize("NFD", "café")
    assert parse(IMAGE | {"prompt": f"\n\u00a0 {decomposed} at\r\nnight\t\n"}).prompt == "café at\nnight"


def test_object_names_are_compared_byte_by_byte_and_so_stay_as_they_are() -> None:
    uri = "gs://inbox/" + unicodedata.normalize("NFD", "café.png")
    request = parse(VIDEO | {"image": uri})
    assert isinstance(request, VideoRequest)
    assert request.image == uri


def test_the_schema_is_a_copy() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    request = parse(TEXT | {"response_schema": schema})
    assert isinstance(request, TextRequest)
    assert request.response_schema == schema
    schema["properties"] = {}
    assert request.response_schema != schema


# ---------------------------------------------------------------- refused


def test_all_problems_are_told_at_once() -> None:
    found = refusals({"kind": "video", "fps": 23, "duration_s": "8", "max_cst_usd": "1", "labels": []})
    assert sorted(found) == [
        ("duration_s", "invalid_type"),
        ("fps", "not_allowed"),
        ("labels", "invalid_type"),
        ("max_cst_usd", "unknown_field"),
        ("prompt", "required"),
    ]


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        ({"prompt": 5}, "invalid_type"),
        ({"prompt": ["a red fox"]}, "invalid_type"),
        ({"prompt": "four"}, "too_short"),
        ({"prompt": "  four      "}, "too_short"),
        ({"prompt": "x" * 1001}, "too_long"),
        ({"prompt": "x" * 10_000_000}, "too_long"),
        ({"prompt": "a red\x00fox"}, "control_characters"),
        ({"prompt": "a red\x1b[31mfox"}, "control_characters"),
        ({"prompt": "a red \ud800 fox"}, "control_characters"),
        ({"prompt": "a red\x85fox"}, "control_characters"),
        ({"prompt": "a red" + "\u0301" * 31}, "not_allowed"),
        ({"negative_prompt": "two\nlines"}, "control_characters"),
        ({"negative_prompt": " "}, "too_short"),
        ({"request_id": ""}, "too_short"),
        ({"request_id": "r" * 201}, "too_long"),
        ({"request_id": "r\n1"}, "control_characters"),
        ({"request_id": "r\u202e1"}, "control_characters"),
        ({"request_id": 17}, "invalid_type"),
        ({"tenant": "a\u200bb"}, "control_characters"),
        ({"user": {}}, "invalid_type"),
        ({"priority": "urgent"}, "not_allowed"),
        ({"priority": True}, "invalid_type"),
        ({"prefer": "cheap"}, "not_allowed"),
        ({"model": "model-z"}, "unknown_model"),
        ({"model": ["model-a"]}, "invalid_type"),
        ({"fallback": "model-a"}, "invalid_type"),
        ({"fallback": []}, "too_short"),
        ({"fallback": ["model-a", "model-z"]}, "unknown_model"),
        ({"fallback": ["model-a"] * 7}, "too_long"),
        ({"fallback": [1]}, "invalid_type"),
        ({"max_cost_usd": 0.25}, "invalid_type"),
        ({"max_cost_usd": 1}, "invalid_type"),
        ({"max_cost_usd": "-1"}, "not_allowed"),
        ({"max_cost_usd": "1e3"}, "not_allowed"),
        ({"max_cost_usd": "NaN"}, "not_allowed"),
        ({"max_cost_usd": "$1"}, "not_allowed"),
        ({"max_cost_usd": "0.0000001"}, "not_allowed"),
        ({"min_grade": "E"}, "not_allowed"),
        ({"cache": "yes"}, "not_allowed"),
        ({"enhance_prompt": 1}, "invalid_type"),
        ({"enhance_prompt": "false"}, "invalid_type"),
        ({"style": "baroque"}, "not_allowed"),
        ({"deadline_s": 9}, "not_allowed"),
        ({"deadline_s": 86_401}, "not_allowed"),
        ({"deadline_s": 60.0}, "invalid_type"),
        ({"labels": {"a": 1}}, "invalid_type"),
        ({"labels": {"": "x"}}, "too_short"),
        ({"labels": {"k" * 64: "x"}}, "too_long"),
        ({"labels": {"k": "x" * 257}}, "too_long"),
        ({"labels": {"__name__": "x"}}, "not_allowed"),
        ({"labels": {"a": "1", " a": "2"}}, "not_allowed"),
        ({"labels": {str(i): "x" for i in range(65)}}, "too_long"),
        ({"count": 0}, "not_allowed"),
        ({"count": 9}, "not_allowed"),
        ({"count": True}, "invalid_type"),
        ({"count": 10**5000}, "not_allowed"),
        ({"aspect_ratio": "16:10"}, "not_allowed"),
        ({"size": 512}, "invalid_type"),
        ({"size": "1k"}, "not_allowed"),
        ({"seed": -1}, "not_allowed"),
        ({"seed": 2**31}, "not_allowed"),
        ({"guidance_scale": float("nan")}, "not_allowed"),
        ({"guidance_scale": float("inf")}, "not_allowed"),
        ({"guidance_scale": 30.1}, "not_allowed"),
        ({"guidance_scale": False}, "invalid_type"),
        ({"guidance_scale": "7"}, "invalid_type"),
        ({"reference_images": "gs://inbox/a.png"}, "invalid_type"),
        ({"reference_images": ["gs://inbox/a.png"] * 15}, "too_long"),
        ({"reference_images": ["https://shop.com/a.png"]}, "not_allowed"),
        ({"reference_images": ["gs://inbox"]}, "not_allowed"),
        ({"reference_images": ["gs://inbox/"]}, "not_allowed"),
        ({"reference_images": ["gs://inbox/../outputs/a.png"]}, "not_allowed"),
        ({"reference_images": ["gs://inbox/a\nb"]}, "control_characters"),
        ({"reference_images": ["gs://inbox/\ud800"]}, "control_characters"),
        ({"reference_images": ["gs://inbox/" + "é" * 513]}, "too_long"),
        ({"reference_images": ["file:///etc/passwd"]}, "not_allowed"),
        ({"reference_images": [None]}, "invalid_type"),
        ({"person_generation": "everyone"}, "not_allowed"),
    ],
)
def test_an_image_field_that_is_wrong_is_refused_by_name(extra: dict[str, Any], code: str) -> None:
    assert refusals(IMAGE | extra) == [(next(iter(extra)), code)]


@pytest.mark.parametrize(
    ("payload", "field", "code"),
    [
        (VIDEO | {"duration_s": 0}, "duration_s", "not_allowed"),
        (VIDEO | {"duration_s": 61}, "duration_s", "not_allowed"),
        (VIDEO | {"resolution": "8k"}, "resolution", "not_allowed"),
        (VIDEO | {"aspect_ratio": "21:9"}, "aspect_ratio", "not_allowed"),
        (VIDEO | {"fps": True}, "fps", "invalid_type"),
        (VIDEO | {"fps": 29}, "fps", "not_allowed"),
        (VIDEO | {"audio": "yes"}, "audio", "invalid_type"),
        (VIDEO | {"image": "a.png"}, "image", "not_allowed"),
        (VIDEO | {"last_frame": 3}, "last_frame", "invalid_type"),
        (TEXT | {"prompt": " "}, "prompt", "too_short"),
        (TEXT | {"prompt": "x" * 100_001}, "prompt", "too_long"),
        (TEXT | {"task": "poem"}, "task", "not_allowed"),
        (TEXT | {"system": "a\x07b"}, "system", "control_characters"),
        (TEXT | {"temperature": 2.1}, "temperature", "not_allowed"),
        (TEXT | {"top_p": -0.1}, "top_p", "not_allowed"),
        (TEXT | {"max_tokens": 0}, "max_tokens", "not_allowed"),
        (TEXT | {"max_tokens": 65_537}, "max_tokens", "not_allowed"),
        (TEXT | {"inputs": ["gs://inbox/a"] * 11}, "inputs", "too_long"),
        (TEXT | {"platform": "myspace"}, "platform", "not_allowed"),
        (TEXT | {"response_schema": []}, "response_schema", "invalid_type"),
        (TEXT | {"response_schema": {"a": 1}}, "response_schema", "not_allowed"),
        (TEXT | {"response_schema": {"type": "x" * 65_536}}, "response_schema", "too_long"),
        (TEXT | {"response_schema": {"type": ["x"] * 100_000}}, "response_schema", "too_long"),
        (TEXT | {"response_schema": {"type": float("nan")}}, "response_schema", "not_allowed"),
        (TEXT | {"response_schema": {"type": 2**63}}, "response_schema", "not_allowed"),
        (TEXT | {"response_schema": {"type": {1, 2}}}, "response_schema", "not_allowed"),
        (TEXT | {"response_schema": {"type": "\ud800"}}, "response_schema", "control_characters"),
        (TEXT | {"response_schema": {"__type__": "x"}}, "response_schema", "not_allowed"),
        (TEXT | {"response_schema": {"type": "array", "enum": [[1]]}}, "response_schema", "not_allowed"),
    ],
)
def test_a_video_or_text_field_that_is_wrong_is_refused_by_name(payload: Any, field: str, code: str) -> None:
    assert refusals(payload) == [(field, code)]


def test_a_text_prompt_may_be_a_hundred_thousand_characters() -> None:
    assert len(parse(TEXT | {"prompt": "é" * 100_000}).prompt) == 100_000


def test_a_schema_nested_a_hundred_thousand_levels_is_refused_without_a_crash() -> None:
    nested: Any = "string"
    for _ in range(100_000):
        nested = {"type": nested}
    assert refusals(TEXT | {"response_schema": nested}) == [("response_schema", "not_allowed")]
    level: Any = nested
    while isinstance(level, dict):  # taken apart from the outside: freeing it whole would recurse as deep
        level = level.pop("type")


@pytest.mark.parametrize("payload", [None, [], "image", 7, True, [IMAGE]])
def test_what_is_no_object_is_no_request(payload: object) -> None:
    assert refusals(payload) == [("", "invalid_type")]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("talking_photo", "unsupported_kind"),
        ("campaign", "unsupported_kind"),
        ("audio", "unknown_kind"),
        (3, "invalid_type"),
        (None, "required"),
        ([], "invalid_type"),
    ],
)
def test_a_kind_that_is_not_made_is_refused_with_the_reason(kind: object, code: str) -> None:
    assert refusals({"kind": kind, "script": "hello"}) == [("kind", code)]


def test_the_common_fields_of_an_unknown_kind_are_checked_all_the_same() -> None:
    assert refusals({"kind": "audio", "max_cost_usd": 1, "script": "hello"}) == [
        ("kind", "unknown_kind"),
        ("max_cost_usd", "invalid_type"),
    ]


def test_a_typo_is_met_with_the_name_that_was_meant() -> None:
    assert "did you mean 'max_cost_usd'?" in message_of(IMAGE | {"maxCostUsd": "1"})
    assert "did you mean 'aspect_ratio'?" in message_of(IMAGE | {"aspect-ratio": "1:1"})
    assert "did you mean" not in message_of(IMAGE | {"zzz": 1})


def test_a_field_of_another_kind_is_refused_with_the_kind_it_belongs_to() -> None:
    assert refusals(IMAGE | {"fps": 24}) == [("fps", "unknown_field")]
    assert "video requests" in message_of(IMAGE | {"fps": 24})


def test_a_wrong_choice_is_met_with_all_that_is_allowed() -> None:
    assert message_of(IMAGE | {"priority": "urgent"}) == "must be one of high, normal, low"
    assert message_of(VIDEO | {"fps": 5}) == "must be one of 16, 24, 25, 30, 60"
    assert message_of(IMAGE | {"count": 50}) == "must be a whole number from 1 to 8"
    assert '"0.25"' in message_of(IMAGE | {"max_cost_usd": 0.25})


def test_names_of_unknown_fields_can_be_stored_and_are_bounded() -> None:
    payload: dict[Any, Any] = {f"field\ud800{i}" + "x" * 1000: i for i in range(5000)} | {7: "seven"}
    with pytest.raises(InvalidRequest) as caught:
        parse(IMAGE | payload)
    errors = caught.value.errors
    assert len(errors) == 21
    assert "4981 more" in errors[-1].message
    json.dumps([error.message + error.field for error in errors], ensure_ascii=False).encode()
    assert max(len(error.message) for error in errors) < 300


@pytest.mark.parametrize("value", ["canary\x00", {"canary": "canary"}, ["canary"]], ids=["text", "object", "list"])
@pytest.mark.parametrize("kind", ["image", "video", "text", "canary"])
def test_refusals_never_repeat_what_was_sent(kind: str, value: object) -> None:
    payload = {name: kind if name == "kind" else value for name in ALL_FIELDS}
    with pytest.raises(InvalidRequest) as caught:
        parse(payload)
    assert len(caught.value.errors) > 10
    assert "canary" not in str(caught.value)


# ---------------------------------------------------------------- addresses to call


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.shop.com/x?y=z#w",
        "https://hooks.shop.com:8443/",
        "https://8.8.8.8/x",
        "https://[2606:4700::1111]/x",
        "https://xn--bcher-kva.com./",
        "HTTPS://Shop.COM",
    ],
)
def test_a_public_https_address_may_be_called(url: str) -> None:
    assert parse(IMAGE | {"callback_url": url}).callback_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.com/",
        "ftp://shop.com/",
        "shop.com",
        "https://",
        "https:///x",
        "https://user:pass@shop.com/",
        "https://user@shop.com/",
        "https://@shop.com/",
        "https://shop.com\\@evil.com/",
        "https://shop.com /",
        "https://münchen.de/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://017700000001/",
        "https://10.0.0.8/",
        "https://192.168.1.1/",
        "https://172.16.0.1/",
        "https://100.64.0.1/",
        "https://169.254.169.254/computeMetadata/v1/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://[::1]/",
        "https://[::]/",
        "https://[fd00::1]/",
        "https://[fe80::1%25eth0]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[::1/",
        "https://localhost/",
        "https://api.localhost./",
        "https://metadata.google.internal/",
        "https://printer.local/",
        "https://intranet/",
        "https://a..com/",
        "https://%31%32%37.0.0.1/",
        "https://shop.com:0/",
        "https://shop.com:65536/",
        "https://shop.com:port/",
    ],
)
def test_an_address_that_may_lead_inside_is_refused(url: str) -> None:
    assert refusals(IMAGE | {"callback_url": url}) == [("callback_url", "not_allowed")]


@given(st.text())
def test_any_text_is_judged_as_an_address_without_an_error(url: str) -> None:
    for candidate in (url, f"https://{url}", f"https://[{url}]/", f"https://shop.com:{url}"):
        problem = address_problem(candidate)
        assert problem is None or problem.startswith("must ")


# ---------------------------------------------------------------- any payload


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
likely_values = json_values | st.sampled_from(
    ["model-a", "1:1", "0.5", "x", "1080p", "gs://b-1/o", ["gs://b-1/o"], {"type": "object"}, {"a": "b"}, 24, 0.5]
)
payloads = st.builds(
    lambda kind, others: {"kind": kind, "prompt": "a red fox in the snow"} | others,
    st.sampled_from(["image", "video", "text", "campaign", "", 1]),
    st.dictionaries(st.sampled_from(sorted(ALL_FIELDS)) | st.text(max_size=8), likely_values, max_size=6),
)


def judged(payload: object) -> Request | list[FieldError]:
    try:
        return parse(payload)
    except InvalidRequest as refusal:
        return refusal.errors


@given(json_values | payloads)
@settings(max_examples=400)
def test_any_payload_is_accepted_or_refused_field_by_field(payload: object) -> None:
    verdict = judged(payload)
    if isinstance(verdict, Request):
        doc = request_to_doc(verdict)
        assert parse(doc) == verdict
        assert parse(json.loads(json.dumps(doc))) == verdict
    else:
        named = {"", "kind", "prompt"} | (set(payload) if isinstance(payload, dict) else set())
        assert verdict
        assert all(error.code and error.message for error in verdict)
        assert all(error.field in named or error.code == "unknown_field" for error in verdict)


# ---------------------------------------------------------------- and back


def test_the_document_of_a_request_has_only_what_differs_from_the_defaults() -> None:
    for plain in (IMAGE, VIDEO, TEXT):
        assert request_to_doc(parse(plain)) == plain
        explicit = plain | {
            "priority": "normal",
            "fallback": True,
            "deadline_s": DEFAULT_DEADLINE_S[str(plain["kind"])],
        }
        assert request_to_doc(parse(explicit)) == plain


def test_the_document_of_a_request_speaks_the_words_of_the_wire() -> None:
    asked = TEXT | {"max_cost_usd": "0.50", "fallback": ["model-b"], "deadline_s": 30, "inputs": ["gs://inbox/a"]}
    assert request_to_doc(parse(asked)) == asked | {"max_cost_usd": "0.5"}


def test_every_attribute_of_a_request_can_be_asked_for() -> None:
    for kind, request_class in {"image": ImageRequest, "video": VideoRequest, "text": TextRequest}.items():
        attributes = {field.name for field in fields(request_class)}
        assert set(FIELDS[kind]) == attributes - {"max_cost_micro_usd"} | {"max_cost_usd"}


valid_fields = st.fixed_dictionaries(
    {},
    optional={
        "request_id": st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=200),
        "tenant": st.sampled_from(["acme", "default"]),
        "priority": st.sampled_from(["high", "normal", "low"]),
        "model": st.sampled_from(["model-a", "model-b"]),
        "fallback": st.booleans() | st.lists(st.sampled_from(["model-a", "model-b"]), min_size=1, max_size=6),
        "max_cost_usd": st.decimals(0, 1000, places=6).map(lambda amount: f"{amount:f}"),
        "min_grade": st.sampled_from("ABCD"),
        "enhance_prompt": st.booleans(),
        "negative_prompt": st.text(st.characters(categories=["L", "Zs"]), max_size=50).map(lambda text: f"no {text}"),
        "deadline_s": st.integers(10, 86_400),
        "labels": st.dictionaries(
            st.from_regex(r"[a-z]{1,63}", fullmatch=True), st.text("xyz é", max_size=9), max_size=3
        ),
        "temperature": st.floats(0, 2) | st.integers(0, 2),
        "max_tokens": st.integers(1, 65_536),
        "system": st.text(st.characters(categories=["L", "P"]), min_size=1, max_size=30),
        "response_schema": st.just({"type": "object", "properties": {"a": {"type": "string"}}}),
        "inputs": st.lists(st.just("gs://inbox/ü.png"), max_size=10),
        "platform": st.sampled_from(["x", "linkedin", "email"]),
    },
)


@given(valid_fields)
def test_a_request_survives_the_way_to_the_document_and_back(asked: dict[str, Any]) -> None:
    request = parse(TEXT | asked)
    assert parse(json.loads(json.dumps(request_to_doc(request)))) == request
