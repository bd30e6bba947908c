"""Who may call: tokens made here with keys of our own, served by an HTTP server as Google serves its keys."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.auth import jwt
from google.auth.crypt import EsSigner

from shared.adapters.oidc import PublishedKeys, PushIdentity
from shared.clock import ManualClock
from shared.errors import SettingsError, StoreUnavailable, Unauthenticated
from tests.tokens import (
    ACCOUNT,
    AUDIENCE,
    DAY,
    HOUR,
    Certs,
    bearer,
    certificate,
    certs,
    claims,
    encoded,
    private_key,
    rs256,
    signed,
    token,
)

__all__ = ["certs"]  # a fixture


def hs256_with_the_public_key(content: bytes) -> bytes:
    return hmac.new(certificate("one").encode(), content, hashlib.sha256).digest()


def es256(content: bytes) -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).sign(content, ec.ECDSA(hashes.SHA256()))


@pytest.fixture
def identity(certs: Certs, clock: ManualClock) -> PushIdentity:
    return PushIdentity(AUDIENCE, ACCOUNT, clock, certs_url=certs.url)


@pytest.fixture
def now(clock: ManualClock) -> int:
    return int(clock.now().timestamp())


# ---------------------------------------------------------------- good tokens


def test_a_token_of_the_right_account_for_the_right_audience_is_let_in(identity: PushIdentity, now: int) -> None:
    identity.verify(bearer(now))


@pytest.mark.parametrize("changes", [{"iss": "accounts.google.com"}, {"azp": None, "sub": None}, {"more": [1]}])
def test_both_issuers_and_other_claims_are_let_in(identity: PushIdentity, now: int, changes: dict[str, Any]) -> None:
    identity.verify(bearer(now, **changes))


@pytest.mark.parametrize("form", ["bearer {}", "BEARER {}", "  Bearer   {}  "])
def test_the_scheme_may_be_written_in_any_case(identity: PushIdentity, now: int, form: str) -> None:
    identity.verify(form.format(token(claims(now))))


def test_without_a_service_account_every_google_identity_with_the_audience_is_let_in(
    certs: Certs, clock: ManualClock, now: int
) -> None:
    anyone = PushIdentity(AUDIENCE, None, clock, certs_url=certs.url)
    anyone.verify(bearer(now, email=None, email_verified=None))
    with pytest.raises(Unauthenticated):
        anyone.verify(bearer(now, aud="https://elsewhere.example"))


@pytest.mark.parametrize("late_s", [-30, 0, 1_800, HOUR + 30])
def test_a_token_holds_for_its_time_and_thirty_seconds_either_way(
    identity: PushIdentity, clock: ManualClock, now: int, late_s: int
) -> None:
    identity.verify(bearer(now - late_s))


# ---------------------------------------------------------------- bad tokens

GARBLED: dict[str, Callable[[int], str | None]] = {
    "no header": lambda _: None,
    "empty header": lambda _: "",
    "no scheme": lambda now: token(claims(now)),
    "another scheme": lambda _: "Basic dXNlcjpwYXNz",
    "no token": lambda _: "Bearer ",
    "two tokens": lambda now: f"{bearer(now)} {token(claims(now))}",
    "not a JWT": lambda _: "Bearer abc",
    "two parts": lambda now: bearer(now).rpartition(".")[0],
    "four parts": lambda now: bearer(now) + ".x",
    "not base64": lambda _: "Bearer !.!.!",
    "not ASCII": lambda now: bearer(now) + "é",
    "not JSON": lambda _: "Bearer " + signed(b"{", {"alg": "RS256", "kid": "one"}, rs256("one")),
    "header is a list": lambda now: "Bearer " + signed(claims(now), ["RS256"], rs256("one")),
    "claims are a list": lambda _: "Bearer " + token([1]),
    "nested without end": lambda _: f"Bearer {encoded(b'[' * 5_000).decode()}.e30.x",
    "too long": lambda now: bearer(now, more="x" * 9_000),
}
FORGED: dict[str, Callable[[int], str]] = {
    "alg none": lambda now: "Bearer " + signed(claims(now), {"alg": "none", "kid": "one"}, lambda _: b""),
    "alg none, signed": lambda now: "Bearer " + token(claims(now), alg="none"),
    "alg missing": lambda now: "Bearer " + signed(claims(now), {"kid": "one"}, rs256("one")),
    "alg a list": lambda now: "Bearer " + token(claims(now), alg=["RS256"]),
    "HS256 with the public key": lambda now: (
        "Bearer " + signed(claims(now), {"alg": "HS256", "kid": "one"}, hs256_with_the_public_key)
    ),
    "RS256 said, HMAC made": lambda now: (
        "Bearer " + signed(claims(now), {"alg": "RS256", "kid": "one"}, hs256_with_the_public_key)
    ),
    "ES256": lambda now: "Bearer " + signed(claims(now), {"alg": "ES256", "kid": "one"}, es256),
    "RS512": lambda now: "Bearer " + token(claims(now), alg="RS512"),
    "kid missing": lambda now: "Bearer " + signed(claims(now), {"alg": "RS256"}, rs256("one")),
    "kid a list": lambda now: "Bearer " + token(claims(now), kid=["one"]),
    "kid unknown": lambda now: bearer(now, "two"),
    "another's signature": lambda now: "Bearer " + token(claims(now), "two", kid="one"),
    "no signature": lambda now: bearer(now).rpartition(".")[0] + ".",
    "claims changed": lambda now: ".".join(
        [bearer(now).split(".")[0], encoded(claims(now, sub="1")).decode(), bearer(now).split(".")[2]]
    ),
    "signature removed by Cloud Run": lambda now: bearer(now).rpartition(".")[0] + ".SIGNATURE_REMOVED_BY_GOOGLE",
}
OUT_OF_TIME: dict[str, dict[str, Any]] = {
    "expired": {"iat": -HOUR - 40, "exp": -31},
    "not yet": {"iat": 31, "exp": HOUR},
    "exp missing": {"iat": 0, "exp": None},
    "iat missing": {"iat": None, "exp": HOUR},
    "never expires": {"iat": 0, "exp": float("inf")},
    "expires never said": {"iat": 0, "exp": float("nan")},
    "exp absurd": {"iat": 0, "exp": 10**400},
    "issued never said": {"iat": float("nan"), "exp": HOUR},
}


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in (GARBLED | FORGED).items()])
def test_a_garbled_or_forged_token_is_not_let_in(
    identity: PushIdentity, now: int, make: Callable[[int], str | None]
) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        identity.verify(make(now))
    assert refusal.value.status == 401


def test_an_elliptic_key_is_not_let_in_even_when_it_is_published(
    identity: PushIdentity, certs: Certs, now: int
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    certs.keys = {"curve": public}
    with pytest.raises(Unauthenticated, match="RS256"):
        identity.verify("Bearer " + jwt.encode(EsSigner(key), claims(now), {"kid": "curve"}).decode())


def test_a_signature_that_cloud_run_removed_is_told_apart(identity: PushIdentity, now: int) -> None:
    with pytest.raises(Unauthenticated, match="Cloud Run"):
        identity.verify(FORGED["signature removed by Cloud Run"](now))


@pytest.mark.parametrize("times", [pytest.param(times, id=name) for name, times in OUT_OF_TIME.items()])
def test_a_token_that_does_not_hold_now_is_not_let_in(identity: PushIdentity, now: int, times: dict[str, Any]) -> None:
    absolute = {name: None if value is None else now + value for name, value in times.items()}
    with pytest.raises(Unauthenticated) as refusal:
        identity.verify(bearer(now, **absolute))
    assert refusal.value.status == 401


@pytest.mark.parametrize("value", ["1795262400", True, [], {}])
@pytest.mark.parametrize("name", ["iat", "exp"])
def test_a_time_that_is_no_number_is_not_let_in(identity: PushIdentity, now: int, name: str, value: Any) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        identity.verify(bearer(now, **{name: value}))
    assert refusal.value.status == 401


@pytest.mark.parametrize("issuer", [None, "https://accounts.google.com.example", "https://evil.example", "", ["x"]])
def test_a_token_of_another_issuer_is_not_let_in(identity: PushIdentity, now: int, issuer: Any) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        identity.verify(bearer(now, iss=issuer))
    assert refusal.value.status == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": None},
        {"aud": ""},
        {"aud": AUDIENCE + "/"},
        {"aud": [AUDIENCE]},
        {"aud": "32555940559.apps.googleusercontent.com"},
        {"email": None},
        {"email": "other@atelier.iam.gserviceaccount.com"},
        {"email": [ACCOUNT]},
        {"email_verified": None},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": 1},
    ],
    ids=str,
)
def test_a_good_token_for_somebody_else_is_forbidden(identity: PushIdentity, now: int, changes: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        identity.verify(bearer(now, **changes))
    assert refusal.value.status == 403


@pytest.mark.parametrize("changes", [{"aud": "https://secret.example"}, {"exp": 0}, {"iss": "https://secret.example"}])
def test_a_refusal_repeats_neither_the_token_nor_what_would_be_right(
    identity: PushIdentity, now: int, changes: dict[str, Any]
) -> None:
    header = bearer(now, **changes)
    with pytest.raises(Unauthenticated) as refusal:
        identity.verify(header)
    assert not [secret for secret in (header[7:], "secret", AUDIENCE, ACCOUNT) if secret in str(refusal.value)]


def test_a_public_key_that_is_not_a_certificate_serves_as_well(identity: PushIdentity, certs: Certs, now: int) -> None:
    form = private_key("one").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    certs.keys = {"one": form.decode()}
    identity.verify(bearer(now))


# ---------------------------------------------------------------- cache and rotation


def test_keys_are_fetched_with_the_first_call_and_kept_as_long_as_the_answer_says(
    identity: PushIdentity, certs: Certs, clock: ManualClock, now: int
) -> None:
    assert certs.asked == 0
    for _ in range(3):
        identity.verify(bearer(now))
    clock.advance(HOUR - 1)
    identity.verify(bearer(now))
    assert certs.asked == 1
    clock.advance(1)
    identity.verify(bearer(now))
    assert certs.asked == 2


@pytest.mark.parametrize(
    ("cache_control", "fresh_s"),
    [
        ("public, max-age=20000", 20_000),
        ("MAX-AGE = 600", 600),
        ('max-age="900"', 900),
        ("max-age=0", 300),
        ("s-maxage=9000", 300),
        ("", 300),
        ("max-age=-5", 300),
        ("max-age=999999999", DAY),
    ],
)
def test_keys_are_kept_between_five_minutes_and_a_day(
    certs: Certs, clock: ManualClock, cache_control: str, fresh_s: int
) -> None:
    certs.cache_control = cache_control
    keys = PublishedKeys(certs.url, clock)
    for wait_s, asked in ((0, 1), (fresh_s - 1, 1), (1, 2)):
        clock.advance(wait_s)
        assert keys.find("one")
        assert certs.asked == asked


def test_a_new_key_is_fetched_as_soon_as_a_token_names_it(
    identity: PushIdentity, certs: Certs, clock: ManualClock, now: int
) -> None:
    identity.verify(bearer(now))
    certs.keys = {"one": certificate("one"), "two": certificate("two")}
    clock.advance(60)
    identity.verify(bearer(now, "two"))
    identity.verify(bearer(now, "one"))
    assert certs.asked == 2


def test_unknown_keys_make_it_ask_at_most_once_a_minute(
    identity: PushIdentity, certs: Certs, clock: ManualClock, now: int
) -> None:
    identity.verify(bearer(now))
    for _ in range(4):
        clock.advance(30)
        for _ in range(5):
            with pytest.raises(Unauthenticated):
                identity.verify(bearer(now, "two"))
    assert certs.asked == 3


def test_a_key_that_is_no_longer_published_is_no_longer_good(
    identity: PushIdentity, certs: Certs, clock: ManualClock, now: int
) -> None:
    identity.verify(bearer(now))
    certs.keys = {"two": certificate("two")}
    clock.advance(HOUR)
    with pytest.raises(Unauthenticated):
        identity.verify(bearer(now))


# ---------------------------------------------------------------- when the keys cannot be had


def test_nobody_is_let_in_without_keys_and_all_may_try_again(clock: ManualClock, now: int) -> None:
    identity = PushIdentity(AUDIENCE, ACCOUNT, clock, certs_url="http://127.0.0.1:9/")
    with pytest.raises(StoreUnavailable):
        identity.verify(bearer(now))


@pytest.mark.parametrize(
    ("status", "keys"),
    [
        (500, {"one": "x"}),
        (404, {}),
        (302, {}),
        (200, {}),
        (200, []),
        (200, b"<html>"),
        (200, b"\xff"),
        (200, b"[" * 100_000),
        (200, json.dumps({"one": certificate("one")}).encode() + b" " * 300_000),
        (200, {"one": "no certificate"}),
        (200, {"one": 1}),
    ],
)
def test_an_answer_without_keys_counts_as_none(
    identity: PushIdentity, certs: Certs, clock: ManualClock, now: int, status: int, keys: Any
) -> None:
    certs.status, certs.keys = status, keys
    with pytest.raises(StoreUnavailable):
        identity.verify(bearer(now))
    certs.status, certs.keys = 200, {"one": certificate("one")}
    clock.advance(1)
    identity.verify(bearer(now))


def test_old_keys_serve_for_a_day_when_newer_ones_cannot_be_had(
    identity: PushIdentity, certs: Certs, clock: ManualClock, now: int
) -> None:
    identity.verify(bearer(now))
    certs.status = 503
    for _ in range(24):
        clock.advance(HOUR)
        identity.verify(bearer(clock.now().timestamp()))
    clock.advance(1)
    with pytest.raises(StoreUnavailable):
        identity.verify(bearer(clock.now().timestamp()))
    certs.status = 200
    clock.advance(1)
    identity.verify(bearer(clock.now().timestamp()))


def test_a_server_that_is_down_is_asked_once_a_minute_while_old_keys_serve(
    identity: PushIdentity, certs: Certs, clock: ManualClock, now: int
) -> None:
    identity.verify(bearer(now))
    certs.status = 503
    clock.advance(HOUR)
    for _ in range(60):
        identity.verify(bearer(clock.now().timestamp()))
        clock.advance(1)
    assert certs.asked == 2


def test_an_unknown_key_is_no_forgery_while_the_newest_keys_cannot_be_had(
    identity: PushIdentity, certs: Certs, clock: ManualClock, now: int
) -> None:
    identity.verify(bearer(now))
    certs.status = 503
    clock.advance(60)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            identity.verify(bearer(now, "two"))
    assert certs.asked == 2


def test_a_server_that_never_answers_is_given_up(
    certs: Certs, clock: ManualClock, now: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.adapters.oidc.FETCH_TIMEOUT_S", 0.2)
    certs.released.clear()
    with pytest.raises(StoreUnavailable):
        PushIdentity(AUDIENCE, ACCOUNT, clock, certs_url=certs.url).verify(bearer(now))


# ---------------------------------------------------------------- threads


def test_threads_that_come_at_once_share_one_fetch(identity: PushIdentity, certs: Certs, now: int) -> None:
    header = bearer(now)
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda _: identity.verify(header), range(64))) == [None] * 64
    assert certs.asked == 1


def test_nobody_waits_for_a_fetch_while_the_old_keys_do(
    identity: PushIdentity, certs: Certs, clock: ManualClock, now: int
) -> None:
    identity.verify(bearer(now))
    clock.advance(HOUR)
    certs.released.clear()
    with ThreadPoolExecutor(1) as threads:
        fetching = threads.submit(identity.verify, bearer(now))
        while certs.asked < 2:
            assert not fetching.done()
        identity.verify(bearer(now))
        assert not fetching.done()
        certs.released.set()
        fetching.result(10)
    assert certs.asked == 2


# ---------------------------------------------------------------- settings


def test_an_empty_audience_is_refused(clock: ManualClock) -> None:
    with pytest.raises(SettingsError, match="audience"):
        PushIdentity("", ACCOUNT, clock)


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "https://", "ftp://x/y"])
def test_a_url_that_is_not_http_is_refused(clock: ManualClock, url: str) -> None:
    with pytest.raises(SettingsError, match="published keys"):
        PushIdentity(AUDIENCE, ACCOUNT, clock, certs_url=url)
