"""Files that a password opens: Office, OpenDocument, archives. PDF: ``test_parsing_pdf.py``."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
import pyzipper

from datadistiller import errors
from datadistiller.model import Page
from datadistiller.parsing import Attachment, Unlocking, formats, limits, passwords, registry, sniff
from tests.fixtures import files, locked, ole, opendocument, zips

PASSWORD = "größe of it"
DOCUMENTS = Path(os.environ.get("DATADISTILLER_DATA", "../shared/data")) / "documents"
OFFICE = [formats.DOCX, formats.PPTX, formats.XLSX, formats.XLSB]
#: Files that others encrypted, with what opens them.
REAL = [
    ("docx/tika__protected_normal_case.docx", "password"), ("ppt/tika__testPPT_protected_passtika.ppt", "tika"),
    ("xls/tika__testEXCEL_protected_passtika.xls", "tika"), ("xls/tika__password.xls", "password"),
    ("xlsx/tika__testEXCEL_protected_passtika_2.xlsx", "tika"), ("xlsx/unstructured__password_protected.xlsx", "123"),
    ("odt/tika__testODTEncrypted.odt", "tika"),
]  # fmt: skip


def pages(path: Path, media_type: str, password: str | None = None) -> list[Page]:
    parser = registry.parser_of(media_type)
    if password is not None:
        assert isinstance(parser, Unlocking)
        parser = parser.unlocked_by(password)
    return [item for item in parser.parse(path, media_type) if isinstance(item, Page)]


def told(path: Path) -> str:
    """Its type by content and name."""
    return sniff.sniff(path.read_bytes()[: sniff.HEAD_BYTES], path.name)


@pytest.mark.parametrize("media_type", OFFICE)
class TestOffice:
    """What is encrypted as Office does it since 2010."""

    def test_the_password_opens_it(self, tmp_path: Path, media_type: str) -> None:
        plain = pages(files.sample(tmp_path, media_type), media_type)
        path = locked.office(files.sample(tmp_path, media_type), PASSWORD)
        assert pages(path, media_type, PASSWORD) == plain

    def test_no_password_and_a_wrong_one_are_told_apart(self, tmp_path: Path, media_type: str) -> None:
        path = locked.office(files.sample(tmp_path, media_type), PASSWORD)
        with pytest.raises(errors.EncryptedDocument, match="by a password") as caught:
            pages(path, media_type)
        assert "retry" in caught.value.hint
        with pytest.raises(errors.EncryptedDocument, match="does not open") as caught:
            pages(path, media_type, "guess")
        assert "right password" in caught.value.hint

    def test_a_file_that_only_forbids_changes_opens_by_itself(self, tmp_path: Path, media_type: str) -> None:
        path = locked.office(files.sample(tmp_path, media_type), passwords.OFFICE_DEFAULT)
        assert pages(path, media_type)

    def test_what_nobody_knows_says_so(self, tmp_path: Path, media_type: str) -> None:
        path = ole.write(tmp_path / "a", {"EncryptedPackage": bytes(99), "EncryptionInfo": b"\x09\0\x09\0" + bytes(99)})
        with pytest.raises(errors.EncryptedDocument, match="by a password"):
            pages(path, media_type)
        with pytest.raises(errors.EncryptedDocument, match="not known here"):
            pages(path, media_type, PASSWORD)


@pytest.mark.parametrize(("name", "password"), REAL)
def test_files_that_others_encrypted(name: str, password: str) -> None:
    path = DOCUMENTS / name
    if not path.is_file():
        pytest.skip(f"the real documents are not at {DOCUMENTS} (set DATADISTILLER_DATA)")
    assert any(page.text for page in pages(path, told(path), password))
    with pytest.raises(errors.EncryptedDocument, match="does not open"):
        pages(path, told(path), f"not {password}")
    with pytest.raises(errors.EncryptedDocument, match="by a password"):
        pages(path, told(path))


@pytest.mark.parametrize("media_type", [formats.ODT, formats.ODS, formats.ODP])
class TestOpenDocument:
    """What is encrypted part by part."""

    def test_the_password_opens_it_and_no_other(self, tmp_path: Path, media_type: str) -> None:
        plain = pages(files.sample(tmp_path, media_type), media_type)
        path = locked.open_document(files.sample(tmp_path, media_type), PASSWORD)
        assert pages(path, media_type, PASSWORD) == plain
        for password, says in ((None, "by a password"), ("guess", "does not open")):
            with pytest.raises(errors.EncryptedDocument, match=says):
                pages(path, media_type, password)

    def test_other_ways_are_named(self, tmp_path: Path, media_type: str) -> None:
        old = locked.open_document(files.sample(tmp_path, media_type), PASSWORD, method="blowfish")
        with pytest.raises(errors.EncryptedDocument, match="not known here"):
            pages(old, media_type, PASSWORD)
        new = opendocument.make(tmp_path / "new", media_type, more={"encrypted-package": "x"})
        with pytest.raises(errors.EncryptedDocument, match="not known here"):
            pages(new, media_type, PASSWORD)

    def test_damage_and_bombs_end(self, tmp_path: Path, media_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
        path = locked.open_document(files.sample(tmp_path, media_type), PASSWORD)
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        parts["META-INF/manifest.xml"] = parts["META-INF/manifest.xml"].replace(b"m:salt", b"m:pepper")
        zips.zipped(path, parts)
        with pytest.raises(errors.DamagedDocument):
            pages(path, media_type, PASSWORD)
        monkeypatch.setattr(limits, "RATIO_FREE_BYTES", 0)
        monkeypatch.setattr(limits, "MAX_RATIO", 1)
        path = locked.open_document(opendocument.make(tmp_path / "b", media_type), PASSWORD)
        with pytest.raises(errors.LimitExceeded):
            pages(path, media_type, PASSWORD)


class TestZip:
    """Archives."""

    @pytest.fixture(params=["aes", "old"])
    def path(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        """An encrypted file beside one that is not."""
        if request.param == "old":
            return locked.old_zip(tmp_path / "a.zip", {"a.txt": b"Ducks", "b.txt": b"Geese"}, PASSWORD)
        with pyzipper.AESZipFile(tmp_path / "a.zip", "w", compression=pyzipper.ZIP_DEFLATED) as archive:
            archive.writestr("b.txt", b"Geese")
            archive.setpassword(PASSWORD.encode())
            archive.setencryption(pyzipper.WZ_AES, nbits=256)
            archive.writestr("a.txt", b"Ducks")
        return tmp_path / "a.zip"

    def read(self, path: Path, password: str | None) -> dict[str, bytes | str]:
        """Each file, or the sentence why there is none."""
        parser = registry.parser_of(formats.ZIP)
        assert isinstance(parser, Unlocking)
        found: dict[str, bytes | str] = {}
        for item in (parser.unlocked_by(password) if password is not None else parser).parse(path, formats.ZIP):
            if isinstance(item, Attachment):
                try:
                    found[item.path] = item.problem.message if item.problem else b"".join(item.pieces)
                except errors.EncryptedDocument as error:
                    found[item.path] = error.message
        return found

    def test_the_password_opens_what_is_encrypted(self, path: Path) -> None:
        assert self.read(path, PASSWORD) == {"a.txt": b"Ducks", "b.txt": b"Geese"}

    def test_without_it_the_others_are_read(self, path: Path) -> None:
        found = self.read(path, None)
        assert found.pop("b.txt") == b"Geese" and "by a password" in str(found["a.txt"])

    def test_a_wrong_one_opens_nothing_more(self, path: Path) -> None:
        found = self.read(path, "guess")
        assert found.pop("b.txt") == b"Geese" and "does not open" in str(found["a.txt"])
