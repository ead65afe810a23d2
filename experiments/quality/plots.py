"""A picture of `quality_*_steps.json`: each arm's gain over uniform LoRA with its interval.

One panel for each split of each task and budget, a row for each arm; the line at zero is uniform
LoRA at equal parameters and on the same seeds, the dotted one the paper's claim.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.quality.arms import REFERENCE
from experiments.quality.table import cells_of

#: What the paper claims, per cent.
CLAIM = 4.7


def plot(result: dict[str, Any], file: Path) -> None:
    """Draw a result as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    wanted = [
        (task, setting, cells)
        for task in result["questions"]
        for setting in result["config"]["settings"]
        if (cells := cells_of(result, task, setting)).right
    ]
    arms = list(dict.fromkeys(arm for *_, cells in wanted for arm in cells.right))
    arms.remove(REFERENCE)
    splits = max(len(cells.asked) for *_, cells in wanted)
    figure, panels = pyplot.subplots(
        len(wanted),
        splits,
        figsize=(3.2 * splits + 1.5, (0.28 * len(arms) + 0.9) * len(wanted) + 0.5),
        sharey=True,
        sharex="col",
        squeeze=False,
    )
    for row, (task, setting, cells) in zip(panels, wanted, strict=True):
        for panel, split in zip(row, cells.asked, strict=True):
            for place, arm in enumerate(arms):
                gain = cells.gain(arm, split) if arm in cells.right else None
                if gain is None:
                    continue
                value, low, high, seeds = gain
                panel.errorbar(
                    value,
                    place,
                    xerr=[[max(0.0, value - low)], [max(0.0, high - value)]],
                    fmt="o",
                    ms=4,
                    capsize=2,
                    # Few seeds say little: their marks are pale.
                    color="tab:blue" if seeds >= 4 else "lightsteelblue",
                )
            panel.axvline(0, color="black", lw=0.8)
            panel.axvline(CLAIM, color="tab:red", lw=0.8, ls=":")
            panel.set_title(f"{task}, {setting}: {split}", fontsize=8)
            panel.tick_params(labelsize=7)
        row[0].set_yticks(range(len(arms)), arms)
        row[0].set_ylim(len(arms) - 0.5, -0.5)
    figure.supxlabel(
        "gain over uniform LoRA, %, with a paired 95% interval; pale: fewer than 4 seeds; "
        "dotted: the paper's claim",
        fontsize=8,
    )
    figure.tight_layout()
    # No date in the file: the same JSON gives the same bytes.
    figure.savefig(file, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
