"""A base of the hub stays the one that was trained on, whatever its name means there later.

Tiny checkpoints stand in for the hub's repositories; what a branch points to is moved between uses.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from local_hub import LocalHub, files_in
from original_checkpoints import original_shapes, tensors_of, write_original, write_weights
from parity_chain import make_adapter

from hydra_mobile.adapters.identity import base_identity
from hydra_mobile.models.registry import base_folder, cached_base
from hydra_mobile.runtimes.model_ref import base_of

NAME, HUB_ID = "mobilevlm-v2-1.7b", "mtgv/MobileVLM_V2-1.7B"


class Hub(LocalHub):
    """A repository with two commits; its branch points to one of them."""

    old = new = ""

    def fill(self, folder: Path) -> None:
        write_original(folder, "ldpnetv2")
        older = files_in(folder)
        config = json.loads((folder / "config.json").read_text())
        shapes = original_shapes("ldpnetv2", config["vocab_size"])
        write_weights(folder, tensors_of(shapes, seed=1), "safetensors")
        self.new = self.add(HUB_ID, files_in(folder))
        self.old = self.add(HUB_ID, older)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path / "hub")
    made.fill(tmp_path / "checkpoint")
    made.install(monkeypatch)
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
    assert expected.revision == hub.old
    adapter = make_adapter(first, tmp_path / "adapter")
    record = json.loads((adapter / "hydra.json").read_text())["base"]
    assert (record["revision"], record["sha256"]) == (hub.old, expected.sha256)
    assert record["name"] == base.partition("@")[0]

    # Another machine, after the branch has moved.
    hub.point(HUB_ID, hub.new)
    shutil.rmtree(tmp_path / "home")
    found = base_identity(base_of(adapter))
    assert (found.revision, found.sha256) == (hub.old, expected.sha256)
    assert hub.asked[-1] == hub.old
    # Told to take what the name means now, `merge` does not.
    code, _, said = run_verb("merge", adapter, "--base", base, "--out", tmp_path / "merged")
    assert code == 2
    assert f"commit {hub.old[:12]}" in said
    assert f"commit {hub.new[:12]}" in said
    assert f"@{hub.old}" in said
    assert not (tmp_path / "merged").exists()
    # With the newer one in the cache, the older one is still found.
    code, _, said = run_verb("merge", adapter, "--out", tmp_path / "merged")
    assert code == 0, said
    sources = json.loads((tmp_path / "merged" / "merge.json").read_text())["sources"]
    assert sources["base"]["revision"] == hub.old


def test_a_base_of_another_commit_stays_beside_the_named_one(hub: Hub) -> None:
    hub.point(HUB_ID, hub.new)
    newest = base_folder(NAME, lambda line: None)
    assert newest == cached_base(NAME)
    older = base_folder(NAME, lambda line: None, hub.old)
    assert base_identity(older).revision == hub.old
    assert base_identity(newest).revision == hub.new
    assert base_identity(older).sha256 != base_identity(newest).sha256
    asked = len(hub.asked)
    assert base_folder(NAME, lambda line: None, hub.new) == newest
    assert base_folder(NAME, lambda line: None, hub.old) == older
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
    assert json.loads((run / "run.json").read_text())["base_revision"] == hub.old
    hub.point(HUB_ID, hub.new)
    code, _, said = run_verb("train", "--resume", *settings)
    assert code == 0, said
    assert hub.asked[-1] == hub.old
    # A folder of the newer weights in its place is another base.
    other = base_folder(f"{HUB_ID}@{hub.new}", lambda line: None)
    code, _, said = run_verb("train", "--resume", *settings, f"base={other}")
    assert code == 2
    assert "base_sha256" in said


@pytest.mark.slow  # two exports
def test_a_bundle_names_the_commit_of_its_base(
    hub: Hub, tmp_path: Path, run_verb: Callable[..., tuple[int, str, str]]
) -> None:
    base = base_folder(NAME, lambda line: None)
    adapter = make_adapter(base, tmp_path / "adapter", within="language_model.model.layers")
    hub.point(HUB_ID, hub.new)  # Another machine, after the branch has moved.
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
        assert hub.asked[-1] == hub.old
        sources = json.loads((out / "manifest.json").read_text())["sources"]
        assert (sources["base"], sources["base_revision"]) == (NAME, hub.old)
