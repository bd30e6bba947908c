"""README's tables of who may do what and what is kept for how long, against what Terraform would make."""

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from functions.on_webhook import KEPT
from shared.settings import Settings
from shared.stores.budget_shards import KEPT_DAYS
from tests.deploy.grants import Grant, granted
from tests.deploy.hcl import read_blocks
from tests.deploy.tree import AGENT, PROJECT, STORAGE_AGENT, VARIABLES, Tree, member, service_id

HEADS = ["function", "may publish to", "documents", "objects", "secrets", "vendors", "why"]
AGENTS = {AGENT: "Pub/Sub's agent", STORAGE_AGENT: "Cloud Storage's agent"}
GRANTED_BY_GOOGLE = {"Vertex AI's agent"}  # by itself, with the API
# google.firestore.admin.v1.Database.PointInTimeRecoveryEnablement; without it, an hour.
PITR_DAYS = {"POINT_IN_TIME_RECOVERY_ENABLED": 7, "POINT_IN_TIME_RECOVERY_DISABLED": 0}
DOCUMENTS = {"roles/datastore.user": "reads and writes", "roles/datastore.viewer": "reads"}
_PLACE = re.compile(r"<!-- grants -->\n(.*?)<!-- end of grants -->", re.DOTALL)


def test_the_readme_says_what_every_function_may_do(tree: Tree) -> None:
    table = "".join(f"| {' | '.join(line)} |\n" for line in [HEADS, ["---"] * len(HEADS), *_rows(tree)])
    place = _PLACE.search(tree.text("README.md"))
    assert place, f"README has no table between <!-- grants --> and <!-- end of grants -->:\n{table}"
    assert place[1] == table


# ---------------------------------------------------------------- accounts, variables


def test_every_account_that_is_no_functions_has_a_row_and_no_other(tree: Tree) -> None:
    assert set(_table(tree, "account")) == {_called(who) for who in _others(tree)} | GRANTED_BY_GOOGLE


def test_the_row_of_one_of_googles_accounts_names_the_topics_it_may_publish_on(tree: Tree) -> None:
    for agent, name in AGENTS.items():
        topics = _on(
            [grant for grant in granted(tree) if grant.member == agent], "pubsub_topic", "roles/pubsub.publisher"
        )
        assert topics, name
        assert [topic for topic in topics if f"`{topic}`" not in _table(tree, "account")[name]] == [], name


def test_every_variable_that_lets_somebody_in_has_a_row_and_no_other(tree: Tree) -> None:
    sets = [name for name, block in _variables(tree).items() if block["type"] == "set(string)"]
    switches = [name for name, block in _variables(tree).items() if block["type"] == "bool"]
    named = {part for grant in granted(tree) for part in grant}
    letting_in = {name for name in sets if named & {*VARIABLES[name]}}
    letting_in |= {name for name in switches if granted(tree, **{name: True}) != granted(tree)}
    assert set(_table(tree, "variable")) == letting_in


def _others(tree: Tree) -> set[str]:
    """Members that are neither functions nor named by a variable."""
    people = {who for name in ("operators", "publishers", "readers") for who in VARIABLES[name]}
    return {grant.member for grant in granted(tree)} - people - {member(service_id(name)) for name in tree.rows}


def _called(who: str) -> str:
    return AGENTS.get(who, who.removeprefix("serviceAccount:").partition("@")[0])


# ---------------------------------------------------------------- what is kept


def test_whatever_is_kept_is_kept_for_as_many_days_as_it_says(tree: Tree) -> None:
    rows = _table(tree, "what")
    told: dict[str, set[int]] = {}
    for word, days in _kept_days(tree).items():
        [row] = [row for row in rows.values() if word in row]
        told.setdefault(row, set()).add(days)
    for row, days in told.items():
        assert {int(number) for number in re.findall(r"(\d+)(?= days?\b|\))", row)} == days, row


def test_what_is_kept_until_somebody_deletes_it_never_expires(tree: Tree) -> None:
    [row] = [row for row in _table(tree, "what").values() if "ledger" in row]
    assert "until you delete" in row
    assert {"jobs", "ledger"} & {field["collection"] for field in tree.of_type("google_firestore_field")} == set()


def _kept_days(tree: Tree) -> Mapping[str, int]:
    """A word of the row → days, of all that is deleted some time."""
    buckets = tree.each("google_storage_bucket.data").values()
    (deleted,) = {bucket["soft_delete_policy"][0]["retention_duration_seconds"] for bucket in buckets}
    (waiting,) = {one["message_retention_duration"] for one in tree.of_type("google_pubsub_subscription")}
    (database,) = tree.of_type("google_firestore_database")
    return {
        "budgets": KEPT_DAYS,
        "`ATELIER_CACHE_S`": timedelta(seconds=Settings().cache_s).days,
        "webhooks": KEPT.days,
        "`inbox_days`": int(_variables(tree)["inbox_days"]["default"]),
        "`outputs_days`": int(_variables(tree)["outputs_days"]["default"]),
        "soft-deleted": timedelta(seconds=deleted).days,
        "point-in-time": PITR_DAYS[database["point_in_time_recovery_enablement"]],
        "events": timedelta(seconds=int(waiting.removesuffix("s"))).days,
    }


# ---------------------------------------------------------------- reading


def _table(tree: Tree, head: str) -> dict[str, str]:
    """First cell → row, of the table in Security whose first head this is."""
    [security] = re.findall(r"^## Security\n(.*?)^## ", tree.text("README.md"), re.MULTILINE | re.DOTALL)
    [rows] = re.findall(rf"^\| {head} \|.*\n\|[-| ]+\n((?:\|.*\n)+)", security, re.MULTILINE)
    return {row.split("|")[1].strip(" `"): row for row in rows.splitlines()}


def _variables(tree: Tree) -> dict[str, Mapping[str, str]]:
    """Name → attributes of every variable, as expressions."""
    blocks = read_blocks(tree.text("infra/variables.tf"))
    return {block.labels[0]: block.attributes for block in blocks if block.kind == "variable"}


# ---------------------------------------------------------------- functions


def _rows(tree: Tree) -> Iterator[list[str]]:
    grants = granted(tree)
    for name in tree.rows:
        own = [grant for grant in grants if grant.member == member(service_id(name))]
        secrets = _on(own, "secret_manager_secret", "roles/secretmanager.secretAccessor")
        yield [
            f"`{name}`",
            _listed(_on(own, "pubsub_topic", "roles/pubsub.publisher")),
            ", ".join(DOCUMENTS[grant.role] for grant in own if grant.role in DOCUMENTS),
            "; ".join(_objects(own)),
            _listed(secret.removeprefix("atelier-").replace("-", "_").upper() for secret in secrets),
            "; ".join(_vendors(own)),
            _purpose(tree.text(tree.rows[name]["source"])),
        ]


def _on(grants: Sequence[Grant], place: str, role: str) -> list[str]:
    return sorted(grant.name for grant in grants if (grant.place, grant.role) == (place, role))


def _objects(own: Sequence[Grant]) -> Iterator[str]:
    verbs = {"objectViewer": "reads", "objectCreator": "adds to", "objectUser": "reads, writes and deletes in"}
    for role, verb in verbs.items():
        ours = [b for b in _on(own, "storage_bucket", f"roles/storage.{role}") if b.startswith(f"{PROJECT}-")]
        if ours:
            yield f"{verb} {_listed(bucket.removeprefix(f'{PROJECT}-') for bucket in ours)}"


def _vendors(own: Sequence[Grant]) -> Iterator[str]:
    if _on(own, "project", "roles/atelierVertex"):
        yield "calls Vertex AI"
    if _on(own, "service_account", "roles/iam.serviceAccountTokenCreator"):
        yield "signs links to inputs as itself"
    if _on(own, "storage_bucket", "roles/storage.objectViewer")[:1] == ["bucket-of-inputs"]:
        yield "reads `input_buckets`"


def _purpose(source: str) -> str:
    """What a module says of itself in its first paragraph, without the number and name of a stage."""
    told, *_ = (ast.get_docstring(ast.parse(source)) or "").split("\n\n")
    return re.sub(r"^Stage \d, [\w ]+\. ", "", " ".join(told.split()))


def _listed(names: Iterator[str] | Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
