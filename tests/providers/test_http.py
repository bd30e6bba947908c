from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from shared.errors import (
    AccountRefused,
    Ambiguous,
    InvalidCall,
    ModelGone,
    ProviderFault,
    RateLimited,
    Unavailable,
)
from shared.providers import http as vendor_http
from shared.providers.deadline import UNTIL, bound
from shared.providers.http import (
    CHUNK,
    DOWNLOAD_MOST_S,
    LONGEST_WAIT_S,
    MAX_ANSWER_BYTES,
    MAX_FILE_BYTES,
    MAX_REDIRECTS,
    NotAnswered,
    UnknownThere,
    VendorHttp,
    fault_of,
    lost,
    message_of,
    private_texts,
    repeats,
    retry_after_s,
)
from tests.providers.recorded_vendor import Reply, Vendor, recorded

PROMPT = "a lighthouse painted by three clumsy otters"
SECRET = "key_0123456789abcdef"
HEADERS = {"Authorization": f"Bearer {SECRET}", "X-Version": "1"}


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with recorded() as server:
        yield server


@pytest.fixture
def http(vendor: Vendor) -> Iterator[VendorHttp]:
    client = VendorHttp("acme", vendor.url, HEADERS)
    yield client
    client.close()


@pytest.fixture
def nobody() -> Iterator[VendorHttp]:
    """A vendor at an address where nobody listens."""
    client = VendorHttp("acme", "http://127.0.0.1:1", HEADERS)
    yield client
    client.close()


def create(http: VendorHttp, *, timeout_s: float = 5.0) -> httpx.Response:
    return http.create("/v1/make", {"prompt": PROMPT}, timeout_s=timeout_s, private=PROMPT)


# ---------------------------------------------------------------- creates


def test_a_create_sends_its_body_with_our_headers_and_those_of_the_call(http: VendorHttp, vendor: Vendor) -> None:
    vendor.answers(Reply(201, {"id": "x"}))
    answer = http.create("/v1/make", {"a": 1}, timeout_s=5, headers={"Cancel-After": "5m"})
    assert http.read(answer) == {"id": "x"}
    assert (vendor.last.method, vendor.last.path, vendor.last.body) == ("POST", "/v1/make", {"a": 1})
    assert vendor.last.headers["authorization"] == f"Bearer {SECRET}"
    assert (vendor.last.headers["x-version"], vendor.last.headers["cancel-after"]) == ("1", "5m")


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (301, InvalidCall),
        (400, InvalidCall),
        (401, AccountRefused),
        (402, AccountRefused),
        (403, AccountRefused),
        (404, ModelGone),
        (408, Ambiguous),
        (409, InvalidCall),
        (410, ModelGone),
        (422, InvalidCall),
        (429, RateLimited),
        (500, Unavailable),
        (502, Ambiguous),
        (503, Unavailable),
        (504, Ambiguous),
        (520, Ambiguous),
        (524, Ambiguous),
        (529, Unavailable),
    ],
)
def test_every_error_status_has_its_meaning_and_is_asked_for_once(
    http: VendorHttp, vendor: Vendor, status: int, fault: type[ProviderFault]
) -> None:
    vendor.answers(Reply(status, {"error": "so it is"}))
    with pytest.raises(ProviderFault) as raised:
        create(http)
    assert type(raised.value) is fault
    assert "so it is" in str(raised.value)
    assert len(vendor.sent) == 1


@pytest.mark.parametrize("then", ["drop", "cut", "hang", "drip"])
def test_an_answer_that_does_not_come_whole_and_in_time_is_ambiguous_and_not_asked_for_again(
    http: VendorHttp, vendor: Vendor, then: str
) -> None:
    vendor.answers(Reply(200, {"id": "x" * 100}, then=then))
    with pytest.raises(Ambiguous):
        create(http, timeout_s=0.25)
    assert len(vendor.sent) == 1


def test_where_nobody_listens_nothing_was_accepted(nobody: VendorHttp) -> None:
    with pytest.raises(Unavailable, match="ConnectError"):
        create(nobody)


def test_a_key_that_no_header_can_carry_buys_nothing(vendor: Vendor) -> None:
    client = VendorHttp("acme", vendor.url, {"Authorization": "Bearer key\n"})
    with pytest.raises(Unavailable):
        create(client)
    client.close()
    assert vendor.sent == []


def test_a_text_that_is_no_unicode_is_refused_before_it_is_sent(http: VendorHttp, vendor: Vendor) -> None:
    with pytest.raises(InvalidCall):
        http.create("/v1/make", {"prompt": "half a pair \ud83d"}, timeout_s=5)
    assert vendor.sent == []


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"\xff{", b"[" * 100_000])
def test_a_success_that_cannot_be_read_is_ambiguous(http: VendorHttp, vendor: Vendor, body: bytes) -> None:
    vendor.answers(Reply(200, body))
    answer = create(http)
    with pytest.raises(Ambiguous):
        http.read(answer)


def test_a_compressed_answer_is_read(http: VendorHttp, vendor: Vendor) -> None:
    vendor.answers(Reply(200, gzip.compress(json.dumps({"id": "x"}).encode()), {"Content-Encoding": "gzip"}))
    assert http.read(create(http)) == {"id": "x"}


def test_a_compressed_answer_that_is_damaged_is_ambiguous(http: VendorHttp, vendor: Vendor) -> None:
    vendor.answers(Reply(200, b"not compressed at all", {"Content-Encoding": "gzip"}))
    with pytest.raises(Ambiguous):
        create(http)


def test_the_vendors_own_judge_comes_before_the_status(http: VendorHttp, vendor: Vendor) -> None:
    vendor.answers(Reply(400, {"code": "empty"}), Reply(400, {}))

    def judge(answer: httpx.Response) -> ProviderFault | None:
        return AccountRefused("no credit") if answer.json().get("code") == "empty" else None

    with pytest.raises(AccountRefused, match="no credit"):
        http.create("/v1/make", {}, timeout_s=5, judge=judge)
    with pytest.raises(InvalidCall):
        http.create("/v1/make", {}, timeout_s=5, judge=judge)


# ---------------------------------------------------------------- waiting


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_as_a_number_is_obeyed(http: VendorHttp, vendor: Vendor, status: int) -> None:
    vendor.answers(Reply(status, {}, {"Retry-After": "17"}))
    with pytest.raises(ProviderFault) as raised:
        create(http)
    assert raised.value.retry_after_s == 17


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
def test_retry_after_as_a_date_is_obeyed(zone: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True).replace("GMT", zone)
    wait_s = retry_after_s({"retry-after": date})
    assert wait_s is not None
    assert 80 < wait_s <= 90


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("0", 0),
        ("1.5", 1.5),
        ("-3", 0),
        ("Sat, 21 Nov 2020 10:00:00 GMT", 0),
        ("inf", LONGEST_WAIT_S),
        ("1e300", LONGEST_WAIT_S),
        ("nan", None),
        ("soon", None),
        ("", None),
    ],
)
def test_a_wait_is_never_below_zero_nor_beyond_a_day(text: str, wait_s: float | None) -> None:
    assert retry_after_s({"retry-after": text}) == wait_s


def test_without_retry_after_no_wait_is_told() -> None:
    assert retry_after_s({}) is None


# ---------------------------------------------------------------- what is told


def test_the_vendors_words_are_found_wherever_it_puts_them() -> None:
    said = [
        {"error": {"message": "m", "code": 4}},
        {"detail": "m"},
        {"title": "m"},
        {"error": {"error": {"detail": "m"}}},
        "m",
    ]
    assert [message_of(httpx.Response(400, json=body)) for body in said] == ["m"] * 5
    assert message_of(httpx.Response(400, json={"error": ["é", "b"]})) == '["é", "b"]'
    assert message_of(httpx.Response(400, content=b"<html>")) == ""


@pytest.mark.parametrize(
    "said",
    [
        f"rejected: {PROMPT}",
        'rejected: "A LIGHTHOUSE  painted"',
        "rejected (by three clumsy...)",
        "rejected " + "x" * 300 + PROMPT,
    ],
)
def test_words_that_repeat_the_prompt_are_withheld(http: VendorHttp, vendor: Vendor, said: str) -> None:
    vendor.answers(Reply(400, {"error": said}))
    with pytest.raises(InvalidCall) as raised:
        create(http)
    assert str(raised.value) == "acme answered 400"


def test_words_that_repeat_the_key_are_withheld(http: VendorHttp, vendor: Vendor) -> None:
    vendor.answers(Reply(401, {"error": f"the key {SECRET} is wrong"}))
    with pytest.raises(AccountRefused) as raised:
        create(http)
    assert str(raised.value) == "acme answered 401"


def test_words_that_repeat_the_key_are_withheld_from_a_question_too(http: VendorHttp, vendor: Vendor) -> None:
    vendor.answers(Reply(401, {"error": f"the key {SECRET} is wrong"}))
    with pytest.raises(AccountRefused) as raised:
        http.ask("GET", "/v1/tasks/1")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "address", ["https://storage.example/a?X-Goog-Signature=abc", "data:image/png;base64,AAAA", "gs://bucket/a.png"]
)
def test_addresses_are_left_out_of_what_is_told(http: VendorHttp, vendor: Vendor, address: str) -> None:
    vendor.answers(Reply(400, {"error": f"cannot open {address} now"}))
    with pytest.raises(InvalidCall) as raised:
        create(http)
    assert str(raised.value) == "acme answered 400: cannot open (address) now"


def test_long_words_are_cut() -> None:
    assert len(str(fault_of("acme", 400, "word " * 1000))) < 250


@pytest.mark.parametrize(
    ("message", "private", "expected"),
    [
        ("no red dragon here", "the red dragon", False),
        ("saw the red dragon", "the red dragon flies", True),
        ("saw the-red:dragon", "the red dragon", True),
        ("a cat", "cat", True),
        ("a dog", "cat", False),
        ("anything", "", False),
        ("被拒绝:海上日出", "一幅海上日出的画", True),
        ("被拒绝", "一幅海上日出的画", False),
        ("two words", ("the first", "two words"), True),
        ("neither", ("the first", "two words"), False),
    ],
)
def test_a_repetition_is_three_words_side_by_side_or_the_whole_text(
    message: str, private: str | tuple[str, ...], expected: bool
) -> None:
    assert repeats(message, private) is expected


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (httpx.ConnectError(""), Unavailable),
        (httpx.ConnectTimeout(""), Unavailable),
        (httpx.PoolTimeout(""), Unavailable),
        (httpx.ProxyError(""), Unavailable),
        (httpx.ReadTimeout(""), Ambiguous),
        (httpx.WriteTimeout(""), Ambiguous),
        (httpx.ReadError(""), Ambiguous),
        (httpx.WriteError(""), Ambiguous),
        (httpx.RemoteProtocolError(""), Ambiguous),
    ],
)
def test_only_what_was_surely_not_sent_is_surely_not_accepted(error: Exception, fault: type[ProviderFault]) -> None:
    assert type(lost("acme", error)) is fault


# ---------------------------------------------------------------- questions


def test_a_question_is_answered_with_an_object(http: VendorHttp, vendor: Vendor) -> None:
    vendor.answers(Reply(200, {"status": "RUNNING"}))
    assert http.ask("GET", "/v1/tasks/1", {"page": "2"}) == {"status": "RUNNING"}
    assert (vendor.last.method, vendor.last.path) == ("GET", "/v1/tasks/1?page=2")


def test_a_question_without_content_is_answered_with_nothing(http: VendorHttp, vendor: Vendor) -> None:
    vendor.answers(Reply(204, b""))
    assert http.ask("DELETE", "/v1/tasks/1") == {}


@pytest.mark.parametrize(
    "reply",
    [
        Reply(429),
        Reply(408),
        Reply(500),
        Reply(502),
        Reply(503),
        Reply(504),
        Reply(200, b"<html>"),
        Reply(200, [1]),
        Reply(then="drop"),
        Reply(200, {"a": "b" * 100}, then="cut"),
    ],
)
def test_a_question_that_is_not_answered_now_can_be_asked_again(http: VendorHttp, vendor: Vendor, reply: Reply) -> None:
    vendor.answers(reply)
    with pytest.raises(NotAnswered) as raised:
        http.ask("GET", "/v1/tasks/1")
    assert raised.value.retry_after_s == 10


def test_a_question_that_is_put_off_is_asked_again_when_the_vendor_says(http: VendorHttp, vendor: Vendor) -> None:
    vendor.answers(Reply(429, {}, {"Retry-After": "40"}))
    with pytest.raises(NotAnswered) as raised:
        http.ask("GET", "/v1/tasks/1")
    assert raised.value.retry_after_s == 40


def test_a_question_where_nobody_listens_can_be_asked_again(nobody: VendorHttp) -> None:
    with pytest.raises(NotAnswered):
        nobody.ask("GET", "/v1/tasks/1")


@pytest.mark.parametrize("then", ["hang", "drip"])
def test_a_question_has_so_much_time_as_a_whole(
    http: VendorHttp, vendor: Vendor, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    monkeypatch.setattr(vendor_http, "ASK_S", 0.2)
    vendor.answers(Reply(200, {"id": "x" * 1000}, then=then))
    began = time.monotonic()
    with pytest.raises(NotAnswered):
        http.ask("GET", "/v1/tasks/1")
    assert time.monotonic() - began < 5


def test_a_question_ends_with_the_search_that_it_is_part_of(http: VendorHttp, vendor: Vendor) -> None:
    vendor.answers(Reply(200, {"id": "x" * 1000}, then="drip"))
    with pytest.raises(NotAnswered):
        http.ask("GET", "/v1/tasks/1", until=time.monotonic() + 0.2)
    with pytest.raises(NotAnswered):
        http.ask("GET", "/v1/tasks/1", until=time.monotonic())
    assert len(vendor.sent) == 1


@pytest.mark.parametrize("is_compressed", [False, True])
def test_an_answer_without_end_is_not_read(
    http: VendorHttp, vendor: Vendor, monkeypatch: pytest.MonkeyPatch, is_compressed: bool
) -> None:
    monkeypatch.setattr(vendor_http, "MAX_ANSWER_BYTES", 100_000)
    large = json.dumps({"id": "x" * 100_000}).encode()
    reply = Reply(200, gzip.compress(large), {"Content-Encoding": "gzip"}) if is_compressed else Reply(200, large)
    vendor.answers(reply)
    with pytest.raises(Ambiguous):
        create(http)
    with pytest.raises(NotAnswered):
        http.ask("GET", "/v1/tasks/1")
    assert len(vendor.sent) == 2
    monkeypatch.setattr(vendor_http, "MAX_ANSWER_BYTES", len(large))
    assert len(http.ask("GET", "/v1/tasks/1")["id"]) == len(http.read(create(http))["id"]) == 100_000
    assert MAX_ANSWER_BYTES == 64 * 2**20


@pytest.mark.parametrize(
    ("status", "problem"), [(404, UnknownThere), (410, UnknownThere), (401, AccountRefused), (400, InvalidCall)]
)
def test_a_question_may_be_refused(http: VendorHttp, vendor: Vendor, status: int, problem: type[Exception]) -> None:
    vendor.answers(Reply(status))
    with pytest.raises(problem):
        http.ask("GET", "/v1/tasks/1")


# ---------------------------------------------------------------- files


def test_a_file_comes_in_chunks_of_at_most_a_mebibyte(http: VendorHttp, vendor: Vendor) -> None:
    data = bytes(range(256)) * 4096 * 3 + b"end"
    vendor.answers(Reply(200, data))
    chunks = list(http.download(f"{vendor.url}/files/a.mp4"))
    assert b"".join(chunks) == data
    assert max(map(len, chunks)) <= CHUNK
    assert len(chunks) == 4


def test_the_file_host_never_sees_our_key(http: VendorHttp, vendor: Vendor) -> None:
    vendor.answers(Reply(302, b"", {"Location": f"{vendor.url}/other"}), Reply(200, b"file"))
    assert b"".join(http.download(f"{vendor.url}/files/a.mp4")) == b"file"
    assert len(vendor.sent) == 2
    assert all(SECRET not in str(sent.headers) for sent in vendor.sent)
    assert all("x-version" not in sent.headers for sent in vendor.sent)


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (Reply(401), InvalidCall),
        (Reply(403), InvalidCall),
        (Reply(404), InvalidCall),
        (Reply(410), InvalidCall),
        (Reply(429), Unavailable),
        (Reply(500), Unavailable),
        (Reply(then="drop"), Unavailable),
        (Reply(200, b"x" * 1000, then="cut"), Unavailable),
    ],
)
def test_a_file_that_expired_is_told_from_one_that_cannot_be_read_now(
    http: VendorHttp, vendor: Vendor, reply: Reply, fault: type[ProviderFault]
) -> None:
    vendor.answers(reply)
    with pytest.raises(ProviderFault) as raised:
        list(http.download(f"{vendor.url}/files/a.mp4?token=hidden"))
    assert type(raised.value) is fault
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "fault"), [("http://host:port/", InvalidCall), ("ftp://a/b", Unavailable), ("nonsense", Unavailable)]
)
def test_an_address_that_is_none_is_a_fault(http: VendorHttp, url: str, fault: type[ProviderFault]) -> None:
    with pytest.raises(fault):
        list(http.download(url))


class Hours:
    """A clock on which an hour has passed between one look and the next."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 3600
        return self.now_s


def test_a_file_that_takes_too_long_is_given_up(
    http: VendorHttp, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.answers(Reply(200, bytes(3 * CHUNK)))
    with monkeypatch.context() as patched:
        hours = Hours()
        patched.setattr("shared.providers.http.monotonic", hours)
        patched.setattr("shared.providers.deadline.monotonic", hours)
        with pytest.raises(Unavailable, match="not read in time"):
            list(http.download(f"{vendor.url}/files/a.mp4"))
    assert len(list(http.download(f"{vendor.url}/files/a.mp4"))) == 3
    assert DOWNLOAD_MOST_S == 200


def test_the_next_piece_has_only_the_time_that_is_left() -> None:
    extensions = {"timeout": {"read": 20.0}, UNTIL: time.monotonic() + 5}
    request = httpx.Request("GET", "https://acme.example/", extensions=extensions)
    bound(httpx.Response(200, stream=httpx.ByteStream(b"body"), request=request))
    assert 4 < extensions["timeout"]["read"] <= 5


def test_a_file_that_is_always_somewhere_else_is_given_up(http: VendorHttp, vendor: Vendor) -> None:
    vendor.answers(Reply(302, b"", {"Location": f"{vendor.url}/other"}))
    with pytest.raises(Unavailable):
        list(http.download(f"{vendor.url}/files/a.mp4"))
    assert len(vendor.sent) == 1 + MAX_REDIRECTS


def test_a_file_that_trickles_is_given_up(http: VendorHttp, vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor_http, "DOWNLOAD_MOST_S", 0.2)
    vendor.answers(Reply(200, bytes(1000), then="drip"))
    with pytest.raises(Unavailable, match="not read in time"):
        list(http.download(f"{vendor.url}/files/a.mp4"))


def test_a_file_without_end_is_not_read(http: VendorHttp, vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.answers(Reply(200, bytes(2 * CHUNK)))
    monkeypatch.setattr(vendor_http, "MAX_FILE_BYTES", 2 * CHUNK - 1)
    chunks = http.download(f"{vendor.url}/files/a.mp4")
    assert len(next(chunks)) == CHUNK
    with pytest.raises(InvalidCall, match="larger than"):
        next(chunks)
    monkeypatch.setattr(vendor_http, "MAX_FILE_BYTES", 2 * CHUNK)
    assert len(list(http.download(f"{vendor.url}/files/a.mp4"))) == 2
    assert MAX_FILE_BYTES == 4 * 2**30


def test_the_words_of_a_schema_are_private_too_as_a_vendor_would_repeat_them():
    schema = {"title": "Größe der Brücke in Metern"}
    hidden = private_texts({"prompt": "A bridge", "system": None, "response_schema": schema})
    assert repeats("Unknown field in 'Größe der Brücke in Metern'", hidden)
