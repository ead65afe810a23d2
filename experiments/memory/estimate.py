"""How far what `train` says about its memory is from the peak that real steps reach.

Base `smol` with LoRA of rank 16 on random tokens, each configuration in a process of its own.
Every configuration runs under two settings of the C library's allocator: `kept`, as the trainer
sets it (freed memory stays in the heap), and `returned` (every tensor of 64 KiB or more is mapped
by itself and goes back to the system when freed). The simulation is the same for both; the first
leaves holes in the heap, which no estimate from live tensors can see and which the trial step on
the largest batch, in a process of its own here, measures. Writes JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from hydra_mobile.adapters.lora import inject
from hydra_mobile.adapters.rank_map import RankMap
from hydra_mobile.core.files import write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.memory import keep_freed_memory, peak_resident_bytes
from hydra_mobile.models.loading import load_model
from hydra_mobile.models.registry import fetch
from hydra_mobile.reporting import environment
from hydra_mobile.training.adapted_modules import adapted_modules
from hydra_mobile.training.memory.dry_peak import dry_peak
from hydra_mobile.training.memory.estimate import estimate

# rows, tokens, precision, gradient checkpointing
CONFIGURATIONS = (
    (2, 100, "fp32", False),
    (2, 300, "bf16", False),
    (8, 200, "fp32", False),
    (8, 200, "bf16", False),
    (8, 200, "fp32", True),
    (16, 100, "bf16", True),
)
ALLOCATORS = ("kept", "returned")
_M_MMAP_THRESHOLD = -3
_STEPS = 2
_RANK = 16
_OUT = Path("experiments/memory/estimate.json")


def batch(model: Any, rows: int, tokens: int) -> dict[str, Any]:
    """Random rows: the picture first, then text of which the last third is learned."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, model.config.text_config.vocab_size, (rows, tokens), generator=generator)
    ids[:, : model.config.num_image_tokens] = model.config.image_token_id
    labels = ids.clone()
    labels[:, : 2 * tokens // 3] = -100
    tower = model.vision_tower
    return {
        "input_ids": ids,
        "labels": labels,
        "position_ids": torch.arange(tokens).repeat(rows, 1),
        "attention_mask": torch.ones(tokens, tokens).bool().tril().repeat(rows, 1, 1, 1),
        "vision_features": torch.randn(rows, tower.num_patches, tower.feature_size),
        "use_cache": False,
    }


def measure(
    rows: int, tokens: int, precision: str, checkpointing: bool, allocator: str, rehearsal: bool
) -> dict[str, Any]:
    """Estimate the peak, then measure it on a trial step, or take real steps and measure it."""
    if allocator == "kept":
        keep_freed_memory()
    else:
        ctypes.CDLL("libc.so.6").mallopt(_M_MMAP_THRESHOLD, 64 * 1024)
    torch.manual_seed(0)
    model = load_model(fetch("smol"))
    model.requires_grad_(False)
    model.projector.requires_grad_(True)
    if precision == "bf16":
        model.language_model.to(torch.bfloat16)
    if checkpointing:
        model.language_model.gradient_checkpointing_enable({"use_reentrant": False})
    ranks = RankMap(dict.fromkeys(adapted_modules(model), _RANK))
    inject(model, ranks, r_ref=_RANK, alpha_ref=2.0 * _RANK)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    began = time.monotonic()
    estimated = estimate(
        model,
        trained,
        lambda: batch(model, rows, tokens),
        autocast_dtype=torch.bfloat16 if precision == "bf16" else None,
        device=torch.device("cpu"),
    )
    seconds = time.monotonic() - began
    if rehearsal:
        began = time.monotonic()
        peak = dry_peak(
            model,
            trained,
            lambda: batch(model, rows, tokens),
            autocast_dtype=torch.bfloat16 if precision == "bf16" else None,
            device=torch.device("cpu"),
        )
        return {"rehearsed": peak, "seconds_to_rehearse": round(time.monotonic() - began, 2)}
    before = peak_resident_bytes()
    optimizer = torch.optim.AdamW(trained, fused=True)
    spent = []
    for _ in range(_STEPS):
        start = time.process_time()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = model(**batch(model, rows, tokens)).loss
        loss.backward()
        del loss
        optimizer.step()
        optimizer.zero_grad()
        spent.append(round(time.process_time() - start, 2))
    measured = peak_resident_bytes()
    return {
        "rows": rows,
        "tokens": tokens,
        "precision": precision,
        "gradient_checkpointing": checkpointing,
        "allocator": allocator,
        "estimate": vars(estimated) | {"total": estimated.total},
        "measured": measured,
        "ratio": round(estimated.total / measured, 4),
        "peak_before_the_first_step": before,
        "seconds_to_estimate": round(seconds, 2),
        "cpu_seconds_of_steps": spent,
    }


def one(arguments: list[Any]) -> dict[str, Any]:
    """Return what `measure` says in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, "--one", dumps(arguments)],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("experiments/memory/estimate.json"))
    parser.add_argument("--allocators", nargs="+", choices=ALLOCATORS, default=list(ALLOCATORS))
    parser.add_argument("--one", help="measure one configuration (JSON list) and print it")
    arguments = parser.parse_args()
    if arguments.one:
        print(dumps(measure(*json.loads(arguments.one))))
        return
    results = []
    for allocator in arguments.allocators:
        for configuration in CONFIGURATIONS:
            result = one([*configuration, allocator, False])
            result |= one([*configuration, allocator, True])
            result["rehearsed_ratio"] = round(result["rehearsed"] / result["measured"], 4)
            results.append(result)
            print(
                f"{allocator:<9} {result['rows']:>2} x {result['tokens']} {result['precision']} "
                f"{'checkpointed' if result['gradient_checkpointing'] else '':<12} "
                f"estimate {result['estimate']['total'] / 2**20:6,.0f} MiB, measured "
                f"{result['measured'] / 2**20:6,.0f} MiB, simulated {result['ratio']:.2f} of it in "
                f"{result['seconds_to_estimate']} s, rehearsed {result['rehearsed_ratio']:.2f} in "
                f"{result['seconds_to_rehearse']} s; steps {result['cpu_seconds_of_steps']}",
                flush=True,
            )
    write_json(
        arguments.out,
        {
            "base": "smol",
            "rank": _RANK,
            "environment": vars(environment.collect()),
            "runs": results,
        },
    )


if __name__ == "__main__":
    main()
