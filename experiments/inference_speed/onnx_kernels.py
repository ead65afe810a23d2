"""How fast ONNX Runtime's kernels for linears are on this processor, by the form of the weights.

    python -m experiments.inference_speed.onnx_kernels

The same four linears as in `kernels.py`, in ONNX Runtime's operators: which form of weights would
be faster than the one that the exporter writes. One thread, CPU time, forms interleaved. Writes
`experiments/inference_speed/onnx_kernels.json`.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from experiments.inference_speed.kernels import (
    INPUTS,
    LINEARS,
    OUTPUTS,
    Call,
    Rows,
    command,
    interleaved,
)

RESULT = Path(__file__).with_name("onnx_kernels.json")


class Kernel(NamedTuple):
    """How weights are stored and multiplied.

    Attributes:
        operator: of ONNX Runtime.
        bits: of a weight.
        group: weights that share a scale; 0: all of an output's.
        accuracy: MatMulNBits' level: 1 computes in fp32, 4 in int8.
    """

    operator: str
    bits: int
    group: int = 0
    accuracy: int = 0


#: A product of codes whose scales are known before it runs.
_FIXED = "MatMulIntegerToFloat"
FORMS = {
    "fp32": Kernel("MatMul", 32),
    "int8, a scale for each output, one for activations": Kernel("DynamicQuantizeMatMul", 8),
    "int8, a scale for each output, a fixed one for activations": Kernel(_FIXED, 8),
    "int8, groups of 32 (int8 bundles)": Kernel("MatMulNBits", 8, 32, 4),
    "int8, groups of 64": Kernel("MatMulNBits", 8, 64, 4),
    "int8, groups of 128": Kernel("MatMulNBits", 8, 128, 4),
    "int4, groups of 32 (int4 bundles)": Kernel("MatMulNBits", 4, 32, 4),
    "int4, groups of 64": Kernel("MatMulNBits", 4, 64, 4),
    "int4, groups of 128": Kernel("MatMulNBits", 4, 128, 4),
    "int4, groups of 32, computed in fp32": Kernel("MatMulNBits", 4, 32, 1),
}


def graph(kernel: Kernel) -> bytes:
    """Return a model of `LINEARS` linears, float [tokens, INPUTS] in and out."""
    generator = np.random.default_rng(0)
    nodes, weights = [], []
    name = "x"
    for at in range(LINEARS):
        inner, outer = (INPUTS, OUTPUTS) if at % 2 == 0 else (OUTPUTS, INPUTS)
        values, attributes = _weights(generator, kernel, inner, outer)
        names = [f"w{at}.{i}" for i in range(len(values))]
        weights += map(numpy_helper.from_array, values, names)
        if kernel.operator == _FIXED:
            # The product's input is codes: they are made from the floats that came before.
            _, x_scale, _, x_zero = names
            nodes.append(helper.make_node("QuantizeLinear", [name, x_scale, x_zero], [f"q{at}"]))
            name = f"q{at}"
        domain = "" if kernel.operator == "MatMul" else "com.microsoft"
        nodes.append(
            helper.make_node(
                kernel.operator, [name, *names], [f"y{at}"], domain=domain, **attributes
            )
        )
        name = f"y{at}"
    ends = [
        helper.make_tensor_value_info(label, TensorProto.FLOAT, ["tokens", INPUTS])
        for label in ("x", name)
    ]
    made = helper.make_graph(nodes, "linears", ends[:1], ends[1:], weights)
    versions = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(made, opset_imports=versions, ir_version=10)
    return bytes(model.SerializeToString())


def _weights(
    generator: np.random.Generator, kernel: Kernel, inner: int, outer: int
) -> tuple[list[Any], dict[str, int]]:
    """Return a linear's inputs behind the first, and its attributes."""
    if kernel.operator == "MatMul":
        return [generator.normal(size=(inner, outer)).astype(np.float32) / inner**0.5], {}
    if kernel.operator in ("DynamicQuantizeMatMul", _FIXED):
        codes = generator.integers(-127, 128, (inner, outer), dtype=np.int8)
        scale = np.full(outer, 0.01 / inner**0.5, np.float32)
        if kernel.operator == _FIXED:
            return [codes, np.array(0.05, np.float32), scale, np.array(128, np.uint8)], {}
        return [codes, scale], {}
    groups = -(-inner // kernel.group)
    packed = (outer, groups, kernel.group * kernel.bits // 8)
    scales = np.full((outer, groups), 0.01 / inner**0.5, np.float32)
    attributes = {"K": inner, "N": outer, "bits": kernel.bits, "block_size": kernel.group}
    attributes["accuracy_level"] = kernel.accuracy
    return [generator.integers(0, 256, packed, dtype=np.uint8), scales], attributes


def _mean_seconds(call: Call, times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - began) / times


def measure(rounds: int) -> Rows:
    """Return the rows of `kernels.interleaved`, of ONNX Runtime's operators."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {
        name: ort.InferenceSession(graph(kernel), options, providers=["CPUExecutionProvider"])
        for name, kernel in FORMS.items()
    }

    def calls(tokens: int) -> dict[str, Call]:
        given = {"x": np.random.default_rng(1).normal(size=(tokens, INPUTS)).astype(np.float32)}
        return {name: partial(session.run, None, given) for name, session in sessions.items()}

    return interleaved(calls, _mean_seconds, rounds)


def main() -> None:
    what = "ONNX Runtime's linears, one thread, GFLOP/s of CPU time by form of the weights"
    command((__doc__ or "").splitlines()[0], what, measure, RESULT)


if __name__ == "__main__":
    main()
