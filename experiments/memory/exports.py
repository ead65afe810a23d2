"""Memory of exporting a text model of MobileLLaMA 1.4B's width, with and without a float32 copy.

    python -m experiments.memory.exports --layers 2 6 [--presets int8 int4] [--runtimes onnx]

Random bfloat16 weights, hidden size 2048, 32,000 tokens, next to no vision part; each export runs
in a process of its own. What a layer takes is the slope between two numbers of layers, and the fit
says what 24 layers and MobileVLM V2 3B take. The two ways write equal files, which is checked. Each
export is written when it is done; the same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.shared.markdown import table
from hydra_mobile.core.files import read_json, write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.quiet import quiet
from hydra_mobile.reporting import environment

RESULT = Path(__file__).with_name("exports.json")
_VOCABULARY, _WIDTH, _MIDDLE = 32_000, 2048, 5632
#: Way -> weights from which on a model's matrices stay as stored.
WAYS = {"float32": 10**15, "as stored": 0}
#: Text models of published sizes: layers, hidden size, width of the MLP.
PUBLISHED = {
    "MobileLLaMA 1.4B": (24, 2048, 5632),
    "MobileLLaMA 2.7B": (32, 2560, 6912),
}


def matrices(layers: int, width: int = _WIDTH, middle: int = _MIDDLE) -> int:
    """Return the weights of a text model: its layers, its table and its head."""
    return layers * (4 * width * width + 3 * width * middle) + 2 * _VOCABULARY * width


def build(layers: int, folder: Path) -> None:
    """Write a model of `layers` layers in bfloat16."""
    import torch

    from experiments.scaling.point import config_of, write_random

    config = config_of(layers, _WIDTH)
    config.dtype = config.text_config.dtype = "bfloat16"
    config.text_config.vocab_size = config.image_token_id = _VOCABULARY
    config.text_config.intermediate_size = _MIDDLE
    config.text_config.tie_word_embeddings = config.tie_word_embeddings = False
    torch.set_default_dtype(torch.bfloat16)
    write_random(config, f"random-{layers}", folder)


class _Watch(threading.Thread):
    """Keeps the most memory of this process: all of it, and what is no page of a file."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = {"VmRSS": 0, "RssAnon": 0}

    def run(self) -> None:
        while True:
            for line in Path("/proc/self/status").read_text().splitlines():
                name, _, value = line.partition(":")
                if name in self.most:
                    self.most[name] = max(self.most[name], 1024 * int(value.split()[0]))
            time.sleep(0.02)


def export(merged: Path, out: Path, runtime: str, preset: str, way: str) -> dict[str, Any]:
    """Export and return seconds, the process's peaks, and the hash of its programs."""
    import hydra_export.load
    from experiments.scaling.point import exported

    hydra_export.load.LARGE = WAYS[way]
    watch = _Watch()
    watch.start()
    began, cpu = time.perf_counter(), time.process_time()
    bundle = exported(merged, out, runtime, preset)
    beside = ("tokenizer", "tokenizer_config", "golden", "golden_image", "golden_vectors")
    files = {
        name: entry
        for name, entry in sorted(bundle.manifest["files"].items())
        if entry["role"] not in beside
    }
    digest = hashlib.sha256("".join(str(entry["sha256"]) for entry in files.values()).encode())
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_bytes": watch.most["VmRSS"],
        "own_bytes": watch.most["RssAnon"],
        "program_bytes": sum(int(entry["bytes"]) for entry in files.values()),
        "programs": digest.hexdigest(),
    }


def fitted(value: Mapping[str, Any], runtime: str, preset: str, way: str) -> tuple[float, float]:
    """Return bytes that a model takes whatever its size, and bytes of each weight in layers."""
    points = sorted(
        (matrices(row["layers"]) - matrices(0), row["peak_bytes"])
        for row in value["rows"]
        if (row["runtime"], row["preset"], row["way"]) == (runtime, preset, way)
    )
    (least, low), (most, high) = points[0], points[-1]
    each = (high - low) / (most - least)
    return low - each * least, each


def render(value: Mapping[str, Any]) -> str:
    """Return peaks by runtime, preset and way, and what the fit says of published sizes."""
    kinds = sorted({(row["runtime"], row["preset"]) for row in value["rows"]})
    layers = sorted({row["layers"] for row in value["rows"]})
    titles = ["program", "text model", *(f"{n} layers, GB" for n in layers), "bytes a weight"]
    titles += [f"{name}, GB" for name in PUBLISHED]
    lines = []
    for (runtime, preset), way in itertools.product(kinds, WAYS):
        peaks = {
            row["layers"]: row["peak_bytes"]
            for row in value["rows"]
            if (row["runtime"], row["preset"], row["way"]) == (runtime, preset, way)
        }
        if len(peaks) < 2:
            continue
        fixed, each = fitted(value, runtime, preset, way)
        said = []
        for count, width, middle in PUBLISHED.values():
            # What is there once, such as a table at work, grows with the width.
            in_layers = matrices(count, width, middle) - matrices(0, width, middle)
            said.append(f"{(fixed * width / _WIDTH + each * in_layers) / 1e9:.1f}")
        cells = [f"{peaks[n] / 1e9:.2f}" if n in peaks else "" for n in layers]
        lines.append([f"{runtime} {preset}", way, *cells, f"{each:.2f}", *said])
    return table(titles, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 6])
    parser.add_argument("--presets", nargs="+", default=["int8", "int4"])
    parser.add_argument("--runtimes", nargs="+", default=["onnx", "executorch"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    quiet()
    if given.one:
        folder, out, runtime, preset, way = given.one
        print(dumps(export(Path(folder), Path(out), runtime, preset, way)))
        return
    value: dict[str, Any] = {"rows": []}
    if given.out.is_file():
        value = read_json(given.out, "an earlier result")
    value["environment"] = json.loads(dumps(vars(environment.collect())))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        # Nothing that an earlier export kept.
        os.environ["HYDRA_MOBILE_HOME"] = str(work / "home")
        for layers in given.layers:
            base = work / f"layers-{layers}"
            for asked in itertools.product(given.runtimes, given.presets, given.ways):
                key = dict(zip(("runtime", "preset", "way"), asked, strict=True))
                if any(
                    key.items() <= row.items() and row["layers"] == layers for row in value["rows"]
                ):
                    continue
                if not base.is_dir():
                    build(layers, base)
                shutil.rmtree(work / "home" / "rounded", ignore_errors=True)
                shutil.rmtree(work / "home" / "golden", ignore_errors=True)
                command = [sys.executable, "-W", "ignore", "-m", "experiments.memory.exports"]
                command += ["--one", str(base), str(work / "out"), *asked]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                row = {"layers": layers, **key, **json.loads(done.stdout.splitlines()[-1])}
                others = [
                    other
                    for other in value["rows"]
                    if all(other[k] == row[k] for k in ("layers", "runtime", "preset"))
                ]
                if any(other["programs"] != row["programs"] for other in others):
                    raise SystemExit(f"{key}, {layers} layers: other files than the other way's")
                value["rows"].append(row)
                write_json(given.out, value)
                shutil.rmtree(work / "out")
            shutil.rmtree(base, ignore_errors=True)
    print(render(value))


if __name__ == "__main__":
    main()
