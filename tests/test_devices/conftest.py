"""Bundles that the native runner takes, and questions to it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from bundle_fixtures import Exported
from manifests import edited_manifest


@pytest.fixture(scope="session")
def bundle(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: the C++ runner writes into a bundle what it has hashed, and others share that one."""
    place = tmp_path_factory.mktemp("native") / "fp32"
    return Path(shutil.copytree(exported("executorch", "fp32"), place))


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A phone is looked at twice a second; one that is made for a test is ready at once."""
    monkeypatch.setattr("hydra_mobile.devices.batch._POLL_SECONDS", 0.05)
    monkeypatch.setattr("hydra_mobile.devices.adb._AGAIN_SECONDS", 0.05)


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Callable[..., Path]:
    """Make a copy of the bundle whose manifest a test changes."""

    def copy(change: Callable[[dict[str, Any]], object] = lambda _: None) -> Path:
        folder = Path(shutil.copytree(bundle, tmp_path / "copy"))
        with edited_manifest(folder) as manifest:
            change(manifest)
        return folder

    return copy


@pytest.fixture
def asked(bundle: Path, tmp_path: Path) -> Callable[[Sequence[dict[str, Any]]], Path]:
    """Write requests to a file."""

    def write(requests: Sequence[dict[str, Any]]) -> Path:
        file = tmp_path / "requests.jsonl"
        file.write_text("".join(json.dumps(request) + "\n" for request in requests))
        return file

    return write


@pytest.fixture
def golden_requests(bundle: Path) -> list[dict[str, Any]]:
    """The golden questions, each with a second one about its picture, and one without."""
    requests: list[dict[str, Any]] = []
    for index, case in enumerate(json.loads((bundle / "golden.json").read_text())["cases"]):
        given = {"image": str(bundle / case["image"]), "before": case["before"]}
        requests.append(
            {"id": f"golden-{index}", **given, "after": case["after"], "logits": f"{index}.f32"}
        )
        requests.append({"id": f"again-{index}", **given, "after": case["after"][:-3]})
    requests.append({"id": "text", "before": requests[0]["before"] + requests[0]["after"]})
    return requests
