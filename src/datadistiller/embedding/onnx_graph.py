"""The forward pass of a model as an ONNX graph of standard operators, made from its weights when it is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datadistiller.embedding import onnx_messages as messages
from datadistiller.embedding.weights import POOLINGS, SCORE, Weights

OPSET, IR_VERSION = 18, 9


@dataclass(frozen=True, slots=True)
class Quantized:
    """Names of a value in eight bits: ``(eight - zero) * scale * span + low``, with a span and a low for each row."""

    eight: str
    scale: str
    zero: str
    low: str
    span: str


class Graph:
    """Collects operators and constants; values are passed around by name."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[bytes] = []
        self.constants: dict[str, bytes] = {}

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """A named constant; the same name again is the same constant."""
        if name not in self.constants:
            self.constants[name] = messages.tensor(name, array)
        return name

    def part(self, name: str) -> str:
        """A part of the weights as it is in the file."""
        return self.constant(name, self.weights.parts[name])

    def scalar(self, number: float) -> str:
        """A float constant."""
        return self.constant(f"scalar_{number}", np.array(number, np.float32))

    def ints(self, *numbers: int) -> str:
        """An int64 vector constant."""
        return self.constant(f"ints_{'_'.join(map(str, numbers))}", np.array(numbers, np.int64))

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Appends an operator with one output; returns the output's name."""
        output = output or f"{len(self.nodes)}_{operator}"
        self.nodes.append(messages.node(operator, inputs, [output], attributes))
        return output

    def quantized(self, value: str) -> Quantized:
        """The value in eight bits. Each row is brought to the range 0..1 first, because there is one scale for all:
        without that, one large activation anywhere in a text costs every token its precision."""
        low = self.add("ReduceMin", value, self.ints(-1), keepdims=1)
        span = self.add("Sub", self.add("ReduceMax", value, self.ints(-1), keepdims=1), low)
        span = self.add("Max", span, self.scalar(1e-9))
        outputs = (f"{value}_eight", f"{value}_scale", f"{value}_zero")
        row = self.add("Div", self.add("Sub", value, low), span)
        self.nodes.append(messages.node("DynamicQuantizeLinear", [row], outputs, {}))
        return Quantized(*outputs, low, span)

    def linear(self, value: Quantized, name: str, columns: slice = slice(None), scale: float = 1.0) -> str:
        """``W x + b`` of some of the outputs of the layer ``name``, both scaled.

        ONNX Runtime knows the sequence from the integer product to its floats and computes it as one.
        """
        matrix = self.weights.matrix(name)[:, columns]
        scales, sums, bias = (self.weights.parts[f"{name}.{part}"][columns] for part in ("scales", "sums", "bias"))
        scales, bias = scales * np.float32(scale), bias * np.float32(scale)
        key = f"{name}.{columns.start}"
        weight = self.constant(f"{key}.weight", np.ascontiguousarray(matrix))
        nothing = self.constant(f"{key}.zeros", np.zeros(matrix.shape[1], np.int8))
        product = self.add("MatMulInteger", value.eight, weight, value.zero, nothing)
        factor = self.add("Mul", value.scale, self.constant(f"{key}.scales", scales))
        real = self.add("Mul", self.add("Cast", product, to=messages.FLOAT), factor)
        moved = self.add("Mul", value.low, self.constant(f"{key}.sums", sums * scales))
        rest = self.add("Add", moved, self.constant(f"{key}.bias", bias))
        return self.add("Add", self.add("Mul", real, value.span), rest)

    def layer_norm(self, value: str, name: str) -> str:
        """Layer normalisation with the parts of ``name``."""
        gain, bias = self.part(f"{name}.gain"), self.part(f"{name}.bias")
        return self.add("LayerNormalization", value, gain, bias, axis=-1, epsilon=float(self.weights.shape.epsilon))


def serialized(weights: Weights) -> bytes:
    """An ONNX file: ``input_ids: int64[B, S]`` to ``embedding: float32[B, dim]``, unit length. Takes about 50 ms.

    If the model scores: ``input_ids`` and ``token_type_ids: int64[B, S]`` to ``score: float32[B, 1]``. There is no
    attention mask: texts are computed one by one.
    """
    graph = Graph(weights)
    value = _embeddings(graph)
    for layer in range(weights.shape.layers):
        value = _feed_forward(graph, _attention(graph, value, str(layer)), str(layer))
    inputs = ["input_ids"]
    if weights.shape.pooling == SCORE:
        _scored(graph, value)
        inputs.append("token_type_ids")
        result = messages.value("score", messages.FLOAT, ["B", 1])
    else:
        _pooled(graph, value)
        result = messages.value("embedding", messages.FLOAT, ["B", weights.shape.dim])
    tokens = [messages.value(name, messages.INT64, ["B", "S"]) for name in inputs]
    constants = graph.constants.values()
    return messages.model(weights.name, graph.nodes, constants, tokens, [result], opset=OPSET, ir_version=IR_VERSION)


def _embeddings(graph: Graph) -> str:
    place = _places(graph)
    rounded = graph.add("Cast", graph.add("Gather", graph.part("words"), "input_ids"), to=messages.FLOAT)
    scale = graph.add("Gather", graph.part("word_scales"), "input_ids")
    words = graph.add("Mul", rounded, graph.add("Unsqueeze", scale, graph.ints(-1)))
    return graph.layer_norm(graph.add("Add", words, place), "norm")


def _places(graph: Graph) -> str:
    """What is added to each word: for its place, and in a pair for its part."""
    length = graph.add("Shape", "input_ids", start=1, end=2)
    shape, table = graph.weights.shape, graph.part("positions")
    if shape.kinds == 1:
        return graph.add("Slice", table, graph.ints(0), length, graph.ints(0))
    numbers = graph.constant("numbers", np.arange(shape.positions))
    row = graph.add("Slice", numbers, graph.ints(0), length, graph.ints(0))
    of_part = graph.add("Mul", "token_type_ids", graph.ints(shape.positions))
    return graph.add("Gather", table, graph.add("Add", of_part, row))


def _attention(graph: Graph, value: str, name: str) -> str:
    shape = graph.weights.shape
    dim, width = shape.dim, shape.dim // shape.heads
    eight = graph.quantized(value)

    def heads(part: int, axes: list[int], scale: float = 1.0) -> str:
        projected = graph.linear(eight, f"{name}.attention_in", slice(part * dim, (part + 1) * dim), scale)
        split = graph.add("Reshape", projected, graph.ints(0, 0, shape.heads, width))
        return graph.add("Transpose", split, perm=axes)

    queries = heads(0, [0, 2, 1, 3], width**-0.5)
    keys = heads(1, [0, 2, 3, 1])
    values = heads(2, [0, 2, 1, 3])
    scores = graph.add("Softmax", graph.add("MatMul", queries, keys), axis=-1)
    mixed = graph.add("Transpose", graph.add("MatMul", scores, values), perm=[0, 2, 1, 3])
    joined = graph.add("Reshape", mixed, graph.ints(0, 0, dim))
    output = graph.linear(graph.quantized(joined), f"{name}.attention_out")
    return graph.layer_norm(graph.add("Add", output, value), f"{name}.attention_norm")


def _feed_forward(graph: Graph, value: str, name: str) -> str:
    inner = graph.linear(graph.quantized(value), f"{name}.inner")
    bent = graph.add("Erf", graph.add("Div", inner, graph.scalar(2**0.5)))
    gate = graph.add("Add", bent, graph.scalar(1.0))
    gelu = graph.add("Mul", graph.add("Mul", inner, gate), graph.scalar(0.5))
    output = graph.linear(graph.quantized(gelu), f"{name}.outer")
    return graph.layer_norm(graph.add("Add", output, value), f"{name}.output_norm")


def _first(graph: Graph, value: str) -> str:
    return graph.add("Gather", value, graph.constant("first", np.array(0, np.int64)), axis=1)


def _scored(graph: Graph, value: str) -> None:
    pooled = graph.add("Tanh", graph.linear(graph.quantized(_first(graph, value)), "pooler"))
    weights = graph.constant("classifier", graph.weights.parts["classifier.weights"][:, None])
    graph.add("Add", graph.add("MatMul", pooled, weights), graph.part("classifier.bias"), output="score")


def _pooled(graph: Graph, value: str) -> None:
    if POOLINGS[graph.weights.shape.pooling] == "cls":
        total = _first(graph, value)
    else:  # the sum stands for the mean: the scale goes away with the length
        total = graph.add("ReduceSum", value, graph.ints(1), keepdims=0)
    length = graph.add("ReduceL2", total, graph.ints(-1), keepdims=1)
    graph.add("Div", total, length, output="embedding")
