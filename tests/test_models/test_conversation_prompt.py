"""A question with history has the ids that training gave the same conversation."""

from __future__ import annotations

import pytest

from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.templates import TEMPLATES, Turn, template_named

TURNS = [Turn("What is it?", "A red bus."), Turn("Where?", "In the street."), Turn("Why?", "Yes")]


@pytest.mark.parametrize(
    "name", [name for name, template in TEMPLATES.items() if template.questions]
)
@pytest.mark.parametrize("with_image", [True, False])
def test_history_is_written_as_in_training(tiny_base, name: str, with_image: bool) -> None:
    processor = MobileVLMProcessor.from_pretrained(tiny_base)
    processor.template = template_named(name)
    encoded = processor.encode_record(TURNS, with_image)
    trained = [*encoded.prefix, *encoded.ids]

    def asked(question: str, history: list[Turn]) -> list[int]:
        prompt = processor.prompt(question, with_image, history)
        picture = trained[len(prompt.before) :][: processor.num_image_tokens * with_image]
        return [*prompt.before, *picture, *prompt.after]

    for number, turn in enumerate(TURNS):
        ids = asked(turn.question, TURNS[:number])
        # The answer's first word may be one token with the space that ends the prompt.
        assert trained[: len(ids) - 1] == ids[:-1]
        assert len(ids) > 3 * (number + 1)
