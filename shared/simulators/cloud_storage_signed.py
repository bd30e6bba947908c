"""Signed URLs of the Cloud Storage simulator: their time is checked always, their signature when keys are known.

Source: cloud.google.com/storage/docs/authentication/canonical-requests and /storage/docs/authentication/signatures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from shared.simulators.cloud_storage_http import Request
from shared.simulators.cloud_storage_objects import Refused

_LONGEST_S = 604_800


def check_signed(request: Request, keys: Mapping[str, RSAPublicKey], now: datetime) -> None:
    """Raise Refused unless a signed URL is of now and, where *keys* (by account) are known, really signed."""
    query = request.query
    if "X-Goog-Signature" not in query:
        if keys:
            raise Refused(403, "Anonymous caller does not have access to the object.", "forbidden")
        return
    try:
        _check_time(query, now)
        if keys:
            account, _, scope = query["X-Goog-Credential"].partition("/")
            signature, text = bytes.fromhex(query["X-Goog-Signature"]), _string_to_sign(request, query, scope)
            keys[account].verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())
    except (KeyError, ValueError) as error:
        raise Refused(400, f"The signed URL is malformed: {error}", "AuthorizationQueryParametersError") from None
    except InvalidSignature:
        message = "Access denied: the request signature we calculated does not match the signature you provided."
        raise Refused(403, message, "SignatureDoesNotMatch") from None


def _check_time(query: Mapping[str, str], now: datetime) -> None:
    signed_at = datetime.strptime(query["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    valid_s = int(query["X-Goog-Expires"])
    if not 1 <= valid_s <= _LONGEST_S:
        raise ValueError(f"X-Goog-Expires is {valid_s}; 1 to {_LONGEST_S} seconds are allowed")
    if now >= signed_at + timedelta(seconds=valid_s):
        raise Refused(400, "The provided token has expired.", "ExpiredToken")


def _string_to_sign(request: Request, query: Mapping[str, str], scope: str) -> str:
    names = query["X-Goog-SignedHeaders"]
    headers = "".join(f"{name}:{request.headers.get(name, '').strip()}\n" for name in names.split(";"))
    pairs = sorted(pair for pair in request.query_text.split("&") if not pair.startswith("X-Goog-Signature="))
    payload = request.headers.get("x-goog-content-sha256", "UNSIGNED-PAYLOAD")
    canonical = "\n".join([request.method, request.path, "&".join(pairs), headers, names, payload])
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return "\n".join(["GOOG4-RSA-SHA256", query["X-Goog-Date"], scope, digest])
