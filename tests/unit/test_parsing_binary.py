"""PDF, Office files, e-mail and e-books: what the contract suite does not ask of every parser."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from datadistiller import errors
from datadistiller.model import Page
from datadistiller.parsing import Header, formats, registry
from tests.fixtures import files

#: What every parser makes of the sample document, in whatever format it is.
OF_DUCKS = [
    ("heading", 1, "Of Ducks"),
    ("paragraph", 0, "Ducks swim in ponds."),
    ("list", 0, "- mallard"),
    ("table", 0, "Kind | Weight\nKind: Teal; Weight: 300 g"),
]


def parse(path: Path, media_type: str) -> tuple[Header, list[Page]]:
    """Everything the parser yields."""
    header, *pages = registry.parser_of(media_type).parse(path, media_type)
    assert isinstance(header, Header)
    return header, [page for page in pages if isinstance(page, Page)]


def blocks_of(page: Page) -> list[tuple[str, int, str]]:
    """(kind, level, text) of each block."""
    return [(block.kind.value, block.level, page.text[block.start : block.end]) for block in page.blocks]


class TestPdf:
    """Layout, passwords, scans."""

    def test_paragraphs_and_headings(self, tmp_path: Path) -> None:
        lines = [(24, "Big"), (12, "First line of a text that is"), (12, "longer than one line."), (15, "Medium"),
                 (12, "Second text."), (12, "- item")]  # fmt: skip
        _, pages = parse(files.pdf(tmp_path / "a.pdf", [lines]), formats.PDF)
        assert blocks_of(pages[0]) == [
            ("heading", 1, "Big"),
            ("paragraph", 0, "First line of a text that is\nlonger than one line."),
            ("heading", 3, "Medium"),
            ("paragraph", 0, "Second text."),
            ("list", 0, "- item"),
        ]

    def test_encrypted(self, tmp_path: Path) -> None:
        with pytest.raises(errors.EncryptedDocument):
            parse(files.encrypted_pdf(tmp_path / "a.pdf"), formats.PDF)

    def test_scan(self, tmp_path: Path) -> None:
        _, pages = parse(files.pdf(tmp_path / "a.pdf", [[], []]), formats.PDF)
        assert [page.text for page in pages] == ["", ""]

    @pytest.mark.parametrize(
        ("said", "title"), [("Of Ducks", "Of Ducks"), ("Microsoft Word - a.doc", ""), ("0001-23", ""), ("x.pdf", "")]
    )
    def test_titles_that_say_nothing(self, tmp_path: Path, said: str, title: str) -> None:
        path = files.pdf(tmp_path / "a.pdf", title=said)
        assert parse(path, formats.PDF)[0].title == title


class TestOffice:
    """Word, PowerPoint, Excel."""

    def test_word(self, tmp_path: Path) -> None:
        header, pages = parse(files.docx(tmp_path / "a.docx"), formats.DOCX)
        assert header.title == "Of Ducks"
        assert blocks_of(pages[0]) == OF_DUCKS

    def test_text_boxes_count_once(self, tmp_path: Path) -> None:
        box = "<w:txbxContent><w:p><w:r><w:t>boxed</w:t></w:r></w:p></w:txbxContent>"
        body = (
            "<w:p><w:r><w:t>before</w:t></w:r><w:r><AlternateContent><Choice><w:drawing>"
            f"{box}</w:drawing></Choice><Fallback>{box}</Fallback></AlternateContent></w:r></w:p>"
        )
        _, pages = parse(files.docx(tmp_path / "a.docx", body), formats.DOCX)
        assert pages[0].text == "before\n\nboxed"

    def test_slides_are_in_the_order_shown(self, tmp_path: Path) -> None:
        _, pages = parse(files.pptx(tmp_path / "a.pptx"), formats.PPTX)
        assert [page.text for page in pages] == [
            "Of Ducks\n\nDucks swim in ponds.",
            "Of Geese\n\nGeese graze.\n\nNotes: Speak slowly.",
        ]
        assert [(page.number, page.label) for page in pages] == [(1, ""), (2, "")]

    def test_slides_are_called_by_the_number_on_them(self, tmp_path: Path) -> None:
        _, pages = parse(files.pptx(tmp_path / "a.pptx", first=0), formats.PPTX)
        assert [(page.number, page.label) for page in pages] == [(1, "0"), (2, "1")]

    def test_a_missing_slide_costs_that_slide(self, tmp_path: Path) -> None:
        path = files.pptx(tmp_path / "a.pptx")
        path.write_bytes(path.read_bytes().replace(b"slides/slide9.xml", b"slides/slide8.xml"))
        _, pages = parse(path, formats.PPTX)
        assert [page.problem.code if page.problem else "" for page in pages] == ["damaged", ""]

    def test_sheets(self, tmp_path: Path) -> None:
        _, pages = parse(files.xlsx(tmp_path / "a.xlsx"), formats.XLSX)
        assert [(page.label, page.text) for page in pages] == [
            ("Ponds", "Of Ducks\n\nKind | Seen\nKind: Teal; Seen: 2023-03-15\nKind: Weight; Seen: 0.3"),
            ("Lakes", "TRUE"),
        ]

    @pytest.mark.parametrize(
        ("cell", "seen"),
        [
            ('<c s="1"><v>45000.5</v></c>', "2023-03-15 12:00:00"),
            ('<c s="1"><v>0.25</v></c>', "06:00:00"),
            ('<c s="1"><v>-1</v></c>', "-1"),
            ('<c s="2"><v>0.125</v></c>', "12.5%"),
            ("<c><v>1e400</v></c>", "1e400"),
            ('<c t="s"><v>77</v></c><c><v>1</v></c>', "1"),
            ('<c t="e"><v>#REF!</v></c>', "#REF!"),
        ],
    )
    def test_values(self, tmp_path: Path, cell: str, seen: str) -> None:
        _, pages = parse(files.xlsx(tmp_path / "a.xlsx", f"<row>{cell}</row>"), formats.XLSX)
        assert pages[0].text == seen

    def test_cells_far_away_cost_nothing(self, tmp_path: Path) -> None:
        rows = (
            '<row r="1"><c r="XFD1"><v>1</v></c></row><row r="1048576"><c r="A1048576"><v>2</v></c></row>'
            '<row r="1048577"><c r="ZZZ1"><v>3</v></c><c r="?"><v>4</v></c></row>'
        )
        _, pages = parse(files.xlsx(tmp_path / "a.xlsx", rows), formats.XLSX)
        assert pages[0].text == "1\n\n2\n4"


class TestMail:
    """Messages."""

    def test_parts(self, tmp_path: Path) -> None:
        header, pages = parse(files.sample(tmp_path, formats.EMAIL), formats.EMAIL)
        assert header.title == "Of Ducks"
        assert blocks_of(pages[0]) == [
            ("heading", 1, "Of Ducks"),
            ("paragraph", 0, "From: Jürgen <j@example.com>\nTo: Ada <ada@example.com>\n"
                             "Date: Mon, 6 Jan 2025 10:00:00 +0000"),
            ("paragraph", 0, "Ducks swim in ponds. Café."),
            ("paragraph", 0, "Attachment: ducks.pdf"),
        ]  # fmt: skip

    def test_saved_as_utf_16(self, tmp_path: Path) -> None:
        path = tmp_path / "a.eml"
        path.write_bytes("From: a@b.c\nSubject: Enten\n\nEnten schwimmen.\n".encode("utf-16"))
        assert parse(path, formats.EMAIL)[1][0].text == "Enten\n\nFrom: a@b.c\n\nEnten schwimmen."

    def test_encrypted(self, tmp_path: Path) -> None:
        path = tmp_path / "a.eml"
        path.write_text("From: a@b.c\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data\n\nAAAA\n")
        with pytest.raises(errors.EncryptedDocument):
            parse(path, formats.EMAIL)

    def test_a_message_in_a_message(self, tmp_path: Path) -> None:
        path = tmp_path / "a.eml"
        path.write_text("From: a@b.c\nSubject: Outer\nContent-Type: message/rfc822\n\nSubject: Inner\n\nText\n")
        levels = [(level, said) for kind, level, said in blocks_of(parse(path, formats.EMAIL)[1][0]) if level]
        assert levels == [(1, "Outer"), (2, "Inner")]


class TestBook:
    """E-books."""

    def test_chapters_are_in_reading_order(self, tmp_path: Path) -> None:
        header, pages = parse(files.epub(tmp_path / "a.epub"), formats.EPUB)
        assert header.title == "Of Ducks"
        assert [page.text for page in pages] == ["Of Ducks\n\nDucks swim in ponds.", "Of Geese\n\nGeese graze."]

    @pytest.mark.parametrize(
        ("method", "protected"), [("http://www.idpf.org/2008/embedding", False), ("http://x/aes128-cbc", True)]
    )
    def test_copy_protection(self, tmp_path: Path, method: str, protected: bool) -> None:
        path = files.epub(tmp_path / "a.epub")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(
                "META-INF/encryption.xml",
                f'<encryption><EncryptedData><EncryptionMethod Algorithm="{method}"/></EncryptedData></encryption>',
            )
        if protected:
            with pytest.raises(errors.EncryptedDocument):
                parse(path, formats.EPUB)
        else:
            assert len(parse(path, formats.EPUB)[1]) == 2
