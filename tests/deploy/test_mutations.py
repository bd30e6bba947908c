"""Would the tests of this folder notice a mistake? Each one that is seeded here makes the test fail that is named."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shared.errors import SettingsError
from tests import test_wiring
from tests.deploy import planned
from tests.deploy.breakages import BREAKAGES, Edit
from tests.deploy.recorders import Seen
from tests.deploy.tree import ROOT, Tree
from tests.docs import test_readme

LEAST = 25
READ = (
    "README.md",
    "functions/*.py",
    "infra/*",
    "infra/dashboards/*",
    "shared/domain/*.py",
    "shared/settings.py",
    "shared/stores/*.json",
    "pyproject.toml",
)
EVENTS = test_wiring.EVENT_ROWS

pytestmark = pytest.mark.skipif(planned.TERRAFORM is None, reason="there is no terraform on the PATH")

Test = Callable[..., None]


def test_enough_mistakes_are_seeded_and_all_of_them_are_different():
    edits = [edit for edits in BREAKAGES.values() for edit in edits]
    assert len(edits) == len(set(edits)) >= LEAST


def test_without_a_mistake_every_one_of_these_tests_passes(tmp_path: Path, seen: Seen):
    tree = Tree(_copied(tmp_path))
    for test in BREAKAGES:
        _run(test, tree, seen)


@pytest.mark.parametrize(
    "test, edit",
    [
        pytest.param(test, edit, id=f"{test.__name__}-{number}")
        for test, edits in BREAKAGES.items()
        for number, edit in enumerate(edits, 1)
    ],
)
def test_the_mistake_is_noticed(tmp_path: Path, seen: Seen, test: Test, edit: Edit):
    root = _copied(tmp_path)
    file, old, new = edit
    before = (ROOT / file).read_text("utf-8")
    assert old in before, f"{file} has changed since: {old!r} is not in it any more"
    (root / file).unlink()
    (root / file).write_text(before.replace(old, new, 1), "utf-8")
    with pytest.raises((AssertionError, SettingsError, ValueError)) as noticed:
        _run(test, Tree(root), seen)
    assert "terraform console" not in str(noticed.value), "the mistake is to be noticed in what Terraform makes of it"


def _copied(folder: Path) -> Path:
    """Make a checkout of links to what the tests read of this one."""
    for path in (found for pattern in READ for found in ROOT.glob(pattern) if found.is_file()):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path)
    return folder


def _run(test: Test, tree: Tree, seen: Seen) -> None:
    """Run a test on *tree* in place of the checkout; one that is there per function, for all of them."""
    given: dict[str, Any] = {"tree": tree, "seen": seen}
    wanted = inspect.signature(test).parameters
    arguments = {name: given[name] for name in wanted if name in given}
    with _read_from(tree):
        for name in _names(test, tree) if "name" in wanted else [None]:
            test(**arguments, **({} if name is None else {"name": name}))


def _names(test: Any, tree: Tree) -> list[str]:
    (mark,) = (mark for mark in test.pytestmark if mark.name == "parametrize")
    return [name for name, row in tree.rows.items() if mark.args[1] is not EVENTS or "topic" in row["trigger"]]


@contextmanager
def _read_from(tree: Tree) -> Iterator[None]:
    """Have the tests of other folders, which read the checkout when they are loaded, look at *tree*."""
    with tree.wired(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_wiring, "ROOT", tree.root)
        patch.setattr(test_wiring, "ROWS", tree.rows)
        events = {name: row for name, row in tree.rows.items() if "topic" in row["trigger"]}
        patch.setattr(test_wiring, "EVENT_ROWS", events)
        patch.setattr(test_readme, "README", tree.text("README.md"))
        test_wiring._topics_of_step.cache_clear()
        yield
    test_wiring._topics_of_step.cache_clear()
