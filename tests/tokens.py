"""Tokens as Google signs them, made here with keys of our own that an HTTP server publishes as Google does."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.http_server import Handler, serving

AUDIENCE = "https://generate-abc.a.run.app"
ACCOUNT = "push@atelier.iam.gserviceaccount.com"
HOUR, DAY = 3_600, 86_400


@cache
def private_key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2_048)


@cache
def certificate(name: str) -> str:
    key, subject = private_key(name), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    draft = x509.CertificateBuilder(subject, subject, key.public_key(), 1, start, start + timedelta(days=3_650))
    return draft.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def encoded(value: Any) -> bytes:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def signed(claims: Any, header: Any, sign: Callable[[bytes], bytes]) -> str:
    content = encoded(header) + b"." + encoded(claims)
    return (content + b"." + encoded(sign(content))).decode()


def rs256(name: str) -> Callable[[bytes], bytes]:
    return lambda content: private_key(name).sign(content, padding.PKCS1v15(), hashes.SHA256())


class Certs:
    """What the key server says, and how often it was asked."""

    def __init__(self) -> None:
        self.keys: Any = {"one": certificate("one")}
        self.status, self.cache_control = 200, f"public, max-age={HOUR}, must-revalidate, no-transform"
        self.asked, self.url = 0, ""
        self.released = threading.Event()
        self.released.set()


@pytest.fixture
def certs() -> Iterator[Certs]:
    state = Certs()

    class Publishing(Handler):
        def respond(self) -> None:
            state.asked += 1
            state.released.wait(10)
            body = state.keys if isinstance(state.keys, bytes) else json.dumps(state.keys).encode()
            self.answer(state.status, body, Cache_Control=state.cache_control)

    with serving(Publishing) as url:
        state.url = f"{url}oauth2/v1/certs"
        yield state
        state.released.set()


def claims(now: float, **changes: Any) -> dict[str, Any]:
    """The claims of Google's own example, with our audience and account; None leaves one out."""
    said = {
        "aud": AUDIENCE,
        "azp": "113774264463038321964",
        "email": ACCOUNT,
        "sub": "113774264463038321964",
        "email_verified": True,
        "exp": now + HOUR,
        "iat": now,
        "iss": "https://accounts.google.com",
        **changes,
    }
    return {name: value for name, value in said.items() if value is not None}


def token(said: Any, key: str = "one", **header: Any) -> str:
    return signed(said, {"alg": "RS256", "kid": key, "typ": "JWT"} | header, rs256(key))


def bearer(now: float, key: str = "one", **changes: Any) -> str:
    return "Bearer " + token(claims(now, **changes), key)
