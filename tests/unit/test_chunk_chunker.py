"""Where documents are cut, and what stands above a chunk."""

from __future__ import annotations

from uuid import UUID

import pytest

from datadistiller.chunking.chunker import Chunker
from datadistiller.embedding.wordpiece import WordpieceTokenizer
from datadistiller.model import Block, BlockKind, Chunk, Page, ParsedDocument

TOKENIZER = WordpieceTokenizer()
JOB = UUID(int=1)
SENTENCE = "The keeper of the lighthouse wrote the height of the tide down. "  # 13 tokens


def page(number: int, *blocks: tuple[str, str] | tuple[str, str, int]) -> Page:
    """A page of (kind, text, level) blocks, parted by empty lines."""
    text, found = "", []
    for kind, content, *level in blocks:
        text += "\n\n" if text else ""
        content = content.strip()
        found.append(Block(BlockKind(kind), len(text), len(text) + len(content), *level))
        text += content
    return Page(number, text, found)


def cut(*pages: Page, title: str = "Title", filename: str = "file.txt", target: int = 200) -> list[Chunk]:
    """The chunks of a document."""
    return Chunker(TOKENIZER, target).chunk(JOB, ParsedDocument(pages, title, "test", "text/plain"), filename)


def test_a_short_page_is_one_chunk() -> None:
    [chunk] = cut(page(1, ("heading", "Tides", 1), ("paragraph", SENTENCE * 3), ("list", "- a\n- b")))
    assert chunk.text.startswith("Tides\n\nThe keeper") and chunk.text.endswith("- b")
    assert (chunk.page, chunk.start, chunk.context) == (1, 0, "Title")


def test_long_text_is_cut_after_sentences_at_about_the_target() -> None:
    chunks = cut(page(1, ("paragraph", SENTENCE * 100)))
    assert all(chunk.text.endswith("down.") for chunk in chunks)
    assert all(150 <= chunk.tokens <= 256 for chunk in chunks[:-1])


def test_a_heading_begins_a_chunk_and_never_ends_one() -> None:
    sections = [(("heading", f"Part {n}", 1), ("paragraph", SENTENCE * 12)) for n in range(8)]
    chunks = cut(page(1, *(block for section in sections for block in section)))
    assert [chunk.text.split("\n")[0] for chunk in chunks] == [f"Part {n}" for n in range(8)]


@pytest.mark.parametrize("lines", [4, 12, 16])
@pytest.mark.parametrize("kind", ["list", "table", "code"])
def test_what_fits_a_chunk_is_not_torn(kind: str, lines: int) -> None:
    whole = "\n".join(f"- The ship of {1900 + n} came from Hamburg with salt, rope and tar." for n in range(lines))
    for before in range(2, 14):
        chunks = cut(page(1, ("paragraph", SENTENCE * before), (kind, whole), ("paragraph", SENTENCE * 20)))
        assert any(whole in chunk.text for chunk in chunks)


@pytest.mark.parametrize("before", range(2, 14))
def test_nor_is_a_section(before: int) -> None:
    section = [("paragraph", SENTENCE * 4), ("heading", "Detail", 2), ("paragraph", "It is so. " * 25)]
    after = [("heading", "Next", 1), ("paragraph", SENTENCE * 20)]
    chunks = cut(page(1, ("paragraph", SENTENCE * before), ("heading", "Part", 1), *section, *after))
    [held] = [chunk for chunk in chunks if "Part" in chunk.text]
    assert held.text.count("It is so.") == 25


def test_a_short_rest_joins_its_neighbour() -> None:
    [chunk] = cut(page(1, ("paragraph", SENTENCE * 15), ("paragraph", "Two words.")))
    assert chunk.text.endswith("Two words.")


def test_chunks_never_cross_pages_but_headings_reach_over_them() -> None:
    first, second = cut(
        page(1, ("heading", "Chapter", 1), ("heading", "Section", 2), ("paragraph", "One.")),
        page(2, ("paragraph", "Two.")),
    )
    assert (first.page, first.context) == (1, "Title")
    assert (second.page, second.context, second.text) == (2, "Title › Chapter › Section", "Two.")


def test_a_heading_replaces_those_of_its_level_and_below() -> None:
    pages = [
        page(1, ("heading", "A", 1), ("heading", "B", 2), ("paragraph", "x")),
        page(2, ("heading", "C", 2), ("paragraph", "y")),
        page(3, ("paragraph", "z")),
        page(4, ("heading", "D", 1), ("paragraph", "z")),
    ]
    assert [chunk.context for chunk in cut(*pages)] == ["Title", "Title › A", "Title › A › C", "Title"]


def test_the_file_name_stands_for_a_missing_title_and_repetition_is_left_out() -> None:
    pages = [page(1, ("heading", "Report  2024", 1), ("paragraph", "x")), page(2, ("paragraph", "y"))]
    assert [chunk.context for chunk in cut(*pages, title=" \n", filename="report 2024.pdf")] == ["report 2024"] * 2


def test_a_long_context_is_shortened_and_leaves_room_for_text() -> None:
    headings = [("heading", f"Heading {level} " + "which goes on and on " * 30, level) for level in range(1, 7)]
    chunks = cut(page(1, *headings), page(2, ("paragraph", SENTENCE * 30)), title="A title without an end " * 50)
    last = chunks[-2]
    assert "A title" in last.context and "Heading 6" in last.context
    assert TOKENIZER.count([last.context])[0] <= 50 and last.tokens > 180


def test_rows_of_a_table_stay_whole() -> None:
    rows = [f"Name: Ship {n}; Port: Hamburg; Tonnage: {n * 731}; Flag: DE" for n in range(60)]
    chunks = cut(page(1, ("table", "\n".join(rows))))
    assert len(chunks) > 1
    assert [row for chunk in chunks for row in chunk.text.split("\n")] == rows


def test_a_word_longer_than_the_window_is_cut() -> None:
    chunks = cut(page(1, ("paragraph", "ab, " * 30 + "中" * 900 + " end.")))
    assert "".join(chunk.text.replace(" ", "") for chunk in chunks) == "ab," * 30 + "中" * 900 + "end."
    assert all(chunk.tokens <= 256 for chunk in chunks)


def test_combining_marks_stay_with_their_letters() -> None:
    chunks = cut(page(1, ("paragraph", "e\u0301" * 5000)))
    assert len(chunks) > 1 and all(chunk.text[0] == "e" for chunk in chunks)


def test_nothing_gives_nothing() -> None:
    assert cut() == []
    assert cut(Page(1, ""), Page(2, " \n\t\u3000"), Page(3, "", ())) == []


def test_headings_alone_are_chunks_too() -> None:
    [chunk] = cut(page(1, ("heading", "One", 1), ("heading", "Two", 2)))
    assert chunk.text == "One\n\nTwo"


def test_text_outside_blocks_is_not_lost() -> None:
    text = "before\n\nHEAD\n\nafter"
    chunks = cut(Page(1, text, (Block(BlockKind.HEADING, 8, 12, 1),)))
    assert " ".join(chunk.text for chunk in chunks).split() == text.split()


def test_ids_depend_on_job_place_and_text_alone() -> None:
    one, other = cut(page(1, ("paragraph", "Same."))), cut(page(1, ("paragraph", "Same.")), title="Other")
    assert one[0].chunk_id == other[0].chunk_id
