"""What is measured of each vendor and model while jobs run."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from shared.adapters.log_metrics import LogMetrics
from tests.pipeline.harness import TEXT
from tests.pipeline.vendors import VendorPipeline, vendor_pipeline

FIRST, SECOND = "gemini-3.5-flash-lite", "gpt-oss-120b"
REQUEST = {**TEXT, "model": FIRST, "fallback": [SECOND]}


class Measured(LogMetrics):
    """Keeps every measurement, as (name, labels without those that are alike everywhere)."""

    def __init__(self) -> None:
        super().__init__()
        self.sums: Counter[tuple[str, ...]] = Counter()
        self.last: dict[tuple[str, ...], float] = {}

    def record(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        super().record(name, value, labels)
        key = (name, *(labels[label] for label in sorted(labels)))
        self.sums[key] += value  # type: ignore[assignment]
        self.last[key] = value


def measured(pipeline: VendorPipeline) -> Measured:
    """Replace the sink of a pipeline that has not run yet."""
    sink = Measured()
    pipeline.services._built["metrics"] = sink
    return sink


def test_requests_errors_latency_tokens_cost_fallbacks_and_cache_hits_are_told_by_vendor_and_model(tmp_path: Path):
    with vendor_pipeline(tmp_path) as pipeline:
        sink = measured(pipeline)
        pipeline.vendors.fail("unavailable", vendor="vertex")
        (job,) = pipeline.run({**REQUEST, "request_id": "r1"})
        pipeline.run({**REQUEST, "request_id": "r2"})
    usage = job.attempts[-1].usage
    # Labels in the order of their names: model, operation, outcome, provider.
    assert sink.sums["provider_requests", FIRST, "start", "unavailable", "vertex"] == 1
    assert sink.sums["provider_requests", SECOND, "start", "done", "huggingface"] == 1
    assert {key[1] for key in sink.sums if key[0] == "provider_duration"} == {FIRST, SECOND}
    assert sink.sums["tokens", SECOND, "huggingface", "output_token"] == usage["output_token"]
    assert sink.sums["tokens", SECOND, "huggingface", "input_token"] == usage["input_token"]
    assert sink.sums["spend", SECOND, "huggingface"] == job.spent > 0
    assert sink.sums["fallbacks", "text", FIRST, "vertex", "unavailable"] == 1
    assert sink.sums["cache_answers", "hit", "text", SECOND, "huggingface"] == 1


def test_parked_jobs_and_the_state_of_every_breaker_are_told_by_vendor_and_model(tmp_path: Path):
    (tmp_path / "own.toml").write_text(f'[[model]]\nid = "{FIRST}"\nrpm = 1\n')
    with vendor_pipeline(tmp_path / "home", catalogue=str(tmp_path / "own.toml")) as pipeline:
        sink = measured(pipeline)
        for _ in range(3):
            pipeline.services.breakers.failed(SECOND, None)
        pipeline.services.breakers.disable("llama-3.3-70b", "404")
        requests = [{**REQUEST, "fallback": False, "cache": "off", "request_id": f"r{n}"} for n in range(2)]
        pipeline.tick()
        # A model of which nothing was ever noted has no breaker yet.
        assert sink.last["breaker_state", SECOND, "huggingface"] == 2
        pipeline.run(*requests)
        pipeline.clock.advance(61)
        pipeline.tick()
    assert sink.sums["parked", FIRST, "vertex", "no_capacity"] >= 1
    # Its pause is over: that nobody asks for the model is no reason for an alarm that never ends.
    assert sink.last["breaker_state", SECOND, "huggingface"] == 1
    assert sink.last["breaker_state", "llama-3.3-70b", "huggingface"] == 3
