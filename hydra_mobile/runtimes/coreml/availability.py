"""How a CoreML bundle runs on this machine: by CoreML itself, or by interpretation.

Every place that names a CoreML result takes its words from here, so that no reader takes an
interpreted answer for one of a phone. Loads coremltools on macOS only.
"""

from __future__ import annotations

import sys

#: Answers that no Apple hardware gave.
INTERPRETED = "converted and interpreted, not executed on Apple hardware"
NATIVE = "executed by CoreML on this Mac"


def native_available() -> bool:
    """Whether coremltools can predict here: on macOS, with its native library."""
    if sys.platform != "darwin":
        return False
    try:
        import coremltools.libcoremlpython  # noqa: F401
    except ImportError:
        return False
    return True
