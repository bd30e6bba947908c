"""Calls of a vendor over HTTP, and what each way in which one can fail means for the money.

A create is paid for, so it is sent once and never again from here. It was not accepted when the vendor says so (4xx,
429, 500, 503) or when nothing was sent. It is ambiguous when the answer is lost: a timeout or a broken connection after
it was sent, a gateway that gave up (408, 502, 504, Cloudflare's 520 and 524), or an answer that cannot be read or has
no end. Every answer and file is bounded as a whole, in time and in bytes.
"""

from __future__ import annotations

import json
import math
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from time import monotonic
from typing import Any

import httpx

from shared.errors import (
    AccountRefused,
    Ambiguous,
    InvalidCall,
    ModelGone,
    ProviderFault,
    RateLimited,
    Unavailable,
)
from shared.ports import Json
from shared.providers.deadline import UNTIL, bound

CONNECT_S = 10.0
ASK_S = 20.0
DOWNLOAD_S = 30.0  # between two chunks of a file
DOWNLOAD_MOST_S = 200.0  # for all of a file; a function may run for 300 s
MAX_REDIRECTS = 3  # of a file; each may take `DOWNLOAD_S`
MAX_ANSWER_BYTES = 64 * 2**20
MAX_FILE_BYTES = 4 * 2**30
ASK_AGAIN_S = 10.0  # when the vendor cannot be asked now and names no time
CHUNK = 1 << 20
LONGEST_MESSAGE = 200  # characters of a vendor's own words
LONGEST_WAIT_S = 86_400.0  # of a Retry-After; nobody means more than a day

ACCOUNT = frozenset({401, 402, 403})
GATEWAY = frozenset({408, 502, 504, 520, 524})
GONE = frozenset({404, 410})
_UNSENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.LocalProtocolError,  # a header that HTTP does not allow, such as a key with a line break
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
_ADDRESS = re.compile(r"\b(?:https?|gs|data):\S+", re.IGNORECASE)
# Every character beyond ASCII is a word of its own: many scripts put no spaces between words.
_WORD = re.compile(r"[a-z0-9]+|[^\s\x00-\x7f]")

Private = str | tuple[str, ...]
Judge = Callable[[httpx.Response], ProviderFault | None]


class NotAnswered(Exception):
    """A question that costs nothing was not answered; ask again after `retry_after_s`."""

    def __init__(self, retry_after_s: float | None = None) -> None:
        super().__init__("not answered")
        self.retry_after_s = retry_after_s or ASK_AGAIN_S


class UnknownThere(Exception):
    """The vendor does not know what was asked after."""


class VendorHttp:
    """One vendor's API behind a base URL; safe in threads, and its connections are kept."""

    def __init__(self, name: str, base_url: str, headers: Mapping[str, str]) -> None:
        self._name = name
        self._secret = next((value for key, value in headers.items() if key.lower() == "authorization"), "").split()[
            -1:
        ]
        self._client = httpx.Client(
            base_url=base_url.rstrip("/"),
            headers=dict(headers),
            event_hooks={"response": [bound]},
            verify=_tls(),
        )
        self._files = httpx.Client(
            timeout=httpx.Timeout(DOWNLOAD_S, connect=CONNECT_S),
            follow_redirects=True,
            max_redirects=MAX_REDIRECTS,
            event_hooks={"response": [bound]},
            verify=_tls(),
        )

    def close(self) -> None:
        """Give up the connections; nothing can be asked afterwards."""
        self._client.close()
        self._files.close()

    def create(
        self,
        path: str,
        body: Json,
        *,
        timeout_s: float,
        private: Private = "",
        headers: Mapping[str, str] | None = None,
        judge: Judge | None = None,
    ) -> httpx.Response:
        """Make a paid call, once, and return the vendor's 2xx answer.

        Args:
            timeout_s: for the whole answer, however slowly it comes: the caller holds a lease meanwhile.
            private: texts that must not come back in an error's message, such as the prompt.
            judge: knows errors of this vendor that the status does not tell; None from it leaves them to `fault_of`.

        Raises:
            ProviderFault: as `fault_of` says; Unavailable when nothing was sent, Ambiguous when the answer is lost.
        """
        try:
            answer = self._whole("POST", path, timeout_s, json=body, headers=dict(headers or {}))
        except httpx.HTTPError as error:
            raise lost(self._name, error) from None
        except (ValueError, httpx.InvalidURL) as error:  # before anything is sent: half a surrogate pair, for example
            raise InvalidCall(
                f"{self._name}: the call cannot be written as a request ({type(error).__name__})"
            ) from None
        if answer.is_success:
            return answer
        raise (judge(answer) if judge else None) or self._fault(answer, private)

    def ask(self, method: str, path: str, params: Mapping[str, str] | None = None, *, until: float = math.inf) -> Json:
        """Ask something that costs nothing, for `ASK_S` at most.

        *until*: of `time.monotonic`, where the question is one of several that have to end by then.

        Raises:
            NotAnswered: no connection, no time, 429 or 5xx, or an answer that cannot be read.
            UnknownThere: 404 or 410.
            AccountRefused, InvalidCall: the vendor refuses to answer.
        """
        try:
            answer = self._whole(method, path, min(ASK_S, until - monotonic()), params=params)
        except httpx.HTTPError:
            raise NotAnswered from None
        if answer.status_code in GONE:
            raise UnknownThere
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error or answer.status_code == 408:
            raise NotAnswered(retry_after_s(answer.headers))
        if not answer.is_success:
            raise self._fault(answer, "")
        if answer.status_code == httpx.codes.NO_CONTENT:
            return {}
        try:
            return self.read(answer)
        except Ambiguous:
            raise NotAnswered from None

    def read(self, answer: httpx.Response) -> Json:
        """Return the object in an answer. Raises Ambiguous: what was done stays done."""
        try:
            value = answer.json()
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise Ambiguous(f"{self._name} answered {answer.status_code} with something that is no JSON object")
        return value

    def download(self, url: str) -> Iterator[bytes]:
        """Read a file at the vendor in chunks of at most 1 MiB; no credentials of ours are sent.

        Raises:
            Unavailable: it cannot be read now, broke off, or takes longer than `DOWNLOAD_MOST_S`.
            InvalidCall: it is not there any more, its address is none, or it is larger than `MAX_FILE_BYTES`.
        """
        read_bytes = 0
        try:
            with self._files.stream("GET", url, extensions={UNTIL: monotonic() + DOWNLOAD_MOST_S}) as answer:
                if answer.status_code in GONE or answer.status_code in ACCOUNT:
                    raise InvalidCall(f"{self._name}: the finished file is not there any more")
                if not answer.is_success:
                    raise Unavailable(f"{self._name}: the finished file cannot be read now ({answer.status_code})")
                for chunk in answer.iter_bytes(CHUNK):
                    read_bytes += len(chunk)
                    if read_bytes > MAX_FILE_BYTES:
                        raise InvalidCall(f"{self._name}: the finished file is larger than {MAX_FILE_BYTES} bytes")
                    yield chunk
        except httpx.TimeoutException:
            raise Unavailable(f"{self._name}: the finished file was not read in time") from None
        except httpx.HTTPError as error:
            told = f"{self._name}: reading the finished file broke off ({type(error).__name__})"
            raise Unavailable(told) from None
        except httpx.InvalidURL:
            raise InvalidCall(f"{self._name}: the finished file has no address that can be read") from None

    def _whole(self, method: str, path: str, timeout_s: float, **sent: Any) -> httpx.Response:
        """Return the whole answer. Raises httpx.HTTPError, also when it takes too long or is too long."""
        if timeout_s <= 0:
            raise httpx.PoolTimeout("no time is left")
        bounds = httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s))
        until, content = monotonic() + timeout_s, bytearray()
        with self._client.stream(method, path, timeout=bounds, extensions={UNTIL: until}, **sent) as answer:
            for chunk in answer.iter_bytes():  # as it is after decompression, which can make much of little
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise httpx.ReadError("the answer is too long")
        headers = [(name, value) for name, value in answer.headers.multi_items() if name != "content-encoding"]
        return httpx.Response(answer.status_code, headers=headers, content=bytes(content))

    def _fault(self, answer: httpx.Response, private: Private) -> ProviderFault:
        texts = (private,) if isinstance(private, str) else private
        hidden = (*texts, *self._secret)
        wait_s = retry_after_s(answer.headers)
        return fault_of(self._name, answer.status_code, message_of(answer), hidden, retry_after_s=wait_s)


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """Built once: loading the certificates takes longer than many a call."""
    return httpx.create_ssl_context()


def lost(vendor: str, error: Exception) -> ProviderFault:
    """Return what a transport error of a create means. *error*: one of httpx."""
    if isinstance(error, _UNSENT):
        return Unavailable(f"{vendor} was not reached ({type(error).__name__})")
    return Ambiguous(f"{vendor} was called, but its answer was lost ({type(error).__name__})")


def fault_of(
    vendor: str, status: int, message: str, private: Private = "", *, retry_after_s: float | None = None
) -> ProviderFault:
    """Return what an HTTP error status in the answer to a create means."""
    text = f"{vendor} answered {status}{_told(message, private)}"
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return RateLimited(text, retry_after_s=retry_after_s)
    if status in ACCOUNT:
        return AccountRefused(text)
    if status in GONE:
        return ModelGone(text)
    if status in GATEWAY:
        return Ambiguous(text)
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return Unavailable(text, retry_after_s=retry_after_s)
    return InvalidCall(text)


def message_of(answer: httpx.Response) -> str:
    """Return the vendor's own words in an error, wherever it puts them."""
    try:
        value: Any = answer.json()
    except (ValueError, RecursionError):
        return ""
    while isinstance(value, dict):
        value = next((value[key] for key in ("error", "detail", "message", "title") if value.get(key)), "")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a `Retry-After` header, given as a number or as a date, at most a day; None without one."""
    text = headers.get("retry-after")
    if text is None:
        return None
    try:
        wait_s = float(text)
    except ValueError:
        wait_s = _until(text)
    return None if math.isnan(wait_s) else min(max(0.0, wait_s), LONGEST_WAIT_S)


def _until(date: str) -> float:
    try:
        at = parsedate_to_datetime(date)
    except ValueError:
        return math.nan
    return (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()  # -0000 is read without a zone


def _told(message: str, private: Private) -> str:
    """The vendor's words for our records, without addresses; none when they repeat something of *private*."""
    said = " ".join(message[: 20 * LONGEST_MESSAGE].split())
    words = _ADDRESS.sub("(address)", said)[:LONGEST_MESSAGE]
    if not words:
        return ""
    return "" if repeats(said, private) else f": {words}"


def private_texts(params: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what of a call must not come back in an error: its prompts, its system text and its schema."""
    schema = params.get("response_schema")
    texts = (params.get(name) for name in ("prompt", "negative_prompt", "system"))
    return (*(text for text in texts if text), *([json.dumps(schema, ensure_ascii=False)] if schema else []))


def repeats(message: str, private: Private) -> bool:
    """Whether *message* has three words of a text in *private* side by side, or all of it; punctuation is no matter."""
    said = " ".join(_WORD.findall(message.casefold()))
    texts = (private,) if isinstance(private, str) else private
    return any(run in said for text in texts for run in _runs(text))


def _runs(text: str) -> Iterator[str]:
    words = _WORD.findall(text.casefold())
    for n in range(max(1, len(words) - 2)):
        if words:
            yield " ".join(words[n : n + 3])
