"""Names of columns that stand in several rows or in merged cells are found, and said with each value."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistiller.model import Page
from datadistiller.parsing import formats, headers, pages, registry, sheets, tables
from datadistiller.parsing.markup import html
from tests.fixtures import files, opendocument

YEARS = [["", "2023", "", "2024", ""], ["Port", "Wheat", "Coal", "Wheat", "Coal"]]
FIGURES = [["Husum", "1", "2", "3", "4"], ["Emden", "5", "6", "7", "8"]]
SAID = ["Port: Husum; 2023 Wheat: 1; 2023 Coal: 2; 2024 Wheat: 3; 2024 Coal: 4",
        "Port: Emden; 2023 Wheat: 5; 2023 Coal: 6; 2024 Wheat: 7; 2024 Coal: 8"]  # fmt: skip


def text_of(path: Path, media_type: str) -> str:
    return next(item for item in registry.parser_of(media_type).parse(path, media_type) if isinstance(item, Page)).text


def said(markup: str) -> list[str]:
    return html.convert(f"<table>{markup}</table>")[1].build(1).text.split("\n")


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ([*YEARS, *FIGURES], ["Port", "2023 Wheat", "2023 Coal", "2024 Wheat", "2024 Coal"]),
        ([["Port", "2023", "", "2024", ""], ["", *YEARS[1][1:]], *FIGURES],
         ["Port", "2023 Wheat", "2023 Coal", "2024 Wheat", "2024 Coal"]),
        ([["", "Tons", "", "Ships", ""], ["Port", "2021", "2022", "2021", "2022"], *FIGURES],
         ["Port", "Tons 2021", "Tons 2022", "Ships 2021", "Ships 2022"]),
        ([["Port", "Wheat", "Coal"], ["Husum", "1", "2"]], ["Port", "Wheat", "Coal"]),
        ([["", "North", ""], ["Kim", "Oak", "Bonn"], ["Lee", "Elm", "Kiel"]], None),  # no figures: may be three people
        ([["", "2023", ""], ["Port", "5", "6"], *FIGURES], None),  # figures name no columns
        ([["", "2023", ""], ["Port", "Wheat", "Coal"]], None),  # nothing below
        ([["", "x" * 90, "", "y"], ["Port", "Wheat", "Coal", "Wheat"], *FIGURES], None),
    ],
)  # fmt: skip
def test_names_in_two_rows(rows: list[list[str]], names: list[str] | None) -> None:
    found = headers.find(rows)
    assert (list(found.names) if found else None) == names
    if found:
        assert len(rows) - found.rows == len(FIGURES) or found.rows == 1


def test_a_sheet_says_both_rows_of_its_header_with_each_value() -> None:
    builder = pages.PageBuilder()
    sheets.add_rows(enumerate([["Trade"], *YEARS, *FIGURES, [], ["Kiel", "9", "9", "9", "9"]], 1), builder)
    page = builder.build(1)
    assert page.text.split("\n") == [
        "Trade", "", "2023 | 2024", "Port | Wheat | Coal | Wheat | Coal", *SAID, "",
        "Port: Kiel; 2023 Wheat: 9; 2023 Coal: 9; 2024 Wheat: 9; 2024 Coal: 9",
    ]  # fmt: skip
    assert [(one.top, one.bottom, one.left, one.right) for one in page.cells] == [
        (1, 1, 1, 1), (2, 2, 2, 4), (3, 5, 1, 5), (7, 7, 1, 5),
    ]  # fmt: skip


def test_html_says_merged_cells_where_they_reach() -> None:
    head = "<tr><td rowspan=2>Port<td colspan=2>2023<td colspan=2>2024<tr><td>Wheat<td>Coal<td>Wheat<td>Coal"
    rows = "".join("<tr>" + "".join(f"<td>{cell}" for cell in row) for row in FIGURES)
    assert said(head + rows)[-2:] == SAID
    ponds = "<tr><td>Kind<td>Pond<tr><td>Teal<td rowspan=3>East<tr><td>Pintail<tr><td>Gadwall<tr><td>Eider<td>West"
    assert said(ponds) == [
        "Kind | Pond", "Kind: Teal; Pond: East", "Kind: Pintail; Pond: East", "Kind: Gadwall; Pond: East",
        "Kind: Eider; Pond: West",
    ]  # fmt: skip
    assert said(f"<tr><th colspan=5>Trade{head}{rows}")[-2:] == SAID, "a title over all columns is no name"
    assert said("<tr><th>Kind<th colspan=2>Weight<tr><td>Teal<td>300<td>g")[-1] == "Kind: Teal; Weight: 300; Weight: g"


def test_a_header_that_is_said_again_is_left_out() -> None:
    row = "<tr><th>Kind<th>Pond"
    assert said(f"<thead>{row}</thead>{row}<tr><td>Teal<td>East{row}<tr><td>Eider<td>West") == [
        "Kind | Pond", "Kind: Teal; Pond: East", "Kind: Eider; Pond: West",
    ]  # fmt: skip


def test_rowspans_without_end_cost_nothing() -> None:
    cells = "<td rowspan=9999 colspan=9999>long" * 500
    assert len(said(f"<tr>{cells}" + "<tr><td>x" * 500)) == 501
    once = f"<tr><td rowspan=9999>{'long ' * 90}" + "<tr><td>x<td>y" * 3000
    assert sum(map(len, said(once))) < 3000 * 10 + 1000


def test_word_says_merged_cells_where_they_reach(tmp_path: Path) -> None:
    def cell(text: str, *properties: str) -> str:
        return f"<w:tc><w:tcPr>{''.join(properties)}</w:tcPr><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>"

    wide, down, on = '<w:gridSpan w:val="2"/>', '<w:vMerge w:val="restart"/>', "<w:vMerge/>"
    top = cell("Port", down) + cell("2023", wide) + cell("2024", wide)
    second = cell("", on) + "".join(map(cell, YEARS[1][1:]))
    rows = [top, second, *("".join(map(cell, row)) for row in FIGURES)]
    body = "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in rows) + "</w:tbl>"
    assert text_of(files.docx(tmp_path / "a.docx", body), formats.DOCX).split("\n")[-2:] == SAID

    told = "<w:trPr><w:tblHeader/></w:trPr>"
    rows = [told + cell("Person") + cell("Home", wide), told + cell("Name") + cell("Street") + cell("Town"),
            cell("Kim") + cell("Oak") + cell("Bonn", down), cell("Lee") + cell("Elm") + cell("", on)]  # fmt: skip
    body = "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in rows) + "</w:tbl>"
    assert text_of(files.docx(tmp_path / "b.docx", body), formats.DOCX).split("\n")[-2:] == [
        "Person Name: Kim; Home Street: Oak; Home Town: Bonn", "Person Name: Lee; Home Street: Elm; Home Town: Bonn",
    ]  # fmt: skip


def test_opendocument_says_merged_cells_where_they_reach(tmp_path: Path) -> None:
    def cell(text: str, spans: str = "") -> str:
        return f"<table:table-cell {spans}><text:p>{text}</text:p></table:table-cell>"

    covered = "<table:covered-table-cell/>"
    wide = 'table:number-columns-spanned="2"'
    top = cell("Port", 'table:number-rows-spanned="2"') + cell("2023", wide) + covered + cell("2024", wide) + covered
    rows = [top, covered + "".join(map(cell, YEARS[1][1:])), *("".join(map(cell, row)) for row in FIGURES)]
    body = "<table:table>" + "".join(f"<table:table-row>{row}</table:table-row>" for row in rows) + "</table:table>"
    assert text_of(opendocument.make(tmp_path / "a.odt", formats.ODT, body), formats.ODT).split("\n")[-2:] == SAID


@given(
    st.lists(st.lists(st.sampled_from(["", "a", "b", "2023", "5", "long " * 30]), max_size=5), min_size=1, max_size=6),
    st.dictionaries(st.tuples(st.integers(0, 3), st.integers(0, 4)), st.integers(2, 9), max_size=4) | st.none(),
    st.integers(0, 7),
)
def test_any_table_becomes_lines_that_say_all_of_it(
    rows: list[list[str]], widths: dict[tuple[int, int], int] | None, told: int
) -> None:
    found = headers.find(rows, widths, told)
    lines = list(tables.lines(rows, found))
    text = " ".join(lines)
    assert all(" ".join(cell.split()) in text for row in rows for cell in row)
    assert found is None or (0 < found.rows <= len(rows) and len(found.names) <= 5)
