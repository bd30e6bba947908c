"""The optimiser adds words and never takes one away."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.prompt import optimise
from shared.domain.prompt_words import DEFAULT_WORDS, PromptWords
from shared.domain.request import ImageRequest, Request, TextRequest, VideoRequest
from shared.domain.request_parsing import STYLES

IMAGE = ImageRequest(kind="image", prompt="a red fox in the snow", deadline_s=600)
VIDEO = VideoRequest(kind="video", prompt="a red fox runs", deadline_s=3600)
TEXT = TextRequest(kind="text", prompt="Say hi", deadline_s=300)
WORDS = PromptWords(
    styles={"anime": ("anime style", "high quality")},
    quality={"image": ("high quality", "sharp focus")},
    negative={"image": ("blurry", "low quality")},
)


def test_terms_of_the_style_come_before_terms_of_the_kind() -> None:
    plan = optimise(replace(IMAGE, style="anime"), WORDS)
    assert plan.original == "a red fox in the snow"
    assert plan.used == "a red fox in the snow, anime style, high quality, sharp focus"
    assert plan.added == ("anime style", "high quality", "sharp focus")
    assert plan.negative == "blurry, low quality"


def test_what_the_prompt_says_already_is_not_added() -> None:
    plan = optimise(replace(IMAGE, prompt="A High-Quality photo with SHARP  focus"), WORDS)
    assert (plan.used, plan.added) == (plan.original, ())


def test_a_word_inside_another_is_not_the_same_word() -> None:
    assert optimise(replace(IMAGE, prompt="high quality unsharp focused fox"), WORDS).added == ("sharp focus",)


def test_a_sentence_is_not_followed_by_a_comma() -> None:
    assert optimise(replace(IMAGE, prompt="A red fox."), WORDS).used == "A red fox. high quality, sharp focus"


def test_the_negative_prompt_keeps_the_users_words_first_and_has_none_twice() -> None:
    assert optimise(replace(IMAGE, negative_prompt="people, Blurry"), WORDS).negative == "people, Blurry, low quality"


def test_what_the_prompt_asks_for_is_not_forbidden() -> None:
    assert optimise(replace(IMAGE, prompt="a fox, blurry background"), WORDS).negative == "low quality"


def test_terms_that_do_not_fit_go_and_the_users_words_stay() -> None:
    long = "fox " * 246 + "fox"  # 987 characters: room for ", sharp focus", not for ", high quality"
    plan = optimise(replace(IMAGE, prompt=long), WORDS)
    assert plan.added == ("sharp focus",)
    assert plan.used.startswith(long)
    assert len(plan.used) == 1000


@pytest.mark.parametrize("request_", [replace(IMAGE, enhance_prompt=False), TEXT, replace(TEXT, style="anime")])
def test_a_text_prompt_and_one_not_to_be_enhanced_stay_as_they_are(request_: Request) -> None:
    plan = optimise(replace(request_, negative_prompt="people"))
    assert (plan.used, plan.negative, plan.added) == (request_.prompt, "people", ())


def test_there_are_words_for_every_style_and_every_visual_kind() -> None:
    assert set(DEFAULT_WORDS.styles) == set(STYLES)
    for request in (IMAGE, VIDEO):
        plain, styled = optimise(request), optimise(replace(request, style="cinematic"))
        assert plain.added
        assert plain.negative
        assert len(styled.added) > len(plain.added)


terms = [
    term for table in (DEFAULT_WORDS.styles, DEFAULT_WORDS.quality, DEFAULT_WORDS.negative) for term in table.values()
]
prompts = st.lists(st.sampled_from([word for group in terms for word in group]) | st.text(max_size=30), min_size=1)


@given(
    st.sampled_from([IMAGE, VIDEO]),
    prompts.map(", ".join).map(lambda text: text[:1000]),
    st.sampled_from([None, *STYLES]),
    st.none() | prompts.map(" ".join).map(lambda text: text[:1000]),
)
def test_an_optimised_prompt_is_optimal_within_its_limits(
    request_: Request, prompt: str, style: str | None, negative: str | None
) -> None:
    request = replace(request_, prompt=prompt, style=style, negative_prompt=negative)
    plan = optimise(request)
    assert plan.used.startswith(prompt)
    assert (plan.negative or "").startswith(negative or "")
    assert max(len(plan.used), len(plan.negative or "")) <= 1000
    again = optimise(replace(request, prompt=plan.used, negative_prompt=plan.negative))
    assert (again.used, again.negative, again.added) == (plan.used, plan.negative, ())
