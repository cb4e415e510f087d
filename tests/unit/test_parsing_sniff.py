"""What a file is, told by its content first."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistiller import errors
from datadistiller.parsing import formats
from datadistiller.parsing.sniff import HEAD_BYTES, sniff
from tests.fixtures import files


def head(path: Path) -> bytes:
    """What accept gives to sniff."""
    return path.read_bytes()[:HEAD_BYTES]


@pytest.mark.parametrize("form", [f for f in formats.FORMATS if not f.textual], ids=lambda f: f.name)
@pytest.mark.parametrize("name", ["a.txt", "a", "a.html", "a.PDF", "archive.zip"])
def test_binary_formats_whatever_their_name(tmp_path: Path, form: formats.Format, name: str) -> None:
    assert sniff(head(files.sample(tmp_path, form.media_type)), name) == form.media_type


@pytest.mark.parametrize("form", formats.FORMATS, ids=lambda f: f.name)
def test_every_extension_of_the_table(tmp_path: Path, form: formats.Format) -> None:
    data = head(files.sample(tmp_path, form.media_type))
    for extension in form.extensions:
        assert sniff(data, f"Some.name{extension.upper()}") == form.media_type


@pytest.mark.parametrize(
    ("data", "name", "media_type"),
    [
        (b"<!doctype html><p>x", "a.txt", formats.HTML),
        (b"\xef\xbb\xbf<!-- x -->\n<HTML>", "a.json", formats.HTML),
        ("<!DOCTYPE html>".encode("utf-16"), "page", formats.HTML),
        (b'<?xml version="1.0"?><!DOCTYPE html PUBLIC "x"><html>', "a.xml", formats.HTML),
        (b"<p align=center>fragment", "a.htm", formats.HTML),
        (b"<html>in markdown</html>", "a.md", formats.MARKDOWN),
        (files.EMAIL.encode(), "message.txt", formats.EMAIL),
        (b"From: me\nTo: you\n\nA letter, no message.", "a.txt", formats.TEXT),
        (b'{"a": [1]}', "a", formats.JSON),
        (b'{"a": [1}', "a.txt", formats.TEXT),
        (b"{cur", "a.txt", formats.TEXT),
        (b"BM is how this text begins", "a.txt", formats.TEXT),
        (b"Read %PDF-1.4 specifications", "a.txt", formats.TEXT),
        (b"junk\n%PDF-1.4\n1 0 obj\n", "a.txt", formats.PDF),
        (b"print('x')", "a.py", formats.CODE),
        (b"print('x')", "a.unknown", formats.TEXT),
        (b"a,b\n1,2", "a.csv", formats.CSV),
        (b"{\\rtf1 x}", "a.txt", formats.RTF),
        (b"\r\n{\\rtf1 x}", "a.doc", formats.RTF),
        (b'<?xml version="1.0"?><a/>', "a.txt", formats.XML),
        (b"<!DOCTYPE article><article/>", "a.nxml", formats.XML),
        (b"From a@b Mon Jan  6 10:00:00 2025\nFrom: a", "a.txt", formats.MBOX),
        (b"From a@b Mon Jan  6 10:00:00 2025\nFrom: a", "a.eml", formats.EMAIL),
        (b"From - Mon Jan 06 10:00:00 2025\r\nFrom: a", "a", formats.MBOX),
        (b"From j at b.org  Mon Jan  6 10:00 MET DST 1997\nFrom: a", "a", formats.MBOX),
        (b"From 17@xxx Mon Jan 06 10:00:00 +0000 2025\nFrom: a", "a", formats.MBOX),
        (b"From a@b Mon, 6 Jan 2025 10:00:00 +0100\nFrom: a", "a", formats.MBOX),
        (b"From a@b Mon Jan  6 2025\nFrom: a", "a", formats.MBOX),
        (b"From a@b Sat Jan  3 01:05:34 1996 remote from host\nFrom: a", "a", formats.MBOX),
        (b"From Zero to Hero in 2024\n\nText here.", "a.md", formats.MARKDOWN),
        (b"From Berlin to Paris, 1998\nA diary of a trip.\n\nDay one.", "a.txt", formats.TEXT),
        (b"From date 2019,To\n1,2\n", "a.csv", formats.CSV),
        (b"From 10:30 to 12:45 on 3 May 2019 we met.\n", "a.txt", formats.TEXT),
        (files.OLE + bytes(600), "a.doc", formats.DOC),
        (files.OLE + bytes(600), "a.docx", formats.DOCX),
        (files.OLE + bytes(600) + "Workbook\0".encode("utf-16-le"), "a.bin", formats.XLS),
        (files.OLE + bytes(600) + "Book\0".encode("utf-16-le"), "a.bin", formats.XLS),
        (files.OLE + bytes(600) + "Book\0WordDocument".encode("utf-16-le"), "a.bin", formats.XLS),
        (b"no word document", "a.docx", formats.DOCX),
        (b"digraph G {\n a -> b;\n}\n", "graph.dot", formats.TEXT),
        (b'msgid "Hello"\nmsgstr ""\n', "app.pot", formats.TEXT),
        (b"Name\tAge\nAnn\t3\n", "export.xls", formats.TEXT),
        (b"INSTALLATION NOTES\n\nRun make.\n", "README.doc", formats.TEXT),
        (b"Just text\n", "a.rtf", formats.TEXT),
        (files.EMAIL.encode(), "mail.msg", formats.EMAIL),
        (files.EMAIL.encode(), "page.doc", formats.EMAIL),
        (b"\x00\x01\x02" * 100, "a.pdf", formats.PDF),
        (files.ENCRYPTED_OFFICE, "a.xlsx", formats.XLSX),
        (files.ENCRYPTED_OFFICE, "a", formats.DOCX),
        (b" \n", "a.txt", formats.TEXT),
        ("Größe".encode("cp1252"), "a.txt", formats.TEXT),
        ("Text ohne BOM".encode("utf-16-be"), "a.txt", formats.TEXT),
        ("THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG".encode("cp500"), "a.txt", formats.TEXT),
    ],
)
def test_content_and_name(data: bytes, name: str, media_type: str) -> None:
    assert sniff(data, name) == media_type


@pytest.mark.parametrize(
    ("data", "name", "what"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(9), "a.jpg", "HEIC picture"),
        (b"\0\0\0\x18ftypmp42" + bytes(9), "a.jpg", "a video"),
        (files.OLE + bytes(600), "a.bin", "97-2003"),
        (bytes(5000), "a.txt", "zero bytes"),
        (bytes(range(256)) * 20, "a.txt", "unknown binary"),
    ],
)
def test_refusals_name_what_it_is(data: bytes, name: str, what: str) -> None:
    with pytest.raises(errors.UnsupportedType, match=what):
        sniff(data, name)


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        ({"META-INF/MANIFEST.MF": "x", "A.class": "x"}, "program"),
        ({"mimetype": "application/vnd.oasis.opendocument.graphics", "content.xml": "x"}, "OpenDocument drawing"),
        ({"[Content_Types].xml": "application/vnd.ms-package.3dmanufacturing-3dmodel+xml"}, "in a package"),
    ],
)
def test_other_zip_files(tmp_path: Path, parts: dict[str, str], what: str) -> None:
    path = files.zipped(tmp_path / "a", parts, stored=("mimetype",))
    with pytest.raises(errors.UnsupportedType, match=what):
        sniff(head(path), "a.zip")


def test_an_archive_with_a_folder_of_that_name_is_no_office_file(tmp_path: Path) -> None:
    path = files.zipped(tmp_path / "a", {"a.txt": "x", "word/readme.txt": "x"})
    assert sniff(head(path), "a.zip") == formats.ZIP


def test_which_iwork_document_it_is(tmp_path: Path) -> None:
    """The extension says it, or a slide among the parts, or the type of the root."""
    path = files.zipped(tmp_path / "a", {"Index/Slide.iwa": "x", "preview.jpg": "x"})
    assert [sniff(head(path), f"a{e}") for e in (".numbers", ".zip")] == [formats.NUMBERS, formats.KEYNOTE]
    path = files.zipped(tmp_path / "b", {"Index/Document.iwa": "x", "Data/a.jpg": "x"})
    assert sniff(head(path), "b") == formats.NUMBERS


def test_office_file_whose_type_is_beyond_the_head(tmp_path: Path) -> None:
    """The directory is at the end and the first part is large: the extension says which it is."""
    path = files.zipped(tmp_path / "a", {"docProps/thumbnail.jpeg": bytes(100_000), "word/document.xml": "x"},
                        stored=("docProps/thumbnail.jpeg",))  # fmt: skip
    assert sniff(head(path), "a.docx") == formats.DOCX


def test_nothing() -> None:
    with pytest.raises(errors.EmptyDocument):
        sniff(b"", "a.txt")


@given(st.binary(min_size=1, max_size=400), st.sampled_from(["", *formats.extensions()]))
def test_any_bytes_have_an_answer(data: bytes, extension: str) -> None:
    for start in (b"", b"PK\x03\x04", b"%PDF-1.4 ", files.OLE, b"<?xml "):
        try:
            assert sniff(start + data, f"a{extension}") in formats.BY_MEDIA_TYPE
        except errors.UnsupportedType as error:
            assert "cannot be read" in error.message


def test_the_table_names_each_extension_once() -> None:
    assert len(formats.extensions()) == sum(len(form.extensions) for form in formats.FORMATS)
    assert all(extension == extension.lower() and extension.startswith(".") for extension in formats.extensions())
