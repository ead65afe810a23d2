"""From traced graphs to graphs whose parts are delegates, each graph decomposed once.

ExecuTorch's own `to_edge_transform_and_lower` decomposes a graph three times, and each time traces
every operator again: after the second it asks its partitioners, node by node, which operators they
want whole. XNNPACK takes every linear and every step of quantization that our graphs hold, so they
are kept whole from the start; where one is left over after all, ExecuTorch's own way is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, to_edge, to_edge_transform_and_lower

from hydra_export.targets.executorch import delegation
from hydra_export.targets.executorch.xnnpack_passes import needed_passes
from hydra_mobile.core.quiet import errors_only

_OPTIONS: dict[str, Any] = {"_check_ir_validity": False, "_skip_dim_order": True}


def lowered(
    programs: Mapping[str, Any],
    partitioners: Mapping[str, Sequence[Any]],
    constant_methods: Mapping[str, Any],
) -> Any:
    """Return the edge program manager of traced methods.

    Args:
        programs: method -> exported program; left as they are.
        partitioners: method -> its partitioners, in their order.
        constant_methods: method without arguments -> what it returns.
    """
    with needed_passes():
        found = _decomposed_once(programs, partitioners, constant_methods)
        if found is not None:
            return found
        return to_edge_transform_and_lower(
            dict(programs),
            partitioner={name: list(each) for name, each in partitioners.items()},
            constant_methods=dict(constant_methods),
            compile_config=EdgeCompileConfig(**_OPTIONS),
        )


def _decomposed_once(
    programs: Mapping[str, Any],
    partitioners: Mapping[str, Sequence[Any]],
    constant_methods: Mapping[str, Any],
) -> Any | None:
    """Do what `lowered` says; None where an operator that was kept whole is in no delegate."""
    if not all(isinstance(p, XnnpackPartitioner) for each in partitioners.values() for p in each):
        return None
    whole = {
        node.target
        for name, each in partitioners.items()
        for operators in [{op for p in each for op in p.ops_to_not_decompose(programs[name])[0]}]
        for node in programs[name].graph.nodes
        if node.target in operators
    }
    edge = to_edge(
        dict(programs),
        constant_methods=dict(constant_methods),
        compile_config=EdgeCompileConfig(preserve_ops=sorted(whole, key=str), **_OPTIONS),
    )
    # It says that this way is deprecated; the other's advantage is what `left` looks for.
    with errors_only(XnnpackPartitioner.__module__):
        for turn in range(max(map(len, partitioners.values()))):
            edge = edge.to_backend(
                {name: each[turn] for name, each in partitioners.items() if turn < len(each)}
            )
    names = {str(op).split(".", 1)[1] for op in whole}
    graphs = [edge.exported_program(name).graph_module for name in partitioners]
    left = names & {name for graph in graphs for name in delegation.names_outside(graph)}
    return None if left else edge
