"""Files out of hostile documents, through the real parser process: archives, mails, bombs, processes that die."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import pypdfium2
import pytest

from datadistiller import errors, model
from datadistiller.parsing import attaching, formats, limits
from datadistiller.runtime.sandbox import Limits, Sandbox
from tests.attachments_kit import Collected
from tests.failure.test_sandbox import HOSTILE, plan
from tests.fixtures import files

TEXT = b"Ducks swim in ponds.\n"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """The real parsers."""
    made = Sandbox(Limits(), concurrency=1)
    yield made
    await made.close()


async def listed(sandbox: Sandbox, path: Path, media_type: str, found: Collected) -> str:
    """Reads an archive; what its page says."""
    document = await sandbox.parse(path, media_type, attachments=found)
    assert [page.number for page in document.pages] == [1]
    return document.pages[0].text


@pytest.mark.parametrize("media_type", formats.ARCHIVES)
async def test_the_files_in_an_archive(tmp_path: Path, sandbox: Sandbox, media_type: str) -> None:
    found = Collected()
    page = await listed(sandbox, files.sample(tmp_path, media_type), media_type, found)
    assert found.files == [(path, formats.TEXT, body) for path, body in files.PACKED.items()]
    assert found.pieces < 5 and not found.refused
    assert page == "Of Ducks/They swim in ponds.txt (21 bytes)\ngeese.txt (117,000 bytes)"


@pytest.mark.parametrize(
    ("media_type", "ending", "pack"),
    [(formats.GZIP, ".gz", gzip.compress), (formats.BZIP2, ".bz2", bz2.compress), (formats.XZ, ".xz", lzma.compress)],
)
async def test_a_compressed_file(tmp_path: Path, sandbox: Sandbox, media_type: str, ending: str, pack: object) -> None:
    path = tmp_path / f"ducks.txt{ending}"
    path.write_bytes(pack(TEXT))  # type: ignore[operator]
    found = Collected()
    assert await listed(sandbox, path, media_type, found) == "ducks.txt"
    assert found.files == [("ducks.txt", formats.TEXT, TEXT)]
    lines = "".join(f"Duck {n}\n" for n in range(200_000)).encode()
    path.write_bytes(pack(lines)[:-900])  # type: ignore[operator]
    found = Collected()
    assert await listed(sandbox, path, media_type, found) == "ducks.txt"
    assert found.refused == {"ducks.txt": "damaged"} and not found.files


async def test_what_is_wrong_with_members_of_a_zip_is_theirs_alone(tmp_path: Path, sandbox: Sandbox) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../../etc/up.txt", "C:\\docs\\win.txt", "secret.txt", "broken.txt", "method.txt", "größe.txt"):
            archive.writestr(name, TEXT)
        archive.writestr("empty.txt", b"")
        archive.writestr("picture.png", b"\x89PNG\r\n\x1a\n")
        archive.writestr("sound.ogg", b"OggS\0\2\0\0")
        link = zipfile.ZipInfo("link.txt")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    data = bytearray(path.read_bytes())
    for at in _directory(data):
        name = bytes(data[at + 46 : at + 46 + struct.unpack_from("<H", data, at + 28)[0]])
        if name == b"secret.txt":
            data[at + 8] |= 1
        elif name == b"method.txt":
            data[at + 10] = 9
        elif name == b"broken.txt":
            data[at + 16] ^= 0xFF
    path.write_bytes(data)
    found = Collected()
    page = await listed(sandbox, path, formats.ZIP, found)
    assert found.names == ["etc/up.txt", "docs/win.txt", "größe.txt", "picture.png"]
    assert found.refused == {
        "secret.txt": "encrypted", "broken.txt": "damaged", "method.txt": "unsupported_type",
        "empty.txt": "empty_document", "sound.ogg": "unsupported_type", "link.txt": "unsupported_type",
    }  # fmt: skip
    assert "secret.txt (21 bytes)" in page


def _directory(data: bytes | bytearray) -> list[int]:
    """Where the entries of the central directory begin."""
    places, at = [], data.find(b"PK\x01\x02")
    while at >= 0:
        places.append(at)
        at = data.find(b"PK\x01\x02", at + 4)
    return places


async def test_links_and_devices_in_a_tar_are_passed_over(tmp_path: Path, sandbox: Sandbox) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("null", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        member = tarfile.TarInfo("/etc/ducks.txt")
        member.size = len(TEXT)
        archive.addfile(member, io.BytesIO(TEXT))
    found = Collected()
    await listed(sandbox, path, formats.TAR, found)
    assert found.files == [("etc/ducks.txt", formats.TEXT, TEXT)]
    assert set(found.refused.values()) == {"unsupported_type"} and len(found.refused) == 3


async def test_an_archive_that_is_cut_off_gives_what_came_before(tmp_path: Path, sandbox: Sandbox) -> None:
    path = files.sample(tmp_path, formats.TAR)
    path.write_bytes(path.read_bytes()[:60_000])
    found = Collected()
    page = await listed(sandbox, path, formats.TAR, found)
    assert found.names == ["Of Ducks/They swim in ponds.txt"]
    assert found.refused == {"geese.txt": "damaged", "and more": "damaged"}
    assert "geese.txt" in page


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.gz skipped", "gz", "overlap"])
async def test_bombs(tmp_path: Path, sandbox: Sandbox, kind: str) -> None:
    """No more comes out than some multiple of the file, and the parser is not killed for it."""
    path, zeros, found = tmp_path / f"bomb.{kind.split()[0]}", bytes(64 << 20), Collected()
    media_type = formats.ZIP
    if kind in ("zip", "overlap"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.txt", b"a" * (60 << 20))
        if kind == "overlap":
            _repeat_entry(path, 30)
    elif kind == "gz":
        media_type = formats.GZIP
        path.write_bytes(gzip.compress(b"a" * (60 << 20)))
    else:
        media_type = formats.GZIP
        with tarfile.open(path, "w:gz") as tar:
            member = tarfile.TarInfo("a.txt")
            member.size = len(zeros)
            tar.addfile(member, io.BytesIO(zeros))
        found = Collected(size=1000) if "skipped" in kind else found
    allowed = limits.RATIO_FREE_BYTES + limits.MAX_RATIO * path.stat().st_size
    await listed(sandbox, path, media_type, found)
    assert sum(len(body) for _, _, body in found.files) <= allowed
    assert "limit_exceeded" in found.refused.values()


def _repeat_entry(path: Path, times: int) -> None:
    """Has the directory name the one member several times."""
    data = path.read_bytes()
    start = data.find(b"PK\x01\x02")
    end = data.rfind(b"PK\x05\x06")
    entry = data[start:end]
    tail = bytearray(data[end:])
    struct.pack_into("<HHI", tail, 8, times, times, len(entry) * times)
    path.write_bytes(data[:start] + entry * times + tail)


async def test_the_limits_of_an_upload(tmp_path: Path, sandbox: Sandbox) -> None:
    path = files.zipped(tmp_path / "a.zip", {f"{n}.txt": f"Duck {n} " * n for n in (100, 1, 2, 3)})
    few = Collected(members=2)
    await listed(sandbox, path, formats.ZIP, few)
    assert few.names == ["100.txt", "1.txt"] and few.refused == {"and more": "limit_exceeded"}
    small = Collected(size=40)
    await listed(sandbox, path, formats.ZIP, small)
    assert small.names == ["1.txt", "2.txt"], "what fits is taken in"
    assert small.refused == {"100.txt": "limit_exceeded", "3.txt": "limit_exceeded"}
    document = await sandbox.parse(path, formats.ZIP)
    assert document.pages[0].text.startswith("100.txt"), "nobody has to take anything in"


async def test_what_is_attached_to_mails(tmp_path: Path, sandbox: Sandbox) -> None:
    inner = EmailMessage()
    inner["From"], inner["Subject"] = "b@example.org", "In/side"
    inner.set_content("Geese graze.")
    inner.add_attachment(TEXT, maintype="text", subtype="plain", filename="deep.txt")
    message = EmailMessage()
    message["From"], message["Subject"] = "a@example.org", "Out"
    message.set_content("Ducks.")
    message.add_attachment(TEXT + b"1", maintype="text", subtype="plain", filename="a/b.txt")
    message.add_attachment(b"%PDF-1.4 nothing", maintype="application", subtype="pdf")
    message.add_attachment(b"\x89PNG", maintype="image", subtype="png", filename="logo.png", disposition="inline",
                           cid="<1>")  # fmt: skip
    message.add_attachment(inner)
    path = tmp_path / "a.eml"
    path.write_bytes(message.as_bytes())
    found = Collected()
    page = await listed(sandbox, path, formats.EMAIL, found)
    assert found.names == ["a_b.txt", "attachment-2.pdf", "In_side/deep.txt"] and not found.refused
    assert "Attachment: logo.png" in page and "Geese graze." in page

    box = tmp_path / "a.mbox"
    one = b"From a@b Mon Jan  6 10:00:00 2025\n" + message.as_bytes() + b"\n\n"
    box.write_bytes(one + one)
    found = Collected()
    document = await sandbox.parse(box, formats.MBOX, attachments=found)
    assert len(document.pages) == 2
    assert [warning.code for warning in document.warnings] == ["pictures_not_read"], "of the logo only"
    assert found.names == [
        f"{n} Out/{path}" for n in (1, 2) for path in ("a_b.txt", "attachment-2.pdf", "In_side/deep.txt")
    ]

    outlook = files.legacy.msg(tmp_path / "a.msg", {"__attach_version1.0_#00000000/__substg1.0_37010102": TEXT})
    found = Collected()
    await listed(sandbox, outlook, formats.MSG, found)
    assert found.files == [("ducks.pdf", formats.PDF, TEXT)]


async def test_files_embedded_in_a_pdf(tmp_path: Path, sandbox: Sandbox) -> None:
    source = files.sample(tmp_path, formats.PDF)
    document = pypdfium2.PdfDocument(source)
    document.new_attachment("data.csv").set_data(b"kind,weight\nteal,300\n")
    document.new_attachment("nothing.txt")
    document.save(tmp_path / "with.pdf")
    document.close()
    found = Collected()
    read = await sandbox.parse(tmp_path / "with.pdf", formats.PDF, attachments=found)
    assert len(read.pages) == 2
    assert found.files == [("data.csv", formats.CSV, b"kind,weight\nteal,300\n")]
    assert found.refused == {"nothing.txt": "damaged"}


async def test_a_process_that_dies_gives_nothing_twice(tmp_path: Path) -> None:
    sandbox = Sandbox(Limits(page_seconds=30), command=HOSTILE, concurrency=1)
    found = Collected()
    once = plan(tmp_path, ["once", ["segfault"]], attached={"1": ["a.txt", "b.txt"]})
    document = await sandbox.parse(once, "text/plain", attachments=found)
    assert (len(document.pages), found.names, found.rewinds) == (1, ["a.txt", "b.txt"], 1)
    found = Collected()
    never = plan(tmp_path, ["segfault"], ["say", "Two."], attached={"1": ["a.txt"], "2": ["b.txt"]})
    document = await sandbox.parse(never, "text/plain", attachments=found)
    assert [page.problem is None for page in document.pages] == [False, True]
    assert (found.names, found.rewinds) == (["a.txt", "b.txt"], 0), "a page that is given up keeps its attachments"
    await sandbox.close()


async def test_a_store_that_fails_ends_the_reading(tmp_path: Path) -> None:
    class Full(Collected):
        async def write(self, piece: bytes) -> None:
            raise errors.CapacityError("The disk is full.", retry_after=30)

    sandbox = Sandbox(Limits(), concurrency=1)
    for _ in range(2):  # the process in which it happened is not used again
        with pytest.raises(errors.CapacityError):
            await sandbox.parse(files.sample(tmp_path, formats.ZIP), formats.ZIP, attachments=Full())
    await sandbox.close()


def test_paths_are_safe_to_show() -> None:
    for path, safe in [
        ("/etc/passwd", "etc/passwd"), ("..\\..\\a.txt", "a.txt"), ("C:\\a\\b.txt", "a/b.txt"), ("a//b/./c", "a/b/c"),
        ("..", "unnamed"), ("", "unnamed"), ("a\nb\x00\x1b[31m.txt", "a b[31m.txt"),
        ("annexe\u202etxt.exe", "annexetxt.exe"), ("c1\x9b31m.txt", "c131m.txt"),
        ("x" * 600 + ".pdf", "x" * 496 + ".pdf"),
    ]:  # fmt: skip
        assert attaching.clean_path(path) == safe
    assert model.Member("a/b.txt", 1).filename == "b.txt"


async def test_what_came_with_pages_that_were_read_stays_when_time_is_up(tmp_path: Path) -> None:
    attached = {"1": ["one.txt"], "2": ["two.txt"]}
    path = plan(tmp_path, ["say", "It begins."], ["wait", 60], ["say", "It ends."], attached=attached)
    sandbox, found = Sandbox(Limits(parse_seconds=4, ocr_seconds=0), concurrency=1, command=HOSTILE), Collected()
    try:
        await sandbox.start()
        await sandbox._idle[0].ready()
        document = await sandbox.parse(path, "text/plain", attachments=found)
    finally:
        await sandbox.close()
    assert [page.problem is None for page in document.pages] == [True, False, False]
    assert found.names == ["one.txt"]
