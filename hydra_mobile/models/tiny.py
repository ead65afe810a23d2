"""Base `tiny`: random weights and a byte-level BPE trained in memory, for unit tests only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from hydra_mobile.models.configuration import MobileVLMConfig
from hydra_mobile.models.modeling import MobileVLMForConditionalGeneration
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.save import write_base
from hydra_mobile.models.templates import template_named

_CORPUS = (
    "Is there a red car in the image? Answer the question using a single word or phrase.",
    "What is in the image? A. apple B. bridge C. cat D. dog",
    "Answer with the option's letter from the given choices directly.",
    "yes no apple bridge cat dog food animal vehicle plant tool sport",
)
_IMAGE = ImagePreprocessing(size=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def build(folder: Path, log: Callable[[str], None]) -> None:
    """Fill `folder`: 2 layers, hidden 64, grouped-query attention, 4 image tokens; a second."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    vocabulary = tokenizer.get_vocab_size()
    # A multiple of 32 with room to spare, as real tables have.
    rows = -(-vocabulary // 32) * 32
    config = MobileVLMConfig(
        vision_config={
            "model_type": "patch_conv",
            "image_size": 32,
            "patch": 8,
            "feature_size": 32,
        },
        projector_config={"model_type": "pooled_mlp", "tokens": 4},
        text_config={
            "hidden_size": 64,
            "intermediate_size": 160,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": rows,
            "max_position_embeddings": 1024,
            "tie_word_embeddings": True,
            "rms_norm_eps": 1e-5,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 2,
        },
        image_token_id=rows,
        num_image_tokens=4,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = MobileVLMForConditionalGeneration(config).eval()
        with torch.no_grad():
            for parameter in model.language_model.parameters():
                # Random weights of the usual size always answer with one token; larger ones vary.
                if parameter.dim() == 2:
                    parameter.mul_(8.0)
    processor = MobileVLMProcessor(
        tokenizer, template_named("chatml"), _IMAGE, image_token_id=rows, num_image_tokens=4
    )
    write_base(folder, "tiny", model, processor)
