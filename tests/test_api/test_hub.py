"""Models go to the hub and are opened by hub id, against a stand-in of the hub's client."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from local_hub import LocalHub, files_in
from parity_chain import make_adapter

import hydra_mobile as hm
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.runtimes.hub_models import resolved

Verb = Callable[..., tuple[int, str, str]]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalHub:
    made = LocalHub(tmp_path / "hub")
    made.install(monkeypatch)
    # What is made of a model of the hub goes to the working directory.
    monkeypatch.chdir(tmp_path)
    return made


@pytest.fixture(scope="session")
def adapter(once: Callable[..., Path], tiny_base: Path) -> Path:
    return once("hub_adapter", lambda folder: make_adapter(tiny_base, folder))


def test_a_bundle_comes_back_as_it_went(
    hub: LocalHub, exported: Callable[..., Path], shapes_data: Path
) -> None:
    bundle = exported("onnx")
    pushed = hm.push(bundle, "me/small", private=True, log=lambda line: None)
    there = hub.files("me/small")
    assert hub.repositories["me/small"].private
    manifest = hm.Bundle.open(bundle).manifest
    assert set(there) == {*manifest["files"], "manifest.json", "README.md", ".gitattributes"}
    assert there["README.md"].startswith(b"---")  # the hub reads a card's first lines
    picture = shapes_data / "0.png"
    for reference in ("me/small", "me/small@main", pushed.reference):
        model = hm.load(reference)
        assert model.kind == "bundle"
        assert next(model.path.glob("*.onnx")).is_symlink()
    assert model.ask(picture, "What is it?").ids == hm.load(bundle).ask(picture, "What is it?").ids
    # Without a network, what was fetched is still there.
    hub.online = False
    assert hm.load("me/small").path == model.path


@pytest.mark.slow
def test_every_step_takes_a_hub_id(
    hub: LocalHub, exported: Callable[..., Path], run_verb: Verb
) -> None:
    bundle = exported("onnx")
    hub.add("me/small", files_in(bundle))
    memory = hm.estimate("me/small")
    assert memory.to_dict()["bytes"] == hm.estimate(bundle).to_dict()["bytes"]
    assert hm.verify("me/small", log=lambda line: None).passed
    for verb in ("estimate", "bundle show", "devices list"):
        code, out, err = run_verb(*verb.split(), "me/small", "--json")
        assert code == 0, err
        assert json.loads(out)["ok"]
    code, _, err = run_verb("verify", "me/small")
    assert code == 0, err


def test_a_file_that_was_altered_on_the_way_is_found(
    hub: LocalHub, exported: Callable[..., Path]
) -> None:
    files = files_in(exported("onnx"))
    program = next(name for name in files if name.endswith(".onnx"))
    hub.add("me/small", files | {program: files[program][:-1] + b"x"})
    with pytest.raises(ArtifactError, match=program):
        hm.load("me/small")


def test_an_adapter_is_merged_from_the_hub_and_pushed_merged(
    hub: LocalHub, adapter: Path, tmp_path: Path, run_verb: Verb
) -> None:
    code, out, err = run_verb("push", adapter, "me/lora", "--json")
    assert code == 0, err
    reference = json.loads(out)["result"]["reference"]
    assert "adapter_model.safetensors" in hub.files("me/lora")
    code, _, err = run_verb("merge", reference, "--push", "me/whole")
    assert code == 0, err
    # Beside nothing in the hub's cache, which is not ours.
    merged = tmp_path / "lora-merged"
    assert (merged / "merge.json").is_file()
    assert not list((tmp_path / "hub").rglob("merge.json"))
    assert hm.load("me/whole").kind == "merged"
    unmerged = hm.merge(adapter, tmp_path / "direct", log=lambda line: None)
    assert (merged / "model.safetensors").read_bytes() == (
        unmerged / "model.safetensors"
    ).read_bytes()


def test_an_older_model_of_the_same_kind_is_replaced_whole(
    hub: LocalHub, adapter: Path, run_verb: Verb
) -> None:
    older = files_in(adapter) | {"old.safetensors": b"x", "LICENSE": b"mine"}
    record = json.loads(older["hydra.json"])
    record["files"]["old.safetensors"] = hashlib.sha256(b"x").hexdigest()
    older["hydra.json"] = json.dumps(record).encode()
    hub.add("me/lora", older)
    hm.push(adapter, "me/lora", revision="v2", log=lambda line: None)
    assert "old.safetensors" in hub.files("me/lora")
    assert "old.safetensors" not in hub.files("me/lora", "v2")
    assert hub.files("me/lora", "v2")["LICENSE"] == b"mine"
    hub.add("me/data", {"train.parquet": b"x"})
    code, _, err = run_verb("push", adapter, "me/data")
    assert code == 2
    assert "train.parquet" in err
    assert hub.files("me/data") == {"train.parquet": b"x"}


@pytest.mark.parametrize(
    ("kind", "foreign"),
    [
        # The record of a program of another kind, with a name that is common.
        ("bundle", {"manifest.json": b'{"name": "my site", "icons": []}', "index.html": b"x"}),
        ("bundle", {"manifest.json": b"not JSON", "index.html": b"x"}),
        ("adapter", {"hydra.json": b"[" * 100_000, "notes.txt": b"x"}),
        ("adapter", {"adapter_config.json": b"{}", "diary.txt": b"x"}),
        # Somebody's own file beside an older model of ours.
        ("adapter", {"train[1].parquet": b"x"}),
        ("bundle", {"pictures/me.png": b"x"}),
    ],
)
def test_files_of_others_in_a_repository_stay(
    kind: str, foreign: dict[str, bytes], hub: LocalHub, adapter: Path,
    exported: Callable[..., Path], run_verb: Verb,
) -> None:  # fmt: skip
    model = adapter if kind == "adapter" else exported("onnx")
    held = foreign if any(name.endswith(".json") for name in foreign) else files_in(model) | foreign
    hub.add("me/mine", held)
    code, _, err = run_verb("push", model, "me/mine")
    assert code == 2
    assert "me/mine" in err
    assert hub.files("me/mine") == held


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"user": ""}, "hf auth login"),
        ({"user": "other"}, "me/lora"),
        ({"online": False}, "network"),
    ],
)
def test_a_push_that_is_refused_says_what_to_do(
    hub: LocalHub, adapter: Path, change: dict[str, object], said: str
) -> None:
    for name, value in change.items():
        setattr(hub, name, value)
    with pytest.raises(HydraError, match=said):
        hm.push(adapter, "me/lora", log=lambda line: None)


def test_a_base_and_an_altered_adapter_are_not_pushed(
    hub: LocalHub, adapter: Path, tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match="base"):
        hm.push(tiny_base, "me/tiny", log=lambda line: None)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, content in files_in(adapter).items():
        (copy / name).write_bytes(content)
    (copy / "projector.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ArtifactError, match="projector"):
        hm.push(copy, "me/lora", log=lambda line: None)
    assert not hub.repositories


def test_a_push_that_cannot_be_is_told_before_the_work(
    hub: LocalHub, tiny_settings: list[str], tmp_path: Path, run_verb: Verb
) -> None:
    hub.user = ""
    code, _, err = run_verb("train", *tiny_settings, "--push", "me/lora")
    assert code == 2
    assert "logged in" in err
    assert not (tmp_path / "run" / "run.json").exists()
    code, _, err = run_verb("train", *tiny_settings, "--push", "no-owner")
    assert code == 2
    assert "OWNER/NAME" in err


@pytest.mark.parametrize("verb", ["merge", "export", "estimate", "verify", "bench", "evaluate"])
def test_a_path_that_is_not_there_is_said_to_be_neither(
    hub: LocalHub, run_verb: Verb, verb: str
) -> None:
    code, _, err = run_verb(verb, "rnus/emojiqa")
    assert code == 2
    assert "rnus/emojiqa is no folder here" in " ".join(err.split())
    assert "hub" in err


def test_a_path_in_a_folder_that_is_there_is_never_looked_up(
    hub: LocalHub, tmp_path: Path, run_verb: Verb
) -> None:
    (tmp_path / "runs" / "emojiqa").mkdir(parents=True)
    code, _, err = run_verb("merge", "runs/emojiqas")
    assert code == 2
    assert "runs/emojiqa?" in err
    assert "hub" not in err
    assert not hub.asked


def test_a_revision_that_is_not_there_is_named(hub: LocalHub, adapter: Path) -> None:
    hub.add("me/lora", files_in(adapter))
    with pytest.raises(HydraError, match="revision"):
        hm.load("me/lora@v9")


def test_a_download_that_broke_off_is_no_model_and_goes_on(
    hub: LocalHub, exported: Callable[..., Path], run_verb: Verb
) -> None:
    hub.add("me/small", files_in(exported("onnx")))
    hub.breaks_after = 3
    for _ in range(2):
        code, _, err = run_verb("bundle", "show", "me/small")
        assert code == 2
        assert "the network is gone" in " ".join(err.split())
    hub.breaks_after = None
    assert run_verb("bundle", "show", "me/small")[0] == 0
    # Later without a network, or with a repository that is gone: that, and it is said.
    hub.online = False
    lines: list[str] = []
    assert resolved("me/small", lines.append)
    assert any("fetched before" in line for line in lines)
