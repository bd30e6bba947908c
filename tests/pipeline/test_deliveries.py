"""A hundred deliveries of one request make one job, one purchase and one result."""

import threading
from pathlib import Path

from shared.clock import SystemClock
from shared.domain.intake import Envelope
from tests.pipeline.harness import TEXT, Pipeline, assert_history

PATIENCE_S = 60.0


def test_a_hundred_deliveries_to_twenty_workers_make_one_job(tmp_path: Path):
    pipeline = Pipeline(tmp_path, clock=SystemClock(), workers=20)
    finished = threading.Event()
    pipeline.system._on_result = lambda result: (pipeline.results.append(result), finished.set())
    (job_id,) = pipeline.submit({**TEXT, "request_id": "r1"}, copies=100)
    pipeline.system.start()
    assert finished.wait(PATIENCE_S)
    pipeline.system.stop()
    pipeline.settle()

    assert_history(pipeline.job(job_id))
    assert [call["job_id"] for call in pipeline.calls()] == [job_id]
    assert len(pipeline.services.ledger.of_job(job_id)) == 1
    assert [result["type"] for result in pipeline.results] == ["job.succeeded"]
    assert pipeline.audit().jobs == 1
    pipeline.assert_sound()


def test_all_events_of_a_finished_job_once_more_change_nothing(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    request = {**TEXT, "request_id": "r1"}
    (job,) = pipeline.run(request)
    pipeline.settle()
    before = pipeline.services.documents.get([f"jobs/{job.job_id}", *job.scopes])
    stages = ("generate", "quality_check", "record_cost", "fallback")
    for attempt in (1, 2):
        pipeline.deliver("validate", request, attempt=attempt)
        for function in stages:
            for seq in range(1, job.seq):
                pipeline.deliver(function, {"job_id": job.job_id, "seq": seq, "attempt": 1}, attempt=attempt)
        pipeline.deliver("record_cost", {"job_id": job.job_id, "seq": job.seq, "settle": True})
        pipeline.end(job.job_id)
    pipeline.settle()

    assert pipeline.services.documents.get([f"jobs/{job.job_id}", *job.scopes]) == before
    assert len(pipeline.calls()) == 1
    assert len(pipeline.results) == 1
    assert Envelope(request, "").job_id == job.job_id
    pipeline.assert_sound()


def test_every_event_carries_kind_tenant_and_trace_for_filters(tmp_path: Path):
    pipeline = Pipeline(tmp_path)
    seen = []
    publish = pipeline.services.bus.publish
    pipeline.services.bus.publish = lambda messages: (seen.extend(messages), publish(messages))
    (job,) = pipeline.run({**TEXT, "request_id": "r", "tenant": "museum"})
    batons = {m.topic: m.attributes for m in seen if m.topic in {"generate", "quality-check", "record-cost"}}
    assert len(batons) == 3
    for attributes in batons.values():
        assert attributes == {"kind": "text", "tenant": "museum", "trace": job.trace}
