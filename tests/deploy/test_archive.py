"""The archive that is deployed: the same bytes from the same content, small, and enough to start every function."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from functions import _archive
from shared.adapters import wiring
from tests.deploy.unpacked import Deployed, forbidden_cloud, make_environment, pins
from tests.functions.serving import ROOT, push

ROWS = wiring.functions()
ANSWERS = {  # to what is no event, to a request, and to GET /health, where they are not 400, 503 and 405
    "on_upload": (400, 204, 405),  # the request tells of no object
    "on_webhook": (404, 404, 405),  # there is no secret that webhooks could be signed with
    "ops": (405, 405, 503),
}
REQUEST = {"kind": "text", "prompt": "A line about the harbour", "job_id": "0" * 32, "seq": 1, "request_id": "1"}
STRAY = (".gitignore", "._validate.py", "validate.py~", "#validate.py#", "validate.py.orig", ".validate.py.swp")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deployed")
    _archive.write(ROOT, folder / "atelier.zip")
    with zipfile.ZipFile(folder / "atelier.zip") as archive:
        archive.extractall(folder / "source")
    return folder / "source"


@pytest.fixture(scope="module")
def python(unpacked: Path) -> Path:
    return make_environment(unpacked.with_name("environment"), unpacked / "requirements.txt")


def checkout(folder: Path) -> Path:
    """A copy of what the archive is made from."""
    for name in _archive.FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.txt", folder)
    return folder


def other_checkout(folder: Path) -> Path:
    """The same content, made in another order by somebody with other habits, who has worked in it."""
    for name in sorted(_archive.names(ROOT), reverse=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((ROOT / name).read_bytes())
        (folder / name).chmod(0o700)
        os.utime(folder / name, (1e9, 1e9))
    for stray in (*STRAY, "__pycache__/validate.cpython-311.pyc.140", ".idea/workspace.xml"):
        (folder / "functions" / stray).parent.mkdir(exist_ok=True)
        (folder / "functions" / stray).write_text("stray")
    for name in ("infra", "tests", ".atelier"):
        (folder / name).mkdir()
        (folder / name / "file").write_text("not deployed")
    return folder


# ---------------------------------------------------------------- the same bytes


def test_the_same_content_gives_the_same_archive_whatever_lies_beside_it(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    _archive.write(checkout(one), one / ".build" / "atelier.zip")
    _archive.write(other_checkout(other), other / "atelier.zip")
    assert (one / ".build" / "atelier.zip").read_bytes() == (other / "atelier.zip").read_bytes()


def test_nothing_of_the_machine_is_in_the_archive(unpacked: Path) -> None:
    with zipfile.ZipFile(unpacked.with_name("atelier.zip")) as archive:
        kept = {
            (e.compress_type, e.date_time, e.create_system, e.external_attr, e.extra, e.comment)
            for e in archive.infolist()
        }
        names = archive.namelist()
    assert kept == {(zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0), 3, 0o100644 << 16, b"", b"")}
    assert names == sorted(set(names))


def test_it_holds_the_tracked_files_of_two_folders_and_the_requirements_and_no_more(unpacked: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("there is no git to tell what is tracked")
    listed = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "functions", "shared"]
    tracked = subprocess.run(listed, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip(f"this is no git checkout: {tracked.stderr.strip()}")
    present = {name for name in tracked.stdout.splitlines() if (ROOT / name).exists()}
    found = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    assert found == present | {"requirements.txt"}


def test_it_stays_under_two_mebibytes(unpacked: Path) -> None:
    assert unpacked.with_name("atelier.zip").stat().st_size < 2 * 2**20


# ---------------------------------------------------------------- the command


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    """-S: without anything that is installed."""
    command = [sys.executable, "-S", "-m", "functions._archive"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_command_tells_path_size_hash_and_number_of_files(tmp_path: Path, unpacked: Path) -> None:
    told = run(checkout(tmp_path))
    archive = tmp_path / ".build" / "atelier.zip"
    number = len([path for path in unpacked.rglob("*") if path.is_file()])
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout == f"{archive}  {archive.stat().st_size} bytes  {number} files  sha256 {digest}\n"


@pytest.mark.parametrize(
    "harm, complaint",
    [
        (lambda f: (f / "requirements.txt").unlink(), "has no requirements.txt"),
        (lambda f: shutil.rmtree(f / "shared"), "has no shared"),
        (lambda f: (f / "shared" / "big.toml").write_bytes(bytes(2**21)), "the most is 2097152"),
        (lambda f: (f / "shared" / "elsewhere.py").symlink_to(f / "requirements.txt"), "is not a plain file"),
    ],
)
def test_what_cannot_be_right_is_refused_and_nothing_is_written(tmp_path: Path, harm, complaint: str) -> None:
    harm(checkout(tmp_path))
    told = run(tmp_path)
    assert told.returncode == 1
    assert complaint in told.stderr
    assert not list((tmp_path / ".build").glob("*"))


# ---------------------------------------------------------------- what is in it runs


def test_only_what_is_pinned_can_be_imported(python: Path, unpacked: Path) -> None:
    script = "from importlib import metadata as m; print(*((d.name, d.version) for d in m.distributions()), sep='\\n')"
    listed = subprocess.run([python, "-Ic", script], capture_output=True, text=True, check=True).stdout
    found = {re.sub(r"[-_.]+", "-", line.lower()) for line in listed.splitlines()}
    assert found == {re.sub(r"[-_.]+", "-", str(pin).lower()) for pin in pins(unpacked / "requirements.txt").items()}
    assert subprocess.run([python, "-Ic", "import pytest"], capture_output=True, check=False).returncode == 1


@pytest.fixture(scope="module")
def settings() -> Iterator[dict[str, str]]:
    with forbidden_cloud() as found:
        yield found


@pytest.mark.parametrize("name", ROWS)
def test_a_function_starts_from_the_archive_and_asks_the_database_of_its_deployment(
    name: str, python: Path, unpacked: Path, settings: dict[str, str]
) -> None:
    function = Deployed(ROWS[name], python, unpacked, settings)
    with closing(function):
        function.ready()
        no_event, event = function.send(b""), function.send(push(REQUEST, message_id="1"))
        health = function.send(b"", {}, method="GET", path="/health")
    found = no_event.status, event.status, health.status
    assert found == ANSWERS.get(name, (400, 503, 405)), [no_event.body, event.body, function.err.read_text()]
    if event.status == 503:
        assert "no access to database 'atelier' of project 'some-project'" in json.loads(event.body)["error"]
    if health.status == 503:
        assert set(json.loads(health.body)["checks"]) == {"documents", "blobs"}
