"""`hydra-mobile merge-answers`: the shards of an evaluation, put together."""

from __future__ import annotations

from pathlib import Path

import typer


def merge_answers(
    folders: list[Path] = typer.Argument(
        ..., help="What `evaluate --shard i/n --out` wrote: folders of shards, or above them."
    ),
    out: Path = typer.Option(..., help="Folder for the whole; `evaluate --out` goes on there."),
    allow_partial: bool = typer.Option(
        False, "--allow-partial", help="Merge although shards or answers are missing."
    ),
) -> None:
    """Merge answers that were given in shards, after checking that they are parts of one whole."""
    from hydra_mobile.cli.console import prepare, say

    prepare()
    from hydra_mobile.evaluation.store.merge_shards import merge_all

    for merged in merge_all(folders, out, allow_partial=allow_partial):
        whole = merged.answers == merged.questions
        say(
            f"{merged.title}: {merged.answers} "
            + ("answers" if whole else f"of {merged.questions} answers, incomplete")
            + f"  {merged.folder / 'answers.jsonl'}"
        )
    say(f"To score them: the evaluate command with --out {out} and without --shard.")
