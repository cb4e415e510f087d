"""What one parser cannot read another one does, in real processes: whole documents, and single pages of them.

The parsers of most tests are those of ``hostile_child``, which crash when the file says so; no real one can be made to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from datadistiller import errors, model
from datadistiller.parsing import formats
from datadistiller.runtime.sandbox import MAX_FAILED_PAGES, Limits, Sandbox
from tests.attachments_kit import Collected
from tests.failure.test_sandbox import HOSTILE, SAY, plan, started_since, texts
from tests.fixtures import files

LIMITS = Limits(page_seconds=30, parse_seconds=120, memory_mb=192)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Two readers for everything."""
    made = Sandbox(LIMITS, concurrency=1, command=HOSTILE, readers=lambda media_type, single_pages: 2)
    yield made
    await made.close()


def then(*pages: list[Any], **more: Any) -> dict[str, Any]:
    """What the second reader does."""
    return {"then": {"pages": pages, **more}}


def said(document: model.ParsedDocument) -> list[str]:
    """What the warnings tell of readers."""
    return [warning.message for warning in document.warnings if warning.code == "another_reader"]


class TestWholeDocument:
    """The first reader gets nothing out of it."""

    @pytest.mark.parametrize("step", ["segfault", "eat"])
    async def test_after_a_crash(self, tmp_path: Path, sandbox: Sandbox, step: str) -> None:
        document = await sandbox.parse(plan(tmp_path, [step], **then(SAY[0])), "text/plain")
        assert texts(document) == ["text 0"]
        assert document.parser == "hostile 1"
        (message,) = said(document)
        assert message.startswith("Whole document: ") and "hostile 1" in message
        assert ("SIGSEGV" in message) == (step == "segfault")

    async def test_after_damage(self, tmp_path: Path, sandbox: Sandbox) -> None:
        path = plan(tmp_path, SAY[0], before=["raise"], **then(SAY[1], SAY[2]))
        assert texts(await sandbox.parse(path, "text/plain")) == ["text 1", "text 2"]

    async def test_after_a_hang(self, tmp_path: Path) -> None:
        limits = Limits(page_seconds=2, parse_seconds=120, memory_mb=192)
        sandbox = Sandbox(limits, concurrency=1, command=HOSTILE, readers=lambda media_type, single_pages: 2)
        document = await sandbox.parse(plan(tmp_path, ["hang"], **then(SAY[0])), "text/plain")
        await sandbox.close()
        assert texts(document) == ["text 0"]

    async def test_both_fail(self, tmp_path: Path, sandbox: Sandbox) -> None:
        """What the first one met is the reason."""
        with pytest.raises(errors.ParserCrashed, match="SIGSEGV"):
            await sandbox.parse(plan(tmp_path, ["segfault"], **then(["abort"])), "text/plain")

    async def test_no_text_is_no_result(self, tmp_path: Path, sandbox: Sandbox) -> None:
        with pytest.raises(errors.ParserCrashed):
            await sandbox.parse(plan(tmp_path, ["segfault"], **then(["say", " "])), "text/plain")

    async def test_a_third_reader(self, tmp_path: Path) -> None:
        sandbox = Sandbox(LIMITS, concurrency=1, command=HOSTILE, readers=lambda media_type, single_pages: 3)
        path = plan(tmp_path, ["segfault"], then={"pages": [["abort"]], **then(SAY[0])})
        document = await sandbox.parse(path, "text/plain")
        await sandbox.close()
        assert texts(document) == ["text 0"] and document.parser == "hostile 2"

    async def test_limits_hold_for_all_readers(self, tmp_path: Path, sandbox: Sandbox) -> None:
        """A document that is too large is no matter of the reader; a second one may read no more than the first."""
        few = Limits(page_seconds=30, parse_seconds=120, memory_mb=192, max_text_chars=20)
        small = Sandbox(few, concurrency=1, command=HOSTILE, readers=lambda media_type, single_pages: 2)
        with pytest.raises(errors.LimitExceeded):
            await small.parse(plan(tmp_path, *SAY[:4], **then(SAY[0])), "text/plain")
        with pytest.raises(errors.ParserCrashed):
            await small.parse(plan(tmp_path, ["segfault"], **then(*SAY[:4])), "text/plain")
        await small.close()
        with pytest.raises(errors.ParserCrashed):
            await sandbox.parse(plan(tmp_path, ["segfault"], **then(["eat"])), "text/plain")

    async def test_time_is_for_all_readers_together(self, tmp_path: Path) -> None:
        sandbox = Sandbox(
            Limits(parse_seconds=3), concurrency=1, command=HOSTILE, readers=lambda media_type, single_pages: 2
        )
        with pytest.raises(errors.ParserTimedOut, match="3 seconds"):
            await sandbox.parse(plan(tmp_path, ["hang"], **then(SAY[0])), "text/plain")
        await sandbox.close()


class TestPages:
    """The first reader reads the others."""

    async def test_one_page(self, tmp_path: Path, sandbox: Sandbox) -> None:
        path = plan(tmp_path, SAY[0], ["segfault"], SAY[2], **then(["abort"], SAY[11], ["abort"]))
        document = await sandbox.parse(path, "text/plain")
        assert texts(document) == ["text 0", "text 11", "text 2"]
        assert document.parser == "hostile, hostile 1"
        (message,) = said(document)
        assert message.startswith("Page 2: ") and "SIGSEGV" in message

    async def test_several(self, tmp_path: Path, sandbox: Sandbox) -> None:
        """Each run of pages by itself; one that neither can read keeps its reason."""
        path = plan(
            tmp_path, ["segfault"], ["segfault"], SAY[2], ["segfault"], SAY[4], ["segfault"],
            **then(SAY[10], SAY[11], SAY[12], SAY[13], SAY[14], ["abort"]),
        )  # fmt: skip
        document = await sandbox.parse(path, "text/plain")
        assert texts(document) == ["text 10", "text 11", "text 2", "text 13", "text 4", "parser_crashed"]
        assert [message.partition(":")[0] for message in said(document)] == ["Pages 1 to 2", "Page 4"]
        assert document.parser == "hostile, hostile 1"

    async def test_pages_that_are_counted_differently_are_not_taken(self, tmp_path: Path, sandbox: Sandbox) -> None:
        path = plan(tmp_path, SAY[0], ["segfault"], SAY[2], **then(SAY[0], SAY[2]))
        document = await sandbox.parse(path, "text/plain")
        assert texts(document) == ["text 0", "parser_crashed", "text 2"] and not said(document)

    async def test_those_behind_too_many_crashes(self, tmp_path: Path, sandbox: Sandbox) -> None:
        crashes = MAX_FAILED_PAGES + 1
        path = plan(tmp_path, SAY[0], *[["segfault"]] * crashes, ["hang"], **then(*SAY[: crashes + 2]))
        assert texts(await sandbox.parse(path, "text/plain")) == [f"text {n}" for n in range(crashes + 2)]

    async def test_files_in_it_come_once(self, tmp_path: Path, sandbox: Sandbox) -> None:
        """They are those that the first reader found."""
        files_in_it = {"attached": {"1": ["a"], "3": ["b"]}}
        path = plan(tmp_path, SAY[0], ["segfault"], SAY[2], **files_in_it, **then(*SAY[:3], attached={"2": ["c"]}))
        found = Collected()
        assert texts(await sandbox.parse(path, "text/plain", attachments=found)) == ["text 0", "text 1", "text 2"]
        assert found.names == ["a", "b"]


async def test_cancelling_kills_the_second_reader(tmp_path: Path, sandbox: Sandbox) -> None:
    others = psutil.Process().children()
    mark = tmp_path / "mark"
    mark.touch()
    path = plan(tmp_path, ["abort"], **then(["touch", str(mark)], ["hang"]))
    task = asyncio.create_task(sandbox.parse(path, "text/plain"))
    while mark.stat().st_mtime:  # noqa: ASYNC110 - another process does it
        await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    _, alive = await asyncio.to_thread(psutil.wait_procs, started_since(others), 30)
    assert not alive
    assert texts(await sandbox.parse(plan(tmp_path, SAY[1]), "text/plain")) == ["text 1"]


async def test_real_files(tmp_path: Path) -> None:
    """A page that pdfium calls damaged, read by pypdf; an Office file that lost its end."""
    sandbox = Sandbox(Limits(), concurrency=1)
    whole = files.pdf(tmp_path / "whole.pdf").read_bytes()
    pdf, docx = tmp_path / "a.pdf", tmp_path / "a.docx"
    pdf.write_bytes(whole.replace(b"endobj\n7 0 obj", b"\n7 0 obj"))
    docx.write_bytes(files.sample(tmp_path, formats.DOCX).read_bytes()[:-200])
    document = await sandbox.parse(pdf, formats.PDF)
    assert document.parser == "pdfium, pypdf"
    assert [bool(page.lines) for page in document.pages] == [True, False]
    assert "Geese graze." in document.pages[1].text and document.pages[1].size is None
    pdf.write_bytes(whole.replace(b"\n1 0 obj", b"\n0 0 obj"))
    document = await sandbox.parse(pdf, formats.PDF)
    assert document.parser == "pypdf"
    assert "Of Ducks" in document.pages[0].text and not any(page.lines for page in document.pages)
    document = await sandbox.parse(docx, formats.DOCX)
    await sandbox.close()
    assert document.parser == "plain office"
    assert "Of Ducks" in document.pages[0].text
    assert said(document)
