"""A model folder as transformers users meet it: Auto classes, chat template, pipeline."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from tokenizers import AddedToken
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    pipeline,
)

from hydra_mobile.models import processor as plain
from hydra_mobile.models.processing import MobileVLMProcessor
from hydra_mobile.models.templates import TEMPLATES, Turn, template_named

QUESTIONS = (
    "What is it?",
    "",
    "  spaces around  ",
    "two\nlines\n\n",
    "naïve “quotes” and 图片",
    "{{ braces }} {% raw %} 'single' \"double\" \\n",
    "What ASSISTANT: is it?",
)


@pytest.fixture(params=["byte-level", "llama"])
def own(request, tiny_base, tmp_path) -> plain.MobileVLMProcessor:
    """The processor of `tiny`; also with BOS and a tokenizer that marks a text's beginning."""
    processor = plain.MobileVLMProcessor.from_pretrained(tiny_base)
    if request.param == "llama":
        processor.tokenizer = llama_tokenizer(tmp_path)
        processor.image_token_id = processor.tokenizer.get_vocab_size()
    return processor


def llama_tokenizer(folder: Path):
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=False, unk_token="<unk>"))
    # As Llama's: spaces are marks, and a text begins with one.
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse()])
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False
    )
    corpus = [t.start + t.user_prefix + t.answer_prefix for t in TEMPLATES.values()]
    tokenizer.train_from_iterator([*corpus, *QUESTIONS, "yes no red"], trainer)
    tokenizer.add_special_tokens([AddedToken("<|im_end|>", normalized=False, special=True)])
    return tokenizer


def messages(question: str, image: Image.Image | None) -> list[dict[str, object]]:
    content: list[dict[str, object]] = [{"type": "text", "text": question}]
    if image is not None:
        content.insert(0, {"type": "image", "image": image})
    return [{"role": "user", "content": content}]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("with_image", [True, False])
@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_the_chat_template_gives_the_ids_of_our_prompt(own, name, with_image, question):
    own.template = template_named(name)
    if name == "plain" and not with_image:
        pytest.skip("a caption has a picture")
    prompt = own.prompt(question, with_image=with_image)
    image_ids = [own.image_token_id] * own.num_image_tokens if with_image else []
    expected = prompt.before + image_ids + prompt.after
    theirs = MobileVLMProcessor.of(own)
    image = Image.new("RGB", (9, 7), "red") if with_image else None
    encoded = theirs.apply_chat_template(
        messages(question, image),
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    assert encoded["input_ids"][0].tolist() == expected
    text = theirs.apply_chat_template(messages(question, image), add_generation_prompt=True)
    again = theirs(images=image, text=text, return_tensors="pt")
    assert again["input_ids"][0].tolist() == expected


@pytest.mark.parametrize("with_image", [True, False])
@pytest.mark.parametrize("name", ["chatml", "v1"])
def test_a_conversation_has_the_ids_of_training(own, name, with_image):
    own.template = template_named(name)
    turns = [Turn("What is it?", "a red one"), Turn("Is it red?", "yes"), Turn("Sure?", "no")]
    encoded = own.encode_record(turns, with_image)
    image = Image.new("RGB", (9, 7), "red") if with_image else None
    conversation: list[dict[str, object]] = []
    for turn in turns:
        conversation += messages(turn.question, None if conversation else image)
        conversation.append({"role": "assistant", "content": turn.answer})
    theirs = MobileVLMProcessor.of(own)
    found = theirs.apply_chat_template(
        conversation, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert found["input_ids"][0].tolist() == encoded.prefix + encoded.ids


def test_pixels_are_those_of_our_preprocessing(own):
    image = Image.effect_noise((50, 31), 40).convert("RGB")
    encoded = MobileVLMProcessor.of(own)(images=image, text="What?", return_tensors="pt")
    assert torch.equal(encoded["pixel_values"][0], torch.from_numpy(own.preprocess(image)))


def test_a_batch_is_padded_on_the_left_and_answers_as_alone(tiny_base):
    processor = AutoProcessor.from_pretrained(tiny_base)
    model = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32)
    images = [Image.new("RGB", (30, 40), color) for color in ("red", "blue")]
    texts = [
        processor.apply_chat_template(messages(question, image), add_generation_prompt=True)
        for question, image in zip(
            ("What is it?", "Which color is it, tell me?"), images, strict=True
        )
    ]
    batch = processor(images=images, text=texts, padding=True, return_tensors="pt")
    together = model.generate(**batch, max_new_tokens=5)[:, batch["input_ids"].shape[1] :]
    for row, (image, text) in enumerate(zip(images, texts, strict=True)):
        alone = processor(images=image, text=text, return_tensors="pt")
        ids = model.generate(**alone, max_new_tokens=5)[0, alone["input_ids"].shape[1] :]
        assert together[row, : len(ids)].tolist() == ids.tolist()


def test_the_pipeline_answers_as_we_do(tiny_base):
    from hydra_mobile.runtimes.generation import Generator
    from hydra_mobile.runtimes.torch import TorchRuntime

    image = Image.new("RGB", (40, 30), "green")
    ours = Generator(TorchRuntime.load(tiny_base)).answer(
        "What is it?", lambda: image, max_new_tokens=6
    )
    pipe = pipeline("image-text-to-text", model=str(tiny_base))
    chat = messages("What is it?", image)
    for given in ({"text": chat}, {"images": image, "text": "What is it?"}):
        answered = pipe(**given, max_new_tokens=6, return_full_text=False)
        assert answered[0]["generated_text"].strip() == ours.text


def test_a_folder_of_an_earlier_version_is_read(tiny_base, tmp_path):
    for name in ("config.json", "model.safetensors", "processor_config.json", "tokenizer.json"):
        shutil.copyfile(tiny_base / name, tmp_path / name)
    now, then = (AutoProcessor.from_pretrained(folder) for folder in (tiny_base, tmp_path))
    assert type(now) is type(then) is MobileVLMProcessor
    chat = messages("What is it?", None)
    assert now.apply_chat_template(chat) == then.apply_chat_template(chat)
    assert AutoModelForImageTextToText.from_pretrained(tmp_path).config.model_type == "mobile_vlm"


def test_saved_and_read_again_it_is_the_same(tiny_base, tmp_path):
    processor = AutoProcessor.from_pretrained(tiny_base)
    processor.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == processor.to_dict()
    assert again.chat_template == (tmp_path / "chat_template.jinja").read_text()


def test_the_tokenizer_loads_by_itself(tiny_base):
    own = plain.MobileVLMProcessor.from_pretrained(tiny_base)
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    assert tokenizer.encode("What is it?", add_special_tokens=False) == own.text_ids("What is it?")
    assert [tokenizer.eos_token_id] == own.stop_ids
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert own.text_ids(text) == own.prompt("Hi", with_image=False).before


def test_generation_ends_at_the_stop_token_of_the_template(tiny_base):
    own = plain.MobileVLMProcessor.from_pretrained(tiny_base)
    settings = json.loads((tiny_base / "generation_config.json").read_text())
    assert settings["eos_token_id"] == own.stop_ids
    assert settings["do_sample"] is False


@pytest.mark.parametrize(
    ("chat", "named"),
    [
        ([{"role": "system", "content": "Be brief."}], "system"),
        ([{"role": "user", "content": [{"type": "video", "path": "x"}]}], "video"),
        (
            [{"role": "user", "content": [{"type": "image"}, {"type": "image"}]}],
            "One image",
        ),
    ],
)
def test_what_the_template_has_no_place_for_is_refused(tiny_base, chat, named):
    processor = AutoProcessor.from_pretrained(tiny_base)
    with pytest.raises(Exception, match=named):
        processor.apply_chat_template(chat)


@pytest.mark.parametrize(
    "order",
    [
        "import hydra_mobile, transformers",
        *(
            # Each starts an interpreter that imports transformers, which takes seconds.
            pytest.param(order, marks=pytest.mark.slow)
            for order in (
                "import transformers, hydra_mobile",
                "from transformers import AutoProcessor, AutoModelForImageTextToText\n"
                "import hydra_mobile",
                "from transformers import AutoConfig\nimport hydra_mobile",
                "import hydra_mobile\nfrom transformers import pipeline",
                "import hydra_mobile.models.processing",
            )
        ),
    ],
)
def test_the_auto_classes_know_it_in_every_order_of_imports(order, tiny_base):
    code = (
        f"{order}\n"
        "from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor\n"
        f"folder = {str(tiny_base)!r}\n"
        "print(type(AutoConfig.from_pretrained(folder)).__name__)\n"
        "print(type(AutoProcessor.from_pretrained(folder)).__name__)\n"
        "print(type(AutoModelForImageTextToText.from_pretrained(folder)).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    names = done.stdout.split()
    assert names == ["MobileVLMConfig", "MobileVLMProcessor", "MobileVLMForConditionalGeneration"]
    assert AutoConfig.from_pretrained(tiny_base).model_type == "mobile_vlm"


def test_generate_encodes_the_image_once(tiny_base, monkeypatch):
    processor = AutoProcessor.from_pretrained(tiny_base)
    model = AutoModelForImageTextToText.from_pretrained(tiny_base, dtype=torch.float32)
    calls = []
    encode = model.vision_features
    monkeypatch.setattr(model, "vision_features", lambda p: calls.append(1) or encode(p))
    inputs = processor(images=Image.new("RGB", (30, 30)), text="What is it?", return_tensors="pt")
    model.generate(**inputs, max_new_tokens=4)
    assert len(calls) == 1
