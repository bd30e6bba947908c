"""What a request can cost at most before it is made, and what it did cost afterwards.

Amounts are integers of micro-USD, rounded up once at the end. Both ways use the same price rows, so a call that stays
within its demand never costs more than its price.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from shared.domain.catalogue import MILLION, Model, Price
from shared.domain.request import ImageRequest, Request, TextRequest, VideoRequest
from shared.errors import PriceUnknown

Dims = Mapping[str, str | bool]

# Role words and separators the vendor adds round the texts of one call.
OVERHEAD_TOKENS = 64
LETTERS_PER_TOKEN = 3
_LETTERS = (string.ascii_letters + " ").encode()

_IMAGE_ENDINGS = frozenset({"png", "jpg", "jpeg", "webp", "heic", "heif", "gif", "bmp"})
_AUDIO_ENDINGS = frozenset({"mp3", "wav", "flac", "ogg", "oga", "opus", "aac", "m4a", "aiff"})


@dataclass(frozen=True, slots=True)
class Demand:
    """The most a request can use of one model.

    Attributes:
        units: billable units by name, e.g. {"image": 2} or {"input_token": 90, "output_token": 1024}.
        dims: what the price may depend on: size, resolution, audio.
        calls: how many calls of the vendor it takes.
    """

    units: Mapping[str, int]
    dims: Dims = field(default_factory=dict)
    calls: int = 1


@dataclass(frozen=True, slots=True)
class Quote:
    """Cheapest and dearest of what may be tried, micro-USD."""

    low: int
    high: int


def quote(prices: Iterable[int]) -> Quote:
    """Return the range of *prices*; of none at all, nothing is owed."""
    known = tuple(prices) or (0,)
    return Quote(min(known), max(known))


def demand(request: Request, model: Model) -> Demand:
    """Return the upper bound of what *request* uses on *model*; the text is that of the prompt as it will be sent.

    Raises:
        PriceUnknown: nothing bounds what the vendor would bill.
    """
    pieces = request.count if isinstance(request, ImageRequest) else 1
    calls = -(-pieces // model.pieces_per_call)
    dims = dims_of(request)
    match model.billed_by:
        case "token":
            return Demand(_tokens(request, model, calls), dims, calls)
        case "gpu_second":
            if model.max_gpu_seconds is None:
                raise PriceUnknown(f"{model.id}: no max_gpu_seconds, so nothing bounds a run")
            return Demand({"gpu_second": calls * model.max_gpu_seconds}, dims, calls)
        case "request":
            return Demand({"request": calls}, dims, calls)
        case _:
            return Demand(_pieces(request), dims, calls)


def price_of(model: Model, wanted: Demand, today: date) -> int:
    """Return the most that *wanted* can cost, micro-USD.

    Raises:
        PriceUnknown: the catalogue has no price in force for a unit of it; the message says which, and for what.
    """
    return _charge(model, wanted.units, wanted.dims, today)


def cost_of(model: Model, usage: Mapping[str, int], request: Request, today: date) -> int:
    """Return what *usage* cost, micro-USD: the units of the vendor's report, or else the delivered pieces.

    Report one or the other: every unit in it is charged. Delivered pieces ("image", "second") of a model that is
    billed by tokens are turned into the tokens they count as, and what it read is then booked as it was reckoned.
    *today* is the day of the call.

    Raises:
        PriceUnknown: a unit of it has no price; the price that was held is then all that is known.
    """
    return _charge(model, _as_billed(model, usage, request), dims_of(request), today)


def dims_of(request: Request) -> Dims:
    """Return what of *request* a price may depend on."""
    if isinstance(request, ImageRequest):
        return {"size": request.size}
    if isinstance(request, VideoRequest):
        return {"resolution": request.resolution, "audio": request.audio}
    return {}


def media_of(uri: str) -> str:
    """Return "image", "audio" or "video" by the ending of *uri*; an unknown ending counts as the dearest, video."""
    ending = uri.rpartition(".")[2].lower()
    if ending in _IMAGE_ENDINGS:
        return "image"
    return "audio" if ending in _AUDIO_ENDINGS else "video"


def _charge(model: Model, units: Mapping[str, int], dims: Dims, today: date) -> int:
    micro_usd_millionths = sum(n * _rate(model, unit, dims, today) for unit, n in units.items() if n)
    return -(-micro_usd_millionths // MILLION)


def _rate(model: Model, unit: str, dims: Dims, today: date) -> int:
    """Return micro-USD per million units: of the prices that fit, the most specific, and then the newest."""
    best: Price | None = None
    for price in model.prices:
        fits = price.unit == unit and price.holds_on(today) and all(dims.get(key) == want for key, want in price.dims)
        if fits and (best is None or (len(best.dims), best.since) < (len(price.dims), price.since)):
            best = price
    if best is None:
        asked = "".join(f", {key} {value}" for key, value in dims.items())
        raise PriceUnknown(f"{model.id}: no price per {unit} on {today}{asked}")
    return best.micro_usd_per_million


def _pieces(request: Request) -> dict[str, int]:
    if isinstance(request, ImageRequest):
        return {"image": request.count}
    if isinstance(request, VideoRequest):
        return {"second": request.duration_s}
    raise PriceUnknown(f"a {request.kind} request is not billed by the piece")


def _tokens(request: Request, model: Model, calls: int) -> dict[str, int]:
    if isinstance(request, TextRequest):
        schema = json.dumps(request.response_schema) if request.response_schema else ""
        clips = any(media_of(uri) != "image" for uri in request.inputs)
        asked = (request.prompt, request.system or "", schema)
        return {
            "input_token": _input_tokens(model, asked, pictures=len(request.inputs), clips=clips),
            "output_token": request.max_tokens,
        }
    texts = (request.prompt, request.negative_prompt or "")
    if isinstance(request, ImageRequest):
        return {
            "input_token": calls * _input_tokens(model, texts, pictures=len(request.reference_images)),
            "image_token": request.count * _size_tokens(model, request),
            "output_token": calls * model.side_tokens,
        }
    if isinstance(request, VideoRequest):
        pictures = sum(frame is not None for frame in (request.image, request.last_frame))
        return {
            "input_token": _input_tokens(model, texts, pictures=pictures),
            "video_token": request.duration_s * _second_tokens(model, request),
            "output_token": model.side_tokens,
        }
    raise PriceUnknown(f"a {request.kind} request is not billed by tokens")


def _input_tokens(model: Model, texts: Sequence[str], *, pictures: int, clips: bool = False) -> int:
    """Return a bound on what one call reads.

    A picture counts what the catalogue says. How long a clip is, nobody knows before it is opened, so one clip, like a
    picture whose tokens are not published, may fill all that the model can take in.
    """
    words = OVERHEAD_TOKENS + sum(_text_tokens(text) for text in texts)
    if not pictures:
        return words
    if model.input_tokens_per_image is not None and not clips:
        return words + pictures * model.input_tokens_per_image
    if model.max_input_tokens is None:
        raise PriceUnknown(f"{model.id}: no max_input_tokens, so nothing bounds what an input file counts")
    return max(words, model.max_input_tokens)


def _text_tokens(text: str) -> int:
    """Return a careful estimate: three Latin letters a token, but every digit, sign and other character one of its own.

    Gemini's own rule of thumb is four characters a token (ai.google.dev/gemini-api/docs/tokens); digits are split.
    """
    raw = text.encode()
    letters = len(raw) - len(raw.translate(None, _LETTERS))
    return -(-letters // LETTERS_PER_TOKEN) + len(text) - letters


def _size_tokens(model: Model, request: ImageRequest) -> int:
    count = model.image_tokens.get(request.size)
    if count is None:
        raise PriceUnknown(f"{model.id}: how many image_token a picture of size {request.size} counts is not known")
    return count


def _second_tokens(model: Model, request: VideoRequest) -> int:
    count = model.video_tokens_per_second.get(request.resolution)
    if count is None:
        raise PriceUnknown(f"{model.id}: how many video_token a second at {request.resolution} counts is not known")
    return count


def _as_billed(model: Model, usage: Mapping[str, int], request: Request) -> Mapping[str, int]:
    """Return *usage*, with delivered pieces in tokens where those are billed; the rest is then booked as reckoned."""
    if model.billed_by != "token":
        return usage
    if isinstance(request, ImageRequest) and "image" in usage:
        delivered = {"image_token": usage["image"] * _size_tokens(model, request)}
    elif isinstance(request, VideoRequest) and "second" in usage:
        delivered = {"video_token": usage["second"] * _second_tokens(model, request)}
    else:
        return usage
    return {**demand(request, model).units, **delivered}
