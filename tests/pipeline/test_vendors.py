"""Every vendor and kind through the whole pipeline over HTTP: what is stored, its form, its usage, its cost.

Costs are reckoned here by hand from the vendors' price pages, not by the code under test.
"""

import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import count
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from shared.domain.job import AttemptState, Job, Piece, State
from shared.ports import Call, Json
from shared.providers.studio.image import render_image
from shared.providers.studio.text import count_tokens
from shared.simulators.cloud_storage import CloudStorage
from tests.pipeline.harness import assert_history
from tests.pipeline.vendor_table import CASES, CLIP, FIRST, FPS, LAST, OMNI, OWN_ROWS, SCHEMA, TEXT, Case, by_hand, film
from tests.pipeline.vendors import CASE, VendorPipeline, assert_explained, vendor_pipeline

_numbers = count(1)


# ---------------------------------------------------------------- the system, and what a request came to


def with_inbox(pipeline: VendorPipeline) -> VendorPipeline:
    """Put the pictures into the inbox that requests name."""
    for seed, uri in enumerate((FIRST, LAST)):
        pipeline.put(uri.rpartition("/")[2], _lake(seed), "image/png")
    return pipeline


@lru_cache(maxsize=2)
def _lake(seed: int) -> bytes:
    return render_image("a quiet lake", width=1280, height=720, seed=seed, media_type="image/png", detail=0.5)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VendorPipeline]:
    folder = tmp_path_factory.mktemp("vendors")
    (folder / "own.toml").write_text(OWN_ROWS)
    with vendor_pipeline(folder / "home", catalogue=str(folder / "own.toml")) as pipeline:
        yield with_inbox(pipeline)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[VendorPipeline]:
    with vendor_pipeline(tmp_path) as pipeline:
        yield with_inbox(pipeline)


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudStorage]:
    with CloudStorage() as running:
        running.create_bucket("test-inbox")
        running.create_bucket("test-outputs")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", running.url)
        yield running


@pytest.fixture
def in_cloud_storage(storage: CloudStorage, tmp_path: Path) -> Iterator[VendorPipeline]:
    with vendor_pipeline(tmp_path, blobs_url="gs://test") as pipeline:
        yield with_inbox(pipeline)


def made(pipeline: VendorPipeline, request: Json) -> tuple[Job, list[Json]]:
    """Carry one request to its end; return its job and what the vendors accepted for it. The money has to agree."""
    number = next(_numbers)
    asked = {
        "prompt": f"A paper boat on a quiet pond, case {number}",
        "request_id": f"r-{number}",
        "fallback": False,
        **request,
    }
    (job,) = pipeline.run(asked, rounds=3000)
    pipeline.settle()
    calls = [call for call in pipeline.vendors.calls() if CASE.findall(call["prompt"]) == [str(number)]]
    assert_history(job)
    assert_explained(calls, [job], pipeline)
    assert pipeline.audit().problems == []
    return job, calls


def stored(piece: Piece, pipeline: VendorPipeline) -> bytes:
    data = pipeline.services.blobs.read(piece.uri, 1 << 26)
    assert (len(data), hashlib.sha256(data).hexdigest()) == (piece.size_bytes, piece.sha256)
    return data


def ledger_of(job: Job, pipeline: VendorPipeline) -> list[int]:
    entries = pipeline.services.ledger.of_job(job.job_id)
    return [entry["cost_micro_usd"] for entry in entries]


def assert_is_picture(data: bytes, size: tuple[int, int]) -> None:
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        assert opened.size == size


def assert_is_clip(data: bytes, duration_s: int, *, fps: int = FPS, audio: bool) -> None:
    with av.open(io.BytesIO(data), "r") as opened:
        stream = opened.streams.video[0]
        frames = sum(1 for _ in opened.decode(video=0))
        assert (stream.width, stream.height, frames, bool(opened.streams.audio)) == (
            1280,
            720,
            duration_s * fps,
            audio,
        )


# ---------------------------------------------------------------- every vendor and kind


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bytes_form_usage_and_cost_are_those_of_the_vendor(system: VendorPipeline, case: Case) -> None:
    job, calls = made(system, case.request)
    (attempt,) = job.attempts
    assert (job.state, attempt.state, attempt.model) == (
        State.SUCCEEDED,
        AttemptState.DELIVERED,
        case.request["model"],
    )
    assert len(calls) == case.calls
    for call in calls:
        assert {unit: call["billed"][unit] for unit in case.units} == case.units
    usage = sum((Counter(call["billed"]) for call in calls), Counter())
    cost = sum(by_hand(call["billed"], case.rates) for call in calls)
    assert attempt.usage == dict(usage)
    assert (attempt.cost_micro_usd, job.spent, job.hold, job.suspense) == (cost, cost, 0, 0)
    assert ledger_of(job, system) == [cost]
    assert len(attempt.pieces) == case.calls * case.pieces
    check = _assert_words if case.served is None else partial(_assert_files, case=case)
    check(attempt.pieces, calls, system)


def _assert_words(pieces: tuple[Piece, ...], calls: list[Json], system: VendorPipeline) -> None:
    (piece,), (call,) = pieces, calls
    text = stored(piece, system).decode()
    assert text == piece.text
    assert 0 < count_tokens(text) <= call["billed"]["output_token"]  # the rest are thoughts


def _assert_files(pieces: tuple[Piece, ...], calls: list[Json], system: VendorPipeline, case: Case) -> None:
    assert case.served is not None
    given_out = [case.served(call, n) for call in calls for n in range(case.pieces)]
    assert [piece.sha256 for piece in pieces] == [hashlib.sha256(data).hexdigest() for data in given_out]
    for piece in pieces:
        data = stored(piece, system)
        if case.request["kind"] == "image":
            assert_is_picture(data, case.size)
            assert (piece.width, piece.height) == case.size
        else:
            seconds, audio = case.request["duration_s"], case.request["audio"]
            assert_is_clip(data, seconds, fps=case.request.get("fps", FPS), audio=audio)
            assert (piece.width, piece.height) == (1280, 720)
            assert piece.duration_s == pytest.approx(seconds, abs=0.1)


def test_words_by_schema_are_json_that_fits_it(system: VendorPipeline) -> None:
    job, _ = made(system, {**TEXT, "model": "gemini-3.5-flash-lite", "response_schema": SCHEMA})
    (piece,) = job.attempts[0].pieces
    assert piece.media_type == "application/json"
    assert system.services.inspector.text_errors(piece.text or "", SCHEMA) == []


def test_a_picture_that_is_read_costs_what_the_model_counts_for_it(system: VendorPipeline) -> None:
    tokens = []
    for inputs in ([], [FIRST], [FIRST, LAST]):
        _, (call,) = made(system, {**TEXT, "model": "gemini-3.5-flash-lite", **({"inputs": inputs} if inputs else {})})
        tokens.append(call["billed"]["input_token"] - count_tokens(call["prompt"]))
    assert tokens == [0, 1120, 2240]


def test_a_frame_rate_that_a_model_does_not_make_is_refused_before_anything_is_paid(fresh: VendorPipeline) -> None:
    request = {**CLIP, "model": "wan-2.1-i2v-720p", "image": FIRST, "duration_s": 5}
    job, calls = made(fresh, request)
    assert (job.state, [error["code"] for error in job.errors], calls) == (State.REFUSED, ["no_model"], [])


# ---------------------------------------------------------------- outputs in Cloud Storage


def test_veo_writes_its_clip_under_the_attempts_path_and_we_write_no_byte_of_it(
    in_cloud_storage: VendorPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, written = in_cloud_storage.services.blobs, []
    create = blobs.create

    def recorded(uri: str, *args: Any, **kwargs: Any) -> Any:
        written.append(uri)
        return create(uri, *args, **kwargs)

    monkeypatch.setattr(blobs, "create", recorded)
    job, (call,) = made(in_cloud_storage, {**CLIP, "model": "veo-3.1-fast-generate-001"})
    (piece,) = job.attempts[0].pieces
    prefix = f"gs://test-outputs/jobs/{job.job_id}/1/"
    assert job.state is State.SUCCEEDED
    assert re.fullmatch(re.escape(prefix) + r"\w+/sample_0\.mp4", piece.uri)
    assert [info.uri for info in blobs.list(prefix, limit=10)] == [piece.uri]
    assert [uri for uri in written if "health" not in uri] == []
    data = stored(piece, in_cloud_storage)
    assert data == film("{id} {n}")(call, 0)
    assert_is_clip(data, 4, audio=False)
    assert (job.spent, ledger_of(job, in_cloud_storage)) == (400_000, [400_000])


def test_an_input_picture_in_cloud_storage_is_named_to_vertex_and_not_sent(in_cloud_storage: VendorPipeline) -> None:
    request = {**CLIP, "model": "veo-3.1-fast-generate-001", "image": FIRST, "last_frame": LAST}
    job, calls = made(in_cloud_storage, request)
    assert (job.state, job.spent, len(calls)) == (State.SUCCEEDED, 400_000, 1)


def test_omni_writes_under_the_attempts_path_as_well(in_cloud_storage: VendorPipeline) -> None:
    job, (call,) = made(in_cloud_storage, {**CLIP, "model": "gemini-omni-1.1-flash-preview", "audio": True})
    (piece,) = job.attempts[0].pieces
    assert piece.uri == f"gs://test-outputs/jobs/{job.job_id}/1/{call['id']}.mp4"
    assert job.spent == by_hand(call["billed"], OMNI)


@pytest.mark.parametrize("fault", ["drop", "gateway"])
def test_a_veo_clip_whose_answer_was_lost_is_adopted_by_its_prefix(
    in_cloud_storage: VendorPipeline, fault: str
) -> None:
    in_cloud_storage.vendors.fail(fault, vendor="vertex", operation="predictLongRunning")
    job, calls = made(in_cloud_storage, {**CLIP, "model": "veo-3.1-fast-generate-001", "fallback": ["gen4.5"]})
    (attempt,) = job.attempts
    assert (job.state, len(calls), calls[0]["state"]) == (State.SUCCEEDED, 1, "delivered")
    assert attempt.pieces[0].sha256 == hashlib.sha256(film("{id} {n}")(calls[0], 0)).hexdigest()
    assert (attempt.cost_micro_usd, job.suspense, attempt.basis) == (400_000, 0, "delivered")


def test_a_lost_clip_that_never_appears_is_in_suspense_and_another_vendor_makes_it(
    in_cloud_storage: VendorPipeline, storage: CloudStorage
) -> None:
    in_cloud_storage.services.demand_outputs()
    in_cloud_storage.vendors.fail("drop", vendor="vertex", operation="predictLongRunning")
    storage.fail("POST /upload", status=403)  # the vendor's, who may not write there
    job, calls = made(in_cloud_storage, {**CLIP, "model": "veo-3.1-fast-generate-001", "fallback": ["gen4.5"]})
    assert (job.state, [a.model for a in job.attempts]) == (
        State.SUCCEEDED,
        ["veo-3.1-fast-generate-001", "gen4.5"],
    )
    assert (job.attempts[0].suspense_micro_usd, job.spent) == (400_000, 480_000)
    assert [call["model"] for call in calls] == ["veo-3.1-fast-generate-001", "gen4.5"]


# ---------------------------------------------------------------- falling back after a late failure


@pytest.mark.parametrize("minutes", [0, 5])
def test_after_a_late_failure_of_veo_another_vendor_makes_the_clip(fresh: VendorPipeline, minutes: int) -> None:
    began = fresh.clock.now()
    fresh.vendors.fail("late_failure", vendor="vertex")
    # While it cannot be asked, the operation is asked after again every ten seconds.
    fresh.vendors.fail("unavailable", operation="fetchPredictOperation", times=6 * minutes)
    job, calls = made(fresh, {**CLIP, "model": "veo-3.1-fast-generate-001", "fallback": ["runway-veo3.1_fast"]})
    first, second = job.attempts
    assert (first.state, first.error and first.error["code"], first.cost_micro_usd) == (
        AttemptState.FAILED,
        "unavailable",
        0,
    )
    assert (job.state, second.model, second.provider) == (State.SUCCEEDED, "runway-veo3.1_fast", "runway")
    assert (ledger_of(job, fresh), job.spent) == ([0, 400_000], 400_000)  # 10 credits a second without sound
    assert len(calls) == 2
    assert second.started_at is not None
    assert (second.started_at - began).total_seconds() >= 60 * minutes


def test_what_follows_a_late_failure_is_never_dearer_than_the_job_allows(fresh: VendorPipeline) -> None:
    fresh.vendors.fail("late_failure", vendor="vertex", times=9)
    chain = ["veo-3.1-generate-001", "runway-veo3.1", "gen4.5", "runway-veo3.1_fast"]  # 1.60, 0.80, 0.48, 0.40
    job, calls = made(fresh, {**CLIP, "model": "veo-3.1-fast-generate-001", "fallback": chain, "max_cost_usd": "0.50"})
    assert [a.model for a in job.attempts] == ["veo-3.1-fast-generate-001", "gen4.5"]
    assert {line["model"] for line in job.passed_over if line["code"] == "too_dear"} == set(chain[:2])
    assert (job.state, job.spent, len(calls)) == (State.SUCCEEDED, 480_000, 2)


@pytest.mark.parametrize(("fault", "spent", "suspense"), [("corrupt", 400_000, 0), ("drop", 0, 400_000)])
def test_what_the_first_try_cost_or_may_cost_is_no_longer_there_for_the_second(
    fresh: VendorPipeline, fault: str, spent: int, suspense: int
) -> None:
    fresh.vendors.fail(fault, vendor="vertex")
    request = {
        **CLIP,
        "model": "veo-3.1-fast-generate-001",
        "fallback": ["gen4.5", "runway-veo3.1_fast"],  # 0.48 fits into 0.85, but not into what is left of it
        "max_cost_usd": "0.85",
    }
    job, calls = made(fresh, request)
    assert [a.model for a in job.attempts] == ["veo-3.1-fast-generate-001", "runway-veo3.1_fast"]
    assert (job.state, job.spent, job.suspense) == (State.SUCCEEDED, spent + 400_000, suspense)
    assert len(calls) == 2


def test_a_job_with_no_money_left_after_a_late_failure_ends_unpaid(fresh: VendorPipeline) -> None:
    fresh.vendors.fail("late_failure", vendor="vertex", times=9)
    request = {
        **CLIP,
        "model": "veo-3.1-fast-generate-001",
        "fallback": ["gen4.5"],
        "max_cost_usd": "0.45",
    }
    job, calls = made(fresh, {**request, "deadline_s": 120})
    assert (job.state, job.spent, job.suspense, job.hold) == (State.FAILED, 0, 0, 0)
    assert {call["model"] for call in calls} == {"veo-3.1-fast-generate-001"}


@pytest.mark.parametrize("chain", [False, ["gen4.5"]])  # nobody else; somebody who is too dear for what is left
def test_a_model_that_is_tried_again_after_a_lost_call_has_its_price_held_again(
    fresh: VendorPipeline, chain: bool | list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []
    provider = fresh.services.provider("vertex")
    start = provider.start

    def watched(call: Call) -> Any:
        held.append(fresh.job(call.job_id).hold)
        return start(call)

    monkeypatch.setattr(provider, "start", watched)
    fresh.vendors.fail("drop", vendor="vertex")
    request = {**CLIP, "model": "veo-3.1-fast-generate-001", "fallback": chain, "max_cost_usd": "0.85"}
    job, calls = made(fresh, request)
    assert [a.model for a in job.attempts] == ["veo-3.1-fast-generate-001"] * 2
    assert min(held) >= 400_000
    assert (job.state, job.spent, job.suspense, job.hold, len(calls)) == (State.SUCCEEDED, 400_000, 400_000, 0, 2)


def test_a_lost_call_is_not_made_again_when_the_budget_of_the_day_does_not_hold_it_twice(tmp_path: Path) -> None:
    with vendor_pipeline(tmp_path, daily_budget_usd=700_000) as pipeline:
        pipeline.vendors.fail("drop", vendor="vertex")
        job, calls = made(pipeline, {**CLIP, "model": "veo-3.1-fast-generate-001"})
        assert (job.state, job.spent, job.suspense, job.hold, len(calls)) == (State.FAILED, 0, 400_000, 0, 1)
