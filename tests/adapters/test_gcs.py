"""What the Cloud Storage store does beyond the contract: lost answers, refusals, whole bytes, bounded waits, links."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import google.auth
import google.auth.credentials
import google.auth.exceptions
import google.auth.transport.requests
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.cloud.storage import Client
from google.cloud.storage._bucket_metadata_cache import BucketMetadataCache
from google.cloud.storage._opentelemetry_tracing import DISABLE_BUCKET_MD_ENV_VAR
from google.oauth2 import service_account

from shared.adapters import gcs
from shared.adapters.gcs import CloudStorageBlobStore
from shared.errors import BlobExists, BlobNotFound, BlobTooLarge, SettingsError, StoreUnavailable, StoreUnusable
from shared.ports import BlobStore
from shared.simulators.cloud_storage import CloudStorage

URI = "gs://outputs/a.bin"
MIB = 1 << 20
LARGE = 20 * MIB


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudStorage]:
    with CloudStorage() as running:
        running.create_bucket("test-inbox")
        running.create_bucket("test-outputs")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", running.url)
        yield running


@pytest.fixture
def blobs(server: CloudStorage) -> Iterator[CloudStorageBlobStore]:
    store = CloudStorageBlobStore("test")
    yield store
    store.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make calls give up after half a second."""
    monkeypatch.setattr(gcs, "WAIT_S", 0.5)


def pieces() -> Iterator[bytes]:
    for n in range(LARGE // MIB):
        yield bytes([n]) * MIB


def every_call(blobs: BlobStore) -> list[Callable[[], object]]:
    return [
        lambda: blobs.create(URI, b"x", "text/plain"),
        lambda: blobs.create(URI, pieces(), "text/plain"),
        lambda: blobs.replace(URI, b"x", "text/plain", "1"),
        lambda: blobs.read(URI, 10),
        lambda: blobs.open(URI),
        lambda: blobs.stat(URI),
        lambda: blobs.list("gs://outputs/", limit=10),
    ]


# ---------------------------------------------------------------- names


def test_uris_are_of_the_real_buckets_and_both_forms_are_understood(blobs: CloudStorageBlobStore) -> None:
    assert blobs.uri("inbox", "a b%é") == "gs://test-inbox/a b%é"
    assert blobs.locate("gs://test-inbox/a") == blobs.locate("gs://inbox/a") == ("inbox", "a")
    assert blobs.locate("gs://somebody-elses/a") == ("somebody-elses", "a")


def test_a_prefix_that_no_bucket_can_have_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match="ATELIER_BLOBS_URL"):
        CloudStorageBlobStore("Not A Prefix")


def test_missing_credentials_are_named_with_the_way_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(SettingsError, match="gcloud auth application-default login"):
        CloudStorageBlobStore("test")


def test_a_name_above_another_and_the_given_media_type_are_kept(blobs: CloudStorageBlobStore) -> None:
    for name in ("a", "a/b", "a//b", "x" * 1_024):
        info = blobs.create(f"gs://inbox/{name}", b"{}", "application/whatever")
        assert (info.media_type, blobs.stat(info.uri)) == ("application/whatever", info)
    assert [blobs.locate(info.uri)[1][:4] for info in blobs.list("gs://inbox/", limit=9)] == [
        "a",
        "a//b",
        "a/b",
        "xxxx",
    ]


def test_a_listing_leaves_out_names_that_mean_another_place_on_a_disk(
    server: CloudStorage, blobs: CloudStorageBlobStore
) -> None:
    for name in ("a/../../b", "c", "d"):
        query = {"uploadType": "media", "name": name}
        requests.post(f"{server.url}/upload/storage/v1/b/test-inbox/o", params=query, data=b"x", timeout=5)
    assert [info.uri for info in blobs.list("gs://inbox/", limit=1)] == ["gs://test-inbox/c"]


# ---------------------------------------------------------------- uploads


@pytest.mark.parametrize("data", [b"small", bytes(LARGE)], ids=["one request", "resumable"])
@pytest.mark.parametrize("fault", [{"status": 503}, {"drop": True}], ids=["503", "dropped"])
@pytest.mark.parametrize("after", [False, True], ids=["before the work", "after the work"])
def test_a_create_whose_answer_is_lost_succeeds_once(
    server: CloudStorage, blobs: CloudStorageBlobStore, data: bytes, fault: dict[str, Any], after: bool
) -> None:
    due = server.fail("/upload", **fault, after=after)
    info = blobs.create(URI, data, "video/mp4")
    assert due.times == 0
    assert info == blobs.stat(URI)
    assert blobs.read(URI, LARGE) == data
    with pytest.raises(BlobExists):
        blobs.create(URI, data, "video/mp4")


def test_who_may_create_but_not_delete_is_refused_over_an_object_and_finds_that_it_exists(
    server: CloudStorage, blobs: CloudStorageBlobStore
) -> None:
    blobs.create(URI, b"first", "text/plain")
    server.fail("/upload", status=403)
    with pytest.raises(BlobExists):
        blobs.create(URI, b"second", "text/plain")
    assert blobs.read(URI, 10) == b"first"


def test_who_may_create_but_not_delete_finds_its_own_object_when_the_answer_is_lost(
    server: CloudStorage, blobs: CloudStorageBlobStore
) -> None:
    server.fail("/upload", drop=True, after=True)
    server.fail("/upload", status=403)
    assert blobs.create(URI, b"own", "text/plain") == blobs.stat(URI)


def test_who_may_not_create_is_told_so_where_there_is_no_object(
    server: CloudStorage, blobs: CloudStorageBlobStore
) -> None:
    server.fail("/upload", status=403)
    with pytest.raises(StoreUnusable, match="no permission"):
        blobs.create(URI, b"first", "text/plain")


def test_a_replacement_whose_answer_is_lost_succeeds_once(server: CloudStorage, blobs: CloudStorageBlobStore) -> None:
    first = blobs.create(URI, b"first", "text/plain")
    server.fail("/upload", drop=True, after=True)
    second = blobs.replace(URI, b"second", "text/plain", first.generation)
    assert second == blobs.stat(URI)
    assert blobs.read(URI, 10) == b"second"


@pytest.mark.parametrize("match", ["upload_id=", "PUT /upload"])
@pytest.mark.parametrize("after", [False, True], ids=["before the work", "after the work"])
def test_an_interrupted_upload_of_chunks_goes_on(
    server: CloudStorage, blobs: CloudStorageBlobStore, match: str, after: bool
) -> None:
    due = server.fail(match, drop=True, after=after, times=2)
    info = blobs.create(URI, pieces(), "video/mp4")
    assert (due.times, info.size_bytes) == (0, LARGE)
    assert blobs.read(URI, LARGE) == b"".join(pieces())


@pytest.mark.parametrize("size", [0, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 16 * MIB])
def test_data_of_any_length_is_kept_whole_however_it_comes(blobs: CloudStorageBlobStore, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    for number, given in enumerate((data, iter([data[: size // 3], b"", data[size // 3 :]]))):
        info = blobs.create(f"gs://outputs/{number}", given, "video/mp4")
        assert info.size_bytes == size
        assert blobs.read(info.uri, size) == data


@pytest.mark.parametrize("generation", ["", "0", "-1", "1.5", "12-34", "¹", "9" * 30])
def test_a_generation_that_cannot_be_is_not_there(blobs: CloudStorageBlobStore, generation: str) -> None:
    for _ in range(2):
        with pytest.raises(BlobExists):
            blobs.replace(URI, b"x", "text/plain", generation)
        blobs.replace(URI, b"there", "text/plain", None)


# ---------------------------------------------------------------- downloads


def test_too_large_an_object_is_refused_before_any_byte_is_sent(
    server: CloudStorage, blobs: CloudStorageBlobStore
) -> None:
    blobs.create(URI, bytes(1_000), "text/plain")
    download = server.fail("alt=media", status=500)
    with pytest.raises(BlobTooLarge):
        blobs.read(URI, 999)
    assert download.times == 1


def test_bytes_that_change_on_the_way_are_not_handed_on(server: CloudStorage, blobs: CloudStorageBlobStore) -> None:
    blobs.create(URI, bytes(1_000), "text/plain")
    server.fail("alt=media", corrupt=True, times=2)
    with pytest.raises(StoreUnavailable, match="checksum"):
        blobs.read(URI, 1_000)
    with blobs.open(URI) as file, pytest.raises(StoreUnavailable, match="checksum"):
        file.read(10)
    assert blobs.read(URI, 1_000) == bytes(1_000)


def test_a_large_object_is_streamed_in_pieces_of_one_generation(blobs: CloudStorageBlobStore) -> None:
    blobs.create(URI, pieces(), "video/mp4")
    with blobs.open(URI) as file:
        assert file.read(3) == bytes(3)
        file.seek(LARGE - 1)
        assert file.read() == bytes([19])
        file.seek(7 * MIB - 1)
        assert file.read(2) == b"\x06\x07"
        blobs.replace(URI, b"other", "video/mp4", None)
        file.seek(15 * MIB)
        with pytest.raises(BlobNotFound):
            file.read(1)


def test_a_download_that_breaks_off_goes_on(server: CloudStorage, blobs: CloudStorageBlobStore) -> None:
    blobs.create(URI, b"whole", "text/plain")
    server.fail("alt=media", drop=True)
    assert blobs.read(URI, 10) == b"whole"


# ---------------------------------------------------------------- refusals


def test_a_missing_bucket_is_named_with_the_fix(server: CloudStorage) -> None:
    blobs = CloudStorageBlobStore("missing")
    for call in every_call(blobs):
        with pytest.raises(StoreUnusable, match=r"gs://missing-outputs does not exist; create it .*ATELIER_BLOBS_URL"):
            call()
    blobs.close()


def test_a_missing_permission_is_named_with_the_role(server: CloudStorage, blobs: CloudStorageBlobStore) -> None:
    server.fail(status=403, times=100)
    for call in every_call(blobs):
        with pytest.raises(StoreUnusable, match=r"no permission on gs://test-outputs: grant roles/storage\.objectUser"):
            call()


def test_the_client_asks_for_nothing_behind_our_back(server: CloudStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DISABLE_BUCKET_MD_ENV_VAR, raising=False)
    asked: list[str] = []
    monkeypatch.setattr(BucketMetadataCache, "get_or_queue_fetch", lambda _, bucket: asked.append(bucket))
    with closing(CloudStorageBlobStore("test")) as blobs:
        for call in every_call(blobs):
            with suppress(BlobExists, BlobNotFound):
                call()
    assert asked == []


def test_a_service_that_is_down_is_unavailable_soon(
    impatient: None, server: CloudStorage, blobs: CloudStorageBlobStore
) -> None:
    blobs.create("gs://outputs/warm", b"x", "text/plain")
    server.stop()
    for call in every_call(blobs):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            call()
        assert time.monotonic() - began < 3


def test_a_service_that_hangs_is_unavailable_soon(
    impatient: None, server: CloudStorage, blobs: CloudStorageBlobStore
) -> None:
    server.fail("/b/test-outputs/o", delay_s=1.0, times=100)
    for call in (lambda: blobs.stat(URI), lambda: blobs.create(URI, b"x", "text/plain")):
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            call()
        assert time.monotonic() - began < 3


# ---------------------------------------------------------------- links


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


@pytest.fixture
def signing(monkeypatch: pytest.MonkeyPatch, key: rsa.RSAPrivateKey) -> Iterator[CloudStorageBlobStore]:
    account = "signer@test.iam.gserviceaccount.com"
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    info = {"client_email": account, "private_key": pem, "token_uri": "https://localhost/token"}
    with CloudStorage(keys={account: key.public_key()}) as server:
        server.create_bucket("test-outputs")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        anonymous = CloudStorageBlobStore("test")
        anonymous.create("gs://outputs/a b/é.txt", b"linked", "text/plain")
        anonymous.close()
        credentials = service_account.Credentials.from_service_account_info(info)
        with Client(project="test", credentials=credentials) as client:
            yield CloudStorageBlobStore("test", client)


def test_whoever_has_a_link_reads_the_object_and_nothing_else(signing: CloudStorageBlobStore) -> None:
    link = signing.link("gs://outputs/a b/é.txt", 60)
    assert link is not None
    assert requests.get(link, timeout=5).content == b"linked"
    assert requests.get(link.replace("a%20b", "other"), timeout=5).status_code == 403
    assert requests.get(link.replace("Expires=60", "Expires=600"), timeout=5).status_code == 403
    assert requests.put(link, data=b"x", timeout=5).status_code == 403
    assert requests.get(link.partition("?")[0], timeout=5).status_code == 403


def test_a_link_is_of_seven_days_at_most(signing: CloudStorageBlobStore) -> None:
    link = signing.link("gs://outputs/a b/é.txt", 10**9)
    assert link is not None
    assert parse_qs(urlsplit(link).query)["X-Goog-Expires"] == ["604800"]


def test_without_a_key_there_is_no_link(blobs: CloudStorageBlobStore) -> None:
    assert blobs.link(URI, 60) is None


def test_a_metadata_server_that_does_not_answer_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise google.auth.exceptions.TransportError("no route to the metadata server")

    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setattr(google.auth, "default", unreachable)
    with pytest.raises(StoreUnavailable):
        CloudStorageBlobStore("test")


class OnCloudRun(google.auth.credentials.Credentials, google.auth.credentials.Scoped):
    """Credentials of an instance: no key of their own, and a token that is good for its scopes only."""

    service_account_email = "generate@my-project.iam.gserviceaccount.com"

    def __init__(self, scopes: tuple[str, ...] = ("https://www.googleapis.com/auth/devstorage.read_write",)) -> None:
        super().__init__()
        self._scopes, self.token = scopes, " ".join(scopes)

    @property
    def requires_scopes(self) -> bool:
        return False

    def with_scopes(self, scopes: Any, default_scopes: Any = None) -> OnCloudRun:
        return OnCloudRun(tuple(scopes))

    def refresh(self, request: Any) -> None:
        """The token never ends."""

    def before_request(self, request: Any, method: str, url: str, headers: dict[str, str]) -> None:
        headers["authorization"] = f"Bearer {self.token}"


@pytest.mark.parametrize("status", [200, 403])
def test_on_cloud_run_iam_signs_when_it_is_asked_with_the_scope_that_it_wants(
    monkeypatch: pytest.MonkeyPatch, server: CloudStorage, status: int
) -> None:
    asked: list[str] = []

    def sign(_self: Any, url: str, method: str, body: bytes, headers: dict[str, str], **_: Any) -> Any:
        asked.append(headers["authorization"])
        allowed = "auth/cloud-platform" in headers["authorization"] and status == 200
        data = json.dumps({"signedBlob": base64.b64encode(b"signed by IAM").decode()} if allowed else {}).encode()
        return SimpleNamespace(status=200 if allowed else 403, data=data)

    monkeypatch.setattr(google.auth.transport.requests.Request, "__call__", sign)
    client = Client(project="my-project", credentials=OnCloudRun())
    link = CloudStorageBlobStore("test", client).link("gs://outputs/a.png", 60)
    client.close()
    assert len(asked) >= 1
    if status == 403:
        assert link is None
    else:
        assert link is not None
        assert parse_qs(urlsplit(link).query)["X-Goog-Signature"] == [b"signed by IAM".hex()]
