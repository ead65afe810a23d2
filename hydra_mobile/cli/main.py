"""`hydra-mobile`: puts the verbs together and turns our errors into messages and exit codes."""

from __future__ import annotations

import errno
import os
import sys

import typer

from hydra_mobile import __version__
from hydra_mobile.cli import (
    bench,
    chat,
    compose,
    data,
    demo_app,
    devices,
    estimate,
    evaluate,
    export,
    export_adapter,
    export_original,
    fetch,
    import_,
    merge,
    merge_answers,
    quickstart,
    ranks,
    report,
    score,
    train,
    verify,
)
from hydra_mobile.core.errors import HydraError

app = typer.Typer(
    name="hydra-mobile",
    help="Fine-tune a mobile vision-language model with HyDRA ranks, export it to phones, and "
    "prove that the phone runs what you trained.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(quickstart.quickstart)
app.command()(fetch.fetch)
app.command("import")(import_.import_checkpoint)
app.command()(compose.compose)
app.add_typer(data.app, name="data")
app.command()(estimate.estimate)
app.command()(train.train)
app.add_typer(ranks.app, name="ranks")
app.command()(merge.merge)
app.command()(export.export)
app.command()(export_adapter.export_adapter)
app.command()(export_original.export_original)
app.command()(verify.verify)
app.command()(evaluate.evaluate)
app.command()(score.score)
app.command()(merge_answers.merge_answers)
app.command()(report.report)
app.command()(bench.bench)
app.command()(chat.chat)
app.add_typer(devices.app, name="devices")
app.add_typer(demo_app.app, name="app")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hydra-mobile {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    pass


def main() -> None:
    """Run the command line; the console script's entry point."""
    try:
        app()
    except HydraError as error:
        _fail(f"error: {error.what}", error.fix, error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", "Nothing half-written was kept; the same command goes on.", 130)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" while writing {error.filename}" if error.filename else ""
        _fail(f"error: the disk is full{where}.", "Free some space and run the same again.", 2)


def _fail(what: str, mend: str, code: int) -> None:
    print(what, file=sys.stderr)
    if mend:
        print(mend, file=sys.stderr)
    sys.stderr.flush()
    # Runtimes keep threads that may hang a normal exit after an error.
    os._exit(code) if code == 130 else sys.exit(code)
