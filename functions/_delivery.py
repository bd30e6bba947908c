"""What `generate` does with a delivery: the pieces into our bucket, and their price from what the vendor reports."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from functions._vendor import call_of
from shared.bootstrap import Services
from shared.domain.job import Attempt, Job, Piece
from shared.domain.moves import share_of
from shared.domain.request import ImageRequest
from shared.errors import PriceUnknown, ProviderFault, StoreUnavailable
from shared.log import log
from shared.ports import Call, Done
from shared.resilience.retry import backoff_delay_s
from shared.stores.outputs import keep

BASES = ("vendor", "usage", "delivered", "quoted")  # of several calls, the least sure one tells for all
COMMIT_S = 10.0  # the end of a lease, in which nothing is tried again


def with_pieces(job: Job, attempt: Attempt, done: Done, services: Services) -> Attempt:
    """Return *attempt* with the pieces of this call in our bucket and their cost added.

    Raises:
        StoreUnavailable: they could not be stored while the lease lasted.
        ProviderFault: the vendor did not hand them over; `Unavailable`: for now.
    """
    call = call_of(job, attempt, services)
    cost, basis, units = priced(job, attempt, done, services)
    pieces = _stored(attempt, call, done, services)
    return replace(
        attempt,
        pieces=(*attempt.pieces, *pieces),
        usage=dict(Counter(attempt.usage) + Counter(units)),
        finish=done.finish,
        cost_micro_usd=attempt.cost_micro_usd + cost,
        basis=max(attempt.basis, basis, key=BASES.index) if attempt.pieces else basis,
    )


def priced(job: Job, attempt: Attempt, done: Done, services: Services) -> tuple[int, str, dict[str, int]]:
    """Return what one call cost, micro-USD, where that is known from, and the units it was reckoned by."""
    if done.usage:
        cost, basis, units = _cost(job, attempt, done.usage, services), "usage", dict(done.usage)
    else:
        units = _delivered_units(job, done)
        cost, basis = _cost(job, attempt, units, services) if units else None, "delivered"
    return (share_of(attempt), "quoted", units) if cost is None else (cost, basis, units)


def with_charge(job: Job, attempt: Attempt, fault: ProviderFault, services: Services) -> Attempt:
    """Return *attempt* with what the vendor charges for a call that delivered nothing, such as a blocked prompt."""
    cost = fault.cost_micro_usd
    if fault.usage:
        reckoned = _cost(job, attempt, fault.usage, services)
        cost += share_of(attempt) if reckoned is None else reckoned
    usage = dict(Counter(attempt.usage) + Counter(fault.usage))
    basis = attempt.basis if attempt.pieces else "vendor"
    return replace(attempt, usage=usage, cost_micro_usd=attempt.cost_micro_usd + cost, basis=basis)


def _cost(job: Job, attempt: Attempt, units: Mapping[str, int], services: Services) -> int | None:
    """What *units* cost on the day of the call, micro-USD; None when one of them has no price."""
    from shared.domain.pricing import cost_of

    row, request = services.catalogue.by_name[attempt.model], services.request_of(job)
    if isinstance(request, ImageRequest):
        request = replace(request, count=min(row.pieces_per_call, request.count - attempt.part * row.pieces_per_call))
    try:
        return cost_of(row, units, request, (attempt.called_at or attempt.started_at).date())
    except PriceUnknown:
        log.error("price.unknown", extra={"model": attempt.model, "units": sorted(units)})
        return None


def _stored(attempt: Attempt, call: Call, done: Done, services: Services) -> tuple[Piece, ...]:
    """Store the pieces, again and again while the lease lasts: until then they are nowhere else.

    What an operation delivered can be fetched again.
    """
    last = services.clock.now() if attempt.lease_until is None else attempt.lease_until - timedelta(seconds=COMMIT_S)
    for failures in itertools.count(1):
        try:
            return keep(call, done, services.blobs)
        except StoreUnavailable as error:
            if services.clock.now() >= last:
                raise
            log.warning("pieces.not_stored", extra={"attempt": attempt.number, "reason": str(error)})
            services.clock.sleep(backoff_delay_s(failures, random.random(), cap_s=10.0))  # noqa: S311 - no secret
    raise AssertionError


def _delivered_units(job: Job, done: Done) -> dict[str, int]:
    """What the pieces themselves show was made, where the vendor reports no usage.

    A text does not show what it was made with: a model may have thought for longer than it wrote.
    """
    match job.kind:
        case "image":
            return {"image": len(done.assets)}
        case "video":
            return {"second": int(job.params["duration_s"])}
    return {}
