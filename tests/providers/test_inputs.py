from __future__ import annotations

import base64
from pathlib import Path

import pytest

from shared.adapters.filesystem import FilesystemBlobStore
from shared.errors import InvalidCall, StoreUnavailable, Unavailable
from shared.ports import BlobInfo
from shared.providers.inputs import BUCKETS, MAX_INLINE_BYTES, InputUnread, as_url, for_google

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
LINK = "https://storage.example/a.png?X-Goog-Signature=abc"


class CloudStore(FilesystemBlobStore):
    """A folder that names, types and links its objects as Cloud Storage does."""

    address: str | None = LINK
    stored_type = "image/png"

    def uri(self, bucket: str, name: str) -> str:
        return f"gs://prefix-{bucket}/{name}" if bucket in BUCKETS else f"gs://{bucket}/{name}"

    def locate(self, uri: str) -> tuple[str, str]:
        return super().locate(uri.replace("gs://prefix-", "gs://"))

    def stat(self, uri: str) -> BlobInfo | None:
        info = super().stat(uri.replace("gs://prefix-", "gs://"))
        return None if info is None else BlobInfo(uri, info.size_bytes, self.stored_type, "1")

    def read(self, uri: str, max_bytes: int) -> bytes:
        return super().read(uri.replace("gs://prefix-", "gs://"), max_bytes)

    def link(self, uri: str, valid_s: int) -> str | None:  # type: ignore[override]
        return self.address


class AbsentStore(FilesystemBlobStore):
    def stat(self, uri: str) -> BlobInfo | None:
        raise StoreUnavailable("no answer")


class UnreadableStore(FilesystemBlobStore):
    def read(self, uri: str, max_bytes: int) -> bytes:
        raise StoreUnavailable("no answer")


@pytest.fixture
def folder(tmp_path: Path) -> FilesystemBlobStore:
    store = FilesystemBlobStore(tmp_path)
    store.create("gs://inbox/a.png", PNG, "image/png")
    return store


@pytest.fixture
def cloud(folder: FilesystemBlobStore, tmp_path: Path) -> CloudStore:
    return CloudStore(tmp_path)


# ---------------------------------------------------------------- for a vendor of Google


def test_a_file_in_our_bucket_is_given_by_its_real_uri(cloud: CloudStore) -> None:
    file = for_google("gs://inbox/a.png", cloud)
    assert (file.uri, file.media_type, file.data) == ("gs://prefix-inbox/a.png", "image/png", None)


def test_a_file_in_a_folder_is_sent_along(folder: FilesystemBlobStore) -> None:
    file = for_google("gs://inbox/a.png", folder)
    assert (file.uri, file.media_type, file.data) == (None, "image/png", PNG)


def test_a_file_in_a_bucket_of_the_users_own_is_not_looked_for(cloud: CloudStore) -> None:
    file = for_google("gs://somebody-elses/b.WEBP", cloud)
    assert (file.uri, file.media_type) == ("gs://somebody-elses/b.WEBP", "image/webp")


def test_what_is_no_object_of_ours_is_left_to_the_vendor(folder: FilesystemBlobStore) -> None:
    assert for_google("https://example.org/b.png", folder).uri == "https://example.org/b.png"


@pytest.mark.parametrize("store", ["folder", "cloud"])
def test_a_missing_file_is_told_before_the_vendor_is_called(store: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(InvalidCall, match="does not exist"):
        for_google("gs://inbox/b.png", request.getfixturevalue(store))


def test_a_file_too_large_to_be_sent_along_is_refused(folder: FilesystemBlobStore) -> None:
    folder.create("gs://inbox/large.png", PNG + bytes(MAX_INLINE_BYTES), "image/png")
    with pytest.raises(InvalidCall, match="larger than"):
        for_google("gs://inbox/large.png", folder)


# ---------------------------------------------------------------- for any other


def test_a_small_file_is_its_own_address(folder: FilesystemBlobStore) -> None:
    url = as_url("gs://inbox/a.png", folder, max_inline_bytes=len(PNG))
    assert url == "data:image/png;base64," + base64.b64encode(PNG).decode()


def test_a_larger_file_is_linked(cloud: CloudStore) -> None:
    assert as_url("gs://inbox/a.png", cloud, max_inline_bytes=len(PNG) - 1) == LINK


@pytest.mark.parametrize("address", [None, "file:///a.png", "http://storage.example/a.png"])
def test_a_larger_file_that_no_vendor_can_read_is_refused(cloud: CloudStore, address: str | None) -> None:
    cloud.address = address
    with pytest.raises(InvalidCall, match="larger than"):
        as_url("gs://inbox/a.png", cloud, max_inline_bytes=len(PNG) - 1)


def test_a_file_in_no_bucket_is_out_of_reach(folder: FilesystemBlobStore) -> None:
    with pytest.raises(InvalidCall, match="none of our buckets"):
        as_url("https://example.org/b.png", folder, max_inline_bytes=10)


def test_a_file_that_is_not_there_is_refused(folder: FilesystemBlobStore) -> None:
    with pytest.raises(InvalidCall, match="does not exist"):
        as_url("gs://inbox/b.png", folder, max_inline_bytes=10)


@pytest.mark.parametrize(
    ("name", "stored", "expected"),
    [
        ("a.png", "image/jpeg", "image/jpeg"),
        ("a.webp", "application/octet-stream", "image/webp"),
        ("a.JPG", "application/octet-stream", "image/jpeg"),
        ("a.wav", "application/octet-stream", "audio/wav"),
        ("a", "application/octet-stream", "application/octet-stream"),
    ],
)
def test_the_type_is_the_stored_one_and_else_that_of_the_ending(
    cloud: CloudStore, folder: FilesystemBlobStore, name: str, stored: str, expected: str
) -> None:
    if name != "a.png":
        folder.create(f"gs://inbox/{name}", b"data", "")
    cloud.stored_type = stored
    assert as_url(f"gs://inbox/{name}", cloud, max_inline_bytes=1000).startswith(f"data:{expected};base64,")
    assert for_google(f"gs://inbox/{name}", cloud).media_type == expected


@pytest.mark.parametrize("kind", [AbsentStore, UnreadableStore])
def test_a_bucket_that_does_not_answer_says_nothing_against_the_vendor(
    folder: FilesystemBlobStore, tmp_path: Path, kind: type[FilesystemBlobStore]
) -> None:
    for ask in (lambda: for_google("gs://inbox/a.png", kind(tmp_path)), lambda: as_url_of(kind(tmp_path))):
        with pytest.raises(Unavailable) as raised:
            ask()
        assert isinstance(raised.value, InputUnread)
        assert not raised.value.counts_against_health


def as_url_of(store: FilesystemBlobStore) -> str:
    return as_url("gs://inbox/a.png", store, max_inline_bytes=1000)
