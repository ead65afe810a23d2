"""The writer of ONNX files: what it streams is what protobuf would have written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx

from hydra_export.targets.onnx.graph_writer import Graph
from hydra_export.targets.onnx.skeleton import skeleton
from hydra_mobile.core.errors import ArtifactError


@pytest.mark.parametrize("size", [1, 127, 128, 20_000, 3_000_000])
def test_streamed_weights_are_read_back(tmp_path: Path, size: int) -> None:
    values = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    graph = Graph("sums")
    x = graph.input("x", np.float32, [size])
    graph.output("y", np.float32, [size])
    one = graph.weight("one", np.float32, [size], lambda: values)
    empty = graph.weight("empty", np.float32, [0, 4], lambda: np.zeros((0, 4), np.float32))
    graph.node("Add", [x, one], "y")
    assert graph.save(tmp_path / "sums.onnx") == [tmp_path / "sums.onnx"]

    model = onnx.load(tmp_path / "sums.onnx")
    onnx.checker.check_model(model)
    read = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    np.testing.assert_array_equal(read[one], values)
    assert read[empty].shape == (0, 4)
    assert [node.op_type for node in model.graph.node] == ["Add"]
    # Byte for byte as large as protobuf makes it: nothing is written twice or left out.
    assert (tmp_path / "sums.onnx").stat().st_size == model.ByteSize()


def test_the_skeleton_has_everything_but_large_weights(tmp_path: Path) -> None:
    graph = Graph("sums")
    x = graph.input("x", np.float32, [5000])
    graph.output("y", np.float32, [5000])
    large = graph.constant("large", np.ones(5000, np.float32))
    small = graph.constant("small", np.array([7], np.int64))
    graph.node("Add", [x, large], "y")
    path = graph.save(tmp_path / "sums.onnx")[0]
    read, whole = skeleton(path), onnx.load(path)
    tensors = {tensor.name: tensor for tensor in read.graph.initializer}
    assert onnx.numpy_helper.to_array(tensors[small]).tolist() == [7]
    assert (list(tensors[large].dims), tensors[large].raw_data) == ([5000], b"")
    for tensor in (*read.graph.initializer, *whole.graph.initializer):
        tensor.ClearField("raw_data")
    assert read == whole


def test_what_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x3a\xff\xff\xff\x7f short")
    with pytest.raises(ArtifactError, match=r"broken\.onnx is no ONNX model: a field ends"):
        skeleton(path)


def test_a_weight_is_made_when_it_is_written_and_not_kept(tmp_path: Path) -> None:
    made: list[str] = []

    def produce(name: str) -> np.ndarray:
        made.append(name)
        return np.full(4, len(made), np.float32)

    graph = Graph("sums")
    x = graph.input("x", np.float32, [4])
    graph.output("y", np.float32, [4])
    for name in ("a", "b"):
        graph.weight(name, np.float32, [4], lambda name=name: produce(name))
    graph.node("Add", [graph.node("Add", [x, "a"], "z"), "b"], "y")
    assert made == []
    graph.save(tmp_path / "sums.onnx")
    assert made == ["a", "b"]


def test_a_weight_of_another_shape_than_declared_is_refused(tmp_path: Path) -> None:
    graph = Graph("sums")
    graph.weight("w", np.float32, [3], lambda: np.zeros(4, np.float32))
    with pytest.raises(ValueError, match="w: made float32"):
        graph.save(tmp_path / "sums.onnx")
