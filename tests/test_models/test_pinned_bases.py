"""A base of the hub stays the one that was trained on, whatever its name means there later.

Tiny checkpoints stand in for the hub's repositories; what a branch points to is moved between uses.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import huggingface_hub
import pytest
from original_checkpoints import original_shapes, tensors_of, write_original, write_weights
from parity_chain import make_adapter

from hydra_mobile.adapters.identity import base_identity
from hydra_mobile.models.registry import base_folder, cached_base
from hydra_mobile.runtimes.model_ref import base_of

OLD, NEW = "a" * 40, "b" * 40
NAME, HUB_ID = "mobilevlm-v2-1.7b", "mtgv/MobileVLM_V2-1.7B"


@dataclass
class Hub:
    """Repositories that have two commits; the branch points to one of them."""

    folder: Path
    tip: str = OLD
    asked: list[str | None] = field(default_factory=list)

    def snapshot(self, hub_id: str, revision: str | None, allow_patterns: list[str]) -> str:
        self.asked.append(revision)
        commit = revision if revision in (OLD, NEW) else self.tip
        folder = self.folder / f"models--{hub_id.replace('/', '--')}" / "snapshots" / commit
        if not folder.is_dir():
            write_original(folder, "ldpnetv2")
            if commit == NEW:
                config = json.loads((folder / "config.json").read_text())
                shapes = original_shapes("ldpnetv2", config["vocab_size"])
                write_weights(folder, tensors_of(shapes, seed=1), "safetensors")
        return str(folder)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "list_repo_files", lambda self, name, revision: ["a.safetensors"]
    )
    monkeypatch.setenv("HYDRA_MOBILE_HOME", str(tmp_path / "home"))
    return made


@pytest.fixture(params=[NAME, HUB_ID, f"{HUB_ID}@main"])
def base(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_an_adapter_is_merged_into_the_commit_that_it_was_trained_on(
    hub: Hub, base: str, tmp_path: Path, run_verb: Callable[..., tuple[int, str, str]]
) -> None:
    first = base_folder(base, lambda line: None)
    expected = base_identity(first)
    assert expected.revision == OLD
    adapter = make_adapter(first, tmp_path / "adapter")
    record = json.loads((adapter / "hydra.json").read_text())["base"]
    assert (record["revision"], record["sha256"]) == (OLD, expected.sha256)
    assert record["name"] == base.partition("@")[0]

    # Another machine, after the branch has moved.
    hub.tip = NEW
    shutil.rmtree(tmp_path / "home")
    found = base_identity(base_of(adapter))
    assert (found.revision, found.sha256) == (OLD, expected.sha256)
    assert hub.asked[-1] == OLD
    # Told to take what the name means now, `merge` does not.
    code, _, said = run_verb("merge", adapter, "--base", base, "--out", tmp_path / "merged")
    assert code == 2
    assert f"commit {OLD[:12]}" in said
    assert f"commit {NEW[:12]}" in said
    assert f"@{OLD}" in said
    assert not (tmp_path / "merged").exists()
    # With the newer one in the cache, the older one is still found.
    code, _, said = run_verb("merge", adapter, "--out", tmp_path / "merged")
    assert code == 0, said
    sources = json.loads((tmp_path / "merged" / "merge.json").read_text())["sources"]
    assert sources["base"]["revision"] == OLD


def test_a_base_of_another_commit_stays_beside_the_named_one(hub: Hub) -> None:
    hub.tip = NEW
    newest = base_folder(NAME, lambda line: None)
    assert newest == cached_base(NAME)
    older = base_folder(NAME, lambda line: None, OLD)
    assert base_identity(older).revision == OLD
    assert base_identity(newest).revision == NEW
    assert base_identity(older).sha256 != base_identity(newest).sha256
    asked = len(hub.asked)
    assert base_folder(NAME, lambda line: None, NEW) == newest
    assert base_folder(NAME, lambda line: None, OLD) == older
    assert len(hub.asked) == asked


def test_a_run_goes_on_with_the_base_that_it_began_with(
    hub: Hub, shapes_data: Path, tmp_path: Path, run_verb: Callable[..., tuple[int, str, str]]
) -> None:
    run = tmp_path / "run"
    settings = (
        *(f"base={HUB_ID}", f"output={run}", f"data.stage2={shapes_data / 'questions.json'}"),
        *("stage2.steps=1", "stage2.batch_size=1", "ranks.policy=uniform", "ranks.r_ref=2"),
        *("ranks.rank_step=1", "ranks.r_min=1", "runtime.precision=fp32", "runtime.threads=1"),
        "data.bad_records=drop",
    )
    code, _, said = run_verb("train", *settings)
    assert code == 0, said
    assert json.loads((run / "run.json").read_text())["base_revision"] == OLD
    hub.tip = NEW
    code, _, said = run_verb("train", "--resume", *settings)
    assert code == 0, said
    assert hub.asked[-1] == OLD
    # A folder of the newer weights in its place is another base.
    other = base_folder(f"{HUB_ID}@{NEW}", lambda line: None)
    code, _, said = run_verb("train", "--resume", *settings, f"base={other}")
    assert code == 2
    assert "base_sha256" in said


@pytest.mark.slow  # two exports
def test_a_bundle_names_the_commit_of_its_base(
    hub: Hub, tmp_path: Path, run_verb: Callable[..., tuple[int, str, str]]
) -> None:
    base = base_folder(NAME, lambda line: None)
    adapter = make_adapter(base, tmp_path / "adapter", within="language_model.model.layers")
    hub.tip = NEW  # Another machine, after the branch has moved.
    shutil.rmtree(tmp_path / "home")
    merged = tmp_path / "merged"
    code, _, said = run_verb("merge", adapter, "--out", merged)
    assert code == 0, said
    for source, form in ((adapter, "separate"), (merged, "merged")):
        out = tmp_path / f"{form}-bundle"
        code, _, said = run_verb(
            *("export", source, "--adapter", form, "--target", "onnx", "--preset", "fp32"),
            *("--max-context", "64", "--max-prefill", "16", "--out", out),
        )
        assert code == 0, said
        assert hub.asked[-1] == OLD
        sources = json.loads((out / "manifest.json").read_text())["sources"]
        assert (sources["base"], sources["base_revision"]) == (NAME, OLD)
