from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from experiments.benchmarks.made_mix import PLANTED, MadeMix, counts_of
from hydra_mobile.data.check import CheckOptions, check_data
from hydra_mobile.data.check_counts import Histogram, TokenCounts
from hydra_mobile.data.check_report import report_lines, verdict
from hydra_mobile.data.llava import read_llava
from hydra_mobile.models.processor import MobileVLMProcessor
from hydra_mobile.models.templates import template_named

FEW = {kind: 2 + number for number, kind in enumerate(PLANTED)}
MAX_LENGTH = 6000


@pytest.fixture(scope="module")
def processor(tiny_base: Path) -> MobileVLMProcessor:
    processor = MobileVLMProcessor.from_pretrained(tiny_base)
    processor.template = template_named("v1")
    return processor


@pytest.fixture(scope="module")
def mix(tmp_path_factory: pytest.TempPathFactory) -> MadeMix:
    made = MadeMix(tmp_path_factory.mktemp("mix"), 400, FEW, words_of_a_long_sample=3000)
    made.write()
    return made


@pytest.fixture
def options(mix: MadeMix, processor: MobileVLMProcessor) -> CheckOptions:
    return CheckOptions(mix.pictures, processor=processor, max_length=MAX_LENGTH, show=3)


def write(path: Path, *records: object) -> Path:
    path.write_text(json.dumps(records))
    return path


def caption(number: int, **changes: object) -> dict[str, object]:
    turns = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "a cat"}]
    return {"id": f"r{number}", "conversations": turns, **changes}


# -- what it finds --------------------------------------------------------------------------------


def test_every_planted_fault_is_found_and_nothing_else(mix, options):
    result = check_data(mix.file, options)
    assert counts_of(result.to_dict()) == FEW
    assert result.records == result.with_picture + result.text_only == 400
    for kind, count in FEW.items():
        examples = result.findings.examples[kind]
        assert len(examples) == min(3, count)
        assert all(example.startswith("record ") and "(id '" in example for example in examples)
    assert result.problems == sum(FEW.values()) - FEW["duplicate ids"] - FEW["masked whole"]


def test_examples_name_the_planted_record(mix, options):
    records = json.loads(mix.file.read_text())
    result = check_data(mix.file, options)
    for example in result.findings.examples["malformed records"]:
        number = int(example.split()[1])
        assert "conversations" not in records[number]
        assert f"(id {records[number]['id']!r})" in example


def test_the_looser_looks_at_pictures_find_less(mix, options):
    cut, missing = "corrupt pictures", "missing pictures"
    header = check_data(mix.file, replace(options, processor=None, pictures="header"))
    assert (header.findings.counts[missing], header.findings.counts[cut]) == (FEW[missing], 0)
    none = check_data(mix.file, replace(options, processor=None, pictures="none"))
    assert (none.findings.counts[missing], none.findings.counts[cut]) == (0, 0)
    assert none.different_pictures == header.different_pictures
    text = "\n".join(report_lines(none))
    assert "--pictures none" in text
    assert "--base" in text


def test_each_picture_is_looked_at_once(tmp_path):
    file = write(tmp_path / "a.json", *[with_picture(i, f"{i % 3}.png") for i in range(90)])
    result = check_data(file, CheckOptions(workers=2))
    assert (result.different_pictures, result.findings.counts["missing pictures"]) == (3, 3)
    Image.new("RGB", (4, 4)).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_text("no picture")
    (tmp_path / "2.png").mkdir()
    result = check_data(file, CheckOptions(pictures="header"))
    assert result.findings.counts == {"corrupt pictures": 1, "missing pictures": 1}
    assert "2.png" in result.findings.examples["missing pictures"][0]
    assert result.findings.examples["corrupt pictures"][0].startswith("record 1 (id 'r1'): ")


def with_picture(number: int, name: str) -> dict[str, object]:
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "a cat"}]
    return caption(number, image=name, conversations=turns)


def test_several_faults_of_one_record_are_all_counted(tmp_path):
    turns = [
        {"from": "gpt", "value": "<image>"},
        {"from": "gpt", "value": ""},
        {"from": "human", "value": "?"},
    ]
    file = write(tmp_path / "a.json", caption(1, conversations=turns), [], caption(2, image=3))
    counts = check_data(file, CheckOptions()).findings.counts
    assert counts == {
        "wrong roles": 2,  # who speaks first, and a question at the end
        "empty turns": 1,
        "mismatched <image> marks": 2,
        "malformed records": 2,
    }


def test_tokens_are_those_that_training_sees(tmp_path, processor):
    records = [caption(i) for i in range(20)] + [with_picture(i, "0.png") for i in range(20, 25)]
    file = write(tmp_path / "a.json", *records)
    result = check_data(file, CheckOptions(pictures="none", processor=processor))
    for kind, expected in (("text only", 20), ("with a picture", 5)):
        chosen = [r for r in read_llava(file) if (r.image is None) == (kind == "text only")]
        encoded = [processor.encode_record(r.turns, r.image is not None) for r in chosen]
        tokens = result.tokens[kind].to_dict()
        assert tokens["conversations"] == expected
        assert tokens["tokens"] == sum(len(e.prefix) + len(e.ids) for e in encoded)
        learned = sum(label != -100 for e in encoded for label in e.labels)
        assert tokens["learned_share"] == pytest.approx(learned / tokens["tokens"])


def test_a_template_that_refuses_a_record_is_a_problem(tmp_path, processor):
    plain = MobileVLMProcessor(
        processor.tokenizer,
        template_named("plain"),
        processor.image,
        image_token_id=processor.image_token_id,
        num_image_tokens=processor.num_image_tokens,
    )
    two = [{"from": ("human", "gpt")[i % 2], "value": "hm"} for i in range(4)]
    file = write(tmp_path / "a.json", caption(1), caption(2, conversations=two), caption(3))
    result = check_data(file, CheckOptions(processor=plain))
    assert result.findings.counts == {"refused by the template": 1}
    assert "record 1 (id 'r2')" in str(result.findings.examples)


# -- files that end early -------------------------------------------------------------------------


def test_what_stands_before_a_cut_is_reported(mix, options, tmp_path):
    cut = tmp_path / "cut.json"
    cut.write_bytes(mix.file.read_bytes()[: mix.file.stat().st_size // 2])
    result = check_data(cut, options)
    assert 100 < result.records < 300
    assert result.findings.counts["unreadable records"] == 1
    assert "cut short" in result.stopped
    assert verdict(result).endswith(result.stopped)


def test_a_bad_line_of_jsonl_does_not_hide_the_rest(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join([json.dumps(caption(1)), '{"id": ', json.dumps(caption(1)), ""]))
    result = check_data(file, CheckOptions())
    assert result.records == 3
    assert result.findings.counts == {"unreadable records": 1, "duplicate ids": 1}
    assert "line 2" in result.findings.examples["unreadable records"][0]


# -- counts ---------------------------------------------------------------------------------------


def test_quantiles_are_exact():
    histogram = Histogram()
    for value in range(1, 201):
        histogram.add(value)
    assert histogram.quantiles(1e-12, 0.5, 0.95, 0.99, 1.0) == [1, 100, 190, 198, 200]
    assert (histogram.count, histogram.total) == (200, 20_100)
    assert TokenCounts().to_dict() == {}


def test_what_opening_changes_is_counted(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "turned.png", exif=exif)
    Image.new("I;16", (8, 4)).save(tmp_path / "deep.png")
    records = [
        {
            "id": name,
            "image": f"{name}.png",
            "conversations": [
                {"from": "human", "value": "<image>\nWhat?"},
                {"from": "gpt", "value": "a"},
            ],
        }
        for name in ("turned", "deep")
    ]
    (tmp_path / "d.json").write_text(json.dumps(records))
    result = check_data(tmp_path / "d.json", CheckOptions())
    remarks = result.to_dict()["remarks"]
    assert remarks["turned pictures"]["count"] == remarks["scaled 16-bit pictures"]["count"] == 1
    assert result.problems == 0
