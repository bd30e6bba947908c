"""A small Cloud Build: carries out `cloudbuild.yaml` in a folder; the programs of its images only note their calls."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.tree import ROOT

CONFIG = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text("utf-8"))
STEPS: dict[str, dict[str, Any]] = {step["id"]: step for step in CONFIG["steps"]}
BUILT_IN = {"PROJECT_ID": "some-project", "BUILD_ID": "11112222-3333-4444-5555-666677778888"}
STATE_URL = "firestore://some-project/jobs-of-ours"  # of what Terraform has applied

# What a program does beside noting its call. $FAIL names calls that fail; $WORLD/running is the archive in use.
_TERRAFORM = r"""
case "$*" in
  *" output -raw environment") echo "export ATELIER_STATE_URL='$STATE_URL'" ;;
  *" output "*) cat "$WORLD/running" 2>/dev/null || echo "Warning: No outputs found" ;;
  *" plan "*) echo planned >.build/plan ;;
  *" show "*) cat "$WORLD/planned" ;;
  *" apply "*"-var "*) fails back; echo "${*##*archive=}" >"$WORLD/running" ;;
  *" apply "*) fails apply; cat "$WORLD/own" >"$WORLD/running" ;;
esac
"""
_PYTHON = r"""
case "$*" in
  *functions._archive*) mkdir -p .build; printf archive >.build/atelier.zip ;;
  *" submit "*) echo "$ATELIER_STATE_URL" >"$WORLD/asked"; fails smoke ;;
  *missing*) fails emulators ;;
  *pytest*) echo "$PATH" >"$WORLD/path"; fails test ;;
esac
"""
PROGRAMS = {
    "apt-get": "",
    "gcloud": "",
    "make": 'fails "$1"',
    "python3": _PYTHON,
    "terraform": _TERRAFORM,
}
_PREAMBLE = """#!/bin/sh
echo "$(basename "$0") $*" >>"$WORLD/calls"
fails() { case " $FAIL " in *" $1 "*) echo "$1 fails"; exit 1 ;; esac }
"""


@dataclass(frozen=True)
class Outcome:
    """How a build went: whether it succeeded, which steps began, which programs were called, what was printed."""

    succeeded: bool
    began: list[str]
    calls: list[str]
    told: str

    def called(self, *words: str) -> list[str]:
        """The calls that have all these words in them."""
        return [call for call in self.calls if all(word in call for word in words)]


class CloudBuild:
    """One build of a commit, in a project where *running* is deployed (None: nothing yet)."""

    def __init__(self, folder: Path, *, running: str | None = None, planned: str = "") -> None:
        self.world, self.workspace, self._tools = folder / "world", folder / "workspace", folder / "tools"
        for made in (self.world, self.workspace / "infra", self.workspace / ".venv" / "bin"):
            made.mkdir(parents=True)
        for name in ("pubsub-emulator", "cloud-firestore-emulator"):
            (folder / "sdk" / "platform" / name).mkdir(parents=True)
        self._programs = folder / "sdk" / "bin"
        self._programs.mkdir()
        for name, does in PROGRAMS.items():
            self._program(self._programs / name, does)
        self._program(self.workspace / ".venv" / "bin" / "python", _PYTHON)
        (self.world / "calls").touch()
        (self.world / "planned").write_text(planned)
        (self.world / "own").write_text(own_archive())
        if running is not None:
            (self.world / "running").write_text(running)

    def run(self, *, fail: str = "", **substitutions: str) -> Outcome:
        """Carry out the steps, one after the other; one that fails ends the build unless it is allowed to."""
        known = {**BUILT_IN, **CONFIG["substitutions"], **substitutions}
        began, told, succeeded = [], "", True
        for step in CONFIG["steps"]:
            began.append(step["id"])
            ended = self._step(step, known, fail)
            told += ended.stdout + ended.stderr
            if ended.returncode and not step.get("allowFailure"):
                succeeded = False
                break
        return Outcome(succeeded, began, (self.world / "calls").read_text().splitlines(), told)

    def running(self) -> str:
        """What is deployed now."""
        return (self.world / "running").read_text().strip()

    def _step(self, step: dict[str, Any], known: dict[str, str], fail: str) -> subprocess.CompletedProcess[str]:
        script = step["script"]
        for volume in step.get("volumes", ()):
            script = script.replace(f"{volume['path']}/", f"{self._tools}/")
        ours = {"WORLD": str(self.world), "FAIL": fail, "STATE_URL": STATE_URL}
        path = f"{self._programs}:{os.environ['PATH']}"
        return subprocess.run(
            ["sh", "-c", script],
            cwd=self.workspace,
            env={"PATH": path, **ours, **known},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    @staticmethod
    def _program(path: Path, does: str) -> None:
        path.write_text(_PREAMBLE + does)
        path.chmod(0o755)


def own_archive() -> str:
    """The name of the archive that a build makes here."""
    digest = subprocess.run(["sha256sum"], input="archive", capture_output=True, text=True, check=True).stdout
    return f"archives/{digest.split()[0]}.zip"


def expanded(text: str, known: dict[str, str]) -> str:
    """Replace `$NAME` and `${NAME}`; `$$` is a dollar. Raises KeyError for a name that is no substitution.

    Source: docs.cloud.google.com/build/docs/configuring-builds/substitute-variable-values.
    """
    return re.sub(r"\$(?:(\$)|\{(\w+)\}|(\w+))", lambda m: m[1] or known[m[2] or m[3]], text)
