"""Commands about the whole system: quote, audit, budget, models, health, tick, settings."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace

from functions import _runtime, on_tick
from functions._admission import choose
from functions._console import open_services, show
from functions._decode import Event
from functions._request_files import Entry, read_entries
from functions._table import table
from shared.adapters.local_bus import LocalBus
from shared.bootstrap import Services
from shared.domain.budget import Scope, day_of
from shared.domain.catalogue import Model, Price, is_retired, prices_on
from shared.domain.money import MICRO_PER_USD, format_usd
from shared.domain.prompt import optimise
from shared.domain.request import parse_request
from shared.errors import InvalidRequest, SettingsError
from shared.ports import Json
from shared.settings import Settings, describe
from shared.stores.audit import audit as audit_money


def quote(options: argparse.Namespace, settings: Settings) -> int:
    """Price every request from the catalogue; nothing is called and nothing is written."""
    services = open_services(settings)
    rows = [_quote_row(entry, services) for entry in read_entries(options.paths, settings.max_manifest_bytes)]
    good = [r for r in rows if "low_usd" in r]
    total = {part: format_usd(sum(r[f"{part}_micro_usd"] for r in good)) for part in ("low", "high")}
    heads = ["request", "kind", "USD from", "to", "s from", "to", "first choice"]
    lines = [
        [r["request"], r["kind"], r["low_usd"], r["high_usd"], f"{r['low_s']:g}", f"{r['high_s']:g}", r["first"]]
        if "low_usd" in r
        else [r["request"], "", "", "", "", "", r["error"]]
        for r in rows
    ]
    show(
        options,
        {"quotes": rows, "total_usd": [total["low"], total["high"]]},
        f"{table(heads, lines)}\n\ntotal {total['low']} to {total['high']} USD, nothing was called",
    )
    return 0 if len(good) == len(rows) else 1


def _quote_row(entry: Entry, services: Services) -> Json:
    name = f"{entry.file}:{entry.line}"
    if entry.envelope is None:
        return {"request": name, "error": entry.error.message if entry.error else "unreadable"}
    today = services.clock.now().date()
    try:
        request = parse_request(
            entry.envelope.payload,
            known_models=lambda model: services.catalogue.resolve(model, today) is not None,
            schema_problem=services.inspector.schema_problem,
        )
    except InvalidRequest as error:
        return {"request": name, "error": str(error)}
    selection = choose(replace(request, prompt=optimise(request).used), services, soft_limited=False)
    if not selection.candidates:
        reasons = "; ".join(f"{r.model}: {r.text}" for r in selection.rejected[:4])
        return {"request": request.request_id or name, "error": f"no model can do this ({reasons})"}
    prices = [c.price_micro_usd for c in selection.candidates if not c.template] or [0]
    times = [services.catalogue.by_name[c.model].latency_s for c in selection.candidates if not c.template] or [0.0]
    return {
        "request": request.request_id or name,
        "kind": request.kind,
        "low_micro_usd": min(prices),
        "high_micro_usd": max(prices),
        "low_usd": format_usd(min(prices)),
        "high_usd": format_usd(max(prices)),
        "low_s": min(times),
        "high_s": max(times),
        "first": selection.candidates[0].model,
        "candidates": [asdict(c) for c in selection.candidates],
        "passed_over": [asdict(r) for r in selection.rejected],
    }


def audit(options: argparse.Namespace, settings: Settings) -> int:
    """Prove that every cent is explained; 1 when it is not."""
    services = open_services(settings)
    found = audit_money(services.documents, services.jobs, services.ledger, services.clock.now())
    lines = [
        f"{found.jobs} jobs, {found.finished} finished; {found.entries} ledger entries",
        f"ledger {format_usd(found.ledger)}, jobs {format_usd(found.spent)} USD",
        f"held {format_usd(found.held)}, in suspense {format_usd(found.suspense)} USD",
        *(f"PROBLEM {problem}" for problem in found.problems),
        *(f"open    {u['job_id']} {u['why']} {format_usd(u.get('micro_usd', 0))} USD" for u in found.unsettled),
        "everything adds up" if not found.problems else f"{len(found.problems)} contradictions",
    ]
    show(options, {**asdict(found), "holds": not found.problems}, "\n".join(lines))
    return 1 if found.problems else 0


def budget(options: argparse.Namespace, settings: Settings) -> int:
    """Show what the day's budgets have used, or set a scope's standing limit."""
    services = open_services(settings)
    now = services.clock.now()
    if options.limit is not None:
        services.budgets.set_limit(_scope(options.scope), options.limit, now)
    rows = [
        {
            "scope": str(scope),
            **{k: format_usd(getattr(b, k)) for k in ("limit", "spent", "held", "suspense", "free")},
            "used_share": round(b.used / b.limit, 4) if b.limit else 1.0,
        }
        for scope, b in services.budgets.on_day(day_of(now))
        if options.scope is None or str(scope) == str(_scope(options.scope))
    ]
    heads = ["scope", "limit USD", "spent", "held", "suspense", "free", "used"]
    lines = [
        [*(str(r[k]) for k in ("scope", "limit", "spent", "held", "suspense", "free")), f"{r['used_share']:.1%}"]
        for r in rows
    ]
    told = table(heads, lines) if rows else f"nothing held or spent on {day_of(now)}"
    if options.limit is not None:
        told = f"{_scope(options.scope)}: {format_usd(options.limit)} USD per day from now on\n\n{told}"
    show(options, {"day": day_of(now), "budgets": rows}, told)
    return 0


def models(options: argparse.Namespace, settings: Settings) -> int:
    """Show the catalogue: prices in force, state, and who goes when."""
    services = open_services(settings)
    today = services.clock.now().date()
    rows = [
        _model_row(m, services)
        for m in sorted(services.catalogue.models, key=lambda m: (m.provider, sorted(m.kinds), m.id))
        if (options.kind is None or options.kind in m.kinds) and (options.all or not is_retired(m, today))
    ]
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
    show(
        options,
        {"models": rows, "retiring_soon": [m.id for m in going]},
        "\n".join([table(heads, lines), "", *calendar]),
    )
    return 0


def _model_row(model: Model, services: Services) -> Json:
    today = services.clock.now().date()
    state = "on" if model.provider in services.settings.providers or model.template else "off"
    prices = prices_on(model, today)
    if is_retired(model, today):
        state = "retired"
    elif not prices and not model.template:
        state = "price unknown"
    elif services.breakers.health([model.id])[model.id].disabled:
        state = "gone"
    return {
        "id": model.id,
        "provider": model.provider,
        "kinds": sorted(model.kinds),
        "retires_on": model.retires_on.isoformat() if model.retires_on else None,
        "successor": model.successor,
        "aliases": list(model.aliases),
        "state": state,
        "prices": [_price_text(p) for p in prices],
    }


def _price_text(price: Price) -> str:
    """A price as people quote it: tokens by the million, everything else by the unit."""
    dims = " ".join(f"{k}={str(v).lower()}" for k, v in price.dims)
    by_million = price.unit.endswith("token")
    amount = price.micro_usd_per_million if by_million else price.micro_usd_per_million // MICRO_PER_USD
    return f"{format_usd(amount)}/{'1M ' if by_million else ''}{price.unit}{' ' + dims if dims else ''}"


def health(options: argparse.Namespace, settings: Settings) -> int:
    """Show breakers that are not closed, disabled models, and what is due."""
    services = open_services(settings)
    now = services.clock.now()
    breakers = [b for b in services.breakers.all(200) if b.state != "closed" or b.disabled]
    due = len(services.jobs.due(now, 1000))
    rows = [
        {
            "model": b.model,
            "state": str(b.state),
            "disabled": b.disabled,
            "open_until": b.open_until.isoformat() if b.open_until else None,
            "reason": b.reason,
        }
        for b in breakers
    ]
    lines = [
        f"{r['model']}: {'gone' if r['disabled'] else r['state']} {r['open_until'] or ''} {r['reason'] or ''}"
        for r in rows
    ]
    queue = services.bus.backlog() if isinstance(services.bus, LocalBus) else None
    queued = "not known here; see Cloud Monitoring" if queue is None else queue or "none"
    text = "\n".join([*(lines or ["all breakers closed"]), f"{due} jobs due", f"queued events: {queued}"])
    show(options, {"breakers": rows, "jobs_due": due, "queued": queue}, text)
    return 0


def tick(options: argparse.Namespace, settings: Settings) -> int:
    """Do one tick: send what is due its events."""
    services = open_services(settings)
    now = services.clock.now()
    due = len(services.jobs.due(now, settings.tick_page))
    _runtime.deliver(on_tick.handle, Event({"at": now.isoformat()}, f"tick-{now.timestamp()}"), services)
    show(options, {"due": due}, f"{due} jobs were due")
    return 0


def settings(options: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001 - every command takes both
    """List every setting."""
    rows = describe()
    heads = ["setting", "default", "unit", "meaning"]
    show(options, rows, table(heads, [[r[k] for k in ("name", "default", "unit", "meaning")] for r in rows]))
    return 0


def _scope(text: str | None) -> Scope:
    kind, _, name = (text or "").partition(":")
    if (kind == "all" and not name) or (kind == "tenant" and name) or (kind == "user" and "/" in name):
        return Scope(kind, name)
    raise SettingsError(f"scope {text!r} is not one of all, tenant:NAME, user:TENANT/NAME")
