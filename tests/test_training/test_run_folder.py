"""Run folders that earlier versions wrote."""

from __future__ import annotations

import json
import os
import shutil

import pytest

import hydra_mobile as hm
from hydra_mobile.config import TrainConfig, load_config
from hydra_mobile.core.errors import ArtifactError, ConfigError, HydraError
from hydra_mobile.training import begun
from hydra_mobile.training.run_folder import RunFolder


def unseal(file):
    """Take the digest out, which earlier versions did not write."""
    record = json.loads(file.read_text())
    del record["record_sha256"]
    file.write_text(json.dumps(record))


def test_an_altered_record_is_told(started, tmp_path):
    settings, _ = started
    file = tmp_path / "run" / "run.json"
    file.write_text(file.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(ArtifactError, match=r"run\.json was altered"):
        RunFolder(load_config(None, [*settings, "seed=1"]), 1, "a" * 64).open(resume=True)


def test_a_run_that_holds_the_former_name_of_a_key_goes_on(tmp_path):
    run = tmp_path / "run"
    RunFolder(TrainConfig(output=str(run)), 1).open(resume=False)
    for name in ("run.json", "config.yaml"):
        text = (run / name).read_text()
        assert "initialization" in text
        (run / name).write_text(text.replace("initialization", "initialisation"))
    unseal(run / "run.json")
    RunFolder(load_config(run / "config.yaml"), 1).open(resume=True)


@pytest.fixture
def started(shapes_data, tmp_path):
    """A run folder that was opened once, and its settings."""
    data = tmp_path / "data"
    shutil.copytree(shapes_data, data)
    settings = [f"output={tmp_path / 'run'}", f"data.stage2={data / 'questions.json'}", "base=tiny"]
    RunFolder(load_config(None, settings), 1, "a" * 64).open(resume=False)
    # What makes it a run that can go on.
    (tmp_path / "run" / "checkpoints" / "2-stage2-0000002").mkdir(parents=True)
    return settings, data


def test_places_threads_and_workers_are_no_part_of_a_run(started, tmp_path):
    settings, data = started
    moved = tmp_path / "moved"
    data.rename(moved)
    more = [f"data.stage2={moved / 'questions.json'}", f"data.images={moved}", "base=/else/tiny"]
    more += ["runtime.threads=3", "runtime.workers=2", "runtime.vision_cache=false"]
    more += ["runtime.log_every=1", "runtime.checkpoint_every=7"]
    RunFolder(load_config(None, [*settings, *more]), 1, "a" * 64).open(resume=True)
    # Kept for information: `merge` looks for the base where it lies today.
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["base"] == "/else/tiny"


@pytest.mark.parametrize(
    ("more", "base", "key"),
    [
        ("stage2.batch_size=3", "a", r"stage2\.batch_size"),
        ("stage2.loss_reduction=micro_batches", "a", r"stage2\.loss_reduction"),
        ("seed=1", "a", "seed"),
        ("runtime.precision=bf16", "a", r"runtime\.precision"),
        ("runtime.threads=3", "b", "base_sha256"),
    ],
)
def test_what_changes_results_is(started, more, base, key):
    settings, _ = started
    with pytest.raises(ConfigError, match=key):
        RunFolder(load_config(None, [*settings, more]), 1, base * 64).open(resume=True)


def test_other_records_under_the_same_name_are_another_run(started):
    settings, data = started
    file = data / "questions.json"
    file.write_text(json.dumps(json.loads(file.read_text())[1:]))
    with pytest.raises(ConfigError, match=r"data\.stage2"):
        RunFolder(load_config(None, settings), 1, "a" * 64).open(resume=True)


def test_a_record_of_an_earlier_version_goes_on_with_its_own_loss(started, tmp_path):
    settings, _ = started
    file = tmp_path / "run" / "run.json"
    record = json.loads(file.read_text())
    del record["base_sha256"], record["record_sha256"], record["config"]["data"]["bad_pictures"]
    for stage in ("stage1", "stage2"):
        del record["config"][stage]["loss_reduction"]
    file.write_text(json.dumps(record))
    with pytest.raises(ConfigError, match=r"loss_reduction.*'micro_batches'.*'tokens'"):
        RunFolder(load_config(None, settings), 1, "a" * 64).open(resume=True)
    as_before = ["stage1.loss_reduction=micro_batches", "stage2.loss_reduction=micro_batches"]
    RunFolder(load_config(None, [*settings, *as_before]), 1, "a" * 64).open(resume=True)


def test_a_run_goes_on_whose_record_is_older_than_most_keys(started, tmp_path):
    settings, _ = started
    file = tmp_path / "run" / "run.json"
    record = json.loads(file.read_text())
    del record["record_sha256"]
    config = record["config"]
    for section in ("stage1", "stage2"):
        config[section] = {"loss_reduction": config[section]["loss_reduction"]}
    config["ranks"] = {"policy": config["ranks"]["policy"]}
    config["data"] = {key: config["data"][key] for key in ("stage1", "stage2", "images")}
    del config["runtime"]
    file.write_text(json.dumps(record))
    RunFolder(load_config(None, settings), 1, "a" * 64).open(resume=True)
    with pytest.raises(ConfigError, match=r"stage2\.qat: '' -> 'int4'"):
        RunFolder(load_config(None, [*settings, "stage2.qat=int4"]), 1, "a" * 64).open(resume=True)


def test_a_run_in_which_somebody_trains_is_refused_and_says_who(started, tmp_path, monkeypatch):
    settings, _ = started
    monkeypatch.setattr(begun, "_WAIT_SECONDS", 0.0)
    with (
        begun.alone_in(tmp_path / "run", resume=True),
        pytest.raises(HydraError, match=rf"run is in use by process {os.getpid()} on .* since 2"),
    ):
        hm.train(None, *settings, resume=True)


def test_what_was_held_and_not_begun_leaves_no_folder(tmp_path):
    with begun.alone_in(tmp_path / "new", resume=False):
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()
