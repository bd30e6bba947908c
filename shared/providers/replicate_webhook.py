"""Whether a webhook really comes from Replicate: Standard Webhooks signatures over the bytes as they came.

Source: replicate.com/docs/topics/webhooks/verify-webhook, and standardwebhooks.com for the scheme. The SDK's own check
(replicate 1.0.7) takes any scheme, and fails with errors of its own on a signature or time that cannot be read.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from shared.errors import SettingsError, Unauthenticated

HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
TOLERANCE_S = 300
SCHEME = "v1"
PREFIX = "whsec_"
_SECONDS = re.compile(r"[0-9]{1,12}")


def verify(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime, tolerance_s: float = TOLERANCE_S
) -> str:
    """Return the id of the webhook: the same for every delivery of it, so a repeated one is known by it.

    Args:
        body: as it was received; parsed and written again it would no longer fit its signature.
        secrets: any of them may have signed, so that the old one is good while they change.
        tolerance_s: how far the time of signing may be from *now*, before or after.

    Raises:
        Unauthenticated: a header is missing or cannot be read, the time is another, or no signature fits.
        SettingsError: a secret is none.
    """
    given = {name.lower(): value for name, value in headers.items()}
    webhook_id, signed_at, signatures = (given.get(name, "") for name in HEADERS)
    missing = [name for name in HEADERS if not given.get(name)]
    if missing:
        raise Unauthenticated(f"the header {missing[0]} is missing")
    if not _SECONDS.fullmatch(signed_at):
        raise Unauthenticated("webhook-timestamp is no number of seconds")
    if abs(now.timestamp() - int(signed_at)) > tolerance_s:
        raise Unauthenticated("webhook-timestamp is too far from the present")
    signed = f"{webhook_id}.{signed_at}.".encode() + body
    expected = [hmac.digest(_key(secret), signed, "sha256") for secret in secrets]
    if not any(hmac.compare_digest(one, other) for one in _signatures(signatures) for other in expected):
        raise Unauthenticated("no signature fits the body")
    return webhook_id


def _signatures(header: str) -> Iterable[bytes]:
    """The signatures of our scheme in a list like "v1,<base64> v1,<base64>"; what cannot be read fits nothing."""
    for part in header.split():
        scheme, _, text = part.partition(",")
        if scheme != SCHEME:
            continue
        try:
            yield base64.b64decode(text, validate=True)
        except ValueError:
            continue


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        key = b""
    if not key:  # anybody can sign with an empty key
        raise SettingsError(f"ATELIER_REPLICATE_WEBHOOK_SECRETS: each must be {PREFIX} and base64 (not shown here)")
    return key
