"""What a request can cost at most, what it did cost, and that the second never exceeds the first."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.catalogue import Model, parse_catalogue
from shared.domain.pricing import Demand, Quote, cost_of, demand, dims_of, media_of, price_of, quote
from shared.domain.request import ImageRequest, Request, TextRequest, VideoRequest
from shared.errors import PriceUnknown

TODAY = date(2026, 11, 21)
FILE = Path(__file__).parents[2] / "shared" / "catalogue.toml"
SHIPPED = parse_catalogue(tomllib.loads(FILE.read_text(encoding="utf-8")))

IMAGE = ImageRequest(kind="image", prompt="a cat on a mat", deadline_s=60)
VIDEO = VideoRequest(kind="video", prompt="a cat on a mat", deadline_s=600)
TEXT = TextRequest(kind="text", prompt="name a cat", deadline_s=60)


def shipped(name: str) -> Model:
    return SHIPPED.by_name[name]


def model(*prices: dict[str, Any], **fields: Any) -> Model:
    known = {"from": date(2026, 1, 1), "source": "page", "checked": TODAY}
    row = {"id": "m", "provider": "p", "kinds": ["image", "video"], "price": [known | price for price in prices]}
    return parse_catalogue({"model": [row | fields]}).by_name["m"]


def most(request: Request, name: str, day: date = TODAY) -> int:
    return price_of(shipped(name), demand(request, shipped(name)), day)


# ---------------------------------------------------------------- prices of the vendors, to the micro-dollar


@pytest.mark.parametrize(
    ("name", "usage", "micro_usd"),
    [
        ("gemini-3.1-flash-image", {"image_token": 1120}, 67_200),
        ("gemini-3.1-flash-lite-image", {"image_token": 1120}, 33_600),
        ("gemini-3-pro-image", {"image_token": 1120}, 134_400),
        ("gemini-2.5-flash-image", {"image_token": 1290}, 38_700),
        ("gemini-nano-banana-2.1", {"image_token": 1120}, 33_600),
        ("gemini-3.1-flash-image", {"input_token": 2_000_000, "output_token": 1_000_000}, 4_000_000),
        ("offline-image-fine", {"image": 3}, 120_000),
        ("offline-image-standard", {"image": 1}, 20_000),
        ("offline-image-draft", {"image": 1}, 5_000),
        ("gen4_image", {"credit": 8}, 80_000),
    ],
)
def test_an_image_costs_what_the_vendor_says(name: str, usage: Mapping[str, int], micro_usd: int) -> None:
    assert cost_of(shipped(name), usage, IMAGE, TODAY) == micro_usd


@pytest.mark.parametrize(
    ("name", "resolution", "seconds", "audio", "micro_usd"),
    [
        ("veo-3.1-fast-generate-001", "720p", 8, True, 800_000),
        ("veo-3.1-fast-generate-001", "1080p", 8, True, 960_000),
        ("veo-3.1-fast-generate-001", "4k", 8, True, 2_400_000),
        ("veo-3.1-generate-001", "720p", 4, True, 1_600_000),
        ("veo-3.1-generate-001", "1080p", 1, True, 400_000),
        ("veo-3.1-generate-001", "4k", 1, True, 600_000),
        ("veo-3.1-lite-generate-001", "1080p", 6, True, 480_000),
        ("gen4_turbo", "720p", 5, False, 250_000),
        ("gen4.5", "720p", 10, False, 1_200_000),
        ("runway-veo3.1", "1080p", 8, True, 3_200_000),
        ("runway-veo3.1", "1080p", 8, False, 1_600_000),
        ("runway-veo3.1_fast", "720p", 4, False, 400_000),
        ("offline-video-cinema", "4k", 7, True, 700_000),
        ("offline-video-standard", "720p", 6, True, 300_000),
        ("offline-video-draft", "720p", 6, False, 120_000),
        ("wan-2.1-i2v-720p", "720p", 5, False, 1_250_000),
    ],
)
def test_a_clip_costs_what_the_vendor_says(
    name: str, resolution: str, seconds: int, audio: bool, micro_usd: int
) -> None:
    request = replace(VIDEO, resolution=resolution, duration_s=seconds, audio=audio)
    assert most(request, name) == micro_usd
    assert cost_of(shipped(name), {"second": seconds}, request, TODAY) == micro_usd


@pytest.mark.parametrize(
    ("name", "day", "micro_usd"),
    [
        ("gemini-4-argon", date(2026, 11, 30), 12_000_000),
        ("gemini-4-argon", date(2026, 12, 1), 24_000_000),
        ("gemini-3.8-flash", date(2026, 12, 31), 4_500_000),
        ("gemini-3.8-flash", date(2027, 1, 1), 9_000_000),
        ("gemini-3.5-flash-lite", TODAY, 2_800_000),
        ("gemini-3.1-flash-lite", TODAY, 1_750_000),
        ("offline-text-pro", TODAY, 9_000_000),
        ("offline-text-standard", TODAY, 2_800_000),
        ("offline-text-lite", TODAY, 500_000),
    ],
)
def test_a_million_tokens_in_and_out_cost_what_the_vendor_says(name: str, day: date, micro_usd: int) -> None:
    assert cost_of(shipped(name), {"input_token": 1_000_000, "output_token": 1_000_000}, TEXT, day) == micro_usd


def test_a_part_of_a_micro_dollar_is_rounded_up_once_for_the_whole_call() -> None:
    lite = shipped("offline-text-lite")  # 0.10 and 0.40 micro-USD a token
    assert cost_of(lite, {"input_token": 1}, TEXT, TODAY) == 1
    assert cost_of(lite, {"input_token": 6, "output_token": 1}, TEXT, TODAY) == 1
    assert cost_of(lite, {"input_token": 7, "output_token": 1}, TEXT, TODAY) == 2
    assert cost_of(lite, {}, TEXT, TODAY) == 0


def test_the_template_costs_nothing() -> None:
    assert most(TEXT, "template-text") == 0
    assert cost_of(shipped("template-text"), {"request": 1}, TEXT, TODAY) == 0


# ---------------------------------------------------------------- demand


def test_images_and_seconds_are_counted() -> None:
    assert demand(replace(IMAGE, count=3), shipped("offline-image-fine")).units == {"image": 3}
    assert demand(replace(VIDEO, duration_s=7), shipped("offline-video-draft")).units == {"second": 7}


def test_a_token_billed_picture_counts_its_tokens_and_reads_the_prompt_once_per_call() -> None:
    wanted = demand(replace(IMAGE, count=3, size="2K"), shipped("gemini-3.1-flash-image"))
    words = 64 + 5  # the prompt's fourteen letters and blanks, three to a token
    assert wanted.units == {"input_token": 3 * words, "image_token": 3 * 1680, "output_token": 3 * 2048}
    assert wanted.calls == 3


def test_calls_are_pieces_divided_by_what_one_call_makes() -> None:
    assert demand(replace(IMAGE, count=8), shipped("offline-image-fine")).calls == 1
    four = model({"unit": "request", "amount": "0.1"}, billed_by="request", pieces_per_call=4)
    assert demand(replace(IMAGE, count=5), four) == Demand({"request": 2}, {"size": "1K"}, 2)


def test_reference_pictures_are_counted_whatever_their_names_end_in() -> None:
    request = replace(IMAGE, reference_images=("gs://inbox/a", "gs://inbox/b.png"))
    plain = demand(IMAGE, shipped("gemini-3.1-flash-image")).units["input_token"]
    assert demand(request, shipped("gemini-3.1-flash-image")).units["input_token"] == plain + 2 * 1120


def test_a_picture_whose_tokens_are_not_published_may_fill_the_window() -> None:
    request = replace(IMAGE, reference_images=("gs://inbox/a.png",))
    assert demand(request, shipped("gemini-2.5-flash-image")).units["input_token"] == 32_768


@pytest.mark.parametrize("file", ["gs://inbox/talk.mp3", "gs://inbox/clip.mp4", "gs://inbox/no-ending"])
def test_a_clip_of_unknown_length_may_fill_the_window(file: str) -> None:
    request = replace(TEXT, inputs=("gs://inbox/a.png", file))
    assert demand(request, shipped("gemini-3.8-flash")).units["input_token"] == 1_048_576


def test_an_input_file_without_any_bound_has_no_price() -> None:
    with pytest.raises(PriceUnknown, match="max_input_tokens"):
        demand(replace(TEXT, inputs=("gs://inbox/a.png",)), model(kinds=["text"]))


def test_a_text_reads_prompt_system_and_schema_and_may_write_all_it_is_allowed() -> None:
    short = demand(TEXT, shipped("gemini-3.8-flash")).units
    long = demand(
        replace(TEXT, system="be brief", response_schema={"type": "object"}, max_tokens=77),
        shipped("gemini-3.8-flash"),
    ).units
    assert short == {"input_token": 64 + 4, "output_token": 1024}
    # "be brief": 8 letters and blanks; {"type": "object"}: 11 letters and blanks and 7 signs.
    assert long == {"input_token": 64 + 4 + 3 + 4 + 7, "output_token": 77}


@pytest.mark.parametrize(
    ("prompt", "tokens"), [("", 0), ("abc", 1), ("abcd", 2), ("1234", 4), ("a1", 2), ("猫の絵", 3), ("ab!", 2)]
)
def test_digits_signs_and_other_scripts_count_one_token_each(prompt: str, tokens: int) -> None:
    assert demand(replace(TEXT, prompt=prompt), shipped("gemini-3.8-flash")).units["input_token"] == 64 + tokens


def test_a_token_billed_clip_counts_tokens_per_second() -> None:
    units = demand(replace(VIDEO, duration_s=10), shipped("gemini-omni-1.1-flash-preview")).units
    assert units["video_token"] == 57_920
    assert most(replace(VIDEO, duration_s=10), "gemini-omni-1.1-flash-preview") == 1_013_600 + 18_432 + 104


def test_a_run_billed_by_gpu_time_needs_a_bound_and_is_then_priced_by_it() -> None:
    price = {"unit": "gpu_second", "amount": "0.0014"}
    bounded = model(price, billed_by="gpu_second", max_gpu_seconds=120)
    assert price_of(bounded, demand(VIDEO, bounded), TODAY) == 168_000
    assert cost_of(bounded, {"gpu_second": 31}, VIDEO, TODAY) == 43_400
    with pytest.raises(PriceUnknown, match="max_gpu_seconds"):
        demand(VIDEO, model(price, billed_by="gpu_second"))


# ---------------------------------------------------------------- what has no price


@pytest.mark.parametrize(
    ("request_", "name", "told"),
    [
        (replace(IMAGE, size="4K"), "gemini-3-pro-image", "image_token.*4K"),
        (replace(IMAGE, size="2K"), "gemini-nano-banana-2.1", "image_token.*2K"),
        (VIDEO, "gemini-omni-1.2-flash", "video_token.*720p"),
        (replace(VIDEO, resolution="1080p"), "gemini-omni-1.1-flash-preview", "video_token.*1080p"),
        (replace(VIDEO, resolution="4k"), "veo-3.1-lite-generate-001", "second.*resolution 4k"),
        (VIDEO, "stable-video-diffusion", "max_gpu_seconds"),
        (VIDEO, "runway-gemini_omni_flash_1.1", "second"),
        (TEXT, "huggingface-endpoint", "input_token"),
        (replace(IMAGE, size="2K"), "gen4_image", "image.*size 2K"),
    ],
)
def test_what_the_vendor_does_not_say_has_no_price_and_the_error_says_what_is_missing(
    request_: Request, name: str, told: str
) -> None:
    with pytest.raises(PriceUnknown, match=told) as error:
        most(request_, name)
    assert name in str(error.value)


def test_a_day_before_the_first_price_has_none() -> None:
    with pytest.raises(PriceUnknown, match="2026-10-12"):
        most(TEXT, "gemini-4-argon", date(2026, 10, 12))


def test_a_price_that_ended_is_not_used_any_more() -> None:
    ended = model({"unit": "image", "amount": "0.04", "to": date(2026, 10, 31)})
    assert price_of(ended, demand(IMAGE, ended), date(2026, 10, 31)) == 40_000
    with pytest.raises(PriceUnknown, match="image"):
        price_of(ended, demand(IMAGE, ended), date(2026, 11, 1))


def test_a_usage_report_in_a_unit_without_a_price_is_refused() -> None:
    with pytest.raises(PriceUnknown, match="gpu_second"):
        cost_of(shipped("offline-image-fine"), {"gpu_second": 3}, IMAGE, TODAY)


def test_units_of_which_none_were_used_need_no_price() -> None:
    assert cost_of(shipped("offline-image-fine"), {"image": 1, "gpu_second": 0}, IMAGE, TODAY) == 40_000


# ---------------------------------------------------------------- choosing the row


def test_the_price_for_what_was_asked_goes_before_the_price_for_everything() -> None:
    rows: list[dict[str, Any]] = [
        {"unit": "second", "amount": "1", "from": date(2026, 6, 1)},
        {"unit": "second", "amount": "2", "dims": {"resolution": "4k"}},
        {"unit": "second", "amount": "3", "dims": {"resolution": "4k", "audio": False}},
    ]
    for order in (rows, rows[::-1]):
        priced = model(*order)
        found = [
            price_of(priced, demand(replace(VIDEO, duration_s=1, resolution=r, audio=a), priced), TODAY)
            for r, a in [("720p", True), ("4k", True), ("4k", False)]
        ]
        assert found == [1_000_000, 2_000_000, 3_000_000]


def test_dimensions_are_those_the_kind_of_request_has() -> None:
    assert dims_of(replace(IMAGE, size="4K")) == {"size": "4K"}
    assert dims_of(replace(VIDEO, resolution="4k", audio=False)) == {"resolution": "4k", "audio": False}
    assert dims_of(TEXT) == {}


@pytest.mark.parametrize(
    ("uri", "media"),
    [("gs://b/a.PNG", "image"), ("gs://b/a.m4a", "audio"), ("gs://b/a.mov", "video"), ("gs://b/a", "video")],
)
def test_media_are_told_by_their_ending_and_an_unknown_one_counts_as_video(uri: str, media: str) -> None:
    assert media_of(uri) == media


def test_a_quote_is_the_range_of_the_prices() -> None:
    assert quote([40_000, 5_000, 20_000]) == Quote(5_000, 40_000)
    assert quote([]) == Quote(0, 0)


# ---------------------------------------------------------------- settling


def test_delivered_pieces_without_a_report_are_booked_as_the_tokens_they_count() -> None:
    flash = shipped("gemini-3.1-flash-image")
    request = replace(IMAGE, count=2)
    reckoned = demand(request, flash).units
    one = cost_of(flash, {"image": 1}, request, TODAY)
    assert one == cost_of(flash, {**reckoned, "image_token": 1120}, request, TODAY)
    assert cost_of(flash, {"image": 2}, request, TODAY) == price_of(flash, demand(request, flash), TODAY)


def test_delivered_seconds_without_a_report_are_booked_as_the_tokens_they_count() -> None:
    omni = shipped("gemini-omni-1.1-flash-preview")
    full = price_of(omni, demand(VIDEO, omni), TODAY)
    assert cost_of(omni, {"second": 6}, VIDEO, TODAY) == full
    assert cost_of(omni, {"second": 5}, VIDEO, TODAY) == full - 5792 * 175 // 10


requests = st.one_of(
    st.builds(
        ImageRequest,
        kind=st.just("image"),
        prompt=st.text(max_size=200),
        deadline_s=st.just(60),
        negative_prompt=st.none() | st.text(max_size=50),
        count=st.integers(1, 8),
        size=st.sampled_from(["512", "1K", "2K", "4K"]),
        reference_images=st.lists(st.just("gs://b/a.png"), max_size=3).map(tuple),
    ),
    st.builds(
        VideoRequest,
        kind=st.just("video"),
        prompt=st.text(max_size=200),
        deadline_s=st.just(60),
        duration_s=st.integers(1, 60),
        resolution=st.sampled_from(["480p", "720p", "1080p", "4k"]),
        audio=st.booleans(),
        image=st.none() | st.just("gs://b/a.png"),
    ),
    st.builds(
        TextRequest,
        kind=st.just("text"),
        prompt=st.text(max_size=2000),
        deadline_s=st.just(60),
        max_tokens=st.integers(1, 65_536),
        inputs=st.lists(st.sampled_from(["gs://b/a.png", "gs://b/a.mp3"]), max_size=3).map(tuple),
    ),
)


@settings(max_examples=150, derandomize=True)
@given(request=requests, day=st.dates(date(2026, 11, 1), date(2027, 2, 1)), data=st.data())
def test_usage_within_the_demand_never_costs_more_than_the_price(
    request: Request, day: date, data: st.DataObject
) -> None:
    priced = 0
    for candidate in SHIPPED.by_kind[request.kind]:
        try:
            wanted = demand(request, candidate)
            price = price_of(candidate, wanted, day)
        except PriceUnknown:
            continue
        priced += 1
        usage = {unit: data.draw(st.integers(0, limit)) for unit, limit in wanted.units.items()}
        assert 0 <= cost_of(candidate, usage, request, day) <= price
        assert cost_of(candidate, wanted.units, request, day) == price
    assert priced >= 3


@settings(max_examples=100, derandomize=True)
@given(
    amounts=st.tuples(*[st.integers(0, 99_999_999)] * 3),
    count=st.integers(1, 8),
    delivered=st.integers(0, 8),
    prompt=st.text(max_size=300),
)
def test_delivered_pieces_within_the_request_never_cost_more_than_the_price(
    amounts: tuple[int, int, int], count: int, delivered: int, prompt: str
) -> None:
    units = ("input_token", "output_token", "image_token")
    rows = [
        {"unit": unit, "amount": f"{amount // 10**6}.{amount % 10**6:06d}", "per": 1_000_000}
        for unit, amount in zip(units, amounts, strict=True)
    ]
    made = model(*rows, billed_by="token", image_tokens={"1K": 1117}, side_tokens=333)
    request = replace(IMAGE, prompt=prompt, count=count)
    price = price_of(made, demand(request, made), TODAY)
    assert cost_of(made, {"image": min(delivered, count)}, request, TODAY) <= price
    assert cost_of(made, {"image": count}, request, TODAY) == price
