"""What int4 weights should be rounded on: the run's own training data, or text the model writes?

    python -m experiments.presets.calibration quickstart [ANOTHER ...]

Asks the trained model of each quickstart EmojiQA questions, in fp32 and on the grid of int4 as
rounded on each (`rounded.py`), and counts the answers that stay. What is measured already is not
measured again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from experiments.presets.rounded import ROUNDINGS, clusters_of, measured
from experiments.presets.table import render_calibration
from hydra_mobile.core.files import write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.quiet import quiet
from hydra_mobile.reporting import environment

RESULT = Path(__file__).with_name("calibration.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("quickstarts", type=Path, nargs="+", help="folders that quickstart left")
    parser.add_argument("--limit", type=int, default=60, help="questions per split")
    parser.add_argument("--roundings", nargs="+", default=ROUNDINGS, choices=ROUNDINGS)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    quiet()
    result: dict[str, Any] = {
        "what": "EmojiQA, trained quickstart models: int4 on each calibration against fp32",
        "environment": json.loads(dumps(vars(environment.collect()))),
        "models": {},
    }
    if given.out.is_file():
        result["models"] = json.loads(given.out.read_text())["models"]
    for number, folder in enumerate(given.quickstarts):
        data = folder / "emojiqa"
        new = {"clusters": clusters_of(data, given.limit), "rows": {}}
        found = result["models"].setdefault(str(number), new)
        for name in given.roundings:
            if name not in found["rows"]:
                for part, row in measured(folder / "run", data, given.limit, name):
                    found["rows"][part] = row
                    write_json(given.out, result)
    print(render_calibration(result))


if __name__ == "__main__":
    main()
