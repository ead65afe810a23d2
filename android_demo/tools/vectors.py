"""What the app must compute, computed by Python: written for the JVM tests of `android_demo/core`.

    python -m android_demo.tools.vectors OUT [BASE ...]

writes strings with their ids, ids with their text, prompts, pixels, memory estimates and classes of
code points into a folder, the same bytes each time; nothing of it is committed. BASE: bases whose
tokenizers are added to those made here, default `tiny smol`.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers

from android_demo.tools import code_points, composition, vector_tokenizers
from android_demo.tools.vector_json import write_json_texts
from android_demo.tools.vector_manifests import write_manifests
from android_demo.tools.vector_pictures import write_pictures
from android_demo.tools.vector_texts import Sample, samples
from hydra_mobile.core.files import write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.models.preprocessing import ImagePreprocessing
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.templates import TEMPLATES, Template

#: Strings for each tokenizer.
STRINGS = 10_000
_PROMPTS = 40
_UNUSED_IMAGE = ImagePreprocessing(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def write_vectors(
    out: Path, bases: Iterable[str] = ("tiny", "smol"), strings: int = STRINGS
) -> None:
    """Write all vectors.

    Args:
        out: a folder, made if it is not there.
        bases: names or folders; named ones that are not in the cache are fetched.
        strings: how many for each tokenizer; a tenth as many lists of ids are decoded, and twice
            as many texts composed.
    """
    tokenizers: dict[str, Tokenizer] = {
        Path(name).name: vector_tokenizers.base_tokenizer(name) for name in bases
    }
    for made in (
        vector_tokenizers.llama,
        vector_tokenizers.metaspace,
        vector_tokenizers.digits,
        vector_tokenizers.prefixed,
        vector_tokenizers.unknown,
        vector_tokenizers.fused,
        vector_tokenizers.composed,
        vector_tokenizers.triples,
        vector_tokenizers.spaces,
    ):
        tokenizers[made.__name__] = made()
    texts = list(samples(strings))
    for name, tokenizer in tokenizers.items():
        folder = out / "tokenizers" / name
        vector_tokenizers.save(tokenizer, folder)
        _write_lines(folder / "texts.jsonl", _encodings(tokenizer, texts))
        _write_lines(folder / "decodes.jsonl", _decodings(tokenizer, texts))
        _write_lines(folder / "prompts.jsonl", _prompts(tokenizer, texts))
    write_pictures(out / "pictures")
    write_manifests(out / "manifests")
    write_json_texts(out / "json")
    _write_code_points(out / "code_points.json")
    _write_lines(out / "compositions.jsonl", _compositions(texts))


def _compositions(texts: list[Sample]) -> Iterator[dict[str, Any]]:
    """Yield texts and what NFC makes of them: samples, and marks behind letters in any order."""
    chance = random.Random(3)
    nfc = normalizers.NFC()
    letters = [*composition.decompositions(), *range(0x41, 0x5B), *range(0x1100, 0x1113), 0xAC00]
    behind = [*composition.classes(), *range(0x1161, 0x1176), *range(0x11A7, 0x11C3)]
    for _ in range(2 * len(texts)):
        points = [
            point
            for _ in range(chance.randint(1, 4))
            for point in (chance.choice(letters), *chance.choices(behind, k=chance.randint(0, 3)))
        ]
        text = "".join(map(chr, points))
        yield {"text": text, "composed": nfc.normalize_str(text)}
    for sample in texts:
        yield {"text": sample.text, "composed": nfc.normalize_str(sample.text)}


def _encodings(tokenizer: Tokenizer, texts: Iterable[Sample]) -> Iterator[dict[str, Any]]:
    for sample in texts:
        raw = {"hex": sample.raw.hex()} if isinstance(sample.raw, bytes) else {"text": sample.raw}
        yield {**raw, "ids": tokenizer.encode(sample.text, add_special_tokens=False).ids}


def _decodings(tokenizer: Tokenizer, texts: list[Sample]) -> Iterator[dict[str, Any]]:
    """Yield ids of texts, cut anywhere, and ids at random, some of which no token has."""
    chance = random.Random(1)
    size = tokenizer.get_vocab_size()
    processor = _processor(tokenizer, TEMPLATES["chatml"])
    for index in range(len(texts) // 10):
        if index % 2:
            text = texts[chance.randrange(len(texts))].text
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            ids = ids[chance.randint(0, 2) : len(ids) - chance.randint(0, 2)]
        else:
            ids = [chance.randrange(size + 3) for _ in range(chance.randint(0, 24))]
        text = tokenizer.decode(ids, skip_special_tokens=True)
        yield {"ids": ids, "text": text, "answer": processor.decode(ids)}


def _prompts(tokenizer: Tokenizer, texts: list[Sample]) -> Iterator[dict[str, Any]]:
    chance = random.Random(2)
    added = tokenizer.get_added_tokens_decoder()
    names = sorted(token.content for token in added.values())
    # The picture's token may be an ordinary one, and counts as a control token all the same.
    ordinary = [key for key, token in added.items() if not token.special]
    for template in TEMPLATES.values():
        for index in range(_PROMPTS):
            image_token_id = ordinary[0] if ordinary and index % 2 else 0
            processor = _processor(tokenizer, template, image_token_id)
            question = texts[chance.randrange(len(texts))].text
            if index % 3 == 0:
                question += names[index % len(names)] + texts[chance.randrange(len(texts))].text
            with_image = index % 4 != 0
            prompt = processor.prompt(question, with_image)
            yield {
                "template": template.to_dict(),
                "question": question,
                "image_token_id": image_token_id,
                "with_image": with_image,
                "before": prompt.before,
                "after": prompt.after,
            }


def _processor(
    tokenizer: Tokenizer, template: Template, image_token_id: int = 0
) -> MobileVLMProcessor:
    return MobileVLMProcessor(
        tokenizer, template, _UNUSED_IMAGE, image_token_id=image_token_id, num_image_tokens=1
    )


def _write_code_points(path: Path) -> None:
    """Write first and last code point of each run of letters, numbers, digits and spaces."""
    classes = {
        "letters": code_points.letters(),
        "numbers": code_points.numbers(),
        "numeric": code_points.numeric(),
        "spaces": code_points.spaces(),
    }
    write_json(path, {name: _runs(members) for name, members in classes.items()})


def _runs(members: frozenset[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for point in sorted(members):
        if runs and runs[-1][1] == point - 1:
            runs[-1][1] = point
        else:
            runs.append([point, point])
    return runs


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="ascii") as file:
        # ASCII: half surrogate pairs have no UTF-8, but an escape.
        file.writelines(dumps(line) + "\n" for line in lines)


if __name__ == "__main__":
    write_vectors(Path(sys.argv[1]), sys.argv[2:] or ("tiny", "smol"))
