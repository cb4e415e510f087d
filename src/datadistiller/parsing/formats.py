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
CSV = "text/csv"
TSV = "text/tab-separated-values"
JSON = "application/json"
JSON_LINES = "application/jsonl"
EMAIL = "message/rfc822"
EPUB = "application/epub+zip"


@dataclass(frozen=True, slots=True)
class Format:
    """A type of document. ``extensions`` are lower case with their dot, the usual one first."""

    media_type: str
    name: str
    extensions: tuple[str, ...]
    pages: str  # what a page of it is; empty if it has one page only
    textual: bool  # plain text inside: told apart by extension


FORMATS = (
    Format(TEXT, "plain text", (".txt", ".text", ".log", ".rst", ".org", ".adoc", ".asciidoc", ".tex"), "", True),
    Format(MARKDOWN, "Markdown", (".md", ".markdown", ".mdown"), "", True),
    Format(HTML, "HTML", (".html", ".htm", ".xhtml"), "", True),
    Format(PDF, "PDF", (".pdf",), "page", False),
    Format(DOCX, "Word document", (".docx", ".docm", ".dotx", ".dotm"), "", False),
    Format(PPTX, "PowerPoint presentation", (".pptx", ".pptm", ".ppsx", ".potx"), "slide", False),
    Format(XLSX, "Excel workbook", (".xlsx", ".xlsm", ".xltx"), "sheet", False),
    Format(CSV, "comma-separated table", (".csv",), "", True),
    Format(TSV, "tab-separated table", (".tsv", ".tab"), "", True),
    Format(JSON, "JSON", (".json",), "", True),
    Format(JSON_LINES, "JSON lines", (".jsonl", ".ndjson"), "", True),
    Format(EMAIL, "e-mail message", (".eml", ".mht", ".mhtml"), "", True),
    Format(EPUB, "e-book", (".epub",), "chapter", False),
)

BY_MEDIA_TYPE = {form.media_type: form for form in FORMATS}
BY_EXTENSION = {extension: form for form in FORMATS for extension in form.extensions}


def extensions() -> tuple[str, ...]:
    """Every extension of a readable document, in the order of the table."""
    return tuple(BY_EXTENSION)
