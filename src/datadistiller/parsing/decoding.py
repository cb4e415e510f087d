"""Bytes of unknown encoding become text: BOM, UTF-8, the declared charset, then the likeliest legacy encoding.

No library is used: the ones at hand answer mojibake for legacy files. The guess scores what a language's
readers would expect to see (kana, common Cyrillic letters, first-level Chinese characters), which is enough
for texts of a few words and more.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass

from datadistiller.model import Problem

_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 65_536  # bytes looked at when guessing
_CONTROLS = bytes(b for b in range(32) if b not in b"\t\n\r\f\x1a\x1b")
#: The commonest letters of each alphabet: about two thirds of any text in it.
_COMMON_CYRILLIC = frozenset("оеаинтсрвлкм")
_COMMON_GREEK = frozenset("αοιετσνηυρςάίό")
_COMMON_HEBREW = frozenset("יוהלארתמבשםנ")
_CENTRAL = frozenset("ěščřžýůťďňłąęśźżćńőűľĺŕôČŠŽŘŁŚŻ")
_WESTERN = frozenset("éèêëàâçñöüäßåøæôîïùûóíúáãõÉÀÇÑÖÜÄÅØÆ’‘“”–—…€°§£«»©®¿¡")


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text, the encoding its bytes were taken for ("utf-8", "windows-1251"), and what there is to say about that."""

    text: str
    encoding: str
    warnings: Sequence[Problem] = ()


def read(data: bytes, declared: str | None = None) -> Decoded:
    """The text of ``data``. Never raises: what no encoding explains becomes U+FFFD."""
    codec, told = _codec(data, declared)
    text = data.decode(codec, "replace").removeprefix("\ufeff")
    encoding = _shown(codec)
    warnings = []
    if not told:
        warnings.append(_guessed(encoding))
    if lost := text.count("\ufffd"):
        warnings.append(_lost(encoding, lost))
    return Decoded(text, encoding, warnings)


def decode(data: bytes, declared: str | None = None) -> str:
    """The text alone."""
    return read(data, declared).text


def _codec(data: bytes, declared: str | None) -> tuple[str, bool]:
    """The likeliest encoding, and whether the file tells it: by its marks, by what it declares, or by being UTF-8."""
    marked = wide(data)
    if marked:
        return marked, True
    if _is_utf8(data):
        return "utf-8", True
    known = _known(declared)
    if known and _decodes(data, known):
        return known, True
    return _legacy(data[:_SAMPLE]), False


def _shown(codec: str) -> str:
    """What people call a codec of Python's."""
    name = codec.removesuffix("-sig").replace("_", "-")
    return name.replace("cp125", "windows-125").replace("iso8859", "iso-8859")


def _guessed(encoding: str) -> Problem:
    return Problem(
        "encoding_guessed",
        f"The file does not say how its characters are encoded; it was read as {encoding}.",
        "If letters are wrong, save it as UTF-8 and upload that.",
    )


def _lost(encoding: str, count: int) -> Problem:
    return Problem(
        "characters_lost",
        f"{count} characters are none in the encoding {encoding}; a replacement mark stands for each.",
        "If that is much, the file is damaged or of another encoding: save it as UTF-8 and upload that.",
    )


def looks_textual(head: bytes) -> bool:
    """True if ``head`` (the beginning of a file) reads as text in some encoding, False if it is binary."""
    if wide(head):
        return True
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if controls * 100 <= len(head):
        return head.count(0) * 1000 <= len(head)
    return _ebcdic(head)


def wide(data: bytes) -> str | None:
    """The encoding if a BOM names it, or if it is UTF-16 or UTF-32 by where the zero bytes are. Cheap."""
    for bom, name in _BOMS:
        if data.startswith(bom):
            return name
    return _by_zeros(data[:_SAMPLE])


def _by_zeros(data: bytes) -> str | None:
    if len(data) < 8 or data.count(0) * 5 < len(data):
        return None
    quarters = [data[i::4].count(0) * 4 / len(data) for i in range(4)]
    if min(quarters[1:]) > 0.9 > quarters[0]:
        return "utf-32-le"
    if min(quarters[:3]) > 0.9 > quarters[3]:
        return "utf-32-be"
    even, odd = (quarters[0] + quarters[2]) / 2, (quarters[1] + quarters[3]) / 2
    if odd > 0.7 and even < 0.1:
        return "utf-16-le"
    return "utf-16-be" if even > 0.7 and odd < 0.1 else None


def _is_utf8(data: bytes) -> bool:
    """Valid UTF-8, or UTF-8 with a few broken places (a file cut in a character, one stray byte)."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        sample = data[:_SAMPLE]
        text = sample.decode("utf-8", "replace")
        good = sum(1 for c in text if c > "\x7f") - text.count("\ufffd")
        return good >= 20 * max(1, text.count("\ufffd") - 1)
    return True


def _known(name: str | None) -> str | None:
    """The declared charset as Python knows it. What the web calls latin-1 is Windows-1252."""
    try:
        found = codecs.lookup((name or "").strip(" \"'")).name
        b"a".decode(found, "replace")  # raises for codecs that are no charsets: hex, rot13, undefined
    except (LookupError, ValueError):
        return None
    if found in ("iso8859-1", "ascii"):
        return "cp1252"
    # Those that run longer than the text they make are refused as well.
    return None if re.fullmatch(r"(punycode|idna|.*escape|utf-7)", found) else found


def _decodes(data: bytes, encoding: str) -> bool:
    text = data[:_SAMPLE].decode(encoding, "replace")
    return text.count("\ufffd") * 100 <= len(text)


def _legacy(data: bytes) -> str:
    """The likeliest single- or double-byte encoding."""
    if _ebcdic(data):
        return "cp500"
    # In Latin scripts the accented letters are few among plain ones; elsewhere whole words are high bytes.
    words = b"".join(word for word in re.findall(rb"[A-Za-z\x80-\xff]{2,}", data) if not word.isascii())
    if sum(1 for b in words if b > 0x7F) * 2 < len(words) or not words:
        central = _share(data.decode("cp1250", "replace"), _CENTRAL)
        western = _share(data.decode("cp1252", "replace"), _WESTERN)
        return "cp1250" if central > western else "cp1252"
    scores = {name: _script_score(data, name) for name in _SCRIPTS}
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] > 0.5 else "cp1252"


def _ebcdic(data: bytes) -> bool:
    """IBM mainframe text: spaces are 0x40, letters and digits are high, ASCII's space is missing."""
    if data.count(0x40) * 50 < len(data) or data.count(0x20) * 100 > len(data):
        return False
    text = data[:4096].decode("cp500")
    readable = sum(1 for c in text if c.isascii() and (c.isalnum() or c in " .,;:()-'\"/&\r\n\t"))
    return readable > 0.85 * len(text)


def _share(text: str, wanted: frozenset[str]) -> float:
    high = [c for c in text if c > "\x7f"]
    return sum(1 for c in high if c in wanted) / max(1, len(high))


def _kana(text: str) -> float:
    good = sum(2 for c in text if "぀" <= c <= "ヿ") + sum(1 for c in text if "一" <= c <= "鿿" or "　" <= c <= "〿")
    high = sum(1 for c in text if c > "\x7f")
    kana = any("぀" <= c <= "ヿ" for c in text)
    return min(1.0, good / max(1, high)) if kana else 0.0


def _hangul(text: str) -> float:
    return sum(1 for c in text if "가" <= c <= "힣") / max(1, sum(1 for c in text if c > "\x7f"))


def _cyrillic(text: str) -> float:
    return min(1.0, _share(text, _COMMON_CYRILLIC) / 0.6)


def _greek(text: str) -> float:
    return min(1.0, _share(text, _COMMON_GREEK) / 0.7)


def _hebrew(text: str) -> float:
    if all("א" <= c <= "ת" for c in text if c > "\x7f"):
        return 1.1  # the same bytes are Cyrillic without capitals and without ы, ь, ю, я: that is rarer
    return min(1.0, _share(text, _COMMON_HEBREW) / 0.7)


def _first_level(lead_from: int, lead_to: int, data: bytes) -> float:
    """Share of double-byte characters among the everyday ones, which legacy Chinese charsets put first."""
    leads = [m[0][0] for m in re.finditer(rb"[\x81-\xfe][\x40-\xfe]", data)]
    return sum(1 for b in leads if lead_from <= b <= lead_to or 0xA1 <= b <= 0xA3) / max(1, len(leads))


_SCRIPTS = {
    "shift_jis": _kana,
    "euc_jp": _kana,
    "euc_kr": _hangul,
    "gb18030": None,
    "big5": None,
    "cp1251": _cyrillic,
    "koi8_r": _cyrillic,
    "cp866": _cyrillic,
    "cp1253": _greek,
    "cp1255": _hebrew,
}


def _script_score(data: bytes, encoding: str) -> float:
    """From 0 (cannot be) to 1 (reads like the script's language)."""
    text = data.decode(encoding, "replace")
    if text.count("\ufffd") * 50 > len(text):
        return 0.0
    judge = _SCRIPTS[encoding]
    if judge is not None:
        return judge(text)
    return 0.9 * (_first_level(0xB0, 0xD7, data) if encoding == "gb18030" else _first_level(0xA4, 0xC6, data))
