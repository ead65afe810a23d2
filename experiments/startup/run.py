"""How long does a verb take to answer what is quickly answered?

    python -m experiments.startup.run --bundle BUNDLE --picture FILE --before CHECKOUT

Each command is a process of its own; this checkout and the one from before take turns, round after
round. What is compared is processor time (user and system, children included), which other work on
the machine changes less than the clock; ratios are taken within a round, then their median.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.shared.markdown import before_and_now
from hydra_mobile.core.files import write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.reporting import environment

RESULT = Path(__file__).with_name("result.json")
HERE = Path(__file__).parents[2]


def commands(bundle: Path, picture: Path, questions: Path, out: Path) -> dict[str, list[str]]:
    """Return the command lines by what the table calls them."""
    ask = ["--image", str(picture), "--ask", "What is it?"]
    evaluated = ["--benchmarks", str(questions), "--out", str(out)]
    return {
        "`--help`": ["--help"],
        "a wrong option": ["export", "--presett"],
        "`bundle show`": ["bundle", "show", str(bundle)],
        "`chat --ask`, one answer": ["chat", str(bundle), *ask],
        "`evaluate`, two questions": ["evaluate", str(bundle), *evaluated],
    }


def seconds(checkout: Path, command: Sequence[str]) -> float:
    """Return the processor time of one command."""
    path = os.pathsep.join([str(checkout), str(checkout / "export")])
    before = os.times()
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "hydra_mobile", *command],
        env={**os.environ, "PYTHONPATH": path},
        cwd=checkout,
        capture_output=True,
        check=False,
    )
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def render(value: dict[str, Any]) -> str:
    """Return the table of a result."""
    return before_and_now("command", value["rows"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--before", type=Path, required=True, help="a checkout to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    described = ["git", "-C", str(given.before), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(described, capture_output=True, text=True, check=True).stdout.strip()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        questions = Path(folder) / "two.jsonl"
        line = {"question": "What is it?", "image": str(given.picture.absolute()), "answer": "it"}
        questions.write_text("".join(f"{dumps(line)}\n" for _ in range(2)))
        for number in range(given.rounds):
            # A report that is there already would be read, not made.
            outs = {key: Path(folder) / f"{key}-{number}" for key in ("before", "now")}
            for name in commands(given.bundle, given.picture, questions, outs["now"]):
                row: dict[str, Any] = {"round": number, "command": name}
                for key, checkout in (("before", given.before.absolute()), ("now", HERE)):
                    own = commands(
                        given.bundle.absolute(), given.picture.absolute(), questions, outs[key]
                    )
                    row[key] = round(seconds(checkout, own[name]), 2)
                rows.append({**row, "load_average": [round(x, 1) for x in os.getloadavg()]})
                print(f"[{number + 1}/{given.rounds}] {name}: {row['before']} s, {row['now']} s")
    value = {
        "what": "seconds of processor time of a command, its children included",
        "before": commit,
        "environment": json.loads(dumps(vars(environment.collect()))),
        "rows": rows,
    }
    write_json(given.out, value)
    print(render(value))


if __name__ == "__main__":
    main()
