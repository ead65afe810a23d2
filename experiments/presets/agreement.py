"""What presets cost, before any export: eager weights on each preset's grid, on EmojiQA questions.

Asks for the first token of each answer, once with fp32 weights and once for every variant, with
linears' inputs quantized by row to 8 bits as ExecuTorch does. Behind the choices in
`hydra_mobile.bundle.presets`. Prints a line for each variant and writes JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.presets.prompts import prompts_of
from hydra_export.quantization.calibration import Calibration, from_data, padded, self_sampled
from hydra_export.quantization.gptq import linear_units, round_int8, stacked, weights_replaced
from hydra_export.quantization.mixed_precision import plan_decoder
from hydra_export.quantization.plan import QuantizationPlan
from hydra_export.training_data import TrainingData
from hydra_mobile.benchmarks.emojiqa import EmojiQA
from hydra_mobile.bundle.presets import PRESETS, Preset
from hydra_mobile.core.files import write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.quiet import quiet
from hydra_mobile.reporting import environment
from hydra_mobile.runtimes.torch import load_artifact

_AT_ONCE = 24


def questions(model: Any, processor: Any, data: Path, limit: int) -> Calibration:
    """Return the prompts of both splits; the position that answers is the last."""
    samples = EmojiQA(data).samples(splits=("seen", "unseen"), limit=limit)
    table = model.language_model.get_input_embeddings().weight
    pieces = [
        (prompt.ids.tolist(), prompt.embeddings(table), [False] * (len(prompt.ids) - 1) + [True])
        for prompt in prompts_of(model, processor, samples)
    ]
    return padded(pieces, {})


def by_row(x: Tensor) -> Tensor:
    """Return x [..., in] as 8-bit codes with a scale and a zero point for each row hold it."""
    low, high = x.amin(-1, keepdim=True).clamp(max=0), x.amax(-1, keepdim=True).clamp(min=0)
    scale = ((high - low) / 255).clamp(min=1e-10)
    zero = (-128 - low / scale).round()
    return ((x / scale + zero).round().clamp(-128, 127) - zero) * scale


@contextlib.contextmanager
def inputs_by_row(language_model: nn.Module) -> Iterator[None]:
    """Quantize what every linear reads, for a while."""
    handles = [
        module.register_forward_pre_hook(lambda _, inputs: (by_row(inputs[0]),))
        for module in language_model.modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_tokens(language_model: Any, asked: Calibration, table: Tensor) -> Tensor:
    """Return log shares [questions, V] of the first token of each answer."""
    embeddings, found = asked.with_table(table), []
    for start in range(0, len(embeddings), _AT_ONCE):
        chunk = slice(start, start + _AT_ONCE)
        hidden = language_model.model(inputs_embeds=embeddings[chunk], use_cache=False)
        last = hidden.last_hidden_state[asked.answers[chunk]]
        found.append(language_model.lm_head(last).log_softmax(-1))
    return torch.cat(found)


def on_grid(
    language_model: Any, plan: QuantizationPlan
) -> tuple[dict[tuple[Any, ...], Tensor], Tensor]:
    """Return the weights that the plan stores, and the embedding table."""
    units: dict[str, tuple[Any, ...]] = {"head": (language_model.lm_head,)}
    for index, layer in enumerate(language_model.model.layers):
        units |= linear_units(layer, index)
    values = {}
    for name, parts in units.items():
        if name in plan.int4:
            values[parts] = plan.int4[name].values()
        elif plan.precisions[name] == "w8a8":
            values[parts] = round_int8(stacked(parts))
    table = language_model.model.embed_tokens.weight.detach().clone()
    if "embedding" in plan.int4:
        table = plan.int4["embedding"].values()
    elif plan.precisions["embedding"] == "w8":
        table = round_int8(table)
    return values, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quickstart", type=Path, default=Path("quickstart"))
    parser.add_argument("--questions", type=int, default=96, help="per split")
    parser.add_argument("--budgets", type=float, nargs="*", default=[0.34])
    parser.add_argument("--out", type=Path, default=Path("experiments/presets/agreement.json"))
    arguments = parser.parse_args()
    quiet()
    int4 = PRESETS["int4"]
    whole = dataclasses.replace(int4, sensitive=None)
    model, processor = load_artifact(arguments.quickstart / "run" / "merged")
    model.requires_grad_(False)
    language_model: Any = model.language_model
    data = arguments.quickstart / "emojiqa"
    asked = questions(model, processor, data, arguments.questions)
    task = from_data(model, processor, TrainingData(data / "train_stage2.json"))
    own = self_sampled(model, processor.image.size)
    variants: dict[str, tuple[Preset, Calibration]] = {
        "int8": (PRESETS["int8"], own),
        "int4, nearest": (dataclasses.replace(whole, rounding="nearest"), own),
        "int4, GPTQ on the model's own text": (whole, own),
        "int4, GPTQ on training data": (whole, task),
    }
    for budget in arguments.budgets:
        preset = dataclasses.replace(int4, budget=budget)
        variants[f"int4, GPTQ on training data, budget {budget}"] = (preset, task)
    results: dict[str, Any] = {}
    with torch.no_grad():
        table = language_model.model.embed_tokens.weight.detach().clone()
        reference = first_tokens(language_model, asked, table)
        for name, (preset, calibration) in variants.items():
            plan = plan_decoder(model, preset, calibration, processor.image.size, lambda _: None)
            weights, rows = on_grid(language_model, plan)
            with weights_replaced(weights), inputs_by_row(language_model):
                found = first_tokens(language_model, asked, rows)
            divergence = (reference.exp() * (reference - found)).sum(-1)
            same = (reference.argmax(-1) == found.argmax(-1)).float().mean()
            results[name] = {
                "divergence_mean": float(divergence.mean()),
                "divergence_median": float(divergence.median()),
                "same_first_token": float(same),
                "kept_at_8_bits": sum(value == "w8a8" for value in plan.precisions.values()),
                "preset": preset.to_dict(),
            }
            print(
                f"{name:<44} KL {divergence.mean():.4f} (median {divergence.median():.4f})  "
                f"same first token {same:.1%}",
                flush=True,
            )
            write_json(
                arguments.out,
                {
                    "what": "Eager weights on each preset's grid against fp32, first answer tokens",
                    "questions": len(asked.ids),
                    "environment": json.loads(dumps(vars(environment.collect()))),
                    "results": results,
                },
            )


if __name__ == "__main__":
    main()
