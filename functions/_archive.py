"""The archive that is deployed: `python3 -m functions._archive`, with any Python 3.11 or later and nothing installed.

The same content gives the same bytes on every machine, so that the archive's hash names its content: names are sorted,
times and modes fixed, and nothing is compressed, because builds of zlib differ in what they make of the same input.
"""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ARCHIVE = ROOT / ".build" / "atelier.zip"
FOLDERS = ("functions", "shared")
REQUIREMENTS = "requirements.txt"
# What editors and version control leave beside the sources; names with a leading dot are left out as well.
LEFT_OUT = {".bak", ".orig", ".rej", ".swp", ".tmp"}
LARGEST_BYTES = 2 * 2**20
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first time a ZIP file can express
_MODE = 0o100644 << 16
_UNIX = 3


class NotArchived(Exception):
    """There is something that cannot be right; nothing was written."""


def names(root: Path) -> list[str]:
    """Return the paths of what belongs into the archive, from *root*, sorted. Raises NotArchived."""
    found = [REQUIREMENTS, *(name for folder in FOLDERS for name in _files(root, folder))]
    missing = [name for name in (REQUIREMENTS, *FOLDERS) if not (root / name).exists()]
    if missing:
        raise NotArchived(f"{root} has no {' and no '.join(missing)}")
    return sorted(found)


def write(root: Path, archive: Path) -> list[str]:
    """Write what is deployed to *archive*; return the names in it. Raises NotArchived."""
    inside = names(root)
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_name(f"{archive.name}.{os.getpid()}.tmp")
    try:
        with zipfile.ZipFile(unfinished, "w") as made:
            for name in inside:
                made.writestr(_entry(name), (root / name).read_bytes(), zipfile.ZIP_STORED)
        if (size := unfinished.stat().st_size) > LARGEST_BYTES:
            raise NotArchived(f"the archive would have {size} bytes; the most is {LARGEST_BYTES}")
        unfinished.replace(archive)
    finally:
        unfinished.unlink(missing_ok=True)
    return inside


def main() -> int:
    """Write the archive of this checkout and say what it is."""
    try:
        inside = write(ROOT, ARCHIVE)
    except (NotArchived, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    content = ARCHIVE.read_bytes()
    print(f"{ARCHIVE}  {len(content)} bytes  {len(inside)} files  sha256 {hashlib.sha256(content).hexdigest()}")
    return 0


def _files(root: Path, folder: str) -> Iterator[str]:
    """Yield the files under a folder that belong into the archive. Raises NotArchived for a link."""
    for path in (root / folder).rglob("*"):
        name = path.relative_to(root)
        if (path.is_dir() and not path.is_symlink()) or _is_left_out(name):
            continue
        if path.is_symlink() or not path.is_file():
            raise NotArchived(f"{name} is not a plain file")
        yield name.as_posix()


def _is_left_out(name: Path) -> bool:
    hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
    return hidden or name.suffix in LEFT_OUT or name.name[-1] in "~#"


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EARLIEST)
    entry.create_system, entry.external_attr = _UNIX, _MODE
    return entry


if __name__ == "__main__":
    sys.exit(main())
