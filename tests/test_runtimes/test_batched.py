"""Answers of a batch are those of one question at a time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tiny_families
from PIL import Image, ImageDraw

from hydra_mobile.benchmarks.pictures import FilePicture
from hydra_mobile.benchmarks.question import Question
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.models.loading import load_model, load_processor
from hydra_mobile.models.templates import template_named
from hydra_mobile.runtimes.answering import answers, line_of, tokenized
from hydra_mobile.runtimes.base import Array
from hydra_mobile.runtimes.generation import Generator
from hydra_mobile.runtimes.torch import TorchRuntime

TEXTS = ("Is it red?", "What is it?", "Which of these is it: a cat, a car, a cup or a sun?", "What")


@pytest.fixture
def questions(tmp_path: Path) -> list[Question]:
    """Questions of several lengths: none, one or several about each of eleven pictures."""
    found: list[Question] = []
    for number in range(11):
        file = tmp_path / f"{number}.png"
        picture = Image.new("RGB", (40, 30), "white")
        ImageDraw.Draw(picture).ellipse((number, 3, 20 + number, 20), fill=f"#{number:x}0a0ff")
        picture.save(file)
        for text in TEXTS[: 1 + number % len(TEXTS)]:
            found.append(Question(len(found), str(len(found)), text, FilePicture(file)))
        if number % 3 == 0:
            found.append(Question(len(found), str(len(found)), TEXTS[number % 4], None))
    return found


class Counting(TorchRuntime):
    """Counts the pictures that it encodes."""

    encoded = 0

    def encode_image(self, pixels: Array) -> Array:
        self.encoded += 1
        return super().encode_image(pixels)


def require_equal(runtime: Counting, questions: list[Question], tokens: int = 6) -> None:
    prompted = tokenized(questions, runtime.processor, runtime.max_context, title="all")
    runtime.encoded = 0
    together = {a.line.key: a for a in answers(runtime, prompted, max_new_tokens=tokens)}
    assert runtime.encoded == len({each.image.key for each in questions if each.image})
    assert len(together) == len(questions)
    generator = Generator(runtime)
    for each in prompted:
        picture = each.question.image
        alone = generator.answer(
            each.prompt,
            picture.open if picture else None,
            picture.key if picture else None,
            max_new_tokens=tokens,
        )
        found = together[each.question.key]
        line = line_of(alone, each.question.key)
        assert (found.line.ids, found.line.text) == (line.ids, line.text)
        assert (found.line.ended, found.line.index) == (line.ended, each.question.index)
        np.testing.assert_allclose(found.first_logits, alone.first_logits, atol=1e-4)
        assert found.line.runner_seconds > 0
        # A batch does not know when one of its questions had its first token.
        assert found.line.encode_seconds is found.line.first_token_seconds is None


def test_a_batch_answers_as_one_question_at_a_time(tiny_base, questions) -> None:
    runtime = Counting.load(tiny_base)
    require_equal(runtime, questions)
    # Answers that end at different tokens leave the batch one by one.
    first = Generator(runtime).answer(TEXTS[0], max_new_tokens=6, stop=False).ids
    suffix = runtime.processor.decode([first[3]])
    template = dataclasses.replace(runtime.processor.template, answer_suffix=suffix)
    runtime.processor.template = template
    require_equal(runtime, questions)


def test_captions_and_full_contexts_end_as_alone(tiny_base, questions) -> None:
    runtime = Counting.load(tiny_base)
    prompted = tokenized(questions, runtime.processor, runtime.max_context, title="all")
    longest = max(len(p.prompt.before) + len(p.prompt.after) for p in prompted)
    runtime.max_context = longest + runtime.processor.num_image_tokens + 3
    require_equal(runtime, questions, tokens=9)
    runtime.processor.template = template_named("plain")
    require_equal(runtime, [each for each in questions if each.image])


@pytest.mark.parametrize("name", sorted(tiny_families.TINY))
def test_every_family_answers_in_batches(name, questions, tmp_path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    tiny_families.TINY[name](folder)
    runtime = Counting(load_model(folder), load_processor(folder))
    require_equal(runtime, questions[:16], tokens=4)


def test_numbers_that_are_not_finite_are_no_answers(tiny_base, questions) -> None:
    import torch

    for part, name in (
        ("vision_tower", "vision"),
        ("language_model.model.embed_tokens", "embedding"),
        ("language_model.model.layers.1.mlp", "decoder"),
    ):
        model = load_model(tiny_base)
        with torch.no_grad():
            next(model.get_submodule(part).parameters()).fill_(float("nan"))
        runtime = TorchRuntime(model, load_processor(tiny_base))
        prompted = tokenized(questions, runtime.processor, runtime.max_context, title="all")
        with pytest.raises(ArtifactError, match=rf"{name}.*finite"):
            list(answers(runtime, prompted, max_new_tokens=3))
