"""What every metric sink does, whatever is behind it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from shared.metrics import METRICS

from .conftest import SinkBench, Together

STAGE = {"stage": "generate"}
VENDOR = {"provider": "offline", "model": "offline-image"}


@pytest.mark.parametrize("name", METRICS)
def test_every_declared_metric_is_accepted_and_can_be_read_back(sink: SinkBench, name: str) -> None:
    labels = dict.fromkeys(METRICS[name].labels, "x")
    sink.port.record(name, 3, labels)
    wanted = {"counter": {"total": 3}, "gauge": {"last": 3}, "distribution": {"count": 1, "mean": 3}}
    assert sink.read(name, labels) == wanted[METRICS[name].kind]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("spent", {}),
        ("", {}),
        ("spend", {}),
        ("spend", {"provider": "p"}),
        ("spend", {**VENDOR, "job": "j"}),
        ("jobs_due", {"scope": "all"}),
    ],
)
def test_an_undeclared_metric_or_label_is_an_error(sink: SinkBench, name: str, labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="metric"):
        sink.port.record(name, 1, labels)


def test_a_counter_adds_up(sink: SinkBench) -> None:
    for amount in (1, 20, 0, 300):
        sink.port.record("spend", amount, VENDOR)
    assert sink.read("spend", VENDOR) == {"total": 321}
    sink.port.record("spend", 4_000, VENDOR)
    assert sink.read("spend", VENDOR) == {"total": 4_321}


def test_a_large_amount_is_exact(sink: SinkBench) -> None:
    sink.port.record("spend", 9_007_199_254_740_993, VENDOR)
    assert sink.read("spend", VENDOR) == {"total": 9_007_199_254_740_993}


def test_a_gauge_is_what_was_last_said(sink: SinkBench) -> None:
    for share in (0.25, 0.75, 0.5):
        sink.port.record("budget_used", share, {"scope": "all"})
    assert sink.read("budget_used", {"scope": "all"}) == {"last": 0.5}


def test_a_distribution_knows_how_many_and_their_mean(sink: SinkBench) -> None:
    for took_ms in (0, 1.5, 40, 1e7):
        sink.port.record("stage_duration", took_ms, STAGE)
    assert sink.read("stage_duration", STAGE) == pytest.approx({"count": 4, "mean": 10_000_041.5 / 4})


def test_every_label_set_is_a_series_of_its_own(sink: SinkBench) -> None:
    sink.port.record("stage_errors", 1, {"stage": "validate", "error": "EventAhead"})
    sink.port.record("stage_errors", 2, {"stage": "generate", "error": "EventAhead"})
    sink.port.record("stage_errors", 4, {"error": "KeyError", "stage": "generate"})
    assert sink.read("stage_errors", {"stage": "generate", "error": "EventAhead"}) == {"total": 2}
    assert sink.read("stage_errors", {"stage": "generate", "error": "KeyError"}) == {"total": 4}
    assert sink.read("stage_errors", {"stage": "ops", "error": "KeyError"}) == {}


def test_labels_may_be_any_text(sink: SinkBench) -> None:
    labels = {"provider": "", "model": 'Zürich 東京 🎨 " \\ \n'}
    sink.port.record("spend", 1, labels)
    assert sink.read("spend", labels) == {"total": 1}


def test_the_callers_labels_are_left_alone_and_not_kept(sink: SinkBench) -> None:
    labels = dict(STAGE)
    sink.port.record("stage_duration", 1, labels)
    assert labels == STAGE
    labels["stage"] = "other"
    assert sink.read("stage_duration", STAGE) == {"count": 1, "mean": 1}


@pytest.fixture
def _hasty_threads() -> Iterator[None]:
    """Let threads take turns in the middle of everything."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_hasty_threads")
def test_threads_lose_nothing(sink: SinkBench, together: Together) -> None:
    def work(number: int) -> None:
        for n in range(500):
            sink.port.record("spend", number, VENDOR)
            sink.port.record("stage_duration", n, STAGE)
            if n % 100 == 0:
                sink.port.flush()

    assert together(8, work) == [None] * 8
    assert sink.read("spend", VENDOR) == {"total": 500 * sum(range(8))}
    assert sink.read("stage_duration", STAGE) == pytest.approx({"count": 4_000, "mean": 249.5})


def test_a_flush_of_nothing_does_nothing(sink: SinkBench) -> None:
    for _ in range(3):
        sink.port.flush()
    assert sink.read("jobs_due", {}) == {}


def test_a_broken_back_end_never_raises(sink: SinkBench) -> None:
    sink.port.record("jobs_due", 1, {})
    sink.break_back_end()
    for _ in range(3):
        sink.port.record("jobs_due", 1, {})
        sink.port.flush()
    with pytest.raises(ValueError, match="metric"):
        sink.port.record("undeclared", 1, {})
