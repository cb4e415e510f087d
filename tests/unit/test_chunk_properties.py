"""What holds for every document, whatever is in it."""

from __future__ import annotations

from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadistiller.chunking import sentences
from datadistiller.chunking.chunker import Chunker
from datadistiller.embedding.wordpiece import WordpieceTokenizer
from datadistiller.model import Block, BlockKind, Chunk, Page, ParsedDocument

JOB = UUID(int=7)
TOKENIZER = WordpieceTokenizer()

#: Pieces that real and hostile documents are made of: words, stops, every kind of space, marks, scripts.
WORDS = """word Word 3.5 $1,234 Dr. e.g. (see) end. What? no! “quote.” naïve naïve שלום مرحبا؟ नमस्ते। 今日は。元気？
    👍🏽 👩‍👩‍👧 𝔘𝔫𝔦 ﬁne x-y_z a.b.c ... ;;; | [SEP] [CLS] ##a ½ ① ß İ"""
SPACES = [" ", "  ", "\n", "\n\n", "\t", "\u00a0", "\u2009", "\u3000", "\u2028", "\x1c", "\x85", "\u200b", "\u200d"]
ODD = ["\x07", "\ufffd", "\u0301" * 5, "\u202e", "- ", "1. ", "x" * 130, "中" * 40, "ab" * 300, ". " * 30, "\n" * 9]
PIECES = st.sampled_from([*WORDS.split(), *SPACES, *ODD])
TEXTS = st.one_of(
    st.lists(PIECES, max_size=300).map("".join),
    st.lists(PIECES, max_size=300).map(" ".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3000),
)


@st.composite
def pages(draw: st.DrawFn, number: int) -> Page:
    """A page with any text, cut into any blocks; some of the text may be outside them."""
    text = draw(TEXTS)
    edges = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    blocks = []
    for start, end in zip(edges[::2], edges[1::2], strict=False):
        kind = draw(st.sampled_from(BlockKind))
        blocks.append(Block(kind, start, end, draw(st.integers(1, 6)) if kind is BlockKind.HEADING else 0))
    return Page(number, text, tuple(blocks))


@st.composite
def documents(draw: st.DrawFn) -> ParsedDocument:
    """A document of up to three pages."""
    count = draw(st.integers(0, 3))
    return ParsedDocument([draw(pages(n + 1)) for n in range(count)], draw(TEXTS), "test", "text/plain")


def words(text: str) -> str:
    """The text without its white space."""
    return "".join(text.split())


def check(document: ParsedDocument, chunks: list[Chunk]) -> None:
    """The promises of the chunker."""
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    assert len({chunk.chunk_id for chunk in chunks}) == len(chunks)
    assert [chunk.tokens for chunk in chunks] == TOKENIZER.count([chunk.indexed_text for chunk in chunks])
    assert all(chunk.tokens <= TOKENIZER.window for chunk in chunks)
    for page in document.pages:
        here = [chunk for chunk in chunks if chunk.page == page.number]
        assert all(chunk.text == page.text[chunk.start : chunk.end] for chunk in here)
        assert all(chunk.text == chunk.text.strip() != "" for chunk in here)
        assert all(one.end <= following.start for one, following in pairwise(here))
        assert words("".join(chunk.text for chunk in here)) == words(page.text)


@settings(max_examples=150, deadline=None)
@given(documents(), st.sampled_from([16, 60, 200, 500]))
def test_chunks_cover_the_text_exactly_and_fit_the_window(document: ParsedDocument, target: int) -> None:
    chunker = Chunker(TOKENIZER, target)
    chunks = chunker.chunk(JOB, document, "a file.txt")
    check(document, chunks)
    assert chunker.chunk(JOB, document, "a file.txt") == chunks


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_sentences_cover_the_text_in_order(text: str) -> None:
    ranges = sentences.split(text)
    assert all(start < end and text[start:end] == text[start:end].strip() for start, end in ranges)
    assert all(one[1] <= following[0] for one, following in pairwise(ranges))
    assert words("".join(text[start:end] for start, end in ranges)) == words(text)


@settings(max_examples=150, deadline=None)
@given(TEXTS, TEXTS, st.sampled_from([" ", "\n", "\t"]))
def test_tokens_never_span_a_space(one: str, other: str, space: str) -> None:
    """What the chunker relies on when it adds token counts instead of measuring again."""
    joined, *parts = TOKENIZER.count([one + space + other, one, other])
    assert joined + TOKENIZER.special_tokens == sum(parts)


@pytest.mark.parametrize(
    "text",
    [
        "x" * 100_000,
        "中" * 100_000,
        "a " * 50_000,
        "a\n\n" * 30_000,
        "1\n" * 50_000,
        "\u0301" * 100_000,
        "\x07" * 100_000,
        "." * 100_000,
        ". " * 50_000,
        "。" * 100_000,
        "👩‍👩‍👧" * 10_000,
        '("' * 50_000,
        "a." * 50_000,
        "a" + " " * 100_000 + "b",
        "a" + "\n" * 100_000 + "b",
        ("x" * 2_500 + " ") * 40,
        "- \n" * 30_000,
    ],
    ids=lambda text: repr(text[:4]),
)
def test_degenerate_texts_are_cut_in_linear_time(text: str) -> None:
    """100,000 characters each: anything quadratic would take minutes."""
    document = ParsedDocument([Page(1, text)], "", "test", "text/plain")
    check(document, Chunker(TOKENIZER, 200).chunk(JOB, document, "f.txt"))
