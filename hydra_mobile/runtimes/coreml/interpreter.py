"""Evaluates the ML program of a saved `.mlpackage`, operator by operator, on any machine.

Gives the numbers that the program defines: weights as they are stored, every result rounded to the
type that the program says. It is not Apple's runtime, which may order sums otherwise, keep more or
fewer bits inside of an operator, or have defects. Shapes and types are held to those that the
program declares; an operator that is not known is an error with its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hydra_mobile.core.errors import HydraError
from hydra_mobile.runtimes.coreml.interpreter_ops import OPERATORS
from hydra_mobile.runtimes.coreml.program import (
    COMPRESSED,
    Function,
    Operator,
    Program,
    TensorType,
    dequantized,
    read_program,
)

_INTEGERS = {
    "int8": (-(2**7), 2**7 - 1),
    "uint8": (0, 2**8 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1),
}


class Interpreter:
    """The functions of one package.

    Args:
        folder: the `.mlpackage`.

    Raises:
        ArtifactError: the package is unreadable.
        HydraError: it has an operator that is not known, or keeps state.
    """

    def __init__(self, folder: Path) -> None:
        self.program: Program = read_program(folder)
        # Functions share stored weights; each is made a tensor once.
        shared: dict[tuple[int, str], Any] = {}
        self._constants = {
            name: _constants(function, shared) for name, function in self.program.functions.items()
        }
        for name, function in self.program.functions.items():
            _require_known(folder, name, function)

    def run(self, function: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Evaluate a function.

        Args:
            function: its name; a package with one function has "main".
            inputs: name -> array of the declared shape; numbers are rounded to the declared type.

        Returns:
            Name -> result, float32 for both float types.

        Raises:
            HydraError: a name or shape is not what the function declares, an integer does not fit
                its type, or an operator is called in a way that is not known.
        """
        chosen = self.program.functions.get(function)
        if chosen is None:
            raise HydraError(
                f"{self.program.folder} has no function `{function}`; it has "
                f"{', '.join(sorted(self.program.functions))}."
            )
        if set(inputs) != set(chosen.inputs):
            raise HydraError(
                f"Function `{function}` reads {sorted(chosen.inputs)}, given were {sorted(inputs)}."
            )
        values: dict[str, Any] = dict(self._constants[function])
        for name, kind in chosen.inputs.items():
            values[name] = _typed(torch.from_numpy(np.array(inputs[name])), kind, f"input {name}")
        last_use = _last_uses(chosen)
        with torch.no_grad():
            for at, operator in enumerate(chosen.operators):
                if operator.kind not in ("const", COMPRESSED):
                    _evaluate(operator, values)
                    for name in last_use.get(at, ()):
                        del values[name]
        return {name: values[name].numpy() for name in chosen.outputs}


def _evaluate(operator: Operator, values: dict[str, Any]) -> None:
    """Compute one operator and add its results to `values`."""
    arguments: dict[str, Any] = {}
    for argument, bound in operator.inputs.items():
        found = [values[b] if isinstance(b, str) and b in values else _constant(b) for b in bound]
        arguments[argument] = found if argument == "values" else found[0]
    try:
        result = OPERATORS[operator.kind](arguments)
    except HydraError as error:
        raise HydraError(f"{operator.name}: {error.what}", error.fix) from error
    results = result if isinstance(result, tuple) else (result,)
    for (name, kind), value in zip(operator.outputs, results, strict=True):
        values[name] = _typed(value, kind, f"operator {operator.kind} `{operator.name}`")


def _typed(value: Tensor, kind: TensorType, where: str) -> Tensor:
    """Return `value` rounded to the declared type, in the type that the interpreter holds it in."""
    declared = kind.shape
    if len(value.shape) != len(declared) or any(
        size not in (-1, found) for size, found in zip(declared, value.shape, strict=True)
    ):
        raise HydraError(f"{where}: the shape is {list(value.shape)}, the program says {kind}.")
    if kind.dtype == "fp16":
        return value.half().float()
    if kind.dtype == "fp32":
        return value.float()
    if kind.dtype == "bool":
        return value.bool()
    low, high = _INTEGERS[kind.dtype]
    whole = value.long()
    if whole.numel() and (int(whole.min()) < low or int(whole.max()) > high):
        raise HydraError(
            f"{where}: {int(whole.min())}..{int(whole.max())} does not fit {kind.dtype}."
        )
    return whole


def _constant(value: Any) -> Any:
    """Return a constant as the operators read it: strings as they are, numbers as tensors."""
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.dtype.kind == "f":
        # A copy: the weight file is mapped read-only.
        return torch.from_numpy(np.array(array, np.float32))
    if array.dtype.kind == "b":
        return torch.from_numpy(np.array(array))
    return torch.from_numpy(np.array(array, np.int64))


def _constants(function: Function, shared: dict[tuple[int, str], Any]) -> dict[str, Any]:
    """Return name -> constant of a function."""
    found: dict[str, Any] = {}
    for operator in function.operators:
        name, kind = operator.outputs[0]
        if operator.kind == "const":
            found[name] = _shared(operator.constants["val"], kind, shared, _constant)
        elif operator.kind == COMPRESSED:
            found[name] = _shared(
                operator.inputs["data"][0],
                kind,
                shared,
                lambda _, o=operator, k=kind: _typed(
                    torch.from_numpy(dequantized(o)), k, f"weight {o.name}"
                ),
            )
    return found


def _shared(value: Any, kind: TensorType, shared: dict[tuple[int, str], Any], make: Any) -> Any:
    """Return `make(value)`, made once for each place of the weight file."""
    if isinstance(value, str) or value.size < 64:
        return make(value)
    key = (int(value.__array_interface__["data"][0]), str(kind))
    if key not in shared:
        # The source is kept with it: its address must not be given to another array.
        shared[key] = (value, make(value))
    return shared[key][1]


def _require_known(folder: Path, name: str, function: Function) -> None:
    unknown = sorted(set(function.kinds()) - set(OPERATORS) - {COMPRESSED})
    if unknown:
        raise HydraError(
            f"{folder.name}, function `{name}`: the interpreter does not know the operators "
            f"{', '.join(unknown)}.",
            "Add them to hydra_mobile/runtimes/coreml/interpreter_ops.py.",
        )
    if function.states:
        raise HydraError(
            f"{folder.name}, function `{name}` keeps state in {', '.join(function.states)}; the "
            "interpreter evaluates programs without state."
        )


def _last_uses(function: Function) -> dict[int, list[str]]:
    """Return index of an operator -> computed values that nothing reads after it."""
    made = {
        name
        for operator in function.operators
        if operator.kind not in ("const", COMPRESSED)
        for name, _ in operator.outputs
    } - set(function.outputs)
    last: dict[str, int] = {}
    for at, operator in enumerate(function.operators):
        for name, _ in operator.outputs:
            if name in made:
                last[name] = at
        for bound in operator.inputs.values():
            for value in bound:
                if isinstance(value, str) and value in made:
                    last[value] = at
    uses: dict[int, list[str]] = {}
    for name, at in last.items():
        uses.setdefault(at, []).append(name)
    return uses
