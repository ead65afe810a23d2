"""Makes what a page presupposes: data, pictures, trained runs, bundles, results; all of `tiny`.

A thing is a function that fills a path. What takes seconds is made once a session and copied.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import benchmark_tree
import data_forms
import yaml
from bundle_fixtures import Exported, Once
from PIL import Image

#: Settings of a short run into a folder.
Settings = Callable[[Path], list[str]]


@dataclass(frozen=True)
class Source:
    """What things are made from: fixtures of the session."""

    once: Once
    settings: Settings
    shapes: Path
    exported: Exported
    smolvlm: Path

    def run(self, seed: int = 0) -> Path:
        """Return a finished run; other seeds train other adapters."""
        from hydra_mobile.config import load_config
        from hydra_mobile.training.run import TrainingRun

        def fill(folder: Path) -> None:
            TrainingRun(load_config(None, [*self.settings(folder), f"seed={seed}"])).train()

        return self.once(f"documented-run-{seed}", fill)

    def merged_run(self) -> Path:
        """Return a finished run with its merged model inside."""
        import hydra_mobile as hm

        def fill(folder: Path) -> None:
            shutil.copytree(self.run(), folder)
            hm.merge(folder, log=lambda line: None)

        return self.once("documented-merged-run", fill)


Thing = Callable[[Source, Path], object]


def run(source: Source, path: Path) -> None:
    """A finished run."""
    shutil.copytree(source.run(), path)


def another_run(source: Source, path: Path) -> None:
    """A run whose adapter is another one."""
    shutil.copytree(source.run(seed=1), path)


def merged_run(source: Source, path: Path) -> None:
    """A finished run that was exported or merged before."""
    shutil.copytree(source.merged_run(), path)


def adapter(source: Source, path: Path) -> None:
    shutil.copytree(source.run() / "adapter", path)


def small_bundle(source: Source, path: Path) -> None:
    """A bundle of the base that other tests read too."""
    shutil.copytree(source.exported("onnx", "fp32"), path)


def bundle(runtime: str, preset: str) -> Thing:
    """A bundle of the run, with the usual context."""

    def make(source: Source, path: Path) -> None:
        import hydra_mobile as hm

        def fill(folder: Path) -> None:
            options = {"runtime": runtime, "preset": preset, "out": folder}
            hm.export(source.merged_run(), "android", **options, log=lambda line: None)

        shutil.copytree(source.once(f"documented-{runtime}-{preset}", fill), path)

    return make


def _records(source: Source) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((source.shapes / "questions.json").read_text("utf-8"))
    return found[:20]


def pictures(source: Source, path: Path) -> None:
    """The drawings that the records name."""
    path.mkdir(parents=True)
    for picture in source.shapes.glob("*.png"):
        shutil.copy(picture, path)


def photo(source: Source, path: Path) -> None:
    Image.open(source.shapes / "0.png").save(path)


def records(source: Source, path: Path) -> None:
    """LLaVA's json, which names `0.png`."""
    path.write_text(json.dumps(_records(source)), "utf-8")


def records_of_images(source: Source, path: Path) -> None:
    """LLaVA's json, which names `images/0.png`."""
    found = [record | {"image": f"images/{record['image']}"} for record in _records(source)]
    path.write_text(json.dumps(found), "utf-8")


def logs(source: Source, path: Path) -> None:
    """What commands leave in the cache."""
    path.mkdir(parents=True)
    (path / "train.log").write_text("a line\n", "utf-8")


def original(source: Source, path: Path) -> None:
    """A checkpoint in MobileVLM's layout."""
    from original_checkpoints import write_original

    write_original(path, "ldpnet")


def imported(source: Source, path: Path) -> None:
    """A base that was imported from such a checkpoint."""
    from hydra_mobile.models.checkpoints.importing import import_checkpoint

    original(source, path.with_name("before-import"))
    import_checkpoint(str(path.with_name("before-import")), path, log=lambda line: None)


def messages(source: Source, path: Path) -> None:
    """The tutorial's jsonl, which names `images/0.png`."""
    lines = []
    for record in _records(source):
        asked, said = (turn["value"] for turn in record["conversations"])
        turns = [("user", asked.removeprefix("<image>\n")), ("assistant", said)]
        talk = [{"role": role, "content": text} for role, text in turns]
        lines.append({"messages": talk, "images": [f"images/{record['image']}"]})
    _write_lines(path, lines)


def test_set(source: Source, path: Path) -> None:
    """Questions of one's own, as docs/own_benchmark.md has them."""
    lines = []
    for number, record in enumerate(_records(source)[:10]):
        asked, said = (turn["value"] for turn in record["conversations"])
        question, image = asked.removeprefix("<image>\n"), f"images/{record['image']}"
        lines.append({"id": f"q{number}", "question": question, "image": image, "answer": said})
    _write_lines(path, lines)


def answers_to_test_set(source: Source, path: Path) -> None:
    ids = [f"q{number}" for number in range(10)]
    _write_lines(path, [{"question_id": name, "text": "red"} for name in ids])


def parquet(source: Source, path: Path) -> None:
    """Conversations with their pictures inside."""
    shown = path.with_name("shown")
    shown.mkdir()
    data_forms.draw(shown)
    data_forms.write_parquet(path, shown)


def columns(source: Source, path: Path) -> None:
    """A table of questions with the columns `q`, `a` and `picture`."""
    import pyarrow
    import pyarrow.parquet

    rows = []
    for record in _records(source):
        asked, said = (turn["value"] for turn in record["conversations"])
        picture = {"bytes": (source.shapes / record["image"]).read_bytes(), "path": record["image"]}
        rows.append({"q": asked.removeprefix("<image>\n"), "a": said, "picture": picture})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def benchmark_data(source: Source, path: Path) -> None:
    """The official folders of the six benchmarks, with questions made up."""
    benchmark_tree.build_tree(path, benchmark_tree.PICTURES, questions=6)


def emojiqa(source: Source, path: Path) -> None:
    """EmojiQA's test sets, and records of training under the names that it gives them."""
    benchmark_tree.emojiqa(path, benchmark_tree.PICTURES)
    shutil.copytree(source.shapes, path, dirs_exist_ok=True)
    for stage, file in (("stage1", "captions.json"), ("stage2", "questions.json")):
        shutil.copy(source.shapes / file, path / f"train_{stage}.json")


def pope_answers(source: Source, path: Path) -> None:
    """An answer to each question of POPE as `benchmark_data` has it."""
    lines = []
    for file in sorted(path.with_name("benchmark_data").rglob("llava_pope_test.jsonl")):
        for line in file.read_text("utf-8").splitlines():
            lines.append({"question_id": json.loads(line)["question_id"], "text": "yes"})
    _write_lines(path, lines)


def config(source: Source, path: Path) -> None:
    """A configuration of one's own: a short run."""
    tree: dict[str, Any] = {}
    for setting in source.settings(path.with_name("run")):
        key, _, value = setting.partition("=")
        *sections, name = key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = yaml.safe_load(value)
    path.write_text(yaml.safe_dump(tree), "utf-8")


def smolvlm(source: Source, path: Path) -> None:
    shutil.copytree(source.smolvlm, path)


def _write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def separate(source: Source, path: Path) -> None:
    """A bundle of the base with an adapter beside it."""
    import hydra_mobile as hm

    def fill(folder: Path) -> None:
        hm.export(
            source.merged_run(), "onnx", preset="fp32", adapter="separate", out=folder,
            log=lambda line: None,
        )  # fmt: skip

    shutil.copytree(source.once("documented-separate", fill), path)


def report(source: Source, path: Path) -> None:
    """Results of two questions on the base."""
    import hydra_mobile as hm

    def fill(folder: Path) -> None:
        data = folder.with_name("documented-report-data")
        benchmark_data(source, data)
        hm.evaluate(["tiny"], ["pope"], data=data, limit=2, out=folder, log=lambda line: None)

    shutil.copytree(source.once("documented-report", fill), path)
