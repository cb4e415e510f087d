"""ZIP containers (Office, OpenDocument, EPUB), read within limits, and the XML in them, read without entities."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.parsers import expat

from datadistiller import errors
from datadistiller.model import Problem
from datadistiller.parsing import limits, passwords

Element = ElementTree.Element

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")
_PIECE = 1 << 16
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".emf", ".wmf", ".webp")

_PREVIEWS = ("thumbnail", "thumbs/", "preview")  # what pages look like, not what is on them


def local(element: Element) -> str:
    """The element's name without its namespace: strict and transitional files differ only in that."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def attribute(element: Element, name: str) -> str | None:
    """An attribute by its name without namespace."""
    value = element.get(name)
    if value is not None:
        return value
    return next((v for k, v in element.items() if k.endswith("}" + name)), None)


class Archive:
    """A ZIP file of hostile origin. Names are matched as written, then without regard to case."""

    def __init__(self, path: Path | IO[bytes], what: str, password: str | None = None) -> None:
        self._what = what
        self._zip = _open(path, what, password)
        entries = self._zip.infolist()
        if len(entries) > limits.MAX_ENTRIES:
            raise errors.LimitExceeded(f"The {what} has more than {limits.MAX_ENTRIES:,} parts.")
        self._entries = {entry.filename.replace("\\", "/").lstrip("/"): entry for entry in entries}
        self._folded = {name.lower(): entry for name, entry in self._entries.items()}
        self._expanded: dict[str, int] = {}  # of the parts opened so far, bytes

    def close(self) -> None:
        """Closes the file."""
        self._zip.close()

    def names(self) -> list[str]:
        """The parts, in the order of the directory."""
        return list(self._entries)

    def packed_by(self, method: int) -> bool:
        """True if a part is packed by this method, a number of the format."""
        return any(entry.compress_type == method for entry in self._entries.values())

    def unread(self) -> Iterator[Problem]:
        """Says what an Office or OpenDocument file carries besides its text: nobody reads it."""
        names = [name for name in self._folded if not any(mark in name for mark in _PREVIEWS)]
        if pictures := sum(name.endswith(_PICTURES) for name in names):
            hint = "If words in them matter, save the document as PDF and upload that."
            yield Problem("pictures_not_read", f"Pictures whose text is not read: {pictures}.", hint)
        if embedded := sum("/embeddings/" in name for name in names):
            hint = "Save those that matter and upload them."
            yield Problem("embedded_not_read", f"Embedded files that are not read: {embedded}.", hint)

    def check(self) -> None:
        """Counts all parts as read, for a library that opens the file by itself. Raises as ``open`` does."""
        for entry in self._entries.values():
            self._charge(entry)

    def has(self, name: str) -> bool:
        """True if there is such a part."""
        return self._find(name) is not None

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A part as a stream. Raises ``errors.DamagedDocument`` if there is none, ``LimitExceeded``."""
        entry = self._find(name)
        if entry is None:
            raise errors.DamagedDocument(f"The {self._what} lacks a part that it needs; it is damaged.")
        self._charge(entry)
        try:
            with self._zip.open(entry) as stream:
                yield stream
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise errors.DamagedDocument(f"The {self._what} is damaged.") from error

    def read(self, name: str) -> bytes:
        """A part as bytes; errors as ``open``."""
        with self.open(name) as stream:
            return stream.read()

    def xml(self, name: str) -> Element | None:
        """The root of a part that is XML; None if there is no such part. Raises ``errors.DamagedDocument``."""
        if not self.has(name):
            return None
        root = None
        for _, element in self.elements(name):
            root = element if root is None else root
        return root

    def elements(self, name: str) -> Iterator[tuple[str, Element]]:
        """("start" or "end", element) of a part that is XML, in order; the caller clears what it has used."""
        return xml_elements(lambda: self.open(name), self._what)

    def relations(self, name: str) -> dict[str, tuple[str, str]]:
        """Of a part: relation id -> (last word of the type, part it points to); external ones are left out."""
        folder, base = posixpath.split(name)
        root = self.xml(posixpath.join(folder, "_rels", base + ".rels"))
        found = {}
        for relation in root if root is not None else ():
            target = unquote(relation.get("Target") or "")
            if relation.get("TargetMode") != "External":
                whole = target.lstrip("/") if target.startswith("/") else posixpath.join(folder, target)
                kind = (relation.get("Type") or "").rpartition("/")[2]
                found[relation.get("Id") or ""] = (kind, posixpath.normpath(whole))
        return found

    def related(self, name: str, kind: str) -> list[str]:
        """The parts that ``name`` points to with relations of one kind."""
        return [target for found, target in self.relations(name).values() if found == kind and self.has(target)]

    def _find(self, name: str) -> zipfile.ZipInfo | None:
        return self._entries.get(name) or self._folded.get(name.lower())

    def _charge(self, entry: zipfile.ZipInfo) -> None:
        """Counts what is about to be expanded; zipfile never gives more than the declared size."""
        if entry.flag_bits & 1:
            raise errors.EncryptedDocument(f"The {self._what} is protected by a password.")
        ratio = entry.file_size / max(1, entry.compress_size)
        self._expanded[entry.filename] = entry.file_size
        if sum(self._expanded.values()) > limits.MAX_EXPANDED_BYTES or (
            entry.file_size > limits.RATIO_FREE_BYTES and ratio > limits.MAX_RATIO
        ):
            raise errors.LimitExceeded(
                f"The {self._what} expands to more than it may: {limits.MAX_EXPANDED_BYTES >> 20:,} MiB in all, or "
                f"{limits.MAX_RATIO} times its size in one part.",
                hint="Save it again in its own program, or split it.",
            )


def xml_elements(opening: Callable[[], AbstractContextManager[IO[bytes]]], what: str) -> Iterator[tuple[str, Element]]:
    """("start" or "end", element) of the XML that ``opening`` gives; raises ``errors.DamagedDocument``."""
    with opening() as stream:
        _refuse_entities(stream, what)
    try:
        with opening() as stream:
            yield from ElementTree.iterparse(stream, ("start", "end"))
    except ElementTree.ParseError as error:
        raise errors.DamagedDocument(f"The {what} is damaged: a part of it is no XML.") from error


def _open(path: Path | IO[bytes], what: str, password: str | None) -> zipfile.ZipFile:
    path = decrypted(path, what, password) if isinstance(path, Path) else path
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise errors.DamagedDocument(f"The file is damaged or cut off, or it is no {what}.") from error


def decrypted(path: Path, what: str, password: str | None) -> Path | IO[bytes]:
    """The file itself, or what is in its encryption. Raises ``errors.EncryptedDocument``, ``DamagedDocument``."""
    with path.open("rb") as file:
        if file.read(8) != _OLE:
            return path
        file.seek(0)
        data = file.read()
    if _ENCRYPTED_PACKAGE in data:
        return io.BytesIO(passwords.office(data, what, password))
    raise errors.DamagedDocument(
        f"This is no {what} but an Office 97-2003 file.", hint="Save it in the current format and upload that."
    )


def _refuse_entities(stream: IO[bytes], what: str) -> None:
    """Reads up to the root element; a document type with declarations in it could define entities."""
    started = False

    def doctype(_name: str, _system: str | None, _public: str | None, has_subset: int) -> None:
        if has_subset:
            raise errors.DamagedDocument(f"The {what} declares XML entities, which no {what} needs.")

    def element(_name: str, _attributes: object) -> None:
        nonlocal started
        started = True

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = element
    try:
        while not started and (data := stream.read(_PIECE)):
            parser.Parse(data, False)
    except expat.ExpatError as error:
        raise errors.DamagedDocument(f"The {what} is damaged: a part of it is no XML.") from error
