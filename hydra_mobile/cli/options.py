"""The options that several verbs have: one spelling, one meaning, one default."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from hydra_mobile.benchmarks import BENCHMARKS
from hydra_mobile.benchmarks.own.names import FileName, is_known, own_name, with_score
from hydra_mobile.benchmarks.score_names import SCORE_NAMES
from hydra_mobile.cli import ui
from hydra_mobile.cli.places import FolderPlace
from hydra_mobile.cli.ui.faults import unknown
from hydra_mobile.core.boundaries import shown
from hydra_mobile.core.errors import HydraError
from hydra_mobile.core.hub_id import is_hub_id
from hydra_mobile.devices import DEVICES, device_class

TorchDevice = Literal["auto", "cpu", "cuda", "mps"]


# More of anything that is counted is a mistake in typing.
_MOST = 1_000_000_000


class CountOr:
    """A parser of whole numbers from `least` to `most`; `word` and the older 0 are 0: no limit."""

    def __init__(self, word: str, least: int = 1, most: int = _MOST) -> None:
        self.word, self.least, self.most = word, least, most
        # Typer shows the parser's name where nothing else is known.
        self.__name__ = "N"

    def __call__(self, value: object) -> int:
        """Return the number.

        Raises:
            typer.BadParameter: it is neither a number in the range nor the word.
        """
        text = str(value).strip().lower()
        if text in (self.word, "0"):
            return 0
        # Longer ones are too large, and Python may refuse to read them.
        plain = text.isascii() and text.isdigit() and len(text) <= len(str(self.most))
        if not plain or not self.least <= int(text) <= self.most:
            numbers = f"a number from {self.least} to {self.most}"
            raise typer.BadParameter(
                f"{shown(text)} is neither {numbers} nor `{self.word}`"
                if self.word
                else f"{shown(text)} is not {numbers}"
            )
        return int(text)


class Real:
    """A parser of numbers from `least` to `most`; NaN is none, which typer's own ranges pass."""

    def __init__(self, least: float, most: float) -> None:
        self.least, self.most = least, most
        self.__name__ = "X"

    def __call__(self, value: object) -> float:
        """Return the number.

        Raises:
            typer.BadParameter: it is none, or outside of the range.
        """
        try:
            number = float(str(value))
        except ValueError:
            number = math.nan
        if not self.least <= number <= self.most:
            raise typer.BadParameter(
                f"{shown(str(value))} is not a number from {self.least:g} to {self.most:g}"
            )
        return number


def names(text: str) -> tuple[str, ...]:
    """Return the names in a list with commas, each once, without blanks."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def split_items(items: list[str] | None) -> tuple[list[str], list[str]]:
    """Tell paths and KEY=VALUE apart: what has no `=` is a path."""
    paths: list[str] = []
    overrides: list[str] = []
    for item in items or []:
        key = item.partition("=")[0]
        (overrides if "=" in item and "/" not in key else paths).append(item)
    return paths, overrides


def benchmark_names(values: list[str], score: str = "") -> tuple[str, ...]:
    """Return the benchmarks of a repeatable option with commas; files and classes count too.

    Args:
        values: names with commas.
        score: how questions of files are scored that do not say so.

    Raises:
        HydraError: one is unknown, or a file is missing; before anything heavy is imported.
    """
    found = tuple(dict.fromkeys(name for value in values for name in names(value)))
    if found == ("all",):
        return tuple(BENCHMARKS)
    for name in found:
        own = own_name(name)
        if isinstance(own, FileName):
            existing(own.path, "--benchmarks")
        elif not is_known(name):
            raise unknown(
                "benchmark", name, list(BENCHMARKS), "--benchmarks", "hydra-mobile benchmarks"
            )
    if score and not any(isinstance(own_name(name), FileName) for name in found):
        raise HydraError(
            "--score is for test sets of your own",
            "Leave it out: benchmarks have their own scores.",
            where="--score",
            found=f"the benchmarks {', '.join(found)}",
            expected="a jsonl file among --benchmarks",
        )
    return tuple(with_score(name, score) for name in found)


def device_name(value: str) -> str:
    """Check a device's name; NAME:SERIAL names one of several."""
    kind, colon, _ = value.partition(":")
    if kind not in DEVICES or (colon and not device_class(kind).takes_serial):
        raise unknown("device", value, list(DEVICES), "--device", "hydra-mobile devices")
    return value


def score_name(value: str) -> str:
    """Check the name of a score."""
    if value and value not in SCORE_NAMES:
        raise unknown("score", value, list(SCORE_NAMES), "--score", "docs/own_benchmark.md")
    return value


def existing(path: Path, where: str) -> Path:
    """Return a path that exists.

    Raises:
        HydraError: it does not; its nearest sibling is named.
    """
    from hydra_mobile.cli.ui.faults import sibling

    if not path.exists():
        raise HydraError(
            f"there is no {path}", sibling(path), where=where, found="no such file or folder"
        )
    return path


def opened(given: str | Path, where: str, *, names: bool = True) -> str:
    """Return a model as a path that exists; what is on the hub is fetched.

    Args:
        given: a path, `BUNDLE#ADAPTER`, or a hub id.
        where: it was given, for messages.
        names: whether a name without a slash may be that of a base, and is returned as it is.

    Raises:
        HydraError: it is not there; its nearest sibling is named.
    """
    text = str(given)
    path, mark, adapter = text.partition("#") if not Path(text).exists() else (text, "", "")
    if is_hub_id(path):
        ui.prepare()
        from hydra_mobile.api.paths import path_of

        return path_of(text, ui.say)
    if not names or "/" in path:
        existing(Path(path), where)
    return f"{path.rstrip('/') or path}{mark}{adapter}"


# -- completion: fast, from folders and tables, without torch ----------------------------------


def _complete_models(incomplete: str) -> list[str]:
    runs = [str(folder.parent) for folder in Path("runs").glob("*/run.json")]
    return sorted(name for name in (*runs, *_bases()) if name.startswith(incomplete))


def _bases() -> list[str]:
    from hydra_mobile.models.registry import BASES

    return list(BASES)


def complete_configs(incomplete: str) -> list[str]:
    """Complete names of packaged configurations."""
    from hydra_mobile.configs import config_names

    return [name for name in config_names() if name.startswith(incomplete)]


def complete_keys(incomplete: str) -> list[str]:
    """Complete keys of a configuration up to their `=`."""
    from hydra_mobile.cli.config_keys import keys

    return [f"{key.name}=" for key in keys() if key.name.startswith(incomplete)]


def complete_benchmarks(incomplete: str) -> list[str]:
    """Complete names of benchmarks."""
    return [name for name in BENCHMARKS if name.startswith(incomplete)]


def complete_bases(incomplete: str) -> list[str]:
    """Complete names of bases."""
    return [name for name in _bases() if name.startswith(incomplete)]


# -- the options -------------------------------------------------------------------------------

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Run, adapter, merged folder, base name, bundle, BUNDLE#ADAPTER or hub id",
        autocompletion=_complete_models,
    ),
]
Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="Runs, merged folders, base names, bundles or hub ids",
        autocompletion=_complete_models,
    ),
]
Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="Run folder", autocompletion=_complete_models)
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE...]",
        help="Settings over those of the configuration",
        autocompletion=complete_keys,
    ),
]
Config = Annotated[
    str,
    typer.Option(
        "--config",
        metavar="NAME|FILE",
        help="Training config, built in (hydra-mobile config) or a file",
        autocompletion=complete_configs,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an older result of the same kind")]
BaseFolder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        parser=FolderPlace("base"),
        show_default="bases/NAME",
        help="Base folder",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Show what would be done and what it costs; write nothing"),
]
Threads = Annotated[
    int,
    typer.Option(
        "--threads",
        parser=CountOr("auto", most=4096),
        metavar="N",
        show_default="auto",
        help="CPU threads in all, or auto",
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        parser=CountOr("auto", most=4096),
        metavar="N",
        show_default="auto",
        help="Parallel processes or readers, or auto",
    ),
]
Limit = Annotated[
    int,
    typer.Option(
        "--limit",
        parser=CountOr("all"),
        metavar="N",
        show_default="all",
        help="About this many questions of each split, or all",
    ),
]
Benchmarks = Annotated[
    list[str],
    typer.Option(
        "--benchmarks",
        metavar="A,B",
        help="Names, or jsonl files of your own, with commas; repeatable",
        show_default="emojiqa",
        autocompletion=complete_benchmarks,
    ),
]
Score = Annotated[
    str,
    typer.Option(
        "--score",
        metavar="HOW",
        parser=score_name,
        show_default="by field",
        help=f"Score of your own files: {', '.join(SCORE_NAMES)}",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder of benchmark data; HYDRA_MOBILE_DATA, or ./benchmark_data",
    ),
]
Base = Annotated[
    str,
    typer.Option(
        "--base",
        metavar="NAME",
        help="Base name or folder, where none is recorded",
        autocompletion=complete_bases,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="WHERE",
        parser=device_name,
        show_default="host",
        help=f"{', '.join(DEVICES)}; NAME:SERIAL for one of several",
    ),
]
Splits = Annotated[
    str, typer.Option("--splits", metavar="A,B", help="Splits; default: those that count")
]
Protocol = Annotated[
    str,
    typer.Option(
        "--protocol",
        metavar="NAME",
        show_default="the benchmark's",
        help="Way of asking, for all or BENCHMARK=NAME,... (docs/benchmarks.md)",
    ),
]
AllowPartial = Annotated[
    bool, typer.Option("--allow-partial", help="Go on with what is there; marks the result")
]
Images = Annotated[
    Path | None,
    typer.Option("--images", metavar="DIR", help="Folder of the images; default: the data file's"),
]
Push = Annotated[
    str,
    typer.Option("--push", metavar="OWNER/NAME", help="Put the result on the Hugging Face hub"),
]
Private = Annotated[
    bool, typer.Option("--private", help="A repository that is made is for its owner alone")
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, max=2**32 - 1, help="Seed")]


def in_process() -> bool:
    """Whether standard input is a terminal that can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()
