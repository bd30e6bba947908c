"""Stage 3, fallback. Consumes `fallback`; hands on to `generate`, or ends the job."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import functions_framework
from flask import Request
from flask.typing import ResponseReturnValue

from functions import _runtime
from functions._decode import Event
from functions._runtime import Reference, Step
from shared.bootstrap import Services
from shared.domain import moves
from shared.domain.fallback import GiveUp, Policy, Try, TryLater, next_move
from shared.domain.job import Job, State
from shared.domain.moves import Moment
from shared.errors import BudgetExceeded, InvalidEvent, StoreConflict
from shared.log import log

# Who may end a job from outside, and as what.
ENDINGS = {
    "cancelled": (State.CANCELLED, "cancelled on request"),
    "deadline_exceeded": (State.FAILED, "the job's deadline has passed"),
}


def handle(event: Event, services: Services) -> None:
    """Pick the next candidate within money and deadline, or end the job."""
    ref = _runtime.reference(event)
    if "end" in ref.extra:
        end(ref, services)
    else:
        _runtime.advance(event, services, lambda job, reference: fall_back(job, reference, services))


def fall_back(job: Job, ref: Reference, services: Services) -> Step | None:
    """Decide what follows the failure that the event names."""
    if job.state is not State.FALLING_BACK:
        return None
    moment = _runtime.moment(services, "fallback", services.clock.now())
    reason = str(ref.extra.get("reason", "failed"))
    _measure(job, reason, services)
    if _is_overdue(job, moment):
        return _give_up(job, GiveUp("deadline_exceeded", ENDINGS["deadline_exceeded"][1]), moment)
    settings = services.settings
    if reason == moves.NEVER_MADE and job.tries < settings.max_attempts:
        return _try(job, Try(job.choice, job.candidates[job.choice].price_micro_usd), moment, services)
    if reason == "blocked":
        softened = _softened(job, moment, services)
        if softened is not None:
            return softened
    policy = Policy(settings.max_attempts, settings.fallback_when_blocked)
    closed = _closed_until(job, moment.now, services)
    move = next_move(job, reason, policy, moment.now, _money_left(job, services), closed)
    match move:
        case Try():
            return _try(job, move, moment, services)
        case TryLater():
            return _try_later(job, move, moment, services)
        case GiveUp():
            return _give_up(job, move, moment)


def _closed_until(job: Job, now: datetime, services: Services) -> dict[str, datetime]:
    """Which candidates are not to be called now, and until when."""
    breakers = services.breakers.health([c.model for c in job.candidates])
    return {model: b.not_before or now for model, b in breakers.items() if not b.is_callable(now)}


def _measure(job: Job, reason: str, services: Services) -> None:
    left = job.candidates[job.choice] if job.candidates else job.current  # a replay has pieces, and nothing to choose
    if left is not None:
        labels = {"provider": left.provider, "model": left.model, "kind": job.kind, "reason": reason}
        services.metrics.record("fallbacks", 1, labels)


def end(ref: Reference, services: Services) -> None:
    """End a job from outside, at whatever step it is; a finished one stays as it ended."""
    code = ref.extra["end"]
    if code not in ENDINGS:
        raise InvalidEvent(f'"end" must be one of {", ".join(ENDINGS)}')
    state, message = ENDINGS[code]

    def decide(job: Job) -> Step | None:
        moment = _runtime.moment(services, "fallback")
        if job.is_finished:
            if job.state is state and job.errors and job.errors[-1]["code"] == code:  # by this very event, perhaps
                _runtime.announce_once(job, services)
            return None
        if code == "deadline_exceeded" and not _is_overdue(job, moment):
            return None
        return Step(moves.ended(job, state, moment, [{"field": "", "code": code, "message": message}]))

    _runtime.amend(services.jobs.get(ref.job_id), services, decide)


def _is_overdue(job: Job, moment: Moment) -> bool:
    return job.deadline_at is not None and job.deadline_at <= moment.now


def _softened(job: Job, moment: Moment, services: Services) -> Step | None:
    """Try the same candidate once more with a softer prompt, where request and policy ask for that.

    Not for texts, whose words are the request; and never for a prompt that our own check or the price forbids.
    """
    from shared.domain.pricing import demand, price_of
    from shared.domain.prompt import rewrite
    from shared.domain.safety import check_prompt

    settings = services.settings
    asked = settings.rewrite_when_blocked and job.request.get("enhance_prompt", True) and job.kind != "text"
    if not asked or "rewritten" in job.prompt or job.tries >= settings.max_attempts:
        return None
    softer = rewrite(job.used_prompt)
    if softer is None or check_prompt(softer.text, services.safety_rules):
        return None
    told = {
        "before": job.used_prompt,
        "after": softer.text,
        "replaced": [{"words": old, "by": new} for old, new in softer.replaced],
    }
    job = replace(job, prompt={**job.prompt, "used": softer.text, "rewritten": told})
    candidate = job.candidates[job.choice]
    row = services.catalogue.by_name[candidate.model]
    price = price_of(row, demand(services.request_of(job), row), moment.now.date())
    if price > candidate.price_micro_usd or candidate.price_micro_usd > _money_left(job, services):
        return None
    log.info("prompt.rewritten", extra={"model": row.id, "replaced": len(softer.replaced)})
    return _try(job, Try(job.choice, candidate.price_micro_usd), moment, services)


def _money_left(job: Job, services: Services) -> int:
    """What may still be promised: the rest of the job's own cap, as far as hold and budgets reach."""
    own = None if job.max_cost is None else job.max_cost - job.spent - job.suspense
    if all(c.price_micro_usd <= job.hold for c in job.candidates[job.choice :]):
        return job.hold if own is None else min(own, job.hold)
    reachable = job.hold + services.budgets.of_job(job).free
    return reachable if own is None else min(own, reachable)


def _try(job: Job, move: Try, moment: Moment, services: Services) -> Step:
    """Go on with another candidate; its hold shrinks or grows to the dearest that is still within reach."""
    within = [c.price_micro_usd for c in job.candidates[move.choice :] if c.price_micro_usd <= job.hold]
    hold = max([move.price, *within])
    note = f"next: {job.candidates[move.choice].model}"
    return _held(job, moves.chosen(job, move.choice, hold, moment, note), services)


def _try_later(job: Job, move: TryLater, moment: Moment, services: Services) -> Step:
    """Try a candidate once more, later; what its earlier call moved into suspense has to be held anew."""
    candidate = job.candidates[move.choice]
    waiting = replace(job, choice=move.choice, hold=max(job.hold, candidate.price_micro_usd))
    note = f"again with {candidate.model} later"
    return _held(job, moves.parked(waiting, moment, move.at, model=candidate.model, note=note), services)


def _held(job: Job, after: Job, services: Services) -> Step:
    """The step from *job* to *after*, which takes what is held more from the budgets."""
    if after.hold <= job.hold:
        return Step(after)
    try:
        return Step(after, holding=services.budgets.of_job(job).hold(after.hold - job.hold))
    except BudgetExceeded:
        raise StoreConflict("the budget was used up meanwhile") from None


def _give_up(job: Job, move: GiveUp, moment: Moment) -> Step:
    error = {"field": "", "code": move.code, "message": move.message}
    return Step(moves.ended(job, State.FAILED, moment, [error]))


@functions_framework.http
def fallback(request: Request) -> ResponseReturnValue:
    """Answer one delivery of `fallback`."""
    return _runtime.serve(handle, request)
