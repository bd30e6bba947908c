"""What the SQLite store does beyond the contract: several processes, crashes, bad files, index use, counting."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from shared.adapters import query_rules, sqlite_file
from shared.adapters.document_rules import Tally
from shared.adapters.sqlite import SqliteDocumentStore
from shared.errors import InvalidDocument, SettingsError, StoreConflict, StoreUnavailable
from shared.ports import create, delete, put, update

ROOT = Path(__file__).parents[2]
INDEXES = {"jobs": {"single": ["state", "at"], "composite": [["state", "at"], ["owner", "state", "-at"]]}}


@pytest.fixture
def store(tmp_path: Path) -> Any:
    opened = SqliteDocumentStore(str(tmp_path / "state.db"), indexes=INDEXES)
    yield opened
    opened.close()


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start *code* in a process of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# ---------------------------------------------------------------- counting


def test_counts_are_what_the_cloud_would_bill(store: SqliteDocumentStore) -> None:
    store.commit([create(f"jobs/{n}", {"at": n}) for n in range(5)])
    store.commit([delete("jobs/0"), put("jobs/1", {}), update("jobs/2", {"x": 1})])
    assert store.counts.reset() == Tally(read=0, written=8, commits=2, conflicts=0)
    store.get(["jobs/1", "jobs/missing"])
    assert store.counts.reset() == Tally(read=2)
    store.query("jobs", order_by="at", limit=2)
    store.query("jobs", [("state", "==", "none")], limit=2)
    assert store.counts.reset() == Tally(read=3)
    store.aggregate("jobs", [], [])
    assert store.counts.reset() == Tally(read=1)
    with pytest.raises(StoreConflict):
        store.commit([create("jobs/1", {}), create("jobs/new", {})])
    assert store.counts.tally() == Tally(conflicts=1)


def test_an_aggregation_costs_a_read_for_every_thousand(store: SqliteDocumentStore) -> None:
    for start in (0, 500, 1_000):
        store.commit([create(f"jobs/{start + n}", {}) for n in range(500 if start < 1_000 else 1)])
    store.counts.reset()
    assert store.aggregate("jobs", [], []) == {"count": 1_001}
    assert store.counts.tally().read == 2


def test_counts_of_many_threads_add_up(store: SqliteDocumentStore) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: [store.get([f"jobs/{n}"]) for _ in range(100)], range(8)))
    assert store.counts.tally().read == 800


# ---------------------------------------------------------------- indexes


@pytest.mark.parametrize(
    ("where", "options"),
    [
        ([], {"order_by": "at"}),
        ([], {"order_by": "at", "descending": True}),
        ([("state", "==", "a")], {}),
        ([("state", "==", "a")], {"order_by": "at"}),
        ([("state", "==", "a"), ("at", ">=", 1), ("at", "<", 9)], {}),
        ([("owner", "==", "a"), ("state", "==", "a")], {"order_by": "at", "descending": True}),
    ],
)
@pytest.mark.parametrize("paged", [False, True])
def test_a_query_searches_its_index_and_sorts_nothing(
    store: SqliteDocumentStore, where: Any, options: dict[str, Any], paged: bool
) -> None:
    store.commit([create("jobs/x", {"owner": "a", "state": "a", "at": 1})])
    (cursor,) = store.query("jobs", limit=1)
    options = {"order_by": None, "descending": False} | options
    plan = query_rules.plan_query(store._indexes, "jobs", where, **options, limit=5, after=cursor if paged else None)
    sql, values = store._table("jobs").page(plan, descending=options["descending"], after=cursor if paged else None)
    with store._file.read() as reader:
        steps = [row[3] for row in reader.execute(f"EXPLAIN QUERY PLAN {sql}", [*values, 5])]
    assert len(steps) == 1
    assert steps[0].startswith("SEARCH")


def test_an_index_declared_later_finds_documents_written_before(tmp_path: Path) -> None:
    path = str(tmp_path / "state.db")
    old = SqliteDocumentStore(path, indexes={})
    old.commit([create(f"jobs/{n}", {"state": "on" if n % 2 else "off", "at": -n}) for n in range(6)])
    old.commit([create(f"jobs/more{n}", {"state": "x" * 2_000}) for n in range(500)])
    old.commit([create("jobs/z", {"state": "on", "at": 1})])
    old.close()
    new = SqliteDocumentStore(path, indexes=INDEXES)
    found = new.query("jobs", [("state", "==", "on")], order_by="at", limit=10)
    assert [snapshot.path for snapshot in found] == ["jobs/5", "jobs/3", "jobs/1", "jobs/z"]
    new.close()


def test_a_store_with_fewer_indexes_keeps_up_those_of_others(tmp_path: Path) -> None:
    path = str(tmp_path / "state.db")
    new, old = (SqliteDocumentStore(path, indexes=indexes) for indexes in (INDEXES, {}))
    new.commit([create("jobs/a", {"state": "on"})])
    old.commit([create("jobs/b", {"state": "on"}), put("jobs/a", {"state": "off"})])
    assert [snapshot.path for snapshot in new.query("jobs", [("state", "==", "on")], limit=10)] == ["jobs/b"]
    new.close()
    old.close()


@pytest.mark.parametrize(
    "declared",
    [
        {"Jobs": {}},
        {"jobs": {"singles": ["state"]}},
        {"jobs": {"single": ["a.b"]}},
        {"jobs": {"single": ["-at"]}},
        {"jobs": {"composite": [["state"]]}},
        {"jobs": {"composite": [["state", "--at"]]}},
        {"jobs": {"single": ['x" TEXT); DROP TABLE doc_jobs; --']}},
    ],
)
def test_a_malformed_declaration_is_refused(tmp_path: Path, declared: Any) -> None:
    with pytest.raises(InvalidDocument):
        SqliteDocumentStore(str(tmp_path / "state.db"), indexes=declared)


def test_the_declared_indexes_of_the_project_are_well_formed(tmp_path: Path) -> None:
    store = SqliteDocumentStore(str(tmp_path / "state.db"))
    assert store.query("jobs", limit=1) == []
    store.close()


def test_a_sum_that_is_no_integer_is_refused(store: SqliteDocumentStore) -> None:
    store.commit([create("jobs/a", {"at": 0.5})])
    with pytest.raises(InvalidDocument, match="integers"):
        store.aggregate("jobs", [], ["at"])


@pytest.mark.parametrize("write", [update("jobs/a", increments={"n": 1}), update("jobs/a", increments={"text": 1})])
def test_an_increment_that_leaves_the_integers_is_refused(store: SqliteDocumentStore, write: Any) -> None:
    store.commit([create("jobs/a", {"n": 2**63 - 1, "text": "1"})])
    with pytest.raises(InvalidDocument):
        store.commit([write])
    assert store.get(["jobs/a"])[0].data == {"n": 2**63 - 1, "text": "1"}  # type: ignore[union-attr]


def test_an_indexed_number_beyond_any_use_is_refused(store: SqliteDocumentStore) -> None:
    with pytest.raises(InvalidDocument, match="below"):
        store.commit([create("jobs/a", {"at": -1.7e308})])


def test_a_version_never_comes_back_after_the_store_was_opened_again(tmp_path: Path) -> None:
    path = str(tmp_path / "state.db")
    store = SqliteDocumentStore(path, indexes={})
    (old,) = store.commit([create("jobs/a", {})])
    store.close()
    store = SqliteDocumentStore(path, indexes={})
    store.commit([delete("jobs/a")])
    store.commit([create("jobs/a", {})])
    with pytest.raises(StoreConflict):
        store.commit([put("jobs/a", {"n": 1}, old)])
    store.close()


# ---------------------------------------------------------------- threads


def test_a_get_of_several_documents_is_of_one_moment(store: SqliteDocumentStore) -> None:
    store.commit([create("jobs/a", {"n": 0}), create("twins/b", {"n": 0})])
    finished = threading.Event()

    def write() -> None:
        for n in range(1, 300):
            store.commit([put("jobs/a", {"n": n}), put("twins/b", {"n": n})])
        finished.set()

    writer = threading.Thread(target=write)
    writer.start()
    pairs = []
    while not finished.is_set():
        pairs.append([found and found.data["n"] for found in store.get(["jobs/a", "twins/b"])])
    writer.join()
    assert all(a == b for a, b in pairs)
    assert len({a for a, _ in pairs}) > 1


def test_two_stores_of_one_file_share_its_writer_and_see_each_other(tmp_path: Path) -> None:
    stores = [SqliteDocumentStore(str(tmp_path / "state.db"), indexes=INDEXES) for _ in range(2)]
    stores[0].commit([create("jobs/a", {"n": 0})])

    def add(store: SqliteDocumentStore) -> None:
        for _ in range(200):
            store.commit([update("jobs/a", increments={"n": 1})])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(add, stores * 2))
    assert stores[1].get(["jobs/a"])[0].data == {"n": 800}  # type: ignore[union-attr]
    assert stores[0]._file._write_lock is stores[1]._file._write_lock
    for store in stores:
        store.close()


# ---------------------------------------------------------------- processes

ADD = """
import sys
from shared.adapters.sqlite import SqliteDocumentStore
from shared.ports import create, update
store = SqliteDocumentStore(sys.argv[1], indexes={})
for n in range(100):
    store.commit([update("jobs/a", increments={"n": 1}), create(f"jobs/{sys.argv[2]}-{n}", {})])
store.close()
"""

PAIRS = """
import sys
from shared.adapters.sqlite import SqliteDocumentStore
from shared.ports import put
store = SqliteDocumentStore(sys.argv[1], indexes={})
n = 0
while True:
    n += 1
    store.commit([put("jobs/a", {"n": n}), put("others/b", {"n": n})])
    print(n, flush=True)
"""


def test_a_commit_keeps_others_from_writing_from_its_very_beginning(store: SqliteDocumentStore, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "state.db", timeout=0, isolation_level=None)
    with store._file.write(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.close()


def test_several_processes_write_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SqliteDocumentStore(str(path), indexes={})
    store.commit([create("jobs/a", {"n": 0})])
    processes = [run_python(ADD, path, n) for n in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert store.get(["jobs/a"])[0].data == {"n": 300}  # type: ignore[union-attr]
    assert store.aggregate("jobs", [], []) == {"count": 301}
    store.close()
    for process in processes:
        process.communicate()


def test_opening_waits_for_a_process_that_is_just_creating_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.db"
    creator = sqlite3.connect(path, isolation_level=None)
    creator.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.01)
    monkeypatch.setattr("time.sleep", lambda _: creator.execute("ROLLBACK"))
    store = SqliteDocumentStore(str(path), indexes={})
    store.commit([create("jobs/a", {})])
    store.close()
    creator.close()


def test_a_killed_process_leaves_every_commit_it_saw_and_no_half_one(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    process = run_python(PAIRS, path)
    assert process.stdout is not None
    seen = [process.stdout.readline() for _ in range(50)]
    os.kill(process.pid, signal.SIGKILL)
    seen += process.stdout.readlines()
    process.communicate()
    last = int([line for line in seen if line.endswith("\n")][-1])
    store = SqliteDocumentStore(str(path), indexes={})
    a, b = (found.data["n"] for found in store.get(["jobs/a", "others/b"]) if found is not None)
    assert a == b
    assert a in {last, last + 1}
    store.commit([put("jobs/a", {"n": 0})])
    store.close()


# ---------------------------------------------------------------- files that cannot be used


def unusable(path: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        SqliteDocumentStore(str(path), indexes={})
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"this is not a database, it is a text that someone put here" * 100)
    assert "not a database" in unusable(path)


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    unusable(tmp_path)


def test_a_path_below_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    unusable(tmp_path / "file" / "state.db")


def test_a_damaged_database_says_so_when_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SqliteDocumentStore(str(path), indexes={})
    store.commit([create(f"jobs/{n}", {"text": "x" * 1_000}) for n in range(200)])
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    store = SqliteDocumentStore(str(path), indexes={})
    with pytest.raises(SettingsError, match=r"state\.db cannot be used"):
        store.commit([put("jobs/1", {})])
    store.close()


def test_missing_folders_are_created(tmp_path: Path) -> None:
    SqliteDocumentStore(str(tmp_path / "new" / "home" / "state.db"), indexes={}).close()
    assert (tmp_path / "new" / "home" / "state.db").exists()


def test_a_file_that_another_process_holds_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.01)
    store = SqliteDocumentStore(str(tmp_path / "state.db"), indexes={})
    store.commit([create("jobs/a", {"n": 1})])
    holder = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        store.commit([put("jobs/a", {"n": 2})])
    assert store.get(["jobs/a"])[0].data == {"n": 1}  # type: ignore[union-attr]
    holder.execute("ROLLBACK")
    holder.close()
    store.commit([put("jobs/a", {"n": 2})])
    store.close()


def test_a_closed_store_is_unavailable(tmp_path: Path) -> None:
    store = SqliteDocumentStore(str(tmp_path / "state.db"), indexes={})
    store.commit([create("jobs/a", {})])
    store.get(["jobs/a"])
    store.close()
    with pytest.raises(StoreUnavailable):
        store.get(["jobs/a"])
    with pytest.raises(StoreUnavailable):
        store.commit([put("jobs/a", {})])
