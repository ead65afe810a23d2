"""What an adapter in a file of its own costs against the same adapter merged, in ONNX.

Exports a run both ways at each preset (bundles that are there already are used), then measures
merged, base program with the adapter, and base program alone: rounds are interleaved, every
measurement in a process of its own. Prints a table and writes JSON with all measurements.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from hydra_export.export import export_bundle
from hydra_export.golden_samples import golden_inputs
from hydra_export.merge import merged_folder
from hydra_export.separate_adapter import SeparateAdapter
from hydra_export.targets import Limits
from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.bundle.manifest import MANIFEST
from hydra_mobile.core.files import write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.memory import peak_resident_bytes
from hydra_mobile.core.quiet import quiet
from hydra_mobile.reporting import environment
from hydra_mobile.runtimes.model_ref import adapter_in, base_of, model_at

# Higher is better where the name ends in "rate".
MEASURES = ("load", "encode", "first_token", "prefill_rate", "decode_rate")
_SWAPS = 10


def export_both(run: Path, preset: str, work: Path, limits: Limits) -> dict[str, str]:
    """Return system -> what to load, exporting what is not there."""
    merged, separate = work / f"merged-{preset}", work / f"separate-{preset}"
    common: dict[str, Any] = {
        "target": "onnx",
        "runtime": "onnx",
        "preset": preset,
        "golden_inputs": golden_inputs(run),
        "limits": limits,
        "log": print,
    }
    if not (merged / MANIFEST).is_file():
        export_bundle(merged_folder(model_at(str(run)), print), out=merged, **common)
    if not (separate / MANIFEST).is_file():
        base = base_of(run)
        own = SeparateAdapter(base, adapter_in(run), "default")
        export_bundle(base, out=separate, separate=own, **common)
    return {"merged": str(merged), "separate": str(separate), "no adapter": f"{separate}#base"}


def measure_here(path: Path, threads: int) -> dict[str, Any]:
    """Load a bundle and measure it: seconds and tokens per second, one entry per repeat."""
    from hydra_mobile.runtimes.base import CacheState
    from hydra_mobile.runtimes.onnx import OnnxRuntime, adapter_files
    from hydra_mobile.runtimes.speed import measure_speed

    OnnxRuntime.own_process(threads)
    runner = OnnxRuntime.load(path, threads=threads)
    found: dict[str, Any] = {"load": [runner.load_seconds], **measure_speed(runner).to_dict()}
    found["peak_memory_bytes"] = peak_resident_bytes()
    files = adapter_files(Bundle.open(path, verify_hashes=False))
    if files is not None:
        found |= {"swap": [], "call_after_swap": [], "call_later": []}
        token = runner.embed([5])
        for _ in range(_SWAPS):
            runner.use_adapter(None)
            began = time.perf_counter()
            runner.use_adapter(files)
            swapped = time.perf_counter()
            _, state = runner.decode(token, CacheState())
            called = time.perf_counter()
            runner.decode(token, state)
            found["swap"].append(swapped - began)
            found["call_after_swap"].append(called - swapped)
            found["call_later"].append(time.perf_counter() - called)
    return found


def measure(path: str, threads: int) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", __file__, "--measure", path]
    done = subprocess.run(
        [*command, "--threads", str(threads)], check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def sizes(systems: dict[str, str]) -> dict[str, Any]:
    """Return bytes of programs and adapter, and what the manifest says of the adapter."""
    bundle = Bundle.open(Path(systems["separate"]), verify_hashes=False)
    return {
        "merged_bytes": Bundle.open(Path(systems["merged"]), verify_hashes=False).size_bytes,
        "base_bytes": Bundle.open(Path(systems["no adapter"]), verify_hashes=False).size_bytes,
        "adapter_files": {
            name: (bundle.folder / name).stat().st_size
            for name in bundle.manifest["adapters"]["default"]["files"]
        },
        "adapter": bundle.manifest["adapters"]["default"],
    }


def ratios(rounds: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, list[float]]]:
    """Return system -> measure -> the ratio to merged in each round, above 1 where faster."""
    found: dict[str, dict[str, list[float]]] = {}
    for system, turns in rounds.items():
        found[system] = {name: [] for name in MEASURES}
        for own, reference in zip(turns, rounds["merged"], strict=True):
            for name in MEASURES:
                ratio = statistics.median(own[name]) / statistics.median(reference[name])
                found[system][name].append(ratio if name.endswith("rate") else 1 / ratio)
    return found


def print_table(preset: str, facts: dict[str, Any], rounds: dict[str, Any]) -> None:
    adapter = sum(facts["adapter_files"].values())
    print(
        f"\n{preset}: merged {facts['merged_bytes'] / 1e6:.1f} MB; base program "
        f"{facts['base_bytes'] / 1e6:.1f} MB and adapter {adapter / 1e6:.1f} MB"
    )
    print(f"{'of merged':<12}" + "".join(f"{name:>22}" for name in MEASURES))
    for system, of_merged in ratios(rounds).items():
        cells = [
            f"{statistics.median(v):.2f}x [{min(v):.2f}, {max(v):.2f}]" for v in of_merged.values()
        ]
        print(f"{system:<12}" + "".join(f"{cell:>22}" for cell in cells))
    for name in ("swap", "call_after_swap", "call_later"):
        values = [1e3 * v for turn in rounds["separate"] for v in turn[name]]
        spread = f"[{min(values):.2f}, {max(values):.2f}]"
        print(f"{name.replace('_', ' ')}: {statistics.median(values):.2f} ms {spread}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("quickstart/run"))
    parser.add_argument("--work", type=Path, default=Path("runs/separate_adapter"))
    parser.add_argument("--presets", default="int4,int8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-context", type=int, default=256)
    parser.add_argument("--max-prefill", type=int, default=128)
    parser.add_argument(
        "--out", type=Path, default=Path("experiments/presets/separate_adapter.json")
    )
    parser.add_argument("--measure", type=Path, help="(a bundle, in a process of its own)")
    arguments = parser.parse_args()
    if arguments.measure:
        quiet()
        print(dumps(measure_here(arguments.measure, arguments.threads)))
        return
    facts = environment.collect()
    limits = Limits(arguments.max_context, arguments.max_prefill)
    results: dict[str, Any] = {}
    for preset in arguments.presets.split(","):
        systems = export_both(arguments.run, preset, arguments.work, limits)
        rounds: dict[str, list[dict[str, Any]]] = {system: [] for system in systems}
        for turn in range(arguments.rounds):
            for system, path in systems.items():
                rounds[system].append(measure(path, arguments.threads))
                print(f"{preset}, round {turn + 1}: {system}", flush=True)
        results[preset] = {**sizes(systems), "of_merged": ratios(rounds), "rounds": rounds}
        print_table(preset, results[preset], rounds)
        write_json(
            arguments.out,
            {
                "what": "32 new tokens after a picture and a short question, batch 1, greedy; "
                "seconds, and tokens per second",
                "run": arguments.run.name,
                "threads": arguments.threads,
                "environment": vars(facts),
                "presets": results,
            },
        )
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
