"""Pinned npm packages as a source of artwork, data and build tools: fetched once, checked always.

Packages are archives to read from; they are never installed, and no script of theirs runs. Called
where a pin is: experiments, the Android tool chain.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from hydra_mobile.core.boundaries import writing
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.files import cache_home, sha256_of
from hydra_mobile.core.temporary import scratch


def fetch_npm(name: str, version: str, sha256: str) -> Path:
    """Return the path of a package's .tgz in the cache, downloading it with npm when it is absent.

    An archive that is present is hashed and returned without network access.

    Args:
        name: for example "@twemoji/svg".
        version: exact.
        sha256: what the archive must hash to, hexadecimal.

    Raises:
        ArtifactError: the cached or downloaded archive has another hash (truncated or altered).
        HydraError: npm is not installed, or could not download it; what it said is in the message.
    """
    folder = cache_home() / "npm"
    archive = folder / f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"
    if archive.exists():
        _check(archive, sha256, f"Delete {archive} and run the same command again.")
        return archive
    if shutil.which("npm") is None:
        raise HydraError(
            f"npm is not installed, and {name} {version} is fetched with it.",
            f"On Debian: apt-get install npm. Offline: put {archive.name} into {folder}.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    with (
        writing(archive),
        scratch(folder, archive.name) as temporary,
    ):
        command = ["npm", "pack", f"{name}@{version}", "--ignore-scripts", "--silent"]
        done = subprocess.run(command, cwd=temporary, capture_output=True, text=True, check=False)
        fetched = temporary / archive.name
        if done.returncode != 0 or not fetched.is_file():
            said = (done.stderr or done.stdout).strip()[-1500:]
            raise HydraError(
                f"npm could not download {name} {version}:\n{said}",
                "Check the network and npm's settings (`npm config list`), and run again. "
                f"Offline: put {archive.name} into {folder} yourself.",
            )
        _check(
            fetched,
            sha256,
            "The download was cut short or altered, or the registry serves another file; nothing "
            "was kept. Run the same command again.",
        )
        fetched.replace(archive)
    return archive


def _check(path: Path, expected: str, mend: str) -> None:
    found = sha256_of(path)
    if found != expected.lower():
        raise ArtifactError(
            f"{path} is not the file it should be: its sha256 is {found}, expected {expected}.",
            mend,
        )
