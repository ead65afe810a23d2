# ruff: noqa: RUF001 (the en dash and the multiplication sign are what is tested)
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from hydra_mobile.cli.report_view import show_report
from hydra_mobile.reporting.html import render_html
from hydra_mobile.reporting.markdown import render_markdown
from hydra_mobile.reporting.plots import loss_picture, rank_pictures, smooth
from hydra_mobile.reporting.ranks import grids, sparkline, step_of
from hydra_mobile.reporting.results import SystemResult
from hydra_mobile.reporting.schema import ParityRow
from hydra_mobile.reporting.training_section import LossPoint

VOID = {"meta", "br", "img", "link", "hr", "input"}


class Page(HTMLParser):
    """Collects tags and attributes, and fails on tags that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def without_parts(report):
    """Every way in which a report may lack a section."""
    training = report.training
    return [
        replace(report, training=None),
        replace(report, training=replace(training, loss=(), rank_map={}, stages=())),
        replace(report, systems=()),
        replace(report, systems=(SystemResult("bare", "torch", "fp32"),)),
        replace(report, systems=(SystemResult("bare", "onnx", "int4", role="export"),)),
        replace(report, parity=(), notes=(), licences={}, protocol=""),
        replace(report, training=None, systems=(), parity=(), notes=(), licences={}),
    ]


def test_markdown_holds_the_numbers(report):
    text = render_markdown(report)
    row = next(line for line in text.splitlines() if line.startswith("| ExecuTorch int4 |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "ExecuTorch int4",
        "73.0 (68.5–77.5)",
        "67.8 (63.2–72.2)",
        "93.4 (747/800)",
        "121",
        "402",
        "24.8",
        "790",
        "63.2",
        "5.5×",
    ]
    assert "- ✗ **ONNX int4 answers as torch does**: seen 371 of 400" in text
    assert "| merged → ExecuTorch fp32 | 1.4e-4 | 1.1e-5 | > 0.999999 |" in text
    assert "4,883,712 of a budget of 4,884,480" in text
    assert "x86 host" in text
    assert "phone" in text


def test_markdown_shows_the_unmeasured_as_a_dash_with_its_reason(report):
    text = render_markdown(report)
    row = next(line for line in text.splitlines() if line.startswith("| torch fp32 (untrained) |"))
    assert row.count("– (1)") == 4
    assert "(1) timed once" in text
    assert not re.search(r"\| 0 \|", row)


def test_markdown_tables_are_rectangular(report):
    for block in render_markdown(report).split("\n\n"):
        if block.startswith("|"):
            widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(widths) == 1


def test_text_from_outside_is_escaped(report):
    name = 'a|b <script>alert("x")</script> & *c*'
    system = SystemResult(name, "torch", "fp32", fallbacks=(name,), role="export")
    hostile = replace(report, title=name, notes=(name,), systems=(*report.systems, system))
    assert r"a\|b \<script>" in render_markdown(hostile)
    page = render_html(hostile)
    assert "<script" not in page
    assert "a|b &lt;script&gt;" in page
    Page(page)


def test_html_is_self_contained_and_nests(report):
    text = render_html(report)
    page = Page(text)
    assert not {"script", "link", "iframe"} & set(page.tags)
    addresses = [v for name, v in page.attributes if name in ("src", "href", "srcset")]
    assert all(value.startswith(("#", "data:image/")) for value in addresses)
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_drawings_have_titles_and_one_for_each_width(report):
    text = render_html(report)
    drawings = re.findall(r'<svg class="draw.*?</svg>', text, flags=re.S)
    # Size against score, ranks, loss.
    assert len(drawings) == 6
    for drawing in drawings:
        labels = re.search(r'aria-labelledby="(\S+) (\S+)"', drawing)
        assert f'id="{labels.group(1)}"' in drawing
        assert f'id="{labels.group(2)}"' in drawing
        assert 'role="img"' in drawing
    assert text.count('class="draw wide"') == text.count('class="draw narrow"') == 3


def test_ids_are_unique(report):
    ids = [value for name, value in Page(render_html(report)).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_rank_map_has_one_cell_a_module(report):
    (picture,) = rank_pictures(report.training.rank_map, report.training.r_ref)
    assert len(re.findall(r'class="cell rank-', picture)) == 210
    assert "uniform 16" in picture
    zero = sum(rank == 0 for rank in report.training.rank_map.values())
    assert picture.count('class="cell rank-none"') == zero > 0


def test_absent_modules_leave_gaps(report):
    ranks = dict(report.training.rank_map)
    dropped = [name for name in ranks if name.endswith("v_proj")][:7]
    for name in dropped:
        del ranks[name]
    (picture,) = rank_pictures(ranks, report.training.r_ref)
    assert len(re.findall(r'class="cell rank-', picture)) == 203


def test_several_stacks_and_odd_names(report):
    ranks = {
        "language_model.model.layers.10.self_attn.q_proj": 8,
        "language_model.model.layers.2.self_attn.q_proj": 4,
        "vision_tower.blocks.0.attn.qkv": 16,
        "projector.fc": 2,
        "head": 1,
    }
    found = grids(ranks)
    assert [grid.stack for grid in found] == [
        "language_model.model.layers",
        "vision_tower.blocks",
        "other modules",
    ]
    assert found[0].layers == ("2", "10")
    assert sum(len(grid.cells) for grid in found) == len(ranks)
    training = replace(report.training, rank_map=ranks)
    Page(render_html(replace(report, training=training)))
    assert "vision\\_tower.blocks: attn.qkv" in render_markdown(replace(report, training=training))


def test_color_steps():
    assert [step_of(rank, 16) for rank in (0, 1, 4, 8, 15, 16, 17, 32, 64, 500)] == [
        None,
        -4,
        -4,
        -2,
        -1,
        0,
        1,
        2,
        4,
        4,
    ]


def test_sparkline():
    assert sparkline([0, 1, 8, 16]) == "·▁▄█"
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "··"


def test_smoothing_keeps_length_and_range():
    values = tuple(float(i % 7) for i in range(100))
    assert len(smooth(values)) == 100
    assert 0 <= min(smooth(values)) <= max(smooth(values)) <= 6
    assert smooth(()) == ()
    assert smooth((3.0,)) == (3.0,)


def test_loss_that_is_not_finite_leaves_a_gap():
    loss = (LossPoint("a", 1, 2.0), LossPoint("a", 2, float("nan")), LossPoint("a", 3, 1.0))
    picture = loss_picture(loss)
    assert "nan" not in picture.lower()
    nothing = (LossPoint("a", 1, float("nan")),)
    assert loss_picture(nothing) == ""


def test_one_loss_point_and_a_flat_curve():
    for loss in ((LossPoint("a", 0, 1.0),), tuple(LossPoint("a", i, 0.0) for i in range(4))):
        Page(loss_picture(loss))


@pytest.mark.parametrize("index", range(7))
def test_missing_sections_are_left_out(report, index):
    partial = without_parts(report)[index]
    assert render_markdown(partial).startswith("# smol")
    Page(render_html(partial))
    show_report(partial)


def test_broken_parity_is_shown(report):
    row = ParityRow("merged → ONNX fp32", float("nan"), float("inf"), verdict="fail")
    text = render_markdown(replace(report, parity=(row,)))
    assert "| merged → ONNX fp32 | not finite | not finite | – |" in text


def test_several_benchmarks_name_themselves(report):
    system = report.systems[1]
    pope = tuple(replace(score, benchmark="pope") for score in system.scores)
    both = report.with_system(replace(system, scores=system.scores + pope))
    both = replace(both, titles={"emojiqa": "EmojiQA", "pope": "POPE"})
    text = render_markdown(both)
    assert "EmojiQA seen" in text
    assert "POPE unseen" in text


def test_emulator_and_device_are_labelled(report):
    for kind, words in (("emulator", "correctness"), ("device", "arm64 device")):
        environment = replace(report.environment, kind=kind, machine="aarch64")
        assert words in render_markdown(replace(report, environment=environment))


def test_a_report_on_the_terminal(report, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    show_report(report)
    wide = capsys.readouterr().out
    assert "Decode" not in wide  # speeds go first where the window is narrow
    assert re.search(r"ExecuTorch int4 +.*73\.0 .*68\.5–77\.5", wide)
    assert max(len(line) for line in wide.splitlines()) <= 100
    assert "Verdict" in wide
    few = replace(report, systems=report.systems[:2])
    show_report(few)
    beside = capsys.readouterr().out
    assert re.search(r"Decode, tok/s +\S+", beside)
    assert re.search(r"Size, MB +\S+", beside)
