"""Which cells of a sheet a part of its text says: every range holds the values that are quoted, and few others."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadistiller import cells, model
from datadistiller.cells import Cells
from datadistiller.chunking.chunker import Chunker
from datadistiller.embedding.wordpiece import WordpieceTokenizer
from datadistiller.parsing import formats, pages, registry, sheets
from datadistiller.store import cells as stored
from tests.fixtures import files, legacy, opendocument

#: Row and column, from 1, and what is there.
Grid = dict[tuple[int, int], str]


def rows_of(grid: Grid) -> list[sheets.Row]:
    height, width = (max((key[i] for key in grid), default=0) for i in (0, 1))
    return [(r, [grid.get((r, c), "") for c in range(1, width + 1)]) for r in range(1, height + 1)]


def page_of(grid: Grid) -> model.Page:
    builder = pages.PageBuilder()
    sheets.add_rows(rows_of(grid), builder)
    return builder.build(1, "Q3")


VALUE = re.compile(r"\br(\d+)c(\d+)\b(?![^;\n|]*: )")  # names of columns before values are none


def quoted(text: str, start: int = 0, end: int | None = None) -> set[tuple[int, int]]:
    """The cells whose values, which say where they stand, are in a part of a text."""
    end = len(text) if end is None else end
    return {(int(m[1]), int(m[2])) for m in VALUE.finditer(text) if start <= m.start() and m.end() <= end}


def inside(one: Cells) -> set[tuple[int, int]]:
    return {(r, c) for r in range(one.top, one.bottom + 1) for c in range(one.left, one.right + 1)}


def written(kind: str, path: Path, grid: Grid) -> Path:
    """A file of that type with one sheet."""
    match kind:
        case formats.XLSX:
            rows = "".join(
                f'<row r="{r}">'
                + "".join(
                    f'<c r="{cells.column(c)}{r}" t="inlineStr"><is><t>{text}</t></is></c>'
                    for c, text in enumerate(texts, 1)
                    if text
                )
                + "</row>"
                for r, texts in rows_of(grid)
                if any(texts)
            )
            return files.xlsx(path, rows)
        case formats.ODS:
            body = "".join(
                "<table:table-row>"
                + "".join(f"<table:table-cell><text:p>{text}</text:p></table:table-cell>" for text in texts)
                + "</table:table-row>"
                for _, texts in rows_of(grid)
            )
            return opendocument.make(path, formats.ODS, f'<table:table table:name="Q3">{body}</table:table>')
        case formats.XLS:
            sheet = b"".join(legacy.cell(r - 1, c - 1, text) for (r, c), text in sorted(grid.items()))
            return legacy.xls(path, {"Q3": sheet})
    path.write_text("\n".join((";" if kind == formats.CSV else "\t").join(texts) for _, texts in rows_of(grid)))
    return path


@pytest.mark.parametrize(
    ("number", "letters"), [(1, "A"), (26, "Z"), (27, "AA"), (702, "ZZ"), (703, "AAA"), (16384, "XFD")]
)
def test_columns_have_letters(number: int, letters: str) -> None:
    assert cells.column(number) == letters
    assert cells.position(f"{letters}12") == (12, number)


@pytest.mark.parametrize("reference", ["", "A", "12", "a1", "A0", "ABCD1", "A1:B2", "$A$1", "A99999999"])
def test_what_is_no_reference_is_none(reference: str) -> None:
    assert cells.position(reference) is None


def test_ranges_are_named_as_spreadsheet_programs_do() -> None:
    def at(top: int, bottom: int, left: int, right: int) -> Cells:
        return Cells(0, 1, top, bottom, left, right)

    assert cells.name([]) == ""
    assert cells.name([at(12, 12, 2, 2)]) == "B12"
    assert cells.name([at(12, 13, 2, 6), at(14, 14, 2, 4), at(20, 20, 1, 2)]) == "A12:F20"
    assert cells.name([at(500, 520, 1, 6), at(3, 3, 2, 2)]) == "A500:F520, B3", "a comment far away"
    assert cells.name([at(n * 100, n * 100, 1, n) for n in range(1, 8)]) == "A100:G700"


def test_a_table_is_one_entry_however_long() -> None:
    builder = pages.PageBuilder()
    sheets.add_rows(((n, ["Port", "Tons"] if n == 1 else [f"port {n}", str(n)]) for n in range(1, 5001)), builder)
    page = builder.build(1)
    assert len(page.cells) == 5, "one a block"
    at = page.text.index("Port: port 4321;")
    assert cells.name(list(cells.within(page.cells, page.text, 0, at, at + 20))) == "A4321:B4321"


def test_rows_without_end_are_placed_in_proportion_to_their_text() -> None:
    builder = pages.PageBuilder()
    sheets.add_rows(((n, ["x"] * (1 + n % 3)) for n in range(1, 60_001)), builder)
    page = builder.build(1)
    assert len(page.cells) <= 10_000 + len(page.text) // 16 + 60
    last = list(cells.within(page.cells, page.text, 0, len(page.text) - 1, len(page.text)))
    assert cells.name(last) in ("A60000", "A60000:C60000")


def test_a_part_of_a_wide_row_is_called_by_its_columns() -> None:
    page = page_of({(3, c): f"r3c{c}" for c in range(1, 16_385)})
    at = page.text.index("r3c9000")
    (one,) = cells.within(page.cells, page.text, 0, at, at + 7)
    assert one.left <= 9000 <= one.right <= one.left + 20
    assert "A" not in cells.name([one]), "MHD and its neighbours"


def test_a_comment_stands_where_its_cell_does() -> None:
    builder = pages.PageBuilder()
    sheets.add_comment((7, 28), "  seen\n twice ", builder)
    sheets.add_comment(None, "somewhere", builder)
    sheets.add_comment((8, 1), " ", builder)
    page = builder.build(1)
    assert page.text == "Comment on AB7: seen twice\n\nComment: somewhere"
    assert page.cells == (Cells(0, 26, 7, 7, 28, 28),)


GRIDS = st.dictionaries(
    st.tuples(st.integers(1, 12), st.integers(1, 6)),
    st.sampled_from(["{}", "{} two words", "{}\nlower", " {}\x00 ", "{} " + "long " * 30]),
    min_size=1,
).map(lambda found: {place: text.format("r{}c{}".format(*place)) for place, text in found.items()})


@given(GRIDS, st.data())
def test_a_range_holds_what_is_quoted_and_begins_and_ends_with_it(grid: Grid, data: st.DataObject) -> None:
    page = page_of(grid)
    start = data.draw(st.integers(0, len(page.text)))
    end = data.draw(st.integers(start, len(page.text)))
    found = list(cells.within(page.cells, page.text, 0, start, end))
    assert quoted(page.text, start, end) <= set().union(*map(inside, found))
    for one in found:
        said = page.text[one.start : one.end]
        assert start <= one.start < one.end <= end
        assert said.strip()
        assert one.bottom - one.top in (0, said.count("\n"))
    again = [one for begin in found for one in cells.within(found, page.text, 0, begin.start, begin.end)]
    assert again == found, "what is cut is cut the same again"


@given(GRIDS)
def test_a_range_is_no_larger_than_its_rows(grid: Grid) -> None:
    for one in page_of(grid).cells:
        rows = {r for r, c in grid if one.left <= c <= one.right}
        assert set(range(one.top, one.bottom + 1)) <= rows
        assert (one.top, one.left) in grid
        assert (one.bottom, one.right) in grid


@pytest.mark.parametrize("media_type", [formats.XLSX, formats.XLS, formats.ODS, formats.CSV, formats.TSV])
def test_every_chunk_of_every_kind_of_sheet_names_the_cells_it_quotes(media_type: str, tmp_path: Path) -> None:
    grid = {(r, c): f"r{r}c{c}" for r in range(2, 400) for c in range(1, 8) if r % 50 and (r + c) % 5}
    grid |= {(1, c): f"name{c}" for c in range(1, 8)} | {(500, 3): "r500c3"}
    path = written(media_type, tmp_path / f"a{formats.BY_MEDIA_TYPE[media_type].extensions[0]}", grid)
    items = list(registry.parser_of(media_type).parse(path, media_type))
    read = [item for item in items if isinstance(item, model.Page)]
    document = model.ParsedDocument(read[:1], "", "", media_type)
    chunks = Chunker(WordpieceTokenizer(), 200).chunk(uuid.UUID(int=0), document, path.name)
    assert len(chunks) > 20
    for chunk in chunks:
        said = quoted(chunk.text)
        rows = {r for r, _ in said} | ({1} if "name1 |" in chunk.text else set())
        assert said <= set().union(*map(inside, chunk.cells))
        assert (min(one.top for one in chunk.cells), max(one.bottom for one in chunk.cells)) == (min(rows), max(rows))
    assert cells.name(chunks[-1].cells).endswith("C500")
    assert set().union(*(quoted(chunk.text) for chunk in chunks)) == {place for place in grid if place[0] > 1}


@settings(max_examples=30)
@given(st.lists(st.integers(1, 2**31 - 1), min_size=6, max_size=60))
def test_cells_come_back_as_they_were_stored(numbers: list[int]) -> None:
    kept = [Cells(*numbers[at : at + 6]) for at in range(0, len(numbers) - len(numbers) % 6, 6)]
    assert stored.unpack(stored.pack(kept)) == kept
    assert stored.pack([]) is None
    assert stored.unpack(None) == []
