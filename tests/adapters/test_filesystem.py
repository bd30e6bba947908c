"""What the folder store does beyond the contract: a disk's own limits, links, dropped files, leftovers."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.adapters.filesystem import FilesystemBlobStore
from shared.adapters.local_process import process_owner
from shared.errors import BlobExists, BlobNotFound, InvalidBlobName, SettingsError, StoreUnavailable


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "buckets"


@pytest.fixture
def blobs(root: Path) -> FilesystemBlobStore:
    return FilesystemBlobStore(root)


def names(blobs: FilesystemBlobStore, prefix: str = "gs://inbox/", after: str | None = None) -> list[str]:
    return [blobs.locate(info.uri)[1] for info in blobs.list(prefix, limit=1_000, after=after)]


# ---------------------------------------------------------------- what is on the disk


def test_an_object_is_the_file_of_its_name(blobs: FilesystemBlobStore, root: Path) -> None:
    info = blobs.create("gs://outputs/jobs/a b/0.png", b"x", "image/png")
    assert (root / "outputs/jobs/a b/0.png").read_bytes() == b"x"
    assert info.uri == f"file://{root}/outputs/jobs/a%20b/0.png"


def test_the_buckets_are_there_to_drop_files_into(blobs: FilesystemBlobStore, root: Path) -> None:
    (root / "inbox/dropped.json").write_text("{}")
    assert blobs.read("gs://inbox/dropped.json", 10) == b"{}"
    assert names(blobs) == ["dropped.json"]


def test_nothing_temporary_stays_behind(blobs: FilesystemBlobStore, root: Path) -> None:
    blobs.create("gs://outputs/a", b"x", "text/plain")
    blobs.replace("gs://outputs/a", b"y", "text/plain", None)
    with pytest.raises(BlobExists):
        blobs.create("gs://outputs/a", b"x", "text/plain")
    assert list((root / ".tmp").iterdir()) == []


def test_leftovers_of_dead_writers_are_removed_and_those_of_living_ones_kept(root: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    folder = root / ".tmp"
    folder.mkdir(parents=True)
    (folder / f"{gone.pid}:1-abc").write_text("half")
    (folder / "what is this").write_text("odd")
    (folder / f"{process_owner()}-abc").write_text("being written")
    FilesystemBlobStore(root)
    assert [path.name for path in folder.iterdir()] == [f"{process_owner()}-abc"]


def test_a_new_object_obeys_the_umask(blobs: FilesystemBlobStore, root: Path) -> None:
    (root / "inbox/plain").write_text("x")
    blobs.create("gs://inbox/ours", b"x", "text/plain")
    assert (root / "inbox/ours").stat().st_mode == (root / "inbox/plain").stat().st_mode


@pytest.mark.parametrize("path", ["file", "file/below"])
def test_a_root_that_cannot_be_a_folder_is_named(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsError, match=str(tmp_path / path)):
        FilesystemBlobStore(tmp_path / path)


def test_a_relative_root_and_one_behind_a_link_are_the_same_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    linked, relative = FilesystemBlobStore(tmp_path / "link"), FilesystemBlobStore(Path("real"))
    info = linked.create("gs://inbox/a", b"x", "text/plain")
    assert info == relative.stat("gs://inbox/a")
    assert linked.read(f"file://{tmp_path}/link/inbox/a", 10) == b"x"
    assert relative.read(info.uri, 10) == b"x"


# ---------------------------------------------------------------- limits of a disk


def test_a_name_and_a_folder_of_the_same_name_cannot_both_be(blobs: FilesystemBlobStore) -> None:
    blobs.create("gs://outputs/a", b"x", "text/plain")
    for below in ("gs://outputs/a/b", "gs://outputs/a/b/c/d"):
        with pytest.raises(InvalidBlobName, match="disk"):
            blobs.create(below, b"x", "text/plain")
        with pytest.raises(InvalidBlobName, match="disk"):
            blobs.replace(below, b"x", "text/plain", None)
    blobs.create("gs://outputs/b/c", b"x", "text/plain")
    with pytest.raises(InvalidBlobName, match="disk"):
        blobs.create("gs://outputs/b", b"x", "text/plain")
    with pytest.raises(InvalidBlobName, match="disk"):
        blobs.replace("gs://outputs/b", b"x", "text/plain", None)
    assert names(blobs, "gs://outputs/") == ["a", "b/c"]


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128, "a/" + "x" * 256 + "/b", "a//b", "a/"])
def test_a_name_no_disk_can_keep_is_refused(blobs: FilesystemBlobStore, name: str) -> None:
    with pytest.raises(InvalidBlobName, match="255"):
        blobs.create(f"gs://inbox/{name}", b"x", "text/plain")
    with pytest.raises(InvalidBlobName, match="255"):
        blobs.stat(f"gs://inbox/{name}")


def test_a_disk_that_takes_no_more_is_unavailable_and_keeps_nothing_of_it(
    blobs: FilesystemBlobStore, root: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        with pytest.raises(StoreUnavailable):
            blobs.create("gs://inbox/a", bytes(2_000), "text/plain")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(blobs) == []
    assert list((root / ".tmp").iterdir()) == []


# ---------------------------------------------------------------- links and odd files


def test_a_link_that_leads_out_of_its_bucket_is_refused(blobs: FilesystemBlobStore, root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (root / "outputs/other").write_text("other bucket")
    (root / "inbox/file").symlink_to(tmp_path / "secret")
    (root / "inbox/folder").symlink_to(tmp_path)
    (root / "inbox/other").symlink_to(root / "outputs/other")
    (root / "inbox/nowhere").symlink_to(tmp_path / "not yet there")
    for name in ("file", "folder/secret", "other", "nowhere", "folder/new"):
        uri = f"gs://inbox/{name}"
        for use in (blobs.stat, blobs.open):
            with pytest.raises(InvalidBlobName, match="out of its bucket"):
                use(uri)
        with pytest.raises(InvalidBlobName):
            blobs.create(uri, b"x", "text/plain")
        with pytest.raises(InvalidBlobName):
            blobs.replace(uri, b"x", "text/plain", None)
    assert names(blobs) == names(blobs, "gs://inbox/folder/") == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["buckets", "secret"]


def test_a_link_inside_its_bucket_is_followed(blobs: FilesystemBlobStore, root: Path) -> None:
    (root / "inbox/real.txt").write_text("x")
    (root / "inbox/link.txt").symlink_to("real.txt")
    assert blobs.read("gs://inbox/link.txt", 10) == b"x"
    assert names(blobs) == ["link.txt", "real.txt"]


def test_what_is_no_plain_file_is_no_object(blobs: FilesystemBlobStore, root: Path) -> None:
    os.mkfifo(root / "inbox/pipe")
    (root / "inbox/folder").mkdir()
    (root / "inbox/circle").symlink_to("circle")
    for name in ("pipe", "folder"):
        assert blobs.stat(f"gs://inbox/{name}") is None
        with pytest.raises(BlobNotFound):
            blobs.open(f"gs://inbox/{name}")
    with pytest.raises(BlobNotFound):
        blobs.read("gs://inbox/circle", 10)
    assert names(blobs) == []


def test_a_file_whose_name_is_not_utf_8_does_not_stop_a_listing(blobs: FilesystemBlobStore, root: Path) -> None:
    (root / "inbox/good.txt").write_text("x")
    Path(os.fsdecode(os.fsencode(root / "inbox") + b"/b\xffd.txt")).write_text("x")
    assert names(blobs) == ["good.txt"]


def test_a_file_whose_name_has_a_line_break_does_not_stop_a_listing(blobs: FilesystemBlobStore, root: Path) -> None:
    (root / "inbox/good.txt").write_text("x")
    (root / "inbox/bad\n.txt").write_text("x")
    assert names(blobs) == ["good.txt"]


def test_other_folders_than_buckets_are_out_of_reach(blobs: FilesystemBlobStore, root: Path) -> None:
    (root / ".tmp/x").write_text("half")
    for uri in ("gs://.tmp/x", f"file://{root}/.tmp/x", f"file://{root}/.lock", f"file://{root}/inbox/../.tmp/x"):
        with pytest.raises(InvalidBlobName):
            blobs.read(uri, 10)


# ---------------------------------------------------------------- generations and types


def test_a_file_changed_by_hand_has_a_new_generation(blobs: FilesystemBlobStore, root: Path) -> None:
    path = root / "inbox/a.txt"
    path.write_text("one")
    os.utime(path, ns=(1, 1_000))
    first = blobs.stat("gs://inbox/a.txt")
    path.write_text("four")
    os.utime(path, ns=(1, 1_000))
    longer = blobs.stat("gs://inbox/a.txt")
    os.utime(path, ns=(1, 2_000))
    later = blobs.stat("gs://inbox/a.txt")
    assert len({info.generation for info in (first, longer, later) if info}) == 3


def test_a_replacement_is_newer_even_when_the_clock_was_turned_back(blobs: FilesystemBlobStore, root: Path) -> None:
    blobs.create("gs://inbox/a.txt", b"one", "text/plain")
    future = 2_524_608_000 * 10**9
    os.utime(root / "inbox/a.txt", ns=(future, future))
    blobs.replace("gs://inbox/a.txt", b"two", "text/plain", None)
    assert (root / "inbox/a.txt").stat().st_mtime_ns > future


@pytest.mark.parametrize(
    ("name", "content", "media_type"),
    [
        ("a.json", b"{}", "application/json"),
        ("a.JSONL", b"{}\n{}", "application/jsonl"),
        ("a.csv", b"a,b", "text/csv"),
        ("photo.jpg", b"\x89PNG\r\n\x1a\n....", "image/png"),
        ("photo", b"\xff\xd8\xff\xe0....", "image/jpeg"),
        ("a.bin", b"RIFF1234WEBPVP8 ", "image/webp"),
        ("a.bin", b"RIFF1234WAVEfmt ", "audio/wav"),
        ("a.bin", b"RIFF1234AVI LIST", "application/octet-stream"),
        ("a.bin", b"\0\0\0\x20ftypisom\0\0\0\0", "video/mp4"),
        ("a.mp4", b"\0\0\0\x14ftypqt  \0\0\0\0", "video/quicktime"),
        ("a.webm", b"\x1aE\xdf\xa3....", "video/webm"),
        ("a.mp4", b"not a video", "video/mp4"),
        ("a.png", b"", "image/png"),
        ("json", b"", "application/json"),
        ("a.b/unknown", b"?", "application/octet-stream"),
        ("png.", b"?", "application/octet-stream"),
    ],
)
def test_the_media_type_is_told_from_content_and_then_from_the_name(
    blobs: FilesystemBlobStore, name: str, content: bytes, media_type: str
) -> None:
    info = blobs.create(f"gs://inbox/{name}", content, "application/whatever")
    assert info.media_type == media_type
    assert blobs.stat(info.uri) == info


# ---------------------------------------------------------------- listings

part = st.text(st.sampled_from("ab.-0é"), min_size=1, max_size=3).filter(lambda text: text not in {".", ".."})
object_names = st.lists(part, min_size=1, max_size=3).map("/".join)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wanted=st.sets(object_names, max_size=12),
    prefix=object_names.map(lambda name: name[:2]),
    after=object_names,
    limit=st.integers(1, 6),
)
def test_a_listing_is_what_sorting_all_names_would_give(
    tmp_path_factory: pytest.TempPathFactory, wanted: set[str], prefix: str, after: str, limit: int
) -> None:
    blobs = FilesystemBlobStore(tmp_path_factory.mktemp("list"))
    stored = []
    for name in sorted(wanted):
        try:
            blobs.create(f"gs://inbox/{name}", b"", "text/plain")
            stored.append(name)
        except InvalidBlobName:
            assert any(name.startswith(f"{above}/") for above in stored) or any(
                below.startswith(f"{name}/") for below in stored
            )
    if any(segment in {".", ".."} for segment in prefix.split("/")[:-1]):
        return
    expected = [name for name in sorted(stored, key=str.encode) if name.startswith(prefix) and name > after]
    found = blobs.list(f"gs://inbox/{prefix}", limit=limit, after=f"gs://inbox/{after}")
    assert [blobs.locate(info.uri)[1] for info in found] == expected[:limit]
