"""Files that a password opens: what is said of them, and Office files without their encryption."""

from __future__ import annotations

import io
from typing import Self

from datadistiller import errors

#: What Office encrypts with when it only forbids changes: it opens such files without asking.
OFFICE_DEFAULT = "VelvetSweatshop"
_LOCKED_HINT = "Start it again with retry and its password, or upload it again with the field password."
_REFUSED_HINT = "Start it again with retry and the right password, or upload it again with that."


class Locked:
    """What parsers are whose encrypted files a password opens (``parsing.Unlocking``)."""

    def __init__(self, password: str | None = None) -> None:
        self._password = password

    def unlocked_by(self, password: str) -> Self:
        """The same for one file that this password may open."""
        return type(self)(password)


def locked(what: str) -> errors.EncryptedDocument:
    """No password was given."""
    return errors.EncryptedDocument(f"The {what} is protected by a password.", hint=_LOCKED_HINT)


def refused(what: str) -> errors.EncryptedDocument:
    """The password does not fit."""
    return errors.EncryptedDocument(
        f"The {what} is protected, and the password that was given does not open it.", hint=_REFUSED_HINT
    )


def unknown(what: str) -> errors.EncryptedDocument:
    """It is encrypted, and nobody here knows how."""
    return errors.EncryptedDocument(f"The {what} is protected in a way that is not known here.")


def office(data: bytes, what: str, password: str | None) -> bytes:
    """An encrypted Office file, old or new, decrypted. Without a password the one is tried that Office knows.

    Raises ``errors.EncryptedDocument``.
    """
    import msoffcrypto  # only when such a file comes: it takes time to load
    from msoffcrypto.exceptions import InvalidKeyError

    plain = io.BytesIO()
    try:
        file = msoffcrypto.OfficeFile(io.BytesIO(data))
        checked = {"verify_password": True} if file.format == "ooxml" else {}  # the others always check it
        file.load_key(password=OFFICE_DEFAULT if password is None else password, **checked)
        file.decrypt(plain)
    except MemoryError:
        raise
    except InvalidKeyError:
        raise (locked(what) if password is None else refused(what)) from None
    except Exception:  # the library has no type for what is damaged, or encrypted in another way
        raise (locked(what) if password is None else unknown(what)) from None
    return plain.getvalue()
