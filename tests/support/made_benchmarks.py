"""Made-up results on three benchmarks, MME's points among them. Nothing here was measured."""

from dataclasses import replace

from hydra_mobile.benchmarks.about import titles
from hydra_mobile.reporting.results import (
    BenchmarkRun,
    Comparison,
    FlippedAnswer,
    Score,
    ScoreChange,
    Spread,
    Timings,
)
from hydra_mobile.reporting.schema import Report

#: benchmark -> split, kind, score of the trained model, unit, half of the interval, questions
BENCHMARKS = {
    "pope": ("all", "mean f1", 0.843, "share", 0.009, 8910),
    "mme": ("perception", "all", 1196.2, "points", 28.0, 2114),
    "gqa": ("all", "all", 0.561, "share", 0.009, 12578),
}
#: What each system's score is of the trained model's.
KEPT = {
    "torch fp32 (untrained)": 0.7,
    "torch fp32 (trained)": 1.0,
    "ExecuTorch fp32": 1.0,
    "ExecuTorch int4": 0.99,
    "ONNX fp32": 1.0,
    "ONNX int4": 0.95,
}
REFERENCE = "torch fp32 (trained)"


def scores(share: float) -> tuple[Score, ...]:
    found = []
    for name, (split, kind, value, unit, half, n) in BENCHMARKS.items():
        v = share * value
        found.append(Score(name, split, kind, v, v - half, v + half, n, 0.6 * value, unit, True))
    for split in ("random", "popular"):
        found.append(Score("pope", split, "f1", 0.8 * share, 0.5, 0.9, 3000, 0.667))
    return tuple(found)


def runs(protocol: str = "llava-1.5") -> tuple[BenchmarkRun, ...]:
    return tuple(
        BenchmarkRun(
            benchmark=name,
            protocol=protocol,
            facts={
                "protocol": protocol,
                "max_new_tokens": 128,
                "files": {f"{name}.json": n},
                "notes": [],
            },
            sources=(f"{name}.json",),
            questions=n,
            answered=n,
            samples="ab12cd34",
            answers=f"answers/{name}.jsonl",
            timings=Timings(first_token=Spread(0.1234, 0.12, 0.13, n)),
            seconds=60.0,
            runner_share=0.962,
            peak_memory_bytes=812_000_000,
        )
        for name, (_, _, _, _, _, n) in BENCHMARKS.items()
    )


def flip(number: int, better: bool) -> FlippedAnswer:
    texts = ("yes", "no") if better else ("no", "yes")
    question = "Is there | a dog?\nAnswer the question using a single word or phrase."
    return FlippedAnswer(
        f"q{number}", "all", "x", question, "yes", *texts, float(better), float(not better)
    )


def comparison(benchmark: str, system: str, change: float, half: float) -> Comparison:
    split, kind, _, unit, _, n = BENCHMARKS[benchmark]
    return Comparison(
        benchmark=benchmark,
        system=system,
        reference=REFERENCE,
        n=n,
        same=n - 70,
        gained=30,
        lost=40,
        changes=(
            ScoreChange(split, kind, change, change - half, change + half, 0.2, unit, True),
            ScoreChange(split, "other", change / 2, change - half, change + half, 0.2, unit),
        ),
        flips=tuple(flip(i, i % 3 == 0) for i in range(12)),
        flips_file=f"flips/{benchmark}.jsonl",
    )


def with_benchmarks(report: Report) -> Report:
    """Return the report with these results in place of its own."""
    systems = tuple(replace(s, scores=scores(KEPT[s.name]), runs=runs()) for s in report.systems)
    comparisons = []
    for name, share in KEPT.items():
        if name.startswith("torch"):
            continue
        for benchmark, (_, _, value, _, half, _) in BENCHMARKS.items():
            comparisons.append(comparison(benchmark, name, share * value - value, half / 2))
    return replace(
        report,
        systems=systems,
        comparisons=tuple(comparisons),
        titles=titles([*BENCHMARKS, "mmbench"]),
    )
