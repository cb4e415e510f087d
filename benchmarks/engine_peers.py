"""Other engines on the same model, for ``benchmarks.engine``: OpenVINO and CTranslate2, each as its own documents say.

They are no part of the product and no dependency: what is not installed is left out and named. To have them:
``.venv/bin/pip install openvino nncf ctranslate2``. Both round the published weights themselves, OpenVINO after
looking at some texts (NNCF).
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datadistiller.embedding import artifact
from tools.build_model import SHAPE, fetch, original, sources
from tools.minilm_graph import minilm_graph

Ids = Sequence[Sequence[int]]
Encode = Callable[[Ids], NDArray[np.float32]]
Weights = Mapping[str, NDArray[np.float32]]
#: Name to what must be installed.
NEEDED = {"OpenVINO": ("openvino", "nncf"), "CTranslate2": ("ctranslate2",)}


def missing() -> dict[str, str]:
    """What is not installed, and what of it."""
    lacking = {
        name: [part for part in parts if importlib.util.find_spec(part) is None] for name, parts in NEEDED.items()
    }
    return {name: " and ".join(parts) for name, parts in lacking.items() if parts}


def encoders(texts: Ids, folder: Path) -> dict[str, Encode]:
    """One computing thread per call each; two calls may overlap. Fetches the published weights for those there are."""
    wanted = NEEDED.keys() - missing().keys()
    if not wanted:
        return {}
    weights = original(sources(fetch(folder), folder))
    made = {"OpenVINO": lambda: openvino(weights, texts, folder), "CTranslate2": lambda: ctranslate2(weights, folder)}
    return {name: made[name]() for name in NEEDED if name in wanted}


def openvino(weights: Weights, texts: Ids, folder: Path) -> Encode:
    """Eight bits after NNCF, texts one by one as for ONNX Runtime, a request for each caller."""
    import nncf
    import onnx
    import openvino as library

    logging.getLogger("nncf").setLevel(logging.ERROR)
    onnx.save(minilm_graph(weights), folder / "plain.onnx")
    plain = library.Core().read_model(folder / "plain.onnx")
    seen = nncf.Dataset([_inputs(ids) for ids in texts[:32]])
    rounded = nncf.quantize(plain, seen, model_type=nncf.ModelType.TRANSFORMER)
    settings = {"INFERENCE_NUM_THREADS": 2, "NUM_STREAMS": 2}
    compiled = library.Core().compile_model(rounded, "CPU", settings)
    idle = [compiled.create_infer_request() for _ in range(2)]

    def encode(batch: Ids) -> NDArray[np.float32]:
        request = idle.pop()
        try:
            return np.vstack([np.array(request.infer(_inputs(ids))[0]) for ids in batch])
        finally:
            idle.append(request)

    return encode


def _inputs(ids: Sequence[int]) -> dict[str, NDArray[np.int64]]:
    array = np.array([ids], np.int64)
    return {"input_ids": array, "attention_mask": np.ones_like(array)}


def ctranslate2(weights: Weights, folder: Path) -> Encode:
    """Eight bits, a batch at once: it leaves padding out of the matrix products."""
    import ctranslate2 as library

    spec = ctranslate2_spec(weights)
    spec.validate()
    spec.optimize(quantization="int8")
    (folder / "ctranslate2").mkdir()
    spec.save(str(folder / "ctranslate2"))
    encoder = library.Encoder(str(folder / "ctranslate2"), compute_type="int8", inter_threads=2, intra_threads=1)

    def encode(batch: Ids) -> NDArray[np.float32]:
        rows = np.array(encoder.forward_batch([list(ids) for ids in batch]).last_hidden_state)
        means = np.array([each[: len(ids)].mean(axis=0) for each, ids in zip(rows, batch, strict=True)])
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)

    return encode


def ctranslate2_spec(weights: Weights) -> Any:
    """The model as CTranslate2's own converter describes one of this family; token type 0 is added to the positions."""
    from ctranslate2.specs import common_spec, transformer_spec

    encoder = transformer_spec.TransformerEncoderSpec(
        SHAPE.layers, SHAPE.heads, pre_norm=False, activation=common_spec.Activation.GELU, layernorm_embedding=True
    )
    encoder.scale_embeddings = False
    encoder.embeddings[0].weight = weights["embeddings.word_embeddings.weight"]
    kind = weights["embeddings.token_type_embeddings.weight"][0]
    encoder.position_encodings.encodings = weights["embeddings.position_embeddings.weight"][: SHAPE.positions] + kind
    _norm(encoder.layernorm_embedding, weights, "embeddings.LayerNorm")
    for n, layer in enumerate(encoder.layer):
        name = f"encoder.layer.{n}"
        both = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        _linear(layer.self_attention.linear[0], weights, *both)
        _linear(layer.self_attention.linear[1], weights, f"{name}.attention.output.dense")
        _norm(layer.self_attention.layer_norm, weights, f"{name}.attention.output.LayerNorm")
        _linear(layer.ffn.linear_0, weights, f"{name}.intermediate.dense")
        _linear(layer.ffn.linear_1, weights, f"{name}.output.dense")
        _norm(layer.ffn.layer_norm, weights, f"{name}.output.LayerNorm")
    spec = transformer_spec.TransformerEncoderModelSpec(encoder)
    spec.register_vocabulary([str(n) for n in range(len(weights["embeddings.word_embeddings.weight"]))])
    spec.config.unk_token, spec.config.layer_norm_epsilon = "100", SHAPE.epsilon
    return spec


def _linear(spec: Any, weights: Weights, *names: str) -> None:
    spec.weight = np.concatenate([weights[f"{name}.weight"] for name in names])
    spec.bias = np.concatenate([weights[f"{name}.bias"] for name in names])


def _norm(spec: Any, weights: Weights, name: str) -> None:
    spec.gamma, spec.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]


def check(found: Mapping[str, Encode], texts: Ids, right: NDArray[np.float32]) -> None:
    """Raises AssertionError if an engine computes something else than the model."""
    for name, encode in found.items():
        vectors = encode(texts)
        assert vectors.shape == (len(texts), artifact.read().dim), name
        nearness = float(np.sum(vectors * right, axis=1).min())
        assert nearness > 0.95, f"{name} computes something else: cosine {nearness:.3f}"
