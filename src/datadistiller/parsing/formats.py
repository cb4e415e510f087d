"""The types of documents that can be read: one table for sniffing, parsers, the command line and the docs."""

from __future__ import annotations

from dataclasses import dataclass

TEXT = "text/plain"
MARKDOWN = "text/markdown"
HTML = "text/html"
PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
XLSB = "application/vnd.ms-excel.sheet.binary.macroenabled.12"
XPS = "application/oxps"
CSV = "text/csv"
TSV = "text/tab-separated-values"
JSON = "application/json"
JSON_LINES = "application/jsonl"
EMAIL = "message/rfc822"
EPUB = "application/epub+zip"
CHM = "application/vnd.ms-htmlhelp"
ODT = "application/vnd.oasis.opendocument.text"
ODS = "application/vnd.oasis.opendocument.spreadsheet"
ODP = "application/vnd.oasis.opendocument.presentation"
RTF = "application/rtf"
MBOX = "application/mbox"
DOC = "application/msword"
XLS = "application/vnd.ms-excel"
PPT = "application/vnd.ms-powerpoint"
MSG = "application/vnd.ms-outlook"
XML = "application/xml"
PAGES = "application/vnd.apple.pages"
NUMBERS = "application/vnd.apple.numbers"
KEYNOTE = "application/vnd.apple.keynote"
SIGNED = "application/pkcs7-mime"
ZIP = "application/zip"
SEVEN_ZIP = "application/x-7z-compressed"
RAR = "application/vnd.rar"
TAR = "application/x-tar"
GZIP = "application/gzip"
BZIP2 = "application/x-bzip2"
XZ = "application/x-xz"
CODE = "text/x-source"
PNG = "image/png"
JPEG = "image/jpeg"
TIFF = "image/tiff"
WEBP = "image/webp"
BMP = "image/bmp"
GIF = "image/gif"
JP2 = "image/jp2"

#: Text that is read as it is, and that nothing lies in.
PLAIN = (TEXT, MARKDOWN)

#: What only packs other files.
ARCHIVES = (ZIP, SEVEN_ZIP, RAR, TAR, GZIP, BZIP2, XZ)


@dataclass(frozen=True, slots=True)
class Format:
    """A type of document. ``extensions`` are lower case with their dot, the usual one first."""

    media_type: str
    name: str
    extensions: tuple[str, ...]
    pages: str  # what a page of it is; empty if it has one page only
    textual: bool  # plain text inside: told apart by extension
    read: str  # what is extracted, for the guide
    left_out: str  # what is not
    inside: str = ""  # the container it comes in, which has limits of its own


#: Extensions of source code, by language: those that mean nothing else.
_CODE = (
    ".py", ".pyi", ".js", ".mjs", ".cjs", ".jsx", ".tsx", ".java", ".kt", ".scala", ".go", ".rs", ".c", ".h", ".cc",
    ".cpp", ".cxx", ".hpp", ".cs", ".swift", ".rb", ".php", ".pl", ".lua", ".r", ".jl", ".hs", ".ml", ".ex", ".erl",
    ".clj", ".sh", ".bash", ".ps1", ".bat", ".sql", ".css", ".scss", ".yaml", ".yml", ".toml",
    ".proto", ".graphql", ".vue",
)  # fmt: skip

_ON_PICTURES = "the text on it, by OCR, in lines and paragraphs"
_NOT_ON_PICTURES = "what the picture shows, most handwriting, headings and tables as such"

_BY_LIBARCHIVE = "where libarchive is installed the list of its files; each as a document of its own"
_NOT_BY_LIBARCHIVE = "encrypted files, links"

FORMATS = (
    Format(
        TEXT, "plain text",
        (".txt", ".text", ".log", ".rst", ".org", ".adoc", ".asciidoc", ".tex", ".vtt", ".srt"), "", True,
        "paragraphs, in any common encoding", "marks of rst, org, AsciiDoc and TeX stay as they are",
    ),
    Format(
        MARKDOWN, "Markdown", (".md", ".markdown", ".mdown"), "", True,
        "headings, paragraphs, lists, tables, code, the title of the front matter", "addresses of links and pictures",
    ),
    Format(
        HTML, "HTML", (".html", ".htm", ".xhtml"), "", True,
        "headings, paragraphs, lists, tables, preformatted text",
        "what is around an article; scripts, styles, comments, `nav`, `footer`, forms",
    ),
    Format(
        PDF, "PDF", (".pdf",), "page", False,
        "text in reading order, headings by size and bookmarks, lists, tables, form fields, notes; "
        "pages that are pictures by OCR; embedded files as documents of their own",
        "text in pictures beside text, running headers and footers, scripts",
    ),
    Format(
        DOCX, "Word document", (".docx", ".docm", ".dotx", ".dotm"), "", False,
        "headings, paragraphs, lists, tables, text boxes, charts' words, notes, comments, headers and footers",
        "deleted text, macros, pictures, embedded files",
        "ZIP",
    ),
    Format(
        PPTX, "PowerPoint presentation", (".pptx", ".pptm", ".ppsx", ".potx"), "slide", False,
        "titles, texts, tables, charts' words, notes, comments", "slide numbers and dates, pictures, embedded files",
        "ZIP",
    ),
    Format(
        XLSX, "Excel workbook", (".xlsx", ".xlsm", ".xltx"), "sheet", False,
        "values with their header, dates, text boxes, charts' words, comments", "formulas, macros, pictures",
        "ZIP",
    ),
    Format(
        XLSB, "binary Excel workbook", (".xlsb",), "sheet", False,
        "values with their header, dates", "percents as such, formulas, macros, text boxes, charts, comments, pictures",
        "ZIP",
    ),
    Format(
        XPS, "XPS document", (".xps", ".oxps"), "page", False,
        "text in lines and paragraphs, columns one after the other", "headings and tables as such, pictures, notes",
        "ZIP",
    ),
    Format(CSV, "comma-separated table", (".csv",), "", True, "rows with their header", ""),
    Format(TSV, "tab-separated table", (".tsv", ".tab"), "", True, "rows with their header", ""),
    Format(JSON, "JSON", (".json",), "", True, "each value with the path that leads to it", ""),
    Format(JSON_LINES, "JSON lines", (".jsonl", ".ndjson"), "", True, "each value with the path to it", ""),
    Format(
        EMAIL, "e-mail message", (".eml", ".mht", ".mhtml"), "", True,
        "subject, sender, receivers, date, body, attached messages; attachments as documents of their own",
        "pictures that the body shows, and tiny ones",
    ),
    Format(
        EPUB, "e-book", (".epub",), "chapter", False,
        "headings, paragraphs, lists, tables", "pictures, books with copy protection",
        "ZIP",
    ),
    Format(
        CHM, "compiled help file", (".chm",), "topic", False,
        "headings, paragraphs, lists, tables, preformatted text of every topic, in the order of their file names",
        "table of contents, index, scripts, pictures",
    ),
    Format(
        ODT, "OpenDocument text", (".odt", ".ott", ".fodt"), "", False,
        "headings, paragraphs, lists, tables, text boxes, notes, comments, headers and footers",
        "deleted text, macros, pictures, embedded objects",
        "ZIP",
    ),
    Format(
        ODS, "OpenDocument spreadsheet", (".ods", ".ots", ".fods"), "sheet", False,
        "what the cells show with their header (repeated rows once), text boxes, comments",
        "formulas, macros, charts, pictures",
        "ZIP",
    ),
    Format(
        ODP, "OpenDocument presentation", (".odp", ".otp", ".fodp"), "slide", False,
        "titles, texts, lists, tables, notes", "slide numbers, dates and footers, pictures, embedded objects",
        "ZIP",
    ),
    Format(
        RTF, "RTF document", (".rtf",), "", False,
        "headings, paragraphs, lists, tables, footnotes, comments, headers and footers",
        "hidden and deleted text, field codes, pictures, embedded objects, addresses of links",
    ),
    Format(
        MBOX, "mailbox", (".mbox",), "message", True,
        "every message as an e-mail message is, and what stands before the first",
        "pictures that the body shows, and tiny ones; encrypted messages fail alone",
    ),
    Format(
        DOC, "Word 97-2003 document", (".doc", ".dot"), "", False,
        "headings, paragraphs, lists, tables, text boxes, notes, comments, headers and footers; of Word 6 and 95 text",
        "pictures, embedded files, macros; deleted and hidden text is not told from the rest",
        "OLE",
    ),
    Format(
        XLS, "Excel 97-2003 workbook", (".xls", ".xlt"), "sheet", False,
        "values with their header, dates, comments", "formulas, macros, charts, text boxes, pictures",
        "OLE",
    ),
    Format(
        PPT, "PowerPoint 97-2003 presentation", (".ppt", ".pps", ".pot"), "slide", False,
        "titles, texts, notes, comments", "tables as such, charts, slide numbers, pictures, embedded files",
        "OLE",
    ),
    Format(
        MSG, "Outlook message", (".msg",), "", False,
        "subject, sender, receivers, date, body, attached messages; attachments as documents of their own",
        "pictures that the body shows, and tiny ones; encrypted messages",
        "OLE",
    ),
    Format(
        PAGES, "Pages document", (".pages",), "", False,
        "headings by the English names of their styles, paragraphs, tables, text boxes, footnotes, headers and footers",
        "lists as such, charts, comments, pictures; of those before 2013 headings",
        "ZIP",
    ),
    Format(
        NUMBERS, "Numbers spreadsheet", (".numbers",), "sheet", False,
        "tables with their header, dates, text boxes", "formulas, charts, comments, pictures",
        "ZIP",
    ),
    Format(
        KEYNOTE, "Keynote presentation", (".key",), "slide", False,
        "titles, texts, tables, notes", "slide numbers, charts, comments, pictures",
        "ZIP",
    ),
    Format(
        XML, "XML", (".xml", ".nxml", ".rss", ".atom"), "", True,
        "texts, headings and tables by the shape of the elements, data as `element: value`",
        "most attributes, what a document type defines elsewhere, embedded binary data",
    ),
    Format(PNG, "PNG picture", (".png",), "", False, _ON_PICTURES, _NOT_ON_PICTURES),
    Format(JPEG, "JPEG picture", (".jpg", ".jpeg", ".jpe", ".jfif"), "", False, _ON_PICTURES, _NOT_ON_PICTURES),
    Format(TIFF, "TIFF picture", (".tif", ".tiff"), "page", False, _ON_PICTURES, _NOT_ON_PICTURES),
    Format(WEBP, "WebP picture", (".webp",), "", False, _ON_PICTURES, _NOT_ON_PICTURES),
    Format(BMP, "BMP picture", (".bmp", ".dib"), "", False, _ON_PICTURES, _NOT_ON_PICTURES),
    Format(GIF, "GIF picture", (".gif",), "", False, _ON_PICTURES, f"{_NOT_ON_PICTURES}, later frames"),
    Format(
        SIGNED, "signed file", (".p7m",), "", False,
        "the file that was signed as a document of its own", "signatures, which are not checked; encrypted files",
    ),
    Format(JP2, "JPEG 2000 picture", (".jp2", ".j2k", ".jpx", ".jpf"), "", False, _ON_PICTURES, _NOT_ON_PICTURES),
    Format(
        ZIP, "ZIP archive", (".zip",), "", False,
        "the list of its files; each as a document of its own", "links, encrypted files without their password",
    ),
    Format(
        SEVEN_ZIP, "7-Zip archive", (".7z",), "", False, _BY_LIBARCHIVE, _NOT_BY_LIBARCHIVE,
    ),
    Format(
        RAR, "RAR archive", (".rar",), "", False, _BY_LIBARCHIVE, f"{_NOT_BY_LIBARCHIVE}; further volumes",
    ),
    Format(
        TAR, "TAR archive", (".tar",), "", False,
        "the list of its files; each as a document of its own", "links and devices",
    ),
    Format(
        GZIP, "gzip file", (".gz", ".tgz"), "", False,
        "the file in it as a document of its own; of a TAR archive as that says", "what stands behind damage",
    ),
    Format(
        BZIP2, "bzip2 file", (".bz2", ".tbz2"), "", False,
        "the file in it as a document of its own; of a TAR archive as that says", "what stands behind damage",
    ),
    Format(
        XZ, "xz file", (".xz", ".txz"), "", False,
        "the file in it as a document of its own; of a TAR archive as that says", "what stands behind damage",
    ),
    Format(CODE, "source code", _CODE, "", True, "the text as it is", "structure of the language"),
)  # fmt: skip

BY_MEDIA_TYPE = {form.media_type: form for form in FORMATS}
BY_EXTENSION = {extension: form for form in FORMATS for extension in form.extensions}


def extensions() -> tuple[str, ...]:
    """Every extension of a readable document, in the order of the table."""
    return tuple(BY_EXTENSION)
