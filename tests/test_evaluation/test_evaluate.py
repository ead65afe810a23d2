from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from benchmark_tree import SIX, build_tree
from PIL import Image

from hydra_export.merge import merged_folder
from hydra_mobile.api.evaluate import evaluation_of
from hydra_mobile.core.errors import DataError, HydraError
from hydra_mobile.core.integrity import checked_line
from hydra_mobile.evaluation.evaluate import EvalSettings, evaluate
from hydra_mobile.evaluation.results.report import report_on
from hydra_mobile.evaluation.store.prediction_log import read_answers
from hydra_mobile.models.pictures import open_picture
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.templates import template_named
from hydra_mobile.runtimes.base import CacheState
from hydra_mobile.runtimes.generation import Generator
from hydra_mobile.runtimes.model_ref import ModelRef, distinct, model_at
from hydra_mobile.runtimes.torch import TorchRuntime


@pytest.fixture(scope="module")
def run(tmp_path_factory, run_settings) -> Path:
    from hydra_mobile.config import load_config
    from hydra_mobile.training.run import TrainingRun

    folder = tmp_path_factory.mktemp("evaluated") / "run"
    TrainingRun(load_config(None, run_settings(folder))).train()
    return folder


def test_reusing_the_prefix_does_not_change_an_answer(tiny_base, shapes_data):
    def ask(keys):
        generator = Generator(TorchRuntime.load(tiny_base))
        picture = Image.open(shapes_data / "0.png")
        return [
            generator.answer(q, lambda: picture, key, max_new_tokens=5, stop=False)
            for q, key in zip(("What is it?", "Is it red?", "What is it?"), keys, strict=True)
        ]

    shared, alone = ask(["p", "p", "p"]), ask([None, None, None])
    assert [g.ids for g in shared] == [g.ids for g in alone]
    assert shared[1].encode_seconds is None
    assert shared[1].prefill_tokens < alone[1].prefill_tokens


def test_a_caption_begins_right_behind_the_picture(tiny_base, shapes_data):
    runner = TorchRuntime.load(tiny_base)
    runner.processor.template = template_named("plain")
    assert runner.processor.prompt("What is it?").after == []

    def caption(generator, key):
        picture = Image.open(shapes_data / "0.png")
        return generator.answer("", lambda: picture, key, max_new_tokens=5, stop=False)

    alone = caption(Generator(runner), None)
    generator = Generator(runner)
    caption(generator, "p")
    again = caption(generator, "p")
    assert again.encode_seconds is None
    assert again.ids == alone.ids
    pixels = runner.processor.preprocess(Image.open(shapes_data / "0.png"))[None]
    logits, _ = runner.decode(runner.encode_image(pixels), CacheState())
    assert alone.ids[0] == int(logits.argmax())


def test_report_of_base_run_and_merged_model(in_process, run, questions, tmp_path):
    merged = merged_folder(model_at(str(run)), lambda line: None)
    artifacts = [model_at("tiny"), model_at(str(merged)), model_at(str(run))]
    report = report_on(artifacts, EvalSettings(("emojiqa",), questions), tmp_path / "report")
    assert [system.role for system in report.systems] == ["untrained", "reference", "reference"]
    unmerged = report.systems[2]
    assert unmerged.agreement is not None
    assert unmerged.agreement["seen"].same == unmerged.agreement["seen"].n == 24
    assert report.parity[0].max_abs is not None
    assert report.parity[0].max_abs < 1e-4
    assert report.training is not None
    assert report.training.parameters.lora <= report.training.parameters.budget
    for name in ("report.json", "report.md", "report.html"):
        assert (tmp_path / "report" / name).stat().st_size > 500
    decode = report.systems[0].timings.decode_tokens_per_second
    assert decode is not None
    assert decode.n == 5


def test_what_was_answered_before_is_timed_and_reported(in_process, questions, tmp_path):
    models, out = ["tiny"], tmp_path / "report"
    settings = EvalSettings(("emojiqa",), questions)
    evaluation_of(models, dataclasses.replace(settings, threads=1, workers=1), out).answer()
    (file,) = out.rglob("answers.jsonl")
    answers = file.read_bytes()
    assert len(answers.splitlines()) == 24
    assert not list(out.rglob("facts.json"))
    assert not (out / "report.json").exists()
    report = evaluation_of(models, settings, out).run()
    assert report is not None
    assert file.read_bytes() == answers
    (system,) = report.content.systems
    assert system.runs[0].answered == 24
    assert system.timings.decode_tokens_per_second.n == 5


def test_report_says_how_each_benchmark_was_asked(in_process, run, questions, tmp_path):
    merged = merged_folder(model_at(str(run)), lambda line: None)
    artifacts = [model_at("tiny"), model_at(str(merged))]
    report = report_on(artifacts, EvalSettings(("emojiqa",), questions), tmp_path)
    assert report is not None
    (asked,) = report.systems[1].runs
    assert (asked.benchmark, asked.questions, asked.answered) == ("emojiqa", 24, 24)
    assert asked.complete
    assert 0 < asked.runner_share <= 1
    assert (tmp_path / asked.answers).is_file()
    (comparison,) = report.comparisons
    assert (comparison.system, comparison.n) == (artifacts[0].name, 24)
    (llava,) = tmp_path.rglob("bas*/*/submission/tiny-*.jsonl")
    lines = [json.loads(line) for line in llava.read_text().splitlines()]
    assert len(lines) == 24
    assert lines[0]["prompt"] == "Is there a circle?"
    assert lines[0].keys() >= {"question_id", "text", "answer_id", "model_id", "metadata"}


def test_workers_divide_the_questions_and_answer_as_one_does(in_process, questions, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    for out, workers in ((alone, 1), (together, 3)):
        task = EvalSettings(("emojiqa",), questions, workers=workers)
        evaluate([model_at("tiny")], task, out)
    (one,) = alone.rglob("answers.jsonl")
    (three,) = together.rglob("answers.jsonl")
    told = [[(a.key, a.ids) for a in read_answers(file)] for file in (one, three)]
    assert told[0] == told[1]
    assert len(list(three.parent.glob("worker-*.json"))) == 3
    assert not list(three.parent.glob("answers-*.jsonl.*"))


def test_an_interrupted_evaluation_resumes_at_the_next_question(in_process, questions, tmp_path):
    task = EvalSettings(("emojiqa",), questions, workers=1)
    evaluate([model_at("tiny")], task, tmp_path)
    (file,) = tmp_path.rglob("answers.jsonl")
    answers = {answer.key: answer for answer in read_answers(file)}
    lines = file.read_text().splitlines()
    # As a kill leaves it: some answers gathered, one more in a worker's file, then half a line.
    marked = json.dumps(checked_line(json.loads(lines[0]) | {"text": "kept"}))
    file.write_text("".join(line + "\n" for line in [marked, *lines[1:7]]))
    (file.parent / "answers-0.jsonl").write_text(lines[7] + "\n" + lines[8][:20])
    for facts in tmp_path.rglob("facts.json"):
        facts.unlink()
    evaluate([model_at("tiny")], task, tmp_path)
    again = {answer.key: answer for answer in read_answers(file)}
    assert len(file.read_text().splitlines()) == len(answers) == 24
    assert again.pop(json.loads(lines[0])["key"]).text == "kept", "it was asked twice"
    assert all(again[key].ids == answers[key].ids for key in again)
    assert list(answers) == [answer.key for answer in read_answers(file)], "not in order"


def test_answers_are_not_used_for_other_questions_pictures_or_artifacts(
    in_process, questions, tmp_path, tiny_base
):
    data = tmp_path / "data"
    shutil.copytree(questions, data)
    out = tmp_path / "out"

    def folders() -> int:
        return len(list(out.rglob("answers.jsonl")))

    task = EvalSettings(("emojiqa",), data, limit=8)
    evaluate([model_at("tiny")], task, out)
    evaluate([model_at("tiny")], task, out)
    assert folders() == 1
    evaluate([model_at("tiny")], dataclasses.replace(task, limit=12), out)
    assert folders() == 2
    # Another picture under the same name.
    Image.new("RGB", (50, 50), "purple").save(data / "0.png")
    task = dataclasses.replace(task)  # settings read their questions once
    evaluate([model_at("tiny")], task, out)
    assert folders() == 3
    # The same weights with another template are another artifact.
    other = tmp_path / "other"
    shutil.copytree(tiny_base, other)
    recipe = json.loads((other / "processor_config.json").read_text())
    recipe["template"]["user_prefix"] = "Q: "
    (other / "processor_config.json").write_text(json.dumps(recipe))
    evaluate([model_at(str(other))], task, out)
    assert folders() == 4


def test_a_missing_picture_stops_it_before_the_first_question(in_process, questions, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(questions, data)
    (data / "3.png").unlink()
    task = EvalSettings(("emojiqa",), data)
    with pytest.raises(DataError, match=r"1 of 12 images.*3\.png"):
        evaluate([model_at("tiny")], task, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("answers*.jsonl"))
    partial = dataclasses.replace(task, allow_partial=True)
    report = report_on([model_at("tiny")], partial, tmp_path / "out")
    assert report is not None
    (asked,) = report.systems[0].runs
    assert (asked.answered, asked.questions, asked.complete) == (22, 24, False)
    assert any("answered 22 of 24 questions" in note for note in report.notes)


def test_prompts_that_do_not_fit_stop_it_before_the_first_question(
    in_process, tiny_base, questions, tmp_path
):
    small = tmp_path / "small"
    shutil.copytree(tiny_base, small)
    config = json.loads((small / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 20
    (small / "config.json").write_text(json.dumps(config))
    with pytest.raises(HydraError, match=r"24 of 24.*20"):
        evaluate([model_at(str(small))], EvalSettings(("emojiqa",), questions, workers=1), tmp_path)


@pytest.mark.slow
def test_a_failing_worker_says_why(questions, tmp_path, tiny_base):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_base, broken)
    artifact = model_at(str(broken))
    (broken / "tokenizer.json").write_text("{")
    with pytest.raises(HydraError, match=r"tokenizer\.json"):
        evaluate([artifact], EvalSettings(("emojiqa",), questions, workers=1), tmp_path / "work")


def test_one_artifact_given_twice_is_refused(in_process, tiny_base, questions, tmp_path):
    artifacts = [model_at("tiny"), model_at(str(tiny_base))]
    with pytest.raises(HydraError, match="same artifact"):
        evaluate(artifacts, EvalSettings(("emojiqa",), questions), tmp_path)


def test_artifacts_of_one_name_are_told_apart(tiny_base, tmp_path):
    def made(folder: str, digest: str) -> ModelRef:
        return dataclasses.replace(
            model_at("tiny"), path=tmp_path / folder, name="ExecuTorch int4", digest=digest
        )

    names = [a.name for a in distinct([made("a/int4", "1"), made("b/int4", "2"), made("c", "3")])]
    assert names == [
        "ExecuTorch int4 (a/int4)",
        "ExecuTorch int4 (b/int4)",
        "ExecuTorch int4 (c)",
    ]


def test_a_coreml_bundle_off_macos_is_refused_unless_interpreting_is_asked_for(
    in_process, monkeypatch, questions, tmp_path
):
    monkeypatch.setattr(sys, "platform", "linux")
    bundle = dataclasses.replace(model_at("tiny"), kind="bundle", runner="coreml", digest="c")
    with pytest.raises(HydraError, match=r"(?s)CoreML.*hydra-mobile verify"):
        evaluate([bundle], EvalSettings(("emojiqa",), questions), tmp_path)


def test_an_unknown_benchmark_names_the_nearest(questions, tmp_path):
    with pytest.raises(HydraError, match="`emojiqa`"):
        evaluate([model_at("tiny")], EvalSettings(("emojiq",), questions), tmp_path)


def test_a_protocol_may_be_named_for_one_benchmark(in_process, tiny_base, shapes_data, tmp_path):
    pictures = [open_picture(shapes_data / f"{number}.png") for number in range(4)]
    tree = build_tree(tmp_path / "data", pictures, questions=2)
    small = _with_context(tiny_base, tmp_path / "small", 200)

    def protocols(text: str) -> dict[str, str]:
        task = EvalSettings(("gqa", "scienceqa"), tree, protocol=text, limit=2)
        outcome = evaluate([model_at(str(small))], task, tmp_path / "out")
        assert outcome is not None
        return {run.benchmark: run.protocol for run in outcome.systems[0].runs}

    assert protocols("scienceqa=mobilevlm") == {"gqa": "llava-1.5", "scienceqa": "mobilevlm"}
    assert protocols("mobilevlm,scienceqa=llava-1.5") == {
        "gqa": "mobilevlm",
        "scienceqa": "llava-1.5",
    }


@pytest.mark.parametrize("text", ["pope=mobilevlm", "llava-1.5,mobilevlm", "gqa=no-such"])
def test_a_protocol_that_fits_no_benchmark_is_refused(text, tmp_path):
    task = EvalSettings(("gqa",), tmp_path, protocol=text)
    with pytest.raises(HydraError, match=text.partition(",")[0].partition("=")[2] or "mobilevlm"):
        evaluate([model_at("tiny")], task, tmp_path / "out")


def _with_context(base: Path, folder: Path, tokens: int) -> Path:
    """Copy a base; a short context bounds what a model without training goes on for."""
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = tokens
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.slow
def test_all_six_are_answered_in_one_go(in_process, tiny_base, shapes_data, tmp_path):
    pictures = [open_picture(shapes_data / f"{number}.png") for number in range(4)]
    for layout in ("mobilevlm", "llava"):
        tree = build_tree(tmp_path / layout, pictures, questions=4, layout=layout)
        small = tmp_path / "small"
        if not small.is_dir():
            shutil.copytree(tiny_base, small)
            config = json.loads((small / "config.json").read_text())
            # Bounds the 1024 tokens that a model without training goes on for.
            config["text_config"]["max_position_embeddings"] = 200
            (small / "config.json").write_text(json.dumps(config))
        out = tmp_path / f"out-{layout}"
        report = report_on([model_at(str(small))], EvalSettings(SIX, tree), out)
        assert report is not None
        (system,) = report.systems
        assert [asked.benchmark for asked in system.runs] == list(SIX)
        assert all(asked.complete and asked.answered >= 4 for asked in system.runs)
        assert [s.benchmark for s in system.scores if s.headline] == list(SIX)
        fit = MobileVLMProcessor.from_pretrained(small).image.fit
        words = {"pad": "mean color, to a square", "stretch": "none, stretched"}[fit]
        assert {asked.facts["padding"] for asked in system.runs} == {words}
        for name, file in (
            ("mme", "existence.txt"),
            ("gqa", "testdev_balanced_predictions.json"),
            ("mmbench", "*.xlsx"),
            ("textvqa", "*.jsonl"),
        ):
            assert list(out.glob(f"answers/*/{name}-*/submission/**/{file}")), name


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_named(in_process, questions, tmp_path):
    task = EvalSettings(("emojiqa",), questions, torch_device="cuda")
    with pytest.raises(HydraError, match=r"`cuda:0`.*CUDA"):
        evaluate([model_at("tiny")], task, tmp_path)


@pytest.mark.gpu
def test_a_gpu_gives_the_logits_of_the_cpu(tiny_base):
    ids = [5, 80, 17, 200]
    found = []
    for device in ("cpu", "cuda"):
        runner = TorchRuntime.load(tiny_base, device=device)
        logits, state = runner.decode(runner.embed(ids), CacheState())
        found.append(runner.decode(runner.embed([int(logits.argmax())]), state)[0])
    assert abs(found[0] - found[1]).max() < 1e-3
