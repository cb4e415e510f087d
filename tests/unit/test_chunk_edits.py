"""What an edit costs: how many indexed texts of a document are new after one paragraph of it was changed."""

from __future__ import annotations

import random
from collections.abc import Callable
from uuid import UUID

import pytest

from datadistiller.chunking.chunker import Chunker
from datadistiller.embedding.wordpiece import WordpieceTokenizer
from datadistiller.model import Page, ParsedDocument

CHUNKER = Chunker(WordpieceTokenizer(), 200)
WORDS = ["lamp", "keeper", "harbour", "rope", "tide", "barrel", "ship", "bell", "storm", "salt", "engine", "island"]
EDITS = 8
MOST = 6  # of these edits, in their order, must be cheap


def sentence(dice: random.Random, least: int, most: int) -> str:
    """A sentence of so many words."""
    return " ".join(dice.choice(WORDS) for _ in range(dice.randint(least, most))).capitalize() + "."


def paragraphs(dice: random.Random, words: tuple[int, int], count: int) -> list[str]:
    """Paragraphs of so many words each."""
    made = []
    for _ in range(count):
        wanted, text = dice.randint(*words), sentence(dice, 4, 9)
        while len(text.split()) < wanted:
            text += " " + sentence(dice, 8, 16)
        made.append(text)
    return made


def texts(page: list[str]) -> set[str]:
    """What is embedded of a page of these paragraphs."""
    document = ParsedDocument([Page(1, "\n\n".join(page))], "A diary", "test", "text/plain")
    return {chunk.indexed_text for chunk in CHUNKER.chunk(UUID(int=1), document, "diary.txt")}


def one_word(page: list[str], at: int, _dice: random.Random) -> list[str]:
    return [*page[:at], page[at][:-1] + " indeed.", *page[at + 1 :]]


def one_sentence(page: list[str], at: int, dice: random.Random) -> list[str]:
    return [*page[:at], f"{page[at]} {sentence(dice, 8, 14)}", *page[at + 1 :]]


def one_paragraph_less(page: list[str], at: int, _dice: random.Random) -> list[str]:
    return [*page[:at], *page[at + 1 :]]


def cost(words: tuple[int, int], count: int, edit: Callable[[list[str], int, random.Random], list[str]]) -> list[int]:
    """New texts of each of some edits of documents of their own, the smallest number first. The same each time."""
    dice, costs = random.Random(20), []
    for _ in range(EDITS):
        page = paragraphs(dice, words, count)
        edited = edit(page, dice.randrange(count // 8, count // 4), dice)
        costs.append(len(texts(edited) - texts(page)))
    return sorted(costs)


@pytest.mark.parametrize("edit", [one_word, one_sentence, one_paragraph_less])
@pytest.mark.parametrize(
    ("words", "count"),
    [
        pytest.param((60, 150), 40, id="paragraphs"),
        pytest.param((200, 600), 12, id="long paragraphs"),
    ],
)
def test_most_edits_in_a_paragraph_change_at_most_three_chunks(
    words: tuple[int, int], count: int, edit: Callable[[list[str], int, random.Random], list[str]]
) -> None:
    assert cost(words, count, edit)[MOST - 1] <= 3


@pytest.mark.parametrize(("words", "count"), [((3, 9), 300), ((20, 60), 80)], ids=["list", "short paragraphs"])
def test_so_it_does_where_paragraphs_are_short(words: tuple[int, int], count: int) -> None:
    assert cost(words, count, one_paragraph_less)[MOST - 1] <= 3


@pytest.mark.parametrize(("words", "count"), [((3, 9), 300), ((20, 60), 80)], ids=["list", "short paragraphs"])
def test_no_edit_reaches_far(words: tuple[int, int], count: int) -> None:
    assert cost(words, count, one_paragraph_less)[-1] <= 8  # of 20 and 30


def test_what_is_above_does_not_move_the_cuts_below() -> None:
    dice = random.Random(3)
    page = paragraphs(dice, (20, 60), 80)
    for above in range(1, 9):
        moved = texts([*paragraphs(dice, (20, 60), above), *page])
        assert len(texts(page) - moved) <= 6


def test_lines_that_are_all_the_same_are_cut_by_size() -> None:
    assert len(texts(["The lamp was lit."] * 200)) <= 3  # whole chunks of them, and what is left
