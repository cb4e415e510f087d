"""ZIP archives: a list of what is in them, and each file as an attachment."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from datadistiller import errors
from datadistiller.model import Problem
from datadistiller.parsing import Attachment, Header, Item, formats, limits, passwords
from datadistiller.parsing.attaching import clean_path
from datadistiller.parsing.packed.listing import Listing
from datadistiller.parsing.passwords import Locked

_ENCRYPTED = 1  # flag of an entry
_AES = 99  # stands for the method of those that are encrypted by AES
_UTF8 = 1 << 11
_SYMLINK, _KIND = 0o120000, 0o170000


class ZipParser(Locked):
    """Reads ZIP archives that are no document of another type. A password opens those of its files that it fits."""

    name = "zip"
    media_types = (formats.ZIP,)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """The files in it, then one page that lists them. Raises ``errors.DamagedDocument``, ``EmptyDocument``."""
        try:
            archive = _opened(path, self._password)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
            raise errors.DamagedDocument("The archive is damaged or cut off: it has no list of its files.") from error
        with archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if not entries:
                raise errors.EmptyDocument("There is no file in the archive.")
            yield Header(self.name, formats.ZIP, "", 1)
            listing = Listing()
            for entry in entries[: limits.MAX_MEMBERS]:
                name = _name(entry)
                listing.add(clean_path(name), entry.file_size)
                yield Attachment(name, _pieces(archive, entry), entry.file_size, self._problem(entry))
            if len(entries) > limits.MAX_MEMBERS:
                yield too_many()
            yield listing.page(1)

    def _problem(self, entry: zipfile.ZipInfo) -> Problem | None:
        if entry.flag_bits & _ENCRYPTED and self._password is None:
            return passwords.locked("file").problem()
        if (entry.external_attr >> 16) & _KIND == _SYMLINK:
            return no_file("a link")
        return None


def _opened(path: Path, password: str | None) -> zipfile.ZipFile:
    """The archive. The library that knows AES is a copy of the usual one, and taken only where it is needed."""
    archive = zipfile.ZipFile(path)
    if password is None:
        return archive
    if any(entry.compress_type == _AES for entry in archive.infolist()):
        import pyzipper

        archive.close()
        archive = pyzipper.AESZipFile(path)
    archive.setpassword(password.encode())
    return archive


def too_many() -> Attachment:
    """Stands for the members beyond those that are looked at."""
    error = errors.LimitExceeded(
        f"The archive has more than {limits.MAX_MEMBERS:,} files; the others were not looked at.",
        hint="Pack it into several archives.",
    )
    return Attachment("and more", problem=error.problem())


def encrypted() -> Problem:
    """Of a file that is protected by a password."""
    hint = "Unpack it with its password, and upload what is in it."
    return errors.EncryptedDocument("The file is protected by a password.", hint=hint).problem()


def no_file(what: str) -> Problem:
    """Of what is in an archive, and is no file."""
    return errors.UnsupportedType(f"This is {what}; only files are read.").problem()


def _pieces(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    """Never more than the size that the entry declares; what does not fit its checksum is damaged."""
    try:
        with archive.open(entry) as stream:
            while piece := stream.read(limits.PIECE_BYTES):
                yield piece
    except NotImplementedError as error:
        raise errors.UnsupportedType("It is compressed in a way that cannot be read.") from error
    except RuntimeError as error:  # all that the library says of a password that does not fit
        raise passwords.refused("file") from error


def _name(entry: zipfile.ZipInfo) -> str:
    """Names are in UTF-8 more often than their flag says so; without it the library reads them as code page 437."""
    if not entry.flag_bits & _UTF8:
        try:
            return entry.filename.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass
    return entry.filename
