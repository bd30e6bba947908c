"""Indexes: what the code asks, what is declared and what Terraform would make; and which documents expire."""

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from shared.errors import InvalidDocument
from tests.deploy.recorders import Query, Seen
from tests.deploy.tree import DATABASE, ROOT, Tree


def test_the_recording_has_seen_every_function_that_asks_the_store(seen: Seen) -> None:
    files = [p for folder in ("functions", "shared/stores", "shared/resilience") for p in (ROOT / folder).glob("*.py")]
    asking = {name for file in files for name in _asking(ast.parse(file.read_text("utf-8")))}
    assert asking <= seen.askers


def test_every_query_of_the_code_has_a_declared_index(tree: Tree, seen: Seen) -> None:
    assert _unserved(_declared(tree), seen) == []


def test_every_composite_index_is_asked_by_a_query_of_the_code(tree: Tree, seen: Seen) -> None:
    for collection, fields in _composite(tree):
        fewer = _declared(tree)
        fewer[collection]["composite"].remove(list(fields))
        assert _unserved(fewer, seen) != [], f"no query needs {collection}/{fields}"


# ---------------------------------------------------------------- what Terraform would make


def test_terraform_makes_exactly_the_declared_composite_indexes(tree: Tree) -> None:
    assert {_as_declared(index) for index in tree.of_type("google_firestore_index")} == _composite(tree)


def test_an_index_is_left_out_of_a_time_to_live_unless_a_query_is_declared(tree: Tree) -> None:
    declared = _declared(tree)
    single = {(collection, name) for collection, rows in declared.items() for name in rows.get("single", ())}
    used = single | {(collection, part.removeprefix("-")) for collection, parts in _composite(tree) for part in parts}
    for field in tree.of_type("google_firestore_field"):
        is_used = (field["collection"], field["field"]) in used
        assert field["index_config"] == ([] if is_used else [{}]), field


def test_documents_expire_in_exactly_the_collections_that_say_when(tree: Tree, seen: Seen) -> None:
    expiring = [(f["collection"], f["field"]) for f in tree.of_type("google_firestore_field") if "ttl_config" in f]
    assert sorted(expiring) == sorted(found for found in seen.fields if found[1] == "expire_at")


def test_indexes_and_lifetimes_are_of_the_database_that_the_functions_use(tree: Tree) -> None:
    both = [*tree.of_type("google_firestore_index"), *tree.of_type("google_firestore_field")]
    assert {one["database"] for one in both} == {DATABASE}


# ---------------------------------------------------------------- one form for both sides


def _asking(node: ast.AST, inside: str = "") -> Iterator[str]:
    """The qualified names of the functions and methods that query a document store."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            yield from _asking(child, f"{inside}.{child.name}".removeprefix("."))
            continue
        if isinstance(child, ast.Call) and ast.unparse(child.func).endswith(("documents.query", "documents.aggregate")):
            yield inside
        yield from _asking(child, inside)


def _declared(tree: Tree) -> dict[str, Any]:
    found: dict[str, Any] = tree.json("shared/stores/indexes.json")
    return found


def _composite(tree: Tree) -> set[tuple[str, tuple[str, ...]]]:
    """The declared indexes: collection, fields."""
    rows = _declared(tree).items()
    return {(collection, tuple(fields)) for collection, one in rows for fields in one.get("composite", ())}


def _unserved(declared: Mapping[str, Any], seen: Seen) -> list[Query]:
    """The queries that would be refused."""
    return [query for query in seen.queries if not _is_served(query, declared)]


def _is_served(query: Query, declared: Mapping[str, Any]) -> bool:
    try:
        query.plan(declared)
    except InvalidDocument:
        return False
    return True


def _as_declared(index: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    marks = {"ASCENDING": "", "DESCENDING": "-"}
    return index["collection"], tuple(marks[f["order"]] + f["field_path"] for f in index["fields"])
