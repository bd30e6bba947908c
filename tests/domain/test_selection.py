"""Which models may serve a request, in which order, and why the others are not."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from shared.domain.catalogue import Catalogue, Model, parse_catalogue
from shared.domain.request import ImageRequest, Request, TextRequest, VideoRequest
from shared.domain.selection import WEIGHTS, Health, Selection, select, unsupported

TODAY = date(2026, 11, 21)
FILE = Path(__file__).parents[2] / "shared" / "catalogue.toml"
SHIPPED = parse_catalogue(tomllib.loads(FILE.read_text(encoding="utf-8")))
EVERY = frozenset({"offline", "vertex", "runway", "replicate", "huggingface", "p", "q"})
OFFLINE = frozenset({"offline"})

IMAGE = ImageRequest(kind="image", prompt="a cat on a mat", deadline_s=60)
VIDEO = VideoRequest(kind="video", prompt="a cat on a mat", deadline_s=600)
TEXT = TextRequest(kind="text", prompt="name a cat", deadline_s=60)


def row(name: str, amount: str | None = "0.04", **fields: Any) -> dict[str, Any]:
    known = {"unit": "image", "from": date(2026, 1, 1), "source": "page", "checked": TODAY}
    price = [] if amount is None else [known | {"amount": amount}]
    made = {"id": name, "provider": "p", "kinds": ["image"], "modes": ["text_to_image", "image_to_image"]}
    return made | {"max_count": 8, "price": price} | fields


def catalogue(*rows: dict[str, Any]) -> Catalogue:
    return parse_catalogue({"model": list(rows)})


def choose(
    request: Request,
    models: Catalogue = SHIPPED,
    health: Mapping[str, Health] | None = None,
    money: int | None = None,
    *,
    providers: frozenset[str] = EVERY,
    soft_limited: bool = False,
    **more: Any,
) -> Selection:
    return select(request, models, health or {}, money, TODAY, providers, soft_limited, **more)


def ids(selection: Selection) -> list[str]:
    return [candidate.model for candidate in selection.candidates]


def why(selection: Selection) -> dict[str, str]:
    return {rejected.model: rejected.reason for rejected in selection.rejected}


# Three of a kind: the better, the dearer and the slower.
THREE = catalogue(
    row("good", "0.10", quality=0.9, latency_s=30.0),
    row("middle", "0.04", quality=0.75, latency_s=10.0),
    row("cheap", "0.01", quality=0.5, latency_s=2.0),
)

# ---------------------------------------------------------------- order


@pytest.mark.parametrize(
    ("prefer", "order"),
    [
        ("quality", ["good", "middle", "cheap"]),
        ("balanced", ["middle", "cheap", "good"]),
        ("cost", ["cheap", "middle", "good"]),
        ("speed", ["cheap", "middle", "good"]),
    ],
)
def test_the_order_follows_what_the_request_prefers(prefer: str, order: list[str]) -> None:
    assert ids(choose(replace(IMAGE, prefer=prefer), THREE)) == order


def test_the_weights_of_every_preference_add_up_to_one() -> None:
    assert WEIGHTS.keys() == {"quality", "balanced", "cost", "speed"}
    assert {preference: round(sum(weights), 9) for preference, weights in WEIGHTS.items()} == dict.fromkeys(WEIGHTS, 1)


def test_a_score_is_each_weight_times_the_place_between_worst_and_best() -> None:
    middle = next(c for c in choose(IMAGE, THREE).candidates if c.model == "middle")
    expected = 0.5 * (0.25 / 0.4) + 0.3 * (60 / 90) + 0.2 * (20 / 28)
    assert middle.score == round(expected, 6)


def test_the_only_candidate_scores_one() -> None:
    assert choose(IMAGE, catalogue(row("only"))).candidates[0].score == 1.0


def test_equal_scores_are_ordered_by_price_and_then_by_name() -> None:
    alike = catalogue(row("b"), row("a"), row("c"))
    assert ids(choose(IMAGE, alike)) == ["a", "b", "c"]


def test_measured_latency_replaces_the_prior() -> None:
    slow_today = {"cheap": Health(latency_s=300.0)}
    assert ids(choose(replace(IMAGE, prefer="speed"), THREE, slow_today)) == ["middle", "good", "cheap"]


def test_a_model_that_often_fails_scores_less() -> None:
    failing = {"middle": Health(success_rate=0.5)}
    assert ids(choose(IMAGE, THREE, failing))[-1] == "middle"
    assert "succeeds 50%" in choose(IMAGE, THREE, failing).candidates[-1].reasons


def test_an_open_breaker_puts_a_model_last_without_rejecting_it() -> None:
    selection = choose(IMAGE, THREE, {"middle": Health(available=False)})
    assert ids(selection) == ["cheap", "good", "middle"]
    assert why(selection) == {}
    assert "not available now, so tried last" in selection.candidates[-1].reasons


def test_the_same_values_give_the_same_list() -> None:
    request = replace(VIDEO, duration_s=8)
    assert choose(request) == choose(request)


def test_the_list_is_bounded_and_the_rest_is_named() -> None:
    many = catalogue(*[row(f"m{number}", f"0.0{number}") for number in range(1, 10)])
    selection = choose(replace(IMAGE, prefer="cost"), many)
    assert ids(selection) == [f"m{number}" for number in range(1, 7)]
    assert why(selection) == dict.fromkeys(["m7", "m8", "m9"], "surplus")
    assert ids(choose(replace(IMAGE, prefer="cost"), many, max_candidates=2)) == ["m1", "m2"]


# ---------------------------------------------------------------- an explicit model, and fallback


def test_an_explicit_model_comes_first_whatever_its_score() -> None:
    selection = choose(replace(IMAGE, model="good"), THREE)
    assert ids(selection) == ["good", "middle", "cheap"]
    assert selection.candidates[0].reasons[0] == "asked for"


def test_an_old_name_selects_its_successor_and_the_reasons_say_so() -> None:
    first = choose(replace(IMAGE, model="imagegeneration@006")).candidates[0]
    assert (first.model, first.reasons[0]) == ("gemini-2.5-flash-image", "asked for as imagegeneration@006")


def test_without_fallback_only_the_explicit_model_is_tried() -> None:
    selection = choose(replace(IMAGE, model="good", fallback=False), THREE)
    assert ids(selection) == ["good"]
    assert why(selection) == {"middle": "not_asked", "cheap": "not_asked"}


def test_without_fallback_and_model_only_the_best_is_tried() -> None:
    selection = choose(replace(IMAGE, fallback=False), THREE)
    assert ids(selection) == ["middle"]
    assert why(selection) == {"good": "not_asked", "cheap": "not_asked"}


def test_without_fallback_the_best_is_one_that_is_available() -> None:
    assert ids(choose(replace(IMAGE, fallback=False), THREE, {"middle": Health(available=False)})) == ["cheap"]


def test_a_list_of_fallbacks_keeps_its_order_after_the_explicit_model() -> None:
    selection = choose(replace(IMAGE, model="cheap", fallback=("good", "middle", "good")), THREE)
    assert ids(selection) == ["cheap", "good", "middle"]
    assert "named as a fallback" in selection.candidates[1].reasons


def test_a_list_of_fallbacks_keeps_its_order_after_the_best() -> None:
    selection = choose(replace(IMAGE, fallback=("cheap",)), THREE)
    assert ids(selection) == ["middle", "cheap"]
    assert why(selection) == {"good": "not_asked"}


def test_a_list_of_fallbacks_understands_aliases_and_says_which_name_is_unknown() -> None:
    selection = choose(replace(IMAGE, model="nano-banana", fallback=("nano-banana-2", "dall-e-9")))
    assert ids(selection) == ["gemini-2.5-flash-image", "gemini-3.1-flash-image"]
    assert why(selection)["dall-e-9"] == "unknown"


def test_an_explicit_model_with_an_open_breaker_is_tried_after_those_that_are_available() -> None:
    selection = choose(replace(IMAGE, model="good"), THREE, {"good": Health(available=False)})
    assert ids(selection) == ["middle", "cheap", "good"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gemini-2.5-flash-image", "provider_off"),
        ("imagen-3.0-generate-001", "provider_off"),
        ("veo-3.1-generate-001", "unsupported"),
        ("nobody", "unknown"),
    ],
)
def test_an_explicit_model_that_cannot_serve_is_rejected_and_others_are_used(name: str, reason: str) -> None:
    resolved = SHIPPED.resolve(name, TODAY)
    told = name if resolved is None else resolved.model.id
    selection = choose(replace(IMAGE, model=name), providers=OFFLINE)
    assert why(selection)[told] == reason
    assert set(ids(selection)) == {"offline-image-fine", "offline-image-standard", "offline-image-draft"}


@pytest.mark.parametrize("name", ["gemini-2.5-flash-image", "veo-3.1-generate-001", "nobody"])
def test_an_explicit_model_that_cannot_serve_leaves_nothing_without_fallback(name: str) -> None:
    selection = choose(replace(IMAGE, model=name, fallback=False), providers=OFFLINE)
    assert ids(selection) == []
    assert name in why(selection)
    assert why(selection)["offline-image-fine"] == "not_asked"


def test_an_explicit_model_that_cannot_serve_leaves_its_list_of_fallbacks() -> None:
    assert ids(choose(replace(IMAGE, model="nobody", fallback=("cheap", "good")), THREE)) == ["cheap", "good"]


def test_a_model_that_is_not_listed_is_used_only_when_asked_for_by_name() -> None:
    hidden = catalogue(row("a"), row("hidden", listed=False))
    assert why(choose(IMAGE, hidden)) == {"hidden": "not_asked"}
    assert ids(choose(replace(IMAGE, model="hidden"), hidden)) == ["hidden", "a"]
    assert ids(choose(replace(IMAGE, model="a", fallback=("hidden",)), hidden)) == ["a", "hidden"]


# ---------------------------------------------------------------- rejections


def test_a_retired_model_is_never_chosen_and_is_told_only_when_asked_for() -> None:
    models = catalogue(row("old", retires_on=TODAY), row("new"))
    assert choose(IMAGE, models).rejected == ()
    selection = choose(replace(IMAGE, model="old"), models)
    assert (ids(selection), why(selection)) == (["new"], {"old": "retired"})
    assert ids(choose(replace(IMAGE, model="old", fallback=False), models)) == []


def test_no_retired_model_is_ever_chosen_from_the_shipped_rows() -> None:
    for day in (TODAY, date(2027, 3, 15)):
        for request in (IMAGE, replace(VIDEO, duration_s=8), TEXT):
            for name in SHIPPED.by_name:
                chosen = ids(select(replace(request, model=name), SHIPPED, {}, None, day, EVERY, False))
                gone = [m for m in chosen if (end := SHIPPED.by_name[m].retires_on) is not None and end <= day]
                assert gone == []


def test_a_provider_that_is_off_serves_nothing() -> None:
    selection = choose(IMAGE, providers=OFFLINE)
    assert {candidate.provider for candidate in selection.candidates} == {"offline"}
    assert all(candidate.simulated for candidate in selection.candidates)
    assert why(selection)["gemini-3.1-flash-image"] == "provider_off"


def test_a_model_that_the_vendor_took_away_is_disabled() -> None:
    selection = choose(IMAGE, THREE, {"middle": Health(disabled=True)})
    assert (ids(selection), why(selection)) == (["cheap", "good"], {"middle": "disabled"})


def test_a_model_without_a_price_for_what_is_asked_is_never_called() -> None:
    selection = choose(replace(IMAGE, model="gemini-3-pro-image", size="4K"))
    assert why(selection)["gemini-3-pro-image"] == "price_unknown"
    assert "gemini-3-pro-image" not in ids(selection)


def test_a_model_dearer_than_the_money_left_is_rejected_to_the_micro_dollar() -> None:
    assert set(ids(choose(IMAGE, THREE, money=40_000))) == {"middle", "cheap"}
    selection = choose(IMAGE, THREE, money=39_999)
    assert (ids(selection), why(selection)) == (["cheap"], {"good": "too_dear", "middle": "too_dear"})
    assert "0.1 USD" in selection.rejected[0].text


def test_the_requests_own_limit_counts_beside_the_money_left() -> None:
    assert ids(choose(replace(IMAGE, max_cost_micro_usd=10_000), THREE, money=100_000)) == ["cheap"]
    assert ids(choose(replace(IMAGE, max_cost_micro_usd=100_000), THREE, money=10_000)) == ["cheap"]


def test_over_the_soft_limit_only_the_cheaper_half_rounded_up_is_tried() -> None:
    selection = choose(IMAGE, THREE, soft_limited=True)
    assert set(ids(selection)) == {"middle", "cheap"}
    assert why(selection) == {"good": "soft_limit"}
    assert ids(choose(replace(IMAGE, model="good", fallback=False), THREE, soft_limited=True)) == ["good"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"size": "4K"}, "size: 4K; only 1K"),
        ({"aspect_ratio": "9:16"}, "aspect ratio: 9:16; only 1:1"),
        ({"count": 3}, "pictures: 3; at most 2"),
        ({"reference_images": ("gs://b/1", "gs://b/2")}, "input images: 2; at most 1"),
        ({"prompt": "x" * 101}, "at most 100 characters"),
        ({}, None),
    ],
)
def test_an_image_that_a_model_cannot_make_is_told(changes: dict[str, Any], told: str | None) -> None:
    limits: dict[str, Any] = {
        "sizes": ["1K"],
        "aspect_ratios": ["1:1"],
        "max_count": 2,
        "max_input_images": 1,
        "max_prompt_chars": 100,
    }
    model = catalogue(row("m", **limits)).by_name["m"]
    problem = unsupported(replace(IMAGE, **changes), model)
    assert problem == told or (told is not None and problem is not None and told in problem)


def test_reference_images_need_a_model_that_takes_input_images() -> None:
    plain = catalogue(row("plain", modes=["text_to_image"]), row("edits", modes=["image_to_image"]))
    assert ids(choose(IMAGE, plain)) == ["plain"]
    assert ids(choose(replace(IMAGE, reference_images=("gs://b/1",)), plain)) == ["edits"]


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("veo-3.1-generate-001", {"duration_s": 5}, "seconds: 5; only 4, 6, 8"),
        ("veo-3.1-generate-001", {"fps": 60}, "frames a second: 60"),
        ("veo-3.1-generate-001", {"aspect_ratio": "1:1"}, "aspect ratio: 1:1"),
        ("veo-3.1-lite-generate-001", {"resolution": "4k"}, "resolution: 4k"),
        ("veo-3.1-lite-generate-001", {"image": "gs://b/a", "last_frame": "gs://b/b"}, "mode: last_frame"),
        ("gen4_turbo", {"audio": False}, "mode: text_to_video"),
        ("gen4_turbo", {"image": "gs://b/a"}, "makes no sound"),
        ("gen4.5", {"audio": False, "duration_s": 1}, "seconds: 1; at least 2"),
        ("gen4.5", {"audio": False, "duration_s": 11}, "seconds: 11; at most 10"),
        ("runway-gemini_omni_flash", {"audio": False}, "always has sound"),
        ("aleph2", {"audio": False}, "mode: text_to_video"),
        ("veo-3.1-generate-001", {"image": "gs://b/a", "last_frame": "gs://b/b"}, None),
        ("veo-3.1-generate-001", {"audio": False}, None),
        ("gen4_turbo", {"audio": False, "image": "gs://b/a", "duration_s": 7}, None),
        ("offline-video-draft", {"duration_s": 59, "fps": 60, "resolution": "4k", "aspect_ratio": "1:1"}, None),
    ],
)
def test_a_clip_that_a_model_cannot_make_is_told(name: str, changes: dict[str, Any], told: str | None) -> None:
    problem = unsupported(replace(VIDEO, **changes), SHIPPED.by_name[name])
    assert problem == told or (told is not None and problem is not None and told in problem)


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("gemini-3.5-flash", {"max_tokens": 65_536}, "output tokens: 65536; at most 65535"),
        ("gemini-3.1-flash-lite", {"inputs": ("gs://b/a.mp3",)}, "reads no audio"),
        ("huggingface-endpoint", {"inputs": ("gs://b/a.png",)}, "reads no image"),
        ("gemini-3.1-flash-lite", {"inputs": ("gs://b/a.png",)}, None),
        ("gemini-3.8-flash", {"inputs": ("gs://b/a.mp3", "gs://b/a.mp4")}, None),
    ],
)
def test_a_text_that_a_model_cannot_make_is_told(name: str, changes: dict[str, Any], told: str | None) -> None:
    assert unsupported(replace(TEXT, **changes), SHIPPED.by_name[name]) == told or (
        told is not None and told in str(unsupported(replace(TEXT, **changes), SHIPPED.by_name[name]))
    )


def test_a_prompt_longer_than_the_window_is_not_sent() -> None:
    long = replace(TEXT, prompt="1" * 200_000, model="gemini-3.1-pro-preview")
    assert why(choose(long))["gemini-3.1-pro-preview"] == "unsupported"
    assert ids(choose(replace(long, prompt="1" * 199_900)))[0] == "gemini-3.1-pro-preview"


# ---------------------------------------------------------------- the last resort


def test_the_template_is_the_last_candidate_of_a_text_that_falls_back() -> None:
    selection = choose(TEXT, providers=OFFLINE)
    assert [c.template for c in selection.candidates] == [False, False, False, True]
    assert (selection.candidates[-1].price_micro_usd, selection.candidates[-1].reasons[0]) == (0, "last resort")


def test_the_template_is_last_even_when_all_others_are_unavailable_or_the_list_is_full() -> None:
    down = {name: Health(available=False) for name in SHIPPED.by_name}
    assert ids(choose(TEXT, health=down, providers=OFFLINE))[-1] == "template-text"
    assert len(ids(choose(TEXT))) == 6
    assert ids(choose(TEXT))[-1] == "template-text"


def test_the_template_remains_when_nothing_else_can_serve() -> None:
    assert ids(choose(TEXT, providers=frozenset())) == ["template-text"]
    assert ids(choose(TEXT, money=0)) == ["template-text"]


def test_the_template_does_not_push_out_the_only_place() -> None:
    assert ids(choose(TEXT, max_candidates=1, providers=OFFLINE)) == ["offline-text-standard"]


@pytest.mark.parametrize(
    "changes",
    [{"fallback": False}, {"fallback": ("template-text",)}, {"model": "template-text", "fallback": False}],
)
def test_the_template_is_used_only_when_the_request_falls_back(changes: dict[str, Any]) -> None:
    selection = choose(replace(TEXT, **changes), providers=OFFLINE)
    assert "template-text" not in ids(selection)
    assert why(selection)["template-text"] == "not_asked"


def test_a_template_asked_for_by_name_is_still_the_last() -> None:
    assert ids(choose(replace(TEXT, model="template-text"), providers=OFFLINE))[-1] == "template-text"


def test_the_template_does_not_count_among_the_cheaper_half() -> None:
    selection = choose(TEXT, providers=OFFLINE, soft_limited=True)
    assert ids(selection) == ["offline-text-lite", "offline-text-standard", "template-text"]


def test_warnings_about_the_end_of_a_model_are_among_the_reasons() -> None:
    models = catalogue(
        row("ends", retires_on=date(2026, 12, 21)),
        row("lasts", retires_on=date(2026, 12, 22)),
        row("may-end", retires_not_before=TODAY, preview=True),
    )
    reasons = {candidate.model: candidate.reasons[3:] for candidate in choose(IMAGE, models).candidates}
    assert reasons == {
        "ends": ("retires on 2026-12-21",),
        "lasts": (),
        "may-end": ("preview", "may be retired any day since 2026-11-21"),
    }


# ---------------------------------------------------------------- against brute force

PQ = frozenset("pq")
NAMES = [f"m{number:02}" for number in range(16)]


def random_row(rng: random.Random, name: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": name,
        "provider": rng.choice("ppqqr"),
        "kinds": ["text"] if rng.random() < 0.3 else ["image"],
        "max_count": rng.choice([1, 2, 3, 3, 3]),
        "quality": rng.choice([0.3, 0.5, 0.7, 0.9]),
        "latency_s": rng.choice([1.0, 5.0, 20.0]),
        "listed": rng.random() < 0.85,
    }
    if rng.random() < 0.3:
        made["sizes"] = rng.sample(["512", "1K", "2K"], 2)
    if rng.random() < 0.2:
        made["retires_on"] = rng.choice([date(2026, 1, 1), TODAY, date(2026, 11, 22)])
        made["successor"] = rng.choice(NAMES)
    if rng.random() < 0.2 and made["kinds"] == ["image"]:
        made["modes"] = ["image_to_image"]
    if made["kinds"] == ["text"]:
        made |= {"billed_by": "request", "template": rng.random() < 0.3}
    unit = "request" if made["kinds"] == ["text"] else "image"
    days = rng.sample([date(2026, 1, 1), date(2026, 6, 1), date(2026, 11, 21), date(2026, 12, 1)], 2)
    prices: list[dict[str, Any]] = [
        {"unit": unit, "amount": f"0.0{rng.randint(0, 9)}", "from": since} for since in days
    ]
    if unit == "image" and rng.random() < 0.5:
        prices.append({"unit": unit, "amount": "0.07", "from": date(2025, 1, 1), "dims": {"size": "2K"}})
    made["price"] = [price | {"source": "page", "checked": TODAY} for price in prices if rng.random() < 0.9]
    return made


def random_request(rng: random.Random) -> Request:
    shared: dict[str, Any] = {
        "prompt": "a cat",
        "deadline_s": 60,
        "prefer": rng.choice(["quality", "balanced", "cost", "speed"]),
        "model": rng.choice([None, rng.choice(["nobody", *NAMES])]),
        "fallback": rng.choice([True, True, True, False, tuple(rng.choices([*NAMES, "nobody"], k=6))]),
        "max_cost_micro_usd": rng.choice([None, None, 100_000]),
    }
    if rng.random() < 0.3:
        return TextRequest(kind="text", **shared)
    size, count = rng.choice(["512", "1K", "2K"]), rng.randint(1, 3)
    return ImageRequest(kind="image", size=size, count=count, **shared)


def random_health(rng: random.Random) -> dict[str, Health]:
    return {
        name: Health(
            available=rng.random() < 0.7,
            disabled=rng.random() < 0.1,
            success_rate=rng.choice([None, 0.25, 1.0]),
            latency_s=rng.choice([None, 3.0]),
        )
        for name in rng.sample(NAMES, 6)
    }


def plain_price(model: Model, request: Request) -> int | None:
    """Look the price up as a person would: special price first, then the newest that has begun."""
    units = request.count if isinstance(request, ImageRequest) else 1
    begun = [p for p in model.prices if p.since <= TODAY]
    special = [p for p in begun if isinstance(request, ImageRequest) and p.dims == (("size", request.size),)]
    general = [p for p in begun if not p.dims]
    fitting = sorted(special or general, key=lambda p: p.since)
    return units * fitting[-1].micro_usd_per_million // 1_000_000 if fitting else None


def plain_end(models: Catalogue, name: str) -> Model | None:
    seen: list[str] = []
    found = models.by_name.get(name)
    while found is not None and found.retires_on is not None and found.retires_on <= TODAY:
        if found.id in seen or found.successor is None:
            return None
        seen.append(found.id)
        found = models.by_name[found.successor]
    return found


def plain_can(model: Model, request: Request) -> bool:
    if isinstance(request, ImageRequest):
        right_size = not model.sizes or request.size in model.sizes
        return right_size and request.count <= model.max_count and "text_to_image" in model.modes
    return True


Pool = list[tuple[Model, int, Health]]


def plain_pool(
    models: Catalogue, request: Request, health: dict[str, Health], money: int | None, named: list[Model]
) -> Pool:
    """Every model that may and can serve, with its price; one refusal after the other."""
    pool: Pool = []
    for model in models.models:
        h = health.get(model.id, Health())
        price = plain_price(model, request)
        if request.kind not in model.kinds or (model.retires_on is not None and model.retires_on <= TODAY):
            continue
        if model.provider == "r" and not model.template:
            continue
        if model.template and request.fallback is not True:
            continue
        if model not in named and (not model.listed or (request.model and request.fallback is not True)):
            continue
        if h.disabled or not plain_can(model, request) or price is None:
            continue
        if money is not None and price > money:
            continue
        if request.max_cost_micro_usd is not None and price > request.max_cost_micro_usd:
            continue
        pool.append((model, price, h))
    return pool


def plain_choice(
    models: Catalogue, request: Request, health: dict[str, Health], money: int | None, soft: bool
) -> list[tuple[str, int, float]]:
    """One long walk through the rules, on purpose unlike the code under test."""
    asked = plain_end(models, request.model) if request.model else None
    listed = [plain_end(models, name) for name in request.fallback] if isinstance(request.fallback, tuple) else []
    named = [m for m in [asked, *listed] if m is not None and request.kind in m.kinds]
    pool = plain_pool(models, request, health, money, named)
    last = [(model.id, price, 0.0) for model, price, _ in pool if model.template]
    pool = [entry for entry in pool if not entry[0].template]
    if soft:
        pool.sort(key=lambda e: e[0].id)
        pool.sort(key=lambda e: e[0].quality, reverse=True)
        pool.sort(key=lambda e: e[1])
        pool = pool[: len(pool) // 2 + len(pool) % 2]

    def place(value: float, values: list[float]) -> float:
        return 1.0 if max(values) == min(values) else (value - min(values)) / (max(values) - min(values))

    weights = {"quality": (90, 5, 5), "balanced": (50, 30, 20), "cost": (5, 90, 5), "speed": (10, 10, 80)}
    wq, wp, ws = (weight / 100 for weight in weights[request.prefer])
    seconds = {m.id: m.latency_s if h.latency_s is None else h.latency_s for m, _, h in pool}
    scores = {}
    for model, price, h in pool:
        good = place(model.quality, [m.quality for m, _, _ in pool])
        cheap = place(-price, [-p for _, p, _ in pool])
        fast = place(-seconds[model.id], [-s for s in seconds.values()])
        scores[model.id] = round((wq * good + wp * cheap + ws * fast) * (h.success_rate or 1.0), 6)
    left = {model.id: (model, price, h) for model, price, h in pool}
    best_first = sorted(left, key=lambda name: (not left[name][2].available, -scores[name], left[name][1], name))
    result: list[str] = []
    for name in [m.id for m in named] if request.model else []:
        if name in left and name not in result:
            result.append(name)
    if request.fallback is True:
        result += [name for name in best_first if name not in result]
    elif not request.model:
        result = best_first[:1]
        result += [n for n in dict.fromkeys(m.id for m in named) if n in left and n not in result]
    result = [n for n in result if left[n][2].available] + [n for n in result if not left[n][2].available]
    if request.fallback is True:
        vendors = [left[name][0].provider for name in result]
        others = [n for n in result[3:] if left[n][2].available and left[n][0].provider != vendors[0]]
        if others and len(set(vendors[:3])) == 1:
            result.remove(others[0])
            result.insert(2, others[0])
    tail = [entry for entry in last if request.fallback is True]
    result = result[: max(6 - len(tail), 1)]
    return ([(name, left[name][1], scores[name]) for name in result] + tail)[:6]


def test_the_choice_equals_brute_force_on_two_hundred_random_catalogues() -> None:
    rng = random.Random(20261121)
    lengths = []
    for _ in range(200):
        models = catalogue(*[random_row(rng, name) for name in NAMES])
        for _ in range(4):
            request, health = random_request(rng), random_health(rng)
            money, soft = rng.choice([None, None, 20_000, 80_000]), rng.random() < 0.3
            got = choose(request, models, health, money, providers=PQ, soft_limited=soft)
            expected = plain_choice(models, request, health, money, soft)
            assert [(c.model, c.price_micro_usd, c.score) for c in got.candidates] == expected, (request, health)
            lengths.append(len(expected))
    assert lengths.count(0) < 300  # most draws leave something to compare
    assert min(lengths.count(length) for length in range(1, 7)) > 20


def test_every_live_model_of_the_kind_is_either_a_candidate_or_rejected_once() -> None:
    rng = random.Random(7)
    for _ in range(200):
        models = catalogue(*[random_row(rng, name) for name in NAMES])
        request = random_request(rng)
        money, soft = rng.choice([None, 20_000]), rng.random() < 0.3
        got = choose(request, models, random_health(rng), money, providers=PQ, soft_limited=soft)
        told = [*ids(got), *(rejected.model for rejected in got.rejected)]
        alive = {
            m.id for m in models.models if request.kind in m.kinds and (m.retires_on is None or m.retires_on > TODAY)
        }
        assert len(told) == len(set(told))
        assert alive <= set(told)
