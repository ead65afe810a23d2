"""Checks a saved `.mlpackage` without Apple's runtime: its interface, and the weights in it.

Reads what lies on the disk and compares it with the torch module that it was made from. Whether the
program computes the right numbers is for `hydra_mobile.runtimes.coreml.interpreter`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from hydra_mobile.core.errors import ParityError
from hydra_mobile.runtimes.coreml.program import Function, Program, read_program, stored_tensors

#: Endings that the converter gives to a parameter's name.
_ENDINGS = ("_quantized", "_to_fp16")
#: Farthest that an 8-bit weight may be from its source, in steps of its scale: half a step, and
#: what rounding source and scale to 16 bits adds at 127 steps.
LARGEST_STEP = 0.5 + 2 * 127 * 2.0**-11

# Half of the smallest fp16 number: scales up to it round to zero.
_HALF_UNDERFLOW = 2.0**-25


def interface_of(program: Program) -> dict[str, Any]:
    """Return function -> inputs, outputs and operators, as the manifest stores them."""
    return {
        name: {
            "inputs": {key: str(kind) for key, kind in function.inputs.items()},
            "outputs": {key: str(kind) for key, kind in function.outputs.items()},
            "states": list(function.states),
            "operators": function.kinds(),
        }
        for name, function in program.functions.items()
    }


def compare_weights(folder: Path, module: nn.Module, used: set[str]) -> dict[str, Any]:
    """Compare every stored parameter with its source.

    Args:
        folder: the `.mlpackage`.
        module: what it was made from, unchanged.
        used: names of the parameters that the program reads.

    Returns:
        `compared`, `exact` (equal after rounding to the stored type), `int8`: how many tensors, of
        all functions together; `largest_int8_error_in_steps`; `folded`: parameters that the
        converter computed with, so that they are in the program under no name of their own.

    Raises:
        ParityError: a weight differs from its source by more than its type explains, or a function
            does not hold the matrix of a linear or of a convolution that it reads.
    """
    program = read_program(folder)
    sources = {
        _stored_name(name): value.numpy() for name, value in _parameters(module) if name in used
    }
    needed = {
        _stored_name(f"{name}.weight")
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear | nn.Conv2d) and f"{name}.weight" in used
    }
    facts: dict[str, Any] = {"compared": 0, "exact": 0, "int8": 0}
    worst = 0.0
    found: set[str] = set()
    for name, function in program.functions.items():
        seen, steps = _compare_function(folder, function, sources, facts)
        if missing := sorted(needed - seen):
            raise ParityError(
                f"{folder.name}, function `{name}` does not hold the weights {missing[:3]}.",
                "The converter changed them; compare the version of coremltools.",
            )
        found |= seen
        worst = max(worst, steps)
    return facts | {
        "largest_int8_error_in_steps": round(worst, 4),
        "folded": sorted(set(sources) - found),
    }


def _parameters(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [(n, p.detach()) for n, p in module.named_parameters(remove_duplicate=False)]


def _stored_name(name: str) -> str:
    """Return the name that the converter gives to a parameter."""
    return f"p_{name.replace('.', '_').lower()}"


def _compare_function(
    folder: Path, function: Function, sources: dict[str, NDArray[Any]], facts: dict[str, Any]
) -> tuple[set[str], float]:
    seen: set[str] = set()
    worst = 0.0
    for stored_name, stored, scale in stored_tensors(function):
        name = stored_name
        for ending in _ENDINGS:
            name = name.removesuffix(ending)
        source = sources.get(name.lower())
        if source is None or (source.shape != stored.shape and source.size != stored.size):
            continue
        source = source.reshape(stored.shape)
        if scale is None:
            difference = float(np.abs(source.astype(stored.dtype) - stored).max())
            good = difference == 0.0
            facts["exact"] += int(good)
        else:
            scale = scale.astype(np.float32)
            # Near zero a scale in fp16 is off by up to half of the smallest number, 127 times.
            slack = 128 * _HALF_UNDERFLOW * (scale > 0)
            with np.errstate(divide="ignore", invalid="ignore"):
                steps = np.maximum(np.abs(source - stored) - slack, 0.0) / scale
            # A row of zeros has any scale; one whose scale rounds to zero is stored as zeros.
            lost = (scale == 0) & (np.abs(source) <= 127 * _HALF_UNDERFLOW)
            steps = np.where((source == stored) | lost, 0.0, steps)
            difference = float(steps.max())
            good = difference <= LARGEST_STEP
            worst = max(worst, difference)
            facts["int8"] += 1
        if not good:
            unit = "" if scale is None else " steps"
            raise ParityError(
                f"{folder.name}: weight `{name}` differs from its source by {difference:.3g}{unit}."
            )
        seen.add(name)
        facts["compared"] += 1
    return seen, worst
