"""What real runs measure: every series, by metric and labels, of jobs that end in every way they can."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from shared.adapters.log_metrics import LogMetrics
from shared.errors import StoreUnavailable, StoreUnusable
from shared.ports import Json
from tests.pipeline.harness import IMAGE, TEXT, VIDEO, Pipeline
from tests.pipeline.test_outages import Failing
from tests.pipeline.vendors import vendor_pipeline

DRAFT, LITE = "offline-image-draft", "offline-text-lite"
HASTY: Json = {"cache": "off", "fallback": False}
FAULTS: Mapping[str, Json] = {  # of a vendor's answer, and whom they hit
    "unavailable": {**TEXT, "model": "gemini-3.5-flash-lite"},
    "rate_limited": {**TEXT, "model": "gpt-oss-120b"},
    "retired": {**IMAGE, "size": "1K", "model": "gemini-3.1-flash-lite-image"},
    "credits": {**IMAGE, "size": "1K", "model": "flux-schnell"},
}


class Emitted(LogMetrics):
    """A sink that keeps which series there are: name → the label sets that were measured."""

    def __init__(self) -> None:
        self.series: dict[str, set[frozenset[tuple[str, str]]]] = {}

    def record(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        super().record(name, value, labels)
        self.series.setdefault(name, set()).add(frozenset(labels.items()))


def record(home: Path) -> Emitted:
    """Run jobs of all kinds with and without faults, repeat some, lose some, and let stores fail."""
    sink = Emitted()
    _examples(home / "all", sink)
    _doubtful(home / "doubtful", sink)
    _parked(home / "parked", sink)
    _lost(home / "lost", sink)
    _vendors(home / "vendors", sink)
    return sink


def _measured(pipeline: Pipeline, sink: Emitted) -> Pipeline:
    pipeline.services._built["metrics"] = sink
    return pipeline


def _examples(home: Path, sink: Emitted) -> None:
    """Every kind twice at the same time and once more when the answer is there, a plain piece, and a refusal."""
    pipeline = _measured(Pipeline(home), sink)
    for kind in (TEXT, IMAGE, VIDEO):
        twins = [{**kind, "request_id": f"{kind['kind']}-{n}"} for n in range(3)]
        pipeline.run(*twins[:2])
        pipeline.run(twins[2])
    pipeline.run({**IMAGE, "request_id": "plain", "model": DRAFT}, {"kind": "text", "request_id": "refused"})
    pipeline.tick()


def _doubtful(home: Path, sink: Emitted) -> None:
    """Calls whose fate is unknown, and pieces that are rejected."""
    faults = {"ambiguous": 1, "models": [DRAFT]}
    pipeline = _measured(Pipeline(home, offline_faults=faults), sink)
    pipeline.run({**IMAGE, **HASTY, "request_id": "a", "model": DRAFT})
    faults = {"corrupt_output": 1, "models": [DRAFT]}
    pipeline = _measured(Pipeline(home / "corrupt", offline_faults=faults), sink)
    pipeline.run({**IMAGE, "request_id": "a", "model": DRAFT})


def _parked(home: Path, sink: Emitted) -> None:
    home.mkdir(parents=True)
    (home / "own.toml").write_text(f'[[model]]\nid = "{LITE}"\nrpm = 1\n')
    pipeline = _measured(Pipeline(home, catalogue=str(home / "own.toml"), tick_s=5.0), sink)
    pipeline.run(*({**TEXT, **HASTY, "model": LITE, "request_id": f"{n}"} for n in range(2)))


def _lost(home: Path, sink: Emitted) -> None:
    """An event that is lost again and again, one that is given up, and a store that does not answer."""
    pipeline = _measured(Pipeline(home, stale_s=10.0), sink)
    pipeline.submit({**TEXT, "request_id": "lost"})
    for _ in range(4):
        _lose_everything(pipeline)
        pipeline.clock.sleep(11)
        pipeline.tick()
    given_up = {"CloudPubSubDeadLetterSourceSubscription": "generate"}
    pipeline.deliver("on_dead_letter", {**TEXT, "request_id": "dead"}, attributes=given_up)
    for error in (StoreUnavailable("no answer"), StoreUnusable("no role")):
        Failing(pipeline.services.documents, "commit", error, _always, after=False)
        with suppress(StoreUnavailable):
            pipeline.deliver("validate", {**TEXT, "request_id": "unlucky"})


def _lose_everything(pipeline: Pipeline) -> None:
    if "validate" in pipeline.system.bus.backlog():
        pipeline.step("validate")
    while deliveries := pipeline.system.bus.lease(pipeline.system._subscriptions, 100):
        pipeline.system.bus.ack(deliveries)


def _always(_: object) -> bool:
    return True


def _vendors(home: Path, sink: Emitted) -> None:
    """One job per fault of a vendor's answer."""
    with vendor_pipeline(home) as pipeline:
        _measured(pipeline, sink)
        for fault, request in FAULTS.items():
            pipeline.vendors.fail(fault)
            pipeline.run({**request, **HASTY, "request_id": fault})
        pipeline.tick()
