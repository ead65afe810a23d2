"""How much of a lowered ExecuTorch program runs in delegates, and what is left outside.

A node outside a delegate runs on plain kernels, so the share says whether a program can be fast.
Knows the graph of a lowered method; writes plain numbers. Called by the ExecuTorch target.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch

#: Nodes that compute nothing at run time.
_BOOKKEEPING = ("getitem", "alloc", "sym_size", "_assert_scalar", "ge", "le", "lt", "gt", "add")


def _target_name(node: Any) -> str:
    """Return the operator's name without its namespace, for example `linear.default`."""
    name = str(getattr(node.target, "__name__", None) or node.target)
    if name.startswith("auto_functionalized"):
        name = str(node.args[0])  # a wrapper around an operator that writes into its input
    parts = name.split(".")
    return ".".join(parts[1:]) if len(parts) > 2 else name


def _lowered(node: Any) -> Any | None:
    """Return the delegated graph module that `node` calls, if it calls one."""
    if node.op != "call_function" or "executorch_call_delegate" not in str(node.target):
        return None
    lowered = getattr(node.graph.owning_module, node.args[0].target)
    return lowered.original_module.graph_module


def walk(graph_module: Any) -> Iterator[tuple[Any, bool]]:
    """Yield (node, inside a delegate) for every operator of a lowered method."""
    for node in graph_module.graph.nodes:
        inner = _lowered(node)
        if inner is not None:
            for child in inner.graph.nodes:
                if child.op == "call_function":
                    yield child, True
        elif node.op == "call_function":
            yield node, False


def _shape(node: Any) -> list[int] | None:
    value = node.meta.get("val") if hasattr(node, "meta") else None
    if not isinstance(value, torch.Tensor):
        return None
    # A dynamic length counts as 1, as in decoding: it cancels in shares.
    return [size if isinstance(size, int) else 1 for size in value.shape]


def multiply_accumulates(node: Any) -> int:
    """Return the multiply-accumulates of a matrix product or convolution, 0 for all else."""
    name, out = _target_name(node), _shape(node)
    if out is None:
        return 0
    if name.startswith(("linear", "mm", "bmm", "matmul")):
        inner = _shape(node.args[0])
        return math.prod(out) * inner[-1] if inner else 0
    if name.startswith("addmm"):
        inner = _shape(node.args[1])
        return math.prod(out) * inner[-1] if inner else 0
    if name.startswith("convolution"):
        kernel = _shape(node.args[1])
        return math.prod(out) * math.prod(kernel[1:]) if kernel else 0
    if name.startswith("custom_sdpa"):
        query, keys = _shape(node.args[0]), _shape(node.args[1])
        # Scores and their product with the values, over a full cache.
        return 2 * math.prod(query) * keys[1] if query and keys else 0
    return 0


def count(graph_module: Any, name: str, *, delegated: bool | None = None) -> int:
    """Count nodes whose operator's name starts with `name`."""
    return sum(
        _target_name(node).startswith(name) and delegated in (None, inside)
        for node, inside in walk(graph_module)
    )


def summarise(graph_module: Any) -> dict[str, Any]:
    """Return the delegation of one lowered method as JSON values.

    Returns:
        `subgraphs`, `nodes` and `nodes_delegated` (operators that compute), `share_of_nodes`,
        `share_of_multiply_accumulates` (approximate: matrix products and convolutions, a dynamic
        length counted as 1), and `outside`, the operators left outside by count, most first.
    """
    inside_nodes = outside_nodes = inside_work = outside_work = 0
    outside: Counter[str] = Counter()
    for node, inside in walk(graph_module):
        name = _target_name(node)
        if name.split(".")[0] in _BOOKKEEPING and not inside:
            continue
        if inside:
            inside_nodes += 1
            inside_work += multiply_accumulates(node)
        else:
            outside_nodes += 1
            outside_work += multiply_accumulates(node)
            outside[name] += 1
    nodes, work = inside_nodes + outside_nodes, inside_work + outside_work
    return {
        "subgraphs": sum(_lowered(node) is not None for node in graph_module.graph.nodes),
        "nodes": nodes,
        "nodes_delegated": inside_nodes,
        "share_of_nodes": round(inside_nodes / nodes, 4) if nodes else 0.0,
        "share_of_multiply_accumulates": round(inside_work / work, 4) if work else 0.0,
        "outside": dict(outside.most_common(12)),
    }
