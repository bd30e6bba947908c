"""Replicate: predictions of any model it hosts, by the model's name or by one version of it.

Plain HTTP, because the SDK (replicate 1.0.7) fails on the status "aborted" and repeats refused reads ten times (54 s).
Each model has input names of its own: the catalogue row says what ours are called there, and only those are sent.
An official model is called by name, any other by version (`owner/name:version`). Inputs, outputs and files are removed
an hour after the end, so they are copied at once. Every prediction has a deadline (`Cancel-After`, counted from its
creation), after which the vendor says for certain that it ended: canceled (charged) or aborted (not charged).

Adoption: a lost call is looked for in the account's list of predictions, by model and input. It is ours when it shows
our webhook's address, which names job, attempt and part, or when it shows none and no other prediction fits as well;
without webhooks two like calls with one seed cannot be told apart. That the list has none proves nothing: nobody says
how soon it shows what was accepted. So a call is never declared unmade; its money waits in suspense until the webhook
of a prediction after all has it looked for again.

Sources: replicate.com/docs/reference/http, /docs/topics/predictions/lifecycle and /docs/topics/predictions/rate-limits;
replicate.com/changelog/2025-10-16-prediction-deadlines.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from shared.domain.times import to_text
from shared.errors import Ambiguous, InvalidCall, ProviderFault
from shared.ports import BlobStore, Call, Clock, Done, Json, NotAccepted, Pending
from shared.providers.http import NotAnswered, UnknownThere, VendorHttp, private_texts
from shared.providers.inputs import as_url
from shared.providers.replicate_outcome import POLL_S, as_object, handle_of, judge, read

DEADLINE_S = 900  # of a prediction that no row bounds; shorter than an operation may run before it counts as lost
WINDOW = timedelta(hours=1)  # how far back a lost call is looked for; older ones show no input any more
MAX_PAGES = 20  # of 100 predictions
FIND_S = 30.0  # for all of it
MAX_ALIKE = 10  # of them, that are looked at one by one
SMALL_BYTES = 256 * 1024  # above this the vendor wants a link
MOST_BYTES = 10_000_000  # as data where no link can be made

_FILES = ("image", "last_frame")
_FILE_LISTS = ("reference_images", "inputs")
_ALL_FILES = frozenset({*_FILES, *_FILE_LISTS})


class ReplicateProvider:
    """Runs models on Replicate; safe in threads."""

    name = "replicate"

    def __init__(self, api_token: str, blobs: BlobStore, clock: Clock, *, base_url: str, webhook_url: str = "") -> None:
        """*webhook_url*: where the vendor tells that a prediction ended; empty: it is only asked."""
        self._http = VendorHttp(self.name, base_url, {"Authorization": f"Bearer {api_token}"})
        self._blobs = blobs
        self._clock = clock
        self._webhook_url = webhook_url

    def close(self) -> None:
        """Give up the connections; nothing can be asked afterwards."""
        self._http.close()

    def start(self, call: Call) -> Done | Pending:
        """Create the prediction; only one that is over at once is Done."""
        _demand_bounds(call)
        path, body = _target(call.model)
        body["input"] = self._input(call)
        if self._webhook_url:
            body["webhook"], body["webhook_events_filter"] = self._webhook(call), ["completed"]
        deadline = {"Cancel-After": f"{call.row.max_gpu_seconds or DEADLINE_S}s"}
        answer = self._http.create(
            path, body, timeout_s=call.timeout_s, private=private_texts(call.params), headers=deadline, judge=judge
        )
        prediction = self._http.read(answer)
        return read(handle_of(call, prediction, self._clock.now()), prediction, self._http.download)

    def poll(self, handle: Json) -> Done | Pending:
        """Ask after the prediction."""
        try:
            prediction = self._http.ask("GET", _path(handle))
        except UnknownThere:
            raise Ambiguous("replicate does not know the prediction any more, nor what it cost") from None
        except NotAnswered as later:
            return Pending(handle, later.retry_after_s)
        except ProviderFault:  # that a question is refused is not the end of the prediction
            return Pending(handle, NotAnswered().retry_after_s)
        return read(handle, prediction, self._http.download)

    def cancel(self, handle: Json) -> None:
        """Ask for the end; a prediction that has begun is charged for its time so far."""
        try:
            self._http.ask("POST", f"{_path(handle)}/cancel")
        except (NotAnswered, UnknownThere, ProviderFault):
            return

    def find(self, call: Call) -> Done | Pending | NotAccepted | None:
        """Look for the call in the list of predictions, for `FIND_S`; the next poll reads what became of it."""
        now, until = self._clock.now(), monotonic() + FIND_S
        try:
            alike = [prediction for prediction in self._listed(now - WINDOW, until) if _is_alike(prediction, call)]
            found = [p for p in alike if self._may_be(p, call, until)] if len(alike) <= MAX_ALIKE else alike
        except (NotAnswered, UnknownThere):
            return None
        return Pending(handle_of(call, found[0], now), POLL_S[call.kind]) if len(found) == 1 else None

    def _may_be(self, prediction: Json, call: Call, until: float) -> bool:
        """Whether a prediction like *call* is that very call, or does not say; the list does not show its webhook."""
        if not self._webhook_url:
            return True
        told = self._http.ask("GET", _path(prediction), until=until).get("webhook")
        return not told or told == self._webhook(call)

    def _listed(self, since: datetime, until: float) -> Iterator[Json]:
        """The account's predictions since then, the newest first."""
        asked = {"created_after": to_text(since)}
        for _ in range(MAX_PAGES):
            page = self._http.ask("GET", "/v1/predictions", asked, until=until)
            results = page.get("results")
            for prediction in map(as_object, results if isinstance(results, list) else ()):
                if _created_at(prediction, since) < since:
                    return
                yield prediction
            if not page.get("next"):
                return
            asked = dict(parse_qsl(urlsplit(str(page["next"])).query))  # never another host: our token goes with it

    def _webhook(self, call: Call) -> str:
        named = urlencode({"job": call.job_id, "attempt": call.attempt, "part": call.part})
        return f"{self._webhook_url}{'&' if '?' in self._webhook_url else '?'}{named}"

    def _input(self, call: Call) -> Json:
        given = _values(call)
        for ours, theirs in call.row.inputs.items():
            uris = call.params.get(ours)
            if uris and ours in _FILES:
                given[theirs] = self._file(uris)
            elif uris and ours in _FILE_LISTS:
                given[theirs] = [self._file(uri) for uri in uris]
        return given

    def _file(self, uri: str) -> str:
        try:
            return as_url(uri, self._blobs, max_inline_bytes=SMALL_BYTES)
        except InvalidCall:  # no link can be made here, or the file is not there, which is then said again
            return as_url(uri, self._blobs, max_inline_bytes=MOST_BYTES)


def _demand_bounds(call: Call) -> None:
    """Refuse what the model could not keep to, before it costs anything. Raises InvalidCall."""
    row, params = call.row, call.params
    if params.get("response_schema") and "response_schema" not in row.inputs:
        raise InvalidCall(f"{row.id} takes no response schema")
    if row.billed_by == "token" and "max_tokens" not in row.inputs:
        raise InvalidCall(f"{row.id}: the row names no input for max_tokens, so nothing bounds what it writes")


def _version_of(model: str) -> str | None:
    """The version in `owner/name:version`, or a version alone; None for an official model, called by its name."""
    name, _, version = model.rpartition(":")
    return version if name or "/" not in model else None


def _target(model: str) -> tuple[str, Json]:
    """Where a model is called, and how the body begins."""
    version = _version_of(model)
    if version is None:
        return f"/v1/models/{quote(model)}/predictions", {}
    return "/v1/predictions", {"version": version}


def _values(call: Call) -> Json:
    """The input without files, in the model's own names."""
    named = {theirs: call.params.get(ours) for ours, theirs in call.row.inputs.items() if ours not in _ALL_FILES}
    return {name: value for name, value in named.items() if value is not None}


def _path(known: Json) -> str:
    """Where a prediction is, or the one that a handle is of."""
    return f"/v1/predictions/{quote(str(known['id']), safe='')}"


def _is_alike(prediction: Json, call: Call) -> bool:
    """Whether a listed prediction has the model and the input of *call*; files are given by other links each time."""
    version = _version_of(call.model)
    field, wanted = ("model", call.model) if version is None else ("version", version)
    given, values = as_object(prediction.get("input")), _values(call)
    if prediction.get(field) != wanted or not prediction.get("id"):
        return False
    return bool(values) and all(given.get(name) == value for name, value in values.items())


def _created_at(prediction: Json, otherwise: datetime) -> datetime:
    try:
        return datetime.fromisoformat(prediction["created_at"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError):
        return otherwise
