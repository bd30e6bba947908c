"""The table of models: the shipped rows, their names and dates, and what a malformed row is told."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from shared.domain.catalogue import Catalogue, Model, is_retired, parse_catalogue, prices_on
from shared.errors import CatalogueError

TODAY = date(2026, 11, 21)
FILE = Path(__file__).parents[2] / "shared" / "catalogue.toml"
DOCUMENT: dict[str, Any] = tomllib.loads(FILE.read_text(encoding="utf-8"))
SHIPPED = parse_catalogue(DOCUMENT)


def row(name: str = "m", **fields: Any) -> dict[str, Any]:
    return {"id": name, "provider": "p", "kinds": ["image"]} | fields


def price(**fields: Any) -> dict[str, Any]:
    known = {"unit": "image", "amount": "0.04", "from": date(2026, 1, 1), "source": "page", "checked": TODAY}
    return {key: value for key, value in (known | fields).items() if value is not None}


def catalogue(*rows: dict[str, Any]) -> Catalogue:
    return parse_catalogue({"model": list(rows)})


def shipped(name: str) -> Model:
    return SHIPPED.by_name[name]


# ---------------------------------------------------------------- the shipped rows


def test_every_shipped_price_says_since_when_from_where_and_when_it_was_checked() -> None:
    raw = [(model["id"], given) for model in DOCUMENT["model"] for given in model.get("price", [])]
    assert len(raw) > 80
    assert [name for name, given in raw if not {"from", "source", "checked"} <= given.keys()] == []
    for model in SHIPPED.models:
        for known in model.prices:
            assert date(2020, 1, 1) <= known.since
            assert date(2026, 10, 1) <= known.checked <= TODAY
            assert known.source.startswith("https://") or model.simulated or model.template


def test_every_price_of_a_token_is_given_for_a_million() -> None:
    for model in DOCUMENT["model"]:
        for given in model.get("price", []):
            assert (given.get("per", 1) == 1_000_000) == given["unit"].endswith("_token"), model["id"]


@pytest.mark.parametrize(
    ("asked", "model", "via"),
    [
        ("imagen-3.0-generate-001", "gemini-2.5-flash-image", ("imagen-3.0-generate-001",)),
        ("imagegeneration@006", "gemini-2.5-flash-image", ("imagegeneration@006", "imagen-3.0-generate-002")),
        ("imagegeneration@002", "gemini-2.5-flash-image", ("imagegeneration@006", "imagen-3.0-generate-002")),
        ("veo-2.0-001", "veo-3.1-generate-001", ("veo-2.0-generate-001",)),
        ("veo-1.5-001", "veo-3.1-generate-001", ("veo-2.0-generate-001",)),
        ("gemini-pro", "gemini-3.8-flash", ("gemini-1.0-pro", "gemini-2.0-flash", "gemini-2.5-flash")),
        ("gemini-2.0-flash", "gemini-3.8-flash", ("gemini-2.0-flash", "gemini-2.5-flash")),
        ("nano-banana", "gemini-2.5-flash-image", ()),
        ("gen4_aleph", "aleph2", ()),
        ("gemini-3.8-flash", "gemini-3.8-flash", ()),
    ],
)
def test_an_old_name_leads_to_a_live_model_and_says_how(asked: str, model: str, via: tuple[str, ...]) -> None:
    found = SHIPPED.resolve(asked, TODAY)
    assert found is not None
    assert (found.model.id, found.asked, found.via) == (model, asked, via)
    assert not is_retired(found.model, TODAY)


@pytest.mark.parametrize("day", [TODAY, date(2027, 3, 15), date(2027, 12, 31)])
def test_every_name_in_the_file_leads_to_a_live_model_of_the_same_kind(day: date) -> None:
    for name, model in SHIPPED.by_name.items():
        found = SHIPPED.resolve(name, day)
        assert found is not None
        assert not is_retired(found.model, day), name
        assert found.model.kinds == model.kinds, name


@pytest.mark.parametrize(
    ("name", "last_day"),
    [
        ("gemini-2.5-flash", date(2026, 10, 19)),
        ("gemini-2.5-pro", date(2026, 10, 19)),
        ("gemini-2.5-flash-lite", date(2026, 10, 19)),
        ("gemini-2.0-flash", date(2026, 5, 31)),
        ("gemini-3.6-flash", date(2026, 11, 18)),
        ("gemini-3.7-flash", date(2027, 1, 27)),
        ("gemini-2.5-flash-image", date(2027, 3, 14)),
        ("imagen-4.0-ultra-generate-001", date(2026, 6, 29)),
        ("imagegeneration@006", date(2025, 9, 23)),
        ("veo-3.0-generate-001", date(2026, 6, 29)),
        ("veo-2.0-generate-001", date(2026, 6, 29)),
        ("veo-3.1-generate-preview", date(2026, 10, 21)),
        ("gemini-omni-flash-preview", date(2026, 11, 5)),
    ],
)
def test_a_model_retires_on_the_vendors_date_and_not_a_day_before(name: str, last_day: date) -> None:
    assert not is_retired(shipped(name), last_day)
    assert is_retired(shipped(name), date.fromordinal(last_day.toordinal() + 1))


def test_an_earliest_retirement_date_that_has_passed_does_not_retire_a_model() -> None:
    model = shipped("veo-3.1-generate-001")
    assert model.retires_not_before == date(2026, 11, 17)
    assert model.retires_on is None
    assert not is_retired(model, date(2027, 6, 1))


def test_the_calendar_lists_what_retires_within_thirty_days_the_next_first() -> None:
    assert [m.id for m in SHIPPED.retiring_soon(date(2026, 12, 28))] == []
    assert [m.id for m in SHIPPED.retiring_soon(date(2026, 12, 29))] == ["gemini-3.7-flash"]
    assert [m.id for m in SHIPPED.retiring_soon(date(2027, 1, 28))] == []
    assert [m.id for m in SHIPPED.retiring_soon(TODAY, days=120)] == ["gemini-3.7-flash", "gemini-2.5-flash-image"]


def test_a_price_that_changes_is_two_rows_and_the_later_one_counts_from_its_first_day() -> None:
    def outputs(name: str, day: date) -> list[int]:
        return [p.micro_usd_per_million for p in prices_on(shipped(name), day) if p.unit == "output_token"]

    assert outputs("gemini-4-argon", date(2026, 11, 30)) == [10_000_000]
    assert outputs("gemini-4-argon", date(2026, 12, 1)) == [20_000_000]
    assert outputs("gemini-3.8-flash", date(2026, 12, 31)) == [3_750_000]
    assert outputs("gemini-3.8-flash", date(2027, 1, 1)) == [7_500_000]
    assert outputs("gemini-4-argon", date(2026, 10, 12)) == []


def test_offline_models_are_simulated_priced_and_cover_every_kind() -> None:
    offline = [model for model in SHIPPED.models if model.provider == "offline"]
    assert sorted(kind for model in offline for kind in model.kinds) == ["image"] * 3 + ["text"] * 3 + ["video"] * 3
    assert all(model.simulated and model.prices for model in offline)
    assert [model.id for model in offline if model.adopt == "none"] == ["offline-image-draft"]


def test_only_the_offline_models_are_simulated_and_only_the_template_is_one() -> None:
    assert {model.provider for model in SHIPPED.models if model.simulated} == {"offline"}
    assert [model.id for model in SHIPPED.models if model.template] == ["template-text"]


def test_models_without_any_price_are_the_known_few() -> None:
    live = [model for model in SHIPPED.models if not is_retired(model, TODAY)]
    unpriced = {
        "runway-gemini_omni_flash_1.1",
        "stable-video-diffusion",
        "huggingface-endpoint",
        "stable-diffusion-xl",
    }
    assert {model.id for model in live if not model.prices} == unpriced


# ---------------------------------------------------------------- resolving


def test_a_name_nobody_has_resolves_to_none() -> None:
    assert SHIPPED.resolve("gemini-99-ultra", TODAY) is None


def test_a_circle_of_retired_rows_ends_at_a_retired_row() -> None:
    gone = date(2026, 1, 1)
    circle = catalogue(
        row("a", retires_on=gone, successor="b"),
        row("b", retires_on=gone, successor="c"),
        row("c", retires_on=gone, successor="b"),
    )
    found = circle.resolve("a", TODAY)
    assert found is not None
    assert is_retired(found.model, TODAY)
    assert found.via == ("a", "b", "c")


def test_a_retired_row_without_a_successor_comes_back_as_it_is() -> None:
    found = catalogue(row("a", retires_on=date(2026, 1, 1))).resolve("a", TODAY)
    assert found is not None
    assert (found.model.id, found.via) == ("a", ())


def test_a_row_that_retires_later_is_not_followed_to_its_successor() -> None:
    chain = catalogue(row("a", retires_on=date(2027, 1, 1), successor="b"), row("b"))
    before, after = chain.resolve("a", TODAY), chain.resolve("a", date(2027, 1, 1))
    assert before is not None
    assert after is not None
    assert (before.model.id, after.model.id, after.via) == ("a", "b", ("a",))


# ---------------------------------------------------------------- a user's own file


def test_a_later_document_overrides_the_fields_it_names_and_keeps_the_others() -> None:
    first = {"model": [row("m", quality=0.9, rpm=10, price=[price()])]}
    second = {"model": [{"id": "m", "rpm": 50}]}
    model = parse_catalogue(first, second).by_name["m"]
    assert (model.rpm, model.quality, len(model.prices)) == (50, 0.9, 1)


def test_a_later_documents_prices_replace_the_whole_list() -> None:
    first = {"model": [row("m", price=[price(), price(unit="request", amount="1")])]}
    second = {"model": [{"id": "m", "price": [price(amount="0.05")]}]}
    assert [p.micro_usd_per_million for p in parse_catalogue(first, second).by_name["m"].prices] == [50_000_000_000]


def test_a_later_document_adds_rows_that_earlier_rows_may_name_as_successor() -> None:
    first = {"model": [row("old", retires_on=date(2026, 1, 1), successor="new")]}
    found = parse_catalogue(first, {"model": [row("new")]}).resolve("old", TODAY)
    assert found is not None
    assert found.model.id == "new"


def test_an_empty_document_adds_nothing() -> None:
    assert parse_catalogue({}, {"model": [row()]}).by_name.keys() == {"m"}


def test_what_a_row_does_not_say_has_a_default() -> None:
    model = catalogue(row("m", kinds=["text"])).by_name["m"]
    assert (model.vendor_model, model.billed_by, model.audio, model.adopt) == ("m", "token", "none", "none")
    assert (model.sizes, model.listed, model.prices) == (frozenset(), True, ())
    assert catalogue(row("m")).by_name["m"].modes == {"text_to_image"}


def test_a_price_of_the_smallest_amount_per_million_tokens_is_kept_exactly() -> None:
    model = catalogue(row(price=[price(unit="input_token", amount="0.000001", per=1_000_000)])).by_name["m"]
    assert model.prices[0].micro_usd_per_million == 1


def test_a_price_holds_from_its_first_to_its_last_day() -> None:
    known = catalogue(row(price=[price(to=date(2026, 1, 31))])).by_name["m"].prices[0]
    days = [date(2025, 12, 31), date(2026, 1, 1), date(2026, 1, 31), date(2026, 2, 1)]
    assert [known.holds_on(day) for day in days] == [False, True, True, False]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (row(kinds=["audio"]), ["'m'", "'kinds'", "image, video, text"]),
        (row(kinds=[]), ["'m'", "'kinds'", "not empty"]),
        (row(kinds="image"), ["'m'", "'kinds'", "a list"]),
        (row(adio="none"), ["'m'", "unknown field 'adio'", "audio"]),
        (row(audio="loud"), ["'m'", "'audio'", "'loud'", "always, optional, none"]),
        (row(quality=1.5), ["'m'", "'quality'", "1.5", "from 0 to 1"]),
        (row(quality=True), ["'m'", "'quality'"]),
        (row(max_count=0), ["'m'", "'max_count'", "whole number from 1"]),
        (row(max_count=True), ["'m'", "'max_count'"]),
        (row(rpm=1.5), ["'m'", "'rpm'", "1.5"]),
        (row(listed="no"), ["'m'", "'listed'", "true or false"]),
        (row(provider=" "), ["'m'", "'provider'", "not empty"]),
        (row(retires_on="2026-01-01"), ["'m'", "'retires_on'", "without quotes"]),
        (row(image_tokens=[1]), ["'m'", "'image_tokens'", "a table"]),
        (row(image_tokens={"1K": 0}), ["'m'", "'image_tokens'", "whole number"]),
        (row(successor="nobody"), ["'m'", "'successor'", "'nobody'"]),
        (row(aliases=["m"]), ["'m'", "'aliases'"]),
        (row(kinds=["text"], billed_by="piece"), ["'m'", "'billed_by'"]),
        (row(min_duration_s=9, max_duration_s=5), ["'m'", "'min_duration_s'", "5"]),
        (row(price={}), ["'m'", "'price'", "array of tables"]),
        (row(price=[price(unit="furlong")]), ["'m'", "'price.unit'", "'furlong'", "gpu_second"]),
        (row(price=[price(amount=0.04)]), ["'m'", "'price.amount'", "text"]),
        (row(price=[price(amount="4 cents")]), ["'m'", "'price.amount'", "decimal"]),
        (row(price=[price(amount="-1")]), ["'m'", "'price.amount'"]),
        (row(price=[price(per=1000)]), ["'m'", "'price.per'", "1 or 1000000"]),
        (row(price=[price(dims={"colour": "red"})]), ["'m'", "'price.dims'", "size, resolution, audio"]),
        (row(price=[price(dims={"audio": "yes"})]), ["'m'", "'price.dims'", "true or false"]),
        (row(price=[price(colour="red")]), ["'m'", "unknown field 'colour'"]),
        (row(price=[price(checked=None)]), ["'m'", "'price.checked'", "required"]),
        (row(price=[price(source=None)]), ["'m'", "'price.source'", "required"]),
        (row(price=[price(**{"from": None})]), ["'m'", "'price.from'", "required"]),
        (row(price=[price(), price(amount="0.05")]), ["'m'", "'price'", "one price"]),
        ({"id": "m", "kinds": ["image"]}, ["'m'", "'provider'", "required"]),
        ({"id": "m", "provider": "p"}, ["'m'", "'kinds'", "required"]),
        ({"provider": "p", "kinds": ["image"]}, ["number 1", "'id'"]),
    ],
)
def test_a_malformed_row_is_refused_by_name_and_field(wrong: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(CatalogueError) as error:
        catalogue(wrong)
    assert [part for part in told if part not in str(error.value)] == []


@pytest.mark.parametrize("document", [{"model": {}}, {"model": ["m"]}, {"models": []}])
def test_a_document_of_another_form_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(CatalogueError, match="model"):
        parse_catalogue(document)


def test_one_id_twice_in_a_document_is_refused() -> None:
    with pytest.raises(CatalogueError, match="'m': given 2 times"):
        catalogue(row("m"), row("m"))


def test_a_name_of_two_rows_is_refused() -> None:
    with pytest.raises(CatalogueError, match=r"'b'.*'shared'.*'a'"):
        catalogue(row("a", aliases=["shared"]), row("b", aliases=["shared"]))
