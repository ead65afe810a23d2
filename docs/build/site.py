"""Builds the pages of the repository as a site that needs no network: `build/site/index.html`.

python -m docs.build.site

The pages stand where they are read in the repository, README and experiments included, so their
links are right there and on the site alike. What they link to comes along; a link to nothing is an
error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "build" / "site-sources"
_LINK = re.compile(r"\]\(([^)#\s]+)")


def gather(folder: Path) -> None:
    """Copy README, docs and all that they link to into an empty folder, as they lie here."""
    shutil.rmtree(folder, ignore_errors=True)
    waiting = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    seen: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file in seen or not file.is_file():
            continue  # a missing one is told of by the build
        seen.add(file)
        copy = folder / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
        if file.suffix == ".md":
            for target in _LINK.findall(file.read_text(encoding="utf-8")):
                if "://" not in target:
                    waiting.append((file.parent / target).resolve())


def build(out: Path = ROOT / "build" / "site") -> int:
    """Build the site; return the exit status of mkdocs, for which a warning is an error."""
    gather(SOURCES)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    places = ["--config-file", str(ROOT / "mkdocs.yml"), "--site-dir", str(out)]
    # What the theme says about its own future is nothing that a reader or writer can mend here.
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run([*command, *places], env=quiet).returncode


if __name__ == "__main__":
    sys.exit(build())
