"""Counts, steps, rates and settings of whole plans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hydra_mobile.config import StageConfig, load_config
from hydra_mobile.core.errors import ArtifactError, ConfigError
from hydra_mobile.estimation.architecture import base_config
from hydra_mobile.estimation.asked import Asked
from hydra_mobile.estimation.model import part_counts
from hydra_mobile.estimation.plan import make_plan
from hydra_mobile.estimation.schedule import given_rate, measured_rate, samples_of, steps_of
from hydra_mobile.estimation.settings import (
    Candidate,
    Setting,
    batch_sizes,
    needed_bytes,
    worth_showing,
)
from hydra_mobile.models.published import PUBLISHED, published_config

CONFIGS = Path(__file__).parents[2] / "hydra_mobile" / "configs"


# -- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "projector", "language", "adapters"),
    [
        ("mobilevlm-1.7b", 18_936_832, 1_364_297_728, 121_110_528),
        ("mobilevlm-3b", 28_913_920, 2_701_560_320, 200_278_016),
        ("mobilellama-1.4b-ldpv2", 6_316_032, 1_364_297_728, 121_110_528),
        ("mobilevlm-v2-3b", 9_205_760, 2_701_560_320, 200_278_016),
    ],
)
def test_published_models_have_their_published_sizes(name, projector, language, adapters):
    config = base_config(name)
    counts = part_counts(config, load_config(None, ["ranks.r_ref=128"]))
    assert counts["vision tower"].total == 303_507_456
    assert [counts[part].total for part in ("projector", "language model", "adapters")] == [
        projector,
        language,
        adapters,
    ]
    trained = {part: (count.stage1, count.stage2) for part, count in counts.items()}
    assert trained == {
        "vision tower": (0, 0),
        "projector": (projector, projector),
        "language model": (0, 0),
        "adapters": (0, adapters),
    }


def test_a_table_that_is_also_the_head_counts_once(tiny_base):
    from hydra_mobile.models.loading import load_model

    model = load_model(tiny_base)
    assert model.config.text_config.tie_word_embeddings
    counts = part_counts(base_config("tiny"), load_config(None, ["ranks.r_ref=8"]))
    real = sum(p.numel() for p in model.language_model.parameters())
    assert counts["language model"].total == real


def test_full_fine_tuning_has_no_adapters():
    counts = part_counts(
        published_config("mobilevlm-1.7b"), load_config(None, ["ranks.policy=full"])
    )
    assert counts["adapters"].total == 0
    assert (counts["language model"].stage1, counts["language model"].stage2) == (0, 1_364_297_728)


# -- bases ----------------------------------------------------------------------------------------


def test_every_published_name_is_known_without_a_file():
    for name in PUBLISHED:
        assert base_config(name).projector_config["model_type"] == PUBLISHED[name].projector


def test_a_folder_of_a_base_is_read(tiny_base):
    assert base_config(str(tiny_base)).text_config.hidden_size == 64


def test_an_original_checkpoints_folder_is_read(tmp_path):
    facts = {
        "model_type": "mobilevlm", "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "mm_projector_type": "ldpnetv2", "mm_vision_select_layer": -2, "hidden_size": 2560,
        "intermediate_size": 6912, "num_hidden_layers": 32, "num_attention_heads": 32,
        "vocab_size": 32000,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(facts))
    config = base_config(str(tmp_path))
    assert config.projector_config == {"model_type": "ldpnetv2"}
    assert part_counts(config, load_config(None))["language model"].total == 2_701_560_320


def test_a_transformers_llava_is_read(tmp_path):
    from trainer_models import text_config
    from transformers import CLIPVisionConfig, LlavaConfig

    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        image_size=16, patch_size=8,
    )  # fmt: skip
    LlavaConfig(vision_config=vision, text_config=text_config()).save_pretrained(tmp_path)
    counts = part_counts(base_config(str(tmp_path)), load_config(None, ["ranks.r_ref=8"]))
    hidden = text_config().hidden_size
    assert counts["projector"].total == 32 * hidden + hidden * hidden + 2 * hidden


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model_type": "bert"}, "'bert'"),
        (
            {"mm_vision_tower": "some/other-tower", "mm_projector_type": "ldpnet"},
            "some/other-tower",
        ),
    ],
)
def test_other_folders_are_refused(tmp_path, content, message):
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=message):
        base_config(str(tmp_path))


def test_an_unknown_base_names_one_of_the_same_size():
    with pytest.raises(ConfigError, match=r"runs/x/merged") as refused:
        base_config("runs/x/merged")
    assert "base=mobilevlm-1.7b" in refused.value.fix


# -- samples, steps, rates ------------------------------------------------------------------------


def test_steps_of_the_published_stages():
    config = load_config(CONFIGS / "mobilevlm-1.7b.yaml")
    first, second = samples_of(config.data.stage1), samples_of(config.data.stage2)
    assert (first.count, second.count) == (558_128, 665_298)
    assert steps_of(config.stage1, first.count, 8) == 2181
    assert steps_of(config.stage2, second.count, 8) == 5198


def test_steps_follow_processes_accumulation_and_epochs():
    stage = StageConfig(batch_size=4, accumulation=2, epochs=3)
    # Steps go on from one epoch to the next: 75 micro-batches.
    assert steps_of(stage, 100, 1) == 38
    assert steps_of(stage, 100, 2) == 19
    assert steps_of(StageConfig(steps=17), None, 2) == 17
    assert steps_of(stage, None, 2) is None


def test_steps_are_those_of_the_trainer(shapes_data, tiny_base):
    from memory_rows import build_rows

    from hydra_mobile.data.llava import read_llava
    from hydra_mobile.models.processor import MobileVLMProcessor
    from hydra_mobile.training.batch_stream import BatchStream

    file = shapes_data / "questions.json"
    rows = build_rows(
        read_llava(file), MobileVLMProcessor.from_pretrained(tiny_base),
        share_prefix=False, questions_per_row=1, max_length=256,
    )  # fmt: skip
    for batch, accumulation, count in ((4, 1, 1), (5, 2, 1), (4, 1, 2)):
        stage = StageConfig(batch_size=batch, accumulation=accumulation, epochs=2)
        real = BatchStream(rows, stage, 0, 0, count).steps
        assert steps_of(stage, samples_of(str(file)).count, count) == real


def test_samples_are_counted_given_or_known(shapes_data):
    counted = samples_of(str(shapes_data / "questions.json"))
    assert (counted.count, "counted" in counted.source) == (36, True)
    assert samples_of(str(shapes_data / "questions.json"), 7).count == 7
    rough = samples_of("data/share-captioner_coco_lcs_sam_1246k_1107.json")
    assert (rough.count, "roughly" in rough.source) == (1_246_000, True)
    assert samples_of("data/MobileVLM_V2_FT_Mix2M.json").count == 2_000_000
    unknown = samples_of("data/mine.json")
    assert unknown.count is None
    assert "--samples" in unknown.source


def log(folder, *lines, **summary):
    text = "".join(json.dumps({"stage": "stage2", **line}) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text)
    if summary:
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def test_a_measured_rate_leaves_start_up_out_and_scales_by_processes(tmp_path):
    run = log(
        tmp_path,
        {"step": 1, "seconds": 50.0, "conversations": 32},
        {"step": 9, "seconds": 60.0, "conversations": 352},
        processes=4, device="cuda",
    )  # fmt: skip
    rate = measured_rate(run, "stage2", 8)
    assert rate.value == pytest.approx(2 * 320 / 10)
    assert "4 on cuda" in rate.source
    assert measured_rate(run, "stage1", 8).value is None


def test_rates_that_mean_nothing_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"metrics\.jsonl.*missing"):
        measured_rate(tmp_path, "stage2", 1)
    with pytest.raises(ConfigError, match="above 0"):
        given_rate(-1.0)
    run = log(tmp_path, {"step": 1, "seconds": 5.0, "conversations": 3})
    assert measured_rate(run, "stage2", 1).value is None


# -- settings -------------------------------------------------------------------------------------


def plan(*more, **asked):
    settings = load_config(None, ["base=tiny", "ranks.r_ref=8", "ranks.r_min=2", *more])
    return make_plan(settings, Asked(**{"gpus": 2, "gpu_memory": 8.0, "tokens": (0, 64), **asked}))


def test_candidates_keep_the_global_batch_and_the_best_come_first(tiny_base):
    (stage,) = plan("stage2.batch_size=8", "stage2.accumulation=2").stages
    assert {c.global_batch for c in stage.candidates} == {32}
    assert stage.fits
    best = stage.candidates[0].setting
    assert (best.batch_size, best.accumulation, best.gradient_checkpointing) == (16, 1, False)
    (now,) = [c for c in stage.candidates if c.configured]
    assert (now.setting.batch_size, now.setting.accumulation) == (8, 2)
    assert now.needed == needed_bytes(stage.memory.total)
    kinds = {(c.setting.base_precision, c.setting.distributed) for c in stage.candidates}
    assert kinds == {("full", "ddp"), ("4bit", "ddp"), ("full", "fsdp")}


def test_a_small_gpu_changes_what_fits(tiny_base):
    needs = sorted(c.needed for c in plan("stage2.batch_size=16").stages[0].candidates)
    between = (needs[0] + needs[-1]) / 2 / 2**30
    (stage,) = plan("stage2.batch_size=16", gpu_memory=between).stages
    verdicts = [c.fits for c in stage.candidates]
    assert verdicts == sorted(verdicts, reverse=True)
    assert True in verdicts
    assert False in verdicts
    for candidate in stage.candidates:
        assert candidate.fits == (candidate.needed <= between * 2**30)


def test_full_fine_tuning_is_never_quantized_nor_sharded(tiny_base):
    (stage,) = plan("ranks.policy=full").stages
    assert {(c.setting.base_precision, c.setting.distributed) for c in stage.candidates} == {
        ("full", "ddp")
    }


@pytest.mark.slow
def test_stage_one_has_no_table_where_it_fits(tiny_base, shapes_data):
    captions = f"data.stage1={shapes_data / 'captions.json'}"
    first, second = plan(captions, samples_per_second=10.0, samples=(0, 500)).stages
    assert first.fits
    assert first.candidates == ()
    assert (first.samples.count, second.samples.count) == (12, 500)
    assert second.hours == pytest.approx(second.steps * second.global_batch / 10 / 3600)
    small = plan(captions, gpu_memory=0.5).stages[0]
    assert not small.fits
    assert small.candidates


def test_a_hypothetical_global_batch_is_rounded_up_to_what_can_be_dealt_out():
    assert batch_sizes(16, 16) == [1, 2, 4, 8, 16]
    assert batch_sizes(12, 3) == [1, 2, 3, 4, 8, 12]
    assert batch_sizes(1, 32) == [1, 32]


def candidate(size, fits, checkpointing=False, precision="full", distributed="ddp"):
    setting = Setting(size, 1, checkpointing, precision, distributed)
    return Candidate(setting, 8, 100 * size, fits, False)


def test_what_is_shown_is_the_best_of_each_kind_and_the_edge():
    fitting = [candidate(4, True), candidate(2, True), candidate(1, True)]
    recomputed = [candidate(16, True, True)]
    packed = [candidate(4, True, precision="4bit"), candidate(8, True, precision="4bit")]
    edge = [candidate(8, False), candidate(16, False)]
    found = [*fitting, packed[1], packed[0], *recomputed, *edge]
    shown = worth_showing(found)
    assert shown == [fitting[0], packed[1], recomputed[0], edge[0]]


# -- what excludes each other ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "asked", "message"),
    [
        ([], {"gpus": 0}, "--gpus 0"),
        ([], {"gpu_memory": 0.0}, "--gpu-memory 0.0"),
        (["ranks.policy=full", "runtime.base_precision=4bit"], {}, "four-bit"),
        (["ranks.policy=full", "runtime.distributed=fsdp"], {}, "frozen"),
        ([], {"tokens": (0, 4)}, "4 tokens"),
    ],
)
def test_what_cannot_be_is_refused(tiny_base, more, asked, message):
    with pytest.raises(ConfigError, match=message):
        plan(*more, **asked)
