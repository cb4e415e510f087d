"""The files embedded in a PDF."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pypdfium2

from datadistiller import errors
from datadistiller.parsing import Attachment, limits


def embedded(document: Any) -> Iterator[Attachment]:
    """The files embedded in the document (a ``pypdfium2.PdfDocument``), in its order; not those of annotations."""
    for index in range(min(document.count_attachments(), limits.MAX_MEMBERS)):
        try:
            found = document.get_attachment(index)
            name = found.get_name()
        except (pypdfium2.PdfiumError, UnicodeError):
            problem = errors.DamagedDocument("The embedded file is damaged.").problem()
            yield Attachment(f"attachment-{index + 1}", problem=problem)
        else:
            yield Attachment(name or f"attachment-{index + 1}", _content(found))


def _content(found: Any) -> Iterator[bytes]:
    """pdfium gives it in one piece only."""
    try:
        yield bytes(found.get_data())
    except pypdfium2.PdfiumError as error:
        raise errors.DamagedDocument("The embedded file is damaged.") from error
