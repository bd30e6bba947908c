"""Signatures of webhooks, as Standard Webhooks says: HMAC-SHA256 over id, time and the raw body."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest

from shared.errors import SettingsError, Unauthenticated
from shared.providers.replicate_webhook import TOLERANCE_S, verify

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(b"the present secret").decode()
OLD = "whsec_" + base64.b64encode(b"the secret before it").decode()
FOREIGN = "whsec_" + base64.b64encode(b"somebody else's secret").decode()
BODY = b'{"id": "p1",  "status":"succeeded", "output": ["https:\\/\\/x.example\\/0.png"]}'


def signature(secret: str = SECRET, body: bytes = BODY, signed_at: str = str(int(NOW.timestamp()))) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return base64.b64encode(
        hmac.new(key, b"msg_1." + signed_at.encode() + b"." + body, hashlib.sha256).digest()
    ).decode()


def headers(signatures: str | None = None, signed_at: str = str(int(NOW.timestamp()))) -> dict[str, str]:
    signatures = f"v1,{signature(signed_at=signed_at)}" if signatures is None else signatures
    return {"Webhook-Id": "msg_1", "Webhook-Timestamp": signed_at, "Webhook-Signature": signatures}


def at(offset_s: int) -> dict[str, str]:
    """Headers that are signed well at another time."""
    return headers(signed_at=str(int(NOW.timestamp()) + offset_s))


def test_a_known_signature_of_the_scheme_is_accepted():
    """The example of the specification, github.com/standard-webhooks/standard-webhooks."""
    given = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    signed_at = datetime.fromtimestamp(1614265330, UTC)
    found = verify(given, b'{"test": 2432232314}', ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], signed_at)
    assert found == "msg_p5jXN8AQM9LWM0D4loKWxJek"


def test_a_well_signed_webhook_gives_its_id_whatever_the_case_of_the_headers():
    assert verify(headers(), BODY, [SECRET], NOW) == "msg_1"
    assert verify({name.lower(): value for name, value in headers().items()}, BODY, [SECRET], NOW) == "msg_1"


@pytest.mark.parametrize("secrets", [[SECRET, OLD], [OLD, SECRET]])
def test_while_secrets_change_either_is_good_and_one_good_signature_of_several_is_enough(secrets):
    assert verify(headers(), BODY, secrets, NOW)
    assert verify(headers(f"v1,{signature(OLD)}"), BODY, secrets, NOW)
    assert verify(headers(f"v1,{signature(FOREIGN)} v1,{signature(OLD)}"), BODY, secrets, NOW)
    with pytest.raises(Unauthenticated):
        verify(headers(f"v1,{signature(OLD)}"), BODY, [SECRET], NOW)


@pytest.mark.parametrize("offset_s", [-TOLERANCE_S, 0, TOLERANCE_S])
def test_a_time_within_the_tolerance_is_accepted(offset_s):
    assert verify(at(offset_s), BODY, [SECRET], NOW)


@pytest.mark.parametrize("offset_s", [-TOLERANCE_S - 1, TOLERANCE_S + 1, -86_400, 10**11])
def test_a_stale_webhook_and_one_from_the_future_are_refused(offset_s):
    with pytest.raises(Unauthenticated, match="timestamp"):
        verify(at(offset_s), BODY, [SECRET], NOW)


def test_a_body_that_was_parsed_and_written_again_no_longer_fits():
    again = json.dumps(json.loads(BODY)).encode()
    assert json.loads(again) == json.loads(BODY)
    with pytest.raises(Unauthenticated):
        verify(headers(), again, [SECRET], NOW)


@pytest.mark.parametrize("changed", ["Webhook-Id", "Webhook-Timestamp"])
def test_id_and_time_are_signed_as_well(changed):
    given = headers()
    given[changed] = {"Webhook-Id": "msg_2", "Webhook-Timestamp": str(int(NOW.timestamp()) + 1)}[changed]
    with pytest.raises(Unauthenticated):
        verify(given, BODY, [SECRET], NOW)


@pytest.mark.parametrize(
    "signatures",
    [
        f"v1,{signature(FOREIGN)}",
        f"v2,{signature()}",
        f"v1a,{signature()}",
        f",{signature()}",
        signature(),
        f"v1,{signature()}=",
        f"v1,{signature()[:-2]}",
        "v1,",
        "v1,!!!!",
        "v1,é",
        "v1",
        ",",
        " ",
        "v1," + "A" * 100_000,
    ],
)
def test_a_forged_garbled_or_foreign_signature_is_refused_and_nothing_else_happens(signatures):
    with pytest.raises(Unauthenticated) as raised:
        verify(headers(signatures), BODY, [SECRET, OLD], NOW)
    assert raised.value.status == 401
    assert signature()[:10] not in str(raised.value)


@pytest.mark.parametrize("signed_at", ["now", "", "1e9", "-1", " 1795262400", "1_795_262_400", "１７９５", "9" * 400])
def test_a_time_that_is_no_number_is_refused(signed_at):
    with pytest.raises(Unauthenticated, match="timestamp"):
        verify(headers("v1,AAAA", signed_at), BODY, [SECRET], NOW)


@pytest.mark.parametrize("missing", ["Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"])
@pytest.mark.parametrize("value", [None, ""])
def test_each_header_is_needed(missing, value):
    given = headers()
    del given[missing]
    if value is not None:
        given[missing] = value
    with pytest.raises(Unauthenticated, match=missing.lower()) as raised:
        verify(given, BODY, [SECRET], NOW)
    assert raised.value.status == 401


@pytest.mark.parametrize("secret", ["whsec_", "", "whsec_not base64!", "whsec_é"])
def test_a_secret_that_is_none_is_told_without_showing_it(secret):
    """An empty key would be everybody's."""
    with pytest.raises(SettingsError) as raised:
        verify(headers(), BODY, [SECRET, secret], NOW)
    assert "not base64!" not in str(raised.value)


def test_without_any_secret_nothing_is_accepted():
    with pytest.raises(Unauthenticated):
        verify(headers(), BODY, [], NOW)
