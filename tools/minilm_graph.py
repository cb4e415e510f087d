"""The forward pass of all-MiniLM-L6-v2 as an ONNX graph of plain operators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

LAYERS, DIM, HEADS, POSITIONS = 6, 384, 12, 256
HEAD_DIM = DIM // HEADS
OPSET, IR_VERSION = 18, 9

Weights = Mapping[str, NDArray[np.float32]]


class Graph:
    """Collects nodes and constants; values are passed around by name."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """A named constant; the same name again is the same constant."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def scalar(self, value: float) -> str:
        """A float constant."""
        return self.constant(f"scalar_{value}", np.array(value, np.float32))

    def ints(self, *values: int) -> str:
        """An int64 vector constant."""
        return self.constant(f"ints_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Appends an operator with one output; returns the output's name."""
        output = output or f"{len(self.nodes)}_{operator}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=f"{output}_node", **attributes))
        return output

    def linear(self, value: str, name: str, scale: float = 1.0) -> str:
        """``value @ W.T + b`` of the layer ``name``, both scaled."""
        matrix, bias = (self.weights[f"{name}.{part}"] * np.float32(scale) for part in ("weight", "bias"))
        product = self.add("MatMul", value, self.constant(f"{name}.weight", matrix.T))
        return self.add("Add", product, self.constant(f"{name}.bias", bias))

    def layer_norm(self, value: str, name: str) -> str:
        """Layer normalisation with the weights of ``name``."""
        gain, bias = (self.constant(f"{name}.{part}", self.weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self.add("LayerNormalization", value, gain, bias, axis=-1, epsilon=1e-12)


def _embeddings(graph: Graph) -> str:
    weights = graph.weights
    words = graph.constant("words", weights["embeddings.word_embeddings.weight"])
    kind = weights["embeddings.token_type_embeddings.weight"][0]  # there is only ever one sequence
    positions = graph.constant("positions", weights["embeddings.position_embeddings.weight"][:POSITIONS] + kind)
    length = graph.add("Shape", "input_ids", start=1, end=2)
    place = graph.add("Slice", positions, graph.ints(0), length, graph.ints(0))
    summed = graph.add("Add", graph.add("Gather", words, "input_ids"), place)
    return graph.layer_norm(summed, "embeddings.LayerNorm")


def _attention(graph: Graph, value: str, bias: str, name: str) -> str:
    def heads(part: str, axes: list[int], scale: float = 1.0) -> str:
        projected = graph.linear(value, f"{name}.attention.self.{part}", scale)
        split = graph.add("Reshape", projected, graph.ints(0, 0, HEADS, HEAD_DIM))
        return graph.add("Transpose", split, perm=axes)

    queries = heads("query", [0, 2, 1, 3], HEAD_DIM**-0.5)
    keys = heads("key", [0, 2, 3, 1])
    values = heads("value", [0, 2, 1, 3])
    scores = graph.add("Softmax", graph.add("Add", graph.add("MatMul", queries, keys), bias), axis=-1)
    mixed = graph.add("Transpose", graph.add("MatMul", scores, values), perm=[0, 2, 1, 3])
    joined = graph.add("Reshape", mixed, graph.ints(0, 0, DIM))
    output = graph.linear(joined, f"{name}.attention.output.dense")
    return graph.layer_norm(graph.add("Add", output, value), f"{name}.attention.output.LayerNorm")


def _feed_forward(graph: Graph, value: str, name: str) -> str:
    inner = graph.linear(value, f"{name}.intermediate.dense")
    bent = graph.add("Erf", graph.add("Div", inner, graph.scalar(2**0.5)))
    gate = graph.add("Add", bent, graph.scalar(1.0))
    gelu = graph.add("Mul", graph.add("Mul", inner, gate), graph.scalar(0.5))
    output = graph.linear(gelu, f"{name}.output.dense")
    return graph.layer_norm(graph.add("Add", output, value), f"{name}.output.LayerNorm")


def _pooled(graph: Graph, value: str, mask: str) -> None:
    rows = graph.add("Unsqueeze", mask, graph.ints(1))
    # The sum stands for the mean: the scale goes away with the length.
    total = graph.add("Squeeze", graph.add("MatMul", rows, value), graph.ints(1))
    length = graph.add("ReduceL2", total, graph.ints(-1), keepdims=1)
    graph.add("Div", total, length, output="embedding")


def minilm_graph(weights: Weights) -> onnx.ModelProto:
    """``input_ids, attention_mask: int64[B, S]`` (S <= 256) to ``embedding: float32[B, 384]``, unit length."""
    graph = Graph(weights)
    mask = graph.add("Cast", "attention_mask", to=TensorProto.FLOAT)
    hidden = graph.add("Sub", graph.scalar(1.0), graph.add("Unsqueeze", mask, graph.ints(1, 2)))
    bias = graph.add("Mul", hidden, graph.scalar(-10000.0))
    value = _embeddings(graph)
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        value = _feed_forward(graph, _attention(graph, value, bias, name), name)
    _pooled(graph, value, mask)
    tokens = [helper.make_tensor_value_info(n, TensorProto.INT64, ["B", "S"]) for n in ("input_ids", "attention_mask")]
    vector = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["B", DIM])
    whole = helper.make_graph(graph.nodes, "minilm", tokens, [vector], list(graph.constants.values()))
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
