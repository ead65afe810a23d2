"""Manifests of every kind of bundle that the app reads, with Python's memory estimates."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from hydra_export.targets import target_of
from hydra_mobile.bundle.bundle import SCHEMA
from hydra_mobile.bundle.manifest import sealed_bytes
from hydra_mobile.bundle.memory.phones import PROCESS_BYTES, fit_on
from hydra_mobile.core.files import write_json
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.models.templates import TEMPLATES
from hydra_mobile.models.tiles import Tiles

_PRECISIONS = ("fp32", "fp16", "w8", "w8a8", "w4", "w4a8")
_ROLES = {
    "onnx": ("vision_encoder", "token_embedding", "text_decoder"),
    "executorch": ("program",),
}


def write_manifests(folder: Path, count: int = 200) -> int:
    """Write manifests and `manifests.json` with the bytes of each part; returns how many."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(0)
    entries = []
    for index in range(count):
        manifest = _manifest(chance)
        file = folder / f"{index}.json"
        file.write_bytes(sealed_bytes(manifest))
        footprint = target_of(manifest).memory(manifest)
        memory = chance.choice((2, 3, 4, 5.5, 6, 8, 12))
        fit = fit_on(footprint, memory)
        entries.append(
            {
                "file": file.name,
                "footprint": footprint.to_dict(),
                "process": PROCESS_BYTES,
                "memory_bytes": int(memory * 2**30),
                "usable_bytes": fit.usable,
                "fits": fit.fits,
            }
        )
    write_json(folder / "manifests.json", entries)
    return count


def _image(chance: random.Random) -> ImagePreprocessing:
    half = (0.5, 0.5, 0.5)
    if chance.random() < 0.7:
        return ImagePreprocessing(336, half, half)
    rows, columns = chance.randint(1, 4), chance.randint(2, 4)
    tiles = Tiles(rows, columns, "image", ("",) * (rows * columns + 1))
    return ImagePreprocessing(336, half, half, "tiles", "bicubic", tiles)


def _manifest(chance: random.Random) -> dict[str, Any]:
    runtime = chance.choice(tuple(_ROLES))
    roles = (*_ROLES[runtime], "tokenizer", "golden", "golden_image", "golden_vectors")
    heads, size = chance.choice((4, 9, 16, 32)), chance.choice((16, 64, 80, 128))
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "target": "android",
        "runtime": runtime,
        "preset": {
            "name": "any",
            "head": chance.choice(_PRECISIONS),
            "decoder": chance.choice(_PRECISIONS),
            "sensitive": chance.choice((None, "", "w8a8", "fp32")),
        },
        "limits": {"max_context": chance.choice((64, 256, 2048, 4096)), "max_prefill": 128},
        "shapes": {
            "vocab_size": chance.randint(300, 160_000),
            "hidden_size": heads * size,
            "layers": chance.randint(1, 40),
            "kv_heads": chance.choice((1, 2, heads)),
            "head_dim": size,
            "image_size": chance.choice((32, 224, 336)),
            "image_token_id": 1,
            "num_image_tokens": chance.choice((4, 16, 144)),
        },
        "template": chance.choice(tuple(TEMPLATES.values())).to_dict(),
        "image": _image(chance).to_dict(),
        "stop_ids": [2],
        "files": {
            f"{role}.bin": {
                "role": role,
                "bytes": chance.randint(1, 2**31),
                "sha256": f"{chance.getrandbits(256):064x}",
            }
            for role in roles
        },
        "versions": {},
        "sources": {"base": "any"},
        "details": {"attention": chance.choice(("manual", "fused"))},
        "fallbacks": [],
    }
    if chance.random() < 0.7:
        manifest["sizes"] = {
            "heads": heads,
            "intermediate_size": chance.randint(100, 12_000),
            "vision_step": chance.randint(1, 2**28),
        }
        if chance.random() < 0.7:
            # Rows of a deep stack are wider than the model, convolutions keep less than attention.
            manifest["shapes"]["hidden_size"] += chance.choice((0, 5, 3 * heads * size + 4))
            manifest["sizes"]["hidden_size"] = heads * size
            manifest["sizes"]["cache_values"] = chance.randint(1, 100_000)
    return manifest
