"""One pool of threads for all graphs of a process that runs nothing else.

Each session has a pool of its own, and idle threads of onnxruntime spin for a while: behind every
decoder call they take the cores away from the vision encoder, and the other way round. On two cores
that doubles the time to the first token. A shared pool avoids it, but binds every session of the
process, so only a process of ours makes one (`share_pool`); inside a user's program sessions keep
their own.
"""

from __future__ import annotations

from typing import Any

#: Whether this process has the shared pool: onnxruntime can neither tell nor make a second.
_shared = False


def share_pool(threads: int) -> None:
    """Make one pool for all sessions that this process will have; a second call changes nothing.

    Args:
        threads: its size; 0 leaves the choice to onnxruntime.
    """
    global _shared
    if not _shared:
        import onnxruntime as ort

        ort.set_global_thread_pool_sizes(threads, 1)
        _shared = True


def use_threads(options: Any, threads: int) -> None:
    """Let a session run on the shared pool, or without one on `threads` threads of its own.

    Args:
        options: onnxruntime's SessionOptions, changed in place.
        threads: 0 leaves the choice to onnxruntime.
    """
    if _shared:
        options.use_per_session_threads = False
    else:
        options.intra_op_num_threads = threads
