"""PDF pages: reading order, tables, running lines, bookmarks, fields, places."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from datadistiller.model import Page
from datadistiller.parsing import formats, registry
from datadistiller.parsing.pdf.writer import clean
from tests.fixtures.pdfs import Text, page_content, placed

LEFT = [f"the left column says word {n} of it" for n in range(8)]
RIGHT = [f"the right column has line {n} of its" for n in range(8)]
TITLE = (60.0, 760.0, 12.0, "A title that goes over both of the columns of this page and further on")


def parse(path: Path) -> list[Page]:
    items = registry.parser_of(formats.PDF).parse(path, formats.PDF)
    return [item for item in items if isinstance(item, Page)]


def read(tmp_path: Path, texts: list[Text], lines: list[tuple[float, float, float, float]] | None = None) -> Page:
    return parse(placed(tmp_path / "a.pdf", [page_content(texts, lines or [])]))[0]


def blocks(page: Page) -> list[tuple[str, str]]:
    return [(block.kind.value, page.text[block.start : block.end]) for block in page.blocks]


def columns(top: float = 720.0) -> list[Text]:
    """Two columns, drawn line by line as some programs do."""
    found: list[Text] = []
    for n, (left, right) in enumerate(zip(LEFT, RIGHT, strict=True)):
        found += [(60.0, top - 14 * n, 10.0, left), (320.0, top - 14 * n, 10.0, right)]
    return found


class TestOrder:
    """Columns, what spans them, what is turned."""

    def test_columns_are_read_one_after_the_other(self, tmp_path: Path) -> None:
        page = read(tmp_path, columns())
        assert page.text.split() == " ".join(LEFT + RIGHT).split()

    def test_what_spans_the_columns_parts_them(self, tmp_path: Path) -> None:
        middle = (60.0, 600.0, 10.0, "A line in the middle of the page that goes over both of the columns on it")
        page = read(tmp_path, [*columns(580.0), middle, *columns(), TITLE])
        wanted = [TITLE[3], *LEFT, *RIGHT, middle[3], *LEFT, *RIGHT]
        assert page.text.split() == " ".join(wanted).split()

    def test_one_column_stays_as_it_is(self, tmp_path: Path) -> None:
        lines = [f"a line of text that goes over the whole width of the page, number {n}" for n in range(12)]
        page = read(tmp_path, [(60.0, 700.0 - 14 * n, 12.0, line) for n, line in reversed(list(enumerate(lines)))])
        assert page.text.split("\n") == lines

    @pytest.mark.parametrize(
        ("turned", "size"), [(0, (600, 800)), (90, (800, 600)), (180, (600, 800)), (270, (800, 600))]
    )
    def test_places_are_those_of_the_page_as_shown(self, tmp_path: Path, turned: int, size: tuple[int, int]) -> None:
        x, y, across, up = {0: (50, 700, 1, 0), 90: (100, 50, 0, 1), 180: (550, 100, -1, 0), 270: (500, 750, 0, -1)}[
            turned
        ]
        content = f"BT /F1 20 Tf {across} {up} {-up} {across} {x} {y} Tm (Of Ducks) Tj ET\n"
        page = parse(placed(tmp_path / "a.pdf", [content], page=f"/Rotate {turned}"))[0]
        (line,) = page.lines
        assert (page.text, page.size) == ("Of Ducks", size)
        assert (line.start, line.end, round(line.left)) == (0, 8, 50)
        assert line.top < 100 < line.bottom < 106
        assert 20 < line.bottom - line.top + 1 < 22
        assert 75 < line.right - line.left < 95

    def test_places_count_from_the_crop_box(self, tmp_path: Path) -> None:
        content = page_content([(150.0, 700.0, 20.0, "Of Ducks")])
        page = parse(placed(tmp_path / "a.pdf", [content], page="/CropBox[100 200 500 750]"))[0]
        assert page.size == (400, 550)
        assert (round(page.lines[0].left), 30 < page.lines[0].top < 50) == (50, True)


class TestTables:
    """Rows of cells, with what names their columns."""

    ROWS = (
        ("", "2023", "2022"),
        ("Net sales", "82,959", "81,434"),
        ("Cost", "47,074", "46,179"),
        ("Tax", "(10)", "243"),
    )

    def grid(self, y: float = 700.0) -> list[Text]:
        places = (60.0, 300.0, 420.0)
        return [
            (places[c], y - 16 * r, 10.0, text.replace("(", "\\(").replace(")", "\\)"))
            for r, row in enumerate(self.ROWS)
            for c, text in enumerate(row)
            if text
        ]

    def test_aligned_texts(self, tmp_path: Path) -> None:
        before = (60.0, 730.0, 10.0, "The following table shows what was sold in the years.")
        page = read(tmp_path, [before, *self.grid()])
        table = "2023 | 2022\nNet sales | 82,959 | 81,434\nCost | 47,074 | 46,179\nTax | (10) | 243"
        assert blocks(page) == [("paragraph", before[3]), ("table", table)]

    def test_names_are_said_again(self, tmp_path: Path) -> None:
        more = [
            (x, 636.0 - 16 * n, 10.0, text) for n in range(6) for x, text in ((60.0, f"Row {n}"), (300.0, f"{n}.5"))
        ]
        page = read(tmp_path, [(320.0, 716.0, 10.0, "Three Months Ended"), *self.grid(), *more])
        wanted = ["Row 2 | 2.5", "Three Months Ended 2023 | Three Months Ended 2022", "Row 3 | 3.5"]
        assert page.text.split("\n")[7:10] == wanted
        places = [page.text[line.start : line.end] for line in page.lines]
        assert places.count("Three Months Ended") == 1  # what is said again stands nowhere

    def test_what_the_rows_below_are_about(self, tmp_path: Path) -> None:
        rows = [(60.0, 636.0, 10.0, "Per share:"), (75.0, 620.0, 10.0, "Basic"), (300.0, 620.0, 10.0, "1.20"),
                (420.0, 620.0, 10.0, "1.31"), (60.0, 604.0, 10.0, "Total"), (300.0, 604.0, 10.0, "9")]  # fmt: skip
        page = read(tmp_path, [*self.grid(), *rows])
        assert page.text.endswith("Per share:\nPer share: Basic | 1.20 | 1.31\nTotal | 9")

    def test_signs_belong_to_their_numbers(self, tmp_path: Path) -> None:
        row = [(60.0, "Left"), (280.0, "$"), (310.0, "7"), (420.0, "3"), (440.0, "%")]
        page = read(tmp_path, [*self.grid(), *((x, 636.0, 10.0, text) for x, text in row)])
        assert page.text.endswith("Left | $ 7 | 3 %")

    def test_ruled_cells_hold_several_lines(self, tmp_path: Path) -> None:
        texts = [(65.0, 685.0, 10.0, "Kind"), (205.0, 685.0, 10.0, "What it eats"), (65.0, 660.0, 10.0, "Teal"),
                 (205.0, 665.0, 10.0, "seeds of water"), (205.0, 653.0, 10.0, "plants"), (65.0, 630.0, 10.0, "Smew"),
                 (205.0, 630.0, 10.0, "fish")]  # fmt: skip
        lines = [(60.0, y, 400.0, y) for y in (700.0, 680.0, 645.0, 620.0)]
        lines += [(x, 620.0, x, 700.0) for x in (60.0, 200.0, 400.0)]
        page = read(tmp_path, texts, lines)
        rows = "Kind | What it eats\nTeal | seeds of water plants\nSmew | fish"
        assert blocks(page) == [("table", rows)]
        assert [page.text[line.start : line.end] for line in page.lines][3] == "seeds of water plants"

    def test_running_text_side_by_side_is_no_table(self, tmp_path: Path) -> None:
        columns = (("Teal", "are small and", "fly fast"), ("Smew", "are white and", "eat fish"))
        texts = [
            (60.0 + 240 * c, 700.0 - 14 * n, 10.0, text) for c, col in enumerate(columns) for n, text in enumerate(col)
        ]
        page = read(tmp_path, sorted(texts, key=lambda text: -text[1]))
        assert blocks(page) == [("paragraph", "\n".join(column)) for column in columns]

    def test_a_frame_around_text_is_no_table(self, tmp_path: Path) -> None:
        frame = [(50.0, 600.0, 550.0, 600.0), (50.0, 750.0, 550.0, 750.0), (50.0, 600.0, 50.0, 750.0),
                 (550.0, 600.0, 550.0, 750.0)]  # fmt: skip
        page = read(tmp_path, [(60.0, 700.0 - 14 * n, 10.0, f"running text number {n}") for n in range(5)], frame)
        assert [kind for kind, _ in blocks(page)] == ["paragraph"]


class TestPages:
    """What only several pages show."""

    def test_running_lines_are_left_out(self, tmp_path: Path) -> None:
        contents = [
            page_content([(60.0, 770.0, 9.0, "Annual report of Ducks"), (60.0, 700.0, 10.0, f"Text of its own: {word}"),
                          (60.0, 500.0, 9.0, f"Ducks | {n}")])
            for n, word in enumerate(("one", "two", "three"), 1)
        ]  # fmt: skip
        texts = [page.text for page in parse(placed(tmp_path / "a.pdf", contents))]
        assert "Annual report" in texts[0]  # nothing is known before it
        assert texts[1:] == ["Text of its own: two", "Text of its own: three"]

    def test_the_last_row_of_a_table_is_no_footer(self, tmp_path: Path) -> None:
        contents = [
            page_content([(60.0, 700.0, 10.0, f"Text {n}"), (60.0, 500.0, 10.0, "Total"), (300.0, 500.0, 10.0, figure)])
            for n, figure in enumerate(("120", "350", "777"))
        ]
        texts = [page.text for page in parse(placed(tmp_path / "a.pdf", contents))]
        assert all(figure in text for text, figure in zip(texts, ("120", "350", "777"), strict=True))

    def test_a_page_of_running_lines_keeps_them(self, tmp_path: Path) -> None:
        contents = [page_content([(60.0, 770.0, 9.0, "Of Ducks")])] * 3
        assert [page.text for page in parse(placed(tmp_path / "a.pdf", contents))] == ["Of Ducks"] * 3

    def test_bookmarks_are_headings(self, tmp_path: Path) -> None:
        contents = [page_content([(60.0, 700.0, 10.0, "Of Ducks"), (60.0, 680.0, 10.0, "Ducks swim in ponds.")])]
        outline = "/Outlines<</First 99 0 R/Last 99 0 R/Count 1>>"  # object 99 is not there: a broken outline is none
        assert [b for b, _ in blocks(parse(placed(tmp_path / "a.pdf", contents, catalog=outline))[0])] == ["paragraph"]
        item = "<</Title(Of ducks)/Parent 1 0 R/Dest[4 0 R/Fit]>>"
        outline = f"/Outlines<</First {item}/Last {item}/Count 1>>"
        page = parse(placed(tmp_path / "b.pdf", contents, catalog=outline))[0]
        assert blocks(page) == [("heading", "Of Ducks"), ("paragraph", "Ducks swim in ponds.")]

    def test_fields_and_notes_are_read(self, tmp_path: Path) -> None:
        field = "<</Type/Annot/Subtype/Widget/FT/Tx/T(Name of bird)/V(Teal)/Rect[60 600 200 620]>>"
        secret = "<</Type/Annot/Subtype/Widget/FT/Tx/Ff 8192/T(Word)/V(hidden)/Rect[60 560 200 580]>>"
        note = "<</Type/Annot/Subtype/Text/Contents(Seen twice.)/Rect[300 600 320 620]>>"
        path = placed(
            tmp_path / "a.pdf", [page_content([(60.0, 700.0, 10.0, "A form")])],
            annotations=field + secret + note, catalog=f"/AcroForm<</Fields[{field}{secret}]>>",
        )  # fmt: skip
        page = parse(path)[0]
        assert blocks(page) == [("paragraph", "A form"), ("list", "Name of bird: Teal\nSeen twice.")]
        assert [(round(line.left), round(line.top)) for line in page.lines][1:] == [(60, 180), (300, 180)]


class TestHeadings:
    """By their weight; by size in ``test_parsing_binary``, by bookmarks above."""

    @pytest.mark.parametrize(("bold", "kind"), [("Of Ducks", "heading"), ("Ducks are birds.", "paragraph")])
    def test_a_few_bold_words_are_a_heading(self, tmp_path: Path, bold: str, kind: str) -> None:
        texts = [(60.0, 680.0 - 12 * n, 10.0, "Ducks swim in ponds and quack, as all of them do.") for n in range(4)]
        content = f"BT /F2 10 Tf 60 700 Td ({bold}) Tj ET\n{page_content(texts)}"
        fonts = "/Resources<</Font<</F1 3 0 R/F2<</Type/Font/Subtype/Type1/BaseFont/Helvetica-Bold>>>>>>"
        page = parse(placed(tmp_path / "a.pdf", [content], page=fonts))[0]
        assert blocks(page)[0] == (kind, bold)


class TestDamage:
    """Files are read as far as they go."""

    def test_a_page_that_is_lost_is_named(self, tmp_path: Path) -> None:
        contents = [page_content([(60.0, 700.0, 10.0, f"Text of page {word}")]) for word in ("one", "two", "six")]
        path = placed(tmp_path / "a.pdf", contents)
        path.write_bytes(path.read_bytes().replace(b"4 0 R 6 0 R 8 0 R", b"4 0 R 0 0 R 8 0 R"))  # nothing has number 0
        pages = parse(path)
        assert [page.text for page in pages] == ["Text of page one", "", "Text of page six"]
        assert [page.problem.code if page.problem else None for page in pages] == [None, "damaged", None]
        assert pages[1].problem is not None and "Page 2" in pages[1].problem.message


class TestText:
    """Words as they are meant."""

    def test_ligatures_are_letters_and_superscripts_stay(self) -> None:
        assert clean("e\ufb00ort \ufb01ve co\u00adop x\u00b2 \uff21\u00bd") == "effort five coop x\u00b2 \uff21\u00bd"

    def test_broken_words_are_joined(self, tmp_path: Path) -> None:
        texts = [
            (60.0, 700.0, 10.0, "Ducks live in water and are there-"),
            (60.0, 688.0, 10.0, "fore called waterfowl."),
        ]
        page = read(tmp_path, texts)
        assert page.text == "Ducks live in water and are therefore called waterfowl."
        first, second = page.lines
        assert (page.text[first.start : first.end][-5:], page.text[second.start : second.end][:4]) == ("there", "fore")

    def test_a_hyphen_that_was_written_before_stays(self, tmp_path: Path) -> None:
        lines = ["They are well-known birds.", "In all of Europe they are well-", "known and often seen."]
        page = read(tmp_path, [(60.0, 700.0 - 12 * n, 10.0, line) for n, line in enumerate(lines)])
        assert page.text.endswith("they are well-known and often seen.")

    def test_lines_cover_the_text(self, tmp_path: Path) -> None:
        page = read(tmp_path, [TITLE, *columns()])
        covered = "".join(page.text[line.start : line.end] for line in page.lines)
        assert "".join(covered.split()) == "".join(page.text.split())
        assert all(a.end <= b.start for a, b in pairwise(page.lines))
