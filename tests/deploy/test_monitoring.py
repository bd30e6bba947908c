"""Alerts, objectives and panels against what real runs measure: a name that nothing measures makes no alert."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from functions.__main__ import _parser
from shared.metrics import METRICS
from tests.deploy.promql import (
    GOOGLES,
    Matcher,
    Selector,
    declared,
    grouped_by,
    is_balanced,
    selectors,
    windows_s,
)
from tests.deploy.recorders import Seen

INFRA = Path(__file__).parents[2] / "infra"
TABLE = json.loads((INFRA / "monitoring.json").read_text("utf-8"))
ALERTS, SLOS, PANELS = TABLE["alerts"], TABLE["slos"], TABLE["panels"]
README = (INFRA.parent / "README.md").read_text("utf-8")
ALERTS_OF_README = re.compile(r"<!-- table: alerts -->.*?<!-- end of table -->", re.DOTALL)
PLACES = {"JOB": "x", "MODEL": "x", "NAME": "x", "SECONDS": "1", "USD": "1"}
HOUR_S = 3600

# What we ask of Google's metrics; whose events wait is asked of every function (test_alerts.py).
VALUES: Mapping[str, set[str]] = {"service_name": {"atelier-.*"}, "response_code": {"500", "502", "504"}}

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


def _expressions() -> Iterator[Any]:
    for name, alert in ALERTS.items():
        yield pytest.param(alert["expr"], id=f"alert {name}")
    for panel in PANELS:
        for query in panel["queries"]:
            yield pytest.param(query["expr"], id=f"panel {panel['title']}: {query['legend']}")


EXPRESSIONS = list(_expressions())


# ---------------------------------------------------------------- what is asked is what is measured


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_and_value_that_is_asked_for_was_measured_in_a_real_run(expression: str, seen: Seen):
    for selector in selectors(expression):
        if selector.metric in GOOGLES:
            _check_googles(selector)
        else:
            _check_ours(selector, seen)


def _check_googles(selector: Selector) -> None:
    resource, _ = GOOGLES[selector.metric]
    first, *others = selector.matchers
    assert first == Matcher("monitored_resource", True, (resource,))
    for matcher in others:
        assert matcher.label == "subscription_id" or set(matcher.values) == VALUES[matcher.label], matcher


def _check_ours(selector: Selector, seen: Seen) -> None:
    name, _ = declared(selector.metric)
    first, *others = selector.matchers
    assert first == Matcher("monitored_resource", True, ("generic_task",))
    series = [dict(labels) for labels in seen.series[name]]
    for matcher in others:
        assert set(matcher.values) <= {labels[matcher.label] for labels in series}, matcher
    assert any(all(m.admits(labels[m.label]) for m in others) for labels in series), selector


@pytest.mark.parametrize("name", SLOS)
def test_every_objective_counts_what_was_measured_in_a_real_run(name: str, seen: Seen):
    parts = [SLOS[name][part] for part in ("good", "bad", "distribution") if part in SLOS[name]]
    assert parts
    for part in parts:
        wanted = set(part["labels"].items())
        assert any(wanted <= labels for labels in seen.series[part["metric"]]), part
        is_cut = part is SLOS[name].get("distribution")
        assert METRICS[part["metric"]].kind == ("distribution" if is_cut else "counter")


def test_every_declared_metric_was_measured_so_that_nothing_is_left_out_of_the_recording(seen: Seen):
    assert set(seen.series) == set(METRICS)


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


def test_every_command_of_a_runbook_can_be_given_as_it_stands_there():
    told = [row[part] for row in (*ALERTS.values(), *SLOS.values()) for part in ("means", "do")]
    commands = _commands("\n".join([*told, *ALERTS_OF_README.findall(README)]))
    assert len(commands) > 5
    for command in commands:
        _parser().parse_args(_given(command))


def test_a_command_that_would_be_refused_is_noticed(capsys: pytest.CaptureFixture[str]):
    for command in ("budget all --limits USD", "budget all --limit NAME", "replays JOB", "health JOB", "explain"):
        with pytest.raises(SystemExit):
            _parser().parse_args(_given(command))
    assert capsys.readouterr().err.count("error: ") == 5


def _commands(text: str) -> set[str]:
    """Every command line in it, without `python -m functions`."""
    named = set(re.findall(r"`python -m functions ([^`]+)`", text))
    assert text.count("-m functions ") == len(re.findall(r"`python -m functions [^`]+`", text))
    return named


def _given(command: str) -> list[str]:
    """A command with something in each of its places."""
    return [re.sub(r"\b[A-Z]{3,}\b", lambda place: PLACES[place[0]], word) for word in command.split()]


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
