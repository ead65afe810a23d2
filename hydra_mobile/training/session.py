"""A model made ready for training: loaded, placed, frozen, in its precision.

Knows how to build the model and which of its tensors train in which stage; knows no data and no
loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hydra_mobile.adapters.identity import BaseIdentity, base_identity
from hydra_mobile.adapters.lora import inject, lora_parameters
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.config import TrainConfig
from hydra_mobile.data.templates import template_named
from hydra_mobile.errors import HydraError
from hydra_mobile.memory import keep_freed_memory
from hydra_mobile.models.bases import Log, base_folder
from hydra_mobile.models.loading import load_model
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.training.machine import choose_precision, set_threads
from hydra_mobile.training.optimizer import NamedAdamW


class Session:
    """The base model of a run on its device."""

    def __init__(self, config: TrainConfig, log: Log) -> None:
        self.config = config
        keep_freed_memory()
        threads = set_threads(config.runtime)
        folder = base_folder(config.base, log)
        cpu = not torch.cuda.is_available()
        device = torch.device("cpu" if cpu else "cuda")
        self.precision, reason = choose_precision(config.runtime, device)
        self.accelerator = Accelerator(
            cpu=cpu, mixed_precision="bf16" if self.precision == "bf16" else "no"
        )
        if self.accelerator.num_processes > 1:
            raise HydraError(
                f"Training was started in {self.accelerator.num_processes} processes; "
                "this version trains in one.",
                "Start it with `hydra-mobile train`, without torchrun or accelerate launch.",
            )
        self.base_folder: Path = folder
        self.base: BaseIdentity = base_identity(folder)
        self.processor = MobileVLMProcessor.from_pretrained(folder)
        if config.data.template:
            self.processor.template = template_named(config.data.template)
        # Dropout is the only user of the global generator; data order has its own.
        torch.manual_seed(config.seed)
        self.model = load_model(folder)
        self.model.requires_grad_(False)
        if self.precision == "bf16":
            self.model.language_model.to(torch.bfloat16)
        self.model.projector.requires_grad_(True)
        self.model.to(self.accelerator.device)
        if config.runtime.gradient_checkpointing:
            self.model.language_model.gradient_checkpointing_enable({"use_reentrant": False})
        log(
            f"device {self.accelerator.device}, {threads} threads; "
            f"precision {self.precision} ({reason}); base {self.base.name}"
        )

    def inject(self, rank_map: RankMap) -> None:
        """Put adapters of `rank_map` into the model."""
        ranks = self.config.ranks
        inject(
            self.model,
            rank_map,
            r_ref=ranks.r_ref,
            alpha_ref=ranks.alpha_ref,
            dropout=ranks.dropout,
            seed=self.config.seed,
        )

    def projector_parameters(self) -> dict[str, nn.Parameter]:
        """Return the projector's parameters by full name."""
        return {f"projector.{n}": p for n, p in self.model.projector.named_parameters()}

    def trained(self) -> dict[str, nn.Parameter]:
        """Return all parameters that train now, by name."""
        return self.projector_parameters() | lora_parameters(self.model)

    def optimizer(self, stage: str) -> NamedAdamW:
        """Return a fresh optimizer over what `stage` trains."""
        projector = self.projector_parameters()
        if stage == "stage1":
            config = self.config.stage1
            return NamedAdamW({"projector": (config.learning_rate, projector)}, config)
        config = self.config.stage2
        rate = config.projector_learning_rate or config.learning_rate
        return NamedAdamW(
            {
                "adapters": (config.learning_rate, lora_parameters(self.model)),
                "projector": (rate, projector),
            },
            config,
        )

    @torch.no_grad()
    def load_trained(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy tensors from a checkpoint into the parameters of the same names."""
        parameters = self.trained()
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])
