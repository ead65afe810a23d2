"""Records for an export, spread evenly over data of any size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hydra_export.training_data import TrainingData, of_run
from hydra_mobile.core.errors import ArtifactError


@pytest.mark.parametrize("records", [1, 3, 4, 5, 16, 17, 1000])
def test_conversations_are_spread_over_the_data(tmp_path, records):
    file = tmp_path / "data.jsonl"
    with file.open("w") as handle:
        for number in range(2 * records):
            # Every second one has no picture.
            picture = {"image": f"{number // 2}.png"} if number % 2 else {}
            turns = [{"from": "human", "value": "<image>What?" if picture else "Hi"}]
            turns.append({"from": "gpt", "value": "Ho"})
            handle.write(json.dumps({"conversations": turns, **picture}) + "\n")
    found = [int(record.image.stem) for record in TrainingData(file).pictured(4)]
    assert len(found) == min(4, records)
    assert found == sorted(set(found))
    assert found[0] == 0
    gaps = [later - earlier for earlier, later in zip(found, [*found[1:], records], strict=True)]
    assert max(gaps) - min(gaps) <= max(1, records // 4)


def test_data_of_a_run_are_where_its_record_says(tmp_path):
    data = tmp_path / "mine.jsonl"
    settings = {"stage2": str(data), "images": str(tmp_path / "pictures")}
    (tmp_path / "run.json").write_text(json.dumps({"config": {"data": settings}}))
    assert of_run(tmp_path) is None
    data.write_text("")
    for place in (tmp_path, tmp_path / "merged"):
        found = of_run(place)
        assert found is not None
        assert (found.file, found.images) == (data, tmp_path / "pictures")
    assert of_run(tmp_path / "elsewhere" / "merged") is None


@pytest.mark.parametrize(
    "config",
    [
        *([], {}, {"data": []}, {"data": {}}, {"data": {"stage2": ["x"], "images": ""}}),
        *({"data": {"stage2": "x", "images": 5}}, {"data": {"stage2": "x" * 5000, "images": ""}}),
        {"data": {"stage2": "x", "images": "", "columns": ["a"]}},
    ],
)
def test_a_record_of_an_earlier_version_that_was_altered_is_named(
    config: object, tmp_path: Path
) -> None:
    """Records of today have a seal; those of earlier versions have none."""
    (tmp_path / "run.json").write_text(json.dumps({"config": config}))
    with pytest.raises(ArtifactError, match=r"run\.json"):
        of_run(tmp_path)
