"""The wiring table `infra/functions.json` against the code: files, entry points, topics, deadlines.

What a function can publish is read from its source: the topics of the steps in `shared/domain/moves.py` that it takes,
and those it names itself.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from functions.generate import CALL_S, LEASE_GRACE_S, STORE_S
from shared.adapters import wiring
from shared.domain.request import DEFAULT_DEADLINE_S
from shared.settings import Settings

ROOT = Path(__file__).parents[1]
ROWS = wiring.functions()
EVENT_ROWS = {name: row for name, row in ROWS.items() if "topic" in row["trigger"]}
PUBLIC = {wiring.RESULTS}
WAKE_UPS = {"requests"}  # whoever ends a job wakes those that waited for its answer
FROM_OUTSIDE = {"requests", "uploads", "ticks"}
MOST_S = 540  # an event function's limit, cloud.google.com/functions/quotas
MOST_ACK_S = 600  # cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions


# ---------------------------------------------------------------- rows, files, deadlines


def test_every_function_has_its_file_and_every_file_its_row() -> None:
    files = {path.stem for path in (ROOT / "functions").glob("[a-z]*.py")}
    assert files == set(ROWS)
    assert {row["source"] for row in ROWS.values()} == {f"functions/{name}.py" for name in ROWS}


@pytest.mark.parametrize("name", ROWS)
def test_the_entry_point_is_a_plain_function_of_that_name_registered_for_http(name: str) -> None:
    entries = {
        node.name: [ast.unparse(d) for d in node.decorator_list]
        for node in _tree(ROOT / ROWS[name]["source"]).body
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    }
    assert entries == {ROWS[name]["entry_point"]: ["functions_framework.http"]}


def test_every_row_has_the_same_fields() -> None:
    common = {
        "entry_point",
        "source",
        "trigger",
        "publishes",
        "documents",
        "objects",
        "secrets",
        "calls_vendors",
        "timeout_s",
        "memory_mib",
        "concurrency",
        "max_instances",
    }
    delivery = {"ack_deadline_s", "max_delivery_attempts", "min_backoff_s", "max_backoff_s"}
    for name, row in ROWS.items():
        assert set(row) == common | (delivery if name in EVENT_ROWS else set()), name


@pytest.mark.parametrize("name", EVENT_ROWS)
def test_a_delivery_outlasts_the_function_and_stays_within_the_clouds_limits(name: str) -> None:
    row = ROWS[name]
    assert 0 < row["timeout_s"] < row["ack_deadline_s"] <= MOST_ACK_S
    assert row["timeout_s"] <= MOST_S
    assert 5 <= row["max_delivery_attempts"] <= 100
    assert 0 <= row["min_backoff_s"] <= row["max_backoff_s"] <= MOST_ACK_S


@pytest.mark.parametrize("kind", CALL_S)
def test_a_paid_call_and_storing_what_it_delivered_fit_into_the_functions_time(kind: str) -> None:
    assert CALL_S[kind] + STORE_S <= Settings().lease_s < ROWS["generate"]["timeout_s"]
    assert CALL_S[kind] + STORE_S < DEFAULT_DEADLINE_S[kind] - LEASE_GRACE_S, (
        "a lost owner must leave time for another try"
    )


# ---------------------------------------------------------------- topics


def test_every_topic_has_exactly_one_function() -> None:
    topics = [row["trigger"]["topic"] for row in EVENT_ROWS.values()]
    assert sorted(topics) == sorted(set(topics))


def test_what_is_published_is_consumed_or_public() -> None:
    consumed = {row["trigger"]["topic"] for row in EVENT_ROWS.values()}
    published = {topic for row in ROWS.values() for topic in row["publishes"]}
    assert published - PUBLIC <= consumed
    assert consumed - FROM_OUTSIDE - {wiring.DEAD_LETTER} <= published


@pytest.mark.parametrize("name", EVENT_ROWS)
def test_the_modules_docstring_names_its_topic(name: str) -> None:
    assert f"Consumes `{ROWS[name]['trigger']['topic']}`" in (
        ast.get_docstring(_tree(ROOT / ROWS[name]["source"])) or ""
    )


@pytest.mark.parametrize("name", ROWS)
def test_a_row_lists_exactly_what_its_code_can_publish(name: str) -> None:
    assert sorted(ROWS[name]["publishes"]) == sorted(_published_by(name))


def test_every_topic_has_a_local_subscription_and_all_but_the_last_resort_a_dead_letter_topic() -> None:
    local = wiring.subscriptions()
    assert set(local) == {row["trigger"]["topic"] for row in EVENT_ROWS.values()} | PUBLIC
    for topic, [subscription] in local.items():
        assert subscription.dead_letter_topic == (
            None if topic in {wiring.DEAD_LETTER, *PUBLIC} else wiring.DEAD_LETTER
        )


# ---------------------------------------------------------------- what the code can publish


def _published_by(name: str) -> set[str]:
    """Return the topics to which a function's code can send."""
    trees = [_tree(path) for path in _own_files(ROOT / ROWS[name]["source"])]
    topics = {topic for tree in trees for topic in _named_topics(tree)}
    topics |= {topic for tree in trees for step in _attributes_of(tree, "moves") for topic in _topics_of_step(step)}
    if any(isinstance(node, ast.Name) and node.id == "rejected_job" for tree in trees for node in ast.walk(tree)):
        topics |= _batons("shared/domain/intake.py")
    if any(isinstance(node, ast.Name) and node.id == "owed" for tree in trees for node in ast.walk(tree)):
        topics |= _sent_by_the_tick()
    if any({"advance", "load"} & _attributes_of(tree, "_runtime") for tree in trees):
        topics.add(
            wiring.RESULTS
        )  # a late copy of the event of a job that was ended from outside sends its result again
    return topics | (WAKE_UPS if wiring.RESULTS in topics else set())


def _own_files(source: Path) -> Iterator[Path]:
    """The function's file and the private modules it imports, except the runtime, which sends only batons."""
    yield source
    for node in ast.walk(_tree(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("functions."):
            path = ROOT / f"{str(node.module).replace('.', '/')}.py"
            if path.stem not in {"_runtime", "_decode"}:
                yield path


def _named_topics(tree: ast.AST) -> Iterator[str]:
    """The topics in `Message("topic", …)` and `baton_message(job, "topic")`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func).rpartition(".")[2]
        place = {"Message": 0, "baton_message": 1}.get(called)
        if place is not None and len(node.args) > place and isinstance(node.args[place], ast.Constant):
            yield str(ast.literal_eval(node.args[place]))


def _attributes_of(tree: ast.AST, module: str) -> set[str]:
    """The names that are used of an imported module."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == module
    }


@functools.cache
def _topics_of_step(step: str) -> frozenset[str]:
    """The topics of the batons that a step of `moves.py` can leave behind."""
    steps = {n.name: n for n in _tree(ROOT / "shared/domain/moves.py").body if isinstance(n, ast.FunctionDef)}
    if step not in steps:
        return frozenset()
    topics: set[str] = set()
    for node in ast.walk(steps[step]):
        if isinstance(node, ast.keyword) and node.arg == "topic" and isinstance(node.value, ast.Constant):
            topics |= {str(node.value.value)} if node.value.value else set()
        elif isinstance(node, ast.Name) and node.id in steps and node.id != step:
            topics |= _topics_of_step(node.id)
    return frozenset(topics)


def _batons(file: str) -> set[str]:
    """The topics of the batons that a file makes itself."""
    calls = [n for n in ast.walk(_tree(ROOT / file)) if isinstance(n, ast.Call) and ast.unparse(n.func) == "Baton"]
    return {str(ast.literal_eval(call.args[0])) for call in calls}


def _sent_by_the_tick() -> set[str]:
    """What the tick owes jobs: events it names, and the lost baton of any job that is not finished."""
    due = _tree(ROOT / "shared/domain/due.py")
    named = {
        str(node.args[0].value)
        for node in ast.walk(due)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "Send"
        and isinstance(node.args[0], ast.Constant)
        and node.args[0].value
    }
    moves = _tree(ROOT / "shared/domain/moves.py")
    every = {topic for node in moves.body if isinstance(node, ast.FunctionDef) for topic in _topics_of_step(node.name)}
    return named | (every - PUBLIC)


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))
