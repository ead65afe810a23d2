"""What made the quickstart shorter: parts of its work, as they were and as they are.

    python -m experiments.quickstart.parts --run quickstart/run

Both ways are in this checkout and take turns, round after round, on one thread. What is compared is
processor time, which other work on the machine changes less than the clock; ratios are taken within
a round, then their median. Where a part has a result, both ways must give the same.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.nn import functional as F

from experiments.shared.markdown import before_and_now
from hydra_mobile.core.files import write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.reporting import environment

RESULT = Path(__file__).with_name("parts.json")
_IMAGES = 32
#: Rows of stage 2, heads, tokens and head size of base `smol`.
_ROWS = (7, 9, 96, 64)
#: Decoder layers that are lowered; the model has 30, and each costs the same.
_LAYERS = 4

Timed = tuple[float, str]


def tower(run: Path) -> Iterator[tuple[str, Callable[[], Timed]]]:
    """Features of images: all at once, and as many as `_CPU_PICTURES` with channels last."""
    from hydra_mobile.models.loading import load_model
    from hydra_mobile.training import features

    model = load_model(run / "merged").requires_grad_(False)
    pixels = torch.randn(_IMAGES, 3, 224, 224, generator=torch.Generator().manual_seed(0))

    def compute(at_once: int, order: torch.memory_format) -> Timed:
        began = time.process_time()
        ordered = pixels.contiguous(memory_format=order)
        with torch.no_grad():
            found = torch.cat([model.vision_features(p) for p in torch.split(ordered, at_once)])
        return time.process_time() - began, f"{float(found.double().mean()):.5f}"

    yield "before", lambda: compute(_IMAGES, torch.contiguous_format)
    yield "now", lambda: compute(features._CPU_PICTURES, torch.channels_last)


def attention(run: Path) -> Iterator[tuple[str, Callable[[], Timed]]]:
    """A layer's attention forward and backward: torch's fused one, and plain products."""
    mask = torch.ones(_ROWS[2], _ROWS[2], dtype=torch.bool).tril()
    hidden = torch.full(mask.shape, torch.finfo(torch.bfloat16).min, dtype=torch.bfloat16)
    added = torch.where(mask, torch.zeros_like(hidden), hidden).expand(_ROWS[0], 1, -1, -1)

    def fused(q: Any, k: Any, v: Any) -> Any:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=added)

    def plain(q: Any, k: Any, v: Any) -> Any:
        scores = (q @ k.transpose(2, 3)) * _ROWS[3] ** -0.5 + added
        return torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype) @ v

    def timed(attend: Callable[..., Any]) -> Timed:
        generator = torch.Generator().manual_seed(0)
        inputs = [
            torch.randn(_ROWS, generator=generator).bfloat16().requires_grad_() for _ in range(3)
        ]
        began = time.process_time()
        for _ in range(10):
            attend(*inputs).sum().backward()
        return (time.process_time() - began) / 10, ""

    yield "before", lambda: timed(fused)
    yield "now", lambda: timed(plain)


def scales(run: Path) -> Iterator[tuple[str, Callable[[], Timed]]]:
    """Rounding the token table to 4 bits: scales of all rows at once, and in a core's cache."""
    from hydra_mobile.adapters import int4_grid

    weight = torch.randn(49_152, 576, generator=torch.Generator().manual_seed(0)) * 0.02

    def round_it(at_once: int) -> Timed:
        with patch.object(int4_grid, "_AT_ONCE", at_once):
            began = time.process_time()
            rounded = int4_grid.round_nearest(weight, 32)
            spent = time.process_time() - began
        return spent, hashlib.sha256(rounded.codes.numpy().tobytes()).hexdigest()[:12]

    yield "before", lambda: round_it(weight.numel())
    yield "now", lambda: round_it(int4_grid._AT_ONCE)


def lowering(run: Path) -> Iterator[tuple[str, Callable[[], Timed]]]:
    """Lowering to ExecuTorch: every pass of XNNPACK, and those that can change a delegate."""
    from hydra_export.targets import Limits, writer_for
    from hydra_export.targets.executorch import lowering as module
    from hydra_mobile.bundle.presets import preset_named
    from hydra_mobile.models.loading import load_model

    def lower(passes: Any) -> Timed:
        model = load_model(run / "merged").requires_grad_(False)
        text = model.language_model
        text.model.layers = text.model.layers[:_LAYERS]
        text.config.num_hidden_layers = model.config.text_config.num_hidden_layers = _LAYERS
        preset = replace(preset_named("int4"), rounding="nearest", sensitive=None, budget=None)
        writer, _ = writer_for("android", "executorch", "int4")
        with tempfile.TemporaryDirectory() as folder, patch.object(module, "needed_passes", passes):
            result = writer.write(model, preset, Path(folder), Limits(256, 128), lambda _: None)
            program = hashlib.sha256((Path(folder) / "model.pte").read_bytes()).hexdigest()[:12]
        return float(result.details["cpu_seconds"]["lower"]), program

    yield "before", lambda: lower(contextlib.nullcontext)
    yield "now", lambda: lower(module.needed_passes)


PARTS = {
    "features of 32 images": tower,
    "attention of a layer, 7 rows of 96 tokens, forward and backward": attention,
    "4-bit rounding of the token table": scales,
    f"lowering to ExecuTorch, {_LAYERS} decoder layers and the rest": lowering,
}


def render(value: dict[str, Any]) -> str:
    """Return the table of a result."""
    return before_and_now("part", value["rows"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="of a quickstart")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    loads = [os.getloadavg()[0]]
    for name, part in PARTS.items():
        ways = dict(part(given.run))
        # What is loaded or compiled once belongs to neither.
        ways["now"]()
        for _ in range(given.rounds):
            found = {way: do() for way, do in ways.items()}
            if len({digest for _, digest in found.values()}) > 1:
                raise SystemExit(f"{name}: both ways should give the same, and give {found}")
            rows.append({"part": name, **{way: round(s, 4) for way, (s, _) in found.items()}})
            print(rows[-1], flush=True)
        loads.append(os.getloadavg()[0])
    value = {
        "what": "seconds of processor time, one thread",
        "environment": json.loads(dumps(vars(environment.collect()))),
        "load_averages": [round(load, 2) for load in loads],
        "rows": rows,
    }
    write_json(given.out, value)
    print(render(value))


if __name__ == "__main__":
    main()
