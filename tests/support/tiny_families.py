"""Tiny checkpoints of each family: random weights of the real class, files as they are published.

Weights are made livelier than transformers' initial ones, with which logits are so flat that wrong
positions or masks do not show.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from android_demo.tools.vector_tokenizers import WORDS
from hydra_mobile.core.errors import MissingPackageError
from hydra_mobile.models.families.fast_vlm import require_timm

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
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "image_size": 64,
    "patch_size": 16,
}


def tokenizer_with(special: list[str], numbers: str = "", composes: bool = True) -> Tokenizer:
    """Return a byte-level BPE with control tokens; its size is a multiple of 32.

    Args:
        special: the control tokens.
        numbers: the expression by which numbers are cut, as newer files have it; empty: as
            SmolLM2's file.
        composes: whether text is put into NFC, with `numbers`.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    if numbers:
        words = pre_tokenizers.Split(Regex(WORDS.format(numbers=numbers)), "isolated")
        steps = [words, pre_tokenizers.ByteLevel(False, use_regex=False)]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
        if composes:
            tokenizer.normalizer = normalizers.NFC()
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
    places = [f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)]
    tokenizer = tokenizer_with([*special, *places, "<global-img>", "<image>"])
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


def internvl(folder: Path, text_model: str = "qwen2") -> None:
    """Write an InternVL: InternViT of 56 pixels, 4 image tokens, a Qwen2 with biases or a Qwen3."""
    special = ["<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>"]
    tokenizer = tokenizer_with(special, r"\p{N}")
    size = tokenizer.get_vocab_size()
    stop = tokenizer.token_to_id("<|im_end|>")
    text = {**TEXT, "vocab_size": -(-size // 32) * 32, "eos_token_id": stop}
    torch.manual_seed(3)
    config = transformers.InternVLConfig(
        vision_config={**SIGLIP, "image_size": [56, 56], "patch_size": [14, 14]},
        text_config={"model_type": text_model, "bos_token_id": 1, "head_dim": 16, **text},
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


def _chat(image: str, start: str = "", assistant: str = "assistant") -> str:
    """Return ChatML with a family's picture in front of the question."""
    role = "message['role']"
    if assistant != "assistant":
        role = f"('{assistant}' if message['role'] == 'assistant' else message['role'])"
    turn, end = ("<start_of_turn>", "<end_of_turn>")
    if assistant == "assistant":
        turn, end = ("<|im_start|>", "<|im_end|>")
    return (
        f"{start}{{% for message in messages %}}{{{{ '{turn}' + {role} + '\n' }}}}"
        "{% for item in message['content'] %}{% if item['type'] == 'image' %}"
        f"{{{{ '{image}' }}}}{{% else %}}{{{{ item['text'] }}}}{{% endif %}}{{% endfor %}}"
        f"{{{{ '{end}\n' }}}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{{{ '{turn}{assistant}\n' }}}}{{% endif %}}"
    )


def _text(tokenizer: Tokenizer, stop: str, **changes: Any) -> dict[str, Any]:
    size = -(-tokenizer.get_vocab_size() // 32) * 32
    ids = {"vocab_size": size, "eos_token_id": tokenizer.token_to_id(stop), "bos_token_id": 1}
    return {**TEXT, **ids, "pad_token_id": 2, **changes}


_CHATML = ["<|im_start|>", "<|im_end|>"]
_HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


def _qwen(folder: Path, kind: str, vision: dict[str, Any], text: dict[str, Any]) -> None:
    names = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = tokenizer_with([*_CHATML, *names], r"\p{N}")
    start, end, image, video = (tokenizer.token_to_id(name) for name in names)
    shared = {"hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "out_hidden_size": 64}
    shared |= {"spatial_merge_size": 2, "temporal_patch_size": 2}
    torch.manual_seed(3)
    config = getattr(transformers, f"{kind}Config")(
        vision_config={**shared, **vision},
        text_config=_text(tokenizer, "<|im_end|>", **text),
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=True,
    )
    model = liven(getattr(transformers, f"{kind}ForConditionalGeneration")(config))
    image_settings = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "patch_size": vision["patch_size"],
        "temporal_patch_size": 2,
        "merge_size": 2,
        "resample": 3,
        "size": {"shortest_edge": 3136, "longest_edge": 12845056},
        **_HALF,
    }
    chat = _chat("<|vision_start|><|image_pad|><|vision_end|>")
    write_checkpoint(folder, model, tokenizer, chat, image_settings)


def qwen2_5_vl(folder: Path) -> None:
    """Write a Qwen2.5-VL: windowed tower of 112 pixels, 16 image tokens, three rotary axes."""
    vision = {"depth": 2, "patch_size": 14, "window_size": 28, "fullatt_block_indexes": [1]}
    axes = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    _qwen(folder, "Qwen2_5_VL", vision, {"rope_parameters": axes})


def qwen3_vl(folder: Path) -> None:
    """Write a Qwen3-VL: tower of 64 pixels with a deep stack of two, 4 image tokens."""
    vision = {"depth": 2, "patch_size": 16, "num_position_embeddings": 16}
    vision["deepstack_visual_indexes"] = [0, 1]  # type: ignore[assignment]
    axes = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 2, 2]}
    axes["mrope_interleaved"] = True
    text = {"head_dim": 16, "rope_parameters": axes}
    _qwen(folder, "Qwen3VL", vision, text)


def lfm2_vl(folder: Path) -> None:
    """Write an LFM2-VL: tower of 64 pixels, 4 image tokens, attention between two convolutions."""
    names = ["<|startoftext|>", *_CHATML, "<|image_start|>", "<|image_end|>", "<image>"]
    tokenizer = tokenizer_with(names, r"\p{N}{1,3}", composes=False)
    text = _text(tokenizer, "<|im_end|>", num_hidden_layers=3)
    text |= {
        "layer_types": ["conv", "full_attention", "conv"],
        "conv_L_cache": 3,
        "block_auto_adjust_ff_dim": False,
        "block_ff_dim": 128,
    }
    torch.manual_seed(3)
    vision = {name: value for name, value in SIGLIP.items() if name != "image_size"}
    config = transformers.Lfm2VlConfig(
        vision_config={**vision, "num_patches": 4},
        text_config={"model_type": "lfm2", **text},
        image_token_id=tokenizer.token_to_id("<image>"),
        projector_hidden_size=64,
        downsample_factor=2,
        tie_word_embeddings=True,
    )
    model = liven(transformers.Lfm2VlForConditionalGeneration(config))
    image = {"image_processor_type": "Lfm2VlImageProcessorFast", "resample": 2, **_HALF}
    write_checkpoint(folder, model, tokenizer, _chat("<image>", "<|startoftext|>"), image)


def gemma3(folder: Path) -> None:
    """Write a Gemma 3: tower of 64 pixels, 4 image tokens, a window of 12 in one of two layers."""
    names = ["<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>"]
    tokenizer = tokenizer_with([*names, "<image_soft_token>"])
    text = _text(tokenizer, "<end_of_turn>", head_dim=16)
    text |= {
        "sliding_window": 12,
        "layer_types": ["sliding_attention", "full_attention"],
        "query_pre_attn_scalar": 24,
    }
    torch.manual_seed(3)
    config = transformers.Gemma3Config(
        vision_config=SIGLIP,
        text_config=text,
        mm_tokens_per_image=4,
        image_token_id=tokenizer.token_to_id("<image_soft_token>"),
        boi_token_index=tokenizer.token_to_id("<start_of_image>"),
        eoi_token_index=tokenizer.token_to_id("<end_of_image>"),
    )
    model = liven(transformers.Gemma3ForConditionalGeneration(config))
    size = {"height": 64, "width": 64}
    image = {"image_processor_type": "Gemma3ImageProcessor", "resample": 2, "size": size, **_HALF}
    chat = _chat("<start_of_image>", "<bos>", assistant="model")
    write_checkpoint(folder, model, tokenizer, chat, image)


#: As transformers' conversion of FastVLM writes it: pictures first, each text behind a line break.
FAST_VLM_CHAT = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for item in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>' }}{% endfor %}"
    "{% for item in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ '\n' + item['text'] }}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def fast_vlm(folder: Path) -> None:
    """Write a FastVLM: timm's own FastViT, small, of 128 pixels, 4 image tokens, a Qwen2.

    Skips a test where timm cannot be used.
    """
    try:
        require_timm()
    except MissingPackageError as error:
        pytest.skip(str(error))
    tokenizer = tokenizer_with([*_CHATML, "<image>"], r"\p{N}")
    small = {"layers": [1] * 5, "embed_dims": [16, 32, 64, 64, 64]}
    vision = {
        "model_type": "timm_wrapper",
        "architecture": "fastvit_mci3",
        "do_pooling": True,
        "global_pool": "avg",
        "hidden_size": 128,
        "label_names": [],
        "model_args": {"inference_mode": True, **small},
    }
    torch.manual_seed(3)
    config = transformers.FastVlmConfig(
        vision_config=vision,
        text_config={"model_type": "qwen2", **_text(tokenizer, "<|im_end|>")},
        image_token_id=tokenizer.token_to_id("<image>"),
        image_seq_length=4,
        tie_word_embeddings=True,
    )
    model = transformers.FastVlmForConditionalGeneration(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.model.vision_tower.parameters():
            if weight.dim() == 4:  # timm's random tower says next to nothing
                fan = weight[0].numel()
                weight.copy_(torch.randn(weight.shape, generator=generator) * (2 / fan) ** 0.5)
    image = {
        "image_processor_type": "CLIPImageProcessor",
        "image_mean": [0.0, 0.0, 0.0],
        "image_std": [1.0, 1.0, 1.0],
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 128, "width": 128},
        "size": {"shortest_edge": 128},
    }
    write_checkpoint(folder, liven(model), tokenizer, FAST_VLM_CHAT, image)


#: After DeepSeek-VL's: an answer ends only where another question follows.
DEEPSEEK_CHAT = (
    "You are a helpful assistant.\n\n{% for message in messages %}"
    "{{ message['role'] | replace('user', 'User: ') | replace('assistant', 'Assistant: ') }}"
    "{% for item in message['content'] %}{% if item['type'] == 'image' %}<image_placeholder>"
    "{% else %}{{ item['text'] }}{% endif %}{% endfor %}"
    "{% if not loop.last or add_generation_prompt %}"
    "{{ '\n\n' if message['role'] == 'user' else '<end_of_sentence>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


def deepseek_vl(folder: Path) -> None:
    """Write a DeepSeek-VL: SigLIP of 64 pixels, 16 image tokens, a Llama; BOS by the tokenizer."""
    tokenizer = tokenizer_with(["<bos>", "<end_of_sentence>", "<image_placeholder>"])
    opening = ("<bos>", tokenizer.token_to_id("<bos>"))
    tokenizer.post_processor = processors.TemplateProcessing("<bos> $A", special_tokens=[opening])
    torch.manual_seed(3)
    config = transformers.DeepseekVLConfig(
        vision_config={"model_type": "siglip_vision_model", **SIGLIP, "vision_use_head": False},
        text_config={"model_type": "llama", **_text(tokenizer, "<end_of_sentence>")},
        image_token_id=tokenizer.token_to_id("<image_placeholder>"),
    )
    model = liven(transformers.DeepseekVLForConditionalGeneration(config))
    image = {"image_processor_type": "DeepseekVLImageProcessor", "resample": 3, **_HALF}
    write_checkpoint(folder, model, tokenizer, DEEPSEEK_CHAT, image)


def mobilevlm(folder: Path) -> None:
    """Write base `tiny`."""
    from hydra_mobile.models.tiny import build

    build(folder, lambda line: None)


def tiled(write: Callable[[Path], None], folder: Path) -> None:
    """Write a checkpoint that reads pictures in two by two tiles."""
    write(folder)
    (folder / "tiles.json").write_text('{"rows": 2, "columns": 2}')


#: Family -> what writes a tiny checkpoint of it.
TINY: dict[str, Callable[[Path], None]] = {
    "mobilevlm": mobilevlm,
    "deepseek_vl": deepseek_vl,
    "fast_vlm": fast_vlm,
    "gemma3": gemma3,
    "internvl": internvl,
    "lfm2_vl": lfm2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "smolvlm": smolvlm,
}

#: The same, InternVL with its newer text model and pictures in tiles among them.
BASES: dict[str, Callable[[Path], None]] = {
    **TINY,
    "internvl3_5": partial(internvl, text_model="qwen3"),
    "smolvlm_tiles": partial(tiled, smolvlm),
    "internvl_tiles": partial(tiled, internvl),
}
#: Those whose pictures are one square, beside MobileVLM.
SQUARE = [name for name in BASES if name != "mobilevlm" and not name.endswith("_tiles")]
TILED = [name for name in BASES if name.endswith("_tiles")]


def every_family(names: Sequence[str], *quick: str) -> list[Any]:
    """Return families as parameters of a test: slow but for the quick ones, and each a group.

    With `--dist loadgroup` what a family's tests share is made in one process: no other waits.
    """
    return [
        name if name in quick else pytest.param(name, marks=[pytest.mark.slow, group(name)])
        for name in names
    ]


def group(family: str) -> pytest.MarkDecorator:
    """Return the mark of tests that share what is made of a family."""
    return pytest.mark.xdist_group(family)


#: Family and runtime of the bundle that is tested every day, of an untrained checkpoint.
QUICK = ("smolvlm", "onnx")


def every_pair(runtimes: Sequence[str]) -> list[Any]:
    """Return families whose pictures are one square, with runtimes: slow but for the quick one."""
    return [
        pair if pair == QUICK else pytest.param(pair, marks=[pytest.mark.slow, group(pair[0])])
        for pair in ((family, runtime) for family in SQUARE for runtime in runtimes)
    ]
