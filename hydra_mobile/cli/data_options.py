"""What the verbs about training data share: which data, and which columns."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from hydra_mobile.cli.options import existing
from hydra_mobile.core.errors import ConfigError

Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="FIELD=NAME,...",
        help="Other names of fields: question=q,answer=a,image=i",
    ),
]
DataFile = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="Data file, folder of shards, or hub data set id"),
]


def is_here(path: Path) -> bool:
    """Return whether a path exists, or can be a hub id or a pattern, which reading finds out."""
    hub_id = str(path).count("/") == 1 and not path.suffix and not path.parent.exists()
    return path.exists() or hub_id or "*" in path.name


def existing_data(path: Path) -> Path:
    """Return a path that exists, or one that can be a hub id or a pattern.

    Raises:
        HydraError: it does not exist; its nearest sibling is named.
    """
    return path if is_here(path) else existing(path, "FILE")


def require_base(template: str | None, base: str | None) -> None:
    """Refuse a template without the base whose tokenizer it needs.

    Raises:
        ConfigError: there is a template and no base.
    """
    if template and not base:
        raise ConfigError(
            "--template needs a tokenizer",
            "--base NAME, for example --base smol",
            where="--template",
            found=template,
        )


def training_command(file: Path, images: Path | None, columns: str | None) -> str:
    """Return the command that shows a training on this data, to be pasted into a shell.

    The data is named for both stages: the recipe's own for stage I is there only where somebody
    has made it.
    """
    settings = [f"data.stage1={file}", f"data.stage2={file}"]
    settings += [f"data.images={images}"] if images else []
    named = ", ".join(f"{field}: {name}" for field, name in columns_of(columns).items())
    settings += [f"data.columns={{{named}}}"] if named else []
    words = ["hydra-mobile", "train", "runs/mine", "--config", "emojiqa-smol", *settings]
    return shlex.join([*words, "--dry-run"])


def columns_of(text: str | None) -> dict[str, str]:
    """Return `question=q,answer=a` as a mapping.

    Raises:
        ConfigError: a part has no `=`.
    """
    found = {}
    for part in text.split(",") if text else []:
        field, equals, name = part.partition("=")
        if not equals:
            raise ConfigError(
                f"--columns has the part {part!r}",
                "--columns question=q,answer=a,image=picture",
                where="--columns",
                found=part,
                expected="FIELD=NAME",
            )
        found[field.strip()] = name.strip()
    return found
