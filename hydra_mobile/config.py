"""Training configuration: frozen dataclasses, filled from YAML and `section.key=value`.

Later sources win: defaults, then the file that `extends:` names, then the file, then overrides. An
unknown key is an error that names the nearest one; a value of the wrong type names what was found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from hydra_mobile.adapters.compensation import Compensate
from hydra_mobile.adapters.dynamic.settings import DynamicConfig, Start
from hydra_mobile.configs import config_file, config_names, find_config
from hydra_mobile.core.boundaries import reading, shown
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.files import tilde
from hydra_mobile.core.typed import (
    Count,
    FormerNames,
    Positive,
    Range,
    ShareBelowOne,
    current_names,
    decode,
)
from hydra_mobile.core.yaml_io import load_yaml

Rank = Annotated[int, Range(minimum=1, maximum=65_536)]
Threads = Annotated[int, Range(minimum=0, maximum=4096)]


@dataclass(frozen=True)
class DataConfig:
    """Where the training data is. Paths are relative to the working directory."""

    stage1: str = ""
    """Image captions for stage I, in any form of docs/data.md; empty skips the stage."""
    stage2: str = ""
    """Conversations for stage II: a json, jsonl, parquet or webdataset file, a folder of such
    shards, or a data set of the hub (docs/data.md)."""
    images: str = ""
    """Folder that image paths in the records are relative to; empty: the data's own folder."""
    columns: dict[str, str] = field(default_factory=dict)
    """Fields of data in another layout, for example {question: q, answer: a, image: picture}; also
    other names of `messages`, `conversations`, `images`, `system` and `id`."""
    validation: float | str = ""
    """What stage II is validated on: data in any form, or a share of stage II's images that is held
    out, for example 0.05; empty: nothing."""
    template: str = ""
    """Prompt template; empty: the base's own."""
    tiles: str = ""
    """Tiles that an image is read in beside an overview, ROWSxCOLUMNS, for bases that know tiles
    (docs/families.md); empty: as the base's folder says, else one square."""
    max_length: Positive = 2048
    """Longest conversation in tokens, image tokens included."""
    over_length: Literal["refuse", "truncate", "drop"] = "refuse"
    """What happens to a longer one: an error that names it, a cut at the end (as LLaVA does), or
    it is left out; cut and dropped ones are counted."""
    bad_records: Literal["refuse", "drop"] = "refuse"
    """What happens to a record that is malformed (an empty turn, roles out of order, a mark without
    its image) or has images where the base takes none: an error that names it, or it is left out
    and counted."""
    bad_pictures: Literal["stop", "drop"] = "stop"
    """What happens where an image is missing or damaged; all are decoded once before the first
    step. An error names the first ones, or their conversations are left out and counted."""
    group_by_modality: bool = False
    """Batches hold either conversations with an image or conversations without one."""
    share_prefix: bool = True
    """Pack conversations about one image into one row that holds the image once."""
    questions_per_row: Positive = 8
    """Most conversations that share a row."""


@dataclass(frozen=True)
class StageConfig:
    """Optimization of one stage."""

    epochs: Annotated[float, Range(minimum=0, maximum=1e6)] = 1.0
    """Passes over the data; ignored where `steps` is set. Stage 1 may have 0 beside alignment."""
    steps: Count = 0
    """Optimizer steps; 0 derives them from `epochs`."""
    batch_size: Positive = 8
    """Conversations per optimizer step and process (before accumulation)."""
    accumulation: Positive = 1
    """Micro-batches per optimizer step."""
    loss_reduction: Literal["tokens", "micro_batches"] = "tokens"
    """What the loss of a step is the mean of: its supervised tokens, however `batch_size`,
    `accumulation` and processes split it; or the mean losses of its micro-batches, as LLaVA's
    trainer has it, where a short answer's tokens weigh more."""
    learning_rate: Annotated[float, Range(above=0, maximum=100)] = 1e-3
    """Peak rate of AdamW for the projector in stage I, for adapters in stage II."""
    projector_learning_rate: Annotated[float, Range(minimum=0, maximum=100)] = 0.0
    """Peak rate of the projector in stage II; 0: the same as `learning_rate`."""
    warmup: ShareBelowOne = 0.03
    """Share of the steps over which the rate rises; a cosine to zero follows."""
    weight_decay: Annotated[float, Range(minimum=0, maximum=100)] = 0.0
    """AdamW's decoupled decay."""
    clip: Annotated[float, Range(minimum=0, maximum=1e9)] = 1.0
    """Largest norm of the gradient; 0 switches clipping off."""
    template: str = ""
    """Prompt template of this stage; empty: `data.template`, or the base's own."""
    image_fit: Literal["", "pad", "crop", "stretch"] = ""
    """How an image becomes a square: padded with the mean color, its middle cut out ("square"
    in LLaVA's scripts), or stretched; empty: the base's own."""
    qat: Literal["", "int4"] = ""
    """Stage II only: int4 trains the last steps with the weights that the preset int4 will export,
    merged and rounded to 4 bits in the forward pass (docs/export.md); empty: in full precision."""
    qat_share: Annotated[float, Range(above=0, maximum=1)] = 0.3
    """Share of the steps, the last ones, that `qat` is on for."""
    align_steps: Count = 0
    """Stage I only: contrastive steps, before the captions, that pull each image's mean image
    embedding towards the mean token embedding of its caption. No language model runs, so a step
    takes milliseconds."""


@dataclass(frozen=True)
class RanksConfig:
    """HyDRA's ranks. `r_ref` sets the budget: what uniform LoRA of that rank would cost."""

    policy: str = "hydra"
    """A rank policy of docs/hydra_in_your_trainer.md, by default ranks that move in training; or
    replay (the ranks of `map_file`, step by step), adalora (peft's), full (no adapter: every weight
    of the language model trains)."""
    start: Start = "auto"
    """The first ranks of policy `hydra`, one of the policies that follow importance or `uniform`;
    auto: uniform with `dynamic.target=trailing`, coarse_fine_per_cost with the older targets."""
    r_ref: Rank = 128
    """Rank of the uniform LoRA whose parameter count is never exceeded."""
    alpha_ref: Annotated[float, Range(above=0, maximum=1e6)] = 256.0
    """Scale is alpha_ref / r_ref for every module, whatever its rank, unless `compensate` says
    otherwise."""
    compensate: Compensate = "neither"
    """At one scale and learning rate a module of higher rank moves faster. What falls as r_ref /
    rank against that: a module's scale, its learning rate, both, or neither."""
    rank_step: Rank = 8
    """Ranks are multiples of this."""
    r_min: Rank = 8
    """Smallest rank of a module."""
    r_max: Annotated[int, Range(minimum=0, maximum=65_536)] = 0
    """Largest rank of a module; 0: 2 * r_ref."""
    importance: Literal["gradient", "update", "update_by_kind", "calibration"] = "gradient"
    """What tells which modules matter: gradients of the frozen weights in the ordinary backward
    passes at the end of a warm-up at uniform ranks; the update that each adapter learned in that
    warm-up, as it is or relative to its kind of projection; or gradients in passes of their own
    before stage II."""
    calibration_batches: Positive = 32
    """Micro-batches over which importance is measured, and the gradient of `initialization`."""
    initialization: Annotated[Literal["random", "gradient"], FormerNames("initialisation")] = (
        "random"
    )
    """How A starts: as peft's, or along the directions in which the gradient of the frozen weight
    is largest, measured in passes before stage II (one fp32 copy of the adapted weights)."""
    shrink: Literal["index", "svd"] = "index"
    """What a shrinking module keeps: its largest components, or the best approximation."""
    dropout: ShareBelowOne = 0.0
    """Dropout before each adapter."""
    map_file: str = ""
    """For `fixed` a rank_map.json or ranks.jsonl of an earlier run, for `replay` a ranks.jsonl."""
    dynamic: DynamicConfig = field(default_factory=DynamicConfig)


@dataclass(frozen=True)
class RuntimeConfig:
    """How the machine is used."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """bf16 keeps frozen weights in bf16 and trains in autocast; auto takes it where it is fast."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: slower, far less memory."""
    base_precision: Literal["full", "4bit"] = "full"
    """4bit keeps the frozen linears of the language model as NF4 (extra `bitsandbytes`)."""
    compile: bool = False
    """Compile the decoder layers with torch.compile; pays on a GPU and in long runs."""
    distributed: Literal["ddp", "fsdp"] = "ddp"
    """Under torchrun: replicate the model, or shard its frozen weights between the processes."""
    vision_cache: bool = True
    """Compute the frozen tower's features once and keep them on disk."""
    threads: Threads = 0
    """CPU threads; 0: all cores."""
    workers: Threads = 0
    """Threads that read and prepare images ahead of the step that needs them; 0 reads them in
    the step. Of use where `vision_cache` is off."""
    memory_check: bool = True
    """Before stage 2, simulate its largest step and try it: what does not fit fails at once."""
    log_every: Positive = 5
    """Optimizer steps between lines of metrics.jsonl."""
    checkpoint_every: Count = 50
    """Optimizer steps between checkpoints; 0: only at the end of a stage."""
    evaluate_every: Positive = 50
    """Optimizer steps of stage II between validations, where there is `data.validation`; one more
    follows the last step."""
    early_stopping: Count = 0
    """Validations without a lower loss after which stage II ends; 0: it never ends early."""
    sample_answers: Count = 4
    """Held-out questions that are answered at each validation."""
    trackers: list[Literal["tensorboard", "wandb", "trackio", "mlflow"]] = field(
        default_factory=list
    )
    """Experiment trackers that get what metrics.jsonl gets (an extra of the same name each)."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run."""

    base: str = "smol"
    """A named base (`hydra-mobile families`), a folder or a hub id (`ID@REVISION`)."""
    output: str = "runs/run"
    """Run folder."""
    seed: Annotated[int, Range(minimum=0, maximum=2**32 - 1)] = 0
    """Seeds data order, adapter initialization and dropout."""
    data: DataConfig = field(default_factory=DataConfig)
    stage1: StageConfig = field(default_factory=StageConfig)
    stage2: StageConfig = field(default_factory=lambda: StageConfig(learning_rate=2e-4))
    ranks: RanksConfig = field(default_factory=RanksConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain values, as written beside a run."""
        values = dataclasses.asdict(self)
        # A tuple would be another value than the list that JSON and YAML give back.
        values["ranks"]["dynamic"] = self.ranks.dynamic.to_dict()
        return values


#: What users read for the stages of a run, by their section.
STAGE_TITLES = {"stage1": "stage I", "stage2": "stage II"}
_YAML = (yaml.YAMLError,)


def load_config(
    source: str | Path | TrainConfig | Mapping[str, Any] | None,
    overrides: Iterable[str] = (),
    sections: Mapping[str, Any] | None = None,
) -> TrainConfig:
    """Build a configuration from a YAML file, `section.key=value` overrides and values.

    Args:
        source: a YAML file, the name of a packaged configuration (`hydra_mobile.configs`), nested
            values, a configuration to change, or None for the defaults.
        overrides: `section.key=value`, over the source.
        sections: nested values over both, for example `{"stage2": {"steps": 100}}`.

    A file may begin with `extends: other.yaml`, a path relative to itself, or with
    `extends: mobilevlm-1.7b`, a packaged configuration: it then says only what differs. Sections
    are laid over each other key by key; the other file may extend a third one.

    Raises:
        ConfigError: file missing or no mapping; unknown keys, wrong types or values (all those of
            one file or override are named at once); files that extend each other in a circle.
    """
    if isinstance(source, TrainConfig):
        values, where = source.to_dict(), "the configuration"
    elif isinstance(source, Mapping):
        where = "the configuration"
        values = _checked(dict(source), where)
    else:
        values = _read_layers(find_config(source), ()) if source else {}
        where = str(source) if source else "defaults"
    for override in overrides:
        values = _over(values, _read_override(override))
    if sections:
        values = _over(values, _checked(dict(sections), "keyword arguments"))
    config = decode(TrainConfig, _home_named(values), where, error=ConfigError, yaml=True)
    _check_together(config, where)
    return config


def _read_layers(file: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    """Return a file's values over those of the file that it extends.

    Args:
        file: the file.
        below: the files that extend it, directly or not.
    """
    if any(file.resolve() == other.resolve() for other in below):
        circle = " -> ".join(map(str, (*below, file)))
        raise ConfigError(
            f"{below[-1]}: `extends` goes round in a circle: {circle}.",
            "Let one of them stand on its own.",
        )
    named_by = f"{below[-1]}: `extends` names {file}, which" if below else ""
    values = _read_yaml(file, named_by or f"The configuration {file}")
    other = values.pop("extends", "")
    values = _checked(values, str(file))
    if not other:
        return values
    if not isinstance(other, str):
        raise ConfigError(f"{file}: `extends` is {shown(other)}, expected the path of one file.")
    return _over(_read_layers(_extended(file, other), (*below, file)), values)


def _extended(file: Path, other: str) -> Path:
    """Return the file that `extends: other` in `file` names."""
    beside = file.parent / other
    if not beside.is_file() and other in config_names():
        return config_file(other)
    return beside


def _checked(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a layer under current key names; refuse it if any key or value of it is wrong.

    Each layer by itself and not only all of them together: an error names the file that has it.
    """
    decode(TrainConfig, values, where, error=ConfigError, yaml=True)
    renamed: dict[str, Any] = current_names(TrainConfig, values)
    return renamed


def _home_named(value: Any) -> Any:
    """Return values in which every text that begins with `~/` names the home folder."""
    if isinstance(value, Mapping):
        return {key: _home_named(item) for key, item in value.items()}
    if isinstance(value, str) and value.startswith("~"):
        return str(tilde(Path(value)))
    return value


def _over(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `upper` over `lower`, section by section."""
    merged = dict(lower)
    for key, value in upper.items():
        beneath = merged.get(key)
        if isinstance(beneath, dict) and isinstance(value, dict):
            value = _over(beneath, value)
        merged[key] = value
    return merged


def _read_yaml(file: Path, who: str) -> dict[str, Any]:
    if not file.exists():
        raise ConfigError(f"{who} does not exist.", where=str(file))
    with reading(
        file, "YAML of keys and values", "Mend the file.", error_class=ConfigError, also=_YAML
    ):
        values = load_yaml(file.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ConfigError(f"{file} holds {type(values).__name__}, expected keys and values.")
    return values


def _read_override(override: str) -> dict[str, Any]:
    """Return "section.key=value" as the layer {section: {key: value}}."""
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise ConfigError(
            f"{shown(override)} is not an override.",
            "Write section.key=value, for example stage2.steps=100",
        )
    with reading(
        f"The override {shown(override)}", "YAML", "Quote it.", error_class=ConfigError, also=_YAML
    ):
        value: Any = load_yaml(text) if text else ""
    for key in reversed(path.split(".")):
        value = {key: value}
    return _checked(value, f"The override {shown(override)}")


def _check_together(config: TrainConfig, where: str) -> None:
    """Refuse values that are each in their range, but do not go together."""
    ranks = config.ranks
    one, two = config.stage1, config.stage2
    more = "above 0, or `steps`"
    checks = [
        (
            one.epochs > 0 or one.steps > 0 or one.align_steps > 0,
            "stage1.epochs",
            one.epochs,
            f"{more}, or `align_steps`",
        ),
        (two.epochs > 0 or two.steps > 0, "stage2.epochs", two.epochs, more),
    ]
    checks += [
        (ranks.r_min <= ranks.r_ref, "ranks.r_min", ranks.r_min, f"at most r_ref, {ranks.r_ref}"),
        (
            ranks.r_max == 0 or ranks.r_max >= ranks.r_ref,
            "ranks.r_max",
            ranks.r_max,
            f"0 or at least r_ref, {ranks.r_ref}",
        ),
    ]
    faults = [
        f"{where}: `{key}` is {value}, expected {expected}."
        for holds, key, value, expected in checks
        if not holds
    ]
    share = config.data.validation
    if isinstance(share, int | float) and not 0 < share <= 0.5:
        faults.append(
            f"{where}: `data.validation` is {share}, expected a file, or a share above 0 and at "
            "most 0.5."
        )
    if config.runtime.early_stopping and share == "":
        faults.append(
            f"{where}: `runtime.early_stopping` is {config.runtime.early_stopping}, but there is "
            "no `data.validation` to tell when."
        )
    if ranks.initialization != "random" and ranks.policy in ("adalora", "full"):
        faults.append(
            f"{where}: `ranks.initialization` is {ranks.initialization}, but policy "
            f"`{ranks.policy}` does not start from it; expected random, or a policy that trains "
            "LoRA adapters."
        )
    faults += [f"{where}: {fault}" for fault in _qat_faults(config)]
    if faults:
        raise ConfigError("\n".join(faults))


def _qat_faults(config: TrainConfig) -> list[str]:
    """Return what training with the 4 bits of export does not go together with."""
    if config.stage1.qat:
        return ["`stage1.qat` is set, but stage I trains no adapter; expected `stage2.qat`."]
    if not config.stage2.qat:
        return []
    runtime, ranks = config.runtime, config.ranks
    checks = (
        (ranks.policy in ("adalora", "full"), "ranks.policy", ranks.policy, "a policy of LoRA"),
        (ranks.dropout > 0, "ranks.dropout", ranks.dropout, "0, as merged weights have none"),
        (runtime.base_precision != "full", "runtime.base_precision", "4bit", "full"),
        (runtime.compile, "runtime.compile", True, "false: weights change under the program"),
        (runtime.distributed == "fsdp", "runtime.distributed", "fsdp", "ddp: weights are whole"),
    )
    return [
        f"`{key}` is {value}, but `stage2.qat` is set; expected {expected}."
        for wrong, key, value, expected in checks
        if wrong
    ]
