"""What dependencies print about themselves is silenced, what concerns the user never is.

`quiet` is for processes of ours (the command line, workers) and lasts; `quietly` is for library
calls inside somebody else's program and leaves that program's warnings as they were.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator

# Each of these is printed on every start and asks for nothing that a user could do.
_TALKATIVE = ("torch.utils._pytree", "torchao", "torchao.utils", "bitsandbytes")


def quiet() -> None:
    """Silence this process for good; call before the first heavy import."""
    _set_up()
    for category in (FutureWarning, DeprecationWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silence the dependencies while the block runs; afterwards warnings are as before."""
    _set_up()
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning, UserWarning):
            warnings.filterwarnings("ignore", category=category)
        yield


@contextlib.contextmanager
def errors_only(name: str = "") -> Iterator[None]:
    """Keep a logger, by default the root's, from saying less than errors while the block runs."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _set_up() -> None:
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger().addFilter(_not_torchao_extensions)
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # oneDNN keeps 1,024 compiled kernels, one per shape; ranks that differ between modules need
    # more, and are compiled anew at every step otherwise. It reads this once, when it loads.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16384")


def _not_torchao_extensions(record: logging.LogRecord) -> bool:
    return "Failed to load" not in record.getMessage()
