"""What every `DocumentStore` does, whatever is behind it."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

import pytest

from shared.errors import DocumentTooLarge, InvalidDocument, StoreConflict
from shared.ports import DocumentStore, Json, Write, create, delete, put, update

from .conftest import Together

EVERYTHING: Json = {
    "text": 'Zürich 東京 🎨 \u0000 " \\ \n',
    "empty": "",
    "largest": 2**63 - 1,
    "smallest": -(2**63),
    "exact": 9_007_199_254_740_993,
    "fraction": 0.1,
    "yes": True,
    "no": False,
    "nothing": None,
    "array": [1, "two", None, {"three": [3.5]}],
    "empty_array": [],
    "object": {"a": {"b": {}}},
}


def read(store: DocumentStore, path: str) -> Json | None:
    (found,) = store.get([path])
    return None if found is None else found.data


def version(store: DocumentStore, path: str) -> str:
    (found,) = store.get([path])
    assert found is not None
    return found.version


def names(store: DocumentStore, *where: tuple[str, Any, Any], **options: Any) -> list[str]:
    return [found.path.removeprefix("items/") for found in store.query("items", where, **{"limit": 100} | options)]


# ---------------------------------------------------------------- get


def test_a_document_reads_back_as_it_was_written(store: DocumentStore) -> None:
    store.commit([create("items/a", EVERYTHING)])
    data = read(store, "items/a")
    assert data == EVERYTHING
    assert data is not None
    assert {name: type(value) for name, value in data.items()} == {n: type(value) for n, value in EVERYTHING.items()}


def test_documents_come_in_the_order_asked_and_missing_ones_are_none(store: DocumentStore) -> None:
    store.commit([create("items/a", {"n": 1}), create("others/a", {"n": 2}), create("items/b", {"n": 3})])
    found = store.get(["items/b", "items/none", "others/a", "items/a", "nowhere/a", "items/b"])
    assert [snapshot and (snapshot.path, snapshot.data["n"]) for snapshot in found] == [
        ("items/b", 3),
        None,
        ("others/a", 2),
        ("items/a", 1),
        None,
        ("items/b", 3),
    ]


def test_getting_nothing_returns_nothing(store: DocumentStore) -> None:
    assert store.get([]) == []


# ---------------------------------------------------------------- preconditions


def test_fifty_concurrent_creates_have_one_winner(store: DocumentStore, together: Together) -> None:
    results = together(50, lambda n: store.commit([create("items/a", {"n": n})]))
    winners = [n for n, result in enumerate(results) if isinstance(result, list)]
    assert len(winners) == 1
    assert sum(isinstance(result, StoreConflict) for result in results) == 49
    assert read(store, "items/a") == {"n": winners[0]}


def test_a_stale_version_is_refused_and_changes_nothing(store: DocumentStore) -> None:
    (first,) = store.commit([create("items/a", {"n": 1})])
    store.commit([put("items/a", {"n": 2}, first)])
    for write in (
        put("items/a", {"n": 3}, first),
        update("items/a", {"n": 3}, version=first),
        delete("items/a", first),
    ):
        with pytest.raises(StoreConflict):
            store.commit([write])
    assert read(store, "items/a") == {"n": 2}


def test_of_concurrent_writes_over_one_version_one_wins(store: DocumentStore, together: Together) -> None:
    (first,) = store.commit([create("items/a", {"n": -1})])
    results = together(10, lambda n: store.commit([put("items/a", {"n": n}, first)]))
    assert sum(isinstance(result, list) for result in results) == 1


def test_writes_that_retry_on_conflict_lose_no_update(store: DocumentStore, together: Together) -> None:
    store.commit([create("items/a", {"n": 0})])

    def add_one() -> bool:
        (found,) = store.get(["items/a"])
        assert found is not None
        try:
            store.commit([put("items/a", {"n": found.data["n"] + 1}, found.version)])
        except StoreConflict:
            return False
        return True

    def add_five(_: int) -> None:
        added = 0
        while added < 5:
            added += add_one()

    together(6, add_five)
    assert read(store, "items/a") == {"n": 30}


def test_a_failed_commit_leaves_nothing(store: DocumentStore) -> None:
    store.commit([create("items/old", {"n": 1}), create("items/gone", {"n": 1})])
    writes = [
        create("items/new", {"n": 2}),
        put("others/new", {"n": 2}),
        update("items/old", {"n": 2}, {"more": 1}),
        delete("items/gone"),
        create("items/old", {"n": 3}),
    ]
    with pytest.raises(StoreConflict):
        store.commit([*writes[:2], writes[3], writes[4]])
    with pytest.raises(StoreConflict):
        store.commit([*writes[:4], update("items/missing", {"n": 2})])
    found = store.get(["items/new", "others/new", "items/old", "items/gone"])
    assert [snapshot and snapshot.data for snapshot in found] == [None, None, {"n": 1}, {"n": 1}]


def test_a_commit_returns_the_versions_that_reads_show(store: DocumentStore) -> None:
    store.commit([create("items/c", {})])
    versions = store.commit([create("items/a", {}), delete("items/c"), put("items/b", {})])
    assert versions == [version(store, "items/a"), "", version(store, "items/b")]


def test_every_change_changes_the_version(store: DocumentStore) -> None:
    seen = store.commit([create("items/a", {"n": 1})])
    for write in (put("items/a", {"n": 2}), update("items/a", {"n": 3}), update("items/a", increments={"n": 1})):
        seen += store.commit([write])
    assert len(set(seen)) == 4


def test_a_version_never_comes_back_after_a_deletion(store: DocumentStore) -> None:
    (old,) = store.commit([create("items/a", {"n": 1})])
    store.commit([delete("items/a")])
    store.commit([create("items/a", {"n": 1})])
    with pytest.raises(StoreConflict):
        store.commit([put("items/a", {"n": 2}, old)])


def test_a_version_of_another_document_is_refused(store: DocumentStore) -> None:
    first, _ = (store.commit([create(f"items/{name}", {})])[0] for name in "ab")
    with pytest.raises(StoreConflict):
        store.commit([put("items/b", {"n": 1}, first)])


def test_an_empty_commit_does_nothing(store: DocumentStore) -> None:
    assert store.commit([]) == []


# ---------------------------------------------------------------- kinds of writes


def test_putting_replaces_the_whole_document(store: DocumentStore) -> None:
    store.commit([put("items/a", {"old": 1, "both": 1})])
    store.commit([put("items/a", {"both": 2})])
    assert read(store, "items/a") == {"both": 2}


def test_a_set_may_demand_that_the_document_exists(store: DocumentStore) -> None:
    write = Write("items/a", "set", {"n": 1}, demand="exists")
    with pytest.raises(StoreConflict):
        store.commit([write])
    store.commit([create("items/a", {}), create("items/b", {})])
    store.commit([write])
    assert read(store, "items/a") == {"n": 1}


def test_an_update_sets_only_the_fields_given(store: DocumentStore) -> None:
    store.commit([create("items/a", {"kept": 1, "changed": {"deep": 1}})])
    store.commit([update("items/a", {"changed": {"other": 2}, "new": None})])
    assert read(store, "items/a") == {"kept": 1, "changed": {"other": 2}, "new": None}


def test_updating_a_missing_document_is_a_conflict(store: DocumentStore) -> None:
    with pytest.raises(StoreConflict):
        store.commit([update("items/a", {"n": 1})])
    assert read(store, "items/a") is None


def test_a_missing_field_is_incremented_from_zero(store: DocumentStore) -> None:
    store.commit([create("items/a", {"n": 5})])
    store.commit([update("items/a", {"set": 1}, {"n": -7, "new": 3})])
    assert read(store, "items/a") == {"n": -2, "new": 3, "set": 1}


def test_concurrent_increments_add_up_exactly(store: DocumentStore, together: Together) -> None:
    store.commit([create("items/a", {"n": 0})])
    together(10, lambda n: [store.commit([update("items/a", increments={"n": n})]) for _ in range(5)])
    assert read(store, "items/a") == {"n": 5 * sum(range(10))}


def test_deleting_removes_and_deleting_again_is_no_error(store: DocumentStore) -> None:
    store.commit([create("items/a", {})])
    assert store.commit([delete("items/a")]) == [""]
    assert read(store, "items/a") is None
    assert store.commit([delete("items/a")]) == [""]


def test_deleting_a_version_of_a_missing_document_is_a_conflict(store: DocumentStore) -> None:
    (old,) = store.commit([create("items/a", {})])
    store.commit([delete("items/a")])
    with pytest.raises(StoreConflict):
        store.commit([delete("items/a", old)])


# ---------------------------------------------------------------- limits


def test_a_commit_takes_500_writes_and_not_501(store: DocumentStore) -> None:
    writes = [create(f"others/{n}", {"n": n}) for n in range(501)]
    with pytest.raises(InvalidDocument, match="500"):
        store.commit(writes)
    assert len(store.commit(writes[:500])) == 500


def test_a_commit_writes_each_document_once(store: DocumentStore) -> None:
    with pytest.raises(InvalidDocument, match="twice"):
        store.commit([put("items/a", {"n": 1}), update("items/a", {"n": 2})])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"t": "x" * 1_048_576}, id="one text"),
        pytest.param({"t": "x" * 1_048_488}, id="one text that leaves room for nothing else"),
        pytest.param({"t": "é" * 524_288}, id="bytes, not characters"),
        pytest.param({f"f{n}": "x" * 10_000 for n in range(105)}, id="many texts"),
        pytest.param({"n": [0] * 131_072}, id="integers of 8 bytes each"),
        pytest.param({"n": [{}] * 32_768}, id="objects of 32 bytes each"),
    ],
)
def test_a_document_over_1_mib_is_refused(store: DocumentStore, data: Json) -> None:
    with pytest.raises(DocumentTooLarge):
        store.commit([put("items/a", data)])


def test_a_document_just_under_1_mib_is_kept(store: DocumentStore) -> None:
    data = {"a": "x" * 500_000, "b": "é" * 250_000, "n": [0] * 6_000}
    store.commit([put("items/a", data)])
    assert read(store, "items/a") == data


def test_an_update_may_not_grow_a_document_beyond_1_mib(store: DocumentStore) -> None:
    store.commit([create("items/a", {"a": "x" * 600_000})])
    with pytest.raises(DocumentTooLarge):
        store.commit([update("items/a", {"b": "x" * 600_000})])
    assert read(store, "items/a") == {"a": "x" * 600_000}


@pytest.mark.parametrize(
    "name", ["a", "..a", "...", "_", "__x", "x__", "a.b-c d~:@?#%", "é" * 750, "x" * 1_500, "東京"]
)
def test_odd_ids_are_kept(store: DocumentStore, name: str) -> None:
    store.commit([create(f"items/{name}", {"n": 1})])
    (found,) = store.get([f"items/{name}"])
    assert found is not None
    assert found.path == f"items/{name}"


@pytest.mark.parametrize(
    "path",
    [
        "items",
        "items/",
        "/a",
        "",
        "items/a/b",
        "items/.",
        "items/..",
        "items/__x__",
        "items/____",
        "items/" + "x" * 1_501,
        "items/" + "é" * 751,
        "items/\ud800",
        "../a",
        "it ems/a",
        'items"/a',
    ],
)
def test_an_impossible_path_is_refused(store: DocumentStore, path: str) -> None:
    with pytest.raises(InvalidDocument):
        store.commit([put(path, {})])
    with pytest.raises(InvalidDocument):
        store.get([path])


def nested(levels: int) -> Json:
    return {"in": nested(levels - 1)} if levels > 1 else {"in": 1}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"n": 2**63}, id="integer over 64 bits"),
        pytest.param({"n": -(2**63) - 1}, id="integer under 64 bits"),
        pytest.param({"n": [{"deep": 10**30}]}, id="huge integer deep inside"),
        pytest.param({"n": math.nan}, id="NaN"),
        pytest.param({"n": [math.inf]}, id="infinity"),
        pytest.param({"n": [[1]]}, id="array in array"),
        pytest.param({"n": [{"m": [1, [2]]}]}, id="array in array deep inside"),
        pytest.param({1: "x"}, id="key not text"),
        pytest.param({"n": {None: 1}}, id="key null"),
        pytest.param({"n": b"bytes"}, id="bytes"),
        pytest.param({"n": {1, 2}}, id="set"),
        pytest.param({"n": dt.datetime(2026, 11, 21, tzinfo=dt.UTC)}, id="time"),
        pytest.param({"n": "\ud800"}, id="half a surrogate pair"),
        pytest.param({"\ud800": 1}, id="half a surrogate pair as a name"),
        pytest.param({"__x__": 1}, id="reserved name"),
        pytest.param({"n": {"__x__": 1}}, id="reserved name deep inside"),
        pytest.param({"": 1}, id="empty name"),
        pytest.param({"x" * 1_501: 1}, id="long name"),
        pytest.param(nested(21), id="too deep"),
        pytest.param({"a": [nested(19)]}, id="too deep in an array"),
        pytest.param({"name": "x" * 1_501}, id="indexed text over 1,500 bytes"),
        pytest.param(["not", "an", "object"], id="not an object"),
    ],
)
def test_an_impossible_document_is_refused_whether_set_or_updated(store: DocumentStore, data: Any) -> None:
    store.commit([create("items/old", {"n": 0})])
    for write in (put("items/new", data), update("items/old", data)):
        with pytest.raises(InvalidDocument):
            store.commit([create("items/other", {}), write])
    assert [snapshot and snapshot.data for snapshot in store.get(["items/old", "items/new", "items/other"])] == [
        {"n": 0},
        None,
        None,
    ]


def test_twenty_levels_are_kept(store: DocumentStore) -> None:
    store.commit([put("items/a", nested(20))])
    assert read(store, "items/a") == nested(20)


@pytest.mark.parametrize(
    "name", ["a.b", "a b", "`tick`", "a\\b", "a/b", "0", "*", "~", "[x]", "é", "version", "data", "id"]
)
def test_odd_field_names_are_kept_by_every_kind_of_write(store: DocumentStore, name: str) -> None:
    store.commit([create("items/a", {name: 1, "deep": {name: 1}})])
    store.commit([update("items/a", {"deep": {name: 2}}, {name: 1})])
    store.commit([update("items/a", {f"{name}x": 3})])
    assert read(store, "items/a") == {name: 2, "deep": {name: 2}, f"{name}x": 3}


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(update("items/a", {"n": 1}, {"n": 1}), id="set and incremented"),
        pytest.param(update("items/a", increments={"n": 2**63}), id="over 64 bits"),
        pytest.param(update("items/a", increments={"n": 0.5}), id="a fraction"),  # type: ignore[dict-item]
        pytest.param(update("items/a", increments={"n": True}), id="a truth value"),
        pytest.param(update("items/a", increments={"__n__": 1}), id="reserved name"),
        pytest.param(Write("items/a", "set", {}, {"m": 1}), id="in a set"),
        pytest.param(Write("items/a", "update", {"n": 1}, demand="absent"), id="update of an absent one"),
        pytest.param(Write("items/a", "delete", demand="absent"), id="deletion of an absent one"),
    ],
)
def test_a_senseless_write_is_refused(store: DocumentStore, write: Write) -> None:
    store.commit([create("items/a", {"n": 1})])
    with pytest.raises(InvalidDocument):
        store.commit([write])
    assert read(store, "items/a") == {"n": 1}


# ---------------------------------------------------------------- queries


@pytest.fixture
def shelf(store: DocumentStore) -> DocumentStore:
    """Twelve documents: ids in another order than ranks, ranks shared by two, two owners, one without rank."""
    rows = {f"{n * 7 % 12:02d}": {"rank": n // 2, "state": "on" if n % 3 else "off"} for n in range(11)}
    for name, row in rows.items():
        row["owner"] = "x" if int(name) % 2 else "y"
    rows["zz"] = {"state": "on", "owner": "x"}
    store.commit([create(f"items/{name}", row) for name, row in rows.items()])
    return store


def test_without_order_documents_come_by_id(shelf: DocumentStore) -> None:
    everything = names(shelf)
    assert everything == sorted(everything)
    assert len(everything) == 12


def test_an_order_is_of_the_field_and_then_of_the_id(shelf: DocumentStore) -> None:
    found = shelf.query("items", order_by="rank", limit=100)
    keys = [(snapshot.data["rank"], snapshot.path) for snapshot in found]
    assert keys == sorted(keys)
    assert len(keys) == 11


def test_descending_turns_field_and_id_round(shelf: DocumentStore) -> None:
    assert names(shelf, order_by="rank", descending=True) == names(shelf, order_by="rank")[::-1]
    where = ("state", "==", "on")
    assert names(shelf, where, order_by="rank", descending=True) == names(shelf, where, order_by="rank")[::-1]


def test_a_document_without_the_ordered_field_is_not_found(shelf: DocumentStore) -> None:
    assert "zz" not in names(shelf, order_by="rank")
    assert "zz" not in names(shelf, ("state", "==", "on"), order_by="rank")
    assert "zz" in names(shelf, ("state", "==", "on"))


def test_equalities_hold_together(shelf: DocumentStore) -> None:
    found = shelf.query("items", [("state", "==", "on"), ("owner", "==", "x")], limit=100)
    assert {(s.data["state"], s.data["owner"]) for s in found} == {("on", "x")}
    assert len(found) == sum(
        s.data["state"] == "on" and s.data["owner"] == "x" for s in shelf.query("items", limit=100)
    )


@pytest.mark.parametrize(
    ("where", "ranks"),
    [
        ([("rank", "<", 2)], {0, 1}),
        ([("rank", "<=", 2)], {0, 1, 2}),
        ([("rank", ">", 3)], {4, 5}),
        ([("rank", ">=", 3)], {3, 4, 5}),
        ([("rank", ">=", 1), ("rank", "<", 3)], {1, 2}),
        ([("rank", ">", 1.5), ("rank", "<", 2.5)], {2}),
        ([("rank", ">", 5)], set()),
        ([("rank", "==", 3)], {3}),
        ([("rank", "==", 3.0)], {3}),
        ([("rank", "==", "3")], set()),
        ([("state", "==", "on"), ("rank", ">=", 4)], {4, 5}),
    ],
)
def test_comparisons_find_what_they_say(shelf: DocumentStore, where: Any, ranks: set[int]) -> None:
    assert {snapshot.data["rank"] for snapshot in shelf.query("items", where, limit=100)} == ranks


def test_a_range_orders_by_its_field(shelf: DocumentStore) -> None:
    assert names(shelf, ("rank", ">=", 2)) == names(shelf, ("rank", ">=", 2), order_by="rank")


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"order_by": "rank"},
        {"order_by": "rank", "descending": True},
        {"where": [("rank", ">", 0)]},
        {"where": [("state", "==", "on")]},
        {"where": [("state", "==", "on")], "order_by": "rank"},
        {"where": [("state", "==", "on")], "order_by": "rank", "descending": True},
        {"where": [("owner", "==", "x"), ("state", "==", "on")]},
    ],
)
def test_pages_hold_every_document_once_and_in_order(shelf: DocumentStore, query: dict[str, Any]) -> None:
    whole = shelf.query("items", **query, limit=100)
    assert len(whole) > 2
    paged = page = shelf.query("items", **query, limit=2)
    while page:
        page = shelf.query("items", **query, limit=2, after=page[-1])
        paged = paged + page
        assert len(paged) <= len(whole)
    assert paged == whole


def test_a_page_after_a_document_that_is_gone_goes_on_from_its_place(shelf: DocumentStore) -> None:
    whole = shelf.query("items", order_by="rank", limit=100)
    shelf.commit([delete(whole[4].path)])
    assert shelf.query("items", order_by="rank", limit=100, after=whole[4]) == whole[5:]


def test_values_of_all_types_have_one_order(store: DocumentStore) -> None:
    ascending = [None, False, True, -(2**63), -1.5, 0, 0.5, 1, 2**63 - 1, "", "A", "a", "é", "東", "🎨"]
    store.commit([create(f"items/{99 - n}", {"rank": value}) for n, value in enumerate(ascending)])
    assert [snapshot.data["rank"] for snapshot in store.query("items", order_by="rank", limit=100)] == ascending


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (("rank", ">=", 0), [0, 1]),
        (("rank", "<=", 1), [-1, 0, 1]),
        (("rank", ">=", ""), ["", "a"]),
        (("rank", "<", "a"), [""]),
        (("rank", "==", None), [None]),
        (("rank", "==", True), [True]),
        (("rank", "==", 1), [1]),
        (("rank", "==", 0), [0]),
    ],
)
def test_a_comparison_finds_only_values_of_its_own_type(store: DocumentStore, where: Any, found: list[Any]) -> None:
    values = [None, False, True, -1, 0, 1, "", "a", [1], {"a": 1}]
    store.commit([create(f"items/{n}", {"rank": value}) for n, value in enumerate(values)])
    matches = [snapshot.data["rank"] for snapshot in store.query("items", [where], limit=100)]
    assert [(type(value), value) for value in matches] == [(type(value), value) for value in found]


def test_a_limit_bounds_the_page(shelf: DocumentStore) -> None:
    assert len(shelf.query("items", limit=1)) == 1
    for limit in (0, -1, 1_001):
        with pytest.raises(InvalidDocument, match="limit"):
            shelf.query("items", limit=limit)


def test_a_query_sees_the_index_follow_every_write(store: DocumentStore) -> None:
    store.commit([create("items/a", {"state": "on", "rank": 1})])
    store.commit([update("items/a", {"state": "off"}, {"rank": 4})])
    assert names(store, ("state", "==", "on")) == []
    assert names(store, ("state", "==", "off"), ("rank", ">", 4)) == ["a"]
    store.commit([put("items/a", {"rank": 7})])
    assert names(store, ("state", "==", "off")) == []
    store.commit([delete("items/a")])
    assert names(store, order_by="rank") == []


def test_an_empty_collection_has_no_documents(store: DocumentStore) -> None:
    assert store.query("others", limit=10) == []
    assert store.query("never_used", limit=10) == []


@pytest.mark.parametrize(
    ("query", "missing"),
    [
        ({"where": [("price", "==", 1)]}, r'add "price" to "single" of "items"'),
        ({"order_by": "price"}, r'add "price" to "single" of "items"'),
        ({"where": [("name", "==", "x")], "order_by": "rank"}, r'add \["name", "rank"\] to "composite" of "items"'),
        ({"where": [("name", "==", "x"), ("state", "==", "y")]}, r'add \["name", "state"\] to "composite"'),
        (
            {"where": [("owner", "==", "x"), ("state", "==", "y")], "order_by": "rank"},
            r'add \["owner", "state", "rank"\] to "composite"',
        ),
        ({"where": [("state", "==", "x")], "order_by": "price", "descending": True}, r'add \["state", "-price"\]'),
        ({"where": [("rank", "==", 1)], "order_by": "state"}, r'add \["rank", "state"\]'),
    ],
)
def test_a_query_without_a_declared_index_is_refused_and_names_it(
    store: DocumentStore, query: dict[str, Any], missing: str
) -> None:
    with pytest.raises(InvalidDocument, match=missing):
        store.query("items", **query, limit=10)


@pytest.mark.parametrize(
    "query",
    [
        pytest.param({"where": [("rank", ">", 1), ("name", "<", "x")]}, id="ranges of two fields"),
        pytest.param({"where": [("rank", ">", 1)], "order_by": "name"}, id="order of another field"),
        pytest.param({"where": [("rank", "==", 1)], "order_by": "rank"}, id="order of a fixed field"),
        pytest.param({"where": [("rank", "==", 1), ("rank", "==", 2)]}, id="two values at once"),
        pytest.param({"where": [("rank", "!=", 1)]}, id="unknown comparison"),
        pytest.param({"where": [("rank", "==", [1])]}, id="compared with an array"),
        pytest.param({"where": [("rank", ">", None)]}, id="ranged with null"),
        pytest.param({"where": [("rank", ">", True)]}, id="ranged with a truth value"),
        pytest.param({"where": [("rank", ">", math.nan)]}, id="ranged with NaN"),
        pytest.param({"where": [("rank", "==", 2**63)]}, id="over 64 bits"),
        pytest.param({"where": [("name", "==", "\ud800")]}, id="not UTF-8"),
        pytest.param({"descending": True}, id="descending by id"),
    ],
)
def test_a_query_that_no_index_can_serve_is_refused(store: DocumentStore, query: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocument):
        store.query("items", **query, limit=10)


def test_a_cursor_of_another_query_is_refused(store: DocumentStore) -> None:
    store.commit([create("items/a", {}), create("others/a", {"rank": 1})])
    (bare,), (other,) = store.query("items", limit=1), store.query("others", limit=1)
    for cursor in (bare, other):
        with pytest.raises(InvalidDocument, match="cursor"):
            store.query("items", order_by="rank", limit=1, after=cursor)


# ---------------------------------------------------------------- aggregation


def test_counts_and_sums_are_of_what_matches(store: DocumentStore) -> None:
    prices = [3, -1, 2**40, None, "4", 0]
    rows = [{"state": "on", "price": price} for price in prices] + [{"state": "on"}, {"state": "off", "price": 9}]
    store.commit([create(f"items/{n}", row) for n, row in enumerate(rows)])
    assert store.aggregate("items", [("state", "==", "on")], ["price"]) == {"count": 7, "price": 2**40 + 2}
    assert store.aggregate("items", [("state", "==", "off")], []) == {"count": 1}
    assert store.aggregate("items", [], []) == {"count": 8}


def test_sums_of_a_range_are_of_what_matches(shelf: DocumentStore) -> None:
    shelf.commit([update(f"items/{n * 7 % 12:02d}", {"price": 10**n}) for n in range(11)])
    assert shelf.aggregate("items", [("rank", ">=", 4)], ["price"]) == {"count": 3, "price": 11_100_000_000}
    assert shelf.aggregate("items", [("rank", ">=", 4)], ["rank"]) == {"count": 3, "rank": 13}


def test_a_sum_of_nothing_is_zero(store: DocumentStore) -> None:
    assert store.aggregate("items", [("state", "==", "none")], ["rank", "price"]) == {"count": 0, "rank": 0, "price": 0}


@pytest.mark.parametrize(
    ("where", "sums", "missing"),
    [
        ([("name", "==", "x")], ["price"], r'add \["name", "price"\] to "composite" of "items"'),
        ([], ["price"], r'add "price" to "single" of "items"'),
        ([("owner", "==", "x")], [], r'add "owner" to "single" of "items"'),
    ],
)
def test_an_aggregation_without_a_declared_index_is_refused_and_names_it(
    store: DocumentStore, where: Any, sums: list[str], missing: str
) -> None:
    with pytest.raises(InvalidDocument, match=missing):
        store.aggregate("items", where, sums)
