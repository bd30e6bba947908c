"""README's table of what each function may do, against the grants that Terraform would make."""

import re
from collections.abc import Iterator, Sequence

from tests.deploy.grants import Grant, granted
from tests.deploy.tree import PROJECT, Tree, member, service_id

HEADS = ["function", "may publish to", "documents", "objects", "secrets", "vendors"]
DOCUMENTS = {"roles/datastore.user": "reads and writes", "roles/datastore.viewer": "reads"}
_PLACE = re.compile(r"<!-- grants -->\n(.*?)<!-- end of grants -->", re.DOTALL)


def test_the_readme_says_what_every_function_may_do(tree: Tree) -> None:
    table = "".join(f"| {' | '.join(line)} |\n" for line in [HEADS, ["---"] * len(HEADS), *_rows(tree)])
    place = _PLACE.search(tree.text("README.md"))
    assert place, f"README has no table between <!-- grants --> and <!-- end of grants -->:\n{table}"
    assert place[1] == table


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
    if _on(own, "project", "roles/aiplatform.user"):
        yield "calls Vertex AI"
    if _on(own, "service_account", "roles/iam.serviceAccountTokenCreator"):
        yield "signs links to inputs as itself"
    if _on(own, "storage_bucket", "roles/storage.objectViewer")[:1] == ["bucket-of-inputs"]:
        yield "reads `input_buckets`"


def _listed(names: Iterator[str] | Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
