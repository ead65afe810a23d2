"""The six benchmarks end to end, killed and resumed, and over ten thousand questions.

Builds the official folders of all six, with small real pictures of an EmojiQA folder under the
official names and made-up questions, so the scores say nothing about a model. Three parts:

- all six on every artifact given;
- the last artifact again, killed with SIGKILL at random moments (the command, a worker, or all of
  them) and started again: every answer that was on disk at a kill must be in the final file as it
  was, each question exactly once, and the scores those of the undisturbed run;
- ten thousand questions in one process: resident memory along the way, and the runner's share.

Prints what it found, writes JSON, and fails when a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from hydra_mobile.core.files import write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.progress import duration
from hydra_mobile.evaluation.store.prediction_log import read_answers
from hydra_mobile.models.pictures import open_picture
from hydra_mobile.reporting import environment

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from benchmark_tree import SIX, build_tree, pope  # noqa: E402

#: Small real pictures: none of them is square, so that padding has something to do.
SIZE = (160, 120)
#: How far resident memory may grow from a tenth of the questions to the last one.
FLAT = 0.02
SHARE = 0.90


def pictures_of(folder: Path, count: int) -> list[Image.Image]:
    files = sorted(folder.rglob("*.png"))[:count]
    if not files:
        sys.exit(f"{folder} holds no pictures: expected a folder of `hydra-mobile data emojiqa`")
    return [open_picture(file).resize(SIZE) for file in files]


def command(artifacts: list[str], benchmarks: str, data: Path, out: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-W", "ignore", "-m", "hydra_mobile", "evaluate", *artifacts),
        *("--benchmarks", benchmarks, "--data", str(data), "--out", str(out), *more),
    ]


def scores_of(out: Path, system: int) -> dict[str, float]:
    report = json.loads((out / "report.json").read_text())
    return {
        f"{score['benchmark']} {score['split']} {score['kind']}": score["value"]
        for score in report["systems"][system]["scores"]
    }


def all_six(artifacts: list[str], tree: Path, out: Path, more: list[str]) -> list[dict[str, Any]]:
    began = time.monotonic()
    subprocess.run(command(artifacts, ",".join(SIX), tree, out, *more), check=True)
    report = json.loads((out / "report.json").read_text())
    print(f"all six on {len(artifacts)} artifacts took {duration(time.monotonic() - began)}")
    found = []
    for system in report["systems"]:
        for run in system["runs"]:
            if run["answered"] != run["questions"]:
                sys.exit(f"{system['name']}, {run['benchmark']}: not all questions were answered")
            found.append(
                {
                    "system": system["name"],
                    "benchmark": run["benchmark"],
                    "questions": run["questions"],
                    "seconds": run["seconds"],
                    "runner_share": run["runner_share"],
                }
            )
    return found


# -- kills --------------------------------------------------------------------------------------


def lines_in(out: Path) -> dict[tuple[str, str], str]:
    """Return (benchmark's folder, key) -> the whole line, of every answer on disk."""
    found: dict[tuple[str, str], str] = {}
    # A worker's file is gathered into answers.jsonl last: read the parts first.
    for pattern in ("answers-*.jsonl", "answers.jsonl"):
        for file in sorted(out.glob(f"answers/*/*/{pattern}")):
            for answer in read_answers(file):
                found.setdefault((file.parent.name, answer.key), dumps(answer.to_dict()))
    return found


def kill_once(arguments: list[str], out: Path, log: Path, draw: random.Random) -> str | None:
    """Start the command, kill something in it at a random moment; None when it ended before."""
    before, wanted = len(lines_in(out)), draw.randint(1, 6)
    early = draw.random() < 0.2
    moment = time.monotonic() + draw.uniform(0.5, 8.0)
    with log.open("a") as handle:
        process = subprocess.Popen(arguments, stdout=handle, stderr=handle, start_new_session=True)
    while process.poll() is None:
        workers = psutil.Process(process.pid).children(recursive=True)
        # Some kills fall into loading, the others behind a few more answers.
        ready = time.monotonic() > moment if early else len(lines_in(out)) >= before + wanted
        if ready:
            time.sleep(draw.uniform(0.0, 0.2))
            target = draw.choice(("command", "worker", "all"))
            if target == "worker" and workers:
                draw.choice(workers).send_signal(signal.SIGKILL)
            elif target == "all":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            process.wait()
            return f"{target}{' while loading' if early else ''}"
        time.sleep(0.05)
    return None


def kills(
    artifact: str, tree: Path, out: Path, count: int, seed: int, more: list[str]
) -> dict[str, Any]:
    draw = random.Random(seed)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    arguments = command([artifact], ",".join(SIX), tree, out, *more)
    held: dict[tuple[str, str], str] = {}
    killed: Counter[str] = Counter()
    while sum(killed.values()) < count:
        target = kill_once(arguments, out, out / "kills.log", draw)
        if target is None:
            break
        killed[target] += 1
        now = lines_in(out)
        changed = [key for key, line in held.items() if now.get(key) != line]
        if changed:
            sys.exit(f"after a kill, answers were lost or asked again: {changed[:3]}")
        held = now
        print(f"kill {sum(killed.values())} ({target}): {len(held)} answers are kept", flush=True)
    if sum(killed.values()) < count:
        sys.exit(f"finished after {sum(killed.values())} kills: ask more --questions")
    with (out / "kills.log").open("a") as handle:
        subprocess.run(arguments, check=True, stdout=handle, stderr=handle)
    final = lines_in(out)
    if any(final.get(key) != line for key, line in held.items()):
        sys.exit("the last start lost answers or asked again")
    for file in out.glob("answers/*/*/answers.jsonl"):
        keys = Counter(json.loads(line)["key"] for line in file.read_text().splitlines())
        if keys.most_common(1)[0][1] > 1:
            sys.exit(f"{file} holds {keys.most_common(1)[0]}")
    return {"kills": dict(killed), "answers": len(final)}


# -- ten thousand questions ---------------------------------------------------------------------


def many(
    artifact: str, pictures: list[Image.Image], work: Path, count: int, more: list[str]
) -> dict[str, Any]:
    folder = work / "many"
    if not folder.is_dir():
        pope(folder / "pope", pictures, count)
    out = work / "many-out"
    shutil.rmtree(out, ignore_errors=True)
    subprocess.run(command([artifact], "pope", folder, out, "--workers", "1", *more), check=True)
    (notes,) = [json.loads(file.read_text()) for file in out.glob("answers/*/*/worker-0.json")]
    run = json.loads((out / "report.json").read_text())["systems"][0]["runs"][0]
    memory = notes["resident_bytes"]
    first, last = memory[0][1], memory[-1][1]
    settled = next(size for answered, size in memory if answered * 10 >= notes["answered"])
    print(
        f"{run['answered']} questions: resident {first / 2**20:.1f} MiB after the first, "
        f"{settled / 2**20:.1f} MiB after a tenth, {last / 2**20:.1f} MiB after the last; "
        f"{run['runner_share']:.1%} of {duration(run['seconds'])} in the runner"
    )
    return {
        "artefact": Path(artifact).name,
        "answered": run["answered"],
        "resident_bytes": memory,
        "growth_from_a_tenth": last / settled - 1,
        "seconds": run["seconds"],
        "runner_share": run["runner_share"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifacts", nargs="+", help="the last one is killed, and asked 10,000")
    parser.add_argument("--pictures", type=Path, required=True, help="an EmojiQA folder")
    parser.add_argument("--work", type=Path, required=True, help="folder for trees and answers")
    parser.add_argument("--questions", type=int, default=60, help="about, of each benchmark")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--many", type=int, default=10_000, help="0 leaves this part out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--layout", choices=("mobilevlm", "llava"), default="mobilevlm")
    parser.add_argument("--out", type=Path, default=Path("experiments/benchmarks/result.json"))
    given = parser.parse_args()
    more = ["--threads", str(given.threads)]
    facts = environment.collect()
    pictures = pictures_of(given.pictures, 200)
    tree = given.work / f"tree-{given.layout}-{given.questions}"
    if not tree.is_dir():
        build_tree(tree, pictures, questions=given.questions, layout=given.layout)
    result: dict[str, Any] = {
        "what": "made-up questions about small real pictures: scores say nothing about a model",
        "environment": vars(facts),
        "end_to_end": all_six(given.artifacts, tree, given.work / "six", more),
    }
    last = given.artifacts[-1]
    if given.kills:
        killed = given.work / "killed"
        result["killed"] = kills(last, tree, killed, given.kills, given.seed, more)
        undisturbed = scores_of(given.work / "six", len(given.artifacts) - 1)
        if scores_of(killed, 0) != undisturbed:
            sys.exit("the interrupted run's scores are not those of the undisturbed one")
        result["killed"]["scores_equal"] = len(undisturbed)
        print(
            f"{given.kills} kills: each of {result['killed']['answers']} questions answered once, "
            f"{len(undisturbed)} scores as undisturbed"
        )
    if given.many:
        result["many"] = many(last, pictures, given.work, given.many, more)
    write_json(given.out, result)
    print(f"written to {given.out}")
    if given.many and result["many"]["growth_from_a_tenth"] > FLAT:
        sys.exit(f"memory grew by more than {FLAT:.0%}")
    if given.many and result["many"]["runner_share"] < SHARE:
        sys.exit(f"less than {SHARE:.0%} of the time was spent in the runner")


if __name__ == "__main__":
    main()
