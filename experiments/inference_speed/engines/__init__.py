"""Engines by name, and the forms of the model that are compared.

A new engine is one file with an `Engine` and lines here.
"""

from __future__ import annotations

from typing import cast

from experiments.inference_speed.engines.base import Engine, Form
from hydra_mobile.core.registry import resolve

_HERE = "experiments.inference_speed.engines"
ENGINES = {
    "torch": f"{_HERE}.eager:EagerEngine",
    "executorch": f"{_HERE}.executorch:ExecuTorchEngine",
    "onnx": f"{_HERE}.onnx:OnnxEngine",
    "genai": f"{_HERE}.genai:GenaiEngine",
    "llama.cpp": f"{_HERE}.llama_cpp:LlamaCppEngine",
    "llama.cpp (wheel)": f"{_HERE}.llama_cpp:LlamaCppWheelEngine",
    "openvino": f"{_HERE}.openvino:OpenVinoEngine",
}
#: The first is what every ratio and every check refers to.
FORMS = (
    Form("torch-fp32", "torch", "fp32", 32),
    Form("executorch-fp32", "executorch", "fp32", 32),
    Form("onnx-fp32", "onnx", "fp32", 32),
    Form("genai-fp32", "genai", "fp32", 32),
    Form("openvino-fp32", "openvino", "fp32", 32),
    Form("llama.cpp-f32", "llama.cpp", "f32", 32),
    Form("executorch-int8", "executorch", "int8", 8),
    Form("onnx-int8", "onnx", "int8", 8),
    Form("llama.cpp-q8_0", "llama.cpp", "q8_0", 8),
    Form("executorch-int4", "executorch", "int4", 4),
    Form("onnx-int4", "onnx", "int4", 4),
    Form("genai-int4", "genai", "int4", 4),
    Form("llama.cpp-q4_0", "llama.cpp", "q4_0", 4),
    Form("llama.cpp-q4_0-avx2", "llama.cpp (wheel)", "q4_0", 4),
)
REFERENCE = FORMS[0].name
#: The engine that is the peer at equal bits.
PEER = "llama.cpp"


def engine_class(name: str) -> type[Engine]:
    """Return the engine registered under `name`.

    Raises:
        HydraError: unknown name, or an optional package is missing.
    """
    return cast("type[Engine]", resolve("engine", name, ENGINES))
