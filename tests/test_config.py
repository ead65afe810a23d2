"""Configuration files: layers of `extends`, and the published packaged recipes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from hydra_mobile.config import TrainConfig, load_config
from hydra_mobile.configs import config_names, config_summary
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.models.published import PUBLISHED

CONFIGS = Path(__file__).parents[1] / "hydra_mobile" / "configs"
GPUS = 8


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{next(iter(files))}.yaml"


# -- extends --------------------------------------------------------------------------------------


def test_a_file_says_only_what_differs(tmp_path):
    top = written(
        tmp_path,
        top="extends: middle.yaml\nranks: {policy: uniform}\nstage2: {batch_size: 4}",
        middle="extends: bottom.yaml\nstage2: {learning_rate: 2e-5}\nseed: 3",
        bottom="seed: 1\nstage2: {batch_size: 16, learning_rate: 1e-3, clip: 0.5}\nbase: tiny",
    )
    config = load_config(top, ["stage2.clip=2"])
    assert (config.base, config.seed, config.ranks.policy) == ("tiny", 3, "uniform")
    assert (config.stage2.batch_size, config.stage2.learning_rate) == (4, 2e-5)
    assert config.stage2.clip == 2.0
    assert config.stage2.warmup == TrainConfig().stage2.warmup
    assert "extends" not in config.to_dict()


def test_the_path_is_relative_to_the_file_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "low.yaml").write_text("seed: 9")
    (tmp_path / "a" / "b" / "high.yaml").write_text("extends: ../low.yaml")
    monkeypatch.chdir(tmp_path)
    assert load_config(Path("a/b/high.yaml")).seed == 9


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": "extends: a.yaml"}, r"a.yaml -> \S*a.yaml"),
        (
            {"a": "extends: b.yaml", "b": "extends: c.yaml", "c": "extends: b.yaml"},
            r"c.yaml: `extends`.*a.yaml -> \S*b.yaml -> \S*c.yaml -> \S*b.yaml",
        ),
        (
            {"a": "extends: none.yaml"},
            r"a.yaml: `extends`.*none.yaml",
        ),
        ({"a": "extends: [b.yaml, c.yaml]"}, "a.yaml: `extends` .*list"),
        (
            {"a": "extends: b.yaml", "b": "stage2: {learning_rat: 1}"},
            "b.yaml: `stage2.learning_rat`",
        ),
        (
            {"a": "extends: b.yaml", "b": "stage2: {steps: many}"},
            "b.yaml: `stage2.steps`.*many",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path, files, message):
    with pytest.raises(ConfigError, match=message):
        load_config(written(tmp_path, **files))


def test_extends_is_no_override():
    with pytest.raises(ConfigError, match="`extends`"):
        load_config(None, ["extends=a.yaml"])


def test_a_file_with_the_former_name_of_a_key_loads(tmp_path):
    file = written(
        tmp_path,
        new="extends: old.yaml\nranks: {initialization: random}",
        old="ranks: {initialisation: gradient}",
    )
    assert load_config(file).ranks.initialization == "random"
    assert load_config(tmp_path / "old.yaml").ranks.initialization == "gradient"
    assert load_config(None, ["ranks.initialisation=gradient"]).to_dict()["ranks"][
        "initialization"
    ] == ("gradient")
    both = written(tmp_path, both="ranks: {initialisation: random, initialization: random}")
    with pytest.raises(ConfigError, match=r"ranks\.initialisation"):
        load_config(both)


def test_all_faults_of_a_file_are_named_at_once(tmp_path):
    file = written(tmp_path, a="sed: 1\nstage2: {steps: -5, clip: x}\nranks: 3")
    with pytest.raises(ConfigError) as refused:
        load_config(file)
    for key in ("`sed`", "`stage2.steps`", "`stage2.clip`", "`ranks`"):
        assert key in str(refused.value)


# -- ranges ---------------------------------------------------------------------------------------


def number_keys(section: object, prefix: str = "") -> Iterator[str]:
    for field in dataclasses.fields(section):  # type: ignore[arg-type]
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            yield from number_keys(value, f"{prefix}{field.name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + field.name


NUMBERS = sorted(number_keys(TrainConfig()))
# 0 switches the thing off, or stands for a choice that the key's text explains.
ZERO_MEANS = {
    "seed", "runtime.threads", "runtime.workers", "runtime.checkpoint_every", "ranks.dropout",
    "runtime.early_stopping", "runtime.sample_answers",
    "ranks.r_max", "ranks.dynamic.least_steps",
    "ranks.dynamic.warmup", "ranks.dynamic.until", "ranks.dynamic.probe_share",
    *(
        f"{stage}.{key}"
        for stage in ("stage1", "stage2")
        for key in (
            "steps", "projector_learning_rate", "warmup", "weight_decay", "clip", "align_steps",
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", ["-1", ".nan", ".inf", "-.inf", "1.0e+23", "1" + "0" * 23])
def test_every_number_has_a_range(key, value):
    with pytest.raises(ConfigError, match=f"`{key}`") as refused:
        load_config(None, [f"{key}={value}"])
    assert "expected" in str(refused.value)


@pytest.mark.parametrize("key", NUMBERS)
def test_zero_is_a_value_where_it_means_something(key):
    if key in ZERO_MEANS:
        load_config(None, [f"{key}=0"])
    else:
        with pytest.raises(ConfigError, match=f"`{key}`"):
            load_config(None, [f"{key}=0"])


def test_values_that_do_not_go_together_are_named():
    for key, override in (
        ("ranks.r_min", "ranks.r_min=129"),
        ("ranks.r_max", "ranks.r_max=64"),
        ("stage1.epochs", "stage1.epochs=0"),
        ("ranks.initialization", "ranks.initialization=gradient"),
    ):
        with pytest.raises(ConfigError, match=key):
            load_config(None, [override, "ranks.policy=adalora"])
    # Only stage 1 has something else to do.
    alone = ["stage1.epochs=0", "stage1.align_steps=1", "stage2.align_steps=1"]
    assert load_config(None, alone).stage1.steps == 0
    with pytest.raises(ConfigError, match=r"stage2\.epochs"):
        load_config(None, [*alone, "stage2.epochs=0"])


# -- the published recipes ------------------------------------------------------------------------


def recipe(name: str) -> TrainConfig:
    return load_config(CONFIGS / f"{name}.yaml")


def global_batch(config: TrainConfig, stage: str) -> int:
    of_stage = getattr(config, stage)
    return GPUS * of_stage.batch_size * of_stage.accumulation


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_file_loads(file):
    assert load_config(file).output.startswith("runs/")


def test_no_two_recipes_share_a_run_folder():
    outputs = [load_config(file).output for file in CONFIGS.glob("*.yaml")]
    assert len(set(outputs)) == len(outputs) > 13


SIZES = {"1.7b": "mobilellama-1.4b", "3b": "mobilellama-2.7b"}
V1 = [(size, variant) for size in SIZES for variant in ("", "-lora", "-full")]
POLICY = {"": "hydra", "-lora": "uniform", "-full": "full", "-stage1": "full"}
# Method reference 9.3: learning rate of stage II by version, size and way of training.
RATES = {
    ("v1", "1.7b", "-full"): 2e-5,
    ("v1", "3b", "-full"): 4e-5,
    ("v1", "1.7b", "-lora"): 1e-4,
    ("v1", "3b", "-lora"): 2e-4,
    **{("v2", size, "-full"): 4e-5 for size in SIZES},
    **{("v2", size, "-lora"): 2e-4 for size in SIZES},
}


def rate(version: str, size: str, variant: str) -> float:
    # HyDRA trains with the rates of LoRA.
    return RATES[version, size, variant or "-lora"]


def common(config: TrainConfig) -> None:
    """What all published stages share."""
    for stage in (config.stage1, config.stage2):
        assert (stage.epochs, stage.steps) == (1.0, 0)
        assert (stage.warmup, stage.weight_decay, stage.clip) == (0.03, 0.0, 1.0)
    assert config.stage1.align_steps == 0
    data, runtime = config.data, config.runtime
    assert (data.max_length, data.over_length, data.share_prefix) == (2048, "truncate", False)
    assert (runtime.precision, runtime.gradient_checkpointing) == ("bf16", True)
    assert (runtime.vision_cache, runtime.workers) == (False, 8)


def lora(config: TrainConfig) -> None:
    ranks = config.ranks
    assert (ranks.r_ref, ranks.alpha_ref, ranks.dropout) == (128, 256.0, 0.05)
    assert config.stage2.projector_learning_rate == 0.0


@pytest.mark.parametrize(("size", "variant"), V1)
def test_v1_is_as_published(size, variant):
    config = recipe(f"mobilevlm-{size}{variant}")
    common(config)
    lora(config)
    assert config.base == f"{SIZES[size]}-ldp"
    assert PUBLISHED[config.base].projector == "ldpnet"
    assert config.ranks.policy == POLICY[variant]
    assert config.data.stage1.endswith("blip_laion_cc_sbu_558k.json")
    assert config.data.stage2.endswith("llava_v1_5_mix665k.json")
    assert config.data.group_by_modality
    first, second = config.stage1, config.stage2
    assert first.learning_rate == 1e-3
    assert second.learning_rate == rate("v1", size, variant)
    assert (global_batch(config, "stage1"), global_batch(config, "stage2")) == (256, 128)
    assert (first.template, first.image_fit) == ("plain", "crop")
    assert (second.template, second.image_fit) == ("v1", "pad")


@pytest.mark.parametrize("size", list(SIZES))
def test_v2_first_stage_is_as_published(size):
    config = recipe(f"mobilevlm-v2-{size}-stage1")
    common(config)
    assert config.base == f"{SIZES[size]}-ldpv2"
    assert PUBLISHED[config.base].projector == "ldpnetv2"
    assert (config.data.stage1, config.ranks.policy) == ("", "full")
    assert "1246k" in config.data.stage2
    assert not config.data.group_by_modality
    stage = config.stage2
    assert (stage.learning_rate, stage.projector_learning_rate) == (2e-5, 1e-3)
    assert global_batch(config, "stage2") == 256
    assert (stage.template, stage.image_fit) == ("plain", "crop")


@pytest.mark.parametrize(("size", "variant"), V1)
def test_v2_second_stage_is_as_published(size, variant):
    config = recipe(f"mobilevlm-v2-{size}{variant}")
    common(config)
    lora(config)
    first = recipe(f"mobilevlm-v2-{size}-stage1")
    assert config.base == f"{first.output}/merged"
    assert (config.data.stage1, config.ranks.policy) == ("", POLICY[variant])
    assert config.data.stage2.endswith("MobileVLM_V2_FT_Mix2M.json")
    assert config.data.group_by_modality
    assert config.stage2.learning_rate == rate("v2", size, variant)
    assert global_batch(config, "stage2") == 128
    assert (config.stage2.template, config.stage2.image_fit) == ("v1", "pad")


# -- by name --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", config_names())
def test_a_packaged_configuration_goes_by_its_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config(name) == load_config(CONFIGS / f"{name}.yaml")
    assert 10 < len(config_summary(name)) < 120


def test_a_file_wins_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "emojiqa-smol").write_text("seed: 7")
    assert load_config("emojiqa-smol").seed == 7


def test_a_file_elsewhere_extends_a_packaged_one(tmp_path):
    mine = written(tmp_path, mine="extends: mobilevlm-3b\nseed: 4")
    config = load_config(mine)
    assert (config.seed, config.base) == (4, load_config("mobilevlm-3b").base)


@pytest.mark.parametrize("name", ["mobilevlm-17b", "configs/mobilevlm-1.7b.yaml"])
def test_a_wrong_name_or_path_names_the_right_one(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"mobilevlm-1\.7b"):
        load_config(name)
