"""Golden vectors: what the merged model answers to a few real pictures, stored in the bundle.

Every consumer of a bundle (verify, a native runner, an app) checks itself against them. They are
computed in fp32 by the Hugging Face model from whole sequences: no cache and none of the export's
graphs, so that they are an independent reference. A cache only guesses the answer; one run over
prompt and guess then says for every token at once whether it is the greedy one. Where a class of
transformers is seen in parts, its own forward answers first, and the parts have to agree with it: a
family that reads a class wrongly fails here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hydra_mobile.core.errors import ArtifactError, DataError
from hydra_mobile.core.files import write_json
from hydra_mobile.models.pictures import as_rgb, open_picture
from hydra_mobile.models.processor import MobileVLMProcessor, Prompt

if TYPE_CHECKING:
    from hydra_mobile.models.vision_language import VisionLanguageModel

GOLDEN = "golden.json"
VECTORS = "golden.safetensors"
MAX_NEW_TOKENS = 16
#: Of the largest value: what the order of sums may change between a model and its parts.
_ROUNDING = 1e-4

#: A picture and a question about it.
GoldenInput = tuple[Image.Image, str]


def pixel_statistics(pixels: NDArray[np.float32]) -> dict[str, Any]:
    """Return the numbers by which preprocessed pixels [3, H, W] are compared."""
    return {
        "shape": list(pixels.shape),
        "mean": float(pixels.mean(dtype=np.float64)),
        "std": float(pixels.std(dtype=np.float64)),
        "first": [float(value) for value in pixels.reshape(-1)[:8]],
    }


def write_golden(
    model: VisionLanguageModel,
    processor: MobileVLMProcessor,
    inputs: Sequence[GoldenInput],
    folder: Path,
) -> dict[str, str]:
    """Write `golden.json`, `golden.safetensors` and PNG copies into `folder`.

    The tensors of case i are `i.pixels` [3, H, W], `i.features` [P, C] of the vision tower,
    `i.image` [N, hidden] behind the projector, `i.logits` [V] after the prompt and `i.margins`
    [tokens], the lead of each greedy token's logit over the second best. Bundles made before
    pixels and features were stored lack these two; readers must expect that.

    Args:
        model: merged, fp32, eval.
        processor: of the model.
        inputs: a few pictures with a question each.
        folder: of the bundle.

    Returns:
        Relative path -> role of each file.

    Raises:
        DataError: there are no inputs.
        ArtifactError: the model answers with numbers that are not finite.
    """
    import torch
    from safetensors.torch import save_file

    if not inputs:
        raise DataError("A bundle needs at least one image with a question for its golden vectors.")
    cases: list[dict[str, Any]] = []
    tensors: dict[str, torch.Tensor] = {}
    (folder / "golden").mkdir()
    for index, (image, question) in enumerate(inputs):
        name = _picture(index)
        as_rgb(image).save(folder / name)
        # Read back, so that the vectors belong to the stored picture.
        pixels = processor.preprocess(open_picture(folder / name))
        prompt = processor.prompt(question)
        with torch.no_grad():
            features = model.vision_features(torch.from_numpy(pixels).unsqueeze(0))
            embeddings = model.project(features)
            picture = embeddings
            if processor.image.tiles:
                picture = model.merge_image(torch.tensor([processor.image_ids]), embeddings)
            sequence = torch.cat(
                [
                    model.embed_tokens(torch.tensor([prompt.before], dtype=torch.long)),
                    picture,
                    model.embed_tokens(torch.tensor([prompt.after], dtype=torch.long)),
                ],
                dim=1,
            )
            ids, logits, margins = _greedy(model, sequence, processor.stop_ids)
            logits = _checked(model, processor, prompt, pixels, embeddings, logits)
        tensors[f"{index}.pixels"] = torch.from_numpy(pixels)
        tensors[f"{index}.features"] = features[0].contiguous()
        tensors[f"{index}.image"] = embeddings[0].contiguous()
        tensors[f"{index}.logits"] = logits
        tensors[f"{index}.margins"] = margins
        for part in ("pixels", "features", "image", "logits", "margins"):
            if not torch.isfinite(tensors[f"{index}.{part}"]).all():
                raise ArtifactError(
                    f"The model gives {part} that are not finite for the image {index} with the "
                    f"question `{question[:60]}`: nothing could be compared with them.",
                    "Its weights are finite, so its numbers overflow in fp32 on the way; take the "
                    "model from an earlier point of its training.",
                )
        cases.append(
            {
                "image": name,
                "question": question,
                "pixels": pixel_statistics(pixels),
                "before": prompt.before,
                "after": prompt.after,
                "ids": ids,
                "text": processor.decode(ids),
                "top": [
                    [int(i), float(logits[i])] for i in torch.topk(logits, min(8, len(logits)))[1]
                ],
            }
        )
    save_file(tensors, folder / VECTORS)
    write_json(folder / GOLDEN, {"schema": 1, "cases": cases})
    return golden_roles(len(inputs))


def golden_roles(cases: int) -> dict[str, str]:
    """Return relative path -> role of the files of so many golden cases."""
    pictures = {_picture(index): "golden_image" for index in range(cases)}
    return {GOLDEN: "golden", VECTORS: "golden_vectors", **pictures}


def _picture(index: int) -> str:
    return f"golden/{index}.png"


def _greedy(
    model: VisionLanguageModel, sequence: Any, stop_ids: Sequence[int]
) -> tuple[list[int], Any, Any]:
    """Return greedy ids (the stop id included), first logits [V] and margins [tokens].

    Every logit is of a run over the whole sequence without a cache. Such a run sees all tokens of
    a guess; those up to the first that it would not have said itself are the answer so far.
    """
    import torch

    ids: list[int] = []
    margins: list[float] = []
    first = None
    while len(ids) < MAX_NEW_TOKENS and not (ids and ids[-1] in stop_ids):
        guess = _guessed(model, sequence, stop_ids, MAX_NEW_TOKENS - len(ids))
        # The last token of a guess needs no row: nothing is said after it.
        rows = [sequence, *(model.embed_tokens(torch.tensor([[i]])) for i in guess[:-1])]
        sequence = torch.cat(rows, dim=1)
        keep = len(guess)
        logits = model(inputs_embeds=sequence, use_cache=False, logits_to_keep=keep).logits[0]
        first = logits[0].clone() if first is None else first
        said = 0
        for row, guessed in zip(logits, guess, strict=True):
            best, second = torch.topk(row, 2)[0].tolist()
            ids.append(int(row.argmax()))
            margins.append(best - second)
            said += 1
            if ids[-1] != guessed:
                break
        # What follows the prompt is what the whole sequence says, not what was guessed.
        kept = sequence[:, : sequence.shape[1] - keep + said]
        sequence = torch.cat([kept, model.embed_tokens(torch.tensor([[ids[-1]]]))], dim=1)
    return ids, first, torch.tensor(margins)


def _guessed(
    model: VisionLanguageModel, sequence: Any, stop_ids: Sequence[int], most: int
) -> list[int]:
    """Return what a model with a cache says after rows [1, S, hidden]: at least one id."""
    import torch

    ids: list[int] = []
    rows, start, cache = sequence, 0, model.new_cache()
    while len(ids) < most and not (ids and ids[-1] in stop_ids):
        end = start + rows.shape[1]
        output = model(
            inputs_embeds=rows,
            position_ids=torch.arange(start, end)[None],
            cache=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        ids.append(int(output.logits[0, -1].argmax()))
        rows, start, cache = model.embed_tokens(torch.tensor([[ids[-1]]])), end, output.cache
    return ids


def _in_text(model: VisionLanguageModel) -> str:
    """Return what a text model has that can be read wrongly."""
    config = model.config.text_config
    kinds = set(getattr(config, "layer_types", None) or ())
    parts = ["text model", "positions", "mask"]
    if (getattr(config, "rope_parameters", None) or {}).get("mrope_section"):
        parts.append("rotary axes")
    if "sliding_attention" in kinds:
        parts.append("sliding window")
    if "conv" in kinds:
        parts.append("convolutions")
    return ", ".join(parts[:-1]) + f" or {parts[-1]}"


def _checked(
    model: VisionLanguageModel,
    processor: MobileVLMProcessor,
    prompt: Prompt,
    pixels: NDArray[np.float32],
    embeddings: Any,
    logits: Any,
) -> Any:
    """Return the first logits by the model's own forward, where it has one beside our parts.

    Raises:
        ArtifactError: the parts give other image embeddings or logits.
    """
    import torch

    picture = torch.from_numpy(pixels).unsqueeze(0)
    image = model.reference_image(picture)
    if image is None:
        return logits
    ids = [*prompt.before, *processor.image_ids, *prompt.after]
    own = model.reference_logits(torch.tensor([ids]), picture)
    assert own is not None
    hidden = int(model.config.text_config.hidden_size)
    # Behind the embedding a row may hold what a deep stack adds, and constants.
    embedded = model.layout.embedded if model.layout else hidden
    rows = embeddings[0, :, :embedded]
    for what, ours, theirs in (
        ("image embeddings (vision tower or connector)", rows[:, :hidden], image[:, :hidden]),
        ("deep-stack features", rows[:, hidden:], image[:, hidden:]),
        (f"logits ({_in_text(model)})", logits, own[0]),
    ):
        if not theirs.numel() and not ours.numel():
            continue
        gap = float((ours - theirs).abs().max()) if ours.shape == theirs.shape else float("inf")
        if not gap <= _ROUNDING * max(1.0, float(theirs.abs().max())):
            raise ArtifactError(
                f"The parts of {type(model.whole).__name__} give other {what} than its own "
                f"forward: shapes {tuple(ours.shape)} and {tuple(theirs.shape)}, difference "
                f"{gap:.1e}.",
                "The family that reads this class does not fit the version of transformers; "
                "`hydra-mobile families check FOLDER` shows more.",
            )
    return own[0].contiguous()
