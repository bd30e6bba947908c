"""Names that follow from content, and from nothing else."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.identity import conflict_job_id, content_hash, fingerprint, job_id, job_id_from_transport
from shared.domain.request import ImageRequest, Request, TextRequest, VideoRequest, parse_request

IMAGE = ImageRequest(kind="image", prompt="a red fox", deadline_s=600)
VIDEO = VideoRequest(kind="video", prompt="a red fox", deadline_s=3600)
TEXT = TextRequest(kind="text", prompt="a red fox", deadline_s=300)

NO_MATTER: dict[str, Any] = {
    "request_id": "other",
    "user": "other",
    "priority": "high",
    "max_cost_micro_usd": 1,
    "deadline_s": 11,
    "callback_url": "https://shop.com/",
    "labels": {"a": "b"},
    "cache": "refresh",
    "enhance_prompt": False,
    "prompt": "what is sent is an argument of its own",
    "negative_prompt": "likewise",
    "model": "likewise",
}
OTHER: dict[str, Any] = {
    "kind": "other",
    "tenant": "other",
    "prefer": "cost",
    "fallback": False,
    "min_grade": "A",
    "style": "anime",
    "count": 2,
    "aspect_ratio": "4:3",
    "size": "2K",
    "seed": 1,
    "guidance_scale": 2.0,
    "reference_images": ("gs://inbox/a",),
    "person_generation": "allow_all",
    "duration_s": 8,
    "resolution": "4k",
    "fps": 30,
    "audio": False,
    "image": "gs://inbox/a",
    "last_frame": "gs://inbox/a",
    "task": "fast",
    "system": "be brief",
    "temperature": 0.0,
    "top_p": 0.5,
    "max_tokens": 9,
    "response_schema": {"type": "object"},
    "inputs": ("gs://inbox/a",),
    "platform": "x",
}


def print_of(request: Request, prompt: str = "p", negative: str | None = None, model: str | None = None) -> str:
    return fingerprint(request, prompt, negative, model)


def test_job_ids_are_stable_across_versions() -> None:
    """Changed ids would buy again what running systems have bought: these values must never change."""
    # e.g. printf '14:job by request4:acme3:r-1' | sha256sum | cut -c1-32
    assert job_id("acme", "r-1") == "e7f0eb8166d4362a47d701a6e96301d5"
    assert job_id_from_transport("acme", "m-1") == "8f61bf8d77655e4446bf8146ca0b15b7"
    assert conflict_job_id("acme", "r-1", "abc") == "6e886386ba26f7cb8cfccedf750ca1ad"


def test_ids_of_different_purposes_never_meet() -> None:
    ids = {
        job_id("t", "x"),
        job_id_from_transport("t", "x"),
        conflict_job_id("t", "x", ""),
        conflict_job_id("t", "", "x"),
    }
    assert len(ids) == 4
    assert all(len(one) == 32 and set(one) <= set("0123456789abcdef") for one in ids)


parts = st.text(alphabet="a1:0é", max_size=4)


@given(st.tuples(parts, parts), st.tuples(parts, parts))
def test_no_two_pairs_of_tenant_and_name_share_an_id(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (job_id(*one) == job_id(*other)) == (one == other)


def test_an_identity_that_is_not_even_text_has_an_id() -> None:
    assert job_id("t", "\ud800") != job_id("t", "\ud801")


def test_the_content_is_the_same_however_it_is_written() -> None:
    def parsed(payload: dict[str, Any]) -> Request:
        return parse_request(payload, known_models=lambda _: True, schema_problem=lambda _: None)

    asked = {"kind": "image", "prompt": "a red fox", "labels": {"a": "1", "b": "2"}, "max_cost_usd": "0.5"}
    spelt_out = {"labels": {"b": "2", "a": "1"}, "seed": None, "count": 1, "max_cost_usd": "0.500", "kind": "image"}
    assert content_hash(parsed(asked)) == content_hash(parsed(spelt_out | {"prompt": " a red fox ", "request_id": "r"}))


@pytest.mark.parametrize("request_", [IMAGE, VIDEO, TEXT], ids=["image", "video", "text"])
def test_every_field_is_content_but_the_name(request_: Request) -> None:
    changes = NO_MATTER | OTHER
    for field in fields(request_):
        if field.name == "kind":
            continue
        other = replace(request_, **{field.name: changes[field.name]})
        assert (content_hash(other) == content_hash(request_)) == (field.name == "request_id"), field.name


@pytest.mark.parametrize("request_", [IMAGE, VIDEO, TEXT], ids=["image", "video", "text"])
def test_every_field_that_changes_the_output_changes_the_fingerprint_and_no_other(request_: Request) -> None:
    for field in fields(request_):
        if field.name == "kind":
            continue
        other = replace(request_, **{field.name: (NO_MATTER | OTHER)[field.name]})
        assert (print_of(other) == print_of(request_)) == (field.name in NO_MATTER), field.name


def test_what_is_sent_to_the_vendor_is_in_the_fingerprint_each_in_its_place() -> None:
    sent = itertools.product(["p", "q"], [None, "", "p", "q"], [None, "p"])
    prints = [print_of(request, *what) for request, what in itertools.product([IMAGE, VIDEO, TEXT], sent)]
    assert len(set(prints)) == len(prints) == 3 * 16


def test_an_alias_means_what_it_resolves_to() -> None:
    alias = replace(IMAGE, model="nano-banana")
    assert print_of(alias, model="gemini-x") == print_of(replace(IMAGE, model="gemini-x"), model="gemini-x")
