"""Bundles that the native runner takes, and the runner itself, built once for all sessions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from manifests import edited_manifest
from PIL import Image

from hydra_mobile.core.files import cache_home
from hydra_mobile.devices import native_build

QUESTIONS = ("Is there a red car in the image?", "What is in the image?")


@pytest.fixture(scope="session")
def golden_inputs() -> list[tuple[Image.Image, str]]:
    rng = np.random.default_rng(0)
    return [
        (Image.fromarray(rng.integers(0, 255, (24, 40, 3), dtype=np.uint8)), question)
        for question in QUESTIONS
    ]


@pytest.fixture(scope="session")
def exported(
    tiny_base: Path,
    golden_inputs: list[tuple[Image.Image, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str, str], Path]:
    """Bundles by preset and attention. Tests must not write into them."""
    pytest.importorskip("executorch", reason="needs the extra [executorch]")
    from hydra_export.export import export_bundle
    from hydra_export.targets import Limits

    made: dict[tuple[str, str], Path] = {}

    def export(preset: str, attention: str = "manual") -> Path:
        if (preset, attention) not in made:
            made[preset, attention] = export_bundle(
                tiny_base,
                target="android",
                runtime="executorch",
                preset=preset,
                out=tmp_path_factory.mktemp("native") / "b",
                golden_inputs=golden_inputs,
                limits=Limits(max_context=80, max_prefill=16),
                attention=attention,
            ).folder
        return made[preset, attention]

    return export


@pytest.fixture(scope="session")
def bundle(exported: Callable[..., Path]) -> Path:
    return exported("fp32")


@pytest.fixture(scope="session")
def build_cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what is built in pytest's own cache: compiling takes longer than all tests here."""
    # There is none with `-p no:cacheprovider`.
    cache = getattr(request.config, "cache", None)
    kept = cache.mkdir("hydra-native") if cache else tmp_path_factory.mktemp("hydra-native")
    for shelf in ("native", "wheels"):
        (kept / shelf).mkdir(exist_ok=True)
        place = cache_home() / shelf
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(kept / shelf, target_is_directory=True)


@pytest.fixture(scope="session")
def binary(build_cache: None) -> Path:
    pytest.importorskip("executorch", reason="needs the extra [executorch]")
    if missing := native_build.missing_packages(native_build.X86_64):
        pytest.skip(f"the native runner cannot be built without {', '.join(missing)}")
    return native_build.native_runner(native_build.host())


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
