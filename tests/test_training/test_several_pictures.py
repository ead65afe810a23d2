"""Training on conversations with several pictures: rows, loss, validation, what is left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from memory_rows import build_rows
from PIL import Image
from tiny_families import SQUARE, TILED, every_family
from torch.nn import functional as F
from transformers import AutoModelForImageTextToText

import hydra_mobile as hm
from hydra_mobile.config import load_config
from hydra_mobile.core.errors import DataError
from hydra_mobile.data.llava import Record, read_llava
from hydra_mobile.models.loading import load_model, load_processor
from hydra_mobile.models.templates import IGNORE_INDEX
from hydra_mobile.models.vision_language import SplitModel
from hydra_mobile.training.data.packing import Rows
from hydra_mobile.training.run import TrainingRun

Settings = Callable[[Path], list[str]]

#: SmolVLM is trained every day, InternVL with another text model or tiles is as without; FastVLM's
#: template has no place for a picture behind text.
_TRAINED = [
    name
    for name in (*SQUARE, *TILED)
    if name not in ("smolvlm", "internvl3_5", "internvl_tiles", "fast_vlm")
]


def talk(images: list[str], *texts: str) -> dict[str, Any]:
    turns = [
        {"from": ("human", "gpt")[number % 2], "value": text} for number, text in enumerate(texts)
    ]
    named = {"image": images} if images else {}
    return {"id": "-".join(images) or texts[0], **named, "conversations": turns}


def talks() -> list[dict[str, Any]]:
    """Two and three pictures in one and three turns, one picture, and none."""
    two = [
        talk([f"{i}.png", f"{i + 1}.png"], "<image>\n<image>\nSame color?", "no") for i in range(3)
    ]
    more = ("<image>\nWhat color?", "red", "And <image>\nhere?", "blue", "Or<image>", "yes")
    return [
        *two,
        talk(["0.png", "4.png", "5.png"], *more),
        talk(["6.png"], "<image>\nWhich color is it?", "red"),
        talk(["6.png"], "<image>\nIs there a circle?", "yes"),
        talk(["7.png"], "Hello", "yes", "<image>\nWhat is in the image?", "a circle"),
        talk([], "Name a color", "red"),
    ]


@pytest.fixture
def data(tmp_path: Path, shapes_data: Path) -> Path:
    file = tmp_path / "several.json"
    file.write_text(json.dumps(talks()))
    for number in range(8):
        (tmp_path / f"{number}.png").symlink_to(shapes_data / f"{number}.png")
    return file


def train(run: Path, settings: Settings, base: Path, data: Path, *more: str) -> dict[str, Any]:
    changes = [
        *(f"base={base}", "data.stage1=", f"data.stage2={data}", "ranks.policy=uniform"),
        *("stage2.batch_size=16", "stage2.steps=2", "runtime.checkpoint_every=0"),
    ]
    config = load_config(None, [*settings(run), *changes, *more])
    said: list[str] = []
    TrainingRun(config, said.append).train()
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    samples = run / "samples.jsonl"
    read = [json.loads(line) for line in samples.open()] if samples.is_file() else []
    return {"metrics": metrics, "samples": read, "said": said}


def own_text(parts: SplitModel, ids: torch.Tensor) -> dict[str, Any]:
    """Return what transformers' own forward takes for ids without a picture."""
    side = parts.image_size
    inputs = parts.own_inputs(ids, torch.zeros(1, 3, side, side))
    return {name: value for name, value in inputs.items() if value.shape == ids.shape}


def own_loss(base: Path, records: list[Record]) -> float:
    """Return the mean loss over all supervised tokens by transformers' own forward."""
    processor, parts = load_processor(base), load_model(base)
    whole = AutoModelForImageTextToText.from_pretrained(base).eval()
    assert isinstance(parts, SplitModel)
    total = tokens = 0.0
    for record in records:
        encoded = processor.encode_record(record.turns, record.image is not None)
        ids = torch.tensor([[*encoded.prefix, *encoded.ids]])
        labels = torch.tensor([[IGNORE_INDEX] * len(encoded.prefix) + encoded.labels])
        inputs = own_text(parts, ids)
        if record.images:
            pixels = [processor.preprocess(Image.open(image)) for image in record.images]
            squares = np.concatenate([p if p.ndim == 4 else p[None] for p in pixels])
            inputs = parts.own_inputs(ids, torch.from_numpy(squares)[None])
        with torch.no_grad():
            logits = whole(**inputs, use_cache=False).logits
        total += float(F.cross_entropy(logits[0, :-1], labels[0, 1:], reduction="sum"))
        tokens += int((labels[0, 1:] != IGNORE_INDEX).sum())
    return total / tokens


def test_losses_are_those_of_the_classes_own_forward(
    smolvlm_base: Path, run_settings: Settings, data: Path, tmp_path: Path
) -> None:
    more = (
        *(f"data.validation={data}", "runtime.evaluate_every=2", "runtime.sample_answers=9"),
        *("stage2.learning_rate=0.000001", "runtime.vision_cache=false"),
    )
    found = train(tmp_path / "run", run_settings, smolvlm_base, data, *more)
    wanted = own_loss(smolvlm_base, read_llava(data))
    # All records are in the first step, and two at this rate change next to nothing.
    assert found["metrics"][0]["loss"] == pytest.approx(wanted, abs=1e-4)
    held_out = [m["validation_loss"] for m in found["metrics"] if "validation_loss" in m]
    assert held_out == [pytest.approx(wanted, abs=1e-3)]
    pictures = {tuple(Path(i).name for i in s.get("images", ())) for s in found["samples"]}
    assert {("0.png", "1.png"), ("0.png", "4.png", "5.png")} <= pictures
    assert all(sample["expected"] for sample in found["samples"])


@pytest.mark.parametrize("family", every_family(_TRAINED))
def test_every_family_trains_on_several_pictures(
    family: str,
    family_base: Callable[[str], Path],
    run_settings: Settings,
    data: Path,
    tmp_path: Path,
) -> None:
    base = family_base(family)
    more = ("runtime.vision_cache=false", "data.share_prefix=false")
    found = train(tmp_path / "run", run_settings, base, data, *more)
    wanted = own_loss(base, read_llava(data))
    assert found["metrics"][0]["loss"] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.slow
def test_a_model_trained_on_several_pictures_alone_is_merged_and_exported(
    smolvlm_base: Path, run_settings: Settings, data: Path, tmp_path: Path
) -> None:
    """No record of its data has one picture before the first question: nothing to round on."""
    several = data.with_name("alone.json")
    several.write_text(json.dumps(talks()[:4]))
    train(tmp_path / "run", run_settings, smolvlm_base, several)
    said: list[str] = []
    out = tmp_path / "bundle"
    hm.export(tmp_path / "run", "onnx", preset="int4", out=out, log=said.append)
    assert any("alone.json" in line and "has no record" in line for line in said)
    answer = hm.load(out).ask(tmp_path / "0.png", "Which color is it?", max_new_tokens=4)
    assert answer.ids or answer.ended == "stop"


@pytest.mark.slow
def test_features_from_the_cache_give_the_same_loss(
    smolvlm_base: Path, run_settings: Settings, data: Path, tmp_path: Path
) -> None:
    more = ("runtime.vision_cache=true", "runtime.memory_check=true")
    found = train(tmp_path / "run", run_settings, smolvlm_base, data, *more)
    # The cache is in half precision.
    wanted = pytest.approx(own_loss(smolvlm_base, read_llava(data)), abs=0.01)
    assert found["metrics"][0]["loss"] == wanted


def test_a_base_of_one_picture_names_the_record_or_leaves_it_out(
    run_settings: Settings, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"Record 0 .*2 images.*chatml"):
        train(tmp_path / "run", run_settings, Path("tiny"), data)
    dropped = "data.bad_records=drop"
    found = train(tmp_path / "run", run_settings, Path("tiny"), data, dropped)
    assert any("5 malformed" in line for line in found["said"])


def test_a_conversation_is_left_out_where_one_of_its_pictures_is_damaged(
    smolvlm_base: Path, run_settings: Settings, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "4.png").unlink()
    (tmp_path / "4.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"4\.png.*0\.png-4\.png-5\.png"):
        train(tmp_path / "run", run_settings, smolvlm_base, data)
    dropped = "data.bad_pictures=drop"
    found = train(tmp_path / "run", run_settings, smolvlm_base, data, dropped)
    assert any("1 left out because their image" in line for line in found["said"])


def rows_of(base: Path, data: Path) -> Rows:
    return build_rows(
        read_llava(data), load_processor(base), share_prefix=True, questions_per_row=8,
        max_length=512,
    )  # fmt: skip


def test_rows_know_their_pictures(smolvlm_base: Path, data: Path, tmp_path: Path) -> None:
    rows = rows_of(smolvlm_base, data)
    # Questions about the only picture of two conversations share a row, others do not.
    counts = [len(row.images) for row in rows]
    assert counts == [2, 2, 2, 3, 1, 0, 1]
    assert rows.image_counts.tolist() == counts
    assert rows.with_image.tolist() == [bool(count) for count in counts]
    assert rows.lengths.tolist() == [row.length for row in rows]
    assert rows[3].images == tuple(tmp_path / f"{i}.png" for i in (0, 4, 5))
    token = load_processor(smolvlm_base).image_token_id
    for row in rows:
        ids = [*row.prefix, *(i for segment in row.segments for i in segment.ids)]
        assert ids.count(token) == 4 * len(row.images)
    four = rows.numbers[[image.name for image in rows.images()].index("4.png")]
    left = rows.without([four])
    assert [row.images for row in left] == [row.images for row in rows if len(row.images) != 3]
    assert left.pictureless == 1
    assert {image.name for image in left.images()} == {f"{i}.png" for i in (0, 1, 2, 3, 6, 7)}


def test_no_picture_is_on_both_sides_of_a_split(smolvlm_base: Path, data: Path) -> None:
    rows = rows_of(smolvlm_base, data)
    sizes = set()
    for seed in range(40):
        train, held = rows.split(0.3, seed)
        sides = [{image for row in side for image in row.images} for side in (train, held)]
        assert not sides[0] & sides[1]
        assert [set(side.images()) for side in (train, held)] == sides
        assert len(train) + len(held) == len(rows)
        sizes.add(len(held))
    # Four rows hold together by the pictures that they share.
    assert max(sizes) >= 4
