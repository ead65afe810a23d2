"""ONNX Runtime on a bundle's three graphs.

A time includes two sessions' runs (embedding, decoder) through the Python binding; past and present
share one buffer, so that no cache is copied. The profile comes from ONNX Runtime's own profiler.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from experiments.inference_speed.engines.executorch import with_shares
from experiments.inference_speed.engines.runner_engine import BundleEngine


class OnnxEngine(BundleEngine):
    """The graphs of one bundle."""

    runner = "onnx"
    note = "fp32 cache, in place"

    @classmethod
    def imported(cls) -> None:
        """Import the runtime."""
        super().imported()
        import onnxruntime  # noqa: F401

    def profile(self, ids: list[int], steps: int, file: Path) -> list[dict[str, Any]] | None:
        """Return rows by phase and operator; each phase runs in a session of its own."""
        import onnxruntime as ort

        from hydra_mobile.runtimes.onnx_threads import use_threads

        graph = self._runner._decoder._model_path
        rows = []
        for phase in ("prefill", "decode"):
            options = ort.SessionOptions()
            options.enable_profiling = True
            options.profile_file_prefix = str(file.with_suffix(f".{phase}"))
            use_threads(options, 0)
            session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            self._runner._decoder = session
            # Binds the cache to the new session.
            self._runner.use_adapter(None)
            if phase == "prefill":
                for _ in range(3):
                    self.read(ids)
            else:
                self.read(ids[:1])
                for _ in range(steps):
                    self.step(ids[0])
            written = Path(session.end_profiling())
            rows += _rows(phase, json.loads(written.read_text()))
            written.unlink()
        return rows


def _rows(phase: str, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add up kernel times by operator, the first run of the graph left out."""
    runs = sorted(e["ts"] for e in events if e.get("name") == "model_run")
    kernels = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    ends = sorted(e["ts"] + e["dur"] for e in events if e.get("name") == "model_run")
    counted = max(1, len(runs) - 1)
    milliseconds: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in kernels:
        if len(ends) > 1 and event["ts"] < ends[0]:
            continue
        name = str(event["args"].get("op_name", event["name"]))
        milliseconds[name] += event["dur"] / 1000 / counted
        calls[name] += 1
    return with_shares(phase, {n: [ms, calls[n] / counted] for n, ms in milliseconds.items()})
