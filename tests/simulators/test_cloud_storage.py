"""What the Cloud Storage simulator promises to any client, the `gcloud` command included."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
import requests

from shared.simulators.cloud_storage import CloudStorage

finalized: list[dict[str, Any]] = []


@pytest.fixture
def server() -> Iterator[CloudStorage]:
    finalized.clear()
    with CloudStorage(on_finalize=finalized.append) as running:
        running.create_bucket("box")
        yield running


@pytest.fixture
def web(server: CloudStorage) -> Iterator[Web]:
    with requests.Session() as session:
        yield Web(server.url, session)


class Web:
    """Plain requests to the simulator."""

    def __init__(self, url: str, session: requests.Session) -> None:
        self.url, self.session = url, session

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(method, self.url + path, timeout=10, **options)

    def upload(self, name: str, data: bytes, **query: str) -> requests.Response:
        query = {"uploadType": "media", "name": name} | query
        return self.ask("POST", "/upload/storage/v1/b/box/o", params=query, data=data)

    def begin(self, name: str, **query: str) -> str:
        query = {"uploadType": "resumable", "name": name} | query
        return self.ask("POST", "/upload/storage/v1/b/box/o", params=query, json={}).headers["Location"]

    def send(self, location: str, data: bytes, content_range: str, **headers: str) -> requests.Response:
        headers = {"Content-Range": content_range} | headers
        return self.session.put(location, data=data, headers=headers, timeout=10)

    def names(self, **query: str) -> list[str]:
        return [item["name"] for item in self.ask("GET", "/storage/v1/b/box/o", params=query).json()["items"]]


# ---------------------------------------------------------------- errors


def test_a_missing_bucket_is_said_in_googles_words(web: Web) -> None:
    answers = [
        web.ask("GET", "/storage/v1/b/none"),
        web.ask("GET", "/storage/v1/b/none/o"),
        web.ask("GET", "/storage/v1/b/none/o/a"),
        web.ask("POST", "/upload/storage/v1/b/none/o?uploadType=media&name=a", data=b"x"),
    ]
    for answer in answers:
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (404, 404)
        assert error["message"] == "The specified bucket does not exist."
        assert error["errors"][0]["reason"] == "notFound"


def test_a_bucket_is_made_once(web: Web) -> None:
    assert web.ask("POST", "/storage/v1/b?project=p", json={"name": "other"}).status_code == 200
    assert web.ask("POST", "/storage/v1/b?project=p", json={"name": "other"}).status_code == 409
    assert web.ask("POST", "/storage/v1/b?project=p", json={"name": "No Bucket"}).status_code == 400
    assert [each["name"] for each in web.ask("GET", "/storage/v1/b?project=p").json()["items"]] == ["box", "other"]


def test_what_is_not_json_and_what_is_not_simulated_is_refused(web: Web) -> None:
    assert web.ask("POST", "/storage/v1/b", data=b"{").status_code == 400
    assert web.ask("POST", "/storage/v1/b/box/o/a/compose", json={}).status_code == 404
    assert web.ask("GET", "/storage/v1/b/box/o?maxResults=many").status_code == 400


# ---------------------------------------------------------------- preconditions


def test_preconditions_of_writes_hold(web: Web) -> None:
    first = web.upload("a", b"1", ifGenerationMatch="0").json()
    assert web.upload("a", b"2", ifGenerationMatch="0").status_code == 412
    assert web.upload("a", b"2", ifGenerationNotMatch=first["generation"]).status_code == 412
    assert web.upload("a", b"2", ifMetagenerationMatch="7").status_code == 412
    second = web.upload("a", b"2", ifGenerationMatch=first["generation"]).json()
    assert int(second["generation"]) > int(first["generation"])
    delete = "/storage/v1/b/box/o/a?ifGenerationMatch="
    assert web.ask("DELETE", delete + first["generation"]).status_code == 412
    assert web.ask("DELETE", delete + second["generation"]).status_code == 204
    assert web.ask("DELETE", delete + second["generation"]).status_code == 404


def test_a_read_of_what_the_reader_has_is_not_modified(web: Web) -> None:
    generation = web.upload("a", b"1").json()["generation"]
    assert web.ask("GET", f"/storage/v1/b/box/o/a?ifGenerationNotMatch={generation}").status_code == 304
    assert web.ask("GET", "/storage/v1/b/box/o/a?generation=1").status_code == 404


def test_changed_metadata_is_a_new_metageneration_of_the_same_bytes(web: Web) -> None:
    old = web.upload("a", b"1").json()
    web.ask("PATCH", "/storage/v1/b/box/o/a", json={"metadata": {"x": "1", "y": "2"}})
    new = web.ask("PATCH", "/storage/v1/b/box/o/a", json={"metadata": {"x": None}, "contentType": "text/csv"}).json()
    assert (new["metadata"], new["contentType"], new["metageneration"]) == ({"y": "2"}, "text/csv", "3")
    assert (new["generation"], new["crc32c"]) == (old["generation"], old["crc32c"])


# ---------------------------------------------------------------- uploads and downloads


def test_wrong_checksums_are_refused_and_right_ones_returned(web: Web) -> None:
    good = base64.b64encode(google_crc32c.value(b"data").to_bytes(4, "big")).decode()
    bad = base64.b64encode(b"none").decode()
    assert web.send(web.begin("a"), b"data", "bytes 0-3/4", **{"x-goog-hash": f"crc32c={bad}"}).status_code == 400
    assert web.names() == []
    stored = web.send(web.begin("a"), b"data", "bytes 0-3/4", **{"x-goog-hash": f"crc32c={good}"}).json()
    assert stored["crc32c"] == good


def test_a_resumable_upload_goes_on_where_it_was_interrupted(web: Web) -> None:
    location = web.begin("a")
    assert web.send(location, b"", "bytes */*").status_code == 308
    assert web.send(location, b"0123", "bytes 0-3/*").headers["Range"] == "bytes=0-3"
    assert web.send(location, b"", "bytes */*").headers["Range"] == "bytes=0-3"
    assert web.send(location, b"23456", "bytes 2-6/*").headers["Range"] == "bytes=0-6"
    assert web.send(location, b"9", "bytes 9-9/10").status_code == 400
    assert web.names() == []
    assert web.send(location, b"789", "bytes 7-9/10").json()["size"] == "10"
    assert web.send(location, b"789", "bytes 7-9/10").json()["size"] == "10"
    assert web.ask("GET", "/storage/v1/b/box/o/a?alt=media").content == b"0123456789"
    assert len(finalized) == 1


def test_a_multipart_upload_brings_metadata_and_any_bytes(web: Web) -> None:
    data = bytes(range(256)) + b"\r\n--other\r\n\r\n"
    body = b'--b\r\nContent-Type: application/json\r\n\r\n{"name": "a/b", "metadata": {"k": "v"}}\r\n'
    body += b"--b\r\nContent-Type: image/png\r\n\r\n" + data + b"\r\n--b--"
    headers = {"Content-Type": 'multipart/related; boundary="b"'}
    path = "/upload/storage/v1/b/box/o?uploadType=multipart"
    stored = web.ask("POST", path, data=body, headers=headers).json()
    assert (stored["name"], stored["contentType"], stored["metadata"]) == ("a/b", "image/png", {"k": "v"})
    assert web.ask("GET", "/storage/v1/b/box/o/a%2Fb?alt=media").content == data
    assert web.ask("POST", path, data=b"--b\r\n", headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("wanted", "content"), [("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=-2", b"89"), ("bytes=5-99", b"56789")]
)
def test_a_range_is_sent_alone(web: Web, wanted: str, content: bytes) -> None:
    web.upload("a", b"0123456789")
    answer = web.ask("GET", "/storage/v1/b/box/o/a?alt=media", headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (206, content)


def test_a_range_behind_the_end_is_refused(web: Web) -> None:
    web.upload("a", b"0123456789")
    assert web.ask("GET", "/storage/v1/b/box/o/a?alt=media", headers={"Range": "bytes=10-"}).status_code == 416


def test_a_copy_is_an_object_of_its_own(web: Web) -> None:
    web.upload("a", b"1")
    path = "/storage/v1/b/box/o/a/rewriteTo/b/box/o/b%2Fc"
    answer = web.ask("POST", path, json={})
    assert (answer.json()["done"], answer.json()["resource"]["name"]) == (True, "b/c")
    assert web.ask("POST", f"{path}?ifGenerationMatch=0", json={}).status_code == 412


# ---------------------------------------------------------------- listings


def test_a_listing_has_prefixes_and_pages(web: Web) -> None:
    for name in ("a", "b/1", "b/2", "c", "d/1"):
        web.upload(name, b"")
    first = web.ask("GET", "/storage/v1/b/box/o?delimiter=/&maxResults=2").json()
    rest = web.ask("GET", f"/storage/v1/b/box/o?delimiter=/&pageToken={first['nextPageToken']}").json()
    assert ([item["name"] for item in first["items"]], first["prefixes"]) == (["a"], ["b/"])
    assert ([item["name"] for item in rest["items"]], rest["prefixes"]) == (["c"], ["d/"])
    assert "nextPageToken" not in rest
    assert web.names(startOffset="b/2", endOffset="d") == ["b/2", "c"]
    assert web.names(prefix="b/") == ["b/1", "b/2"]


# ---------------------------------------------------------------- the server


def test_a_new_object_is_told_of_when_it_can_be_read() -> None:
    seen: list[bytes] = []

    def read_back(metadata: dict[str, Any]) -> None:
        seen.append(requests.get(metadata["mediaLink"], timeout=10).content)
        raise ZeroDivisionError  # the listener's own fault, not the uploader's

    with CloudStorage(on_finalize=read_back) as server, requests.Session() as session:
        server.create_bucket("box")
        assert Web(server.url, session).upload("a", b"new").status_code == 200
    assert seen == [b"new"]


def test_what_is_stored_outlives_a_restart_on_the_same_port(server: CloudStorage, web: Web) -> None:
    web.upload("a", b"1")
    url = server.url
    server.stop()
    with pytest.raises(requests.ConnectionError):
        web.names()
    server.start()
    assert server.url == url
    assert web.names() == ["a"]


def test_faults_happen_as_often_as_asked_for(server: CloudStorage, web: Web) -> None:
    server.fail("POST /upload", status=503, times=2)
    server.fail("name=lost", drop=True, after=True)
    assert [web.upload("a", b"1").status_code for _ in range(3)] == [503, 503, 200]
    with pytest.raises(requests.ConnectionError):
        web.upload("lost", b"1")
    assert web.names() == ["a", "lost"]
    server.fail(times=9, status=500)
    server.mend()
    assert web.names() == ["a", "lost"]


def test_an_object_of_a_hundred_megabytes_goes_in_and_out(web: Web) -> None:
    data = os.urandom(1 << 20) * 100
    web.upload("large", data)
    answer = web.ask("GET", "/storage/v1/b/box/o/large?alt=media")
    assert answer.content == data


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcloud") is None, reason="the gcloud command is not installed")
def test_the_gcloud_command_copies_and_lists(server: CloudStorage, web: Web, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    environment = os.environ | {
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{server.url}/",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CONFIG": str(tmp_path / "config"),
        "CLOUDSDK_CORE_PROJECT": "test",
    }

    def gcloud(*arguments: str) -> str:
        command = ["gcloud", "storage", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    gcloud("cp", str(tmp_path / "manifest.json"), "gs://box/in/")
    assert finalized[0]["name"] == "in/manifest.json"
    assert gcloud("ls", "gs://box/in/").split() == ["gs://box/in/manifest.json"]
    gcloud("cp", "gs://box/in/manifest.json", str(tmp_path / "back.json"))
    assert (tmp_path / "back.json").read_text() == "{}"
