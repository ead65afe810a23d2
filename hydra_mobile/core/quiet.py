"""What must be set before the first heavy import: silence about themselves, and their caches.

Silences what dependencies print about themselves, never what concerns the user.
"""

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
    # oneDNN keeps 1,024 compiled kernels, one per shape; ranks that differ between modules need
    # more, and are compiled anew at every step otherwise. It reads this once, when it loads.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16384")
    for category in (FutureWarning, DeprecationWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category)


def _not_torchao_extensions(record: logging.LogRecord) -> bool:
    return "Failed to load" not in record.getMessage()
