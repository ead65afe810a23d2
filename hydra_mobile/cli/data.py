"""`hydra-mobile data ...`: builds data sets and checks them."""

from __future__ import annotations

from pathlib import Path

import typer

from hydra_mobile.cli import data_check, data_check_benchmark, data_tsv
from hydra_mobile.core.errors import ConfigError

app = typer.Typer(help="Build and check data sets.", no_args_is_help=True, rich_markup_mode=None)


app.command()(data_check.check)
app.command()(data_check_benchmark.check_benchmark)
app.command()(data_tsv.tsv)


@app.callback()
def _data() -> None:
    pass


@app.command()
def emojiqa(
    out: Path = typer.Option(..., help="Folder to make."),
    seed: int = typer.Option(0, help="Decides the split, the looks and the questions."),
    names: int = typer.Option(0, help="How many names; 0: all."),
    test_questions: int = typer.Option(480, help="Questions per test split, a multiple of 48."),
    art: list[str] = typer.Option(
        [],
        help="NAME=FOLDER of another artist's icons (SVG or PNG named by code point); gives the "
        "split unseen_artist. May be repeated.",
    ),
) -> None:
    """Build EmojiQA: questions about OpenMoji's drawings, with seen and unseen names."""
    from hydra_mobile.cli.console import prepare, progress, say

    prepare()
    from hydra_mobile.core.progress import counted
    from hydra_mobile.examples.emojiqa.dataset import build_emojiqa

    folders = {}
    for item in art:
        name, equals, folder = item.partition("=")
        if not equals:
            raise ConfigError(f"--art {item!r} is not NAME=FOLDER, for example noto=icons/svg.")
        folders[name] = Path(folder)
    with counted(progress, "pictures") as count:
        build_emojiqa(
            out,
            seed=seed,
            names=names or None,
            art_folders=folders,
            test_questions=test_questions,
            progress=count,
        )
    say(f"EmojiQA is at {out}; look at {out / 'contact_sheet.png'}")
