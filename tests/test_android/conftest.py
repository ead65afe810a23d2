from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_fixtures import Once

from android_demo.tools import kotlin
from android_demo.tools.framework import jars, suite
from android_demo.tools.vector_bundle import write_bundle
from hydra_mobile.core.errors import HydraError


@pytest.fixture
def compiler_cache(real_home: str | None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own cache with Kotlin's compiler in it: nothing of 90 MB is fetched for a test."""
    try:
        kotlin.java()
    except HydraError as error:
        pytest.skip(str(error))
    home = Path(real_home or os.path.expanduser("~/.cache/hydra-mobile"))
    package = f"{kotlin.NAME}-{kotlin.VERSION}.tgz"
    if not (home / "npm" / package).is_file():
        pytest.skip(f"{package} is not in {home / 'npm'}: run experiments/devices/app_loop.py once")
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(home))
    return home


@pytest.fixture
def framework(compiler_cache: Path) -> None:
    """Everything that the tests of the screens need; skipped where something cannot be had."""
    if reason := suite.missing():
        pytest.skip(reason)
    try:
        jars.jars()
    except HydraError as error:
        pytest.skip(str(error))


@pytest.fixture
def native_libraries(framework: None) -> Path:
    """The folder of Android's x86-64 libraries; skipped where they cannot be had."""
    # It reads binaries with a library that takes a second to import.
    from android_demo.tools.desktop import libraries

    if reason := libraries.missing():
        pytest.skip(reason)
    try:
        return libraries.folder("android")
    except HydraError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def app_bundle(tiny_base: Path, once: Once) -> Callable[[str, str], Path]:
    """Bundles of `tiny` as a default export for the app writes them, by runtime and preset.

    Tests must not write into them. A runtime whose packages are missing skips the test.
    """

    def make(runtime: str, preset: str = "fp32") -> Path:
        if runtime == "executorch":
            pytest.importorskip("executorch", reason="needs the extra [executorch]")
        name = f"app-{runtime}-{preset}"
        return once(name, lambda folder: write_bundle(folder, preset, runtime))

    return make
