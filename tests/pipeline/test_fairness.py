"""A model with a limit: who waits for it is served by priority, ages, and shares it with other tenants."""

from collections import Counter
from pathlib import Path

import pytest

from shared.clock import ManualClock
from shared.ports import Json
from tests.pipeline.harness import TEXT, Pipeline

MODEL = "offline-text-lite"
PER_MINUTE = 60
LONG = 43_200  # seconds; longer than any of these queues


def limited(tmp_path: Path, per_minute: int = PER_MINUTE, tick_s: float = 1.0) -> Pipeline:
    (tmp_path / "own.toml").write_text(f'[[model]]\nid = "{MODEL}"\nrpm = {per_minute}\n')
    return Pipeline(tmp_path / "home", clock=ManualClock(), catalogue=str(tmp_path / "own.toml"), tick_s=tick_s)


def request(number: int, tenant: str = "one", priority: str = "normal") -> Json:
    prompt = f"{TEXT['prompt']}, number {number} of {tenant}"
    own = {"request_id": f"r{number}", "tenant": tenant, "priority": priority, "prompt": prompt}
    return {**TEXT, **own, "model": MODEL, "fallback": False, "deadline_s": LONG}


def order_of(pipeline: Pipeline, ids: list[str]) -> list[str]:
    """The ids of all these jobs in the order in which the vendor was called for them."""
    pipeline.drain(pipeline._watch(ids), rounds=500_000)
    order = [call["job_id"] for call in pipeline.calls()]
    assert sorted(order) == sorted(ids)
    return order


@pytest.mark.slow
def test_tenants_share_a_limited_model_equally_whatever_their_backlogs(tmp_path: Path):
    pipeline = limited(tmp_path, tick_s=5.0)
    backlog = {"large": 500, "middle": 300, "small": 200}
    tenant_of = {}
    for tenant, jobs in backlog.items():
        tenant_of |= dict.fromkeys(pipeline.submit(*(request(n, tenant) for n in range(jobs))), tenant)
    order = order_of(pipeline, list(tenant_of))
    first_minute = PER_MINUTE  # what is granted before anybody has to wait goes to whoever came first
    shared = Counter(tenant_of[job_id] for job_id in order[first_minute : first_minute + 420])
    fair = 420 / len(backlog)
    assert {tenant: n for tenant, n in shared.items() if abs(n - fair) > 0.1 * fair} == {}
    created = pipeline.jobs(order[:1])[0].created_at
    last = max(job.finished_at for job in pipeline.jobs(order) if job.finished_at)
    assert (last - created).total_seconds() / 60 <= 1.25 * len(order) / PER_MINUTE


def test_high_jobs_overtake_those_that_wait(tmp_path: Path):
    pipeline = limited(tmp_path, per_minute=20)
    normal = pipeline.submit(*(request(n) for n in range(120)))
    pipeline.drain(lambda: len(pipeline.calls()) >= 40)
    high = pipeline.submit(*(request(1000 + n, priority="high") for n in range(10)))
    at = len(pipeline.calls())
    order = order_of(pipeline, [*normal, *high])
    assert max(order.index(job_id) for job_id in high) < at + 2 * 20


def test_a_low_job_is_overtaken_for_a_bounded_time_only(tmp_path: Path):
    pipeline = limited(tmp_path, per_minute=6)
    pipeline.submit(*(request(n) for n in range(12)))
    pipeline.drain(lambda: len(pipeline.calls()) == 6)
    (low,) = pipeline.submit(request(50, priority="low"))
    # As many new ones each minute as are served: a low job that did not age would wait for ever.
    for minute in range(40):
        pipeline.submit(*(request(100 + 10 * minute + n) for n in range(6)))
        wanted = len(pipeline.calls()) + 6
        pipeline.drain(lambda until=wanted: len(pipeline.calls()) >= until)
        if pipeline.finished([low]):
            break
    job = pipeline.job(low)
    overtaken_by = [call["job_id"] for call in pipeline.calls()].index(low) - 12
    assert overtaken_by >= 6 * 8
    assert job.finished_at is not None
    assert (job.finished_at - job.created_at).total_seconds() <= 15 * 60
