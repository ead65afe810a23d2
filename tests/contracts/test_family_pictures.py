"""Several pictures a conversation: ids, pixels and logits are those of transformers itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from tiny_families import BASES, FAST_VLM_CHAT, SQUARE, TILED, TINY, every_family, smolvlm, tiled
from transformers import PreTrainedTokenizerFast
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

from hydra_mobile.core.errors import DataError
from hydra_mobile.models.families.prompts import turn_of
from hydra_mobile.models.loading import load_model, load_processor
from hydra_mobile.models.processor import Encoded, MobileVLMProcessor
from hydra_mobile.models.templates import IGNORE_INDEX, Turn
from hydra_mobile.models.vision_language import SplitModel

Parts = Sequence[str | None]
#: Questions, None for a picture, with their answers.
TALK: list[tuple[Parts, str]] = [
    ((None, None, "What differs?"), "the color"),
    (("And is ", None, " red?"), "It is."),
    (("Why?",), "yes"),
]
#: transformers' own processors that can be made without torchvision, and what they are told.
WHOLE: dict[str, tuple[str, str, dict[str, str], dict[str, Any], dict[str, int]]] = {
    "idefics3": (
        *("Idefics3Processor", "Idefics3ImageProcessorPil", {}),
        *({"do_image_splitting": False, "do_resize": False}, {"image_seq_len": 4}),
    ),
    "idefics3_tiles": (
        *("Idefics3Processor", "Idefics3ImageProcessorPil", {}),
        *({"size": {"longest_edge": 128}}, {"image_seq_len": 4}),
    ),
    "gemma3": (
        *("Gemma3Processor", "Gemma3ImageProcessorPil"),
        {
            "image_token": "<image_soft_token>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
        },
        *({}, {"image_seq_length": 4}),
    ),
    "deepseek_vl": (
        *("DeepseekVLProcessor", "DeepseekVLImageProcessorPil"),
        {"image_token": "<image_placeholder>"},
        *({"size": {"height": 64, "width": 64}}, {"num_image_tokens": 16}),
    ),
}
_CHECKPOINTS: dict[str, Callable[[Path], None]] = {
    **BASES,
    "idefics3": lambda folder: smolvlm(folder, "Idefics3"),
    "idefics3_tiles": lambda folder: tiled(lambda at: smolvlm(at, "Idefics3"), folder),
}
_FAMILIES = [name for name in (*SQUARE, *TILED) if name != "fast_vlm"]


def made(name: str, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    _CHECKPOINTS[name](folder)
    return folder


@pytest.fixture(scope="module", params=every_family(_FAMILIES, "smolvlm", "qwen3_vl"))
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def folder(family: str, family_base: Callable[[str], Path]) -> Path:
    return family_base(family)


@pytest.fixture(scope="module")
def processor(folder: Path) -> MobileVLMProcessor:
    return load_processor(folder)


@pytest.fixture(scope="module")
def model(folder: Path) -> SplitModel:
    loaded = load_model(folder)
    assert isinstance(loaded, SplitModel)
    return loaded


def noise(count: int, side: int = 128) -> list[Image.Image]:
    random = np.random.default_rng(4)
    return [
        Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8))
        for _ in range(count)
    ]


def encoded(processor: MobileVLMProcessor, talk: list[tuple[Parts, str]] = TALK) -> Encoded:
    return processor.encode_record([turn_of(parts, answer) for parts, answer in talk], False)


def messages(talk: list[tuple[Parts, str]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for parts, answer in talk:
        content = [
            {"type": "image"} if part is None else {"type": "text", "text": part} for part in parts
        ]
        found.append({"role": "user", "content": content})
        found.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    return found


def rendered(folder: Path, talk: list[tuple[Parts, str]]) -> str:
    """Return a conversation as the checkpoint's chat template writes it, one question more."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    asked = [*messages(talk), {"role": "user", "content": [{"type": "text", "text": "So?"}]}]
    template = (folder / "chat_template.jinja").read_text()
    text: str = tokenizer.apply_chat_template(asked, chat_template=template, tokenize=False)
    return text


def expanded(family: str, tokens: int) -> tuple[str, str]:
    """Return what a chat template has for a picture, and what transformers' processor makes of it.

    After the classes whose processors need torchvision.
    """
    if family.startswith("smolvlm"):
        rows = 2 if family.endswith("_tiles") else 0
        names = ("<fake_token_around_image>", "<image>", "<global-img>")
        return "<image>", get_image_prompt_string(rows, rows, tokens, *names)
    if family.startswith("internvl"):
        squares = 5 if family.endswith("_tiles") else 1
        return "<IMG_CONTEXT>", f"<img>{'<IMG_CONTEXT>' * squares * tokens}</img>"
    if family == "lfm2_vl":
        return "<image>", f"<|image_start|>{'<image>' * tokens}<|image_end|>"
    if family == "gemma3":
        inside = "<image_soft_token>" * tokens
        return "<start_of_image>", f"\n\n<start_of_image>{inside}<end_of_image>\n\n"
    mark = "<image_placeholder>" if family == "deepseek_vl" else "<|image_pad|>"
    return mark, mark * tokens


def test_ids_are_those_of_the_checkpoints_own_template(
    family: str, folder: Path, processor: MobileVLMProcessor
) -> None:
    mark, picture = expanded(family, processor.num_image_tokens)
    text = rendered(folder, TALK).replace(mark, picture)
    opens = family == "deepseek_vl"  # its tokenizer writes BOS
    wanted = processor.tokenizer.encode(text, add_special_tokens=opens).ids
    found = encoded(processor)
    ours = [*found.prefix, *found.ids]
    assert ours == wanted[: len(ours)]
    assert len(found.pictures) == 3
    for start, end in found.pictures:
        assert found.ids[start:end] == processor.image_ids


def test_learned_are_the_answers_and_their_ends(processor: MobileVLMProcessor) -> None:
    found = encoded(processor)
    runs: list[list[int]] = [[]]
    for token, label in zip(found.ids, found.labels, strict=True):
        assert label in (token, IGNORE_INDEX)
        if label != IGNORE_INDEX:
            runs[-1].append(token)
        elif runs[-1]:
            runs.append([])
    runs = [run for run in runs if run]
    plain = processor.encode_record([Turn("Why?", answer) for _, answer in TALK], False)
    kept = [label for label in plain.labels if label != IGNORE_INDEX]
    assert [token for run in runs for token in run] == kept
    assert [processor.decode(run[:-1]) for run in runs] == [answer for _, answer in TALK]
    assert {run[-1] for run in runs} <= {*processor.stop_ids}


def inputs_of(
    processor: MobileVLMProcessor, pictures: list[Image.Image]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids [1, S] and the squares [1, M, 3, H, W] of all pictures."""
    found = encoded(processor)
    squares = [processor.preprocess(picture) for picture in pictures]
    pixels = np.concatenate([s if s.ndim == 4 else s[None] for s in squares])
    return torch.tensor([[*found.prefix, *found.ids]]), torch.from_numpy(pixels)[None]


def test_logits_are_those_of_the_classes_own_forward(
    model: SplitModel, processor: MobileVLMProcessor
) -> None:
    pictures = noise(3)
    ids, pixels = inputs_of(processor, pictures)
    with torch.no_grad():
        ours = model(input_ids=ids, pixel_values=pixels).logits
        own = model.whole(**model.own_inputs(ids, pixels), use_cache=False).logits
        swapped = inputs_of(processor, [pictures[1], pictures[0], pictures[2]])[1]
        other = model(input_ids=ids, pixel_values=swapped).logits
        # As sample answers are made: all but the last token, and then this one.
        begun = model(input_ids=ids[:, :-1], pixel_values=pixels, use_cache=True)
        last = model(input_ids=ids[:, -1:], cache=begun.cache, use_cache=True).logits
    torch.testing.assert_close(ours, own, atol=1e-4, rtol=0)
    torch.testing.assert_close(last[:, -1], own[:, -1], atol=1e-4, rtol=0)
    # Each token sees its own picture.
    assert (other - ours)[:, -1].abs().max() > 1e-3


def test_a_row_with_fewer_pictures_is_as_it_is_alone(
    model: SplitModel, processor: MobileVLMProcessor
) -> None:
    ids, pixels = inputs_of(processor, noise(3))
    single = processor.encode_record([Turn("What?", "yes")], True)
    short = torch.tensor([[*single.prefix, *single.ids]])
    both = torch.zeros(2, ids.shape[1], dtype=torch.long)
    both[0], both[1, : short.shape[1]] = ids[0], short[0]
    with torch.no_grad():
        features = model.vision_features(pixels)
        one = features[:, : features.shape[1] // 3]
        padded = torch.cat([one, torch.zeros_like(features)], 1)[:, : features.shape[1]]
        together = model(input_ids=both, vision_features=torch.cat([features, padded])).logits
        alone = model(input_ids=short, vision_features=one).logits
        several = model(input_ids=ids, vision_features=features).logits
    torch.testing.assert_close(together[1:, : short.shape[1]], alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(together[:1], several, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) for n in WHOLE])
def test_ids_and_pixels_are_those_of_transformers_whole_processor(
    name: str, tmp_path: Path
) -> None:
    folder = made(name, tmp_path / name)
    ours, pictures = load_processor(folder), noise(3)
    theirs = whole_processor(name, folder)
    text = theirs.apply_chat_template(messages(TALK), tokenize=False)
    found = theirs(text=text, images=pictures, return_tensors="np")
    record = encoded(ours)
    ids = [*record.prefix, *record.ids]
    wanted = found["input_ids"][0].tolist()
    # A template may end its last answer in another way than those before.
    length = min(len(ids), len(wanted))
    assert ids[:length] == wanted[:length]
    assert len(ids) - length <= 1
    pixels = np.concatenate([np.atleast_2d(ours.preprocess(picture)) for picture in pictures])
    own = np.asarray(found["pixel_values"])
    np.testing.assert_allclose(pixels.reshape(own.shape), own, atol=1e-5)


def whole_processor(name: str, folder: Path) -> Any:
    """Return transformers' own processor of a checkpoint."""
    kind, images, tokens, settings, more = WHOLE[name]
    stored = json.loads((folder / "preprocessor_config.json").read_text())
    del stored["image_processor_type"]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), extra_special_tokens=tokens
    )
    return getattr(transformers, kind)(
        image_processor=getattr(transformers, images)(**{**stored, **settings}),
        tokenizer=tokenizer,
        chat_template=(folder / "chat_template.jinja").read_text(),
        **more,
    )


@pytest.mark.slow
def test_a_template_that_trims_texts_has_them_trimmed(tmp_path: Path) -> None:
    folder = made("gemma3", tmp_path / "gemma3")
    file = folder / "chat_template.jinja"
    file.write_text(file.read_text().replace("item['text']", "item['text'] | trim"))
    processor = load_processor(folder)
    mark, picture = expanded("gemma3", processor.num_image_tokens)
    text = rendered(folder, TALK).replace(mark, picture)
    found = encoded(processor)
    ours = [*found.prefix, *found.ids]
    assert ours == processor.tokenizer.encode(text, add_special_tokens=False).ids[: len(ours)]


def with_template(base: Path, folder: Path, template: str) -> MobileVLMProcessor:
    """Return the processor of a SmolVLM with another chat template."""
    folder.mkdir()
    for file in base.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.jinja").write_text(template)
    return load_processor(folder)


def test_pictures_that_a_template_writes_first_are_asked_for_first(
    smolvlm_base: Path, tmp_path: Path
) -> None:
    template = FAST_VLM_CHAT.replace("<|im_end|>", "<end_of_utterance>")
    processor = with_template(smolvlm_base, tmp_path / "base", template)
    found = encoded(processor, [TALK[0], ((None, "red?"), "yes")])
    assert len(found.pictures) == 3
    with pytest.raises(DataError, match="text before an image"):
        encoded(processor)


def test_a_template_of_one_picture_is_read_with_one(smolvlm_base: Path, tmp_path: Path) -> None:
    own = (smolvlm_base / "chat_template.jinja").read_text()
    guard = (
        "{% for m in messages[1:] %}{% for line in m['content'] %}"
        "{% if line['type'] == 'image' %}{{ raise_exception('one image') }}{% endif %}"
        "{% endfor %}{% endfor %}"
    )
    processor = with_template(smolvlm_base, tmp_path / "base", guard + own)
    assert processor.encode_record([Turn("What?", "yes")], True).prefix
    with pytest.raises(DataError, match=r"3 images.*own"):
        encoded(processor)


def test_a_family_of_one_picture_refuses_several_by_name(tmp_path: Path) -> None:
    TINY["mobilevlm"](tmp_path)
    processor = load_processor(tmp_path)
    with pytest.raises(DataError, match=r"3 images.*chatml"):
        encoded(processor)
    later = [(("Hello",), "yes"), ((None, "What?"), "no")]
    with pytest.raises(DataError, match="later question"):
        encoded(processor, later)
