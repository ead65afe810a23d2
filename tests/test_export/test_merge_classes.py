"""Merging into classes of transformers whose tensors have other names on disk than in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_families import TEXT
from trainer_models import llava

from hydra_export.merge import merge
from hydra_mobile.adapters.budget import Budget
from hydra_mobile.adapters.identity import base_identity
from hydra_mobile.adapters.lora import inject
from hydra_mobile.adapters.lora_layers import lora_tensors
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.adapters.save_load import save_adapter


def qwen() -> Any:
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 4,
        "out_hidden_size": 64,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    text = {**TEXT, "vocab_size": 320, "rope_parameters": rope}
    config = transformers.Qwen2_5_VLConfig(vision_config=vision, text_config=text)
    return transformers.Qwen2_5_VLForConditionalGeneration(config).eval()


OTHERS = {"Llava": lambda: llava().eval(), "Qwen2_5_VL": qwen}


@pytest.mark.parametrize("kind", ["Llava", "Qwen2_5_VL"])
def test_an_adapter_of_a_class_without_a_family_merges_too(kind: str, tmp_path: Path) -> None:
    """transformers renames the tensors of these classes between a file and memory."""
    base = tmp_path / "base"
    model = OTHERS[kind]()
    model.save_pretrained(base)
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and ".layers." in name and "language" in name
    ]
    ids = torch.tensor([[5, 6, 7, 8]])
    inject(model, RankMap(dict.fromkeys(names, 4)), r_ref=4, alpha_ref=8.0)
    with torch.no_grad():
        for _, b in lora_tensors(model).values():
            b.add_(0.1)
        wanted = model(input_ids=ids).logits
    save_adapter(
        model,
        tmp_path / "adapter",
        rank_map=RankMap(dict.fromkeys(names, 4)),
        budget=Budget.of(model, names, 4),
        alpha_ref=8.0,
        base=base_identity(base),
    )
    merge(base, tmp_path / "adapter", tmp_path / "merged")
    merged = type(model).from_pretrained(tmp_path / "merged").eval()
    with torch.no_grad():
        found = merged(input_ids=ids).logits
        before = type(model).from_pretrained(base).eval()(input_ids=ids).logits
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    assert (found - before).abs().max() > 0.01
