"""The declared indexes against the queries that the code makes: none is missing, and none is paid for in vain."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

from shared.adapters.query_rules import load_indexes
from shared.errors import InvalidDocument
from tests.deploy.recorded import COMPOSITE, RecordingStore

ROOT = Path(__file__).parents[2]


def test_the_recording_has_seen_every_function_that_asks_the_store(store: RecordingStore) -> None:
    files = [p for folder in ("functions", "shared/stores", "shared/resilience") for p in (ROOT / folder).glob("*.py")]
    asking = {name for file in files for name in _asking(ast.parse(file.read_text("utf-8")))}
    assert asking <= store.askers


def test_every_query_of_the_code_has_a_declared_index(store: RecordingStore) -> None:
    declared = load_indexes()
    for query in store.queries:
        query.plan(declared)


def test_every_composite_index_is_asked_by_a_query_of_the_code(store: RecordingStore) -> None:
    assert [index for index in COMPOSITE if not _is_asked(index, store)] == []


def _asking(node: ast.AST, inside: str = "") -> Iterator[str]:
    """The qualified names of the functions and methods that query a document store."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            yield from _asking(child, f"{inside}.{child.name}".removeprefix("."))
            continue
        if isinstance(child, ast.Call) and ast.unparse(child.func).endswith(("documents.query", "documents.aggregate")):
            yield inside
        yield from _asking(child, inside)


def _is_asked(index: tuple[str, tuple[str, ...]], store: RecordingStore) -> bool:
    """Whether some query would be refused without this index."""
    declared = json.loads(json.dumps(load_indexes()))
    declared[index[0]]["composite"].remove(list(index[1]))
    for query in store.queries:
        try:
            query.plan(declared)
        except InvalidDocument:
            return True
    return False
