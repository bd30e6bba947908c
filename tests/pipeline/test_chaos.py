"""A bus that duplicates, delays, reorders and drops acks, and a vendor that fails: every job ends exactly once."""

from collections import Counter
from pathlib import Path

import pytest

from shared.adapters.chaos import Chaos
from shared.domain.job import State
from tests.pipeline.harness import IMAGE, TEXT, Pipeline, assert_history

SEEDS = range(20)
JOBS = 1000
FAULTS = {"unavailable": 0.01, "blocked": 0.01, "ambiguous": 0.01, "partial": 0.01}


def storm(seed: int) -> Chaos:
    return Chaos(seed, duplicate=0.1, delay=0.1, reorder=0.1, lose_ack=0.1, max_delay_s=5.0)


def check(pipeline: Pipeline, ids: list[str]) -> Counter[State]:
    jobs = pipeline.jobs(ids)
    for job in jobs:
        assert_history(job)
    pipeline.assert_sound()
    ends = {(r["job_id"], r["type"]) for r in pipeline.results}
    assert ends == {(job.job_id, f"job.{job.state}") for job in jobs}
    return Counter(job.state for job in jobs)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_text_job_ends_once_and_every_cent_is_explained(tmp_path: Path, seed: int):
    pipeline = Pipeline(tmp_path, chaos=storm(seed), offline_faults={**FAULTS, "seed": seed})
    requests = [{**TEXT, "request_id": f"r{n}", "prompt": f"{TEXT['prompt']}, {n}"} for n in range(JOBS)]
    jobs = pipeline.run(*requests)
    pipeline.drain(lambda: len({r["job_id"] for r in pipeline.results}) == JOBS)
    states = check(pipeline, [job.job_id for job in jobs])
    assert states[State.SUCCEEDED] > 0.95 * JOBS
    assert states[State.SUCCEEDED] + states[State.FAILED] == JOBS
    assert all(job.errors[0]["code"] == "blocked" for job in jobs if job.state is State.FAILED)


@pytest.mark.parametrize("seed", range(2))
def test_every_image_job_ends_once(tmp_path: Path, seed: int):
    faults = {"corrupt_output": 0.2, "ambiguous": 0.2, "unavailable": 0.1, "seed": seed}
    pipeline = Pipeline(tmp_path, chaos=storm(seed), offline_faults=faults)
    requests = [{**IMAGE, "request_id": f"r{n}", "seed": n, "prefer": "cost"} for n in range(8)]
    jobs = pipeline.run(*requests)
    pipeline.drain(lambda: len({r["job_id"] for r in pipeline.results}) == len(requests))
    check(pipeline, [job.job_id for job in jobs])
