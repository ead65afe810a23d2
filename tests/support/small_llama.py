"""A tiny vision-language stand-in: a Llama named `language_model` beside other linears."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from hydra_mobile.adapters.budget import Budget

KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class TinyVLM(nn.Module):
    """Has linears that must never be adapted: a tower with a `q_proj` and a projector."""

    def __init__(self) -> None:
        super().__init__()
        self.vision_tower = nn.Module()
        self.vision_tower.q_proj = nn.Linear(8, 8)
        self.projector = nn.Linear(8, 32)
        config = LlamaConfig(
            hidden_size=32,
            intermediate_size=88,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=128,
            max_position_embeddings=64,
        )
        self.language_model = LlamaForCausalLM(config)

    def forward(self, ids: Tensor) -> Tensor:
        return self.language_model(input_ids=ids).logits


def language_linears(model: nn.Module) -> list[str]:
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return [name for name in names if ".layers." in name and name.endswith(KINDS)]


def mobilellama_budget(layers: int, hidden: int, inter: int, heads: int) -> Budget:
    """Make the ledger of a MobileLLaMA at rank 128, on the meta device."""
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=inter,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        vocab_size=32000,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    return Budget.of(model, language_linears(model), 128)
