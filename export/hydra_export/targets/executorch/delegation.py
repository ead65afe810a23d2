"""How much of a lowered ExecuTorch program runs in delegates, and what is left outside.

A node outside a delegate runs on plain kernels, unless it is one of the few that were written to be
fast there, so the shares say whether a program can be fast.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch

from hydra_mobile.bundle.kernel_coverage import OffPath, share

#: Nodes that compute nothing at run time.
_BOOKKEEPING = ("getitem", "alloc", "sym_size", "_assert_scalar", "ge", "le", "lt", "gt", "add")
#: Kernels outside of delegates that are as fast as delegates: fused attention over the cache, the
#: cache written in place, rows of a quantized table.
FUSED = ("custom_sdpa", "update_cache", "embedding_byte", "embedding_4bit", "embedding_2bit")


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


def calls(graph_module: Any) -> int:
    """Return how many delegates a lowered method calls."""
    return sum(_lowered(node) is not None for node in graph_module.graph.nodes)


def names_outside(graph_module: Any) -> list[str]:
    """Return the operators of a lowered method that no delegate holds and that compute."""
    found = (_target_name(node) for node, inside in walk(graph_module) if not inside)
    return sorted({name for name in found if not name.startswith(_BOOKKEEPING)})


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


def summarize(graph_module: Any) -> dict[str, Any]:
    """Return the delegation of one lowered method as JSON values.

    Returns:
        `subgraphs`, `nodes` and `nodes_delegated` (operators that compute), `nodes_fused` (those of
        `FUSED`), `share_of_nodes` and `share_of_multiply_accumulates` in delegates (approximate:
        matrix products and convolutions, a dynamic length counted as 1), the same shares on the
        fast path, which is delegates and fused kernels: `fast_share_of_nodes` and
        `fast_share_of_multiply_accumulates` (1.0 where a method has none), `outside`, the
        operators outside of delegates by count, most first, and `most_expensive_off_path`:
        operator, count, multiply-accumulates and elements written, the costliest first.
    """
    delegated = fused = outside_nodes = 0
    work = {"delegated": 0, "fused": 0, "outside": 0}
    outside: Counter[str] = Counter()
    off_path = OffPath()
    for node, inside in walk(graph_module):
        name = _target_name(node)
        if name.split(".")[0] in _BOOKKEEPING and not inside:
            continue
        done = multiply_accumulates(node)
        if inside:
            delegated += 1
            work["delegated"] += done
            continue
        outside_nodes += 1
        outside[name] += 1
        if name.startswith(FUSED):
            fused += 1
            work["fused"] += done
        else:
            work["outside"] += done
            off_path.add(name, done, math.prod(_shape(node) or [0]))
    nodes, total = delegated + outside_nodes, sum(work.values())
    return {
        "subgraphs": sum(_lowered(node) is not None for node in graph_module.graph.nodes),
        "nodes": nodes,
        "multiply_accumulates": total,
        "nodes_delegated": delegated,
        "nodes_fused": fused,
        "share_of_nodes": share(delegated, nodes, 0.0),
        "share_of_multiply_accumulates": share(work["delegated"], total, 0.0),
        "fast_share_of_nodes": share(delegated + fused, nodes, 1.0),
        "fast_share_of_multiply_accumulates": share(total - work["outside"], total, 1.0),
        "outside": dict(outside.most_common(12)),
        "most_expensive_off_path": off_path.most_expensive(),
    }
