"""Tables of README and docs that no experiment's own module makes: pure functions of JSON.

Each takes what stands in the file of `experiments/results` that a mark names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.markdown import spread, table

Result = Mapping[str, Any]


def quickstart(value: Result) -> str:
    """Return the quickstart's systems: scores with 95 % intervals, agreement, size, speed."""
    titles = ["system", "seen names, % [95 %]", "unseen names, % [95 %]", "same answers as torch"]
    lines = []
    for system in value["systems"]:
        scores = {s["split"]: s for s in system["scores"] if s["kind"] == "all"}
        cells = [
            spread([100 * scores[split][key] for key in ("value", "low", "high")], ".1f")
            for split in ("seen", "unseen")
        ]
        agreement = (system["agreement"] or {}).values()
        same, asked = (sum(part[key] for part in agreement) for key in ("same", "n"))
        missing = "" if system["role"] == "untrained" else "reference"
        rate = system["timings"]["decode_tokens_per_second"]["median"]
        lines.append(
            [
                system["name"],
                *cells,
                f"{same} of {asked}" if asked else missing,
                f"{system['size_bytes'] / 1e6:.0f}",
                f"{rate:.0f}" if rate >= 100 else f"{rate:.1f}",
            ]
        )
    return table([*titles, "MB", "decode tok/s"], lines)


#: Arm of `planted_need.json` -> what README calls it, in the order of its table.
_PLANTED = {
    "planted": "told the need: the ceiling",
    "coarse_fine": "`coarse_fine`, importance by gradient",
    "by_change": "`coarse_fine`, importance by update",
    "hydra": "`hydra` (gradient, then dynamic)",
    "random": "`random`",
    "reversed": "`reversed`",
    "adalora": "`adalora`, not tuned",
}


def planted_need(value: Result) -> str:
    """Return held-out loss against uniform LoRA where needs differ and where they do not."""
    worlds = ("heterogeneous", "homogeneous")
    titles = ["ranks", "layers need 16, 12, 4, 0", "every module needs the same (control)"]
    lines = [
        [name, *(_relative(value["summary"][world][arm]) for world in worlds)]
        for arm, name in _PLANTED.items()
    ]
    return table(titles, lines)


def _relative(arm: Mapping[str, Any]) -> str:
    found = arm["relative_to_uniform"]
    if found["low"] == found["high"] == 0:
        return "0"
    value, low, high = (f"{100 * found[key]:+.0f}" for key in ("mean", "low", "high"))
    return f"{value} % [{low}, {high}]"


def preset_quality(value: Result) -> str:
    """Return size and change of the score of each preset against eager fp32."""
    titles = ["program", "MB", "of fp16", "same answers", "points [95 %]"]
    lines = []
    for row in value["rows"]:
        change = [100 * row["change_of_all"][key] for key in ("value", "low", "high")]
        equal = row["same_answers"] == row["questions"] and row["preset"]["name"] == "fp32"
        lines.append(
            [
                row["system"],
                f"{row['bytes'] / 1e6:.1f}",
                f"{row['of_fp16']:.2f}",
                f"{row['same_answers']} of {row['questions']}",
                "0" if equal else spread(change, "+.1f"),
            ]
        )
    return table(titles, lines)


def device_parity(value: Result) -> str:
    """Return how many answers of each form of the C++ runner equal the Python runtime's."""
    titles = ["equal to the Python runtime", "C++ runner, x86-64", "C++ runner, arm64"]
    forms = ("native", "emulator", "control_pixels_times_1_plus_1e-7")
    lines = [
        [row["preset"], *(f"{row[f]['equal_ids']} of {row[f]['answers']}" for f in forms)]
        for row in value["rows"]
    ]
    return table([*titles, "the control"], lines)


def native_runner(value: Result) -> str:
    """Return speed of the C++ runner over the Python runtime's, and its memory."""
    phases = ("encode", "prefill", "decode")
    lines = [
        [
            row["preset"],
            *(spread(row["native_over_python"][phase]) for phase in phases),
            f"{row['native_peak_bytes'] / 1e6:.0f} MB",
            f"{row['estimated_peak_bytes'] / 1e6:.0f} MB",
        ]
        for row in value["rows"]
    ]
    return table(["native over Python", *phases, "peak memory", "estimated"], lines)


_PUBLISHED = {"mobilevlm-1.7b": "MobileVLM 1.7B", "mobilevlm-v2-3b": "MobileVLM V2 3B"}


def original_full_width(value: Result) -> str:
    """Return what importing a published size and writing it back takes."""
    titles = ["model", "weights", "import", "peak of own memory", "back again", "tensors identical"]
    lines = []
    for run in value["runs"]:
        read, back, tensors = run["import"], run["export mobilevlm"], run["round_trip"]
        peak = f"{read['allocated_peak_mib']} MiB, of which {read['allocated_before_mib']}"
        lines.append(
            [
                _PUBLISHED[run["name"]],
                f"{run['bytes'] / 1e9:.1f} GB",
                f"{read['seconds']:.1f} s",
                f"{peak} before it begins",
                f"{back['seconds']:.1f} s",
                f"{tensors['identical']} of {tensors['tensors']}",
            ]
        )
    return table(titles, lines)
