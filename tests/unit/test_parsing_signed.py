"""Signed files, and mails that are signed or encrypted as a whole."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from datadistiller import errors
from datadistiller.model import Page
from datadistiller.parsing import Attachment, formats, registry, sniff
from datadistiller.parsing.mail import cms
from tests.fixtures import legacy, signed

MIME = b"Content-Type: text/plain\n\nDucks swim in ponds."


def items(path: Path) -> list[object]:
    media_type = sniff.sniff(path.read_bytes()[: sniff.HEAD_BYTES], path.name)
    return list(registry.parser_of(media_type).parse(path, media_type))


def inside(path: Path) -> tuple[str, bytes]:
    """The name and the bytes of the one file in it."""
    (found,) = [item for item in items(path) if isinstance(item, Attachment)]
    return found.path, b"".join(found.pieces)


def text(path: Path) -> str:
    return "".join(item.text for item in items(path) if isinstance(item, Page))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("size", [0, 3, 120, 70_000, 600_000])
def test_what_was_signed_comes_out(streamed: bool, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    if content:
        assert cms.signed_content(signed.cms(content, streamed=streamed)) == content
        assert cms.signed_content(base64.encodebytes(signed.cms(content, streamed=streamed))) == content


@pytest.mark.parametrize(
    ("name", "content", "inner"),
    [
        ("deed.pdf.p7m", b"%PDF-", "deed.pdf"),
        ("smime.p7m", MIME, "smime.eml"),
        ("smime.p7m", b"text", "smime"),
        ("deed", b"text", "deed.content"),
    ],
)
def test_the_file_in_it_has_a_name(tmp_path: Path, name: str, content: bytes, inner: str) -> None:
    path = tmp_path / name
    path.write_bytes(signed.cms(content))
    assert inside(path) == (inner, content)
    path.write_bytes(b"-----BEGIN PKCS7-----\n" + base64.encodebytes(signed.cms(content)) + b"-----END PKCS7-----\n")
    if name.endswith(".p7m"):
        assert inside(path) == (inner, content)


def test_a_text_of_that_name_is_a_text(tmp_path: Path) -> None:
    assert sniff.sniff(b"A note on signatures.", "note.p7m") == formats.TEXT
    assert sniff.sniff(b"MIME-Version: 1.0\nContent-Type: multipart/signed; x=y\n\n", "a.p7s") == formats.EMAIL


def test_encrypted_files_and_bare_signatures_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.p7m"
    path.write_bytes(signed.cms(kind="enveloped"))
    with pytest.raises(errors.EncryptedDocument) as caught:
        items(path)
    assert "Decrypt it" in caught.value.hint
    path.write_bytes(signed.cms(None))
    with pytest.raises(errors.EmptyDocument, match="signature without what it signs"):
        items(path)
    path.write_bytes(signed.cms(kind="data"))
    with pytest.raises(errors.UnsupportedType, match="neither signed nor encrypted"):
        items(path)


@pytest.mark.parametrize(
    "data", [b"", b"0", b"0\x80", b"0\x84\xff\xff\xff\xff", b"0\x80" * 5000, b"\x1f" * 9, b"0\x05\x06\x7f"]
)
def test_damage_is_named(data: bytes) -> None:
    with pytest.raises(errors.DamagedDocument):
        cms.signed_content(data)


def mail(path: Path, wrapped: bytes, kind: str = "") -> Path:
    """A message that is wrapped as a whole."""
    head = f"From: a@b.c\nTo: d@e.f\nSubject: Of Ducks\nContent-Type: application/pkcs7-mime{kind}; name=smime.p7m\n"
    path.write_bytes(head.encode() + b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(wrapped))
    return path


def test_a_mail_that_is_signed_as_a_whole_is_read(tmp_path: Path) -> None:
    for kind in ("", "; smime-type=signed-data"):
        assert text(mail(tmp_path / "a.eml", signed.cms(MIME), kind)).endswith("Ducks swim in ponds.")


def test_a_mail_that_is_encrypted_says_so(tmp_path: Path) -> None:
    for kind in ("", "; smime-type=enveloped-data"):
        with pytest.raises(errors.EncryptedDocument, match="encrypted"):
            items(mail(tmp_path / "a.eml", signed.cms(MIME, "enveloped"), kind))


def test_mails_wrapped_in_each_other_end(tmp_path: Path) -> None:
    data = MIME
    for _ in range(150):
        head = b"Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: binary\n\n"
        data = head + signed.cms(data)
    assert "ponds" not in text(mail(tmp_path / "a.eml", signed.cms(data)))


def test_an_outlook_message_that_is_signed_as_a_whole(tmp_path: Path) -> None:
    for wrapped in (signed.cms(MIME), MIME):
        more = {
            **legacy.texts(p001A="IPM.Note.SMIME" + (".MultipartSigned" if wrapped == MIME else "")),
            "__attach_version1.0_#00000000/__substg1.0_37010102": wrapped,
        }
        assert "Ducks swim in ponds." in text(legacy.msg(tmp_path / "a.msg", more, body=""))
