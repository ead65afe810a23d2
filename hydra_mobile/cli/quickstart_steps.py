"""The quickstart: every stage of the pipeline in order, each skipped when it is done already.

Training, exports and their checks are verbs in processes of their own, not calls of the Python API:
a process gives its memory back when it ends, which keeps the whole within 6 GiB, and two exporters
of one thread each share two cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from hydra_mobile.cli import ui
from hydra_mobile.cli.ui.formats import clock
from hydra_mobile.cli.ui.live import progress
from hydra_mobile.config import TrainConfig, load_config
from hydra_mobile.core.files import write_atomically
from hydra_mobile.core.model_folder import weights_sha256
from hydra_mobile.core.progress import counted
from hydra_mobile.core.subprocesses import run_verb, run_verbs

_BUNDLES = (("executorch", "int4"), ("executorch", "fp32"), ("onnx", "int4"), ("onnx", "fp32"))
_LIMITS = {"max_context": 256, "max_prefill": 128}


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
    steps: list[tuple[str, str, Callable[[], object]]] = [
        ("fetch", "SmolLM2-135M-Instruct + EfficientNet-Lite0", _fetch),
        ("data", "EmojiQA: questions about OpenMoji's drawings", lambda: _data(out)),
        ("train", "projector, then HyDRA adapters", lambda: _train(out, overrides)),
        ("merge", "fold the adapter into the base", lambda: _merge(out)),
        ("export", "Android: ExecuTorch and ONNX, fp32 and int4", lambda: _export(out)),
        ("evaluate", "6 models beside each other", lambda: _evaluate(out, questions)),
    ]
    ui.title(f"Quickstart in {out}")
    for number, (name, about, _) in enumerate(steps, 1):
        ui.say(f"{number}  {name:<9}  {about}")
    ui.facts(
        {
            "needs": "6 GiB of memory, 3.2 GB of disk. No GPU.",
            "estimate": "half an hour on 2 cores. Stop at any time; the same command goes on.",
        }
    )
    seconds = {}
    for number, (name, _, step) in enumerate(steps, 1):
        ui.say("")
        ui.title(f"{number}/{len(steps)}  {name}")
        step_began = time.monotonic()
        step()
        seconds[name] = time.monotonic() - step_began
        ui.step(name, "", seconds[name])
    report = out / "report" / "report.html"
    bundle = out / "android-executorch-int4"
    picture = next((out / "emojiqa" / "images").rglob("*.png"), "PICTURE")
    ui.blank()
    ui.line(f"Done in {clock(time.monotonic() - began)}.")
    ui.line(f"  report    {report}")
    return ui.Result(
        {
            "out": out,
            "report": report,
            "bundles": [out / f"android-{r}-{p}" for r, p in sorted(_BUNDLES)],
            "step_seconds": seconds,
        },
        brief=str(report),
        next=[
            f"hydra-mobile chat {bundle} --image {picture}",
            f"hydra-mobile verify {bundle}",
            "hydra-mobile config copy emojiqa-smol my.yaml",
        ],
    )


def _fetch() -> None:
    from hydra_mobile.models.registry import fetch

    ui.say(str(fetch("smol", ui.say)))


def _data(out: Path) -> None:
    from hydra_mobile.examples.emojiqa.dataset import build_emojiqa

    with counted(progress, "pictures") as count:
        folder = build_emojiqa(out / "emojiqa", progress=count)
    ui.say(f"{folder}; look at {folder / 'contact_sheet.png'}")


def _train(out: Path, overrides: Sequence[str]) -> None:
    config = out / "train.yaml"
    text = yaml.safe_dump(quickstart_config(out, overrides).to_dict(), sort_keys=False)
    with write_atomically(config) as temporary:
        temporary.write_text(text)
    resume = ["--resume"] if (out / "run" / "run.json").is_file() else []
    run_verb(["train", "--config", str(config), *resume, *_common()])


def _common() -> list[str]:
    """Return the options of ours that other verbs get too."""
    settings = ui.screen().settings
    quiet = ["--quiet"] if settings.quiet or settings.json else []
    return ["--color", settings.color, "--progress", settings.progress, *quiet]


def _merge(out: Path) -> None:
    from hydra_export.merge import merged_folder
    from hydra_mobile.runtimes.model_ref import model_at

    ui.say(str(merged_folder(model_at(str(out / "run")), ui.say)))


def _export(out: Path) -> None:
    """Export both presets for both runtimes, two exporters at a time: each uses one core."""
    merged = out / "run" / "merged"
    weights = weights_sha256(merged)
    verbs = []
    # The longest first, so that two at a time end together.
    for runtime, preset in _BUNDLES:
        bundle = out / f"android-{runtime}-{preset}"
        if _made_of(bundle) == weights:
            ui.say(f"{bundle} is there already")
            continue
        arguments = ["export", str(merged), "--target", "android", "--runtime", runtime]
        arguments += ["--preset", preset, "--out", str(bundle), "--quiet"]
        for name, value in _LIMITS.items():
            arguments += [f"--{name.replace('_', '-')}", str(value)]
        verbs.append(arguments)
    run_verbs(verbs)
    run_verbs([["verify", str(out / f"android-{r}-{p}"), "--quiet"] for r, p in sorted(_BUNDLES)])


def _made_of(bundle: Path) -> str:
    """Return the hash of the weights that a bundle was made of, "" where there is no bundle."""
    from hydra_mobile.bundle.bundle import MANIFEST, Bundle

    if not (bundle / MANIFEST).is_file():
        return ""
    # `verify` comes next and hashes every file.
    return str(Bundle.open(bundle, verify_hashes=False).manifest["sources"]["merged_sha256"])


def _evaluate(out: Path, questions: int) -> None:
    from hydra_mobile.cli.report_view import show_report
    from hydra_mobile.evaluation.evaluate import EvalSettings
    from hydra_mobile.evaluation.results.report import report_on
    from hydra_mobile.runtimes.model_ref import model_at

    paths = ["smol", str(out / "run" / "merged")]
    paths += [str(out / f"android-{r}-{p}") for r, p in sorted(_BUNDLES)]
    settings = EvalSettings(("emojiqa",), out / "emojiqa", ("seen", "unseen"), questions or None)
    models = [model_at(path) for path in paths]
    if report := report_on(models, settings, out / "report", ui.say, progress):
        show_report(report)
