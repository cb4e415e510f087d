"""What a file is, told by its first bytes; its name only decides between kinds of plain text."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import PurePath
from typing import NoReturn

from datadistiller import errors
from datadistiller.parsing import decoding, formats

#: How much of a file is needed, bytes.
HEAD_BYTES = 65_536

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")
_OFFICE = (
    (b"wordprocessingml", formats.DOCX),
    (b"ms-word.document", formats.DOCX),
    (b"ms-word.template", formats.DOCX),
    (b"presentationml", formats.PPTX),
    (b"ms-powerpoint", formats.PPTX),
    (b"spreadsheetml", formats.XLSX),
    (b"ms-excel.sheet.macroenabled", formats.XLSX),
    (b"ms-excel.template.macroenabled", formats.XLSX),
)
_OPEN_DOCUMENT = (
    (b"application/vnd.oasis.opendocument.text", formats.ODT),
    (b"application/vnd.oasis.opendocument.spreadsheet", formats.ODS),
    (b"application/vnd.oasis.opendocument.presentation", formats.ODP),
)
_OPEN_DOCUMENT_TYPES = frozenset(media_type for _, media_type in _OPEN_DOCUMENT)
#: Streams that OLE containers have by what is in them; a document may hold another one of another kind.
_OLE_STREAMS = (
    ("WordDocument", formats.DOC),
    ("PowerPoint Document", formats.PPT),
    ("Workbook", formats.XLS),
    ("Book\0", formats.XLS),
    ("__properties_version1.0", formats.MSG),
)
_IN_OLE = frozenset(media_type for _, media_type in _OLE_STREAMS)
_FOLDERS = (("word/", formats.DOCX), ("ppt/", formats.PPTX), ("xl/", formats.XLSX))

#: What ZIP archives hold that are documents or programs of another kind, and what a person calls those.
_OTHER_ZIPS = (
    (re.compile(r"\[Content_Types\]\.xml|_rels/\.rels"), "a document in a package that is not known here"),
    (re.compile(r"META-INF/MANIFEST\.MF|AndroidManifest\.xml|classes\.dex"), "a program"),
)
_XPS_PARTS = (".fdseq", ".fdoc", ".fpage")
#: What iWork documents hold; which of the three it is their extension says, or these: Pages by its root object.
_IWORK = re.compile(r"(?:.*/)?(?:[^/]*\.iwa|Index\.zip|index\.apxl(?:\.gz)?|buildVersionHistory\.plist)")
_IWORK_TYPES = (formats.PAGES, formats.NUMBERS, formats.KEYNOTE)
_KEYNOTE = re.compile(r"(?:.*/)?(?:(?:Master|Template)?Slide[^/]*\.iwa|index\.apxl(?:\.gz)?)")
_IWORK_ROOT, _PAGES_ROOT = "Index/Document.iwa", b"\x08\x90\x4e"  # the type 10,000 in the description of a message
_PACKED = (
    (b"\x1f\x8b\x08", formats.GZIP),
    (b"\xfd7zXZ\0", formats.XZ),
    (b"7z\xbc\xaf\x27\x1c", formats.SEVEN_ZIP),
    (b"Rar!\x1a\x07", formats.RAR),
)
#: A signed or encrypted file (CMS): a sequence that begins with one of its types; the same in base64.
_CMS = re.compile(
    rb"0(?:[\0-\x80]|\x81.|\x82..|\x83.{3}|\x84.{4})\x06[\x09\x0b]\x2a\x86\x48\x86\xf7\x0d\x01[\x07\x09]", re.S
)
_SIGNED_MAIL = re.compile(rb"(?:[\w-]{1,40}:[^\n]{0,200}\n){0,9}?Content-Type:\s{0,9}multipart/signed", re.I)
_CMS_TEXT = re.compile(rb"\s*(?:-----BEGIN (?:PKCS7|CMS)-----|MI[A-Za-z0-9+/\r\n]{60})")
_BZIP2 = re.compile(rb"BZh[1-9]1AY&SY")
_PICTURES = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), formats.PNG),
    (re.compile(rb"\xff\xd8\xff"), formats.JPEG),
    (re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51\0"), formats.JP2),
    (re.compile(rb"GIF8[79]a"), formats.GIF),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), formats.TIFF),
    (re.compile(rb"RIFF....WEBP", re.S), formats.WEBP),
    (re.compile(rb"BM.{4}\0{4}.{3}\0[\x0c\x28\x34\x38\x40\x6c\x7c]\0{3}", re.S), formats.BMP),
)

#: Beginnings of files that cannot be read, and what a person calls them.
_FOREIGN = (
    (b"RIFF", "a recording or a video"),
    (b"%!PS", "a PostScript file"),
    (b"\xe4\x52\x5c\x7b", "a OneNote section"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a Windows program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"SQLite format 3", "an SQLite database"),
    (b"ID3", "a recording"),
    (b"OggS", "a recording"),
    (b"fLaC", "a recording"),
    (b"\x1aE\xdf\xa3", "a video"),
)
#: What to do with some of them.
_INSTEAD = {
    "a OneNote section": "Export it from OneNote as PDF or Word document, and upload that.",
    "a PostScript file": "Convert it to PDF, and upload that.",
}
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"avif")
_HTML = re.compile(rb"(?>\s+|<!--.*?-->|<\?xml[^>]*>)*+<(?:!doctype\s+html|html[\s>])", re.I | re.S)
_XML = re.compile(rb"\s*<\?xml[\s>]", re.I)
_FLAT = re.compile(rb"<office:document\s[^>]{0,8000}?office:mimetype\s*=\s*[\"']([a-z.-]+/[a-z.-]+)")
_RTF = re.compile(rb"[\xef\xbb\xbf\s]{0,64}\{\s*\\rtf")
_MAIL_HEADER = re.compile(rb"([A-Za-z][A-Za-z0-9-]*):[ \t\r\n]")
_MAIL_NAMES = frozenset(
    b"from to subject date cc received message-id mime-version return-path delivered-to reply-to sender".split()
    + b"content-type x-mailer x-sender content-transfer-encoding".split()
)
_ZONES = rb"(?: [A-Z+(-][\w:+-]{0,9}\)?){0,2}"
_WEEKDAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_DATES = (
    rb"\d{1,2}:\d{2}(?::\d{2})?" + _ZONES + rb" \d{4}",
    rb"\d{4}(?:-\d{2}-\d{2})?[T ]\d{1,2}:\d{2}",
    _WEEKDAY + rb",? {1,2}(?:[A-Z][a-z]{2} {1,2}\d{1,2}|\d{1,2} [A-Z][a-z]{2}),? \d{4}",
)
#: The line before each message of a mailbox. Sentences begin with "From" too, and name years: a time or a weekday
#: must be there.
POSTMARK = re.compile(rb"From \S.{0,200}?(?:" + b"|".join(_DATES) + rb")\b.{0,50}\r?(?:\n|\Z)")


def sniff(head: bytes, filename: str) -> str:
    """The media type (a key of ``formats.BY_MEDIA_TYPE``) of the file that begins with ``head``.

    ``head`` is the first ``HEAD_BYTES`` bytes, or all of a shorter file. Content wins over the extension.
    Raises ``errors.EmptyDocument`` and ``errors.UnsupportedType``, which names what the file looks like.
    """
    if not head:
        raise errors.EmptyDocument
    extension = PurePath(filename).suffix.lower()
    if _is_pdf(head, extension):
        return formats.PDF
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK00PK\x03\x04")):
        return _sniff_zip(head, extension)
    if head.startswith(_OLE):
        return _sniff_ole(head, extension)
    if _RTF.match(head):
        return formats.RTF
    for magic, media_type in _PICTURES:
        if magic.match(head):
            return media_type
    if packed := _sniff_packed(head):
        return packed
    if _CMS.match(head):
        return formats.SIGNED
    if head.startswith(b"ITSF"):
        return formats.CHM
    _refuse_foreign(head)
    if not decoding.looks_textual(head):
        claimed = formats.BY_EXTENSION.get(extension)
        if claimed and not claimed.textual:
            return claimed.media_type  # the parser says in which way it is damaged
        _refuse("an unknown binary file" if head.strip(b"\0") else "a file of zero bytes")
    return _sniff_text(_ascii_view(head), extension, len(head) < HEAD_BYTES)


def _refuse(what: str, hint: str | None = None) -> NoReturn:
    raise errors.UnsupportedType(f"This is {what}; files of this type cannot be read.", hint=hint)


def _is_pdf(head: bytes, extension: str) -> bool:
    """The header may follow junk; then something else of a PDF must be there, as texts mention %PDF too."""
    at = head[:1024].find(b"%PDF-")
    if at >= 0 and not head[:at].strip(b"\0\r\n\t \xef\xbb\xbf"):
        return True
    inside = re.search(rb"(?<!\d)\d{1,10} \d{1,5} obj\b", head) is not None
    return inside and (at >= 0 or extension == ".pdf")


def _sniff_packed(head: bytes) -> str:
    """The type of a compressed file or a TAR archive, empty if it is neither."""
    if head[257:262] == b"ustar":
        return formats.TAR
    if _BZIP2.match(head):
        return formats.BZIP2
    return next((media_type for magic, media_type in _PACKED if head.startswith(magic)), "")


def _refuse_foreign(head: bytes) -> None:
    for magic, what in _FOREIGN:
        short = len(magic) < 4 and magic.isalnum()  # two letters may begin a text as well
        if head.startswith(magic) and not (short and decoding.looks_textual(head)):
            _refuse(what, _INSTEAD.get(what))
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC:
        _refuse("an HEIC picture", "Save it as JPEG or PNG, and upload that.")
    if head[4:8] == b"ftyp":
        _refuse("a video")


def _sniff_ole(head: bytes, extension: str) -> str:
    """Office 97-2003, or the wrapper of an encrypted Office file: its parser then says that it is encrypted.

    Told by the names in the directory, which may be beyond ``head``; then the extension counts.
    """
    claimed = formats.BY_EXTENSION.get(extension)
    named = claimed.media_type if claimed else ""
    if _ENCRYPTED_PACKAGE in head:
        return named if named in (formats.DOCX, formats.PPTX, formats.XLSX) else formats.DOCX
    places = [(head.find(name.encode("utf-16-le")), media_type) for name, media_type in _OLE_STREAMS]
    found = sorted((place, media_type) for place, media_type in places if place >= 0)
    if named in _IN_OLE and (not found or named in [media_type for _, media_type in found]):
        return named
    if found:
        return found[0][1]
    if named in (formats.DOCX, formats.PPTX, formats.XLSX):
        return named
    _refuse("an OLE container (Office 97-2003 or another program) that does not say what is in it")


def _sniff_zip(head: bytes, extension: str) -> str:
    """Told by the local headers: the central directory is at the end of the file, out of reach."""
    names, first_bodies = _zip_entries(head)
    mimetype = first_bodies.get("mimetype", b"").strip()
    if mimetype == formats.EPUB.encode() or "META-INF/container.xml" in names:
        return formats.EPUB
    claimed = formats.BY_EXTENSION.get(extension)
    if mimetype.startswith(b"application/vnd.oasis"):
        return _open_document(mimetype)
    if claimed and claimed.media_type in _OPEN_DOCUMENT_TYPES and "content.xml" in names:
        return claimed.media_type
    types = first_bodies.get("[Content_Types].xml", b"").lower()
    if b"ms-excel.sheet.binary" in types or "xl/workbook.bin" in names:
        return formats.XLSB
    if any(name.lower().endswith(_XPS_PARTS) for name in names):
        return formats.XPS
    found = [media_type for mark, media_type in _OFFICE if mark in types] or [
        media_type for folder, media_type in _FOLDERS if any(name.startswith(folder) for name in names)
    ]
    if any(_IWORK.fullmatch(name) for name in names):
        return _sniff_iwork(names, first_bodies.get(_IWORK_ROOT, b""), claimed.media_type if claimed else "")
    named = claimed.media_type if claimed and not claimed.textual else ""
    # An Office file may embed another: the extension decides among what is inside.
    if named and named not in (formats.PDF, *formats.ARCHIVES) and (not found or named in found):
        return named
    if found and (types or "[Content_Types].xml" in names or "_rels/.rels" in names):
        return found[0]
    _refuse_other_zip(names)
    return formats.ZIP


def _refuse_other_zip(names: set[str]) -> None:
    """What is no document of ours, but would say nothing as an archive."""
    for pattern, what in _OTHER_ZIPS:
        if any(pattern.fullmatch(name) for name in names):
            _refuse(what)


def _sniff_iwork(names: set[str], root: bytes, named: str) -> str:
    """One of the three types; their reader finds out by itself what it reads."""
    if named in _IWORK_TYPES:
        return named
    if any(_KEYNOTE.fullmatch(name) for name in names):
        return formats.KEYNOTE
    return formats.NUMBERS if root and _PAGES_ROOT not in root else formats.PAGES


def _open_document(mimetype: bytes) -> str:
    """The type of an OpenDocument file by its own name for it; templates have longer ones."""
    for name, media_type in _OPEN_DOCUMENT:
        if mimetype == name or mimetype.startswith(name + b"-"):
            return media_type
    _refuse("an OpenDocument drawing, formula or database")


def _zip_entries(head: bytes) -> tuple[set[str], dict[str, bytes]]:
    """Names of the entries whose local header is in ``head``, and the contents of those that tell the type."""
    names: set[str] = set()
    bodies: dict[str, bytes] = {}
    at = head.find(b"PK\x03\x04")
    while 0 <= at <= len(head) - 30:
        method = int.from_bytes(head[at + 8 : at + 10], "little")
        size = int.from_bytes(head[at + 18 : at + 22], "little")
        name_end = at + 30 + int.from_bytes(head[at + 26 : at + 28], "little")
        body_at = name_end + int.from_bytes(head[at + 28 : at + 30], "little")
        name = head[at + 30 : name_end].decode("utf-8", "replace").replace("\\", "/")
        names.add(name)
        if name in ("mimetype", "[Content_Types].xml", _IWORK_ROOT):
            bodies[name] = _body(head[body_at:], method, size)
        at = head.find(b"PK\x03\x04", body_at + size if size else name_end)
    return names, bodies


def _body(data: bytes, method: int, size: int) -> bytes:
    if method == 0:
        return data[: size or 64]
    try:
        return zlib.decompressobj(-15).decompress(data, 262_144)
    except zlib.error:
        return b""


def _ascii_view(head: bytes) -> bytes:
    """UTF-16 as UTF-8, so that the patterns match it; other encodings agree with ASCII where it matters."""
    encoding = decoding.wide(head)
    return head.decode(encoding, "replace").lstrip("\ufeff").encode("utf-8", "replace") if encoding else head


def _sniff_text(text: bytes, extension: str, whole: bool) -> str:
    claimed = formats.BY_EXTENSION.get(extension)
    known = claimed.media_type if claimed else ""
    if _HTML.match(text) and known not in (formats.MARKDOWN, formats.EMAIL):
        return formats.HTML
    if known == formats.HTML:
        return known
    if _XML.match(text):
        flat = _FLAT.search(text[:16_384])
        return _open_document(flat[1]) if flat else formats.XML
    if POSTMARK.match(text) and known != formats.EMAIL:
        return formats.MBOX
    if known == formats.SIGNED and _CMS_TEXT.match(text):
        return known
    if (
        known in ("", formats.TEXT, formats.RTF, formats.SIGNED) or known in _IN_OLE
    ):  # .dot, .pot, .xls, .doc name texts as well
        return _sniff_plain(text, whole)
    return known  # text under the name of a binary type: its parser says that it is none


def _sniff_plain(text: bytes, whole: bool) -> str:
    """Plain text, unless its content is clearly a message or JSON."""
    if _is_mail(text) or _SIGNED_MAIL.match(text):
        return formats.EMAIL
    if whole and text.lstrip()[:1] in (b"{", b"["):
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return formats.TEXT
        return formats.JSON
    return formats.TEXT


def _is_mail(text: bytes) -> bool:
    """A block of message headers first: at least three known ones, a sender among them, nothing else."""
    block = re.split(rb"\r?\n\r?\n", text.lstrip(b"\r\n"), maxsplit=1)[0]
    found = set()
    for line in block.splitlines():
        header = _MAIL_HEADER.match(line + b"\n")
        if header:
            found.add(header[1].lower())
        elif line[:1] not in (b" ", b"\t"):
            return False
    return len(found & _MAIL_NAMES) >= 3 and not found.isdisjoint({b"from", b"sender", b"return-path", b"received"})
