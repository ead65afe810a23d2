"""What a run hands on: its template and preprocessing, and a merged model as the next base."""

from __future__ import annotations

import json
import re

import pytest

from hydra_export.merge import merge
from hydra_mobile.adapters.identity import base_identity
from hydra_mobile.config import load_config
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.runtimes.torch import load_artifact
from hydra_mobile.training.run import TrainingRun

SHORT = ("stage2.steps=2", "ranks.policy=uniform", "data.stage1=")


def train(settings, *more):
    return TrainingRun(load_config(None, [*settings, *more])).train()


@pytest.fixture
def cropped(run_settings, tmp_path):
    return train(run_settings(tmp_path / "run"), *SHORT, "stage2.image_fit=crop")


def test_evaluation_and_merge_prepare_pictures_as_training_did(cropped, tiny_base, tmp_path):
    assert MobileVLMProcessor.from_pretrained(tiny_base).image.fit == "pad"
    _, processor = load_artifact(cropped.parent)
    assert processor.image.fit == "crop"
    merge(tiny_base, cropped, tmp_path / "merged")
    merged = MobileVLMProcessor.from_pretrained(tmp_path / "merged")
    assert merged.to_dict() == processor.to_dict()


def test_a_stage_has_its_own_template_and_fit(run_settings, tmp_path):
    settings = run_settings(tmp_path / "run")
    more = ("stage1.template=plain", "stage1.image_fit=stretch", "data.template=chatml")
    run = TrainingRun(load_config(None, [*settings, *more]))
    setup = run.prepare()
    one, two = setup.processors["stage1"], setup.processors["stage2"]
    assert (one.template.name, one.image.fit) == ("plain", "stretch")
    assert (two.template.name, two.image.fit) == ("chatml", "pad")
    assert setup.processor is two


@pytest.mark.parametrize("policy", ["uniform", pytest.param("full", marks=pytest.mark.slow)])
def test_training_goes_on_from_a_merged_model(run_settings, tiny_base, tmp_path, policy):
    first = train(run_settings(tmp_path / "one"), *SHORT, f"ranks.policy={policy}")
    merged = first if policy == "full" else tmp_path / "merged"
    if policy == "uniform":
        merge(tiny_base, first, merged)
    assert base_identity(merged).sha256 != base_identity(tiny_base).sha256
    second = train(run_settings(tmp_path / "two"), *SHORT, f"base={merged}")
    merge(merged, second, tmp_path / "final")
    record = json.loads((tmp_path / "final" / "merge.json").read_text())
    assert record["sources"]["base"]["sha256"] == base_identity(merged).sha256
    with pytest.raises(ArtifactError, match="base"):
        merge(tiny_base, second, tmp_path / "wrong")


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (("ranks.rank_step=3", "ranks.r_min=2"), "r_min and r_max as multiples of rank_step"),
        (("ranks.policy=fixed", "ranks.map_file=none.jsonl"), r"none\.jsonl"),
        (("ranks.policy=replay",), r"ranks\.map_file"),
    ],
)
def test_ranks_that_cannot_be_are_refused_before_anything_is_made(
    run_settings, tmp_path, more, what
):
    with pytest.raises(HydraError) as refused:
        train(run_settings(tmp_path / "run"), *more)
    assert re.search(what, str(refused.value))
    assert not (tmp_path / "run").exists()
