"""The writer of ONNX files: what it writes weight by weight is what onnx reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx

from hydra_export.targets.onnx.graph_writer import Graph


@pytest.mark.parametrize("size", [1, 1023, 1024, 20_000, 3_000_000])
def test_weights_are_read_back(tmp_path: Path, size: int) -> None:
    values = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    graph = Graph("sums")
    x = graph.input("x", np.float32, [size])
    graph.output("y", np.float32, [size])
    one = graph.weight("one", np.float32, [size], lambda: values)
    two = graph.weight("two", np.float32, [size], lambda: -values)
    empty = graph.weight("empty", np.float32, [0, 4], lambda: np.zeros((0, 4), np.float32))
    graph.node("Add", [graph.node("Add", [x, one], "z"), two], "y")
    for _ in range(2):  # a graph that is written again replaces both files
        paths = graph.save(tmp_path / "sums.onnx")
    # Small weights stay inside, where shapes are derived from them.
    assert [path.name for path in paths[1:]] == ["sums.onnx_data"] * (size >= 1024)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths}

    model = onnx.load(tmp_path / "sums.onnx")
    onnx.checker.check_model(model)
    read = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    np.testing.assert_array_equal(read[one], values)
    np.testing.assert_array_equal(read[two], -values)
    assert read[empty].shape == (0, 4)
    assert [node.op_type for node in model.graph.node] == ["Add", "Add"]
    without = onnx.load(tmp_path / "sums.onnx", load_external_data=False)
    offsets = [
        int(entry.value)
        for tensor in without.graph.initializer
        for entry in tensor.external_data
        if entry.key == "offset"
    ]
    assert all(offset % 4096 == 0 for offset in offsets)


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
    with pytest.raises(ValueError, match=r"w: .*float32"):
        graph.save(tmp_path / "sums.onnx")


def test_a_weight_of_another_graph_is_read_where_it_lies(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    values = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    owner = Graph("owner")
    owner.input("x", np.float32, [64, 32])
    owner.output("y", np.float32, [64, 32])
    owner.node("Add", ["x", owner.constant("table", values)], "y")
    owner.save(tmp_path / "owner.onnx")

    reader = Graph("reader")
    reader.input("x", np.float32, [64, 8, 4])
    reader.output("y", np.float32, [64, 8, 4])
    with pytest.raises(ValueError, match="no shape of"):
        reader.borrow("head", owner.stored["table"], [64, 8, 5])
    reader.node("Add", ["x", reader.borrow("head", owner.stored["table"], [64, 8, 4])], "y")
    assert reader.save(tmp_path / "reader.onnx") == [tmp_path / "reader.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "reader.onnx")
    (read,) = session.run(None, {"x": np.zeros((64, 8, 4), np.float32)})
    np.testing.assert_array_equal(read.reshape(64, 32), values)
