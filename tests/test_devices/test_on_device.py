from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from bundle_fixtures import Exported

from hydra_mobile.core.errors import HydraError
from hydra_mobile.devices.host import NativeDevice
from hydra_mobile.evaluation.evaluate import EvalSettings
from hydra_mobile.evaluation.workers import process as worker
from hydra_mobile.evaluation.workers.placement import moved, runner_on
from hydra_mobile.runtimes.model_ref import ModelRef, model_at

pytest.importorskip("executorch", reason="needs the extra [executorch]")

from hydra_mobile.evaluation.results.report import report_on
from hydra_mobile.parity.suite import run_suite
from hydra_mobile.runtimes.native import NativeRuntime


@pytest.fixture
def questions(shapes_data: Path, tmp_path: Path) -> Path:
    """An EmojiQA folder of 24 questions about drawn pictures."""
    folder = tmp_path / "emojiqa"
    folder.mkdir()
    lines = []
    for number in range(12):
        (folder / f"{number}.png").write_bytes((shapes_data / f"{number}.png").read_bytes())
        for kind, text, answer in (
            ("yesno", "Is there a circle?", ("yes", "no")[number % 2]),
            ("class", "Which color is it?", ("red", "green", "blue")[number % 3]),
        ):
            line = {"question_id": f"seen-{number}-{kind}", "image": f"{number}.png", "text": text}
            line |= {"category": kind, "answer": answer, "name": f"thing {number}"}
            lines.append(line | {"class": "shape", "meta": {}})
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    (folder / "test_seen.jsonl").write_bytes(content)
    files = {"test_seen.jsonl": {"sha256": hashlib.sha256(content).hexdigest()}}
    (folder / "emojiqa.json").write_text(json.dumps({"files": files}))
    return folder


def answers(report: Path) -> dict[str, list[int]]:
    found = {}
    for file in report.glob("answers/**/answers*.jsonl"):
        for line in map(json.loads, file.read_text().splitlines()):
            found[line["key"]] = line["ids"]
    return found


@pytest.mark.slow  # half a minute
def test_a_benchmark_runs_natively_and_answers_as_the_host(
    binary: Path,
    bundle: Path,
    questions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Workers are processes of their own, and find the runner that was built for this one.
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(binary.parents[2]))
    task = EvalSettings(("emojiqa",), questions, workers=1)
    said = {}
    for device in ("host", "native"):
        artifacts = moved([model_at(str(bundle))], device)
        said[device] = report_on(artifacts, task, tmp_path / device)
    expected = answers(tmp_path / "host")
    assert len(expected) == 24
    assert answers(tmp_path / "native") == expected
    assert len({tuple(ids) for ids in expected.values()}) > 10
    report = said["native"]
    assert report is not None
    (system,) = report.systems
    assert system.name == "ExecuTorch fp32 (native runner)"
    assert system.runtime == "native"
    assert system.timings.decode_tokens_per_second is not None
    # The process with the program, which has neither Python nor torch.
    assert system.peak_memory_bytes is not None
    assert system.peak_memory_bytes < 60_000_000
    (notes,) = (tmp_path / "native").glob("answers/*/*/worker-0.json")
    assert json.loads(notes.read_text())["peak_memory_bytes"] < 60_000_000


def test_the_ladder_has_a_rung_for_the_device(binary: Path, bundle: Path) -> None:
    ladder = run_suite(bundle, device=runner_on("native", bundle))
    ladder.require()
    assert "ExecuTorch fp32 → device (native): pass" in ladder.table()


def test_timings_of_an_emulator_are_left_out(
    binary: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = {"runner": "native", "artefact": str(bundle)}
    (tmp_path / "request.json").write_text(json.dumps(request))
    worker.measure(tmp_path, 1)
    timed = json.loads((tmp_path / "facts.json").read_text())
    monkeypatch.setattr(NativeRuntime, "timings_count", False)
    worker.measure(tmp_path, 1)
    untimed = json.loads((tmp_path / "facts.json").read_text())
    assert len(timed["speed"]["decode_rate"]) == 5
    assert untimed["speed"] == {key: [] for key in timed["speed"]}
    assert timed["load_seconds"] > 0
    assert untimed["load_seconds"] is untimed["peak_memory_bytes"] is None
    # What answers questions is wrapped in a clock, which must not make its times count.
    assert not NativeRuntime.load(bundle).timings_count


def test_an_unknown_device_names_the_nearest() -> None:
    with pytest.raises(HydraError, match=r"(?s)--device.*`emulater`.*`emulator`"):
        moved([], "emulater")
    with pytest.raises(HydraError, match=r"adb\[:SERIAL\].*native"):
        runner_on("phone", Path())


def test_only_bundles_for_executorch_move(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NativeDevice, "command", lambda self: ["runner"])
    bundle = model_at(str(exported("executorch", "fp32")))
    torch = ModelRef(Path("m"), "merged", "torch", "torch fp32 (trained)", "fp32", 1, "d")
    assert moved([torch, bundle], "host") == [torch, bundle]
    there = moved([torch, bundle], "native")
    assert there[0] == torch
    assert there[1].runner == "native"
    # Answers from there are kept apart from the host's.
    assert there[1].identity != bundle.identity
    with pytest.raises(HydraError, match=r"onnx.*native"):
        moved([dataclasses.replace(bundle, runner="onnx")], "native")
    with pytest.raises(HydraError, match=r"native.*bundles"):
        moved([torch], "native")
