"""ExecuTorch's Python runtime on a bundle's program, XNNPACK underneath.

A time includes two calls of the program (embedding, decoder) through the Python binding. The
profile comes from ETDump: one row for each operator, those inside XNNPACK's delegates by the names
that XNNPACK gives them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.inference_speed.engines.runner_engine import BundleEngine


class ExecuTorchEngine(BundleEngine):
    """One `.pte`."""

    runner = "executorch"
    note = "fp32 cache; XNNPACK"

    @classmethod
    def imported(cls) -> None:
        """Import the runtime."""
        super().imported()
        from hydra_mobile.runtimes.executorch import import_library

        import_library()

    def profile(self, ids: list[int], steps: int, file: Path) -> list[dict[str, Any]] | None:
        """Return rows by phase and operator; each phase runs in a program of its own."""
        from executorch.devtools import Inspector
        from executorch.extension.pybindings import portable_lib

        program = str(self._runner.bundle.file("program"))
        rows = []
        for phase in ("prefill", "decode"):
            module = portable_lib._load_for_executorch(program, enable_etdump=True)
            self._runner._module = module
            # Packing of weights happens at the first call and would be counted with it.
            for _ in range(3) if phase == "prefill" else ():
                self.read(ids)
            if phase == "decode":
                self.read(ids[:1])
                for _ in range(steps):
                    self.step(ids[0])
            module.write_etdump_result_to_file(str(file))
            rows += _rows(phase, Inspector(etdump_path=str(file)))
        return rows


def _rows(phase: str, inspector: Any) -> list[dict[str, Any]]:
    """Add up the events of the decoder; medians over calls, so that packing does not count."""
    sums: dict[str, list[float]] = {}
    for block in inspector.event_blocks:
        for event in block.events:
            name = str(event.name)
            # Whole methods and whole delegates hold the operators that are counted one by one.
            if event.perf_data is None or name in _WHOLE or name.startswith("Method::"):
                continue
            if name.startswith("DELEGATE_CALL") or name.startswith("Program::"):
                continue
            kind = f"delegate: {name}" if event.is_delegated_op else name
            entry = sums.setdefault(kind.rsplit(" #", 1)[0], [0.0, 0])
            entry[0] += float(event.perf_data.p50)
            entry[1] += 1
    return with_shares(phase, sums)


_WHOLE = {"OPERATOR_CALL", "Method::execute", "Method::init"}


def with_shares(phase: str, sums: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Return rows, slowest first.

    Args:
        phase: "prefill" or "decode".
        sums: operator -> milliseconds of one call of the program, and occurrences in it.
    """
    total = sum(ms for ms, _ in sums.values()) or 1.0
    ordered = sorted(sums.items(), key=lambda item: -item[1][0])
    return [
        {
            "phase": phase,
            "operator": name,
            "ms": round(ms, 4),
            "calls": int(calls),
            "share": round(ms / total, 4),
        }
        for name, (ms, calls) in ordered
    ]
