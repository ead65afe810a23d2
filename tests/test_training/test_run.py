from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from hydra_mobile.config import load_config
from hydra_mobile.core.errors import ArtifactError, ConfigError, DataError, HydraError
from hydra_mobile.core.files import sha256_of
from hydra_mobile.training.checkpoint import Checkpoint
from hydra_mobile.training.run import TrainingRun


def train(settings, *more, resume=False):
    return TrainingRun(load_config(None, [*settings, *more])).train(resume)


def hashes(adapter: Path) -> dict[str, str]:
    return {file.name: sha256_of(file) for file in adapter.iterdir()}


@pytest.fixture(scope="module")
def reference(tiny_settings_module) -> Path:
    # With the check that the other runs leave out: it changes no weight.
    return train(tiny_settings_module, "runtime.memory_check=true")


@pytest.fixture(scope="module")
def tiny_settings_module(tmp_path_factory, run_settings):
    return run_settings(tmp_path_factory.mktemp("reference") / "run")


def test_a_run_learns_and_leaves_everything_a_reader_wants(reference):
    run = reference.parent
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(m["stage"], m["step"]) for m in metrics] == [
        *[("align", i) for i in (1, 2, 3)],
        *[("stage1", i) for i in (1, 2, 3)],
        *[("stage2", i) for i in range(1, 7)],
    ]
    summary = json.loads((run / "summary.json").read_text())
    assert summary["parameters"]["lora"] <= summary["parameters"]["budget"]
    ranks = json.loads((run / "rank_map.json").read_text())["ranks"]
    assert len(set(ranks.values())) > 1
    assert {"adapter_model.safetensors", "projector.safetensors", "hydra.json"} <= {
        file.name for file in reference.iterdir()
    }
    moved = load_file(reference / "adapter_model.safetensors")
    assert all(value.abs().max() > 0 for value in moved.values())


@pytest.mark.slow  # a minute; the everyday suite has many
def test_killed_at_any_moment_and_resumed_gives_the_same_adapter(reference, run_settings, tmp_path):
    """SIGKILL after a growing delay, resume, kill again, until the run is through."""
    settings = run_settings(tmp_path / "run")
    command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile", "train", *settings]
    kills = 0
    for attempt in range(60):
        resume = ["--resume"] if (tmp_path / "run" / "run.json").exists() else []
        process = subprocess.Popen(
            [*command, *resume], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        # Watch for progress, then kill a little later: somewhere in the middle of a step or write.
        before = _size(tmp_path / "run" / "metrics.jsonl")
        while process.poll() is None and _size(tmp_path / "run" / "metrics.jsonl") <= before:
            time.sleep(0.002)
        time.sleep(0.005 * (attempt % 7))
        if process.poll() is None and kills < 5:
            process.send_signal(signal.SIGKILL)
            kills += 1
        _, errors = process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), errors.decode()
        if process.returncode == 0:
            break
    assert kills >= 2, "nothing was interrupted"
    assert hashes(tmp_path / "run" / "adapter") == hashes(reference)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    places = [(m["stage"], m["step"]) for m in map(json.loads, lines)]
    assert len(places) == len(set(places)), "a step was logged twice"


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


@pytest.mark.parametrize(
    "after", [(1, 4), pytest.param(tuple(range(6)), marks=pytest.mark.slow, id="every")]
)
def test_interrupted_after_steps_of_stage_two(
    reference, run_settings, tmp_path, monkeypatch, after
):
    from hydra_mobile.training import run as run_module

    settings = run_settings(tmp_path / "run")
    real = run_module.train_step
    seen: set[int] = set()

    def once(*args):
        result = real(*args)
        in_stage_two = hasattr(args[0], "peft_config")
        step = args[5]
        if in_stage_two and step in after and step not in seen:
            seen.add(step)
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(run_module, "train_step", once)
    for attempt in range(20):
        try:
            train(settings, resume=attempt > 0)
            break
        except KeyboardInterrupt:
            continue
    assert seen == set(after)
    assert hashes(tmp_path / "run" / "adapter") == hashes(reference)


def test_uniform_policy_and_no_stage_one(tiny_settings):
    adapter = train(tiny_settings, "ranks.policy=uniform", "data.stage1=", "stage2.steps=1")
    ranks = json.loads((adapter.parent / "rank_map.json").read_text())["ranks"]
    assert set(ranks.values()) == {8}


def test_stage_one_aligns_alone(tiny_settings):
    adapter = train(tiny_settings, "stage1.steps=0", "stage1.epochs=0", "stage2.steps=1")
    summary = json.loads((adapter.parent / "summary.json").read_text())
    assert summary["steps"] == {"align": 3, "stage2": 1}


def test_an_alignment_needs_images(tiny_settings, tmp_path):
    texts = tmp_path / "texts.json"
    turns = [{"from": "human", "value": "Say yes."}, {"from": "gpt", "value": "Yes."}]
    texts.write_text(json.dumps([{"id": "a", "conversations": turns}]))
    with pytest.raises(DataError, match=r"texts.json.*image"):
        train(tiny_settings, f"data.stage1={texts}")


@pytest.mark.slow
@pytest.mark.parametrize("policy", [pytest.param("uniform", marks=pytest.mark.slow), "coarse_fine"])
def test_a_start_along_the_gradient(run_settings, tmp_path, policy):
    more = (f"ranks.policy={policy}", "ranks.importance=calibration", "stage2.steps=1")
    a, b, other = (
        train(run_settings(tmp_path / name), *more, f"ranks.initialization={start}")
        for name, start in (("a", "gradient"), ("b", "gradient"), ("other", "random"))
    )
    assert hashes(a) == hashes(b)
    differing = hashes(a).items() ^ hashes(other).items()
    assert "adapter_model.safetensors" in {name for name, _ in differing}
    map_of = [json.loads((run.parent / "rank_map.json").read_text()) for run in (a, other)]
    assert map_of[0] == map_of[1]


def test_a_start_that_a_policy_does_not_take(tiny_settings):
    with pytest.raises(ConfigError, match=r"ranks\.initialization.*adalora"):
        train(tiny_settings, "ranks.policy=adalora", "ranks.initialization=gradient")


def test_fixed_policy_reads_an_earlier_map(reference, tiny_settings):
    file = reference.parent / "rank_map.json"
    adapter = train(tiny_settings, "ranks.policy=fixed", f"ranks.map_file={file}", "stage2.steps=1")
    assert json.loads((adapter.parent / "rank_map.json").read_text()) == json.loads(
        file.read_text()
    )


def test_checkpointing_activations_gives_the_same_adapter(reference, tiny_settings):
    adapter = train(tiny_settings, "runtime.gradient_checkpointing=true")
    ours = load_file(adapter / "adapter_model.safetensors")
    theirs = load_file(reference / "adapter_model.safetensors")
    assert all((ours[name] - theirs[name]).abs().max() < 1e-5 for name in theirs)


def test_without_the_vision_cache(reference, tiny_settings):
    adapter = train(tiny_settings, "runtime.vision_cache=false", "stage1.steps=1", "stage2.steps=2")
    assert (adapter / "adapter_model.safetensors").is_file()


# -- what a user can do wrong ---------------------------------------------------------------------


def test_a_used_folder_needs_resume(reference, tiny_settings_module):
    with pytest.raises(HydraError, match="run"):
        train(tiny_settings_module)
    assert train(tiny_settings_module, resume=True) == reference


def test_resume_with_other_settings_names_them(tiny_settings_module, reference):
    with pytest.raises(ConfigError, match=r"stage2\.learning_rate.*0\.0002.*0\.5"):
        train(tiny_settings_module, "stage2.learning_rate=0.5", resume=True)


def test_resume_of_nothing(tiny_settings):
    with pytest.raises(ArtifactError, match="resume"):
        train(tiny_settings, resume=True)


def test_cut_short_checkpoint_is_named(reference, tmp_path):
    shutil.copytree(reference.parent / "checkpoints", tmp_path / "checkpoints")
    (file,) = (tmp_path / "checkpoints").glob("*/state.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ArtifactError, match=r"state\.safetensors.*altered"):
        Checkpoint.read(file.parent)


@pytest.mark.parametrize("break_it", ["missing", "corrupt"])
def test_a_bad_picture_stops_before_training(tiny_settings, shapes_data, tmp_path, break_it):
    images = tmp_path / "images"
    images.mkdir()
    for file in shapes_data.glob("*.png"):
        (images / file.name).write_bytes(file.read_bytes())
    bad = images / "3.png"
    if break_it == "missing":
        bad.unlink()
    else:
        bad.write_bytes(bad.read_bytes()[:60])
    with pytest.raises(DataError, match=r"3\.png"):
        train(tiny_settings, f"data.images={images}")


def test_a_diverging_run_says_so(tiny_settings):
    # Each step multiplies the weights by 1 - rate * decay: beyond fp32 after some twenty.
    growing = ("stage1.learning_rate=100", "stage1.weight_decay=1", "stage1.warmup=0")
    with pytest.raises(HydraError, match="loss became"):
        train(tiny_settings, *growing, "stage1.clip=0", "stage1.steps=60")


def test_full_disk_is_told_and_leaves_the_last_checkpoint(tiny_settings, tmp_path, monkeypatch):
    from safetensors import SafetensorError

    from hydra_mobile.training import checkpoint as module

    real = module.save_file
    calls = []

    def full(tensors, path):
        calls.append(path)
        if len(calls) == 4:
            Path(path).write_bytes(b"half")
            # What the library raises; `test_faults` fills a real disk.
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        real(tensors, path)

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(HydraError, match="disk"):
        train(tiny_settings)
    (folder,) = (tmp_path / "run" / "checkpoints").glob("[0-9]*")
    assert Checkpoint.read(folder).step > 0
    monkeypatch.setattr(module, "save_file", real)
    train(tiny_settings, resume=True)
