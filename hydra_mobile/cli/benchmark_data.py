"""Where the data of benchmarks are; EmojiQA's are built when nothing else is there."""

from __future__ import annotations

import os
from pathlib import Path

from hydra_mobile.cli import ui
from hydra_mobile.cli.ui.live import progress
from hydra_mobile.core.errors import ConfigError


def data_folder(given: Path | None, benchmarks: tuple[str, ...]) -> Path:
    """Return the folder of benchmark data.

    It is `--data`, else HYDRA_MOBILE_DATA, else ./benchmark_data; EmojiQA alone is built into
    ./data/emojiqa where none of them exists.

    Raises:
        ConfigError: there is no such folder.
    """
    named = os.environ.get("HYDRA_MOBILE_DATA", "")
    found = given or (Path(named) if named else Path("benchmark_data"))
    if found.exists():  # a folder, or one file of annotations
        return found
    if given is None and not named and benchmarks == ("emojiqa",):
        return _built(Path("data") / "emojiqa")
    raise ConfigError(
        "there is no folder of benchmark data",
        "--data FOLDER, or HYDRA_MOBILE_DATA=FOLDER; docs/benchmarks.md says what is in it",
        where="--data" if given else "HYDRA_MOBILE_DATA" if named else "--data",
        found=f"no folder {found}",
        expected="the folder that holds the official folders",
    )


def _built(folder: Path) -> Path:
    """Return EmojiQA's data at `folder`, built there if they are not there yet."""
    if (folder / "emojiqa.json").is_file():
        return folder
    from hydra_mobile.core.progress import counted
    from hydra_mobile.examples.emojiqa.dataset import build_emojiqa

    ui.say(f"EmojiQA's data are built into {folder} (--data names another folder)")
    with counted(progress, "pictures") as count:
        build_emojiqa(folder, progress=count)
    return folder
