"""Alerts, objectives and panels against what real runs measure: a name that nothing emits makes no alert."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from functions.__main__ import main
from shared.adapters import wiring
from shared.adapters.cloud_monitoring import TYPE_PREFIX
from shared.metrics import METRICS
from tests.deploy.emitted import Emitted, record
from tests.deploy.promql import Matcher, Selector, grouped_by, is_balanced, selectors, windows_s

INFRA = Path(__file__).parents[2] / "infra"
TABLE = json.loads((INFRA / "monitoring.json").read_text("utf-8"))
ALERTS, SLOS, PANELS = TABLE["alerts"], TABLE["slos"], TABLE["panels"]
HOUR_S = 3600

FUNCTIONS = {name for name, row in wiring.functions().items() if "topic" in row["trigger"]}
# Google's own metrics: the resource and labels of each, from the page that lists them, and the values we compare with.
GOOGLES: Mapping[str, tuple[str, Mapping[str, set[str]]]] = {
    # cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-pubsub
    "pubsub_googleapis_com:subscription_oldest_unacked_message_age": (
        "pubsub_subscription",
        {"subscription_id": FUNCTIONS},
    ),
    # cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-run
    "run_googleapis_com:request_count": (
        "cloud_run_revision",
        {"service_name": {"atelier-.*"}, "response_code": {"500", "502", "504"}},
    ),
}
HISTOGRAM = ("_bucket", "_sum", "_count")

REQUIRED_ALERTS = {
    *("budget_warning", "budget_critical", "quality_low", "latency_image", "latency_text", "latency_video"),
    *("provider_errors", "fallback_rate", "cache_hit_rate", "dead_letters", "stuck_jobs", "spend_anomaly"),
    *("queue_age", "functions_failing", "suspense", "tick_missing"),
}
REQUIRED_PANELS = (
    *("Pipeline duration", "Quality score", "Daily cost by model", "Errors by class", "Jobs today", "Cost today"),
    *("Budgets", "Breaker states", "Queue age", "Fallback rate", "Cache hit rate", "Parked", "Tokens"),
    *("Provider latency", "Spend per hour"),
)


@pytest.fixture(scope="session")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> Emitted:
    return record(tmp_path_factory.mktemp("emitted"))


def _expressions() -> Iterator[Any]:
    for name, alert in ALERTS.items():
        yield pytest.param(alert["expr"], id=f"alert {name}")
    for panel in PANELS:
        for query in panel["queries"]:
            yield pytest.param(query["expr"], id=f"panel {panel['title']}: {query['legend']}")


EXPRESSIONS = list(_expressions())


# ---------------------------------------------------------------- what is asked is what is measured


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_label_and_value_that_is_asked_for_was_emitted_by_a_real_run(expression: str, emitted: Emitted):
    asked = list(selectors(expression))
    assert asked
    for selector in asked:
        if selector.metric in GOOGLES:
            _check_googles(selector)
        else:
            _check_ours(selector, emitted)
    assert grouped_by(expression) <= set.union(*map(_labels_of, asked)) | {"le"}


def _check_googles(selector: Selector) -> None:
    resource, known = GOOGLES[selector.metric]
    first, *others = selector.matchers
    assert first == Matcher("monitored_resource", True, (resource,))
    for matcher in others:
        assert set(matcher.values) == known[matcher.label], matcher


def _check_ours(selector: Selector, emitted: Emitted) -> None:
    name = _name_of(selector.metric)
    first, *others = selector.matchers
    assert first == Matcher("monitored_resource", True, ("generic_task",))
    series = [dict(labels) for labels in emitted.series[name]]
    for matcher in others:
        assert matcher.label in METRICS[name].labels
        assert set(matcher.values) <= {labels[matcher.label] for labels in series}, matcher
    assert any(all(m.admits(labels[m.label]) for m in others) for labels in series), selector


def _name_of(metric: str) -> str:
    """The declared name of a metric as PromQL calls it; a histogram is asked for by its parts, nothing else is."""
    found = re.fullmatch(re.escape(_mapped(TYPE_PREFIX)) + r"(\w+?)(_bucket|_sum|_count)?", metric)
    assert found, metric
    assert (METRICS[found[1]].kind == "distribution") is (found[2] in HISTOGRAM), metric
    return found[1]


def _mapped(metric_type: str) -> str:
    """Source: "Mapping Cloud Monitoring metric names to PromQL", cloud.google.com/monitoring/promql/promql-mapping."""
    domain, _, path = metric_type.partition("/")
    return re.sub(r"\W", "_", domain) + ":" + re.sub(r"\W", "_", path)


def _labels_of(selector: Selector) -> set[str]:
    known = GOOGLES.get(selector.metric)
    return set(known[1]) if known else set(METRICS[_name_of(selector.metric)].labels)


@pytest.mark.parametrize("name", SLOS)
def test_every_objective_counts_what_was_emitted_by_a_real_run(name: str, emitted: Emitted):
    parts = [SLOS[name][part] for part in ("good", "bad", "distribution") if part in SLOS[name]]
    assert parts
    for part in parts:
        wanted = set(part["labels"].items())
        assert any(wanted <= labels for labels in emitted.series[part["metric"]]), part
        is_cut = part is SLOS[name].get("distribution")
        assert METRICS[part["metric"]].kind == ("distribution" if is_cut else "counter")


def test_every_declared_metric_was_emitted_so_that_nothing_is_left_out_of_the_recording(emitted: Emitted):
    assert set(emitted.series) == set(METRICS)


# ---------------------------------------------------------------- expressions


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_bracket_and_quote_is_closed(expression: str):
    assert is_balanced(expression)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_looks_no_further_back_than_conditions_may(name: str):
    """Source: "Limitations", cloud.google.com/monitoring/alerts/using-promql: 24 h, and 25 h with the duration."""
    furthest = max(windows_s(ALERTS[name]["expr"]), default=0)
    assert furthest <= 24 * HOUR_S
    assert furthest + ALERTS[name]["for_s"] <= 25 * HOUR_S


@pytest.mark.parametrize("name", [name for name, alert in ALERTS.items() if " / (" in alert["expr"]])
def test_a_ratio_is_only_asked_of_enough_traffic(name: str):
    assert re.search(r"\) > \d+\)$", ALERTS[name]["expr"])


def test_panels_are_titled_by_labels_that_are_left():
    for panel in PANELS:
        for query in panel["queries"]:
            assert query["legend"]
            assert set(re.findall(r"\{\{(\w+)\}\}", query["legend"])) == grouped_by(query["expr"]) - {"le"}


def test_every_panel_has_another_title():
    titles = [panel["title"] for panel in PANELS]
    assert len(titles) == len(set(titles))


# ---------------------------------------------------------------- the table's own rules


def test_the_alerts_and_panels_that_are_needed_exist():
    assert set(ALERTS) >= REQUIRED_ALERTS
    titles = [panel["title"] for panel in PANELS]
    assert [name for name in REQUIRED_PANELS if not any(title.startswith(name) for title in titles)] == []


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_it_means_and_what_to_do(name: str):
    alert = ALERTS[name]
    assert re.fullmatch(r"[a-z][a-z_]*", name)  # it becomes the name of a Prometheus rule
    assert ("above" in alert) != ("below" in alert)
    assert alert["severity"] in {"WARNING", "ERROR", "CRITICAL"}
    assert alert["unit"] in {"1", "ratio", "s", "USD"}
    assert alert["for_s"] % 60 == 0
    for text in (alert["means"], alert["do"]):
        assert text.endswith(".")


def test_every_command_in_a_runbook_exists(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--help"])
    known = set(re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE))
    named = {
        word for row in (*ALERTS.values(), *SLOS.values()) for word in re.findall(r"-m functions (\w+)", row["do"])
    }
    assert named
    assert named <= known


def test_an_objective_can_burn_as_fast_as_its_alert_asks():
    """A rate of 14.4 is out of reach where more than a fourteenth of all jobs may miss the objective anyway."""
    for slo in SLOS.values():
        for burn in TABLE["burn_rates"].values():
            assert burn["rate"] * (1 - slo["goal"]) < 1


def test_an_objective_and_the_alert_of_the_same_kind_have_the_same_threshold():
    for kind in ("image", "text", "video"):
        assert SLOS[f"{kind}_in_time"]["at_most"] == ALERTS[f"latency_{kind}"]["above"]
        assert SLOS[f"{kind}_in_time"]["distribution"]["labels"]["kind"] == kind


def test_a_bracket_that_is_not_closed_is_noticed():
    assert is_balanced("sum (a[5m])")
    for broken in ("sum (a[5m]", "sum a[5m])", "a{b='c}", "(a]"):
        assert not is_balanced(broken)
