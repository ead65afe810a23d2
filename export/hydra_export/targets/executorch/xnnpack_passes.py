"""XNNPACK's passes over a delegate, without those that would find nothing to do in it.

A decoder has dozens of delegates of a few operators each. XNNPACK runs seventeen passes over every
one, and each pass traces the delegate again, found something or not: most of the time of lowering.
A pass that changes one operator is left out where the delegate does not have it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from executorch.backends.xnnpack import _passes as xnnpack
from executorch.backends.xnnpack import xnnpack_preprocess

#: Pass -> parts of operators' names, of which a delegate must have one for the pass to change it. A
#: pass that is not here always runs.
_CHANGED: dict[type, tuple[str, ...]] = {
    xnnpack.XNNPACKRemoveCloneOpsTransform: ("clone", "alias", "dim_order", "copy"),
    xnnpack.DimOrderOpsRevertPass: ("dim_order",),
    xnnpack.ConvertToUpsampleBilinear2d: ("index", "upsample"),
    xnnpack.ConvertToLinearPass: ("mm",),
    xnnpack.ConvertToSDPAPass: ("softmax",),
    xnnpack.FuseBatchNormPass: ("batch_norm",),
    xnnpack.DecomposeBatchNorm: ("batch_norm",),
    xnnpack.FuseActivationPass: ("relu", "hardtanh"),
    xnnpack.DecomposeConcatenate: ("cat",),
    xnnpack.RemoveGetItemPass: ("getitem", "max_pool", "max.dim"),
    xnnpack.InsertPadQDQPass: ("pad",),
    xnnpack.Conv1dUnsqueezePass: ("convolution",),
    xnnpack.PReLUReshapePass: ("prelu",),
}


class _NeededPasses(xnnpack.XNNPACKPassManager):  # type: ignore[misc]
    """The passes of a delegate that can change it."""

    passes: list[type]

    def __init__(self, exported_program: Any, passes: list[type] | None = None) -> None:
        super().__init__(exported_program, passes)
        found = " ".join(
            str(node.target) for node in exported_program.graph.nodes if node.op == "call_function"
        )
        self.passes = [
            each for each in self.passes if any(name in found for name in _CHANGED.get(each, ("",)))
        ]


@contextmanager
def needed_passes() -> Iterator[None]:
    """Leave passes that can change nothing out of what is lowered in the block."""
    with patch.object(xnnpack_preprocess, "XNNPACKPassManager", _NeededPasses):
        yield
