"""What all simulated vendors have in common: faults, quotas, the record of calls, files, the clock."""

from __future__ import annotations

import hashlib
import io
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import av
import httpx
import pytest
from PIL import Image

from shared.clock import ManualClock
from shared.domain.platforms import PLATFORMS, brief
from shared.errors import SettingsError
from shared.simulators import vendor_media
from shared.simulators.vendor_core import VendorCore
from shared.simulators.vendor_faults import FaultPlan
from shared.simulators.vendor_http import Refused, between, check, filled
from shared.simulators.vendor_text import platform_named
from shared.simulators.vendors import Vendors

TEXT = "/v1/projects/p1/locations/global/publishers/google/models/gemini-3.5-flash:generateContent"
LITE = TEXT.replace("gemini-3.5-flash", "gemini-3.1-flash-lite")
WITH_TOKEN = {"Authorization": "Bearer any"}
PATIENCE_S = 10


def asked(words: str = "a red kite") -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": words}]}]}


@pytest.fixture
def web(vendors: Vendors) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=vendors.url, headers=WITH_TOKEN, timeout=PATIENCE_S, verify=False) as client:
        yield client


def statuses(faults: dict[str, Any], words: list[str], workers: int = 1) -> dict[str, list[int]]:
    """What each of *words* was answered, asked three times in this order."""
    with (
        Vendors(clock=ManualClock(), faults=faults) as vendors,
        httpx.Client(base_url=vendors.url, headers=WITH_TOKEN, timeout=PATIENCE_S, verify=False) as web,
        ThreadPoolExecutor(workers) as threads,
    ):
        found = threads.map(lambda each: [web.post(TEXT, json=asked(each)).status_code for _ in range(3)], words)
        return dict(zip(words, found, strict=True))


# ---------------------------------------------------------------- faults


def test_the_same_seed_fails_the_same_calls_in_any_order_of_arrival():
    plan = {"error_500": 0.3, "rate_limited": 0.2, "seed": 5}
    words = [f"kite {n}" for n in range(20)]
    first = statuses(plan, words)
    assert {status for found in first.values() for status in found} == {200, 429, 500}
    assert any(len(set(found)) > 1 for found in first.values())  # the same again is another draw
    assert statuses(plan, words[::-1], workers=4) == first
    assert statuses(plan | {"seed": 6}, words) != first


def test_rates_hold_over_many_draws():
    plan = FaultPlan.parse({"drop": 0.1, "hang": 0.2})
    drawn = Counter(plan.draw(str(n)) for n in range(10_000))
    assert drawn["drop"] == pytest.approx(1000, rel=0.15)
    assert drawn["hang"] == pytest.approx(2000, rel=0.15)
    assert drawn.keys() == {"drop", "hang", None}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"explode": 0.1}, "there are rate_limited,"),
        ({"drop": 2}, "rate from 0 to 1"),
        ({"drop": True}, "rate from 0 to 1"),
        ({"drop": 0.6, "hang": 0.6}, "together"),
        ({"vendors": ["acme"]}, "there are vertex, runway"),
        ({"models": "veo"}, "list of names"),
        ({"seed": "x"}, "integer"),
        ({"rpm": 0}, "at least 1"),
        ({"hang_s": -1}, "seconds"),
    ],
)
def test_a_wrong_plan_is_refused_with_what_is_allowed(document: dict[str, Any], told: str):
    with pytest.raises(SettingsError, match=told):
        Vendors(faults=document)


def test_an_unknown_single_fault_is_refused(vendors: Vendors):
    with pytest.raises(ValueError, match="there are rate_limited"):
        vendors.fail("explode")


@pytest.mark.parametrize(
    ("fault", "status", "retry_after"),
    [
        ("rate_limited", 429, "2"),
        ("rate_limited_silent", 429, None),
        ("error_500", 500, None),
        ("unavailable", 503, None),
        ("retired", 404, None),
    ],
)
def test_a_refused_call_is_not_in_the_record(
    vendors: Vendors, web: httpx.Client, fault: str, status: int, retry_after: str | None
):
    vendors.fail(fault)
    answer = web.post(TEXT, json=asked())
    assert (answer.status_code, answer.headers.get("Retry-After")) == (status, retry_after)
    assert answer.json()["error"]["code"] == status
    assert vendors.calls() == []
    assert web.post(TEXT, json=asked()).status_code == 200  # once only
    assert len(vendors.calls()) == 1


def test_a_call_whose_answer_is_lost_is_accepted_and_billed(vendors: Vendors, web: httpx.Client):
    vendors.fail("drop")
    with pytest.raises(httpx.RemoteProtocolError):
        web.post(TEXT, json=asked())
    vendors.fail("gateway")
    assert web.post(TEXT, json=asked()).status_code == 504
    vendors.fail("hang")
    with pytest.raises(httpx.ReadTimeout):
        web.post(TEXT, json=asked(), timeout=0.2)
    for thread in [each for each in threading.enumerate() if "process_request" in each.name]:
        thread.join(PATIENCE_S)  # the client gave up, so nobody is kept waiting for it
        assert not thread.is_alive()
    calls = vendors.calls()
    assert [(call["fault"], call["state"]) for call in calls] == [
        ("drop", "accepted"),
        ("gateway", "accepted"),
        ("hang", "accepted"),
    ]
    assert all(call["billed"]["output_token"] > 0 for call in calls)


def test_a_hanging_call_ends_after_its_time(vendors: Vendors, web: httpx.Client):
    vendors.fail("hang", hang_s=0.1)
    with pytest.raises(httpx.RemoteProtocolError):
        web.post(TEXT, json=asked())


def test_a_slow_answer_comes_late_and_whole(vendors: Vendors, web: httpx.Client):
    vendors.fail("slow", slow_s=0.2)
    began = time.monotonic()
    assert web.post(TEXT, json=asked()).status_code == 200
    assert time.monotonic() - began >= 0.2
    assert vendors.calls()[0]["state"] == "delivered"


def test_stopping_does_not_wait_for_a_hanging_call():
    with Vendors(clock=ManualClock()) as vendors, httpx.Client(base_url=vendors.url, headers=WITH_TOKEN) as web:
        vendors.fail("hang")
        failed = threading.Event()

        def ask() -> None:
            with pytest.raises(httpx.HTTPError):
                web.post(TEXT, json=asked(), timeout=PATIENCE_S)
            failed.set()

        thread = threading.Thread(target=ask)
        thread.start()
        while not vendors.calls():
            thread.join(0.01)
        vendors.stop()
        assert failed.wait(PATIENCE_S / 2)
        thread.join()


def test_a_single_fault_hits_only_what_it_names(vendors: Vendors, web: httpx.Client):
    vendors.fail("error_500", model="gemini-3.1-flash-lite", times=2)
    vendors.fail("error_500", vendor="runway")
    assert web.post(TEXT, json=asked()).status_code == 200
    assert [web.post(LITE, json=asked()).status_code for _ in range(3)] == [500, 500, 200]
    vendors.fail("error_500", times=9)
    vendors.mend()
    assert web.post(TEXT, json=asked()).status_code == 200


def test_a_plan_hits_only_the_models_it_names():
    with Vendors(faults={"error_500": 1.0, "models": ["gemini-3.1-flash-lite"]}) as vendors:
        assert httpx.post(vendors.url + TEXT, json=asked(), headers=WITH_TOKEN).status_code == 200
        assert httpx.post(vendors.url + LITE, json=asked(), headers=WITH_TOKEN).status_code == 500


def test_a_fault_an_operation_cannot_show_waits_for_one_that_can(vendors: Vendors, web: httpx.Client):
    vendors.fail("webhook_lost")
    web.post(TEXT, json=asked())
    assert vendors.calls()[0]["fault"] is None


def test_a_single_fault_can_be_asked_for_over_http(vendors: Vendors, web: httpx.Client):
    assert web.post("/_sim/fail", json={"fault": "unavailable", "times": 1}).status_code == 200
    assert web.post(TEXT, json=asked()).status_code == 503
    refused = web.post("/_sim/fail", json={"fault": "explode"})
    assert refused.status_code == 400
    assert "webhook_lost" in refused.json()["error"]


def test_the_quota_refills_with_the_next_minute(clock: ManualClock):
    clock.advance(20)
    with (
        Vendors(clock=clock, faults={"rpm": 2}) as vendors,
        httpx.Client(base_url=vendors.url, headers=WITH_TOKEN) as web,
    ):
        answers = [web.post(TEXT, json=asked(f"{n}")) for n in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert web.post(LITE, json=asked()).status_code == 200  # each model has its own
        wait_s = float(answers[-1].headers["Retry-After"])
        assert 40 <= wait_s <= 41
        clock.advance(wait_s)
        assert web.post(TEXT, json=asked()).status_code == 200
        assert len(vendors.calls()) == 4


# ---------------------------------------------------------------- the record and the simulator's own paths


def test_the_record_says_what_was_asked_and_what_is_billed(vendors: Vendors, web: httpx.Client):
    web.post(TEXT, json=asked("a red kite") | {"labels": {"job": "j1", "attempt": "1"}})
    (call,) = web.get("/_sim/calls").json()["calls"]
    assert call["prompt"] == "a red kite"
    assert call["prompt_sha256"] == hashlib.sha256(b"a red kite").hexdigest()
    assert call["labels"] == {"job": "j1", "attempt": "1"}
    assert (call["vendor"], call["operation"], call["state"]) == ("vertex", "generateContent", "delivered")
    assert call["accepted_at"] == "2026-11-21T12:00:00.000000Z"
    assert call["billed"].keys() == {"input_token", "output_token"}


def test_the_plan_can_be_read(clock: ManualClock):
    with Vendors(clock=clock, faults={"drop": 0.5, "seed": 3}) as vendors:
        shown = httpx.get(vendors.url + "/_sim/faults").json()
        assert (shown["drop"], shown["seed"], shown["rpm"]) == (0.5, 3, None)
        FaultPlan.parse(shown)


def test_other_paths_are_nobodys(web: httpx.Client):
    assert web.get("/").status_code == 404
    assert web.get("/_sim/files/none.png").status_code == 404
    assert web.post("/_sim/calls").status_code == 404


def test_only_the_given_token_is_accepted(clock: ManualClock):
    with Vendors(clock=clock, tokens={"vertex": "right"}) as vendors:
        for token, status in (("right", 200), ("wrong", 401)):
            headers = {"Authorization": f"Bearer {token}"}
            assert httpx.post(vendors.url + TEXT, json=asked(), headers=headers).status_code == status
        assert httpx.post(vendors.url + TEXT, json=asked()).status_code == 401


def test_a_taken_port_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError):  # noqa: PT011
        Vendors(taken.getsockname()[1]).start()


def test_many_callers_at_once_are_all_in_the_record(vendors: Vendors, web: httpx.Client):
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda n: web.post(TEXT, json=asked(f"{n}")).status_code, range(200)))
    assert set(found) == {200}
    assert {call["prompt"] for call in vendors.calls()} == {f"{n}" for n in range(200)}


# ---------------------------------------------------------------- files, and what is still to come


def test_pictures_and_clips_are_real_and_each_has_its_own_bytes():
    for media_type in ("image/png", "image/jpeg"):
        made = [vendor_media.image(256, 128, media_type, mark) for mark in ("a", "b")]
        assert made[0] != made[1]
        for data in made:
            with Image.open(io.BytesIO(data)) as picture:
                picture.load()
                assert picture.size == (256, 128)
    clips = [vendor_media.video(128, 64, 8, 1, mark, audio=True) for mark in ("a", "b")]
    assert clips[0] != clips[1]
    for clip in clips:
        with av.open(io.BytesIO(clip)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 8


def test_spoiled_files_do_not_decode():
    with pytest.raises(Image.UnidentifiedImageError):
        Image.open(io.BytesIO(vendor_media.spoiled(vendor_media.image(128, 128, "image/png", "a"))))
    with pytest.raises(av.FFmpegError), av.open(io.BytesIO(vendor_media.spoiled(bytes(3000)))):
        pass


def test_many_who_want_the_same_file_wait_for_one_rendering():
    rendered = vendor_media._Rendered(2)
    go = threading.Event()
    started: list[int] = []

    def render() -> bytes:
        started.append(1)
        go.wait(PATIENCE_S)
        return b"made"

    with ThreadPoolExecutor(8) as threads:
        wanted = [threads.submit(rendered.get, "form", render) for _ in range(8)]
        go.set()
        assert {each.result() for each in wanted} == {b"made"}
    assert len(started) == 1


def test_a_file_can_be_read_until_its_url_expires(clock: ManualClock, vendors: Vendors, web: httpx.Client):
    url = vendors._core.media.publish(lambda: b"data", "a", "image/png", expires_after_s=60)
    assert web.get(url).content == b"data"
    vendors.fail("unavailable", operation="file")
    assert [web.get(url).status_code for _ in range(2)] == [503, 200]
    clock.advance(60)
    assert web.get(url).status_code == 403


def test_what_is_due_happens_once_by_the_clock(clock: ManualClock):
    core = VendorCore(clock, FaultPlan(), "", {})
    happened: list[str] = []
    second = core.later(20, lambda: happened.append("second"))
    first = core.later(10, lambda: happened.append("first"))
    gone = core.later(10, lambda: happened.append("gone"))
    assert gone.cancel()
    core.settle()
    assert (happened, first.happened()) == ([], False)
    clock.advance(30)
    core.settle()
    core.settle()
    assert happened == ["first", "second"]
    assert second.happened()
    assert not second.cancel()


def test_settling_waits_for_what_another_thread_is_just_doing(clock: ManualClock):
    core = VendorCore(clock, FaultPlan(), "", {})
    begun, go = threading.Event(), threading.Event()

    def act() -> None:
        begun.set()
        go.wait(PATIENCE_S)

    core.later(0, act)
    threads = [threading.Thread(target=core.settle) for _ in range(2)]
    threads[0].start()
    assert begun.wait(PATIENCE_S)
    threads[1].start()
    threads[1].join(0.05)
    assert threads[1].is_alive()
    go.set()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_operations_end_by_themselves_while_nobody_asks():
    clock = ManualClock()
    with Vendors(clock=clock) as vendors:
        ended = threading.Event()
        vendors._core.later(5, ended.set)
        clock.advance(5)
        assert ended.wait(PATIENCE_S)


# ---------------------------------------------------------------- shapes


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"name": "x", "more": 1}, "more"),
        ({}, "name"),
        ({"name": 5}, "name"),
        ({"name": " "}, "name"),
        ({"name": "x" * 6}, "name"),
        ({"name": "x", "sizes": [1, 2, 9]}, "sizes[2]"),
        ({"name": "x", "sizes": [True]}, "sizes[0]"),
        ({"name": "x", "kind": "c"}, "kind"),
        ({"name": "x", "kind": ["a"]}, "kind"),
        ({"name": "x", "either": {"a": 1}}, "either"),
        ([], ""),
    ],
)
def test_a_wrong_shape_is_refused_where_it_is_wrong(value: Any, field: str):
    shape = {
        "name": filled(5),
        "sizes?": [between(1, 8)],
        "kind?": {"a", "b"},
        "either?": (str, [str]),
    }
    check({"name": "x", "sizes": [1, 8], "kind": "a", "either": ["y"]}, shape)
    with pytest.raises(Refused) as caught:
        check(value, shape)
    assert (caught.value.status, caught.value.field) == (400, field)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_model_understands_the_platform_that_its_instructions_name(platform: str):
    assert platform_named(f"Be kind. {brief(PLATFORMS[platform])}") == platform


def test_a_model_without_a_platform_in_its_instructions_takes_none():
    assert platform_named("Be kind, and explain the axes x and y.") is None
