"""`hydra-mobile merge`: folds a run's adapter into its base."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import Base, Force, Model, existing
from hydra_mobile.cli.places import require_place, run_of
from hydra_mobile.cli.ui.formats import megabytes


def merge(
    model: Model,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", show_default="RUN/merged", help="Merged folder")
    ] = None,
    force: Force = False,
    base: Base = "",
) -> ui.Result:
    """Fold an adapter into its base model.

    Writes one Hugging Face folder that holds every trained tensor.
    """
    run = existing(Path(model), "MODEL")
    made = out or run / "merged"
    require_place(made, "merged model", force)
    ui.log_beside(run_of(run) or made.with_name(f"{made.name}.logs"), "merge")
    ui.prepare()
    from hydra_export.merge import merge as merge_adapter
    from hydra_mobile.models.registry import base_folder
    from hydra_mobile.runtimes.model_ref import base_of

    ui.title(f"Merging {run} into its base")
    folder = base_folder(base, ui.say) if base else base_of(run)
    if _is_up_to_date(run, made, folder) and not force:
        ui.line(f"{made} is up to date: same adapter, same base. (--force redoes it)")
        return _result(made, {"up_to_date": True})
    ui.facts({"base": str(folder), "out": str(made)})
    began = time.monotonic()
    report = merge_adapter(folder, run, made)
    ui.step("merged", f"{len(report.merged)} linear weights", time.monotonic() - began)
    ui.step("replaced", f"{len(report.replaced)} weights trained beside the adapter")
    ui.step("unchanged", f"{report.untouched} other weights, equal to the base bit for bit")
    size = sum(file.stat().st_size for file in made.glob("*.safetensors"))
    ui.line(f"Merged model: {made}   ({megabytes(size)}, loads with from_pretrained)")
    return _result(
        made,
        {
            "up_to_date": False,
            "size_bytes": size,
            "merged_weights": len(report.merged),
            "replaced_weights": len(report.replaced),
            "unchanged_weights": report.untouched,
        },
    )


def _result(made: Path, data: dict[str, object]) -> ui.Result:
    return ui.Result(
        {"path": made, **data},
        brief=str(made),
        next=[
            f"hydra-mobile export {made}",
            f"hydra-mobile chat {made} --image PICTURE",
        ],
    )


def _is_up_to_date(run: Path, made: Path, base: Path) -> bool:
    """Whether `made` was merged from this adapter and this base."""
    from hydra_mobile.adapters.identity import base_identity
    from hydra_mobile.adapters.save_load import adapter_files
    from hydra_mobile.core.files import read_json

    adapter = run / "adapter" if (run / "adapter").is_dir() else run
    merged = made / "merge.json"
    if not merged.is_file():
        return False
    sources = read_json(merged, "the record of a merge")["sources"]
    files = adapter_files(adapter)
    # The hashes in both records; weights that were altered later are found where they are used.
    same = sources["adapter_files"] == files
    return bool(same and sources["base"]["sha256"] == base_identity(base).sha256)


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb."""
    ui.add(app, merge, panel=panel, brief=True, examples=["hydra-mobile merge runs/emojiqa"])
