"""EmojiQA on the command line: `data emojiqa`, and the data that `evaluate` builds for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import CountOr, Force, Seed
from hydra_mobile.cli.places import FolderPlace
from hydra_mobile.cli.ui.live import progress
from hydra_mobile.core.errors import ConfigError


def emojiqa(
    out: Annotated[
        Path, typer.Option(metavar="DIR", parser=FolderPlace("EmojiQA data set"), help="Folder")
    ] = Path("data/emojiqa"),
    force: Force = False,
    seed: Seed = 0,
    names: Annotated[
        int,
        typer.Option(
            parser=CountOr("all"), metavar="N", show_default="all", help="How many names, or all"
        ),
    ] = 0,
    test_questions: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=48,
            max=1_000_000,
            help="Questions of each test split, a multiple of 48",
        ),
    ] = 480,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Ask only what a small model learns in minutes: the kind of thing",
        ),
    ] = False,
    art: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR",
            help="Another artist's icons (SVG or PNG by code point), for the split "
            "unseen_artist; repeatable",
        ),
    ] = None,
) -> ui.Result:
    """Build EmojiQA: questions about OpenMoji's drawings.

    Seen and unseen names are apart, so that what a model learned shows.
    """
    folders = {}
    for item in art or []:
        name, equals, folder = item.partition("=")
        if not equals:
            raise ConfigError(
                f"`{item}` names no folder",
                "--art noto=icons/svg",
                where="--art",
                found=item,
                expected="NAME=FOLDER",
            )
        folders[name] = Path(folder)
    ui.prepare()
    from hydra_mobile.api.data import build_emojiqa

    ui.title(f"Building EmojiQA in {out}")
    build_emojiqa(
        out,
        seed=seed,
        names=names or None,
        art=folders,
        test_questions=test_questions,
        quick=quick,
        progress=progress,
    )
    ui.line(f"EmojiQA: {out}   (look at {out / 'contact_sheet.png'})")
    return ui.Result(
        {"path": out, "seed": seed},
        brief=str(out),
        next=["hydra-mobile train --config emojiqa-smol --dry-run"],
    )
