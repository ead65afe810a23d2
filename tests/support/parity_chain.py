"""A chain of forms of one model: adapter, merged model and bundle, on base `tiny`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from hydra_export.export import export_bundle
from hydra_export.targets import Limits
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.identity import base_identity
from hydra_mobile.adapters.lora import inject, lora_parameters
from hydra_mobile.adapters.policies import PolicyInput, allocate
from hydra_mobile.adapters.save_load import save_adapter
from hydra_mobile.models.loading import load_model
from hydra_mobile.parity.suite import ParityResult, run_suite

ONE, TWO = "adapter → merged", "merged → ONNX Runtime fp32"
PARTS = ("preprocessing", "prompt", "vision", "projector", "decoder", "greedy", "whole")
LIMITS = Limits(max_context=80, max_prefill=16)


class Chain(NamedTuple):
    """Three forms of one model."""

    adapter: Path
    merged: Path
    bundle: Path

    def run_suite(self, **more: Any) -> ParityResult:
        return run_suite(self.bundle, **{"adapter": self.adapter, "merged": self.merged, **more})


def make_adapter(base: Path, folder: Path, within: str = "layers") -> Path:
    """Write an adapter with random ranks and weights on the linears whose names hold `within`."""
    model = load_model(base)
    names = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and within in n]
    budget = Budget.of(model, names, 4)
    rank_map = allocate("random", PolicyInput(budget, rank_step=1, r_min=0, seed=2))
    inject(model, rank_map, r_ref=4, alpha_ref=8.0)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in lora_parameters(model).values():
            parameter.normal_(std=0.2, generator=generator)
    projector = {f"projector.{k}": v * 1.5 for k, v in model.projector.state_dict().items()}
    save_adapter(
        model,
        folder,
        rank_map=rank_map,
        budget=budget,
        alpha_ref=8.0,
        base=base_identity(base),
        extra_tensors={"projector.safetensors": projector},
    )
    return folder


def export(
    merged: Path, out: Path, inputs: Any, runtime: str = "onnx", preset: str = "fp32"
) -> Path:
    bundle = export_bundle(
        merged,
        target="android",
        runtime=runtime,
        preset=preset,
        out=out,
        golden_inputs=inputs,
        limits=LIMITS,
    )
    return bundle.folder
