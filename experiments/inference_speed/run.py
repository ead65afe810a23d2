"""How fast the merged model answers in each engine, and whether it still answers the same.

    python -m experiments.inference_speed.run --merged quickstart/run/merged
    python -m experiments.inference_speed.run --quick          # what `make bench` runs
    python -m experiments.inference_speed.run --profile --only onnx-int4,executorch-int4

Every measurement is a process of its own with one engine in it. First all files are made and each
engine's outputs are held to eager torch's; what fails is left out of the timing, with the reason.
Then rounds are interleaved: every engine once for each number of threads, then every engine again,
the order turned by one each round, so that a slow minute of the machine falls on all. Ratios are
taken within a round. What was measured is kept in `--work`: the same command goes on where it was
interrupted; each row says when it was measured and how busy the machine was. Peers that pip does
not install with the project: `requirements.txt` here; one that is not installed is skipped, and
table and JSON say so.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from experiments.inference_speed.engines import FORMS, REFERENCE, engine_class
from experiments.inference_speed.engines.base import Form
from experiments.inference_speed.measure import REFERENCE_FILE
from experiments.inference_speed.protocol import Protocol
from experiments.inference_speed.session import WEIGHTS, Session
from experiments.inference_speed.table import render, render_operators
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.files import write_json
from hydra_mobile.core.json_text import dumps
from hydra_mobile.core.progress import duration
from hydra_mobile.core.registry import nearest
from hydra_mobile.reporting import environment

RESULT = Path(__file__).with_name("result.json")
PROFILE = RESULT.with_name("profile.json")
PEERS = ("xllamacpp", "onnxruntime-genai", "openvino", "gguf")
FULL, QUICK = Protocol(), Protocol((64,), 48, 1, 16)


def chosen(only: str) -> list[Form]:
    """Return the forms that `--only` names, by form or by engine; the reference always.

    Raises:
        HydraError: a name that is neither.
    """
    names = [name for name in only.split(",") if name]
    known = {form.name for form in FORMS} | {form.engine for form in FORMS}
    for name in names:
        if name not in known:
            raise HydraError(f"Unknown engine `{name}`.", nearest(name, known))
    return [
        form
        for form in FORMS
        if not names or form.name == REFERENCE or form.name in names or form.engine in names
    ]


def prepare(session: Session, forms: Sequence[Form]) -> tuple[dict[str, Any], dict[str, str]]:
    """Make and check every form; return facts of those that may be timed, and why others not."""
    facts: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    for form in forms:
        reason = _missing(form)
        made = {} if reason else session.ask("make", form, 2)
        reason = reason or made.get("failed")
        checked: dict[str, Any] = {}
        if not reason and form.name == REFERENCE:
            reference = session.work / REFERENCE_FILE
            # Whose reference the file is stands in the log of answers, not in the file.
            if session.known("reference", form.name, 1) is None:
                reference.unlink(missing_ok=True)
            if not reference.is_file():
                session.forget("reference", form.name, 1)
            reason = session.ask("reference", form, 1).get("failed")
        elif not reason:
            checked = session.ask("check", form, 1)
            reason = checked.get("failed")
            if not reason and not checked["passed"]:
                reason = f"its outputs are not the model's: {checked}"
        if reason:
            skipped[form.name] = reason
            print(f"{form.name}: skipped, {reason}", flush=True)
            continue
        facts[form.name] = {"bits": form.bits, "engine": form.engine, **made, "check": checked}
        print(f"{form.name}: {made['files_bytes'] / 1e6:.1f} MB, {_verdict(checked)}", flush=True)
    return facts, skipped


def _missing(form: Form) -> str | None:
    try:
        return engine_class(form.engine).missing()
    except HydraError as error:
        return str(error)


def _verdict(checked: dict[str, Any]) -> str:
    if not checked:
        return "the reference"
    return (
        f"{checked['equal_tokens']} of {checked['of_tokens']} greedy tokens equal, "
        f"cosine {checked['cosine']:.4f}"
    )


def cells(
    names: Sequence[str], threads: Sequence[int], rounds: int
) -> Iterator[tuple[int, int, str]]:
    """Yield (round, threads, form) in the order of measuring."""
    for number in range(rounds):
        turned = [*names[number % len(names) :], *names[: number % len(names)]]
        for count in threads:
            for name in turned:
                yield number, count, name


def time_all(
    session: Session, facts: dict[str, Any], threads: Sequence[int], rounds: int
) -> list[dict[str, Any]]:
    """Time every form in every round; return one row for each process."""
    by_name = {form.name: form for form in FORMS}
    todo = list(cells(list(facts), threads, rounds))
    rows, began, fresh = [], time.monotonic(), 0
    waiting = sum(session.known("time", name, n, r) is None for r, n, name in todo)
    for number, count, name in todo:
        known = session.known("time", name, count, number) is not None
        answer = session.ask("time", by_name[name], count, number)
        if "failed" in answer:
            # Once is bad luck; the table counts rounds, so it shows.
            print(f"{name}: round {number + 1} failed, {answer['failed']}", flush=True)
        else:
            rows.append({"round": number, "threads": count, "form": name, **answer})
        if not known:
            fresh += 1
            left = (waiting - fresh) * (time.monotonic() - began) / fresh
            print(
                f"[{fresh}/{waiting}] round {number + 1}/{rounds}, {count} threads, {name}; "
                f"{duration(left)} left",
                flush=True,
            )
    return rows


def profile(session: Session, forms: Sequence[Form], out: Path) -> None:
    """Write where the time goes, operator by operator, of every form that can tell."""
    found, skipped = {}, {}
    for form in forms:
        reason = _missing(form) or session.ask("make", form, 2).get("failed")
        answer = {"failed": reason} if reason else session.ask("profile", form, 1)
        if answer.get("failed") or answer["operators"] is None:
            skipped[form.name] = answer.get("failed") or "it tells no times of operators"
        else:
            found[form.name] = answer
    value = {
        "what": "milliseconds of one call of the decoder by operator, one thread",
        "environment": environment_facts(),
        "forms": found,
        "skipped": skipped,
    }
    write_json(out, value)
    print(render_operators(value))


def environment_facts() -> dict[str, Any]:
    """Return the machine, and the versions of the peers."""
    facts: dict[str, Any] = json.loads(dumps(vars(environment.collect())))
    for name in PEERS:
        try:
            facts["packages"][name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--merged", type=Path, default=Path("quickstart/run/merged"))
    parser.add_argument("--work", type=Path, default=Path("runs/inference_speed"))
    parser.add_argument("--bundles", type=Path, nargs="*", default=[Path("quickstart")])
    parser.add_argument("--only", default="", help="forms or engines, with commas between")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--threads", type=int, nargs="+")
    parser.add_argument("--prompts", type=int, nargs="+")
    parser.add_argument("--new-tokens", type=int)
    parser.add_argument(
        "--quick", action="store_true", help="2 rounds, 2 threads, prompt 64; exports nothing"
    )
    parser.add_argument("--profile", action="store_true", help="times of operators instead")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    base = QUICK if given.quick else FULL
    protocol = Protocol(
        tuple(given.prompts or base.prompts),
        given.new_tokens or base.new_tokens,
        base.repeats,
        base.checked_tokens,
    )
    threads = given.threads or ([2] if given.quick else [1, 2])
    rounds = given.rounds or (2 if given.quick else 5)
    try:
        forms = chosen(given.only)
        if not (given.merged / WEIGHTS).is_file():
            raise HydraError(f"{given.merged} holds no merged model.", "Run `make quickstart`.")
        session = Session(given.merged, given.work, given.bundles, protocol, not given.quick)
        if given.profile:
            profile(session, forms, given.out or PROFILE)
            return
        facts, skipped = prepare(session, forms)
        rows = time_all(session, facts, threads, rounds)
    except HydraError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    value = {
        "what": "one process for each row; seconds; batch 1, greedy, end of answer ignored",
        "protocol": {**protocol.to_dict(), "threads": threads, "rounds": rounds},
        "environment": environment_facts(),
        "model": {"weights_sha256": session.weights},
        "forms": facts,
        "skipped": skipped,
        "rows": rows,
    }
    # A quick look does not replace the committed figures.
    out = given.out or (given.work / "quick.json" if given.quick else RESULT)
    write_json(out, value)
    print(render(value))
    print(f"written to {out}")


if __name__ == "__main__":
    main()
