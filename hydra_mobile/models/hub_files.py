"""The files by which other tools read a model folder, all made from our own two.

`tokenizer.json` and `processor_config.json` say everything; what transformers and the hub look for
beside them (tokenizer_config.json, chat_template.jinja, generation_config.json) is written from
these, and never read by us.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from tokenizers import Tokenizer

from hydra_mobile.core.files import write_atomically, write_json
from hydra_mobile.models.chat_template import chat_template
from hydra_mobile.models.templates import Template

CHAT_TEMPLATE = "chat_template.jinja"
TOKENIZER_CONFIG = "tokenizer_config.json"
GENERATION_CONFIG = "generation_config.json"
#: Tokens to pad with, the first that a tokenizer has.
_PADDING = ("<pad>", "<|endoftext|>", "<unk>", "</s>")


class PromptMaker(Protocol):
    """The part of a processor that the files are made from."""

    tokenizer: Tokenizer
    template: Template

    @property
    def bos_ids(self) -> list[int]:
        """IDs that open a sequence."""

    @property
    def stop_ids(self) -> list[int]:
        """IDs that end an answer."""


def write_processor_files(folder: Path, processor: PromptMaker) -> None:
    """Write what transformers reads of a tokenizer and a template."""
    write_json(folder / TOKENIZER_CONFIG, tokenizer_settings(processor))
    with write_atomically(folder / CHAT_TEMPLATE) as temporary:
        temporary.write_text(chat_template(processor.template), encoding="utf-8")


def write_tokenizer_config(folder: Path, processor: PromptMaker, own: str = "") -> None:
    """Write one file with both, as apps with ExecuTorch read it beside a program.

    Args:
        folder: the bundle.
        processor: of the model.
        own: the checkpoint's own chat template in Jinja; empty for ours.
    """
    template = own or chat_template(processor.template)
    write_json(
        folder / TOKENIZER_CONFIG, {**tokenizer_settings(processor), "chat_template": template}
    )


def write_generation_config(folder: Path, processor: PromptMaker) -> None:
    """Write how `generate` ends an answer: greedily, at the template's stop token."""
    settings = tokenizer_settings(processor)
    pad = processor.tokenizer.token_to_id(settings.get("pad_token") or "")
    bos = processor.bos_ids
    value: dict[str, Any] = {"do_sample": False, "eos_token_id": processor.stop_ids}
    if bos:
        value["bos_token_id"] = bos[0]
    if pad is not None:
        value["pad_token_id"] = pad
    write_json(folder / GENERATION_CONFIG, value)


def tokenizer_settings(processor: PromptMaker) -> dict[str, Any]:
    """Return the content of tokenizer_config.json.

    Only tokens that the tokenizer itself counts as special are named: transformers would turn any
    other into one, and tokenize differently from then on.
    """
    added = processor.tokenizer.get_added_tokens_decoder().values()
    special = {token.content for token in added if token.special}

    def named(ids: list[int]) -> str | None:
        token = processor.tokenizer.id_to_token(ids[0]) if ids else None
        return token if token in special else None

    eos = named(processor.stop_ids)
    padding = next((token for token in _PADDING if token in special), eos)
    tokens = {"bos_token": named(processor.bos_ids), "eos_token": eos, "pad_token": padding}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "processor_class": "MobileVLMProcessor",
        "model_input_names": ["input_ids", "attention_mask"],
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        **{name: token for name, token in tokens.items() if token},
    }
