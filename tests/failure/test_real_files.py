"""Real files of every format, read in the sandbox: a result or a stated reason for each, and the same text twice.

The same document saved in an old and in a new format must give nearly the same words: that is the measure of the
readers of old formats, as nobody has written down what is in them.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from datadistiller import errors, model
from datadistiller.parsing import sniff
from datadistiller.runtime.sandbox import Limits, Sandbox

DOCUMENTS = Path(os.environ.get("DATADISTILLER_DATA", "../shared/data")) / "documents"
FOLDERS = ["odt", "ods", "odp", "rtf", "mbox", "doc", "xls", "ppt", "msg", "xml", "markup_other", "iwork"]
#: What may be said of a file that is not read: something about the file, never about us.
REASONS = {"encrypted", "damaged", "no_text", "empty_document"}
NEWER = [("doc", "docx"), ("xls", "xlsx"), ("ppt", "pptx"), ("odt", "docx"), ("ods", "xlsx")]
#: Files that have only the name in common, and one of a single word with its pronunciation beside it.
UNLIKE = {"tika__testPPT", "tika__testWORD_phonetic"}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    if not DOCUMENTS.is_dir():
        pytest.skip(f"the real documents are not at {DOCUMENTS} (set DATADISTILLER_DATA)")
    sandbox = Sandbox(Limits(), concurrency=2)
    yield sandbox
    await sandbox.close()


async def read(sandbox: Sandbox, path: Path) -> model.ParsedDocument:
    with path.open("rb") as file:
        media_type = sniff.sniff(file.read(sniff.HEAD_BYTES), path.name)
    return await sandbox.parse(path, media_type)


def words(document: model.ParsedDocument) -> Counter[str]:
    """The words of a document; what only one format shows (comments, running headers) is few beside them."""
    return Counter(re.findall(r"\w+", " ".join(page.text for page in document.pages).lower()))


def f1(a: Counter[str], b: Counter[str]) -> float:
    return 2 * (a & b).total() / max(1, a.total() + b.total())


@pytest.mark.parametrize("folder", FOLDERS)
async def test_every_file_has_a_result_or_a_reason(sandbox: Sandbox, folder: str) -> None:
    outcomes: dict[str, str] = {}
    for path in sorted((DOCUMENTS / folder).iterdir()):
        try:
            document = await read(sandbox, path)
            outcomes[path.name] = "read" if any(page.text.strip() for page in document.pages) else "no_text"
        except errors.DataDistillerError as error:
            assert error.message
            outcomes[path.name] = error.code
    assert outcomes
    assert not {name: code for name, code in outcomes.items() if code != "read" and code not in REASONS}
    assert list(outcomes.values()).count("read") >= 0.7 * len(outcomes)


@pytest.mark.parametrize(("old", "new"), NEWER)
async def test_the_same_document_in_two_formats(sandbox: Sandbox, old: str, new: str) -> None:
    twins = {path.stem: path for path in (DOCUMENTS / new).iterdir() if path.suffix != ".xlsb"}
    scores = {}
    for path in sorted((DOCUMENTS / old).iterdir()):
        if path.stem in twins and path.stem not in UNLIKE:
            ours, theirs = await read(sandbox, path), await read(sandbox, twins[path.stem])
            if words(theirs):
                scores[path.stem] = f1(words(ours), words(theirs))
    assert scores
    assert min(scores.values()) > 0.9, scores
