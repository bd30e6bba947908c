"""Metrics, alerts, objectives and dashboards: what the code declares, the table says and Terraform would make."""

import json
import re
from collections.abc import Iterator

from functions import _dashboards
from shared.adapters.cloud_monitoring import TYPE_PREFIX
from shared.metrics import METRICS
from shared.settings import Settings
from tests.bench import bench_month
from tests.deploy.promql import grouped_by, labels_of, selectors
from tests.deploy.tree import VARIABLES, Tree, Values

_FILTER = re.compile(r'metric\.type = "([^"]+)"|resource\.type = "generic_task"|metric\.labels\.(\w+) = .+')


# ---------------------------------------------------------------- metrics


def test_terraform_declares_exactly_the_metrics_that_the_code_declares(tree: Tree) -> None:
    made = tree.each("google_monitoring_metric_descriptor.this").values()
    assert {(d["type"], d["unit"], frozenset(label["key"] for label in d["labels"])) for d in made} == {
        (TYPE_PREFIX + m.name, _dashboards.descriptor(m)["unit"], frozenset(m.labels)) for m in METRICS.values()
    }
    for name, one in tree.each("google_monitoring_metric_descriptor.this").items():
        wanted = _dashboards.descriptor(METRICS[name])
        assert (one["metric_kind"], one["value_type"]) == (wanted["kind"], wanted["value_type"]), name


def test_what_is_made_of_the_declarations_is_up_to_date(tree: Tree) -> None:
    for name, document in _dashboards.contents(tree.json("infra/monitoring.json")).items():
        assert tree.text(f"infra/{name}") == _dashboards.text_of(document), f"{name}: python -m functions dashboards"


def test_every_question_asks_for_metrics_and_labels_that_are_declared(tree: Tree) -> None:
    for question in _questions(tree):
        asked = {selector: labels_of(selector.metric) for selector in selectors(question)}
        assert asked, question
        for selector, labels in asked.items():
            assert {matcher.label for matcher in selector.matchers} <= labels | {"monitored_resource"}, question
        assert grouped_by(question) <= set.union(*asked.values()), question


def test_a_question_about_waiting_events_names_all_functions_that_get_any(tree: Tree) -> None:
    matchers = [m for question in _questions(tree) for s in selectors(question) for m in s.matchers]
    told = [set(matcher.values) for matcher in matchers if matcher.label == "subscription_id"]
    assert told
    assert all(names == set(tree.subscriptions) for names in told)


def test_the_dashboard_is_the_one_that_is_made_of_the_table(tree: Tree) -> None:
    shown = json.loads(tree.plan()["google_monitoring_dashboard.this"]["dashboard_json"])
    assert shown == tree.json("infra/dashboards/cloud_monitoring.json")


# ---------------------------------------------------------------- alerts


def test_every_alert_of_the_table_is_made_and_no_other(tree: Tree) -> None:
    table = tree.json("infra/monitoring.json")
    assert set(tree.each("google_monitoring_alert_policy.this")) == set(table["alerts"])
    burns = {f"{slo}/{speed}" for slo in table["slos"] for speed in table["burn_rates"]}
    assert set(tree.each("google_monitoring_alert_policy.burn")) == burns
    assert len(tree.of_type("google_monitoring_alert_policy")) == len(table["alerts"]) + len(burns)


def test_what_a_month_costs_is_computed_for_as_many_conditions_as_there_are(tree: Tree) -> None:
    conditions = sum(len(policy["conditions"]) for policy in tree.of_type("google_monitoring_alert_policy"))
    assert conditions == bench_month.conditions()
    assert f"| {conditions} alert conditions" in tree.text("README.md")


def test_an_alert_asks_what_the_table_says_for_as_long_as_it_says(tree: Tree) -> None:
    for name, row in tree.json("infra/monitoring.json")["alerts"].items():
        (condition,) = tree.each("google_monitoring_alert_policy.this")[name]["conditions"]
        (asked,) = condition["condition_prometheus_query_language"]
        bound = f"> {row['above']}" if "above" in row else f"< {row['below']}"
        assert asked["query"] == f"({row['expr']}) {bound}", name
        assert asked["duration"] == f"{row['for_s']}s", name


def test_the_thresholds_are_those_that_were_promised(tree: Tree) -> None:
    alerts = tree.json("infra/monitoring.json")["alerts"]
    assert alerts["budget_warning"]["above"] == Settings().soft_limit
    assert alerts["budget_warning"]["above"] < alerts["budget_critical"]["above"] < 1
    assert alerts["fallback_rate"]["above"] == 0.2
    assert alerts["dead_letters"]["above"] == alerts["stuck_jobs"]["above"] == 0


def test_every_alert_reaches_somebody_and_says_what_it_means_and_what_to_do(tree: Tree) -> None:
    table = tree.json("infra/monitoring.json")
    channels = tree.of_type("google_monitoring_notification_channel")
    assert [channel["labels"] for channel in channels] == [{"email_address": e} for e in VARIABLES["alert_emails"]]
    made = tree.each("google_monitoring_alert_policy.this")
    for name, policy in made.items():
        _assert_told(policy, table["alerts"][name])
    for key, policy in tree.each("google_monitoring_alert_policy.burn").items():
        slo, speed = key.split("/")
        _assert_told(policy, {**table["slos"][slo], **table["burn_rates"][speed]})


def _assert_told(policy: Values, row: Values) -> None:
    (documentation,) = policy["documentation"]
    assert row["means"] in documentation["content"]
    assert row["do"] in documentation["content"]
    assert policy["severity"] == row["severity"]
    assert len(policy["notification_channels"]) == len(VARIABLES["alert_emails"])


# ---------------------------------------------------------------- objectives


def test_every_objective_is_measured_by_declared_metrics_and_missed_by_the_table(tree: Tree) -> None:
    table = tree.json("infra/monitoring.json")
    made = tree.each("google_monitoring_slo.this")
    assert {slo["service"] for slo in made.values()} == {
        service["service_id"] for service in tree.of_type("google_monitoring_custom_service")
    }
    assert {name: slo["goal"] for name, slo in made.items()} == {n: row["goal"] for n, row in table["slos"].items()}
    for name, slo in made.items():
        filters = list(_filters(slo))
        assert filters, name
        for text in filters:
            _assert_declared(text)
        _assert_measured(slo, table["slos"][name])


def _assert_measured(slo: Values, row: Values) -> None:
    (sli,) = slo["request_based_sli"]
    assert bool(sli["good_total_ratio"]) == ("good" in row)
    for ratio in sli["good_total_ratio"]:
        assert set(ratio) == {"good_service_filter", "bad_service_filter"}
    for cut in sli["distribution_cut"]:
        assert cut["range"] == [{"min": 0, "max": row["at_most"]}]


def test_an_objective_that_burns_is_asked_after_at_the_rates_and_windows_of_the_table(tree: Tree) -> None:
    table = tree.json("infra/monitoring.json")
    names = {key: slo["name"] for key, slo in tree.each("google_monitoring_slo.this").items()}
    for key, policy in tree.each("google_monitoring_alert_policy.burn").items():
        slo, speed = key.split("/")
        rate = table["burn_rates"][speed]
        asked = [condition["condition_threshold"][0] for condition in policy["conditions"]]
        assert {a["comparison"] for a in asked} == {"COMPARISON_GT"}
        assert policy["combiner"] == "AND"
        burning = {(a["filter"], a["threshold_value"]) for a in asked if "select_slo_burn_rate" in a["filter"]}
        windows = (rate["long_s"], rate["short_s"])
        assert burning == {(f'select_slo_burn_rate("{names[slo]}", "{w}s")', rate["rate"]) for w in windows}, key
        for other in asked:
            if "select_slo_burn_rate" not in other["filter"]:
                _assert_declared(other["filter"])


# ---------------------------------------------------------------- reading questions


def _questions(tree: Tree) -> Iterator[str]:
    """Every PromQL expression of the table, which alerts and both dashboards are made of."""
    table = tree.json("infra/monitoring.json")
    yield from (alert["expr"] for alert in table["alerts"].values())
    yield from (query["expr"] for panel in table["panels"] for query in panel["queries"])


def _filters(slo: Values) -> Iterator[str]:
    (sli,) = slo["request_based_sli"]
    for part in [*sli["good_total_ratio"], *sli["distribution_cut"]]:
        yield from (text for key, text in part.items() if key.endswith("_filter"))


def _assert_declared(text: str) -> None:
    clauses = [_FILTER.fullmatch(clause) for clause in text.split(" AND ")]
    assert all(clauses), text
    metric, resource, *labels = filter(None, clauses)
    name = str(metric[1]).removeprefix(TYPE_PREFIX)
    assert name in METRICS, f"{name} is not declared"
    assert resource[0].startswith("resource.type"), text
    assert {label[2] for label in labels} <= set(METRICS[name].labels), text
