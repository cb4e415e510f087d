"""Office 97-2003 and Outlook: what the contract suite does not ask of every parser."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistiller import errors
from datadistiller.parsing import formats, limits, sniff
from datadistiller.parsing.mail import lzfu
from datadistiller.parsing.office import doc
from tests.fixtures import files, legacy, ole
from tests.unit.test_parsing_binary import OF_DUCKS, blocks_of, parse

ALL = [formats.DOC, formats.XLS, formats.PPT, formats.MSG]
#: One that packs "ducks " three times: the second and third are references.
PACKED_RTF = rb"{\rtf1\ansi ducks ducks ducks }"


class TestWord:
    """Pieces, paragraphs, fields."""

    def test_structure(self, tmp_path: Path) -> None:
        header, pages = parse(legacy.doc(tmp_path / "a.doc"), formats.DOC)
        assert header.title == "Of Ducks"
        assert blocks_of(pages[0]) == OF_DUCKS

    def test_notes_and_running_headers(self, tmp_path: Path) -> None:
        path = legacy.doc(tmp_path / "a.doc", [("Text\x02\r", legacy.NORMAL)], "\x02 Mostly.\r", "Top\r\rTop\r")
        assert parse(path, formats.DOC)[1][0].text == "Text\n\nFootnote: Mostly.\n\nTop"

    @pytest.mark.parametrize(
        ("text", "seen"),
        [
            ("a\x13 PAGE \x14\x13 REF x \x147\x15\x15b", "a7b"),
            ("\x13 HYPERLINK \x15x", "x"),
            ("\x13 EQ \\o\\ad(\\s\\up 10(とう),東京)\x15", "東京"),
            ("non\x1ebreaking\x1f hy\x0bphen", "non-breaking hy\nphen"),
            ("𐌲 pair", "𐌲 pair"),
        ],
    )
    def test_fields_and_marks(self, tmp_path: Path, text: str, seen: str) -> None:
        path = legacy.doc(tmp_path / "a.doc", [(text + "\r", legacy.NORMAL), ("end\r", legacy.HEADING)])
        assert blocks_of(parse(path, formats.DOC)[1][0])[0][2] == seen

    def test_a_field_of_several_paragraphs(self, tmp_path: Path) -> None:
        lines = [
            '\x13 TOC \\o "1-3" \x14\x13 HYPERLINK \\l "a" \x14Ponds\t\x13 PAGEREF a \x143\x15\x15\r',
            "Lakes\t5\x15\r",
        ]
        path = legacy.doc(tmp_path / "a.doc", [(line, legacy.NORMAL) for line in lines])
        assert parse(path, formats.DOC)[1][0].text == "Ponds\t3\n\nLakes\t5"

    def test_word_95(self, tmp_path: Path) -> None:
        path = legacy.old_doc(tmp_path / "a.doc", "Café\rKind\x07Weight\x07\x07Teal\x07300 g\x07\x07end\r")
        assert parse(path, formats.DOC)[1][0].text == "Café\n\nKind | Weight\nKind: Teal; Weight: 300 g\n\nend"

    def test_encrypted(self, tmp_path: Path) -> None:
        with pytest.raises(errors.EncryptedDocument):
            parse(legacy.doc(tmp_path / "a.doc", flags=0x100), formats.DOC)

    @given(st.text(st.sampled_from("\x13\x14\x15 EQ(),\\x\r\x07"), max_size=60))
    def test_any_fields(self, text: str) -> None:
        assert not set("\x13\x14\x15") & set(doc.shown(text))


class TestExcel:
    """Values as they are shown."""

    def test_sheets(self, tmp_path: Path) -> None:
        _, pages = parse(legacy.xls(tmp_path / "a.xls"), formats.XLS)
        assert [(page.label, page.text) for page in pages] == [
            ("Ponds", "Of Ducks\n\nKind | Seen\nKind: Teal; Seen: 2023-03-15\nKind: Share; Seen: 12.5%"),
            ("Lakes", "Ducks swim in ponds."),
        ]

    def test_a_sheet_that_cannot_be_read_costs_itself(self, tmp_path: Path) -> None:
        cut_off = struct.pack("<HHH", 0x203, 2, 0)  # a number without its value
        path = legacy.xls(tmp_path / "a.xls", {"Ponds": cut_off, "Lakes": legacy.SHEETS["Lakes"]})
        _, pages = parse(path, formats.XLS)
        assert pages[0].problem is not None and pages[0].problem.code == "damaged"
        assert pages[1].text == "Ducks swim in ponds."

    def test_encrypted(self, tmp_path: Path) -> None:
        path = legacy.xls(tmp_path / "a.xls", before=struct.pack("<HHHHHI", 0x2F, 6, 1, 1, 1, 0)[:10])
        with pytest.raises(errors.EncryptedDocument):
            parse(path, formats.XLS)


class TestPowerPoint:
    """Outlines, drawings, notes."""

    def test_slides(self, tmp_path: Path) -> None:
        _, pages = parse(legacy.ppt(tmp_path / "a.ppt"), formats.PPT)
        assert [blocks_of(page) for page in pages] == [
            [("heading", 1, "Of Ducks"), ("paragraph", 0, "Ducks swim in ponds.")],
            [("list", 0, "- Geese graze.\n- They honk."), ("paragraph", 0, "Notes: Speak slowly."),
             ("paragraph", 0, "Comment: Well said")],
        ]  # fmt: skip
        assert [page.label for page in pages] == ["", ""]

    def test_slides_are_called_by_the_number_on_them(self, tmp_path: Path) -> None:
        _, pages = parse(legacy.ppt(tmp_path / "a.ppt", first=7), formats.PPT)
        assert [(page.number, page.label) for page in pages] == [(1, "7"), (2, "8")]

    def test_encrypted(self, tmp_path: Path) -> None:
        with pytest.raises(errors.EncryptedDocument):
            parse(legacy.ppt(tmp_path / "a.ppt", encrypted=True), formats.PPT)


class TestOutlook:
    """Headers, bodies, what is attached."""

    def test_parts(self, tmp_path: Path) -> None:
        header, pages = parse(legacy.msg(tmp_path / "a.msg"), formats.MSG)
        assert header.title == "Of Ducks"
        assert [block[2] for block in blocks_of(pages[0])] == [
            "Of Ducks", "From: Jürgen <j@example.com>\nTo: Ada\nDate: Mon, 06 Jan 2025 00:00:00 +0000",
            "Ducks swim in ponds.", "Café.", "Attachment: ducks.pdf", "From: Ada", "Geese graze.",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("stream", "body"),
        [
            ("__substg1.0_10130102", b"<p>Ducks &amp; <b>ponds</b></p>"),
            ("__substg1.0_10090102", struct.pack("<IIII", 0, 21, 0x414C454D, 0) + rb"{\rtf1 Ducks & ponds}"),
            ("__substg1.0_1000001E", b"Ducks & ponds"),
        ],
    )
    def test_bodies(self, tmp_path: Path, stream: str, body: bytes) -> None:
        _, pages = parse(legacy.msg(tmp_path / "a.msg", {stream: body}, body=""), formats.MSG)
        assert "\n\nDucks & ponds\n\n" in pages[0].text

    def test_code_pages(self, tmp_path: Path) -> None:
        more = {"__properties_version1.0": bytes(32) + legacy.properties(n3FFD=1251),
                "__substg1.0_1000001E": "Утка".encode("cp1251")}  # fmt: skip
        assert "Утка" in parse(legacy.msg(tmp_path / "a.msg", more, body=""), formats.MSG)[1][0].text

    @pytest.mark.parametrize(
        "more",
        [
            legacy.texts(p001A="IPM.Note.SMIME"),
            legacy.texts("__attach_version1.0_#00000000/", p3707="msg.pgp-encrypted"),
        ],
    )
    def test_encrypted(self, tmp_path: Path, more: dict[str, bytes]) -> None:
        nothing = {"__attach_version1.0_#00000001/__substg1.0_3701000D/__substg1.0_1000001F": b""}
        with pytest.raises(errors.EncryptedDocument):
            parse(legacy.msg(tmp_path / "a.msg", more | nothing, body=""), formats.MSG)

    def test_signed(self, tmp_path: Path) -> None:
        more = {**legacy.texts(p001A="IPM.Note.SMIME.MultipartSigned"),
                "__attach_version1.0_#00000000/__substg1.0_37010102": b"Subject: In\r\n\r\nSigned words."}  # fmt: skip
        assert "Signed words." in parse(legacy.msg(tmp_path / "a.msg", more, body=""), formats.MSG)[1][0].text

    def test_packed_text(self) -> None:
        ring = b"".join(bytes((0,)) + PACKED_RTF[i : i + 8] for i in range(0, len(PACKED_RTF), 8))
        head = struct.pack("<III", len(PACKED_RTF), 0x75465A4C, 0)
        assert lzfu.unpack(struct.pack("<I", 0) + head + ring) == PACKED_RTF
        # a reference to the ring's first words, then the end
        words = struct.pack(">HH", 0 << 4 | 4, (207 + 6) << 4)
        assert lzfu.unpack(struct.pack("<I", 0) + head + b"\3" + words) == rb"{\rtf1"
        with pytest.raises(errors.LimitExceeded):
            lzfu.unpack(struct.pack("<IIII", 0, limits.MAX_MESSAGE_BYTES + 1, 0x75465A4C, 0))

    @given(st.binary(max_size=200), st.integers(0, 500))
    def test_any_packed_bytes(self, data: bytes, size: int) -> None:
        assert len(lzfu.unpack(struct.pack("<IIII", 0, size, 0x75465A4C, 0) + data)) <= size


@pytest.mark.parametrize("media_type", ALL)
class TestContainer:
    """What they share."""

    def test_another_container(self, tmp_path: Path, media_type: str) -> None:
        path = ole.write(tmp_path / "a", {"Something": b"else"})
        with pytest.raises(errors.DamagedDocument, match="main part is missing"):
            parse(path, media_type)

    def test_encrypted_package(self, tmp_path: Path, media_type: str) -> None:
        path = ole.write(tmp_path / "a", {"EncryptedPackage": bytes(5000)})
        with pytest.raises(errors.EncryptedDocument):
            parse(path, media_type)

    def test_limits(self, tmp_path: Path, media_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
        path = files.sample(tmp_path, media_type)
        monkeypatch.setattr(limits, "MAX_OLE_BYTES", 100)
        with pytest.raises(errors.LimitExceeded):
            parse(path, media_type)
        monkeypatch.setattr(limits, "MAX_OLE_ENTRIES", 0)
        with pytest.raises(errors.LimitExceeded):
            parse(path, media_type)

    def test_told_by_content(self, tmp_path: Path, media_type: str) -> None:
        head = files.sample(tmp_path, media_type).read_bytes()
        assert sniff.sniff(head, "a.docx") == media_type

    def test_altered_streams(self, tmp_path: Path, media_type: str) -> None:
        """The container is whole, its contents are not: an error of ours or clean pages, and never for long."""
        chance = random.Random(11)
        path = files.sample(tmp_path, media_type)
        whole = path.read_bytes()
        for _ in range(150):
            data = bytearray(whole)
            for _ in range(chance.randrange(1, 12)):
                at = chance.randrange(512, len(data))
                data[at] = chance.choice([0, 1, 0x7F, 0xFF, chance.randrange(256)])
            path.write_bytes(data)
            try:
                parse(path, media_type)
            except Exception as error:
                assert not isinstance(error, MemoryError | RecursionError)
