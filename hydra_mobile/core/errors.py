"""The exceptions that mean "the user can mend this", and nothing else.

The command line prints them as one message without a traceback and exits with `exit_code`;
any other exception is a defect of ours and keeps its traceback.
"""


class HydraError(Exception):
    """A failure that the user can mend.

    Args:
        what: names the file or key, what was found there and what was expected.
        mend: one sentence on how to mend it; printed on its own line.
    """

    exit_code = 2

    def __init__(self, what: str, mend: str = "") -> None:
        super().__init__(f"{what}\n{mend}" if mend else what)
        self.what = what
        self.mend = mend


class ConfigError(HydraError):
    """A configuration file or an override has a wrong key or value."""


class DataError(HydraError):
    """A data file, a record or a picture cannot be used."""


class ArtifactError(HydraError):
    """A base, run, adapter, merged folder or bundle is incomplete, altered or of another base."""


class BudgetError(HydraError):
    """A rank map costs more parameters than the reference budget allows."""


class ParityError(HydraError):
    """Two forms of one model disagree by more than their tolerance."""

    exit_code = 3
