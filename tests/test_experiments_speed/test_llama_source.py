"""llama.cpp's build in the cache: what is there is used, what it takes is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.inference_speed import llama_source
from hydra_mobile.core.errors import HydraError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, on a machine without programs."""
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    return tmp_path


def test_without_a_compiler_what_is_missing_is_named_before_anything_is_downloaded() -> None:
    assert not llama_source.is_native()
    with pytest.raises(HydraError, match=r"cmake.*ninja"):
        llama_source.native()


def test_a_build_that_is_there_needs_no_tools(cache: Path) -> None:
    made = cache / "llama.cpp" / llama_source.VERSION / "phone"
    made.mkdir(parents=True)
    assert llama_source.build("phone", ["-DGGML_NATIVE=OFF"]) == made
