"""`hydra-mobile estimate`: what a run will need, and the settings that fit a GPU."""

from __future__ import annotations

from pathlib import Path

import typer


def estimate(
    overrides: list[str] = typer.Argument(None, help="section.key=value, wins over the file."),
    config: Path = typer.Option(None, help="YAML file; configs/ has the published recipes."),
    more: list[str] = typer.Option(None, "--set", help="section.key=value, as the argument."),
    gpus: int = typer.Option(..., help="GPUs, one process each."),
    gpu_memory: float = typer.Option(..., help="Memory of each in GiB."),
    global_batch: int = typer.Option(
        0, help="Conversations per step of stage II to keep in the table; 0: as configured."
    ),
    samples: int = typer.Option(0, help="Conversations of stage II; 0: count the file."),
    stage1_samples: int = typer.Option(0, help="Captions of stage I; 0: count the file."),
    tokens: int = typer.Option(0, help="Longest row of stage II; 0: data.max_length."),
    stage1_tokens: int = typer.Option(0, help="Longest row of stage I; 0: 128 beside a picture."),
    samples_per_second: float = typer.Option(0.0, help="Rate of all GPUs together, for hours."),
    measured: Path = typer.Option(None, help="Run folder whose log gives the rate instead."),
    json_file: Path = typer.Option(None, "--json", help="File to write everything to as JSON."),
) -> None:
    """Estimate parameters, memory, steps and hours of a training run; no GPU is needed."""
    from hydra_mobile.cli.console import console, prepare, say

    prepare()
    from hydra_mobile.config import load_config

    settings = load_config(config, [*(overrides or ()), *(more or ())])
    from hydra_mobile.cli.plan_tables import print_plan
    from hydra_mobile.files import write_json
    from hydra_mobile.planning.plan import Asked, make_plan

    asked = Asked(
        gpus=gpus,
        gpu_memory=gpu_memory,
        samples=(stage1_samples, samples),
        tokens=(stage1_tokens, tokens),
        global_batch=global_batch,
        samples_per_second=samples_per_second,
        measured=measured,
    )
    with console.status("simulating training steps") as status:
        plan = make_plan(settings, asked, lambda line: status.update(line))
    print_plan(plan, console)
    if json_file:
        write_json(json_file, plan.to_dict())
        say(f"written to {json_file}")
