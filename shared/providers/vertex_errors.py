"""What the exceptions of google-genai mean for the money, by the rules of `shared/providers/http.py`.

The SDK has two families without a common base: `google.genai.errors.APIError`, and that of the Interactions API, which
it does not export. So what failed is told by what an exception carries: `code` or `status_code`, and `response`.

404 and 403 may each be about an input file instead of the model or our account: a file that is not there, or that the
vendor's service agent may not read (docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference/api-errors).
The texts: firebase.google.com/docs/ai-logic/error-codes, github.com/googleapis/js-genai/issues/666.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from pydantic import ValidationError

from shared.errors import (
    AccountRefused,
    Ambiguous,
    Blocked,
    InvalidCall,
    ModelGone,
    ProviderFault,
    RateLimited,
    Unavailable,
)
from shared.providers.http import (
    GONE,
    NotAnswered,
    Private,
    UnknownThere,
    fault_of,
    lost,
    message_of,
    retry_after_s,
)

T = TypeVar("T")

VENDOR = "vertex"
_LOGIN = "run `gcloud auth application-default login`, or deploy with a service account"
# Words of a refusal for safety; "safety setting" is about a parameter.
_SAFETY = re.compile(
    r"support codes?\b|usage guidelines|responsible ai|sensitive words|content polic|\bsafety\b(?!.?setting)",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"\b(?:https?|gs)://\S+", re.IGNORECASE)
_PUBLISHER_MODEL = re.compile(r"\bpublisher model\b", re.IGNORECASE)
# Words of a 404 to a call without input files: none, those of any API of Google's, or such as speak of a model.
_NOTHING_ELSE = re.compile(r"^\s*$|\brequested entity\b|\bmodels?\b", re.IGNORECASE)
_STORAGE = re.compile(r"\bstorage\.objects\b|\bcloud storage\b|\bbucket\b|\binput file\b|\bgs://", re.IGNORECASE)
_READING = re.compile(r"\bstorage\.objects\.get\b|\binput file\b", re.IGNORECASE)
_SUPPORT_CODE = re.compile(r"\b\d{8}\b")

# Canonical codes in the error of an operation that was accepted (google.rpc.Code).
_INVALID = frozenset({3, 5, 9, 11, 12})
_REFUSED = frozenset({7, 16})
_EXHAUSTED = 8

_ELSEWHERE = frozenset({301, 302, 307, 308})  # not 303, which comes after the work was done

_begun: ContextVar[bool] = ContextVar("begun", default=False)


@dataclass(frozen=True, slots=True)
class Asked:
    """What an error of a create may be about. *private*: texts that must not come back in its message."""

    private: Private = ""
    model: str = ""
    has_files: bool = False


def built(make: Callable[..., T], **fields: Any) -> T:
    """Return the SDK's value of these fields. Raises InvalidCall; nothing was sent."""
    try:
        return make(**fields)
    except ValidationError as error:
        where = ", ".join(sorted({".".join(map(str, problem["loc"])) for problem in error.errors()}))
        raise InvalidCall(f"{VENDOR}: the SDK does not take {where}") from None


def begin_request() -> None:
    """Note that a request is on its way, from where the SDK's client sends it."""
    _begun.set(True)


@contextmanager
def paid(asked: Asked) -> Iterator[None]:
    """Make one create in the block, and read its answer there.

    Raises:
        ProviderFault: for everything the SDK and what is below it raise; an answer of the wrong shape makes it stumble
            in any way. Only what it raises by mistake before a request is left as the bug that it is.
    """
    _begun.set(False)
    try:
        yield
    except ProviderFault:  # what the answer itself says
        raise
    except Exception as error:
        fault = _create_fault(error, asked)
        if fault is None:
            raise
        raise fault from None


@contextmanager
def asking() -> Iterator[None]:
    """Ask after an accepted operation in the block, and read the answer there.

    Raises:
        ProviderFault: what the answer says.
        UnknownThere: 404 or 410.
        NotAnswered: anything else, our own credentials included. What was accepted goes on and is charged all the same.
    """
    _begun.set(False)
    try:
        yield
    except ProviderFault:  # what the answer itself says
        raise
    except Exception as error:
        if not _begun.get() and not isinstance(error, GoogleAuthError):
            raise
        if _status(error) in GONE:
            raise UnknownThere from None
        raise NotAnswered(_retry_after_s(error)) from None


def is_safety(message: str) -> bool:
    """Whether the vendor's words speak of its safety filters."""
    return bool(_SAFETY.search(message))


def support_codes(*messages: str | None) -> str:
    """Return the vendor's support codes for people: all that is shown of words that may repeat the prompt."""
    codes = sorted({code for message in messages for code in _SUPPORT_CODE.findall(message or "")})
    return f" (support codes {', '.join(codes)})" if codes else ""


def operation_fault(code: int, message: str, usage: Mapping[str, int] | None = None) -> ProviderFault:
    """Return what the error means with which an accepted operation ended.

    The prompt is not known here, so the vendor's words are not shown.
    """
    kind: type[ProviderFault] = Unavailable
    if code in _INVALID:
        kind = Blocked if is_safety(message) else InvalidCall
    elif code in _REFUSED:
        kind = InvalidCall if _READING.search(message) else AccountRefused
    elif code == _EXHAUSTED:
        kind = RateLimited
    return kind(f"{VENDOR}: the operation failed with code {code}{support_codes(message)}", usage=usage)


def _create_fault(error: Exception, asked: Asked) -> ProviderFault | None:
    """Return what *error* means for a create; None for a bug of ours."""
    if isinstance(error, GoogleAuthError):
        return _no_token(error)
    if isinstance(error.__cause__, httpx.HTTPError):  # the Interactions API wraps it
        return lost(VENDOR, error.__cause__)
    if isinstance(error, httpx.HTTPError):
        return lost(VENDOR, error)
    status = _status(error)
    if status is not None and status >= httpx.codes.BAD_REQUEST:
        return _refusal(error, status, asked)
    if status is not None and status in _ELSEWHERE:
        return Unavailable(f"{VENDOR} answered {status}: it sends calls on to another address, and none is sent there")
    if _begun.get():
        return Ambiguous(f"{VENDOR} answered with something that cannot be read ({type(error).__name__})")
    if isinstance(error, ValueError):  # half a surrogate pair, for example
        return InvalidCall(f"{VENDOR}: the call cannot be written as a request ({type(error).__name__})")
    return None


def _no_token(error: GoogleAuthError) -> ProviderFault:
    """Nothing was sent: a call begins with the token."""
    if isinstance(error, DefaultCredentialsError):
        return AccountRefused(f"{VENDOR} needs Google Cloud credentials: {_LOGIN}")
    if error.retryable:
        return Unavailable(f"{VENDOR}: no access token now ({type(error).__name__})")
    return AccountRefused(f"{VENDOR}: Google Cloud gives no access token for our credentials: {_LOGIN}")


def _refusal(error: Exception, status: int, asked: Asked) -> ProviderFault:
    response = getattr(error, "response", None)
    message = message_of(response) if isinstance(response, httpx.Response) else ""
    fault = fault_of(VENDOR, status, message, asked.private, retry_after_s=_retry_after_s(error))
    if isinstance(fault, InvalidCall) and is_safety(message):
        return Blocked(str(fault))
    if isinstance(fault, ModelGone) and not _is_about_model(message, asked):
        return InvalidCall(str(fault))
    if isinstance(fault, AccountRefused) and asked.has_files and _STORAGE.search(message):
        return InvalidCall(str(fault))
    return fault


def _is_about_model(message: str, asked: Asked) -> bool:
    """Whether a 404 says that the model is gone, for everybody; in doubt, an input file of this one call is missing."""
    words = _ADDRESS.sub("", message)
    if _PUBLISHER_MODEL.search(words) or (asked.model and asked.model in words):
        return True
    return not asked.has_files and bool(_NOTHING_ELSE.search(words))


def _status(error: Exception) -> int | None:
    status = getattr(error, "code", None) or getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _retry_after_s(error: Exception) -> float | None:
    response = getattr(error, "response", None)
    return retry_after_s(response.headers) if isinstance(response, httpx.Response) else None
