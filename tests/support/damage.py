"""Damage to files as disks, copies and other programs do it."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file

WEIGHT = "language_model.model.layers.0.self_attn.q_proj.weight"


def flip_bit(path: Path, share: float, bit: int = 3) -> None:
    """Flip one bit of a file at a share of its length."""
    data = bytearray(path.read_bytes())
    data[min(len(data) - 1, int(len(data) * share))] ^= 1 << bit
    path.write_bytes(data)


def negate_a_weight(folder: Path) -> None:
    """Negate one weight of a model folder, as another program would save it again."""
    tensors = load_file(folder / "model.safetensors")
    tensors[WEIGHT] = -tensors[WEIGHT]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def set_a_weight(folder: Path, value: float, name: str = WEIGHT) -> None:
    """Set one value of a weight of a model folder."""
    tensors = load_file(folder / "model.safetensors")
    tensors[name][3, 5] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
