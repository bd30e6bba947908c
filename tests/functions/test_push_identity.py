"""A function that is asked to check who sends its events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.functions.serving import JSON_TYPE, Answer, Cloud, Served, push
from tests.tokens import ACCOUNT, AUDIENCE, Certs, bearer, certs

__all__ = ["certs"]  # a fixture

REQUEST = {"kind": "text", "prompt": "A short note about the tides at the old harbour", "request_id": "r"}
ASKED = {"ATELIER_PUSH_AUDIENCE": AUDIENCE, "ATELIER_PUSH_SERVICE_ACCOUNT": ACCOUNT}


@pytest.fixture
def validate(tmp_path: Path, certs: Certs) -> Iterator[Served]:
    with closing(Served("validate", tmp_path, ATELIER_PUSH_CERTS_URL=certs.url, **ASKED)) as served:
        served.ready()
        yield served


def send(served: Served, authorization: str | None) -> Answer:
    headers = JSON_TYPE if authorization is None else {**JSON_TYPE, "Authorization": authorization}
    return served.send(push(REQUEST, message_id="1"), headers)


def test_only_the_right_account_gets_an_event_in(validate: Served, tmp_path: Path) -> None:
    now, seen = int(time.time()), Cloud(tmp_path)
    assert send(validate, None).status == 401
    assert send(validate, bearer(now, key="another")).status == 401
    assert send(validate, bearer(now, aud="https://elsewhere.example")).status == 403
    assert send(validate, bearer(now, email="somebody@else.example")).status == 403
    assert validate.send(b"not even an event", JSON_TYPE).status == 401
    assert seen.services.jobs.newest(1) == []
    assert send(validate, bearer(now)).status == 204
    assert len(seen.services.jobs.newest(2)) == 1
    assert bearer(now).split(".")[1] not in validate.out.read_text() + validate.err.read_text()


def test_while_the_keys_cannot_be_fetched_events_are_told_to_come_back(validate: Served, certs: Certs) -> None:
    certs.status = 503
    answer = send(validate, bearer(int(time.time())))
    assert (answer.status, "Retry-After" in answer.headers) == (503, True)


def test_an_audience_without_an_account_is_a_wrong_setting(tmp_path: Path) -> None:
    with closing(Served("validate", tmp_path, ATELIER_PUSH_AUDIENCE=AUDIENCE)) as served:
        served.ready()
        assert send(served, bearer(int(time.time()))).status == 500
        assert "ATELIER_PUSH_SERVICE_ACCOUNT" in served.out.read_text()
