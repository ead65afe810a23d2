"""ExecuTorch for Android: libraries and headers that a pinned npm package carries.

`libexecutorch.so` is ExecuTorch's own Android build (NDK r27b, API 26, pages of 16 KiB) with
XNNPACK, the quantized kernels and the `llama::` operators. Its C++ interface is exported, and our
native code uses that; the Java classes that come with it, and the fbjni that those need, are not
used. Headers and libraries must be of one package: classes change between versions.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from hydra_mobile.core.downloads.npm import fetch_npm
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import sha256_of
from hydra_mobile.core.made_once import made_once

NPM_NAME, NPM_VERSION = "react-native-executorch", "0.9.0"
NPM_SHA256 = "8980299a5c9f5a4ad088d945e48ec14a8edc94c909fe042fc210685092e48431"
#: What reports call it: the package says nowhere which commit of ExecuTorch it is.
DESCRIPTION = f"executorch ({NPM_NAME} {NPM_VERSION})"
#: The name under which Android's linker looks for the library.
LIBRARY = "libexecutorch_jni.so"
LIBRARY_SHA256 = {
    "arm64-v8a": "e2fe909ac65fa1a0801f74a4447e4719baafa31cca3267b2b5b6141306cb3cf9",
    "x86_64": "145f15290a767150ddbc7fefbdc42892afa8c4554461c9437006212215bfd859",
}
_PARTY = "package/third-party"


def unpacked() -> Path:
    """Return a folder with `include` and `lib/<abi>/libexecutorch_jni.so`.

    Raises:
        HydraError, ArtifactError: see `fetch_npm`; a library in the package is another one.
    """
    return made_once(f"executorch-native-{NPM_SHA256[:12]}", _unpack)


def library(abi: str) -> Path:
    """Return the library for an ABI, named as Android's linker looks for it."""
    return unpacked() / "lib" / abi / LIBRARY


def include_options() -> list[str]:
    """Return the compiler's options that find the package's headers."""
    include = unpacked() / "include"
    c10 = include / "executorch" / "runtime" / "core" / "portable_type" / "c10"
    folders = (include, c10, include / "pthreadpool", include / "cpuinfo")
    found = [option for folder in folders for option in ("-isystem", str(folder))]
    return [*found, "-DC10_USING_CUSTOM_GENERATED_MACROS"]


def _unpack(out: Path) -> None:
    headers = ("executorch", "c10", "torch", "headeronly", "pthreadpool", "cpuinfo", "nlohmann")
    wanted = tuple(f"{_PARTY}/include/{name}/" for name in headers)
    libraries = {
        f"{_PARTY}/android/libs/executorch/{abi}/libexecutorch.so": out / "lib" / abi / LIBRARY
        for abi in LIBRARY_SHA256
    }
    archive = fetch_npm(NPM_NAME, NPM_VERSION, NPM_SHA256)
    with tarfile.open(archive) as members:
        for member in members:
            if member.name in libraries:
                member.name = str(libraries[member.name].relative_to(out))
                members.extract(member, out, filter="data")
            elif member.name.startswith(wanted):
                member.name = member.name.removeprefix(f"{_PARTY}/")
                members.extract(member, out, filter="data")
    for abi, expected in LIBRARY_SHA256.items():
        found = out / "lib" / abi / LIBRARY
        if not found.is_file() or sha256_of(found) != expected:
            raise ArtifactError(
                f"The ExecuTorch library for {abi} in {archive} is not the pinned one.",
                "Report it: the pins disagree.",
            )
