"""Real predictions of six benchmarks with their annotations and published scores.

They are not in the repository. `HYDRA_MOBILE_PAIRS=FOLDER` names the folder that has them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

#: Without the variable a folder that cannot exist.
REAL_PAIRS = Path(os.environ.get("HYDRA_MOBILE_PAIRS") or os.devnull) / ""

needs_pairs = pytest.mark.skipif(
    not REAL_PAIRS.is_dir(), reason="set HYDRA_MOBILE_PAIRS to the folder of the real pairs"
)
