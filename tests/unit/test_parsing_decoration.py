"""Pictures that decorate a mail are passed over with a warning; those that somebody sent are not."""

from __future__ import annotations

import struct
from email.message import EmailMessage
from pathlib import Path

import pytest

from datadistiller.model import Problem
from datadistiller.parsing import Attachment, formats, registry
from datadistiller.parsing.mail import decoration
from tests.fixtures import legacy

LARGE = bytes(range(256)) * 40


def png(width: int, height: int, more: bytes = b"") -> bytes:
    """The beginning of a picture of that size."""
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height) + more


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + LARGE


PHOTO = png(800, 600, LARGE)


def left(path: Path, media_type: str) -> tuple[list[str], list[str]]:
    """What is taken out of a mail, and the warnings."""
    items = list(registry.parser_of(media_type).parse(path, media_type))
    return (
        [item.path for item in items if isinstance(item, Attachment)],
        [item.message for item in items if isinstance(item, Problem)],
    )


def mail(path: Path, markup: str, *pictures: tuple[str, bytes, str, str]) -> Path:
    """A message in both forms with pictures: name, bytes, content id, how it is to be shown."""
    message = EmailMessage()
    message["From"], message["Subject"] = "a@example.org", "Of Ducks"
    message.set_content("Ducks swim in ponds.")
    message.add_alternative(markup, subtype="html")
    for name, data, content_id, disposition in pictures:
        known = {"cid": f"<{content_id}>"} if content_id else {}
        kind = name.rpartition(".")[2]
        message.add_attachment(data, "image", kind, filename=name, disposition=disposition, **known)  # type: ignore[arg-type]
    path.write_bytes(message.as_bytes())
    return path


def test_of_a_mail(tmp_path: Path) -> None:
    path = mail(
        tmp_path / "a.eml",
        '<p>Ducks <img src="cid:photo%401"> <IMG SRC=CID:other@1></p>',
        ("shown.png", PHOTO, "photo@1", "attachment"),
        ("placed.png", PHOTO, "x", "inline"),
        ("logo.jpg", b"\xff\xd8\xff" + LARGE[:4000], "y", "attachment"),
        ("icon.gif", gif(63, 20), "", "attachment"),
        ("icon.png", png(16, 16), "", "attachment"),
        ("scan.png", PHOTO, "", "attachment"),
        ("named.png", PHOTO, "nobody@1", "attachment"),
        ("line.gif", gif(600, 3), "", "attachment"),
        ("photo.jpg", b"\xff\xd8\xff" + LARGE[:4000], "", "attachment"),
    )
    taken, warnings = left(path, formats.EMAIL)
    assert taken == ["scan.png", "named.png", "line.gif", "photo.jpg"]
    assert warnings == ["Pictures that the text shows, or that are tiny, are named and not read: 5."]


def attached(number: int, name: str, data: bytes, flags: int = 0, **texts: str) -> dict[str, bytes]:
    """An attachment of an Outlook message."""
    storage = f"__attach_version1.0_#{number:08X}/"
    return {
        **legacy.texts(storage, p3707=name, **texts),
        f"{storage}__substg1.0_37010102": data,
        f"{storage}__properties_version1.0": bytes(8) + legacy.properties(n3714=flags),
    }


def test_of_an_outlook_message(tmp_path: Path) -> None:
    more = {
        **legacy.texts(p1013='<p>Ducks <img src="cid:photo@1"></p>'),
        **attached(2, "shown.png", PHOTO, p3712="photo@1"),
        **attached(3, "rendered.jpg", LARGE, flags=4),
        **attached(4, "logo.jpg", LARGE[:4000], p3712="y@1"),
        **attached(5, "unnamed", png(9, 9), p370E="image/png"),
        **attached(6, "scan.png", PHOTO),
        **attached(7, "named.png", PHOTO, p3712="nobody@1"),
        **attached(8, "ducks.txt", b"Ducks", p3712="z@1"),
        **attached(9, "rendered.txt", b"Ducks", flags=4),
    }
    taken, warnings = left(legacy.msg(tmp_path / "a.msg", more), formats.MSG)
    assert taken == ["ducks.pdf", "scan.png", "named.png", "ducks.txt", "rendered.txt"]
    assert warnings == ["Pictures that the text shows, or that are tiny, are named and not read: 4."]


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"GIF89a\1"])
def test_cut_off_pictures_are_no_icons(data: bytes) -> None:
    assert not decoration.decorates(data, "", frozenset())
