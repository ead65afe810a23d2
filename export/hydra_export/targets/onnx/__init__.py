"""ONNX graphs, written node by node. Knows onnx; knows no manifest."""
