"""Who may do what: the grants that Terraform would make, compared as a whole with what the wiring table asks for."""

import re
from collections import Counter
from collections.abc import Iterator

from tests.deploy.grants import Grant, conditional, granted, of_functions, types
from tests.deploy.planned import PROJECT_NUMBER
from tests.deploy.tree import AGENT, DATABASE, PROJECT, REGION, STORAGE_AGENT, VARIABLES, Tree, member, service_id

PUSH, BUILD, PLAN, DEPLOY = "atelier-push", "atelier-build", "atelier-plan", "atelier-deploy"
STAGING = f"gcf-v2-sources-{PROJECT_NUMBER}-{REGION}"
WIDER = "roles/aiplatform.user"
EVERYBODY = {"allUsers", "allAuthenticatedUsers"}
# Roles for which there is no finer resource, and how far a condition narrows them.
IN_THE_WHOLE_PROJECT = {
    "roles/cloudscheduler.admin",
    "roles/datastore.indexAdmin",
    "roles/datastore.user",
    "roles/datastore.viewer",
    "roles/logging.logWriter",
    "roles/monitoring.metricWriter",
    "roles/atelierDeploy",  # a function that is yet to be made has no policy
    "roles/atelierPlan",
    "roles/atelierVertex",
}
NARROWED = {
    "roles/datastore.user": f'resource.name == "projects/{PROJECT}/databases/{DATABASE}"',
    "roles/datastore.viewer": f'resource.name == "projects/{PROJECT}/databases/{DATABASE}"',
}
APPLYING = {
    "roles/atelierDeploy",
    "roles/cloudscheduler.admin",
    "roles/datastore.indexAdmin",
    "roles/datastore.viewer",  # the smoke test reads its job
}


def test_every_grant_is_one_that_the_table_or_a_list_with_reasons_asks_for(tree: Tree) -> None:
    asked = Counter([*of_functions(tree), *_of_agents(tree), *_of_people(tree), *_of_the_build(), *_of_builders(tree)])
    assert Counter(granted(tree)) == asked


def test_grants_are_added_one_by_one_and_take_nobody_elses_away(tree: Tree) -> None:
    assert types(tree, "_iam_policy") | types(tree, "_iam_binding") == set()


def test_nobody_but_the_signed_webhook_is_open_to_everybody_and_that_only_when_asked(tree: Tree) -> None:
    assert [grant for grant in granted(tree) if grant.member in EVERYBODY] == []
    webhook = Grant("allUsers", "roles/run.invoker", "cloud_run_service", service_id("on_webhook"))
    assert [grant for grant in granted(tree, webhook_public=True) if grant.member in EVERYBODY] == [webhook]


def test_no_role_is_given_in_the_whole_project_where_a_resource_has_it(tree: Tree) -> None:
    for grant, condition in conditional(tree):
        if grant.place == "project":
            assert grant.role in IN_THE_WHOLE_PROJECT or condition, grant


def test_who_asks_models_does_nothing_else_with_vertex(tree: Tree) -> None:
    (role,) = tree.each("google_project_iam_custom_role.vertex").values()
    assert role["permissions"] == ["aiplatform.endpoints.predict"]  # and makes no job, which could be any account


def test_another_role_for_models_takes_the_place_of_ours(tree: Tree) -> None:
    callers = {member(service_id(name)) for name, row in tree.rows.items() if row["calls_vendors"]}
    found = [grant for grant in granted(tree, vertex_role=WIDER) if grant.role == WIDER]
    assert found == [Grant(caller, WIDER, "project", PROJECT) for caller in callers]
    assert len(granted(tree, vertex_role=WIDER)) == len(granted(tree))
    assert tree.each("google_project_iam_custom_role.vertex", vertex_role=WIDER) == {}


def test_documents_are_those_of_one_database_and_staged_archives_those_of_one_bucket(tree: Tree) -> None:
    for grant, condition in conditional(tree):
        if grant.role in NARROWED:
            assert condition == NARROWED[grant.role], grant
        elif grant.place == "project" and grant.role == "roles/storage.objectViewer":
            assert set(re.findall(r'"([^"]+)"', condition)) == {
                f"projects/_/buckets/{STAGING}",
                f"projects/_/buckets/{STAGING}/",
            }, grant
        else:
            assert condition == "", grant


def test_every_member_is_made_here_or_named_by_a_variable(tree: Tree) -> None:
    made = {account["member"] for account in tree.of_type("google_service_account") if "member" in account}
    made |= {member(account["account_id"]) for account in tree.of_type("google_service_account")}
    named = {*VARIABLES["operators"], *VARIABLES["publishers"], *VARIABLES["readers"]}
    assert {grant.member for grant in granted(tree)} <= made | named | {AGENT, STORAGE_AGENT}


# ---------------------------------------------------------------- what is asked for beside the wiring table


def _of_agents(tree: Tree) -> Iterator[Grant]:
    """Google's own: what cannot be delivered is forwarded, pushes carry a token, the inbox tells of its files."""
    dead = tree.rows["on_dead_letter"]["trigger"]["topic"]
    yield Grant(AGENT, "roles/pubsub.publisher", "pubsub_topic", dead)
    for name, subscription in tree.subscriptions.items():
        if subscription.dead_letter_topic:
            yield Grant(AGENT, "roles/pubsub.subscriber", "pubsub_subscription", name)
    yield Grant(AGENT, "roles/iam.serviceAccountTokenCreator", "service_account", f"serviceAccounts/{PUSH}")
    yield Grant(STORAGE_AGENT, "roles/pubsub.publisher", "pubsub_topic", tree.rows["on_upload"]["trigger"]["topic"])


def _of_people(tree: Tree) -> Iterator[Grant]:
    """Whom the variables name: who asks, who reads pieces, who looks at the ops page."""
    for who in VARIABLES["publishers"]:
        yield Grant(who, "roles/pubsub.publisher", "pubsub_topic", tree.rows["validate"]["trigger"]["topic"])
        yield Grant(who, "roles/storage.objectUser", "storage_bucket", f"{PROJECT}-inbox")
    for who in VARIABLES["readers"]:
        yield Grant(who, "roles/storage.objectViewer", "storage_bucket", f"{PROJECT}-outputs")
    for who in VARIABLES["operators"]:
        yield Grant(who, "roles/run.invoker", "cloud_run_service", service_id("ops"))


def _of_the_build() -> Iterator[Grant]:
    """cloud.google.com/functions/docs/securing/build-custom-sa names the three roles."""
    account = member(BUILD)
    yield Grant(account, "roles/logging.logWriter", "project", PROJECT)
    yield Grant(account, "roles/artifactregistry.writer", "artifact_registry_repository", "atelier-functions")
    yield Grant(account, "roles/storage.objectViewer", "storage_bucket", f"{PROJECT}-atelier-source")
    yield Grant(account, "roles/storage.objectViewer", "project", PROJECT)  # the staging bucket is not there yet


def _of_builders(tree: Tree) -> Iterator[Grant]:
    """Pull requests are planned, `main` is applied; none of that changes who may do what."""
    for account, access in ((PLAN, "roles/storage.objectViewer"), (DEPLOY, "roles/storage.objectUser")):
        yield Grant(member(account), "roles/atelierPlan", "project", PROJECT)
        yield Grant(member(account), "roles/logging.logWriter", "project", PROJECT)
        yield Grant(member(account), access, "storage_bucket", f"{PROJECT}-terraform")
        yield Grant(member(account), access, "storage_bucket", f"{PROJECT}-atelier-source")
    for role in APPLYING:
        yield Grant(member(DEPLOY), role, "project", PROJECT)
    for account in (BUILD, PUSH, *map(service_id, tree.rows)):
        yield Grant(member(DEPLOY), "roles/iam.serviceAccountUser", "service_account", f"serviceAccounts/{account}")
    requests = tree.rows["validate"]["trigger"]["topic"]
    yield Grant(member(DEPLOY), "roles/pubsub.publisher", "pubsub_topic", requests)
