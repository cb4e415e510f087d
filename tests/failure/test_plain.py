"""Small plain texts are read in the worker's own process: exactly as a parser process reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from datadistiller import errors, model
from datadistiller.parsing import formats
from datadistiller.runtime.plain import PlainFirst
from datadistiller.runtime.sandbox import Limits, Sandbox

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "Of Ducks\n\nDucks swim in ponds.\r\nThey dive.\f Straße, 鴨, \u2028\xa0\ufeff.\n\n\n  Geese.  "


class Watched(Sandbox):
    """Counts what it is asked."""

    asked = 0

    async def parse(self, *given: object, **named: object) -> model.ParsedDocument:
        self.asked += 1
        return await super().parse(*given, **named)  # type: ignore[arg-type]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox() -> AsyncIterator[Watched]:
    watched = Watched(Limits(), concurrency=1)
    yield watched
    await watched.close()


@pytest.mark.parametrize(
    ("data", "here"),
    [
        (TEXT.encode(), True),
        (b"\xef\xbb\xbf" + TEXT.encode(), True),
        (b" \n\t\n", True),
        (b"", True),
        ("\U0001f986 \ufffd\x01\x7f".encode(), True),
        (b"x" * (64 << 10), True),
        (b"x" * (64 << 10) + b"y", False),
        (("y" * 65_535 + "ß").encode(), False),
        ("Straße und Öl".encode("cp1252"), False),
        (TEXT.encode("utf-16-le"), False),
        (b"one\0two", False),
        (b"\xed\xa0\x80 a lone surrogate", False),
    ],
    ids=lambda value: f"{value[:12]!r}" if isinstance(value, bytes) else None,
)
async def test_it_gives_what_the_sandbox_gives(sandbox: Watched, tmp_path: Path, data: bytes, here: bool) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    seen: list[tuple[int, int | None]] = []

    async def on_page(read: int, count: int | None) -> None:
        seen.append((read, count))

    sandbox.asked = 0
    found = await PlainFirst(sandbox).parse(path, formats.TEXT, on_page)
    assert (sandbox.asked == 0) == here
    assert seen == [(1, 1)]
    assert found == await sandbox.parse(path, formats.TEXT)


async def test_other_types_are_never_read_here(sandbox: Watched, tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# Ducks")
    for media_type in (formats.MARKDOWN, formats.CODE):
        sandbox.asked = 0
        await PlainFirst(sandbox).parse(path, media_type)
        assert sandbox.asked == 1


async def test_what_is_not_there_is_missing(sandbox: Watched, tmp_path: Path) -> None:
    with pytest.raises(errors.ObjectMissing):
        await PlainFirst(sandbox).parse(tmp_path / "none.txt", formats.TEXT)
