"""OpenDocument text: paragraphs, headings, lists, tables, notes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datadistiller.model import BlockKind
from datadistiller.parsing import Header, Item, formats
from datadistiller.parsing.office import odf
from datadistiller.parsing.passwords import Locked


class OdtParser(Locked):
    """Reads OpenDocument text (odt, templates, flat files). It has no pages until it is laid out."""

    name = "odt"
    media_types = (formats.ODT,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """One page. Raises ``errors.EncryptedDocument``, ``DamagedDocument``, ``LimitExceeded``."""
        package = odf.Package(path, "OpenDocument text", self._password)
        try:
            body = odf.Body(package)
            for element in package.children("text"):
                body.add(element)
            body.end()
            for text in package.furniture():
                body.page.add(BlockKind.PARAGRAPH, text)
            yield Header(self.name, formats.ODT, package.title() or body.title, 1)
            yield from package.unread()
            yield body.page.build(1)
        finally:
            package.close()
