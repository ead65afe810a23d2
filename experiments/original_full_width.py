"""In how much memory a checkpoint of published size is imported and written back, and how exactly.

Writes a checkpoint in MobileVLM's own layout with random half-precision weights, in shards of
`pytorch_model.bin`, imports it, and writes it back in each layout that fits, every step in a
process of its own. The round trip must give every tensor back bit for bit. Needs no download; for
`mobilevlm-v2-3b` about 18 GB of disk while it runs.

    python experiments/original_full_width.py

Memory is told twice: what the process allocated (that is what can run out), and the resident set,
in which the system also counts the pages of mapped files that it may drop at any time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers
from torch import Tensor

from hydra_mobile.core.files import write_json
from hydra_mobile.core.memory import peak_resident_bytes
from hydra_mobile.models.checkpoints.exporting import export_mobilevlm
from hydra_mobile.models.checkpoints.importing import import_checkpoint
from hydra_mobile.models.checkpoints.keys import mobilevlm_layout, projector_prefix
from hydra_mobile.models.checkpoints.llama_cpp import export_llama_cpp
from hydra_mobile.models.checkpoints.mobilevlm import write_original
from hydra_mobile.models.checkpoints.pickled import write_pickled
from hydra_mobile.models.checkpoints.stream import Form, raw_bytes
from hydra_mobile.models.checkpoints.tensor_map import expected_shapes
from hydra_mobile.models.checkpoints.weights import WeightFiles
from hydra_mobile.models.published import PUBLISHED, published_config
from hydra_mobile.reporting import environment

RESULT = Path(__file__).with_name("results") / "original_full_width.json"
NAMES = ("mobilevlm-1.7b", "mobilevlm-v2-3b")


def write_checkpoint(name: str, folder: Path) -> None:
    """Write random weights, the configuration and a tokenizer of bytes."""
    config = published_config(name)
    layout = mobilevlm_layout(projector_prefix(PUBLISHED[name].projector, 2))
    shapes, _ = expected_shapes(config)
    forms = {str(layout.theirs(ours)): Form(torch.float16, s) for ours, s in shapes.items()}

    def values(key: str) -> Tensor:
        generator = torch.Generator().manual_seed(
            int(hashlib.md5(key.encode()).hexdigest()[:8], 16)
        )
        return (torch.randn(forms[key].shape, generator=generator) * 0.02).half()

    folder.mkdir()
    write_pickled(folder, forms, values, lambda line: None, shard_bytes=2_000_000_000)
    write_json(folder / "config.json", write_original(config, None, "float16"))
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581"]
    tokenizer = Tokenizer(
        models.BPE({p: i for i, p in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    tokenizer.decoder = decoders.ByteFallback()
    tokenizer.save(str(folder / "tokenizer.json"))


def step(name: str, verb: str, root: Path) -> dict[str, Any]:
    """Run one step in this process and return what it took."""
    checkpoint, base = root / "checkpoint", root / "base"
    work: dict[str, Callable[[], object]] = {
        "write": lambda: write_checkpoint(name, checkpoint),
        "import": lambda: import_checkpoint(str(checkpoint), base, name=name, log=_quiet),
        "export mobilevlm": lambda: export_mobilevlm(base, root / "back", log=_quiet),
        "export llama.cpp": lambda: export_llama_cpp(base, root / "parts", log=_quiet),
    }
    before, peak, done = _allocated(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, _allocated())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    work[verb]()
    seconds = time.monotonic() - began
    done.set()
    watcher.join()
    return {
        "seconds": round(seconds, 1),
        "allocated_before_mib": before >> 20,
        "allocated_peak_mib": peak >> 20,
        "resident_peak_mib": peak_resident_bytes() >> 20,
    }


def _quiet(line: str) -> None:
    pass


def _allocated() -> int:
    """Return the bytes that this process holds in memory of its own, mapped files left out."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this measurement needs Linux")


def compare(one: Path, other: Path) -> dict[str, int]:
    """Return how many tensors two checkpoints have, and how many are the same bit for bit."""
    left, right = WeightFiles(one), WeightFiles(other)
    same = 0
    for key, form in left.forms.items():
        if right.forms.get(key) == form:
            same += (
                hashlib.sha256(raw_bytes(left.read(key))).digest()
                == hashlib.sha256(raw_bytes(right.read(key))).digest()
            )
    return {"tensors": len(left.forms), "written_back": len(right.forms), "identical": same}


def measure(name: str) -> dict[str, Any]:
    """Measure every step for one published model."""
    result: dict[str, Any] = {"name": name}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for verb in ("write", "import", "export mobilevlm", "export llama.cpp"):
            done = subprocess.run(
                [sys.executable, "-W", "ignore", __file__, "--step", name, verb, folder],
                check=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            result[verb] = json.loads(done.stdout.splitlines()[-1])
            print(f"{name} {verb}: {result[verb]}", flush=True)
        weights = root / "base" / "model.safetensors"
        result["bytes"] = weights.stat().st_size
        result["round_trip"] = compare(root / "checkpoint", root / "back")
        print(f"{name} round trip: {result['round_trip']}", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", nargs="+", default=list(NAMES), choices=list(NAMES))
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--step", nargs=3, metavar=("NAME", "VERB", "FOLDER"))
    arguments = parser.parse_args()
    if arguments.step:
        name, verb, folder = arguments.step
        print(json.dumps(step(name, verb, Path(folder))))
        return
    runs = [measure(name) for name in arguments.names]
    write_json(arguments.out, {"environment": vars(environment.collect()), "runs": runs})


if __name__ == "__main__":
    main()
