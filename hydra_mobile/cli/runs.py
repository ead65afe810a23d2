"""`hydra-mobile runs ...`: lists and compares training runs."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from hydra_mobile.cli import runs_plot, ui
from hydra_mobile.cli.options import Run
from hydra_mobile.cli.ui.formats import count, megabytes
from hydra_mobile.core.boundaries import FOREIGN, shown
from hydra_mobile.core.errors import ArtifactError

app = ui.new_app("List, compare or plot training runs.", default="list")

# A run whose log was written this recently is training.
_ALIVE_SECONDS = 120.0


@dataclass(frozen=True)
class Summary:
    """A run at a glance, from its files alone.

    Attributes:
        path: its folder.
        state: done, training or stopped.
        step: the last logged step of stage II.
        steps: how many there will be; 0 where it is not known.
        loss: the last logged one.
        held_out: the lowest held-out one; None without validation.
        ranks: lowest and highest rank; None where none is recorded.
        policy: of its ranks.
        base: that it trains.
        changed: when its log was last written, seconds since 1970.
        size_bytes: of all its files.
    """

    path: Path
    state: str
    step: int
    steps: int
    loss: float | None
    held_out: float | None
    ranks: tuple[int, int] | None
    policy: str
    base: str
    changed: float
    size_bytes: int


def summary_of(run: Path) -> Summary:
    """Read a run's files; it may be training meanwhile.

    Raises:
        ArtifactError: there is no run at `run`.
    """
    if not (run / "run.json").is_file():
        raise ArtifactError(
            f"{run} is no run",
            "hydra-mobile runs",
            where=str(run / "run.json"),
            found="no such file",
            expected="a folder that `train` wrote",
        )
    config = _config(run)
    metrics = run / "metrics.jsonl"
    last: dict[str, Any] = {}
    held_out: list[float] = []
    for line in (_read(metrics, str.splitlines) or ()) if metrics.is_file() else ():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue  # the line that is being written, or a damaged one
        if isinstance(value, dict) and value.get("stage") == "stage2":
            last = value
            if (loss := _number(value.get("validation_loss"))) is not None:
                held_out.append(loss)
    changed = metrics.stat().st_mtime if metrics.is_file() else (run / "run.json").stat().st_mtime
    done = (run / "summary.json").is_file()
    alive = time.time() - changed < _ALIVE_SECONDS
    return Summary(
        path=run,
        state="done" if done else "training" if alive else "stopped",
        step=int(_number(last.get("step")) or 0),
        steps=int(_number(last.get("steps")) or _number(_part(config, "stage2", "steps")) or 0),
        loss=_number(last.get("loss")),
        held_out=min(held_out, default=None),
        ranks=_ranks(run),
        policy=_text(_part(config, "ranks", "policy")),
        base=_text(config.get("base")),
        changed=changed,
        size_bytes=sum(f.stat().st_size for f in run.rglob("*") if f.is_file()),
    )


def _config(run: Path) -> dict[str, Any]:
    """Return a run's settings as they were written; none where the file is damaged."""
    from hydra_mobile.core.yaml_io import load_yaml

    found = _read(run / "config.yaml", load_yaml)
    return found if isinstance(found, dict) else {}


def _part(config: dict[str, Any], section: str, key: str) -> Any:
    found = config.get(section)
    return found.get(key) if isinstance(found, dict) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else shown(value)


def _number(value: Any) -> float | None:
    """Return a finite number as it is, None for all else."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return value if known and math.isfinite(value) else None


def _ranks(run: Path) -> tuple[int, int] | None:
    """Return the lowest and the highest rank of a run, from its file alone."""
    found = _read(run / "rank_map.json", json.loads)
    ranks = found.get("ranks", found) if isinstance(found, dict) else None
    numbers = [r for r in ranks.values() if isinstance(r, int)] if isinstance(ranks, dict) else []
    return (min(numbers), max(numbers)) if numbers else None


def _span(ranks: tuple[int, int] | None) -> str:
    if ranks is None:
        return "\u2013"
    return str(ranks[0]) if ranks[0] == ranks[1] else f"{ranks[0]}-{ranks[1]}"


def _read(file: Path, reader: Any) -> Any:
    import yaml

    damaged: tuple[type[Exception], ...] = (*FOREIGN, yaml.YAMLError)
    try:
        return reader(file.read_text(encoding="utf-8"))
    # A damaged run must not hide the others: whatever the parsers raise.
    except damaged:
        return None


def list_(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER...]", help="Runs, or folders of runs; default: runs/"),
    ] = None,
) -> ui.Result:
    """List training runs and where they stand."""
    found: list[Summary] = []
    for folder in folders or [Path("runs")]:
        inside = [folder] if (folder / "run.json").is_file() else sorted(folder.glob("*"))
        found += [summary_of(run) for run in inside if (run / "run.json").is_file()]
    rows = []
    for each in found:
        steps = f"{count(each.step)}/{count(each.steps)}" if each.steps else count(each.step)
        loss = "\u2013" if each.loss is None else f"{each.loss:.3f}"
        held = "\u2013" if each.held_out is None else f"{each.held_out:.3f}"
        day = time.strftime("%b %d", time.localtime(each.changed))
        size = megabytes(each.size_bytes)
        span = _span(each.ranks)
        rows.append((str(each.path), each.state, steps, loss, held, span, size, each.policy, day))
    if not rows:
        ui.line(f"No runs in {', '.join(map(str, folders or [Path('runs')]))}.")
        following = ["hydra-mobile train --config emojiqa-smol"]
        return ui.Result({"runs": []}, next=following)
    columns = [ui.Column("run"), ui.Column("state"), ui.Column("steps", right=True)]
    columns += [ui.Column("loss", right=True), ui.Column("held out", right=True)]
    columns += [ui.Column("ranks", drop=1), ui.Column("size", right=True, drop=2)]
    columns += [ui.Column("policy", drop=3), ui.Column("trained", drop=4)]
    total = sum(each.size_bytes for each in found)
    ui.table(columns, rows, [f"{len(found)} runs, {megabytes(total)}"])
    stopped = next((each for each in found if each.state == "stopped"), None)
    following = [f"hydra-mobile train --resume {stopped.path}"] if stopped else []
    following += [f"hydra-mobile runs show {found[0].path}"]
    if len(found) > 1:
        following += [f"hydra-mobile runs plot {found[0].path} {found[1].path}"]
    return ui.Result({"runs": [asdict(each) for each in found]}, next=following)


def show(
    run: Run,
    all_settings: Annotated[
        bool, typer.Option("--all", help="Every setting, also those at their default")
    ] = False,
) -> ui.Result:
    """Show what a run trained, how, and what it made."""
    found = summary_of(run)
    from hydra_mobile.cli.config_keys import keys

    config = _config(run)
    day = time.strftime("%b %d %H:%M", time.localtime(found.changed))
    ui.line(f"{run}: {found.state}, {day}, {megabytes(found.size_bytes)}")
    ui.line(f"  base       {found.base}")
    if found.held_out is not None:
        ui.line(f"  held out   {found.held_out:.3f}")
    steps = f"{found.step:,} of {found.steps:,}" if found.steps else f"{found.step:,}"
    ui.line(f"  steps      {steps}" + ("" if found.loss is None else f", loss {found.loss:.3f}"))
    made = [p for p in (run / "adapter", run / "merged") if p.is_dir()]
    made += sorted(p for p in (run / "bundles").glob("*") if p.is_dir())
    for path in made:
        size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
        ui.line(f"  made       {path}   ({megabytes(size)})")
    settings = []
    for key in keys():
        value: Any = config
        for part in key.name.split("."):
            value = value.get(part, key.default) if isinstance(value, dict) else key.default
        if all_settings or value != key.default:
            settings.append((key.name, str(value), str(key.default)))
    columns = [ui.Column("setting"), ui.Column("value", prose=True), ui.Column("default")]
    ui.table(columns, settings)
    return ui.Result(
        {**asdict(found), "config": config, "made": made},
        next=[f"hydra-mobile ranks show {run}"],
    )


ui.add(app, list_, "list", schema="runs-list")
ui.add(
    app,
    runs_plot.plot,
    schema="runs-plot",
    brief=True,
    examples=["hydra-mobile runs plot runs/emojiqa runs/uniform"],
)
ui.add(app, show, schema="runs-show", examples=["hydra-mobile runs show runs/emojiqa"])
