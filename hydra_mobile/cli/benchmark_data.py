"""Where the data of benchmarks are; EmojiQA's are built when nothing else is there."""

from __future__ import annotations

import os
from pathlib import Path

from hydra_mobile.benchmarks.own.names import FileName, own_name
from hydra_mobile.cli import ui
from hydra_mobile.cli.ui.live import progress
from hydra_mobile.core.errors import ConfigError


def data_folder(given: Path | None, benchmarks: tuple[str, ...], build: bool = True) -> Path:
    """Return the folder of benchmark data.

    It is `--data`, else HYDRA_MOBILE_DATA, else ./benchmark_data. EmojiQA alone is read from
    ./data/emojiqa where ./benchmark_data does not have it, and is built there unless `build` is
    off. Files of one's own need none.

    Raises:
        ConfigError: there is no such folder.
    """
    named = os.environ.get("HYDRA_MOBILE_DATA", "")
    if given is None and all(isinstance(own_name(name), FileName) for name in benchmarks):
        return Path()  # files of one's own name their data themselves
    found = given or (Path(named) if named else Path("benchmark_data"))
    emojiqa = given is None and not named and benchmarks == ("emojiqa",)
    if found.exists() and not (emojiqa and not _has_emojiqa(found)):
        return found  # a folder, or one file of annotations
    fixes = ["--data FOLDER, or HYDRA_MOBILE_DATA=FOLDER; docs/benchmarks.md says what is in it"]
    if emojiqa:
        own = Path("data") / "emojiqa"
        if build or _has_emojiqa(own):
            return _built(own)
        fixes.insert(0, "hydra-mobile data emojiqa")
    raise ConfigError(
        "there is no folder of benchmark data",
        fixes,
        where="--data" if given else "HYDRA_MOBILE_DATA" if named else "--data",
        found=f"no folder {found}",
        expected="the folder that holds the official folders",
    )


def _has_emojiqa(folder: Path) -> bool:
    return any((folder / place / "emojiqa.json").is_file() for place in (".", "emojiqa"))


def _built(folder: Path) -> Path:
    """Return EmojiQA's data at `folder`, built there if they are not there yet."""
    if _has_emojiqa(folder):
        return folder
    from hydra_mobile.api.data import build_emojiqa

    ui.say(f"EmojiQA's data are built into {folder} (--data names another folder)")
    return build_emojiqa(folder, progress=progress)
