"""`hydra-mobile`: puts the verbs together in six panels and runs one."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

import typer

from hydra_mobile import __version__
from hydra_mobile.cli import (
    bench,
    benchmarks,
    bundle,
    cache,
    chat,
    compose,
    config,
    convert,
    data,
    demo_app,
    devices,
    estimate,
    evaluate,
    export,
    families,
    fetch,
    import_,
    merge,
    push,
    quickstart,
    ranks,
    report,
    runs,
    score,
    train,
    verify,
)
from hydra_mobile.cli.ui.faults import on_sigterm
from hydra_mobile.cli.ui.verb import Group, aliases, refuse

START, TRAIN, EXPORT, CHECK, PHONE, CONVERT = (
    "Start",
    "Train",
    "Export",
    "Check",
    "Phone",
    "Convert",
)


class Main(Group):
    """All of it, in the order of the help."""

    order = (
        *("quickstart", "fetch", "families", "config", "cache"),
        *("data", "estimate", "train", "runs", "ranks"),
        *("merge", "export", "bundle", "push"),
        *("verify", "evaluate", "benchmarks", "score", "report", "bench", "chat"),
        *("devices", "app"),
        *("import", "compose", "convert"),
    )


app = typer.Typer(
    name="hydra-mobile",
    cls=Main,
    help="Train small vision-language models, put them on a phone, and check that the phone runs "
    "what you trained.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
quickstart.register(app, START)
fetch.register(app, START)
app.add_typer(families.app, name="families", rich_help_panel=START)
app.add_typer(config.app, name="config", rich_help_panel=START)
app.add_typer(cache.app, name="cache", rich_help_panel=START)
app.add_typer(data.app, name="data", rich_help_panel=TRAIN)
estimate.register(app, TRAIN)
train.register(app, TRAIN)
app.add_typer(runs.app, name="runs", rich_help_panel=TRAIN)
app.add_typer(ranks.app, name="ranks", rich_help_panel=TRAIN)
merge.register(app, EXPORT)
export.register(app, EXPORT)
app.add_typer(bundle.app, name="bundle", rich_help_panel=EXPORT)
push.register(app, EXPORT)
verify.register(app, CHECK)
evaluate.register(app, CHECK)
app.add_typer(benchmarks.app, name="benchmarks", rich_help_panel=CHECK)
score.register(app, CHECK)
report.register(app, CHECK)
bench.register(app, CHECK)
chat.register(app, CHECK)
app.add_typer(devices.app, name="devices", rich_help_panel=PHONE)
app.add_typer(demo_app.app, name="app", rich_help_panel=PHONE)
import_.register(app, CONVERT)
compose.register(app, CONVERT)
convert.register(app, CONVERT)
# Names of version 0.1.
aliases(
    app,
    ("export-original", convert.convert, "convert"),
    ("export-adapter", bundle.export_adapter, "bundle add"),
    ("merge-answers", evaluate.merge_answers, "evaluate --from-shards"),
)


def _version(wanted: bool) -> None:
    if not wanted:
        return
    typer.echo(f"hydra-mobile {__version__}")
    if {"-v", "--verbose"} & set(sys.argv):
        from importlib.metadata import PackageNotFoundError, version

        typer.echo(f"Python {sys.version.split()[0]}")
        names = ("torch", "transformers", "peft", "tokenizers", "executorch", "torchao", "onnx")
        for name in (*names, "onnxruntime", "coremltools", "numpy"):
            try:
                typer.echo(f"{name} {version(name)}")
            except PackageNotFoundError:
                typer.echo(f"{name} is not installed")
    raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    pass


def _open_streams() -> None:
    """Put nothing in the place of streams that were closed by whoever started this process."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def main() -> None:
    """Run the command line; the console script's entry point."""
    _open_streams()
    before = signal.getsignal(signal.SIGTERM)
    # Outside of the main thread whoever called us handles signals.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, on_sigterm)
    try:
        code = app(standalone_mode=False, prog_name="hydra-mobile") or 0
    except KeyboardInterrupt as raised:
        code = refuse(raised, sys.argv[1:])
    except Exception as raised:
        code = refuse(raised, sys.argv[1:])
    finally:
        with contextlib.suppress(ValueError, TypeError):
            signal.signal(signal.SIGTERM, before)
    if code in (130, 143):
        # Runtimes keep threads that may hang a normal exit.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
    sys.exit(code)
