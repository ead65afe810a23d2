"""The JSON of `hydra-mobile score` as a report of one row, to stand beside evaluated systems.

Such scores are of an answers file: there is no artifact, no machine and no timing.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hydra_mobile.benchmarks.about import titles
from hydra_mobile.core.errors import ArtifactError
from hydra_mobile.core.typed import decode
from hydra_mobile.reporting.environment import collect
from hydra_mobile.reporting.results import BenchmarkRun, Score, SystemResult
from hydra_mobile.reporting.schema import Report
from hydra_mobile.reporting.write import new_report

_REASON = "an answers file was scored; nothing was run"
_UNMEASURED = (
    "size_bytes",
    "peak_memory_bytes",
    "load",
    "encode",
    "prefill_tokens_per_second",
    "first_token",
    "decode_tokens_per_second",
    "delegation",
    "agreement",
    "comparison",
)


def is_scored(value: Any) -> bool:
    """Say whether a JSON value looks like what `hydra-mobile score --json` prints."""
    return isinstance(value, dict) and {"benchmark", "answers_file", "scores"} <= set(value)


def scored_report(value: dict[str, Any], file: Path) -> Report:
    """Return the report of one row.

    Args:
        value: what `hydra-mobile score --json` printed.
        file: where it was read, for messages.

    Raises:
        ArtifactError: a field is missing or wrong; names the file.
    """
    try:
        facts = dict(value["protocol"])
        benchmark, answers = str(value["benchmark"]), str(value["answers_file"])
        run = BenchmarkRun(
            benchmark=benchmark,
            protocol=str(facts.get("protocol", "")),
            facts=facts,
            sources=tuple(str(name) for name in facts.get("files", ())),
            questions=int(value["questions"]),
            answered=int(value["answered"]),
        )
        scores = tuple(_score(item, benchmark) for item in value["scores"])
    except (KeyError, TypeError, ValueError, ArtifactError) as error:
        raise ArtifactError(
            f"{file} is not what `hydra-mobile score --json` prints: "
            f"{error.what if isinstance(error, ArtifactError) else repr(error)}",
            "Score the answers again.",
        ) from error
    # Our own files are all called answers.jsonl: then the JSON's name says more.
    stem = Path(answers).stem
    name = f"{file.stem if stem == 'answers' else stem} (answers)"
    system = SystemResult(
        name=name,
        runtime="answers file",
        preset="none",
        artefact=Path(answers).name,
        scores=scores,
        runs=(run,),
        reasons=dict.fromkeys(_UNMEASURED, _REASON),
    )
    report = new_report(f"answers to {benchmark}", collect()).with_system(system)
    return dataclasses.replace(report, titles=titles([benchmark]))


def _score(item: dict[str, Any], benchmark: str) -> Score:
    fields = ("kind", "value", "low", "high", "n", "majority", "unit", "headline", "unread")
    known = {name: item[name] for name in fields if name in item}
    return decode(Score, {"benchmark": benchmark, "split": item["name"], **known}, "scores")
