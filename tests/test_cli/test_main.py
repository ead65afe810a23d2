from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from damage import negate_a_weight
from PIL import Image


@pytest.fixture(scope="module")
def trained(tmp_path_factory, run_settings) -> Path:
    from hydra_mobile.config import load_config
    from hydra_mobile.training.run import TrainingRun

    run = tmp_path_factory.mktemp("trained") / "run"
    settings = [*run_settings(run), "stage1.steps=1", "stage2.steps=1"]
    TrainingRun(load_config(None, settings)).train()
    return run


# -- help -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb",
    ["quickstart", "fetch", "train", "merge", "export", "verify", "evaluate", "chat", "data"],
)
def test_every_verb_has_help(run_verb, verb):
    code, out, _ = run_verb(verb, "--help")
    assert code == 0
    assert "Usage" in out


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['hydra-mobile', '--help']\n"
        "from hydra_mobile.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'peft', 'numpy', 'PIL', 'yaml', 'onnx', 'executorch'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# -- the verbs on base tiny -----------------------------------------------------------------------


def test_fetch_is_instant_the_second_time(run_verb):
    assert run_verb("fetch", "tiny")[0] == 0
    code, out, _ = run_verb("fetch", "tiny")
    assert code == 0
    assert "already" in out


def test_dry_run_shows_what_the_loss_sees_and_writes_nothing(run_verb, tiny_settings, tmp_path):
    code, out, err = run_verb("train", "--dry-run", *tiny_settings)
    assert code == 0, err
    assert out.count("<image: 4 tokens>") == 1
    assert "[red<|im_end|>]" in out
    assert "LoRA" in err
    assert "peak, estimated" in out
    assert "one step of stage II" in out
    assert not (tmp_path / "run").exists()


def test_dry_run_takes_the_step_that_sees_4_bits(run_verb, tiny_settings):
    code, out, err = run_verb("train", "--dry-run", *tiny_settings, "stage2.qat=int4")
    assert code == 0, err
    assert re.search(r"weights rounded to 4 bits +\d", out)
    assert "one step of stage II at int4" in out


def test_dry_run_shows_a_row_with_an_image_where_there_is_one(run_verb, tiny_settings, tmp_path):
    turns = ({"from": "human", "value": "Is it red?"}, {"from": "gpt", "value": "red"})
    pictured = [{**turns[0], "value": "<image>\nIs it red?"}, turns[1]]
    records = [{"id": str(number), "conversations": turns} for number in range(3)]
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    records.append({"id": "3", "image": "red.png", "conversations": pictured})
    for kept, marks in ((records, 1), (records[:3], 0)):
        (tmp_path / "d.json").write_text(json.dumps(kept))
        data = f"data.stage2={tmp_path / 'd.json'}"
        code, out, err = run_verb("train", "--dry-run", *tiny_settings, data)
        assert code == 0, err
        assert out.count("<image: 4 tokens>") == marks


def test_train_then_merge_then_ask(run_verb, trained, shapes_data, tmp_path):
    code, out, err = run_verb("merge", trained, "--out", tmp_path / "merged")
    assert code == 0, err
    assert "bit for bit" in err
    answers = []
    for model in (trained, tmp_path / "merged"):
        code, out, err = run_verb(
            "chat", model, "--image", shapes_data / "0.png", "--ask", "What is it?",
            "--new-tokens", 4,
        )  # fmt: skip
        assert code == 0, err
        answers.append(out.splitlines()[0])
    assert answers[0] == answers[1]


# -- what a user can do wrong ---------------------------------------------------------------------


def refused(result, *needles: str) -> None:
    code, _, err = result
    assert code not in (0, None)
    assert "Traceback" not in err
    for needle in needles:
        assert needle in err


def test_unknown_key_names_the_nearest(run_verb):
    refused(
        run_verb("train", "stage2.learning_rat=1"),
        "stage2.learning_rat",
        "`stage2.learning_rate=1`",
    )


def test_value_of_the_wrong_type(run_verb):
    refused(run_verb("train", "stage2.steps=many"), "stage2.steps", "'many'", "expected an integer")


def test_configuration_file_that_is_not_there(run_verb, tmp_path):
    refused(run_verb("train", "--config", tmp_path / "none.yaml"), "none.yaml does not exist")


def test_record_without_conversations(run_verb, tiny_settings, tmp_path):
    file = tmp_path / "bad.json"
    file.write_text(json.dumps([{"id": "a7", "image": "0.png", "text": "?"}]))
    refused(
        run_verb("train", *tiny_settings, f"data.stage2={file}"),
        "record 0", "'a7'", "`conversations`",
    )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_missing_picture(run_verb, trained, tmp_path):
    refused(run_verb("chat", trained, "--image", tmp_path / "no.png", "--ask", "?"), "no.png")


def test_corrupt_picture(run_verb, trained, tmp_path):
    Image.new("RGB", (30, 30)).save(tmp_path / "cut.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    result = run_verb("chat", trained, "--image", tmp_path / "cut.png", "--ask", "?")
    refused(result, "cut.png", "cannot be read")


def test_adapter_of_another_base(run_verb, trained, tiny_base, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_base, other)
    negate_a_weight(other)
    result = run_verb("merge", trained, "--base", other, "--out", tmp_path / "merged")
    refused(result, "base")
    assert not (tmp_path / "merged").exists()


def test_truncated_adapter(run_verb, trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    file = run / "adapter" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-40])
    refused(run_verb("merge", run, "--out", tmp_path / "m"), "adapter_model.safetensors")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("option", "wrong", "hint"),
    [
        ("--preset", "int44", "int4"),
        ("--target", "andriod", "android"),
        ("--runtime", "onx", "onnx"),
    ],
)
def test_unknown_names_list_the_valid_ones(run_verb, trained, tmp_path, option, wrong, hint):
    result = run_verb("export", trained, option, wrong, "--out", tmp_path / "b")
    refused(result, f"`{wrong}`", hint)
    assert not (tmp_path / "b").exists()


def test_no_disk_space(run_verb, trained, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    refused(run_verb("merge", trained, "--out", tmp_path / "m"), "No space", "MB are needed")
    assert not (tmp_path / "m").exists()


def test_something_that_is_no_artifact(run_verb, tmp_path):
    refused(run_verb("evaluate", tmp_path, "--data", tmp_path), "is no run", "manifest.json")


def test_a_run_that_is_not_finished(run_verb, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "adapter")
    refused(run_verb("evaluate", tmp_path / "run", "--data", tmp_path), "--resume")


@pytest.mark.parametrize(
    "closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "| true", "2>&1 | head -1"]
)
def test_streams_that_are_closed_are_no_fault(closed):
    command = f"{sys.executable} -m hydra_mobile config list {closed}"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_disk_that_is_full_is_told_for_the_output_too():
    command = f"{sys.executable} -m hydra_mobile config list > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "full" in done.stderr
    assert "Traceback" not in done.stderr
