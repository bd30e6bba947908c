"""Who may do what where: every grant that Terraform would make, in one form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tests.deploy.tree import PROJECT, Tree, Values, member, service_id, topic_of

# The resource that each type of grant is on, by the attribute that names it.
PLACES: Mapping[str, str] = {
    "google_artifact_registry_repository_iam_member": "repository",
    "google_cloud_run_service_iam_member": "service",
    "google_project_iam_member": "project",
    "google_pubsub_subscription_iam_member": "subscription",
    "google_pubsub_topic_iam_member": "topic",
    "google_secret_manager_secret_iam_member": "secret_id",
    "google_service_account_iam_member": "service_account_id",
    "google_storage_bucket_iam_member": "bucket",
}
DOCUMENT_ROLES = {"read": "roles/datastore.viewer", "write": "roles/datastore.user"}
ROLES_OF = {
    "read": ["roles/storage.objectViewer"],
    "create": ["roles/storage.objectCreator", "roles/storage.objectViewer"],
    "replace": ["roles/storage.objectUser"],
}


class Grant(NamedTuple):
    """A role of a member on one resource."""

    member: str
    role: str
    place: str
    name: str


def granted(tree: Tree, **variables: object) -> list[Grant]:
    """Every grant, with a condition or without."""
    return [grant for grant, _ in conditional(tree, **variables)]


def conditional(tree: Tree, **variables: object) -> list[tuple[Grant, str]]:
    """Every grant and the expression under which it holds; empty where it always does."""
    return [
        (_grant(kind, values), values["condition"][0]["expression"] if "condition" in values else "")
        for kind in sorted(types(tree, "_iam_member"))
        for values in tree.of_type(kind, **variables)
    ]


def types(tree: Tree, ending: str) -> set[str]:
    """The types of resources whose names end so."""
    found = {address.partition(".")[0] for address in tree.plan()}
    return {kind for kind in found if kind.endswith(ending)}


def _grant(kind: str, values: Values) -> Grant:
    name = str(values[PLACES[kind]])
    place = kind.removeprefix("google_").removesuffix("_iam_member")
    return Grant(values["member"], values["role"], place, topic_of(name) if place == "pubsub_topic" else name)


def of_functions(tree: Tree) -> Iterator[Grant]:
    """The grants that the wiring table asks for, and no others."""
    for name, row in tree.rows.items():
        account = service_id(name)
        if row["documents"] != "none":
            yield Grant(member(account), DOCUMENT_ROLES[row["documents"]], "project", PROJECT)
        for topic in row["publishes"]:
            yield Grant(member(account), "roles/pubsub.publisher", "pubsub_topic", topic)
        for bucket, access in row["objects"].items():
            for role in ROLES_OF[access]:
                yield Grant(member(account), role, "storage_bucket", f"{PROJECT}-{bucket}")
        for secret in row["secrets"]:
            place = f"atelier-{secret.lower().replace('_', '-')}"
            yield Grant(member(account), "roles/secretmanager.secretAccessor", "secret_manager_secret", place)
        if row["calls_vendors"]:
            yield from _of_callers(account)
        if "topic" in row["trigger"]:
            yield Grant(member(account), "roles/monitoring.metricWriter", "project", PROJECT)
            yield Grant(member("atelier-push"), "roles/run.invoker", "cloud_run_service", account)


def _of_callers(account: str) -> Iterator[Grant]:
    """What it takes to call vendors: Google's models, links signed as oneself, inputs in buckets of the user's own."""
    itself = f"serviceAccounts/{account}"
    yield Grant(member(account), "roles/atelierVertex", "project", PROJECT)
    yield Grant(member(account), "roles/iam.serviceAccountTokenCreator", "service_account", itself)
    yield Grant(member(account), "roles/storage.objectViewer", "storage_bucket", "bucket-of-inputs")
