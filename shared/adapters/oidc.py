"""Who calls a function: the OIDC token that Pub/Sub push and Eventarc send with every event.

The token is a JWT signed by Google (RS256). Its claims are `iss`, `aud` (as the subscription says), `email` of the
service account, `email_verified`, `iat` and `exp`.
Source: "Authentication for push subscriptions", cloud.google.com/pubsub/docs/authenticate-push-subscriptions.

For functions that anyone on the network can reach. Where Cloud Run itself demands `roles/run.invoker`, it has checked
the token already and replaces the signature before the function sees it, so there is nothing left to verify here.
Source: cloud.google.com/run/docs/troubleshooting#signature-removed.
"""

from __future__ import annotations

import http.client
import json
import math
import re
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from google.auth import jwt
from google.auth.crypt import RSAVerifier

from shared.errors import SettingsError, StoreUnavailable, Unauthenticated
from shared.log import log
from shared.ports import Clock

GOOGLE_CERTS_URL = "https://www.googleapis.com/oauth2/v1/certs"
ISSUERS = ("https://accounts.google.com", "accounts.google.com")  # no set: a claim may be unhashable
SKEW_S = 30.0
FETCH_TIMEOUT_S = 5.0
REFETCH_S = 60.0
FIRST_FETCH_AGAIN_S = 1.0
MIN_FRESH_S, MAX_FRESH_S = 300.0, 86_400.0
USABLE_S = 86_400.0
MAX_TOKEN_BYTES = 8_192
MAX_CERTS_BYTES = 262_144

_ANY_SKEW_S = 10**15  # google.auth looks at the machine's clock; the times are checked here, by ours
_SIGNATURE_REMOVED = ".SIGNATURE_REMOVED_BY_GOOGLE"
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,9})", re.IGNORECASE)


class PushIdentity:
    """Lets in the calls whose token was made by Google for *audience* and *service_account*.

    Without a service account every Google identity that asked for the audience is let in: anyone can.

    Raises:
        SettingsError: the audience is empty, or the URL is not HTTP.
    """

    def __init__(
        self, audience: str, service_account: str | None, clock: Clock, *, certs_url: str = GOOGLE_CERTS_URL
    ) -> None:
        if not audience:
            raise SettingsError("the audience of push calls is empty; it is the one that the subscription names")
        self._audience, self._service_account, self._clock = audience, service_account, clock
        self._keys = PublishedKeys(certs_url, clock)

    def verify(self, authorization_header: str | None) -> None:
        """Return when the caller is the right one.

        Raises:
            Unauthenticated: 401 when the token is missing, garbled, expired or not signed by Google; 403 when it is
                for another audience or of another account.
            StoreUnavailable: Google's keys are not to be had, so nobody can be let in; try later.
        """
        claims = self._claims(_bearer(authorization_header))
        self._check_times(claims)
        if claims.get("iss") not in ISSUERS:
            raise Unauthenticated("the token's issuer is not Google")
        if claims.get("aud") != self._audience:
            raise Unauthenticated("the token is for another audience", 403)
        if self._service_account is not None and not (
            claims.get("email") == self._service_account and claims.get("email_verified") is True
        ):
            raise Unauthenticated("the token is of another account", 403)

    def _claims(self, token: str) -> Mapping[str, Any]:
        """Return what a token says once its signature is proven."""
        key_id = _key_id(token)
        certificate = self._keys.find(key_id)
        if certificate is None:
            raise Unauthenticated("the token is signed with a key that Google does not publish")
        try:
            certs = {key_id: certificate}
            claims: Mapping[str, Any] = jwt.decode(token, certs, clock_skew_in_seconds=_ANY_SKEW_S)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise Unauthenticated("the token's signature or form is wrong") from None
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock.now().timestamp()
        issued, expires = (_seconds(claims.get(name)) for name in ("iat", "exp"))
        if issued is None or expires is None:
            raise Unauthenticated("the token does not say from when to when it holds")
        if not issued - SKEW_S <= now <= expires + SKEW_S:
            raise Unauthenticated("the token does not hold now")


@dataclass(frozen=True, slots=True)
class _Known:
    """Keys as they were fetched; times in seconds since the epoch."""

    certificates: Mapping[str, str]
    fetched_at: float
    fresh_until: float


class PublishedKeys:
    """Keys by id, fetched from a URL that maps them to PEM certificates, and kept as long as its answer says.

    Readers take no lock while they find what they need; one thread fetches and the others go on with the old keys.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"https", "http"} or not parts.hostname:
            raise SettingsError(f"{url!r} is not the URL of published keys")
        self._url, self._clock = url, clock
        self._known: _Known | None = None
        self._tried_at = -math.inf
        self._failed = False
        self._fetching = threading.Lock()

    def find(self, key_id: str) -> str | None:
        """Return the certificate of a key; None when it is not published. Raises StoreUnavailable."""
        now = self._clock.now().timestamp()
        known = self._known
        if known is None or key_id not in known.certificates or now >= known.fresh_until:
            self._refresh(known, key_id, now)
            known = self._known
        if known is None or now - known.fetched_at > USABLE_S:
            raise StoreUnavailable("the keys that prove who calls cannot be fetched")
        if key_id not in known.certificates and self._failed:
            raise StoreUnavailable("the newest keys that prove who calls cannot be fetched")
        return known.certificates.get(key_id)

    def _refresh(self, seen: _Known | None, key_id: str, now: float) -> None:
        """Fetch, unless somebody did so lately; wait for somebody who is at it only when the old keys do not do."""
        usable = seen is not None and now - seen.fetched_at <= USABLE_S
        every_s = REFETCH_S if usable else FIRST_FETCH_AGAIN_S
        if now - self._tried_at < every_s:
            return
        old_does = usable and seen is not None and key_id in seen.certificates
        if not (
            self._fetching.acquire(blocking=False) if old_does else self._fetching.acquire(timeout=FETCH_TIMEOUT_S)
        ):
            return
        try:
            if self._clock.now().timestamp() - self._tried_at >= every_s:
                self._fetch()
        finally:
            self._fetching.release()

    def _fetch(self) -> None:
        try:
            certificates, fresh_s = _download(self._url)
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            self._failed = True
            reason = " ".join(str(error).split())[:200]
            log.warning("push_keys.not_fetched", extra={"error": type(error).__name__, "reason": reason})
        else:
            now = self._clock.now().timestamp()
            self._known, self._failed = _Known(certificates, now, now + fresh_s), False
        self._tried_at = self._clock.now().timestamp()  # after the answer, so that those who waited do not ask again


def _bearer(header: str | None) -> str:
    """Return the token in an Authorization header. Raises Unauthenticated."""
    scheme, _, token = (header or "").strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("the call carries no bearer token")
    if len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise Unauthenticated("the token is not a JWT")
    if token.endswith(_SIGNATURE_REMOVED):
        raise Unauthenticated("Cloud Run checked this token itself and removed its signature: see run.invoker")
    return token


def _key_id(token: str) -> str:
    """Return the key a token names. Raises Unauthenticated for any algorithm but RS256: no `none`, no HMAC."""
    try:
        header = jwt.decode_header(token)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, RecursionError):
        raise Unauthenticated("the token is not a JWT") from None
    key_id = header.get("kid")
    if header.get("alg") != "RS256" or not isinstance(key_id, str) or not key_id:
        raise Unauthenticated("the token is not signed by RS256 with a named key")
    return key_id


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        return None
    return float(value)


def _download(url: str) -> tuple[dict[str, str], float]:
    """Return the certificates and for how many seconds they are fresh.

    Raises:
        OSError, HTTPException, ValueError: no such answer within the timeout.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    deadline = time.monotonic() + FETCH_TIMEOUT_S
    with closing(kind(parts.hostname or "", parts.port, timeout=FETCH_TIMEOUT_S)) as connection:
        path = parts.path or "/"
        connection.request("GET", f"{path}?{parts.query}" if parts.query else path)
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise ValueError(f"status {response.status}")
        body = _read(response, deadline)
        return _certificates(body), _fresh_s(response.headers.get("Cache-Control", ""))


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """Read a body of bounded size until a time of the monotonic clock. Raises TimeoutError, ValueError."""
    body = b""
    while piece := response.read1(65_536):
        body += piece
        if len(body) > MAX_CERTS_BYTES:
            raise ValueError("the answer is too large")
        if time.monotonic() > deadline:
            raise TimeoutError("the answer came too slowly")
    return body


def _certificates(body: bytes) -> dict[str, str]:
    """Return the certificates by key id. Raises ValueError when there is none, or one that is no certificate."""
    found = json.loads(body)
    if not isinstance(found, dict) or not found or not all(isinstance(pem, str) for pem in found.values()):
        raise ValueError("the answer is no table of keys")
    for pem in found.values():
        RSAVerifier.from_string(pem)  # type: ignore[no-untyped-call]
    return found


def _fresh_s(cache_control: str) -> float:
    said = _MAX_AGE.search(cache_control)
    return min(MAX_FRESH_S, max(MIN_FRESH_S, float(said[1]))) if said else MIN_FRESH_S
