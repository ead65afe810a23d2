"""onnxruntime-genai on the graph that its own model builder makes of the language part.

The merged language part is written as a plain Llama folder first; the builder then emits an ONNX
graph with GroupQueryAttention and, for int4, MatMulNBits (block 32, accuracy level 4). A time is
that of `append_tokens` and of `get_logits`, which copies the logits of the last position.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.inference_speed.engines.base import Engine, Form, Place
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.json_text import dumps
from hydra_mobile.runtimes.base import Array

_PARTS = ("model.onnx", "model.onnx.data")


class GenaiEngine(Engine):
    """One folder of the builder's."""

    note = "language part only; its builder's graph"

    @classmethod
    def missing(cls) -> str | None:
        """Return why this engine cannot run here; None: it can."""
        if importlib.util.find_spec("onnxruntime_genai") is None:
            return "the package `onnxruntime-genai` is not installed"
        return None

    @classmethod
    def imported(cls) -> None:
        """Import the runtime."""
        import onnxruntime_genai  # noqa: F401

    @classmethod
    def make(cls, form: Form, place: Place) -> list[Path]:
        """Run the builder, unless that is done."""
        folder = place.work / form.name
        if not (folder / "genai_config.json").is_file():
            llama = place.work / "llama"
            if not (llama / "config.json").is_file():
                write_llama(place.merged, llama)
            built = folder.with_suffix(".tmp")
            shutil.rmtree(built, ignore_errors=True)
            command = [sys.executable, "-W", "ignore", "-m", "onnxruntime_genai.models.builder"]
            command += ["-m", "merged", "-i", str(llama), "-o", str(built)]
            command += ["-p", form.precision, "-e", "cpu", "-c", str(place.work / "genai-cache")]
            if form.precision == "int4":
                command += ["--extra_options", "int4_block_size=32", "int4_accuracy_level=4"]
            done = subprocess.run(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise HydraError(f"The builder of onnxruntime-genai failed: {last[:300]}")
            built.rename(folder)
        return [folder / name for name in _PARTS if (folder / name).is_file()]

    def __init__(self, form: Form, place: Place, threads: int) -> None:
        import onnxruntime_genai as og

        folder = place.work / form.name
        began = time.perf_counter()
        config = og.Config(str(folder))
        options = {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
        config.overlay(dumps({"model": {"decoder": {"session_options": options}}}))
        self._model = og.Model(config)
        parameters = og.GeneratorParams(self._model)
        # Room for the whole cache from the start, as all engines have.
        parameters.set_search_options(max_length=place.context, do_sample=False)
        self._generator = og.Generator(self._model, parameters)
        self.load_seconds = time.perf_counter() - began

    def read(self, ids: list[int]) -> Array:
        """Clear the cache, read `ids` in one call, return the last logits [V]."""
        self._generator.rewind_to(0)
        return self._append(ids)

    def step(self, token: int) -> Array:
        """Append one token and return the logits [V] that follow it."""
        return self._append([token])

    def _append(self, ids: list[int]) -> Array:
        self._generator.append_tokens(np.array(ids, np.int32))
        return np.asarray(self._generator.get_logits(), np.float32).reshape(-1)

    def facts(self) -> dict[str, Any]:
        """Return its version."""
        import onnxruntime_genai as og

        return {"version": og.__version__}


def write_llama(merged: Path, folder: Path) -> None:
    """Write the language part of a merged folder as a plain Llama with its tokenizer."""
    from hydra_mobile.models.loading import load_model

    model: Any = load_model(merged).language_model
    model.config.architectures = ["LlamaForCausalLM"]
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    shutil.copy(merged / "tokenizer.json", folder / "tokenizer.json")
    (folder / "tokenizer_config.json").write_text(
        dumps({"tokenizer_class": "PreTrainedTokenizerFast"}), encoding="utf-8"
    )
