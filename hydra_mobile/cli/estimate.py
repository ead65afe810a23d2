"""`hydra-mobile estimate`: what a run needs of a GPU, or a bundle of a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import Config, Real, complete_keys, opened, split_items
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.hub_id import is_hub_id

_TRAINING = "Training"


def estimate(
    items: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BUNDLE] [KEY=VALUE...]",
            help="Bundle (memory on a phone), or settings over the config's (training)",
            autocompletion=complete_keys,
        ),
    ] = None,
    config: Config = "",
    phone_memory: Annotated[
        float,
        typer.Option(
            metavar="GIB",
            parser=Real(0.0, 1e6),
            show_default="all classes",
            help="Memory of a phone in GiB",
        ),
    ] = 0.0,
    gpus: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=1_000_000,
            show_default="1",
            help="GPUs, one process each",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    gpu_memory: Annotated[
        float | None,
        typer.Option(
            metavar="GIB",
            parser=Real(0.1, 1e6),
            show_default="24",
            help="Memory of each GPU in GiB",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    global_batch: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=1_000_000_000_000,
            show_default="as configured",
            help="Conversations of a step of stage II that the settings keep",
            rich_help_panel=_TRAINING,
        ),
    ] = 0,
    samples: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=1_000_000_000_000,
            show_default="count the file",
            help="Conversations of stage II",
            rich_help_panel=_TRAINING,
        ),
    ] = 0,
    stage1_samples: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=1_000_000_000_000,
            show_default="count the file",
            help="Captions of stage I",
            rich_help_panel=_TRAINING,
        ),
    ] = 0,
    tokens: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=1_000_000_000_000,
            show_default="data.max_length",
            help="Longest row of stage II",
            rich_help_panel=_TRAINING,
        ),
    ] = 0,
    stage1_tokens: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=1_000_000_000_000,
            show_default="128 beside an image",
            help="Longest row of stage I",
            rich_help_panel=_TRAINING,
        ),
    ] = 0,
    samples_per_second: Annotated[
        float,
        typer.Option(
            metavar="X",
            parser=Real(0.0, 1e9),
            help="Rate of all GPUs together, for hours",
            rich_help_panel=_TRAINING,
        ),
    ] = 0.0,
    measured: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Run whose log gives the rate", rich_help_panel=_TRAINING),
    ] = None,
) -> ui.Result:
    """Predict memory and time before you start.

    What training needs of GPUs (memory, steps, hours), or what a bundle needs of a phone. Neither a
    GPU nor a phone is needed here.
    """
    paths, overrides = split_items(items)
    if len(paths) > 1 or (paths and (config or overrides)):
        raise ConfigError(
            "a bundle and a configuration are both given; exactly one is expected",
            ["hydra-mobile estimate BUNDLE", "hydra-mobile estimate --config NAME [KEY=VALUE...]"],
            where="command line",
            found=" ".join([*paths, *overrides, *([f"--config {config}"] if config else [])]),
        )
    if paths and (gpus or gpu_memory):
        raise ConfigError(
            "--gpus and --gpu-memory belong to training",
            "with a bundle: --phone-memory GIB",
            where="command line",
        )
    gpus, gpu_memory = gpus or 1, gpu_memory or 24.0
    if paths:
        return _bundle(paths[0], phone_memory)
    if not (config or overrides):
        raise ConfigError(
            "nothing is given to estimate",
            ["hydra-mobile estimate BUNDLE", "hydra-mobile estimate --config mobilevlm-1.7b"],
            where="command line",
            expected="a bundle, or a configuration",
        )
    if phone_memory:
        raise ConfigError(
            "--phone-memory belongs to a bundle", "leave it out", where="--phone-memory"
        )
    from hydra_mobile.cli.config_keys import settings_of

    settings = settings_of(config, overrides)
    name = config or f"base {settings.base}"
    ui.title(f"Estimate for {name} on {gpus} GPU{'s' if gpus > 1 else ''} of {gpu_memory:g} GiB")
    ui.facts({"base": f"{settings.base}, policy {settings.ranks.policy}"})
    ui.prepare()
    from hydra_mobile.api.estimate import Asked, plan_of
    from hydra_mobile.cli.plan_tables import show_plan

    asked = Asked(
        gpus,
        gpu_memory,
        samples=(stage1_samples, samples),
        tokens=(stage1_tokens, tokens),
        global_batch=global_batch,
        samples_per_second=samples_per_second,
        measured=measured,
    )
    plan = plan_of(settings, asked, ui.say)
    show_plan(plan)
    words = " ".join(["train", *([f"--config {config}"] if config else []), *overrides])
    start = "hydra-mobile" if gpus == 1 else f"torchrun --nproc-per-node {gpus} -m hydra_mobile"
    return ui.Result(plan.to_dict(), next=[f"{start} {words}"])


def _bundle(given: str, phone_memory: float) -> ui.Result:
    path = opened(given, "command line") if is_hub_id(given.partition("#")[0]) else given
    # The memory of a bundle is that of all its adapters.
    folder = Path(path.partition("#")[0])
    if not (folder / "manifest.json").is_file():
        from hydra_mobile.cli.ui.faults import sibling

        raise ConfigError(
            f"`{folder}` is neither a bundle nor a setting",
            [hint for hint in (sibling(folder), "section.key=value for a setting") if hint],
            where="command line",
            found=str(folder),
            expected="a folder with manifest.json, or KEY=VALUE",
        )
    ui.title(f"Estimate for {given} on a phone")
    ui.prepare()
    from hydra_mobile import Bundle
    from hydra_mobile.api.estimate import memory_of
    from hydra_mobile.cli.footprint_tables import show_footprint, show_phones

    bundle = Bundle.open(folder, verify_hashes=False)
    ui.line(f"{given}: {bundle.runtime} {bundle.preset.name}, estimated")
    memory = memory_of(bundle, phone_memory)
    show_footprint(memory)
    show_phones(memory)
    return ui.Result(
        {"bundle": folder, **memory.data()}, next=[f"hydra-mobile bench {given} --device adb"]
    )


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb."""
    ui.add(
        app,
        estimate,
        panel=panel,
        examples=[
            "hydra-mobile estimate --config mobilevlm-1.7b --gpus 8 --gpu-memory 24",
            "hydra-mobile estimate runs/emojiqa/bundles/android-executorch-int4",
        ],
        renamed={"--device-memory": "--phone-memory", "--set": "", "--bundle": ""},
    )
