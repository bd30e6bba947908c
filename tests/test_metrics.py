import re
from pathlib import Path

import pytest

from shared.metrics import METRICS, check

SOURCES = [path for folder in ("functions", "shared") for path in (Path(__file__).parents[1] / folder).rglob("*.py")]
RECORDED = re.compile(r'\.record\(\s*"(\w+)"')


def recorded():
    return {name for path in SOURCES for name in RECORDED.findall(path.read_text("utf-8"))}


def test_every_metric_that_is_recorded_is_declared():
    assert recorded() <= set(METRICS)


def test_every_metric_that_is_declared_is_recorded():
    assert set(METRICS) <= recorded()


def test_a_declared_metric_with_its_labels_is_returned():
    assert check("spend", {"provider": "offline", "model": "m"}) is METRICS["spend"]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("spent", {}),
        ("spend", {}),
        ("spend", {"provider": "p"}),
        ("spend", {"provider": "p", "model": "m", "job": "j"}),
    ],
)
def test_an_undeclared_metric_or_label_is_an_error(name, labels):
    with pytest.raises(ValueError, match=name):
        check(name, labels)


def test_no_label_is_an_id_or_a_person():
    forbidden = {"job_id", "request_id", "message_id", "tenant", "user", "prompt"}
    assert not [m.name for m in METRICS.values() if forbidden & set(m.labels)]


def test_every_meaning_is_a_sentence_and_every_time_has_its_unit():
    for metric in METRICS.values():
        assert metric.meaning.endswith("."), metric.name
        assert (metric.unit in {"s", "ms"}) == metric.name.endswith("duration"), metric.name
