# ruff: noqa: RUF001 (the minus sign is what is tested)
"""The page: what each section says of a report that knows everything, and of lesser ones."""

import json
import re
from dataclasses import replace
from html import unescape

import pytest
from made_history import write_history
from made_questions import EXPORT, with_questions
from test_report_rendering import Page, without_parts

from hydra_mobile.evaluation.results.rank_history import rank_history
from hydra_mobile.reporting.html import render_html
from hydra_mobile.reporting.page.view import View, spans
from hydra_mobile.reporting.schema import Report
from hydra_mobile.reporting.verdicts import findings


@pytest.fixture
def full(report, tmp_path) -> Report:
    write_history(tmp_path)
    made = with_questions(report)
    history = rank_history(tmp_path, steps=400)
    return replace(made, training=replace(made.training, rank_history=history))


def section(page: str, ident: str) -> str:
    """The text of a section, without its markup."""
    found = re.search(rf'<section id="{ident}".*?</section>', page, flags=re.S)
    return text_of(found.group(0)) if found else ""


def text_of(markup: str) -> str:
    words = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", markup)))
    return re.sub(r" (?=[.,])", "", words)


def first_screen(page: str) -> str:
    return text_of(re.search(r"<header.*?</header>", page, flags=re.S).group(0))


def test_the_verdict_and_four_large_numbers(full):
    page = render_html(full)
    top = first_screen(page)
    assert "Training lifted the score on EmojiQA, seen from 28.1% to 74.2%." in top
    assert "ExecuTorch int4 keeps 44.8 of those 46.0 points, in 121 MB." in top
    assert page.count('class="v"') - page.count('svg class="v"') >= 4
    for words in ("+46.0 points", "−1.2 points", "121 MB", "0.11 s", "may be chance"):
        assert words in top
    assert "No phone has run it yet." in top


def test_sections_answer_in_the_order_of_a_readers_questions(full):
    page = render_html(full)
    Page(page)
    shown = re.findall(r'<section id="(\w+)"', page)
    assert shown == ["scores", "ship", "gallery", "flips", "phone", "ranks", "training", "trust"]
    assert re.findall(r'<li><a href="#(\w+)"', page) == shown
    assert "800 questions, one mark each" in section(page, "scores")
    assert "Ship this" in section(page, "ship")


def test_a_card_has_picture_question_right_answer_and_a_chip_for_each_model(full):
    page = render_html(full)
    cards = re.findall(r'<article class="q.*?</article>', page, flags=re.S)
    assert len(cards) == 12 + 3
    assert cards[0].count("<img") == 0
    assert cards[8].count('src="data:image/webp') == 1
    assert "What is number 8?" in cards[8]
    assert 'aria-label="right"' in cards[8]
    assert 'aria-label="wrong"' in cards[8]
    assert cards[8].count('class="chip"') == len(full.systems)
    assert "all 6 models" in cards[1]
    for words in ("Kept", "Learned", "Flipped by quantization"):
        assert words in section(page, "gallery")


def test_a_card_says_how_an_answer_was_read(full):
    shown = full.questions.shown[1]
    odd = replace(shown.answers[0], text="trauma", read="yes")
    question = replace(shown, answers=(odd,))
    questions = replace(full.questions, shown=(question,))
    words = section(render_html(replace(full, questions=questions)), "gallery")
    assert "trauma read as yes" in words


def test_flips_by_pair_count_from_the_untrained_model_on(full):
    words = section(render_html(full), "flips")
    # 16 answers got better before training than after it, 200 worse.
    assert "torch fp32 (untrained) → torch fp32 (trained) −16 +200" in words
    assert "torch fp32 (trained) → ExecuTorch int4 −12 +7" in words
    assert "Close calls flip" in words
    assert "What was said: yesno" in words


def test_phones_from_4_to_12_gib(full):
    words = section(render_html(full), "phone")
    for gib in (4, 6, 8, 12):
        assert f"{gib} GiB ✓ fits" in words
    assert "ExecuTorch int4 fits phones from 4 GiB" in words
    heavy = [
        replace(s, phone=replace(s.phone, peak=5 * 2**30)) if s.phone else s for s in full.systems
    ]
    words = section(render_html(replace(full, systems=tuple(heavy))), "phone")
    assert "8 GiB ✗ does not fit" in words
    assert "12 GiB ✓ fits" in words


def test_ranks_beside_rounding_errors_on_one_grid(full):
    page = render_html(full)
    words = section(page, "ranks")
    assert "4 bits change most in layers 26–29 of ExecuTorch int4" in words
    assert "layer 3, q_proj: rank" in words
    assert re.search(r"layer 3, o_proj: rank \d+ ", words)
    assert not re.search(r"layer 3, o_proj: rank \d+, output", words)
    # Two widths of 210 modules, three dots in the key; o_proj of layer 3 keeps 8 bits.
    assert page.count('class="hurt"') == 2 * 209 + 3


def test_loss_with_events_and_sample_answers(full):
    page = render_html(full)
    words = section(page, "training")
    assert "Held-out loss fell from 2.00 to 0.80." in words
    assert "Answers during training" in words
    assert "step 50 a cat 50 step 350 a cat 350 right a dog" in words
    assert page.count('class="held"') == 2 * 7 + 1


def test_a_busy_machine_is_said_and_no_speed_is_judged(full):
    assert "busy" not in text_of(render_html(full)).replace("the busy", "")
    noisy = tuple(replace(s, others=0.4) if s.others is not None else s for s in full.systems)
    busy = replace(full, systems=noisy)
    page = render_html(busy)
    assert "not reliable: the computer was busy" in first_screen(page)
    assert "Other programs used up to 40% of the processors" in section(page, "phone")
    assert 'class="bar unsure"' in page
    speed = [f for f in findings(busy) if "faster" in f.claim]
    assert speed
    assert {f.status for f in speed} == {"unknown"}
    loaded = replace(full.environment, load_average=(3.1, 2.0, 1.0))
    old = tuple(replace(s, others=None) for s in full.systems)
    assert View(replace(full, environment=loaded, systems=old)).busy


def test_what_to_ship_is_small_and_loses_least(full):
    view = View(full)
    assert view.ship.name == EXPORT
    # The other one of about this size surely loses; the exact ones are five times larger.
    lossless = tuple(c for c in full.comparisons if c.system != EXPORT)
    surely = replace(
        next(c for c in full.comparisons if c.system == EXPORT),
        changes=next(c for c in full.comparisons if c.system == "ONNX int4").changes,
    )
    worse = View(replace(full, comparisons=(*lossless, surely)))
    assert {worse.judgment(s) for s in worse.exports if s.preset == "int4"} == {"loses"}
    assert worse.ship.preset == "fp32"


@pytest.mark.parametrize("index", range(7))
def test_every_lesser_report_is_a_page(full, index):
    lesser = without_parts(full)[index]
    Page(render_html(lesser))


def test_one_model_and_twelve(full):
    one = replace(full, systems=full.systems[1:2], comparisons=(), questions=None)
    page = render_html(one)
    assert "The trained model scores 74.2%" in first_screen(page)
    assert "flips" not in re.findall(r'<section id="(\w+)"', page)
    many = tuple(replace(full.systems[3], name=f"model {n}") for n in range(10))
    twelve = replace(full, systems=(*full.systems[:2], *many))
    assert len(set(View(twelve).looks.values())) == 12
    Page(render_html(twelve))


def test_not_a_number_is_said_and_drawn_nowhere(full):
    score = replace(full.systems[3].scores[0], value=float("nan"))
    broken = replace(full.systems[3], scores=(score, *full.systems[3].scores[1:]))
    page = render_html(full.with_system(broken))
    assert "nan" not in re.sub(r"data:[^\"]+", "", page).lower().replace("nano", "")
    assert "not finite" in page


def test_everything_new_survives_json_and_old_reports_lack_it(full):
    value = json.loads(json.dumps(full.to_dict()))
    assert Report.from_dict(value) == full
    del value["questions"]
    for system in value["systems"]:
        for key in ("phone", "output_errors", "others"):
            system.pop(key, None)
    for key in ("held_out", "answers"):
        value["training"].pop(key, None)
    old = Report.from_dict(value)
    assert old.questions is None
    Page(render_html(old))


def test_spans():
    assert spans([24, 1, 2, 23]) == "1–2 and 23–24"
    assert spans([3]) == "3"
    assert spans([1, 3, 5]) == "1, 3 and 5"
