"""`hydra-mobile push`, and `--push` of the commands that make a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from hydra_mobile.cli import ui
from hydra_mobile.cli.options import Model, Private, opened
from hydra_mobile.cli.ui.formats import megabytes
from hydra_mobile.core.errors import HydraError


def push(
    model: Model,
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Repository on the hub")],
    private: Private = False,
    revision: Annotated[
        str,
        typer.Option(metavar="BRANCH", show_default="main", help="Branch; made if need be"),
    ] = "",
    message: Annotated[str, typer.Option(metavar="TEXT", help="Message of the commit")] = "",
) -> ui.Result:
    """Put a model on the Hugging Face hub.

    A run's adapter, a merged model or a bundle, with its card. Files are checked against their
    hashes first. Who may write is decided by `hf auth login` or HF_TOKEN.
    """
    path = opened(model, "MODEL")
    ui.title(f"Pushing {model} to {repo}")
    ui.prepare()
    return ui.Result(
        _put(path, repo, private, revision, message), next=[f"hydra-mobile chat {repo}"]
    )


def preparing_push(repo: str, private: bool) -> Callable[[Path], dict[str, Any]]:
    """Check what `--push` asks for before a long command, and return what does it in the end.

    Returns:
        A function that takes the model's folder and returns what belongs into the result.

    Raises:
        HydraError: nobody is logged in, or `repo` names no repository.
    """
    if not repo:
        if private:
            raise HydraError("--private belongs to --push", "--push OWNER/NAME", where="--private")
        return lambda model: {}
    ui.prepare()
    from hydra_mobile.api.push import require_login

    require_login(repo, ui.say)

    def push_it(model: Path) -> dict[str, Any]:
        try:
            return {"pushed": _put(str(model), repo, private)}
        except HydraError as error:
            error.kept = error.kept or str(model)
            raise

    return push_it


def _put(
    model: str, repo: str, private: bool, revision: str = "", message: str = ""
) -> dict[str, Any]:
    from hydra_mobile.api.push import push as put

    made = put(model, repo, private=private, revision=revision, message=message, log=ui.say)
    ui.line(f"Pushed: {made.url}   ({made.kind}, {megabytes(made.size_bytes)})")
    ui.line(f"  opens as   {made.reference}")
    return {
        "repo_id": made.repo_id,
        "kind": made.kind,
        "commit": made.commit,
        "url": made.url,
        "reference": made.reference,
        "files": made.files,
        "size_bytes": made.size_bytes,
    }


def register(app: typer.Typer, panel: str) -> None:
    """Add the verb."""
    ui.add(
        app,
        push,
        panel=panel,
        examples=[
            "hydra-mobile push runs/emojiqa my-name/emojiqa-lora",
            "hydra-mobile push BUNDLE my-name/emojiqa-int4 --private",
        ],
        more="docs/hub.md",
    )
