"""Commands about the whole system: quote, audit, budget, health, tick, settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from functions import _runtime, on_tick
from functions._admission import choose, no_candidate
from functions._console import open_services, show
from functions._decode import Event
from functions._model_commands import checked_again_at, gone_table
from functions._request_files import Entry, read_entries
from functions._table import table
from shared.adapters.local_bus import LocalBus
from shared.bootstrap import Services, catalogue_of, missing_credentials
from shared.clock import SystemClock
from shared.domain.breaker import Breaker
from shared.domain.budget import Budget, Scope, day_of
from shared.domain.catalogue import Model, is_retired
from shared.domain.money import format_usd
from shared.domain.pricing import demand
from shared.domain.prompt import as_sent, optimise
from shared.domain.request import Request, parse_request
from shared.domain.times import to_text
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
    sent = as_sent(request, optimise(request).document())
    selection = choose(sent, services, soft_limited=False)
    if not selection.candidates:
        return {"request": request.request_id or name, "error": no_candidate(sent, selection, services)["message"]}
    bought = [c for c in selection.candidates if not c.template]
    prices = [c.price_micro_usd for c in bought] or [0]
    times = [_expected_s(services.catalogue.by_name[c.model], sent) for c in bought] or [0.0]
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


def _expected_s(model: Model, request: Request) -> float:
    """Seconds until all pieces are there: the calls that make them are made one after the other."""
    return model.latency_s * demand(request, model).calls


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
    scope = None if options.scope is None and options.limit is None else _scope(options.scope)
    told = ""
    document: Json = {"day": day_of(now)}
    if scope is not None and options.limit is not None:
        amount = None if isinstance(options.limit, str) else options.limit
        is_open = services.budgets.set_limit(scope, amount, now)
        told = _told_of_limit(scope, amount, is_open=is_open)
        limit = "default" if amount is None else format_usd(amount)
        document["set"] = {"scope": str(scope), "limit": limit, "is_open_today": is_open}
    if scope is None:
        found = services.budgets.on_day(day_of(now))
    else:
        of_scope = services.budgets.of_scope(scope, now)
        found = [] if of_scope is None else [(scope, of_scope)]
    document["budgets"] = rows = [_budget_row(s, b) for s, b in found]
    told += _budgets_table(rows) if rows else f"nothing held or spent on {day_of(now)}"
    show(options, document, told)
    return 0


def _budgets_table(rows: Sequence[Json]) -> str:
    heads = ["scope", "limit USD", "spent", "held", "suspense", "free", "used"]
    amounts = ("scope", "limit", "spent", "held", "suspense", "free")
    return table(heads, [[*(str(row[name]) for name in amounts), f"{row['used_share']:.1%}"] for row in rows])


def _told_of_limit(scope: Scope, amount: int | None, *, is_open: bool) -> str:
    """Tell how long a limit, in micro-USD or that of the settings, holds."""
    told = (
        f"{scope}: the limit that the functions' settings say, from now on"
        if amount is None
        else f"{scope}: {format_usd(amount)} USD per day from now on, whatever the settings say, "
        f"until `budget {scope} --limit default`"
    )
    closed = "" if is_open else "\nmore than that is used today: nothing more can be held before midnight UTC"
    return f"{told}{closed}\n\n"


def _budget_row(scope: Scope, found: Budget) -> Json:
    amounts = {k: format_usd(getattr(found, k)) for k in ("limit", "spent", "held", "suspense", "free")}
    return {"scope": str(scope), **amounts, "used_share": round(found.used_share, 4)}


def health(options: argparse.Namespace, settings: Settings) -> int:
    """Show breakers that are not closed, models that are gone, and what is due."""
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
            "checked_again_at": checked_again_at(b),
        }
        for b in breakers
    ]
    queue = services.bus.backlog() if isinstance(services.bus, LocalBus) else None
    queued = "not known here; see Cloud Monitoring" if queue is None else queue or "none"
    lines = [*_breaker_lines(breakers, now), f"{due} jobs due", f"queued events: {queued}"]
    show(options, {"breakers": rows, "jobs_due": due, "queued": queue}, "\n".join(lines))
    return 0


def _breaker_lines(breakers: Sequence[Breaker], now: datetime) -> list[str]:
    gone = [b for b in breakers if b.disabled]
    tripped = [
        [b.model, str(b.state), to_text(b.not_before) if b.not_before else ""] for b in breakers if b not in gone
    ]
    return [
        *([table(["breaker of", "state", "until"], tripped)] if tripped else []),
        *([gone_table(gone, now)] if gone else []),
        *([] if breakers else ["all breakers closed"]),
    ]


def tick(options: argparse.Namespace, settings: Settings) -> int:
    """Do one tick: send what is due its events."""
    services = open_services(settings)
    now = services.clock.now()
    due = len(services.jobs.due(now, settings.tick_page))
    _runtime.deliver(on_tick.handle, Event({"at": now.isoformat()}, f"tick-{now.timestamp()}"), services)
    show(options, {"due": due}, f"{due} jobs were due")
    return 0


def settings(options: argparse.Namespace, settings: Settings) -> int:
    """List every setting, and of every vendor which credentials are missing and which models that rules out.

    With `--json`: a list with one object per setting; that of ATELIER_PROVIDERS has the vendors under `providers`.
    """
    vendors = _vendors(settings)
    rows: list[Json] = [dict(row) for row in describe()]
    next(row for row in rows if row["name"] == "ATELIER_PROVIDERS")["providers"] = vendors
    heads = ["setting", "default", "unit", "meaning"]
    text = table(heads, [[r[k] for k in ("name", "default", "unit", "meaning")] for r in rows])
    lines = [
        [v["provider"], "on" if v["on"] else "off", v["missing"] or "", ", ".join(v["cannot_be_called"])]
        for v in vendors
    ]
    credentials = table(["provider", "is", "missing", "models that cannot be called"], lines)
    show(options, rows, f"{text}\n\n{credentials}")
    return 0


def _vendors(settings: Settings) -> list[Json]:
    """Return of each vendor of the catalogue whether it is on, what is missing, and its live models that are ruled out.

    No back end is opened, so that this also works where none can be.
    """
    today = SystemClock().now().date()
    live = [m for m in catalogue_of(settings).models if not (m.template or is_retired(m, today))]
    rows = []
    for provider in dict.fromkeys(m.provider for m in live):
        on, missing = provider in settings.providers, missing_credentials(provider, settings) or None
        ruled_out = [m.id for m in live if m.provider == provider and (missing or not on)]
        rows.append({"provider": provider, "on": on, "missing": missing, "cannot_be_called": ruled_out})
    return rows


def _scope(text: str | None) -> Scope:
    kind, _, name = (text or "").partition(":")
    if (kind == "all" and not name) or (kind == "tenant" and name) or (kind == "user" and "/" in name):
        return Scope(kind, name)
    given = "no scope is given; it is" if text is None else f"scope {text!r} is not"
    raise SettingsError(f"{given} one of all, tenant:NAME, user:TENANT/NAME")
