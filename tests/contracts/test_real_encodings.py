"""Every file of odd encoding in the evaluation data: its encoding is named, and its text has no mojibake.

The truth stands in the names of the files, in what HTML files declare, and in words that are in them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datadistiller.parsing import decoding, sniff
from datadistiller.runtime.sandbox import Limits, Sandbox

DOCUMENTS = Path(os.environ.get("DATADISTILLER_DATA", "../shared/data")) / "documents"
#: File, its encoding, words in it.
TRUTH = [
    ("csv/unstructured__stanley-cups-utf-16.csv", "utf-16", "Team: Blues; Location: STL"),
    ("eml/unstructured__fake-email-utf-16-be.eml", "utf-16-be", "From: Matthew Robinson <mrobinson@unstructured.io>"),
    ("eml/unstructured__fake-email-utf-16-le.eml", "utf-16-le", "From: Matthew Robinson <mrobinson@unstructured.io>"),
    ("eml/unstructured__fake-email-utf-16.eml", "utf-16", "From: Matthew Robinson <mrobinson@unstructured.io>"),
    ("html/r2r__pg_essay_1.html", "windows-1252", "heard him say — not just"),
    ("html/r2r__pg_essay_2.html", "windows-1252", "they are — as quiet"),
    ("html/tika__testHTMLNoisyMetaEncoding_1.html", "iso-8859-6", "وأعرب الاتحاد الجزائري"),
    ("html/tika__testHTML_utf8.html", "utf-8", "åäö"),
    ("txt/docling__gas_disposition.ebc", "cp500", "BIG FOOT, WEST (GAS)"),
    ("txt/tika__english.cp500.txt", "cp500", "IntelliStation POWER"),
    ("txt/tika__french.txt", "utf-8", "c’est comme ci comme ça"),
    ("txt/tika__russian.cp866.txt", "cp866", "Однажды, в студеную зимнюю пору"),
    ("txt/tika__testTXTNonASCIIUTF8.txt", "utf-8", "Fuchs springt über den faulen"),
    ("txt/tika__testTXT_win-1252.txt", "windows-1252", "to think this is a “windows” encoding"),
    ("txt/unstructured__fake-text-utf-16-be.txt", "utf-16-be", "Doylestown, PA 18901"),
    ("txt/unstructured__fake-text-utf-16-le.txt", "utf-16-le", "Doylestown, PA 18901"),
    ("txt/unstructured__fake-text-utf-16.txt", "utf-16", "Doylestown, PA 18901"),
    ("txt/unstructured__fake-text-utf-32.txt", "utf-32", "Doylestown, PA 18901"),
]
#: These do not say it in any way: the report says that it was guessed.
GUESSED = {"txt/docling__gas_disposition.ebc", "txt/tika__english.cp500.txt", "txt/tika__russian.cp866.txt",
           "txt/tika__testTXT_win-1252.txt"}  # fmt: skip
#: A signature in binary form (its name says XML, its bytes are none of any encoding), and a page whose author lost
#: a character before it came here.
NO_TEXTS = {"tika__testPKCS17Sig-v4.xml.p7m"}
FOLDERS = ("csv", "eml", "html", "json", "markdown", "markup_other", "txt", "xml")


@pytest.fixture(scope="module", autouse=True)
def documents() -> None:
    if not DOCUMENTS.is_dir():
        pytest.skip(f"the real documents are not at {DOCUMENTS} (set DATADISTILLER_DATA)")


async def test_the_report_names_the_encoding_and_the_text_is_right() -> None:
    sandbox = Sandbox(Limits(), concurrency=1)
    wrong = []
    for name, encoding, words in TRUTH:
        path = DOCUMENTS / name
        document = await sandbox.parse(path, sniff.sniff(path.read_bytes()[: sniff.HEAD_BYTES], path.name))
        text = " ".join(page.text for page in document.pages)
        codes = {warning.code for warning in document.warnings}
        told = ("encoding_guessed" in codes) == (name in GUESSED)
        if document.encoding != encoding or words not in text or "\ufffd" in text or not told:
            wrong.append((name, document.encoding, words in text, codes))
    await sandbox.close()
    assert not wrong


def test_no_file_of_odd_encoding_is_left_out() -> None:
    """Texts that are no UTF-8, by the interpreter's own word."""
    odd = set()
    for path in (path for folder in FOLDERS for path in (DOCUMENTS / folder).iterdir()):
        data = path.read_bytes()
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            if decoding.looks_textual(data[: sniff.HEAD_BYTES]):
                odd.add(str(path.relative_to(DOCUMENTS)))
    named = {name for name, _, _ in TRUTH}
    assert {name for name in odd - named if Path(name).name not in NO_TEXTS} == set()
