"""What Cloud Build's accounts may do: a pull request is planned and changes nothing, and neither may give rights."""

import re

from tests.deploy.grants import granted
from tests.deploy.tree import PROJECT, REGION, VARIABLES, Tree, member

BUILD, PLAN, DEPLOY = "atelier-build", "atelier-plan", "atelier-deploy"
# Predefined roles that hold a setIamPolicy, or act as any account: cloud.google.com/iam/docs/roles-permissions
RULING = re.compile(r"roles/(owner|editor|.*[aA]dmin|.*[oO]wner|iam\.(?!serviceAccountUser$).*)")
RULES_NOTHING = {"roles/cloudscheduler.admin", "roles/datastore.indexAdmin"}  # Admins by name that set no policy
FROM_OUTSIDE = "COMMENTS_ENABLED_FOR_EXTERNAL_CONTRIBUTORS_ONLY"
READING = {"get", "getIamPolicy", "getMetadata", "fullView", "list", "read"}
SETTING_UP = {"create", "delete", "update", "get", "list", "attachSubscription", "detachSubscription"}
# What it takes to compare a resource with its state: cloud.google.com/iam/docs/permissions-reference
ASKED_FOR = {
    "google_artifact_registry_repository": {"artifactregistry.repositories.get"},
    "google_billing_budget": {"billing.resourcebudgets.read"},
    "google_cloud_scheduler_job": {"cloudscheduler.jobs.get", "cloudscheduler.jobs.fullView"},
    "google_cloudbuild_trigger": {"cloudbuild.builds.get"},
    "google_cloudfunctions2_function": {"cloudfunctions.functions.get"},
    "google_firestore_database": {"datastore.databases.getMetadata"},
    "google_firestore_field": {"datastore.schemas.get"},
    "google_firestore_index": {"datastore.schemas.get", "datastore.schemas.list"},
    "google_monitoring_alert_policy": {"monitoring.alertPolicies.get"},
    "google_monitoring_custom_service": {"monitoring.services.get"},
    "google_monitoring_dashboard": {"monitoring.dashboards.get"},
    "google_monitoring_metric_descriptor": {"monitoring.metricDescriptors.get"},
    "google_monitoring_notification_channel": {"monitoring.notificationChannels.get"},
    "google_monitoring_slo": {"monitoring.slos.get"},
    "google_project_iam_custom_role": {"iam.roles.get"},
    "google_project_service": {"serviceusage.services.get", "serviceusage.services.list"},
    "google_pubsub_subscription": {"pubsub.subscriptions.get"},
    "google_pubsub_topic": {"pubsub.topics.get"},
    "google_secret_manager_secret": {"secretmanager.secrets.get"},
    "google_service_account": {"iam.serviceAccounts.get"},
    "google_storage_bucket": {"storage.buckets.get"},
    "google_storage_bucket_object": set(),  # roles/storage.objectViewer on the bucket
    "google_storage_notification": {"storage.buckets.get"},
    # Grants are read as the policy of what they are on.
    "google_artifact_registry_repository_iam_member": {"artifactregistry.repositories.getIamPolicy"},
    "google_cloud_run_service_iam_member": {"run.services.getIamPolicy"},
    "google_project_iam_member": {"resourcemanager.projects.get", "resourcemanager.projects.getIamPolicy"},
    "google_pubsub_subscription_iam_member": {"pubsub.subscriptions.getIamPolicy"},
    "google_pubsub_topic_iam_member": {"pubsub.topics.getIamPolicy"},
    "google_secret_manager_secret_iam_member": {"secretmanager.secrets.getIamPolicy"},
    "google_service_account_iam_member": {"iam.serviceAccounts.getIamPolicy"},
    "google_storage_bucket_iam_member": {"storage.buckets.getIamPolicy"},
}


def test_a_plan_may_read_every_kind_of_resource_that_is_made_and_nothing_more(tree: Tree) -> None:
    kinds = {address.partition(".")[0] for address in tree.plan()}
    permissions = tree.plan()["google_project_iam_custom_role.plan"]["permissions"]
    assert set(permissions) == set.union(*(ASKED_FOR[kind] for kind in kinds))


def test_who_builds_may_not_say_who_may_do_what(tree: Tree) -> None:
    for grant in granted(tree):
        if grant.member in {member(PLAN), member(DEPLOY), member(BUILD)}:
            assert grant.role in RULES_NOTHING or not RULING.fullmatch(grant.role), grant
    for role in tree.of_type("google_project_iam_custom_role"):
        verbs = {permission.rpartition(".")[2] for permission in role["permissions"]}
        assert verbs.isdisjoint({"setIamPolicy", "actAs", "getAccessToken", "signBlob", "signJwt"}), role["role_id"]


def test_who_deploys_sets_up_and_neither_calls_nor_publishes_nor_looks_inside(tree: Tree) -> None:
    permissions = tree.plan()["google_project_iam_custom_role.deploy"]["permissions"]
    assert {permission.partition(".")[0] for permission in permissions} == {
        "cloudfunctions",
        "monitoring",
        "pubsub",
        "run",
    }
    assert {permission.rpartition(".")[2] for permission in permissions} <= SETTING_UP
    assert [p for p in permissions if p.startswith("run.")] == ["run.services.get"]


def test_a_plan_changes_nothing_and_sees_no_document_object_of_users_or_secret(tree: Tree) -> None:
    roles = {(grant.role, grant.name) for grant in granted(tree) if grant.member == member(PLAN)}
    assert roles == {
        ("roles/atelierPlan", PROJECT),
        ("roles/logging.logWriter", PROJECT),
        ("roles/storage.objectViewer", f"{PROJECT}-atelier-source"),
        ("roles/storage.objectViewer", f"{PROJECT}-terraform"),
    }
    permissions = tree.plan()["google_project_iam_custom_role.plan"]["permissions"]
    assert {permission.rpartition(".")[2] for permission in permissions} <= READING
    contents = re.compile(r"datastore\.entities|storage\.objects|secretmanager\.versions|pubsub\..*consume")
    assert [p for p in permissions if contents.match(p)] == []


def test_a_pull_request_is_planned_by_the_account_that_changes_nothing(tree: Tree) -> None:
    accounts = {kind: f"serviceAccounts/{account}" for kind, account in (("deploy", DEPLOY), ("plan", PLAN))}
    for kind, account in accounts.items():
        (trigger,) = tree.each(f"google_cloudbuild_trigger.{kind}").values()
        (event,) = trigger["repository_event_config"]
        assert trigger["service_account"] == account
        assert ("pull_request" in event, "push" in event) == (kind == "plan", kind == "deploy")
        assert event["repository"] == VARIABLES["repository"]
        (started_by,) = event.get("pull_request", event.get("push"))
        assert started_by["branch"] == "^main$"
        assert (started_by.get("comment_control") == FROM_OUTSIDE) == (kind == "plan")
        assert trigger["filename"] == "cloudbuild.yaml"
        assert trigger["location"] == REGION
        assert trigger["substitutions"] == {"_APPLY": str(kind == "deploy").lower()}
