"""A stand-in of the Hugging Face hub: repositories in memory, its client's calls, its cache.

What is fetched lies as the hub's own cache has it: files under their hashes in `blobs`, and a
folder of links to them for each commit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx  # its client library; the name differs between versions

Files = dict[str, bytes]


class Commit(NamedTuple):
    """What an upload returns."""

    oid: str


@dataclass
class Repository:
    """Commits by hash, and the hash that each branch points to."""

    commits: dict[str, Files]
    branches: dict[str, str]
    private: bool = False


@dataclass
class LocalHub:
    """Repositories, who is logged in, and whether there is a network.

    Attributes:
        cache: of what was fetched.
        user: who is logged in; "": nobody.
        online: False: every call fails as without a network.
        breaks_after: so many files of a download arrive, then the network is gone; None: all.
        asked: revisions that were fetched, in order.
    """

    cache: Path
    user: str = "me"
    online: bool = True
    breaks_after: int | None = None
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str | None] = field(default_factory=list)

    def files(self, repo_id: str, revision: str | None = None) -> Files:
        """Return the files of a repository.

        Raises:
            RepositoryNotFoundError: there is none.
            RevisionNotFoundError: it has no such branch or commit.
        """
        return self._repository(repo_id).commits[self._commit(repo_id, revision)]

    def add(self, repo_id: str, files: Files, branch: str = "main") -> str:
        """Add a commit; return its hash."""
        text = repr((repo_id, branch, sorted(files.items()))).encode()
        commit = hashlib.sha1(text).hexdigest()
        repository = self.repositories.setdefault(repo_id, Repository({}, {}))
        repository.commits[commit] = files
        repository.branches[branch] = commit
        return commit

    def point(self, repo_id: str, commit: str, branch: str = "main") -> None:
        """Let a branch point to another commit."""
        self.repositories[repo_id].branches[branch] = commit

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put this in the place of the client's calls."""
        api = huggingface_hub.HfApi
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self._snapshot)
        for name in ("list_repo_files", "create_repo", "create_branch", "upload_folder", "whoami"):
            call = getattr(self, f"_{name}")
            monkeypatch.setattr(api, name, lambda api, *a, _call=call, **more: _call(*a, **more))

    def _repository(self, repo_id: str) -> Repository:
        self._reach()
        if repo_id not in self.repositories:
            raise RepositoryNotFoundError("404 Client Error.", response=_response(404))
        return self.repositories[repo_id]

    def _commit(self, repo_id: str, revision: str | None) -> str:
        repository = self._repository(repo_id)
        commit = repository.branches.get(revision or "main", revision or "")
        if commit not in repository.commits:
            raise RevisionNotFoundError("404 Client Error.", response=_response(404))
        return commit

    def _reach(self) -> None:
        if not self.online:
            raise ConnectionError("the network is out of reach")

    # -- the client's calls, with the names of its parameters -------------------------------------

    def _snapshot(
        self,
        repo_id: str,
        *,
        revision: str | None = None,
        allow_patterns: list[str] | None = None,
        local_files_only: bool = False,
    ) -> str:
        home = self.cache / f"models--{repo_id.replace('/', '--')}"
        if local_files_only:
            pointer = home / "refs" / (revision or "main")
            commit = pointer.read_text() if pointer.is_file() else revision or ""
            folder = home / "snapshots" / commit
            if not commit or not folder.is_dir():
                raise LocalEntryNotFoundError("not in the cache")
            return str(folder)
        self.asked.append(revision)
        commit = self._commit(repo_id, revision)
        (home / "refs").mkdir(parents=True, exist_ok=True)
        if revision != commit:
            (home / "refs" / (revision or "main")).write_text(commit)
        folder = home / "snapshots" / commit
        for count, (name, content) in enumerate(sorted(self.files(repo_id, commit).items())):
            if count == self.breaks_after:
                raise ConnectionError("the network is gone")
            if allow_patterns and not any(fnmatch(name, pattern) for pattern in allow_patterns):
                continue
            blob = home / "blobs" / hashlib.sha256(content).hexdigest()
            blob.parent.mkdir(exist_ok=True)
            blob.write_bytes(content)
            link = folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(blob)
        return str(folder)

    def _list_repo_files(self, repo_id: str, *, revision: str | None = None) -> list[str]:
        return sorted(self.files(repo_id, revision))

    def _whoami(self) -> dict[str, Any]:
        self._reach()
        if not self.user:
            raise LocalTokenNotFoundError("no token")
        return {"name": self.user}

    def _create_repo(self, repo_id: str, *, private: bool | None, exist_ok: bool) -> None:
        self._whoami()
        if repo_id.partition("/")[0] != self.user:
            raise huggingface_hub.errors.HfHubHTTPError("403 Forbidden", response=_response(403))
        if repo_id not in self.repositories:
            self.add(repo_id, {".gitattributes": b""})
            self.repositories[repo_id].private = bool(private)
        assert exist_ok

    def _create_branch(self, repo_id: str, *, branch: str, exist_ok: bool) -> None:
        assert exist_ok
        branches = self._repository(repo_id).branches
        branches.setdefault(branch, branches["main"])

    def _upload_folder(
        self,
        *,
        repo_id: str,
        folder_path: Path,
        revision: str | None,
        commit_message: str,
        allow_patterns: list[str],
        delete_patterns: list[str],
    ) -> Commit:
        assert commit_message
        files = {
            name: content
            for name, content in self.files(repo_id, revision).items()
            if not any(fnmatch(name, pattern) for pattern in delete_patterns)
        }
        for file in Path(folder_path).rglob("*"):
            name = file.relative_to(folder_path).as_posix()
            if file.is_file() and any(fnmatch(name, pattern) for pattern in allow_patterns):
                files[name] = file.read_bytes()
        return Commit(self.add(repo_id, files, revision or "main"))


def files_in(folder: Path) -> Files:
    """Return the files of a folder as a commit holds them."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def _response(status: int) -> httpx.Response:
    return httpx.Response(status, request=httpx.Request("GET", "https://hub.test"))
