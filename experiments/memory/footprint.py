"""How far the footprint that `export` writes is from the memory that running a bundle takes.

Random models of three sizes, exported for each runtime in fp32 and int4, and any bundles named by
`--bundles`. Every bundle runs in two processes: one that imports the runtime and stops, and one
that loads, encodes a picture, prefills as much as one call may and decodes some tokens. What the
second holds more than the first is the model's. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from hydra_export.export import export_bundle
from hydra_export.golden_samples import golden_inputs
from hydra_export.targets import Limits, target_of
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.manifest import MANIFEST
from hydra_mobile.core.files import write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.quiet import quiet
from hydra_mobile.models.configuration import MobileVLMConfig
from hydra_mobile.models.modeling import MobileVLMForConditionalGeneration
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.registry import fetch
from hydra_mobile.models.save import write_base
from hydra_mobile.reporting import environment

#: name -> hidden, layers, heads, key-value heads, intermediate, vocabulary, picture, patch, tokens.
SIZES = {
    "small": (256, 4, 4, 2, 768, 8192, 112, 14, 16),
    "middle": (512, 8, 8, 4, 1408, 16384, 224, 16, 144),
}
RUNTIMES = ("executorch", "onnx")
PRESETS = ("fp32", "int4")
LIMITS = Limits(512, 256)


def build(name: str, folder: Path) -> Path:
    """Write a random model with a CLIP tower and the projector of MobileVLM V2."""
    hidden, layers, heads, kv_heads, inner, vocabulary, image, patch, tokens = SIZES[name]
    processor = MobileVLMProcessor.from_pretrained(fetch("tiny"))
    processor.image = dataclasses.replace(processor.image, size=image)
    processor.image_token_id, processor.num_image_tokens = vocabulary, tokens
    config = MobileVLMConfig(
        vision_config={
            "model_type": "clip",
            "hidden_size": hidden,
            "intermediate_size": 4 * hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "image_size": image,
            "patch_size": patch,
        },
        projector_config={"model_type": "ldpnetv2", "tokens": tokens},
        text_config={
            "hidden_size": hidden,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "vocab_size": vocabulary,
            "max_position_embeddings": 1024,
            "tie_word_embeddings": True,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 2,
        },
        image_token_id=vocabulary,
        num_image_tokens=tokens,
        dtype="float32",
    )
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    model = MobileVLMForConditionalGeneration(config).eval()
    with torch.no_grad():
        # Random weights of the usual size answer with one token; larger ones vary.
        for parameter in model.language_model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(4.0)
    write_base(folder, f"random-{name}", model, processor)
    return folder


def measured(bundle: Path, *arguments: str) -> dict[str, int]:
    """Run `bundle` in a process of its own; return its peak memory after each step."""
    script = str(Path(__file__).with_name("footprint_run.py"))
    command = [sys.executable, "-W", "ignore", script, str(bundle), *arguments]
    # One thread: each thread has an arena of its own in the C library's allocator.
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    steps: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return steps


def compare(name: str, folder: Path) -> dict[str, Any]:
    """Estimate and measure one bundle."""
    bundle = Bundle.open(folder, verify_hashes=False)
    process = measured(folder, "--only-imports")["imports"]
    steps = measured(folder)
    peak, footprint = steps["decode"], target_of(bundle.manifest).memory(bundle.manifest)
    estimated = process + footprint.model_peak
    return {
        "model": name,
        "runtime": bundle.runtime,
        "preset": bundle.preset.name,
        "files_bytes": bundle.size_bytes,
        "process_bytes": process,
        "peak_bytes": peak,
        "peak_after": steps,
        "estimated_bytes": estimated,
        "error": round(estimated / peak - 1, 4),
        "model_peak_bytes": peak - process,
        "model_estimated_bytes": footprint.model_peak,
        "model_error": round(footprint.model_peak / (peak - process) - 1, 4),
        "parts": footprint.to_dict(),
    }


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    return (
        f"{row['model']:<12}{row['runtime']:<11}{row['preset']:<6}"
        f"peak {row['peak_bytes'] / 1e6:7.1f} MB  estimated {row['estimated_bytes'] / 1e6:7.1f} "
        f"({row['error']:+.1%})   model alone {row['model_peak_bytes'] / 1e6:7.1f} MB  "
        f"estimated {row['model_estimated_bytes'] / 1e6:7.1f} ({row['model_error']:+.1%})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/footprint"))
    parser.add_argument("--bundles", type=Path, nargs="*", default=[], help="measured as well")
    parser.add_argument("--out", type=Path, default=Path("experiments/memory/footprint.json"))
    parser.add_argument("--exported-only", action="store_true", help="make no bundle")
    arguments = parser.parse_args()
    quiet()
    facts = environment.collect()
    rows: list[dict[str, Any]] = []
    jobs: list[tuple[str, Path, str, str]] = []
    for name in ("tiny", *SIZES):
        merged = arguments.work / name / "merged"
        if name == "tiny":
            merged = fetch("tiny")
        elif not merged.is_dir():
            build(name, merged)
        jobs += [(name, merged, runtime, preset) for runtime in RUNTIMES for preset in PRESETS]
    for name, merged, runtime, preset in jobs:
        folder = arguments.work / name / f"{runtime}-{preset}"
        if not (folder / MANIFEST).is_file():
            if arguments.exported_only:
                continue
            began = time.perf_counter()
            export_bundle(
                merged,
                target="android",
                runtime=runtime,
                preset=preset,
                out=folder,
                golden_inputs=golden_inputs(merged)[:1],
                limits=LIMITS,
            )
            print(f"exported {folder} in {time.perf_counter() - began:.0f} s", flush=True)
        rows.append(compare(name, folder))
        print(line(rows[-1]), flush=True)
    for folder in arguments.bundles:
        base = Bundle.open(folder, verify_hashes=False).manifest["sources"]["base"]
        rows.append(compare(str(base), folder))
        print(line(rows[-1]), flush=True)
    write_json(
        arguments.out,
        {
            "what": "estimated and measured peak memory of running a bundle in Python",
            "limits": LIMITS.to_dict(),
            "environment": json.loads(dumps(vars(facts))),
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
