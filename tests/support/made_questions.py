"""Made-up questions, comparisons, phones and rounding errors for a report. Nothing was measured."""

from dataclasses import replace

from hydra_mobile.reporting.evidence import (
    LeadBin,
    Outcomes,
    PhoneMemory,
    QuestionSection,
    SaidCounts,
    SharedAnswer,
    ShownQuestion,
    TrainingAnswer,
)
from hydra_mobile.reporting.results import Comparison, FlippedAnswer, ScoreChange
from hydra_mobile.reporting.schema import Report
from hydra_mobile.reporting.training_section import LossPoint

BEFORE, AFTER, EXPORT = "torch fp32 (untrained)", "torch fp32 (trained)", "ExecuTorch int4"
#: One pixel.
IMAGE = "data:image/webp;base64,UklGRiQAAABXRUJQVlA4IBgAAAAwAQCdASoBAAEAAgA0JaQAA3AA/vuUAAA="
#: Change against the trained model, half of its interval, lost and gained answers.
CHANGES = {
    BEFORE: (-0.46, 0.05, 200, 16),
    "ExecuTorch fp32": (0.0, 0.0, 0, 0),
    EXPORT: (-0.0125, 0.02, 12, 7),
    "ONNX fp32": (0.0, 0.004, 1, 1),
    "ONNX int4": (-0.04, 0.03, 24, 8),
}


def with_questions(report: Report) -> Report:
    """Return the report with all that it may know of single questions."""
    systems = tuple(
        replace(
            s,
            phone=PhoneMemory(
                {"weights": 90_000_000, "cache": 12_000_000, "the image": 20_000_000},
                122_000_000,
                160 * 2**20,
                {"4": 1_503_238_553, "6": 3_221_225_472, "8": 4_294_967_296, "12": 6_442_450_944},
                "measured on Linux within 15%",
            )
            if s.role == "export"
            else None,
            output_errors=_errors() if s.name == EXPORT else {},
            others=0.02 if s.timings.decode_tokens_per_second else None,
        )
        for s in report.systems
    )
    training = report.training
    assert training is not None
    return replace(
        report,
        systems=systems,
        comparisons=tuple(_comparison(name, *facts) for name, facts in CHANGES.items()),
        questions=_questions([s.name for s in systems]),
        training=replace(
            training,
            held_out=tuple(LossPoint("adapters", 50 * i, 2.2 - 0.2 * i) for i in range(1, 8)),
            answers=tuple(
                TrainingAnswer(step, f"What is {n}?", "a dog", f"a cat {step}", IMAGE)
                for step in (50, 350)
                for n in range(3)
            ),
        ),
    )


def _errors() -> dict[str, float]:
    return {
        f"layers.{layer}.{unit}": 0.02 + 0.002 * layer + 0.01 * i
        for layer in range(30)
        for i, unit in enumerate(("qkv", "out", "gate_up", "down"))
        if (layer, unit) != (3, "out")  # it keeps 8 bits
    }


def _comparison(name: str, change: float, half: float, lost: int, gained: int) -> Comparison:
    return Comparison(
        benchmark="emojiqa",
        system=name,
        reference=AFTER,
        n=800,
        same=800 - lost - gained - 5,
        lost=lost,
        gained=gained,
        changes=(ScoreChange("seen", "all", change, change - half, change + half, 0.1),),
        flips=tuple(
            FlippedAnswer(f"q{i}", "seen", "word", f"What is {i}?", "dog", "dog", "cat", 1.0, 0.0)
            for i in range(min(4, lost + gained))
        ),
        flips_file="flips/emojiqa.jsonl" if lost else "",
    )


def _questions(names: list[str]) -> QuestionSection:
    def shown(n: int, outcome: str, right: list[str]) -> ShownQuestion:
        wrong = tuple(name for name in names if name not in right)
        answers = (SharedAnswer("a dog", 1.0, tuple(right)), SharedAnswer("a cat", 0.0, wrong))
        return ShownQuestion(
            "emojiqa",
            f"q{n}",
            "word",
            f"What is number {n}?",
            "a dog",
            outcome,  # type: ignore[arg-type]
            IMAGE if n else "",
            tuple(answer for answer in answers if answer.systems),
            0.3 * n,
        )

    trained = [name for name in names if name != BEFORE]
    exact = [name for name in trained if "int4" not in name]
    return QuestionSection(
        n=800,
        shown=(
            *(shown(n, "kept", names) for n in range(4)),
            *(shown(n, "learned", trained) for n in range(4, 8)),
            *(shown(n, "flipped", exact) for n in range(8, 12)),
        ),
        outcomes=(
            Outcomes(BEFORE, AFTER, EXPORT, 180, 375, 39, 29, 16, 161),
            Outcomes(BEFORE, AFTER, "ONNX int4", 170, 370, 54, 24, 20, 162),
        ),
        leads=tuple(
            LeadBin(low, high, 160, {EXPORT: n, "ONNX int4": n + 5, "ONNX fp32": 0})
            for low, high, n in ((0.0, 0.5, 30), (0.5, 2.0, 9), (2.0, None, 1))
        ),
        said=(
            SaidCounts(
                "emojiqa",
                "yesno",
                320,
                {"yes": 161, "no": 159},
                {name: {"yes": 200, "no": 118, "": 2} for name in names},
            ),
        ),
    )
