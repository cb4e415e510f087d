"""Opens PDF files by pdfium. One that lost its end gets a new one, so that what is still there is found."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from datadistiller import errors
from datadistiller.model import Problem
from datadistiller.parsing import passwords

#: Larger files are not held in memory for this.
_MAX_BYTES = 256 << 20
_CATALOG = re.compile(rb"/Type\s{0,8}/Catalog\b")
_NUMBERS = re.compile(rb"(\d{1,10})\s{1,8}(\d{1,5})\s{1,8}\Z")
#: What tells that a file is encrypted, by how or from where: its lost end would have said with which key.
_LOCKED = re.compile(rb"/Filter\s{0,8}/Standard\b|/Encrypt\b")
_HEAD_BYTES, _CATALOG_BYTES = 40, 1 << 16


def open_pdf(path: Path, password: str | None = None) -> tuple[Any, bool]:
    """The document, and whether it was mended. Raises ``errors.EncryptedDocument``, ``errors.DamagedDocument``."""
    try:
        return pypdfium2.PdfDocument(path, password=password), False
    except pypdfium2.PdfiumError as error:
        refused = _refused(error, password)
    if isinstance(refused, errors.DamagedDocument) and (data := _mended(path)) is not None:
        with contextlib.suppress(pypdfium2.PdfiumError):  # what is wrong with the file itself is said
            return pypdfium2.PdfDocument(data, password=password), True
    raise refused


def _refused(error: pypdfium2.PdfiumError, password: str | None) -> errors.UnreadableDocument:
    if error.err_code == pdfium.FPDF_ERR_PASSWORD:
        return passwords.locked("PDF") if password is None else passwords.refused("PDF")
    if error.err_code == pdfium.FPDF_ERR_SECURITY:
        return passwords.unknown("PDF")
    return errors.DamagedDocument("The file is damaged, or it is not a PDF.")


def _mended(path: Path) -> bytes | None:
    """The file with an end that names its catalog, the object that all pages hang on; None if it has no such object.

    Where the other objects are is not said in it: pdfium looks for them then, in one pass.
    """
    if path.stat().st_size > _MAX_BYTES:
        return None
    data = path.read_bytes()
    if _LOCKED.search(data):
        return None
    for found in reversed([match.start() for match in _CATALOG.finditer(data)]):
        begun = data.rfind(b"obj", max(0, found - _CATALOG_BYTES), found)
        head = _NUMBERS.search(data, max(0, begun - _HEAD_BYTES), max(0, begun))
        if head is not None:
            return data + b"\ntrailer\n<</Root %s %s R>>\nstartxref\n0\n%%%%EOF\n" % head.groups()
    return None


def mended_warning() -> Problem:
    """What a reader should know."""
    return Problem(
        "file_mended",
        "The end of the file is missing or damaged; the pages that are still in it were read.",
        "If pages are missing, fetch the file again from where it came from, and upload that.",
    )
