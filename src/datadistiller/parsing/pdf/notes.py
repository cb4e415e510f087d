"""What is written on a PDF page rather than in it: values of form fields, and notes."""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import byref, c_ushort, sizeof
from typing import Any, NamedTuple

import pypdfium2.raw as pdfium

from datadistiller.parsing.pdf.words import Box, Frame

#: Annotations of a page that are looked at, and characters of one text.
_MAX_NOTES, _MAX_CHARS, _MAX_BYTES = 1_000, 10_000, 1 << 20
_PASSWORD = 1 << 13
#: Those that only point somewhere, or show what another one says.
_SILENT = (pdfium.FPDF_ANNOT_LINK, pdfium.FPDF_ANNOT_POPUP, pdfium.FPDF_ANNOT_WIDGET)
_BUTTONS = (pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON)


class Note(NamedTuple):
    """A text with the name of its field (empty for a note), and where it is."""

    name: str
    text: str
    box: Box


def read(page: Any, form: Any | None, frame: Frame) -> Iterator[Note]:
    """The fields that are filled in, and the notes, of a page. ``form``: pdfium's handle of the form."""
    for n in range(min(pdfium.FPDFPage_GetAnnotCount(page.raw), _MAX_NOTES)):
        item = pdfium.FPDFPage_GetAnnot(page.raw, n)
        if not item:
            continue
        try:
            name, text = _said(item, form)
            rect = pdfium.FS_RECTF()
            if text and pdfium.FPDFAnnot_GetRect(item, byref(rect)):
                yield Note(name, text, Box(*frame.edges(rect)))
        finally:
            pdfium.FPDFPage_CloseAnnot(item)


def _said(item: Any, form: Any | None) -> tuple[str, str]:
    kind = pdfium.FPDFAnnot_GetSubtype(item)
    if kind == pdfium.FPDF_ANNOT_WIDGET and form is not None:
        return _field(item, form)
    return "", "" if kind in _SILENT else _string(pdfium.FPDFAnnot_GetStringValue, item, b"Contents")


def _field(item: Any, form: Any) -> tuple[str, str]:
    """Name and value of a form field; a box that is ticked has the value "yes", a password none."""
    kind = pdfium.FPDFAnnot_GetFormFieldType(form, item)
    name = _string(pdfium.FPDFAnnot_GetFormFieldAlternateName, form, item) or _string(
        pdfium.FPDFAnnot_GetFormFieldName, form, item
    )
    if kind in _BUTTONS:
        return name, "yes" if pdfium.FPDFAnnot_IsChecked(form, item) else ""
    secret = pdfium.FPDFAnnot_GetFormFieldFlags(form, item) & _PASSWORD
    return name, "" if secret else _string(pdfium.FPDFAnnot_GetFormFieldValue, form, item)


def _string(call: Any, *of: Any) -> str:
    """What one of pdfium's functions writes as UTF-16, cut to a bound; nothing of what is beyond all bounds."""
    size = call(*of, None, 0)
    if not 2 < size <= _MAX_BYTES:
        return ""
    buffer = (c_ushort * (size // sizeof(c_ushort)))()
    call(*of, buffer, size)
    return " ".join(bytes(buffer).decode("utf-16-le", "replace").rstrip("\0").split())[:_MAX_CHARS]
