"""The exceptions that mean "the user can fix this", and nothing else.

The command line prints them as one message without a traceback and exits with `exit_code`; as JSON
they are the `error` of the envelope. Any other exception is a defect of ours and keeps its
traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

Kind = Literal[
    "internal",
    "usage",
    "config",
    "data",
    "artifact",
    "memory",
    "disk",
    "device",
    "missing",
    "network",
    "check_failed",
    "interrupted",
]


class HydraError(Exception):
    """A failure that the user can fix.

    Args:
        what: one sentence: what is wrong. Where the fields below are not given, it also names the
            file or key, what was found there and what was expected.
        fix: how to mend it: a sentence or lines to copy.
        where: the file, option, key or record.
        found: what was found there.
        expected: what should have been there.
        kept: what is left of the work that was done.
        kind: the class of failure that programs act on; default: that of the class.
    """

    exit_code: ClassVar[int] = 2
    default_kind: ClassVar[Kind] = "usage"

    def __init__(
        self,
        what: str,
        fix: str | Sequence[str] = "",
        *,
        where: str = "",
        found: str = "",
        expected: str = "",
        kept: str = "",
        kind: Kind | None = None,
    ) -> None:
        self.what = what
        self.fixes: tuple[str, ...] = (fix,) if isinstance(fix, str) else tuple(fix)
        self.fixes = tuple(line for line in self.fixes if line)
        self.where = where
        self.found = found
        self.expected = expected
        self.kept = kept
        self.kind: Kind = kind or self.default_kind
        super().__init__(what)

    @property
    def fix(self) -> str:
        """How to mend it, as one text; "" where nobody knows."""
        return "\n".join(self.fixes)

    def fields(self) -> dict[str, str]:
        """Return the fields between `what` and `fix` that say something."""
        named = {"where": self.where, "found": self.found, "expected": self.expected}
        return {name: text for name, text in named.items() if text}

    def __str__(self) -> str:
        lines = [self.what, *(f"{name}: {text}" for name, text in self.fields().items())]
        return "\n".join([*lines, *self.fixes])

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers hand their errors to the process that started them.
        return (type(self), (self.what,), self.__dict__)


class ConfigError(HydraError):
    """A configuration file or an override has a wrong key or value."""

    default_kind = "config"


class DataError(HydraError):
    """A data file, a record or a picture cannot be used."""

    default_kind = "data"


class ArtifactError(HydraError):
    """A base, run, adapter, merged folder or bundle is incomplete, altered or of another base."""

    default_kind = "artifact"


class BudgetError(HydraError):
    """A rank map costs more parameters than the reference budget allows."""

    default_kind = "config"


class DiskError(HydraError):
    """There is no room for what has to be written."""

    default_kind = "disk"


class MissingPackageError(HydraError):
    """An optional package or a program of the system is not installed."""

    default_kind = "missing"


class CheckFailed(HydraError):
    """A check ran to its end and found a fault: in data, in a config, in a bundle or in scores."""

    exit_code = 3
    default_kind = "check_failed"


class ParityError(CheckFailed):
    """Two forms of one model disagree by more than their tolerance."""
