"""The pipeline through the Python API, on base `tiny`: each step from the result of the last."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from benchmark_tree import build_tree
from PIL import Image

import hydra_mobile as hm
from hydra_mobile.core.errors import ArtifactError, ConfigError, DataError, ParityError


def values_of(settings: list[str]) -> dict[str, object]:
    """Return `section.key=value` overrides as nested values."""
    import yaml

    nested: dict[str, object] = {}
    for setting in settings:
        path, _, text = setting.partition("=")
        *sections, key = path.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[key] = yaml.safe_load(text) if text else ""
    return nested


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return []


@pytest.fixture(scope="module")
def run(tmp_path_factory, run_settings, lines) -> hm.Run:
    values = values_of(run_settings(tmp_path_factory.mktemp("api") / "run"))
    return hm.train(values, "stage1.steps=1", stage2={"steps": 3}, log=lines.append)


@pytest.fixture(scope="module")
def merged(run) -> Path:
    return hm.merge(run, log=lambda line: None)


@pytest.fixture(scope="module")
def bundle(merged) -> hm.Bundle:
    return hm.export(merged, "android", runtime="onnx", preset="fp32", log=lambda line: None)


def test_train_returns_a_run_that_knows_its_files(run, lines):
    assert run.finished
    assert run.adapter == run.path / "adapter"
    assert run.config.stage2.steps == 3
    assert run.config.stage1.steps == 1
    assert isinstance(run.rank_map, hm.RankMap)
    assert {line["stage"] for line in run.metrics} == {"align", "stage1", "stage2"}
    assert run.summary["base"] == "tiny"
    assert any("stage II 3/3" in line for line in lines)


def test_a_run_is_the_same_from_its_folder(run):
    assert hm.Run.open(str(run.path)) == run
    with pytest.raises(ArtifactError, match=r"run\.json"):
        hm.Run.open(run.path / "adapter")


def test_a_finished_run_resumes_to_itself(run):
    again = hm.train(run.config, resume=True, log=lambda line: None)
    assert again == run


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"stage2": {"stepps": 3}}, "stepps"),
        ({"stage3": {"steps": 3}}, "stage3"),
        ({"stage2": {"steps": "many"}}, "steps"),
    ],
)
def test_wrong_settings_name_their_key(arguments, key):
    with pytest.raises(ConfigError, match=key):
        hm.train("emojiqa-smol", **arguments)


def test_an_interrupted_run_goes_on(tmp_path, run_settings):
    values = values_of([*run_settings(tmp_path / "run"), "data.stage1="])
    from hydra_mobile.core.progress import SilentProgress, SilentStage

    class Interrupting(SilentProgress):
        def stage(self, name, total, start, unit):
            return Stage(name)

    class Stage(SilentStage):
        def __init__(self, name):
            self.name = name

        def advance(self, step, units, facts="", peak_memory=0):
            if self.name == "stage II" and step == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hm.train(values, log=lambda line: None, progress=Interrupting())
    unfinished = hm.Run.open(tmp_path / "run")
    assert not unfinished.finished
    assert unfinished.adapter is None
    assert "not finished" in unfinished._repr_html_()
    said: list[str] = []
    done = hm.train(values, resume=True, log=said.append)
    assert done.finished
    assert any("resumed at stage2" in line for line in said)


def test_a_second_run_in_another_precision_leaves_no_trace(tmp_path, run_settings):
    import torch

    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    for precision in ("fp32", "bf16"):
        more = ["data.stage1=", "stage2.steps=1", f"runtime.precision={precision}"]
        more += [f"runtime.threads={threads + 1}"]
        values = values_of([*run_settings(tmp_path / precision), *more])
        assert hm.train(values, log=lambda line: None).summary["precision"] == precision
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


def test_merge_is_not_done_twice(run, merged):
    assert merged == run.path / "merged" == run.merged
    before = (merged / "model.safetensors").stat().st_mtime_ns
    assert hm.merge(str(run.path), log=lambda line: None) == merged
    assert (merged / "model.safetensors").stat().st_mtime_ns == before


def test_export_has_a_place_of_its_own(run, bundle):
    assert bundle.path == run.path / "bundles" / "android-onnx-fp32"
    assert bundle.manifest["runtime"] == "onnx"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"preset": "int5"}, "int5"), ({"target": "windows"}, "windows"), ({"adapter": "x"}, "`x`")],
)
def test_export_refuses_a_wrong_name_at_once(run, arguments, name):
    with pytest.raises(hm.HydraError, match=name):
        hm.export(run, **arguments)


def test_verify_holds_and_require_returns(bundle, merged, run):
    result = hm.verify(bundle, run=run, merged=merged, log=lambda line: None)
    assert result.passed
    result.require()


def test_verify_names_what_does_not_hold(bundle, merged, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    other = tmp_path / "merged"
    shutil.copytree(merged, other)
    tensors = load_file(other / "model.safetensors")
    tensors = {name: tensor + 0.1 for name, tensor in tensors.items()}
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    # Without its record it is a model like any other; with it, export refuses it as altered.
    with pytest.raises(hm.HydraError, match=r"model\.safetensors"):
        hm.export(other, runtime="onnx", out=tmp_path / "b", log=lambda line: None)
    (other / "merge.json").unlink()
    altered = hm.export(
        other, runtime="onnx", preset="fp32", out=tmp_path / "b", log=lambda line: None
    )
    # The altered model's program under the other's golden vectors.
    with pytest.raises(hm.HydraError):
        hm.verify(altered, merged=merged, log=lambda line: None).require()
    assert issubclass(ParityError, hm.HydraError)


def test_every_form_answers_alike(bundle, merged, run, shapes_data):
    answers = [
        hm.load(model).ask(shapes_data / "0.png", "Which color is it?", max_new_tokens=6)
        for model in (bundle, merged, run, str(bundle.path))
    ]
    assert len({answer.text for answer in answers}) == 1
    assert len({answer.ids for answer in answers}) == 1


def test_an_answer_says_what_it_took_and_why_it_ended(merged, shapes_data):
    model = hm.load(merged)
    answer = model.ask(shapes_data / "1.png", "Which color is it?", max_new_tokens=2)
    assert answer.ended in ("length", "stop")
    assert len(answer.ids) <= 2
    assert answer.timings.encode is not None
    again = model.ask(shapes_data / "1.png", "Is there a circle?", max_new_tokens=2)
    assert again.timings.encode is None  # the same image is in the cache
    assert str(again) == again.text


def test_a_picture_may_be_a_file_an_image_or_an_array(merged, shapes_data):
    model = hm.load(merged)
    image = Image.open(shapes_data / "2.png").convert("RGB")
    texts = {
        model.ask(given, "What is in the image?", max_new_tokens=5).text
        for given in (shapes_data / "2.png", str(shapes_data / "2.png"), image, np.asarray(image))
    }
    assert len(texts) == 1
    with pytest.raises(DataError, match="float"):
        model.ask(np.zeros((4, 4, 3)), "What?")
    with pytest.raises(DataError, match=r"nothing\.png"):
        model.ask("nothing.png", "What?")


def test_a_stream_adds_up_to_the_answer(merged, shapes_data):
    parts: list[str] = []
    model = hm.load(merged)
    answer = model.ask(shapes_data / "3.png", "Which?", stream=parts.append, max_new_tokens=24)
    assert "".join(parts) == answer.text
    assert len(parts) > 1


def test_loading_again_is_cheap_while_it_is_in_use(bundle):
    model = hm.load(bundle)
    assert hm.load(str(bundle.path)) is model
    assert hm.load(bundle, threads=1) is not model


def test_load_takes_a_base_by_name():
    assert hm.load("tiny").kind == "base"


def test_evaluate_writes_a_report_and_reads_it_again(bundle, shapes_data, tmp_path):
    """A bundle, whose processes start without torch; `test_the_lines_of_the_readme` asks a run."""
    data = build_tree(tmp_path / "data", [Image.open(shapes_data / f"{i}.png") for i in range(6)])
    said: list[str] = []
    report = hm.evaluate(
        bundle, "pope", data=data, out=tmp_path / "r", limit=4, threads=1, log=said.append
    )
    assert report.path == tmp_path / "r"
    assert {row["benchmark"] for row in report.scores} == {"pope"}
    assert hm.Report.open(report.path).scores == report.scores
    name = report.content.systems[0].name
    assert name in report.table()
    assert "<table" in report._repr_html_()
    assert name in report._repr_html_()
    assert report.plot().markup.startswith("<svg")
    assert any("answering" in line for line in said)


def test_evaluate_names_an_unknown_benchmark(merged, tmp_path):
    with pytest.raises(hm.HydraError, match="popes"):
        hm.evaluate([merged], ["popes"], data=tmp_path, out=tmp_path / "r")


def test_estimate_of_a_bundle_and_of_a_run(bundle, run):
    phones = hm.estimate(bundle, device_memory=3)
    assert [fit.memory_gib for fit in phones.phones] == [4, 6, 8, 12, 3]
    assert phones.to_dict() == hm.estimate(str(bundle.path), device_memory=3).to_dict()
    plan = hm.estimate(run.config, gpus=2, gpu_memory=8)
    assert [stage.name for stage in plan.stages] == ["stage1", "stage2"]


def test_results_show_themselves_in_a_notebook(run, bundle, merged):
    html = run._repr_html_()
    assert html.count("data:image/svg+xml") == 2
    assert "tiny" in html
    assert "onnx" in bundle._repr_html_()
    assert "android" in bundle._repr_html_()
    result = hm.verify(bundle, merged=merged, log=lambda line: None)
    assert "pass" in result._repr_html_()
    assert "context" in hm.load(merged)._repr_html_()
    assert "GiB" in hm.estimate(bundle)._repr_html_()


def test_the_ranks_of_a_run_show_themselves(run):
    from xml.etree import ElementTree

    record = run.ranks
    assert record.finished
    assert ElementTree.fromstring(record.plot().markup).tag.endswith("svg")
    html = record._repr_html_()
    assert "<table" in html
    assert "data:image/svg+xml" in html
    assert record.history.final_map() == run.rank_map


def test_models_are_measured_in_processes_of_their_own(bundle):
    found = hm.bench(
        bundle, prompt_tokens=16, new_tokens=2, repeats=1, warmup=0, rounds=1,
        log=lambda line: None,
    )  # fmt: skip
    assert not found.interrupted
    assert found.models == [hm.load(bundle).name]
    assert found.models[0] in found._repr_html_()
    assert found.against(found)


def test_a_plan_knows_only_what_was_measured(run, merged, shapes_data, tmp_path, monkeypatch):
    from hydra_mobile.api.evaluate import evaluation_of
    from hydra_mobile.api.export import plan_export
    from hydra_mobile.api.training import plan_training
    from hydra_mobile.evaluation.evaluate import EvalSettings

    other = plan_training(run.config, "stage2.steps=30", output=str(tmp_path / "x"))
    assert [stage.steps for stage in other.stages] == [1, 30]
    # The run of this module was measured, and is of the same kind.
    assert other.cost.seconds is not None
    assert other.cost.peak_bytes
    assert not (tmp_path / "x").exists()
    bundle = plan_export(merged, "android", runtime="onnx", preset="fp32")
    assert bundle.cost.disk_bytes is not None
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(tmp_path / "home"))
    assert plan_training(run.config, "stage2.steps=30").cost.seconds is None
    assert plan_export(merged, "android", runtime="onnx", preset="fp32").cost.seconds is None
    images = [Image.open(shapes_data / f"{i}.png") for i in range(6)]
    data = build_tree(tmp_path / "data", images)
    planned = evaluation_of([merged], EvalSettings(("pope",), data, limit=4), tmp_path / "r")
    assert planned.answers == sum(planned.questions.values()) > 0
    assert planned.cost.seconds is None
    assert not (tmp_path / "r").exists()


def test_base_models_are_not_merged(tiny_base):
    with pytest.raises(ArtifactError, match="base"):
        hm.merge(tiny_base)


@pytest.mark.slow
def test_the_lines_of_the_readme(tmp_path, shapes_data, run_settings, monkeypatch):
    """The README's pipeline on base `tiny`; only names and sizes are other ones."""
    import re

    readme = Path(__file__).parents[2] / "README.md"
    code = next(
        block
        for block in re.findall(r"```python\n(.*?)```", readme.read_text("utf-8"), re.DOTALL)
        if "hm.train" in block
    )
    monkeypatch.chdir(tmp_path)
    images = [Image.open(shapes_data / f"{i}.png") for i in range(6)]
    build_tree(tmp_path / "data", images)
    images[0].save(tmp_path / "photo.jpg")
    settings = ", ".join(repr(setting) for setting in run_settings(tmp_path / "run"))
    for old, new in (
        ('"emojiqa-smol", "stage2.steps=400"', f"None, {settings}"),
        ('preset="int4"', 'runtime="onnx", preset="fp32"'),
        ('["emojiqa"], data="data/emojiqa"', '["pope"], data="data", limit=2'),
    ):
        assert old in code
        code = code.replace(old, new)
    names: dict[str, object] = {}
    exec(code, names)
    assert isinstance(names["report"], hm.Report)
    assert len(names["report"].content.systems) == 2


@pytest.mark.parametrize("what", ["loss", "ranks"])
def test_a_plot_is_a_whole_svg_document(run, what, tmp_path):
    from xml.etree import ElementTree

    file = run.plot(what).save(tmp_path / "plot.svg")
    root = ElementTree.parse(file).getroot()
    assert root.tag.endswith("svg")
    assert len(list(root.iter())) > 20
    with pytest.raises(hm.HydraError, match="losses"):
        run.plot("losses")


def test_nothing_is_printed_and_warnings_stay_as_they_were(run, shapes_data, capfd, tmp_path):
    filters = list(warnings.filters)
    out = hm.merge(run, tmp_path / "m", log=lambda line: None)
    hm.load(out).ask(shapes_data / "0.png", "Which?", max_new_tokens=2)
    with warnings.catch_warnings():
        assert list(warnings.filters) == filters
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_merge_json_names_the_base(merged):
    record = json.loads((merged / "merge.json").read_text())
    assert record["sources"]["base"]["name"] == "tiny"


def blocks(card: Path) -> list[str]:
    """Return the Python of a card, its placeholder in place of the folder."""
    import re

    code = re.findall(r"```python\n(.*?)```", card.read_text(encoding="utf-8"), re.DOTALL)
    assert code
    return [block.replace("path/to/this/folder", str(card.parent)) for block in code]


def test_the_adapters_card_loads_it_with_plain_peft(run):
    from peft import PeftModel

    card = run.adapter / "README.md"
    text = card.read_text(encoding="utf-8")
    for line in ("library_name: peft", "pipeline_tag: image-text-to-text", "- lora", "PEFT "):
        assert line in text
    names: dict[str, object] = {}
    (code,) = blocks(card)
    exec(code, names)
    assert isinstance(names["model"], PeftModel)
    # Base, projector and adapter make the model that was trained.
    import torch

    from hydra_mobile.runtimes.torch import load_artifact

    trained, _ = load_artifact(run.path)
    ids = torch.tensor([[1, 87, 85]])
    with torch.no_grad():
        assert torch.equal(names["model"](input_ids=ids).logits, trained(input_ids=ids).logits)
        features = torch.rand(1, 16, 32)
        assert torch.equal(names["model"].project(features), trained.project(features))


def test_the_merged_models_card_runs_as_it_stands(merged, shapes_data, tmp_path, monkeypatch):
    (tmp_path / "picture.png").write_bytes((shapes_data / "0.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    for code in blocks(merged / "README.md"):
        exec(code, {})
    text = (merged / "README.md").read_text(encoding="utf-8")
    assert "library_name: transformers" in text
    assert "pipeline_tag: image-text-to-text" in text


def test_int4_is_rounded_on_the_data_of_the_run(run, merged, tmp_path):
    """However the run is named, so that the second export takes the weights of the first."""

    def rounded(model: object, **more: object) -> tuple[dict[str, object], str]:
        said: list[str] = []
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        made = hm.export(
            model, "android", runtime="onnx", preset="int4", out=out, log=said.append, **more
        )
        return made.manifest["details"]["quantisation"]["calibration"], "\n".join(said)

    first, _ = rounded(run)
    assert first["kind"] == "training data"
    assert first["file"] == Path(run.config.data.stage2).name
    for model in (run.path, merged):
        again, said = rounded(model)
        assert again == first
        assert "4-bit weights: those of an earlier export" in said
    own, said = rounded(merged, calibrate="self")
    assert own["kind"] != first["kind"]
    assert "4-bit weights: those of an earlier export" not in said


def test_int4_without_the_data_of_the_run(merged, tmp_path):
    """The model is rounded on its own text, and the export tells so where data are damaged."""
    run = tmp_path / "run"
    shutil.copytree(merged, run / "merged")
    data = tmp_path / "data.json"

    def rounded() -> tuple[object, str]:
        said: list[str] = []
        out = tmp_path / "bundle"
        made = hm.export(
            run / "merged", "android", runtime="onnx", preset="int4", out=out, log=said.append
        )
        return made.manifest["details"]["quantisation"]["calibration"]["kind"], "\n".join(said)

    settings = {"stage2": str(data), "images": "", "columns": {}}
    (run / "run.json").write_text(json.dumps({"config": {"data": settings}}))
    kind, said = rounded()
    assert kind != "training data"
    assert str(data) not in said
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]
    data.write_text(json.dumps([{"id": "a", "conversations": turns}]))
    kind, said = rounded()
    assert kind != "training data"
    assert "data.json has no record with an image" in said
