"""`merge`: a run to one Hugging Face folder with every trained tensor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hydra_mobile.api.paths import ModelLike, default_merged_folder, path_of
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.files import read_json
from hydra_mobile.core.progress import Log, silent
from hydra_mobile.core.quiet import quietly


@dataclass(frozen=True)
class Merged:
    """A merged folder, and how it was made.

    Attributes:
        path: the folder.
        up_to_date: whether it was there already, of the same adapter and base.
        base: folder of the base.
        merged_weights: weights that took an update; None where it was there already.
        replaced_weights: weights that were trained beside the adapter; likewise.
        unchanged_weights: weights that are the base's bit for bit; likewise.
    """

    path: Path
    up_to_date: bool
    base: Path
    merged_weights: int | None = None
    replaced_weights: int | None = None
    unchanged_weights: int | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of its weight files."""
        return sum(file.stat().st_size for file in self.path.glob("*.safetensors"))


def merge(
    run: ModelLike,
    out: str | Path | None = None,
    *,
    base: str | Path = "",
    log: Log = print,
) -> Path:
    """Fold a run's adapter into its base: one Hugging Face folder with every trained tensor.

    Args:
        run: a run or an adapter folder, or an adapter's hub id.
        out: the folder to write or replace; None: `merged` inside the run, or for an adapter of
            the hub `NAME-merged`. It is left alone where
            it is of the same adapter and base already.
        base: name or folder of the base; "": the run's own.
        log: receives a line for each step.

    Returns:
        The folder, for `from_pretrained` of transformers and for `export`.

    Raises:
        ArtifactError: the adapter belongs to another base, there is none, or a file is incomplete.
    """
    return merged_model(run, out, base=base, log=log).path


def merged_model(
    run: ModelLike,
    out: str | Path | None = None,
    *,
    base: str | Path = "",
    again: bool = False,
    log: Log = silent,
) -> Merged:
    """Do what `merge` does, and say how; `again` merges where it would be left alone."""
    with quietly():
        from hydra_export.merge import merge as merge_adapter
        from hydra_export.merge import merged_folder
        from hydra_mobile.models.registry import base_folder
        from hydra_mobile.runtimes.model_ref import adapter_in, base_of, model_at

        folder = Path(path_of(run, log))
        model = model_at(str(folder))
        if model.kind == "base":
            raise ArtifactError(
                f"{folder} is a base: there is no adapter to fold in.", "Name a run or an adapter."
            )
        if model.kind != "run":
            # A merged folder, or a run that trained every weight.
            whole = merged_folder(model, log)
            return Merged(whole, True, whole)
        made = Path(out) if out is not None else default_merged_folder(folder)
        of = base_folder(str(base), log) if base else base_of(folder)
        if not again and _is_of(made, adapter_in(folder), of):
            return Merged(made, True, of)
        report = merge_adapter(of, folder, made, log=log)
        return Merged(made, False, of, len(report.merged), len(report.replaced), report.untouched)


def _is_of(made: Path, adapter: Path, base: Path) -> bool:
    """Whether `made` was merged from this adapter and this base, by the hashes in its record.

    Weights that were altered later are found where they are used.
    """
    from hydra_mobile.adapters.folder_files import adapter_files
    from hydra_mobile.adapters.identity import base_identity

    record = made / "merge.json"
    if not record.is_file():
        return False
    sources = read_json(record, "the record of a merge")["sources"]
    same = sources["adapter_files"] == adapter_files(adapter)
    return bool(same and sources["base"]["sha256"] == base_identity(base).sha256)
