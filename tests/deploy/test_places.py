"""Where things are, how long they are kept, and what runs: one region, closed buckets, a database nobody deletes."""

import dataclasses
import os
import re
import subprocess
import tomllib

from shared.domain.money import parse_usd
from shared.settings import Settings
from tests.deploy.hcl import read_blocks
from tests.deploy.planned import PROJECT_NUMBER
from tests.deploy.tree import PROJECT, REGION, VARIABLES, Tree

# The API of every kind of resource, by the longest beginning of its type that is named here.
APIS = {
    "google_artifact_registry": "artifactregistry",
    "google_billing_budget": "billingbudgets",
    "google_cloud_run": "run",
    "google_cloud_scheduler": "cloudscheduler",
    "google_cloudbuild": "cloudbuild",
    "google_cloudfunctions2": "cloudfunctions",
    "google_firestore": "firestore",
    "google_monitoring": "monitoring",
    "google_project": "cloudresourcemanager",
    "google_project_iam_custom_role": "iam",
    "google_pubsub": "pubsub",
    "google_secret_manager": "secretmanager",
    "google_service_account": "iam",
    "google_storage": "storage",
}
# Used by the code, or by what runs it.
ALSO = {"aiplatform", "iamcredentials", "logging"}
REGIONAL = {
    "google_artifact_registry_repository",
    "google_artifact_registry_repository_iam_member",
    "google_cloud_run_service_iam_member",
    "google_cloudfunctions2_function",
    "google_storage_bucket",
}
WEEK_S = 604_800


def test_every_api_that_is_needed_is_switched_on_and_stays_on(tree: Tree) -> None:
    kinds = {address.partition(".")[0] for address in tree.plan()} - {"google_project_service"}
    needed = {APIS[max((n for n in APIS if kind.startswith(n)), key=len)] for kind in kinds} | ALSO
    services = tree.of_type("google_project_service")
    assert {service["service"] for service in services} == {f"{name}.googleapis.com" for name in needed}
    assert {service["disable_on_destroy"] for service in services} == {False}


def test_everything_is_in_the_region_that_was_asked_for(tree: Tree) -> None:
    for kind in REGIONAL:
        assert {one["location"] for one in tree.of_type(kind)} == {REGION}, kind
    assert {job["region"] for job in tree.of_type("google_cloud_scheduler_job")} == {REGION}
    assert {base["location_id"] for base in tree.of_type("google_firestore_database")} == {REGION}
    for topic in tree.of_type("google_pubsub_topic"):
        assert topic["message_storage_policy"] == [{"allowed_persistence_regions": [REGION]}], topic["name"]
    for secret in tree.of_type("google_secret_manager_secret"):
        (replication,) = secret["replication"]
        assert replication == {"user_managed": [{"replicas": [{"location": REGION}]}]}, secret["secret_id"]


def test_no_bucket_can_be_opened_to_the_world_and_a_mistake_can_be_undone_for_a_week(tree: Tree) -> None:
    for bucket in tree.of_type("google_storage_bucket"):
        assert bucket["uniform_bucket_level_access"] is True
        assert bucket["public_access_prevention"] == "enforced"
        assert bucket["soft_delete_policy"] == [{"retention_duration_seconds": WEEK_S}]
        assert not bucket.get("force_destroy")


def test_files_and_pieces_are_kept_as_long_as_was_asked_for_and_longer_than_an_event(tree: Tree) -> None:
    for name, bucket in tree.each("google_storage_bucket.data").items():
        rules = {rule["action"][0]["type"]: rule["condition"][0]["age"] for rule in bucket["lifecycle_rule"]}
        days = VARIABLES[f"{name}_days"]
        assert rules == {"Delete": days, "AbortIncompleteMultipartUpload": 1}, name
        assert days * 86_400 > WEEK_S


def test_the_database_is_not_deleted_by_mistake_and_can_be_put_back(tree: Tree) -> None:
    (database,) = tree.of_type("google_firestore_database")
    assert database["type"] == "FIRESTORE_NATIVE"
    assert database["delete_protection_state"] == "DELETE_PROTECTION_ENABLED"
    assert database["point_in_time_recovery_enablement"] == "POINT_IN_TIME_RECOVERY_ENABLED"


def test_the_archive_that_is_uploaded_is_the_one_that_runs_and_stays_for_a_way_back(tree: Tree) -> None:
    (archive,) = tree.each("google_storage_bucket_object.archive", archive=None).values()
    assert archive["source"].endswith("/.build/atelier.zip")
    assert archive["deletion_policy"] == "ABANDON"
    for function in tree.each("google_cloudfunctions2_function.this", archive=None).values():
        (storage,) = function["build_config"][0]["source"][0]["storage_source"]
        assert storage == {"bucket": archive["bucket"], "object": archive["name"]}
    assert tree.each("google_storage_bucket_object.archive") == {}  # an earlier one is there already
    assert tree.output("archive") == VARIABLES["archive"]


def test_functions_run_on_the_python_that_the_tests_run_on(tree: Tree) -> None:
    needed = tomllib.loads(tree.text("pyproject.toml"))["project"]["requires-python"].removeprefix(">=")
    for name, function in tree.each("google_cloudfunctions2_function.this").items():
        (build,), (service,) = function["build_config"], function["service_config"]
        assert build["runtime"] == f"python{needed.replace('.', '')}", name
        assert build["docker_repository"] == "repositories/atelier-functions"
        assert service["all_traffic_on_latest_revision"] is True
        assert service["min_instance_count"] == 0
        told = service["environment_variables"]
        assert (told["PYTHONPATH"], told["GOOGLE_CLOUD_PROJECT"]) == (".", PROJECT)


def test_the_budgets_are_those_that_were_asked_for(tree: Tree) -> None:
    for function in tree.each("google_cloudfunctions2_function.this").values():
        told = Settings.from_environment(function["service_config"][0]["environment_variables"])
        for name in ("daily_budget_usd", "tenant_daily_budget_usd", "user_daily_budget_usd"):
            assert getattr(told, name) == parse_usd(VARIABLES[name])


def test_no_alert_is_there_before_what_it_watches(tree: Tree) -> None:
    waits = _after(tree, "infra/monitoring.tf", "google_monitoring_alert_policy.this")
    assert {"google_cloud_scheduler_job.tick", "google_pubsub_subscription.function"} <= waits


def test_an_archive_is_told_of_as_the_running_one_only_when_the_functions_are_deployed(tree: Tree) -> None:
    assert _after(tree, "infra/outputs.tf", "archive") == {"google_cloudfunctions2_function.this"}


def test_a_command_line_elsewhere_joins_the_deployment_by_what_terraform_prints(tree: Tree) -> None:
    odd = {"HUGGINGFACE_BASE_URL": "https://it's.example/$HOME`true`", "MAX_ATTEMPTS": "3"}
    told = _sourced(tree.output("environment", settings=odd))
    joined, deployed = Settings.from_environment(told), _deployed(tree, "ops", settings=odd)
    assert told.get("GOOGLE_CLOUD_PROJECT") == PROJECT
    assert joined.huggingface_base_url == odd["HUGGINGFACE_BASE_URL"]
    # Measurements are written by functions alone, and the project is that of Vertex AI where it is a vendor.
    assert joined == dataclasses.replace(deployed, metrics_url="", vertex_project=PROJECT)
    without = _sourced(tree.output("environment", vendors=["replicate"]))
    assert Settings.from_environment(without).vertex_project == ""


def test_the_monthly_budget_is_of_this_project_and_told_to_those_who_hear_of_alerts(tree: Tree) -> None:
    (budget,) = tree.each("google_billing_budget.monthly").values()
    assert budget["billing_account"] == VARIABLES["billing_account"]
    assert budget["budget_filter"] == [{"projects": [f"projects/{PROJECT_NUMBER}"], "calendar_period": "MONTH"}]
    assert budget["amount"] == [{"specified_amount": [{"units": str(VARIABLES["monthly_budget"])}]}]
    percents = [rule["threshold_percent"] for rule in budget["threshold_rules"]]
    assert percents
    assert all(0 < percent <= 1 for percent in percents)  # shares, not per cent
    (told,) = budget["all_updates_rule"]
    assert len(told["monitoring_notification_channels"]) == len(VARIABLES["alert_emails"])


def _after(tree: Tree, file: str, name: str) -> set[str]:
    """What a resource or an output waits for by its `depends_on`."""
    (found,) = (block for block in read_blocks(tree.text(file)) if ".".join(block.labels) == name)
    return set(re.findall(r"\w+\.\w+", found.attributes["depends_on"]))


def _sourced(text: str) -> dict[str, str]:
    """The variables that a shell hands on after it has evaluated *text*."""
    script = ["sh", "-euc", 'eval "$1"; exec env -0', "sh", text]
    done = subprocess.run(script, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(pair.split("=", 1) for pair in done.stdout.split("\0") if pair)


def _deployed(tree: Tree, name: str, **variables: object) -> Settings:
    """What a function reads from its environment."""
    (service,) = tree.each("google_cloudfunctions2_function.this", **variables)[name]["service_config"]
    return Settings.from_environment(service["environment_variables"])
