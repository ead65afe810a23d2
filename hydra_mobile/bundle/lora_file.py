"""An adapter as a file of its own: tensors that fill inputs of a base program, swapped in a moment.

The format is onnxruntime's (`.onnx_adapter`), so an app activates it with the runtime's own
`LoraAdapter` and run options. onnxruntime feeds every tensor of an adapter to the session, which
refuses names that it has no input for; decoder and vision encoder are two sessions, so an adapter
that trained the projector is two files. Ranks may differ between modules and between adapters; a
module without an adapter is left out and takes the program's default, rank 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import write_atomically
from hydra_mobile.core.registry import nearest

if TYPE_CHECKING:
    from hydra_mobile.adapters.save_load import Adapter

DECODER_SUFFIX = ".onnx_adapter"
VISION_SUFFIX = ".vision.onnx_adapter"

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class AdapterFiles:
    """The files of one adapter; None where the adapter has nothing for that session.

    Attributes:
        decoder: low-rank updates, A [in, rank] and B [rank, out] of each module, float32.
        vision: the projector's tensors.
    """

    decoder: Path | None
    vision: Path | None


def adapter_tensors(
    adapter: Adapter, inputs: Mapping[str, Mapping[str, list[int]]], *, half: bool
) -> tuple[Tensors, Tensors]:
    """Return what fills the inputs of decoder and vision encoder.

    B carries the scale lora_alpha / rank, so that the program multiplies by nothing else.

    Args:
        adapter: the adapter.
        inputs: `adapter_inputs` of the program's manifest: "linears" [out, in] and "tensors".
        half: whether the vision encoder's inputs are fp16.

    Raises:
        ArtifactError: the adapter changes something that is no input of the program, or has
            another shape there, or a value is not finite in the program's precision.
    """
    decoder: Tensors = {}
    for module, (a, b) in adapter.tensors.items():
        _require_input(adapter, module, [b.shape[0], a.shape[1]], inputs["linears"])
        scale = adapter.alpha / adapter.rank_map[module]
        decoder[f"{module}.lora_A"] = _contiguous(a.float().numpy().T)
        decoder[f"{module}.lora_B"] = _contiguous((b.float() * scale).numpy().T)
        for side in ("A", "B"):
            name = f"{module}.lora_{side}"
            _require_finite(adapter, name, decoder[name])
    vision: Tensors = {}
    for tensors in adapter.extra_tensors.values():
        for name, tensor in tensors.items():
            _require_input(adapter, name, list(tensor.shape), inputs["tensors"])
            value = tensor.float().numpy()
            vision[name] = value.astype(np.float16) if half else value
            _require_finite(adapter, name, vision[name])
    return decoder, vision


def _require_finite(adapter: Adapter, name: str, value: NDArray[Any]) -> None:
    if not np.isfinite(value).all():
        raise ArtifactError(
            f"{adapter.folder}: `{name}` is not finite in {value.dtype}, which the program takes.",
            "Export the program with --preset fp32, or take an adapter from earlier in training.",
        )


def write_adapter_file(tensors: Mapping[str, NDArray[Any]], path: Path) -> Path:
    """Write tensors as an `.onnx_adapter`, atomically; return the path."""
    import onnxruntime as ort

    adapter = ort.AdapterFormat()
    adapter.set_parameters(
        {name: ort.OrtValue.ortvalue_from_numpy(tensors[name]) for name in sorted(tensors)}
    )
    with write_atomically(path) as temporary:
        adapter.export_adapter(str(temporary))
    return path


def read_adapter_file(path: Path) -> dict[str, Any]:
    """Return the tensors of an `.onnx_adapter` as OrtValues that map the file.

    Raises:
        ArtifactError: it is missing, or damaged.
    """
    import onnxruntime as ort

    if not path.is_file():
        raise ArtifactError(f"{path} is missing: expected an adapter of a base program.")
    try:
        values: dict[str, Any] = ort.AdapterFormat.read_adapter(str(path)).get_parameters()
    except Exception as error:  # onnxruntime's exceptions share no base class but this
        raise ArtifactError(
            f"{path} is no adapter that onnxruntime {ort.__version__} can read.",
            "The file was altered or cut short; copy it, or export the adapter, again.",
        ) from error
    return values


def filled(slots: Iterable[Any], path: Path | None) -> dict[str, Any]:
    """Return the OrtValues of an adapter file by name, after comparing them with a session.

    Args:
        slots: the session's optional inputs (`get_overridable_initializers`).
        path: the file; None: no adapter.

    Raises:
        ArtifactError: it cannot be read, or belongs to another program.
    """
    if path is None:
        return {}
    values, known = read_adapter_file(path), {slot.name: slot for slot in slots}
    sizes: dict[str, int] = {}
    for name, value in values.items():
        slot = known.get(name)
        if slot is None:
            raise _foreign(path, f"it fills `{name}`, which is no input of the program")
        shape = list(value.shape())
        # Two inputs that name one size, A and B of a module, must agree on it.
        fits = len(shape) == len(slot.shape) and all(
            size == (sizes.setdefault(wanted, size) if isinstance(wanted, str) else wanted)
            for size, wanted in zip(shape, slot.shape, strict=True)
        )
        if not fits or value.data_type() != slot.type:
            raise _foreign(
                path,
                f"`{name}` is {value.data_type()} {shape}, the program takes {slot.type} "
                f"{slot.shape}",
            )
    return values


def fixed_in_program(adapter: Adapter, name: str, hint: str = "") -> ArtifactError:
    """Return the error for an adapter that changes what a base program has no input for."""
    return ArtifactError(
        f"The adapter in {adapter.folder} changes `{name}`, which is fixed in a base program.",
        f"Export it merged (--adapter merged).{hint}",
    )


def _require_input(
    adapter: Adapter, name: str, shape: list[int], inputs: Mapping[str, list[int]]
) -> None:
    if name not in inputs:
        raise fixed_in_program(adapter, name, f" {nearest(name, inputs)[:200]}")
    if list(inputs[name]) != shape:
        raise ArtifactError(
            f"The adapter in {adapter.folder} has shape {shape} for `{name}`, the program "
            f"{list(inputs[name])}."
        )


def _foreign(path: Path, why: str) -> ArtifactError:
    return ArtifactError(
        f"{path} belongs to another program: {why}.",
        "Make it with `hydra-mobile bundle add BUNDLE RUN` for this bundle.",
    )


def _contiguous(array: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, dtype=np.float32)
