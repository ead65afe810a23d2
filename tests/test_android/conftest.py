from __future__ import annotations

import os
from pathlib import Path

import pytest

from android_demo.tools import kotlin
from android_demo.tools.framework import jars, suite
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
