"""A model made ready for training: loaded, placed, frozen, in its precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import nn

from hydra_mobile.adapters.identity import BaseIdentity, base_identity
from hydra_mobile.config import StageConfig, TrainConfig
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.memory import keep_freed_memory
from hydra_mobile.models.families import family_of
from hydra_mobile.models.finite import require_finite_weights
from hydra_mobile.models.loading import load_model, load_processor, require_same_pictures
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.registry import Log, base_folder
from hydra_mobile.models.templates import template_named
from hydra_mobile.models.tiles import Grid
from hydra_mobile.models.vision_language import VisionLanguageModel
from hydra_mobile.training.machine import choose_precision, set_threads
from hydra_mobile.training.optimizer import NamedAdamW
from hydra_mobile.training.processes import Processes

_LONGEST_WAIT = timedelta(hours=12)
#: Tokens up to which a row is short: plain attention keeps a square of them for each head.
_SHORT_ROW = 256


class TrainingModel:
    """The base model of a run on its device."""

    def __init__(self, config: TrainConfig, log: Log, base_revision: str = "") -> None:
        """Load the base.

        Args:
            config: of the run.
            log: receives a line for each step.
            base_revision: commit of the hub that a run began with; "": none is known.
        """
        self.config = config
        keep_freed_memory()
        folder = base_folder(config.base, log, base_revision)
        cpu = not torch.cuda.is_available()
        device = torch.device("cpu" if cpu else "cuda")
        self.precision, reason = choose_precision(config.runtime, device)
        self.accelerator = Accelerator(
            cpu=cpu,
            mixed_precision="bf16" if self.precision == "bf16" else "no",
            # The others wait while the first process tokenizes or computes features.
            kwargs_handlers=[InitProcessGroupKwargs(timeout=_LONGEST_WAIT)],
        )
        self.processes = Processes(self.accelerator, config)
        threads = set_threads(config.runtime, self.processes.count)
        self.base_folder: Path = folder
        self.base: BaseIdentity = base_identity(folder)
        self.processors = {
            "stage1": self._processor(config.stage1),
            "stage2": self._processor(config.stage2),
        }
        # Dropout is the only user of the global generator; data order has its own.
        torch.manual_seed(config.seed + self.processes.index)
        self.model = self._load(device)
        require_same_pictures(folder, self.model, self.processor)
        if config.runtime.base_precision == "4bit":
            from hydra_mobile.models.four_bit import quantize_linears

            dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
            device = self.accelerator.device
            layers = f"{self.model.layers_name}."
            quantize_linears(self.model.whole, inside=layers, compute_dtype=dtype, device=device)
        self.model.projector.requires_grad_(True)
        self.processes.shard(self.model)
        self.model.to(self.accelerator.device)
        if config.runtime.gradient_checkpointing:
            # Frozen embeddings would leave the first layer's input without a graph; the
            # non-reentrant kind does not need one.
            self.model.language_model.activation_checkpointing_enable({"use_reentrant": False})
        log(
            f"device {self.accelerator.device}, {threads} threads"
            f"{self.processes.summary()}; precision {self.precision} ({reason}); "
            f"base {self.base.name}"
        )

    def _load(self, device: torch.device) -> VisionLanguageModel:
        """Return the base, frozen, its parts in the dtypes that they train in."""
        # In the file's dtype: a large base would take twice its size in fp32 on the way.
        model = load_model(self.base_folder, dtype="auto")
        require_finite_weights(model.whole, self.base_folder)
        model.requires_grad_(False)
        bf16 = self.precision == "bf16"
        # Full fine-tuning needs master weights in fp32; autocast computes in bf16 either way.
        whole = self.config.ranks.policy == "full"
        model.language_model.to(torch.bfloat16 if bf16 and not whole else torch.float32)
        # On a CPU features are computed once and kept: exactly.
        model.vision_tower.to(torch.bfloat16 if bf16 and device.type == "cuda" else torch.float32)
        model.projector.to(torch.float32)
        return model

    def fit_attention(self, longest: int) -> None:
        """Choose how the text model attends, by the longest row in tokens.

        On a CPU torch's fused attention takes three times as long as plain matrix products, forward
        and backward, where rows are short (experiments/quickstart/parts.py).
        """
        # Of the text model itself: what holds it and its head may be no class of transformers.
        text = self.model.language_model.model
        if (
            self.accelerator.device.type == "cpu"
            and self.model.row_text.plain
            and longest <= _SHORT_ROW
            and text.config._attn_implementation == "sdpa"
        ):
            text.set_attn_implementation("eager")

    @property
    def processor(self) -> MobileVLMProcessor:
        """Template and preprocessing of stage II, which the result keeps."""
        return self.processors["stage2"]

    def _processor(self, stage: StageConfig) -> MobileVLMProcessor:
        tiles = self.config.data.tiles
        processor = load_processor(self.base_folder, tiles=Grid.parse(tiles) if tiles else None)
        template = stage.template or self.config.data.template
        family = family_of(self.base_folder)
        if family.derives_prompts and (template or stage.image_fit):
            raise _not_to_choose(self.base_folder, template, stage.image_fit)
        if template:
            processor.template = template_named(template)
        if stage.image_fit:
            processor.image = replace(processor.image, fit=stage.image_fit)
        return processor

    def projector_parameters(self) -> dict[str, nn.Parameter]:
        """Return the projector's parameters by full name."""
        name = self.model.projector_name
        return {f"{name}.{n}": p for n, p in self.model.projector.named_parameters()}

    def optimizer(self, stage: str, adapters: Mapping[str, nn.Parameter]) -> NamedAdamW:
        """Return a fresh optimizer over what `stage` trains.

        Args:
            stage: "stage1" trains the projector only.
            adapters: what stage II trains along with it.
        """
        projector = self.projector_parameters()
        if stage == "stage1":
            config = self.config.stage1
            return NamedAdamW({"projector": (config.learning_rate, projector)}, config)
        config = self.config.stage2
        rate = config.projector_learning_rate or config.learning_rate
        groups = {"adapters": (config.learning_rate, adapters), "projector": (rate, projector)}
        return NamedAdamW(groups, config)


def _not_to_choose(base: Path, template: str, fit: str | None) -> ConfigError:
    """Return the error for a setting that a base's own files decide."""
    asked = f"template={template}" if template else f"image_fit={fit}"
    return ConfigError(
        f"`{asked}` was asked for, and {base} says in its own files how questions and pictures "
        "are written.",
        "Leave it out: template and preprocessing are derived from the checkpoint.",
    )
