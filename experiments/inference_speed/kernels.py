"""How fast XNNPACK's kernels for linears are on this processor, by the precision of the weights.

    python -m experiments.inference_speed.kernels

Says whether a slow program is slow in its kernel or around it: four linears (576 to 1536 and back,
`smol`'s MLP) in one program, one thread, 1, 64 and 256 tokens a call, forms interleaved. Writes
`experiments/inference_speed/kernels.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from experiments.shared.markdown import table
from hydra_mobile.core.json_text import dumps

RESULT = Path(__file__).with_name("kernels.json")
INPUTS, OUTPUTS, LINEARS = 576, 1536, 4
TOKENS = (1, 64, 256)
#: Name -> (bits of the weights, inputs that share a scale; 0: all of an output's).
FORMS = {
    "fp32": (32, 0),
    "int8, a scale for each output": (8, 0),
    "int4, groups of 32": (4, 32),
    "int4, groups of 64": (4, 64),
    "int4, groups of 192": (4, 192),
    "int4, a scale for each output": (4, 0),
}


def program(bits: int, group: int) -> bytes:
    """Return a program of `LINEARS` linears with 8-bit activations (fp32: none)."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
        XnnpackDynamicallyQuantizedPartitioner,
        XnnpackPartitioner,
    )
    from executorch.exir import to_edge_transform_and_lower
    from torchao.quantization import quantize_
    from torchao.quantization.granularity import PerAxis, PerGroup
    from torchao.quantization.quant_api import Int8DynamicActivationIntxWeightConfig

    torch.manual_seed(0)
    sizes = (INPUTS, OUTPUTS)
    linears = [
        torch.nn.Linear(sizes[at % 2], sizes[1 - at % 2], bias=False) for at in range(LINEARS)
    ]
    model = torch.nn.Sequential(*linears).eval()
    partitioners = [XnnpackPartitioner()]
    if bits < 32:
        kind: Any = torch.int8 if bits == 8 else torch.int4  # type: ignore[attr-defined]
        granularity = PerGroup(group) if group else PerAxis(0)
        quantize_(model, Int8DynamicActivationIntxWeightConfig(kind, granularity))
        partitioners.insert(0, XnnpackDynamicallyQuantizedPartitioner())
    shapes = ({1: torch.export.Dim("tokens", max=max(TOKENS))},)
    exported = torch.export.export(
        model, (torch.randn(1, max(TOKENS), INPUTS),), dynamic_shapes=shapes
    )
    lowered = to_edge_transform_and_lower(exported, partitioner=partitioners)
    return bytes(lowered.to_executorch().buffer)


Rows = list[dict[str, Any]]
Call = Callable[[], object]


def interleaved(
    calls: Callable[[int], Mapping[str, Call]], seconds: Callable[[Call, int], float], rounds: int
) -> Rows:
    """Return a row {form, tokens, gflops: one for each round} of every form and length.

    Args:
        calls: given a number of tokens, what runs each form once.
        seconds: given a call and how often, the seconds of one.
        rounds: of all forms in turns.
    """
    rows = []
    for tokens in TOKENS:
        work = 2 * LINEARS * tokens * INPUTS * OUTPUTS
        forms = calls(tokens)
        found: dict[str, list[float]] = {name: [] for name in forms}
        for _ in range(rounds):
            for name, call in forms.items():
                call()
                taken = seconds(call, 300 if tokens == 1 else 20)
                found[name].append(round(work / taken / 1e9, 2))
        rows += [{"form": name, "tokens": tokens, "gflops": own} for name, own in found.items()]
    return rows


def _median_seconds(call: Call, times: int) -> float:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def measure(rounds: int) -> Rows:
    """Return the rows of `interleaved`, of XNNPACK's programs."""
    import torch
    from executorch.extension.pybindings import portable_lib

    portable_lib._unsafe_reset_threadpool(1)
    with tempfile.TemporaryDirectory() as folder:
        modules = {}
        for number, (name, form) in enumerate(FORMS.items()):
            file = Path(folder) / f"{number}.pte"
            file.write_bytes(program(*form))
            modules[name] = portable_lib._load_for_executorch(str(file))

        def calls(tokens: int) -> dict[str, Call]:
            given = [torch.randn(1, tokens, INPUTS)]
            return {n: partial(m.run_method, "forward", given) for n, m in modules.items()}

        return interleaved(calls, _median_seconds, rounds)


def render(value: Mapping[str, Any]) -> str:
    """Return the table of a result: GFLOP/s, medians over rounds, lowest and highest."""
    lines = []
    for form in dict.fromkeys(row["form"] for row in value["rows"]):
        cells = [
            f"{statistics.median(row['gflops']):.0f} "
            f"[{min(row['gflops']):.0f}, {max(row['gflops']):.0f}]"
            for row in value["rows"]
            if row["form"] == form
        ]
        lines.append([form, *cells])
    counts = dict.fromkeys(row["tokens"] for row in value["rows"])
    titles = ["weights of a linear", *(f"{n} token{'s'[: n - 1]}, GFLOP/s" for n in counts)]
    return table(titles, lines)


def command(about: str, what: str, measure: Callable[[int], Rows], result: Path) -> None:
    """Read the command line, measure, write the result and print its table.

    Args:
        about: what `--help` says.
        what: is measured, for the result.
        measure: given the rounds.
        result: where the result goes by default.
    """
    from hydra_mobile.core.files import write_json
    from hydra_mobile.core.quiet import quiet
    from hydra_mobile.reporting import environment

    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=result)
    given = parser.parse_args()
    quiet()
    value = {
        "what": what,
        "environment": json.loads(dumps(vars(environment.collect()))),
        "rows": measure(given.rounds),
    }
    write_json(given.out, value)
    print(render(value))
    print(f"written to {given.out}")


def main() -> None:
    what = "XNNPACK's linears, one thread, GFLOP/s by precision of the weights"
    command((__doc__ or "").splitlines()[0], what, measure, RESULT)


if __name__ == "__main__":
    main()
