from __future__ import annotations

import subprocess
import sys

import numpy as np

from hydra_mobile.core.memory import peak_resident_bytes


def test_peak_follows_what_the_process_holds():
    before = peak_resident_bytes()
    block = np.ones(80_000_000, dtype=np.float64)
    assert peak_resident_bytes() - before > 0.5 * block.nbytes or before > 2 * block.nbytes


def test_peak_is_not_inherited_from_a_large_parent():
    block = np.ones(80_000_000, dtype=np.float64)
    code = "from hydra_mobile.core.memory import peak_resident_bytes; print(peak_resident_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < block.nbytes / 2
