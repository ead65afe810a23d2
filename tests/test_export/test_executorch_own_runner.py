"""A bundle in ExecuTorch's own multimodal runner: metadata, tokenizer, methods."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("executorch", reason="needs the extra [executorch]")

import executorch.kernels.quantized  # noqa: F401 (registers operators)
from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401 (the same)
from executorch.extension.llm.runner import (
    GenerationConfig,
    MultimodalRunner,
    make_image_input,
    make_text_input,
)
from executorch.runtime import Runtime
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoTokenizer

from hydra_mobile.bundle.bundle import Bundle
from hydra_mobile.models.templates import Template

pytestmark = pytest.mark.slow  # an export of its own


@pytest.fixture(scope="module")
def bundle(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hydra_export.export import export_bundle
    from hydra_export.targets import Limits

    questions = ["Is there a red car in the image?", "What is it?", "A cat?", "Why?", "How many?"]
    inputs = [(Image.new("RGB", (40, 24), (i * 40, 90, 200)), q) for i, q in enumerate(questions)]
    return export_bundle(
        tiny_base,
        target="android",
        preset="fp32",
        out=tmp_path_factory.mktemp("own") / "bundle",
        golden_inputs=inputs,
        limits=Limits(max_context=120, max_prefill=64),
    ).folder


def test_constants_that_runners_ask_for(bundle: Path) -> None:
    program = Runtime.get().load_program(bundle / "model.pte")
    config = Bundle.open(bundle)
    expected = {
        "get_max_seq_len": 64,
        "get_max_context_len": 120,
        "use_kv_cache": True,
        "get_bos_id": 1,
    }
    for name, value in expected.items():
        found = program.load_method(name)
        assert found is not None, name
        assert found.execute([])[0] == value, name
    assert program.load_method("get_eos_ids").execute([]) == config.manifest["stop_ids"]


def answered(bundle: Path, case: dict, pixels: object, tokens: int) -> str:
    template = Template.from_dict(Bundle.open(bundle).manifest["template"], "")
    after = template.image_suffix + case["question"] + template.user_suffix
    pieces: list[str] = []
    # A new one for each question: it keeps what it was told before.
    runner = MultimodalRunner(str(bundle / "model.pte"), str(bundle / "tokenizer.json"))
    runner.generate(
        [
            make_text_input(template.start + template.user_prefix),
            make_image_input(pixels),
            make_text_input(after + template.answer_prefix),
        ],
        GenerationConfig(max_new_tokens=tokens, temperature=0.0, echo=False),
        pieces.append,
    )
    return "".join(pieces)


def test_golden_questions(bundle: Path) -> None:
    tokenizer = Bundle.open(bundle).processor().tokenizer
    vectors = load_file(bundle / "golden.safetensors")
    compared = 0
    for index, case in enumerate(json.loads((bundle / "golden.json").read_text())["cases"]):
        # The binding cannot hand on half a character, which a random model gives soon.
        count = 0
        while count < 4 and (piece := tokenizer.decode([case["ids"][count]])).isascii() and piece:
            count += 1
        if not count:
            continue
        compared += 1
        found = answered(bundle, case, vectors[f"{index}.pixels"], count)
        assert found == tokenizer.decode(case["ids"][:count]), case["question"]
    assert compared >= 2


def test_lines_of_the_card(bundle: Path, tmp_path: Path) -> None:
    card = (bundle / "README.md").read_text()
    assert card.index("ExecuTorch's own runner") < card.index("method by method")
    assert "LlmModule(" in card
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    code = next(block for block in blocks if "MultimodalRunner" in block)
    Image.new("RGB", (40, 24), (0, 90, 200)).save(tmp_path / "picture.png")
    code = code.replace("path/to/this/folder", str(bundle))
    code = code.replace("picture.png", str(tmp_path / "picture.png"))
    # One token: a random model's next may be half a character.
    exec(code.replace("max_new_tokens=32", "max_new_tokens=1"), {})


def test_the_tokenizer_by_itself(bundle: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(bundle)
    case = json.loads((bundle / "golden.json").read_text())["cases"][0]
    message = {"role": "user", "content": case["question"]}
    text = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    assert case["question"] in text
    config = Bundle.open(bundle).manifest["template"]
    assert text.endswith(config["answer_prefix"])
