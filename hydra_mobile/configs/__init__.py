"""The training configurations that come with the package, by name: `mobilevlm-1.7b`.

A configuration is a commented YAML file beside this one; its first comment says what it is for. A
new file is a new name.
"""

from __future__ import annotations

from pathlib import Path

from hydra_mobile.core.errors import ConfigError
from hydra_mobile.core.registry import nearest

FOLDER = Path(__file__).parent


def config_names() -> list[str]:
    """Return the names of all packaged configurations, sorted."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def config_file(name: str) -> Path:
    """Return the file of a packaged configuration; a trailing ".yaml" is no part of its name.

    Raises:
        ConfigError: there is none of that name.
    """
    names = config_names()
    stem = name.removesuffix(".yaml")
    if stem not in names:
        raise ConfigError(f"Unknown configuration `{name}`.", nearest(stem, names))
    return FOLDER / f"{stem}.yaml"


def config_summary(name: str) -> str:
    """Return the first sentence of a packaged configuration's opening comment.

    Raises:
        ConfigError: there is none of that name.
    """
    words: list[str] = []
    for line in config_file(name).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        words += line.lstrip("#").split()
        if words and words[-1].endswith("."):
            break
    sentence, end, _ = " ".join(words).partition(". ")
    return sentence.removesuffix(".") if end or words else ""


def find_config(name_or_file: str | Path) -> Path:
    """Return a file as it was given, or the packaged configuration of that name.

    A file on disk wins over a name. What looks like a path (a folder in it, or a suffix) is never
    looked up by name, so that a mistyped path is reported as one.

    Raises:
        ConfigError: neither a file nor a packaged name.
    """
    file = Path(name_or_file)
    if file.is_file():
        return file
    names = config_names()
    if file.name != str(name_or_file) or file.suffix in (".yaml", ".yml"):
        hint = f"Packaged: {file.stem}. " if file.stem in names else ""
        raise ConfigError(
            f"The configuration {file} does not exist.",
            f"{hint}Name a YAML file, or a packaged configuration: {', '.join(names)}.",
        )
    return config_file(str(name_or_file))
