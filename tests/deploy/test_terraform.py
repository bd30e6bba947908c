"""Terraform itself on the configuration: it is valid, its own tests pass, and a second reader finds nothing.

The provider is a stand-in that has the real one's schema and makes values up, so neither network nor project is needed.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT.parent / "shared" / "tools"
STAND_IN, SECOND_READER = TOOLS / "tfprovider.py", TOOLS / "tfcheck.py"
SCHEMAS = ("google_schema.json.gz", "google_schema_7.json.gz")  # of the newest provider allowed, and of an older one
# It takes a dynamic block for one block; there is an index for each list of two fields or more in indexes.json.
FALSE_ALARM = (
    "google_firestore_index.composite: a composite index needs two or more fields; "
    "single-field indexes exist by themselves"
)
READ_BY_IT = ("infra", "shared/settings.py", "shared/stores/indexes.json")
TIMEOUT_S = 120

needs_second_reader = pytest.mark.skipif(
    not SECOND_READER.exists(), reason="there is no tfcheck.py beside the checkout"
)

Terraform = Callable[..., str]


def _missing() -> str | None:
    if shutil.which("terraform") is None:
        return "there is no terraform"
    return None if STAND_IN.exists() else "there is no stand-in for the Google provider beside the checkout"


@pytest.fixture(scope="module")
def infra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the configuration with all that it reads: Terraform writes where it works."""
    root = tmp_path_factory.mktemp("checkout")
    for name in READ_BY_IT:
        source, target = ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars"))
        else:
            shutil.copy(source, target)
    archive = root / ".build" / "atelier.zip"
    archive.parent.mkdir()
    archive.write_bytes(b"what is deployed")
    return root / "infra"


@pytest.fixture(scope="module")
def terraform(infra: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terraform]:
    """Runs Terraform in the copy, with the stand-in as its provider, and returns what it said.

    Nothing of it may reach the checkout: a lock file that names the stand-in would keep the real provider out.
    """
    if (missing := _missing()) is not None:
        pytest.skip(missing)
    home = tmp_path_factory.mktemp("terraform")
    _run([sys.executable, str(STAND_IN), "install", str(home)], {})
    own = {"TF_CLI_CONFIG_FILE": str(home / "terraformrc"), "HOME": str(home), "TF_IN_AUTOMATION": "1"}

    def run(*arguments: str) -> str:
        return _run(["terraform", f"-chdir={infra}", *arguments], own)

    before = set((ROOT / "infra").iterdir())
    run("init", "-backend=false", "-input=false", "-no-color")
    yield run
    assert set((ROOT / "infra").iterdir()) == before


def _run(command: list[str], own: dict[str, str]) -> str:
    environment = {"PATH": os.environ["PATH"], **own}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_configuration_is_valid(terraform: Terraform) -> None:
    assert "The configuration is valid" in terraform("validate", "-no-color")


def test_its_own_tests_pass(terraform: Terraform, infra: Path) -> None:
    runs = sum(path.read_text("utf-8").count('\nrun "') for path in infra.glob("tests/*.tftest.hcl"))
    assert runs > 0
    assert f"Success! {runs} passed, 0 failed." in terraform("test", "-no-color")


@needs_second_reader
@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_second_reader_finds_nothing(infra: Path, schema: str) -> None:
    read = _run([sys.executable, str(SECOND_READER), str(infra), "--json", "--schema", str(TOOLS / schema)], {})
    assert [finding["message"] for finding in json.loads(read)["findings"]] == [FALSE_ALARM]
