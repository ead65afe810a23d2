"""Data sets of the hub, against a local repository of the same layout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from data_forms import TALKS, messages

import hydra_mobile as hm
from hydra_mobile.core.errors import DataError

datasets = pytest.importorskip("datasets")


def write_repository(folder: Path) -> Path:
    """A repository with two splits, of conversations without images."""
    talks = [messages(talk) for talk in TALKS if not talk.image]
    for record in talks:
        del record["images"]
    (folder / "data").mkdir(parents=True)
    for split, records in (("train", talks), ("test", talks[:1])):
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / "data" / f"{split}.jsonl").write_text(lines)
    return folder


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`me/talks` at the hub, with the revision v1; everything else is not there."""
    folder = write_repository(tmp_path / "repository")
    real = datasets.load_dataset

    def load(name: str, config: str | None, *, split: str, revision: str | None) -> Any:
        if name != "me/talks" or revision not in (None, "v1"):
            raise datasets.exceptions.DatasetNotFoundError(f"{name} doesn't exist on the Hub")
        return real(str(folder), config, split=split, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize(
    ("name", "records"), [("me/talks", 2), ("me/talks@v1", 2), ("me/talks:test", 1)]
)
def test_its_records_are_read_like_those_of_a_file(
    repository: Path, name: str, records: int
) -> None:
    found = hm.check_data(name)
    assert not found.problems
    assert found.to_dict()["records"] == records
    split = "test" if "test" in name else "train"
    file = hm.check_data(repository / "data" / f"{split}.jsonl")
    assert file.to_dict()["records"] == records


@pytest.mark.parametrize("name", ["me/other", "me/talks@v9", "me/talks:dev", "me/talks#big"])
def test_what_is_not_there_is_named(repository: Path, name: str) -> None:
    with pytest.raises(DataError, match="me/"):
        hm.check_data(name)


def test_a_mistyped_path_is_not_looked_up(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "me").mkdir()
    with pytest.raises(DataError) as refused:
        hm.check_data("me/talks")
    assert "hub" not in str(refused.value)


@pytest.mark.slow
def test_its_identity_is_the_same_in_every_process(tmp_path: Path) -> None:
    write_repository(tmp_path / "me")
    code = (
        "import datasets, sys\n"
        "from hydra_mobile.data.containers.hub import HubDataset, HubId\n"
        "real = datasets.load_dataset\n"
        "datasets.load_dataset = lambda name, config, *, split, revision: "
        "real(sys.argv[1], split=split, cache_dir=sys.argv[2])\n"
        "print(HubDataset(HubId('me/talks', None, None, 'train')).sha256())\n"
    )
    found = []
    # The second process finds the cache of the first, the third has none.
    for cache in ("one", "one", "two"):
        command = [sys.executable, "-c", code, str(tmp_path / "me"), str(tmp_path / cache)]
        environment = {**os.environ, "PYTHONHASHSEED": str(len(found))}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        found.append(done.stdout.strip())
    assert found[0]
    assert len(set(found)) == 1
