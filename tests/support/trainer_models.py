"""Tiny random models and data for a transformers Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    Trainer,
    TrainingArguments,
)
from transformers.models.smolvlm.configuration_smolvlm import SmolVLMVisionConfig

IMAGE_TOKEN = 127
LAYERS = ".*layers.*_proj"


def text_config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=128,
        hidden_size=16,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=32,
    )


def llama(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(text_config())


def llava() -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        projection_dim=16,
    )
    return LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision,
            text_config=text_config(),
            image_token_index=IMAGE_TOKEN,
            vision_feature_layer=-1,
        )
    )


def smolvlm() -> SmolVLMForConditionalGeneration:
    torch.manual_seed(0)
    vision = SmolVLMVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )
    return SmolVLMForConditionalGeneration(
        SmolVLMConfig(
            vision_config=vision,
            text_config=text_config(),
            scale_factor=2,
            image_token_id=IMAGE_TOKEN,
            pad_token_id=0,
        )
    )


def texts(rows: int = 64) -> list[dict[str, Tensor]]:
    """Learnable sequences: each token is the one before plus a constant of the row."""
    generator = torch.Generator().manual_seed(5)
    made = []
    for _ in range(rows):
        start, stride = torch.randint(1, 60, (2,), generator=generator).tolist()
        ids = torch.tensor([(start + stride * i) % 120 + 1 for i in range(8)])
        made.append({"input_ids": ids, "labels": ids.clone()})
    return made


def pictures(shape: tuple[int, ...], image_tokens: int, rows: int = 32) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(6)
    made = []
    for row in texts(rows):
        ids = torch.cat([torch.full((image_tokens,), IMAGE_TOKEN), row["input_ids"]])
        labels = torch.cat([torch.full((image_tokens,), -100), row["labels"]])
        values = torch.randn(shape, generator=generator)
        made.append({"input_ids": ids, "labels": labels, "pixel_values": values})
    return made


def batches(data: list[dict[str, Tensor]], size: int = 2) -> list[dict[str, Tensor]]:
    """Collate rows by hand."""
    return [
        {key: torch.stack([row[key] for row in data[i : i + size]]) for key in data[0]}
        for i in range(0, len(data), size)
    ]


def arguments(folder: Path, **more: Any) -> TrainingArguments:
    given: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": 12,
        "per_device_train_batch_size": 2,
        "learning_rate": 5e-3,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "logging_steps": 100,
        "bf16": False,
        "seed": 3,
    }
    return TrainingArguments(**(given | more))


def trainer(model: nn.Module, folder: Path, callbacks: list[Any], **more: Any) -> Trainer:
    data = more.pop("data", None) or texts()
    return Trainer(
        model=model,
        args=arguments(folder, **more),
        train_dataset=data,
        callbacks=callbacks,
    )
