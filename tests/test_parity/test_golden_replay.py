from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from manifests import edited_manifest
from safetensors.numpy import load_file, save_file

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.tolerance import FP32_TOLERANCE, QUANTIZED_TOLERANCE, tolerance_of
from hydra_mobile.core.errors import ArtifactError, ParityError
from hydra_mobile.core.files import sha256_of
from hydra_mobile.parity.suite import run_suite

pytest.importorskip("executorch", reason="needs the extra [executorch]")


def respoil(folder: Path, name: str, change: Callable[[Path], object]) -> None:
    """Change a file of a bundle and put its new hash into the manifest."""
    change(folder / name)
    with edited_manifest(folder) as manifest:
        entry = manifest["files"][name]
        entry.update(sha256=sha256_of(folder / name), bytes=(folder / name).stat().st_size)


def edit_golden(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def edit(path: Path) -> None:
        golden = json.loads(path.read_text())
        change(golden["cases"][0])
        path.write_text(json.dumps(golden))

    return edit


def test_fp32_agrees(fp32_bundle: Path) -> None:
    lines: list[str] = []
    result = run_suite(fp32_bundle, log=lines.append)
    result.require()
    (comparison,) = result.comparisons
    assert comparison.agreement == 1.0
    assert len([line for line in lines if "tokens" in line]) == len(comparison.cases) == 2
    for case in comparison.cases:
        assert case.logits_difference < 1e-3
        assert case.leading == case.tokens > 1
    assert json.loads(json.dumps(result.to_dict()))["passed"] is True


def test_golden_ids_vary(fp32_bundle: Path) -> None:
    """An equality of ids proves something only if they are not all the same token."""
    golden = json.loads(Bundle.open(fp32_bundle).file("golden").read_text())
    distinct = [len(set(case["ids"])) for case in golden["cases"]]
    assert min(distinct) > 1
    assert max(distinct) > 8


@pytest.mark.slow
def test_int4_is_held_to_its_own_tolerance(int4_bundle: Path) -> None:
    (comparison,) = run_suite(int4_bundle).comparisons
    assert comparison.tolerance == QUANTIZED_TOLERANCE
    assert all(case.prompt_equal and case.image_cosine > 0.99 for case in comparison.cases)
    assert json.loads(json.dumps(comparison.to_dict()))["tolerance"]["logits"] is None


def test_tolerance_is_exact_only_where_everything_is_fp32(fp32_bundle: Path) -> None:
    preset = Bundle.open(fp32_bundle).preset.to_dict()
    assert tolerance_of(preset) == FP32_TOLERANCE
    assert tolerance_of(preset | {"head": "w4a8"}) == QUANTIZED_TOLERANCE


def test_other_logits_fail(copied: Callable[[], Path]) -> None:
    def shift(path: Path) -> None:
        vectors = load_file(path)
        vectors["1.logits"] = vectors["1.logits"] + 0.01
        save_file(vectors, path)

    folder = copied()
    respoil(folder, "golden.safetensors", shift)
    result = run_suite(folder)
    assert not result.passed
    failures = result.comparisons[0].failures
    assert "logits differ by 1.0" in failures[0]
    assert not any(failure.startswith("Case 0") for failure in failures)
    with pytest.raises(ParityError, match="logits differ") as error:
        result.require()
    assert error.value.exit_code != 0
    assert "FAILED" in result.table()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda case: case["ids"].__setitem__(2, case["ids"][2] ^ 1), "greedy tokens agree"),
        (lambda case: case["before"].append(3), "other prompt ids"),
        (lambda case: case["pixels"].update(mean=case["pixels"]["mean"] + 0.01), "pixels differ"),
    ],
)
def test_other_golden_values_fail(
    copied: Callable[[], Path], change: Callable[[dict[str, Any]], object], message: str
) -> None:
    folder = copied()
    respoil(folder, "golden.json", edit_golden(change))
    assert message in " ".join(run_suite(folder).comparisons[0].failures)


def test_an_altered_bundle_is_refused_before_it_runs(copied: Callable[[], Path]) -> None:
    folder = copied()
    data = bytearray((folder / "model.pte").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.pte").write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match=r"model\.pte .*sha256"):
        run_suite(folder)


def test_unreadable_vectors_are_an_error_of_the_bundle(copied: Callable[[], Path]) -> None:
    folder = copied()
    respoil(folder, "golden.safetensors", lambda path: path.write_bytes(b"nonsense"))
    with pytest.raises(ArtifactError, match="unreadable"):
        run_suite(folder)
