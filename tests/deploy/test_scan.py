"""The security scan's exceptions: each names one check and says why it does not hold here."""

import re
from pathlib import Path

import pytest

INFRA = Path(__file__).parents[2] / "infra"
SKIPS = [
    pytest.param(line.strip(), id=f"{path.name}:{number}")
    for path in sorted(INFRA.rglob("*.tf"))
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
    if re.search(r"(checkov|bridgecrew|cortex):", line)
]


@pytest.mark.parametrize("line", SKIPS)
def test_an_exception_from_the_scan_names_its_check_and_has_a_reason(line: str) -> None:
    found = re.fullmatch(r"#checkov:skip=(CKV2?_[A-Z]+_\d+):(.+)", line)
    assert found is not None
    assert len(found[2].split()) >= 4


def test_nothing_else_leaves_a_check_out() -> None:
    """Neither a settings file that the scan reads by itself nor an option of its command."""
    root = INFRA.parent
    assert [*root.glob(".checkov.y*ml"), *INFRA.glob(".checkov.y*ml")] == []
    (command,) = re.findall(r"^\t.*/checkov .*$", (root / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r" --?[\w-]+", command)) == {
        " -d",
        " --framework",
        " --compact",
        " --quiet",
        " --skip-download",
    }
