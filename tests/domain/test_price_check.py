"""Our prices against LiteLLM's and Portkey's tables: read exactly, matched by model, unit and dims, none invented.

The excerpts are facts of github.com/BerriAI/litellm `model_prices_and_context_window.json` (2026-08-01) and
github.com/Portkey-AI/models `pricing/vertex-ai.json` (f654307, 2026-08-21).
"""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.catalogue import Catalogue, parse_catalogue
from shared.domain.price_check import Comparison, compare, read_listings

TODAY = date(2026, 11, 21)
VEO = "veo-3.1-fast-generate-001"

LITELLM = """{
  "sample_spec": {"litellm_provider": "one of https://docs.litellm.ai/docs/providers", "output_cost_per_token": 0.0},
  "gpt-x": {"litellm_provider": "openai", "input_cost_per_token": 1e-06},
  "gemini-3.1-flash-image": {"litellm_provider": "vertex_ai-language-models", "input_cost_per_token": 5e-07,
    "output_cost_per_image": 0.0672, "output_cost_per_image_token": 6e-05, "output_cost_per_token": 3e-06,
    "input_cost_per_token_batches": 2.5e-07},
  "gemini/gemini-3.1-flash-image": {"litellm_provider": "gemini", "input_cost_per_token": 2.5e-07},
  "gemini/veo-3.1-lite-generate-001": {"litellm_provider": "gemini", "output_cost_per_second": 0.05,
    "output_cost_per_second_1080p": 0.08},
  "vertex_ai/veo-3.1-fast-generate-001": {"litellm_provider": "vertex_ai-video-models", "output_cost_per_second": 0.15,
    "source": "https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/veo"},
  "runwayml/gen4_turbo": {"litellm_provider": "runwayml", "output_cost_per_video_per_second": 0.05}
}"""

PORTKEY = """{
  "default": {"pricing_config": {"pay_as_you_go": {"request_token": {"price": 0}}, "currency": "USD"}},
  "gemini-3.7-flash": {"pricing_config": {"pay_as_you_go": {"request_token": {"price": 0.00015},
    "response_token": {"price": 0.00075}, "additional_units": {"web_search": {"price": 1.4}}},
    "batch_config": {"request_token": {"price": 0.000075}}}},
  "gemini-2.5-flash-image": {"pricing_config": {"pay_as_you_go": {"request_token": {"price": 3e-05},
    "response_token": {"price": 0.00025}, "additional_units": {"image_token": {"price": 0.003}}}}},
  "gemini-omni-flash-preview": {"pricing_config": {"pay_as_you_go": {"request_token": {"price": 0.00015},
    "response_token": {"price": 0.0009}, "additional_units": {"output_video_token": {"price": 0.00175}}}}},
  "veo-3.1-generate-preview": {"pricing_config": {"pay_as_you_go": {"request_token": {"price": 0},
    "additional_units": {"video_duration_seconds_1280_720": {"price": 40},
    "video_duration_seconds_3840_2160": {"price": 60}, "default_duration_seconds": {"price": 8}}}}},
  "imagen-4.0-generate-001": {"pricing_config": {"pay_as_you_go": {"image": {"default": {"default": {"price": 4}}}}}},
  "gemini-3-pro-image-lte-128k": {"pricing_config": {"pay_as_you_go": {"request_token": {"price": 0.0002}}}},
  "gemini-3-pro-image-gt-128k": {"pricing_config": {"pay_as_you_go": {"request_token": {"price": 0.0004}}}}
}"""


def row(name: str, *prices: dict[str, Any], provider: str = "vertex", **fields: Any) -> dict[str, Any]:
    known = {"from": date(2026, 1, 1), "source": "page", "checked": TODAY}
    made = {"id": name, "provider": provider, "kinds": ["image", "video"], "price": [known | p for p in prices]}
    return made | fields


def tokens(unit: str, amount: str, **more: Any) -> dict[str, Any]:
    return {"unit": f"{unit}_token", "amount": amount, "per": 1_000_000, **more}


def second(amount: str, **dims: str | bool) -> dict[str, Any]:
    return {"unit": "second", "amount": amount, "dims": dims}


def image(amount: str) -> dict[str, Any]:
    return {"unit": "image", "amount": amount}


def catalogue(*rows: dict[str, Any]) -> Catalogue:
    return parse_catalogue({"model": list(rows)})


def checked(text: str, *rows: dict[str, Any]) -> Comparison:
    return compare(catalogue(*rows), read_listings(json.loads(text, parse_float=Decimal)), TODAY)


def told(found: Comparison) -> list[tuple[str, str, dict[str, Any], int, int]]:
    """Model, unit, dims, ours and theirs; micro-USD for a million units."""
    return [(d.model, d.unit, dict(d.dims), d.ours, d.theirs) for d in found.disagreements]


# ---------------------------------------------------------------- what agrees


def test_litellms_usd_for_a_token_are_our_usd_for_a_million():
    flash = row("gemini-3.1-flash-image", tokens("input", "0.50"), tokens("output", "3"), tokens("image", "60"))
    found = checked(LITELLM, flash, row("gen4_turbo", second("0.05"), provider="runway"))
    assert (told(found), found.compared, found.missing_there) == ([], 2, 0)


def test_portkeys_cents_for_a_unit_are_our_usd():
    found = checked(
        PORTKEY,
        row("gemini-2.5-flash-image", tokens("input", "0.30"), tokens("output", "2.50"), tokens("image", "30")),
        row("gemini-omni-flash-preview", tokens("input", "1.50"), tokens("video", "17.50")),
        row("veo-3.1-generate-preview", second("0.40", resolution="720p"), second("0.60", resolution="4k")),
        row("imagen-4.0-generate-001", image("0.04")),
        row("gemini-3-pro-image", tokens("input", "2")),
    )
    assert (told(found), found.compared, found.missing_there) == ([], 5, 0)


@given(st.integers(min_value=0, max_value=10**9))
def test_every_price_we_can_write_is_found_again_to_the_last_digit(micro_usd):
    amount = f"{micro_usd // 10**6}.{micro_usd % 10**6:06d}"
    table = f'{{"vertex_ai/m": {{"litellm_provider": "vertex_ai", "output_cost_per_token": {micro_usd}e-12}}}}'
    assert told(checked(table, row("m", tokens("output", amount)))) == []
    other = f"{(micro_usd + 1) // 10**6}.{(micro_usd + 1) % 10**6:06d}"
    found = checked(table, row("m", tokens("output", other)))
    assert told(found) == [("m", "output_token", {}, micro_usd + 1, micro_usd)]


def test_a_price_finer_than_we_can_write_is_compared_with_the_one_next_to_it():
    table = '{"vertex_ai/m": {"litellm_provider": "vertex_ai", "input_cost_per_token": 3.3333333333333335e-05}}'
    assert told(checked(table, row("m", tokens("input", "33.333333")))) == []
    assert len(told(checked(table, row("m", tokens("input", "33.333334"))))) == 1


# ---------------------------------------------------------------- what does not


def test_a_disagreement_names_both_prices_and_where_the_table_has_its_own_from():
    found = checked(LITELLM, row(VEO, second("0.10", resolution="720p"), second("0.12", resolution="1080p")))
    assert told(found) == [
        (VEO, "second", {"resolution": "720p"}, 100_000_000_000, 150_000_000_000),
        (VEO, "second", {"resolution": "1080p"}, 120_000_000_000, 150_000_000_000),
    ]
    assert found.disagreements[0].listing == f"vertex_ai/{VEO}"
    assert found.disagreements[0].source.startswith("https://cloud.google.com/")


def test_a_price_without_dims_agrees_when_it_is_one_of_those_it_can_mean():
    assert told(checked(LITELLM, row(VEO, second("0.15", audio=True), second("0.10", audio=False)))) == []
    lite = "veo-3.1-lite-generate-001"
    prices = second("0.05", resolution="720p"), second("0.08", resolution="1080p")
    assert told(checked(LITELLM, row(lite, *prices))) == []
    swapped = second("0.08", resolution="720p"), second("0.05", resolution="1080p")
    found = told(checked(LITELLM, row(lite, *swapped)))
    assert {dims["resolution"]: theirs // 10**9 for _, _, dims, _, theirs in found} == {"720p": 50, "1080p": 80}


def test_our_price_without_dims_holds_against_each_of_theirs():
    found = checked(PORTKEY, row("veo-3.1-generate-preview", second("0.40")))
    assert told(found) == [
        ("veo-3.1-generate-preview", "second", {"resolution": "4k"}, 400_000_000_000, 600_000_000_000)
    ]


def test_the_price_in_force_today_counts_and_one_that_is_announced_is_named_with_its_day():
    flash = row(
        "gemini-3.7-flash",
        tokens("input", "0.75"),
        tokens("output", "3.75"),
        tokens("input", "1.50", **{"from": date(2027, 1, 1)}),
        tokens("output", "8", **{"from": date(2027, 1, 1)}),
    )
    found = checked(PORTKEY, flash).disagreements
    assert [(d.unit, d.ours, d.theirs, d.agrees_from) for d in found] == [
        ("input_token", 750_000, 1_500_000, date(2027, 1, 1)),
        ("output_token", 3_750_000, 7_500_000, None),
    ]


def test_a_table_that_still_has_our_price_of_yesterday_disagrees_and_announces_nothing():
    before = tokens("input", "1.50", to=date(2026, 11, 20))
    (found,) = checked(
        PORTKEY, row("gemini-3.7-flash", before, tokens("input", "0.75", **{"from": TODAY}))
    ).disagreements
    assert (found.ours, found.theirs, found.agrees_from) == (750_000, 1_500_000, None)


def test_the_developer_apis_price_counts_only_where_vertex_has_none():
    assert told(checked(LITELLM, row("gemini-3.1-flash-image", tokens("input", "0.50")))) == []
    found = checked(LITELLM, row("veo-3.1-lite-generate-001", second("0.06", resolution="720p")))
    assert [d.listing for d in found.disagreements] == ["gemini/veo-3.1-lite-generate-001"]


def test_another_vendors_model_of_the_same_name_is_not_ours():
    found = checked(LITELLM, row("gen4_turbo", second("9"), provider="replicate"))
    assert (told(found), found.missing_there) == ([], 1)


def test_a_model_is_known_by_its_vendors_name_and_not_by_an_alias():
    ours = row("runway-turbo", second("0.06"), provider="runway", vendor_model="gen4_turbo")
    assert [model for model, *_ in told(checked(LITELLM, ours))] == ["runway-turbo"]
    assert checked(LITELLM, row("gen5", second("0.06"), provider="runway", aliases=["gen4_turbo"])).compared == 0


def test_batch_prices_and_tiers_of_long_inputs_are_not_compared():
    assert told(checked(PORTKEY, row("gemini-3-pro-image", tokens("input", "2")))) == []
    assert told(checked(LITELLM, row("gemini-3.1-flash-image", tokens("input", "0.50")))) == []


def test_what_only_one_of_the_two_has_is_counted_and_is_no_disagreement():
    found = checked(
        PORTKEY,
        row("gemini-3-pro-image", tokens("input", "2")),
        row("gemini-9", tokens("input", "2")),
        row("gone", tokens("input", "2"), retires_on=TODAY),
        row("made-up", tokens("input", "2"), simulated=True),
        row("without-price"),
    )
    assert (told(found), found.compared, found.missing_there, found.missing_here) == ([], 1, 1, 6)


# ---------------------------------------------------------------- what is no price, and no table


@pytest.mark.parametrize("price", ["null", '"free"', "true", "-1e-06", "NaN", "Infinity", "[]", "1e30"])
def test_what_is_no_price_is_passed_over(price):
    litellm = '{"vertex_ai/m": {"litellm_provider": "vertex_ai", "input_cost_per_token": PRICE}}'
    portkey = '{"m": {"pricing_config": {"pay_as_you_go": {"request_token": {"price": PRICE}}}}}'
    for table in (litellm, portkey):
        found = checked(table.replace("PRICE", price), row("m", tokens("input", "1")))
        assert (told(found), found.compared) == ([], 1)


@pytest.mark.parametrize("rest", ['{"pay_as_you_go": null}', '{"pay_as_you_go": {"additional_units": 3}}', "{}"])
def test_a_portkey_row_without_prices_is_passed_over(rest):
    assert told(checked(f'{{"m": {{"pricing_config": {rest}}}, "n": 3}}', row("m", tokens("input", "1")))) == []


@pytest.mark.parametrize(
    "text", ["{}", "[]", "3", '"text"', '{"m": {"input_cost_per_token": 1}}', '{"m": {"pricing_config": 3}}']
)
def test_what_has_the_form_of_neither_table_is_refused(text):
    with pytest.raises(ValueError, match="neither LiteLLM's price table"):
        read_listings(json.loads(text))
