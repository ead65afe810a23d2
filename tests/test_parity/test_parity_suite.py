"""The ladder beyond its rungs: the score, what does not belong together, JSON, report, verb."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from manifests import edited_manifest
from parity_chain import ONE, TWO, Chain, export
from safetensors.numpy import load_file, save_file
from test_golden_replay import respoil

from hydra_mobile.benchmarks.base import Benchmark, Sample
from hydra_mobile.benchmarks.metric import Metric
from hydra_mobile.benchmarks.pictures import FilePicture
from hydra_mobile.bundle.presets import PRESETS
from hydra_mobile.bundle.tolerance import TOLERANCES, Tolerance, precision_class
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.parity.components import PartResult
from hydra_mobile.parity.suite import run_suite
from hydra_mobile.parity.task_score import TaskSubset
from hydra_mobile.reporting.markdown import render_markdown
from hydra_mobile.reporting.write import read_report
from hydra_mobile.runtimes.torch import TorchRuntime

pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
GOLDEN_STEP = "merged (golden vectors) → ONNX Runtime fp32"


class Shapes(Benchmark):
    """Pictures whose right answer is whatever `right` says."""

    name = "shapes"
    title = "Shapes"
    max_new_tokens = 3
    count = 12

    def splits(self) -> Sequence[str]:
        return [""]

    def read(self, split: str) -> list[Sample]:
        return [
            Sample(key, FilePicture(self.data / f"{key}.png"), "What is it?", "", "word", "x", key)
            for key in map(str, range(self.count))
        ]

    def is_correct(self, sample: Sample, answer: str) -> bool:
        return answer == "right"

    def metrics(
        self, samples: Sequence[Sample], answers: Mapping[str, str], *, partial: bool = False
    ) -> list[Metric]:
        return []


class ManyShapes(Shapes):
    count = 200


@pytest.fixture
def questions(shapes_data: Path) -> TaskSubset:
    return TaskSubset(Shapes(shapes_data), 4)


class TestScore:
    def test_each_rung_tells_the_change(self, sound_chain: Chain, questions: TaskSubset) -> None:
        ladder = sound_chain.run_suite(questions=questions)
        assert ladder.passed
        for rung in ladder.comparisons:
            assert rung.score is not None
            assert (rung.score.n, rung.score.change, rung.score.same) == (4, 0.0, 1.0)
            assert "shapes, 4 questions" in rung.table()

    def test_other_answers_break_the_rung(
        self, sound_chain: Chain, questions: TaskSubset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = [sample.key for sample in questions.samples]
        right = dict.fromkeys(keys, "right")
        answers = iter((right, right, right | dict.fromkeys(keys[2:], "wrong")))
        monkeypatch.setattr(questions, "answers", lambda runtime: next(answers))
        ladder = sound_chain.run_suite(questions=questions)
        one, two = ladder.comparisons
        assert one.passed
        (failure,) = two.failures
        assert failure.startswith("Score: 50.0% of the answers")
        assert two.broken == ()

    @pytest.mark.parametrize(("lost", "passes"), [(1, True), (40, False)])
    def test_a_loss_counts_when_it_is_certain(
        self, shapes_data: Path, lost: int, passes: bool
    ) -> None:
        many = TaskSubset(ManyShapes(shapes_data), None)
        keys = [sample.key for sample in many.samples]
        before = dict.fromkeys(keys, "right")
        after = before | dict.fromkeys(keys[:lost], "wrong")
        change = many.change(before, after, TOLERANCES["int4"])
        assert change.change == pytest.approx(-lost / 200)
        assert change.low <= change.change <= change.high
        assert (change.note == "") is passes
        if not passes:
            assert "20.0 points" in change.note

    def test_a_bundle_alone_has_nothing_to_fall_from(
        self, sound_chain: Chain, questions: TaskSubset
    ) -> None:
        with pytest.raises(HydraError, match="two models"):
            run_suite(sound_chain.bundle, questions=questions)


def test_a_quantized_bundle_stands_on_the_lossless_program(
    sound_chain: Chain, golden_inputs: Any, tmp_path: Path
) -> None:
    quantized = export(sound_chain.merged, tmp_path / "int8", golden_inputs, preset="int8")
    ladder = run_suite(
        quantized,
        adapter=sound_chain.adapter,
        merged=sound_chain.merged,
        program=sound_chain.bundle,
    )
    names = [rung.name for rung in ladder.comparisons]
    assert names == [ONE, TWO, "ONNX Runtime fp32 → ONNX Runtime int8"]
    assert [rung.tolerance for rung in ladder.comparisons] == [
        TOLERANCES["fp32"], TOLERANCES["fp32"], TOLERANCES["int8"]
    ]  # fmt: skip
    assert ladder.comparisons[2].parts[4].max_abs > ladder.comparisons[1].parts[4].max_abs
    with pytest.raises(ArtifactError, match="`int8`"):
        run_suite(sound_chain.bundle, program=quantized)


def test_a_device_is_the_last_rung(sound_chain: Chain) -> None:
    ladder = run_suite(sound_chain.bundle, device=TorchRuntime.load(sound_chain.merged))
    assert [rung.name for rung in ladder.comparisons] == [
        GOLDEN_STEP, "ONNX Runtime fp32 → device (torch)"
    ]  # fmt: skip
    assert ladder.passed


class TestWhatDoesNotBelongTogether:
    def test_a_bundle_of_another_merged_model(self, chain: Chain, tiny_base: Path) -> None:
        with pytest.raises(ArtifactError, match="another merged"):
            run_suite(chain.bundle, merged=tiny_base)

    def test_a_merged_model_altered_since_its_export(self, chain: Chain) -> None:
        path = chain.merged / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[-1] ^= 128
        path.write_bytes(bytes(data))
        with pytest.raises(ArtifactError, match="another merged"):
            chain.run_suite()

    def test_another_adapter(self, chain: Chain) -> None:
        record = json.loads((chain.merged / "merge.json").read_text())
        record["sources"]["adapter_files"]["adapter_model.safetensors"] = "0" * 64
        (chain.merged / "merge.json").write_text(json.dumps(record))
        with pytest.raises(ArtifactError, match="another adapter"):
            chain.run_suite()

    def test_an_adapter_cut_short(self, chain: Chain) -> None:
        path = chain.adapter / "adapter_model.safetensors"
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(ArtifactError, match=r"adapter_model\.safetensors"):
            chain.run_suite()

    def test_an_adapter_without_its_merged_model(self, chain: Chain) -> None:
        with pytest.raises(HydraError, match="merged/"):
            run_suite(chain.bundle, adapter=chain.adapter)


class TestGolden:
    def test_without_golden_vectors(self, chain: Chain) -> None:
        with edited_manifest(chain.bundle) as manifest:
            del manifest["files"]["golden.json"]
        with pytest.raises(ArtifactError, match="`golden`"):
            run_suite(chain.bundle)

    @pytest.mark.parametrize(
        ("golden", "message"),
        [('{"schema": 1, "cases": []}', "holds no golden cases"),
         ('{"schema": 1, "cases": [{"image": "golden/0.png"}]}', "case 0 lacks `question`"),
         ("{", "golden.json")],
    )  # fmt: skip
    def test_damaged_golden_cases(self, chain: Chain, golden: str, message: str) -> None:
        respoil(chain.bundle, "golden.json", lambda path: path.write_text(golden))
        with pytest.raises(ArtifactError, match=message):
            run_suite(chain.bundle)

    def test_vectors_that_lack_a_case(self, chain: Chain) -> None:
        def drop(path: Path) -> None:
            save_file({k: v for k, v in load_file(path).items() if k != "1.image"}, path)

        respoil(chain.bundle, "golden.safetensors", drop)
        with pytest.raises(ArtifactError, match=r"case 1.*`1\.image`"):
            run_suite(chain.bundle)

    def test_older_vectors_still_verify(self, chain: Chain) -> None:
        """Bundles made before pixels and features were stored."""

        def age(path: Path) -> None:
            kept = {k: v for k, v in load_file(path).items() if k[2:] not in ("pixels", "features")}
            assert len(kept) == 6
            save_file(kept, path)

        respoil(chain.bundle, "golden.safetensors", age)
        (rung,) = run_suite(chain.bundle).comparisons
        assert rung.passed
        assert rung.parts[0].max_abs is not None

    def test_stored_features_are_those_of_the_tower(self, sound_chain: Chain) -> None:
        vectors = load_file(sound_chain.bundle / "golden.safetensors")
        runner = TorchRuntime.load(sound_chain.merged)
        features = runner.vision_features(vectors["0.pixels"][None])
        np.testing.assert_allclose(features[0], vectors["0.features"], atol=1e-5)
        np.testing.assert_allclose(runner.project(features)[0], vectors["0.image"], atol=1e-5)


def test_presets_have_the_tolerance_of_their_least_precise_part() -> None:
    found = {name: precision_class(preset.to_dict()) for name, preset in PRESETS.items()}
    assert {name: found[name] for name in ("fp32", "int8", "int4")} == {
        "fp32": "fp32", "int8": "int8", "int4": "int4"
    }  # fmt: skip
    mixed = PRESETS["fp32"].to_dict() | {"head": "w8"}
    assert precision_class(mixed) == "int8"
    assert precision_class(PRESETS["fp32"].to_dict() | {"vision": "fp16"}) == "fp16"
    assert set(found.values()) <= set(TOLERANCES)


def test_what_json_does_not_know_becomes_none_or_text() -> None:
    assert TOLERANCES["int4"].to_dict()["logits"] is None
    assert Tolerance(1.0, 0.9, 0.9, 0.5, 0.0).to_dict()["logits"] == 1.0
    part = PartResult("decoder", "fail", max_abs=math.nan, mean_abs=math.inf).to_dict()
    assert (part["max_abs"], part["mean_abs"], part["cosine"]) == ("nan", "inf", None)


class TestVerb:
    def call(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hydra_mobile", "verify", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    @pytest.mark.slow  # every rung: 21 s
    def test_table_json_and_report(self, chain: Chain, tmp_path: Path) -> None:
        arguments = [chain.bundle, "--against", chain.adapter, "--against", chain.merged]
        files = ["--json", "--report", tmp_path / "report"]
        for _ in range(2):  # a row is replaced, not doubled
            done = self.call(*arguments, *files)
            assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["result"]["passed"] is True
        report = read_report(tmp_path / "report")
        assert [(row.rung, row.verdict) for row in report.parity] == [(ONE, "pass"), (TWO, "pass")]
        assert [part.part for part in report.parity[0].parts][2] == "vision"
        assert "· projector" in render_markdown(report)

    @pytest.mark.slow
    def test_a_broken_rung_ends_with_code_3_and_its_row(self, chain: Chain, tmp_path: Path) -> None:
        vectors = "golden.safetensors"

        def shift(path: Path) -> None:
            values = load_file(path)
            save_file(values | {"0.logits": values["0.logits"] + 0.01}, path)

        respoil(chain.bundle, vectors, shift)
        done = self.call(chain.bundle, "--report", tmp_path / "report")
        assert done.returncode == 3
        assert GOLDEN_STEP in done.stderr
        assert "decoder" in done.stderr
        assert "Traceback" not in done.stderr
        assert read_report(tmp_path / "report").parity[0].verdict == "fail"

    @pytest.mark.slow
    def test_run_and_adapter_are_one(self, chain: Chain) -> None:
        done = self.call(chain.bundle, "--run", chain.adapter, "--adapter", chain.adapter)
        assert done.returncode == 2
        assert "two models" in done.stderr
