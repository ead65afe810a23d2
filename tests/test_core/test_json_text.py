"""JSON that every reader accepts."""

from __future__ import annotations

import json
import math
import os

import pytest

from android_demo.tools.vector_json import MARKED, REFUSED, SOUND, within
from hydra_mobile.adapters.history import RankHistory
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.adapters.save_load import read_adapter
from hydra_mobile.benchmarks.base import Benchmark
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.files import read_json, write_json
from hydra_mobile.core.json_text import dumps, loads
from hydra_mobile.core.model_folder import weight_files
from hydra_mobile.data.llava import read_llava
from hydra_mobile.reporting.write import read_report
from hydra_mobile.training.metrics import MetricsFile
from hydra_mobile.training.run_identity import read_record


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_named_by_its_keys(number, tmp_path):
    value = {"scores": [{"value": 1.0}, {"value": number}]}
    with pytest.raises(HydraError, match=rf"scores\[1\]\.value is {number}"):
        write_json(tmp_path / "report.json", value)
    assert list(tmp_path.iterdir()) == []


def test_what_is_finite_is_written_as_the_standard_library_does():
    value = {"b": [1, 2.5, None, True, "ä"], "a": {}}
    assert dumps(value, sort_keys=True) == json.dumps(value, sort_keys=True)
    with pytest.raises(TypeError):
        dumps({"a": object()})


@pytest.mark.parametrize(("name", "text"), SOUND.items())
def test_what_every_reader_takes(name, text):
    assert loads(within(text))["value"] == json.loads(text)


@pytest.mark.parametrize(
    ("name", "text"), [*((n, within(t)) for n, t in REFUSED.items()), *MARKED.items()]
)
def test_what_no_reader_takes(name, text, tmp_path):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(ArtifactError, match=r"a\.json"):
        read_json(tmp_path / "a.json", "a file")


def test_a_pipe_and_a_file_of_gigabytes_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with (tmp_path / "large.json").open("wb") as handle:
        handle.truncate(5_000_000_000)  # no block of it is on the disk
    for name, word in (("pipe.json", "pipe"), ("large.json", "5.0 GB")):
        with pytest.raises(ArtifactError, match=word) as told:
            read_json(tmp_path / name, "a file")
        assert name in told.value.what


TURNS = '"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]'
#: What reads a file of ours or data, its name, and a content that says something twice.
TWICE = {
    "manifest": (Bundle.open, "manifest.json", '{"limits": {"rank": 1, "rank": 2}}'),
    "adapter": (read_adapter, "adapter_config.json", '{"rank": 8, "rank": 16}'),
    "run": (read_record, "run.json", '{"config": {"rank": 1, "rank": 1}}'),
    "report": (read_report, "report.json", '{"rank": 1, "rank": 2}'),
    "rank map": (lambda f: RankMap.read(f / "m.json"), "m.json", '{"rank": 1, "rank": 1}'),
    "history": (
        lambda f: RankHistory(f / "ranks.jsonl").read(),
        "ranks.jsonl", '{"rank": 1, "rank": 2}\n',
    ),
    "metrics": (
        lambda f: MetricsFile(f / "m.jsonl").read(),
        "m.jsonl", '{"stage": "stage2", "step": 1, "rank": 1, "rank": 2}\n',
    ),
    "data": (
        lambda f: list(read_llava(f / "d.json")), "d.json",
        f'[{{{TURNS}}}, {{"meta": [{{"rank": 1, "rank": 2}}], {TURNS}}}]',
    ),
    "lines of data": (
        lambda f: list(read_llava(f / "d.jsonl")),
        "d.jsonl", f'{{"rank": 1, {TURNS}, "rank": 1}}\n',
    ),
    "test set": (
        lambda f: Benchmark.open(str(f / "t.jsonl"), f).samples(),
        "t.jsonl", '{"question": "What?", "answer": "a", "rank": 1, "rank": 2}\n',
    ),
    "test set in a list": (
        lambda f: Benchmark.open(str(f / "t.json"), f).samples(),
        "t.json", '[{"question": "What?", "answer": "a", "rank": 1, "rank": 2}]',
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", TWICE)
def test_a_key_that_is_there_twice_is_named(kind, tmp_path):
    read, name, text = TWICE[kind]
    (tmp_path / name).write_text(text)
    with pytest.raises(HydraError, match=rf"(?s){name}.*'rank'.*twice"):
        read(tmp_path)


def test_a_record_with_a_key_twice_is_one_bad_record(run_verb, tmp_path):
    (tmp_path / "d.json").write_text(f'[{{{TURNS}}}, {{"id": 1, "id": 2, {TURNS}}}, {{{TURNS}}}]')
    code, out, _ = run_verb("data", "check", tmp_path / "d.json")
    assert code == 3
    assert "record 1" in out
    assert "'id'" in out
    assert "3 records" in out


def test_files_of_other_projects_are_read_as_these_read_them(tmp_path):
    # transformers takes the last one as well.
    index = '{"weight_map": {"a": "no.safetensors"}, "weight_map": {"a": "one.safetensors"}}'
    (tmp_path / "model.safetensors.index.json").write_text(index)
    (tmp_path / "one.safetensors").write_bytes(b"")
    assert weight_files(tmp_path) == [tmp_path / "one.safetensors"]
