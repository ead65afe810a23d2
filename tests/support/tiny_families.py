"""Tiny checkpoints of each family: random weights of the real class, files as they are published.

Weights are made livelier than transformers' initial ones, with which logits are so flat that wrong
positions or masks do not show.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

_CORPUS = (
    "Is there a red car in the image? Answer the question using a single word or phrase.",
    "What is in the image? A. apple B. bridge C. cat D. dog",
    "yes no apple bridge cat dog food animal vehicle plant tool sport",
)
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
SIGLIP = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 64,
    "patch_size": 16,
}


def tokenizer_with(special: list[str]) -> Tokenizer:
    """Return a byte-level BPE with control tokens; its size is a multiple of 32."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(
            vocab_size=352 - len(special),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    return tokenizer


def liven(model: Any, seed: int = 0) -> Any:
    """Make a random model's weights differ enough that its answers do."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 1 or not weight.any():
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.1)
            elif weight.dim() == 2:
                weight.mul_(4.0)
    return model.eval()


def write_checkpoint(
    folder: Path, model: Any, tokenizer: Tokenizer, chat_template: str, image: dict[str, Any]
) -> None:
    """Write a folder as hub checkpoints are."""
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(chat_template)
    (folder / "preprocessor_config.json").write_text(json.dumps(image))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


#: As HuggingFaceTB's SmolVLM checkpoints have it.
SMOLVLM_CHAT = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def smolvlm(folder: Path, kind: str = "SmolVLM") -> None:
    """Write a SmolVLM, or an Idefics3: SigLIP of 64 pixels, 4 image tokens, a Llama."""
    special = ["<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>"]
    tokenizer = tokenizer_with([*special, "<global-img>", "<image>"])
    size = tokenizer.get_vocab_size()
    stop = tokenizer.token_to_id("<end_of_utterance>")
    text = {**TEXT, "vocab_size": -(-size // 32) * 32, "eos_token_id": stop, "pad_token_id": 2}
    torch.manual_seed(3)
    config = getattr(transformers, f"{kind}Config")(
        vision_config=SIGLIP,
        text_config={"model_type": "llama", "bos_token_id": 1, **text},
        scale_factor=2,
        image_token_id=tokenizer.token_to_id("<image>"),
    )
    model = liven(getattr(transformers, f"{kind}ForConditionalGeneration")(config))
    image = {
        "image_processor_type": f"{kind}ImageProcessor",
        "do_image_splitting": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "max_image_size": {"longest_edge": 64},
        "resample": 1,
        "size": {"longest_edge": 256},
    }
    write_checkpoint(folder, model, tokenizer, SMOLVLM_CHAT, image)


#: ChatML with the image token of InternVL's checkpoints.
INTERNVL_CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for item in message['content'] %}{% if item['type'] == 'image' %}"
    "{{ '<IMG_CONTEXT>\n' }}{% else %}{{ item['text'] }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def internvl(folder: Path) -> None:
    """Write an InternVL: InternViT of 56 pixels, 4 image tokens, a Qwen2 with biases."""
    special = ["<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>"]
    tokenizer = tokenizer_with(special)
    size = tokenizer.get_vocab_size()
    stop = tokenizer.token_to_id("<|im_end|>")
    text = {**TEXT, "vocab_size": -(-size // 32) * 32, "eos_token_id": stop}
    torch.manual_seed(3)
    config = transformers.InternVLConfig(
        vision_config={**SIGLIP, "image_size": [56, 56], "patch_size": [14, 14]},
        text_config={"model_type": "qwen2", "bos_token_id": 1, **text},
        image_token_id=tokenizer.token_to_id("<IMG_CONTEXT>"),
        downsample_ratio=0.5,
        tie_word_embeddings=True,
    )
    model = liven(transformers.InternVLForConditionalGeneration(config))
    image = {
        "image_processor_type": "GotOcr2ImageProcessor",
        "crop_to_patches": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "resample": 3,
        "size": {"height": 56, "width": 56},
    }
    write_checkpoint(folder, model, tokenizer, INTERNVL_CHAT, image)


def mobilevlm(folder: Path) -> None:
    """Write base `tiny`."""
    from hydra_mobile.models.tiny import build

    build(folder, lambda line: None)


#: Family -> what writes a tiny checkpoint of it.
TINY: dict[str, Callable[[Path], None]] = {
    "mobilevlm": mobilevlm,
    "internvl": internvl,
    "smolvlm": smolvlm,
}
