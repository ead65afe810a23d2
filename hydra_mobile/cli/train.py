"""`hydra-mobile train`: the two stages, from a configuration to an adapter."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.data_options import is_here
from hydra_mobile.cli.options import Config, Private, Push, complete_keys, split_items
from hydra_mobile.cli.push import preparing_push
from hydra_mobile.cli.ui.formats import about, clock
from hydra_mobile.cli.ui.live import progress
from hydra_mobile.core.errors import ArtifactError, ConfigError, DataError

if TYPE_CHECKING:
    from hydra_mobile.api.training import DryRun, TrainingWork
    from hydra_mobile.config import TrainConfig


def train(
    items: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN] [KEY=VALUE...]",
            help="Run folder (default: the config's output), and settings",
            autocompletion=complete_keys,
        ),
    ] = None,
    config: Config = "",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint of RUN")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show a row, weights and memory; take one step; write nothing",
        ),
    ] = False,
    push: Push = "",
    private: Private = False,
) -> ui.Result:
    """Train the projector, then HyDRA or LoRA adapters.

    Stage I trains the projector on captions, stage II adapters and projector on conversations.
    """
    from hydra_mobile.cli.config_keys import settings_of

    paths, overrides = split_items(items)
    source = _source(paths, config, resume)
    if paths and not resume:
        overrides.insert(0, f"output={paths[0]}")
    settings = settings_of(source, overrides)
    _require_startable(settings, resume, dry_run)
    command = ["hydra-mobile train", *([f"--config {source}"] if source else []), *overrides]
    if not dry_run:
        ui.log_beside(Path(settings.output), "train")
    ui.title(
        f"{'Dry run of' if dry_run else 'Resuming' if resume else 'Training'} {settings.output}"
    )
    changed = f", {len(overrides)} on the command line: {' '.join(overrides)}" if overrides else ""
    ui.facts({"config": f"{source or 'the defaults'}{changed}"})
    ui.prepare()
    put = preparing_push(push, private)
    from hydra_mobile.api.training import plan_training
    from hydra_mobile.api.training import train as run_training
    from hydra_mobile.cli.work_view import training_facts

    work = plan_training(settings)
    ui.facts(training_facts(work), result=dry_run)
    if dry_run:
        from hydra_mobile.api.training import dry_run as take_a_step

        result = take_a_step(settings, log=ui.say, progress=progress)
        return _show(work, result, " ".join(command))
    ui.going_on("The last checkpoint stays.", f"hydra-mobile train --resume {settings.output}")
    began = time.monotonic()
    made = run_training(settings, resume=resume, log=ui.say, progress=progress)
    run, adapter = made.path, made.adapter or made.merged or made.path
    seconds = time.monotonic() - began
    ui.line(f"Trained {run} in {clock(seconds)}")
    ui.line(f"  adapter    {adapter}")
    # Under torchrun one process pushes.
    pushed = put(adapter) if os.environ.get("RANK", "0") == "0" else {}
    return ui.Result(
        {
            "run": run,
            "adapter": adapter,
            "summary": made.summary,
            **pushed,
        },
        brief=str(adapter),
        next=[
            f"hydra-mobile export {run}",
            f"hydra-mobile evaluate {settings.base} {run}",
            f"hydra-mobile ranks show {run}",
        ],
    )


def _source(paths: list[str], config: str, resume: bool) -> str:
    """Return the configuration: that of the run which is resumed, or --config."""
    if len(paths) > 1:
        raise ConfigError(
            "a command trains one run",
            "section.key=value for a setting, for example stage2.steps=100",
            where="command line",
            found=" ".join(paths),
            expected="one run folder, and KEY=VALUE",
        )
    if not paths or not resume:
        return config
    run = Path(paths[0])
    file = run / "config.yaml"
    if not file.is_file():
        from hydra_mobile.cli.ui.faults import sibling

        raise ArtifactError(
            f"{run} is no run to resume",
            sibling(run),
            where=str(file),
            found="no such file",
            expected="a folder that `train` wrote",
        )
    if config:
        raise ConfigError(
            "a run and --config are both given", "leave one of them out", where="--config"
        )
    return str(file)


def _require_startable(settings: TrainConfig, resume: bool, dry_run: bool) -> None:
    """Tell before torch is imported what training would stop at."""
    from hydra_mobile.api.paths import is_begun, require_free

    run = Path(settings.output)
    if is_begun(run) and not resume and not dry_run:
        raise ArtifactError(
            f"{run} already holds a run",
            [f"go on with it: hydra-mobile train --resume {run}", "or another folder: output=..."],
            where=f"output={run}",
            found="run.json",
            expected="a new folder",
        )
    if not dry_run:
        require_free(run, resume)
    for key in ("stage1", "stage2"):
        file = getattr(settings.data, key)
        if file and not is_here(Path(file)):
            raise DataError(
                f"{file} does not exist",
                _ways_to_data(key, file),
                where=f"data.{key}",
                found=file,
                expected="a data file, a folder of shards or a hub id",
            )
    if not settings.data.stage2 and not resume:
        raise DataError(
            "there is no data to train on",
            [
                "--config emojiqa-smol data.stage1=FILE data.stage2=FILE",
                "all configs: hydra-mobile config",
            ],
            where="data.stage2",
            expected="a data file, a folder of shards or a hub id",
        )


def _ways_to_data(key: str, file: str) -> list[str]:
    """Return what to do about data that is missing: name other, or make the example's."""
    ways = [f"data.{key}=FILE"]
    if Path(file).parent.name == "emojiqa":
        ways.append(f"or make the example's: hydra-mobile data emojiqa --out {Path(file).parent}")
    return ways


def _show(work: TrainingWork, result: DryRun, command: str) -> ui.Result:
    """Print a dry run; what the loss learns stands in [brackets]."""
    ui.blank()
    ui.line("A row as the model sees it (learned text in [brackets])")
    for text in result.marked_row().split("\n"):
        ui.line(f"  {text}")
    ui.line()
    for text in result.lines():
        ui.line(text)
    steps = work.stages[-1].steps
    if work.cost.seconds is None and steps:
        seconds = about(steps * result.seconds)
        ui.line(
            f"At most {seconds} for the {steps:,} steps of stage II: the first step is slowest."
        )
    return ui.Result(
        {
            "plan": work.to_dict(),
            "row": [{"text": text, "learned": learned} for text, learned in result.row],
            "parameters": result.parameters,
            "stages": result.stages,
            "memory": result.memory,
            "loss": result.loss,
            "seconds_per_step": result.seconds,
            "peak_memory_bytes": result.peak_bytes,
        },
        next=[command],
    )


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb."""
    ui.add(
        app,
        train,
        panel=panel,
        brief=True,
        examples=[
            "hydra-mobile train --config emojiqa-smol stage2.steps=400",
            "hydra-mobile train runs/mine --config emojiqa-smol data.stage1=train.json "
            "data.stage2=train.json",
            "hydra-mobile train --resume runs/emojiqa",
        ],
        more="docs/hydra_in_your_trainer.md",
    )
