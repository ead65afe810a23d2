"""Every score against numbers worked out by hand from its published definition."""

from __future__ import annotations

import random

import pytest

from hydra_mobile.benchmarks.score_names import SCORE_NAMES
from hydra_mobile.benchmarks.scoring import SCORES
from hydra_mobile.benchmarks.scoring.anls import distance
from hydra_mobile.benchmarks.scoring.vqa import normalized


def credit(score: str, answer: str, *accepted: str) -> float:
    return SCORES[score].credit(answer, accepted)


def test_every_score_has_a_name_for_help_texts() -> None:
    assert list(SCORES) == list(SCORE_NAMES)


@pytest.mark.parametrize(
    ("one", "other", "steps"),
    [
        ("", "", 0),
        ("", "abc", 3),
        ("abc", "abc", 0),
        ("kitten", "sitting", 3),
        ("flaw", "lawn", 2),
        ("ab", "ba", 2),
        ("\U0001f600a", "a", 1),
    ],
)
def test_edit_distance(one: str, other: str, steps: int) -> None:
    assert distance(one, other) == distance(other, one) == steps


def test_the_edit_distance_of_long_texts_is_that_of_the_table() -> None:
    def by_table(one: str, other: str) -> int:
        above = list(range(len(other) + 1))
        for row, character in enumerate(one, 1):
            current = [row]
            for column, wanted in enumerate(other, 1):
                replaced = above[column - 1] + (character != wanted)
                current.append(min(replaced, above[column] + 1, current[-1] + 1))
            above = current
        return above[-1]

    chance = random.Random(1)
    for _ in range(300):
        one, other = ("".join(chance.choices("abc", k=chance.randrange(90))) for _ in range(2))
        assert distance(one, other) == by_table(one, other)
    assert distance("9" * 20_000, "x" * 15_000) == 20_000


@pytest.mark.parametrize(
    ("answer", "accepted", "by_hand"),
    [
        ("stop", ["stop"], 1.0),
        ("STOP ", [" stop"], 1.0),
        ("a  b\nc", ["A B C"], 1.0),
        # 1 of 4 characters wrong.
        ("shop", ["stop"], 0.75),
        # 1 - 2/4 is the threshold itself, which counts; 1 - 3/4 does not.
        ("stab", ["stop"], 0.5),
        ("slab", ["stop"], 0.0),
        # The longer text divides: "stop sign" has 5 characters more of 9, 4/9 is below one half.
        ("stop sign", ["stop"], 0.0),
        ("stopped", ["stop"], 4 / 7),
        # The nearest accepted answer counts.
        ("shop", ["bus", "stop", "shops"], 0.8),
        ("", ["stop"], 0.0),
        ("stop", [], 0.0),
        ("3.5%", ["3,5%"], 0.75),
    ],
)
def test_anls(answer: str, accepted: list[str], by_hand: float) -> None:
    assert credit("anls", answer, *accepted) == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize(
    ("answer", "accepted", "by_hand"),
    [
        ("100", ["100"], 1),
        # Exactly 5% off is within, more is not.
        ("105", ["100"], 1),
        ("95", ["100"], 1),
        ("105.01", ["100"], 0),
        ("94.9", ["100"], 0),
        ("-100", ["-104"], 1),
        ("100", ["-100"], 0),
        # A percentage is a hundredth, on either side.
        ("50%", ["0.5"], 1),
        ("0.51", ["50%"], 1),
        ("50", ["50%"], 0),
        ("1e2", ["100"], 1),
        # A true value of 0 has no 5%: equal texts only.
        ("0", ["0"], 1),
        ("0.0", ["0"], 0),
        ("0.01", ["0"], 0),
        # Commas and units make texts of numbers.
        ("1,000", ["1000"], 0),
        ("1,000", ["1,000"], 1),
        ("100 kg", ["100"], 0),
        ("Yes", ["yes"], 1),
        ("  yes ", ["Yes"], 1),
        ("yes.", ["Yes"], 0),
        ("", ["100"], 0),
        ("nan", ["100"], 0),
        ("inf", ["100"], 0),
        ("2019", ["2020"], 1),  # the known weakness of the metric: years are numbers
        ("7", ["red", "7.2"], 1),
    ],
)
def test_relaxed_accuracy(answer: str, accepted: list[str], by_hand: int) -> None:
    assert credit("relaxed", answer, *accepted) == by_hand


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("A Dog", "dog"),
        ("the\ttwo\ndogs", "2 dogs"),
        ("none", "0"),
        ("ten.", "10"),
        ("dont", "don't"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        # A mark beside a space goes, one between letters becomes a space.
        ("well-known", "well known"),
        ("well- known", "well known"),
        ("yes!", "yes"),
        ("a.m", "am"),
        # Of 2015's evaluator: colons and apostrophes stay.
        ("5:30", "5:30"),
        ("man's", "man's"),
        ("", ""),
    ],
)
def test_vqa_normalization(answer: str, normal: str) -> None:
    assert normalized(answer) == normal


@pytest.mark.parametrize(
    ("answer", "given", "by_hand"),
    [
        ("red", ["red"] * 10, 1.0),
        # k of ten: k people see k - 1 others, ten - k see k; each min(1, ./3); the mean of ten.
        ("red", ["red"] * 4 + ["blue"] * 6, 1.0),
        ("red", ["red"] * 3 + ["blue"] * 7, 0.9),
        ("red", ["red"] * 2 + ["blue"] * 8, 0.6),
        ("red", ["red"] + ["blue"] * 9, 0.3),
        ("red", ["blue"] * 10, 0.0),
        ("The Red.", ["red"] * 3 + ["a red"] + ["blue"] * 6, 1.0),
        ("2", ["two"] * 10, 1.0),
        # Not ten people: one alone sees no others; of three equal ones each sees two.
        ("red", ["red"], 0.0),
        ("red", ["red"] * 3, 2 / 3),
        ("red", [], 0.0),
        ("", ["red"] * 10, 0.0),
    ],
)
def test_vqa_accuracy(answer: str, given: list[str], by_hand: float) -> None:
    assert credit("vqa", answer, *given) == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize(
    ("score", "answer", "accepted", "by_hand"),
    [
        ("exact", "Stop!", ["stop"], 1),
        ("exact", ' "stop" ', ["STOP"], 1),
        ("exact", "stop sign", ["stop"], 0),
        ("exact", "a  b", ["a b"], 1),
        ("exact", "STRASSE", ["straße"], 1),
        ("exact", "", ["stop"], 0),
        ("contains", "It says STOP here", ["stop"], 1),
        ("contains", "st op", ["stop"], 0),
        ("contains", "line\nend", ["line end"], 1),
        ("contains", "nonstop", ["stop"], 1),  # OCRBench's rule knows no words
        ("contains", "anything", [" "], 0),
        ("contains", "", ["stop"], 0),
        ("formula", "x ^ 2 + 1", ["x^2+1"], 1),
        ("formula", "X^2", ["x^2"], 0),
        ("formula", "so \\frac { 1 } { 2 } it is", ["\\frac{1}{2}"], 1),
    ],
)
def test_texts(score: str, answer: str, accepted: list[str], by_hand: int) -> None:
    assert credit(score, answer, *accepted) == by_hand


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("(B)", "B"),
        ("The answer is B", "B"),
        ("blue", "B"),
        ("It is blue.", "B"),
        ("A or B", ""),
        # Neither a lone letter in lower case nor one beyond the options is read.
        ("b", ""),
        ("D", ""),
        ("", ""),
        ("B is what I would say here", ""),
    ],
)
def test_choice_letters(answer: str, letter: str) -> None:
    assert SCORES["choice"].read(answer, ("red", "blue", "green")) == letter


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Yes", "yes"),
        ("no.", "no"),
        ("Yes, it is", "yes"),
        ("yes and no", ""),
        ("none", ""),
        ("nothing", ""),
        ("", ""),
        ("No, there is not", "no"),
        ("not yes", "yes"),
    ],
)
def test_yes_or_no(answer: str, said: str) -> None:
    assert SCORES["yesno"].read(answer, ()) == said
