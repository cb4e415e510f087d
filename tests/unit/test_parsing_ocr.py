"""Text on pictures and scans. The engine is loaded once, by the first test that needs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image

from datadistiller import errors
from datadistiller.model import BlockKind, Line, Page, Problem
from datadistiller.parsing import Header, formats, limits, registry
from datadistiller.parsing.pictures import ocr, ocr_layout
from datadistiller.parsing.pictures.ocr_layout import Piece
from datadistiller.runtime.sandbox import Limits, Sandbox
from tests.fixtures import files, pdfs, pictures

DUCKS = "Of Ducks\n\nDucks swim in ponds."


def read(path: Path, media_type: str, first_page: int = 1) -> tuple[list[Page], list[Problem]]:
    header, *items = registry.parser_of(media_type).parse(path, media_type, first_page)
    assert isinstance(header, Header)
    return [item for item in items if isinstance(item, Page)], [item for item in items if isinstance(item, Problem)]


def words(page: Page) -> str:
    return " ".join(page.text.split())


def said(page: Page, line: Line) -> str:
    return page.text[line.start : line.end]


def saved(path: Path, image: Image.Image, **how: object) -> Path:
    image.save(path, **how)  # type: ignore[arg-type]
    return path


class TestPictures:
    """Files that are pictures."""

    def test_text_stands_where_the_lines_say(self, tmp_path: Path) -> None:
        (page,), warnings = read(pictures.picture(tmp_path / "a.png"), formats.PNG)
        assert words(page) == "Of Ducks Ducks swim in ponds."
        assert page.recognised and page.size == (380, 110)
        assert [said(page, line) for line in page.lines] == ["Of Ducks", "Ducks swim in ponds."]
        for line, (left, top, _) in zip(page.lines, pictures.DUCKS, strict=True):
            assert abs(line.left - left) < 12 and abs(line.top - top) < 12 and line.bottom < top + 45
            assert line.left < line.right <= 380
        assert [warning.message for warning in warnings] == ["1 page was read by OCR."]

    async def test_a_line_has_no_room_for_letters(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "line.png", Image.new("L", (60_000, 1), 255))
        sandbox = Sandbox(Limits(), concurrency=1)  # its memory is limited: the library wants gigabytes for this one
        try:
            document = await sandbox.parse(path, formats.PNG)
        finally:
            await sandbox.close()
        assert [(page.text, page.problem) for page in document.pages] == [("", None)]

    @pytest.mark.parametrize(
        "change",
        [
            lambda image: image.convert("1"),
            lambda image: image.convert("L"),
            lambda image: image.convert("P"),
            lambda image: image.convert("CMYK"),
            lambda image: image.convert("L").convert("I").point(lambda value: value * 257).convert("I;16"),
        ],
        ids=["bilevel", "grey", "palette", "cmyk", "16-bit"],
    )
    def test_colours(self, tmp_path: Path, change: Callable[[Image.Image], Image.Image]) -> None:
        (page, *_), _ = read(saved(tmp_path / "a.tif", change(pictures.drawn())), formats.TIFF)
        assert words(page) == "Of Ducks Ducks swim in ponds."

    def test_what_is_transparent_is_white(self, tmp_path: Path) -> None:
        drawn = pictures.drawn()
        ink = drawn.convert("L").point(lambda value: 255 - value)
        clear = Image.new("RGBA", drawn.size, (0, 0, 0, 0))
        clear.putalpha(ink)
        (page,), _ = read(saved(tmp_path / "a.png", clear), formats.PNG)
        assert words(page) == "Of Ducks Ducks swim in ponds."

    def test_a_photograph_is_shown_as_its_camera_says(self, tmp_path: Path) -> None:
        turned = pictures.drawn().transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x0112] = 6  # to be shown a quarter turn to the right
        (page,), _ = read(saved(tmp_path / "a.jpg", turned, exif=exif, quality=95), formats.JPEG)
        assert page.size == (380, 110)
        assert words(page) == "Of Ducks Ducks swim in ponds."

    @pytest.mark.parametrize("quarters", [1, 2, 3])
    def test_turned_pages_are_read_and_their_places_are_those_seen(self, tmp_path: Path, quarters: int) -> None:
        turned = pictures.drawn().rotate(90 * quarters, expand=True)
        (page,), _ = read(saved(tmp_path / "a.png", turned), formats.PNG)
        assert words(page) == "Of Ducks Ducks swim in ponds."
        line = page.lines[-1]
        width, height = line.right - line.left, line.bottom - line.top
        assert (height > width) == (quarters != 2)
        # The last line is nearest to the side that was the lower one.
        right, top, left = page.size[0] - line.right if page.size else 0, line.top, line.left
        assert {1: right, 2: top, 3: left}[quarters] < 30

    def test_a_page_each_and_any_page_first(self, tmp_path: Path) -> None:
        path = pictures.tiff(tmp_path / "a.tif")
        found, warnings = read(path, formats.TIFF)
        assert [words(page) for page in found] == ["Of Ducks Ducks swim in ponds.", "Geese graze."]
        assert [warning.message for warning in warnings] == ["2 pages were read by OCR."]
        assert read(path, formats.TIFF, first_page=2)[0] == found[1:]

    def test_nothing_to_read(self, tmp_path: Path) -> None:
        (page,), (warning,) = read(saved(tmp_path / "a.png", pictures.drawn(())), formats.PNG)
        assert page.text == "" and not page.recognised
        assert warning.code == errors.NoText.code

    def test_large_pictures_are_scaled_down(self, tmp_path: Path) -> None:
        large = pictures.drawn([(200, 200, "Ducks swim in ponds.")], (5200, 700), 300)
        (page,), _ = read(saved(tmp_path / "a.png", large), formats.PNG)
        assert words(page) == "Ducks swim in ponds."
        assert page.size == (5200, 700)
        assert page.lines[0].right > 2500

    def test_bombs_are_refused_by_their_header(self, tmp_path: Path) -> None:
        side = int(limits.MAX_PIXELS**0.5) + 10
        path = saved(tmp_path / "a.png", Image.new("1", (side, side)))
        assert path.stat().st_size < 100_000
        with pytest.raises(errors.LimitExceeded, match="80,000,000 pixels"):
            read(path, formats.PNG)

    def test_larger_bombs_too(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.bmp", Image.new("1", (8, 8)))
        data = bytearray(path.read_bytes())
        data[18:26] = (60_000).to_bytes(4, "little") * 2
        path.write_bytes(data)
        with pytest.raises(errors.LimitExceeded):
            read(path, formats.BMP)

    def test_only_the_decoder_of_its_type_sees_a_file(self, tmp_path: Path) -> None:
        with pytest.raises(errors.DamagedDocument):
            read(pictures.picture(tmp_path / "a.png"), formats.JPEG)


class TestScans:
    """PDF pages that are pictures."""

    def test_text_and_places_in_points(self, tmp_path: Path) -> None:
        (page,), warnings = read(pictures.pdf(tmp_path / "a.pdf", [pictures.drawn()]), formats.PDF)
        assert words(page) == "Of Ducks Ducks swim in ponds."
        assert page.recognised and page.size == (380, 110)
        line = page.lines[0]
        assert abs(line.left - 20) < 12 and abs(line.top - 14) < 12
        assert [warning.message for warning in warnings] == ["1 page was read by OCR."]

    def test_a_turned_page_is_measured_as_it_is_shown(self, tmp_path: Path) -> None:
        path = pictures.pdf(tmp_path / "a.pdf", [pictures.drawn().rotate(90, expand=True)], rotate=90)
        (page,), _ = read(path, formats.PDF)
        assert words(page) == "Of Ducks Ducks swim in ponds."
        assert page.size == (380, 110)
        assert page.lines[0].top < page.lines[1].top

    def test_a_few_characters_over_a_picture_do_not_count(self, tmp_path: Path) -> None:
        (page,), _ = read(pictures.pdf(tmp_path / "a.pdf", [pictures.drawn()], text="p. 7"), formats.PDF)
        assert page.recognised and "swim in ponds" in page.text

    def test_a_page_with_text_is_not_read_from_its_picture(self, tmp_path: Path) -> None:
        text = "This is what the page says, and there is more than enough of it to be believed."
        (page,), warnings = read(pictures.pdf(tmp_path / "a.pdf", [pictures.drawn()], text=text), formats.PDF)
        assert page.text == text and not page.recognised and warnings == []

    def test_a_file_is_read_page_by_page(self, tmp_path: Path) -> None:
        """A page that is a picture, one that is empty, and one whose picture says nothing."""
        with pypdfium2.PdfDocument(
            pictures.pdf(tmp_path / "a.pdf", [pictures.drawn(), pictures.drawn(())])
        ) as document:
            document.new_page(300, 200, 1)
            document.save(tmp_path / "b.pdf")
        found, warnings = read(tmp_path / "b.pdf", formats.PDF)
        assert [words(page) for page in found] == ["Of Ducks Ducks swim in ponds.", "", ""]
        assert [warning.message for warning in warnings] == [
            "1 page was read by OCR.",
            "1 page is a picture in which no text was found.",
        ]

    def test_a_blank_page_does_not_load_the_engine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ocr, "engine", lambda: pytest.fail("nothing is on the page"))
        path = pdfs.placed(tmp_path / "a.pdf", ["1 1 1 rg 10 10 500 700 re f\n"])
        (page,), (warning,) = read(path, formats.PDF)
        assert page.text == "" and page.problem is None and warning.code == "no_text"

    def test_letters_without_a_meaning_are_read_from_their_looks(self, tmp_path: Path) -> None:
        """Private-use characters, as fonts without a table of their letters give them."""
        path = pictures.pdf(tmp_path / "a.pdf", [pictures.drawn()], text="x" * 60)
        to_unicode = b"/CIDInit /ProcSet findresource begin begincmap 1 beginbfchar <78> <E000> endbfchar endcmap"
        font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 4 0 R >>"
        data = path.read_bytes().replace(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>", font)
        mapped = b"4 0 obj\n<< /Length %d >>\nstream\n%s\nendstream\nendobj\n" % (len(to_unicode), to_unicode)
        path.write_bytes(
            data.replace(b"3 0 obj", mapped + b"3 0 obj", 1).split(b"xref\n")[0] + b"trailer << /Root 1 0 R >>"
        )
        (page,), _ = read(path, formats.PDF)
        assert page.recognised and "swim in ponds" in page.text

    def test_without_the_extra_pages_stay_empty_and_the_hint_names_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ocr, "installed", lambda: False)  # the environment of the tests has it
        for path, media_type in (
            (pictures.pdf(tmp_path / "a.pdf", [pictures.drawn()] * 2), formats.PDF),
            (pictures.picture(tmp_path / "a.png"), formats.PNG),
        ):
            found, (warning,) = read(path, media_type)
            assert {page.text for page in found} == {""}
            assert warning.code == "no_text" and "datadistiller[ocr]" in warning.hint


def piece(text: str, left: float, top: float, width: float = 0) -> Piece:
    box = (left, top, left + (width or 8 * len(text)), top + 12)
    return Piece(text, box, box)


def laid_out(*pieces: Piece) -> Page:
    page = ocr_layout.page(1, "", pieces, (600, 800), 1.0)
    assert [said(page, line).strip() for line in page.lines]
    return page


class TestLayout:
    """The order of what was found."""

    def test_columns_are_read_one_after_the_other(self) -> None:
        left = [piece(f"left column line {n}", 40, 100 + 14 * n, 240) for n in range(6)]
        right = [piece(f"right column line {n}", 310, 103 + 14 * n, 240) for n in range(6)]
        page = laid_out(piece("A title over both of them", 40, 60, 500), *right, *left)
        lines = page.text.split("\n")
        assert lines[0] == "A title over both of them"
        assert [line for line in lines if "column" in line] == [one.text for one in (*left, *right)]
        assert [page.text[b.start : b.end].count("\n") for b in page.blocks] == [0, 5, 5]

    def test_rows_of_a_table_stay_together(self) -> None:
        cells = [
            piece(text, left, 100 + 14 * n, 50) for n in range(6) for left, text in ((40, f"row {n}"), (300, f"{n}00"))
        ]
        assert laid_out(*cells).text == "\n".join(f"row {n} {n}00" for n in range(6))

    def test_paragraphs_and_lists(self) -> None:
        page = laid_out(
            piece("The first line", 40, 20), piece("and the second.", 40, 34), piece("Another one.", 40, 70),
            piece("- an item", 40, 84),
        )  # fmt: skip
        assert page.text == "The first line\nand the second.\n\nAnother one.\n\n- an item"
        assert [block.kind for block in page.blocks] == [BlockKind.PARAGRAPH, BlockKind.PARAGRAPH, BlockKind.LIST]

    def test_a_broken_word_is_whole_again(self) -> None:
        page = laid_out(piece("Where ducks swim in won-", 40, 20), piece("derful ponds", 40, 34), piece("x-", 40, 48))
        assert page.text == "Where ducks swim in wonderful ponds\nx-"
        assert [said(page, line) for line in page.lines] == ["Where ducks swim in won", "derful ponds", "x-"]


def test_nothing_of_it_is_loaded_without_a_picture(tmp_path: Path) -> None:
    """An idle parser process stays small, also after a PDF that has text."""
    code = (
        "import sys; from pathlib import Path; from datadistiller.parsing.registry import parser_of\n"
        "print(len(list(parser_of('application/pdf').parse(Path(sys.argv[1]), 'application/pdf'))))\n"
        "print(sorted({'PIL', 'cv2', 'numpy', 'onnxruntime', 'rapidocr'} & set(sys.modules)))"
    )
    path = files.sample(tmp_path, formats.PDF)
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    count, loaded = done.stdout.splitlines()
    assert int(count) > 1
    assert loaded == "[]"
