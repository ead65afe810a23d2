"""Whatever a verb writes, it replaces only what is its own; odd places are refused first."""

from __future__ import annotations

import json
import os
import typing
from pathlib import Path

import pytest
import typer
from made_history import write_history

from hydra_mobile.cli.main import app
from hydra_mobile.cli.places import FilePlace, FolderPlace
from hydra_mobile.core.own_files import LOG

#: Options of results whose names differ.
_NAMES = {"out", "log", "report"}


def options(group: typer.Typer, path: tuple[str, ...] = ()):
    """Yield (words of the verb, name of the option, parser) for every option that names a result.

    Every verb has the option --log.
    """
    for command in group.registered_commands:
        for name, hint in command.callback.__annotations__.items():
            found = hint.__metadata__[0] if typing.get_origin(hint) is typing.Annotated else None
            yield (*path, command.name), name, getattr(found, "parser", None)
    for inner in group.registered_groups:
        yield from options(inner.typer_instance, (*path, inner.name))


ALL = [each for each in options(app) if each[1] in _NAMES - {"log"}]
PLACES = [(" ".join(verb), f"--{name}", parser) for verb, name, parser in ALL]
FOLDERS = [each for each in PLACES if isinstance(each[2], FolderPlace)]
FILES = [each for each in PLACES if isinstance(each[2], FilePlace)]
FILES.append(("config list", "--log", FilePlace(LOG)))


def test_every_option_of_a_result_knows_what_may_be_there():
    assert len(FOLDERS) > 12
    assert len(FILES) > 4
    assert len(FOLDERS) + len(FILES) == len(PLACES) + 1, (
        "an option without FolderPlace or FilePlace"
    )


def named(cases):
    return [f"{verb} {option}" for verb, option, _ in cases]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


@pytest.fixture
def refused(run_verb, tmp_path, monkeypatch):
    """Call a verb with a place; it must name the option or the place and leave all as it was."""
    monkeypatch.chdir(tmp_path)

    def call(verb: str, option: str, place: str, *words: str) -> str:
        before = contents(tmp_path)
        code, out, err = run_verb(*verb.split(), option, place)
        assert code == 2, err
        assert "Traceback" not in out + err
        assert len(err) < 1500
        for word in words or (option,):
            assert word in err, err
        assert contents(tmp_path) == before
        return err

    return call


# Names that others use too, with other content.
FOREIGN = {
    "manifest.json": '{"name": "a web app", "start_url": "/"}',
    "report.json": '{"income": 3}',
    "import.json": "{}",
    "run.json": '{"miles": 26}',
    "config.yaml": "# mine",
    "processor_config.json": "{}",
    "thesis.txt": "precious",
}


@pytest.mark.parametrize(("verb", "option", "parser"), FOLDERS, ids=named(FOLDERS))
def test_a_folder_of_somebody_else_is_refused_and_kept(verb, option, parser, refused, tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    for name, text in FOREIGN.items():
        (folder / name).write_text(text)
    (tmp_path / "link").symlink_to("models")
    refused(verb, option, "models", "models")
    refused(verb, option, "models/", "models")
    refused(verb, option, "link", "link")
    refused(verb, option, ".", "models")
    refused(verb, option, "models/thesis.txt", "thesis.txt")


@pytest.mark.parametrize(("verb", "option", "parser"), FILES, ids=named(FILES))
def test_a_file_of_somebody_else_is_refused_and_kept(verb, option, parser, refused, tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ("thesis.svg", "thesis.json", "thesis"):
        (tmp_path / name).write_text('<svg xmlns="http://www.w3.org/2000/svg"><path/></svg>')
        refused(verb, option, name, name)
    (tmp_path / "link.svg").symlink_to("thesis.svg")
    refused(verb, option, "link.svg", "thesis.svg")
    refused(verb, option, "folder", "folder")
    refused(verb, option, "new/", "new")
    refused(verb, option, ".", "folder")


@pytest.mark.parametrize(
    ("verb", "option", "parser"), FOLDERS + FILES, ids=named(FOLDERS) + named(FILES)
)
def test_a_place_that_cannot_be_written_is_refused_first(
    verb, option, parser, refused, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "nowhere").symlink_to("unmounted/disk")
    (tmp_path / "loop").symlink_to("loop")
    refused(verb, option, "")
    refused(verb, option, "  ")
    refused(verb, option, "a" * 300, option, "255")
    refused(verb, option, "two\nlines", option, "two\\nlines")
    refused(verb, option, "half\udc80", option)
    refused(verb, option, "file/below", option, "file")
    refused(verb, option, "nowhere", option, "nowhere")
    refused(verb, option, "nowhere/below", option, "nowhere")
    refused(verb, option, "loop", option, "loop")
    locked = tmp_path / "locked"
    locked.mkdir()
    # Permissions do not bind the superuser, who runs tests in containers.
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked and real(path, mode))
    refused(verb, option, "locked/new", option, "locked")


@pytest.mark.parametrize("verb", ["runs plot", "ranks plot", "data convert"])
def test_the_same_command_replaces_what_it_wrote_and_nobody_changed(
    verb, run_verb, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    turns = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "a cat"}]
    (tmp_path / "d.json").write_text(json.dumps([{"conversations": turns}]))
    source = "d.json" if verb == "data convert" else "run"
    write_history(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "run" / "config.yaml").write_text("base: tiny\n")
    (tmp_path / "run" / "metrics.jsonl").write_text('{"stage": "stage2", "step": 1, "loss": 2.0}\n')
    out = "new.json" if verb == "data convert" else "new.svg"
    for _ in range(2):
        code, _, err = run_verb(*verb.split(), source, "--out", out)
        assert code == 0, err
    (tmp_path / out).write_text("precious")
    code, _, err = run_verb(*verb.split(), source, "--out", out)
    assert code == 2
    assert out in err
    assert (tmp_path / out).read_text() == "precious"


def test_a_new_run_takes_no_folder_of_somebody_else(run_verb, tmp_path, tiny_settings):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("# mine")
    code, _, err = run_verb("train", *tiny_settings)
    assert code == 2
    assert "config.yaml" in err
    assert contents(tmp_path / "run") == {"config.yaml": b"# mine"}


@pytest.mark.slow
def test_force_replaces_a_bundle_for_another_runtime(run_verb, tmp_path):
    bundle = tmp_path / "b"
    bundle.mkdir()
    manifest = {"target": "ios", "runtime": "coreml", "preset": {"name": "int8"}}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    limits = ("--preset", "fp32", "--max-context", 64, "--max-prefill", 16)
    export = ("export", "tiny", "--target", "onnx", *limits, "--out", bundle)
    code, _, err = run_verb(*export)
    assert code == 2
    assert "--force" in err
    code, _, err = run_verb(*export, "--force")
    assert code == 0, err
    assert json.loads((bundle / "manifest.json").read_text())["runtime"] == "onnx"
