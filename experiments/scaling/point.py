"""One point of the scaling experiment, in a process of its own: builds, exports or trains a model.

    python -m experiments.scaling.point TASK REQUEST.json

The model is random: a MobileVLM whose vision part is next to nothing, so that what is measured is
the language part's. Prints one line of JSON last. Started by `run.py`.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.memory import keep_freed_memory, peak_resident_bytes
from hydra_mobile.core.quiet import quiet
from hydra_mobile.models.configuration import MobileVLMConfig
from hydra_mobile.models.modeling import MobileVLMForConditionalGeneration
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.registry import fetch
from hydra_mobile.models.save import write_base

VOCABULARY = 8192
_RANK, _BATCH, _TOKENS = 16, 4, 64


def config_of(layers: int, width: int) -> MobileVLMConfig:
    """Return a Llama of `layers` layers and hidden size `width`, proportioned as usual."""
    size = 64 if width >= 128 else 16
    return MobileVLMConfig(
        vision_config={
            "model_type": "patch_conv",
            "image_size": 32,
            "patch": 8,
            "feature_size": 32,
        },
        projector_config={"model_type": "pooled_mlp", "tokens": 4},
        text_config={
            "hidden_size": width,
            "intermediate_size": round(width * 8 / 3 / 64) * 64,
            "num_hidden_layers": layers,
            "num_attention_heads": width // size,
            "num_key_value_heads": width // size,
            "head_dim": size,
            "vocab_size": VOCABULARY,
            "max_position_embeddings": 1024,
            "tie_word_embeddings": True,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 2,
        },
        image_token_id=VOCABULARY,
        num_image_tokens=4,
        dtype="float32",
    )


def build(layers: int, width: int, folder: Path) -> dict[str, Any]:
    """Write the model as a merged folder and return how many weights it has."""
    folder.mkdir(parents=True)
    model = write_random(config_of(layers, width), f"random-{layers}x{width}", folder)
    return {"weights": sum(p.numel() for p in model.parameters())}


def write_random(
    config: MobileVLMConfig, name: str, folder: Path
) -> MobileVLMForConditionalGeneration:
    """Write random weights of a configuration from `config_of` as a base; return the model."""
    processor = MobileVLMProcessor.from_pretrained(fetch("tiny"))
    processor.image = dataclasses.replace(processor.image, size=32)
    processor.image_token_id = config.image_token_id
    processor.num_image_tokens = config.num_image_tokens
    torch.manual_seed(0)
    model = MobileVLMForConditionalGeneration(config).eval()
    write_base(folder, name, model, processor)
    return model


def exported(merged: Path, out: Path, runtime: str, preset: str) -> Bundle:
    """Export for Android with one golden question."""
    from hydra_export.export import export_bundle
    from hydra_export.golden_samples import golden_inputs

    return export_bundle(
        merged,
        target="android",
        runtime=runtime,
        preset=preset,
        out=out,
        golden_inputs=golden_inputs(merged)[:1],
    )


def export(merged: Path, out: Path, runtime: str, preset: str) -> dict[str, Any]:
    """Export and return seconds, the process's peak, bytes of programs and the memory estimate."""
    from hydra_export.targets import target_of

    before, began = peak_resident_bytes(), time.perf_counter()
    bundle = exported(merged, out, runtime, preset)
    files = bundle.manifest["files"].values()
    beside = ("tokenizer", "golden", "golden_image", "golden_vectors")
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "peak_bytes": peak_resident_bytes(),
        "imports_bytes": before,
        "program_bytes": sum(int(f["bytes"]) for f in files if f["role"] not in beside),
        "footprint_bytes": target_of(bundle.manifest).memory(bundle.manifest).peak,
    }


def event(layers: int, width: int, repeats: int) -> dict[str, Any]:
    """Time training steps, and rank events that change every adapted module with its moments.

    A step: forward, backward and AdamW of rank-16 LoRA on the seven linears of each layer, 4 rows
    of 64 tokens, fp32. An event: half of the modules shrink from 16 to 8, then the others grow from
    8 to 16, weights, gradients' owners and both moments of Adam along with them.
    """
    from hydra_mobile.adapters.budget import Budget
    from hydra_mobile.adapters.lora import inject, lora_parameters
    from hydra_mobile.adapters.rank_map import RankMap
    from hydra_mobile.adapters.resize import resize
    from hydra_mobile.training.adapted_modules import adapted_modules

    keep_freed_memory()
    torch.manual_seed(0)
    model = MobileVLMForConditionalGeneration(config_of(layers, width)).requires_grad_(False)
    names = adapted_modules(model)
    budget = Budget.of(model, names, _RANK)
    maps = [
        RankMap(
            {name: _RANK if index % 2 == odd else _RANK // 2 for index, name in enumerate(names)}
        )
        for odd in (0, 1)
    ]
    inject(model, maps[0], r_ref=_RANK, alpha_ref=2.0 * _RANK)
    optimizer = torch.optim.AdamW(list(lora_parameters(model).values()), lr=1e-4)
    ids = torch.randint(3, VOCABULARY, (_BATCH, _TOKENS))
    steps, events = [], []
    for number in range(repeats + 1):
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        trained = time.perf_counter()
        resize(model, maps[(number + 1) % 2], budget, [optimizer], event=number)
        ended = time.perf_counter()
        # The first step makes the moments and the thread pool.
        if number:
            steps.append(trained - began)
            events.append(ended - trained)
    return {
        "weights": sum(p.numel() for p in model.parameters()),
        "lora": sum(p.numel() for p in lora_parameters(model).values()),
        "modules": len(names),
        "step_seconds": [round(s, 5) for s in steps],
        "event_seconds": [round(s, 5) for s in events],
        "event_in_steps": round(statistics.median(events) / statistics.median(steps), 4),
    }


def main() -> None:
    quiet()
    task, request = sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    layers, width = request["layers"], request["width"]
    if task == "build":
        answer = build(layers, width, Path(request["merged"]))
    elif task == "export":
        answer = export(
            Path(request["merged"]), Path(request["out"]), request["runtime"], request["preset"]
        )
    else:
        answer = event(layers, width, request["repeats"])
    print(dumps(answer), flush=True)


if __name__ == "__main__":
    main()
