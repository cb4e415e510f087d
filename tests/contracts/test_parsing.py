"""The contract of ``parsing.Parser``, run on the parser of every media type."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from datadistiller import errors
from datadistiller.model import BlockKind, Page, Problem
from datadistiller.parsing import Attachment, Header, formats, registry, sniff
from tests.fixtures import files

MEDIA_TYPES = [form.media_type for form in formats.FORMATS]
PAGED = [form.media_type for form in formats.FORMATS if form.pages]
PICTURES = [formats.PNG, formats.JPEG, formats.TIFF, formats.WEBP, formats.BMP, formats.GIF, formats.JP2]
WITHOUT_HEADINGS = [*PICTURES, *formats.ARCHIVES, formats.TEXT, formats.CODE,
                    formats.XLSX, formats.XLS, formats.ODS, formats.CSV, formats.TSV,
                    formats.JSON, formats.JSON_LINES, formats.NUMBERS, formats.SIGNED,
                    formats.XLSB, formats.XPS]  # fmt: skip


def parse(path: Path, media_type: str, first_page: int = 1) -> tuple[Header, list[Page]]:
    """Everything the parser yields, its order checked."""
    header, *items = registry.parser_of(media_type).parse(path, media_type, first_page)
    assert isinstance(header, Header)
    assert all(isinstance(item, Page | Attachment | Problem) for item in items)
    return header, [item for item in items if isinstance(item, Page)]


def well_formed(page: Page) -> bool:
    """True if blocks are in order, apart, and nothing but white space is between them."""
    at = 0
    for block in page.blocks:
        if block.start < at or block.end <= block.start or page.text[at : block.start].strip():
            return False
        at = block.end
    clean = not any(c in "\0\r" or "\ud800" <= c <= "\udfff" for c in page.text)
    return clean and at <= len(page.text) and not page.text[at:].strip()


def test_every_format_has_a_parser_that_says_so() -> None:
    assert set(registry.PARSERS) == set(MEDIA_TYPES)
    for media_type in MEDIA_TYPES:
        assert media_type in registry.parser_of(media_type).media_types
    with pytest.raises(errors.UnsupportedType):
        registry.parser_of("image/heic")


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
class TestParser:
    """What every parser does."""

    def test_reads_the_text_and_says_where_it_stands(self, tmp_path: Path, media_type: str) -> None:
        path = files.sample(tmp_path, media_type)
        assert sniff.sniff(path.read_bytes(), path.name) == media_type
        header, pages = parse(path, media_type)
        assert header.media_type == media_type
        assert header.page_count == len(pages)
        assert [page.number for page in pages] == list(range(1, len(pages) + 1))
        assert all(page.blocks and well_formed(page) and page.problem is None for page in pages)
        words = " ".join(" ".join(page.text.split()) for page in pages)
        assert "Of Ducks" in words
        assert "swim in ponds." in words or media_type == formats.XLSX

    def test_finds_headings(self, tmp_path: Path, media_type: str) -> None:
        _, pages = parse(files.sample(tmp_path, media_type), media_type)
        headings = [pages[0].text[b.start : b.end] for b in pages[0].blocks if b.kind is BlockKind.HEADING]
        levels = [b.level for b in pages[0].blocks if b.kind is BlockKind.HEADING]
        assert headings == ([] if media_type in WITHOUT_HEADINGS else ["Of Ducks"])
        assert all(1 <= level <= 6 for level in levels)

    def test_is_a_function_of_the_file(self, tmp_path: Path, media_type: str) -> None:
        path = files.sample(tmp_path, media_type)
        before = path.read_bytes()
        assert parse(path, media_type) == parse(path, media_type)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]

    def test_starts_at_any_page(self, tmp_path: Path, media_type: str) -> None:
        path = files.sample(tmp_path, media_type)
        header, pages = parse(path, media_type)
        again, rest = parse(path, media_type, first_page=2)
        assert again == header
        if media_type in PAGED:
            assert len(pages) > 1
            assert [page.number for page in rest] == [page.number for page in pages[1:]]
            assert [page.text for page in rest] == [page.text for page in pages[1:]]
        else:
            assert rest == pages

    def test_damage_is_an_error_or_is_read_around(self, tmp_path: Path, media_type: str) -> None:
        """Cut-off and altered files give clean pages or an exception, nothing else."""
        path = files.sample(tmp_path, media_type)
        whole = path.read_bytes()
        chance = random.Random(7)
        for _ in range(4 if media_type in PICTURES else 60):  # text recognition takes its time
            data = bytearray(whole[: chance.choice([len(whole), chance.randrange(len(whole))])])
            for _ in range(chance.randrange(8) if data else 0):
                data[chance.randrange(len(data))] = chance.randrange(256)
            path.write_bytes(data)
            try:
                _, pages = parse(path, media_type)
            except Exception as error:
                assert not isinstance(error, MemoryError)
                continue
            assert all(well_formed(page) for page in pages)

    def test_nothing_is_no_text(self, tmp_path: Path, media_type: str) -> None:
        path = tmp_path / "empty"
        path.write_bytes(b"")
        try:
            _, pages = parse(path, media_type)
        except errors.UnreadableDocument:
            return
        assert [page.text for page in pages] == [""]


@pytest.mark.parametrize("media_type", [f.media_type for f in formats.FORMATS if not f.textual])
def test_another_file_is_damaged(tmp_path: Path, media_type: str) -> None:
    files.sample(tmp_path, media_type)  # skips if it cannot be read here
    path = tmp_path / "other"
    path.write_bytes(b"This is no document of that type, whatever its name says.")
    with pytest.raises(errors.DamagedDocument):
        parse(path, media_type)


@pytest.mark.parametrize("media_type", [formats.DOCX, formats.PPTX, formats.XLSX])
class TestOffice:
    """What Office parsers share."""

    def test_encrypted(self, tmp_path: Path, media_type: str) -> None:
        path = tmp_path / "secret"
        path.write_bytes(files.ENCRYPTED_OFFICE)
        with pytest.raises(errors.EncryptedDocument):
            parse(path, media_type)

    def test_old_office(self, tmp_path: Path, media_type: str) -> None:
        path = tmp_path / "old"
        path.write_bytes(files.OLE + bytes(600))
        with pytest.raises(errors.DamagedDocument, match="97-2003"):
            parse(path, media_type)

    def test_cut_off(self, tmp_path: Path, media_type: str) -> None:
        path = files.sample(tmp_path, media_type)
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(errors.DamagedDocument):
            parse(path, media_type)

    def test_another_office_file(self, tmp_path: Path, media_type: str) -> None:
        path = files.epub(tmp_path / "other")
        with pytest.raises(errors.DamagedDocument):
            parse(path, media_type)


class TestBombs:
    """Files that grow when they are read."""

    def test_expansion(self, tmp_path: Path) -> None:
        path = files.docx(tmp_path / "a.docx", f"<w:p><w:r><w:t>{' ' * 20_000_000}</w:t></w:r></w:p>")
        with pytest.raises(errors.LimitExceeded):
            parse(path, formats.DOCX)

    def test_entities(self, tmp_path: Path) -> None:
        bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]><styles>&b;</styles>'
        path = files.docx(tmp_path / "a.docx", more={"word/styles.xml": bomb})
        with pytest.raises(errors.DamagedDocument, match="entities"):
            parse(path, formats.DOCX)

    def test_entries(self, tmp_path: Path) -> None:
        path = files.docx(tmp_path / "a.docx", more={f"x{i}": "" for i in range(20_001)})
        with pytest.raises(errors.LimitExceeded, match="20,000"):
            parse(path, formats.DOCX)
