"""`cloudbuild.yaml`, carried out with programs that only note their calls: what happens when, and after a failure."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from functions import __main__
from shared.domain.money import parse_usd
from shared.domain.request import parse_request
from tests.deploy.cloud_build import BUILT_IN, CONFIG, STATE_URL, STEPS, CloudBuild, Outcome, expanded, own_archive
from tests.deploy.tree import ROOT

PREVIOUS = f"archives/{'a' * 64}.zip"
OTHER = f"archives/{'b' * 64}.zip"
IMAGES = {  # image → the repository of GitHub that says there is one
    "gcr.io/google.com/cloudsdktool/google-cloud-cli:573.0.0-emulators": "GoogleCloudPlatform/cloud-sdk-docker",
    "hashicorp/terraform:1.11.4": "hashicorp/terraform, release 1.11.4",
    "python:3.11-slim-trixie": "docker-library/python versions.json",
}
LEFT_TO_A_PERSON = [
    'google_project_iam_member.vertex["generate"] will be created',
    'google_pubsub_topic_iam_member.upstream["user:x"] must be replaced',
    'google_pubsub_subscription_iam_member.dead_letter_subscriber["validate"] will be destroyed',
    'google_service_account.function["new"] will be created',
    "google_project_iam_custom_role.plan will be updated in-place",
    'google_project_service.this["vision.googleapis.com"] will be created',
    'google_storage_bucket.data["outputs"] will be updated in-place',
    'google_secret_manager_secret.vendor["X"] will be created',
    "google_firestore_database.this must be replaced",
    "google_billing_budget.monthly will be updated in-place",
]
# With what they hold: a metric its data, a subscription its events.
LEFT_AS_THEY_END = [
    'google_cloud_scheduler_job.request["daily"] will be destroyed',
    'google_cloudfunctions2_function.this["quality_check"] will be destroyed',
    'google_firestore_field.expire_at["cache"] will be destroyed',
    'google_firestore_index.composite["jobs/state,due_at"] must be replaced',
    'google_monitoring_alert_policy.this["dead_letters"] will be destroyed',
    'google_monitoring_metric_descriptor.this["dead_letters"] must be replaced',
    'google_monitoring_metric_descriptor.this["dead_letters"] will be replaced, as requested',
    'google_pubsub_subscription.function["validate"] is tainted, so must be replaced',
    'google_pubsub_subscription.function["validate"] (deposed object 1a2b3c4d) will be destroyed',
    'google_pubsub_topic.this["quality-check"] will be destroyed',
    "google_storage_bucket.source must be replaced",
]
APPLIED = [
    'google_cloudfunctions2_function.this["ops"] will be updated in-place',
    'google_storage_bucket_object.archive["archives/0.zip"] will be created',
    'google_storage_bucket_object.archive["archives/1.zip"] will be destroyed',
    'google_cloud_scheduler_job.request["daily"] will be created',
    'google_firestore_index.composite["jobs/state,due_at"] will be created',
    'google_firestore_field.expire_at["cache"] will be updated in-place',
    'google_monitoring_alert_policy.this["dead_letters"] will be updated in-place',
    "google_monitoring_dashboard.this will be updated in-place",
    'google_pubsub_topic.this["new"] will be created',
    'google_pubsub_subscription.function["new"] will be created',
    "data.google_project.this will be read during apply",
    "google_project_iam_member.vertex has changed",
]
BECAUSE = '  # (because key ["archives/1.zip"] is not in for_each map)\n'
BODY = """  - resource "google_storage_bucket_object" "archive" {
      - deletion_policy = "ABANDON" -> null
        # (22 unchanged attributes hidden)
    }
"""


@pytest.fixture
def build(tmp_path: Path) -> CloudBuild:
    return CloudBuild(tmp_path, running=PREVIOUS)


def shown(*changes: str) -> str:
    """A plan as `terraform show` prints it, cut after the first lines of each change."""
    return "".join(f"  # {change}\n{BECAUSE if 'destroyed' in change else ''}{BODY}\n" for change in changes)


def applies(outcome: Outcome) -> list[str]:
    return outcome.called("terraform", " apply ")


# ---------------------------------------------------------------- how it is written


def test_the_steps_come_in_their_order_one_after_the_other() -> None:
    order = ["check", "test", "archive", "variables", "plan", "apply", "smoke test", "roll back"]
    assert list(STEPS) == ["terraform binary", "emulators", *order]
    assert not [step for step in STEPS.values() if "waitFor" in step]


def test_every_image_is_one_that_was_looked_up() -> None:
    assert {step["name"] for step in STEPS.values()} == set(IMAGES)


def test_a_build_may_go_on_only_after_a_failure_that_is_undone() -> None:
    assert {name for name, step in STEPS.items() if step.get("allowFailure")} == {"apply", "smoke test"}


@pytest.mark.parametrize("name", STEPS)
def test_a_script_stops_at_its_first_error_and_is_plain_sh(name: str) -> None:
    script = STEPS[name]["script"]
    assert script.startswith("set -eu\n")
    assert not re.search(r"\[\[|<<<|\bpipefail\b|\blocal\b|\$\$", script)
    assert subprocess.run(["sh", "-n", "-c", script], check=False).returncode == 0


def test_what_it_names_exists() -> None:
    scripts = "\n".join(step["script"] for step in STEPS.values())
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make (.+)$", scripts, re.MULTILINE)) == {"check scan"}
    assert {"check", "scan"} <= targets
    for module in re.findall(r"-m (functions[\w.]*)|from (functions[\w.]*) import", scripts):
        name = next(filter(None, module)).replace(".", "/")
        assert (ROOT / f"{name}.py").exists() or (ROOT / name / "__main__.py").exists()
    outputs = (ROOT / "infra" / "outputs.tf").read_text()
    assert {f'output "{name}"' in outputs for name in re.findall(r" output -raw (\w+)", scripts)} == {True}


def test_it_runs_as_the_account_that_only_reads_and_logs_where_that_may_write() -> None:
    account = expanded(CONFIG["serviceAccount"], BUILT_IN)
    assert account == "projects/some-project/serviceAccounts/atelier-plan@some-project.iam.gserviceaccount.com"
    assert CONFIG["options"]["logging"] == "CLOUD_LOGGING_ONLY"
    assert CONFIG["options"]["automapSubstitutions"] is True
    assert not {"availableSecrets", "secrets"} & set(CONFIG)


def test_the_triggers_give_substitutions_that_it_has() -> None:
    given = re.findall(r"\b(_[A-Z]+) = ", (ROOT / "infra" / "build.tf").read_text())
    assert set(given) == set(CONFIG["substitutions"])


@pytest.mark.parametrize(
    "text, found",
    [("$PROJECT_ID-x", "some-project-x"), ("${PROJECT_ID}_x", "some-project_x"), ("$$PROJECT_ID", "$PROJECT_ID")],
)
def test_substitutions_are_replaced_as_cloud_build_does(text: str, found: str) -> None:
    assert expanded(text, BUILT_IN) == found


# ---------------------------------------------------------------- what goes well


def test_a_push_to_main_is_tested_planned_applied_and_tried(build: CloudBuild) -> None:
    outcome = build.run(_APPLY="true")
    assert outcome.succeeded, outcome.told
    assert outcome.began == list(STEPS)
    assert build.running() == own_archive()
    [plan], [apply] = outcome.called("terraform", " plan "), applies(outcome)
    assert "-lock=true" in plan
    assert plan.rpartition("-out=")[2] == apply.rpartition(" ")[2]
    assert not outcome.called("-auto-approve")
    kinds = [
        "make check scan",
        "pytest",
        "functions._archive",
        "gcloud storage cp",
        " init ",
        " plan ",
        " apply ",
        " submit ",
    ]
    first = [next(n for n, call in enumerate(outcome.calls) if kind in call) for kind in kinds]
    assert first == sorted(first)


def test_state_and_variables_come_from_the_project_s_own_bucket(build: CloudBuild) -> None:
    outcome = build.run()
    assert outcome.called("gcloud storage cp", "gs://some-project-terraform/terraform.tfvars", "infra/terraform.tfvars")
    assert outcome.called("terraform", " init ", "-backend-config=bucket=some-project-terraform")


def test_a_pull_request_stops_after_its_plan(build: CloudBuild) -> None:
    outcome = build.run()
    assert outcome.succeeded, outcome.told
    assert outcome.called("terraform", " plan ", "-lock=false")
    assert applies(outcome) == outcome.called(" submit ") == []
    assert build.running() == PREVIOUS


def test_the_tests_find_terraform_and_the_emulators(build: CloudBuild) -> None:
    build.run()
    tools = build.workspace.parent / "tools"
    assert (build.world / "path").read_text().startswith(f"{tools}/bin:{tools}/sdk/bin:")
    assert (tools / "bin" / "terraform").exists()
    assert {path.name for path in (tools / "sdk" / "platform").iterdir()} == {
        "pubsub-emulator",
        "cloud-firestore-emulator",
    }
    assert (tools / "sdk" / "bin" / "gcloud").exists()


def test_the_smoke_request_is_a_new_cheap_one_that_a_template_cannot_answer(build: CloudBuild) -> None:
    [call] = build.run(_APPLY="true").called(" submit ")
    file = build.workspace / call.split()[-1]
    asked = parse_request(json.loads(file.read_text()), known_models=lambda _: False, schema_problem=lambda _: None)
    assert (asked.kind, asked.request_id, asked.cache, asked.fallback) == ("text", BUILT_IN["BUILD_ID"], "off", False)
    assert asked.max_cost_micro_usd <= parse_usd("0.01")
    options = __main__._parser().parse_args(call.split()[3:])
    assert 0 < options.wait < int(CONFIG["timeout"].rstrip("s")) / 2


def test_the_smoke_test_talks_to_what_was_applied(build: CloudBuild) -> None:
    build.run(_APPLY="true")
    assert (build.world / "asked").read_text().strip() == STATE_URL


# ---------------------------------------------------------------- what fails


@pytest.mark.parametrize("failing", ["check", "emulators", "test"])
def test_nothing_is_planned_of_what_does_not_pass(build: CloudBuild, failing: str) -> None:
    outcome = build.run(fail=failing, _APPLY="true")
    assert not outcome.succeeded
    assert outcome.called("terraform") == []
    assert outcome.began[-1] == ("test" if failing == "emulators" else failing)


@pytest.mark.parametrize("failing", ["apply", "smoke"])
def test_a_failure_brings_the_previous_archive_back_and_fails_the_build(build: CloudBuild, failing: str) -> None:
    outcome = build.run(fail=failing, _APPLY="true")
    assert not outcome.succeeded
    assert build.running() == PREVIOUS
    assert applies(outcome)[-1].endswith(f"-auto-approve -var archive={PREVIOUS}")
    assert len(outcome.called(" submit ")) == (failing == "smoke")
    assert f"run {PREVIOUS} again" in outcome.told


def test_a_way_back_that_fails_is_told_of_by_the_failing_step(build: CloudBuild) -> None:
    outcome = build.run(fail="smoke back", _APPLY="true")
    assert not outcome.succeeded
    assert "again" not in outcome.told


@pytest.mark.parametrize("failing", ["apply", "smoke"])
def test_a_first_deployment_that_fails_has_nothing_to_go_back_to(tmp_path: Path, failing: str) -> None:
    outcome = CloudBuild(tmp_path).run(fail=failing, _APPLY="true")
    assert not outcome.succeeded
    assert len(applies(outcome)) == 1
    assert "No earlier archive" in outcome.told


def test_a_first_deployment_that_goes_well_is_one(tmp_path: Path) -> None:
    build = CloudBuild(tmp_path)
    assert build.run(_APPLY="true").succeeded
    assert build.running() == own_archive()


@pytest.mark.parametrize("change", [*LEFT_TO_A_PERSON, *LEFT_AS_THEY_END])
def test_a_plan_of_what_the_account_may_not_change_or_end_is_left_to_a_person(tmp_path: Path, change: str) -> None:
    outcome = CloudBuild(tmp_path, running=PREVIOUS, planned=shown(*APPLIED, change)).run(_APPLY="true")
    assert not outcome.succeeded
    assert applies(outcome) == []
    assert [line for line in outcome.told.splitlines() if line.startswith("  # ")] == [f"  # {change}"]
    assert "A person applies" in outcome.told
    assert "Nothing was changed." in outcome.told


def test_a_plan_of_code_and_configuration_is_applied(tmp_path: Path) -> None:
    outcome = CloudBuild(tmp_path, running=PREVIOUS, planned=shown(*APPLIED)).run(_APPLY="true")
    assert outcome.succeeded, outcome.told


def test_what_is_applied_and_what_is_left_are_kinds_that_terraform_has() -> None:
    lines = (*APPLIED, *LEFT_TO_A_PERSON, *LEFT_AS_THEY_END)
    named = {line.removeprefix("data.").partition(".")[0] for line in lines}
    configuration = "\n".join(file.read_text() for file in (ROOT / "infra").glob("*.tf"))
    assert named <= set(re.findall(r'^(?:resource|data) "(\w+)"', configuration, re.MULTILINE))


def test_what_another_build_has_deployed_meanwhile_stays(build: CloudBuild) -> None:
    (build.world / "own").write_text(OTHER)  # as if it had come between this build's apply and its smoke test
    outcome = build.run(fail="smoke", _APPLY="true")
    assert not outcome.succeeded
    assert build.running().strip() == OTHER
    assert len(applies(outcome)) == 1
