"""What share of the processor's roof each engine reaches, in decode and in prefill.

    python -m experiments.inference_speed.roofline --merged quickstart/run/merged

Builds and runs `peaks.c`: bytes read from memory a second, in a buffer as large as the weights of a
form, and multiply-adds a second in fp32 and in int8, with 1 and 2 threads. Beside them the bytes
and the operations that a token takes. The roof of a phase is what the larger of the two times
allows; the share is the rate in `result.json` over it. Weights of 8 and of 4 bits are computed in
int8 by every engine here. Writes `experiments/inference_speed/roofline.json`.

Counted are the linears, the head and attention: norms, activations and the row of the embedding
table are less than a hundredth. Every weight is read once a call, from memory, with a scale of 16
bits for each 32 weights; the head is computed for the last token of a prompt alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.inference_speed import table as measured
from experiments.shared.markdown import table
from hydra_mobile.core.json_text import dumps

RESULT = Path(__file__).with_name("roofline.json")
#: Bits of a form -> those that a weight takes with its share of a scale.
STORED = {32: 32.0, 8: 8.5, 4: 4.5}
#: Engines without an fp16 cache keep fp32.
_CACHE_BYTES = {"llama.cpp": 2, "llama.cpp (wheel)": 2}
_ROUNDS = 3
Peaks = Mapping[str, Any]


@dataclass(frozen=True)
class Shape:
    """A language model, as far as its time depends on it.

    Attributes:
        linears: weights of all linears of all layers.
        head: weights of the head.
        layers, hidden, cached: layers, and what each has a token: values of the queries, values of
            keys and values together.
    """

    linears: int
    head: int
    layers: int
    hidden: int
    cached: int

    @classmethod
    def of(cls, merged: Path) -> Shape:
        """Read it from a merged folder's `config.json`."""
        from experiments.inference_speed.gguf_file import text_settings

        text = text_settings(merged)
        queries = text.num_attention_heads * text.head_dim
        cached = 2 * text.num_key_value_heads * text.head_dim
        layer = text.hidden_size * (2 * queries + cached + 3 * text.intermediate_size)
        layers = text.num_hidden_layers
        head = text.vocab_size * text.hidden_size
        return cls(layer * layers, head, layers, queries, cached)

    def weight_bytes(self, bits: int) -> float:
        """Return the bytes of all weights that a token needs."""
        return (self.linears + self.head) * STORED[bits] / 8

    def operations(self, tokens: int, before: int) -> float:
        """Return the operations of a call that reads `tokens` tokens behind `before` others."""
        seen = tokens * before + tokens * (tokens + 1) / 2
        attention = 4 * self.layers * self.hidden * seen
        return 2.0 * self.linears * tokens + 2.0 * self.head + attention

    def bytes(self, bits: int, tokens: int, before: int, wide: int) -> float:
        """Return the bytes that such a call reads; `wide`: bytes of a value of the cache."""
        cache = self.layers * self.cached * wide * (before + tokens)
        return self.weight_bytes(bits) + cache


def measure_peaks(megabytes: list[int], threads: list[int]) -> dict[str, Peaks]:
    """Return what `peaks.c` prints by threads, the highest of some rounds in turns.

    Raises:
        subprocess.CalledProcessError: it does not compile or run here.
    """
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peaks"
        code = Path(__file__).with_name("peaks.c")
        flags = ["-O3", "-march=native", "-fopenmp"]
        subprocess.run(["cc", *flags, str(code), "-o", str(program)], check=True)
        for _ in range(_ROUNDS):
            for count in threads:
                done = subprocess.run(
                    [str(program), *map(str, megabytes)],
                    check=True,
                    capture_output=True,
                    text=True,
                    env=os.environ | {"OMP_NUM_THREADS": str(count)},
                )
                now = json.loads(done.stdout)
                best = found.setdefault(str(count), now)
                for name, rate in now.items():
                    if name == "read":
                        best[name] = {n: max(r, best[name][n]) for n, r in rate.items()}
                    else:
                        best[name] = max(rate, best[name])
    return dict(found)


def rows(result: Mapping[str, Any], shape: Shape, peaks: Mapping[str, Peaks]) -> Iterator[Any]:
    """Yield a row for each form, number of threads, prompt and phase of `result`."""
    protocol = result["protocol"]
    new = protocol["new_tokens"]
    for name, facts in result["forms"].items():
        bits = facts["bits"]
        for threads in protocol["threads"]:
            own = [r for r in result["rows"] if (r["form"], r["threads"]) == (name, threads)]
            if not own:
                continue
            for length in protocol["prompts"]:
                # Of the steps of decoding the middle one stands for all.
                for phase, count, tokens, before in (
                    ("decode", new, 1, length + new // 2),
                    ("prefill", length, length, 0),
                ):
                    rate = statistics.median(
                        [measured.rate(row, phase, length, count) for row in own]
                    )
                    wide = _CACHE_BYTES.get(facts["engine"], 4)
                    size = shape.bytes(bits, tokens, before, wide)
                    work = shape.operations(tokens, before)
                    reading, computing = roof_seconds(peaks[str(threads)], shape, bits, size, work)
                    roof = tokens / max(reading, computing)
                    yield {
                        "form": name,
                        "threads": threads,
                        "prompt": length,
                        "phase": phase,
                        "bytes": round(size),
                        "operations": round(work),
                        "limit": "memory" if reading > computing else "arithmetic",
                        "roof_tokens_per_second": round(roof, 1),
                        "tokens_per_second": round(rate, 1),
                        "share": round(rate / roof, 4),
                    }


def roof_seconds(
    peaks: Peaks, shape: Shape, bits: int, size: float, work: float
) -> tuple[float, float]:
    """Return the least seconds of a call, by the bytes that it reads and by its operations."""
    bandwidth = peaks["read"][str(megabytes(shape, bits))]
    return size / bandwidth, work / arithmetic(peaks, bits)


def megabytes(shape: Shape, bits: int) -> int:
    """Return the size of the buffer whose bandwidth counts for a form."""
    return round(shape.weight_bytes(bits) / 1e6)


def arithmetic(peaks: Peaks, bits: int) -> float:
    """Return the operations a second in the fastest arithmetic that such weights allow."""
    if bits == 32:
        return float(peaks["fp32"])
    return float(max(peaks[name] for name in ("int8", "amx int8") if name in peaks))


def render(value: Mapping[str, Any]) -> str:
    """Return the tables of a result: the roofs, and the share that each form reaches."""
    titles = ["threads", *(f"read {n} MB, GB/s" for n in value["peaks"]["1"]["read"])]
    kinds = [name for name in value["peaks"]["1"] if name != "read"]
    titles += [f"{name}, GFLOP/s" if name == "fp32" else f"{name}, GOP/s" for name in kinds]
    lines = [
        [threads, *(f"{r / 1e9:.1f}" for r in found["read"].values())]
        + [f"{found[name] / 1e9:.0f}" for name in kinds]
        for threads, found in value["peaks"].items()
    ]
    parts = ["What the processor gives\n", table(titles, lines)]
    cells = list(dict.fromkeys((row["phase"], row["prompt"]) for row in value["rows"]))
    cells.sort(key=lambda cell: cell[0])
    for threads in dict.fromkeys(row["threads"] for row in value["rows"]):
        found = {
            (row["form"], row["phase"], row["prompt"]): row
            for row in value["rows"]
            if row["threads"] == threads
        }
        lines = []
        for form in dict.fromkeys(name for name, *_ in found):
            own = [found[form, *cell] for cell in cells]
            one = next(row for row in own if row["phase"] == "decode")
            shown = [f"{r['share']:.0%} of {r['roof_tokens_per_second']:.0f}" for r in own]
            lines.append([form, f"{one['bytes'] / 1e6:.0f}", *shown])
        titles = ["form", "MB a token", *(f"{phase} {prompt}" for phase, prompt in cells)]
        head = f"Share of the roof, and the roof in tok/s, {threads} thread{'s'[: threads - 1]}"
        parts += [head + "\n", table(titles, lines)]
    return "\n".join(parts)


def main() -> None:
    from experiments.inference_speed.run import RESULT as SPEEDS
    from experiments.inference_speed.run import environment_facts
    from hydra_mobile.core.files import write_json

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--merged", type=Path, default=Path("quickstart/run/merged"))
    parser.add_argument("--result", type=Path, default=SPEEDS, help="of the speed comparison")
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    shape = Shape.of(given.merged)
    result = json.loads(given.result.read_text(encoding="utf-8"))
    sizes = [megabytes(shape, bits) for bits in sorted(STORED)]
    peaks = measure_peaks(sizes, result["protocol"]["threads"])
    value = {
        "what": "share of the processor's roof, by bytes and operations of a call",
        "environment": environment_facts(),
        "model": json.loads(dumps(asdict(shape))),
        "peaks": peaks,
        "rows": list(rows(result, shape, peaks)),
    }
    write_json(given.out, value)
    print(render(value))


if __name__ == "__main__":
    main()
