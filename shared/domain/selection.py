"""Which models may serve a request, in which order they are tried, and why the others are not.

A pure function of request, catalogue, health and money: the same values give the same list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import TypeVar

from shared.domain.catalogue import Catalogue, Model, Resolution, is_retired
from shared.domain.job import Candidate
from shared.domain.money import format_usd
from shared.domain.pricing import Demand, demand, media_of, price_of
from shared.domain.request import ImageRequest, Request, TextRequest, VideoRequest
from shared.errors import PriceUnknown

Value = TypeVar("Value", str, int)

MAX_CANDIDATES = 6
CROSSING = 3  # of so many that are tried first, one is of another vendor than the first
WARNING_DAYS = 30

# How much quality, price and speed count; each is 1 for the best of those that can serve and 0 for the worst.
WEIGHTS: Mapping[str, tuple[float, float, float]] = {
    "quality": (0.90, 0.05, 0.05),
    "balanced": (0.50, 0.30, 0.20),
    "cost": (0.05, 0.90, 0.05),
    "speed": (0.10, 0.10, 0.80),
}


@dataclass(frozen=True, slots=True)
class Health:
    """What our own calls of a model showed lately.

    Attributes:
        available: False while its breaker is open; it is then tried last, because it may recover.
        disabled: the vendor said that the model is gone.
        success_rate: 0 to 1, and latency_s, as measured; None: not known.
    """

    available: bool = True
    disabled: bool = False
    success_rate: float | None = None
    latency_s: float | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A model that is not tried.

    Attributes:
        model: its id, or the name that was asked for when no row has it.
        reason: unknown, retired, provider_off, not_asked, disabled, unsupported, price_unknown, too_dear, soft_limit
            (budget over its soft limit, and not in the cheaper half) or surplus (beyond the longest list). Who chooses
            the providers may tell no_credentials from provider_off.
    """

    model: str
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Selection:
    """The models to try, in their order, and why the others are not; retired rows only when asked for by name."""

    candidates: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True, slots=True)
class _Names:
    """The names of a request, resolved: the model asked for, those to fall back to, and the names that led nowhere."""

    first: Resolution | None
    order: tuple[str, ...]
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True, slots=True)
class _Offer:
    """A model that can serve, for at most this price."""

    model: Model
    price_micro_usd: int
    health: Health
    latency_s: float
    score: float = 0.0


_UNKNOWN_HEALTH = Health()


def select(
    request: Request,
    catalogue: Catalogue,
    health: Mapping[str, Health],
    money_left_micro_usd: int | None,
    today: date,
    providers: frozenset[str],
    soft_limited: bool,
    max_candidates: int = MAX_CANDIDATES,
) -> Selection:
    """Return at most *max_candidates* models to try for *request*, the first to try first.

    An explicit model is first whatever its score, unless its breaker is open: a model that is not available is tried
    after all that are. `fallback` true: then all others by score; a list: those, in its order; false: nothing else.
    A template comes last and only for `fallback` true; it needs no provider to be on.

    Args:
        request: with the prompt as it will be sent.
        catalogue: the rows to choose from.
        health: by model id; a model that is missing counts as healthy.
        money_left_micro_usd: the most that one try may cost, beside the request's own limit; None: no limit.
        today: the day whose prices and retirements hold.
        providers: names of the vendors that may be used.
        soft_limited: keep only the cheaper half, rounded up.
        max_candidates: length of the list, the template included.
    """
    names = _names(request, catalogue, today)
    live, off = _roster(catalogue, request.kind, today, providers)
    limits = [amount for amount in (money_left_micro_usd, request.max_cost_micro_usd) if amount is not None]
    money = min(limits, default=None)
    rejected = [*names.rejected, *off]
    offers: list[_Offer] = []
    for model in live:
        verdict = _not_asked(request, names, model) or _judge(request, model, health, money, today)
        if isinstance(verdict, _Offer):
            offers.append(verdict)
        else:
            rejected.append(verdict)
    templates = [offer for offer in offers if offer.model.template]
    affordable, too_dear = _cheaper_half([o for o in offers if not o.model.template], soft_limited)
    chosen, left = _in_order(request, names, _scored(affordable, request.prefer))
    room = max(max_candidates - len(templates), 1)
    if request.fallback is True:
        chosen = _crossing(chosen)
    tried, surplus = [*chosen[:room], *templates][:max_candidates], chosen[room:]
    beyond = [Rejected(o.model.id, "surplus", f"not among the best {max_candidates}") for o in surplus]
    return Selection(tuple(_candidate(o, names, today) for o in tried), (*rejected, *too_dear, *left, *beyond))


def _names(request: Request, catalogue: Catalogue, today: date) -> _Names:
    listed = request.fallback if isinstance(request.fallback, tuple) else ()
    rejected: dict[str, Rejected] = {}
    order: list[str] = []
    first: Resolution | None = None
    for name in (request.model, *listed):
        found = catalogue.resolve(name, today) if name is not None else None
        if found is not None and request.kind in found.model.kinds and not is_retired(found.model, today):
            order.append(found.model.id)
            first = found if name == request.model else first
        elif name is not None:
            misfit = _misfit(name, found, request, today)
            rejected[misfit.model] = misfit
    return _Names(first, tuple(order), tuple(rejected.values()))


def _misfit(name: str, found: Resolution | None, request: Request, today: date) -> Rejected:
    if found is None:
        return Rejected(name, "unknown", f"no model has the id or alias {name!r}")
    if is_retired(found.model, today):
        return Rejected(found.model.id, "retired", f"retired on {found.model.retires_on}, without a live successor")
    makes = " and ".join(sorted(found.model.kinds))
    return Rejected(found.model.id, "unsupported", f"makes {makes}, not {request.kind}")


@lru_cache(maxsize=64)
def _roster(
    catalogue: Catalogue, kind: str, today: date, providers: frozenset[str]
) -> tuple[tuple[Model, ...], tuple[Rejected, ...]]:
    """Return the live models of a kind whose provider is on, and a rejection for each of the other live ones."""
    live = [model for model in catalogue.by_kind.get(kind, ()) if not is_retired(model, today)]
    on = tuple(model for model in live if model.template or model.provider in providers)
    off = [model for model in live if model not in on]
    return on, tuple(Rejected(m.id, "provider_off", f"provider {m.provider} is not switched on") for m in off)


def _not_asked(request: Request, names: _Names, model: Model) -> Rejected | None:
    if model.template and request.fallback is not True:
        return Rejected(model.id, "not_asked", "the last resort of a request that falls back")
    if model.id in names.order:
        return None
    if request.model is not None and request.fallback is not True:
        return Rejected(model.id, "not_asked", "the request names other models")
    if not model.listed:
        return Rejected(model.id, "not_asked", "used only when asked for by name")
    return None


def _judge(
    request: Request, model: Model, health: Mapping[str, Health], money: int | None, today: date
) -> _Offer | Rejected:
    known = health.get(model.id, _UNKNOWN_HEALTH)
    if known.disabled:
        return Rejected(model.id, "disabled", "the vendor says that the model is gone")
    problem = unsupported(request, model)
    if problem is not None:
        return Rejected(model.id, "unsupported", problem)
    try:
        wanted = demand(request, model)
        price = price_of(model, wanted, today)
    except PriceUnknown as unknown:
        return Rejected(model.id, "price_unknown", str(unknown).removeprefix(f"{model.id}: "))
    if _reads_too_much(wanted, model):
        return Rejected(model.id, "unsupported", f"reads at most {model.max_input_tokens} tokens")
    if money is not None and price > money:
        return Rejected(model.id, "too_dear", f"up to {format_usd(price)} USD, {format_usd(money)} left")
    latency_s = model.latency_s if known.latency_s is None else known.latency_s
    return _Offer(model, price, known, latency_s)


def _reads_too_much(wanted: Demand, model: Model) -> bool:
    read = wanted.units.get("input_token", 0)
    return model.max_input_tokens is not None and read > model.max_input_tokens * wanted.calls


def unsupported(request: Request, model: Model) -> str | None:
    """Return what of *request* the model cannot do, as a sentence; None when it can do it all."""
    if model.max_prompt_chars is not None and len(request.prompt) > model.max_prompt_chars:
        return f"takes prompts of at most {model.max_prompt_chars} characters"
    if isinstance(request, ImageRequest):
        return _unsupported_image(request, model)
    if isinstance(request, VideoRequest):
        return _unsupported_video(request, model)
    return _unsupported_text(request, model) if isinstance(request, TextRequest) else None


def _unsupported_image(request: ImageRequest, model: Model) -> str | None:
    needed = "image_to_image" if request.reference_images else "text_to_image"
    return (
        _not_in("mode", [needed], model.modes)
        or _not_in("size", [request.size], model.sizes)
        or _not_in("aspect ratio", [request.aspect_ratio], model.aspect_ratios)
        or _more_than("pictures", request.count, model.max_count)
        or _more_than("input images", len(request.reference_images), model.max_input_images)
    )


def _unsupported_video(request: VideoRequest, model: Model) -> str | None:
    needed = ["image_to_video" if request.image else "text_to_video"]
    if request.last_frame:
        needed.append("last_frame")
    if request.audio and model.audio == "none":
        return "makes no sound"
    if not request.audio and model.audio == "always":
        return "always has sound"
    if model.min_duration_s is not None and request.duration_s < model.min_duration_s:
        return f"seconds: {request.duration_s}; at least {model.min_duration_s}"
    return (
        _not_in("mode", needed, model.modes)
        or _not_in("resolution", [request.resolution], model.resolutions)
        or _not_in("aspect ratio", [request.aspect_ratio], model.aspect_ratios)
        or _not_in("seconds", [request.duration_s], model.durations)
        or _not_in("frames a second", [request.fps], model.fps)
        or _more_than("seconds", request.duration_s, model.max_duration_s)
    )


def _unsupported_text(request: TextRequest, model: Model) -> str | None:
    media = [media_of(uri) for uri in request.inputs]
    unread = sorted(set(media) - model.input_media)
    if unread:
        return f"reads no {unread[0]} input"
    return _more_than("output tokens", request.max_tokens, model.max_output_tokens) or _more_than(
        "input images", media.count("image"), model.max_input_images
    )


def _not_in(what: str, wanted: Iterable[Value], allowed: frozenset[Value]) -> str | None:
    missing = [value for value in wanted if allowed and value not in allowed]
    if not missing:
        return None
    return f"{what}: {missing[0]}; only {', '.join(map(str, sorted(allowed)))}"


def _more_than(what: str, wanted: int, most: int | None) -> str | None:
    return f"{what}: {wanted}; at most {most}" if most is not None and wanted > most else None


def _cheaper_half(offers: list[_Offer], soft_limited: bool) -> tuple[list[_Offer], list[Rejected]]:
    if not soft_limited:
        return offers, []
    ranked = sorted(offers, key=lambda o: (o.price_micro_usd, -o.model.quality, o.model.id))
    half = (len(ranked) + 1) // 2
    text = "the budget is over its soft limit, and this is not in the cheaper half"
    return ranked[:half], [Rejected(offer.model.id, "soft_limit", text) for offer in ranked[half:]]


def _scored(offers: list[_Offer], prefer: str) -> list[_Offer]:
    """Return *offers* with their scores, best first, those that are not available after all others."""
    by_quality, by_price, by_speed = WEIGHTS[prefer]
    quality = _scale([offer.model.quality for offer in offers])
    price = _scale([-offer.price_micro_usd for offer in offers])
    speed = _scale([-offer.latency_s for offer in offers])
    scored = []
    for offer, good, cheap, fast in zip(offers, quality, price, speed, strict=True):
        merit = by_quality * good + by_price * cheap + by_speed * fast
        rate = 1.0 if offer.health.success_rate is None else offer.health.success_rate
        scored.append(_Offer(offer.model, offer.price_micro_usd, offer.health, offer.latency_s, round(merit * rate, 6)))
    scored.sort(key=lambda o: (not o.health.available, -o.score, o.price_micro_usd, o.model.id))
    return scored


def _scale(values: Sequence[float]) -> list[float]:
    """Return each value between the least of them, 0, and the greatest, 1; all alike are 1."""
    low, high = min(values, default=0), max(values, default=0)
    return [(value - low) / (high - low) if high > low else 1.0 for value in values]


def _in_order(request: Request, names: _Names, ranked: list[_Offer]) -> tuple[list[_Offer], list[Rejected]]:
    """Return the offers to try, in their order, and the others as not asked for."""
    by_id = {offer.model.id: offer for offer in ranked}
    named = [by_id[name] for name in dict.fromkeys(names.order) if name in by_id]
    best = [] if request.model is not None else ranked[:1]
    if request.fallback is True:
        wanted = [*named, *ranked]
    elif request.fallback is False:
        wanted = [*named, *best]
    else:
        wanted = [*best, *named]
    chosen = list({offer.model.id: offer for offer in wanted}.values())
    chosen.sort(key=lambda offer: not offer.health.available)
    taken = {offer.model.id for offer in chosen}
    left = [Rejected(o.model.id, "not_asked", "the request falls back to no other") for o in ranked]
    return chosen, [rejection for rejection in left if rejection.model not in taken]


def _crossing(chosen: list[_Offer]) -> list[_Offer]:
    """Let the best of another vendor be third at the latest: a vendor can be down with all of its models."""
    first = chosen[:CROSSING]
    others = (o for o in chosen[CROSSING:] if o.model.provider != first[0].model.provider and o.health.available)
    other = next(others, None)
    if other is None or len({o.model.provider for o in first}) > 1:
        return chosen
    return [*first[:-1], other, first[-1], *(o for o in chosen[CROSSING:] if o is not other)]


def _candidate(offer: _Offer, names: _Names, today: date) -> Candidate:
    model = offer.model
    return Candidate(
        model=model.id,
        provider=model.provider,
        price_micro_usd=offer.price_micro_usd,
        score=offer.score,
        reasons=tuple(_reasons(offer, names, today)),
        simulated=model.simulated,
        template=model.template,
    )


def _reasons(offer: _Offer, names: _Names, today: date) -> list[str]:
    model, known, first = offer.model, offer.health, names.first
    reasons = [
        f"quality {model.quality:.2f}",
        f"up to {format_usd(offer.price_micro_usd)} USD",
        f"about {offer.latency_s:g} s",
    ]
    if first is not None and first.model is model:
        reasons.insert(0, "asked for" if first.asked == model.id else f"asked for as {first.asked}")
    elif model.id in names.order:
        reasons.insert(0, "named as a fallback")
    if model.template:
        reasons.insert(0, "last resort")
    if known.success_rate is not None:
        reasons.append(f"succeeds {known.success_rate:.0%}")
    if not known.available:
        reasons.append("not available now, so tried last")
    return reasons + _warnings(model, today)


def _warnings(model: Model, today: date) -> list[str]:
    warnings = ["preview"] if model.preview else []
    if model.retires_on is not None and model.retires_on <= today + timedelta(days=WARNING_DAYS):
        warnings.append(f"retires on {model.retires_on}")
    if model.retires_not_before is not None and model.retires_not_before <= today:
        warnings.append(f"may be retired any day since {model.retires_not_before}")
    return warnings
