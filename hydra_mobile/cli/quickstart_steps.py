"""The quickstart: every stage of the pipeline in order, each skipped when it is done already."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml
from rich.console import Console

from hydra_mobile.config import TrainConfig, load_config
from hydra_mobile.core.console_progress import ConsoleProgress
from hydra_mobile.core.files import sha256_of, write_atomically
from hydra_mobile.core.progress import counted, duration
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


def run_quickstart(
    out: Path, questions: int, console: Console, overrides: Sequence[str] = ()
) -> None:
    """Do everything that is not done yet and end with the report's table.

    Args:
        out: folder for data, run, bundles and report.
        questions: about how many questions of each split; 0 for all.
        console: where to show it.
        overrides: `section.key=value` for the training configuration.
    """
    began = time.monotonic()
    steps: list[tuple[str, Callable[[], None]]] = [
        ("Fetch base smol (SmolLM2-135M + EfficientNet-Lite0)", lambda: _fetch(console)),
        ("Build EmojiQA from OpenMoji's drawings", lambda: _data(out, console)),
        ("Train: projector, then HyDRA adapters", lambda: _train(out, overrides, console)),
        ("Merge the adapter into the base", lambda: _merge(out, console)),
        ("Export for Android: ExecuTorch and ONNX, fp32 and int4", lambda: _export(out, console)),
        ("Evaluate and report", lambda: _evaluate(out, questions, console)),
    ]
    for number, (title, step) in enumerate(steps, 1):
        console.rule(f"[bold]{number}/{len(steps)}  {title}", align="left")
        step_began = time.monotonic()
        step()
        console.print(f"[dim]{duration(time.monotonic() - step_began)}")
    bundle = out / "android-executorch-int4"
    picture = next((out / "emojiqa" / "images").rglob("*.png"), "picture.png")
    console.rule("[bold]Done", align="left")
    for line in (
        f"All of it took {duration(time.monotonic() - began)}. The report: "
        f"{out / 'report' / 'report.html'}",
        "Try next:",
        f"  hydra-mobile chat {bundle} --image {picture}",
        f"  hydra-mobile verify {bundle}",
        "  hydra-mobile train --config emojiqa-smol --dry-run",
    ):
        console.print(line, soft_wrap=True, highlight=False)


def _fetch(console: Console) -> None:
    from hydra_mobile.models.registry import fetch

    console.print(str(fetch("smol", console.print)), soft_wrap=True)


def _data(out: Path, console: Console) -> None:
    from hydra_mobile.examples.emojiqa.dataset import build_emojiqa

    with counted(ConsoleProgress(console), "pictures") as count:
        folder = build_emojiqa(out / "emojiqa", progress=count)
    console.print(f"{folder}; look at {folder / 'contact_sheet.png'}", soft_wrap=True)


def _train(out: Path, overrides: Sequence[str], console: Console) -> None:
    config = out / "train.yaml"
    text = yaml.safe_dump(quickstart_config(out, overrides).to_dict(), sort_keys=False)
    with write_atomically(config) as temporary:
        temporary.write_text(text)
    resume = ["--resume"] if (out / "run" / "run.json").is_file() else []
    # A process of its own gives its memory back when it ends.
    run_verb(["train", "--config", str(config), *resume])


def _merge(out: Path, console: Console) -> None:
    from hydra_export.merge import merged_folder
    from hydra_mobile.runtimes.model_ref import model_at

    folder = merged_folder(model_at(str(out / "run")), console.print)
    console.print(str(folder), soft_wrap=True)


def _export(out: Path, console: Console) -> None:
    """Export both presets for both runtimes, two exporters at a time: each uses one core."""
    merged = out / "run" / "merged"
    weights = sha256_of(merged / "model.safetensors")
    verbs = []
    # The longest first, so that two at a time end together.
    for runtime, preset in _BUNDLES:
        bundle = out / f"android-{runtime}-{preset}"
        if _made_of(bundle) == weights:
            console.print(f"{bundle} is there already", soft_wrap=True)
            continue
        arguments = ["export", str(merged), "--target", "android", "--runtime", runtime]
        arguments += ["--preset", preset, "--out", str(bundle)]
        for name, value in _LIMITS.items():
            arguments += [f"--{name.replace('_', '-')}", str(value)]
        verbs.append(arguments)
    run_verbs(verbs)
    run_verbs([["verify", str(out / f"android-{r}-{p}")] for r, p in sorted(_BUNDLES)])


def _made_of(bundle: Path) -> str:
    """Return the hash of the weights that a bundle was made of, "" where there is no bundle."""
    from hydra_mobile.bundle.bundle import MANIFEST, Bundle

    if not (bundle / MANIFEST).is_file():
        return ""
    # `verify` comes next and hashes every file.
    return str(Bundle.open(bundle, verify_hashes=False).manifest["sources"]["merged_sha256"])


def _evaluate(out: Path, questions: int, console: Console) -> None:
    from hydra_mobile.evaluation.evaluate import EvalSettings
    from hydra_mobile.evaluation.results.report import report_on
    from hydra_mobile.reporting.console import print_report
    from hydra_mobile.runtimes.model_ref import model_at

    paths = ["smol", str(out / "run" / "merged")]
    paths += [str(out / f"android-{r}-{p}") for r, p in sorted(_BUNDLES)]
    settings = EvalSettings(("emojiqa",), out / "emojiqa", ("seen", "unseen"), questions or None)

    def log(line: str) -> None:
        console.print(line, soft_wrap=True, markup=False)

    artifacts = [model_at(path) for path in paths]
    report = report_on(artifacts, settings, out / "report", log, ConsoleProgress(console))
    if report is not None:
        print_report(report, console)
