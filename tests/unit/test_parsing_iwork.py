"""iWork documents: what is read beyond the contract, and what hostile ones may not do."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest

from datadistiller import errors
from datadistiller.model import BlockKind, Page
from datadistiller.parsing import limits, registry, sniff
from datadistiller.parsing.iwork import iwa
from tests.fixtures import iwork
from tests.fixtures.zips import zipped


def read(path: Path) -> list[Page]:
    """The pages of a file, of the type that it is told to be."""
    media_type = sniff.sniff(path.read_bytes()[: sniff.HEAD_BYTES], path.name)
    return [item for item in registry.parser_of(media_type).parse(path, media_type) if isinstance(item, Page)]


@pytest.mark.parametrize("nested", [False, True])
def test_pages_in_the_order_of_the_text(tmp_path: Path, nested: bool) -> None:
    """What is attached stands behind its paragraph, though places count UTF-16 units; boxes and notes at the end."""
    (page,) = read(iwork.pages(tmp_path / "a.pages", nested=nested))
    assert page.text == (
        "Of Ducks\n\nDucks swim in ponds.\n\nKind | Weight\nKind: Teal; Weight: 300.5\n\n😀 They quack.\n\nIn a box."
        "\n\nMostly."
    )
    assert [block.kind for block in page.blocks[:3]] == [BlockKind.HEADING, BlockKind.PARAGRAPH, BlockKind.TABLE]


def test_places_count_utf_16_units(tmp_path: Path) -> None:
    text = "😀😀😀😀\n" + "x" * 19 + "\ufffc\nafter"  # the table is attached at 29
    (page,) = read(iwork.pages(tmp_path / "a.pages", text))
    assert page.text.index("x\n\nKind | Weight") < page.text.index("after")


def test_sheets_of_numbers(tmp_path: Path) -> None:
    pages = read(iwork.numbers(tmp_path / "a.numbers"))
    assert [page.label for page in pages] == ["Ponds", "Lakes"]
    assert pages[0].text.endswith("Kind | Of Ducks\nKind: Teal; Of Ducks: 300.5\nKind: Mallard; Of Ducks: 1100")
    assert pages[1].text == "Geese graze."


def test_slides_in_the_order_of_the_show(tmp_path: Path) -> None:
    """Notes last, slide numbers left out, a group that holds itself read once."""
    pages = read(iwork.keynote(tmp_path / "a.key"))
    assert [page.text for page in pages] == [
        "Of Ducks\n\nDucks swim in ponds.\n\nIn a group.\n\nSpeak slowly.", "Of Geese",
    ]  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
def test_slides_of_before_2013(tmp_path: Path, packed: bool) -> None:
    """Also in a folder that somebody has packed, where the part is compressed by itself."""
    path = iwork.before_2013(tmp_path / "a.key")
    if packed:
        with zipfile.ZipFile(path) as archive:
            part = archive.read("index.apxl")
        zipped(path, {"a.key/index.apxl.gz": gzip.compress(part)})
    (page,) = read(path)
    assert page.text == (
        "Of Ducks\n\nDucks swim\nin ponds.\n\nWeights\n\nKind | Weight\nKind: Teal; Weight: 300.5\n\n2\n\n"
        "They quack.\n\nSpeak slowly."
    )


def test_passwords_are_named(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.pages", {"Index/Document.iwa": b"x" * 99, ".iwpv2": b"x"})
    with pytest.raises(errors.EncryptedDocument, match="password"):
        read(path)


def test_a_damaged_slide_costs_only_itself(tmp_path: Path) -> None:
    objects = {
        1: (1, {2: iwork.ref(2)}), 2: (2, {3: {2: [iwork.ref(3), iwork.ref(4)]}}),
        3: (4, {2: iwork.ref(5)}), 4: (4, {2: iwork.ref(6)}),
        5: (5, {5: b"\xff\xff"}), 6: (5, {6: iwork.ref(7)}), 7: (2011, {4: iwork.ref(8)}),
        8: (2001, {3: "Geese graze."}),
    }  # fmt: skip
    first, second = read(iwork.document(tmp_path / "a.key", objects, "Slide-1"))
    assert first.problem is not None and first.problem.code == "damaged"
    assert second.text == "Geese graze."


def test_a_bomb_is_refused_before_it_expands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_IWORK_BYTES", 1 << 20)
    with pytest.raises(errors.LimitExceeded, match="1 MiB"):
        read(iwork.pages(tmp_path / "a.pages", "x" * (1 << 20)))
    path = zipped(tmp_path / "b.key", {"index.apxl.gz": gzip.compress(b"<a>" + b" " * (1 << 20) + b"</a>")})
    with pytest.raises(errors.LimitExceeded, match="1 MiB"):
        read(path)


@pytest.mark.parametrize(
    "block",
    [
        b"\x04\x01\x05",  # a copy of what is before the beginning
        b"\x04\x0cabcdefgh",  # more than it says: a literal of four, then another
        b"\x04\xfc\xff\xff\xff\xffab",  # a literal beyond the end
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",  # a length without end
    ],
)
def test_broken_packing_is_damage(block: bytes) -> None:
    with pytest.raises(errors.UnreadableDocument):
        iwa.unpacked(b"\0" + len(block).to_bytes(3, "little") + block, 1000)


def test_what_is_packed_comes_out() -> None:
    data = bytes(range(256)) * 3 + b"a" * 1000 + b"ab" * 40
    block = iwork.snappy(data)
    assert iwa.unpacked(b"\0" + len(block).to_bytes(3, "little") + block, 5000) == data
    overlapping = b"\x0a\x04ab\x11\x02"  # "ab", then eight bytes that begin two before
    assert iwa.unpacked(b"\0\x06\0\0" + overlapping, 10) == b"ab" * 5
