"""What every `BlobStore` does, whatever is behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared.errors import BlobExists, BlobNotFound, BlobTooLarge, InvalidBlobName
from shared.ports import BlobStore

from .conftest import Together

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def put(blobs: BlobStore, *names: str, bucket: str = "inbox") -> None:
    for name in names:
        blobs.create(f"gs://{bucket}/{name}", name.encode(), "text/plain")


def listed(blobs: BlobStore, prefix: str, **options: Any) -> list[str]:
    return [blobs.locate(info.uri)[1] for info in blobs.list(prefix, **{"limit": 100} | options)]


# ---------------------------------------------------------------- create


def test_an_object_reads_back_as_it_was_created(blobs: BlobStore) -> None:
    info = blobs.create("gs://outputs/jobs/a/1/0.png", PNG, "image/png")
    assert (info.size_bytes, info.media_type) == (108, "image/png")
    assert blobs.read(info.uri, 1_000) == PNG
    assert blobs.stat(info.uri) == info
    assert blobs.locate(info.uri) == ("outputs", "jobs/a/1/0.png")


def test_both_forms_of_a_uri_mean_the_same_object(blobs: BlobStore) -> None:
    own = blobs.uri("inbox", "a/b.txt")
    info = blobs.create("gs://inbox/a/b.txt", b"x", "text/plain")
    assert info.uri == own
    assert blobs.read("gs://inbox/a/b.txt", 10) == blobs.read(own, 10) == b"x"
    assert blobs.locate("gs://inbox/a/b.txt") == blobs.locate(own) == ("inbox", "a/b.txt")
    with pytest.raises(BlobExists):
        blobs.create(own, b"y", "text/plain")


def test_an_object_can_be_created_from_chunks(blobs: BlobStore) -> None:
    info = blobs.create("gs://outputs/a.bin", (bytes([n]) * 1_000 for n in range(256)), "application/octet-stream")
    assert info.size_bytes == 256_000
    assert blobs.read(info.uri, 256_000) == b"".join(bytes([n]) * 1_000 for n in range(256))


def test_an_empty_object_is_an_object(blobs: BlobStore) -> None:
    info = blobs.create("gs://outputs/empty.txt", b"", "text/plain")
    assert blobs.read(info.uri, 0) == b""
    assert blobs.stat(info.uri) == info


def test_chunks_that_fail_leave_no_object(blobs: BlobStore) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"first"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        blobs.create("gs://outputs/a.txt", chunks(), "text/plain")
    assert blobs.stat("gs://outputs/a.txt") is None
    assert blobs.list("gs://outputs/", limit=10) == []


def test_twenty_concurrent_creates_have_one_winner(blobs: BlobStore, together: Together) -> None:
    results = together(20, lambda n: blobs.create("gs://outputs/a/0.bin", bytes([n]) * 1_000, "image/png"))
    winners = [n for n, result in enumerate(results) if not isinstance(result, BlobExists)]
    assert len(winners) == 1
    assert blobs.read("gs://outputs/a/0.bin", 1_000) == bytes(winners) * 1_000
    assert blobs.stat("gs://outputs/a/0.bin") == results[winners[0]]


def test_a_second_create_changes_nothing(blobs: BlobStore) -> None:
    first = blobs.create("gs://outputs/a.txt", b"first", "text/plain")
    with pytest.raises(BlobExists):
        blobs.create("gs://outputs/a.txt", b"second", "text/plain")
    assert blobs.stat("gs://outputs/a.txt") == first
    assert blobs.read("gs://outputs/a.txt", 10) == b"first"


def test_readers_see_all_of_an_object_or_none(blobs: BlobStore) -> None:
    size, seen = 200_000, 0
    finished = threading.Event()

    def write() -> None:
        for n in range(40):
            blobs.replace("gs://outputs/a.bin", bytes([n]) * size, "image/png", None)
            blobs.create(f"gs://outputs/new/{n}.bin", bytes([n]) * size, "image/png")
        finished.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not finished.is_set():
        for info in blobs.list("gs://outputs/", limit=100):
            data = blobs.read(info.uri, size)
            assert (info.size_bytes, data) == (size, data[:1] * size)
            seen += 1
    writer.join()
    assert seen > 0


# ---------------------------------------------------------------- replace


def test_an_object_is_replaced_when_its_generation_still_holds(blobs: BlobStore) -> None:
    first = blobs.create("gs://outputs/a.txt", b"first", "text/plain")
    second = blobs.replace(first.uri, b"2nd", "text/plain", first.generation)
    assert second == blobs.stat(first.uri)
    assert blobs.read(first.uri, 10) == b"2nd"
    with pytest.raises(BlobExists):
        blobs.replace(first.uri, b"third", "text/plain", first.generation)
    assert blobs.read(first.uri, 10) == b"2nd"


def test_replacing_a_generation_of_a_missing_object_is_refused(blobs: BlobStore) -> None:
    with pytest.raises(BlobExists):
        blobs.replace("gs://outputs/a.txt", b"x", "text/plain", "1")
    assert blobs.stat("gs://outputs/a.txt") is None


def test_replacing_whatever_is_there_creates_what_is_not(blobs: BlobStore) -> None:
    for data in (b"first", b"second"):
        blobs.replace("gs://outputs/new/a.txt", data, "text/plain", None)
        assert blobs.read("gs://outputs/new/a.txt", 10) == data


def test_every_replacement_has_a_new_generation_even_with_the_same_bytes(blobs: BlobStore) -> None:
    generations = {blobs.replace("gs://outputs/a.txt", b"same", "text/plain", None).generation for _ in range(20)}
    assert len(generations) == 20


def test_of_concurrent_replacements_of_one_generation_one_wins(blobs: BlobStore, together: Together) -> None:
    uri = "gs://outputs/a.txt"
    first = blobs.create(uri, b"first", "text/plain")
    results = together(10, lambda n: blobs.replace(uri, b"%05d" % n, "text/plain", first.generation))
    winners = [n for n, result in enumerate(results) if not isinstance(result, BlobExists)]
    assert len(winners) == 1
    assert blobs.read(uri, 10) == b"%05d" % winners[0]


# ---------------------------------------------------------------- read


def test_reading_takes_as_much_as_allowed_and_not_a_byte_more(blobs: BlobStore) -> None:
    blobs.create("gs://inbox/a.bin", bytes(1_000), "image/png")
    assert len(blobs.read("gs://inbox/a.bin", 1_000)) == 1_000
    with pytest.raises(BlobTooLarge):
        blobs.read("gs://inbox/a.bin", 999)


def test_a_missing_object_is_not_found(blobs: BlobStore) -> None:
    put(blobs, "folder/a.txt")
    for uri in ("gs://inbox/none", "gs://outputs/folder/a.txt", "gs://inbox/folder", "gs://inbox/folder/a.txt/b"):
        assert blobs.stat(uri) is None
        with pytest.raises(BlobNotFound):
            blobs.read(uri, 10)
        with pytest.raises(BlobNotFound), blobs.open(uri):
            pass


def test_an_open_object_can_be_sought(blobs: BlobStore) -> None:
    blobs.create("gs://inbox/a.bin", bytes(range(256)), "image/png")
    with blobs.open("gs://inbox/a.bin") as file:
        assert file.read(3) == b"\x00\x01\x02"
        file.seek(-1, 2)
        assert file.read() == b"\xff"
        file.seek(10)
        assert file.read(1) == b"\x0a"


# ---------------------------------------------------------------- list


def test_a_listing_is_of_a_prefix_of_names_in_their_order(blobs: BlobStore) -> None:
    put(blobs, "b", "a/z", "a/b/c", "a.txt", "a-1", "ab", "é", "A", "a0")
    put(blobs, "a/other", bucket="outputs")
    assert listed(blobs, "gs://inbox/") == ["A", "a-1", "a.txt", "a/b/c", "a/z", "a0", "ab", "b", "é"]
    assert listed(blobs, "gs://inbox/a/") == ["a/b/c", "a/z"]
    assert listed(blobs, "gs://inbox/a/b") == ["a/b/c"]
    assert listed(blobs, "gs://inbox/a.") == ["a.txt"]
    assert listed(blobs, "gs://inbox/a/b/c") == ["a/b/c"]
    assert listed(blobs, blobs.uri("inbox", "a/z")) == ["a/z"]
    for nothing in ("gs://inbox/c", "gs://inbox/bb", "gs://inbox/a/b/c/", "gs://inbox/a.txt/", "gs://outputs/b"):
        assert listed(blobs, nothing) == []


def test_pages_of_a_listing_hold_every_object_once(blobs: BlobStore) -> None:
    put(blobs, *(f"{folder}{name}" for folder in ("", "a/", "a/b/", "a.b/") for name in ("1", "2", "x.txt")))
    whole = blobs.list("gs://inbox/", limit=100)
    page = blobs.list("gs://inbox/", limit=5)
    paged = page
    while page:
        assert len(page) <= 5
        page = blobs.list("gs://inbox/", limit=5, after=page[-1].uri)
        paged = paged + page
        assert len(paged) <= len(whole)
    assert paged == whole
    assert len(whole) == 12


def test_a_listing_tells_what_stat_tells(blobs: BlobStore) -> None:
    info = blobs.create("gs://inbox/a.png", PNG, "image/png")
    assert blobs.list("gs://inbox/", limit=10) == [info] == [blobs.stat("gs://inbox/a.png")]


# ---------------------------------------------------------------- link


def test_a_link_is_a_url_or_none_and_of_one_object_only(blobs: BlobStore) -> None:
    info = blobs.create("gs://outputs/a b/0.png", PNG, "image/png")
    for uri in (info.uri, "gs://outputs/a b/0.png", "gs://outputs/not yet there"):
        link = blobs.link(uri, 60)
        assert link is None or link.startswith("http")
    for uri in ("gs://outputs/", "gs://outputs/../inbox/a", "https://example.com/a"):
        with pytest.raises(InvalidBlobName):
            blobs.link(uri, 60)


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "a b",
        "a#b?c=%20&d",
        "a%2Fb%2e%2e",
        "a\\..\\b",
        "...",
        "a..b",
        ".hidden",
        "~root",
        "a:b*|<>\"'",
        "Zürich/東京/🎨.png",
        "e\u0301",
        "x" * 255,
        "/".join(["x" * 204] * 5),
        "-rf",
        "tab\there",
    ],
)
def test_an_odd_name_is_kept_as_it_is(blobs: BlobStore, name: str) -> None:
    own = blobs.uri("inbox", name)
    blobs.create(own, b"x", "text/plain")
    assert blobs.locate(own) == blobs.locate(f"gs://inbox/{name}") == ("inbox", name)
    assert blobs.read(f"gs://inbox/{name}", 10) == b"x"
    assert listed(blobs, "gs://inbox/") == [name]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../outputs/a",
        "a/../../b",
        "a/..",
        "a/./b",
        "/a",
        "//a",
        "/etc/passwd",
        "a\nb",
        "a\rb",
        "a\0b",
        "\ud800",
        "x" * 1_025,
        "é" * 513,
        "/".join(["x" * 204] * 5) + "xx",
    ],
)
def test_a_name_that_leaves_its_bucket_or_fits_no_back_end_is_refused(blobs: BlobStore, name: str) -> None:
    uri = f"gs://inbox/{name}"
    refused: list[Callable[[], object]] = [
        lambda: blobs.uri("inbox", name),
        lambda: blobs.locate(uri),
        lambda: blobs.create(uri, b"x", "text/plain"),
        lambda: blobs.replace(uri, b"x", "text/plain", None),
        lambda: blobs.read(uri, 10),
        lambda: blobs.open(uri),
        lambda: blobs.stat(uri),
    ]
    for use in refused:
        with pytest.raises(InvalidBlobName):
            use()
    assert blobs.list("gs://inbox/", limit=10) == []


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "a",
        "/etc/passwd",
        "gs://",
        "gs:///a",
        "gs://inbox",
        "gs://../a",
        "gs://In box/a",
        "gs://a..b/a",
        "GS://inbox/a",
        "https://storage.googleapis.com/inbox/a",
        "file:///etc/passwd",
        "file://inbox/a",
    ],
)
def test_a_foreign_uri_is_refused(blobs: BlobStore, uri: str) -> None:
    refused: list[Callable[[], object]] = [
        lambda: blobs.locate(uri),
        lambda: blobs.read(uri, 10),
        lambda: blobs.create(uri, b"x", "text/plain"),
    ]
    for use in refused:
        with pytest.raises(InvalidBlobName):
            use()


@pytest.mark.parametrize("prefix", ["gs://inbox/../outputs/", "gs://inbox/a/../", "gs://inbox/a\0", "gs://inbox", "a"])
def test_a_prefix_that_leaves_its_bucket_is_refused(blobs: BlobStore, prefix: str) -> None:
    with pytest.raises(InvalidBlobName):
        blobs.list(prefix, limit=10)
