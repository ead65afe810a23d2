"""Makes one `.mlpackage` from a torch module: trace, convert, quantize, join functions.

A module that is called with two lengths becomes a package with two functions, `prefill` and
`decode`, of fixed shapes over one set of weights. Fixed, because the graphics and neural engines
plan fixed shapes ahead and leave flexible ones to the CPU; functions, because enumerated shapes
need flexible dimensions in the program, and two packages would hold the weights twice. The price is
iOS 18.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

# It warns on import of what is missing for prediction, which nothing here needs.
logging.getLogger("coremltools").setLevel(logging.ERROR)

import coremltools as ct  # noqa: E402
import coremltools.optimize.coreml as cto  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from hydra_mobile.core.json_text import dumps  # noqa: E402
from hydra_mobile.runtimes.coreml.program import read_program  # noqa: E402

Compute = Literal["fp16", "fp32"]

#: The function of a package that has only one.
MAIN = "main"
#: Weights with fewer numbers are not worth a scale for each row.
SMALLEST_QUANTIZED = 2048


@dataclass(frozen=True)
class Call:
    """One way to call a module: the function's name and example inputs by the names they get."""

    function: str
    inputs: Mapping[str, Tensor]


_DEBUG_FILE = "executorch_debug_handle_mapping.json"


def write_package(
    module: nn.Module,
    calls: Sequence[Call],
    outputs: Sequence[str],
    compute: Compute,
    int8_parts: Sequence[str],
    path: Path,
) -> set[str]:
    """Write `module` as the package `path`.

    Args:
        module: in eval mode; its forward takes the inputs of each call in order.
        calls: one for each function; weights are stored once.
        outputs: names of the results.
        compute: type of weights, of arithmetic and of floating inputs and outputs.
        int8_parts: attributes of `module`, as `("tower", "head")`, whose linears, convolutions and
            tables get 8-bit weights with one scale for each output row.
        path: ends with `.mlpackage`; must not exist.

    Returns:
        Names of the parameters that the traced program reads. Another of the module is not needed
        to compute its outputs, as the last layer of a tower whose last but one is read.
    """
    used: set[str] = set()
    with _quiet(), tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        made = []
        for call in calls:
            part = Path(scratch) / f"{call.function}.mlpackage"
            used = _write_function(module, call, outputs, compute, int8_parts, part)
            made.append(part)
        if len(made) == 1:
            shutil.move(made[0], path)
        else:
            functions = ct.utils.MultiFunctionDescriptor()
            for call, part in zip(calls, made, strict=True):
                functions.add_function(str(part), MAIN, call.function)
            functions.default_function_name = calls[0].function
            ct.utils.save_multifunction(functions, str(path))
    _make_reproducible(path)
    return used


def _make_reproducible(path: Path) -> None:
    """Leave in a package what a program needs: the same model then gives the same bytes.

    The library names the package's items by random numbers, and adds a file for debuggers that no
    manifest lists.
    """
    (path / _DEBUG_FILE).unlink(missing_ok=True)
    file = path / "Manifest.json"
    text = file.read_text("utf-8")
    for name, entry in json.loads(text)["itemInfoEntries"].items():
        text = text.replace(name, str(uuid.uuid5(uuid.NAMESPACE_URL, entry["path"])).upper())
    file.write_text(dumps(json.loads(text), indent=4, sort_keys=True) + "\n", "utf-8")


def _write_function(
    module: nn.Module,
    call: Call,
    outputs: Sequence[str],
    compute: Compute,
    int8_parts: Sequence[str],
    path: Path,
) -> set[str]:
    floating = np.float16 if compute == "fp16" else np.float32
    with torch.no_grad():
        traced = torch.export.export(module, tuple(call.inputs.values()), strict=False)
        # The converter reads programs of core operators only.
        traced = traced.run_decompositions({})
    model = ct.convert(
        traced,
        minimum_deployment_target=ct.target.iOS18,
        compute_precision=ct.precision.FLOAT16 if compute == "fp16" else ct.precision.FLOAT32,
        inputs=[
            ct.TensorType(
                name=name,
                shape=tuple(value.shape),
                dtype=floating if value.is_floating_point() else np.int32,
            )
            for name, value in call.inputs.items()
        ],
        outputs=[ct.TensorType(name=name, dtype=floating) for name in outputs],
        skip_model_load=True,
    )
    used = _parameters_read(traced)
    del traced
    model.save(str(path))
    if not int8_parts:
        return used
    chosen = _weights_of(path, int8_parts)
    config = cto.OpLinearQuantizerConfig(
        mode="linear_symmetric",
        dtype="int8",
        granularity="per_channel",
        weight_threshold=SMALLEST_QUANTIZED,
    )
    model = cto.linear_quantize_weights(
        model,
        # Named one by one: the converter would quantize whatever is large, as tables of positions.
        cto.OptimizationConfig(
            global_config=None, op_name_configs={name: config for name in chosen}
        ),
    )
    shutil.rmtree(path)
    model.save(str(path))
    return used


def _parameters_read(traced: torch.export.ExportedProgram) -> set[str]:
    signature = traced.graph_signature
    return {
        signature.inputs_to_parameters[node.name]
        for node in traced.graph.nodes
        if node.op == "placeholder" and node.users and node.name in signature.inputs_to_parameters
    }


def _weights_of(path: Path, parts: Sequence[str]) -> list[str]:
    """Return names of the weights of linears, convolutions and lookups that belong to `parts`."""
    operators = read_program(path).functions[MAIN].operators
    sizes = {o.name: int(np.size(o.constants["val"])) for o in operators if o.kind == "const"}
    arguments = {"linear": "weight", "conv": "weight", "gather": "x"}
    read: set[Any] = {o.inputs[arguments[o.kind]][0] for o in operators if o.kind in arguments}
    prefixes = tuple(f"p_{part}_" for part in parts)
    return sorted(
        name
        for name in read
        if isinstance(name, str)
        and name.startswith(prefixes)
        and sizes.get(name, 0) >= SMALLEST_QUANTIZED
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the converter's progress bars and its warnings of versions it was not tested with.

    What goes wrong is an exception.
    """
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
