"""Is anything slower than what is committed? The last step of `make bench`.

    python -m experiments.guard

Compares the quick runs of `training_speed` and `inference_speed` with their committed results.
What is compared are ratios within a round (ours over another engine or trainer, HyDRA over uniform
LoRA): a machine's own speed divides out of them. A ratio is slower when its median lies below the
lowest committed round by more than TOLERANCE, the spread that two or three short rounds have beside
the committed ones. Ends with exit code 1 where one is slower, with 2 where nothing can be compared.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.inference_speed import table as inference
from experiments.shared.markdown import ranged, table
from experiments.training_speed import table as training
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import read_json

TOLERANCE = 0.15
_HERE = Path(__file__).parent
_OURS = ("executorch", "onnx")
_HYDRA = "ours, HyDRA"
Value = Mapping[str, Any]


@dataclass(frozen=True)
class Compared:
    """One ratio, larger is faster: by round, as committed and now."""

    what: str
    committed: list[float]
    now: list[float]

    @property
    def bound(self) -> float:
        """The smallest median that is not slower."""
        return min(self.committed) * (1 - TOLERANCE)

    @property
    def slower(self) -> bool:
        """Whether it is slower than the committed rounds allow."""
        return statistics.median(self.now) < self.bound


def inference_ratios(committed: Value, now: Value) -> Iterator[Compared]:
    """Yield our forms over llama.cpp's of as many bits, in the cells that both results have."""
    lengths = [n for n in now["protocol"]["prompts"] if n in committed["protocol"]["prompts"]]
    cells = list(itertools.product(now["protocol"]["threads"], lengths, ("prefill", "decode")))
    for form, facts in now["forms"].items():
        peer = inference.peer_of(now, form)
        if facts["engine"] not in _OURS or peer is None:
            continue
        for threads, length, phase in cells:

            def speed(row: inference.Row, phase: str = phase, length: int = length) -> float:
                # Both answer as many tokens, so that any number of them gives the ratio.
                return inference.rate(row, phase, length, 1)

            found = [inference.ratios(v, form, peer, threads, speed) for v in (committed, now)]
            if all(found):
                yield Compared(f"{form} over {peer}, {phase} {length}, {threads} threads", *found)


def training_ratios(committed: Value, now: Value) -> Iterator[Compared]:
    """Yield questions a second: ours over the Trainer with peft, HyDRA over uniform LoRA."""
    pairs = [(training.UNIFORM, training.PEER), (_HYDRA, training.UNIFORM)]
    for way, to in pairs:
        found = [training.ratios(v, way, to, "questions_per_second") for v in (committed, now)]
        if all(found):
            yield Compared(f"training: {way} over {to}", *found)


def render(compared: list[Compared]) -> str:
    """Return the table of all ratios."""
    lines = [
        [
            each.what,
            ranged(each.committed),
            f"{each.bound:.2f}",
            ranged(each.now),
            "slower" if each.slower else "holds",
        ]
        for each in compared
    ]
    return table(["ratio, larger is faster", "committed", "at least", "now", ""], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/bench"), help="of the quick runs")
    given = parser.parse_args()
    compared: list[Compared] = []
    try:
        for name, ratios in (
            ("training_speed", training_ratios),
            ("inference_speed", inference_ratios),
        ):
            quick = given.runs / name / "quick.json"
            now = read_json(quick, f"a quick run (`python -m experiments.{name}.run --quick`)")
            committed = json.loads((_HERE / name / "result.json").read_text("utf-8"))
            found = list(ratios(committed, now))
            if not found:
                raise HydraError(
                    f"{quick} has no ratio that {name}/result.json has too.",
                    "Install cmake, ninja and a C++ compiler, which build llama.cpp, and the "
                    "other engines: "
                    "`pip install --no-deps -r experiments/inference_speed/requirements.txt`.",
                )
            compared += found
    except HydraError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    print(render(compared))
    if slower := [each.what for each in compared if each.slower]:
        print(f"slower than committed: {'; '.join(slower)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
