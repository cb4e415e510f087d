"""Where a passage stands: the rectangles of a range, the words for a person, and the stored form of lines."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistiller import model
from datadistiller.model import Line, Page
from datadistiller.parsing import drawing, formats
from datadistiller.query import places
from datadistiller.runtime import pictures
from datadistiller.store import lines

TEXT = "ten chars.\nand\ntwenty characters it."
LINES = (Line(0, 10, 100, 50, 200, 62), Line(11, 14, 100, 64, 130, 76), Line(15, 36, 100, 78, 310, 90))


def rects(start: int, end: int, text: str = TEXT, of: tuple[Line, ...] = LINES) -> list[places.Rect]:
    return list(places.rectangles(of, start, end, text[start:end]))


def test_whole_lines_are_taken_whole_and_the_ends_of_a_range_in_proportion() -> None:
    assert rects(0, 36) == [(100, 50, 200, 62), (100, 64, 130, 76), (100, 78, 310, 90)]
    assert rects(4, 18) == [(140, 50, 200, 62), (100, 64, 130, 76), (100, 78, 130, 90)]
    assert rects(2, 5) == [(120, 50, 150, 62)]
    assert rects(12, 13) == [(110, 64, 120, 76)]


def test_white_space_between_and_on_lines_covers_nothing() -> None:
    assert rects(10, 11) == rects(3, 4) == rects(36, 36) == []


def test_hebrew_and_arabic_are_cut_from_the_right() -> None:
    text = "שלום עולם"
    assert rects(0, 3, text, (Line(0, 9, 100, 0, 190, 10),)) == [(160, 0, 190, 10)]
    assert rects(0, 3, "12 " + text, (Line(0, 12, 100, 0, 220, 10),)) == [(100, 0, 130, 10)], (
        "no letters in what is cited"
    )


def test_a_line_that_does_not_run_across_the_page_is_taken_whole() -> None:
    assert rects(1, 3, "upright", (Line(0, 7, 10, 100, 22, 170),)) == [(10, 100, 22, 170)]


@pytest.mark.parametrize(
    ("media_type", "label", "context", "words"),
    [
        (formats.PDF, "", "Report › Results", "page 3"),
        (formats.PDF, "iv", "", "page iv"),
        (formats.XLSX, "Costs", "", "sheet Costs"),
        (formats.PPTX, "", "", "slide 3"),
        (formats.MBOX, "Of Ducks", "", "message Of Ducks"),
        (formats.EPUB, "", "", "chapter 3"),
        (formats.DOCX, "", "Report › Part 1 › Results", "section Results"),
        (formats.TEXT, "", "Report", ""),
        (formats.TIFF, "", "", "page 3"),
        ("image/x-unknown", "", "", "page 3"),
    ],
)
def test_a_place_has_a_name(media_type: str, label: str, context: str, words: str) -> None:
    assert places.words(media_type, 3, label, context) == words


def test_a_sentence_is_located_by_the_lines_of_its_passage() -> None:
    passage = model.Passage(
        1, uuid.UUID(int=1), uuid.UUID(int=2), "a.pdf", "c", {}, 1, "", 4, 36, TEXT[4:], "", 0.0,
        media_type=formats.PDF, page_size=(595, 842), lines=LINES,
    )  # fmt: skip
    sentence = model.Sentence(TEXT[11:14], 1, 1, 11, 14)
    assert places.of_passage(passage) == rects(4, 36)
    assert places.of_sentence(sentence, [passage]) == rects(11, 14)


EDGES = st.tuples(*[st.floats(0, 1)] * 4)


@given(
    st.tuples(st.floats(1, 20_000), st.floats(1, 20_000)),
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 300), EDGES), max_size=20),
)
def test_what_is_stored_comes_back_to_a_tenth(
    size: tuple[float, float], drawn: list[tuple[int, int, tuple[float, float, float, float]]]
) -> None:
    made, at = [], 0
    for gap, length, box in drawn:
        made.append(
            Line(at + gap, at + gap + length, *(share * edge for share, edge in zip(box, size * 2, strict=True)))
        )
        at += gap + length
    stored = lines.pack(Page(1, "x" * at, size=size, lines=made))
    found = lines.unpack(stored, size)
    assert len(stored or b"") == 16 * len(made)
    for before, after in zip(made, found, strict=True):
        assert (before.start, before.end) == (after.start, after.end)
        for name, edge in zip(("left", "top", "right", "bottom"), size * 2, strict=True):
            assert abs(getattr(before, name) - getattr(after, name)) <= edge / 65_535 + 0.05


def test_only_the_lines_of_a_range_are_unpacked() -> None:
    stored = lines.pack(Page(1, TEXT, size=(595, 842), lines=LINES))
    ranges = {(0, 36): [0, 11, 15], (3, 5): [0], (10, 11): [], (9, 12): [0, 11], (14, 15): [], (15, 16): [15]}
    for (start, end), begins in ranges.items():
        assert [line.start for line in lines.unpack(stored, (595, 842), start, end)] == begins


@pytest.mark.parametrize("size", [None, (0.0, 842.0), (595.0, -1.0)])
def test_nothing_stands_on_a_page_without_size(size: tuple[float, float] | None) -> None:
    page = Page(1, TEXT, size=size, lines=LINES)
    assert lines.pack(page) is None
    assert lines.size_of(page) is None
    assert not lines.unpack(None, size)


def test_what_lies_outside_the_page_is_moved_to_its_edge() -> None:
    stored = lines.pack(Page(1, "abc", size=(100, 100), lines=[Line(0, 3, -1e300, 5, 1e300, 120)]))
    assert lines.unpack(stored, (100, 100)) == [Line(0, 3, 0, 5, 100, 100)]


def test_marks_cover_their_rectangle_to_whole_pixels_and_nothing_else() -> None:
    raster = drawing.Raster(10, 4, bytearray(b"\xff" * 120))
    drawing.tint(raster, drawing.mark((25, 25, 61, 50), 100, 100))
    changed = {(at // 3 % 10, at // 30) for at, value in enumerate(raster.pixels) if value != 255}
    assert changed == {(x, 1) for x in range(2, 7)}
    drawing.tint(raster, (-50, -50, 20_000, 20_000))
    assert all(raster.pixels[at] < 255 for at in range(2, 120, 3))
    dark = drawing.Raster(1, 1, bytearray(3))
    drawing.tint(dark, (0, 0, drawing.PARTS, drawing.PARTS))
    assert dark.pixels != bytearray(3), "a mark is seen on black too"


@pytest.mark.parametrize(("width", "height"), [(595, 842), (1, 14_400), (14_400, 1), (1e-3, 1e-3)])
def test_no_page_becomes_a_larger_picture_than_allowed(width: float, height: float) -> None:
    scale = drawing.fitting(width, height, 2000, 1_000_000)
    assert width * scale <= 2000.001
    assert width * scale * height * scale <= 1_000_001


def test_of_too_many_marks_neighbours_become_one() -> None:
    few = [(n, n, n + 1, n + 1) for n in range(pictures.MOST_MARKS)]
    assert pictures.joined(few) == few
    many = [(n, n, n + 1, n + 1) for n in range(2 * pictures.MOST_MARKS + 1)]
    fewer = pictures.joined(many)
    assert len(fewer) <= pictures.MOST_MARKS
    assert (fewer[0], fewer[-1][2:]) == ((0, 0, 4, 4), (len(many), len(many)))
