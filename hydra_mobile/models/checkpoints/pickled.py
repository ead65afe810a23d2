"""Writing `pytorch_model.bin` files, which MobileVLM's published code and older tools read.

Memory is that of one shard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from hydra_mobile.core.files import write_json
from hydra_mobile.core.progress import Log
from hydra_mobile.core.safetensors_io import Form, total_bytes

_SHARD_BYTES = 1_000_000_000


def write_pickled(
    folder: Path,
    forms: Mapping[str, Form],
    read: Callable[[str], Tensor],
    log: Log,
    shard_bytes: int = _SHARD_BYTES,
) -> None:
    """Write tensors as one `pytorch_model.bin`, or as shards with an index.

    Args:
        folder: to write into.
        forms: dtype and shape by name.
        read: returns a tensor by name.
        log: receives a line per shard.
        shard_bytes: the most of a shard; a tensor that is larger has a shard of its own.
    """
    shards: list[dict[str, Form]] = [{}]
    for name, form in forms.items():
        if shards[-1] and total_bytes(shards[-1]) + form.size > shard_bytes:
            shards.append({})
        shards[-1][name] = form
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = "pytorch_model.bin"
        if len(shards) > 1:
            file = f"pytorch_model-{number:05d}-of-{len(shards):05d}.bin"
        # Cloned: a tensor that is mapped from a file would be saved with the whole file behind it.
        torch.save({name: read(name).clone() for name in shard}, folder / file)
        places.update(dict.fromkeys(shard, file))
        log(f"  {file}: {len(shard)} tensors")
    if len(shards) > 1:
        write_json(
            folder / "pytorch_model.bin.index.json",
            {"metadata": {"total_size": total_bytes(forms)}, "weight_map": places},
        )
