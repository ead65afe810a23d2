"""The quickstart: every stage of the pipeline in order, each skipped when it is done already.

Training, exports and their checks are verbs in processes of their own, not calls of the Python API:
a process gives its memory back when it ends, which keeps the whole within 6 GiB, and what answers
beside an exporter runs on the cores that it leaves.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hydra_mobile.cli import ui
from hydra_mobile.cli.ui.board import Board, Step, StepProgress, progress_text
from hydra_mobile.cli.ui.formats import clock, count, megabytes, millions
from hydra_mobile.config import TrainConfig, load_config
from hydra_mobile.core.files import read_json, write_atomically
from hydra_mobile.core.model_folder import weights_sha256
from hydra_mobile.core.subprocesses import run_verbs

if TYPE_CHECKING:
    from hydra_mobile.api.evaluate import EvalSettings

_PRESET = "int4"
_RUNTIMES = ("executorch", "onnx")
#: Niceness of work that must not slow down what everything waits for.
_BEHIND = 5
_LIMITS = {"max_context": 256, "max_prefill": 128}
_STEPS = {
    "fetch": "SmolLM2-135M-Instruct + EfficientNet-Lite0",
    "data": "EmojiQA: what kind of thing is in a drawing?",
    "train": "projector, then HyDRA adapters",
    "merge": "fold the adapter into the base",
    "export": "Android: ExecuTorch and ONNX Runtime, int4",
    "evaluate": "4 models side by side",
}


def quickstart_config(out: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Return the training configuration of the quickstart: the packaged file, paths under `out`."""
    return load_config(
        Path(__file__).with_name("quickstart.yaml"),
        [
            f"output={out / 'run'}",
            f"data.stage1={out / 'emojiqa' / 'train_stage1.json'}",
            f"data.stage2={out / 'emojiqa' / 'train_stage2.json'}",
            *overrides,
        ],
    )


def run_quickstart(out: Path, questions: int, overrides: Sequence[str] = ()) -> ui.Result:
    """Do everything that is not done yet and end with the report's table.

    Args:
        out: folder for data, run, bundles and report.
        questions: about how many questions of each split; 0 for all.
        overrides: `section.key=value` for the training configuration.
    """
    began = time.monotonic()
    ui.title(f"Quickstart in {out}")
    for number, (name, about) in enumerate(_STEPS.items(), 1):
        ui.say(f"{number}  {name:<9}  {about}")
    from hydra_mobile.cli.work_view import disk_free

    ui.facts(
        {
            "needs": f"6 GiB of memory, 3.2 GB of disk; {disk_free(out)} are free. No GPU.",
            "estimate": "10 minutes on 2 cores. Stop at any time; the same command goes on.",
        }
    )
    ui.say("")
    # The log is in it.
    out.mkdir(parents=True, exist_ok=True)
    work = _Quickstart(out, questions, overrides)
    seconds = {}
    with Board(list(_STEPS)) as board:
        for name in _STEPS:
            act: Callable[[Board, Step], None] = getattr(work, name)
            with board.step(name) as step:
                act(board, step)
            seconds[name] = step.seconds
    from hydra_mobile.cli.report_view import show_report

    show_report(work.report)
    bundle = out / "android-executorch-int4"
    image = next((out / "emojiqa" / "images").rglob("*.png"), "IMAGE")
    page, log = out / "report" / "report.html", ui.screen().log.path
    ui.blank()
    ui.line(f"Done in {clock(time.monotonic() - began)}.")
    ui.line(f"  report    {page}")
    if log:
        ui.line(f"  log       {log}")
    return ui.Result(
        {
            "out": out,
            "report": page,
            "bundles": [out / f"android-{runtime}-{_PRESET}" for runtime in _RUNTIMES],
            "step_seconds": seconds,
        },
        brief=str(page),
        next=[
            f"hydra-mobile chat {bundle} --image {image}",
            f"hydra-mobile verify {bundle}",
            "hydra-mobile config copy emojiqa-smol my.yaml",
        ],
    )


class _Quickstart:
    """The six steps; each says what it does, and at last what it found."""

    report: Any

    def __init__(self, out: Path, questions: int, overrides: Sequence[str]) -> None:
        self._out, self._questions = out, questions
        self._run = out / "run"
        self._config = quickstart_config(out, overrides)
        self._drawn: _Ahead | None = None
        self._answered: _Answering | None = None

    def fetch(self, board: Board, step: Step) -> None:
        from hydra_mobile.api.bases import fetch

        step.say("downloading and converting, once")
        data = self._out / "emojiqa"
        if not (data / "emojiqa.json").is_file():
            # One core draws the data's images while the other converts weights.
            draw = ["data", "emojiqa", "--out", str(data), "--quick", *_PLAIN]
            self._drawn = _Ahead(partial(run_verbs, [draw], log=board.log))
        folder = fetch("smol", log=board.log)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        step.say(f"base smol, {megabytes(size)}")

    def data(self, board: Board, step: Step) -> None:
        from hydra_mobile.api.data import build_emojiqa

        if self._drawn:
            step.say("drawing images")
            self._drawn.wait()
        folder = build_emojiqa(
            self._out / "emojiqa", quick=True, progress=StepProgress(board, step)
        )
        counts = read_json(folder / "emojiqa.json", "EmojiQA's record")["counts"]
        step.say(f"{count(counts['pictures'])} images, {count(counts['train_stage2'])} questions")

    def train(self, board: Board, step: Step) -> None:
        config = self._out / "train.yaml"
        text = yaml.safe_dump(self._config.to_dict(), sort_keys=False)
        with write_atomically(config) as temporary:
            temporary.write_text(text)
        if (self._run / "summary.json").is_file():
            step.say("checking that the run is of these settings")
        else:
            step.say("loading")
        resume = ["--resume"] if (self._run / "run.json").is_file() else []
        run_verbs(
            [["train", "--config", str(config), *resume, *_PLAIN]],
            log=board.log,
            poll=lambda done: self._show_training(step),
        )
        summary = read_json(self._run / "summary.json", "the summary of a run")
        losses = [line["loss"] for line in _lines(self._run) if line["stage"] == "stage2"]
        weights = next((n for k, n in summary["parameters"].items() if k != "projector"), 0)
        step.say(f"loss {losses[0]:.2f} to {losses[-1]:.2f}, {millions(weights)} adapter weights")

    def _show_training(self, step: Step) -> None:
        lines = _lines(self._run)
        if not lines:
            return
        last = lines[-1]
        stage, facts = last["stage"], f"loss {last['loss']:.3f}"
        if stage == "align":
            step.say(f"alignment, {facts}")
            return
        steps = getattr(self._config, stage).steps
        each = last.get("seconds", 0.0) / max(1, last["step"])
        step.say(progress_text(stage, last["step"], steps, each, facts))

    def merge(self, board: Board, step: Step) -> None:
        from hydra_mobile.api.merge import merged_model

        merged = merged_model(self._run, log=board.log)
        made = f"{merged.merged_weights} weights merged"
        size = megabytes(merged.size_bytes)
        step.say(f"{'up to date' if merged.up_to_date else made}, {size}")

    def export(self, board: Board, step: Step) -> None:
        """Export for both runtimes at a time; meanwhile what is there already answers.

        ONNX waits for the weights that ExecuTorch's export rounds, and ends soon after it has them,
        so the second core would have nothing to do for most of the time.
        """
        weights = weights_sha256(self._run / "merged")
        verbs = []
        for runtime in _RUNTIMES:
            bundle = self._bundle(runtime)
            if _made_of(bundle) == weights:
                board.log(f"{bundle} is there already")
                continue
            verb = ["export", str(self._run / "merged"), "--target", "android"]
            verb += ["--runtime", runtime, "--preset", _PRESET, "--out", str(bundle), *_PLAIN]
            for name, value in _LIMITS.items():
                verb += [f"--{name.replace('_', '-')}", str(value)]
            verbs.append(verb)

        answering = _Answering(self._settings(), self._report)
        if verbs:
            answering.ask(self._torch_models())

        def show(done: int) -> None:
            step.say(f"{done} of {len(verbs)} bundles exported")
            if 0 < done < len(verbs):
                bundles = map(self._bundle, _RUNTIMES)
                answering.ask(str(each) for each in bundles if _made_of(each) == weights)

        run_verbs(verbs, log=board.log, poll=show)
        answering.no_more()
        self._answered = answering
        step.say(f"checking {len(_RUNTIMES)} bundles")
        checks = [
            ["verify", str(self._bundle(runtime)), "--quiet", *_PLAIN] for runtime in _RUNTIMES
        ]
        run_verbs(checks, log=board.log)
        made = f"{len(verbs)} made" if verbs else "up to date"
        step.say(f"{len(_RUNTIMES)} bundles, {made}; all pass parity")

    def evaluate(self, board: Board, step: Step) -> None:
        from hydra_mobile.api.evaluate import evaluation_of

        step.say("reading models and questions")
        if self._answered:
            self._answered.wait()
        models = [*self._torch_models(), *(str(self._bundle(runtime)) for runtime in _RUNTIMES)]
        work = evaluation_of(models, self._settings(), self._report)
        report = work.run(board.log, StepProgress(board, step))
        assert report is not None, "these are all questions and not a part of them"
        self.report = report.content
        answers = sum(run.answered for system in self.report.systems for run in system.runs)
        step.say(f"{count(answers)} answers")

    def _torch_models(self) -> list[str]:
        return ["smol", str(self._run / "merged")]

    def _settings(self) -> EvalSettings:
        from hydra_mobile.api.evaluate import EvalSettings

        return EvalSettings(
            ("emojiqa",),
            self._out / "emojiqa",
            splits=("seen", "unseen"),
            limit=self._questions or None,
        )

    @property
    def _report(self) -> Path:
        return self._out / "report"

    def _bundle(self, runtime: str) -> Path:
        return self._out / f"android-{runtime}-{_PRESET}"


class _Ahead:
    """What a later step needs, done in a thread beside an earlier one.

    Args:
        work: what is to be done.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._error: BaseException | None = None
        # Nobody waits for it on Ctrl-C.
        self._thread = threading.Thread(target=self._do, daemon=True)
        self._thread.start()

    def _do(self) -> None:
        try:
            self._work()
        except Exception as error:
            self._error = error

    def wait(self) -> None:
        """Wait for the work; raise what went wrong."""
        self._thread.join()
        if self._error:
            raise self._error


class _Answering(_Ahead):
    """Models that answer one after the other, on what other work leaves of the processor.

    Args:
        settings: of the evaluation that goes on with these answers.
        report: its folder.
    """

    def __init__(self, settings: EvalSettings, report: Path) -> None:
        self._settings = replace(settings, threads=1, workers=1)
        self._report = report
        self._asked: set[str] = set()
        self._waiting = queue.SimpleQueue[list[str] | None]()
        super().__init__(self._answer)

    def ask(self, models: Iterable[str]) -> None:
        """Let models answer that were not asked before."""
        new = [model for model in models if model not in self._asked]
        self._asked.update(new)
        if new:
            self._waiting.put(new)

    def no_more(self) -> None:
        """End after the models that were asked."""
        self._waiting.put(None)

    def _answer(self) -> None:
        from hydra_mobile.api.evaluate import evaluation_of

        if sys.platform == "linux":
            # There a thread has a priority of its own, and the processes that it starts inherit it.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _BEHIND)
        while models := self._waiting.get():
            evaluation_of(models, self._settings, self._report).answer()


#: The output of a verb of ours goes to the log file.
_PLAIN = ["--color", "never", "--progress", "lines"]


def _lines(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's log that have a loss; the last may be half written."""
    found = []
    file = run / "metrics.jsonl"
    for text in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and {"stage", "step", "loss"} <= set(line):
            found.append(line)
    return found


def _made_of(bundle: Path) -> str:
    """Return the hash of the weights that a bundle was made of, "" where there is no bundle."""
    from hydra_mobile import Bundle

    if not (bundle / "manifest.json").is_file():
        return ""
    # `verify` comes next and hashes every file.
    return str(Bundle.open(bundle, verify_hashes=False).manifest["sources"]["merged_sha256"])
