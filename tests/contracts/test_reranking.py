"""What every reranking engine must do. Run on each adapter, with a model of random weights."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from structlog.testing import capture_logs
from tokenizers import Tokenizer

from datadistiller import errors
from datadistiller.embedding import artifact, conversion
from datadistiller.embedding.native import build
from datadistiller.reranking import Reranker
from datadistiller.reranking.native import NativeReranker
from datadistiller.reranking.onnx import OnnxReranker
from datadistiller.reranking.pairs import PairReranker
from datadistiller.settings import Settings
from datadistiller.wiring import adapters
from tests.contracts import bert_kit, native_kit
from tests.contracts.bert_kit import Sizes

#: How far a score may be from the one in full precision; those of the texts below spread over more than ten times that.
CLOSE = 0.15
QUESTION = "how high is the tide?"
TEXTS = ["the tide is high", "", "bread", "lighthouse kept steam in the harbour", "what was the query", "tide " * 60]
#: ms-marco-MiniLM-L-6's shape, with fewer layers.
SIZES = Sizes(layers=2, dim=384, heads=12, inner=1536, positions=96, scores=True)


class Published:
    """A published cross-encoder, converted."""

    def __init__(self, folder: Path) -> None:
        self.tensors = bert_kit.publish(folder / "published", SIZES, seed=11)
        self.card = conversion.convert(folder / "published", folder / "made", "cross")
        self.tokenizer = Tokenizer.from_file(str(self.card.tokenizer.path))

    def scores(self, question: str, texts: Sequence[str]) -> NDArray[np.float64]:
        """In full precision, as the library pairs texts; they must fit."""
        pairs = [self.tokenizer.encode(question, text) for text in texts]
        return np.array([bert_kit.score(self.tensors, SIZES.heads, pair.ids, pair.type_ids) for pair in pairs])


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(tmp_path_factory.mktemp("cross"))


@pytest.fixture(scope="module", params=[OnnxReranker, NativeReranker])
def reranker(request: pytest.FixtureRequest, published: Published) -> Reranker:
    """Each engine there is."""
    if request.param is NativeReranker:
        native_kit.needed()
    made: Reranker = request.param(published.card, threads=1)
    return made


def test_scores_are_those_of_the_published_model(reranker: Reranker, published: Published) -> None:
    expected = published.scores(QUESTION, TEXTS)
    assert np.ptp(expected) > 10 * CLOSE  # or being close would mean nothing
    scores = reranker.score(QUESTION, TEXTS)
    assert (scores.shape, scores.dtype) == ((len(TEXTS),), np.float32)
    assert np.abs(scores - expected).max() < CLOSE
    assert np.abs(reranker.score("bread", TEXTS) - published.scores("bread", TEXTS)).max() < CLOSE


def test_a_score_does_not_depend_on_the_other_texts(reranker: Reranker) -> None:
    together = reranker.score(QUESTION, TEXTS)
    assert np.array_equal(reranker.score(QUESTION, TEXTS[::-1])[::-1], together)
    assert np.array_equal([reranker.score(QUESTION, [text])[0] for text in TEXTS], together)
    assert np.array_equal(reranker.score(QUESTION, [TEXTS[0]] * 9), [together[0]] * 9)


def test_no_texts_and_odd_ones_have_scores(reranker: Reranker) -> None:
    assert reranker.score(QUESTION, []).shape == (0,)
    odd = ["", " \n", "?", "a\ud800b", "[CLS] [SEP]", "\x00\x07", "👍🏽", "x" * 100_000, "tide " * 20_000]
    for question in odd:
        assert np.isfinite(reranker.score(question, odd)).all()


def test_a_long_text_is_cut_at_its_end_and_a_long_question_too(reranker: Reranker) -> None:
    long = "the tide " * 200
    whole, longer = reranker.score(QUESTION, [long, f"{long} bread"])
    assert whole == longer
    assert reranker.score(QUESTION, [f"bread {long}"]) != reranker.score(QUESTION, [long])
    asked = reranker.score(f"{long} bread", TEXTS)
    assert np.array_equal(asked, reranker.score(long, TEXTS))
    assert len(set(asked.tolist())) == len(TEXTS)  # what is left of the window is the texts'


def test_threads_may_share_it(reranker: Reranker) -> None:
    expected, results = reranker.score(QUESTION, TEXTS), [np.zeros(0, np.float32)] * 4

    def work(n: int) -> None:
        results[n] = reranker.score(QUESTION, TEXTS)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(results))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(result, expected) for result in results)


def test_it_names_its_model_and_its_engine(reranker: Reranker) -> None:
    assert reranker.name == "cross-int8"
    assert reranker.engine == "ONNX Runtime" or reranker.engine.startswith("native (")


class Recorder:
    """A ``Scorer`` that keeps what it is to score."""

    name = "recorder"

    def score(self, pairs: Sequence[Sequence[int]], firsts: Sequence[int]) -> NDArray[np.float32]:
        self.pairs, self.firsts = [list(pair) for pair in pairs], list(firsts)
        return np.zeros(len(pairs), np.float32)


@settings(max_examples=60, deadline=None)
@given(question=st.text(max_size=60), texts=st.lists(st.text(max_size=120), max_size=3))
def test_pairs_are_put_together_as_the_library_does_it(published: Published, question: str, texts: list[str]) -> None:
    recorder = Recorder()
    PairReranker(published.card, recorder).score(question, texts)
    published.tokenizer.encode_special_tokens = True
    for text, pair, first in zip(texts, recorder.pairs, recorder.firsts, strict=True):
        whole = published.tokenizer.encode(question, text)
        cut, asked = len(whole.ids) > published.card.window, whole.type_ids.count(0)
        assert 1 <= first <= len(pair) <= published.card.window
        assert pair[0] == whole.ids[0] and pair[-1] == pair[first - 1] == whole.ids[-1]
        if not cut and asked <= (published.card.window - 3) // 2:
            assert (pair, first) == (whole.ids, asked)
        elif asked <= (published.card.window - 3) // 2:
            assert pair[:-1] == whole.ids[: published.card.window - 1] and first == asked


def test_a_damaged_model_is_refused(published: Published, tmp_path: Path) -> None:
    folder = published.card.model.path.parent
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with published.card.model.path.open("rb") as file:
        content = bytearray(file.read())
    content[-1] ^= 1
    (tmp_path / published.card.model.path.name).write_bytes(content)
    for adapter in (OnnxReranker, NativeReranker):
        with pytest.raises(errors.SetupError, match="damaged"):
            adapter(artifact.read(tmp_path))


async def test_settings_choose_model_and_engine(
    published: Published, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    native_kit.needed()
    folder = str(published.card.model.path.parent)
    assert await adapters.open_reranker(Settings()) is None
    for engine, says in (("native", "native ("), ("onnx", "ONNX"), ("auto", "native (")):
        opened = await adapters.open_reranker(Settings(reranking_model=folder, embedding_engine=engine))
        assert opened is not None and opened.engine.startswith(says) and opened.name == "cross-int8"
    with pytest.raises(errors.SetupError, match="makes no vectors"):
        await adapters.open_embedder(Settings(embedding_model=folder))
    with pytest.raises(errors.SetupError, match="scores no pairs"):
        await adapters.open_reranker(Settings(reranking_model=str(artifact.BUNDLED)))
    monkeypatch.setattr(build, "LIBRARY", tmp_path / "nothing.so")  # as where there was no compiler
    with capture_logs() as logs:
        opened = await adapters.open_reranker(Settings(reranking_model=folder))
    assert opened is not None and opened.engine == "ONNX Runtime"
    assert [log["event"] for log in logs] == ["native_engine_not_used", "reranking_engine"]
