"""Lowering to ExecuTorch with one decomposition gives what its own three give."""

from __future__ import annotations

import logging

import pytest
import torch

pytest.importorskip("executorch", reason="needs the extra [executorch]")

from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

from hydra_export.targets.executorch import delegation
from hydra_export.targets.executorch.late_code import code_when_called
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


class Pictures(torch.nn.Module):
    """What XNNPACK's passes change: pads, activations, norms, pools, long concatenations, bmm."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = torch.nn.Conv2d(3, 4, 3, stride=2)
        self.norm = torch.nn.BatchNorm2d(4)
        self.slope = torch.nn.PReLU(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.wide(torch.nn.functional.pad(x, (0, 1, 0, 1))))
        y = torch.nn.functional.relu6(self.norm(torch.nn.functional.max_pool2d(y, 2)))
        y = self.slope(torch.cat([y, y + 1, y * 2, y - 1, y / 2, y], 1)[:, :4].clone())
        rows = x.flatten(2)
        return torch.bmm(rows, rows.transpose(1, 2)).softmax(-1).sum() + y


def traced(
    module: torch.nn.Module, *inputs: torch.Tensor
) -> dict[str, torch.export.ExportedProgram]:
    with torch.no_grad():
        return {"forward": torch.export.export(module.eval(), inputs, strict=False)}


def graph_of(edge: object) -> torch.fx.GraphModule:
    return edge.exported_program("forward").graph_module  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("module", "shape", "linears"), [(Own, (2, 8), 1), (Pictures, (1, 3, 16, 16), 0)]
)
def test_the_program_is_that_of_executorchs_own_way(
    module: type[torch.nn.Module],
    shape: tuple[int, ...],
    linears: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    torch.manual_seed(0)
    programs = traced(module(), torch.ones(shape))
    with caplog.at_level(logging.WARNING):
        found = lowered(programs, {"forward": [XnnpackPartitioner()]}, {"seven": 7})
    assert "DEPRECATION" not in caplog.text
    expected = to_edge_transform_and_lower(
        programs,
        partitioner={"forward": [XnnpackPartitioner()]},
        constant_methods={"seven": 7},
        compile_config=EdgeCompileConfig(_check_ir_validity=False, _skip_dim_order=True),
    )
    assert delegation.count(graph_of(found), "linear", delegated=True) == linears
    assert found.to_executorch().buffer == expected.to_executorch().buffer


def test_a_linear_that_xnnpack_refuses_is_decomposed() -> None:
    # Delegates hold weights: those that are an input stay outside.
    programs = traced(Linears(), torch.ones(2, 8), torch.ones(4, 8))
    found = lowered(programs, {"forward": [XnnpackPartitioner()]}, {})
    graph = graph_of(found)
    assert delegation.names_outside(graph) == ["mm.default"]
    assert delegation.count(graph, "linear", delegated=True) == 1


def test_code_of_a_graph_is_written_when_it_is_called() -> None:
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_function(torch.add, (x, 1)))
    with code_when_called():
        module = torch.fx.GraphModule(torch.nn.Module(), graph)
        (node,) = (node for node in graph.nodes if node.op == "call_function")
        node.target = torch.mul
        node.args = (x, 3)
        module.recompile()
        assert module.code == ""
        assert module(torch.tensor(2.0)) == 6
    assert "mul" in module.code
    node.args = (x, 5)
    module.recompile()
    assert module(torch.tensor(2.0)) == 10
