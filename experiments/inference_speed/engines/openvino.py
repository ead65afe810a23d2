"""OpenVINO on the graphs of our fp32 ONNX bundle, read by its ONNX frontend.

The decoder's cache goes in and out as tensors, as the graph has it; a time includes that copying,
which OpenVINO's own stateful models do not have. Where the frontend knows no operator of the graph
the engine says so and is left out.
"""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.inference_speed.engines.base import Engine, Form, Place, as_ids
from experiments.inference_speed.engines.onnx import OnnxEngine
from experiments.inference_speed.engines.runner_engine import bundle_of
from hydra_mobile.core.errors import HydraError
from hydra_mobile.runtimes.base import Array

_EMBEDDING, _DECODER = "embed_tokens.onnx", "decoder_model_merged.onnx"


class OpenVinoEngine(Engine):
    """Two graphs of a bundle, without its vision encoder."""

    note = "language part only; our fp32 graph, cache copied in and out; fp32 asked for"

    @classmethod
    def missing(cls) -> str | None:
        """Return why this engine cannot run here; None: it can."""
        if importlib.util.find_spec("openvino") is None:
            return "the package `openvino` is not installed"
        return OnnxEngine.missing()

    @classmethod
    def imported(cls) -> None:
        """Import the runtime."""
        import openvino  # noqa: F401

    @classmethod
    def make(cls, form: Form, place: Place) -> list[Path]:
        """Take the bundle of `onnx-fp32`."""
        files = OnnxEngine.make(_bundle_form(form), place)
        return [file for file in files if file.name in (_EMBEDDING, _DECODER)]

    def __init__(self, form: Form, place: Place, threads: int) -> None:
        import openvino

        folder = bundle_of("onnx", _bundle_form(form), place)
        began = time.perf_counter()
        core = openvino.Core()
        options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        options["PERFORMANCE_HINT"] = "LATENCY"
        try:
            self._embedding = core.compile_model(str(folder / _EMBEDDING), "CPU", options)
            decoder = core.compile_model(str(folder / _DECODER), "CPU", options)
        except RuntimeError as error:
            last = str(error).strip().splitlines()[-1]
            raise HydraError(f"OpenVINO does not read our graph: {last[:300]}") from error
        self._request = decoder.create_infer_request()
        self._empty = {
            port.any_name: np.zeros(
                (1, port.partial_shape[1].get_length(), 0, port.partial_shape[3].get_length()),
                np.float32,
            )
            for port in decoder.inputs
            if port.any_name.startswith("past_key_values.")
        }
        self._present = [
            (name, name.replace("past_key_values.", "present.")) for name in self._empty
        ]
        self._length = 0
        self.load_seconds = time.perf_counter() - began

    def read(self, ids: list[int]) -> Array:
        """Start with an empty cache, read `ids` in one call, return the last logits [V]."""
        self._cache, self._length = dict(self._empty), 0
        return self._append(ids)

    def step(self, token: int) -> Array:
        """Append one token and return the logits [V] that follow it."""
        return self._append([token])

    def _append(self, ids: list[int]) -> Array:
        rows = self._embedding(as_ids(ids))[0]
        start, self._length = self._length, self._length + len(ids)
        out: Any = self._request.infer(
            {
                "inputs_embeds": rows,
                "attention_mask": np.ones((1, self._length), np.int64),
                "position_ids": np.arange(start, self._length, dtype=np.int64)[None],
                **self._cache,
            }
        )
        self._cache = {past: out[present].copy() for past, present in self._present}
        return np.array(out["logits"], np.float32).reshape(-1)

    def facts(self) -> dict[str, Any]:
        """Return its version."""
        import openvino

        return {"version": openvino.__version__}


def _bundle_form(form: Form) -> Form:
    return Form(f"onnx-{form.precision}", "onnx", form.precision, form.bits)
