"""Are an engine's outputs those of the merged model? Asked before anything is timed.

Eager torch reads each prompt and writes greedy tokens; those ids and its logits are kept. Every
other engine is held to them twice: fed with eager's tokens (logits of each step compared), and left
to write by itself (length of the equal beginning). fp32 must write the same tokens with logits
that differ by little; a quantized form must keep the direction of the logits and most of the
choices.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.inference_speed.engines.base import Engine
from hydra_mobile.runtimes.base import Array

#: bits -> least mean cosine of logits with eager's, least share of equal choices on its tokens.
#: Rounding 135M weights to 4 bits moves all logits together, and few choices. How many depends on
#: the trained model, so the bound is wide: another computation shares next to none.
LEAST = {32: (0.9999, 1.0), 8: (0.99, 0.9), 4: (0.8, 0.75)}
#: Largest difference of fp32 logits as a share of the largest logit: a cache in fp16 stays below.
_FP32_DIFFERENCE = 0.005


def write(engine: Engine, ids: list[int], count: int) -> tuple[list[int], Array]:
    """Let an engine write; return its `count` ids and the logits [count, V] that chose them."""
    logits = [engine.read(ids)]
    chosen = [int(logits[0].argmax())]
    while len(chosen) < count:
        logits.append(engine.step(chosen[-1]))
        chosen.append(int(logits[-1].argmax()))
    return chosen, np.stack(logits)


def keep_reference(
    engine: Engine, prompts: Mapping[int, list[int]], count: int, file: Path
) -> None:
    """Write what eager torch says to `file` (npz)."""
    values: dict[str, Any] = {}
    for length, ids in prompts.items():
        chosen, logits = write(engine, ids, count)
        values[f"ids{length}"] = np.array(chosen)
        values[f"logits{length}"] = logits
    temporary = file.with_suffix(".tmp.npz")
    np.savez(temporary, **values)
    temporary.replace(file)


def compare(
    engine: Engine, prompts: Mapping[int, list[int]], reference: Mapping[str, Any], bits: int
) -> dict[str, Any]:
    """Compare an engine with the reference; `passed` says whether its speed counts.

    Args:
        engine: loaded.
        prompts: length -> ids.
        reference: what `keep_reference` wrote.
        bits: 32, 8 or 4.
    """
    differences, cosines, equal, prefixes, largest = [], [], [], [], 0.0
    total = 0
    for length, ids in prompts.items():
        chosen: list[int] = [int(i) for i in reference[f"ids{length}"]]
        expected: Array = reference[f"logits{length}"]
        found = [engine.read(ids)] + [engine.step(token) for token in chosen[:-1]]
        for ours, theirs in zip(found, expected, strict=True):
            differences.append(float(np.abs(ours - theirs).max()))
            cosines.append(_cosine(ours, theirs))
            equal.append(int(ours.argmax()) == int(theirs.argmax()))
        largest = max(largest, float(np.abs(expected).max()))
        prefixes.append(equal_beginning(write(engine, ids, len(chosen))[0], chosen))
        total += len(chosen)
    cosine, agreement = float(np.mean(cosines)), float(np.mean(equal))
    least_cosine, least_agreement = LEAST[bits]
    passed = cosine >= least_cosine and agreement >= least_agreement
    if bits == 32:
        passed = passed and sum(prefixes) == total
        passed = passed and max(differences) <= _FP32_DIFFERENCE * largest
    return {
        "passed": bool(passed),
        "max_difference": round(max(differences), 6),
        "largest_logit": round(largest, 3),
        "cosine": round(cosine, 6),
        "agreement": round(agreement, 4),
        "equal_tokens": sum(prefixes),
        "of_tokens": total,
    }


def equal_beginning(ours: list[int], theirs: list[int]) -> int:
    """Return how many tokens agree before the first that does not."""
    for index, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        if a != b:
            return index
    return min(len(ours), len(theirs))


def _cosine(a: Array, b: Array) -> float:
    return float(a @ b / max(1e-12, float(np.linalg.norm(a)) * float(np.linalg.norm(b))))
