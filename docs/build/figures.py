"""Measured figures that stand in the sentences of README and docs, taken from the experiments.

A page holds a figure between marks, `<!-- n:training_speed.peer_ratio -->2.4<!-- /n -->`;
`docs.build.pages` fills them. The words around a mark are free.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.inference_speed.table import rate, ratio
from experiments.qat import table as qat
from experiments.quality.arms import HYDRA
from experiments.quality.table import cells_of
from experiments.shared.markdown import spread
from experiments.training_speed.table import PEER, UNIFORM, ratios

Result = Mapping[str, Any]
#: How an export rounds a model by itself, by what the model was trained in.
_EXPORTED = {"none": "training data", "int4": "nearest"}
Figures = dict[str, str]


def figures(experiments: Path) -> Figures:
    """Return every figure by its name, "question.figure", from the JSON below `experiments`."""
    found: Figures = {}
    for file, make in _MAKERS.items():
        value = json.loads((experiments / file).read_text(encoding="utf-8"))
        question = file.partition("/")[0]
        made = {f"{question}.{name}": figure for name, figure in make(value).items()}
        twice = found.keys() & made.keys()
        if twice:
            raise ValueError(f"{file}: figures of these names exist already: {sorted(twice)}")
        found |= made
    return found


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def _quality(value: Any) -> Figures:
    found: Figures = {}
    for task in ("emojiqa", "handwriting"):
        cells = cells_of(value, task, "moderate")
        for split in ("seen", "unseen"):
            gain = cells.gain(HYDRA, split)
            if gain is None:
                raise ValueError(f"{task} has no run of {HYDRA}")
            found[f"{task}_{split}_gain"] = spread(gain[:3], "+.1f").replace(" ", "% ", 1)
            found["seeds"] = str(gain[3])
    return found


def _inference_speed(value: Any) -> Figures:
    peer = "llama.cpp-q4_0"
    protocol, forms = value["protocol"], value["forms"]

    def range_of(ours: str, theirs: str, phase: str) -> str:
        found = []
        for threads in protocol["threads"]:
            for length in protocol["prompts"]:
                tokens = {"prefill": length, "decode": protocol["new_tokens"]}[phase]

                def get(row: Any, length: int = length, tokens: int = tokens) -> float:
                    return rate(row, phase, length, tokens)

                found.append(ratio(value, ours, theirs, threads, get))
        shared = [item for item in found if item is not None]
        if len(shared) < len(found):
            raise ValueError(f"{ours} and {theirs} share no round")
        return _range(shared)

    found = {"peer_bits": f"{forms[peer]['bits_per_weight']:.1f}"}
    for runtime in ("executorch", "onnx"):
        ours = f"{runtime}-int4"
        found[f"{runtime}_bits"] = f"{forms[ours]['bits_per_weight']:.1f}"
        for phase in ("decode", "prefill"):
            found[f"{runtime}_{phase}_ratio"] = range_of(ours, peer, phase)
            found[f"{runtime}_{phase}_ratio_avx2"] = range_of(ours, f"{peer}-avx2", phase)
    return found


def _training_speed(value: Any) -> Figures:
    faster = statistics.median(ratios(value, UNIFORM, PEER, "questions_per_second"))
    return {"peer_ratio": f"{faster:.1f}"}


def _step_time(value: Any) -> Figures:
    found: Figures = {}
    for arm in ("hydra", "adalora"):
        row = value["table"][arm]
        found[f"{arm}_step_time"] = spread([row["time_ratio"], *row["time_ratio_range"]])
        found[f"{arm}_memory"] = f"{row['memory_ratio']:.2f}"
    return found


def _event_cost(value: Any) -> Figures:
    row = value["summary"]
    return {
        "event_cost": f"{row['time_ratio'] - 1:.0%}",
        "event_time": f"{row['time_ratio']:.2f}",
        "event_memory": f"{row['memory_ratio']:.2f}",
    }


def _step_time_grid4(value: Any) -> Figures:
    return {
        f"{arm}_grid4_{what}": f"{value['table'][arm][f'{what}_ratio']:.2f}"
        for arm in ("hydra", "adalora")
        for what in ("time", "memory")
    }


def _planted_need(value: Any) -> Figures:
    world = value["summary"]["heterogeneous"]
    arms = [seed["arms"]["hydra"]["events"] for seeds in value["seeds"].values() for seed in seeds]
    moved, abstained = (sum(arm.get(kind, 0) for arm in arms) for kind in ("move", "abstain"))
    found = {"moves": str(moved), "events": str(moved + abstained)}
    for name, arm in (("gradient", "coarse_fine"), ("update", "by_change")):
        found[f"{name}_spearman"] = f"{world[arm]['importance_and_need']['layers']:.2f}"
    return found


def _trailing(value: Any) -> Figures:
    summary = value["summary"]
    found: Figures = {}
    for name, world, arm in (
        ("cut", "heterogeneous:600", "trailing"),
        ("cut_longer", "heterogeneous:1200", "trailing"),
        ("cut_scale", "heterogeneous:600", "scale_by_rank"),
        ("cut_rate", "heterogeneous:600", "rate_by_rank"),
        ("cut_both", "heterogeneous:600", "both_by_rank"),
        ("cut_along", "heterogeneous:600", "along_gradient"),
    ):
        row = summary.get(world, {}).get(arm, {}).get("relative_to_uniform")
        if row:
            mean, ends = -100 * row["mean"], sorted(-100 * row[key] for key in ("low", "high"))
            found[f"trailing_{name}"] = f"{mean:.0f}% [{ends[0]:.0f}, {ends[1]:.0f}]"
    for name, world, arm in (
        ("trailing_control", "homogeneous:600", "trailing"),
        ("trailing_control_longer", "homogeneous:1200", "trailing"),
        ("model_control", "homogeneous:600", "model"),
        ("model_control_longer", "homogeneous:1200", "model"),
    ):
        row = summary[world][arm]
        still = row["seeds"] - row["seeds_that_moved"]
        found[f"{name}_still"] = f"{still} of {row['seeds']}"
    harm = summary["homogeneous:1200"]["model"]["relative_to_uniform"]
    found["model_control_harm"] = spread(
        [100 * harm[key] for key in ("mean", "low", "high")], "+.0f"
    )
    return found


def _memory_estimate(value: Any) -> Figures:
    runs = value["runs"]

    def ratios_of(allocator: str, key: str) -> str:
        return _range([run[key] for run in runs if run["allocator"] == allocator])

    return {
        "trial_ratio": ratios_of("kept", "rehearsed_ratio"),
        "simulated_ratio_returned": ratios_of("returned", "ratio"),
        "simulated_ratio_kept": ratios_of("kept", "ratio"),
    }


def _data_check(value: Any) -> Figures:
    records, everything = value["records_only"], value["everything"]
    return {
        "check_records": f"{records['records']:,}",
        "check_seconds": f"{records['seconds']:.0f}",
        "check_memory": f"{records['peak_memory_bytes'] / 2**20:.0f}",
        "check_rate": f"{round(records['records_per_second'], -2):,.0f}",
        "check_minutes_with_all": f"{everything['seconds'] / 60:.0f}",
    }


def _data_forms(value: Any) -> Figures:
    few, most = (str(size(value["sizes"])) for size in (min, max))
    whole = [by_size[most] for by_size in value["forms"].values()]
    # Those of the small size were measured on a machine that did nothing else.
    rates = [round(by_size[few]["records_per_second"], -2) for by_size in value["forms"].values()]
    hub = value["forms"]["messages hub data set"][most]
    return {
        "forms_records": f"{int(most):,}",
        "forms_few": f"{int(few):,}",
        "forms_slowest": f"{min(rates):,.0f}",
        "forms_fastest": f"{max(rates):,.0f}",
        "forms_memory": f"{max(f['peak_memory_bytes'] for f in whole if f is not hub) / 2**20:.0f}",
        "forms_hub_memory": f"{hub['peak_memory_bytes'] / 2**20:,.0f}",
    }


def _full_width(value: Any) -> Figures:
    parts = {
        "step": "one HyDRA step",
        "merge": "merge",
        "answer": "forward and an answer, fp32",
    }
    return {
        f"full_width_{name}": f"{value['parts'][part]['peak_gib']:.1f}"
        for name, part in parts.items()
    }


def _qat(value: Any) -> Figures:
    kept = {arm: qat.compared(value, arm, how, ("none", "fp32")) for arm, how in _EXPORTED.items()}
    return {
        "cost": f"{qat.cost(value):.2f}",
        "steps": str(value["steps"]),
        **{f"{arm}_change": spread(change, "+.1f") for arm, change in kept.items()},
    }


def _presets(value: Any) -> Figures:
    rows = {row["system"]: row for row in value["rows"]}
    runtimes = {"executorch": "ExecuTorch", "onnx": "ONNX Runtime"}
    exact = [rows[f"{title} fp32"] for title in runtimes.values()]
    sizes = [rows[f"{title} int4"]["of_fp16"] for title in runtimes.values()]
    found = {
        "questions": str(exact[0]["questions"]),
        "fp32_same_answers": str(min(row["same_answers"] for row in exact)),
        "int4_size": _range(sizes),
    }
    for name, title in runtimes.items():
        change = rows[f"{title} int4"]["change_of_all"]
        points = [100 * change[key] for key in ("value", "low", "high")]
        found[f"{name}_int4_change"] = spread(points, "+.1f")
    return found


def _footprint(value: Any) -> Figures:
    return {"footprint_error": f"{max(abs(row['error']) for row in value['rows']):.0%}"}


def _footprint_smol(value: Any) -> Figures:
    return {
        "footprint_smol_error": f"{max(abs(row['error']) for row in value['rows']):.0%}",
        "footprint_smol_bundles": str(len(value["rows"])),
    }


def _separate_adapter(value: Any) -> Figures:
    found = value["presets"]["int4"]
    rates = found["of_merged"]["separate"]
    return {
        "adapter_decode_rate": spread(rates["decode_rate"]),
        "adapter_prefill_rate": f"{rates['prefill_rate'][0]:.2f}",
        "adapter_base_size": f"{found['base_bytes'] / 1e6:.1f}",
        "adapter_size": f"{found['adapter']['bytes'] / 1e6:.1f}",
        "adapter_merged_size": f"{found['merged_bytes'] / 1e6:.1f}",
    }


def _six_benchmarks(value: Any) -> Figures:
    rows = value["end_to_end"]
    shares = [100 * row["runner_share"] for row in rows]
    asked = sum({row["benchmark"]: row["questions"] for row in rows}.values())
    return {"questions": str(asked), "runtime_share": f"{min(shares):.1f} to {max(shares):.1f}"}


def _six_benchmarks_many(value: Any) -> Figures:
    many = value["many"]
    first, last = (many["resident_bytes"][at][1] / 2**20 for at in (0, -1))
    return {
        "many_first_memory": f"{first:.1f}",
        "many_last_memory": f"{last:.1f}",
        "many_runtime_share": f"{100 * many['runner_share']:.1f}",
    }


def _app_loop(value: Any) -> Figures:
    host = next(row for row in value["bundles"] if row["preset"] == "int4")["app"]["host"]
    return {"app_same_answers": str(host["equal_texts"]), "app_questions": str(host["questions"])}


_MAKERS: dict[str, Callable[[Any], Figures]] = {
    "quality/result_500_steps.json": _quality,
    "inference_speed/result.json": _inference_speed,
    "training_speed/result.json": _training_speed,
    "training_speed/step_time.json": _step_time,
    "training_speed/step_time_grid4.json": _step_time_grid4,
    "training_speed/event_cost.json": _event_cost,
    "planted_need/result.json": _planted_need,
    "planted_need/trailing.json": _trailing,
    "memory/estimate.json": _memory_estimate,
    "memory/full_width.json": _full_width,
    "memory/footprint.json": _footprint,
    "memory/footprint_smol.json": _footprint_smol,
    "benchmarks/data_check.json": _data_check,
    "benchmarks/data_forms.json": _data_forms,
    "benchmarks/result.json": _six_benchmarks,
    "benchmarks/many.json": _six_benchmarks_many,
    "presets/result.json": _presets,
    "qat/result.json": _qat,
    "presets/separate_adapter.json": _separate_adapter,
    "devices/app_loop.json": _app_loop,
}
