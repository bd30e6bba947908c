"""Quote, choose, hold: whether a job may spend money, on which models, and how much is reserved for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from functions import _runtime
from functions._runtime import Step
from shared.bootstrap import Services, missing_credentials
from shared.domain import moves
from shared.domain.budget import scopes_of
from shared.domain.job import Candidate, Job, State
from shared.domain.money import format_usd
from shared.domain.request import Request
from shared.domain.selection import Rejected, Selection, select
from shared.ports import Json, Write
from shared.stores.budgets import Standing

UNUSABLE = ("provider_off", "no_credentials")  # why a whole vendor is left out


def admission(job: Job, request: Request, services: Services, chosen_at: datetime, claim: Sequence[Write] = ()) -> Step:
    """Return the step that lets the job generate with its hold in every budget, or ends it as refused.

    Args:
        request: with the prompt as it will be sent.
        chosen_at: when the job's budget documents were chosen; they are that day's, also after midnight.
        claim: what is written with the job when it is let in.
    """
    scopes = scopes_of(job.tenant, job.user)
    standing = services.budgets.read(scopes, job.scopes, chosen_at)
    selection = choose(request, services, soft_limited=standing.is_soft_limited)
    # That a whole vendor cannot be used is a setting, not a finding about this job; unless it was asked for.
    asked = _asked(request, services)
    told = [r for r in selection.rejected if r.reason not in UNUSABLE or r.model == asked]
    job = replace(job, passed_over=tuple({"model": r.model, "code": r.reason, "text": r.text} for r in told))
    if not selection.candidates:
        return _refused(job, no_candidate(request, selection, services), services)
    dearest = max(c.price_micro_usd for c in selection.candidates)
    if dearest > standing.free:
        standing = services.budgets.widen(standing)
    within = tuple(c for c in selection.candidates if c.price_micro_usd <= standing.free)
    if not within:
        return _refused(job, _over_budget(selection, standing), services)
    return _let_in(replace(job, candidates=within), standing, services, claim)


def choose(request: Request, services: Services, *, soft_limited: bool) -> Selection:
    """Score the models that can serve the request today; a vendor without its credentials counts as switched off."""
    on = services.settings.providers
    lacking = {name: missing for name in on if (missing := missing_credentials(name, services.settings))}
    found = select(
        request,
        services.catalogue,
        services.health(request.kind),
        None,
        services.clock.now().date(),
        frozenset(on).difference(lacking),
        soft_limited,
    )
    return _with_lacking(found, lacking, services) if lacking else found


def _with_lacking(found: Selection, lacking: Mapping[str, str], services: Services) -> Selection:
    """Tell the models whose vendor is switched on, but cannot be called, from those whose vendor is off."""

    def told(rejected: Rejected) -> Rejected:
        provider = services.catalogue.by_name[rejected.model].provider if rejected.reason == "provider_off" else ""
        if provider not in lacking:
            return rejected
        return Rejected(
            rejected.model, "no_credentials", f"{provider} is switched on, but {lacking[provider]} is missing"
        )

    return replace(found, rejected=tuple(map(told, found.rejected)))


def _let_in(job: Job, standing: Standing, services: Services, claim: Sequence[Write]) -> Step:
    hold = max(c.price_micro_usd for c in job.candidates)
    moment = _runtime.moment(services, "validate", job.updated_at if job.seq == 0 else None)
    after = moves.chosen(job, 0, hold, moment, f"{len(job.candidates)} candidates, first {job.candidates[0].model}")
    return Step(after, claim, holding=standing.hold(hold))


def _refused(job: Job, error: Json, services: Services) -> Step:
    services.metrics.record("refusals", 1, {"code": error["code"]})
    refused = replace(job, fingerprint=None)
    return Step(moves.ended(refused, State.REFUSED, _runtime.moment(services, "validate"), [error]))


def no_candidate(request: Request, selection: Selection, services: Services) -> Json:
    """Say why no model can serve the request, in terms of the field to change."""
    codes, asked = {r.reason for r in selection.rejected}, _asked(request, services)
    lacking = [r.text for r in selection.rejected if r.reason == "no_credentials"]
    found = [
        f"{r.model}: {r.text}"
        for r in selection.rejected
        if r.reason not in ("retired", "not_asked", *UNUSABLE) or (r.model == asked and r.reason != "no_credentials")
    ]
    reasons = "; ".join(dict.fromkeys([*lacking, *found]))  # of a vendor without credentials one line, and first
    if "too_dear" in codes:
        return _error("max_cost_usd", "max_cost_exceeded", f"no model can do this for that money ({reasons})")
    if "price_unknown" in codes:
        return _error("model", "price_unknown", f"no model with a known price can do this ({reasons})")
    field = "model" if request.model else "kind"
    return _error(field, "no_model", f"no model that is switched on can do this ({reasons or 'none is on'})")


def _asked(request: Request, services: Services) -> str | None:
    """Return the row that the name in the request stands for today."""
    resolved = services.catalogue.resolve(request.model, services.clock.now().date()) if request.model else None
    return resolved.model.id if resolved else request.model


def _over_budget(selection: Selection, standing: Standing) -> Json:
    scope, limit, used = standing.tightest()
    cheapest: Candidate = min(selection.candidates, key=lambda c: c.price_micro_usd)
    asked = format_usd(cheapest.price_micro_usd)
    message = f"the budget of {scope} for today is {format_usd(limit)} USD, {format_usd(used)} are used; {asked} asked"
    return _error("", "budget_exceeded", message)


def _error(field: str, code: str, message: str) -> Json:
    return {"field": field, "code": code, "message": message[:1000]}
