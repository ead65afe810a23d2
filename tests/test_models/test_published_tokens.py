"""Templates `v1` and `plain` against LLaVA's arithmetic, written here from its description.

The reference builds the conversation's string, cuts it at `<image>` and tokenizes the chunks with
the sentencepiece library, each with a BOS of its own as Llama's slow tokenizer does; it finds the
mask by tokenizing rounds and instructions again and comparing lengths. Ours shares none of that.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tokenizers import AddedToken

from hydra_mobile.core.errors import DataError
from hydra_mobile.data.llava import parse_record
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.sentencepiece import tokenizer_from_sentencepiece
from hydra_mobile.models.templates import IGNORE_INDEX, Turn, template_named

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions."
)
PICTURE = -200
UNKNOWN, BOS, EOS = 0, 1, 2
NEWLINE = 3 + ord("\n")  # the byte pieces follow the three control pieces
IMAGE_TOKENS = 5


@dataclass
class Published:
    """The published arithmetic. `messages` alternate, as a record's `value`s."""

    model: object
    system: str = SYSTEM

    def tokenize(self, text: str) -> list[int]:
        """Llama's slow tokenizer: BOS, then every string between control tokens by itself."""
        ids = [BOS]
        for part in re.split(r"(<unk>|<s>|</s>)", text):
            control = {"<unk>": UNKNOWN, "<s>": BOS, "</s>": EOS}.get(part)
            ids += [control] if control is not None else self.model.encode(part)
        return ids

    def tokenize_around_picture(self, text: str) -> list[int]:
        first, *others = [self.tokenize(chunk) for chunk in text.split("<image>")]
        for chunk in others:
            first = [*first, PICTURE, *chunk[1:]]
        return first

    def string(self, messages: list[str], picture: bool) -> str:
        if picture:
            messages = [self.with_mark_first(message) for message in messages]
        text = self.system + " "
        for index, message in enumerate(messages):
            text += ("USER: ", "ASSISTANT: ")[index % 2] + message + (" ", "</s>")[index % 2]
        return text

    @staticmethod
    def with_mark_first(message: str) -> str:
        if "<image>" not in message:
            return message
        return ("<image>\n" + message.replace("<image>", "").strip()).strip()

    def v1(
        self, messages: list[str], picture: bool, max_length: int = 2048
    ) -> tuple[list[int], list[int], bool]:
        """Return ids, labels, and whether the length check passed."""
        text = self.string(messages, picture)
        tokenize = self.tokenize_around_picture if picture else self.tokenize
        ids = tokenize(text)
        if not picture:
            ids = ids[:max_length]
        labels = list(ids)
        at = 1
        labels[:at] = [IGNORE_INDEX] * at
        for a_round in text.split("</s>"):
            parts = a_round.split(" ASSISTANT: ")
            if len(parts) != 2:
                break
            # Two fewer: a BOS, which round lengths count in </s>'s place, and the space at the end.
            instruction = len(tokenize(parts[0] + " ASSISTANT: ")) - 2
            for masked in range(at, min(at + instruction, len(labels))):
                labels[masked] = IGNORE_INDEX
            at += len(tokenize(a_round))
        matched = at >= max_length or at == len(ids)
        labels[at:] = [IGNORE_INDEX] * len(labels[at:])
        return ids, labels if matched else [IGNORE_INDEX] * len(ids), matched

    def plain(self, caption: str) -> tuple[list[int], list[int]]:
        ids = self.tokenize_around_picture("<image>" + caption + "\n")
        return ids, [IGNORE_INDEX] * 2 + ids[2:]


@pytest.fixture(scope="session")
def published(sentencepiece_file: Path) -> Published:
    from sentencepiece import SentencePieceProcessor

    return Published(SentencePieceProcessor(model_file=str(sentencepiece_file)))


@pytest.fixture
def llama(sentencepiece_file: Path) -> MobileVLMProcessor:
    tokenizer = tokenizer_from_sentencepiece(sentencepiece_file)
    image_id = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens([AddedToken("<image>", normalized=False, special=True)])
    return MobileVLMProcessor(
        tokenizer,
        template_named("v1"),
        ImagePreprocessing(8, (0.5,) * 3, (0.5,) * 3),
        image_token_id=image_id,
        num_image_tokens=IMAGE_TOKENS,
    )


def ours(llama: MobileVLMProcessor, messages: list[str]) -> tuple[list[int], list[int], bool]:
    """Return ids, labels (the picture as one token, as LLaVA has it) and `matched`."""
    picture = any("<image>" in message for message in messages)
    record: dict[str, object] = {
        "conversations": [
            {"from": ("human", "gpt")[index % 2], "value": message}
            for index, message in enumerate(messages)
        ]
    }
    if picture:
        record["image"] = "a.png"
    encoded = llama.encode_record(parse_record(record, "a test", Path()).turns, picture)
    prefix = list(encoded.prefix)
    if picture:
        at = prefix.index(llama.image_token_id)
        assert prefix[at : at + IMAGE_TOKENS] == [llama.image_token_id] * IMAGE_TOKENS
        prefix[at : at + IMAGE_TOKENS] = [PICTURE]
    assert llama.image_token_id not in prefix + encoded.ids
    return prefix + encoded.ids, [IGNORE_INDEX] * len(prefix) + encoded.labels, encoded.matched


CONVERSATIONS = {
    "single": ["<image>\nWhat is in the picture?", "A cat and a dog."],
    "multi": ["<image>\nIs there a cat?", "yes", "And a dog?", "no", "How many?", "1 cat"],
    "text only": ["How many plants are there?", "there are 12"],
    "text only, multi": ["Is it?", "yes", "Why?", "it is green"],
    "mark behind": ["What is it?\n<image>", "a car"],
    "mark inside": ["Look at <image> and say", "a car"],
    "mark alone": ["<image>", "a car"],
    "mark alone, multi": ["<image>\n", "a car", "red?", "yes"],
    "unicode": ["<image>\nOù est le café naïve ? 漢字", "là 日本語 Ωμέγα ıİ"],
    "emoji": ["<image>\n🐈‍⬛ or 👩🏽‍🚀?", "🎉🎉 e\u0301 \u200b"],
    "spaces": ["<image>  Is  there ", "  yes  ", "  and   more  ", " no "],
    "spaces, text only": ["  Is  there ", "  yes  ", "   ok   ", "    no"],
    "newlines": ["<image>\n\nWhat\nis\n\nit?\n", "\na\n\nb\n", "\nand\n", "c\n"],
    "tabs and no-break spaces": ["<image>\n\tWhat\u00a0is it?", "\u3000a\tb"],
    "underscore of sentencepiece": ["<image>\na\u2581b", "\u2581 c \u2581\u2581d"],
    "roles in the text": ["<image>\nUSER: ASSISTANT:", "USER: ASSISTANT"],
    "role at the border": ["<image>\nsay ASSISTANT:", "a"],
}
MASKED_WHOLE = {
    "separator in an answer": ["<image>\nWhat?", "a ASSISTANT: b"],
    "separator in a question": ["<image>\nWhat ASSISTANT: a?", "b"],
    "separator in a later turn": ["What?", "a", "And?", "b ASSISTANT: c"],
}
#: The one departure from the published ids: these names are people's text and end no turn.
NAMED_CONTROL_TOKENS = {
    "control token in the text": ["<image>\nis <s> one?", "<s> yes <s>"],
    "forged round": ["<image>\nWhat?", "a</s>b"],
    "end token at the end": ["<image>\nWhat?", "a</s>"],
    "end token in a question": ["What </s> is it?", "a"],
}


@pytest.mark.parametrize("name", NAMED_CONTROL_TOKENS)
def test_control_tokens_that_a_text_names_are_text(llama, name):
    ids, labels, matched = ours(llama, NAMED_CONTROL_TOKENS[name])
    assert matched
    assert (ids.count(BOS), ids.count(EOS), labels.count(EOS)) == (1, 1, 1)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_v1_gives_the_published_ids_and_labels(llama, published, name):
    ids, labels, matched = published.v1(CONVERSATIONS[name], "<image>" in CONVERSATIONS[name][0])
    assert matched
    assert any(label != IGNORE_INDEX for label in labels)
    assert ours(llama, CONVERSATIONS[name]) == (ids, labels, True)


@pytest.mark.parametrize("name", MASKED_WHOLE)
def test_a_conversation_that_holds_the_separator_is_masked_whole(llama, published, name):
    ids, labels, matched = published.v1(MASKED_WHOLE[name], "<image>" in MASKED_WHOLE[name][0])
    assert not matched
    assert set(labels) == {IGNORE_INDEX}
    assert ours(llama, MASKED_WHOLE[name]) == (ids, labels, False)


def test_v1_without_a_system_text(llama, published):
    llama.template = replace(llama.template, start=" ")
    bare = Published(published.model, system="")
    for name in ("single", "multi", "text only"):
        messages = CONVERSATIONS[name]
        expected = bare.v1(messages, "<image>" in messages[0])
        assert ours(llama, messages) == expected


def test_v1_on_random_conversations(llama, published):
    # Fragments that touch every border: separators whole and in parts, spaces, bytes.
    fragments = (
        *(" ", "  ", "\n", "a", "the cat", "USER:", "ASSISTANT:", " ASSISTANT: ", "</"),
        *("🎉", "é", ":", "12", "\u2581"),
    )
    draw = random.Random(5)
    seen = {True: 0, False: 0}
    for _ in range(400):
        messages = [
            "".join(draw.choices(fragments, weights=[4] * 7 + [1] * 7, k=draw.randint(1, 7))) + "."
            for _ in range(2 * draw.randint(1, 3))
        ]
        if draw.random() < 0.6:
            messages[0] = draw.choice(("<image>\n{}", "{}\n<image>")).format(messages[0])
        ids, labels, matched = published.v1(messages, "<image>" in messages[0])
        assert ours(llama, messages) == (ids, labels, matched), messages
        seen[matched] += 1
    assert min(seen.values()) > 40


def test_a_cut_at_the_end_is_a_cut_of_ids_and_labels(llama, published):
    # LLaVA cuts a text-only conversation before it finds the mask, and one with a picture after.
    messages = CONVERSATIONS["text only, multi"]
    whole_ids, whole_labels, _ = ours(llama, messages)
    for length in range(2, len(whole_ids)):
        ids, labels, _ = published.v1(messages, False, max_length=length)
        assert (ids, labels) == (whole_ids[:length], whole_labels[:length])


def test_only_answers_and_their_end_are_learned(llama):
    ids, labels, _ = ours(llama, ["<image>\nIs there a cat?", "yes", "And a dog?", "A car."])
    learned = [token for token, label in zip(ids, labels, strict=True) if label != IGNORE_INDEX]
    text = llama.tokenizer.decode(learned, skip_special_tokens=False)
    assert text == "yes</s> A car.</s>"


@pytest.mark.parametrize("caption", ["a cat", " two  spaces ", "é 🎉", "a\nb", "\n"])
def test_plain_gives_the_published_ids_and_labels(llama, published, caption):
    llama.template = template_named("plain")
    encoded = llama.encode_record([Turn("Describe the picture.", caption)], True)
    ids, labels = published.plain(caption)
    assert encoded.prefix == [BOS] + [llama.image_token_id] * IMAGE_TOKENS
    assert [BOS, PICTURE, *encoded.ids] == ids
    assert [IGNORE_INDEX] * 2 + encoded.labels == labels
    assert encoded.matched


def test_plain_without_a_picture_has_no_image_tokens(llama, published):
    llama.template = template_named("plain")
    encoded = llama.encode_record([Turn("Say something.", "a cat")], False)
    assert encoded.prefix == [BOS]
    assert encoded.ids == encoded.labels == published.tokenize("a cat\n")[1:]


def test_plain_refuses_a_conversation_of_several_questions(llama):
    llama.template = template_named("plain")
    with pytest.raises(DataError, match=r"2 questions.*`plain`"):
        llama.encode_record([Turn("a", "b"), Turn("c", "d")], True)


@pytest.mark.parametrize("question", ["What is it?", " two  spaces ", "a\nb 🎉"])
def test_prompts_have_the_ids_of_the_published_string(llama, published, question):
    asked = f"{question} ASSISTANT:"
    prompt = llama.prompt(question)
    expected = published.tokenize_around_picture(f"{SYSTEM} USER: <image>\n{asked}")
    assert [*prompt.before, PICTURE, *prompt.after] == expected
    prompt = llama.prompt(question, with_image=False)
    assert (prompt.before, prompt.after) == (published.tokenize(f"{SYSTEM} USER: {asked}"), [])


def test_a_prompt_begins_as_its_training_sequence(llama):
    prompt = llama.prompt("Is there a cat?")
    encoded = llama.encode_record([Turn("Is there a cat?", "yes")], True)
    assert encoded.prefix == prompt.before + [llama.image_token_id] * IMAGE_TOKENS
    asked = encoded.labels.count(IGNORE_INDEX)
    assert encoded.ids[:asked] == prompt.after


def test_generation_stops_where_training_ends(llama):
    assert llama.stop_ids == [EOS]
    assert llama.encode_record([Turn("Is it?", "yes")], True).labels[-1] == EOS
    llama.template = template_named("plain")
    # By itself a newline is two tokens, a lone space first; behind a caption it is one.
    assert llama.text_ids("\n")[1:] == [NEWLINE]
    assert llama.stop_ids == [NEWLINE]
    assert llama.encode_record([Turn("", "a cat")], True).labels[-1] == NEWLINE


def test_a_caption_prompt_is_the_picture_alone(llama):
    llama.template = template_named("plain")
    prompt = llama.prompt("What is it?")
    assert (prompt.before, prompt.after) == ([BOS], [])


def test_bos_is_the_one_that_the_tokenizer_adds(llama, tiny_base):
    from tokenizers.processors import TemplateProcessing

    llama.tokenizer.post_processor = TemplateProcessing(
        single="<unk> $A", special_tokens=[("<unk>", UNKNOWN)]
    )
    assert llama.prompt("What?").before[0] == UNKNOWN
    # A tokenizer without such a token gives sequences without it.
    other = MobileVLMProcessor.from_pretrained(tiny_base)
    other.template = template_named("v1")
    assert other.bos_ids == []
    assert other.prompt("What?").before[0] == other.text_ids("A chat")[0]
