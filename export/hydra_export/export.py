"""Export: from a merged folder to a bundle for one target.

Loads the merged model, lets it answer the golden questions, hands it to the target, and
closes the bundle with a manifest.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra_export.card.card import CARD, adapter_summary, bundle_card
from hydra_export.golden_kept import golden_of
from hydra_export.quantization.calibration import Calibration, from_data
from hydra_export.quantization.ranges import require_fits
from hydra_export.targets import TARGETS, Limits, WriteOptions, writer_for
from hydra_mobile.adapters.identity import BaseIdentity, base_identity
from hydra_mobile.bundle.bundle import Bundle, write_manifest
from hydra_mobile.bundle.golden import GoldenInput
from hydra_mobile.bundle.kernel_coverage import MINIMUM, require_fast, sentence
from hydra_mobile.bundle.manifest import MANIFEST
from hydra_mobile.bundle.memory.sizes import sizes_of
from hydra_mobile.bundle.presets import Preset
from hydra_mobile.core.errors import ArtifactError, DataError, HydraError
from hydra_mobile.core.files import read_json, require_free_space, sha256_of
from hydra_mobile.core.folders import Mark, folder_atomically, require_replaceable
from hydra_mobile.core.kept import key_of
from hydra_mobile.core.marks import BUNDLE
from hydra_mobile.core.model_folder import (
    MERGE_FILE,
    require_as_merged,
    weight_files,
    weights_sha256,
)
from hydra_mobile.core.safetensors_io import places
from hydra_mobile.models.chat_template import is_derived
from hydra_mobile.models.families.prompts import read_chat_template
from hydra_mobile.models.finite import require_finite_weights
from hydra_mobile.models.hub_files import TOKENIZER_CONFIG, write_tokenizer_config

if TYPE_CHECKING:
    from hydra_export.separate_adapter import SeparateAdapter
    from hydra_export.training_data import TrainingData
    from hydra_mobile.models.processor import MobileVLMProcessor
    from hydra_mobile.models.vision_language import VisionLanguageModel

#: Tokenizer, golden pictures and vectors, and what a file format adds.
_BESIDE_PROGRAM = 16_000_000


def export_bundle(
    merged_folder: Path,
    *,
    target: str,
    out: Path,
    golden_inputs: Sequence[GoldenInput],
    runtime: str | None = None,
    preset: str | Preset | None = None,
    limits: Limits | None = None,
    calibrate: TrainingData | None = None,
    separate: SeparateAdapter | None = None,
    attention: str = "auto",
    vision_backend: str = "auto",
    min_fast_path: float = MINIMUM,
    force: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Export the merged model at `merged_folder` to a bundle at `out`.

    Args:
        merged_folder: a Hugging Face folder of a known family.
        target: key of `TARGETS`.
        out: the bundle; an older bundle there is replaced when the new one is complete.
        golden_inputs: a few pictures with questions, answered by the merged model.
        runtime: of that platform; None takes its default.
        preset: name of a preset, or one of the caller's own; None takes the target's default.
        limits: length of the cache and of one call.
        calibrate: data of the task, on which 4-bit weights are rounded; None: the model
            calibrates itself on text that it writes.
        separate: keep this adapter a file beside a program of its base; `merged_folder` is then
            the base's folder.
        attention: one of the target's `attentions`; "auto" leaves the choice to the target.
        vision_backend: one of the target's `vision_backends`, for which the vision encoder is
            written a second time; "auto": none.
        min_fast_path: least share of each method's multiply-accumulates on fast kernels.
        force: replace an older bundle for another runtime too.
        log: gets a line for each step.

    Raises:
        HydraError: unknown target, runtime or preset; missing extra; no space; `out` is a folder
            that is no bundle; the runtime has nothing to calibrate; too little of the program runs
            on fast kernels.
        DataError: `calibrate` is required, and it or a picture that it names cannot be read.
        ArtifactError: the merged folder is incomplete or altered; a weight is not finite, or too
            large for the preset; the model answers a golden question with numbers that are not.
    """
    from hydra_export.load import load_for_export
    from hydra_mobile.models.vision_language import head_dim

    start = time.perf_counter()
    writer, chosen = writer_for(
        target,
        runtime,
        preset,
        calibrate=calibrate is not None,
        adapters=separate is not None,
        attention=attention,
        vision_backend=vision_backend,
    )
    if separate is None and _trained_for(Path(merged_folder)) == chosen.name:
        # What training saw: every part at 4 bits, each weight at its nearest.
        chosen = replace(chosen, rounding="nearest", sensitive=None, budget=None)
        log(f"the model was trained for {chosen.name}: weights are rounded to the nearest")
    limits = limits or Limits()
    merged_folder, out = Path(merged_folder), Path(out)
    weights = weight_files(merged_folder)
    require_as_merged(merged_folder, again=True)
    mark = BUNDLE if force else _bundle_of(writer.runtime)
    require_replaceable(out, mark)
    require_free_space(out, most_bytes(weights), f"the bundle {out.name}")
    log(f"loading {merged_folder}")
    model, processor = separate.load() if separate else load_for_export(merged_folder)
    require_finite_weights(model.whole, merged_folder)
    require_fits(model, chosen, merged_folder)
    require_whole_picture(model, processor, limits)
    calibration = _calibration(model, processor, chosen, calibrate, log) if calibrate else None
    sources = {
        **_base_of(merged_folder, model.config),
        "merged_sha256": weights_sha256(merged_folder, again=True),
    }
    # What an adapter beside the program changes is in no file of the base.
    model_key = "" if separate else _key_of(merged_folder, sources["merged_sha256"])
    if separate:
        sources = _named(separate.identity)
    text = model.config.text_config
    shapes = {
        "vocab_size": int(text.vocab_size),
        # What a host passes for a token: an embedding, or a row that holds more.
        "hidden_size": model.row_width,
        "layers": int(text.num_hidden_layers),
        "kv_heads": int(text.num_key_value_heads),
        "head_dim": head_dim(text),
        "image_size": int(processor.image.size),
    }
    with folder_atomically(out, mark=mark) as folder:
        # Before the target, which changes the model in place.
        sizes = sizes_of(model, shapes["image_size"])
        other_files = golden_of(model, processor, golden_inputs, folder, log, model_key)
        if separate:
            separate.detach(model)
        adapters = separate is not None
        options = WriteOptions(calibration, adapters, attention, vision_backend, model_key)
        result = writer.write(model, chosen, folder, limits, log, options)
        del model
        coverage = writer.coverage(folder, result, limits)
        if coverage is not None:
            result.details["delegation"] = coverage
            require_fast(coverage, min_fast_path)
            log(sentence(coverage))
        for fallback in result.fallbacks:
            log(f"fallback: {fallback}")
        if writer.wants_tokenizer_config:
            derived = is_derived(processor.template)
            own = read_chat_template(merged_folder)[1] if derived else ""
            write_tokenizer_config(folder, processor, own)
            other_files[TOKENIZER_CONFIG] = "tokenizer_config"
        manifest = write_manifest(
            folder,
            target=target,
            runtime=writer.runtime,
            preset=chosen,
            limits=limits,
            shapes=shapes,
            processor=processor,
            result=result,
            other_files=other_files,
            sources=sources,
            requires=TARGETS[target].requires,
            sizes=sizes,
            footprint=writer.footprint if writer.memory_facts else None,
        )
        if separate:
            manifest = separate.close(folder, manifest)
        card = bundle_card(manifest, None if separate else adapter_summary(merged_folder))
        (folder / CARD).write_text(card, encoding="utf-8")
    bundle = Bundle.open(out, verify_hashes=False)
    if writer.runs_in:
        log(f"runs in {writer.runs_in}")
    log(
        f"{out}: {writer.runtime} {chosen.name}, {bundle.size_bytes / 1e6:.1f} MB, "
        f"{time.perf_counter() - start:.0f} s"
    )
    return bundle


def require_whole_picture(
    model: VisionLanguageModel, processor: MobileVLMProcessor, limits: Limits
) -> None:
    """Raise where a call cannot hold a picture whose rows see each other both ways.

    Raises:
        HydraError: `max_prefill` is below what stands up to the end of the picture.
    """
    if not (model.layout and model.layout.marks):
        return
    least = len(processor.prompt("What?").before) + len(processor.image_ids)
    if limits.max_prefill < least:
        raise HydraError(
            f"max_prefill is {limits.max_prefill}, and prompt and picture up to its end are "
            f"{least} rows, which this model must read in one call: its pictures attend both ways.",
            f"Export with --max-prefill {least} or more.",
        )


def _key_of(folder: Path, weights: str) -> str:
    """Return the hash of what decides all that a model computes, by which exports know it again."""
    return key_of(
        {
            "weights": weights,
            "config": sha256_of(folder / "config.json"),
            "versions": [version(package) for package in ("torch", "transformers")],
        }
    )


def _base_of(folder: Path, config: Any) -> dict[str, str]:
    """Return what the base is that a merged model began as; it may be one itself."""
    if hasattr(config, "base_sha256"):
        known = {"base": config.base, "base_sha256": config.base_sha256}
        return {**known, **_at(base_identity(folder).revision)}
    if (folder / MERGE_FILE).is_file():
        base = read_json(folder / MERGE_FILE, "the record of a merge")["sources"]["base"]
        return _named(BaseIdentity.from_dict(base))
    return _named(base_identity(folder))


def _named(base: BaseIdentity) -> dict[str, str]:
    return {"base": base.name, "base_sha256": base.sha256, **_at(base.revision)}


def _at(revision: str) -> dict[str, str]:
    """Return the commit of the hub that a base is of, where it is known."""
    return {"base_revision": revision} if revision else {}


def most_bytes(weights: Sequence[Path]) -> int:
    """Return the most bytes that a bundle of these weights can take, whatever their dtype.

    A program holds every weight at most in fp32, and a tied table a second time as the head.
    """
    counts = [math.prod(place.shape) for file in weights for place in places(file).values()]
    return 4 * (sum(counts) + max(counts, default=0)) + _BESIDE_PROGRAM


def _bundle_of(runtime: str) -> Mark:
    """Return what a bundle of the same runtime holds: one for other phones is not replaced."""

    def matches(folder: Path) -> bool:
        if not BUNDLE.matches(folder):
            return False
        try:
            found = read_json(folder / MANIFEST, "the manifest of a bundle")["runtime"]
        except ArtifactError:
            # One that was cut short is still of ours.
            return True
        return bool(found == runtime)

    return replace(BUNDLE, kind=f"a bundle for {runtime}", matches=matches)


def _calibration(
    model: Any, processor: Any, preset: Preset, data: TrainingData, log: Callable[[str], None]
) -> Calibration | None:
    """Return what 4-bit weights are rounded on; None: nothing is needed, or its own text."""
    if preset.rounding == "nearest" or not preset.has_4bit_weights:
        if data.required:
            why = "rounds no weight to 4 bits"
            if preset.has_4bit_weights:
                why = "rounds weights to the nearest"
            log(f"{data.file.name} is not needed: preset {preset.name} {why}")
        return None
    try:
        return from_data(model, processor, data)
    except DataError as error:
        if data.required:
            raise
        log(f"weights are rounded on text that the model writes, not on {data.file}: {error}")
        return None


def _trained_for(folder: Path) -> str:
    """Return the preset that a merged model's training has seen; "" where it saw none."""
    if not (folder / MERGE_FILE).is_file():
        return ""
    record = read_json(folder / MERGE_FILE, "the record of a merge")
    return str(record.get("trained_for", "")) if isinstance(record, dict) else ""
