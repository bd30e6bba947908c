"""Topics, subscriptions, schedules and notifications that Terraform would make, against what the local system does.

Entry points, published topics and the table's own rules are in `tests/test_wiring.py`.
"""

import base64
import json
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest

from shared.adapters import wiring
from shared.adapters.wiring import Subscription
from shared.domain.request import parse_request
from tests.deploy import planned
from tests.deploy.tree import PROJECT, VARIABLES, Tree, email, service_id, topic_of

SUBSCRIPTIONS = "google_pubsub_subscription.function"


def test_the_configuration_is_formatted_as_its_reader_and_people_expect(tree: Tree) -> None:
    if planned.TERRAFORM is None:
        pytest.skip("the format is not looked at: there is no terraform on the PATH")
    check = [str(planned.TERRAFORM), "fmt", "-check", "-recursive", "-diff", str(tree.infra)]
    done = subprocess.run(check, capture_output=True, text=True, timeout=planned.TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# ---------------------------------------------------------------- topics and subscriptions


def test_terraform_makes_the_topics_that_the_local_bus_has(tree: Tree) -> None:
    local = {s.topic for s in tree.subscriptions.values()} | {wiring.RESULTS}
    assert sorted(topic["name"] for topic in tree.of_type("google_pubsub_topic")) == sorted(local)


def test_every_function_with_a_topic_has_one_subscription_and_nothing_else_has(tree: Tree) -> None:
    assert sorted(s["name"] for s in tree.of_type("google_pubsub_subscription")) == sorted(tree.subscriptions)


def test_a_subscription_is_delivered_as_the_local_bus_delivers_it(tree: Tree) -> None:
    for name, local in tree.subscriptions.items():
        assert _as_local(tree.each(SUBSCRIPTIONS)[name], local) == local


def test_a_subscription_waits_for_longer_than_its_function_may_run(tree: Tree) -> None:
    for name, subscription in tree.each(SUBSCRIPTIONS).items():
        (service,) = tree.each("google_cloudfunctions2_function.this")[name]["service_config"]
        assert subscription["ack_deadline_seconds"] > service["timeout_seconds"], name


def test_a_subscription_never_expires_and_drops_nothing(tree: Tree) -> None:
    for name, subscription in tree.each(SUBSCRIPTIONS).items():
        assert subscription["expiration_policy"] == [{"ttl": ""}], name
        assert subscription["message_retention_duration"] == "604800s", name
        assert "filter" not in subscription, name


def test_a_subscription_pushes_to_its_own_function_as_somebody(tree: Tree) -> None:
    for name, subscription in tree.each(SUBSCRIPTIONS).items():
        url = f"https://{service_id(name)}.run.app"
        assert subscription["push_config"] == [
            {
                "push_endpoint": url,
                "oidc_token": [{"service_account_email": email("atelier-push"), "audience": url}],
            }
        ], name


# ---------------------------------------------------------------- what starts them


def test_the_tick_comes_as_often_as_the_table_says(tree: Tree) -> None:
    scheduled = {n: row["trigger"] for n, row in tree.rows.items() if "schedule" in row["trigger"]}
    ticks = tree.each("google_cloud_scheduler_job.tick")
    assert {n: (t["schedule"], topic_of(_target(t)["topic_name"])) for n, t in ticks.items()} == {
        n: (trigger["schedule"], trigger["topic"]) for n, trigger in scheduled.items()
    }
    for tick in ticks.values():
        assert tick["time_zone"] == "Etc/UTC"
        assert isinstance(_data(tick), dict)


def test_a_request_by_the_clock_is_published_as_it_was_written(tree: Tree) -> None:
    schedules = VARIABLES["schedules"]
    jobs = tree.each("google_cloud_scheduler_job.request")
    assert {n: (j["schedule"], j["time_zone"], _data(j)) for n, j in jobs.items()} == {
        n: (s["cron"], s["time_zone"], json.loads(s["request"])) for n, s in schedules.items()
    }
    for job in jobs.values():
        assert topic_of(_target(job)["topic_name"]) == tree.rows["validate"]["trigger"]["topic"]
        parse_request(_data(job), known_models=lambda _: True, schema_problem=lambda _: None)


def test_the_inbox_tells_its_topic_of_every_finished_file(tree: Tree) -> None:
    found = [(n["bucket"], topic_of(n["topic"])) for n in tree.of_type("google_storage_notification")]
    triggers = [row["trigger"] for row in tree.rows.values() if "bucket" in row["trigger"]]
    assert found == [(f"{PROJECT}-{trigger['bucket']}", trigger["topic"]) for trigger in triggers]
    for notification in tree.of_type("google_storage_notification"):
        assert notification["event_types"] == ["OBJECT_FINALIZE"]
        assert notification["payload_format"] == "JSON_API_V1"
        assert "object_name_prefix" not in notification


# ---------------------------------------------------------------- one form for both sides


def _as_local(subscription: Mapping[str, Any], local: Subscription) -> Subscription:
    (retry,) = subscription["retry_policy"]
    dead = subscription["dead_letter_policy"]
    return Subscription(
        subscription["name"],
        topic_of(subscription["topic"]),
        float(subscription["ack_deadline_seconds"]),
        # Without a dead-letter topic it is tried for ever, and the number of the row has no meaning.
        dead[0]["max_delivery_attempts"] if dead else local.max_deliveries,
        _seconds(retry["minimum_backoff"]),
        _seconds(retry["maximum_backoff"]),
        topic_of(dead[0]["dead_letter_topic"]) if dead else None,
    )


def _seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text.removesuffix("s"))


def _target(job: Mapping[str, Any]) -> Mapping[str, Any]:
    (target,) = job["pubsub_target"]
    found: Mapping[str, Any] = target
    return found


def _data(job: Mapping[str, Any]) -> Any:
    return json.loads(base64.b64decode(_target(job)["data"], validate=True))
