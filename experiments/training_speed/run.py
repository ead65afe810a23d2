"""How fast stage II trains: this project beside transformers' Trainer with peft.

    python -m experiments.training_speed.run --data quickstart/emojiqa
    python -m experiments.training_speed.run --quick          # a short look, three ways

Base `smol`, the same questions about the same pictures, as many a step, as many adapter parameters,
fp32 on the CPU, two threads. Ways of training take turns, round after round, each in a process of
its own; ratios are taken within a round. A step's time is from the end of one step to the end of
the next, reading included; the first two are left out (thread pools, first allocations). The pass
that caches vision features comes before the steps: a second figure charges it to the one epoch.
What was measured is kept in `--work`: the same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from experiments.training_speed.table import render
from hydra_mobile.core.files import cache_home, write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.progress import duration
from hydra_mobile.reporting import environment

RESULT = Path(__file__).with_name("result.json")
RANK, ALPHA, BATCH, THREADS = 16, 32, 15, 2
#: Steps at the beginning that are not timed.
COLD = 2
#: Ways of training, in the order of the table: whose, and what is particular.
WAYS: dict[str, dict[str, Any]] = {
    "Trainer + peft LoRA": {"peer": "lora"},
    "Trainer + peft LoRA, head on answers": {"peer": "head"},
    "Trainer + peft AdaLoRA": {"peer": "adalora"},
    "ours, uniform": {"ours": ["ranks.policy=uniform"]},
    "ours, HyDRA": {"ours": ["ranks.policy=hydra"]},
    "ours, AdaLoRA": {"ours": ["ranks.policy=adalora"]},
    "ours, uniform, nothing cached or shared": {
        "ours": [
            "ranks.policy=uniform",
            "runtime.vision_cache=false",
            "data.share_prefix=false",
        ]
    },
}
QUICK = ("Trainer + peft LoRA", "ours, uniform", "ours, HyDRA")


def write_questions(data: Path, out: Path, questions: int) -> int:
    """Write the first pictures' questions, all of each picture, as a json; return their number.

    Fewer of a picture than there are would not let ours share a picture's prefix as in an epoch.
    """
    records = json.loads((data / "train_stage2.json").read_text())
    by_picture: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_picture.setdefault(record["image"], []).append(record)
    chosen: list[dict[str, Any]] = []
    for group in by_picture.values():
        if len(chosen) + len(group) > questions:
            break
        chosen += group
    for record in chosen:
        record["image"] = str((data / record["image"]).absolute())
    out.write_text(dumps(chosen))
    return len(chosen)


def ours(request: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Train with `hydra-mobile train` and an empty cache of features; return as the peer does."""
    with tempfile.TemporaryDirectory() as temporary:
        run, home = Path(temporary) / "run", Path(temporary) / "home"
        home.mkdir()
        # Weights as they are; features are to be computed here.
        (home / "bases").symlink_to(cache_home() / "bases")
        command = [sys.executable, "-W", "ignore", "-m", "hydra_mobile", "train"]
        command += [
            *("base=smol", f"output={run}", f"data.stage2={request['data']}"),
            *(f"stage2.steps={request['steps']}", f"stage2.batch_size={request['batch']}"),
            *("stage2.learning_rate=5e-4", "stage2.projector_learning_rate=5e-4"),
            *(f"ranks.r_ref={request['rank']}", f"ranks.alpha_ref={request['alpha']}"),
            *("ranks.rank_step=4", "ranks.r_min=4"),
            *("runtime.precision=fp32", "runtime.checkpoint_every=0", "runtime.log_every=1"),
            *overrides,
        ]
        done = _run(command, {"HYDRA_MOBILE_HOME": str(home)})
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
        summary = json.loads((run / "summary.json").read_text())
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["stage"] == "stage2"]
    return {
        "ended": [line["seconds"] for line in steps],
        "losses": [line["loss"] for line in steps],
        "peak_bytes": summary["peak_memory_bytes"],
        "trained": summary["parameters"]["lora"] + summary["parameters"]["projector"],
        "features_seconds": summary["seconds"].get("features", 0.0),
        "questions": summary["conversations"]["stage2"],
        "probe_steps": summary["probes"].get("probe_steps", 0),
    }


def peer(request: dict[str, Any]) -> dict[str, Any]:
    """Train with the Trainer in a process of its own."""
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "request.json"
        file.write_text(dumps(request))
        command = [sys.executable, "-W", "ignore", "-m", "experiments.training_speed.peer"]
        done = _run([*command, str(file)], {})
    if done.returncode:
        raise SystemExit(f"{request}\n{done.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**answer, "questions": request["steps"] * request["batch"]}


def _run(command: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    own = {**os.environ, "OMP_NUM_THREADS": str(THREADS), **variables}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=own)


def measured(way: str, request: dict[str, Any]) -> dict[str, Any]:
    """Train once; return questions per second and what else the table shows."""
    kind = WAYS[way]
    answer = ours(request, kind["ours"]) if "ours" in kind else peer({**request, **kind})
    ended = answer["ended"]
    steps = [b - a for a, b in itertools.pairwise(ended[COLD - 1 :])]
    timed = ended[-1] - ended[COLD - 1]
    questions = answer["questions"] * len(steps) / len(ended)
    features = answer.get("features_seconds", 0.0) * len(steps) / len(ended)
    last = answer["losses"][-max(1, len(ended) // 4) :]
    return {
        "questions_per_second": questions / timed,
        "with_features": questions / (timed + features),
        "step_seconds": steps,
        "peak_bytes": answer["peak_bytes"],
        "trained": answer["trained"],
        "loss": sum(last) / len(last),
        "probe_steps": answer.get("probe_steps", 0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("quickstart/emojiqa"))
    parser.add_argument("--work", type=Path, default=Path("runs/training_speed"))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--only", nargs="*", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--quick", action="store_true", help="1 round, fewer steps and ways")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if not (given.data / "train_stage2.json").is_file():
        sys.exit(f"No EmojiQA in {given.data}. Run: hydra-mobile data emojiqa --out {given.data}")
    rounds = given.rounds or (1 if given.quick else 3)
    steps = given.steps or (12 if given.quick else 40)
    ways = [way for way in WAYS if way in given.only and (way in QUICK or not given.quick)]
    given.work.mkdir(parents=True, exist_ok=True)
    questions_file = given.work.absolute() / f"questions-{steps}.json"
    questions = write_questions(given.data, questions_file, steps * BATCH)
    request = {
        "data": str(questions_file),
        "steps": steps,
        "batch": BATCH,
        "rank": RANK,
        "alpha": ALPHA,
    }
    rows = []
    began, fresh = time.monotonic(), 0
    todo = list(itertools.product(range(rounds), ways))
    for index, (number, way) in enumerate(todo):
        kept = given.work / f"{steps}-{number}-{list(WAYS).index(way)}.json"
        if not kept.is_file():
            write_json(kept, {"round": number, "way": way, **measured(way, request)})
            fresh += 1
        rows.append(json.loads(kept.read_text()))
        left = (time.monotonic() - began) / max(1, fresh) * (len(todo) - index - 1)
        print(
            f"[{index + 1}/{len(todo)}] round {number + 1}, {way}: "
            f"{rows[-1]['questions_per_second']:.2f} questions/s; {duration(left)} left",
            flush=True,
        )
    value = {
        "what": "stage II on base smol, fp32, steps after the first two; a row is one process",
        "protocol": {
            **{key: request[key] for key in ("steps", "batch", "rank", "alpha")},
            "rounds": rounds,
            "threads": THREADS,
            "questions": questions,
        },
        "environment": json.loads(dumps(vars(environment.collect()))),
        "rows": rows,
    }
    # A quick look does not replace the committed figures.
    out = given.out or (given.work / "quick.json" if given.quick else RESULT)
    write_json(out, value)
    print(render(value))
    print(f"written to {out}")


if __name__ == "__main__":
    main()
