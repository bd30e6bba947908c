"""Runway: images and clips as tasks that are asked after.

Over httpx: the vendor's SDK sends creates up to three times, and calls a status that it does not know pending.
Sources: runwayml 5.24.0 (`types/*_create_params.py`, `types/task_retrieve_response.py`, `resources/tasks.py`);
docs.dev.runwayml.com: errors/errors, errors/task-failures, assets/inputs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

import httpx

from shared.errors import (
    AccountRefused,
    Ambiguous,
    Blocked,
    InvalidCall,
    ProviderFault,
    Unavailable,
)
from shared.ports import Asset, BlobStore, Call, Done, Json, NotAccepted, Pending
from shared.providers.http import NotAnswered, UnknownThere, VendorHttp, message_of, private_texts
from shared.providers.inputs import as_url

API_VERSION = "2024-11-06"
POLL_S = 5.0  # the vendor asks for no more often than that
REFUSED_POLL_S = 60.0
WAITING = frozenset({"PENDING", "THROTTLED"})
MICRO_USD_PER_CREDIT = 10_000
MAX_INLINE_BYTES = (
    (5 * 2**20 - 64) // 4 * 3
)  # a data URI has less than 5 MiB; base64 makes four characters of three bytes
NO_CREDIT = "not have enough credits"  # a 400, though it is no fault of the call

_MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "mp4": "video/mp4",
    "webm": "video/webm",
}
_USUAL = {"image": "image/png", "video": "video/mp4"}
_CODE = re.compile(r"[A-Z0-9_.]{1,64}")


@dataclass(frozen=True, slots=True)
class Takes:
    """What one model takes: the pixel sizes it calls ratios, and the fields that not every model has."""

    ratios: frozenset[str]
    fields: frozenset[str] = frozenset()


_HD = frozenset({"1280:720", "720:1280"})
_FULL_HD = _HD | {"1920:1080", "1080:1920"}
_GEN4_CLIP = _HD | {"1104:832", "832:1104", "960:960", "1584:672"}
_GEN4_IMAGE = _FULL_HD | {
    *("720:720", "1024:1024", "1080:1080", "960:720", "720:960", "1168:880", "1440:1080", "1080:1440"),
    *("1360:768", "1680:720", "1808:768", "2112:912"),
}
_SEED, _VEO = frozenset({"seed"}), frozenset({"seed", "audio", "negativePrompt"})

# A model that is not here, of a user's own row, is sent what all models take.
TAKES: Mapping[str, Takes] = {
    "gen4_image": Takes(_GEN4_IMAGE, _SEED),
    "gen4_image_turbo": Takes(_GEN4_IMAGE, _SEED),
    "gen4.5": Takes(_GEN4_CLIP, _SEED),
    "gen4_turbo": Takes(_GEN4_CLIP, _SEED),
    "veo3.1": Takes(_FULL_HD, _VEO),
    "veo3.1_fast": Takes(_FULL_HD, _VEO),
    "gemini_omni_flash": Takes(_HD),
    "gemini_omni_flash_1.1": Takes(_FULL_HD | {"640:360", "360:640", "3840:2160", "2160:3840"}),
}


class RunwayProvider:
    """Runway's API. A call makes one piece; what it costs is what the task reports in credits.

    Adoption: of an ambiguous create, nothing. Runway takes no idempotency key, calls no webhook and lists no tasks: a
    task can be asked after by its id only, which came with the answer that was lost. So `find` cannot tell, and the
    money goes to suspense. A task whose id we hold is asked after until it ends, by whichever process.

    Output files expire within 24 to 48 hours; asking after the task again gives fresh addresses of them.
    """

    name = "runway"

    def __init__(self, api_secret: str, blobs: BlobStore, *, base_url: str) -> None:
        """*blobs*: where input pictures are read from."""
        self._blobs = blobs
        headers = {"Authorization": f"Bearer {api_secret}", "X-Runway-Version": API_VERSION}
        self._http = VendorHttp(self.name, base_url, headers)

    def start(self, call: Call) -> Pending:
        """Create a task.

        Raises:
            ProviderFault: as `shared.providers.http` says; AccountRefused also when there are too few credits.
        """
        path, body = _request(call, self._blobs)
        hidden = private_texts(call.params)
        answer = self._http.create(path, body, timeout_s=call.timeout_s, private=hidden, judge=_judge)
        task = self._http.read(answer).get("id")
        if not isinstance(task, str) or not task:
            raise Ambiguous(f"runway answered {answer.status_code} without the id of a task")
        return Pending({"task": task, "kind": call.kind}, POLL_S)

    def poll(self, handle: Json) -> Done | Pending:
        """Ask after the task.

        Raises:
            Blocked, InvalidCall, Unavailable: it failed or was cancelled, with what remains charged.
            Ambiguous: Runway no longer knows it. It was accepted, and deleted tasks may have been charged.
        """
        try:
            task = self._http.ask("GET", _path(handle))
        except NotAnswered as wait:
            return Pending(handle, max(POLL_S, wait.retry_after_s))
        except UnknownThere:
            raise Ambiguous("runway does not know the task any more, nor can say what it charged") from None
        except ProviderFault:  # says nothing about the task, which runs on while somebody mends the key, for example
            return Pending(handle, REFUSED_POLL_S)
        match task.get("status"):
            case "SUCCEEDED":
                return self._delivered(task, handle)
            case "FAILED":
                raise _failure(task)
            case "CANCELLED":
                raise Unavailable("runway: the task was cancelled", cost_micro_usd=_charged(task))
        # PENDING, THROTTLED (queued by our own concurrency), RUNNING, and whatever the vendor may think of.
        return Pending(handle, POLL_S, _progress(task))

    def cancel(self, handle: Json) -> None:
        """Stop a task that waits. A running one is charged all the same, and what a finished one made would be lost."""
        try:
            if self._http.ask("GET", _path(handle)).get("status") in WAITING:
                self._http.ask("DELETE", _path(handle))
        except (NotAnswered, UnknownThere, ProviderFault):
            return

    def find(self, call: Call) -> Done | Pending | NotAccepted | None:
        """Return None: there is nothing to look in."""

    def close(self) -> None:
        """Give up the connections."""
        self._http.close()

    def _delivered(self, task: Json, handle: Json) -> Done:
        output = task.get("output")
        urls = [url for url in output if isinstance(url, str) and url] if isinstance(output, list) else []
        if not urls:
            raise Unavailable("runway: the task succeeded with nothing to show", cost_micro_usd=_charged(task))
        usual = _USUAL.get(str(handle.get("kind")), "video/mp4")
        assets = tuple(Asset(_media_type(url, usual), chunks=partial(self._http.download, url)) for url in urls)
        credit = _credits(task)
        return Done(assets, {} if credit is None else {"credit": credit})


# ---------------------------------------------------------------- what is asked


def _request(call: Call, blobs: BlobStore) -> tuple[str, Json]:
    """Return path and body of the create."""
    if call.kind not in ("image", "video"):
        raise InvalidCall(f"runway makes no {call.kind}")
    takes, params = TAKES.get(call.model), call.params
    body: Json = {"model": call.model, "promptText": _prompt(call), "ratio": _ratio(call, takes)}
    optional = {
        "seed": params.get("seed"),
        "audio": params.get("audio"),
        "negativePrompt": params.get("negative_prompt") or None,
    }
    allowed = takes.fields if takes else frozenset[str]()
    body |= {key: value for key, value in optional.items() if key in allowed and value is not None}
    if call.kind == "image":
        pictures = [{"uri": _picture(uri, blobs)} for uri in params.get("reference_images") or ()]
        return "/v1/text_to_image", body | ({"referenceImages": pictures} if pictures else {})
    body["duration"] = params["duration_s"]
    first, last = params.get("image"), params.get("last_frame")
    if first is None and last is None:
        return "/v1/text_to_video", body
    return "/v1/image_to_video", body | {"promptImage": _frames(first, last, blobs)}


def _prompt(call: Call) -> str:
    """The prompt, which Runway measures in UTF-16 code units: most emoji count twice."""
    prompt: str = call.params["prompt"]
    units, limit = sum(2 if ord(character) > 0xFFFF else 1 for character in prompt), call.row.max_prompt_chars
    if limit is not None and units > limit:
        raise InvalidCall(f"runway: the prompt has {units} UTF-16 units; {call.model} takes {limit}")
    return prompt


def _ratio(call: Call, takes: Takes | None) -> str:
    """Runway's word for the pixels of the piece. Another size than asked would be paid for and then rejected."""
    ratio = f"{call.params['width']}:{call.params['height']}"
    if takes is not None and ratio not in takes.ratios:
        raise InvalidCall(f"runway: {call.model} makes no {ratio}")
    return ratio


def _frames(first: str | None, last: str | None, blobs: BlobStore) -> str | list[Json]:
    if first is None:
        raise InvalidCall("runway makes no clip from a last frame alone")
    if last is None:
        return _picture(first, blobs)
    return [{"uri": _picture(first, blobs), "position": "first"}, {"uri": _picture(last, blobs), "position": "last"}]


def _picture(uri: str, blobs: BlobStore) -> str:
    return as_url(uri, blobs, max_inline_bytes=MAX_INLINE_BYTES)


def _path(handle: Json) -> str:
    return f"/v1/tasks/{quote(handle['task'], safe='')}"


# ---------------------------------------------------------------- what is answered


def _judge(answer: httpx.Response) -> ProviderFault | None:
    if answer.status_code == httpx.codes.BAD_REQUEST and NO_CREDIT in message_of(answer):
        return AccountRefused("runway answered 400: the account has too few credits")
    return None


def _failure(task: Json) -> ProviderFault:
    """Return what a failed task means. Its words are left out: they may repeat a prompt that we do not have here."""
    code = task.get("failureCode")
    known = code if isinstance(code, str) and _CODE.fullmatch(code) else "no code"
    text, charged = f"runway: the task failed ({known})", _charged(task)
    parts = known.split(".")
    if "SAFETY" in parts:
        return Blocked(text, cost_micro_usd=charged)
    if parts[0] == "ASSET":
        return InvalidCall(text, cost_micro_usd=charged)
    return Unavailable(text, cost_micro_usd=charged)


def _charged(task: Json) -> int:
    return (_credits(task) or 0) * MICRO_USD_PER_CREDIT


def _credits(task: Json) -> int | None:
    """What remains charged for an ended task, in credits; None when it does not say."""
    cost = task.get("cost")
    value = _number(cost.get("credits")) if isinstance(cost, dict) else None
    return None if value is None else math.ceil(value)


def _progress(task: Json) -> float | None:
    value = _number(task.get("progress"))
    return None if value is None else min(1.0, value)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return None
    return value


def _media_type(url: str, usual: str) -> str:
    ending = url.partition("?")[0].rpartition(".")[2].lower()
    return _MEDIA_TYPES.get(ending, usual)
