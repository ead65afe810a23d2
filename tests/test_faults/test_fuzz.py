"""Our parsers on altered files: an error of ours or a value, never an error of a library's.

Time-bounded: some tenths of a second for each reader every day, and longer among the slow tests.
A failure prints the seed of the file that showed it.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.benchmarks.shared.tab_separated import read_rows
from hydra_mobile.benchmarks.shared.xlsx import read_sheet, write_sheet
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.config import TrainConfig, load_config
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.safetensors_io import places, read_tensor
from hydra_mobile.core.yaml_io import load_yaml
from hydra_mobile.data.json_stream import JsonRecords
from hydra_mobile.evaluation.store.prediction_log import read_answers
from hydra_mobile.models.checkpoints.weights import WeightFiles
from hydra_mobile.reporting.write import read_report
from hydra_mobile.training.metrics import MetricsFile

_TOKENS = (
    b"[", b"]", b"{", b"}", b'"', b":", b",", b"\\", b"\n", b"\t", b"\0", b"\xff", b"\xed\xa0\xbd",
    b"\\ud83d", b"NaN", b"null", b"true", b"-1", b"0.5", b"1e999", b"9" * 5000, b"[" * 3000,
    b"&a [*a]", b"<<:", b"!!python/x", b"../x", b"2020-99-99",
)  # fmt: skip


def altered(seed_file: bytes, rng: random.Random) -> bytes:
    """Return a file with one to four faults of the kinds that disks, editors and attackers make."""
    data = bytearray(seed_file)
    for _ in range(rng.randint(1, 4)):
        at, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[at - 1] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at : min(end, at + 40)]
        elif kind == 2:
            data[at:at] = rng.choice(_TOKENS)
        elif kind == 3:
            data[at : min(end, at + 8)] = rng.choice(_TOKENS)
        elif kind == 4:
            data[at:at] = data[at : min(end, at + 200)]
        else:
            del data[at:]
    return bytes(data)


def manifest() -> dict[str, Any]:
    template = {"name": "t", "start": "", "user_prefix": "U", "image_suffix": "\n",
                "user_suffix": "", "answer_prefix": "A", "answer_suffix": "</s>",
                "turn_suffix": ""}  # fmt: skip
    preset = dict.fromkeys(("vision", "projector", "embedding", "decoder", "head"), "fp32")
    return {
        "schema": 1, "target": "desktop", "runtime": "onnx", "preset": {"name": "fp32", **preset},
        "files": {"a.txt": {"role": "program", "bytes": 1, "sha256": "0" * 64}},
        "template": template, "image": {}, "limits": {"max_context": 80, "max_prefill": 16},
        "shapes": {"vocab_size": 8, "image_token_id": 1, "num_image_tokens": 4}, "versions": {},
        "sources": {}, "details": {}, "fallbacks": [],
    }  # fmt: skip


def opened(file: Path) -> None:
    (file.parent / "a.txt").write_text("x")
    bundle = Bundle.open(file.parent)
    bundle.preset, bundle.limits, bundle.size_bytes, bundle.peak_bytes  # noqa: B018
    bundle.file("program")


def tensors(file: Path) -> None:
    for name in places(file):
        read_tensor(file, name)


def overridden(file: Path) -> None:
    load_config(None, [file.read_bytes().decode("utf-8", "surrogateescape")])


def histories(file: Path) -> None:
    RankHistory(file).final_map()


def weights(file: Path) -> None:
    files = WeightFiles(file.parent)
    for name in files.forms:
        files.read(name)


def as_json(value: Any) -> Callable[[Path], None]:
    return lambda file: file.write_text(json.dumps(value), encoding="utf-8") and None


def _records() -> list[dict[str, Any]]:
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "é 1.5e3"}]
    return [{"id": str(i), "image": "a.png", "n": [i, 0.5], "conversations": turns} for i in (0, 1)]


def _lines(*values: Any) -> Callable[[Path], None]:
    return lambda file: file.write_text("".join(json.dumps(v) + "\n" for v in values)) and None


def _safetensors(file: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.bfloat16)}, str(file))


def _report(file: Path) -> None:
    from hydra_mobile.reporting.environment import collect
    from hydra_mobile.reporting.write import new_report, write_report

    write_report(new_report("fuzz", collect()), file.parent)


def _config(file: Path) -> None:
    import yaml

    file.write_text(yaml.safe_dump(TrainConfig().to_dict(), sort_keys=False))


READERS: dict[str, tuple[str, Callable[[Path], object], Callable[[Path], object]]] = {
    "records": ("d.json", as_json(_records()), lambda file: list(JsonRecords(file))),
    "record lines": ("d.jsonl", _lines(*_records()), lambda file: list(JsonRecords(file))),
    "config": ("c.yaml", _config, load_config),
    "override": ("o", lambda f: f.write_text("stage2.learning_rate=1e-4"), overridden),
    "table": ("t.tsv", lambda f: f.write_text('a\tb\n1\t"x ""y""\n"\n'), lambda f: [*read_rows(f)]),
    "workbook": ("w.xlsx", lambda f: write_sheet(f, [["a", 1], ["b", None]]), read_sheet),
    "manifest": ("manifest.json", as_json(manifest()), opened),
    "metrics": (
        "metrics.jsonl",
        _lines({"stage": "stage2", "step": 1, "loss": 0.5}, {"stage": "stage2", "step": 2}),
        lambda file: MetricsFile(file).keep_until("stage2", 1),
    ),
    "report": ("report.json", _report, read_report),
    "answers": (
        "answers.jsonl",
        _lines({"key": "a", "index": 0, "text": "yes", "tokens": 3}),
        lambda file: list(read_answers(file)),
    ),
    "rank map": ("r.json", lambda f: RankMap({"a.b": 8, "a.c": 4}).write(f), RankMap.read),
    "rank history": (
        "ranks.jsonl",
        lambda f: RankHistory(f).append(
            {"event": "initial", "step": 0, "ranks": {"a": 8}, "digest": RankMap({"a": 8}).digest()}
        ),
        histories,
    ),
    "tensors": ("t.safetensors", _safetensors, tensors),
    "weights": ("model.safetensors", _safetensors, weights),
    "pickled weights": (
        "pytorch_model.bin",
        lambda file: torch.save({"a": torch.ones(2, 3)}, file),
        weights,
    ),
    "index": (
        "model.safetensors.index.json",
        as_json({"weight_map": {"a": "m.safetensors", "b": "n.safetensors"}}),
        weights,
    ),
}


def fuzz(name: str, folder: Path, seconds: float, first_seed: int = 0) -> int:
    file_name, make, read = READERS[name]
    file = folder / file_name
    make(file)
    whole = file.read_bytes()
    until, seed = time.monotonic() + seconds, first_seed
    while time.monotonic() < until:
        data = altered(whole, random.Random(f"{name}:{seed}"))
        file.write_bytes(data)
        began = time.monotonic()
        said = ""
        try:
            read(file)
        except HydraError as error:
            said = str(error)
        except Exception as error:
            raise AssertionError(f"{name}, seed {seed}: {error!r} of {data[:300]!r}") from error
        # What is printed is a page, not the file.
        assert len(said) < 20_000, f"{name}, seed {seed}"
        assert time.monotonic() - began < 30, f"{name}, seed {seed}: took too long"
        seed += 1
    return seed - first_seed


@pytest.mark.parametrize("name", READERS)
def test_altered_files_give_errors_of_ours(name: str, tmp_path: Path) -> None:
    if name == "workbook":
        pytest.importorskip("openpyxl")
    assert fuzz(name, tmp_path, 0.4)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_altered_files_give_errors_of_ours_for_longer(name: str, tmp_path: Path) -> None:
    if name == "workbook":
        pytest.importorskip("openpyxl")
    assert fuzz(name, tmp_path, 20, first_seed=1_000_000)


@pytest.mark.parametrize(
    "text",
    ["a: 1\na: 2", "a: {b: 1, b: 2}", "? [1, 2]\n: 3", "a: &a [*a]", "[" * 3000, "a: !!python/x 1"],
)
def test_yaml_that_a_person_did_not_mean_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(HydraError, match=r"c\.yaml"):
        load_config(tmp_path / "c.yaml")


def test_yaml_aliases_do_not_unfold_without_end() -> None:
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for one, other in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{other}: &{other} [{', '.join([f'*{one}'] * 10)}]")
    with pytest.raises(ValueError, match="100000"):
        load_yaml("\n".join(lines))


def test_texts_are_no_structure_to_the_bounds_of_json(tmp_path: Path) -> None:
    record = {"id": "9" * 5000 + '\\"' + "[" * 200, "n": [0.5, 12]}
    file = tmp_path / "d.json"
    file.write_text(json.dumps([record] * 40))
    assert [place.value["id"] for place in JsonRecords(file)] == [record["id"]] * 40


@pytest.mark.parametrize("inside", ["9" * 4301, "[" * 12_000 + "]" * 12_000])
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_what_parsers_of_json_break_on_is_told(inside: str, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"d{suffix}"
    file.write_text(f'[{{"id": {inside}}}]')

    def read() -> None:
        for place in JsonRecords(file):
            if isinstance(place.value, HydraError):
                raise place.value

    with pytest.raises(HydraError, match=r"d\.json"):
        read()
