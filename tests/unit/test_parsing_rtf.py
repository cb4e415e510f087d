"""RTF: groups, control words, code pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistiller import errors
from datadistiller.parsing import formats
from datadistiller.parsing.office import rtf
from tests.fixtures import files
from tests.unit.test_parsing_binary import OF_DUCKS, blocks_of, parse

_NAMES = (
    "par pard intbl cell row trowd plain v v0 deleted f0 f1 f99 uc0 uc3 u8364 u-10179 bin3 s1 ls1 ilvl2 tab fonttbl"
    " stylesheet info title footnote header pict object fldinst fldrslt listtext ansicpg932 ansicpg1 outlinelevel3"
)
WORDS = _NAMES.split()
pieces = st.sampled_from(
    ["{", "}", "{\\*", "\\*", "\\'e9", "\\'83", "\\~", "\\-", "\\_", "\\\n", "\\", "word ", "é", "\r\n"]
    + [f"\\{word} " for word in WORDS]
)


def text_of(source: str | bytes) -> str:
    data = source if isinstance(source, bytes) else source.encode("latin-1")
    return rtf.convert(b"{\\rtf1\\ansi " + data + b"}")[1].build(1).text


def test_structure(tmp_path: Path) -> None:
    header, pages = parse(files.sample(tmp_path, formats.RTF), formats.RTF)
    assert header.title == "Of Ducks"
    assert blocks_of(pages[0]) == [
        *OF_DUCKS,
        ("paragraph", 0, "Утка Café Ω😀"),
        ("paragraph", 0, "Footnote: Mostly."),
    ]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (r"\ansicpg932 \'83e\'83\'58\'83g", "テスト"),  # the second byte of a character as it is
        (r"{\fonttbl{\f7\fcharset238 X;}}\f7 \'c8l\'e1nek", "Článek"),
        (r"\uc2\u8364\'80\'80 5", "€ 5"),
        (r"\uc0\u65 B", "AB"),
        (r"\u65\'41{B}", "AB"),
        (r"a\bin4 {{}}b", "ab"),
        (r"one\line two\par three", "one\ntwo\n\nthree"),
        (r"x{\*\cs7 y}z\*\cs7 w", "xyzw"),
        (r"a{\*\generator X}{\pict 0102}{\object{\*\objdata 00}{\result shown}}b", "ashownb"),
        (r"{\header\pard Running\par}{\headerf\pard Running\par}body\par", "body\n\nRunning"),
        (r"\trowd\intbl one\cell\row\pard after", "one\n\nafter"),
        (r"open {\b group", "open group"),
        (r"}too many}", "too many"),
        (r"caf\'e9 \{brace\} \\", "café {brace} \\"),
    ],
)
def test_words(source: str, text: str) -> None:
    assert text_of(source) == text


def test_it_must_begin_like_one() -> None:
    with pytest.raises(errors.DamagedDocument):
        rtf.convert(b"{\\pwi1 x}")


def test_deep_groups() -> None:
    assert text_of("{" * 50_000 + "deep") == "deep"
    with pytest.raises(errors.LimitExceeded):
        text_of("{" * 200_000)


@given(st.lists(pieces, max_size=60))
def test_any_words_give_a_clean_page(parts: list[str]) -> None:
    _, builder = rtf.convert(b"{\\rtf1 " + "".join(parts).encode("utf-8"))
    page = builder.build(1)
    assert [b.end for b in page.blocks] == sorted(b.end for b in page.blocks)
    assert not any("\ud800" <= c <= "\udfff" or c == "\0" for c in page.text)


@given(st.binary(max_size=300))
def test_any_bytes_are_read(data: bytes) -> None:
    rtf.convert(b"{\\rtf1 " + data)
