"""`push`: an adapter, merged model or bundle to the Hugging Face hub, with its card."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

from hydra_mobile.api.paths import ModelLike, path_of
from hydra_mobile.core.boundaries import first_line_of
from hydra_mobile.core.errors import ArtifactError, HydraError
from hydra_mobile.core.marks import ADAPTER, BUNDLE
from hydra_mobile.core.model_folder import MERGED
from hydra_mobile.core.progress import Log, silent
from hydra_mobile.core.quiet import quietly

if TYPE_CHECKING:
    from hydra_mobile.runtimes.model_ref import ModelRef

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_CARD = "README.md"
#: What a repository may hold beside a model; it stays.
_STAYS = (".gitattributes", "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE")


@dataclass(frozen=True)
class Pushed:
    """What was put on the hub.

    Attributes:
        repo_id: "owner/name".
        kind: "adapter", "merged model" or "bundle".
        commit: that the hub made of it.
        url: of the files at that commit.
        files: their number.
        size_bytes: of all of them.
    """

    repo_id: str
    kind: str
    commit: str
    url: str
    files: int
    size_bytes: int

    @property
    def reference(self) -> str:
        """What opens exactly these files again: `OWNER/NAME@COMMIT`."""
        return f"{self.repo_id}@{self.commit}"


def push(
    model: ModelLike,
    repo_id: str,
    *,
    private: bool = False,
    revision: str = "",
    message: str = "",
    log: Log = print,
) -> Pushed:
    """Put an adapter, a merged model or a bundle on the Hugging Face hub, with its card.

    The files are checked against their hashes first. An older model of the same kind in the
    repository is replaced as a whole: files that the new one lacks go. Whoever opens
    `OWNER/NAME[@REVISION]` with `load`, `evaluate` or any other function gets the same files.

    Args:
        model: a run (its adapter is taken), an adapter, a merged folder or a bundle.
        repo_id: "owner/name"; the repository is made when it is not there.
        private: make it for its owner alone; one that exists stays as it is.
        revision: a branch to write to, made when it is not there; "": the main one.
        message: of the commit; "": says what it is.
        log: receives a line for each step.

    Raises:
        ArtifactError: the model is incomplete or altered, or a base, which is another's.
        HydraError: nobody is logged in, or may not write there; the repository holds something
            else; the hub cannot be reached.
    """
    _require_id(repo_id)
    with quietly():
        from hydra_mobile.runtimes.model_ref import model_at

        kind, folder, names = _files_of(model_at(path_of(model, log)))
        size = sum((folder / name).stat().st_size for name in names)
        log(f"Pushing the {kind} {folder} to {repo_id}: {len(names)} files, {size / 1e6:.1f} MB")
        from huggingface_hub import HfApi

        api = HfApi()
        with _at_the_hub(repo_id):
            api.create_repo(repo_id, private=private or None, exist_ok=True)
            if revision:
                api.create_branch(repo_id, branch=revision, exist_ok=True)
            there = api.list_repo_files(repo_id, revision=revision or None)
            others = _others(repo_id, revision, kind, there)
        if others:
            raise HydraError(
                f"{repo_id} holds something else, which is not replaced",
                "Choose another repository, or a branch that is no copy of that: --revision.",
                where=repo_id,
                found=f"{len(others)} files, `{others[0]}` among them",
                expected=f"an empty repository, or an older {kind} ({_MARKS[kind].file}) alone",
            )
        with _at_the_hub(repo_id):
            made = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                revision=revision or None,
                commit_message=message or f"{kind} of hydra-mobile",
                # Names, not patterns: `a[1].json` is to mean itself.
                allow_patterns=[escape(name) for name in names],
                delete_patterns=[escape(n) for n in there if n not in (*_STAYS, *names)],
            )
        commit = str(made.oid)
        url = f"{api.endpoint}/{repo_id}/tree/{commit}"
        log(f"Pushed: {url}")
        return Pushed(repo_id, kind, commit, url, len(names), size)


#: What another trainer's adapter holds that peft opens.
_PEFT = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
#: Kind -> by what an older model in a repository is recognized.
_MARKS = {
    "adapter": ADAPTER,
    "merged model": MERGED,
    "bundle": BUNDLE,
}


def _others(repo_id: str, revision: str, kind: str, there: Sequence[str]) -> list[str]:
    """Return the files of a repository that are of no older model of this kind.

    Names such as manifest.json are common, and somebody's own file may lie beside a model: the
    record of the older model says which files are its own.
    """
    from huggingface_hub import snapshot_download

    mark = _MARKS[kind]
    others = [name for name in there if name not in (*_STAYS, _CARD)]
    if mark.file not in others:
        return [name for name in others if kind != "adapter" or name not in _PEFT]
    folder = snapshot_download(repo_id, revision=revision or None, allow_patterns=[mark.file])
    if not mark.is_on(Path(folder)):
        return others
    known = mark.contents(Path(folder))
    # Records of earlier versions name some of their files only.
    return [] if known is None else [n for n in others if n.partition("/")[0] not in known]


def require_login(repo_id: str, log: Log = silent) -> None:
    """Raise where a push would be refused for want of a login, before hours are spent on the model.

    Raises:
        HydraError: nobody is logged in, the hub cannot be reached, or `repo_id` is none.
    """
    _require_id(repo_id)
    with quietly():
        from huggingface_hub import HfApi

        with _at_the_hub(repo_id):
            name = HfApi().whoami()["name"]
    log(f"{repo_id} will be pushed by {name}")


def _require_id(repo_id: str) -> None:
    if not _REPOSITORY.fullmatch(repo_id):
        raise HydraError(
            f"`{repo_id}` names no repository of the hub",
            "OWNER/NAME, for example my-name/emojiqa-int4",
            found=repo_id,
            expected="OWNER/NAME",
        )


def _files_of(model: ModelRef) -> tuple[str, Path, list[str]]:
    """Return kind, folder and files of a model, which are checked against their hashes.

    Raises:
        ArtifactError: a file is missing or altered, or the model is a base.
    """
    from hydra_mobile.adapters.folder_files import adapter_files
    from hydra_mobile.adapters.save_load import read_adapter
    from hydra_mobile.bundle.bundle import Bundle
    from hydra_mobile.bundle.manifest import MANIFEST, read_manifest
    from hydra_mobile.core.integrity import plain_files
    from hydra_mobile.core.model_folder import require_as_merged
    from hydra_mobile.runtimes.model_ref import adapter_in

    if model.kind == "bundle":
        opened = Bundle.open(model.path, again=True)
        kind, folder = "bundle", opened.folder
        # Those of all its adapters.
        names = [MANIFEST, *read_manifest(folder)["files"]]
    elif model.kind == "run":
        kind, folder = "adapter", adapter_in(model.path)
        read_adapter(folder)
        names = sorted({*plain_files(folder), *adapter_files(folder)})
    elif model.kind == "merged":
        kind, folder = "merged model", model.path
        require_as_merged(folder, again=True)
        names = plain_files(folder)
    else:
        raise ArtifactError(
            f"{model.path} is a base: nothing of it was made here.",
            "Name a run, an adapter, a merged model or a bundle.",
        )
    if (folder / _CARD).is_file():
        names = [*names, _CARD]
    return kind, folder, names


@contextmanager
def _at_the_hub(repo_id: str) -> Iterator[None]:
    """Turn what the hub's client raises into errors that say what to do.

    Raises:
        HydraError: in place of it.
    """
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    # The library that the hub's client is built on; its name differs between versions.
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    try:
        yield
    except LocalTokenNotFoundError as error:
        raise HydraError(
            f"{repo_id} cannot be written: nobody is logged in at the hub",
            "`hf auth login`, or a token that may write in HF_TOKEN",
        ) from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", 0)
        reason = first_line_of(error)
        refused = status in (401, 403, 404)
        raise HydraError(
            f"{repo_id} was refused by the hub: {reason}",
            "Log in as somebody who may write there: `hf auth login`, with a token that may write."
            if refused
            else "Push again; nothing was changed here.",
        ) from error
    except (OSError, ValueError, httpx.HTTPError) as error:
        reason = first_line_of(error)
        raise HydraError(
            f"{repo_id} could not be written: {reason}",
            "Check the name and the network; the model is here as it was.",
        ) from error
