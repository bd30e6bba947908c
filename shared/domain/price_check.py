"""The catalogue against a public price table: for which model, unit and dimensions the two disagree.

Two tables are understood, as they were at the named dates; neither announces prices of a later day.

- LiteLLM, github.com/BerriAI/litellm, `model_prices_and_context_window.json`, copy of 2026-08-01: one object per model,
  under `vertex_ai/…`, `runwayml/…`, `replicate/…`, `huggingface/…`, or a bare name with `litellm_provider`
  `vertex_ai-…`; prices in USD per unit. `gemini/…` is the list of the Gemini Developer API, which may differ from
  Vertex AI's: it counts only for a model that the table does not have for Vertex AI.
- Portkey, github.com/Portkey-AI/models, `pricing/<provider>.json`, commit f654307 of 2026-08-21: one object per model
  with `pricing_config.pay_as_you_go`; prices in cents per unit. The file does not say whose prices it has; a name's
  `-lte-128k` is the tier of short inputs, the one our limits keep to.

Batch, cached, priority and long-context prices are other tariffs than the one we pay, and are not compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from shared.domain.catalogue import Catalogue, Model, is_retired, prices_on

Dims = tuple[tuple[str, str | bool], ...]
Priced = tuple[str, Dims]  # a unit, and what its price holds for

_PER_USD = 12  # decimal places from USD for one unit to micro-USD for a million of them
_PER_CENT = 10
_MOST_USD = Decimal(1_000_000)  # for one unit; more is no price
_PREFIXES = {"vertex_ai": "vertex", "runwayml": "runway", "replicate": "replicate", "huggingface": "huggingface"}
_LITELLM_UNITS = {
    "input_cost_per_token": "input_token",
    "output_cost_per_token": "output_token",
    "output_cost_per_image_token": "image_token",
    "output_cost_per_video_token": "video_token",
    "output_cost_per_image": "image",
}
_LITELLM_SECOND = re.compile(r"output_cost_per_(?:video_per_)?second(?:_(\d+p|4k))?")
_PORTKEY_UNITS = {
    "request_token": "input_token",
    "response_token": "output_token",
    "image_token": "image_token",
    "output_video_token": "video_token",
    "video_seconds": "second",
}
_PORTKEY_SECOND = re.compile(r"video_duration_seconds_(\d+)_(\d+)")
_RESOLUTIONS = {720: "720p", 1080: "1080p", 2160: "4k"}  # by the shorter side, pixels
_SHORT_TIER = re.compile(r"-lte-\d+k$")


@dataclass(frozen=True, slots=True)
class Listing:
    """What a public table says of one model.

    Attributes:
        name: the table's own name of it.
        provider: whose price it is, as our rows name it; None where the table does not say.
        model: the vendor's name of it.
        source: where the table has it from; empty when it does not say.
        prices: micro-USD for a million units, by unit and dims.
        fallback: counts only where no other listing of the model does.
    """

    name: str
    provider: str | None
    model: str
    source: str
    prices: Mapping[Priced, int]
    fallback: bool = False


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One price that the table has otherwise; amounts are micro-USD for a million units.

    Attributes:
        listing, source: the table's name of the model, and where the table has it from.
        agrees_from: the day from which our own rows have announced the table's price; None: never.
    """

    model: str
    unit: str
    dims: Dims
    ours: int
    theirs: int
    listing: str
    source: str
    agrees_from: date | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a table and the catalogue say of each other.

    Attributes:
        compared: models that both have.
        missing_there: live models of ours with a price today that the table does not have.
        missing_here: models the table has of vendors we have rows of, or of nobody in particular, and we do not.
    """

    disagreements: tuple[Disagreement, ...]
    compared: int
    missing_there: int
    missing_here: int


def read_listings(document: object) -> tuple[Listing, ...]:
    """Read a table that was parsed with `parse_float=Decimal`; what is no price in it is passed over.

    Raises:
        ValueError: it has the form of neither table.
    """
    rows = {k: v for k, v in document.items() if isinstance(v, dict)} if isinstance(document, dict) else {}
    if any("litellm_provider" in row for row in rows.values()):
        return tuple(found for name, row in rows.items() if (found := _litellm(name, row)) is not None)
    if any(isinstance(row.get("pricing_config"), dict) for row in rows.values()):
        return tuple(_portkey(name, row) for name, row in rows.items() if name != "default")
    raise ValueError("neither LiteLLM's price table (litellm_provider) nor Portkey's (pricing_config)")


def compare(catalogue: Catalogue, listings: tuple[Listing, ...], today: date) -> Comparison:
    """Compare every live model of a real vendor, at the prices in force *today*."""
    models = [m for m in catalogue.models if not (m.simulated or m.template or is_retired(m, today))]
    known = {(p, m.vendor_model) for m in catalogue.models for p in (m.provider, None)}
    priced = [(model, _of(model, listings)) for model in models if prices_on(model, today)]
    both = [(model, found) for model, found in priced if found]
    told = dict.fromkeys(d for model, found in both for listing in found for d in _differences(model, listing, today))
    return Comparison(
        disagreements=tuple(told),
        compared=len(both),
        missing_there=len(priced) - len(both),
        missing_here=len({(listing.provider, listing.model) for listing in listings} - known),
    )


def _of(model: Model, listings: tuple[Listing, ...]) -> list[Listing]:
    found = [x for x in listings if x.model == model.vendor_model and x.provider in (None, model.provider)]
    return [x for x in found if not x.fallback] or found


def _differences(model: Model, listing: Listing, today: date) -> Iterator[Disagreement]:
    mine = {(p.unit, p.dims): p.micro_usd_per_million for p in prices_on(model, today)}
    for unit in dict.fromkeys(unit for unit, _ in mine):
        ours = {dims: amount for (u, dims), amount in mine.items() if u == unit}
        theirs = {dims: amount for (u, dims), amount in listing.prices.items() if u == unit}
        for dims, our, their in _pairs(ours, theirs):
            if our != their:
                agrees_from = _announced(model, unit, dims, their, today)
                yield Disagreement(model.id, unit, dims, our, their, listing.name, listing.source, agrees_from)


def _pairs(ours: Mapping[Dims, int], theirs: Mapping[Dims, int]) -> Iterator[tuple[Dims, int, int]]:
    """Yield dims, our price and theirs, for all that can be compared.

    A price of theirs without dims leaves open which of our dims it means. It is then right when it is that of one of
    those that it has no price of its own for, and otherwise stands against all of them.
    """
    for dims, their in theirs.items():
        our = ours.get(dims, ours.get(()))
        if our is not None:
            yield dims, our, their
    base, rest = theirs.get(()), {dims: our for dims, our in ours.items() if dims not in theirs}
    if base is not None and () not in ours and base not in rest.values():
        yield from ((dims, our, base) for dims, our in rest.items())


def _announced(model: Model, unit: str, dims: Dims, amount: int, today: date) -> date | None:
    asked = (unit, dims, amount)
    days = [p.since for p in model.prices if p.since > today and (p.unit, p.dims, p.micro_usd_per_million) == asked]
    return min(days, default=None)


def _litellm(name: str, row: Mapping[str, Any]) -> Listing | None:
    prefix, _, model = name.partition("/")
    provider = "vertex" if prefix == "gemini" else _PREFIXES.get(prefix)
    if not model and str(row.get("litellm_provider", "")).startswith("vertex_ai"):
        provider, model = "vertex", name
    if provider is None:
        return None
    prices: dict[Priced, int] = {}
    for field, value in row.items():
        priced, amount = _litellm_unit(field), _amount(value, _PER_USD)
        if priced is not None and amount is not None:
            prices[priced] = amount
    return Listing(name, provider, model, str(row.get("source", "")), prices, fallback=prefix == "gemini")


def _litellm_unit(field: str) -> Priced | None:
    if field in _LITELLM_UNITS:
        return _LITELLM_UNITS[field], ()
    second = _LITELLM_SECOND.fullmatch(field)
    if second is None:
        return None
    return "second", (("resolution", second[1]),) if second[1] else ()


def _portkey(name: str, row: Mapping[str, Any]) -> Listing:
    tariff = _table(_table(row.get("pricing_config")).get("pay_as_you_go"))
    units = {**tariff, **_table(tariff.get("additional_units"))}
    prices: dict[Priced, int] = {}
    for field, value in units.items():
        priced, amount = _portkey_unit(field), _amount(_table(value).get("price"), _PER_CENT)
        if priced is not None and amount is not None:
            prices[priced] = amount
    picture = _table(_table(_table(tariff.get("image")).get("default")).get("default"))
    amount = _amount(picture.get("price"), _PER_CENT)
    if amount is not None:
        prices["image", ()] = amount
    return Listing(name, None, _SHORT_TIER.sub("", name), "", prices)


def _portkey_unit(field: str) -> Priced | None:
    if field in _PORTKEY_UNITS:
        return _PORTKEY_UNITS[field], ()
    second = _PORTKEY_SECOND.fullmatch(field)
    if second is None:
        return None
    resolution = _RESOLUTIONS.get(min(int(second[1]), int(second[2])))
    return ("second", (("resolution", resolution),)) if resolution else None


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _amount(value: object, places: int) -> int | None:
    """Return micro-USD for a million units, the whole number next to it; None for what is no price."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    amount = Decimal(value)
    if not amount.is_finite() or not 0 <= amount <= _MOST_USD:
        return None
    return int(amount.scaleb(places).to_integral_value(ROUND_HALF_EVEN))
