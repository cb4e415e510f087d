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
    formats.MARKDOWN: ("markup.markdown", "MarkdownParser"),
    formats.HTML: ("markup.html", "HtmlParser"),
    formats.PDF: ("pdf.parser", "PdfParser"),
    formats.DOCX: ("office.docx", "DocxParser"),
    formats.PPTX: ("office.pptx", "PptxParser"),
    formats.XLSX: ("office.xlsx", "XlsxParser"),
    formats.XLSB: ("office.xlsb", "XlsbParser"),
    formats.XPS: ("office.xps", "XpsParser"),
    formats.CSV: ("csv", "CsvParser"),
    formats.TSV: ("csv", "CsvParser"),
    formats.JSON: ("json", "JsonParser"),
    formats.JSON_LINES: ("json", "JsonParser"),
    formats.EMAIL: ("mail.email", "EmailParser"),
    formats.EPUB: ("markup.epub", "EpubParser"),
    formats.CHM: ("markup.chm", "ChmParser"),
    formats.ODT: ("office.odt", "OdtParser"),
    formats.ODS: ("office.ods", "OdsParser"),
    formats.ODP: ("office.odp", "OdpParser"),
    formats.RTF: ("office.rtf", "RtfParser"),
    formats.MBOX: ("mail.mbox", "MboxParser"),
    formats.DOC: ("office.doc", "DocParser"),
    formats.XLS: ("office.xls", "XlsParser"),
    formats.PPT: ("office.ppt", "PptParser"),
    formats.MSG: ("mail.msg", "MsgParser"),
    formats.XML: ("markup.xml", "XmlParser"),
    formats.PAGES: ("iwork.parser", "IworkParser"),
    formats.NUMBERS: ("iwork.parser", "IworkParser"),
    formats.KEYNOTE: ("iwork.parser", "IworkParser"),
    formats.SIGNED: ("mail.cms", "CmsParser"),
    formats.ZIP: ("packed.zipped", "ZipParser"),
    formats.SEVEN_ZIP: ("packed.archived", "ArchivedParser"),
    formats.RAR: ("packed.archived", "ArchivedParser"),
    formats.TAR: ("packed.tarred", "TarParser"),
    formats.GZIP: ("packed.tarred", "TarParser"),
    formats.BZIP2: ("packed.tarred", "TarParser"),
    formats.XZ: ("packed.tarred", "TarParser"),
    formats.PNG: ("pictures.picture", "PictureParser"),
    formats.JPEG: ("pictures.picture", "PictureParser"),
    formats.TIFF: ("pictures.picture", "PictureParser"),
    formats.WEBP: ("pictures.picture", "PictureParser"),
    formats.BMP: ("pictures.picture", "PictureParser"),
    formats.GIF: ("pictures.picture", "PictureParser"),
    formats.JP2: ("pictures.picture", "PictureParser"),
    formats.CODE: ("text", "CodeParser"),
}


#: Who reads, in this order, what the parser above could not: text alone, no files in it.
FALLBACKS: dict[str, tuple[tuple[str, str], ...]] = {
    formats.PDF: (("pdf.plain", "PlainPdfParser"),),
    formats.DOCX: (("office.plain", "PlainOfficeParser"),),
    formats.PPTX: (("office.plain", "PlainOfficeParser"),),
    formats.XLSX: (("office.plain", "PlainOfficeParser"),),
    formats.ODT: (("office.plain", "PlainOfficeParser"),),
    formats.ODS: (("office.plain", "PlainOfficeParser"),),
    formats.ODP: (("office.plain", "PlainOfficeParser"),),
    formats.HTML: (("markup.plain", "WholePageParser"),),
    formats.XML: (("markup.plain", "PlainXmlParser"),),
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
