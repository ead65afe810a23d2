"""The graphs of a process of ours share one pool of threads; a user's sessions are left alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("onnxruntime")

# In a process of its own: a shared pool binds every session that comes after it.
_SCRIPT = """
import onnxruntime as ort
from hydra_mobile.runtimes.onnx import OnnxRuntime
from hydra_mobile.runtimes.onnx_threads import use_threads

def asked(threads):
    options = ort.SessionOptions()
    use_threads(options, threads)
    return options.use_per_session_threads, options.intra_op_num_threads

print(asked(2))
OnnxRuntime.own_process(2)
OnnxRuntime.own_process(1)
print(asked(1))
"""


def test_only_a_process_of_ours_shares_the_pool() -> None:
    said = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True
    ).stdout
    assert said.split("\n")[:2] == ["(True, 2)", "(False, 0)"]
