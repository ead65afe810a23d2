"""Python code of torch.fx graphs, written when a graph is called and not at every change of it.

Lowering changes graphs thousands of times and never calls most of them: cutting a delegate out of a
decoder writes the whole decoder's code three times. `torch.fx` has a lazy module of its own, but
ExecuTorch names the eager one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from torch.fx import GraphModule
from torch.fx.graph import _PyTreeCodeGen

_write_code = GraphModule.recompile


class _WhenAsked:
    """Stands for `forward` until somebody asks for it."""

    def __get__(self, module: Any, kind: type) -> Callable[..., Any]:
        if module is None:
            return self  # type: ignore[return-value]
        _write_code(module)
        forward: Callable[..., Any] = kind.forward.__get__(module, kind)  # type: ignore[attr-defined]
        return forward


def _later(module: Any) -> None:
    """Do of `GraphModule.recompile` what is read without calling the module."""
    codegen = module.graph._codegen
    if isinstance(codegen, _PyTreeCodeGen):
        module._in_spec = codegen.pytree_info.in_spec
        module._out_spec = codegen.pytree_info.out_spec
    # What a message about the module prints.
    vars(module).setdefault("_code", "")
    type(module).forward = _WhenAsked()


@contextmanager
def code_when_called() -> Iterator[None]:
    """Write a graph's code when it is first called, for graphs that change in the block."""
    with patch.object(GraphModule, "recompile", _later):
        yield
