"""From measured points to fitted lines, and from those to the published models.

Two figures for each published model: the fitted line's, far outside of what was measured and to be
read so, and what is computed without measuring: bytes from the preset's bits, memory on a phone
from `hydra_mobile.bundle.memory.footprint`.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.scaling.fit import Line, fit
from experiments.scaling.point import VOCABULARY
from hydra_export.targets import target_of
from hydra_mobile.bundle.interface import Limits
from hydra_mobile.bundle.memory.footprint import _WEIGHT
from hydra_mobile.bundle.presets import preset_named

PUBLISHED = ("mobilevlm-v2-1.7b", "mobilevlm-v2-3b")
#: What is fitted of an export, and on what it depends.
TARGETS = {
    "seconds": ("layers", "weights"),
    "peak_bytes": ("layers", "weights"),
    # The table of embeddings is tied to the head and stored twice.
    "program_bytes": ("table", "weights"),
}
Row = Mapping[str, Any]


def fitted(rows: Sequence[Row]) -> dict[str, dict[str, Line]]:
    """Return "runtime preset" (or "event") -> target -> line, where there are points enough."""
    found: dict[str, dict[str, Line]] = {}
    groups: dict[str, list[Row]] = {}
    for row in with_weights(rows):
        kind = f"{row['runtime']} {row['preset']}" if row["runtime"] else "event"
        groups.setdefault(kind, []).append(row)
    for kind, group in groups.items():
        wanted = {"event": ("modules", "lora")} if kind == "event" else TARGETS
        for target, features in wanted.items():
            line = fit(group, features, target)
            if line:
                found.setdefault(kind, {})[target] = line
    return found


def with_weights(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return what was measured, with weights, table and an event's median as `event`."""
    sizes = {(r["layers"], r["width"]): r["weights"] for r in rows if "weights" in r}
    kept = []
    for row in rows:
        place = (row["layers"], row["width"])
        if "skipped" in row or place not in sizes:
            continue
        extra = {"weights": sizes[place], "table": VOCABULARY * row["width"]}
        if row["runtime"] is None:
            extra["event"] = statistics.median(row["event_seconds"])
        kept.append({**row, **extra})
    return kept


def lines(rows: Sequence[Row]) -> dict[str, Any]:
    """Return all lines as JSON stores them."""
    return {
        kind: {target: line.to_dict() for target, line in targets.items()}
        for kind, targets in fitted(rows).items()
    }


def predictions(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return a row for each published model and form that has lines."""
    found = []
    for name in PUBLISHED:
        model = _sizes(name)
        for kind, targets in fitted(rows).items():
            names = ("layers", "weights", "modules", "lora", "table")
            features = {key: float(model[key]) for key in names}
            row: dict[str, Any] = {"model": name, "form": kind, "weights": model["weights"]}
            row["fitted"] = {target: line.at(features) for target, line in targets.items()}
            if kind != "event":
                row["computed"] = computed(name, *kind.split(" "))
            found.append(row)
    return found


def computed(name: str, runtime: str, preset: str) -> dict[str, int]:
    """Return bytes of the programs from the preset's bits, and the footprint on a phone."""
    model, chosen = _sizes(name), preset_named(preset)
    width = {part: _WEIGHT[getattr(chosen, part)] for part in ("vision", "embedding", "decoder")}
    parts = {
        "vision_encoder": int(model["vision"] * width["vision"]),
        "token_embedding": int(model["table"] * width["embedding"]),
        "text_decoder": int(
            model["decoder"] * width["decoder"] + model["table"] * _WEIGHT[chosen.head]
        ),
    }
    manifest = {
        "runtime": runtime,
        "preset": chosen.to_dict(),
        "limits": Limits().to_dict(),
        "shapes": model["shapes"],
        "sizes": model["sizes"],
        "details": {},
        "files": {role: {"role": role, "bytes": size} for role, size in parts.items()},
    }
    return {
        "program_bytes": sum(parts.values()),
        "footprint_bytes": target_of(manifest).memory(manifest).peak,
    }


def _sizes(name: str) -> dict[str, Any]:
    """Return counts of a published model, built without memory for its weights."""
    from hydra_mobile.estimation.model import empty_model
    from hydra_mobile.models.published import published_config
    from hydra_mobile.training.adapted_modules import adapted_modules

    config: Any = published_config(name)
    model = empty_model(config)
    text, vision = config.text_config, config.vision_config
    counts = {n: p.numel() for n, p in model.named_parameters()}
    table = text.vocab_size * text.hidden_size
    decoder = sum(c for n, c in counts.items() if ".layers." in n and n.startswith("language"))
    linears = dict(model.named_modules())
    names = adapted_modules(model)
    features = [linears[n].in_features + linears[n].out_features for n in names]
    return {
        "weights": sum(counts.values()),
        "layers": text.num_hidden_layers,
        "modules": len(names),
        # As in the points: half of the modules have rank 16, the others 8.
        "lora": 12 * sum(features),
        "table": table,
        "decoder": decoder,
        "vision": sum(c for n, c in counts.items() if not n.startswith("language")),
        "shapes": {
            "hidden_size": text.hidden_size,
            "vocab_size": text.vocab_size,
            "layers": text.num_hidden_layers,
            "kv_heads": text.num_key_value_heads,
            "head_dim": text.hidden_size // text.num_attention_heads,
            "image_size": vision["image_size"],
        },
        "sizes": {
            "heads": text.num_attention_heads,
            "intermediate_size": text.intermediate_size,
        },
    }
