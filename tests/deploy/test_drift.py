"""What Terraform would create against what the code uses: topics, subscriptions, grants and indexes, name by name.

Entry points, published topics and the table's own rules are in `tests/test_wiring.py`; here its rows meet the cloud's
resources. What the code asks of the indexes is in `test_indexes.py`.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shared.adapters import wiring
from shared.adapters.query_rules import load_indexes
from shared.adapters.wiring import Subscription
from tests.deploy import planned
from tests.deploy.recorded import COMPOSITE, RecordingStore

if planned.TERRAFORM is None:
    pytest.skip("what Terraform would create is left out: there is no terraform on the PATH", allow_module_level=True)

INFRA = Path(__file__).parents[2] / "infra"
LOCAL = {s.name: s for subscriptions in wiring.subscriptions().values() for s in subscriptions}
FUNCTIONS = {name: s for name, s in LOCAL.items() if name != wiring.RESULTS}
ENDPOINTS = {name: f"https://{name.replace('_', '-')}.run.app" for name in FUNCTIONS}
AGENT = f"serviceAccount:service-{planned.PROJECT_NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"
TYPES = (
    "google_pubsub_topic",
    "google_pubsub_subscription",
    "google_pubsub_topic_iam_member",
    "google_pubsub_subscription_iam_member",
    "google_firestore_index",
    "google_firestore_field",
)

Planned = Mapping[str, Any]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Planned:
    variables = {"project_id": "project", "region": "europe-west1", "push_endpoints": ENDPOINTS}
    return planned.plan(INFRA, TYPES, variables, tmp_path_factory.mktemp("terraform"))


# ---------------------------------------------------------------- topics and subscriptions


def test_the_configuration_is_formatted_as_its_reader_and_people_expect() -> None:
    check = [str(planned.TERRAFORM), "fmt", "-check", "-recursive", "-diff", str(INFRA)]
    done = subprocess.run(check, capture_output=True, text=True, timeout=planned.TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_terraform_makes_the_topics_that_the_local_bus_has(plan: Planned) -> None:
    topics = plan["google_pubsub_topic.this"]
    assert {topic["name"] for topic in topics.values()} == set(wiring.subscriptions())


def test_every_function_with_a_topic_has_one_subscription_and_nothing_else_has(plan: Planned) -> None:
    subscriptions = _of_type(plan, "google_pubsub_subscription")
    assert sorted(s["name"] for s in subscriptions) == sorted(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_subscription_is_delivered_as_the_local_bus_delivers_it(plan: Planned, name: str) -> None:
    assert _as_local(plan["google_pubsub_subscription.function"][name]) == FUNCTIONS[name]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_subscription_never_expires_and_drops_nothing(plan: Planned, name: str) -> None:
    subscription = plan["google_pubsub_subscription.function"][name]
    assert subscription["expiration_policy"] == [{"ttl": ""}]
    assert "filter" not in subscription


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_subscription_pushes_to_its_own_function_as_somebody(plan: Planned, name: str) -> None:
    (push,) = plan["google_pubsub_subscription.function"][name]["push_config"]
    account = "push@made-up.iam.gserviceaccount.com"
    assert push == {
        "push_endpoint": ENDPOINTS[name],
        "oidc_token": [{"service_account_email": account, "audience": ENDPOINTS[name]}],
    }


def test_pubsub_may_forward_what_every_subscription_gives_up(plan: Planned) -> None:
    publisher = plan["google_pubsub_topic_iam_member.dead_letter_publisher"]
    dead_letter = f"topics/{wiring.DEAD_LETTER}"
    assert publisher == {"topic": dead_letter, "role": "roles/pubsub.publisher", "member": AGENT}
    giving_up = {name for name, s in FUNCTIONS.items() if s.dead_letter_topic}
    assert plan["google_pubsub_subscription_iam_member.dead_letter_subscriber"] == {
        name: {"subscription": name, "role": "roles/pubsub.subscriber", "member": AGENT} for name in giving_up
    }


# ---------------------------------------------------------------- indexes


def test_terraform_makes_exactly_the_declared_composite_indexes(plan: Planned) -> None:
    assert {_as_declared(index) for index in _of_type(plan, "google_firestore_index")} == COMPOSITE


def test_an_index_is_left_out_of_a_field_only_where_no_query_is_declared(plan: Planned) -> None:
    left_out = {
        (field["collection"], field["field"])
        for field in _of_type(plan, "google_firestore_field")
        if field["index_config"] == [{}]
    }
    single = {(c, field) for c, rows in load_indexes().items() for field in rows.get("single", ())}
    used = single | {(c, part.removeprefix("-")) for c, parts in COMPOSITE for part in parts}
    assert left_out & used == set()


def test_documents_expire_in_exactly_the_collections_that_say_when(plan: Planned, store: RecordingStore) -> None:
    expiring = [(f["collection"], f["field"]) for f in _of_type(plan, "google_firestore_field") if "ttl_config" in f]
    assert sorted(expiring) == sorted(found for found in store.fields if found[1] == "expire_at")


# ---------------------------------------------------------------- one form for both sides


def _of_type(plan: Planned, kind: str) -> list[Any]:
    """Every planned resource of a type, with or without `for_each`."""
    found = [values for address, values in plan.items() if address.startswith(f"{kind}.")]
    return [one for v in found for one in (v.values() if all(isinstance(x, dict) for x in v.values()) else [v])]


def _as_local(subscription: Mapping[str, Any]) -> Subscription:
    (retry,) = subscription["retry_policy"]
    name, topic = subscription["name"], _name_of(subscription["topic"])
    dead = subscription["dead_letter_policy"]
    return Subscription(
        name,
        topic,
        float(subscription["ack_deadline_seconds"]),
        # Without a dead-letter topic it is tried for ever, and the number of the row has no meaning.
        dead[0]["max_delivery_attempts"] if dead else FUNCTIONS[name].max_deliveries,
        _seconds(retry["minimum_backoff"]),
        _seconds(retry["maximum_backoff"]),
        _name_of(dead[0]["dead_letter_topic"]) if dead else None,
    )


def _seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text.removesuffix("s"))


def _name_of(topic_id: str) -> str:
    return topic_id.removeprefix("topics/")


def _as_declared(index: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    marks = {"ASCENDING": "", "DESCENDING": "-"}
    return index["collection"], tuple(marks[f["order"]] + f["field_path"] for f in index["fields"])
