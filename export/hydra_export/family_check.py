"""Does a family read a checkpoint rightly: everything that can be held against transformers.

Runs on the checkpoint's own weights, or on random ones of its configuration where there are none:
whether two computations are the same does not depend on what the weights say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import torch
from PIL import Image
from torch import nn

from hydra_export.graphs.llama_layers import require_llama_layers
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.model_folder import has_weights, read_config
from hydra_mobile.models.families import family_of
from hydra_mobile.models.families.base import Family
from hydra_mobile.models.loading import OF_NO_MODEL, load_model, load_processor, of_no_model
from hydra_mobile.models.on_meta import on_meta
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.vision_language import VisionLanguageModel
from hydra_mobile.runtimes.base import Array, CacheState
from hydra_mobile.runtimes.torch import TorchRuntime
from hydra_mobile.training.adapted_modules import adapted_modules

Status = Literal["same", "differs", "absent"]
#: Of the largest value: what the order of sums may change.
_ROUNDING = 1e-4
_QUESTION, _OTHER = "What is in the image?", "Which color is it?"


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        name: what was compared.
        status: "absent" where there is nothing to compare with.
        found: a figure, or what is wrong.
    """

    name: str
    status: Status
    found: str


@dataclass
class FamilyCheck:
    """What was found about a checkpoint.

    Attributes:
        folder: of the checkpoint.
        family: what people call its family.
        model_class: the class of transformers.
        random_weights: whether the folder has none.
        checks: in order.
    """

    folder: Path
    family: str
    model_class: str = ""
    random_weights: bool = False
    checks: list[Check] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing differs."""
        return all(check.status != "differs" for check in self.checks)


def check_family(folder: Path, log: Callable[[str], None] = lambda line: None) -> FamilyCheck:
    """Compare a family's reading of a checkpoint with transformers' own.

    Args:
        folder: of the checkpoint; weights are not needed.
        log: gets a line before what takes long.

    Raises:
        ArtifactError: no config.json, or no family knows the class.
    """
    family = family_of(folder)
    result = FamilyCheck(folder, family.title)
    processor = _prompts(family, folder, result)
    log("loading the model")
    model = _model(family, folder, result)
    result.model_class = type(model.whole).__name__
    _targets(model, result)
    _stored_names(family, folder, model, result)
    _decoder(model, result)
    if processor is not None:
        log("comparing with transformers' own forward")
        with torch.inference_mode():
            _forward(model, processor, result)
    return result


def _prompts(family: Family, folder: Path, result: FamilyCheck) -> MobileVLMProcessor | None:
    name = "template token by token, pictures pixel by pixel"
    try:
        processor = load_processor(folder)
    except HydraError as error:
        result.checks.append(Check(name, "differs", error.what))
        return None
    if family.derives_prompts:
        image = processor.image
        found = f"{image.size} pixels ({image.fit}, {image.resample})"
        result.checks.append(Check(name, "same", f"{found}, {len(processor.image_ids)} tokens"))
    else:
        result.checks.append(Check(name, "absent", "the folder is of our own form"))
    placing = processor.placing
    several = "anywhere in questions" if placing else "one, before the first question"
    if placing and placing.before is None:
        several = "before the text of questions"
    status: Status = "same" if placing else "absent"
    result.checks.append(Check("several images a conversation, in training", status, several))
    return processor


def _model(family: Family, folder: Path, result: FamilyCheck) -> VisionLanguageModel:
    file = folder / "config.json"
    stored = read_config(file, "the configuration of a model")
    try:
        config = family.config_of(stored)
        _require_memory(folder, on_meta(lambda: family.empty_model(config), str(file)))
        if has_weights(folder):
            return load_model(folder)
        result.random_weights = True
        torch.manual_seed(0)
        model = family.empty_model(config).eval()
    except OF_NO_MODEL as error:
        raise of_no_model(folder, error) from error
    with torch.no_grad():
        # Initial weights give logits so flat that wrong positions do not show.
        for weight in model.parameters():
            weight.mul_(4.0 if weight.dim() == 2 else 1.0)
    return model


def _require_memory(folder: Path, model: VisionLanguageModel) -> None:
    """Raise where the model would not fit: a config.json may describe any size.

    Weights that are not in its files are made at random as well.
    """
    needed = 4 * sum(weight.numel() for weight in model.whole.parameters())
    free = psutil.virtual_memory().available
    if needed > free:
        raise HydraError(
            f"the model that {folder / 'config.json'} describes takes {needed / 1e9:.1f} GB",
            "Give a folder with fewer or narrower layers: the comparison is the same.",
            where=str(folder / "config.json"),
            found=f"{free / 1e9:.1f} GB of memory are free",
            kind="memory",
        )


def _targets(model: VisionLanguageModel, result: FamilyCheck) -> None:
    adapted = set(adapted_modules(model))
    names = {module: name for name, module in model.whole.named_modules()}
    linears = [names[m] for m in model.language_model.model.modules() if isinstance(m, nn.Linear)]
    missed = [name for name in linears if name not in adapted]
    found = f"{len(linears)} linears of the text model, all of them"
    if missed:
        found = f"{len(missed)} linears get no adapter: {', '.join(missed[:3])}"
    result.checks.append(Check("targets of adapters", "differs" if missed else "same", found))


def _stored_names(
    family: Family, folder: Path, model: VisionLanguageModel, result: FamilyCheck
) -> None:
    name = "names of tensors in memory and on disk"
    if result.random_weights or model.whole is model:
        why = "no weights" if result.random_weights else "our own class stores its own names"
        result.checks.append(Check(name, "absent", why))
        return
    wanted = [f"{module}.weight" for module in adapted_modules(model)]
    try:
        rename = family.rename(folder)
        lost = [module for module in wanted if rename(module) is None]
    except ArtifactError as error:
        result.checks.append(Check(name, "differs", error.what))
        return
    found = f"{len(lost)} have none on disk: {lost[:2]}" if lost else f"{len(wanted)} resolved"
    result.checks.append(Check(name, "differs" if lost else "same", found))


def _decoder(model: VisionLanguageModel, result: FamilyCheck) -> None:
    try:
        require_llama_layers(model.language_model)
        check = Check("text model fits the decoders of programs", "same", "layers of a Llama")
    except HydraError as error:
        check = Check("text model fits the decoders of programs", "differs", error.what)
    result.checks.append(check)


def _forward(
    model: VisionLanguageModel, processor: MobileVLMProcessor, result: FamilyCheck
) -> None:
    """Compare image embeddings, and logits in every way in which a host may call."""
    noise = np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    pixels = processor.preprocess(Image.fromarray(noise))[None]
    picture = torch.from_numpy(pixels)
    image = model.reference_image(picture)
    if image is None:
        result.checks.append(Check("transformers' own forward", "absent", "the class is ours"))
        return
    runtime = TorchRuntime(model, processor)
    rows = runtime.encode_image(pixels)
    computed = rows[0, :, : image.shape[1]]
    result.checks.append(_compared("image embeddings", computed, image.numpy()))

    def own(question: str) -> Array:
        prompt = processor.prompt(question)
        tokens = processor.image_ids
        ids = torch.tensor([[*prompt.before, *tokens, *prompt.after]])
        logits = model.reference_logits(ids, picture)
        assert logits is not None
        found: Array = logits[0].numpy()
        return found

    prompt, wanted = processor.prompt(_QUESTION), own(_QUESTION)
    parts = [
        runtime.embed(prompt.before),
        runtime.picture_rows(rows),
        runtime.embed(prompt.after),
    ]
    whole = np.concatenate(parts, axis=1)
    first = whole.shape[1] - parts[2].shape[1]
    logits, _ = runtime.decode(whole, CacheState())
    result.checks.append(_compared("logits in one call", logits, wanted))
    _, kept = runtime.decode(whole[:, :first], CacheState())
    logits, _ = runtime.decode(whole[:, first:], kept)
    result.checks.append(_compared("logits, picture first", logits, wanted))
    state = CacheState()
    for at in range(whole.shape[1]):
        logits, state = runtime.decode(whole[:, at : at + 1], state)
    result.checks.append(_compared("logits, row by row", logits, wanted))
    _, kept = runtime.decode(whole[:, :first], CacheState())
    runtime.decode(whole[:, first:], kept)
    other = runtime.embed(processor.prompt(_OTHER).after)
    logits, _ = runtime.decode(other, kept)
    result.checks.append(_compared("another question to the same picture", logits, own(_OTHER)))


def _compared(name: str, ours: Array, theirs: Array) -> Check:
    if ours.shape != theirs.shape:
        return Check(name, "differs", f"shapes {ours.shape} and {theirs.shape}")
    gap, scale = float(np.abs(ours - theirs).max()), float(np.abs(theirs).max())
    same = gap <= _ROUNDING * max(1.0, scale)
    return Check(name, "same" if same else "differs", f"{gap:.1e} of {scale:.2g}")
