"""OpenDocument files that are encrypted part by part, as most programs do it (AES-256-CBC with PBKDF2).

Source: OpenDocument 1.2, part 3 (packages), 4.8. Older files (Blowfish) and newest ones (Argon2) are told apart.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import zipfile
import zlib
from typing import IO

from datadistiller import errors
from datadistiller.parsing import limits, passwords
from datadistiller.parsing.packed.archive import Archive, Element, attribute, local

_PARTS = ("content.xml", "styles.xml", "meta.xml")
_AES, _KEY, _START = "aes256-cbc", "PBKDF2", "sha256"
_CHECKED_BYTES, _BLOCK, _RAW_DEFLATE = 1024, 16, -15


def locked_parts(archive: Archive) -> dict[str, Element]:
    """Part -> how it is encrypted, of those that are."""
    root = archive.xml("META-INF/manifest.xml")
    found: dict[str, Element] = {}
    for entry in root.iter() if root is not None else ():
        for child in entry:
            if local(entry) == "file-entry" and local(child) == "encryption-data":
                found[attribute(entry, "full-path") or ""] = child
    return found


def unlocked(archive: Archive, parts: dict[str, Element], what: str, password: str) -> IO[bytes]:
    """The same file with the parts that are read decrypted, and no others.

    Raises ``errors.EncryptedDocument``, ``DamagedDocument``, ``LimitExceeded``.
    """
    plain = io.BytesIO()
    with zipfile.ZipFile(plain, "w") as out:
        for name in archive.names():
            encryption = parts.get(name)
            if name in _PARTS:
                data = archive.read(name)
                out.writestr(name, data if encryption is None else _decrypted(data, encryption, what, password))
            elif name != "META-INF/manifest.xml":
                out.writestr(name, b"")  # for the warnings: names tell what nobody reads
    return plain


def _decrypted(data: bytes, encryption: Element, what: str, password: str) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import CBC

    said = {f"{local(part)} {key.rpartition('}')[2]}": value for part in encryption for key, value in part.items()}
    if not (
        said.get("algorithm algorithm-name", "").endswith(_AES)
        and said.get("key-derivation key-derivation-name", "").endswith(_KEY)
        and said.get("start-key-generation start-key-generation-name", "").endswith(_START)
    ):
        raise passwords.unknown(what)
    try:
        start = hashlib.sha256(password.encode()).digest()
        salt = base64.b64decode(said["key-derivation salt"])
        key = hashlib.pbkdf2_hmac("sha1", start, salt, int(said["key-derivation iteration-count"]), 32)
        vector = base64.b64decode(said["algorithm initialisation-vector"])
        decryptor = Cipher(AES(key), CBC(vector)).decryptor()
        packed = decryptor.update(data[: len(data) // _BLOCK * _BLOCK]) + decryptor.finalize()
        checksum = base64.b64decode(attribute(encryption, "checksum") or "")
    except (KeyError, ValueError, OverflowError, binascii.Error) as error:
        raise errors.DamagedDocument(f"The {what} is damaged.") from error
    packed = packed[: len(packed) - packed[-1]] if packed and packed[-1] <= _BLOCK else packed
    if hashlib.sha256(packed[:_CHECKED_BYTES]).digest() != checksum:
        raise passwords.refused(what)
    return _inflated(packed, what)


def _inflated(packed: bytes, what: str) -> bytes:
    inflating = zlib.decompressobj(_RAW_DEFLATE)
    most = min(limits.MAX_EXPANDED_BYTES, limits.RATIO_FREE_BYTES + limits.MAX_RATIO * len(packed))
    try:
        data = inflating.decompress(packed, most)
    except zlib.error as error:
        raise errors.DamagedDocument(f"The {what} is damaged.") from error
    if inflating.unconsumed_tail:
        raise errors.LimitExceeded(f"The {what} expands to more than it may.", hint="Split it, and save it again.")
    return data
