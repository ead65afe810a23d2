"""One training of the peer: transformers' Trainer with peft, in a process of its own.

    python -m experiments.training_speed.peer REQUEST.json

What somebody writes who has peft's and the Trainer's documentation: a dataset of single questions,
a collator that pads, LoRA on the language model's linears, the projector trained beside it, the
vision tower in every forward. Variants: `head` computes the output layer for answers only, as our
model does when it is given labels; without, for all positions, as the models of transformers do.
Prints one line of JSON last. Started by `run.py`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from peft import AdaLoraConfig, LoraConfig, get_peft_model
from torch import Tensor
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.loss.loss_utils import ForCausalLMLoss

from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.memory import peak_resident_bytes
from hydra_mobile.core.quiet import quiet
from hydra_mobile.data.llava import Record, read_llava
from hydra_mobile.models.loading import load_model
from hydra_mobile.models.pictures import open_picture
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.registry import base_folder
from hydra_mobile.models.templates import IGNORE_INDEX
from hydra_mobile.training.adapted_modules import adapted_modules

Item = dict[str, Tensor]


class Questions(Dataset[Item]):
    """One conversation an item, read and prepared when it is asked for."""

    def __init__(self, records: list[Record], processor: MobileVLMProcessor) -> None:
        self.records = records
        self.processor = processor

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Item:
        record = self.records[index]
        encoded = self.processor.encode_record(record.turns, with_image=True)
        ids = [*encoded.prefix, *encoded.ids]
        labels = [IGNORE_INDEX] * len(encoded.prefix) + list(encoded.labels)
        assert record.image is not None
        pixels = self.processor.preprocess(open_picture(record.image, record.id))
        return {
            "input_ids": torch.tensor(ids),
            "labels": torch.tensor(labels),
            "pixel_values": torch.from_numpy(pixels),
        }


def collate(items: list[Item]) -> Item:
    """Pad on the right to the longest."""
    length = max(len(item["input_ids"]) for item in items)
    batch = {
        "input_ids": torch.zeros(len(items), length, dtype=torch.long),
        "attention_mask": torch.zeros(len(items), length, dtype=torch.long),
        "labels": torch.full((len(items), length), IGNORE_INDEX),
        "pixel_values": torch.stack([item["pixel_values"] for item in items]),
    }
    for row, item in enumerate(items):
        count = len(item["input_ids"])
        batch["input_ids"][row, :count] = item["input_ids"]
        batch["attention_mask"][row, :count] = 1
        batch["labels"][row, :count] = item["labels"]
    return batch


class WholeHead(Trainer):
    """Logits at all positions, then the loss that transformers' language models share."""

    def compute_loss(  # noqa: D102 (as the Trainer's)
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = ForCausalLMLoss(outputs.logits, labels, outputs.logits.shape[-1])
        return (loss, outputs) if return_outputs else loss


class Clock(TrainerCallback):
    """Notes when each optimizer step ended, and its loss; reallocates AdaLoRA's ranks."""

    def __init__(self, model: Any, adalora: bool) -> None:
        self.model = model
        self.adalora = adalora
        self.ended: list[float] = []

    def on_optimizer_step(  # noqa: D102 (as the Trainer's)
        self, args: Any, state: Any, control: Any, **kwargs: Any
    ) -> None:
        # As peft's documentation: after the step, before the gradients are dropped.
        if self.adalora:
            self.model.base_model.update_and_allocate(state.global_step)

    def on_step_end(  # noqa: D102 (as the Trainer's)
        self, args: Any, state: Any, control: Any, **kwargs: Any
    ) -> None:
        self.ended.append(time.perf_counter())


def adapted(model: Any, request: dict[str, Any]) -> Any:
    """Return the peft model whose adapters and projector are trained."""
    common: dict[str, Any] = {
        "target_modules": adapted_modules(model),
        "lora_alpha": request["alpha"],
    }
    if request["peer"] == "adalora":
        config: Any = AdaLoraConfig(
            # peft's rule of thumb: half as much again to begin with.
            init_r=request["rank"] * 3 // 2,
            target_r=request["rank"],
            total_step=request["steps"],
            tinit=request["steps"] // 10,
            tfinal=request["steps"] * 3 // 10,
            **common,
        )
    else:
        config = LoraConfig(r=request["rank"], **common)
    wrapped = get_peft_model(model, config)
    for name, parameter in wrapped.named_parameters():
        if ".projector." in name:
            parameter.requires_grad_(True)
    return wrapped


def main() -> None:
    quiet()
    request = json.loads(Path(sys.argv[1]).read_text())
    torch.manual_seed(0)
    folder = base_folder("smol")
    model = adapted(load_model(folder), request)
    data = Questions(read_llava(Path(request["data"])), MobileVLMProcessor.from_pretrained(folder))
    clock = Clock(model, request["peer"] == "adalora")
    kind = Trainer if request["peer"] == "head" else WholeHead
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            output_dir=out,
            per_device_train_batch_size=request["batch"],
            max_steps=request["steps"],
            learning_rate=5e-4,
            lr_scheduler_type="cosine",
            use_cpu=True,
            save_strategy="no",
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            seed=0,
        )
        trainer = kind(
            model=model,
            args=arguments,
            train_dataset=data,
            data_collator=collate,
            callbacks=[clock],
        )
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    answer = {
        "ended": clock.ended,
        "losses": losses,
        "peak_bytes": peak_resident_bytes(),
        "trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }
    print(dumps(answer))


if __name__ == "__main__":
    main()
