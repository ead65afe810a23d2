"""Silences what dependencies print about themselves on import; never what concerns the user."""

from __future__ import annotations

import logging
import os
import warnings


def quiet() -> None:
    """Call before the first heavy import."""
    # Each of these is printed on every start and asks for nothing that a user could do.
    for name in ("torch.utils._pytree", "torchao", "torchao.utils", "bitsandbytes"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger().addFilter(_not_torchao_extensions)
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for category in (FutureWarning, DeprecationWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category)


def _not_torchao_extensions(record: logging.LogRecord) -> bool:
    return "Failed to load" not in record.getMessage()
