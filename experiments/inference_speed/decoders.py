"""What the traced decoder costs beside the one written by hand, on the same weights and shapes.

    python -m experiments.inference_speed.decoders

The first layers of base `smolvlm-smol` (SmolLM2-135M's shapes and weights), exported twice for each
runtime and preset: as they are, a Llama, by hand; and with the check for that switched off, traced
from transformers' own module. 4-bit weights are rounded to the nearest in both, and no part is kept
at 8 bits. Rows of 128 tokens and then single tokens, one thread, CPU time, the two forms in turns.
Writes `experiments/inference_speed/decoders.json` after each pair of programs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from experiments.shared.markdown import table
from hydra_mobile.bundle.presets import PRESETS, Preset
from hydra_mobile.core.json_text import dumps

RESULT = Path(__file__).with_name("decoders.json")
LAYERS, CONTEXT, PREFILL, TOKENS = 4, 512, 128, 16
FORMS = ("by hand", "traced")
#: Where exporters ask whether a decoder written by hand fits.
_ASKED = (
    "hydra_export.targets.executorch.program.is_llama",
    "hydra_export.targets.onnx.program.is_llama",
    "hydra_export.quantization.mixed_precision.is_llama",
)


@contextmanager
def form(name: str) -> Iterator[None]:
    """Let exporters take the decoder of that form."""
    patches = [patch(place, lambda model: False) for place in _ASKED] if name == "traced" else []
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in patches:
            one.stop()


def shortened(folder: Path, layers: int) -> Path:
    """Write base `smolvlm-smol` with its first layers alone; its tower is small already."""
    from transformers import AutoModelForImageTextToText

    from hydra_mobile.models.registry import base_folder

    base = base_folder("smolvlm-smol")
    model = AutoModelForImageTextToText.from_pretrained(base)
    model.model.text_model.layers = model.model.text_model.layers[:layers]
    model.config.text_config.num_hidden_layers = layers
    for file in base.iterdir():
        if file.suffix != ".safetensors" and file.name != "config.json" and file.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder)
    model.save_pretrained(folder)
    return folder


def equal_preset(name: str, kind: str) -> Preset:
    """Return a preset that both forms can follow: of traced decoders no part is kept at 8 bits."""
    plain = replace(PRESETS[name], sensitive=None, budget=None, rounding="nearest")
    # Not the name of the other: an export keeps what it has rounded for the next one.
    return plain if name == "fp32" else replace(plain, name=f"{name}-{kind.replace(' ', '-')}")


def measure(base: Path, runtime: str, preset: str, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each form: milliseconds of each round, and the size."""
    from hydra_export.export import export_bundle
    from hydra_export.targets import Limits
    from hydra_mobile.runtimes import runtime_class
    from hydra_mobile.runtimes.base import CacheState

    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    loaded, sizes = {}, {}
    for kind in FORMS:
        with form(kind):
            bundle = export_bundle(
                base,
                target="android",
                runtime=runtime,
                preset=equal_preset(preset, kind),
                out=base.with_name(f"{runtime}-{preset}-{kind[:2]}"),
                golden_inputs=[(Image.fromarray(noise), "What is in the image?")],
                limits=Limits(max_context=CONTEXT, max_prefill=PREFILL),
                min_fast_path=0.0,
            )
        loaded[kind] = runtime_class(runtime).load(bundle.folder, threads=1)
        sizes[kind] = sum(
            int(file["bytes"])
            for file in bundle.manifest["files"].values()
            if not file["role"].startswith(("golden", "tokenizer"))
        )
    prompt = loaded[FORMS[0]].embed(list(range(5, 5 + PREFILL)))
    token = loaded[FORMS[0]].embed([7])
    times: dict[str, dict[str, list[float]]] = {
        kind: {"prefill_ms": [], "token_ms": []} for kind in FORMS
    }
    logits = {}
    for _ in range(rounds + 1):
        for kind, runner in loaded.items():
            began = time.process_time()
            logits[kind], state = runner.decode(prompt, CacheState())
            middle = time.process_time()
            for _ in range(TOKENS):
                _, state = runner.decode(token, state)
            end = time.process_time()
            times[kind]["prefill_ms"].append(round((middle - began) * 1e3, 3))
            times[kind]["token_ms"].append(round((end - middle) / TOKENS * 1e3, 3))
    gap = float(np.abs(logits[FORMS[0]] - logits[FORMS[1]]).max())
    return [
        {
            "runtime": runtime,
            "preset": preset,
            "decoder": kind,
            "bytes": sizes[kind],
            # The first round warms caches.
            **{part: values[1:] for part, values in times[kind].items()},
            "largest_difference_of_logits": gap,
            "largest_logit": float(np.abs(logits[FORMS[0]]).max()),
        }
        for kind in FORMS
    ]


def render(value: Mapping[str, Any]) -> str:
    """Return the table of a result: medians over rounds, and the ratio to the form by hand."""
    lines = []
    rows = {(r["runtime"], r["preset"], r["decoder"]): r for r in value["rows"]}
    for (runtime, preset, kind), row in rows.items():
        hand = rows[runtime, preset, FORMS[0]]
        cells = []
        for part in ("prefill_ms", "token_ms"):
            own, other = statistics.median(row[part]), statistics.median(hand[part])
            ratio = f" ({own / other:.2f} x)" if kind != FORMS[0] else ""
            cells.append(f"{own:.1f}{ratio}" if own >= 10 else f"{own:.2f}{ratio}")
        lines.append([runtime, preset, kind, f"{row['bytes'] / 1e6:.1f}", *cells])
    titles = ["runtime", "preset", "decoder", "MB", f"{PREFILL} rows, ms", "a token, ms"]
    return table(titles, lines)


def main() -> None:
    from hydra_mobile.core.files import write_json
    from hydra_mobile.core.quiet import quiet
    from hydra_mobile.reporting import environment

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runtimes", default="executorch,onnx")
    parser.add_argument("--presets", default="fp32,int4")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    quiet()
    rows: list[dict[str, Any]] = []
    value = {
        "what": "decoders traced and by hand on equal weights, milliseconds of CPU time",
        "environment": json.loads(dumps(vars(environment.collect()))),
        "settings": {
            "layers": LAYERS,
            "max_context": CONTEXT,
            "prompt_rows": PREFILL,
            "tokens": TOKENS,
            "threads": 1,
            "clock": "CPU time of the process",
        },
        "rows": rows,
    }
    with tempfile.TemporaryDirectory() as name:
        base = shortened(Path(name) / "base", LAYERS)
        for runtime in given.runtimes.split(","):
            for preset in given.presets.split(","):
                rows.extend(measure(base, runtime, preset, given.rounds))
                write_json(given.out, value)
    print(render(value))


if __name__ == "__main__":
    main()
