"""Which parser reads which media type. Parsers are imported when they are first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache

from datadistiller import errors
from datadistiller.parsing import Parser, formats

#: Gives the parser of a media type, and by its number (from 1) one that takes its place when it fails; raises
#: ``errors.UnsupportedType``.
Registry = Callable[[str, int], Parser]

#: Media type -> module of this package and class in it.
PARSERS = {
    formats.TEXT: ("text", "TextParser"),
    formats.MARKDOWN: ("markdown", "MarkdownParser"),
    formats.HTML: ("html", "HtmlParser"),
    formats.PDF: ("pdf", "PdfParser"),
    formats.DOCX: ("docx", "DocxParser"),
    formats.PPTX: ("pptx", "PptxParser"),
    formats.XLSX: ("xlsx", "XlsxParser"),
    formats.XLSB: ("xlsb", "XlsbParser"),
    formats.XPS: ("xps", "XpsParser"),
    formats.CSV: ("csv", "CsvParser"),
    formats.TSV: ("csv", "CsvParser"),
    formats.JSON: ("json", "JsonParser"),
    formats.JSON_LINES: ("json", "JsonParser"),
    formats.EMAIL: ("email", "EmailParser"),
    formats.EPUB: ("epub", "EpubParser"),
    formats.CHM: ("chm", "ChmParser"),
    formats.ODT: ("odt", "OdtParser"),
    formats.ODS: ("ods", "OdsParser"),
    formats.ODP: ("odp", "OdpParser"),
    formats.RTF: ("rtf", "RtfParser"),
    formats.MBOX: ("mbox", "MboxParser"),
    formats.DOC: ("doc", "DocParser"),
    formats.XLS: ("xls", "XlsParser"),
    formats.PPT: ("ppt", "PptParser"),
    formats.MSG: ("msg", "MsgParser"),
    formats.XML: ("xml", "XmlParser"),
    formats.PAGES: ("iwork", "IworkParser"),
    formats.NUMBERS: ("iwork", "IworkParser"),
    formats.KEYNOTE: ("iwork", "IworkParser"),
    formats.SIGNED: ("cms", "CmsParser"),
    formats.ZIP: ("zipped", "ZipParser"),
    formats.SEVEN_ZIP: ("archived", "ArchivedParser"),
    formats.RAR: ("archived", "ArchivedParser"),
    formats.TAR: ("tarred", "TarParser"),
    formats.GZIP: ("tarred", "TarParser"),
    formats.BZIP2: ("tarred", "TarParser"),
    formats.XZ: ("tarred", "TarParser"),
    formats.PNG: ("picture", "PictureParser"),
    formats.JPEG: ("picture", "PictureParser"),
    formats.TIFF: ("picture", "PictureParser"),
    formats.WEBP: ("picture", "PictureParser"),
    formats.BMP: ("picture", "PictureParser"),
    formats.GIF: ("picture", "PictureParser"),
    formats.JP2: ("picture", "PictureParser"),
    formats.CODE: ("text", "CodeParser"),
}


#: Who reads, in this order, what the parser above could not: text alone, no files in it.
FALLBACKS: dict[str, tuple[tuple[str, str], ...]] = {
    formats.PDF: (("plain_pdf", "PlainPdfParser"),),
    formats.DOCX: (("plain_office", "PlainOfficeParser"),),
    formats.PPTX: (("plain_office", "PlainOfficeParser"),),
    formats.XLSX: (("plain_office", "PlainOfficeParser"),),
    formats.ODT: (("plain_office", "PlainOfficeParser"),),
    formats.ODS: (("plain_office", "PlainOfficeParser"),),
    formats.ODP: (("plain_office", "PlainOfficeParser"),),
    formats.HTML: (("plain_markup", "WholePageParser"),),
    formats.XML: (("plain_markup", "PlainXmlParser"),),
    formats.MARKDOWN: (("text", "TextParser"),),
    formats.JSON: (("text", "TextParser"),),
}

#: The media types whose pages are counted alike by all their parsers: single ones can be read by another one.
SAME_PAGES = frozenset((formats.PDF,))


def readers(media_type: str, single_pages: bool = False) -> int:
    """How many parsers there are for ``media_type``; with ``single_pages`` of those that can read some of its pages."""
    fallbacks = FALLBACKS.get(media_type, ()) if media_type in SAME_PAGES or not single_pages else ()
    return (media_type in PARSERS) + len(fallbacks)


@cache
def parser_of(media_type: str, reader: int = 0) -> Parser:
    """The parser for ``media_type``, or the ``reader``-th that takes its place; ``errors.UnsupportedType`` if there is
    none."""
    if not 0 <= reader < readers(media_type):
        raise errors.UnsupportedType(f"There is no parser for {media_type}.")
    module, name = (PARSERS[media_type], *FALLBACKS.get(media_type, ()))[reader]
    parser: Parser = getattr(importlib.import_module(f"datadistiller.parsing.{module}"), name)()
    return parser
