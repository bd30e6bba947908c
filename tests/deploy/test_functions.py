"""The functions that Terraform would deploy, against the wiring table, the settings and what the code really does."""

import re
from collections.abc import Iterator

import google.auth
import pytest
from google.auth.credentials import AnonymousCredentials

from shared import bootstrap
from shared.settings import PREFIX, Settings
from tests.deploy.planned import PROJECT_NUMBER
from tests.deploy.recorders import READING, SECRETS, Seen
from tests.deploy.tree import DATABASE, PROJECT, VARIABLES, Tree, Values, email, service_id

FUNCTIONS = "google_cloudfunctions2_function.this"
# What a process is told besides our settings; Cloud Logging, the platform, Python and Functions Framework read it.
OTHER_NAMES = {"GOOGLE_CLOUD_PROJECT", "LOG_EXECUTION_ID", "PYTHONPATH", "THREADS"}
SECRET_NAMES = {PREFIX + name.upper() for name in SECRETS}
WEBHOOK = "on_webhook"


# ---------------------------------------------------------------- what is deployed


def test_every_function_of_the_table_is_deployed_and_nothing_else(tree: Tree) -> None:
    assert {n: f["name"] for n, f in tree.each(FUNCTIONS).items()} == {n: service_id(n) for n in tree.rows}
    assert len(tree.of_type("google_cloudfunctions2_function")) == len(tree.rows)


def test_a_function_is_built_from_its_own_file_and_starts_at_its_entry_point(tree: Tree) -> None:
    for name, row in tree.rows.items():
        (build,) = tree.each(FUNCTIONS)[name]["build_config"]
        assert build["entry_point"] == row["entry_point"]
        assert build["environment_variables"] == {"GOOGLE_FUNCTION_SOURCE": row["source"]}
        assert build["service_account"].endswith("/atelier-build"), name
        storage = build["source"][0]["storage_source"]
        assert storage == [{"bucket": f"{PROJECT}-atelier-source", "object": VARIABLES["archive"]}]


def test_a_function_gets_the_time_memory_and_neighbours_that_the_table_says(tree: Tree) -> None:
    for name, row in tree.rows.items():
        service = _service(tree, name)
        assert (
            service["timeout_seconds"],
            service["available_memory"],
            service["max_instance_request_concurrency"],
            service["max_instance_count"],
            service["environment_variables"]["THREADS"],
        ) == (
            row["timeout_s"],
            f"{row['memory_mib']}Mi",
            row["concurrency"],
            row["max_instances"],
            str(row["concurrency"]),
        ), name


def test_a_function_is_its_own_account_and_answers_only_inside_unless_it_answers_http(tree: Tree) -> None:
    for name, row in tree.rows.items():
        service = _service(tree, name)
        assert service["service_account_email"] == email(service_id(name))
        inside = "ALLOW_ALL" if "http" in row["trigger"] else "ALLOW_INTERNAL_ONLY"
        assert service["ingress_settings"] == inside, name


# ---------------------------------------------------------------- what it is told


def test_every_variable_of_a_function_is_a_setting_that_the_code_declares(tree: Tree) -> None:
    for name in tree.rows:
        told = _service(tree, name)["environment_variables"]
        Settings.from_environment(told)  # an unknown name, or a value that it does not allow, raises
        assert {n for n in told if not n.startswith(PREFIX)} == OTHER_NAMES, name


def test_no_secret_stands_in_a_plain_variable(tree: Tree) -> None:
    for name in tree.rows:
        assert SECRET_NAMES.isdisjoint(_service(tree, name)["environment_variables"]), name


def test_the_settings_lead_to_what_terraform_makes(tree: Tree) -> None:
    for name in tree.rows:
        settings = _settings(tree, name)
        assert settings.state_url == f"firestore://{PROJECT}/{DATABASE}"
        assert settings.blobs_url == f"gs://{PROJECT}"
        assert settings.bus_url == f"pubsub://{PROJECT}"
        assert settings.metrics_url == f"monitoring://{PROJECT}"
        assert set(settings.providers) == set(VARIABLES["vendors"])
    buckets = {b["name"] for b in tree.each("google_storage_bucket.data").values()}
    assert buckets == {f"{PROJECT}-inbox", f"{PROJECT}-outputs"}
    assert [d["name"] for d in tree.of_type("google_firestore_database")] == [DATABASE]


def test_the_services_of_every_function_can_be_built_from_what_it_is_told(tree: Tree) -> None:
    for name, row in tree.rows.items():
        settings = _settings(tree, name, webhook_public=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(google.auth, "default", lambda **_: (AnonymousCredentials(), PROJECT))
            bootstrap.build(settings).close()  # nothing is connected to before it is used
        assert settings.calls_vendors == row["calls_vendors"], name
        assert [v for v in settings.providers if bootstrap.missing_credentials(v, settings)] == [], name


def test_vendors_are_told_where_to_call_only_while_they_are_let_in(tree: Tree) -> None:
    for name, row in tree.rows.items():
        assert _settings(tree, name).webhook_url == "", name
        told = _settings(tree, name, webhook_public=True).webhook_url
        # cloud.google.com/run/docs/triggering/https-request#deterministic
        assert bool(re.match(rf"https://{service_id(WEBHOOK)}-{PROJECT_NUMBER}\.", told)) == row["calls_vendors"], name


# ---------------------------------------------------------------- what it is trusted with


def test_a_function_gets_the_secrets_that_the_table_says_in_the_versions_that_are_pinned(tree: Tree) -> None:
    secrets = {name: s["secret_id"] for name, s in tree.each("google_secret_manager_secret.vendor").items()}
    assert set(secrets) == {secret for row in tree.rows.values() for secret in row["secrets"]}
    for name, row in tree.rows.items():
        given = _service(tree, name)["secret_environment_variables"]
        pinned = VARIABLES["secret_versions"]
        assert {s["key"]: (s["project_id"], s["secret"], s["version"]) for s in given} == {
            PREFIX + secret: (PROJECT, secrets[secret], str(pinned[secret])) for secret in row["secrets"]
        }, name


def test_the_table_gives_a_function_exactly_the_secrets_that_its_code_reads(tree: Tree, seen: Seen) -> None:
    given = {(name, secret) for name, row in tree.rows.items() for secret in row["secrets"]}
    assert given == seen.secrets
    assert {secret for _, secret in given} == {name.upper() for name in SECRETS}


def test_the_table_lets_exactly_those_call_vendors_that_do(tree: Tree, seen: Seen) -> None:
    assert {name for name, row in tree.rows.items() if row["calls_vendors"]} == seen.vendors


def test_the_table_lets_a_function_read_and_write_documents_exactly_where_its_code_does(tree: Tree, seen: Seen) -> None:
    for name, row in tree.rows.items():
        kinds = {kind for who, kind in seen.documents if who == name}
        assert row["documents"] == ("write" if "write" in kinds else "read" if kinds else "none"), name


def test_those_measure_that_answer_events(tree: Tree, seen: Seen) -> None:
    assert seen.measuring == set(tree.subscriptions)


def test_the_table_gives_a_function_exactly_the_objects_that_its_code_uses(tree: Tree, seen: Seen) -> None:
    given = {(name, bucket): access for name, row in tree.rows.items() for bucket, access in row["objects"].items()}
    assert given == dict(_accesses(seen))


def test_the_table_lets_a_function_publish_whatever_it_was_seen_publishing(tree: Tree, seen: Seen) -> None:
    assert {name for name, _ in seen.published} == {name for name, row in tree.rows.items() if row["publishes"]}
    assert seen.published <= {(name, topic) for name, row in tree.rows.items() for topic in row["publishes"]}


def _accesses(seen: Seen) -> Iterator[tuple[tuple[str, str], str]]:
    """The least access by which a function could do what it was seen doing in a bucket."""
    used: dict[tuple[str, str], set[str]] = {}
    for name, bucket, operation in seen.objects:
        used.setdefault((name, bucket), set()).add(operation)
    for place, operations in used.items():
        yield place, "replace" if "replace" in operations else "create" if operations - READING else "read"


def _service(tree: Tree, name: str, **variables: object) -> Values:
    (service,) = tree.each(FUNCTIONS, **variables)[name]["service_config"]
    found: Values = service
    return found


def _settings(tree: Tree, name: str, **variables: object) -> Settings:
    """What a function reads from its environment, with a secret in each place of one."""
    service = _service(tree, name, **variables)
    secrets = {s["key"]: "whsec_c2VjcmV0" for s in service["secret_environment_variables"]}
    return Settings.from_environment({**service["environment_variables"], **secrets})
