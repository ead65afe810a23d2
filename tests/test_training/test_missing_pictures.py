"""A picture that is missing or damaged is found before the first step, whatever is kept on disk."""

from __future__ import annotations

import json
import shutil

import pytest

from hydra_mobile.config import load_config
from hydra_mobile.core.errors import DataError
from hydra_mobile.training.run import TrainingRun


@pytest.fixture
def images(shapes_data, tmp_path):
    """The pictures, without number 3 and with half of number 4."""
    folder = tmp_path / "images"
    shutil.copytree(shapes_data, folder)
    (folder / "3.png").unlink()
    cut = folder / "4.png"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    return folder


def train(settings, images, *more):
    fixed = [f"data.images={images}", "runtime.vision_cache=false", "data.bad_records=drop"]
    lines = []
    run = TrainingRun(load_config(None, [*settings, *fixed, *more]), lines.append)
    run.train()
    return run, lines


def test_the_run_stops_before_its_first_step_and_can_be_corrected(
    run_settings, images, shapes_data, tmp_path
):
    settings = run_settings(tmp_path / "run")
    with pytest.raises(DataError, match=r"2 of 12 images .*3\.png .*4\.png"):
        train(settings, images)
    assert not (tmp_path / "run" / "run.json").exists()
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    # The same command with the right folder is a new start.
    for name in ("3.png", "4.png"):
        shutil.copy(shapes_data / name, images)
    train(settings, images, "stage1.steps=1", "stage2.steps=1", "ranks.policy=uniform")
    assert (tmp_path / "run" / "adapter").is_dir()


@pytest.mark.slow
def test_dropped_they_are_counted_and_the_rest_is_trained(run_settings, images, tmp_path):
    more = ["data.bad_pictures=drop", "stage1.steps=1", "stage2.steps=0", "stage2.epochs=1"]
    run, lines = train(run_settings(tmp_path / "run"), images, *more, "ranks.policy=uniform")
    assert any("6 left out because their image is missing or damaged" in line for line in lines)
    rows = run.data.rows["stage2"]
    assert not {images / "3.png", images / "4.png"} & set(rows.images())
    assert len(rows.images()) == 10
    assert {image for row in rows for image in row.images} == set(rows.images())
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["conversations"]["stage2"] == 30


def test_no_picture_at_all_is_no_data(run_settings, tmp_path):
    with pytest.raises(DataError, match="12 of 12"):
        train(run_settings(tmp_path / "run"), tmp_path / "nowhere", "data.bad_pictures=drop")
