"""Long documents that two processes read at once: the same pages, nothing blamed on others, nobody kept waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from datadistiller import errors, model
from datadistiller.parsing import Known, formats, protocol
from datadistiller.parsing.limits import PART_PAGES
from datadistiller.runtime.sandbox import Limits, Sandbox
from datadistiller.runtime.sandbox_parts import ReadPart
from tests.failure.test_sandbox import HOSTILE, SAY, nothing_left, plan, texts
from tests.fixtures import pdfs

__all__ = ["nothing_left"]  # each test leaves no process and no open file
IN_PARTS = "text/markdown"
#: The rest of the parts is 28 pages.
PAGES = 5 * PART_PAGES - 4
LIMITS = Limits(page_seconds=60, parse_seconds=120, memory_mb=192)


class Watched(Sandbox):
    """Remembers what became of the parts that a second process read: its first page, and how that ended."""

    def __init__(self, limits: Limits = LIMITS, **more: Any) -> None:
        super().__init__(limits, **more)
        self.parts: list[tuple[int, str]] = []

    async def _help(self, part: Mapping[str, Any], known: asyncio.Future[Known]) -> ReadPart | None:
        outcome = "cancelled"
        try:
            read = await super()._help(part, known)
            outcome = "read" if read else "not read"
            return read
        finally:
            self.parts.append((part["first_page"], outcome))


def counted(number: int, said: str = "a") -> str:
    return f"{said} after {number - 1}"


def long_plan(folder: Path, **steps: list[Any]) -> Path:
    """A page says "a" unless ``steps`` has another step for it, by "p" and its number."""
    return plan(folder, *(steps.get(f"p{number}", ["say", "a"]) for number in range(1, PAGES + 1)))


async def test_the_same_pages_in_the_same_order(tmp_path: Path) -> None:
    """Every page after the first part knows how many are before it, whoever read them."""
    sandbox, seen = Watched(command=HOSTILE), []

    async def on_page(read: int, count: int | None) -> None:
        seen.append((read, count))

    document = await sandbox.parse(long_plan(tmp_path), IN_PARTS, on_page)
    await sandbox.close()
    assert texts(document) == [counted(number) for number in range(1, PAGES + 1)]
    assert [page.number for page in document.pages] == list(range(1, PAGES + 1))
    assert sandbox.parts == [(2 * PART_PAGES + 1, "read"), (4 * PART_PAGES + 1, "read")]
    assert seen == sorted(seen) and seen[-1] == (PAGES, PAGES)


def long_pdf(path: Path) -> Path:
    """Headings by size, running lines, broken words, a page without text; what they are depends on pages before."""
    contents = []
    for number in range(1, PAGES + 1):
        size = 11 if number < 70 else 14  # later on what was large is ordinary
        lines: list[pdfs.Text] = [(72, 780, 9, "Annual report of the ducks"), (300, 20, 9, str(number))]
        lines += [(72, 700, 14, f"On pond {number}"), (72, 660, size, f"Pond {number} is a long-term home of well-")]
        lines += [
            (72, 646, size, "known ducks, and a well-known one of geese that are long-"),
            (72, 632, size, "term."),
        ]
        contents.append(pdfs.page_content(lines if number % 50 else []))
    return pdfs.placed(path, contents)


async def read_by(path: Path, concurrency: int) -> tuple[model.ParsedDocument, list[tuple[int, str]]]:
    sandbox = Watched(Limits(), concurrency=concurrency)
    document = await sandbox.parse(path, formats.PDF)
    await sandbox.close()
    return document, sandbox.parts


async def test_a_pdf_is_the_same_whoever_reads_it(tmp_path: Path) -> None:
    path = long_pdf(tmp_path / "a.pdf")
    alone, together = await read_by(path, 1), await read_by(path, 2)
    assert alone[1] == [] and [outcome for _, outcome in together[1]] == ["read", "read"]
    assert alone[0] == together[0]
    pages = together[0].pages
    assert pages[99].text == "" and "Annual report" not in pages[120].text
    assert "well-known ducks" in pages[120].text and pages[40].blocks != pages[120].blocks


@pytest.mark.parametrize("step", ["segfault", "eat"])
async def test_a_page_that_kills_its_reader_costs_that_page(tmp_path: Path, step: str) -> None:
    bad = 2 * PART_PAGES + 5
    sandbox = Watched(command=HOSTILE)
    document = await sandbox.parse(long_plan(tmp_path, **{f"p{bad}": [step]}), IN_PARTS)
    await sandbox.close()
    code = "parser_crashed" if step == "segfault" else "parser_memory"
    assert [page.number for page in document.pages if page.problem] == [bad]
    assert texts(document)[bad - 1] == code
    assert [text.partition(" ")[0] for text in texts(document)].count("a") == PAGES - 1
    assert sandbox.parts[0] == (2 * PART_PAGES + 1, "not read")


async def test_who_waits_comes_before_who_is_helped(tmp_path: Path) -> None:
    """The helper hangs, both processes are taken: another document has its place at once."""
    sandbox = Watched(command=HOSTILE)
    mark = tmp_path / "mark"
    mark.touch()
    hanging = ["once", ["hang", str(mark)]]
    long = asyncio.create_task(sandbox.parse(long_plan(tmp_path, **{f"p{2 * PART_PAGES + 1}": hanging}), IN_PARTS))
    while not sandbox._helping or mark.stat().st_mtime:  # noqa: ASYNC110 - another process does it
        await asyncio.sleep(0.02)
    (tmp_path / "other").mkdir()
    assert texts(await sandbox.parse(plan(tmp_path / "other", SAY[0]), "text/plain")) == ["text 0"]
    assert sandbox.parts == [(2 * PART_PAGES + 1, "cancelled")]
    said = texts(await long)
    await sandbox.close()
    assert said[2 * PART_PAGES] == counted(2 * PART_PAGES + 1, "once done")
    assert len(said) == PAGES and sandbox._slots._value == 2


async def test_cancelling_kills_both(tmp_path: Path) -> None:
    sandbox = Watched(command=HOSTILE)
    path = long_plan(tmp_path, **{f"p{PART_PAGES + 1}": ["hang"], f"p{2 * PART_PAGES + 1}": ["hang"]})
    long = asyncio.create_task(sandbox.parse(path, IN_PARTS))
    while not sandbox._helping:  # noqa: ASYNC110 - it takes as long as a part
        await asyncio.sleep(0.02)
    long.cancel()
    with pytest.raises(asyncio.CancelledError):
        await long
    assert texts(await sandbox.parse(plan(tmp_path, SAY[1]), "text/plain")) == ["text 1"]
    await sandbox.close()
    assert sandbox._slots._value == 2


async def test_all_parts_together_keep_the_limit_of_text(tmp_path: Path) -> None:
    sandbox = Watched(Limits(max_text_chars=PAGES * 9), command=HOSTILE)
    with pytest.raises(errors.LimitExceeded, match="MAX_TEXT_CHARS"):
        await sandbox.parse(long_plan(tmp_path), IN_PARTS)
    await sandbox.close()
    assert sandbox._slots._value == 2


@pytest.mark.parametrize("told", [{"page": 3, "known": {}}, {"page": 32, "known": 7}, {"known": {}}])
def test_what_is_learned_is_checked(told: dict[str, Any]) -> None:
    with pytest.raises(protocol.Malformed):
        protocol.to_learned(told, 32)
