"""Sentences of README and docs that hold measured figures, with the figures taken from the JSON.

`tests/test_pages.py` looks for each sentence, as it is made here, on its page: a figure that is not
what `experiments/results` says fails there. White space counts as one blank, so that pages may
break lines anywhere.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.inference_speed.table import rate, ratio
from experiments.markdown import spread
from experiments.quality.arms import HYDRA
from experiments.quality.tables import cells_of
from experiments.training_speed.table import PEER, UNIFORM, ratios


@dataclass(frozen=True)
class Sentence:
    """What a page must say.

    Attributes:
        page: path from the project's root.
        file: name in `experiments/results`.
        text: the words, figures included.
    """

    page: str
    file: str
    text: str


def sentences(results: Path) -> Iterator[Sentence]:
    """Yield every sentence, its figures from the JSON files in `results`."""
    for file, make in _MAKERS.items():
        value = json.loads((results / file).read_text(encoding="utf-8"))
        for page, text in make(value):
            yield Sentence(page, file, text)


Made = Iterator[tuple[str, str]]


def _quality_500(value: Any) -> Made:
    told = {}
    for task in ("emojiqa", "handwriting"):
        cells = cells_of(value, task, "moderate")
        for split in ("seen", "unseen"):
            gain = cells.gain(HYDRA, split)
            assert gain, f"{task} has no run of {HYDRA}"
            told[f"{task} {split}"] = spread(gain[:3], "+.1f").replace(" ", " % ", 1)
            seeds = gain[3]
    yield (
        "README.md",
        f"HyDRA against uniform LoRA at equal parameters, {seeds} seeds, 500 steps: on EmojiQA "
        f"{told['emojiqa seen']} (seen names), {told['emojiqa unseen']} (unseen); on handwriting "
        f"QA {told['handwriting seen']}, {told['handwriting unseen']}.",
    )


def _inference_speed(value: Any) -> Made:
    ours, peer = "onnx-int4", "llama.cpp-q4_0"
    protocol, bits = value["protocol"], value["forms"]

    def range_of(phase: str) -> str:
        found = []
        for threads in protocol["threads"]:
            for length in protocol["prompts"]:
                tokens = {"prefill": length, "decode": protocol["new_tokens"]}[phase]

                def get(row: Any, length: int = length, tokens: int = tokens) -> float:
                    return rate(row, phase, length, tokens)

                found.append(ratio(value, ours, peer, threads, get))
        assert None not in found, f"{ours} and {peer} share no round"
        return f"{min(found):.2f} to {max(found):.2f}"

    sizes = [f"{bits[name]['bits_per_weight']:.1f}" for name in (ours, peer)]
    yield (
        "README.md",
        f"int4 in ONNX Runtime writes {range_of('decode')} times as many tokens a second as "
        f"llama.cpp's Q4_0 and reads {range_of('prefill')} times as many (1 and 2 threads, "
        f"prompts of 64 and 256), at {sizes[0]} bits a weight, picture part included, against "
        f"{sizes[1]}.",
    )


def _training_speed(value: Any) -> Made:
    faster = statistics.median(ratios(value, UNIFORM, PEER, "questions_per_second"))
    hydra = ratios(value, "ours, HyDRA", UNIFORM, "questions_per_second")
    cost = statistics.median(1 / ratio for ratio in hydra) - 1
    yield (
        "README.md",
        f"stage II trains {faster:.1f} times as many questions a second as transformers' "
        f"Trainer with peft, and HyDRA costs {cost:.0%} over uniform LoRA".replace("%", " %"),
    )


def _step_time(value: Any) -> Made:
    hydra, adalora = value["table"]["hydra"], value["table"]["adalora"]
    told = spread([hydra["time_ratio"], *hydra["time_ratio_range"]])
    other = spread([adalora["time_ratio"], *adalora["time_ratio_range"]])
    time, brackets = told.split(" ", 1)
    yield (
        "README.md",
        f"`hydra` takes {time} times the step of uniform LoRA {brackets} and "
        f"{hydra['memory_ratio']:.2f} times its memory, `adalora` {other.split(' ', 1)[0]} times "
        f"{other.split(' ', 1)[1]} and {adalora['memory_ratio']:.2f}.",
    )
    yield "docs/results.md", f"HyDRA took {told} of uniform's time"


def _step_time_grid4(value: Any) -> Made:
    hydra, adalora = value["table"]["hydra"], value["table"]["adalora"]
    figures = [row[f"{what}_ratio"] for row in (hydra, adalora) for what in ("time", "memory")]
    a, b, c, d = (f"{figure:.2f}" for figure in figures)
    yield "README.md", f"On a grid of 4 ranks: {a} and {b}, {c} and {d}."


def _planted_need(value: Any) -> Made:
    world = value["summary"]["heterogeneous"]
    gradient = world["coarse_fine"]["importance_and_need"]["layers"]
    update = world["by_change"]["importance_and_need"]["layers"]
    yield "README.md", f"(Spearman {gradient:.2f} over layers; the update {update:.2f})"
    arms = [seed["arms"]["hydra"]["events"] for seeds in value["seeds"].values() for seed in seeds]
    moved, abstained = (sum(arm.get(kind, 0) for arm in arms) for kind in ("move", "abstain"))
    assert moved == 1, "the sentence says `once`"
    yield "README.md", f"The dynamic stage moved once in {moved + abstained} events"


def _memory_estimate(value: Any) -> Made:
    runs = value["runs"]
    rehearsed = [run["rehearsed_ratio"] for run in runs if run["allocator"] == "kept"]
    by_heap = {
        kind: [run["ratio"] for run in runs if run["allocator"] == kind]
        for kind in ("returned", "kept")
    }
    yield (
        "README.md",
        f"rehearsed {min(rehearsed):.2f} to {max(rehearsed):.2f} of it; simulated "
        f"{min(by_heap['returned']):.2f} to {max(by_heap['returned']):.2f} where freed memory goes "
        f"back to the system, {min(by_heap['kept']):.2f} to {max(by_heap['kept']):.2f} where",
    )


def _data_check(value: Any) -> Made:
    records, everything = value["records_only"], value["everything"]
    rate = round(records["records_per_second"], -2)
    yield (
        "README.md",
        f"{records['records']:,} records take {records['seconds']:.0f} s and "
        f"{records['peak_memory_bytes'] / 2**20:.0f} MiB without pictures and tokens "
        f"({rate:,.0f} records/s); {everything['seconds'] / 60:.0f} minutes with both",
    )


def _full_width(value: Any) -> Made:
    parts = value["parts"]
    step, merge = parts["one HyDRA step"], parts["merge"]
    answer = parts["forward and an answer, fp32"]
    yield (
        "README.md",
        f"(one HyDRA step of the 1.7B {step['peak_gib']:.1f} GiB, its merge "
        f"{merge['peak_gib']:.1f} GiB, an answer in fp32 {answer['peak_gib']:.1f} GiB;",
    )


def _preset_quality(value: Any) -> Made:
    rows = {row["system"]: row for row in value["rows"]}

    def told(name: str) -> str:
        change = rows[name]["change_of_all"]
        low, high = 100 * change["low"], 100 * change["high"]
        return f"{abs(100 * change['value']):.1f} [lost {-low:.1f}, gained {high:.1f}]"

    exact = rows["ONNX Runtime fp32"]
    assert all(
        rows[f"{runtime} fp32"]["same_answers"] == exact["questions"]
        for runtime in ("ExecuTorch", "ONNX Runtime")
    ), "the sentence says that fp32 programs answer as torch does"
    sizes = [rows[f"{runtime} int4"]["of_fp16"] for runtime in ("ExecuTorch", "ONNX Runtime")]
    yield (
        "README.md",
        f"exported fp32 programs answer {exact['questions']} of {exact['questions']} questions as "
        f"torch does; int4 takes {min(sizes):.2f} to {max(sizes):.2f} of fp16's size.",
    )
    first, second = told("ExecuTorch int4"), told("ONNX Runtime int4")
    points, brackets = first.split(" ", 1)
    asked = rows["ExecuTorch int4"]["questions"]
    yield (
        "README.md",
        f"lost {points} points over {asked} questions {brackets} on ExecuTorch and gained {second} "
        "on ONNX Runtime",
    )


def _footprint(value: Any) -> Made:
    worst = max(abs(row["error"]) for row in value["rows"])
    yield "docs/export.md", f"the process peaked within {worst:.0%} of".replace("%", " %")


def _footprint_smol(value: Any) -> Made:
    worst = max(abs(row["error"]) for row in value["rows"])
    yield "docs/export.md", f"within {worst:.0%} for the six bundles".replace("%", " %")


def _separate_adapter(value: Any) -> Made:
    found = value["presets"]["int4"]
    rates = found["of_merged"]["separate"]
    yield (
        "docs/export.md",
        f"decoding with a separate adapter runs at {rates['decode_rate'][0]:.2f} of merged "
        f"[{rates['decode_rate'][1]:.2f}, {rates['decode_rate'][2]:.2f}] and prefill at "
        f"{rates['prefill_rate'][0]:.2f}; the base program is {found['base_bytes'] / 1e6:.1f} MB "
        f"and the adapter {found['adapter']['bytes'] / 1e6:.1f} MB where merged is "
        f"{found['merged_bytes'] / 1e6:.1f} MB",
    )


def _six_benchmarks(value: Any) -> Made:
    rows = value["end_to_end"]
    shares = [100 * row["runner_share"] for row in rows]
    asked = sum({row["benchmark"]: row["questions"] for row in rows}.values())
    yield "docs/benchmarks.md", f"{asked} made-up questions under the official names"
    yield (
        "docs/benchmarks.md",
        f"the runtime took {min(shares):.1f} to {max(shares):.1f} % of the time",
    )


def _six_benchmarks_many(value: Any) -> Made:
    many = value["many"]
    first, last = (many["resident_bytes"][at][1] / 2**20 for at in (0, -1))
    yield (
        "docs/benchmarks.md",
        f"resident memory was {first:.1f} MiB after the first and {last:.1f} after the last, and "
        f"the runtime took {100 * many['runner_share']:.1f} % of the time",
    )


def _app_loop(value: Any) -> Made:
    host = next(row for row in value["bundles"] if row["preset"] == "int4")["app"]["host"]
    assert host["equal_texts"] == host["questions"], "the sentence says `text for text`"
    yield "docs/android.md", f"answer {host['questions']} EmojiQA questions as `hydra-mobile"


_MAKERS = {
    "quality_500_steps.json": _quality_500,
    "inference_speed.json": _inference_speed,
    "training_speed.json": _training_speed,
    "step_time.json": _step_time,
    "step_time_grid4.json": _step_time_grid4,
    "planted_need.json": _planted_need,
    "memory_estimate.json": _memory_estimate,
    "data_check.json": _data_check,
    "full_width.json": _full_width,
    "preset_quality.json": _preset_quality,
    "footprint.json": _footprint,
    "footprint_smol.json": _footprint_smol,
    "separate_adapter.json": _separate_adapter,
    "six_benchmarks.json": _six_benchmarks,
    "six_benchmarks_many.json": _six_benchmarks_many,
    "app_loop.json": _app_loop,
}
