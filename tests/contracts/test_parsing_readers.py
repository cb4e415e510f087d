"""Parsers that take another one's place: the same texts, from whole files and from broken ones."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from datadistiller import errors
from datadistiller.model import Page, Problem
from datadistiller.parsing import Header, formats, limits, registry
from datadistiller.parsing.packed import plain_zip
from datadistiller.parsing.pdf.opening import open_pdf
from tests.fixtures import files

DATA = Path(os.environ.get("DATADISTILLER_DATA", "../shared/data")) / "documents"
SECOND = [media_type for media_type in registry.FALLBACKS if media_type != formats.PDF]
PACKED = [formats.DOCX, formats.PPTX, formats.XLSX, formats.ODT, formats.ODS, formats.ODP]


def read(path: Path, media_type: str, reader: int = 1) -> tuple[Header, list[Page], list[Problem]]:
    """What a reader makes of a file."""
    header, *items = registry.parser_of(media_type, reader).parse(path, media_type)
    assert isinstance(header, Header)
    pages = [item for item in items if isinstance(item, Page)]
    assert [page.number for page in pages] == list(range(1, len(pages) + 1)) and len(pages) == header.page_count
    return header, pages, [item for item in items if isinstance(item, Problem)]


def words(pages: list[Page]) -> set[str]:
    """The words on pages, without signs."""
    return {word.strip('.,;:|#*-"') for page in pages for word in page.text.split()}


def test_the_table_is_whole() -> None:
    assert set(registry.FALLBACKS) <= set(registry.PARSERS)
    assert set(registry.FALLBACKS) >= registry.SAME_PAGES
    assert registry.readers(formats.PDF, single_pages=True) == registry.readers(formats.PDF) == 2
    assert registry.readers(formats.DOCX, single_pages=True) == registry.readers(formats.RTF) == 1
    assert registry.readers("image/heic") == 0
    with pytest.raises(errors.UnsupportedType):
        registry.parser_of(formats.RTF, 1)


@pytest.mark.parametrize("media_type", registry.FALLBACKS)
def test_the_same_texts_without_places(tmp_path: Path, media_type: str) -> None:
    path = files.sample(tmp_path, media_type)
    header, pages, _ = read(path, media_type)
    assert header.parser and header.parser != read(path, media_type, 0)[0].parser
    assert not any(page.lines or page.size for page in pages)
    assert all(block.end <= len(page.text) for page in pages for block in page.blocks)
    ours, theirs = words(pages), words(read(path, media_type, 0)[1])
    assert {"Of", "Ducks"} <= ours
    assert len(ours & theirs) >= 0.5 * len(theirs)


@pytest.mark.parametrize("media_type", PACKED)
def test_an_office_file_without_its_end(tmp_path: Path, media_type: str) -> None:
    """The directory is gone: the first reader can do nothing."""
    whole = files.sample(tmp_path, media_type)
    path = tmp_path / "cut"
    path.write_bytes(whole.read_bytes()[: whole.read_bytes().rindex(b"PK\x01\x02")])
    with pytest.raises(errors.DamagedDocument):
        read(path, media_type, 0)
    assert words(read(path, media_type)[1]) == words(read(whole, media_type)[1])


def test_a_part_that_is_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    texts = "".join(f"<w:p><w:r><w:t>duck {n * n}</w:t></w:r></w:p>" for n in range(5_000))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", f"<w:document><w:body>{texts}</w:body></w:document>")
    path.write_bytes(path.read_bytes()[:10_000])
    _, (page,), _ = read(path, formats.DOCX)
    lines = page.text.split("\n\n")
    assert 100 < len(lines) < 5_000
    assert lines[:-1] == [f"duck {n * n}" for n in range(len(lines) - 1)]


def test_nothing_expands_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("word/document.xml", "w") as part:
        for _ in range(0, 2 * limits.RATIO_FREE_BYTES, 1 << 20):
            part.write(b"<" * (1 << 20))
    with pytest.raises(errors.LimitExceeded):
        list(plain_zip.members(path, lambda name: True))


def test_what_is_encrypted_or_no_markup_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.odt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("content.xml", bytes(range(256)) * 10)
    with pytest.raises(errors.DamagedDocument):
        read(path, formats.ODT)


def test_xml_that_breaks_off(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(
        "<?xml version='1.0'?><!DOCTYPE d [<!ENTITY e 'eee'>]><d><p>Of &amp; Ducks &e;</p><q><p>They <b>swim</b></p>"
    )
    with pytest.raises(errors.DamagedDocument):
        read(path, formats.XML, 0)
    _, (page,), _ = read(path, formats.XML)
    assert page.text == "Of & Ducks &e;\n\nThey swim"


class TestPdf:
    """Files that lost their end, and pages that pdfium refuses."""

    def test_a_file_without_its_end_is_mended(self, tmp_path: Path) -> None:
        whole = files.pdf(tmp_path / "whole.pdf")
        path = tmp_path / "cut.pdf"
        path.write_bytes(whole.read_bytes()[: whole.read_bytes().rindex(b"trailer")])
        _, pages, warnings = read(path, formats.PDF, 0)
        assert pages == read(whole, formats.PDF, 0)[1]
        assert [warning.code for warning in warnings] == ["file_mended"]
        assert not read(whole, formats.PDF, 0)[2]

    def test_one_that_may_be_encrypted_is_not(self, tmp_path: Path) -> None:
        whole = files.encrypted_pdf(tmp_path / "whole.pdf").read_bytes()
        path = tmp_path / "cut.pdf"
        path.write_bytes(whole[: whole.rindex(b"startxref")].replace(b"/Root 1 0 R", b""))
        with pytest.raises(errors.UnreadableDocument):
            open_pdf(path)

    def test_one_page_alone(self, tmp_path: Path) -> None:
        path = files.pdf(tmp_path / "a.pdf")
        _, page = registry.parser_of(formats.PDF, 1).parse(path, formats.PDF, 2)
        assert isinstance(page, Page) and (page.number, page.text) == (2, "Geese graze.")

    def test_real_files_that_lost_their_end(self) -> None:
        found = sorted((DATA / "pdf_corrupt").glob("financebench*"))
        if not found:
            pytest.skip(f"the real documents are not at {DATA} (set DATADISTILLER_DATA)")
        smallest = min(found, key=lambda path: path.stat().st_size)
        _, pages, warnings = read(smallest, formats.PDF, 0)
        assert len(pages) == 5 and all(page.text for page in pages)
        assert "file_mended" in {warning.code for warning in warnings}
