"""Where a benchmark's files are, in the trees that users have.

`--data` may be MobileVLM's `benchmark_data`, LLaVA's `playground/data/eval` (or a folder above it),
the benchmark's own folder in either, or, to score with, one file of annotations. Symbolic links are
followed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hydra_mobile.core.errors import DataError

# The folders that hold the benchmarks' folders, relative to what the user gave.
_ROOTS = ("", "benchmark_data", "eval", "data/eval", "playground/data/eval")


class DataRoots:
    """The folders in which a benchmark's files are looked for.

    Args:
        data: what the user gave.
        names: of the benchmark's own folder, for example ("mme", "MME").
        source: where the data come from, for messages; empty for none.

    Raises:
        DataError: there is nothing at `data`.
    """

    def __init__(self, data: Path, names: Sequence[str], source: str = "") -> None:
        self.given = data
        self.names = tuple(names)
        self._source = f" Get the data: {source}" if source else ""
        if not data.exists():
            raise DataError(
                f"The data folder {data} does not exist.",
                "Give the folder that holds the benchmarks, or the benchmark's own." + self._source,
            )
        #: The file that was given instead of a folder; None for a folder.
        self.file = data if data.is_file() else None
        base = data.parent if self.file else data
        inner = [base / root / name for root in _ROOTS for name in self.names]
        self.folders = [folder for folder in inner if folder.is_dir()] + [base]
        # A file of annotations, or a folder of them, lies beside or below what belongs to it.
        # By its own path and by where links lead: either may be the official tree.
        self.above = [Path(os.path.abspath(base)).parent, base.resolve().parent]

    def find(self, *relative: str, above: bool = False) -> Path | None:
        """Return the first of the files or folders `relative` that exists; None if there is none.

        Args:
            relative: paths inside the benchmark's folder, the likeliest first.
            above: look in the folder above the given one too.
        """
        folders = [*self.folders, *self.above] if above else self.folders
        for folder in folders:
            for name in relative:
                if (folder / name).exists():
                    return folder / name
        return None

    def expected(self, relative: str) -> Path:
        """Return where a file is, or, where it is missing, where it is expected."""
        return self.find(relative) or self.folders[0] / relative

    def require(self, *relative: str, what: str) -> Path:
        """Return the first of the files or folders that exists.

        Args:
            relative: as for `find`.
            what: what it holds, for the message.

        Raises:
            DataError: none does; names it.
        """
        found = self.find(*relative)
        if found is None:
            looked = ", ".join(str(folder) for folder in self.folders)
            raise DataError(
                f"{' or '.join(relative)} ({what}) is missing; looked in {looked}.",
                f"Give the folder `{self.names[0]}` of the official data, or the one above it."
                + self._source,
            )
        return found
