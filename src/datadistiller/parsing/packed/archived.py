"""7-Zip and RAR archives, by the system's libarchive: a list of what is in them, and each file as an attachment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datadistiller import errors
from datadistiller.model import Problem
from datadistiller.parsing import Attachment, Header, Item, formats, limits
from datadistiller.parsing.attaching import clean_path
from datadistiller.parsing.packed import libarchive
from datadistiller.parsing.packed.libarchive import Archive, Entry
from datadistiller.parsing.packed.listing import Listing
from datadistiller.parsing.packed.zipped import encrypted, no_file, too_many


class ArchivedParser:
    """Reads archives of 7-Zip and RAR."""

    name = "libarchive"
    media_types = (formats.SEVEN_ZIP, formats.RAR)

    def parse(self, path: Path, media_type: str, first_page: int = 1) -> Iterator[Item]:
        """The files in it, then one page that lists them. Raises ``errors.DamagedDocument``, ``EmptyDocument``,
        ``EncryptedDocument`` if even the names are, ``UnsupportedType`` where libarchive is missing."""
        allowed = limits.RATIO_FREE_BYTES + limits.MAX_RATIO * path.stat().st_size
        try:
            with libarchive.opened(path, min(allowed, limits.MAX_EXPANDED_BYTES)) as archive:
                yield Header(self.name, media_type, "", 1)
                yield from _members(archive)
        except libarchive.Damage:
            raise errors.DamagedDocument("The archive is damaged or cut off.") from None


def _members(archive: Archive) -> Iterator[Item]:
    """What lies in it, in one pass. Damage in the middle ends it: what came before stays."""
    listing = Listing()
    count = 0
    try:
        for entry in archive.entries():
            if entry.folder:
                continue
            count += 1
            if count > limits.MAX_MEMBERS:
                yield too_many()
                break
            listing.add(clean_path(entry.path), entry.size)
            problem = _problem(entry)
            yield Attachment(entry.path, () if problem else archive.pieces(), entry.size, problem)
    except (libarchive.Damage, errors.UnreadableDocument) as error:
        if not count:
            raise _unread(archive) from None
        rest = error if isinstance(error, errors.LimitExceeded) else _cut_off()
        yield Attachment("and more", problem=rest.problem())
    if not count:
        raise errors.EmptyDocument("There is no file in the archive.")
    yield listing.page(1)


def _problem(entry: Entry) -> Problem | None:
    if entry.encrypted:
        return encrypted()
    return None if entry.regular else no_file("a link or a device")


def _unread(archive: Archive) -> errors.UnreadableDocument:
    if archive.encrypted():
        return errors.EncryptedDocument(
            "The archive is protected by a password.", hint="Unpack it with its password, and upload what is in it."
        )
    return errors.DamagedDocument("The archive is damaged or cut off.")


def _cut_off() -> errors.DamagedDocument:
    return errors.DamagedDocument("The archive is damaged or cut off here; what follows was not read.")
