"""The command `models`: the catalogue, its prices against a public table, and a model brought back by hand."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from functions._console import open_services, show
from functions._table import table
from shared.bootstrap import Services, missing_credentials
from shared.domain.breaker import FOREVER, Breaker
from shared.domain.catalogue import Model, Price, is_retired, prices_on
from shared.domain.price_check import Disagreement, Listing, compare, read_listings
from shared.errors import SettingsError, StoreUnavailable
from shared.ports import Json
from shared.settings import Settings

LARGEST_TABLE_BYTES = 33_554_432


def models(options: argparse.Namespace, settings: Settings) -> int:
    """Show the catalogue, or with `--check` what a price table says of it, or with `--enable` bring a model back."""
    services = open_services(settings)
    if options.check is not None:
        return _check(options, services)
    if options.enable is not None:
        return _enable(options, services)
    return _show(options, services)


def _show(options: argparse.Namespace, services: Services) -> int:
    """Prices in force, state, and who goes when."""
    today = services.clock.now().date()
    shown = [
        m
        for m in sorted(services.catalogue.models, key=lambda m: (m.provider, sorted(m.kinds), m.id))
        if (options.kind is None or options.kind in m.kinds) and (options.all or not is_retired(m, today))
    ]
    breakers = services.breakers.health([m.id for m in shown])
    rows = [_row(m, breakers[m.id], services) for m in shown]
    heads = ["model", "provider", "kinds", "retires", "successor", "state", "prices today"]
    lines = [
        [
            r["id"],
            r["provider"],
            ",".join(r["kinds"]),
            r["retires_on"] or "",
            r["successor"] or "",
            r["state"],
            "; ".join(r["prices"]),
        ]
        for r in rows
    ]
    going = services.catalogue.retiring_soon(today)
    calendar = [f"retires {m.retires_on}: {m.id}, successor {m.successor or 'none'}" for m in going]
    gone = [b for b in breakers.values() if b.disabled]
    show(
        options,
        {"models": rows, "retiring_soon": [m.id for m in going]},
        "\n".join([table(heads, lines), "", *calendar, *([gone_table(gone, services.clock.now())] if gone else [])]),
    )
    return 0


def _row(model: Model, breaker: Breaker, services: Services) -> Json:
    prices = prices_on(model, services.clock.now().date())
    return {
        "id": model.id,
        "provider": model.provider,
        "kinds": sorted(model.kinds),
        "retires_on": model.retires_on.isoformat() if model.retires_on else None,
        "successor": model.successor,
        "aliases": list(model.aliases),
        "state": _state(model, breaker, services),
        "prices": [_price_text(p) for p in prices],
        "reason": breaker.reason if breaker.disabled else None,
        "checked_again_at": checked_again_at(breaker),
    }


def _state(model: Model, breaker: Breaker, services: Services) -> str:
    today = services.clock.now().date()
    if is_retired(model, today):
        return "retired"
    if model.template:
        return "on"
    if not prices_on(model, today):
        return "price unknown"
    if breaker.disabled:
        return "gone"
    if model.provider not in services.settings.providers:
        return "off"
    return "no credentials" if missing_credentials(model.provider, services.settings) else "on"


def checked_again_at(breaker: Breaker) -> str | None:
    """Return from when on one call may find out whether a model that is gone is back; None: never, or it is not."""
    until = breaker.not_before
    return until.isoformat() if breaker.disabled and until is not None and until != FOREVER else None


def gone_table(gone: list[Breaker], now: datetime) -> str:
    """Return who is gone, what the vendor says, and when that is checked again."""
    return table(["gone", "checked again", "why"], [[b.model, _fate(b, now), b.reason or ""] for b in gone])


def _fate(breaker: Breaker, now: datetime) -> str:
    until = breaker.not_before
    if until == FOREVER:
        return f"never; models --enable {breaker.model}"
    return "with the next call" if until is None or until <= now else f"from {until:%Y-%m-%d %H:%M} UTC on"


def _price_text(price: Price) -> str:
    """A price as people quote it: tokens by the million, everything else by the unit."""
    dims = _dims_text(price.dims)
    by_million = price.unit.endswith("token")
    amount = _usd(price.unit, price.micro_usd_per_million)
    return f"{amount}/{'1M ' if by_million else ''}{price.unit}{' ' + dims if dims else ''}"


def _dims_text(dims: Iterable[tuple[str, str | bool]]) -> str:
    return " ".join(f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in dims)


def _usd(unit: str, micro_usd_per_million: int) -> str:
    """USD for a million tokens, or for one of any other unit; every digit of it, since prices are compared by it."""
    places = 6 if unit.endswith("token") else 12
    return f"{Decimal(micro_usd_per_million).scaleb(-places).normalize():f}"


# ---------------------------------------------------------------- --check


def _check(options: argparse.Namespace, services: Services) -> int:
    """List every price that a public table has otherwise; 1 when there is one."""
    today = services.clock.now().date()
    found = compare(services.catalogue, _listings(Path(options.check)), today)
    heads = ["model", "unit", "for", "ours USD", "theirs", "the table's name", "its source", "remark"]
    rows = [_disagreement(d) for d in found.disagreements]
    lines = [
        [
            r["model"],
            r["unit"] if r["per"] == 1 else f"1M {r['unit']}",
            _dims_text(r["dims"].items()),
            r["ours_usd"],
            r["theirs_usd"],
            r["listing"],
            r["source"],
            f"ours from {r['agrees_from']} on" if r["agrees_from"] else "",
        ]
        for r in rows
    ]
    counts = {name: getattr(found, name) for name in ("compared", "missing_there", "missing_here")}
    told = (
        f"{len(rows) or 'no'} disagreements in {found.compared} models that both have on {today}; "
        f"{found.missing_there} of ours are not in the table, {found.missing_here} of its models are not here"
    )
    text = f"{table(heads, lines)}\n\n{told}" if rows else told
    show(options, {"day": today.isoformat(), "disagreements": rows, **counts}, text)
    return 1 if rows else 0


def _disagreement(found: Disagreement) -> Json:
    return {
        "model": found.model,
        "unit": found.unit,
        "dims": dict(found.dims),
        "ours_usd": _usd(found.unit, found.ours),
        "theirs_usd": _usd(found.unit, found.theirs),
        "per": 1_000_000 if found.unit.endswith("token") else 1,
        "listing": found.listing,
        "source": found.source,
        "agrees_from": found.agrees_from and found.agrees_from.isoformat(),
    }


def _listings(path: Path) -> tuple[Listing, ...]:
    """Read a price table. Raises SettingsError."""
    try:
        if not path.is_file():
            raise SettingsError(f"{path} is not a file")
        if path.stat().st_size > LARGEST_TABLE_BYTES:
            raise SettingsError(f"{path} is over {LARGEST_TABLE_BYTES} bytes, which no price table is")
        return read_listings(json.loads(path.read_bytes(), parse_float=Decimal))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except RecursionError:
        raise SettingsError(f"{path} is no price table: nested too deeply") from None
    except (ValueError, ArithmeticError) as error:  # the latter: an exponent that no decimal has
        raise SettingsError(f"{path} is no price table: {error}") from None


# ---------------------------------------------------------------- --enable


def _enable(options: argparse.Namespace, services: Services) -> int:
    """Close the breaker of a model, whatever opened it."""
    model = services.catalogue.by_name.get(options.enable)
    if model is None:
        raise SettingsError(f"there is no model {options.enable!r} here; `models --all` lists them")
    before, after = services.breakers.health([model.id])[model.id], services.breakers.enable(model.id)
    if after is None:
        raise StoreUnavailable(f"the breaker of {model.id} could not be changed; try again")
    told = "gone" if before.disabled else str(before.state)
    state = _state(model, after, services)
    show(
        options,
        {"model": model.id, "was": told, "breaker": str(after.state), "state": state},
        f"{model.id}: breaker closed, it was {told}; the model is {state}",
    )
    return 0
