"""`hydra-mobile export-original`: a base or trained model in another project's layout."""

from __future__ import annotations

from pathlib import Path

import typer


def export_original(
    model: Path = typer.Argument(..., help="Base folder, merged folder, or run (merged first)."),
    out: Path = typer.Option(..., help="Folder to make."),
    layout: str = typer.Option(
        "mobilevlm",
        help="mobilevlm: MobileVLM's own code; llava: transformers' "
        "LlavaForConditionalGeneration (mlp projectors); llama.cpp: the parts that its "
        "converters to GGUF read.",
    ),
    format: str = typer.Option(
        "safetensors", help="safetensors, or bin for pytorch_model.bin (layout mobilevlm only)."
    ),
) -> None:
    """Write a model for other projects: the way back of `import`, untouched tensors bit for bit."""
    from hydra_mobile.cli.console import prepare, say

    prepare()
    from hydra_export.merge import merged_folder
    from hydra_mobile.core.errors import ConfigError
    from hydra_mobile.core.registry import nearest
    from hydra_mobile.models.checkpoints.exporting import LAYOUTS, export_llava, export_mobilevlm
    from hydra_mobile.models.checkpoints.llama_cpp import export_llama_cpp
    from hydra_mobile.runtimes.model_ref import model_at

    # Typing mistakes are told before a run is merged.
    if layout not in LAYOUTS:
        raise ConfigError(f"Unknown layout `{layout}`.", nearest(layout, LAYOUTS))
    if format not in ("safetensors", "bin"):
        raise ConfigError(f"Unknown format `{format}`.", "Valid: bin, safetensors.")
    if format == "bin" and layout != "mobilevlm":
        raise ConfigError(
            f"--format bin belongs to layout mobilevlm; layout {layout} has a format of its own.",
            "Leave --format out.",
        )
    folder = merged_folder(model_at(str(model)), say)
    if layout == "mobilevlm":
        export_mobilevlm(folder, out, pickled=format == "bin", log=say)
    elif layout == "llava":
        export_llava(folder, out, log=say)
    else:
        commands = export_llama_cpp(folder, out, log=say)
        say("Now run in llama.cpp's folder, with the packages that its own requirements name:")
        for command in commands:
            say(f"  {command}")
    say(f"Written: {out}")
