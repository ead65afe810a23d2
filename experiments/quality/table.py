"""Tables of the comparison, in Markdown, from the JSON that `run` wrote.

    python -m experiments.quality.table experiments/quality/result_*_steps.json

For each task and budget a table of accuracies: mean and standard deviation over seeds, the gain
over uniform LoRA relative to it, and its 95% interval (equal steps); below it, HyDRA against
uniform LoRA that trains as long as HyDRA does with its probes (equal time). The interval is a
paired bootstrap: seeds and pictures are drawn again, the same for both arms, because questions
about one picture stand or fall together. Then a table of the mean loss of the reference answers,
which tells differences that are a tenth of what accuracies can tell; its intervals are Student's t
over seeds, from three seeds on.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.quality import ranks
from experiments.quality.arms import HYDRA, LONGER, REFERENCE
from experiments.shared.paired import relative

_DRAWS = 2000
_SEED = 20512
#: Of two seeds Student's interval is a dozen times their difference and tells nothing.
_LEAST_SEEDS = 3


@dataclass(frozen=True)
class Cells:
    """What the runs of one task and budget scored.

    Attributes:
        right: arm -> seed -> split -> right answers of each picture, float64 [pictures].
        losses: arm -> seed -> split -> mean negative log-likelihood of the references, nats.
        asked: split -> questions about each picture, float64 [pictures].
    """

    right: dict[str, dict[int, dict[str, NDArray[np.float64]]]]
    losses: dict[str, dict[int, dict[str, float]]]
    asked: dict[str, NDArray[np.float64]]

    def accuracy(self, arm: str, split: str) -> list[float]:
        """Return the per cent of right answers, a number for each seed."""
        total = self.asked[split].sum()
        return [100 * float(seed[split].sum() / total) for seed in self.right[arm].values()]

    def gain(
        self, arm: str, split: str, over: str = REFERENCE
    ) -> tuple[float, float, float, int] | None:
        """Return an arm's relative gain over another in per cent, its interval, and the seeds.

        Only seeds that both have count; None where there is none.
        """
        seeds = sorted(self.right.get(arm, {}).keys() & self.right.get(over, {}).keys())
        if not seeds:
            return None
        ours, theirs = (
            np.stack([self.right[name][seed][split] for seed in seeds]) for name in (arm, over)
        )
        count, pictures = ours.shape
        drawn, shown = _draws(count, pictures)
        sums = [((drawn @ part) * shown).sum(1) for part in (ours, theirs)]
        some = sums[1] > 0  # few pictures: a draw without a right answer has no ratio
        low, high = np.percentile(100 * (sums[0][some] / sums[1][some] - 1), [2.5, 97.5])
        return 100 * float(ours.sum() / theirs.sum() - 1), float(low), float(high), count

    def loss_pairs(self, arm: str, split: str) -> tuple[list[float], list[float]]:
        """Return an arm's losses and those of uniform LoRA, of the seeds that both have."""
        ours, theirs = self.losses[arm], self.losses.get(REFERENCE, {})
        seeds = sorted(ours.keys() & theirs.keys())
        return [ours[seed][split] for seed in seeds], [theirs[seed][split] for seed in seeds]


@functools.cache
def _draws(seeds: int, pictures: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how often each draw takes each seed and each picture, float64 [draws, number]."""
    dice = np.random.default_rng(_SEED)
    numbers = (seeds, pictures)
    drawn, shown = (dice.multinomial(n, [1 / n] * n, _DRAWS).astype(np.float64) for n in numbers)
    return drawn, shown


def cells_of(result: dict[str, Any], task: str, setting: str) -> Cells:
    """Collect the runs of a task and budget.

    Args:
        result: what `run.collect` returned.
        task: of `TASKS`.
        setting: of `SETTINGS`.
    """
    places = {
        split: np.array([int(number) for number in asked["pictures"].split()])
        for split, asked in result["questions"][task].items()
    }
    right: dict[str, dict[int, dict[str, NDArray[np.float64]]]] = {}
    losses: dict[str, dict[int, dict[str, float]]] = {}
    runs = _runs_of(result, task, setting)
    # Some runs on a CPU were scored in bf16, and say so.
    precisions = {run.get("scored_in", "fp32") for run in runs}
    if len(precisions) > 1:
        raise ValueError(f"{task}, {setting}: scored in {sorted(precisions)}, not to be compared")
    for run in runs:
        losses.setdefault(run["arm"], {})[run["seed"]] = {
            split: scored["loss"] for split, scored in run["splits"].items()
        }
        right.setdefault(run["arm"], {})[run["seed"]] = {
            split: np.bincount(places[split], [mark == "1" for mark in scored["right"]])
            for split, scored in run["splits"].items()
        }
    asked = {split: np.bincount(place) * 1.0 for split, place in places.items()}
    return Cells(right, losses, asked)


def _runs_of(result: dict[str, Any], task: str, setting: str) -> list[dict[str, Any]]:
    return [run for run in result["runs"] if (run["task"], run["setting"]) == (task, setting)]


def table(result: dict[str, Any], task: str, setting: str) -> Iterator[str]:
    """Yield the lines of one table; none where nothing was run."""
    cells = cells_of(result, task, setting)
    if not cells.right:
        return
    splits = list(cells.asked)
    runs = _runs_of(result, task, setting)
    yield f"| {task}, {setting} budget | seeds | parameters | {' | '.join(splits)} |"
    yield "|---" * (3 + len(splits)) + "|"
    for arm in cells.right:
        own = [run for run in runs if run["arm"] == arm]
        trained = {_trained(run["parameters"]) for run in own}
        told = f"{max(trained):,}" if len(trained) == 1 else f"{min(trained):,} to {max(trained):,}"
        parts = [_cell(cells, arm, split) for split in splits]
        yield f"| {arm} | {len(own)} | {told} | {' | '.join(parts)} |"
    gains = {split: cells.gain(HYDRA, split, LONGER) for split in splits}
    told = _gains(gains)
    if told:
        seeds = next(gain[3] for gain in gains.values() if gain)
        yield ""
        yield (
            f"At equal time, `{HYDRA}` against `{LONGER}` ({result['config']['longer']} times the "
            f"steps, {seeds} seed{'s'[: seeds - 1]}): {told}."
        )
    yield ""
    yield f"| {task}, {setting} budget: loss, nats | seeds | {' | '.join(splits)} |"
    yield "|---" * (2 + len(splits)) + "|"
    for arm, seeds_of in cells.losses.items():
        parts = [_loss_cell(cells, arm, split) for split in splits]
        yield f"| {arm} | {len(seeds_of)} | {' | '.join(parts)} |"
    for lines in (ranks.tell(runs), ranks.probes(runs)):
        if lines:
            yield from ("", *lines)


def worth_of_budget(result: dict[str, Any], task: str) -> str | None:
    """Return what uniform LoRA gains from the larger of two budgets; None: only one was run.

    A frame for what moving a budget can bring: no map of the smaller one should do better than
    uniform ranks of the larger.
    """
    runs = {
        setting: cells
        for setting in result["config"]["settings"]
        if REFERENCE in (cells := cells_of(result, task, setting)).right
    }
    if len(runs) < 2:
        return None
    (small, low), *_, (large, high) = runs.items()
    both = Cells(
        {REFERENCE: low.right[REFERENCE], large: high.right[REFERENCE]},
        {REFERENCE: low.losses[REFERENCE], large: high.losses[REFERENCE]},
        low.asked,
    )
    gains = {split: both.gain(large, split) for split in both.asked}
    told = _gains(gains)
    ranks_of = [result["config"]["settings"][name]["r_ref"] for name in (small, large)]
    return (
        f"What parameters are worth on {task}: uniform LoRA of rank {ranks_of[1]} over rank "
        f"{ranks_of[0]}, {ranks_of[1] / ranks_of[0]:g} times the parameters: {told}."
    )


def _gains(gains: Mapping[str, Sequence[float] | None]) -> str:
    """Return the gain of every split that has one."""
    return ", ".join(f"{split} {_gain(gain)}" for split, gain in gains.items() if gain)


def _gain(gain: Sequence[float]) -> str:
    """Return (value, low, high, ...) in per cent."""
    return f"{gain[0]:+.1f}% [{gain[1]:+.1f}, {gain[2]:+.1f}]"


def _trained(parameters: dict[str, int]) -> int:
    """Return the trained parameters of the language model; the projector trains in every arm."""
    return parameters.get("lora") or parameters["language_model"]


def _cell(cells: Cells, arm: str, split: str) -> str:
    accuracy = cells.accuracy(arm, split)
    spread = f" ± {statistics.stdev(accuracy):.1f}" if len(accuracy) > 1 else ""
    told = f"{statistics.mean(accuracy):.1f}{spread}"
    gain = None if arm == REFERENCE else cells.gain(arm, split)
    return told if gain is None else f"{told}, {_gain(gain)}"


def _loss_cell(cells: Cells, arm: str, split: str) -> str:
    told = f"{statistics.mean(seed[split] for seed in cells.losses[arm].values()):.3f}"
    ours, theirs = cells.loss_pairs(arm, split)
    if arm == REFERENCE or not ours:
        return told
    if len(ours) < _LEAST_SEEDS:
        change = statistics.geometric_mean(ours) / statistics.geometric_mean(theirs) - 1
        return f"{told}, {100 * change:+.1f}%"
    found = relative(ours, theirs)
    return f"{told}, {_gain([100 * part for part in (found.mean, found.low, found.high)])}"


def render(result: dict[str, Any]) -> str:
    """Return every table of a result, and a line of what it was measured with."""
    about = result["environment"]
    steps = sorted({run["steps"]["stage2"] for run in result["runs"]})
    head = (
        f"{about['accelerator'] or about['cpu']}, {', '.join(map(str, steps))} steps; accuracy in "
        "per cent, mean and standard deviation over seeds; gain over uniform LoRA on the same "
        "seeds, relative, with a paired 95% interval."
    )
    tables = [
        "\n".join(lines)
        for task in result["questions"]
        for setting in result["config"]["settings"]
        if (lines := list(table(result, task, setting)))
    ]
    worths = [told for task in result["questions"] if (told := worth_of_budget(result, task))]
    return "\n\n".join([head, *tables, *worths]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, nargs="+")
    arguments = parser.parse_args()
    for file in arguments.results:
        print(f"### {file.name}\n\n{render(json.loads(file.read_text()))}")


if __name__ == "__main__":
    main()
