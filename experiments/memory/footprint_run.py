"""One bundle running in a process of its own: started by `footprint.py`, prints JSON.

`BUNDLE [--only-imports]`. Imports nothing that running a bundle does not need.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.memory import peak_resident_bytes
from hydra_mobile.core.quiet import quiet
from hydra_mobile.runtimes import runtime_class
from hydra_mobile.runtimes.base import CacheState

_NEW_TOKENS = 16


def run(bundle_folder: Path, only_imports: bool) -> None:
    """Print, as JSON, the most memory that this process has held after each step."""
    bundle = Bundle.open(bundle_folder, verify_hashes=False)
    load = runtime_class(bundle.runtime).load
    steps = {"imports": peak_resident_bytes()}
    if not only_imports:
        runner = load(bundle_folder, threads=1)
        steps["load"] = peak_resident_bytes()
        size = bundle.shapes["image_size"]
        features = runner.encode_image(np.zeros((1, 3, size, size), np.float32))
        steps["picture"] = peak_resident_bytes()
        count = bundle.limits.max_prefill - features.shape[1]
        text = runner.embed([5 + index % 200 for index in range(count)])
        _, state = runner.decode(np.concatenate([features, text], axis=1), CacheState())
        steps["prefill"] = peak_resident_bytes()
        for _ in range(_NEW_TOKENS):
            _, state = runner.decode(runner.embed([7]), state)
        steps["decode"] = peak_resident_bytes()
    print(dumps(steps))


if __name__ == "__main__":
    quiet()
    run(Path(sys.argv[1]), "--only-imports" in sys.argv)
