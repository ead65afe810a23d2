"""Lowering to ExecuTorch with one decomposition gives what its own three give."""

from __future__ import annotations

import logging

import pytest
import torch

pytest.importorskip("executorch", reason="needs the extra [executorch]")

from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

from hydra_export.targets.executorch import delegation
from hydra_export.targets.executorch.lowering import lowered


class Linears(torch.nn.Module):
    """A linear with weights of its own, and one whose weights are an input."""

    def __init__(self) -> None:
        super().__init__()
        self.own = torch.nn.Linear(8, 8)

    def forward(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(torch.relu(self.own(x)), weight)


class Own(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = torch.nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.own(x)).softmax(-1)


def traced(
    module: torch.nn.Module, *inputs: torch.Tensor
) -> dict[str, torch.export.ExportedProgram]:
    with torch.no_grad():
        return {"forward": torch.export.export(module.eval(), inputs, strict=False)}


def graph_of(edge: object) -> torch.fx.GraphModule:
    return edge.exported_program("forward").graph_module  # type: ignore[attr-defined]


def test_the_program_is_that_of_executorchs_own_way(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    programs = traced(Own(), torch.ones(2, 8))
    with caplog.at_level(logging.WARNING):
        found = lowered(programs, {"forward": [XnnpackPartitioner()]}, {"seven": 7})
    assert "DEPRECATION" not in caplog.text
    expected = to_edge_transform_and_lower(
        programs,
        partitioner={"forward": [XnnpackPartitioner()]},
        constant_methods={"seven": 7},
        compile_config=EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True),
    )
    assert delegation.count(graph_of(found), "linear", delegated=True) == 1
    assert found.to_executorch().buffer == expected.to_executorch().buffer


def test_a_linear_that_xnnpack_refuses_is_decomposed() -> None:
    # Delegates hold weights: those that are an input stay outside.
    programs = traced(Linears(), torch.ones(2, 8), torch.ones(4, 8))
    found = lowered(programs, {"forward": [XnnpackPartitioner()]}, {})
    graph = graph_of(found)
    assert delegation.names_outside(graph) == ["mm.default"]
    assert delegation.count(graph, "linear", delegated=True) == 1
