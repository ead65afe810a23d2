"""`fetch`, `import_model`, `compose`, `convert`: bases, and models in other projects' layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from hydra_mobile.api.paths import ModelLike, path_of
from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.model_folder import hub_name_of, title_of
from hydra_mobile.core.progress import Log
from hydra_mobile.core.quiet import quietly
from hydra_mobile.core.registry import nearest

Layout = Literal["mobilevlm", "llava", "llama.cpp"]
LAYOUTS = ("mobilevlm", "llava", "llama.cpp")


def fetch(name: str, *, log: Log = print) -> Path:
    """Download a named base once; return its folder, at once where it is in the cache.

    Args:
        name: of the base, for example "smol".
        log: receives a line for each step.

    Raises:
        HydraError: an unknown name, a download that fails or has a wrong hash, or no disk space.
    """
    with quietly():
        from hydra_mobile.models.registry import fetch as fetch_base

        return fetch_base(name, log)


def import_model(
    source: str | Path,
    out: str | Path | None = None,
    *,
    vision: str | Path = "",
    name: str = "",
    log: Log = print,
) -> Path:
    """Import a checkpoint of another project: every tensor is mapped, or the import stops.

    Args:
        source: folder or hub id of a MobileVLM or LLaVA checkpoint, or of a
            LlavaForConditionalGeneration.
        out: the base folder to write or replace; None: `bases/NAME`.
        vision: folder or hub id of a CLIP or SigLIP in place of the checkpoint's vision tower.
        name: of the base; "": that of the source.
        log: receives a line for each step.

    Returns:
        The base folder.

    Raises:
        ArtifactError: the checkpoint is incomplete, of another architecture, or has a tensor that
            is missing, unknown or misshapen.
        HydraError: the hub cannot be reached, or the disk is full.
    """
    with quietly():
        from hydra_mobile.models.checkpoints.importing import import_checkpoint

        made = Path(out) if out is not None else default_base_folder(name or Path(source).name)
        import_checkpoint(str(source), made, vision=str(vision), name=name, log=log)
        return made


def compose(
    language: str | Path,
    projector: str,
    *,
    vision: str | Path = "openai/clip-vit-large-patch14-336",
    out: str | Path | None = None,
    select_layer: int = -2,
    template: str = "v1",
    name: str = "",
    log: Log = print,
) -> Path:
    """Build a base from a language model and a vision tower; its projector is random.

    Args:
        language: folder or hub id of a Llama.
        projector: "ldpnet", "ldpnetv2", "linear", "mlp2x_gelu" (any number for 2) or "pooled_mlp".
        vision: folder or hub id of a CLIP or SigLIP; of a whole one the vision part.
        out: the base folder to write or replace; None: `bases/LANGUAGE-PROJECTOR`.
        select_layer: hidden states of the tower that are read; -2: the input of its last layer.
        template: name of the prompt template.
        name: of the base; "": made of its parts' names.
        log: receives a line for each step.

    Returns:
        The base folder.

    Raises:
        ConfigError: unknown projector, or one that does not fit the parts.
        ArtifactError: the parts are not what they have to be.
    """
    with quietly():
        from hydra_mobile.models.checkpoints.composing import compose as compose_base

        called = name or f"{Path(language).name}-{projector}"
        made = Path(out) if out is not None else default_base_folder(called)
        compose_base(
            str(language),
            str(vision),
            projector,
            made,
            select_layer=select_layer,
            template=template,
            name=name,
            log=log,
        )
        return made


def default_base_folder(name: str) -> Path:
    """Return where a base goes that nobody gave a place."""
    return Path("bases") / name


def convert(
    model: ModelLike,
    layout: Layout = "mobilevlm",
    *,
    out: str | Path | None = None,
    pickled: bool = False,
    log: Log = print,
) -> tuple[Path, tuple[str, ...]]:
    """Write a model in the layout of another project; a run is merged first.

    Args:
        model: a run, a merged folder or a base.
        layout: "mobilevlm" (MobileVLM's code), "llava" (transformers) or "llama.cpp" (what its
            converters to GGUF read).
        out: the folder to write or replace; None: `MODEL-LAYOUT`.
        pickled: write `pytorch_model.bin` in place of safetensors; layout "mobilevlm" only.
        log: receives a line for each step.

    Returns:
        The folder, and the commands that follow in llama.cpp's folder.

    Raises:
        ConfigError: an unknown layout, or `pickled` with a layout that has no such files.
        ArtifactError: a part of the model does not exist in that project.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"Unknown layout `{layout}`.", nearest(layout, LAYOUTS))
    if pickled and layout != "mobilevlm":
        raise ConfigError(f"Layout {layout} has no pytorch_model.bin.", "Use safetensors.")
    with quietly():
        from hydra_export.merge import merged_folder
        from hydra_mobile.models.checkpoints.exporting import export_llava, export_mobilevlm
        from hydra_mobile.models.checkpoints.llama_cpp import export_llama_cpp
        from hydra_mobile.runtimes.model_ref import model_at

        given = path_of(model, log)
        beside = Path(given.rstrip("/"))
        if hub_name_of(beside):
            beside = Path(title_of(beside))
        made = Path(out) if out is not None else beside.with_name(f"{beside.name}-{layout}")
        folder = merged_folder(model_at(given), log)
        if layout == "llama.cpp":
            return made, tuple(export_llama_cpp(folder, made, log=log))
        if layout == "llava":
            export_llava(folder, made, log=log)
        else:
            export_mobilevlm(folder, made, pickled=pickled, log=log)
        return made, ()
