"""`hydra-mobile estimate`: what a run needs of a GPU, or a bundle of a phone."""

from __future__ import annotations

from pathlib import Path

import typer


def estimate(
    overrides: list[str] = typer.Argument(None, help="section.key=value, wins over the file."),
    config: str = typer.Option("", help="Packaged configuration (`config list`) or YAML file."),
    more: list[str] = typer.Option(None, "--set", help="section.key=value, as the argument."),
    bundle: Path = typer.Option(None, help="Bundle folder: memory on a phone, not of training."),
    device_memory: float = typer.Option(0.0, help="With --bundle: the phone's memory in GiB."),
    gpus: int = typer.Option(0, help="GPUs, one process each."),
    gpu_memory: float = typer.Option(0.0, help="Memory of each in GiB."),
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
    """Estimate what training needs (memory, steps, hours), or with --bundle what a phone needs.

    No GPU and no phone is needed.
    """
    from hydra_mobile.cli.console import console, prepare, say

    prepare()
    configured = bool(config or overrides or more)
    _require_one(bundle, configured, device_memory, gpus, gpu_memory)
    if bundle:
        _estimate_bundle(bundle, device_memory, json_file)
        return
    from hydra_mobile.config import load_config

    settings = load_config(config or None, [*(overrides or ()), *(more or ())])
    from hydra_mobile.cli.plan_tables import print_plan
    from hydra_mobile.core.files import write_json
    from hydra_mobile.estimation.plan import Asked, make_plan

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


def _require_one(
    bundle: Path | None, configured: bool, device_memory: float, gpus: int, gpu_memory: float
) -> None:
    """Raise unless exactly one thing is to be estimated, with the memory that goes with it."""
    from hydra_mobile.core.errors import HydraError

    if bool(bundle) == configured:
        found = "Both a bundle and a configuration are" if bundle else "Nothing is"
        raise HydraError(
            f"{found} given to estimate; exactly one is expected.",
            "Give --config FILE for training, or --bundle FOLDER for a phone.",
        )
    if bundle and (gpus or gpu_memory):
        raise HydraError(
            "--gpus and --gpu-memory belong to training.", "With --bundle give --device-memory."
        )
    if bundle and device_memory <= 0:
        raise HydraError(
            f"--device-memory is {device_memory:g}, expected the phone's memory in GiB.",
            "For example --device-memory 6.",
        )
    if configured and (gpus < 1 or gpu_memory <= 0):
        raise HydraError(
            f"--gpus is {gpus} and --gpu-memory {gpu_memory:g}; both must be above 0.",
            "For example --gpus 8 --gpu-memory 80.",
        )
    if configured and device_memory:
        raise HydraError("--device-memory belongs to --bundle.", "Leave it away for training.")


def _estimate_bundle(folder: Path, device_memory: float, json_file: Path | None) -> None:
    from hydra_export.targets import target_of
    from hydra_mobile.bundle.bundle import Bundle
    from hydra_mobile.bundle.memory.phones import CLASSES, fit_on
    from hydra_mobile.cli.console import console, say
    from hydra_mobile.cli.footprint_tables import print_footprint
    from hydra_mobile.core.files import write_json

    bundle = Bundle.open(folder, verify_hashes=False)
    target = target_of(bundle.manifest)
    footprint = target.memory(bundle.manifest)
    title = f"{folder}: {bundle.runtime} {bundle.preset.name}, estimated"
    basis = target.memory_basis
    print_footprint(title, footprint, basis, device_memory, console)
    if json_file:
        fits = [fit_on(footprint, memory) for memory in (*CLASSES, device_memory)]
        write_json(
            json_file,
            {
                "schema": 1,
                "bundle": str(folder),
                "basis": basis,
                "bytes": footprint.to_dict(),
                "phones": [
                    {
                        "memory_gib": fit.memory_gib,
                        "usable_bytes": fit.usable,
                        "needed_bytes": fit.needed,
                        "fits": fit.fits,
                    }
                    for fit in fits
                ],
                "asked": {"memory_gib": device_memory, "fits": fits[-1].fits},
            },
        )
        say(f"written to {json_file}")
