"""The drawing process against files and programs that misbehave: nothing hangs, nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from datadistiller import errors
from datadistiller.parsing import drawing, formats
from datadistiller.runtime import pictures
from datadistiller.runtime.pictures import Picture, Pictures
from tests.fixtures import files

PAGE = Picture(formats.PDF, 1, 400)
#: A program that follows the protocol until it is asked for a picture.
PROGRAM = """
import json, os, signal, sys, time
def out(body): sys.stdout.buffer.write(len(body).to_bytes(4, "big") + body); sys.stdout.buffer.flush()
def send(**message): out(json.dumps(message).encode())
send(kind="ready", memory_bytes=0)
sys.stdin.buffer.read(4)
"""

Make = Callable[..., Pictures]


@asynccontextmanager
async def at(path: Path) -> AsyncIterator[Path]:
    yield path


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """``make(what the program does, **options)``; without a program the real one. No process is left by a test."""
    others, made = psutil.Process().children(), []

    def start(does: str = "", **options: Any) -> Pictures:
        if does:
            options["command"] = (sys.executable, "-c", f"{PROGRAM}{does}\ntime.sleep(3600)")
        made.append(Pictures(**{"seconds": 60, "memory_mb": 256, **options}))
        return made[-1]

    yield start
    for one in made:
        await one.close()
    assert [child for child in psutil.Process().children() if child not in others] == []


async def refused(drawn: Awaitable[bytes]) -> str:
    with pytest.raises(errors.NoPicture) as caught:
        await drawn
    return caught.value.message


MISBEHAVED = {
    "os.kill(os.getpid(), signal.SIGSEGV)": "the program that draws died of it (SIGSEGV)",
    "os._exit(77)": "it needed more than 256 MiB of memory",
    "os.kill(os.getpid(), signal.SIGXCPU)": "it took longer than 60 seconds",
    "out(b'{]')": "died of it",
    "out(b'[]')": "died of it",
    "send(kind='surprise'); out(drawing)": "died of it",
    "send(kind='picture'); out(b'GIF89a')": "died of it",
    "send(kind='picture'); sys.stdout.buffer.write(bytes([255] * 4)); sys.stdout.buffer.flush()": "died of it",
}


async def test_what_happens_to_the_process_is_said_and_the_next_picture_gets_another(
    make: Make, tmp_path: Path
) -> None:
    for does, says in MISBEHAVED.items():
        drawing_process = make(does.replace("out(drawing)", f"out({drawing.SIGNATURE!r})"))
        for _ in range(2):
            message = await refused(drawing_process.draw(PAGE, at(tmp_path)))
            assert message.startswith("Page 1 cannot be drawn: ") and says in message, does


async def test_a_process_that_hangs_is_ended(make: Make, tmp_path: Path) -> None:
    assert "longer than 0.2 seconds" in await refused(make("pass", seconds=0.2).draw(PAGE, at(tmp_path)))


async def test_few_may_wait_and_whoever_gives_up_leaves_nothing(make: Make, tmp_path: Path) -> None:
    slow = make("pass")
    tasks = [asyncio.create_task(slow.draw(PAGE, at(tmp_path))) for _ in range(1 + pictures.MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(errors.CapacityError, match="are waited for already"):
        await slow.draw(PAGE, at(tmp_path))
    for task in reversed(tasks):
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert "longer than" in await refused(make("pass", seconds=0.1).draw(PAGE, at(tmp_path)))
    again = asyncio.create_task(slow.draw(PAGE, at(tmp_path)))
    await asyncio.sleep(0)
    assert not again.done(), "there is room again"
    again.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await again


async def test_a_process_without_work_ends_and_another_takes_its_place(make: Make, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    does = f"open({str(note)!r}, 'w').write(str(os.getpid())); send(kind='picture'); out({drawing.SIGNATURE!r})"
    idle, seen = make(does, idle_seconds=0.05), set()
    for _ in range(2):
        assert await idle.draw(PAGE, at(tmp_path)) == drawing.SIGNATURE
        seen.add(int(note.read_text()))
        async with asyncio.timeout(30):
            while True:
                if not any(psutil.pid_exists(pid) for pid in seen):
                    break
                await asyncio.sleep(0.05)
    assert len(seen) == 2


async def test_what_is_wrong_with_a_file_is_said(make: Make, tmp_path: Path) -> None:
    real = make()
    good = files.pdf(tmp_path / "good.pdf")
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.7\n" + bytes(500))
    problems = {
        files.encrypted_pdf(tmp_path / "locked.pdf"): "protected by a password",
        tmp_path / "bad.pdf": "damaged",
        tmp_path / "none.pdf": "not in the object store",
    }
    assert (await real.draw(PAGE, at(good))).startswith(drawing.SIGNATURE)
    for path, says in problems.items():
        assert says in await refused(real.draw(PAGE, at(path)))
    assert "Page 9 of the PDF" in await refused(real.draw(Picture(formats.PDF, 9, 400), at(good)))
    assert "draws text/plain" in await refused(real.draw(Picture(formats.TEXT, 1, 400), at(good)))
    assert (await real.draw(PAGE, at(good))).startswith(drawing.SIGNATURE)


async def test_pictures_are_drawn_no_larger_than_they_are(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "white.png"
    path.write_bytes(drawing.png(drawing.Raster(40, 20, bytearray(b"\xff" * 2400))))
    for wanted, size in ((400, (40, 20)), (20, (20, 10))):
        made = await make().draw(Picture(formats.PNG, 1, wanted, [(0, 0, 5000, 5000)]), at(path))
        assert (int.from_bytes(made[16:20], "big"), int.from_bytes(made[20:24], "big")) == size
    assert "Page 2" in await refused(make().draw(Picture(formats.PNG, 2, 40), at(path)))
    path.write_bytes(path.read_bytes()[:50])
    assert "damaged" in await refused(make().draw(Picture(formats.PNG, 1, 40), at(path)))
