"""7-Zip and RAR archives: what is read beyond the contract, in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from datadistiller import errors
from datadistiller.model import Page
from datadistiller.parsing import Attachment, formats, limits, registry
from datadistiller.parsing.packed import libarchive
from tests.fixtures import files, packed

KINDS = [(formats.SEVEN_ZIP, packed.seven_zip), (formats.RAR, packed.rar)]
pytestmark = pytest.mark.skipif(not libarchive.installed(), reason="libarchive is not installed")


def read(path: Path, media_type: str, wanted: bool = True) -> tuple[dict[str, bytes | str], str]:
    """Each file or why there is none, and the page; nothing is read of files that nobody wants."""
    found: dict[str, bytes | str] = {}
    page = ""
    for item in registry.parser_of(media_type).parse(path, media_type):
        if isinstance(item, Attachment):
            found[item.path] = item.problem.code if item.problem else b"".join(item.pieces) if wanted else b""
        elif isinstance(item, Page):
            page = item.text
    return found, page


@pytest.mark.parametrize(("media_type", "pack"), KINDS)
class TestBoth:
    """What holds for both."""

    def test_names_and_bytes(self, tmp_path: Path, media_type: str, pack: files.Pack) -> None:
        members = {"größe/дом.txt": b"Ducks", "b.bin": bytes(range(256)) * 5000}
        assert read(pack(tmp_path / "a", members), media_type)[0] == members

    def test_files_that_nobody_wants_are_passed_over(self, tmp_path: Path, media_type: str, pack: files.Pack) -> None:
        found, page = read(pack(tmp_path / "a", files.PACKED), media_type, wanted=False)
        assert list(found) == list(files.PACKED) and "geese.txt (117,000 bytes)" in page

    def test_cut_off(self, tmp_path: Path, media_type: str, pack: files.Pack) -> None:
        path = pack(tmp_path / "a", {"a.txt": b"Ducks " * 99})
        path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(errors.DamagedDocument):
            read(path, media_type)

    def test_too_many(self, tmp_path: Path, media_type: str, pack: files.Pack, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "MAX_MEMBERS", 2)
        found, page = read(pack(tmp_path / "a", dict.fromkeys("abcd", b"x")), media_type)
        assert found == {"a": b"x", "b": b"x", "and more": "limit_exceeded"} and page

    def test_without_the_library_it_says_what_to_do(
        self, tmp_path: Path, media_type: str, pack: files.Pack, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(libarchive, "_library", lambda: None)
        with pytest.raises(errors.UnsupportedType, match="libarchive is installed") as caught:
            read(pack(tmp_path / "a", {"a": b"x"}), media_type)
        assert "libarchive13" in caught.value.hint


def test_a_bomb_ends_whether_it_is_wanted_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RATIO_FREE_BYTES", 1 << 20)
    monkeypatch.setattr(limits, "MAX_RATIO", 10)
    path = packed.seven_zip(tmp_path / "a", {"small.txt": b"x", "bomb.txt": bytes(8 << 20), "after.txt": b"y"})
    found, page = read(path, formats.SEVEN_ZIP, wanted=False)
    assert found == {"small.txt": b"", "bomb.txt": b"", "and more": "limit_exceeded"}
    assert page.startswith("small.txt")


def test_encrypted_archives_say_so(tmp_path: Path) -> None:
    found, _ = read(packed.seven_zip(tmp_path / "a", {"a.txt": b"x"}, encrypted=True), formats.SEVEN_ZIP)
    assert found == {"a.txt": "encrypted"}


def test_an_archive_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(errors.EmptyDocument):
        read(packed.rar(tmp_path / "a", {}), formats.RAR)
