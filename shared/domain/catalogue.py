"""The table of models: what each can do, what it costs from which day, when it retires and who follows it.

The rows are data (`shared/catalogue.toml`, whose head explains every field); this module checks them and finds them.
A row that is malformed stops the start, because a typo in a price must not spend money.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from shared.domain.money import parse_usd
from shared.errors import CatalogueError

Json = dict[str, Any]
Reader = Callable[[Any], Any]

KINDS = ("image", "video", "text")
MODES = (
    "text_to_image",
    "image_to_image",
    "text_to_video",
    "image_to_video",
    "last_frame",
    "video_to_video",
    "character_performance",
)
UNITS = (
    "image",
    "second",
    "input_token",
    "output_token",
    "image_token",
    "video_token",
    "gpu_second",
    "credit",
    "request",
)
DIMENSIONS = ("size", "resolution", "audio")
MEDIA = ("image", "audio", "video")
MILLION = 1_000_000


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a text that is not empty")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004 - every bad value is told the same way
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("a whole number from 1")
    return value


def _day(value: Any) -> date:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise ValueError("a date such as 2026-11-21, without quotes")  # noqa: TRY004 - as above
    return value


def _number(lowest: float, highest: float) -> Reader:
    def read(value: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not lowest <= value <= highest:
            raise ValueError(f"a number from {lowest:g} to {highest:g}")
        return float(value)

    return read


def _one_of(*choices: str) -> Reader:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return str(value)

    return read


def _each(item: Reader, collect: Callable[[Iterable[Any]], Any] = frozenset) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise ValueError("a list")  # noqa: TRY004 - every bad value is told the same way
        return collect([item(each) for each in value])

    return read


def _some(item: Reader) -> Reader:
    def read(value: Any) -> Any:
        if value == []:
            raise ValueError("a list that is not empty")
        return _each(item)(value)

    return read


def _counts(value: Any) -> dict[str, int]:
    if not isinstance(value, dict):
        raise ValueError("a table of whole numbers")  # noqa: TRY004 - every bad value is told the same way
    return {_text(key): _count(number) for key, number in value.items()}


def _names(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("a table of texts")  # noqa: TRY004 - every bad value is told the same way
    return {_text(key): _text(name) for key, name in value.items()}


def _tables(value: Any) -> list[Json]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ValueError("an array of tables")
    return value


def _dims(value: Any) -> tuple[tuple[str, str | bool], ...]:
    if not isinstance(value, dict) or not value.keys() <= set(DIMENSIONS):
        raise ValueError(f"a table with some of {', '.join(DIMENSIONS)}")
    return tuple(sorted((key, _flag(given) if key == "audio" else _text(given)) for key, given in value.items()))


def _per(value: Any) -> int:
    if value not in {1, MILLION} or isinstance(value, bool | float):
        raise ValueError(f"1 or {MILLION}")
    return int(value)


PRICE_FIELDS: Mapping[str, Reader] = {
    "unit": _one_of(*UNITS),
    "amount": lambda value: parse_usd(_text(value)),
    "per": _per,
    "dims": _dims,
    "from": _day,
    "to": _day,
    "source": _text,
    "checked": _day,
}


def _column(read: Reader, default: Any = None) -> Any:
    """Declare one field of a row and how its TOML value is read."""
    return dataclasses.field(default=default, metadata={"read": read})


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a vendor charges for one unit.

    Attributes:
        micro_usd_per_million: micro-USD for a million units, so that prices per token stay whole numbers.
        since, until: first and last day of the price; a later `since` supersedes an earlier one.
        dims: what the price holds for, e.g. (("resolution", "4k"),); empty: for everything.
        source, checked: the page it is from, and when it was last read.
    """

    unit: str
    micro_usd_per_million: int
    since: date
    until: date | None = None
    dims: tuple[tuple[str, str | bool], ...] = ()
    source: str
    checked: date

    def holds_on(self, day: date) -> bool:
        """Whether *day* is between its first and last day."""
        return self.since <= day and (self.until is None or day <= self.until)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """One row. An empty set and None do not limit, except that `input_media` is all it reads."""

    id: str = _column(_text)
    provider: str = _column(_text)
    vendor_model: str = _column(_text)
    kinds: frozenset[str] = _column(_some(_one_of(*KINDS)))
    modes: frozenset[str] = _column(_some(_one_of(*MODES)))
    billed_by: str = _column(_one_of("piece", "token", "gpu_second", "request"))
    api: str | None = _column(_text)  # which of the vendor's interfaces, where it has several
    inputs: Mapping[str, str] = _column(_names)  # what the vendor calls our parameters, where each model has its own
    location: str | None = _column(_text)
    sizes: frozenset[str] = _column(_some(_text), frozenset())
    aspect_ratios: frozenset[str] = _column(_some(_text), frozenset())
    resolutions: frozenset[str] = _column(_some(_text), frozenset())
    durations: frozenset[int] = _column(_some(_count), frozenset())  # seconds
    min_duration_s: int | None = _column(_count)
    max_duration_s: int | None = _column(_count)
    fps: frozenset[int] = _column(_some(_count), frozenset())
    audio: str = _column(_one_of("always", "optional", "none"), "none")
    max_count: int = _column(_count, 1)
    pieces_per_call: int = _column(_count, 1)
    max_prompt_chars: int | None = _column(_count)
    max_input_images: int | None = _column(_count)
    input_media: frozenset[str] = _column(_each(_one_of(*MEDIA)), frozenset(MEDIA))
    max_input_tokens: int | None = _column(_count)
    max_output_tokens: int | None = _column(_count)
    image_tokens: Mapping[str, int] = _column(_counts)  # by size
    video_tokens_per_second: Mapping[str, int] = _column(_counts)  # by resolution
    input_tokens_per_image: int | None = _column(_count)
    side_tokens: int = _column(_count, 0)
    max_gpu_seconds: int | None = _column(_count)
    prices: tuple[Price, ...] = ()
    quality: float = _column(_number(0, 1), 0.5)
    latency_s: float = _column(_number(0, 86_400), 60.0)
    rpm: int | None = _column(_count)
    rpd: int | None = _column(_count)
    tpm: int | None = _column(_count)
    released: date | None = _column(_day)  # noqa: RUF009 - declares, computes nothing
    retires_on: date | None = _column(_day)  # noqa: RUF009 - declares, computes nothing
    retires_not_before: date | None = _column(_day)  # noqa: RUF009 - declares, computes nothing
    successor: str | None = _column(_text)
    aliases: tuple[str, ...] = _column(_each(_text, tuple), ())
    adopt: str = _column(_one_of("find", "none"), "none")
    preview: bool = _column(_flag, default=False)
    listed: bool = _column(_flag, default=True)
    simulated: bool = _column(_flag, default=False)
    template: bool = _column(_flag, default=False)


FIELDS: Mapping[str, Reader] = {
    **{column.name: column.metadata["read"] for column in dataclasses.fields(Model) if column.metadata},
    "price": _tables,
}


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a name means on a day.

    Attributes:
        asked: the name as it was given, an id or an alias.
        via: ids of the retired rows it led through, in their order.
    """

    model: Model
    asked: str
    via: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """All rows, found by name and by kind. Build it with `parse_catalogue`."""

    models: tuple[Model, ...]
    by_name: Mapping[str, Model]
    by_kind: Mapping[str, tuple[Model, ...]]

    def resolve(self, name: str, today: date) -> Resolution | None:
        """Return the live model that *name* stands for, or None when no row has that id or alias.

        Where the chain of successors has no live end, the last row of it comes back: check `is_retired`.
        """
        model = self.by_name.get(name)
        if model is None:
            return None
        via: list[str] = []
        while is_retired(model, today) and model.successor is not None:
            following = self.by_name[model.successor]
            via.append(model.id)
            if following.id in via:
                break
            model = following
        return Resolution(model, name, tuple(via))

    def retiring_soon(self, today: date, days: int = 30) -> tuple[Model, ...]:
        """Return the models still live whose last day is at most *days* away, the next to go first."""
        horizon = today + timedelta(days=days)
        going = [(m.retires_on, m.id, m) for m in self.models if m.retires_on and today < m.retires_on <= horizon]
        return tuple(model for _, _, model in sorted(going, key=lambda row: row[:2]))


def is_retired(model: Model, today: date) -> bool:
    """Whether the vendor may already answer that the model does not exist."""
    return model.retires_on is not None and model.retires_on <= today


def prices_on(model: Model, day: date) -> tuple[Price, ...]:
    """Return the prices in force on *day*: per unit and dimensions, the one with the latest first day."""
    newest: dict[tuple[str, tuple[tuple[str, str | bool], ...]], Price] = {}
    for price in model.prices:
        known = newest.get((price.unit, price.dims))
        if price.holds_on(day) and (known is None or known.since < price.since):
            newest[price.unit, price.dims] = price
    return tuple(newest.values())


def parse_catalogue(*documents: Json) -> Catalogue:
    """Check already parsed TOML documents; a later one adds rows, or overrides fields of rows, by id.

    Raises:
        CatalogueError: naming the row, the field, and what is allowed there.
    """
    rows: dict[str, Json] = {}
    for document in documents:
        for row in _rows_of(document):
            rows[row["id"]] = {**rows.get(row["id"], {}), **row}
    models = tuple(_model(row) for row in rows.values())
    by_name = _by_name(models)
    for model in models:
        if model.successor is not None and model.successor not in by_name:
            raise _wrong(model.id, "successor", model.successor, "the id or alias of a row")
    return Catalogue(models, by_name, {kind: tuple(m for m in models if kind in m.kinds) for kind in KINDS})


def _rows_of(document: Json) -> list[Json]:
    unknown = sorted(document.keys() - {"model"})
    if unknown:
        raise CatalogueError(f"catalogue: unknown table {unknown[0]!r}; allowed: model")
    rows = document.get("model", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise CatalogueError("catalogue: 'model' must be an array of tables: [[model]]")
    for number, row in enumerate(rows, start=1):
        _read(f"number {number}", "id", row.get("id"), _text)
    for name, times in Counter(row["id"] for row in rows).items():
        if times > 1:
            raise CatalogueError(f"catalogue row {name!r}: given {times} times in one document")
    return rows


def _by_name(models: Sequence[Model]) -> dict[str, Model]:
    names: dict[str, Model] = {}
    for model in models:
        for name in (model.id, *model.aliases):
            if name in names:
                raise _wrong(model.id, "aliases", name, f"a name that row {names[name].id!r} does not have")
            names[name] = model
    return names


def _model(row: Json) -> Model:
    name = row["id"]
    fields = {key: _read(name, key, value, _reader(name, key, FIELDS)) for key, value in row.items() if key != "price"}
    for required in ("provider", "kinds"):
        if required not in fields:
            raise _wrong(name, required, None, "required in every row")
    prices = _read(name, "price", row.get("price", []), _tables)
    filled = {
        "vendor_model": name,
        "modes": frozenset(f"text_to_{kind}" for kind in fields["kinds"]) & frozenset(MODES),
        "billed_by": "token" if fields["kinds"] == {"text"} else "piece",
        "inputs": {},
        "image_tokens": {},
        "video_tokens_per_second": {},
    }
    model = Model(**(filled | fields), prices=tuple(_price(name, price) for price in prices))
    _check_whole(model)
    return model


def _price(name: str, row: Json) -> Price:
    fields = {key: _read(name, f"price.{key}", v, _reader(name, key, PRICE_FIELDS)) for key, v in row.items()}
    for required in ("unit", "amount", "from", "source", "checked"):
        if required not in fields:
            raise _wrong(name, f"price.{required}", None, "required in every price")
    return Price(
        unit=fields["unit"],
        micro_usd_per_million=fields["amount"] * (MILLION // fields.get("per", 1)),
        since=fields["from"],
        until=fields.get("to"),
        dims=fields.get("dims", ()),
        source=fields["source"],
        checked=fields["checked"],
    )


def _check_whole(model: Model) -> None:
    """Raise CatalogueError where fields that are fine alone contradict each other."""
    if "text" in model.kinds and model.billed_by == "piece":
        raise _wrong(model.id, "billed_by", "piece", "token, gpu_second or request for a model that makes text")
    low, high = model.min_duration_s, model.max_duration_s
    if low is not None and high is not None and low > high:
        raise _wrong(model.id, "min_duration_s", low, f"at most max_duration_s, {high}")
    first_days = Counter((price.unit, price.dims, price.since) for price in model.prices)
    for (unit, _, since), times in first_days.items():
        if times > 1:
            raise _wrong(model.id, "price", unit, f"one price of the same dims from {since}")


def _reader(name: str, key: str, known: Mapping[str, Reader]) -> Reader:
    if key not in known:
        raise CatalogueError(f"catalogue row {name!r}: unknown field {key!r}; allowed: {', '.join(sorted(known))}")
    return known[key]


def _read(name: str, key: str, value: Any, reader: Reader) -> Any:
    try:
        return reader(value)
    except ValueError as problem:
        raise _wrong(name, key, value, str(problem)) from None


def _wrong(name: str, key: str, value: object, allowed: str) -> CatalogueError:
    return CatalogueError(f"catalogue row {name!r}, field {key!r}: {value!r} given; allowed: {allowed}")
