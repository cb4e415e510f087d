"""Which parser reads which media type. Parsers are imported when they are first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache

from datadistiller import errors
from datadistiller.parsing import Parser, formats

#: Gives the parser of a media type; raises ``errors.UnsupportedType``.
Registry = Callable[[str], Parser]

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


@cache
def parser_of(media_type: str) -> Parser:
    """The parser for ``media_type``; ``errors.UnsupportedType`` if there is none."""
    if media_type not in PARSERS:
        raise errors.UnsupportedType(f"There is no parser for {media_type}.")
    module, name = PARSERS[media_type]
    parser: Parser = getattr(importlib.import_module(f"datadistiller.parsing.{module}"), name)()
    return parser
