"""The library `libfbjni.so` that ExecuTorch's Android library names, without fbjni.

ExecuTorch's Java half calls it; the C++ interface, which is all that we use, does not. Android's
linker still wants every name of it, so this one has the names, and ends the process on a call.
"""

from __future__ import annotations

from pathlib import Path

from hydra_mobile.core.errors import HydraError
from hydra_mobile.devices.android import executorch_package
from hydra_mobile.devices.android.toolchain import Toolchain

NAME = "libfbjni.so"


def write(out: Path, toolchain: Toolchain) -> Path:
    """Write `libfbjni.so` into a folder.

    Raises:
        HydraError: the package `lief` is missing.
    """
    library = executorch_package.library(toolchain.abi.name)
    return toolchain.stub(out / NAME, _missing_names(library))


def _missing_names(library: Path) -> list[str]:
    """Return the names of fbjni that a library imports, sorted."""
    try:
        import lief
    except ImportError as error:
        raise HydraError(
            "The package `lief` is not installed; it reads ExecuTorch's library for Android.",
            'Install it with: pip install "hydra-mobile[android]"',
        ) from error
    binary = lief.ELF.parse(str(library))
    assert binary is not None, library
    names = {str(symbol.name) for symbol in binary.imported_symbols}
    return sorted(name for name in names if "8facebook3jni" in name)
