"""What objects are called: harmless everywhere, and still telling a person what they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadistiller import objects
from datadistiller.objects import names


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\Über uns.docx", "Über uns.docx"),
        ('a"b<c>|d?.txt', "a_b_c_d_.txt"),
        ("données 📈 2024.csv", "données _ 2024.csv"),
        ("a\x00b\r\nc.txt", "a_b_c.txt"),
        ("", "document"),
        ("..", "document"),
        (".pdf", "pdf"),
        ("CON.txt", "_CON.txt"),
        ("nul", "_nul"),
        ("trailing. ", "trailing"),
        ("x#1", "x_1"),
        ("日本語.txt", "日本語.txt"),
        (".incoming-1", "incoming-1"),
    ],
)
def test_safe_names(name: str, safe: str) -> None:
    assert objects.safe_filename(name) == safe


def test_long_names_keep_their_extension() -> None:
    safe = objects.safe_filename("é" * 300 + ".pdf")
    assert safe.endswith("é.pdf")
    assert 190 < len(safe.encode()) <= names.MAX_NAME_BYTES


@given(st.text(max_size=400))
def test_any_name_becomes_a_usable_one(name: str) -> None:
    safe = objects.safe_filename(name)
    assert 0 < len(safe.encode()) <= names.MAX_NAME_BYTES + 1
    assert "/" not in safe and "\\" not in safe and "\0" not in safe and not safe.startswith(".")
    assert objects.safe_filename(safe) == safe
